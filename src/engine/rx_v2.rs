//! Receive half `v2`: frames of a `TPACKET_V2` ring.

use std::io;
use std::sync::Arc;

use super::half::{RxBatch, RxHalf};
use super::rx_v3::accumulate;
use crate::ring::rx_v2::{RunWalk, RxRingV2, RxRun};
use crate::stats::counters::KernelCounters;
use crate::sys::packet::{PacketSocket, RingVersion};

/// Receive half `v2`.
#[derive(Debug)]
pub struct RxV2 {
    ring: RxRingV2,
    socket: Arc<PacketSocket>,
    batch: usize,
}

impl RxV2 {
    /// The half of a ring and its socket, which lends at most `batch` frames at once.
    pub fn new(ring: RxRingV2, socket: Arc<PacketSocket>, batch: usize) -> RxV2 {
        RxV2 { ring, socket, batch }
    }
}

impl RxHalf for RxV2 {
    type Batch<'a> = RxRun<'a>;
    const ONE_BATCH_A_WAKE_UP: bool = false;

    #[inline]
    fn lend(&mut self) -> io::Result<Option<RxRun<'_>>> {
        Ok(self.ring.lend_at_most(self.batch))
    }

    fn accumulate(&mut self, counters: &mut KernelCounters) -> io::Result<()> {
        accumulate(&self.socket, Some(RingVersion::V2), counters)
    }

    fn take_error(&mut self) -> Option<io::Error> {
        self.socket.take_error()
    }

    fn batch_frames_max(&self) -> usize {
        self.batch
    }
}

impl RxBatch for RxRun<'_> {
    type Frames<'b>
        = RunWalk<'b>
    where
        Self: 'b;

    #[inline]
    fn frames(&mut self) -> RunWalk<'_> {
        RxRun::frames(self)
    }
}
