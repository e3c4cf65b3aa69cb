//! Padding behind a frame that a tag was taken off: no part of the frame, so no part of its echo.
//!
//! Some drivers (igb, e1000e and others) pad received frames to the smallest size without a tag
//! (`eth_skb_pad`), after the device took the tag off (RX-18). With the tag put back, the echo would be up to
//! four bytes longer than the frame.

use crate::ring::frame::FrameMeta;
use crate::units::PADDED_BYTES;
use crate::wire::ethernet::{self, EtherType, VLAN_TAG_BYTES};
use crate::wire::ip::parse_ip;
use crate::wire::probe::{Expectation, Probe, Verdict};

/// The length of a received frame without such padding: what IP or the length of an 802.3 frame says, or where the
/// text of a probe ends; all of it where nobody says.
#[inline]
pub fn frame_bytes(meta: &FrameMeta, bytes: &[u8]) -> usize {
    if meta.tag.is_none() || bytes.len() != PADDED_BYTES || meta.wire_bytes as usize != PADDED_BYTES
    {
        return bytes.len();
    }
    unpadded_bytes(bytes).unwrap_or(bytes.len())
}

#[cold]
fn unpadded_bytes(bytes: &[u8]) -> Option<usize> {
    // On the wire, with its tag, the frame was no shorter than the smallest.
    let bytes_min = bytes.len() - VLAN_TAG_BYTES;
    let inside = ethernet::payload(bytes)?;
    let payload = &bytes[inside.offset..];
    let EtherType(length) = inside.ether_type;
    let payload_bytes = if inside.ether_type.is_ip() {
        parse_ip(payload, inside.ether_type).ok()?.end
    } else if inside.ether_type.is_length() {
        length.into()
    } else {
        text_bytes(payload, bytes_min - inside.offset)?
    };
    let end = inside.offset + payload_bytes;
    (end <= bytes.len()).then_some(end.max(bytes_min))
}

/// The length of a probe whose text ends before zeros, where that is not before `bytes_min`.
fn text_bytes(payload: &[u8], bytes_min: usize) -> Option<usize> {
    let probe = Probe::read(payload)?;
    let zeros = payload.iter().rev().take_while(|&&byte| byte == 0).count();
    let end = (payload.len() - zeros).max(bytes_min);
    (probe.verify(&payload[..end], Expectation::Same) == Verdict::Intact).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::frame::{ChecksumState, PacketType};
    use crate::wire::ethernet::VlanTag;
    use crate::wire::headers::{IpAddresses, UdpHeaders};

    fn meta(tag: Option<VlanTag>) -> FrameMeta {
        FrameMeta {
            wire_bytes: PADDED_BYTES as u32,
            stamp_ns: 0,
            nic_ns: 0,
            packet_type: PacketType::Host,
            tag,
            checksum: ChecksumState::Unchecked,
        }
    }

    fn tagged(bytes: &[u8]) -> usize {
        frame_bytes(&meta(Some(VlanTag::customer(100, 0))), bytes)
    }

    /// A frame of this EtherType that was padded.
    fn padded(ether_type: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = [&[2; 12], &ether_type.to_be_bytes()[..], payload].concat();
        bytes.resize(PADDED_BYTES, 0);
        bytes
    }

    fn probe(bytes: usize) -> Vec<u8> {
        let mut payload = vec![0; bytes];
        Probe::new(3, 77).write(&mut payload).unwrap();
        payload
    }

    #[test]
    fn a_probe_ends_where_its_text_does() {
        for bytes in 56..=60 {
            let frame = padded(0x88b5, &probe(bytes - 14));
            assert_eq!(tagged(&frame), bytes);
            assert_eq!(frame_bytes(&meta(None), &frame), 60, "nothing was taken off");
        }
        let behind_a_tag = [&[0, 7, 0x88, 0xb5], &probe(39)[..]].concat();
        assert_eq!(tagged(&padded(0x8100, &behind_a_tag)), 57);
        // Zeros in the place of its text are no padding.
        let mut damaged = padded(0x88b5, &probe(46));
        damaged[50..].fill(0);
        assert_eq!(tagged(&damaged), 60);
        assert_eq!(tagged(&padded(0x88b5, &probe(41))), 60, "shorter than the wire's smallest");
        assert_eq!(tagged(&padded(0x88b5, b"no probe")), 60);
    }

    #[test]
    fn a_packet_or_an_802_3_frame_says_how_long_it_is() {
        for bytes in 42..=60 {
            let headers = UdpHeaders {
                addresses: IpAddresses::pair([192, 0, 2, 1], [192, 0, 2, 2]).unwrap(),
                source_port: 5000,
                destination_port: 7,
                hop_limit: 64,
            };
            let mut packet = vec![b'x'; 46];
            headers.write(&mut packet, bytes - 14 - 28).unwrap_or_else(|_| panic!("{bytes}"));
            // Shorter ones were padded by their sender as well.
            assert_eq!(tagged(&padded(0x0800, &packet)), bytes.max(56), "{bytes}");
            assert_eq!(tagged(&padded(bytes as u16 - 14, &packet)), bytes.max(56));
        }
        assert_eq!(tagged(&padded(0x0800, &[0x45, 0, 5, 0])), 60, "no packet");
        assert_eq!(tagged(&padded(1500, &[0x42; 40])), 60, "no frame");
    }
}
