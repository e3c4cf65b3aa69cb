//! Lenses over Ethernet, VLAN, IPv4, IPv6 and UDP; checksums; the probe that the generator writes.
pub mod ethernet;
