//! Every offset and status bit of the ring headers (RX-4, TX-9; `include/uapi/linux/if_packet.h`), for the
//! 64-bit layout that V2 and V3 share with 32-bit programs.

use crate::sys::packet::RingVersion;

/// Status bits of received frames and blocks.
pub mod rx_status {
    /// The unit is ours (`TP_STATUS_USER`).
    pub const USER: u32 = 1 << 0;
    /// The checksum field holds only the pseudo-header sum (`TP_STATUS_CSUMNOTREADY`).
    pub const CHECKSUM_NOT_READY: u32 = 1 << 3;
    /// A stripped tag's control information is in the header (`TP_STATUS_VLAN_VALID`).
    pub const VLAN_VALID: u32 = 1 << 4;
    /// Its protocol identifier is there too (`TP_STATUS_VLAN_TPID_VALID`).
    pub const VLAN_TPID_VALID: u32 = 1 << 6;
    /// Somebody verified the checksum (`TP_STATUS_CSUM_VALID`).
    pub const CHECKSUM_VALID: u32 = 1 << 7;
    /// The stamp is the device's (`TP_STATUS_TS_RAW_HARDWARE`, RX-19); else it is the kernel's.
    pub const NIC_STAMP: u32 = 1 << 31;
}

/// Status values of TX slots, in the low three bits; the bits above tell of timestamps.
pub mod tx_status {
    /// Ours (`TP_STATUS_AVAILABLE`).
    pub const AVAILABLE: u32 = 0;
    /// The kernel may take it (`TP_STATUS_SEND_REQUEST`).
    pub const SEND_REQUEST: u32 = 1;
    /// The kernel took it and the driver may still read it (`TP_STATUS_SENDING`).
    pub const SENDING: u32 = 2;
    /// The kernel refused it and stands still before it (`TP_STATUS_WRONG_FORMAT`).
    pub const WRONG_FORMAT: u32 = 4;
    /// Mask over the four values above.
    pub const MASK: u32 = 7;
}

/// `sizeof(struct sockaddr_ll)`, which follows the frame header.
pub const ADDRESS_BYTES: usize = 20;
/// Offset of the packet type in `struct sockaddr_ll`.
pub const ADDRESS_PACKET_TYPE: usize = 10;

/// `TPACKET_V2`: `struct tpacket2_hdr`.
pub mod v2 {
    /// Size of the header, aligned to 16.
    pub const HEADER_BYTES: usize = 32;
    /// `tp_status`.
    pub const STATUS: usize = 0;
    /// `tp_len`.
    pub const WIRE_BYTES: usize = 4;
    /// `tp_snaplen`.
    pub const CAPTURED_BYTES: usize = 8;
    /// `tp_mac` (u16).
    pub const MAC: usize = 12;
    /// `tp_sec`.
    pub const SECONDS: usize = 16;
    /// `tp_nsec`.
    pub const NANOSECONDS: usize = 20;
    /// `tp_vlan_tci` (u16).
    pub const VLAN_TCI: usize = 24;
    /// `tp_vlan_tpid` (u16).
    pub const VLAN_TPID: usize = 26;
}

/// `TPACKET_V3`: `struct tpacket3_hdr`.
pub mod v3 {
    /// Size of the header, aligned to 16.
    pub const HEADER_BYTES: usize = 48;
    /// `tp_next_offset`.
    pub const NEXT: usize = 0;
    /// `tp_sec`.
    pub const SECONDS: usize = 4;
    /// `tp_nsec`.
    pub const NANOSECONDS: usize = 8;
    /// `tp_snaplen`.
    pub const CAPTURED_BYTES: usize = 12;
    /// `tp_len`.
    pub const WIRE_BYTES: usize = 16;
    /// `tp_status`.
    pub const STATUS: usize = 20;
    /// `tp_mac` (u16).
    pub const MAC: usize = 24;
    /// `hv1.tp_vlan_tci` (u32).
    pub const VLAN_TCI: usize = 32;
    /// `hv1.tp_vlan_tpid` (u16).
    pub const VLAN_TPID: usize = 36;
}

/// The block descriptor of a V3 receive ring: `struct tpacket_block_desc`.
pub mod block {
    /// Size of the descriptor; the first packet follows it, since the private area is empty.
    pub const HEADER_BYTES: usize = 48;
    /// `hdr.bh1.block_status`.
    pub const STATUS: usize = 8;
    /// `hdr.bh1.num_pkts`.
    pub const PACKETS: usize = 12;
    /// `hdr.bh1.offset_to_first_pkt`.
    pub const FIRST: usize = 16;
    /// `hdr.bh1.blk_len`.
    pub const LENGTH: usize = 20;
}

