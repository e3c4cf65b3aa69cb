//! A received frame on loan: its bytes, room to grow at the front, and what the kernel knows of it.

use super::layout::{ADDRESS_BYTES, ADDRESS_PACKET_TYPE, rx_status, v2, v3};
use super::layout::{read_u16, read_u32};
use super::view::umem::{Frame, LentFrame};
use crate::sys::packet::Message;
use crate::wire::ethernet::{EtherType, VlanTag};

/// The addressee of a frame, as the kernel sees it (`sll_pkttype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketType {
    /// To this interface.
    Host,
    /// To the broadcast address.
    Broadcast,
    /// To a group address.
    Multicast,
    /// To another host.
    OtherHost,
    /// Sent by this machine and looped back.
    Outgoing,
    /// Anything else (`PACKET_LOOPBACK`, `PACKET_FASTROUTE` and what newer kernels add).
    Other,
}

impl PacketType {
    /// From the number in `sll_pkttype`.
    #[inline]
    pub fn from_number(number: u8) -> PacketType {
        match number {
            0 => PacketType::Host,
            1 => PacketType::Broadcast,
            2 => PacketType::Multicast,
            3 => PacketType::OtherHost,
            4 => PacketType::Outgoing,
            _ => PacketType::Other,
        }
    }
}

/// What is known of a frame's transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumState {
    /// The receive path cannot tell: the field may be half done.
    Unseen,
    /// The field is as it came from the wire, unchecked.
    Unchecked,
    /// The sender's stack left only the pseudo-header sum in the field (RX-9).
    Partial,
    /// The kernel or the interface found it right.
    Verified,
}

impl ChecksumState {
    /// By the status word of a frame (`tp_status`), in a ring or in auxiliary data.
    #[inline]
    pub fn from_status(status: u32) -> ChecksumState {
        if status & rx_status::CHECKSUM_NOT_READY != 0 {
            ChecksumState::Partial
        } else if status & rx_status::CHECKSUM_VALID != 0 {
            ChecksumState::Verified
        } else {
            ChecksumState::Unchecked
        }
    }
}

/// What the kernel says of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameMeta {
    /// Bytes on the wire, without FCS and without a stripped tag.
    pub wire_bytes: u32,
    /// Kernel stamp in nanoseconds on `CLOCK_REALTIME` (RX-12); where the receive path has none, the time
    /// at which the receive call returned; 0 if stamps are off.
    pub stamp_ns: u64,
    /// The device's own stamp, in nanoseconds on its clock (RX-19); 0 without one. A ring has one stamp a
    /// frame: with this one there is no kernel stamp.
    pub nic_ns: u64,
    /// The addressee.
    pub packet_type: PacketType,
    /// The outer VLAN tag, which the kernel takes off received frames (RX-7).
    pub tag: Option<VlanTag>,
    /// State of the transport checksum.
    pub checksum: ChecksumState,
}

impl FrameMeta {
    /// Of a frame that was received as a message.
    #[inline]
    pub fn of_message(message: &Message<'_>) -> FrameMeta {
        let Message { auxiliary, .. } = message;
        FrameMeta {
            wire_bytes: message.wire_bytes as u32,
            stamp_ns: message.stamp_ns,
            nic_ns: message.nic_ns,
            packet_type: PacketType::from_number(message.packet_type),
            tag: stripped_tag(auxiliary.status, auxiliary.tag_control, auxiliary.tag_protocol),
            checksum: ChecksumState::from_status(auxiliary.status),
        }
    }
}

/// A frame on loan from a ring or a receive buffer.
#[derive(Debug)]
pub struct RxFrame<'a> {
    /// What the kernel says of it.
    pub meta: FrameMeta,
    room: Room<'a>,
    start: usize,
}

