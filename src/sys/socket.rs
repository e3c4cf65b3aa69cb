//! What packet sockets and AF_XDP sockets have in common: options as plain values, and the kick.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_void, socklen_t};

/// Opens a socket that a program which this one starts does not inherit.
pub(super) fn open(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes three numbers and touches no memory of ours.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    check(fd as isize)?;
    // SAFETY: socket(2) just returned this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets an option to `value`, which the kernel only reads.
pub(super) fn set_option<T>(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the pointer and length describe a live value, which setsockopt(2) only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (value as *const T).cast::<c_void>(),
            size_of::<T>() as socklen_t,
        )
    };
    check(result as isize).map(drop)
}

/// Fills `value` with an option; a kernel that knows fewer bytes of it leaves the rest as it was.
pub(super) fn read_option<T>(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &mut T,
) -> io::Result<()> {
    let mut length = size_of::<T>() as socklen_t;
    // SAFETY: the pointer and length describe the value, exclusively borrowed; every T used in
    // this room is made of integers, for which any bytes are a value.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (value as *mut T).cast::<c_void>(),
            &mut length,
        )
    };
    check(result as isize).map(drop)
}

/// Makes the kernel look at a socket's TX ring: the `sendto` system call with no buffer, no address and
/// `MSG_DONTWAIT`.
#[inline]
pub(super) fn kick(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a null buffer of length 0 is read by nobody; tpacket_snd and xsk_sendmsg take their frames
    // from the ring.
    check(unsafe { libc::send(socket.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT) })
        .map(drop)
}

/// Asks for `bytes` of buffer (`SO_SNDBUF`, `SO_RCVBUF`); the kernel doubles it and caps it at
/// `wmem_max` or `rmem_max`. Returns what it granted.
pub(super) fn set_buffer(socket: BorrowedFd<'_>, which: c_int, bytes: usize) -> io::Result<usize> {
    let bytes = bytes.min(c_int::MAX as usize) as c_int;
    set_option(socket, libc::SOL_SOCKET, which, &bytes)?;
    let mut granted: c_int = 0;
    read_option(socket, libc::SOL_SOCKET, which, &mut granted)?;
    Ok(granted as usize)
}

/// Collects and clears the socket's pending error (`SO_ERROR`), and empties its error queue: as long as a
/// message waits there, epoll reports an error.
pub(super) fn take_error(socket: BorrowedFd<'_>) -> Option<io::Error> {
    const MESSAGES_MAX: usize = 1024;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    for _ in 0..MESSAGES_MAX {
        // SAFETY: with a length of 0 recv(2) writes nothing.
        if unsafe { libc::recv(socket.as_raw_fd(), std::ptr::null_mut(), 0, flags) } < 0 {
            break;
        }
    }
    let mut code: c_int = 0;
    match read_option(socket, libc::SOL_SOCKET, libc::SO_ERROR, &mut code) {
        Ok(()) if code == 0 => None,
        Ok(()) => Some(io::Error::from_raw_os_error(code)),
        Err(error) => Some(error),
    }
}

/// The result of a system call, which is negative where it failed.
#[inline]
pub(super) fn check(result: isize) -> io::Result<isize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
