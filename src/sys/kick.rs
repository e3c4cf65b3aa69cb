//! What the TX halves ask of a socket. Tests put a fake kernel in its place.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::packet::{Gathered, PacketSocket};
use super::socket;

/// Has the kernel send what lies in a TX ring, without waiting.
pub trait Kick {
    /// One system call. After an error some frames may have been taken.
    fn kick(&self) -> io::Result<()>;
}

/// The number that the system call returns is no count of anything (kernel-contract TX-2) and is not
/// passed on.
///
/// Of an AF_XDP socket in copy mode (`__xsk_generic_xmit`) the kernel sends at most
/// [`KICK_FRAMES_MAX`](super::xdp::KICK_FRAMES_MAX) frames. EAGAIN: it stopped before a frame, which stays in
/// the ring: more were there, or the completion ring, the send buffer or the driver's queue is full. EBUSY:
/// the driver dropped a frame, which has left the ring and is completed, and the kernel stopped behind it.
/// ENETDOWN: it looked at nothing.
impl<S: AsFd> Kick for S {
    #[inline]
    fn kick(&self) -> io::Result<()> {
        socket::kick(self.as_fd())
    }
}

/// For slots that make their system call themselves.
#[derive(Debug)]
pub struct NoKick;

impl Kick for NoKick {
    #[inline]
    fn kick(&self) -> io::Result<()> {
        Ok(())
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
