//! IP and UDP headers as the generator writes them.

use std::net::IpAddr;

use super::ip::{IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, IpVersion, ipv4_header_checksum, protocol};
use super::udp::{UDP_HEADER_BYTES, UdpView};

/// Source and destination, of the same IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpAddresses {
    source: IpAddr,
    destination: IpAddr,
}

impl IpAddresses {
    /// A pair of the same version; `None` when the versions differ.
    pub fn pair(source: impl Into<IpAddr>, destination: impl Into<IpAddr>) -> Option<IpAddresses> {
        let (source, destination) = (source.into(), destination.into());
        let same = source.is_ipv4() == destination.is_ipv4();
        same.then_some(IpAddresses { source, destination })
    }

    /// Which version they are of.
    pub fn version(self) -> IpVersion {
        if self.source.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 }
    }

    /// Those of the answer.
    pub fn reversed(self) -> IpAddresses {
        IpAddresses { source: self.destination, destination: self.source }
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

        let header = &mut packet[..udp_offset];
        header.fill(0);
        match version {
            IpVersion::V4 => {
                header[0] = 0x45;
                header[2..4].copy_from_slice(&total_bytes.to_be_bytes());
                header[6] = 0x40;
                header[8..10].copy_from_slice(&[self.hop_limit, protocol::UDP]);
            }
            IpVersion::V6 => {
                header[0] = 0x60;
                header[4..6].copy_from_slice(&udp_bytes.to_be_bytes());
                header[6..8].copy_from_slice(&[protocol::UDP, self.hop_limit]);
            }
        }
        let IpAddresses { source, destination } = self.addresses;
        let places = [version.source_address(), version.destination_address()];
        for (place, address) in places.into_iter().zip([source, destination]) {
            match address {
                IpAddr::V4(address) => header[place].copy_from_slice(&address.octets()),
                IpAddr::V6(address) => header[place].copy_from_slice(&address.octets()),
            }
        }
        if version == IpVersion::V4 {
            let checksum = ipv4_header_checksum(header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
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
