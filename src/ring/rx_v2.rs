//! The `TPACKET_V2` receive ring: a status word for each frame, lent in runs.

use std::sync::Arc;

use super::block::Malformed;
use super::frame::{RxFrame, describe_v2};
use super::geometry::Geometry;
use super::layout::{ADDRESS_BYTES, rx_status, v2};
use super::receive::{ReceiveRing, RxBatch};
use super::view::{Loan, LoanRun, Memory, Ours, UnitLayout, Units};
use crate::sys::packet::RingVersion;
use crate::wire::ethernet::VLAN_TAG_BYTES;

/// Whose a frame is from the program's side.
const OURS: Ours = Ours { mask: rx_status::USER, value: rx_status::USER };

/// A `TPACKET_V2` receive ring.
#[derive(Debug)]
pub struct RxRingV2 {
    frames: Units,
    next: usize,
}

impl RxRingV2 {
    /// The ring of this geometry that `memory` is made of.
    pub(in crate::ring) fn new(memory: Arc<Memory>, geometry: &Geometry) -> RxRingV2 {
        RxRingV2 { frames: slots(memory, geometry, OURS), next: 0 }
    }
}

impl ReceiveRing for RxRingV2 {
    const VERSION: RingVersion = RingVersion::V2;

    /// A frame behind one that is not ready yet waits for it: with several receiving CPUs the
    /// kernel may finish frame n+1 before frame n (RX-14), and skipping would lose the order.
    #[inline]
    fn lend(&mut self, limit: usize) -> Option<impl RxBatch> {
        if !self.frames.is_ours(self.next) {
            return None;
        }
        Some(RxRun { ring: self, limit, taken: 0 })
    }
}

/// Frames on loan; dropping it returns those that were read to the kernel, in order.
#[derive(Debug)]
pub struct RxRun<'ring> {
    ring: &'ring mut RxRingV2,
    limit: usize,
    taken: usize,
}

impl RxBatch for RxRun<'_> {
    #[inline]
    fn frames(&mut self) -> impl Iterator<Item = Result<RxFrame<'_>, Malformed>> {
        let RxRingV2 { frames, next } = &mut *self.ring;
        self.taken = 0;
        RunFrames { loans: frames.lend_run(*next, self.limit), taken: &mut self.taken }
    }
}

/// The frames of a run, counted as they are read.
struct RunFrames<'a> {
    loans: LoanRun<'a>,
    taken: &'a mut usize,
}

impl<'a> Iterator for RunFrames<'a> {
    type Item = Result<RxFrame<'a>, Malformed>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let loan = self.loans.next()?;
        *self.taken += 1;
        Some(frame_of(loan))
    }
}

impl Drop for RxRun<'_> {
    #[inline]
    fn drop(&mut self) {
        let RxRingV2 { frames, next } = &mut *self.ring;
        for _ in 0..self.taken {
            frames.give_back(*next, 0);
            *next = frames.after(*next);
        }
    }
}

/// The frame in a slot; malformed if its headers contradict themselves.
#[inline(always)]
fn frame_of(loan: Loan<'_>) -> Result<RxFrame<'_>, Malformed> {
    const HEADERS: usize = v2::HEADER_BYTES + ADDRESS_BYTES;
    const BODY: usize = v2::STATUS + 4;
    // Room for a stripped tag that is put back; the kernel leaves more (RX-4).
    const FRAME_MIN: usize = HEADERS + VLAN_TAG_BYTES;
    let malformed = Err(Malformed { frames: 1 });
    let Some(described) = describe_v2(loan.status, loan.body) else { return malformed };
    let mut start = described.mac;
    let mut end = start.saturating_add(described.captured);
    if described.captured == 0 {
        // A slot shorter than the frame's start holds no byte of it (RX-10): legal, and truncated.
        start = start.clamp(FRAME_MIN, loan.body.len() + BODY);
        end = start;
    }
    if start < FRAME_MIN || end > loan.body.len() + BODY {
        return malformed;
    }
    let room = &mut loan.body[HEADERS - BODY..end - BODY];
    Ok(RxFrame::new(described.meta, room, start - HEADERS))
}

/// One side's view of the equal slots of a V2 receive ring or of a TX ring.
pub(in crate::ring) fn slots(memory: Arc<Memory>, geometry: &Geometry, ours: Ours) -> Units {
    let layout = UnitLayout {
        block_bytes: geometry.block_bytes(),
        units_per_block: geometry.frames_per_block(),
        unit_bytes: geometry.frame_bytes(),
        units: geometry.frames(),
        status: v2::STATUS,
    };
    Units::new(memory, layout, ours)
}
