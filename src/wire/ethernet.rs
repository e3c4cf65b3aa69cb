//! Ethernet: addresses, EtherTypes, VLAN tags, and lenses over a frame without its FCS.

use std::fmt;
use std::str::FromStr;

use super::be16;
use crate::units::{ETHERNET_HEADER_BYTES, TAG_TYPES, TAGS_MAX};

/// Bytes of one VLAN tag: TPID and TCI (IEEE 802.1Q clause 9.3).
pub const VLAN_TAG_BYTES: usize = 4;

/// Where the EtherType, or the first tag's TPID, lies.
const ETHER_TYPE_OFFSET: usize = 12;

/// The smallest EtherType; smaller numbers in its place are lengths (IEEE 802.3 clause 3.2.6).
const ETHER_TYPE_MIN: u16 = 0x0600;

/// A 48-bit MAC address, in the order of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// All stations.
    pub const BROADCAST: MacAddress = MacAddress([0xff; 6]);

    /// Whether it names a group (multicast or broadcast), which is never a source.
    #[inline]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it names all stations.
    pub fn is_broadcast(self) -> bool {
        self == MacAddress::BROADCAST
    }

    /// Whether it is one of the group addresses that control protocols of the link have for themselves: those that
    /// no bridge forwards (IEEE 802.1Q table 8-1: spanning tree, pause, LACP, EAPOL, LLDP), those of MRP
    /// (table 10-1), and those of Cisco (CDP, VTP, PVST+).
    pub fn is_control(self) -> bool {
        const CISCO: [u8; 5] = [0x01, 0x00, 0x0c, 0xcc, 0xcc];
        match self.0 {
            [0x01, 0x80, 0xc2, 0, 0, last] => last < 0x10 || last & 0xf0 == 0x20,
            [front @ .., last] => front == CISCO && last >= 0xcc,
        }
    }

    /// Whether it is all zero, which is no station's address.
    #[inline]
    pub fn is_zero(self) -> bool {
        self.0 == [0; 6]
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = String;

    /// Six hexadecimal bytes with `:` or `-` between them.
    fn from_str(text: &str) -> Result<MacAddress, String> {
        let refusal = || format!("'{text}' is not a MAC address such as 02:00:00:00:00:01");
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; 6];
        let mut parts = text.trim().split(separator);
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(refusal)?;
            if part.len() > 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(refusal());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| refusal())?;
        }
        if parts.next().is_some() { Err(refusal()) } else { Ok(MacAddress(bytes)) }
    }
}

/// What a frame carries, in host order (IEEE 802 numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: EtherType = EtherType(0x0800);
    /// Address resolution (RFC 826).
    pub const ARP: EtherType = EtherType(0x0806);
    /// A customer VLAN tag (IEEE 802.1Q).
    pub const VLAN: EtherType = EtherType(0x8100);
    /// IPv6 (RFC 2464).
    pub const IPV6: EtherType = EtherType(0x86dd);
    /// Port access entity, EAPOL (IEEE 802.1X).
    pub const PAE: EtherType = EtherType(0x888e);
    /// A service VLAN tag (IEEE 802.1ad).
    pub const QINQ: EtherType = EtherType(0x88a8);
    /// Local experimental EtherType 1 (IEEE 802), assigned to no protocol.
    pub const LOCAL_EXPERIMENTAL: EtherType = EtherType(0x88b5);
    /// The Precision Time Protocol (IEEE 1588).
    pub const PTP: EtherType = EtherType(0x88f7);

    /// Whether it announces a VLAN tag rather than a payload.
    #[inline]
    pub fn is_vlan_tag(self) -> bool {
        // Of constants the compiler makes comparisons without a call or a branch.
        TAG_TYPES.into_iter().fold(false, |is_one, tpid| is_one | (tpid == self.0))
    }

    /// Whether its frames steer the link that they are on, so that an echo of one would: a paused sender, a port
    /// taken into a bundle, a neighbour that is ourselves.
    #[inline]
    pub fn is_control(self) -> bool {
        const CONTROL: [u16; 10] = [
            0x8808, // MAC control: PAUSE, priority flow control
            0x8809, // slow protocols: LACP, marker, OAM
            0x888e, // EAPOL
            0x88cc, // LLDP
            0x88e3, // media redundancy
            0x88f5, // MVRP
            0x88f6, // MMRP
            0x88f7, // PTP
            0x88fb, // PRP and HSR supervision
            0x8902, // connectivity fault management
        ];
        CONTROL.contains(&self.0)
    }

    /// Whether it is no type at all but the length of an 802.3 frame's payload.
    pub fn is_length(self) -> bool {
        self.0 < ETHER_TYPE_MIN
    }

    /// Whether it is IPv4 or IPv6.
    #[inline]
    pub fn is_ip(self) -> bool {
        self == EtherType::IPV4 || self == EtherType::IPV6
    }

    /// Those with a name.
    const NAMED: [(&str, EtherType); 6] = [
        ("ipv4", EtherType::IPV4),
        ("arp", EtherType::ARP),
        ("vlan", EtherType::VLAN),
        ("ipv6", EtherType::IPV6),
        ("pae", EtherType::PAE),
        ("qinq", EtherType::QINQ),
    ];
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match EtherType::NAMED.iter().find(|(_, one)| one == self) {
            Some((name, _)) => f.pad(name),
            None => f.pad(&format!("0x{:04x}", self.0)),
        }
    }
}

