//! Doing what a reply decided: an infallible edit, in place or fused into a copy.
//!
//! Both ways give the same bytes: a property test holds them together.

use std::ops::Range;

use crate::units::ETHERNET_HEADER_BYTES;
use crate::wire::checksum::Sum;
use crate::wire::ethernet::{VLAN_TAG_BYTES, VlanTag};
use crate::wire::transform::{uppercase, uppercase_copy, uppercase_copy_sum};
use crate::wire::udp::{UdpView, write_udp_checksum_from};

/// Bytes of both Ethernet addresses.
const ADDRESSES_BYTES: usize = 12;

/// Why a header's bytes are there: [`super::reply`] answers no shorter frame.
const WHOLE_HEADER: &str = "a reply is to a whole header";

/// What the engine does to payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transform {
    /// `a..=z` become `A..=Z`.
    #[default]
    Uppercase,
    /// Nothing.
    None,
}

/// What turns a received frame into its answer. Made by [`super::reply`] for one frame and valid
/// for that frame only: its offsets were checked against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Source address of the answer; its destination is the frame's source.
    pub source: [u8; 6],
    /// A tag to put back before the EtherType.
    pub tag: Option<VlanTag>,
    /// Where the payload is, in the received frame; what is before it and behind it is kept.
    pub payload_start: usize,
    /// End of the payload.
    pub payload_end: usize,
    /// What happens to the payload.
    pub transform: Transform,
    /// The datagram whose addresses and ports are swapped and whose checksum is made anew.
    pub udp: Option<UdpEdit>,
}

/// A UDP datagram to be turned round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpEdit {
    /// Where the IP header begins in the received frame.
    pub packet_start: usize,
    /// The datagram; its offsets count from there.
    pub view: UdpView,
    /// Whether it carries a checksum; over IPv4 it may carry none, and then neither does the answer.
    pub checksum: bool,
}

impl Edit {
    /// Bytes that the answer is longer than the frame: those of a tag put back.
    #[inline]
    pub fn growth(&self) -> usize {
        if self.tag.is_some() { VLAN_TAG_BYTES } else { 0 }
    }

    /// Writes the answer to `frame` into the beginning of `out` and returns its length: the frame's
    /// length plus [`Edit::growth`]. `out` must be at least that long.
    #[inline(always)]
    pub fn copy(&self, frame: &[u8], out: &mut [u8]) -> usize {
        let growth = self.growth();
        let length = frame.len() + growth;
        let out = &mut out[..length];
        let Range { start, end } = self.payload_start..self.payload_end;
        if start == ETHERNET_HEADER_BYTES {
            // Most frames have no more before their payload: two bytes without a call of memcpy.
            let ether_type: [u8; 2] = *frame[ADDRESSES_BYTES..].first_chunk().expect(WHOLE_HEADER);
            *out[ADDRESSES_BYTES + growth..].first_chunk_mut().expect(WHOLE_HEADER) = ether_type;
        } else {
            out[ADDRESSES_BYTES + growth..start + growth]
                .copy_from_slice(&frame[ADDRESSES_BYTES..start]);
        }
        if end < frame.len() {
            out[end + growth..].copy_from_slice(&frame[end..]);
        }
        let (from, to) = (&frame[start..end], &mut out[start + growth..end + growth]);
        match (self.transform, &self.udp) {
            (Transform::Uppercase, None) => uppercase_copy(from, to),
            (Transform::None, None) => to.copy_from_slice(from),
            (Transform::Uppercase, Some(udp)) => {
                let sum = uppercase_copy_sum(from, to);
                turn_round(&mut out[udp.packet_start + growth..], udp, sum);
            }
            (Transform::None, Some(udp)) => {
                to.copy_from_slice(from);
                turn_round(&mut out[udp.packet_start + growth..], udp, Sum::of(from));
            }
        }
        let destination: [u8; 6] = *frame[6..].first_chunk().expect(WHOLE_HEADER);
        self.write_addresses(destination, out);
        length
    }

    /// Edits the frame that begins at `start` of `room` and ends with it, and returns where in
    /// `room` the answer begins; it ends with `room` as well. `start` must be at least
    /// [`Edit::growth`].
    #[inline(always)]
    pub fn in_place(&self, room: &mut [u8], start: usize) -> usize {
        let frame = &mut room[start..];
        let destination: [u8; 6] = *frame[6..].first_chunk().expect(WHOLE_HEADER);
        let payload = &mut frame[self.payload_start..self.payload_end];
        if self.transform == Transform::Uppercase {
            uppercase(payload);
        }
        if let Some(udp) = &self.udp {
            let sum = Sum::of(payload);
            turn_round(&mut frame[udp.packet_start..], udp, sum);
        }
        let start = start - self.growth();
        self.write_addresses(destination, &mut room[start..]);
        start
    }

    #[inline(always)]
    fn write_addresses(&self, destination: [u8; 6], out: &mut [u8]) {
        *out.first_chunk_mut().expect(WHOLE_HEADER) = destination;
        *out[6..].first_chunk_mut().expect(WHOLE_HEADER) = self.source;
        if let Some(tag) = self.tag {
            *out[ADDRESSES_BYTES..].first_chunk_mut().expect(WHOLE_HEADER) = tag.bytes();
        }
    }
}

/// Swaps addresses and ports and writes the checksum; `payload` is the sum of the new payload.
#[inline]
fn turn_round(packet: &mut [u8], udp: &UdpEdit, payload: Sum) {
    let source = udp.view.source_address();
    let (before, destination) = packet.split_at_mut(udp.view.destination_address().start);
    let bytes = source.len();
    before[source].swap_with_slice(&mut destination[..bytes]);
    let ports = udp.view.udp_offset;
    let (source, destination) = packet[ports..ports + 4].split_at_mut(2);
    source.swap_with_slice(destination);
    if udp.checksum {
        write_udp_checksum_from(packet, &udp.view, payload);
    }
}

/// A whole Ethernet header is the least that an edit works on.
const _: () = assert!(ETHERNET_HEADER_BYTES == ADDRESSES_BYTES + 2);
