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

/// Two packet sockets: one with a receive ring, one with a TX ring.
#[derive(Debug)]
pub struct SocketLine {
    receiver: Arc<PacketSocket>,
    version: RingVersion,
    sender: PacketSocket,
}

impl SocketLine {
    /// The line of `receiver`, whose ring has headers of `version`, and `sender`.
    pub fn new(
        receiver: Arc<PacketSocket>,
        version: RingVersion,
        sender: PacketSocket,
    ) -> SocketLine {
        SocketLine { receiver, version, sender }
    }
}

impl Line for SocketLine {
    #[inline]
    fn kick(&mut self) -> io::Result<()> {
        self.sender.kick()
    }

    fn wait_readable(&mut self, timeout: Duration) -> io::Result<bool> {
        if self.receiver.wait_readable(timeout)? {
            return Ok(true);
        }
        // A pending error (ENETDOWN after a flap) makes poll(2) return at once until it is read.
        if self.receiver.take_error().is_some() {
            crate::sys::clock::sleep(timeout);
        }
        Ok(false)
    }

    fn take_counters(&mut self) -> io::Result<KernelCounters> {
        let counts = self.receiver.take_statistics(Some(self.version))?;
        Ok(KernelCounters {
            packets: counts.packets.into(),
            drops: counts.drops.into(),
            freezes: counts.freezes.into(),
            ..KernelCounters::default()
        })
    }
}
