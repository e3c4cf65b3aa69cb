//! Receive halves `v3` and `v2`: blocks of a `TPACKET_V3` ring, frames of a `TPACKET_V2` ring.

use std::io;
use std::sync::Arc;

use super::half::{RxBatch, RxHalf};
use crate::ring::receive::ReceiveRing;
use crate::stats::counters::{KernelCounters, RolloverCounters};
use crate::sys::packet::{PacketSocket, RingVersion, RolloverStatistics};

/// What a receive half asks of its packet socket beside frames. Tests put a fake kernel in its place.
pub trait RxSocket {
    /// Adds what the kernel counted since the last call (STAT-1).
    fn accumulate(
        &self,
        version: Option<RingVersion>,
        counters: &mut KernelCounters,
    ) -> io::Result<()>;

    /// Collects the pending error.
    fn take_error(&self) -> Option<io::Error>;
}

impl RxSocket for Arc<PacketSocket> {
    fn accumulate(
        &self,
        version: Option<RingVersion>,
        counters: &mut KernelCounters,
    ) -> io::Result<()> {
        let statistics = self.take_statistics(version)?;
        counters.packets += u64::from(statistics.packets);
        counters.drops += u64::from(statistics.drops);
        counters.freezes += u64::from(statistics.freezes);
        if let Some(RolloverStatistics { all, huge, failed }) = self.rollover_statistics()? {
            // Unlike the others, the kernel does not clear these (FAN-4).
            counters.rollover = RolloverCounters { all, huge, failed };
        }
        Ok(())
    }

    fn take_error(&self) -> Option<io::Error> {
        PacketSocket::take_error(self)
    }
}

/// Receive half `v3` or `v2`.
#[derive(Debug)]
pub struct RxRingHalf<R, S> {
    ring: R,
    socket: S,
    batch_frames_max: usize,
}

impl<R: ReceiveRing, S: RxSocket> RxRingHalf<R, S> {
    /// The half of a ring and its socket. A V2 ring lends at most `batch_frames_max` frames at once; a
    /// block of a V3 ring must hold no more.
    pub fn new(ring: R, socket: S, batch_frames_max: usize) -> RxRingHalf<R, S> {
        RxRingHalf { ring, socket, batch_frames_max }
    }
}

impl<R: ReceiveRing, S: RxSocket> RxHalf for RxRingHalf<R, S> {
    const ONE_BATCH_A_WAKE_UP: bool = false;

    #[inline]
    fn lend(&mut self) -> io::Result<Option<impl RxBatch>> {
        Ok(self.ring.lend(self.batch_frames_max))
    }

    fn accumulate(&mut self, counters: &mut KernelCounters) -> io::Result<()> {
        self.socket.accumulate(Some(R::VERSION), counters)
    }

    fn take_error(&mut self) -> Option<io::Error> {
        self.socket.take_error()
    }

    fn batch_frames_max(&self) -> usize {
        self.batch_frames_max
    }
}
