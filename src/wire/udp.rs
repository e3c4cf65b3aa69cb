//! UDP (RFC 768) over IPv4 and IPv6: where the payload is, and the checksum.
//!
//! A packet here is what follows the EtherType: the IP header at offset 0. Swapping the addresses
//! and the ports, as an echo does, leaves every sum as it was.

use std::ops::Range;

use super::checksum::{Sum, pseudo_header};
use super::ethernet::EtherType;
use super::ip::{BadIp, IpVersion, parse_ip, protocol};

/// Bytes of a UDP header.
pub const UDP_HEADER_BYTES: usize = 8;

/// Where the checksum field lies in the UDP header.
const CHECKSUM_OFFSET: usize = 6;

/// Why a packet is not a whole UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotUdp {
    /// No IP packet that can be read up to its transport header.
    Ip(BadIp),
    /// Another transport protocol.
    NotUdp,
    /// The UDP length is below 8 or more than the IP packet holds.
    BadUdpLength,
}

impl From<BadIp> for NotUdp {
    fn from(bad: BadIp) -> NotUdp {
        NotUdp::Ip(bad)
    }
}

/// A whole UDP datagram; offsets count from the first byte of the IP header, and every range lies
/// inside the bytes that were parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpView {
    /// The IP version, which says where the addresses are.
    pub version: IpVersion,
    /// Where the UDP header begins; this many bytes are IP header, options and extensions included.
    pub udp_offset: usize,
    /// The datagram's length as its header says it: UDP header and payload, at least 8.
    pub udp_bytes: u16,
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// The checksum field as it stands; 0 means none, which IPv6 does not allow.
    pub checksum: u16,
}

impl UdpView {
    /// Where the source address is.
    pub fn source_address(&self) -> Range<usize> {
        self.version.source_address()
    }

    /// Where the destination address is.
    pub fn destination_address(&self) -> Range<usize> {
        self.version.destination_address()
    }

    /// Header and payload, without Ethernet padding and without IP bytes behind the UDP length.
    pub fn datagram(&self) -> Range<usize> {
        self.udp_offset..self.udp_offset + usize::from(self.udp_bytes)
    }

    /// The payload alone.
    pub fn payload(&self) -> Range<usize> {
        self.udp_offset + UDP_HEADER_BYTES..self.datagram().end
    }

    /// The two bytes of the checksum field.
    pub fn checksum_field(&self) -> Range<usize> {
        self.udp_offset + CHECKSUM_OFFSET..self.udp_offset + UDP_HEADER_BYTES
    }
}

/// Reads a packet, from the byte behind its EtherType on, as a UDP datagram; total over all bytes.
///
/// The IPv4 header's checksum is verified; UDP's own is not ([`udp_checksum_ok`]).
pub fn parse_udp(packet: &[u8], ether_type: EtherType) -> Result<UdpView, NotUdp> {
    let ip = parse_ip(packet, ether_type)?;
    if ip.protocol != protocol::UDP {
        return Err(NotUdp::NotUdp);
    }
    let transport = packet.get(ip.transport_offset..ip.end).unwrap_or_default();
    let &[s0, s1, d0, d1, l0, l1, c0, c1, ..] = transport else {
        return Err(NotUdp::BadUdpLength);
    };
    let udp_bytes = u16::from_be_bytes([l0, l1]);
    if !(UDP_HEADER_BYTES..=transport.len()).contains(&usize::from(udp_bytes)) {
        return Err(NotUdp::BadUdpLength);
    }
    Ok(UdpView {
        version: ip.version,
        udp_offset: ip.transport_offset,
        udp_bytes,
        source_port: u16::from_be_bytes([s0, s1]),
        destination_port: u16::from_be_bytes([d0, d1]),
        checksum: u16::from_be_bytes([c0, c1]),
    })
}

/// Whether the datagram's checksum is right: over IPv4, none (0) is right too; over IPv6 it is not
/// (RFC 8200 section 8.1).
///
/// `view` must be of these bytes; false when its ranges do not even fit.
pub fn udp_checksum_ok(packet: &[u8], view: &UdpView) -> bool {
    match (view.checksum, view.version) {
        (0, version) => version == IpVersion::V4,
        _ => (packet.get(view.datagram()).zip(pseudo_header_of(packet, view)))
            .is_some_and(|(datagram, pseudo)| (Sum::of(datagram) + pseudo).folded() == 0xffff),
    }
}

/// The checksum that belongs to the datagram as its bytes are now, for a payload that was summed while it
/// was copied; never 0. What stands in the checksum field does not matter. `None` when `view` does not fit
/// `packet`.
pub fn udp_checksum_from(packet: &[u8], view: &UdpView, payload: Sum) -> Option<u16> {
    Some((udp_sum(packet, view)? + payload).udp_checksum())
}

/// What the checksum covers beside the payload, summed.
pub fn udp_sum(packet: &[u8], view: &UdpView) -> Option<Sum> {
    let before_field = packet.get(view.udp_offset..view.checksum_field().start)?;
    Some(pseudo_header_of(packet, view)? + Sum::of(before_field))
}

/// Computes the checksum afresh, writes it into the field and returns it. `None`, and nothing
/// written, when `view` does not fit `packet`.
pub fn write_udp_checksum(packet: &mut [u8], view: &UdpView) -> Option<u16> {
    let payload = Sum::of(packet.get(view.payload())?);
    write_udp_checksum_from(packet, view, payload)
}

/// [`write_udp_checksum`] with the payload's sum given.
pub fn write_udp_checksum_from(packet: &mut [u8], view: &UdpView, payload: Sum) -> Option<u16> {
    let checksum = udp_checksum_from(packet, view, payload)?;
    packet.get_mut(view.checksum_field())?.copy_from_slice(&checksum.to_be_bytes());
    Some(checksum)
}

fn pseudo_header_of(packet: &[u8], view: &UdpView) -> Option<Sum> {
    let addresses = packet.get(view.version.addresses())?;
    Some(pseudo_header(addresses, protocol::UDP, view.udp_bytes))
}

#[cfg(test)]
mod tests;
