//! The `TPACKET_V3` receive ring: blocks of frames, lent one block at a time.

use std::sync::Arc;

use super::block::{BlockWalk, Malformed};
use super::frame::RxFrame;
use super::geometry::Geometry;
use super::layout::{block, rx_status};
use super::receive::{ReceiveRing, RxBatch};
use super::view::{Memory, Ours, UnitLayout, Units};
use crate::sys::packet::RingVersion;

/// Whose a block is from the program's side.
const OURS: Ours = Ours { mask: rx_status::USER, value: rx_status::USER };

/// A `TPACKET_V3` receive ring.
///
/// Blocks are lent and returned strictly in ring order, which is the order in which the kernel
/// wants them back (RX-3).
///
/// A block lent twice does not compile:
///
/// ```compile_fail,E0499
/// use linerate_core::ring::receive::ReceiveRing;
///
/// fn twice(ring: &mut linerate_core::ring::rx_v3::RxRingV3) {
///     let first = ring.lend(1);
///     let second = ring.lend(1);
///     drop((first, second));
/// }
/// ```
///
/// Nor does a frame that outlives its block:
///
/// ```compile_fail,E0505
/// use linerate_core::ring::receive::{ReceiveRing, RxBatch};
///
/// fn escape(ring: &mut linerate_core::ring::rx_v3::RxRingV3) {
///     let mut block = ring.lend(1).unwrap();
///     let frame = block.frames().next();
///     drop(block);
///     drop(frame);
/// }
/// ```
#[derive(Debug)]
pub struct RxRingV3 {
    blocks: Units,
    next: usize,
}

impl RxRingV3 {
    /// The ring of this geometry that `memory` is made of.
    pub(in crate::ring) fn new(memory: Arc<Memory>, geometry: &Geometry) -> RxRingV3 {
        RxRingV3 { blocks: blocks(memory, geometry, OURS), next: 0 }
    }
}

impl ReceiveRing for RxRingV3 {
    const VERSION: RingVersion = RingVersion::V3;

    /// Lends the next block once the kernel has retired it; `None` while it is the kernel's.
    #[inline]
    fn lend(&mut self, _limit: usize) -> Option<impl RxBatch> {
        if !self.blocks.is_ours(self.next) {
            return None;
        }
        Some(RxBlock { ring: self })
    }
}

/// A retired block on loan; dropping it returns it to the kernel.
///
/// A block that is forgotten (`std::mem::forget`) stays on loan: the next call of
/// [`lend`](ReceiveRing::lend) lends it again.
#[derive(Debug)]
pub struct RxBlock<'ring> {
    ring: &'ring mut RxRingV3,
}

impl RxBatch for RxBlock<'_> {
    /// The frames of the block, from the first; none in a block that was retired empty, which is
    /// what the kernel does before a frame that does not fit (RX-5).
    #[inline]
    fn frames(&mut self) -> impl Iterator<Item = Result<RxFrame<'_>, Malformed>> {
        let RxRingV3 { blocks, next } = &mut *self.ring;
        BlockWalk::new(blocks.lend(*next).map_or(&mut [], |loan| loan.body))
    }
}

impl Drop for RxBlock<'_> {
    #[inline]
    fn drop(&mut self) {
        let RxRingV3 { blocks, next } = &mut *self.ring;
        blocks.give_back(*next, 0);
        *next = blocks.after(*next);
    }
}

/// One side's view of the blocks of a V3 receive ring.
pub(in crate::ring) fn blocks(memory: Arc<Memory>, geometry: &Geometry, ours: Ours) -> Units {
    let block_bytes = geometry.block_bytes();
    let layout = UnitLayout {
        block_bytes,
        units_per_block: 1,
        unit_bytes: block_bytes,
        units: geometry.blocks(),
        status: block::STATUS,
    };
    Units::new(memory, layout, ours)
}
