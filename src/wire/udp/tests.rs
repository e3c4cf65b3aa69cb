use super::*;
use crate::wire::checksum;
use crate::wire::headers::{IpAddresses, UdpHeaders};
use crate::wire::ip::{EXTENSION_HEADERS_MAX, IPV6_HEADER_BYTES, ipv4_header_checksum};
use proptest::collection::vec;
use proptest::prelude::*;

const PAYLOAD: &[u8] = b"hello server!";
const PADDING: usize = 5;

fn headers(version: IpVersion) -> UdpHeaders {
    let addresses = match version {
        IpVersion::V4 => IpAddresses::pair([192, 168, 0, 1], [192, 168, 0, 199]),
        IpVersion::V6 => {
            IpAddresses::pair([0xfe80u16, 0, 0, 0, 0, 0, 0, 1], [0xfe80u16, 0, 0, 0, 0, 0, 0, 2])
        }
    };
    let addresses = addresses.unwrap();
    UdpHeaders { addresses, source_port: 4000, destination_port: 7, hop_limit: 64 }
}

fn ether_type(version: IpVersion) -> EtherType {
    match version {
        IpVersion::V4 => EtherType::IPV4,
        IpVersion::V6 => EtherType::IPV6,
    }
}

/// A packet with a right checksum, and Ethernet padding behind it.
fn packet(version: IpVersion, payload: &[u8]) -> (Vec<u8>, UdpView) {
    let headers = headers(version);
    let mut packet = vec![0xee; headers.header_bytes() + payload.len() + PADDING];
    let mut view = headers.write(&mut packet, payload.len()).unwrap();
    packet[view.payload()].copy_from_slice(payload);
    view.checksum = write_udp_checksum(&mut packet, &view).unwrap();
    (packet, view)
}