/// Bytes before the data of a TX slot: the header without the address.
pub const fn tx_data_offset(version: RingVersion) -> usize {
    match version {
        RingVersion::V2 => v2::HEADER_BYTES,
        RingVersion::V3 => v3::HEADER_BYTES,
    }
}

/// `TPACKETn_HDRLEN`: header and address.
pub const fn header_length(version: RingVersion) -> usize {
    tx_data_offset(version) + ADDRESS_BYTES
}

/// Where the Ethernet header of a received frame lies in its slot: the network header is aligned
/// to 16 after header, address and 16 bytes of room (RX-4).
pub const fn rx_mac_offset(version: RingVersion) -> usize {
    (header_length(version) + 16).next_multiple_of(16) - crate::units::ETHERNET_HEADER_BYTES
}

/// Reads a native-endian u16 at `at`, or `None` past the end.
#[inline]
pub fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Reads a native-endian u32 at `at`, or `None` past the end.
#[inline]
pub fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Writes a native-endian u32 at `at`; `at + 4` must lie within `bytes`.
#[inline]
pub fn write_u32(bytes: &mut [u8], at: usize, value: u32) {
    *bytes[at..].first_chunk_mut().expect("room for a word") = value.to_ne_bytes();
}

/// Bytes of the hint before a frame: `struct virtio_net_hdr` (uapi/linux/virtio_net.h).
pub(in crate::ring) const HINT_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    fn offsets_are_those_of_the_kernel_header() {
        use libc::{sockaddr_ll, tpacket_hdr_variant1, tpacket2_hdr, tpacket3_hdr};
        assert_eq!(v2::HEADER_BYTES, size_of::<tpacket2_hdr>());
        assert_eq!(v2::WIRE_BYTES, offset_of!(tpacket2_hdr, tp_len));
        assert_eq!(v2::CAPTURED_BYTES, offset_of!(tpacket2_hdr, tp_snaplen));
        assert_eq!(v2::MAC, offset_of!(tpacket2_hdr, tp_mac));
        assert_eq!(v2::SECONDS, offset_of!(tpacket2_hdr, tp_sec));
        assert_eq!(v2::NANOSECONDS, offset_of!(tpacket2_hdr, tp_nsec));
        assert_eq!(v2::VLAN_TCI, offset_of!(tpacket2_hdr, tp_vlan_tci));
        assert_eq!(v2::VLAN_TPID, offset_of!(tpacket2_hdr, tp_vlan_tpid));
        assert_eq!(v3::HEADER_BYTES, size_of::<tpacket3_hdr>());
        assert_eq!(v3::SECONDS, offset_of!(tpacket3_hdr, tp_sec));
        assert_eq!(v3::NANOSECONDS, offset_of!(tpacket3_hdr, tp_nsec));
        assert_eq!(v3::CAPTURED_BYTES, offset_of!(tpacket3_hdr, tp_snaplen));
        assert_eq!(v3::WIRE_BYTES, offset_of!(tpacket3_hdr, tp_len));
        assert_eq!(v3::STATUS, offset_of!(tpacket3_hdr, tp_status));
        assert_eq!(v3::MAC, offset_of!(tpacket3_hdr, tp_mac));
        let variant = offset_of!(tpacket3_hdr, hv1);
        assert_eq!(v3::VLAN_TCI, variant + offset_of!(tpacket_hdr_variant1, tp_vlan_tci));
        assert_eq!(v3::VLAN_TPID, variant + offset_of!(tpacket_hdr_variant1, tp_vlan_tpid));
        assert_eq!(ADDRESS_BYTES, size_of::<sockaddr_ll>());
        assert_eq!(ADDRESS_PACKET_TYPE, offset_of!(sockaddr_ll, sll_pkttype));
        use libc::{tpacket_bd_header_u, tpacket_block_desc, tpacket_hdr_v1};
        let header = offset_of!(tpacket_block_desc, hdr);
        assert_eq!(size_of::<tpacket_bd_header_u>() + header, block::HEADER_BYTES);
        assert_eq!(block::STATUS, header + offset_of!(tpacket_hdr_v1, block_status));
        assert_eq!(block::PACKETS, header + offset_of!(tpacket_hdr_v1, num_pkts));
        assert_eq!(block::FIRST, header + offset_of!(tpacket_hdr_v1, offset_to_first_pkt));
        assert_eq!(block::LENGTH, header + offset_of!(tpacket_hdr_v1, blk_len));
    }

    #[test]
    fn received_frames_start_where_the_kernel_puts_them() {
        assert_eq!(rx_mac_offset(RingVersion::V2), 66);
        assert_eq!(rx_mac_offset(RingVersion::V3), 82);
    }
}
