//! Frames with everything in them, built by hand so that nothing under test builds its own examples,
//! and the answer to each, made byte by byte.

use std::ops::Range;

use linerate::engine::edit::Transform;
use linerate::engine::reply::ReplyRules;
use linerate::engine::storm::{Allowance, StormGuard};
use linerate::ring::frame::{ChecksumState, FrameMeta, PacketType};
use linerate::wire::ethernet::VlanTag;

/// Our address.
pub const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The address of whoever asks. Letters, which no edit may take for payload.
pub const THEIRS: [u8; 6] = *b"bcdefg";
/// The UDP port that is answered.
pub const PORT: u16 = 7007;

/// Lets every answer pass.
pub fn no_storm_guard() -> StormGuard {
    StormGuard::new(Allowance::Unlimited, Allowance::Unlimited, 0)
}

/// Rules that answer everything that can be answered.
pub fn rules() -> ReplyRules {
    ReplyRules {
        mac: OURS,
        mtu: 1500,
        ether_types: Vec::new(),
        link_layer: true,
        udp_port: Some(PORT),
        transform: Transform::Uppercase,
        promiscuous: false,
        echo_group: false,
        echo_services: false,
    }
}

/// Where the parts of an IP packet are in a frame.
#[derive(Clone, Copy, Debug)]
pub struct IpParts {
    /// Where the IP header begins.
    pub packet: usize,
    /// Where the UDP header begins.
    pub udp: usize,
    /// Whether it is IPv6.
    pub v6: bool,
}

/// A received frame of which everything is known.
#[derive(Clone, Debug)]
pub struct Known {
    pub meta: FrameMeta,
    pub bytes: Vec<u8>,
    pub payload: Range<usize>,
    pub ip: Option<IpParts>,
}

impl Known {
    fn new(ether_type: u16, inner_tags: &[VlanTag], rest: &[u8]) -> Known {
        let mut bytes = [OURS, THEIRS].concat();
        for tag in inner_tags {
            bytes.extend(tag.tpid.to_be_bytes());
            bytes.extend(tag.tci.to_be_bytes());
        }
        bytes.extend(ether_type.to_be_bytes());
        let payload = bytes.len()..bytes.len() + rest.len();
        bytes.extend(rest);
        let meta = FrameMeta {
            wire_bytes: bytes.len() as u32,
            stamp_ns: 0,
            nic_ns: 0,
            packet_type: PacketType::Host,
            tag: None,
            checksum: ChecksumState::Unchecked,
        };
        Known { meta, bytes, payload, ip: None }
    }

    /// A frame of the local experimental EtherType behind in-band tags.
    pub fn raw(inner_tags: &[VlanTag], payload: &[u8]) -> Known {
        Known::new(0x88b5, inner_tags, payload)
    }

    /// A frame of any EtherType.
    pub fn of_type(ether_type: u16, payload: &[u8]) -> Known {
        Known::new(ether_type, &[], payload)
    }

