//! What receive rings have in common, for whoever takes frames from either.

use super::block::{BlockWalk, Malformed};
use super::frame::RxFrame;
use super::rx_v2::{RunWalk, RxRingV2, RxRun};
use super::rx_v3::{RxBlock, RxRingV3};
use crate::sys::packet::RingVersion;

/// Frames on loan.
pub trait RxBatch {
    /// Iterates over the frames; what cannot be read comes as [`Malformed`].
    type Frames<'b>: Iterator<Item = Result<RxFrame<'b>, Malformed>>
    where
        Self: 'b;

    /// The frames, in the order of their arrival.
    fn frames(&mut self) -> Self::Frames<'_>;
}

/// A receive ring of a packet socket.
pub trait ReceiveRing {
    /// Frames on loan.
    type Batch<'a>: RxBatch
    where
        Self: 'a;

    /// The version of its headers.
    const VERSION: RingVersion;

    /// Lends what has arrived, at most `limit` frames where the ring leaves the choice.
    fn lend(&mut self, limit: usize) -> Option<Self::Batch<'_>>;
}

impl ReceiveRing for RxRingV3 {
    type Batch<'a> = RxBlock<'a>;
    const VERSION: RingVersion = RingVersion::V3;

    #[inline]
    fn lend(&mut self, _limit: usize) -> Option<RxBlock<'_>> {
        RxRingV3::lend(self)
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

impl ReceiveRing for RxRingV2 {
    type Batch<'a> = RxRun<'a>;
    const VERSION: RingVersion = RingVersion::V2;

    #[inline]
    fn lend(&mut self, limit: usize) -> Option<RxRun<'_>> {
        self.lend_at_most(limit)
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
