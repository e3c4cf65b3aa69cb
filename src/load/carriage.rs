//! What lies between a frame's MAC addresses and the probe.

use crate::error::{Error, Result};
use crate::wire::encapsulation::Encapsulation;
use crate::wire::ethernet::{EtherType, VlanTag};
use crate::wire::headers::UdpHeaders;
use crate::wire::ip::IpVersion;

/// What carries the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// It follows this EtherType; that of PTP has a message behind it first.
    Raw(EtherType),
    /// It is the payload of a UDP datagram. The interface must not own the source address, or its
    /// own stack answers the echoes with ICMP errors.
    Udp(UdpHeaders),
}

/// What lies between a frame's MAC addresses and the probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carriage {
    /// VLAN tags, outermost first.
    pub tags: Vec<VlanTag>,
    /// What follows them.
    pub content: Content,
}

impl Carriage {
    /// No tag, and the probe straight after `ether_type`.
    pub fn raw(ether_type: EtherType) -> Carriage {
        Carriage { tags: Vec::new(), content: Content::Raw(ether_type) }
    }

    /// No tag, and the probe in UDP datagrams.
    pub fn udp(headers: UdpHeaders) -> Carriage {
        Carriage { tags: Vec::new(), content: Content::Udp(headers) }
    }

    /// The same with `tag` around it.
    pub fn tagged(mut self, tag: VlanTag) -> Carriage {
        self.tags.insert(0, tag);
        self
    }

    /// The EtherType behind the tags.
    pub fn ether_type(&self) -> EtherType {
        match self.content {
            Content::Raw(ether_type) => ether_type,
            Content::Udp(headers) => match headers.addresses.version() {
                IpVersion::V4 => EtherType::IPV4,
                IpVersion::V6 => EtherType::IPV6,
            },
        }
    }

    /// The encapsulation; a usage error if there are too many tags.
    pub fn encapsulation(&self) -> Result<Encapsulation> {
        let ip = match self.content {
            Content::Raw(_) => None,
            Content::Udp(headers) => Some(headers.addresses.version()),
        };
        match self.tags.len() {
            tags @ 0..=2 => {
                let ptp = self.content == Content::Raw(EtherType::PTP);
                Ok(Encapsulation { tags, ip, ptp })
            }
            tags => Err(Error::Usage(format!("{tags} VLAN tags: at most 2 can be sent"))),
        }
    }
}