impl FromStr for EtherType {
    type Err = String;

    /// A name (`ip`, `ipv4`, `ipv6`, `arp`, `pae`, `vlan`, `qinq`) or a number (`0x88b5`, `34997`).
    fn from_str(text: &str) -> Result<EtherType, String> {
        let word = text.trim().to_ascii_lowercase();
        let name = if word == "ip" { "ipv4" } else { &word };
        if let Some((_, named)) = EtherType::NAMED.iter().find(|(one, _)| *one == name) {
            return Ok(*named);
        }
        let (digits, radix) = word.strip_prefix("0x").map_or((&*word, 10), |digits| (digits, 16));
        let number = Some(digits).filter(|digits| !digits.starts_with('+'));
        let number = number.and_then(|digits| u16::from_str_radix(digits, radix).ok());
        match number {
            Some(number) if number >= ETHER_TYPE_MIN => Ok(EtherType(number)),
            Some(number) => Err(format!(
                "'{text}' ({number}) is a frame length, not an EtherType: those start at 0x0600 (1536)"
            )),
            None => Err(format!(
                "'{text}' is not an EtherType: a name (ip, ipv6, arp, pae, vlan, qinq) or a 16-bit number such as 0x88b5"
            )),
        }
    }
}

/// A VLAN tag (IEEE 802.1Q clause 9), as a frame carries it or as the kernel reports it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// The tag's own EtherType, one of [`TAG_TYPES`], in host order.
    pub tpid: u16,
    /// Priority (3 bits), drop eligible (1 bit), VLAN id (12 bits), in host order.
    pub tci: u16,
}

impl VlanTag {
    /// A customer tag (TPID 0x8100); `id` and `priority` are cut to 12 and 3 bits.
    pub fn customer(id: u16, priority: u8) -> VlanTag {
        VlanTag { tpid: EtherType::VLAN.0, tci: u16::from(priority & 7) << 13 | id & 0x0fff }
    }

    /// A service tag (TPID 0x88a8); `id` and `priority` are cut to 12 and 3 bits.
    pub fn service(id: u16, priority: u8) -> VlanTag {
        VlanTag { tpid: EtherType::QINQ.0, ..VlanTag::customer(id, priority) }
    }

    /// The VLAN id, 0 to 4095; 0 means priority only.
    pub fn id(self) -> u16 {
        self.tci & 0x0fff
    }

    /// The tag as it stands in a frame.
    pub fn bytes(self) -> [u8; VLAN_TAG_BYTES] {
        let ([a, b], [c, d]) = (self.tpid.to_be_bytes(), self.tci.to_be_bytes());
        [a, b, c, d]
    }
}

/// The source address, if the frame holds one.
pub fn source(frame: &[u8]) -> Option<MacAddress> {
    frame.get(6..)?.first_chunk().map(|bytes| MacAddress(*bytes))
}

/// What a frame carries behind its in-band VLAN tags, and where that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetPayload {
    /// The innermost EtherType, which is never a tag's.
    pub ether_type: EtherType,
    /// Offset of the first payload byte in the frame; at most the frame's length.
    pub offset: usize,
    /// In-band tags passed on the way.
    pub tags: usize,
}

/// Walks a frame's in-band tags to its payload.
///
/// `None` when the frame ends before its innermost EtherType does, or when more than
/// [`TAGS_MAX`] tags follow one another.
#[inline]
pub fn payload(frame: &[u8]) -> Option<EthernetPayload> {
    let mut type_offset = ETHER_TYPE_OFFSET;
    for tags in 0..=TAGS_MAX {
        let ether_type = EtherType(be16(frame, type_offset)?);
        if !ether_type.is_vlan_tag() {
            return Some(EthernetPayload { ether_type, offset: type_offset + 2, tags });
        }
        type_offset += VLAN_TAG_BYTES;
    }
    None
}

