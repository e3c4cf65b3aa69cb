//! How wide a terminal is.

use std::os::fd::{AsFd, AsRawFd};

/// Columns of the terminal that `file` is, if it is one and says so.
pub fn columns(file: impl AsFd) -> Option<u16> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: TIOCGWINSZ (ioctl_tty(2)) writes one winsize, which `size` is, and nothing if it fails.
    let result = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(size.ws_col)
}
