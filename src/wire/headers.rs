//! IP and UDP headers as the generator writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ip::{IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, IpVersion, ipv4_header_checksum, protocol};
use super::udp::{UDP_HEADER_BYTES, UdpView};

/// Source and destination of one IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpAddresses {
    /// Both IPv4.
    V4 {
        /// The sender.
        source: Ipv4Addr,
        /// The receiver.
        destination: Ipv4Addr,
    },
    /// Both IPv6.
    V6 {
        /// The sender.
        source: Ipv6Addr,
        /// The receiver.
        destination: Ipv6Addr,
    },
}

impl IpAddresses {
    /// A pair of the same version; `None` when the versions differ.
    pub fn pair(source: IpAddr, destination: IpAddr) -> Option<IpAddresses> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Some(IpAddresses::V4 { source, destination })
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Some(IpAddresses::V6 { source, destination })
            }
            _ => None,
        }
    }

    /// Which version they are of.
    pub fn version(self) -> IpVersion {
        match self {
            IpAddresses::V4 { .. } => IpVersion::V4,
            IpAddresses::V6 { .. } => IpVersion::V6,
        }
    }
}

/// What stands in the IP and UDP headers in front of a payload, lengths and checksums apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UdpHeaders {
    /// Who sends to whom.
    pub addresses: IpAddresses,
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// IPv4's time to live, IPv6's hop limit: hops that the packet may take.
    pub hop_limit: u8,
}

impl UdpHeaders {
    /// Bytes that [`UdpHeaders::write`] writes: 28 (IPv4) or 48 (IPv6).
    pub fn header_bytes(&self) -> usize {
        UDP_HEADER_BYTES
            + match self.addresses.version() {
                IpVersion::V4 => IPV4_HEADER_BYTES,
                IpVersion::V6 => IPV6_HEADER_BYTES,
            }
    }

    /// Writes the IP and the UDP header to the front of `packet`, for a payload of `payload_bytes`
    /// behind them, and says where everything is.
    ///
    /// The IPv4 header is complete: no options, "don't fragment" and so identification 0 (RFC 6864
    /// section 4.1), its checksum right. The UDP checksum is 0 until
    /// [`write_udp_checksum`](super::udp::write_udp_checksum) is called over the payload. Payload and
    /// padding are left as they are. An error, and nothing written, when the whole does not fit into
    /// `packet` or into the length fields.
    pub fn write(&self, packet: &mut [u8], payload_bytes: usize) -> Result<UdpView, String> {
        let version = self.addresses.version();
        let udp_offset = self.header_bytes() - UDP_HEADER_BYTES;
        let needed = self.header_bytes().saturating_add(payload_bytes);
        if needed > packet.len() {
            return Err(format!(
                "{payload_bytes} bytes behind IP and UDP headers need {needed}, and there are {}",
                packet.len()
            ));
        }
        // IPv4 counts its own header; both count UDP's, so the larger of the two must fit.
        let total_bytes = u16::try_from(needed)
            .map_err(|_| format!("{needed} bytes exceed an IP packet's 65535"))?;
        let udp_bytes = total_bytes - udp_offset as u16;

        match self.addresses {
            IpAddresses::V4 { source, destination } => {
                let header = &mut packet[..IPV4_HEADER_BYTES];
                header.fill(0);
                header[0] = 0x45;
                header[2..4].copy_from_slice(&total_bytes.to_be_bytes());
                header[6] = 0x40;
                header[8] = self.hop_limit;
                header[9] = protocol::UDP;
                header[version.source_address()].copy_from_slice(&source.octets());
                header[version.destination_address()].copy_from_slice(&destination.octets());
                let checksum = ipv4_header_checksum(header);
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
            IpAddresses::V6 { source, destination } => {
                let header = &mut packet[..IPV6_HEADER_BYTES];
                header.fill(0);
                header[0] = 0x60;
                header[4..6].copy_from_slice(&udp_bytes.to_be_bytes());
                header[6] = protocol::UDP;
                header[7] = self.hop_limit;
                header[version.source_address()].copy_from_slice(&source.octets());
                header[version.destination_address()].copy_from_slice(&destination.octets());
            }
        }
        let udp = &mut packet[udp_offset..udp_offset + UDP_HEADER_BYTES];
        udp[0..2].copy_from_slice(&self.source_port.to_be_bytes());
        udp[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        udp[4..6].copy_from_slice(&udp_bytes.to_be_bytes());
        udp[6..8].fill(0);

        Ok(UdpView {
            version,
            udp_offset,
            udp_bytes,
            source_port: self.source_port,
            destination_port: self.destination_port,
            checksum: 0,
        })
    }
}
