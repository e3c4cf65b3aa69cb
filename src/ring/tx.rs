//! The TX ring: slots filled strictly in order, accounted for by their status words.

use std::io;
use std::sync::Arc;

use super::geometry::Geometry;
use super::layout::{HINT_BYTES, tx_status, v2, write_u32};
use super::rx_v2::slots;
use super::send_rule::{self, SendRefusal};
use super::slots::{Settled, Slots};
use super::view::{Loan, Memory, Ours, Units};
use crate::sys::failure::past_old_outage;

/// Whose a slot is from the program's side. Completed slots may carry timestamp bits above
/// (TX-5).
const OURS: Ours = Ours { mask: tx_status::MASK, value: tx_status::AVAILABLE };

/// Where a slot's data begins (TX-9): the hint, and behind it the frame (TX-12).
const DATA: usize = v2::HEADER_BYTES;
/// A lent slot's bytes begin after its status word.
const BODY: usize = v2::STATUS + 4;

/// Frames of up to this length are copied whole if there are hints (TX-12). Longer frames, and all
/// frames without hints, are sent out of the ring's pages.
const COPIED_BYTES_MAX: usize = 2048;

/// `hdr_len` of the hint says how many bytes of the frame to copy; nothing is left to hardware.
#[inline]
fn copy_hint(length: usize) -> [u8; HINT_BYTES] {
    let copied = if length <= COPIED_BYTES_MAX { length as u16 } else { 0 };
    let [low, high] = copied.to_ne_bytes();
    [0, 0, low, high, 0, 0, 0, 0, 0, 0]
}

/// A TX ring with `TPACKET_V2` headers.
///
/// The kernel takes slots strictly in ring order and stops for ever at a hole (TX-1). There is no way to
/// make one here: [`TxRing::reserve`] gives only the slot after the last committed one.
///
/// A slot cannot be written once it is committed:
///
/// ```compile_fail,E0382
/// fn late(ring: &mut linerate_core::ring::tx::TxRing) {
///     let mut slot = ring.reserve().unwrap();
///     slot.commit(60).unwrap();
///     slot.bytes()[0] = 1;
/// }
/// ```
///
/// ```compile_fail,E0499
/// fn twice(ring: &mut linerate_core::ring::tx::TxRing) {
///     let first = ring.reserve();
///     let second = ring.reserve();
///     drop((first, second));
/// }
/// ```
#[derive(Debug)]
pub struct TxRing {
    slots: Units,
    mtu: usize,
    queue: Queue,
}

/// The slots that are committed and not known to be taken.
#[derive(Debug)]
struct Queue {
    /// The first slot not known to be taken by the kernel.
    head: usize,
    /// The next slot to fill.
    tail: usize,
    /// Slots from head to tail.
    frames: usize,
    bytes: u64,
    /// Length of the frame last committed to each slot, so that no shared word is read back.
    lengths: Box<[u32]>,
}

impl Queue {
    #[inline]
    fn push(&mut self, length: usize) {
        self.lengths[self.tail] = length as u32;
        self.tail = if self.tail + 1 == self.lengths.len() { 0 } else { self.tail + 1 };
        self.frames += 1;
        self.bytes += length as u64;
    }
}

impl TxRing {
    /// The ring of this geometry that `memory` is made of, for an interface whose MTU is `mtu`, on a
    /// socket that was [told](crate::sys::packet::PacketSocket::set_vnet_header) to expect a hint before
    /// each frame.
    pub(in crate::ring) fn new(memory: Arc<Memory>, geometry: &Geometry, mtu: usize) -> TxRing {
        let slots = slots(memory, geometry, OURS);
        let lengths = vec![0; slots.count()].into();
        let queue = Queue { head: 0, tail: 0, frames: 0, bytes: 0, lengths };
        TxRing { slots, mtu, queue }
    }

    /// The next slot, unless it is still queued or the driver still reads it.
    #[inline]
    pub fn reserve(&mut self) -> Option<TxSlot<'_>> {
        let TxRing { slots, mtu, queue } = self;
        if queue.frames == slots.count() {
            return None;
        }
        let loan = slots.lend(queue.tail)?;
        Some(TxSlot { loan, queue, mtu: *mtu })
    }

    #[cold]
    fn settle_one_by_one(&mut self) -> Settled {
        let mut settled = Settled::default();
        while self.queue.frames > 0 {
            let status = self.slots.status(self.queue.head);
            if !is_taken(status) {
                settled.stuck = status & tx_status::WRONG_FORMAT != 0;
                break;
            }
            let length = u64::from(self.queue.lengths[self.queue.head]);
            settled.frames += 1;
            settled.bytes += length;
            self.queue.frames -= 1;
            self.queue.bytes -= length;
            self.queue.head = self.slots.after(self.queue.head);
        }
        settled
    }
}