/// Where a frame lies. Which of the two it is follows from the receive half, so a loop over one half
/// has no branch on it.
#[derive(Debug)]
enum Room<'a> {
    /// Bytes that go back when the batch does; the frame ends with them.
    Bytes(&'a mut [u8]),
    /// A frame of a UMEM, which may be taken away and sent as it is.
    Umem { frame: LentFrame<'a>, end: usize },
}

impl<'a> RxFrame<'a> {
    /// A frame that begins at `start` of `room`; the bytes before it are free for the taker, who
    /// may let the frame grow into them. `start` is at most the length of `room`.
    #[inline]
    pub fn new(meta: FrameMeta, room: &'a mut [u8], start: usize) -> RxFrame<'a> {
        debug_assert!(start <= room.len());
        RxFrame { meta, room: Room::Bytes(room), start }
    }

    /// The frame in the bytes from `start` to `end` of a frame of a UMEM, as [`RxFrame::new`].
    #[inline]
    pub fn in_umem(meta: FrameMeta, frame: LentFrame<'a>, start: usize, end: usize) -> RxFrame<'a> {
        debug_assert!(start <= end && end <= frame.peek().len());
        RxFrame { meta, room: Room::Umem { frame, end }, start }
    }

    /// The captured bytes, from the Ethernet header on, without FCS.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match &self.room {
            Room::Bytes(room) => &room[self.start..],
            Room::Umem { frame, end } => &frame.peek()[self.start..*end],
        }
    }

    /// Whether bytes of the frame are missing.
    #[inline]
    pub fn is_truncated(&self) -> bool {
        self.bytes().len() < self.meta.wire_bytes as usize
    }

    /// Cuts what is behind the first `bytes` bytes off, which are at most as many as there are: it was no part of
    /// the frame.
    #[inline]
    pub fn cut(&mut self, bytes: usize) {
        let cut_end = self.start + bytes;
        match &mut self.room {
            Room::Bytes(room) => *room = &mut std::mem::take(room)[..cut_end],
            Room::Umem { end, .. } => *end = cut_end,
        }
        self.meta.wire_bytes = bytes as u32;
    }

    /// The room with the frame at its end, and where in it the frame begins.
    #[inline]
    pub fn into_room(self) -> (&'a mut [u8], usize) {
        match self.room {
            Room::Bytes(room) => (room, self.start),
            Room::Umem { frame, end } => (&mut frame.into_bytes()[..end], self.start),
        }
    }

    /// The same, still on loan.
    #[inline]
    pub fn room(&mut self) -> (&mut [u8], usize) {
        match &mut self.room {
            Room::Bytes(room) => (room, self.start),
            Room::Umem { frame, end } => (&mut frame.bytes()[..*end], self.start),
        }
    }

    /// Takes the frame of the UMEM that it lies in away from its batch; `None` if it lies in none.
    #[inline]
    pub fn into_umem(self) -> Option<Frame> {
        match self.room {
            Room::Bytes(_) => None,
            Room::Umem { frame, .. } => Some(frame.take()),
        }
    }
}

/// A frame as the headers in a ring describe it; positions are unchecked claims.
#[derive(Clone, Copy, Debug)]
pub(in crate::ring) struct Described {
    pub meta: FrameMeta,
    /// Claimed start of the Ethernet header, from the frame header on.
    pub mac: usize,
    /// Claimed number of captured bytes.
    pub captured: usize,
}

/// Reads a `TPACKET_V2` frame whose status word is `status` and whose bytes after it are `body`;
/// `None` if `body` is shorter than the headers.
#[inline]
pub(in crate::ring) fn describe_v2(status: u32, body: &[u8]) -> Option<Described> {
    const BODY: usize = v2::STATUS + 4;
    let header: &[u8; v2::HEADER_BYTES + ADDRESS_BYTES - BODY] = body.first_chunk()?;
    let word = |at: usize| read_u32(header, at - BODY);
    let half = |at: usize| read_u16(header, at - BODY);
    let (stamp_ns, nic_ns) = stamps(status, word(v2::SECONDS)?, word(v2::NANOSECONDS)?);
    Some(Described {
        meta: FrameMeta {
            wire_bytes: word(v2::WIRE_BYTES)?,
            stamp_ns,
            nic_ns,
            packet_type: packet_type(header, v2::HEADER_BYTES - BODY),
            tag: stripped_tag(status, half(v2::VLAN_TCI)?, half(v2::VLAN_TPID)?),
            checksum: ChecksumState::from_status(status),
        },
        mac: half(v2::MAC)?.into(),
        captured: word(v2::CAPTURED_BYTES)? as usize,
    })
}

/// Reads a `TPACKET_V3` frame; `None` if `frame` is shorter than the headers.
#[inline]
pub(in crate::ring) fn describe_v3(frame: &[u8]) -> Option<Described> {
    let header: &[u8; v3::HEADER_BYTES + ADDRESS_BYTES] = frame.first_chunk()?;
    let word = |at: usize| read_u32(header, at);
    let half = |at: usize| read_u16(header, at);
    // Information only: in V3 the block's word decides whose the bytes are.
    let status = word(v3::STATUS)?;
    let (stamp_ns, nic_ns) = stamps(status, word(v3::SECONDS)?, word(v3::NANOSECONDS)?);
    Some(Described {
        meta: FrameMeta {
            wire_bytes: word(v3::WIRE_BYTES)?,
            stamp_ns,
            nic_ns,
            packet_type: packet_type(header, v3::HEADER_BYTES),
            tag: stripped_tag(status, word(v3::VLAN_TCI)? as u16, half(v3::VLAN_TPID)?),
            checksum: ChecksumState::from_status(status),
        },
        mac: half(v3::MAC)?.into(),
        captured: word(v3::CAPTURED_BYTES)? as usize,
    })
}

/// The kernel's stamp and the device's, one of which is 0.
#[inline]
fn stamps(status: u32, seconds: u32, nanoseconds: u32) -> (u64, u64) {
    let stamp_ns = u64::from(seconds) * 1_000_000_000 + u64::from(nanoseconds);
    if status & rx_status::NIC_STAMP == 0 { (stamp_ns, 0) } else { (0, stamp_ns) }
}

#[inline]
fn packet_type(header: &[u8], address: usize) -> PacketType {
    PacketType::from_number(header[address + ADDRESS_PACKET_TYPE])
}

/// The tag that the kernel took off a frame, by the status word (`tp_status`), control information
/// and protocol identifier that it told of it, in a ring or in auxiliary data.
#[inline]
pub fn stripped_tag(status: u32, tci: u16, tpid: u16) -> Option<VlanTag> {
    // The bit decides, not the value: a priority tag of VLAN 0 has control information 0.
    if status & rx_status::VLAN_VALID == 0 {
        return None;
    }
    // Kernels before 3.14 give no identifier; then it was 802.1Q.
    let tpid = if status & rx_status::VLAN_TPID_VALID == 0 { EtherType::VLAN.0 } else { tpid };
    Some(VlanTag { tpid, tci })
}
