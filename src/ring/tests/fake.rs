//! The kernel's side of the rings in memory: what `tpacket_rcv`, the retire timer and
//! `tpacket_snd` do, for tests and benchmarks that need no privilege.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::budget::MemoryBudget;
use super::geometry::Geometry;
use super::layout::HINT_BYTES;
use super::layout::{
    block, header_length, read_u32, rx_mac_offset, rx_status, tx_status, v2, v3, write_u32,
};
use super::rx_v2::{RxRingV2, slots};
use super::rx_v3::{RxRingV3, blocks};
use super::tx::TxRing;
use super::view::{Memory, Ours, Units};
use crate::sys::mapping::Mapping;
use crate::sys::packet::RingVersion;
use crate::wire::ethernet::VlanTag;

/// `bytes` zero bytes that both sides of a ring have.
pub(in crate::ring) fn memory(bytes: usize) -> Arc<Memory> {
    let length = NonZeroUsize::new(bytes).expect("a ring has at least one byte");
    let mapping = Mapping::anonymous(length).expect("memory for a ring");
    let reservation = MemoryBudget::new(bytes).reserve(bytes).expect("the whole budget");
    Memory::of_mapping(mapping, reservation)
}

/// Whose a receive unit is from the kernel's side: not the user's.
const KERNEL_RECEIVES: Ours = Ours { mask: rx_status::USER, value: 0 };
/// Whose a TX slot is from the kernel's side: queued by the user.
const KERNEL_SENDS: Ours = Ours { mask: tx_status::MASK, value: tx_status::SEND_REQUEST };

/// What arrives at the fake kernel's interface.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The frame as it goes into the ring: Ethernet header first, outer tag already taken off.
    pub frame: &'a [u8],
    /// The tag that was taken off.
    pub tag: Option<VlanTag>,
    /// Kernel stamp in nanoseconds.
    pub stamp_ns: u64,
    /// `sll_pkttype`.
    pub packet_type: u8,
    /// Status bits beside USER.
    pub status: u32,
}

impl<'a> Arrival<'a> {
    /// An untagged frame for this host.
    pub fn of(frame: &'a [u8]) -> Arrival<'a> {
        Arrival { frame, tag: None, stamp_ns: 0, packet_type: 0, status: 0 }
    }

    fn status_bits(&self) -> u32 {
        let tag = rx_status::VLAN_VALID | rx_status::VLAN_TPID_VALID;
        rx_status::USER | self.status | if self.tag.is_some() { tag } else { 0 }
    }
}

/// The kernel's side of a V3 receive ring.
#[derive(Debug)]
pub struct FakeRxV3 {
    blocks: Units,
    active: usize,
    /// Bytes used of the active block; 0 while it is not open.
    used: usize,
    last: usize,
    packets: u32,
    /// Frames for which there was no room.
    pub drops: u64,
}

impl FakeRxV3 {
    /// A ring and the kernel's side of it.
    pub fn pair(geometry: &Geometry) -> (RxRingV3, FakeRxV3) {
        let memory = self::memory(geometry.bytes());
        let kernel = FakeRxV3 {
            blocks: blocks(Arc::clone(&memory), geometry, KERNEL_RECEIVES),
            active: 0,
            used: 0,
            last: 0,
            packets: 0,
            drops: 0,
        };
        (RxRingV3::new(memory, geometry), kernel)
    }

