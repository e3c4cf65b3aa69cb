//! Receive half `v3`: blocks of a `TPACKET_V3` ring.

use std::io;
use std::sync::Arc;

use super::half::{RxBatch, RxHalf};
use crate::ring::block::BlockWalk;
use crate::ring::rx_v3::{RxBlock, RxRingV3};
use crate::stats::counters::{KernelCounters, RolloverCounters};
use crate::sys::packet::{PacketSocket, RingVersion, RolloverStatistics};

/// Receive half `v3`.
#[derive(Debug)]
pub struct RxV3 {
    ring: RxRingV3,
    socket: Arc<PacketSocket>,
    batch_frames_max: usize,
}

impl RxV3 {
    /// The half of a ring and its socket; a block holds at most `batch_frames_max` frames.
    pub fn new(ring: RxRingV3, socket: Arc<PacketSocket>, batch_frames_max: usize) -> RxV3 {
        RxV3 { ring, socket, batch_frames_max }
    }
}

impl RxHalf for RxV3 {
    type Batch<'a> = RxBlock<'a>;
    const ONE_BATCH_A_WAKE_UP: bool = false;

    #[inline]
    fn lend(&mut self) -> io::Result<Option<RxBlock<'_>>> {
        Ok(self.ring.lend())
    }

    fn accumulate(&mut self, counters: &mut KernelCounters) -> io::Result<()> {
        accumulate(&self.socket, Some(RingVersion::V3), counters)
    }

    fn take_error(&mut self) -> Option<io::Error> {
        self.socket.take_error()
    }

    fn batch_frames_max(&self) -> usize {
        self.batch_frames_max
    }
}

impl RxBatch for RxBlock<'_> {
    type Frames<'b>
        = BlockWalk<'b>
    where
        Self: 'b;

    #[inline]
    fn frames(&mut self) -> BlockWalk<'_> {
        RxBlock::frames(self)
    }
}

/// Adds what a socket's statistics say since they were last read.
pub(super) fn accumulate(
    socket: &PacketSocket,
    version: Option<RingVersion>,
    counters: &mut KernelCounters,
) -> io::Result<()> {
    let statistics = socket.take_statistics(version)?;
    counters.packets += u64::from(statistics.packets);
    counters.drops += u64::from(statistics.drops);
    counters.freezes += u64::from(statistics.freezes);
    if let Some(RolloverStatistics { all, huge, failed }) = socket.rollover_statistics()? {
        // Unlike the others, the kernel does not clear these.
        counters.rollover = RolloverCounters { all, huge, failed };
    }
    Ok(())
}
