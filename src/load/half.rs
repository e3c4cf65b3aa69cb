//! What a load asks of a TX half.

use std::io;

use super::template::NextFrame;
use crate::ring::slots::Settled;

/// Takes frames and makes the kernel send them, strictly in the order in which they were put.
pub trait TxHalf {
    /// Takes the next frame; false when there is no room.
    fn put(&mut self, frame: NextFrame<'_>) -> bool;

    /// Makes the kernel take what was put; never waits. After an error some may have been taken.
    fn kick(&mut self) -> io::Result<()>;

    /// What the kernel has taken since the last call.
    fn settle(&mut self) -> Settled;

    /// Frames put that the kernel is not known to have taken.
    fn in_flight(&self) -> u64;

    /// Takes back what the kernel has not taken. What it had taken before is still to be settled.
    fn withdraw(&mut self);

    /// The longest frame, in bytes without FCS.
    fn frame_bytes_max(&self) -> usize;

    /// When frame `nth` of those last settled left, in nanoseconds on `CLOCK_MONOTONIC`, where the half knows it
    /// better than who kicked.
    #[inline]
    fn left_ns(&mut self, _nth: u64) -> Option<u64> {
        None
    }
}