    /// A frame arrives; false if it had to be dropped because the ring is frozen.
    pub fn deliver(&mut self, arrival: Arrival<'_>) -> bool {
        let mac = rx_mac_offset(RingVersion::V3);
        let block_bytes = self.blocks.unit_bytes();
        let room = block_bytes - block::HEADER_BYTES - mac;
        let captured = arrival.frame.len().min(room);
        let need = (mac + captured).next_multiple_of(8);
        if self.used != 0 && self.used + need >= block_bytes {
            self.retire();
        }
        if self.used == 0 && block::HEADER_BYTES + need >= block_bytes {
            // It fills a block or more: tpacket_rcv closes an empty block before it looks for room.
            self.retire_empty();
        }
        if self.used == 0 && self.blocks.lend(self.active).is_none() {
            self.drops += 1;
            return false;
        }
        let used = if self.used == 0 { block::HEADER_BYTES } else { self.used };
        let mut header = vec![0u8; mac];
        write_u32(&mut header, v3::SECONDS, (arrival.stamp_ns / 1_000_000_000) as u32);
        write_u32(&mut header, v3::NANOSECONDS, (arrival.stamp_ns % 1_000_000_000) as u32);
        write_u32(&mut header, v3::CAPTURED_BYTES, captured as u32);
        write_u32(&mut header, v3::WIRE_BYTES, arrival.frame.len() as u32);
        write_u32(&mut header, v3::STATUS, arrival.status_bits());
        header[v3::MAC..v3::MAC + 2].copy_from_slice(&(mac as u16).to_ne_bytes());
        if let Some(tag) = arrival.tag {
            write_u32(&mut header, v3::VLAN_TCI, tag.tci.into());
            header[v3::VLAN_TPID..v3::VLAN_TPID + 2].copy_from_slice(&tag.tpid.to_ne_bytes());
        }
        header[v3::HEADER_BYTES + super::layout::ADDRESS_PACKET_TYPE] = arrival.packet_type;
        let previous = (self.packets > 0).then_some(self.last);
        self.write(used, &header);
        self.write(used + mac, &arrival.frame[..captured]);
        if let Some(previous) = previous {
            self.write(previous + v3::NEXT, &((used - previous) as u32).to_ne_bytes());
        }
        self.last = used;
        self.used = (used + need).min(block_bytes);
        self.packets += 1;
        true
    }

    /// The retire timer fires: an open block is handed over.
    pub fn retire(&mut self) {
        if self.used != 0 {
            let used = self.used;
            self.close(used, self.packets);
        }
    }

    /// Hands over the active block without a frame in it, as the kernel does before a frame that
    /// does not fit.
    pub fn retire_empty(&mut self) {
        assert_eq!(self.used, 0, "only a block without frames is retired empty");
        if self.blocks.lend(self.active).is_some() {
            self.close(block::HEADER_BYTES, 0);
        }
    }

    /// Hands over the active block with `bytes` in place of everything after its status word.
    pub fn retire_hostile(&mut self, bytes: &[u8]) {
        if let Some(loan) = self.blocks.lend(self.active) {
            let length = bytes.len().min(loan.body.len());
            loan.body[..length].copy_from_slice(&bytes[..length]);
            self.hand_over();
        }
    }

    fn close(&mut self, used: usize, packets: u32) {
        self.write(block::PACKETS, &packets.to_ne_bytes());
        self.write(block::FIRST, &(block::HEADER_BYTES as u32).to_ne_bytes());
        self.write(block::LENGTH, &(used as u32).to_ne_bytes());
        self.hand_over();
    }

    fn hand_over(&mut self) {
        self.blocks.give_back(self.active, rx_status::USER);
        self.active = self.blocks.after(self.active);
        (self.used, self.packets) = (0, 0);
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let body = block::STATUS + 4;
        let loan = self.blocks.lend(self.active).expect("the active block is the kernel's");
        loan.body[at - body..at - body + bytes.len()].copy_from_slice(bytes);
    }
}

/// The kernel's side of a V2 receive ring.
#[derive(Debug)]
pub struct FakeRxV2 {
    slots: Units,
    next: usize,
    /// Frames for which there was no slot.
    pub drops: u64,
}

impl FakeRxV2 {
    /// A ring and the kernel's side of it.
    pub fn pair(geometry: &Geometry) -> (RxRingV2, FakeRxV2) {
        let memory = self::memory(geometry.bytes());
        let slots = slots(Arc::clone(&memory), geometry, KERNEL_RECEIVES);
        (RxRingV2::new(memory, geometry), FakeRxV2 { slots, next: 0, drops: 0 })
    }

