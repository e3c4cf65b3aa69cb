//! How a probe is carried, and the smallest frame that can carry it.

use std::fmt;
use std::str::FromStr;

use super::ethernet::{EtherType, VLAN_TAG_BYTES};
use super::ip::{IPV4_HEADER_BYTES, IPV6_HEADER_BYTES};
use super::probe::PAYLOAD_BYTES_MIN;
use super::udp::UDP_HEADER_BYTES;
use crate::units::{ETHERNET_HEADER_BYTES, FCS_BYTES, FRAME_BYTES_MIN, FrameSize};

/// What lies between a frame's MAC addresses and the probe.
///
/// | encapsulation | bytes before the probe | payload of a 64-byte frame | smallest frame, FCS included |
/// |---|---|---|---|
/// | `raw` | 14 | 46 | 64 |
/// | `vlan` | 18 | 42 | 64 |
/// | `qinq` | 22 | 38 | 64 |
/// | `ipv4` | 42 | 18 | 64 |
/// | `vlan-ipv4` | 46 | 14 | 64 |
/// | `ipv6` | 62 | none | 80 |
/// | `vlan-ipv6` | 66 | none | 84 |
/// | `qinq-ipv4` | 50 | none (10 bytes left) | 68 |
/// | `qinq-ipv6` | 70 | none | 88 |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encapsulation {
    /// Straight after the Ethernet header.
    Raw,
    /// After one VLAN tag.
    Vlan,
    /// After two VLAN tags.
    Qinq,
    /// In UDP over IPv4.
    Ipv4Udp,
    /// In UDP over IPv4, with one VLAN tag.
    VlanIpv4Udp,
    /// In UDP over IPv6.
    Ipv6Udp,
    /// In UDP over IPv6, with one VLAN tag.
    VlanIpv6Udp,
    /// In UDP over IPv4, with two VLAN tags.
    QinqIpv4Udp,
    /// In UDP over IPv6, with two VLAN tags.
    QinqIpv6Udp,
}

impl Encapsulation {
    /// All of them.
    pub const ALL: [Encapsulation; 9] = [
        Encapsulation::Raw,
        Encapsulation::Vlan,
        Encapsulation::Qinq,
        Encapsulation::Ipv4Udp,
        Encapsulation::VlanIpv4Udp,
        Encapsulation::Ipv6Udp,
        Encapsulation::VlanIpv6Udp,
        Encapsulation::QinqIpv4Udp,
        Encapsulation::QinqIpv6Udp,
    ];

    /// VLAN tags in each frame.
    pub const fn tags(self) -> usize {
        match self {
            Encapsulation::Raw | Encapsulation::Ipv4Udp | Encapsulation::Ipv6Udp => 0,
            Encapsulation::Vlan | Encapsulation::VlanIpv4Udp | Encapsulation::VlanIpv6Udp => 1,
            Encapsulation::Qinq | Encapsulation::QinqIpv4Udp | Encapsulation::QinqIpv6Udp => 2,
        }
    }

    /// Bytes of IP and UDP headers in each frame.
    pub const fn ip_and_udp_bytes(self) -> usize {
        match self {
            Encapsulation::Raw | Encapsulation::Vlan | Encapsulation::Qinq => 0,
            Encapsulation::Ipv4Udp | Encapsulation::VlanIpv4Udp | Encapsulation::QinqIpv4Udp => {
                IPV4_HEADER_BYTES + UDP_HEADER_BYTES
            }
            Encapsulation::Ipv6Udp | Encapsulation::VlanIpv6Udp | Encapsulation::QinqIpv6Udp => {
                IPV6_HEADER_BYTES + UDP_HEADER_BYTES
            }
        }
    }

    /// The EtherType behind the tags; `None` where the user chooses it.
    pub const fn ether_type(self) -> Option<EtherType> {
        match self {
            Encapsulation::Raw | Encapsulation::Vlan | Encapsulation::Qinq => None,
            Encapsulation::Ipv4Udp | Encapsulation::VlanIpv4Udp | Encapsulation::QinqIpv4Udp => {
                Some(EtherType::IPV4)
            }
            Encapsulation::Ipv6Udp | Encapsulation::VlanIpv6Udp | Encapsulation::QinqIpv6Udp => {
                Some(EtherType::IPV6)
            }
        }
    }

