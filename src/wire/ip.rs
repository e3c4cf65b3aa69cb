//! IPv4 (RFC 791) and IPv6 (RFC 8200): where the transport header begins and the packet ends.
//!
//! A packet here is what follows the EtherType: the IP header at offset 0, and perhaps Ethernet
//! padding at the end.

use std::ops::Range;

use super::be16;
use super::checksum::Sum;
use super::ethernet::EtherType;

/// Bytes of an IPv4 header without options (RFC 791 section 3.1).
pub const IPV4_HEADER_BYTES: usize = 20;

/// Bytes of the fixed IPv6 header (RFC 8200 section 3).
pub const IPV6_HEADER_BYTES: usize = 40;

/// IPv6 extension headers that are followed at most.
pub const EXTENSION_HEADERS_MAX: usize = 8;

/// Protocol numbers (IANA), which IPv6 calls next headers.
pub mod protocol {
    /// IPv6 hop-by-hop options (RFC 8200 section 4.3).
    pub const HOP_BY_HOP: u8 = 0;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// IPv6 routing header (RFC 8200 section 4.4).
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header (RFC 8200 section 4.5).
    pub const FRAGMENT: u8 = 44;
    /// Authentication header (RFC 4302).
    pub const AUTHENTICATION: u8 = 51;
    /// IPv6 destination options (RFC 8200 section 4.6).
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// The version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// RFC 791.
    V4,
    /// RFC 8200.
    V6,
}

impl IpVersion {
    /// Where a packet of this version holds its source address.
    pub fn source_address(self) -> Range<usize> {
        match self {
            IpVersion::V4 => 12..16,
            IpVersion::V6 => 8..24,
        }
    }

    /// Where a packet of this version holds its destination address.
    pub fn destination_address(self) -> Range<usize> {
        match self {
            IpVersion::V4 => 16..20,
            IpVersion::V6 => 24..40,
        }
    }

    /// Where it holds the hops that it may still take: IPv4's time to live, IPv6's hop limit.
    pub fn hop_limit(self) -> usize {
        match self {
            IpVersion::V4 => 8,
            IpVersion::V6 => 7,
        }
    }

    /// Both addresses, which lie side by side: what a pseudo-header begins with.
    pub fn addresses(self) -> Range<usize> {
        self.source_address().start..self.destination_address().end
    }
}

/// Why an IP packet cannot be read up to its transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadIp {
    /// The EtherType is neither IPv4's nor IPv6's.
    NotIp,
    /// The version, a header length or the total length contradicts itself or the others; or an
    /// IPv6 header is misplaced, unfinished routing, or one of too many.
    BadHeader,
    /// The IPv4 header's checksum is wrong.
    BadChecksum,
    /// A fragment: it lacks the transport header, or bytes that the transport checksum covers.
    Fragment,
    /// The bytes end before the packet does.
    Truncated,
}

/// A well-formed, unfragmented IP packet; offsets count from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpView {
    /// The version, which says where the addresses are.
    pub version: IpVersion,
    /// The transport protocol ([`protocol`]).
    pub protocol: u8,
    /// Where the transport header begins: behind IPv4's options or IPv6's extension headers. At most
    /// `end`.
    pub transport_offset: usize,
    /// Where the packet ends; Ethernet padding may follow. At most the length of the bytes.
    pub end: usize,
}

/// Reads an IP packet up to its transport header; total over all bytes.
pub fn parse_ip(packet: &[u8], ether_type: EtherType) -> Result<IpView, BadIp> {
    match ether_type {
        EtherType::IPV4 => parse_ipv4(packet),
        EtherType::IPV6 => parse_ipv6(packet),
        _ => Err(BadIp::NotIp),
    }
}

fn parse_ipv4(packet: &[u8]) -> Result<IpView, BadIp> {
    let fixed = packet.first_chunk::<IPV4_HEADER_BYTES>().ok_or(BadIp::Truncated)?;
    let header_bytes = usize::from(fixed[0] & 0x0f) * 4;
    if fixed[0] >> 4 != 4 || header_bytes < IPV4_HEADER_BYTES {
        return Err(BadIp::BadHeader);
    }
    let header = packet.get(..header_bytes).ok_or(BadIp::Truncated)?;
    if Sum::of(header).folded() != 0xffff {
        return Err(BadIp::BadChecksum);
    }
    let end = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if end < header_bytes {
        return Err(BadIp::BadHeader);
    }
    if end > packet.len() {
        return Err(BadIp::Truncated);
    }
    // More fragments (0x2000) or an offset (0x1fff); "don't fragment" says nothing here.
    if u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff != 0 {
        return Err(BadIp::Fragment);
    }
    Ok(IpView { version: IpVersion::V4, protocol: fixed[9], transport_offset: header_bytes, end })
}

fn parse_ipv6(packet: &[u8]) -> Result<IpView, BadIp> {
    let fixed = packet.first_chunk::<IPV6_HEADER_BYTES>().ok_or(BadIp::Truncated)?;
    if fixed[0] >> 4 != 6 {
        return Err(BadIp::BadHeader);
    }
    let end = IPV6_HEADER_BYTES + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    let packet = packet.get(..end).ok_or(BadIp::Truncated)?;
    let mut next_header = fixed[6];
    let mut offset = IPV6_HEADER_BYTES;
    for position in 0..=EXTENSION_HEADERS_MAX {
        let unit_bytes = match next_header {
            // RFC 8200 section 4.1: hop-by-hop options stand first or nowhere.
            protocol::HOP_BY_HOP if position > 0 => return Err(BadIp::BadHeader),
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => 8,
            protocol::AUTHENTICATION => 4,
            protocol::FRAGMENT => return Err(BadIp::Fragment),
            protocol => {
                return Ok(IpView {
                    version: IpVersion::V6,
                    protocol,
                    transport_offset: offset,
                    end,
                });
            }
        };
        let extension = packet.get(offset..).unwrap_or_default();
        let &[following, units, _, segments_left, ..] = extension else {
            return Err(BadIp::BadHeader);
        };
        // While segments are left, the destination is a way station and no transport checksum is
        // over it (RFC 8200 section 8.1).
        if next_header == protocol::ROUTING && segments_left != 0 {
            return Err(BadIp::BadHeader);
        }
        // RFC 8200: 8-byte units, the first not counted. RFC 4302 section 2.2: 4-byte units, the
        // first two not counted.
        let bytes = match unit_bytes {
            8 => (usize::from(units) + 1) * 8,
            _ => (usize::from(units) + 2) * 4,
        };
        if bytes > extension.len() {
            return Err(BadIp::BadHeader);
        }
        offset += bytes;
        next_header = following;
    }
    Err(BadIp::BadHeader)
}

/// The IPv4 header checksum that belongs into bytes 10 and 11 of `header` (RFC 791), which is the
/// header with its options; whatever stands in the field is left out.
pub fn ipv4_header_checksum(header: &[u8]) -> u16 {
    let field = be16(header, 10).unwrap_or(0);
    // Ones' complement subtraction: adding the complement takes the field out again.
    (Sum::of(header) + Sum::word(!field)).checksum()
}