    /// A frame arrives; false if it had to be dropped.
    pub fn deliver(&mut self, arrival: Arrival<'_>) -> bool {
        let mac = rx_mac_offset(RingVersion::V2);
        let captured = arrival.frame.len().min(self.slots.unit_bytes().saturating_sub(mac));
        let Some(loan) = self.slots.lend(self.next) else {
            self.drops += 1;
            return false;
        };
        let mut slot = vec![0u8; (mac + captured).max(header_length(RingVersion::V2))];
        write_u32(&mut slot, v2::SECONDS, (arrival.stamp_ns / 1_000_000_000) as u32);
        write_u32(&mut slot, v2::NANOSECONDS, (arrival.stamp_ns % 1_000_000_000) as u32);
        write_u32(&mut slot, v2::CAPTURED_BYTES, captured as u32);
        write_u32(&mut slot, v2::WIRE_BYTES, arrival.frame.len() as u32);
        slot[v2::MAC..v2::MAC + 2].copy_from_slice(&(mac as u16).to_ne_bytes());
        if let Some(VlanTag { tpid, tci }) = arrival.tag {
            slot[v2::VLAN_TCI..v2::VLAN_TCI + 2].copy_from_slice(&tci.to_ne_bytes());
            slot[v2::VLAN_TPID..v2::VLAN_TPID + 2].copy_from_slice(&tpid.to_ne_bytes());
        }
        slot[v2::HEADER_BYTES + super::layout::ADDRESS_PACKET_TYPE] = arrival.packet_type;
        if captured > 0 {
            slot[mac..].copy_from_slice(&arrival.frame[..captured]);
        }
        let after_status = &slot[v2::STATUS + 4..];
        let length = after_status.len().min(loan.body.len());
        loan.body[..length].copy_from_slice(&after_status[..length]);
        self.slots.give_back(self.next, arrival.status_bits());
        self.next = self.slots.after(self.next);
        true
    }

    /// Hands over the next slot with `bytes` in place of everything after its status word.
    pub fn deliver_hostile(&mut self, bytes: &[u8]) {
        if let Some(loan) = self.slots.lend(self.next) {
            let length = bytes.len().min(loan.body.len());
            loan.body[..length].copy_from_slice(&bytes[..length]);
            self.slots.give_back(self.next, u32::MAX);
            self.next = self.slots.after(self.next);
        }
    }
}

/// What the fake kernel does with a frame that it finds in the TX ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Sent and complete: the slot is free again.
    Complete,
    /// Taken, and read by the driver until [`FakeTx::complete`].
    InDriver,
    /// The queue is full: the slot stays queued and the walk ends (ENOBUFS).
    Busy,
    /// Refused, and the kernel stands still before it (PACKET_LOSS off).
    WrongFormat,
}

/// The kernel's side of a TX ring.
#[derive(Debug)]
pub struct FakeTx {
    slots: Units,
    head: usize,
    /// Slots that the driver still reads, the oldest first.
    in_driver: VecDeque<usize>,
}

impl FakeTx {
    /// A ring and the kernel's side of it.
    pub fn pair(geometry: &Geometry, mtu: usize) -> (TxRing, FakeTx) {
        let memory = self::memory(geometry.bytes());
        let slots = slots(Arc::clone(&memory), geometry, KERNEL_SENDS);
        let kernel = FakeTx { slots, head: 0, in_driver: VecDeque::new() };
        (TxRing::new(memory, geometry, mtu), kernel)
    }

    /// A `send()`: walks the slots from the kernel's head while they are queued, and returns the
    /// frames taken. `fate` decides over each.
    pub fn send(&mut self, mut fate: impl FnMut(&[u8]) -> Fate) -> Vec<Vec<u8>> {
        const BODY: usize = v2::STATUS + 4;
        let mut sent = Vec::new();
        while let Some(loan) = self.slots.lend(self.head) {
            let length = read_u32(loan.body, v2::WIRE_BYTES - BODY).unwrap_or(0) as usize;
            // The hint says how much of the frame to copy, which is all the same here.
            let data = &loan.body[v2::HEADER_BYTES - BODY..][..length];
            let frame = &data[HINT_BYTES..].to_vec();
            let next = match fate(frame) {
                Fate::Complete => tx_status::AVAILABLE,
                Fate::InDriver => {
                    self.in_driver.push_back(self.head);
                    tx_status::SENDING
                }
                Fate::Busy => break,
                Fate::WrongFormat => {
                    self.slots.give_back(self.head, tx_status::WRONG_FORMAT);
                    break;
                }
            };
            sent.push(frame.clone());
            self.slots.give_back(self.head, next);
            self.head = self.slots.after(self.head);
        }
        sent
    }

    /// Frames that the driver still reads.
    pub fn in_driver(&self) -> usize {
        self.in_driver.len()
    }

    /// The driver is done with its oldest `frames` frames, or with all if they are fewer.
    pub fn complete(&mut self, frames: usize) {
        for slot in self.in_driver.drain(..frames.min(self.in_driver.len())) {
            self.slots.give_back(slot, tx_status::AVAILABLE);
        }
    }
}
