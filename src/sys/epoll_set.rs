//! The four epoll calls one by one, for the tutorial; workers sleep on [`super::epoll::Epoll`].

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// What a watched file is watched for. Errors (`EPOLLERR`, `EPOLLHUP`) are always told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// `EPOLLIN`: something can be received.
    pub readable: bool,
    /// `EPOLLOUT`: something can be sent, which for a packet socket is nearly always.
    pub writable: bool,
}

/// What `epoll_wait(2)` told about one watched file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// `EPOLLIN`.
    pub readable: bool,
    /// `EPOLLOUT`.
    pub writable: bool,
    /// `EPOLLERR` or `EPOLLHUP`: stays until the error is collected.
    pub error: bool,
}

/// An epoll instance that watches at most one file, level-triggered; closed on drop.
#[derive(Debug)]
pub struct EpollSet {
    epoll: Epoll,
}

impl EpollSet {
    /// `epoll_create1(EPOLL_CLOEXEC)`: its argument is flags, never a size.
    pub fn create() -> io::Result<EpollSet> {
        Ok(EpollSet { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)? })
    }

    /// `epoll_ctl(EPOLL_CTL_ADD)`. EEXIST if `file` is watched already, EPERM if its kind cannot
    /// be watched (regular files, directories), ENOSPC at `fs.epoll.max_user_watches`.
    pub fn add(&self, file: impl AsFd, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.add(file, event(interest))?)
    }

    /// `epoll_ctl(EPOLL_CTL_MOD)`: replaces what `file` is watched for. ENOENT if it is not.
    pub fn modify(&self, file: impl AsFd, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.modify(file, &mut event(interest))?)
    }

    /// `epoll_ctl(EPOLL_CTL_DEL)`: watches `file` no longer. ENOENT if it was not watched.
    pub fn remove(&self, file: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(file)?)
    }

    /// `epoll_wait(2)` for at most `timeout`, rounded up to whole milliseconds; `None` is its 0:
    /// nothing was ready in time. EINTR if a signal came first.
    pub fn wait(&self, timeout: Duration) -> io::Result<Option<Ready>> {
        let milliseconds = timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
        let timeout = EpollTimeout::try_from(milliseconds).unwrap_or(EpollTimeout::ZERO);
        let mut events = [EpollEvent::empty()];
        if self.epoll.wait(&mut events, timeout)? == 0 {
            return Ok(None);
        }
        let flags = events[0].events();
        Ok(Some(Ready {
            readable: flags.contains(EpollFlags::EPOLLIN),
            writable: flags.contains(EpollFlags::EPOLLOUT),
            error: flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP),
        }))
    }

    /// Closes the epoll instance and reports what `close(2)` says, which dropping it would not.
    pub fn close(self) -> io::Result<()> {
        Ok(nix::unistd::close(self.epoll.0)?)
    }
}

fn event(interest: Interest) -> EpollEvent {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN, interest.readable);
    flags.set(EpollFlags::EPOLLOUT, interest.writable);
    EpollEvent::new(flags, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    const READABLE: Interest = Interest { readable: true, writable: false };
    const WRITABLE: Interest = Interest { readable: false, writable: true };

    #[test]
    fn regular_files_and_directories_cannot_be_watched() {
        let epoll = EpollSet::create().unwrap();
        for path in ["Cargo.toml", "."] {
            let error = epoll.add(File::open(path).unwrap(), READABLE).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{path}");
        }
    }

    #[test]
    fn level_triggered_writability_is_told_on_every_wait() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let epoll = EpollSet::create().unwrap();
        epoll.add(&socket, WRITABLE).unwrap();
        for _ in 0..100 {
            assert!(epoll.wait(Duration::from_secs(5)).unwrap().unwrap().writable);
        }
    }

    #[test]
    fn interest_can_be_changed_and_withdrawn() {
        let (socket, mut peer) = UnixStream::pair().unwrap();
        let epoll = EpollSet::create().unwrap();
        epoll.add(&socket, WRITABLE).unwrap();
        epoll.modify(&socket, READABLE).unwrap();
        assert_eq!(epoll.wait(Duration::ZERO).unwrap(), None);
        peer.write_all(b"x").unwrap();
        assert!(epoll.wait(Duration::ZERO).unwrap().unwrap().readable);
        epoll.remove(&socket).unwrap();
        assert_eq!(epoll.wait(Duration::ZERO).unwrap(), None);
        let again = epoll.remove(&socket).unwrap_err();
        assert_eq!(again.raw_os_error(), Some(libc::ENOENT));
        epoll.close().unwrap();
    }
}
