//! epoll and eventfd: how a worker sleeps and how it is woken.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::epoll::{Epoll as NixEpoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// What woke a sleeper; all false if nothing did within the time-out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// A socket has something to receive (`EPOLLIN`).
    pub readable: bool,
    /// A socket has an error to collect (`EPOLLERR`, `EPOLLHUP`): it stays until it is read.
    pub error: bool,
    /// Somebody rang the [`Waker`].
    pub called: bool,
}

/// Where a worker sleeps until its socket is readable. Tests put another one in the place of [`Epoll`].
pub trait Sleeper {
    /// Sleeps until something happens or `timeout` (rounded up to whole milliseconds) is over.
    /// An interrupting signal counts as a time-out.
    fn wait(&self, timeout: Duration) -> io::Result<Woken>;

    /// Takes the socket out of the set (`EPOLL_CTL_DEL`): its events then wake no one and cost the
    /// sender nothing.
    fn leave(&self) -> io::Result<()>;

    /// Puts the socket back into the set (`EPOLL_CTL_ADD`). Poll it once more before sleeping: earlier
    /// events woke no one.
    fn join(&self) -> io::Result<()>;
}

const SOCKET: u64 = 0;
const WAKER: u64 = 1;

/// A level-triggered epoll set of one socket and one [`Waker`].
#[derive(Debug)]
pub struct Epoll {
    set: NixEpoll,
    /// Our own descriptor of the socket, for leaving and joining the set.
    socket: OwnedFd,
    waker: Waker,
}

impl Epoll {
    /// An epoll set for `socket`'s readability, with its waker.
    pub fn new(socket: impl AsFd) -> io::Result<Epoll> {
        let set = NixEpoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let waker = Waker::new()?;
        set.add(&*waker.0, EpollEvent::new(EpollFlags::EPOLLIN, WAKER))?;
        let epoll = Epoll { set, socket: socket.as_fd().try_clone_to_owned()?, waker };
        epoll.join()?;
        Ok(epoll)
    }

    /// The waker of this set, for other threads.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

impl Sleeper for Epoll {
    fn leave(&self) -> io::Result<()> {
        Ok(self.set.delete(&self.socket)?)
    }

    fn join(&self) -> io::Result<()> {
        Ok(self.set.add(&self.socket, EpollEvent::new(EpollFlags::EPOLLIN, SOCKET))?)
    }

    fn wait(&self, timeout: Duration) -> io::Result<Woken> {
        let milliseconds = timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
        let timeout = EpollTimeout::try_from(milliseconds).unwrap_or(EpollTimeout::ZERO);
        let mut events = [EpollEvent::empty(); 2];
        let count = match self.set.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut woken = Woken::default();
        for event in &events[..count] {
            if event.data() == WAKER {
                woken.called = true;
                self.waker.clear();
                continue;
            }
            let flags = event.events();
            woken.readable |= flags.contains(EpollFlags::EPOLLIN);
            woken.error |= flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        }
        Ok(woken)
    }
}

/// Wakes the sleeper of one [`Epoll`] from any thread, at once (`eventfd(2)`).
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    fn new() -> io::Result<Waker> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Waker(Arc::new(EventFd::from_value_and_flags(0, flags)?)))
    }

    /// Wakes the sleeper; calls before it next sleeps add up to one wake-up.
    pub fn wake(&self) {
        // EAGAIN means the counter is at its maximum: the sleeper is called already.
        let _ = self.0.write(1);
    }

    fn clear(&self) {
        // EAGAIN means that another clear was first.
        let _ = self.0.read();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_waker_ends_a_long_sleep_once() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let epoll = Epoll::new(&socket).unwrap();
        epoll.waker().wake();
        epoll.waker().wake();
        let woken = epoll.wait(Duration::from_secs(5)).unwrap();
        assert!(woken.called && !woken.readable && !woken.error);
        assert_eq!(epoll.wait(Duration::ZERO).unwrap(), Woken::default());
    }

    #[test]
    fn a_socket_that_has_left_wakes_nobody_until_it_is_back() {
        let (socket, mut peer) = UnixStream::pair().unwrap();
        let epoll = Epoll::new(&socket).unwrap();
        peer.write_all(b"x").unwrap();
        assert!(epoll.wait(Duration::ZERO).unwrap().readable);
        for _ in 0..2 {
            epoll.leave().unwrap();
            assert_eq!(epoll.wait(Duration::ZERO).unwrap(), Woken::default());
            epoll.waker().wake();
            let woken = epoll.wait(Duration::from_secs(5)).unwrap();
            assert!(woken.called && !woken.readable);
            epoll.join().unwrap();
            assert!(epoll.wait(Duration::ZERO).unwrap().readable);
        }
    }

    #[test]
    fn readable_and_hung_up_are_told_apart() {
        let (socket, mut peer) = UnixStream::pair().unwrap();
        let epoll = Epoll::new(&socket).unwrap();
        peer.write_all(b"x").unwrap();
        let woken = epoll.wait(Duration::ZERO).unwrap();
        assert!(woken.readable && !woken.error);
        drop(peer);
        assert!(epoll.wait(Duration::ZERO).unwrap().error);
    }
}
