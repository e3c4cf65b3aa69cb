//! The one view of memory shared with the kernel, and the only unsafe code of the rings.
//!
//! There are two kinds. The rings of AF_XDP sockets have indices ([`queue`]) and name frames of a
//! memory of their own ([`umem`]). Those of packet sockets are made of units with status words: such
//! a ring is a row of *units* (V3 blocks, V2 frames, TX slots). Each has one status word that says
//! whose the unit is. Bytes are lent only while the word says they are ours, the word itself is
//! never inside a lent slice, and a loan borrows the ring mutably, so that no unit is lent twice
//! and none is given back while somebody still holds it.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::budget::Reservation;
use crate::sys::mapping::Mapping;

pub mod queue;
pub mod umem;

/// Memory that two sides share: rings of the kernel, or a UMEM.
///
/// It only keeps the bytes: every access goes through [`Units`], which obeys the status words, through
/// the [queues](queue), which obey the indices, or by a frame's one [token](umem::Frame).
#[derive(Debug)]
pub struct Memory {
    /// Unmapped when this is dropped.
    mapping: Mapping,
    _reservation: Reservation,
}

impl Memory {
    /// Rings of a socket, or a UMEM; `reservation` is given back when they are gone.
    pub fn of_mapping(mapping: Mapping, reservation: Reservation) -> Arc<Memory> {
        Arc::new(Memory { mapping, _reservation: reservation })
    }

    #[inline]
    fn base(&self) -> NonNull<u8> {
        self.mapping.base()
    }

    /// Bytes in all.
    pub fn length(&self) -> usize {
        self.mapping.length()
    }
}

/// How the units of one ring lie in the memory.
#[derive(Clone, Copy, Debug)]
pub struct UnitLayout {
    /// Bytes of one block.
    pub block_bytes: usize,
    /// Units in one block; a tail too short for another unit is dead space.
    pub units_per_block: usize,
    /// Bytes of one unit.
    pub unit_bytes: usize,
    /// Number of units.
    pub units: usize,
    /// Offset of the status word in a unit.
    pub status: usize,
}

/// Which values of a status word make a unit ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ours {
    /// Bits that count.
    pub mask: u32,
    /// What they must be.
    pub value: u32,
}

impl Ours {
    #[inline]
    fn holds(self, status: u32) -> bool {
        status & self.mask == self.value
    }
}

/// The bytes of one unit that is ours, behind its status word.
#[derive(Debug)]
pub struct Loan<'a> {
    /// The status word as it was when the unit was lent.
    pub status: u32,
    /// The bytes.
    pub body: &'a mut [u8],
    word: &'a AtomicU32,
}

impl Loan<'_> {
    /// Ends the loan and hands the unit to the other side, with release, as [`Units::give_back`].
    #[inline]
    pub fn give_back(self, status: u32) {
        self.word.store(status, Ordering::Release);
    }
}

/// A row of units with status words (RX-2, TX-5): one side's view of one ring.
///
/// The two sides of a ring (the program and the kernel, or the fake kernel) each have a view of
/// their own. Their `Ours` never hold for the same status word, so the same bytes are never lent
/// on both sides.
#[derive(Debug)]
pub struct Units {
    memory: Arc<Memory>,
    layout: UnitLayout,
    ours: Ours,
    contiguous: bool,
}

const STATUS_BYTES: usize = 4;

impl Units {
    /// A view of the ring that lies at `layout` in `memory`.
    ///
    /// Panics if a unit would lie outside of the memory or a status word would not be aligned:
    /// geometry never makes such a layout. Kept inside `ring`, whose constructors see to it that
    /// both sides' `ours` exclude each other.
    pub(in crate::ring) fn new(memory: Arc<Memory>, layout: UnitLayout, ours: Ours) -> Units {
        let blocks = layout.units.div_ceil(layout.units_per_block.max(1));
        let end = blocks * layout.block_bytes;
        assert!(layout.units > 0 && end <= memory.length(), "a ring must lie within its memory");
        assert!(layout.units_per_block * layout.unit_bytes <= layout.block_bytes);
        assert!(layout.status + STATUS_BYTES <= layout.unit_bytes);
        for part in [layout.block_bytes, layout.unit_bytes, layout.status] {
            assert!(part.is_multiple_of(align_of::<AtomicU32>()), "status words must be aligned");
        }
        let contiguous = layout.units_per_block * layout.unit_bytes == layout.block_bytes;
        Units { memory, layout, ours, contiguous }
    }

    /// Number of units.
    #[inline]
    pub fn count(&self) -> usize {
        self.layout.units
    }

    /// Bytes of one unit.
    pub fn unit_bytes(&self) -> usize {
        self.layout.unit_bytes
    }

    /// The unit after `index`, in ring order.
    #[inline]
    pub fn after(&self, index: usize) -> usize {
        if index + 1 == self.layout.units { 0 } else { index + 1 }
    }

    /// The status word of a unit, with acquire: what the other side wrote before it is visible.
    ///
    /// Pairs with the kernel's barriers in `__packet_set_status` and `prb_close_block`.
    #[inline]
    pub fn status(&self, index: usize) -> u32 {
        self.status_word(index).load(Ordering::Acquire)
    }

    /// Whether the unit is ours now.
    #[inline]
    pub fn is_ours(&self, index: usize) -> bool {
        self.ours.holds(self.status(index))
    }

