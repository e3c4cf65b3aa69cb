//! Which frames the kernel takes for sending (TX-4): the length and EtherType rules of `tpacket_snd` and
//! `packet_snd` (`net/packet/af_packet.c`).

use crate::units::ETHERNET_HEADER_BYTES;
use crate::wire::ethernet::{EtherType, VLAN_TAG_BYTES};

/// Why the kernel would refuse to send a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendRefusal {
    /// Shorter than an Ethernet header (EINVAL).
    TooShort,
    /// Longer than the interface's MTU allows (EMSGSIZE).
    TooLong,
    /// Longer than the MTU by a tag that is not 802.1Q: only EtherType 0x8100 earns four bytes
    /// more (EMSGSIZE).
    TagTooLong,
}

/// Whether the kernel would send a frame of `length` bytes (without FCS) whose bytes 12 and 13
/// are `ether_type`, over an interface whose MTU is `mtu`.
#[inline]
pub fn check(length: usize, ether_type: [u8; 2], mtu: usize) -> Result<(), SendRefusal> {
    let plain_limit = mtu + ETHERNET_HEADER_BYTES;
    if length < ETHERNET_HEADER_BYTES {
        return Err(SendRefusal::TooShort);
    }
    if length <= plain_limit {
        return Ok(());
    }
    if length > plain_limit + VLAN_TAG_BYTES {
        return Err(SendRefusal::TooLong);
    }
    match EtherType(u16::from_be_bytes(ether_type)) {
        EtherType::VLAN => Ok(()),
        tag if tag.is_vlan_tag() => Err(SendRefusal::TagTooLong),
        _ => Err(SendRefusal::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_are_those_measured_on_the_kernel() {
        // kernel-contract TX-4; tests/namespaces asks the kernel itself.
        let data = [0x88, 0xb5];
        assert_eq!(check(13, data, 1500), Err(SendRefusal::TooShort));
        assert_eq!(check(14, data, 1500), Ok(()));
        assert_eq!(check(1514, data, 1500), Ok(()));
        assert_eq!(check(1515, data, 1500), Err(SendRefusal::TooLong));
        assert_eq!(check(1518, [0x81, 0], 1500), Ok(()));
        assert_eq!(check(1519, [0x81, 0], 1500), Err(SendRefusal::TooLong));
        assert_eq!(check(1515, [0x88, 0xa8], 1500), Err(SendRefusal::TagTooLong));
        assert_eq!(check(1515, [0x91, 0x00], 1500), Err(SendRefusal::TagTooLong));
    }
}