fn with_ipv4_header(change: impl FnOnce(&mut Vec<u8>)) -> Result<UdpView, NotUdp> {
    let (mut packet, _) = packet(IpVersion::V4, PAYLOAD);
    change(&mut packet);
    let header_bytes = (usize::from(packet[0] & 15) * 4).min(packet.len());
    if header_bytes >= 20 {
        let checksum = ipv4_header_checksum(&packet[..header_bytes]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    parse_udp(&packet, EtherType::IPV4)
}

/// An IPv6 packet with these extension headers, `(type, bytes without the next-header field)`.
fn with_extensions(extensions: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let (mut packet, view) = packet(IpVersion::V6, PAYLOAD);
    packet.truncate(view.datagram().end);
    let mut next_header_at = 6;
    let mut chain = Vec::new();
    for (kind, rest) in extensions {
        match next_header_at {
            6 => packet[6] = *kind,
            at => chain[at - IPV6_HEADER_BYTES] = *kind,
        }
        next_header_at = IPV6_HEADER_BYTES + chain.len();
        chain.push(protocol::UDP);
        chain.extend(rest);
    }
    let length = (usize::from(view.udp_bytes) + chain.len()) as u16;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet.splice(IPV6_HEADER_BYTES..IPV6_HEADER_BYTES, chain);
    packet
}

#[test]
fn the_header_checksum_of_a_known_packet() {
    let header =
        [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 192, 168, 0, 1, 192, 168, 0, 199];
    assert_eq!(ipv4_header_checksum(&header), 0xb861);
    let (packet, _) = packet(IpVersion::V4, &[0; 0x73 - 28]);
    assert_eq!(packet[..20], header);
}

#[test]
fn what_was_built_is_read_back() {
    for version in [IpVersion::V4, IpVersion::V6] {
        let (packet, view) = packet(version, PAYLOAD);
        assert_eq!(parse_udp(&packet, ether_type(version)), Ok(view));
        assert_eq!(&packet[view.payload()], PAYLOAD);
        assert_eq!((view.source_port, view.destination_port), (4000, 7));
        assert!(udp_checksum_ok(&packet, &view));
        assert!(packet[packet.len() - PADDING..].iter().all(|byte| *byte == 0xee));
    }
}

#[test]
fn too_little_room_and_too_long_payloads_are_refused() {
    let headers = headers(IpVersion::V4);
    assert!(headers.write(&mut [0; 45], 18).unwrap_err().contains("46"));
    assert!(headers.write(&mut [], usize::MAX).is_err());
    assert!(headers.write(&mut vec![0; 70_000], 65_536 - 28).is_err());
    assert!(headers.write(&mut vec![0; 70_000], 65_535 - 28).is_ok());
    assert_eq!(IpAddresses::pair([10, 0, 0, 1], [0u16, 0, 0, 0, 0, 0, 0, 1]), None);
}

#[test]
fn ipv4_options_are_passed_over() {
    let view = with_ipv4_header(|packet| {
        packet[0] = 0x46;
        packet[3] += 4;
        packet.splice(20..20, [1, 1, 1, 0]);
    });
    let view = view.unwrap();
    assert_eq!((view.udp_offset, view.payload()), (24, 32..32 + PAYLOAD.len()));
}

#[test]
fn malformed_ipv4_is_refused_by_name() {
    let changed = |at: usize, to: u8| with_ipv4_header(|packet| packet[at] = to);
    assert_eq!(changed(0, 0x65), Err(NotUdp::Ip(BadIp::BadHeader)));
    assert_eq!(changed(0, 0x44), Err(NotUdp::Ip(BadIp::BadHeader)));
    assert_eq!(changed(3, 19), Err(NotUdp::Ip(BadIp::BadHeader)));
    assert_eq!(changed(3, 27), Err(NotUdp::BadUdpLength));
    assert_eq!(changed(2, 1), Err(NotUdp::Ip(BadIp::Truncated)));
    assert_eq!(changed(6, 0x20), Err(NotUdp::Ip(BadIp::Fragment)));
    assert_eq!(changed(7, 1), Err(NotUdp::Ip(BadIp::Fragment)));
    assert_eq!(changed(9, 6), Err(NotUdp::NotUdp));
    assert!(changed(6, 0).is_ok(), "fragmentation allowed is no fragment");
    assert_eq!(with_ipv4_header(|packet| packet.truncate(19)), Err(NotUdp::Ip(BadIp::Truncated)));

    let (mut packet, _) = packet(IpVersion::V4, PAYLOAD);
    packet[8] -= 1;
    assert_eq!(parse_udp(&packet, EtherType::IPV4), Err(NotUdp::Ip(BadIp::BadChecksum)));
    assert_eq!(parse_udp(&packet, EtherType::IPV6), Err(NotUdp::Ip(BadIp::BadHeader)));
    assert_eq!(parse_udp(&packet, EtherType::ARP), Err(NotUdp::Ip(BadIp::NotIp)));
    assert_eq!(parse_udp(&[], EtherType::IPV6), Err(NotUdp::Ip(BadIp::Truncated)));
}

#[test]
fn impossible_udp_lengths_are_refused() {
    for version in [IpVersion::V4, IpVersion::V6] {
        let (original, view) = packet(version, PAYLOAD);
        for (length, possible) in [(0, false), (7, false), (8, true), (21, true), (22, false)] {
            let mut packet = original.clone();
            packet[view.udp_offset + 5] = length;
            let parsed = parse_udp(&packet, ether_type(version));
            match possible {
                true => assert_eq!(parsed.unwrap().payload().len(), usize::from(length) - 8),
                false => assert_eq!(parsed, Err(NotUdp::BadUdpLength), "{length}"),
            }
        }
    }
}

#[test]
fn ipv6_extension_headers_are_walked() {
    let options = |units: u8| [vec![units, 1, 4], vec![0; 4 + usize::from(units) * 8]].concat();
    let authentication = [vec![4, 0, 0], vec![9; 20]].concat();
    let chain = [
        (protocol::HOP_BY_HOP, options(0)),
        (protocol::DESTINATION_OPTIONS, options(1)),
        (protocol::ROUTING, vec![0, 4, 0, 0, 0, 0, 0]),
        (protocol::AUTHENTICATION, authentication),
    ];
    let packet = with_extensions(&chain);
    let view = parse_udp(&packet, EtherType::IPV6).unwrap();
    assert_eq!(view.udp_offset, 40 + 8 + 16 + 8 + 24);
    assert_eq!(&packet[view.payload()], PAYLOAD);
    assert!(udp_checksum_ok(&packet, &view));
    for cut in 0..packet.len() {
        assert_eq!(parse_udp(&packet[..cut], EtherType::IPV6), Err(NotUdp::Ip(BadIp::Truncated)));
    }
}

#[test]
fn malformed_ipv6_is_refused_by_name() {
    let parse = |extensions: &[_]| parse_udp(&with_extensions(extensions), EtherType::IPV6);
    let empty = || vec![0; 7];
    assert!(parse(&[]).is_ok());
    let fragment = (protocol::FRAGMENT, empty());
    assert_eq!(parse(&[fragment]), Err(NotUdp::Ip(BadIp::Fragment)));
    let unfinished = (protocol::ROUTING, vec![0, 4, 1, 0, 0, 0, 0]);
    assert_eq!(parse(&[unfinished]), Err(NotUdp::Ip(BadIp::BadHeader)));
    let second = [(protocol::DESTINATION_OPTIONS, empty()), (protocol::HOP_BY_HOP, empty())];
    assert_eq!(parse(&second), Err(NotUdp::Ip(BadIp::BadHeader)));
    let too_long = (protocol::HOP_BY_HOP, vec![255, 0, 0, 0, 0, 0, 0]);
    assert_eq!(parse(&[too_long]), Err(NotUdp::Ip(BadIp::BadHeader)));
    let many = vec![(protocol::DESTINATION_OPTIONS, empty()); EXTENSION_HEADERS_MAX];
    assert!(parse(&many).is_ok());
    let too_many = vec![(protocol::DESTINATION_OPTIONS, empty()); EXTENSION_HEADERS_MAX + 1];
    assert_eq!(parse(&too_many), Err(NotUdp::Ip(BadIp::BadHeader)));
    let icmp = (58, empty());
    assert_eq!(parse(&[icmp]), Err(NotUdp::NotUdp));
}

#[test]
fn no_checksum_is_right_over_ipv4_only() {
    for (version, right) in [(IpVersion::V4, true), (IpVersion::V6, false)] {
        let (mut packet, view) = packet(version, PAYLOAD);
        packet[view.checksum_field()].fill(0);
        let view = parse_udp(&packet, ether_type(version)).unwrap();
        assert_eq!(udp_checksum_ok(&packet, &view), right);
    }
}

#[test]
fn a_view_of_other_bytes_is_harmless() {
    let (packet, view) = packet(IpVersion::V6, PAYLOAD);
    for bytes in 0..view.datagram().end {
        let mut cut = packet[..bytes].to_vec();
        assert!(!udp_checksum_ok(&cut, &view));
        assert_eq!(write_udp_checksum(&mut cut, &view), None);
    }
}

proptest! {
    #[test]
    fn checksums_are_the_plain_ones(v6: bool, payload in vec(any::<u8>(), 0..300)) {
        let version = if v6 { IpVersion::V6 } else { IpVersion::V4 };
        let (mut packet, view) = packet(version, &payload);
        prop_assert_eq!(parse_udp(&packet, ether_type(version)), Ok(view));
        prop_assert!(udp_checksum_ok(&packet, &view));

        let mut summed = packet[version.addresses()].to_vec();
        summed.extend([0, protocol::UDP]);
        summed.extend(view.udp_bytes.to_be_bytes());
        packet[view.checksum_field()].fill(0);
        summed.extend(&packet[view.datagram()]);
        let plain = !checksum::oracle(&summed);
        prop_assert_eq!(view.checksum, if plain == 0 { 0xffff } else { plain });
    }

    #[test]
    fn a_checksum_of_zero_is_sent_as_all_ones(v6: bool, mut payload in vec(any::<u8>(), 2..50)) {
        let version = if v6 { IpVersion::V6 } else { IpVersion::V4 };
        payload[..2].fill(0);
        let (_, view) = packet(version, &payload);
        // Adding the checksum to the payload makes the sum all ones, whose complement is zero.
        payload[..2].copy_from_slice(&view.checksum.to_be_bytes());
        let (packet, view) = packet(version, &payload);
        prop_assert_eq!(view.checksum, 0xffff);
        prop_assert!(udp_checksum_ok(&packet, &view));
    }

    #[test]
    fn a_changed_byte_of_the_datagram_is_noticed(
        v6: bool,
        at in any::<prop::sample::Index>(),
        damage in 1u8..,
    ) {
        let version = if v6 { IpVersion::V6 } else { IpVersion::V4 };
        let (mut packet, view) = packet(version, PAYLOAD);
        packet[view.udp_offset + at.index(usize::from(view.udp_bytes))] ^= damage;
        // A changed length may be impossible; a field changed to 0 would mean "none".
        if let Ok(view) = parse_udp(&packet, ether_type(version)) {
            prop_assert!(!udp_checksum_ok(&packet, &view) || view.checksum == 0);
        }
    }

    #[test]
    fn swapping_ends_keeps_the_checksum(v6: bool, payload in vec(any::<u8>(), 0..50)) {
        let version = if v6 { IpVersion::V6 } else { IpVersion::V4 };
        let (mut packet, view) = packet(version, &payload);
        let addresses = packet[view.version.addresses()].to_vec();
        let (source, destination) = addresses.split_at(addresses.len() / 2);
        packet[view.source_address()].copy_from_slice(destination);
        packet[view.destination_address()].copy_from_slice(source);
        packet[view.udp_offset..view.udp_offset + 4].rotate_left(2);
        let swapped = parse_udp(&packet, ether_type(version)).unwrap();
        prop_assert_eq!(swapped.source_port, view.destination_port);
        prop_assert!(udp_checksum_ok(&packet, &swapped));
        let payload_sum = Sum::of(&payload);
        prop_assert_eq!(udp_checksum_from(&packet, &swapped, payload_sum), Some(view.checksum));
    }

    #[test]
    fn no_bytes_make_it_panic(
        mut bytes in vec(any::<u8>(), 0..200),
        shape in 0u8..3,
        next_header in prop::sample::select(vec![0u8, 17, 43, 44, 51, 60]),
    ) {
        // Mostly with a believable first part, so that the walk gets somewhere.
        let ether_type = if shape == 1 { EtherType::IPV4 } else { EtherType::IPV6 };
        if shape != 0 && bytes.len() >= 40 {
            bytes[2] = 0;
            bytes[3] = bytes.len() as u8;
            bytes[4] = 0;
            bytes[5] = (bytes.len() - 40) as u8;
            bytes[6] = next_header;
            bytes[0] = if shape == 1 { 0x45 } else { 0x60 };
            if shape == 1 {
                bytes[6] = 0;
                bytes[7] = 0;
                bytes[9] = protocol::UDP;
                let checksum = ipv4_header_checksum(&bytes[..20]);
                bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
        }
        if let Ok(view) = parse_udp(&bytes, ether_type) {
            prop_assert!(view.datagram().end <= bytes.len());
            prop_assert!(view.payload().start <= view.payload().end);
            let _ = udp_checksum_ok(&bytes, &view);
        }
    }
}
