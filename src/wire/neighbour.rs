//! Asking the link who has an IP address: ARP (RFC 826) and neighbour solicitation (RFC 4861).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::{Sum, pseudo_header};
use super::ethernet::{self, EtherType, MacAddress, write_header};

/// Bytes of an ARP packet for IPv4 over Ethernet (RFC 826).
const ARP_BYTES: usize = 28;
/// What an ARP packet for IPv4 over Ethernet begins with: hardware and protocol, and how long their
/// addresses are.
const ARP_KIND: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;

/// Bytes of an IPv6 header (RFC 8200, section 3).
const IPV6_BYTES: usize = 40;
const ICMPV6: u8 = 58;
/// Neighbour messages cross no router; a lower value means that the message is not from this link
/// (RFC 4861, section 7.1).
const HOP_LIMIT: u8 = 255;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Bytes of both messages, up to their options: type, code, checksum, flags, target.
const MESSAGE_BYTES: usize = 24;
const SOURCE_OPTION: u8 = 1;
const TARGET_OPTION: u8 = 2;
/// Bytes of an option that holds a hardware address.
const OPTION_BYTES: usize = 8;

/// The shortest frame, without FCS.
const FRAME_BYTES_MIN: usize = 60;

/// The frame with which the station `asker` asks the link for `wanted`, from the address `from`.
/// Without an address of that IP version it asks without a source: answers then go to all (ARP probe,
/// RFC 5227; duplicate address detection, RFC 4862).
pub fn question(asker: MacAddress, from: Option<IpAddr>, wanted: IpAddr) -> Vec<u8> {
    match (wanted, from) {
        (IpAddr::V4(wanted), Some(IpAddr::V4(from))) => arp_request(asker, from, wanted),
        (IpAddr::V4(wanted), _) => arp_request(asker, Ipv4Addr::UNSPECIFIED, wanted),
        (IpAddr::V6(wanted), Some(IpAddr::V6(from))) => solicitation(asker, from, wanted),
        (IpAddr::V6(wanted), _) => solicitation(asker, Ipv6Addr::UNSPECIFIED, wanted),
    }
}

/// The hardware address of `wanted`, if that is what `frame` answers.
pub fn answer(frame: &[u8], wanted: IpAddr) -> Option<MacAddress> {
    let ethernet::EthernetPayload { ether_type, offset, .. } = ethernet::payload(frame)?;
    let packet = &frame[offset..];
    let mac = match wanted {
        IpAddr::V4(wanted) if ether_type == EtherType::ARP => arp_reply(packet, wanted)?,
        IpAddr::V6(wanted) if ether_type == EtherType::IPV6 => advertised(packet, wanted)?,
        _ => return None,
    };
    // An advertisement to one station alone may leave its address to the Ethernet header.
    let mac = mac.or_else(|| ethernet::source(frame))?;
    (!mac.is_group() && !mac.is_zero()).then_some(mac)
}

fn framed(destination: MacAddress, source: MacAddress, kind: EtherType, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; crate::units::ETHERNET_HEADER_BYTES];
    write_header(&mut frame, destination, source, &[], kind);
    frame.extend_from_slice(packet);
    frame.resize(frame.len().max(FRAME_BYTES_MIN), 0);
    frame
}

fn arp_request(asker: MacAddress, from: Ipv4Addr, wanted: Ipv4Addr) -> Vec<u8> {
    let unknown = [0; 6];
    let packet = [
        &ARP_KIND[..],
        &ARP_REQUEST.to_be_bytes(),
        &asker.0,
        &from.octets(),
        &unknown,
        &wanted.octets(),
    ]
    .concat();
    framed(MacAddress::BROADCAST, asker, EtherType::ARP, &packet)
}

fn arp_reply(packet: &[u8], wanted: Ipv4Addr) -> Option<Option<MacAddress>> {
    let packet = packet.get(..ARP_BYTES)?;
    let is_reply = packet[..6] == ARP_KIND && packet[6..8] == ARP_REPLY.to_be_bytes();
    let is_wanted = packet[14..18] == wanted.octets();
    (is_reply && is_wanted).then(|| packet[8..].first_chunk().copied().map(MacAddress))
}

fn solicitation(asker: MacAddress, from: Ipv6Addr, wanted: Ipv6Addr) -> Vec<u8> {
    // The group of all who may have this address (RFC 4291, section 2.7.1), and its Ethernet
    // address (RFC 2464, section 7).
    let [.., x, y, z] = wanted.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z]);
    let destination = MacAddress([0x33, 0x33, 0xff, x, y, z]);
    let mut message = vec![0; MESSAGE_BYTES];
    message[0] = SOLICITATION;
    message[8..24].copy_from_slice(&wanted.octets());
    // Whoever has no address yet must not say where to answer to (RFC 4861, section 4.3).
    if !from.is_unspecified() {
        message.extend_from_slice(&[SOURCE_OPTION, 1]);
        message.extend_from_slice(&asker.0);
    }
    let addresses = [from.octets(), group.octets()].concat();
    let length = message.len() as u16;
    let sum = Sum::of(&message) + pseudo_header(&addresses, ICMPV6, length);
    message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    let header = [0x60, 0, 0, 0, 0, length as u8, ICMPV6, HOP_LIMIT];
    let packet = [&header[..], &addresses, &message].concat();
    framed(destination, asker, EtherType::IPV6, &packet)
}

