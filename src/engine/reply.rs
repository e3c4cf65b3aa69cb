//! What becomes of a received frame: a pure decision over its metadata and bytes.

use super::edit::{Edit, Transform, UdpEdit};
use crate::ring::frame::{ChecksumState, FrameMeta, PacketType};
use crate::ring::send_rule::{self, SendRefusal};
use crate::stats::drops::DropReason;
use crate::units::ETHERNET_HEADER_BYTES;
use crate::wire::ethernet::{self, EtherType, EthernetPayload, MacAddress, VLAN_TAG_BYTES};
use crate::wire::ip::BadIp;
use crate::wire::ip::IpVersion;
use crate::wire::transform::is_changed_by_uppercase;
use crate::wire::udp::{NotUdp, UdpView, parse_udp, udp_checksum_ok};

/// Which frames are answered, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyRules {
    /// Our own address.
    pub mac: [u8; 6],
    /// The interface's MTU: bytes behind the Ethernet header, a tag not counted.
    pub mtu: usize,
    /// EtherTypes that are answered, innermost; none given means all.
    pub ether_types: Vec<EtherType>,
    /// Answer frames that are not IP, and IP too if it was named and `udp_port` is `None`:
    /// everything behind the Ethernet header is payload.
    pub link_layer: bool,
    /// Answer UDP datagrams to this port.
    pub udp_port: Option<u16>,
    /// What happens to the payload.
    pub transform: Transform,
    /// Answer unicast frames to other addresses, from those addresses.
    pub promiscuous: bool,
    /// Answer frames to group addresses, from our own address.
    pub echo_group: bool,
    /// Answer datagrams from the ports of services that may answer anything.
    pub echo_services: bool,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is not answered.
    Drop(DropReason),
    /// It is answered by this edit of it.
    Echo {
        /// The edit.
        edit: Edit,
        /// Whether the transform changes any byte of the payload. If not, the frame may be an echo
        /// of an echo, and only a few of those pass.
        changed: bool,
    },
}

impl ReplyRules {
    /// Decides over the frame `bytes` (Ethernet header first, outer tag taken off into `meta`).
    #[inline(always)]
    pub fn decide(&self, meta: &FrameMeta, bytes: &[u8]) -> Reply {
        match self.edit(meta, bytes) {
            Err(reason) => Reply::Drop(reason),
            Ok(edit) => {
                let payload = &bytes[edit.payload_start..edit.payload_end];
                let changed =
                    self.transform == Transform::Uppercase && is_changed_by_uppercase(payload);
                Reply::Echo { edit, changed }
            }
        }
    }

    #[inline(always)]
    fn edit(&self, meta: &FrameMeta, bytes: &[u8]) -> Result<Edit, DropReason> {
        let wire_bytes = meta.wire_bytes as usize;
        if wire_bytes > self.mtu + ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES {
            return Err(DropReason::Oversize);
        }
        if wire_bytes > bytes.len() {
            return Err(DropReason::Truncated);
        }
        let header: &[u8; ETHERNET_HEADER_BYTES] = bytes.first_chunk().ok_or(DropReason::Runt)?;
        let destination = MacAddress(*header.first_chunk().ok_or(DropReason::Runt)?);
        let source = MacAddress(*header[6..].first_chunk().ok_or(DropReason::Runt)?);
        let source_of_reply = self.check_addresses(meta, destination, source)?;
        let EthernetPayload { ether_type, offset: payload_start, .. } =
            ethernet::payload(bytes).ok_or(DropReason::EtherType)?;
        let mut edit = Edit {
            source: source_of_reply,
            tag: meta.tag,
            payload_start,
            payload_end: bytes.len(),
            transform: self.transform,
            udp: None,
        };
        self.check_type(ether_type)?;
        match self.udp_port {
            Some(port) if ether_type.is_ip() => {
                let udp = self.udp_edit(meta, ether_type, payload_start, bytes, port)?;
                let payload = udp.view.payload();
                edit.payload_start = payload_start + payload.start;
                edit.payload_end = payload_start + payload.end;
                edit.udp = Some(udp);
            }
            _ if !self.link_layer => return Err(DropReason::EtherType),
            _ => {}
        }
        let outer_type = meta.tag.map_or([header[12], header[13]], |tag| tag.tpid.to_be_bytes());
        match send_rule::check(bytes.len() + edit.growth(), outer_type, self.mtu) {
            Ok(()) => Ok(edit),
            Err(SendRefusal::TooShort) => Err(DropReason::Runt),
            Err(SendRefusal::TooLong) => Err(DropReason::TooLong),
            Err(SendRefusal::TagTooLong) => Err(DropReason::TagTooLong),
        }
    }

