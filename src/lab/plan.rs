//! Names and addresses of the testbed: from the ranges that are set aside for documentation, so
//! that no mistake can reach a machine that exists.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of the IPv4 subnet: 192.0.2.0/24 is TEST-NET-1 (RFC 5737).
pub const PREFIX_LENGTH_IPV4: u8 = 24;

/// Bits of the IPv6 subnet: 2001:db8::/32 is for documentation (RFC 3849).
pub const PREFIX_LENGTH_IPV6: u8 = 64;

/// What one end is called and where it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The name of the interface, within its own namespace.
    pub interface: &'static str,
    /// The hardware address: unicast and locally administered (second bit of the first byte).
    pub mac: [u8; 6],
    /// The IPv4 address.
    pub ipv4: Ipv4Addr,
    /// The IPv6 address.
    pub ipv6: Ipv6Addr,
}

impl Addresses {
    /// Both addresses with the prefix lengths of their subnets.
    pub(super) fn with_prefix_lengths(&self) -> [(IpAddr, u8); 2] {
        [(self.ipv4.into(), PREFIX_LENGTH_IPV4), (self.ipv6.into(), PREFIX_LENGTH_IPV6)]
    }
}

/// The end where frames are made and verified.
pub const GENERATOR: Addresses = Addresses {
    interface: "generator0",
    mac: [0x02, 0, 0, 0, 0, 0x01],
    ipv4: Ipv4Addr::new(192, 0, 2, 1),
    ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
};

/// The end where the engine is.
pub const ENGINE: Addresses = Addresses {
    interface: "engine0",
    mac: [0x02, 0, 0, 0, 0, 0x02],
    ipv4: Ipv4Addr::new(192, 0, 2, 2),
    ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
};