    /// Bytes in front of the probe: Ethernet header, tags, IP and UDP headers; no FCS.
    pub const fn overhead_bytes(self) -> usize {
        ETHERNET_HEADER_BYTES + self.tags() * VLAN_TAG_BYTES + self.ip_and_udp_bytes()
    }

    /// The smallest frame with room for a probe and [its shortest filler](PAYLOAD_BYTES_MIN), in
    /// bytes with FCS and tags.
    pub const fn smallest_frame_bytes(self) -> usize {
        let needed = self.overhead_bytes() + PAYLOAD_BYTES_MIN + FCS_BYTES;
        if needed < FRAME_BYTES_MIN { FRAME_BYTES_MIN } else { needed }
    }

    /// Bytes of probe and filler in a frame of `size`; an error that names the smallest size when
    /// the probe does not fit.
    pub fn payload_bytes(self, size: FrameSize) -> Result<usize, String> {
        if size.bytes() < self.smallest_frame_bytes() {
            return Err(format!(
                "{size}-byte frames are too small for {self}: {} bytes of headers, {PAYLOAD_BYTES_MIN} of probe \
                 and {FCS_BYTES} of FCS need at least {}",
                self.overhead_bytes(),
                self.smallest_frame_bytes()
            ));
        }
        Ok(size.socket_bytes() - self.overhead_bytes())
    }

    const fn name(self) -> &'static str {
        match self {
            Encapsulation::Raw => "raw",
            Encapsulation::Vlan => "vlan",
            Encapsulation::Qinq => "qinq",
            Encapsulation::Ipv4Udp => "ipv4",
            Encapsulation::VlanIpv4Udp => "vlan-ipv4",
            Encapsulation::Ipv6Udp => "ipv6",
            Encapsulation::VlanIpv6Udp => "vlan-ipv6",
            Encapsulation::QinqIpv4Udp => "qinq-ipv4",
            Encapsulation::QinqIpv6Udp => "qinq-ipv6",
        }
    }
}

impl fmt::Display for Encapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Encapsulation {
    type Err = String;

    fn from_str(text: &str) -> Result<Encapsulation, String> {
        let known = Encapsulation::ALL.into_iter().find(|one| one.name() == text.trim());
        known.ok_or_else(|| {
            let names = Encapsulation::ALL.map(Encapsulation::name).join(", ");
            format!("'{text}' is not an encapsulation ({names})")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_true() {
        let rows = Encapsulation::ALL
            .map(|one| (one.overhead_bytes(), one.smallest_frame_bytes(), one.tags()));
        let expected = [
            (14, 64, 0),
            (18, 64, 1),
            (22, 64, 2),
            (42, 64, 0),
            (46, 64, 1),
            (62, 80, 0),
            (66, 84, 1),
            (50, 68, 2),
            (70, 88, 2),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_64_byte_frame_has_room_except_over_ipv6_and_two_tags() {
        let size = FrameSize::with_fcs(64).unwrap();
        let room = Encapsulation::ALL.map(|one| one.payload_bytes(size).ok());
        assert_eq!(
            room,
            [Some(46), Some(42), Some(38), Some(18), Some(14), None, None, None, None]
        );
        let message = Encapsulation::Ipv6Udp.payload_bytes(size).unwrap_err();
        assert!(message.contains("at least 80"), "{message}");
    }

    #[test]
    fn the_smallest_frame_fits_and_names_are_read() {
        for one in Encapsulation::ALL {
            let smallest = FrameSize::with_fcs(one.smallest_frame_bytes()).unwrap();
            assert!(one.payload_bytes(smallest).unwrap() >= PAYLOAD_BYTES_MIN);
            assert_eq!(one.to_string().parse(), Ok(one));
        }
        assert!("ipv5".parse::<Encapsulation>().unwrap_err().contains("vlan-ipv6"));
    }
}
