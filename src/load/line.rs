//! The socket as the generator's loops need it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::stats::counters::KernelCounters;
use crate::sys::packet::{PacketSocket, RingVersion};

/// What a generator asks of its socket beside the rings' memory. In tests the fake kernel is one.
pub trait Line {
    /// Makes the kernel take what is queued in the TX ring; never waits.
    fn kick(&mut self) -> io::Result<()>;

    /// Sleeps until a frame can be received or `timeout` (whole milliseconds) is over.
    fn wait_readable(&mut self, timeout: Duration) -> io::Result<bool>;

    /// The kernel's counts since the last call.
    fn take_counters(&mut self) -> io::Result<KernelCounters>;
}

/// A packet socket with rings.
#[derive(Debug)]
pub struct SocketLine {
    socket: Arc<PacketSocket>,
    version: RingVersion,
}

impl SocketLine {
    /// The line of `socket`, whose rings have headers of `version`.
    pub fn new(socket: Arc<PacketSocket>, version: RingVersion) -> SocketLine {
        SocketLine { socket, version }
    }
}

impl Line for SocketLine {
    #[inline]
    fn kick(&mut self) -> io::Result<()> {
        self.socket.kick()
    }

    fn wait_readable(&mut self, timeout: Duration) -> io::Result<bool> {
        if self.socket.wait_readable(timeout)? {
            return Ok(true);
        }
        // A pending error (ENETDOWN after a flap) makes poll(2) return at once until it is read.
        if self.socket.take_error().is_some() {
            crate::sys::clock::sleep(timeout);
        }
        Ok(false)
    }

    fn take_counters(&mut self) -> io::Result<KernelCounters> {
        let counts = self.socket.take_statistics(Some(self.version))?;
        Ok(KernelCounters {
            packets: counts.packets.into(),
            drops: counts.drops.into(),
            freezes: counts.freezes.into(),
            ..KernelCounters::default()
        })
    }
}