    /// A datagram to [`PORT`] over IPv4, with so many words of options, its checksum right.
    pub fn udp_v4(inner_tags: &[VlanTag], option_words: usize, payload: &[u8]) -> Known {
        let udp_at = 20 + 4 * option_words;
        let total = udp_at + 8 + payload.len();
        let mut packet = vec![0x40 | (5 + option_words) as u8, 0];
        packet.extend((total as u16).to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 97, 98, 1, 10, 97, 98, 2]);
        packet.extend(b"abcd".repeat(option_words));
        Known::udp(0x0800, inner_tags, packet, payload)
    }

    /// A datagram to [`PORT`] over IPv6, with so many destination options of 8 bytes.
    pub fn udp_v6(inner_tags: &[VlanTag], options: usize, payload: &[u8]) -> Known {
        let next = if options > 0 { 60 } else { 17 };
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(((8 * options + 8 + payload.len()) as u16).to_be_bytes());
        packet.extend([next, 64]);
        packet.extend(*b"\xfe\x80aaaaaaaaaaaaab");
        packet.extend(*b"\xfe\x80aaaaaaaaaaaaac");
        for left in (0..options).rev() {
            packet.extend([if left > 0 { 60 } else { 17 }, 0, 1, 4, b'a', b'b', b'c', b'd']);
        }
        Known::udp(0x86dd, inner_tags, packet, payload)
    }

    fn udp(ether_type: u16, inner: &[VlanTag], mut packet: Vec<u8>, payload: &[u8]) -> Known {
        let udp = packet.len();
        packet.extend(0x6162u16.to_be_bytes());
        packet.extend(PORT.to_be_bytes());
        packet.extend((8 + payload.len() as u16).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(payload);
        let mut known = Known::new(ether_type, inner, &packet);
        let start = known.payload.start;
        known.ip = Some(IpParts { packet: start, udp: start + udp, v6: ether_type == 0x86dd });
        known.payload = start + udp + 8..known.bytes.len();
        known.fix_ip_checksum();
        known.fix_udp_checksum();
        known
    }

    /// The outer tag, which the kernel took off.
    pub fn tagged(mut self, tag: Option<VlanTag>) -> Known {
        self.meta.tag = tag;
        self
    }

    /// The same with bytes behind the packet, as short frames have them; they look like payload.
    pub fn padded(mut self, bytes: usize) -> Known {
        self.bytes.extend(vec![b'p'; bytes]);
        self.meta.wire_bytes = self.bytes.len() as u32;
        if self.ip.is_none() {
            self.payload.end = self.bytes.len();
        }
        self
    }

    /// The same with other bytes at an offset; checksums stay as they are.
    pub fn with(mut self, at: usize, bytes: &[u8]) -> Known {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// The same with other bytes at an offset into the IP packet, and checksums made right.
    pub fn with_ip(self, at: usize, bytes: &[u8]) -> Known {
        let packet = self.ip.unwrap().packet;
        let mut known = self.with(packet + at, bytes);
        known.fix_ip_checksum();
        known.fix_udp_checksum();
        known
    }

    /// The same datagram from this source port.
    pub fn sent_from_port(self, port: u16) -> Known {
        let ip = self.ip.unwrap();
        self.with_ip(ip.udp - ip.packet, &port.to_be_bytes())
    }

    /// The same with this UDP checksum field and this knowledge of it.
    pub fn with_checksum(mut self, field: u16, state: ChecksumState) -> Known {
        let udp = self.ip.unwrap().udp;
        self.meta.checksum = state;
        self.with(udp + 6, &field.to_be_bytes())
    }

    fn fix_ip_checksum(&mut self) {
        let Some(IpParts { packet, udp, v6: false }) = self.ip else { return };
        self.bytes[packet + 10..packet + 12].fill(0);
        let sum = !ones_complement_sum(&self.bytes[packet..udp]);
        self.bytes[packet + 10..packet + 12].copy_from_slice(&sum.to_be_bytes());
    }

    fn fix_udp_checksum(&mut self) {
        let ip = self.ip.unwrap();
        self.bytes[ip.udp + 6..ip.udp + 8].fill(0);
        let sum = match !udp_sum(&self.bytes, ip) {
            0 => 0xffff,
            sum => sum,
        };
        self.bytes[ip.udp + 6..ip.udp + 8].copy_from_slice(&sum.to_be_bytes());
    }

    /// The answer from `source`, made byte by byte.
    pub fn answer(&self, source: [u8; 6], transform: Transform) -> Vec<u8> {
        let mut known = self.clone();
        for at in self.payload.clone() {
            if transform == Transform::Uppercase && known.bytes[at].is_ascii_lowercase() {
                known.bytes[at] -= 32;
            }
        }
        if let Some(IpParts { packet, udp, v6 }) = self.ip {
            let (first, second, length) = if v6 { (8, 24, 16) } else { (12, 16, 4) };
            for byte in 0..length {
                known.bytes.swap(packet + first + byte, packet + second + byte);
            }
            known.bytes.swap(udp, udp + 2);
            known.bytes.swap(udp + 1, udp + 3);
            let none = self.bytes[udp + 6..udp + 8] == [0, 0];
            if !none || v6 || self.meta.checksum == ChecksumState::Partial {
                known.fix_udp_checksum();
            }
        }
        let mut answer = [&self.bytes[6..12], &source].concat();
        if let Some(VlanTag { tpid, tci }) = self.meta.tag {
            answer.extend(tpid.to_be_bytes());
            answer.extend(tci.to_be_bytes());
        }
        answer.extend(&known.bytes[12..]);
        answer
    }

    /// Whether the UDP checksum in `answer` to this frame is right; none is right over IPv4.
    pub fn checksum_of_answer_is_right(&self, answer: &[u8]) -> bool {
        let Some(ip) = self.ip else { return true };
        let growth = answer.len() - self.bytes.len();
        let ip = IpParts { packet: ip.packet + growth, udp: ip.udp + growth, v6: ip.v6 };
        let none = answer[ip.udp + 6..ip.udp + 8] == [0, 0];
        if none { !ip.v6 } else { udp_sum(answer, ip) == 0xffff }
    }
}

/// The ones' complement sum over datagram and pseudo-header as the bytes are.
fn udp_sum(frame: &[u8], ip: IpParts) -> u16 {
    let length = u16::from_be_bytes([frame[ip.udp + 4], frame[ip.udp + 5]]);
    let addresses = if ip.v6 { 8..40 } else { 12..20 };
    let mut bytes = frame[ip.packet..][addresses].to_vec();
    bytes.extend([0, 17]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(&frame[ip.udp..ip.udp + usize::from(length)]);
    ones_complement_sum(&bytes)
}

fn ones_complement_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for (at, byte) in bytes.iter().enumerate() {
        sum += u32::from(*byte) << if at % 2 == 0 { 8 } else { 0 };
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}