    /// Whether the frame's addresses are such that we answer, and from which address.
    #[inline(always)]
    fn check_addresses(
        &self,
        meta: &FrameMeta,
        destination: MacAddress,
        source: MacAddress,
    ) -> Result<[u8; 6], DropReason> {
        if meta.packet_type == PacketType::Outgoing {
            return Err(DropReason::Outgoing);
        }
        if source.0 == self.mac {
            return Err(DropReason::OwnSource);
        }
        if source.is_group() || source.is_zero() {
            return Err(DropReason::GroupSource);
        }
        // By address, not by packet type (RX-7): the kernel calls a frame with a foreign VLAN tag
        // "other host" although it is addressed to us.
        if destination.0 == self.mac {
            return Ok(self.mac);
        }
        if destination.is_group() {
            if destination.is_control() {
                return Err(DropReason::Control);
            }
            return match (self.echo_group, destination.is_broadcast()) {
                (true, _) => Ok(self.mac),
                (false, true) => Err(DropReason::Broadcast),
                (false, false) => Err(DropReason::Multicast),
            };
        }
        if self.promiscuous { Ok(destination.0) } else { Err(DropReason::OtherHost) }
    }

    #[inline(always)]
    fn check_type(&self, ether_type: EtherType) -> Result<(), DropReason> {
        if self.ether_types.iter().copied().any(|wanted| wanted == ether_type) {
            return Ok(());
        }
        // All, except what an echo would only confuse: the link's own protocols, ARP, and IP that is no
        // datagram to us.
        match self.ether_types.is_empty() {
            true if ether_type.is_control() => Err(DropReason::Control),
            true if ether_type == EtherType::ARP => Err(DropReason::EtherType),
            true if !ether_type.is_ip() || self.udp_port.is_some() => Ok(()),
            _ => Err(DropReason::EtherType),
        }
    }

    fn udp_edit(
        &self,
        meta: &FrameMeta,
        ether_type: EtherType,
        packet_start: usize,
        bytes: &[u8],
        port: u16,
    ) -> Result<UdpEdit, DropReason> {
        let packet = &bytes[packet_start..];
        let view = parse_udp(packet, ether_type).map_err(|not| match not {
            NotUdp::Ip(BadIp::NotIp) => DropReason::EtherType,
            NotUdp::Ip(BadIp::Fragment) => DropReason::Fragment,
            NotUdp::Ip(_) => DropReason::BadIpHeader,
            NotUdp::NotUdp => DropReason::NotUdp,
            NotUdp::BadUdpLength => DropReason::BadUdpLength,
        })?;
        if view.destination_port != port {
            return Err(DropReason::OtherPort);
        }
        // Two engines that answer each other from the service port would never end.
        if view.source_port == port || view.source_port == 0 {
            return Err(DropReason::ReflectedPort);
        }
        if !self.echo_services && is_service(view.source_port) {
            return Err(DropReason::ServicePort);
        }
        let source = &packet[view.source_address()];
        let destination = &packet[view.destination_address()];
        // The question's destination is the answer's source: a group there is as bad, and our own
        // IP address is not known here.
        let unanswerable = [source, destination].map(|end| is_unanswerable(view.version, end));
        if source == destination || unanswerable.contains(&true) {
            return Err(DropReason::BadIpSource);
        }
        let known_wrong = meta.checksum == ChecksumState::Unchecked
            || (view.version == IpVersion::V6 && view.checksum == 0);
        if known_wrong && !udp_checksum_ok(packet, &view) {
            return Err(DropReason::BadChecksum);
        }
        let checksum = carries_checksum(meta, &view);
        Ok(UdpEdit { packet_start, view, checksum })
    }
}

/// Whether a port belongs to a service that may answer whatever it receives. One forged datagram from
/// there would make it and us answer each other without end.
fn is_service(port: u16) -> bool {
    // Below 1024: echo, discard, daytime, qotd, chargen, DNS, TFTP, NTP, SNMP, CLDAP, RIP and others.
    // Above: L2TP, SSDP, STUN, SIP, WS-Discovery, mDNS, CoAP, memcached, Quake.
    const ABOVE: [u16; 9] = [1701, 1900, 3478, 3702, 5060, 5353, 5683, 11211, 27960];
    port < 1024 || ABOVE.contains(&port)
}

/// A half-done checksum field may hold 0 by chance; else 0 over IPv4 means none.
fn carries_checksum(meta: &FrameMeta, view: &UdpView) -> bool {
    view.checksum != 0 || view.version == IpVersion::V6 || meta.checksum == ChecksumState::Partial
}

/// Addresses that name no single host that could take an answer or send one.
fn is_unanswerable(version: IpVersion, address: &[u8]) -> bool {
    match version {
        IpVersion::V4 => address[0] >= 224 || address[0] == 127 || address[0] == 0,
        IpVersion::V6 => {
            let loopback_or_unspecified = address[..15].iter().all(|&byte| byte == 0);
            address[0] == 0xff || (loopback_or_unspecified && address[15] <= 1)
        }
    }
}