/// Writes an Ethernet header with the tags in the order given, outermost first, and returns the
/// offset of the payload; `None`, and nothing written, when `frame` is too short for it.
pub fn write_header(
    frame: &mut [u8],
    destination: MacAddress,
    source: MacAddress,
    tags: &[VlanTag],
    ether_type: EtherType,
) -> Option<usize> {
    let header_bytes = ETHERNET_HEADER_BYTES + tags.len() * VLAN_TAG_BYTES;
    let header = frame.get_mut(..header_bytes)?;
    let (addresses, rest) = header.split_at_mut(ETHER_TYPE_OFFSET);
    let (first, second) = addresses.split_at_mut(6);
    first.copy_from_slice(&destination.0);
    second.copy_from_slice(&source.0);
    let (tag_space, type_space) = rest.split_at_mut(tags.len() * VLAN_TAG_BYTES);
    for (space, tag) in tag_space.chunks_exact_mut(VLAN_TAG_BYTES).zip(tags) {
        space.copy_from_slice(&tag.bytes());
    }
    type_space.copy_from_slice(&ether_type.0.to_be_bytes());
    Some(header_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    #[test]
    fn mac_addresses_are_read_and_written() {
        assert_eq!("02:00:00:00:00:01".parse(), Ok(HERE));
        assert_eq!("02-00-00-00-00-01".parse(), Ok(HERE));
        assert_eq!("2:0:0:0:0:1".parse(), Ok(HERE));
        assert_eq!("FF:ff:ff:ff:ff:ff".parse(), Ok(MacAddress::BROADCAST));
        for bad in ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "g2:00:00:00:00:01", ":::::"] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
        for bad in ["+2:00:00:00:00:01", "020:0:0:0:0:1", "02:00-00:00:00:01", "é:0:0:0:0:0"] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn groups_are_told_from_stations() {
        let multicast = MacAddress([0x33, 0x33, 0, 0, 0, 1]);
        assert!(multicast.is_group() && !multicast.is_broadcast());
        assert!(MacAddress::BROADCAST.is_group() && MacAddress::BROADCAST.is_broadcast());
        assert!(!HERE.is_group() && !HERE.is_zero());
        assert!(MacAddress::default().is_zero());
    }

    #[test]
    fn control_addresses_are_told_from_other_groups() {
        let reserved = |last| MacAddress([0x01, 0x80, 0xc2, 0, 0, last]);
        let cisco = |last| MacAddress([0x01, 0x00, 0x0c, 0xcc, 0xcc, last]);
        let control = [0x00, 0x01, 0x02, 0x03, 0x0e, 0x0f, 0x20, 0x21, 0x2f].map(reserved);
        assert!(control.iter().chain(&[cisco(0xcc), cisco(0xcd)]).all(|one| one.is_control()));
        let others = [0x10, 0x1f, 0x30, 0xff].map(reserved);
        let stations = [cisco(0xcb), MacAddress::BROADCAST, HERE];
        assert!(others.iter().chain(&stations).all(|one| !one.is_control()));
    }

    #[test]
    fn ether_types_have_names_and_numbers() {
        assert_eq!("ip".parse(), Ok(EtherType::IPV4));
        assert_eq!("0x88B5".parse(), Ok(EtherType::LOCAL_EXPERIMENTAL));
        assert_eq!("34997".parse(), Ok(EtherType::LOCAL_EXPERIMENTAL));
        assert_eq!(EtherType::LOCAL_EXPERIMENTAL.to_string(), "0x88b5");
        for bad in ["all", "", "0x", "0x5ff", "1535", "65536", "-1", "+2048", "0x+800"] {
            assert!(bad.parse::<EtherType>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_walk_past_the_tags_ends_at_the_payload() {
        let tags = [VlanTag::service(100, 5), VlanTag::customer(4095, 0)];
        let mut frame = [0; 60];
        for count in 0..=2 {
            let offset = write_header(
                &mut frame,
                MacAddress::BROADCAST,
                HERE,
                &tags[..count],
                EtherType::ARP,
            );
            let expected = EthernetPayload {
                ether_type: EtherType::ARP,
                offset: ETHERNET_HEADER_BYTES + count * VLAN_TAG_BYTES,
                tags: count,
            };
            assert_eq!(offset, Some(expected.offset));
            assert_eq!(payload(&frame), Some(expected));
            assert_eq!(payload(&frame[..expected.offset - 1]), None);
        }
        assert_eq!(source(&frame), Some(HERE));
        assert_eq!((&frame[..6], &frame[12..14]), (&[0xff; 6][..], &[0x88, 0xa8][..]));
        assert_eq!((tags[0].id(), tags[0].tci), (100, 5 << 13 | 100));
        for tpid in TAG_TYPES {
            let tags = [VlanTag { tpid, tci: 100 }, VlanTag::customer(7, 0)];
            write_header(&mut frame, HERE, HERE, &tags, EtherType::ARP);
            let expected = EthernetPayload { ether_type: EtherType::ARP, offset: 22, tags: 2 };
            assert_eq!(payload(&frame), Some(expected), "{tpid:#x}");
        }
        let endless = [0x81, 0x00].repeat(40);
        assert_eq!(payload(&endless), None);
        assert_eq!(write_header(&mut [0; 13], HERE, HERE, &[], EtherType::ARP), None);
    }

    proptest! {
        #[test]
        fn addresses_and_types_survive_text(bytes: [u8; 6], number in ETHER_TYPE_MIN..) {
            prop_assert_eq!(MacAddress(bytes).to_string().parse(), Ok(MacAddress(bytes)));
            prop_assert_eq!(EtherType(number).to_string().parse(), Ok(EtherType(number)));
        }

        #[test]
        fn no_text_and_no_frame_make_it_panic(text: String, frame: Vec<u8>) {
            let _ = text.parse::<MacAddress>();
            let _ = text.parse::<EtherType>();
            let _ = source(&frame);
            if let Some(found) = payload(&frame) {
                prop_assert!(found.offset <= frame.len() && !found.ether_type.is_vlan_tag());
            }
        }
    }
}
