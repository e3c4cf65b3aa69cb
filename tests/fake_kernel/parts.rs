//! What the tests of the rings share: small geometries, frames that tell where they belong, and
//! what a receiver should see of them.

use std::sync::LazyLock;

use linerate::ring::fake::Arrival;
use linerate::ring::frame::{ChecksumState, FrameMeta, PacketType, RxFrame};
use linerate::ring::geometry::{Geometry, GeometryChoice};
use linerate::ring::layout::rx_status;
use linerate::sys::packet::{Direction, RingVersion};
use linerate::wire::ethernet::VlanTag;

/// The smallest page, and here the size of all blocks.
pub const BLOCK_BYTES: usize = 4096;

/// A receive ring of `blocks` one-page blocks; `slot_bytes` matters to V2 only.
pub fn receive(version: RingVersion, blocks: usize, slot_bytes: usize) -> Geometry {
    geometry(version, Direction::Receive, blocks, slot_bytes)
}

/// A TX ring of `blocks` one-page blocks.
pub fn transmit(blocks: usize, slot_bytes: usize) -> Geometry {
    geometry(RingVersion::V2, Direction::Transmit, blocks, slot_bytes)
}

fn geometry(
    version: RingVersion,
    direction: Direction,
    blocks: usize,
    slot_bytes: usize,
) -> Geometry {
    let choice = GeometryChoice {
        block_bytes: Some(BLOCK_BYTES),
        blocks: Some(blocks),
        frame_bytes: Some(slot_bytes),
        ..GeometryChoice::default()
    };
    Geometry::plan(version, direction, 1500, choice, BLOCK_BYTES).expect("a valid geometry")
}

/// A frame of `length` bytes, at most 9000, unlike those of the numbers near it at every offset, so
/// that neither a torn nor a misplaced one goes unseen. Cut from one table: most of a debug build's
/// time would go into making bytes one by one.
pub fn frame(number: usize, length: usize) -> Vec<u8> {
    static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..16_384).map(|_| next()).collect()
    });
    let start = number * 61 % 7000;
    TABLE[start..start + length].to_vec()
}

/// Something that arrives, and what a receiver should see of it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its bytes, without the tag.
    pub bytes: Vec<u8>,
    /// Kernel stamp.
    pub stamp_ns: u64,
    /// Number of the packet type.
    pub packet_type: u8,
    /// Its stripped tag.
    pub tag: Option<VlanTag>,
    /// Status bits beside those of the tag.
    pub status: u32,
}

impl Sent {
    /// Frame `number` of `length` bytes with metadata that varies with the number.
    pub fn numbered(number: usize, length: usize) -> Sent {
        let tags = [None, Some(VlanTag::customer(number as u16, 3)), Some(VlanTag::service(0, 0))];
        let states = [0, rx_status::CHECKSUM_NOT_READY, rx_status::CHECKSUM_VALID];
        let by_nic = if number.is_multiple_of(2) { 0 } else { rx_status::NIC_STAMP };
        Sent {
            bytes: frame(number, length),
            stamp_ns: number as u64 * 1_000_000_007,
            packet_type: (number % 7) as u8,
            tag: tags[number % 3],
            status: states[number / 3 % 3] | by_nic,
        }
    }

    /// What the fake kernel is given.
    pub fn arrival(&self) -> Arrival<'_> {
        Arrival {
            frame: &self.bytes,
            tag: self.tag,
            stamp_ns: self.stamp_ns,
            packet_type: self.packet_type,
            status: self.status,
        }
    }

    /// What the receiver should be told.
    pub fn meta(&self) -> FrameMeta {
        let packet_type = match self.packet_type {
            0 => PacketType::Host,
            1 => PacketType::Broadcast,
            2 => PacketType::Multicast,
            3 => PacketType::OtherHost,
            4 => PacketType::Outgoing,
            _ => PacketType::Other,
        };
        let by_nic = self.status & rx_status::NIC_STAMP != 0;
        let (stamp_ns, nic_ns) = if by_nic { (0, self.stamp_ns) } else { (self.stamp_ns, 0) };
        let checksum = match self.status & !rx_status::NIC_STAMP {
            rx_status::CHECKSUM_NOT_READY => ChecksumState::Partial,
            rx_status::CHECKSUM_VALID => ChecksumState::Verified,
            _ => ChecksumState::Unchecked,
        };
        FrameMeta {
            wire_bytes: self.bytes.len() as u32,
            stamp_ns,
            nic_ns,
            packet_type,
            tag: self.tag,
            checksum,
        }
    }

    /// Checks a received frame against this one, of which the ring holds at most `room` bytes.
    pub fn assert_is(&self, received: &RxFrame<'_>, room: usize) {
        assert_eq!(received.meta, self.meta());
        let captured = self.bytes.len().min(room);
        assert_eq!(received.bytes(), &self.bytes[..captured]);
        assert_eq!(received.is_truncated(), captured < self.bytes.len());
    }
}