    /// Lends one unit if it is ours.
    #[inline]
    pub fn lend(&mut self, index: usize) -> Option<Loan<'_>> {
        self.lend_run(index, 1).next()
    }

    /// Lends units one after the other from `first` on while they are ours, at most `limit` and
    /// at most each once.
    #[inline]
    pub fn lend_run(&mut self, first: usize, limit: usize) -> LoanRun<'_> {
        assert!(first < self.layout.units);
        LoanRun { units: self, at: first, left: limit.min(self.layout.units), loans: PhantomData }
    }

    /// Hands a unit to the other side, with release: what we wrote or read before it is done.
    ///
    /// Pairs with the kernel's reads of the status in `tpacket_snd`, `packet_current_rx_frame`
    /// and `prb_dispatch_next_block`.
    #[inline]
    pub fn give_back(&mut self, index: usize, status: u32) {
        self.status_word(index).store(status, Ordering::Release);
    }

    #[inline]
    fn offset(&self, index: usize) -> usize {
        let UnitLayout { block_bytes, units_per_block, unit_bytes, units, .. } = self.layout;
        assert!(index < units, "unit {index} of a ring of {units}");
        if self.contiguous {
            return index * unit_bytes;
        }
        index / units_per_block * block_bytes + index % units_per_block * unit_bytes
    }

    #[inline]
    fn status_word(&self, index: usize) -> &AtomicU32 {
        self.unit(index).1
    }

    /// Where a unit begins, and its status word.
    #[inline(always)]
    fn unit(&self, index: usize) -> (NonNull<u8>, &AtomicU32) {
        // SAFETY: new() checked that every unit lies within the memory, which the Arc in self keeps
        // alive.
        let unit = unsafe { self.memory.base().add(self.offset(index)) };
        // SAFETY: new() checked that the status word lies within the unit.
        let word = unsafe { unit.add(self.layout.status) }.cast::<u32>();
        // SAFETY: new() checked the alignment; no lent slice covers a status word, and the other
        // side accesses it as one aligned 32-bit word (struct tpacket*_hdr), so all accesses are
        // atomic.
        (unit, unsafe { AtomicU32::from_ptr(word.as_ptr()) })
    }
}

/// Units lent one after the other; see [`Units::lend_run`].
#[derive(Debug)]
pub struct LoanRun<'a> {
    units: &'a Units,
    at: usize,
    left: usize,
    /// The run holds the exclusive borrow that lend_run was called with.
    loans: PhantomData<&'a mut Units>,
}

impl<'a> Iterator for LoanRun<'a> {
    type Item = Loan<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Loan<'a>> {
        if self.left == 0 {
            return None;
        }
        let (unit, word) = self.units.unit(self.at);
        let status = word.load(Ordering::Acquire);
        if !self.units.ours.holds(status) {
            return None;
        }
        let UnitLayout { unit_bytes, status: status_at, .. } = self.units.layout;
        let body_at = status_at + STATUS_BYTES;
        // SAFETY: body_at is within the unit, as new() checked.
        let body = unsafe { unit.add(body_at) };
        // SAFETY: the status word, read with acquire, says that the unit is ours, and the other
        // side leaves such a unit alone (RX-2, TX-5; packet_mmap.rst: a frame with TP_STATUS_USER, a block
        // with it, a slot with TP_STATUS_AVAILABLE belongs to the user until its status is
        // changed). Only give_back changes it: Units::give_back needs the exclusive borrow that this
        // run holds, and Loan::give_back consumes the slices. Each unit is lent once: `left` is at
        // most the number of units and `at` only advances.
        let body = unsafe { std::slice::from_raw_parts_mut(body.as_ptr(), unit_bytes - body_at) };
        self.at = self.units.after(self.at);
        self.left -= 1;
        Some(Loan { status, body, word })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::fake::memory;

    fn units(unit_bytes: usize, ours: Ours) -> Units {
        let layout = UnitLayout {
            block_bytes: 4096,
            units_per_block: 4096 / unit_bytes,
            unit_bytes,
            units: 2 * (4096 / unit_bytes),
            status: 8,
        };
        Units::new(memory(8192), layout, ours)
    }

    const USER: Ours = Ours { mask: 1, value: 1 };

    #[test]
    fn a_unit_is_lent_only_while_its_status_says_so() {
        let mut units = units(1024, USER);
        assert!(units.lend(0).is_none());
        units.give_back(0, 0x21);
        let loan = units.lend(0).unwrap();
        assert_eq!((loan.status, loan.body.len()), (0x21, 1024 - 12));
        units.give_back(0, 0);
        assert!(units.lend(0).is_none());
    }

    #[test]
    fn a_run_stops_at_the_first_foreign_unit_and_lends_none_twice() {
        let mut units = units(1024, USER);
        for index in [7, 0, 1, 3] {
            units.give_back(index, 1);
        }
        assert_eq!(units.lend_run(7, 100).count(), 3);
        for index in 0..8 {
            units.give_back(index, 1);
        }
        assert_eq!(units.lend_run(5, 100).count(), 8);
        assert_eq!(units.lend_run(5, 3).count(), 3);
    }

    #[test]
    fn a_block_tail_too_short_for_a_unit_is_dead_space() {
        let mut units = units(1792, USER);
        assert_eq!(units.count(), 4);
        for index in 0..4 {
            units.give_back(index, 1);
        }
        let starts: Vec<usize> =
            units.lend_run(0, 4).map(|loan| loan.body.as_ptr().addr()).collect();
        assert_eq!(starts[1] - starts[0], 1792);
        assert_eq!(starts[2] - starts[0], 4096);
    }

    #[test]
    #[should_panic(expected = "within its memory")]
    fn a_ring_larger_than_its_memory_is_refused() {
        let layout = UnitLayout {
            block_bytes: 4096,
            units_per_block: 2,
            unit_bytes: 2048,
            units: 5,
            status: 0,
        };
        Units::new(memory(8192), layout, USER);
    }
}
