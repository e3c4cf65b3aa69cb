//! What the TX halves ask of a socket. Tests put a fake kernel in its place.

use std::io;
use std::sync::Arc;

use super::packet::{Gathered, PacketSocket};
use super::xdp::XdpSocket;

/// Has the kernel send what lies in a TX ring, without waiting.
pub trait Kick {
    /// One system call. After an error some frames may have been taken.
    fn kick(&self) -> io::Result<()>;
}

impl Kick for PacketSocket {
    #[inline]
    fn kick(&self) -> io::Result<()> {
        PacketSocket::kick(self)
    }
}

impl Kick for XdpSocket {
    #[inline]
    fn kick(&self) -> io::Result<()> {
        XdpSocket::kick(self)
    }
}

impl<K: Kick> Kick for Arc<K> {
    #[inline]
    fn kick(&self) -> io::Result<()> {
        K::kick(self)
    }
}

/// Sends frames out of the program's memory, without waiting.
pub trait SendFrames {
    /// Sends one frame.
    fn send(&self, frame: &[u8]) -> io::Result<()>;

    /// Sends frames from the first on in one system call, and says how many the kernel took; an error
    /// if it took none.
    fn send_gathered(&self, frames: &mut Gathered<'_>) -> io::Result<usize>;
}

impl SendFrames for PacketSocket {
    #[inline]
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        PacketSocket::send(self, frame).map(drop)
    }

    #[inline]
    fn send_gathered(&self, frames: &mut Gathered<'_>) -> io::Result<usize> {
        PacketSocket::send_gathered(self, frames)
    }
}

impl<S: SendFrames> SendFrames for Arc<S> {
    #[inline]
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        S::send(self, frame)
    }

    #[inline]
    fn send_gathered(&self, frames: &mut Gathered<'_>) -> io::Result<usize> {
        S::send_gathered(self, frames)
    }
}