impl Slots for TxRing {
    #[inline]
    fn has_room(&mut self) -> bool {
        self.queue.frames < self.slots.count() && self.slots.is_ours(self.queue.tail)
    }

    #[inline(always)]
    fn put(&mut self, write: impl FnOnce(&mut [u8]) -> usize) {
        let mut slot = self.reserve().expect("put only with room");
        let length = write(slot.bytes());
        slot.commit(length).expect("a frame that the kernel takes");
    }

    #[inline]
    fn kick(&mut self, wake: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        if self.queue.frames == 0 { Ok(()) } else { past_old_outage(wake) }
    }

    /// Counts what the kernel has taken. The result of `send()` does not tell: it may be an error
    /// although frames were accepted, and a count although some were not (TX-2).
    #[inline]
    fn settle(&mut self) -> Settled {
        if self.queue.frames == 0 {
            return Settled::default();
        }
        // The kernel takes slots in order: if it has the newest, it has all, and one load from
        // shared memory settles the batch.
        let newest =
            if self.queue.tail == 0 { self.slots.count() - 1 } else { self.queue.tail - 1 };
        if is_taken(self.slots.status(newest)) {
            let settled = Settled {
                frames: self.queue.frames as u64,
                bytes: self.queue.bytes,
                ..Settled::default()
            };
            self.queue.head = self.queue.tail;
            self.queue.frames = 0;
            self.queue.bytes = 0;
            return settled;
        }
        self.settle_one_by_one()
    }

    /// Takes back every frame that the kernel has not taken and returns how many they were, and
    /// what the kernel had taken before. The next frame goes into the first of their slots, which
    /// is where the kernel looks next.
    ///
    /// Only between kicks, and from the thread that kicks: the kernel reads slots only inside
    /// `send()` (TX-7).
    fn withdraw(&mut self) -> (u64, Settled) {
        // Without reading the slots, frames that were sent would count as taken back, and the
        // slots of those that the driver still reads would be given out.
        let settled = Settled { stuck: false, ..self.settle() };
        let withdrawn = self.queue.frames as u64;
        let mut slot = self.queue.head;
        for _ in 0..self.queue.frames {
            self.slots.give_back(slot, tx_status::AVAILABLE);
            slot = self.slots.after(slot);
        }
        self.queue.tail = self.queue.head;
        self.queue.frames = 0;
        self.queue.bytes = 0;
        (withdrawn, settled)
    }

    #[inline]
    fn in_flight(&self) -> u64 {
        self.queue.frames as u64
    }

    fn slot_capacity(&self) -> usize {
        self.slots.unit_bytes() - DATA - HINT_BYTES
    }

    fn set_mtu(&mut self, mtu: usize) {
        self.mtu = mtu;
    }
}

/// The next slot of a TX ring; without a commit nothing is sent and the slot stays the next.
#[derive(Debug)]
pub struct TxSlot<'ring> {
    loan: Loan<'ring>,
    queue: &'ring mut Queue,
    mtu: usize,
}

impl TxSlot<'_> {
    /// The slot's room for a frame, from the Ethernet header on; what it holds is left over from
    /// earlier frames.
    #[inline]
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.loan.body[DATA - BODY + HINT_BYTES..]
    }

    /// Queues the first `length` bytes of the slot as one frame, to be taken at the next kick.
    ///
    /// Refuses what the kernel would refuse, because with PACKET_LOSS on a refused frame looks
    /// just like a sent one (TX-3). Panics if the slot is shorter than `length`.
    #[inline(always)]
    pub fn commit(mut self, length: usize) -> Result<(), SendRefusal> {
        let bytes = &self.bytes()[..length];
        let ether_type = bytes.get(12..14).map_or([0; 2], |field| [field[0], field[1]]);
        send_rule::check(length, ether_type, self.mtu)?;
        let TxSlot { loan, queue, .. } = self;
        *loan.body[DATA - BODY..].first_chunk_mut().expect("room for a hint") = copy_hint(length);
        write_u32(loan.body, v2::WIRE_BYTES - BODY, (length + HINT_BYTES) as u32);
        loan.give_back(tx_status::SEND_REQUEST);
        queue.push(length);
        Ok(())
    }
}

#[inline]
fn is_taken(status: u32) -> bool {
    status & (tx_status::SEND_REQUEST | tx_status::WRONG_FORMAT) == 0
}
