//! Lenses over Ethernet, VLAN, IPv4, IPv6 and UDP; checksums; the probe that the generator writes.
//!
//! Everything here is safe, pure code over plain bytes: it knows no socket, ring or thread, and no
//! input makes it panic. Offsets and lengths are in bytes; numbers are in host order, and converted
//! from network order where they are read.

/// The Internet checksum and the UDP pseudo-header (RFC 1071, 768, 8200).
pub mod checksum;
/// How a probe is carried, and the smallest frame that can carry it.
pub mod encapsulation;
/// MAC addresses, EtherTypes, VLAN tags and where a frame's payload begins (IEEE 802.3, 802.1Q).
pub mod ethernet;
/// The IP and UDP headers that the generator writes.
pub mod headers;
/// Where an IPv4 or IPv6 packet's transport header begins (RFC 791, 8200).
pub mod ip;
/// Asking the link for the station that has an IP address (RFC 826, 4861).
pub mod neighbour;
/// The numbered, run-stamped, checkable text that every generated frame carries.
pub mod probe;
/// PTP messages as an envelope of probes (IEEE 1588).
pub mod ptp;
/// Reproducible random numbers.
pub mod random;
/// Upper-casing: the edit that proves that the engine touched every byte.
pub mod transform;
/// Where a UDP datagram's payload is, and its checksum (RFC 768).
pub mod udp;

/// The 16-bit number in network order at `offset`, if the bytes reach that far.
fn be16(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|pair| u16::from_be_bytes(*pair))
}