fn advertised(packet: &[u8], wanted: Ipv6Addr) -> Option<Option<MacAddress>> {
    let (header, rest) = packet.split_at_checked(IPV6_BYTES)?;
    let length = u16::from_be_bytes([header[4], header[5]]);
    let message = rest.get(..usize::from(length))?;
    let fixed = message.get(..MESSAGE_BYTES)?;
    let is_advertisement = header[0] >> 4 == 6
        && header[6..8] == [ICMPV6, HOP_LIMIT]
        && fixed[..2] == [ADVERTISEMENT, 0]
        && fixed[8..24] == wanted.octets();
    let sum = Sum::of(message) + pseudo_header(&header[8..], ICMPV6, length);
    if !is_advertisement || sum.checksum() != 0 {
        return None;
    }
    let mut options = message[MESSAGE_BYTES..].chunks_exact(OPTION_BYTES);
    let target = options.find(|option| option[..2] == [TARGET_OPTION, 1]);
    Some(target.and_then(|option| option[2..].first_chunk().copied()).map(MacAddress))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const THERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The advertisement of `wanted` by [`THERE`], with or without its option.
    fn advertisement(wanted: &str, with_option: bool) -> Vec<u8> {
        let IpAddr::V6(wanted) = ip(wanted) else { unreachable!() };
        let mut message = vec![0; MESSAGE_BYTES];
        (message[0], message[4]) = (ADVERTISEMENT, 0x60);
        message[8..24].copy_from_slice(&wanted.octets());
        if with_option {
            message.extend_from_slice(&[TARGET_OPTION, 1]);
            message.extend_from_slice(&THERE.0);
        }
        let addresses = [wanted.octets(), Ipv6Addr::LOCALHOST.octets()].concat();
        let length = message.len() as u16;
        let sum = Sum::of(&message) + pseudo_header(&addresses, ICMPV6, length);
        message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
        let header = [0x60, 0, 0, 0, 0, length as u8, ICMPV6, HOP_LIMIT];
        framed(HERE, THERE, EtherType::IPV6, &[&header[..], &addresses, &message].concat())
    }

    #[test]
    fn a_request_is_that_of_rfc_826_and_a_probe_that_of_rfc_5227() {
        let request = question(HERE, Some(ip("192.0.2.1")), ip("192.0.2.2"));
        let expected = "ffffffffffff020000000001080600010800060400010200000000 01c0000201\
                        000000000000c0000202";
        let digits: String = request[..42].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, expected.replace(' ', ""));
        assert_eq!(request.len(), 60);
        for from in [None, Some(ip("2001:db8::1"))] {
            assert_eq!(question(HERE, from, ip("192.0.2.2"))[28..32], [0; 4]);
        }
    }

    #[test]
    fn a_reply_counts_only_for_the_address_that_was_asked_for() {
        let mut reply = question(THERE, Some(ip("192.0.2.2")), ip("192.0.2.1"));
        assert_eq!(answer(&reply, ip("192.0.2.2")), None, "a request");
        reply[21] = 2;
        assert_eq!(answer(&reply, ip("192.0.2.2")), Some(THERE));
        assert_eq!(answer(&reply, ip("192.0.2.1")), None);
        assert_eq!(answer(&reply[..41], ip("192.0.2.2")), None, "cut short");
        reply[22] = 1;
        assert_eq!(answer(&reply, ip("192.0.2.2")), None, "a group is no station");
    }

    #[test]
    fn a_solicitation_has_a_right_checksum_and_goes_to_the_group() {
        for from in [None, Some(ip("2001:db8::1"))] {
            let frame = question(HERE, from, ip("2001:db8::12:3456"));
            assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
            assert_eq!(frame[38..54], ip_bytes("ff02::1:ff12:3456"));
            let length = u16::from_be_bytes([frame[18], frame[19]]);
            assert_eq!(length, if from.is_some() { 32 } else { 24 });
            let message = &frame[54..54 + usize::from(length)];
            let sum = Sum::of(message) + pseudo_header(&frame[22..54], ICMPV6, length);
            assert_eq!(sum.checksum(), 0);
        }
    }

    fn ip_bytes(text: &str) -> [u8; 16] {
        let IpAddr::V6(address) = ip(text) else { unreachable!() };
        address.octets()
    }

    #[test]
    fn an_advertisement_says_who_has_the_address() {
        let wanted = "2001:db8::2";
        for with_option in [true, false] {
            let frame = advertisement(wanted, with_option);
            assert_eq!(answer(&frame, ip(wanted)), Some(THERE));
            assert_eq!(answer(&frame, ip("2001:db8::3")), None);
            assert_eq!(answer(&frame, ip("192.0.2.2")), None);
            // From beyond a router, damaged, cut short.
            for at in [21, 54, 57, 70] {
                let mut wrong = frame.clone();
                wrong[at] ^= 1;
                assert_eq!(answer(&wrong, ip(wanted)), None, "{at}");
            }
            assert_eq!(answer(&frame[..77], ip(wanted)), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, kind in 0usize..2) {
            let kind = [EtherType::ARP, EtherType::IPV6][kind];
            let frame = framed(HERE, THERE, kind, &bytes);
            for wanted in ["192.0.2.1", "2001:db8::1"] {
                prop_assert_eq!(answer(&bytes, ip(wanted)), None);
                let _ = answer(&frame, ip(wanted));
            }
        }
    }
}
