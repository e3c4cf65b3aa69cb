//! What an echo costs beside the rings: the decision over a frame, and the copy that the edit is
//! fused into. The answers are compared byte by byte with ones made the plain way.

mod measure;

use std::hint::black_box;

use linerate::engine::edit::Transform;
use linerate::engine::reply::{Reply, ReplyRules};
use linerate::ring::frame::{ChecksumState, FrameMeta, PacketType};
use linerate::wire::ethernet::{EtherType, VlanTag};

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 2];
const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PORT: u16 = 7;

struct Case {
    name: &'static str,
    rules: ReplyRules,
    meta: FrameMeta,
    frame: Vec<u8>,
    answer: Vec<u8>,
}

fn rules(udp: bool) -> ReplyRules {
    let raw = vec![EtherType::LOCAL_EXPERIMENTAL];
    ReplyRules {
        mac: OURS,
        mtu: 1500,
        ether_types: if udp { vec![EtherType::IPV4, EtherType::IPV6] } else { raw },
        link_layer: !udp,
        udp_port: udp.then_some(PORT),
        transform: Transform::Uppercase,
        promiscuous: false,
        echo_group: false,
        echo_services: false,
    }
}

fn meta(bytes: usize, tag: Option<VlanTag>) -> FrameMeta {
    FrameMeta {
        wire_bytes: bytes as u32,
        stamp_ns: 0,
        nic_ns: 0,
        packet_type: PacketType::Host,
        tag,
        checksum: ChecksumState::Unchecked,
    }
}

fn ethernet(to: [u8; 6], from: [u8; 6], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ether_type.to_be_bytes(), payload].concat()
}

fn text(bytes: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(bytes).collect()
}

fn raw(name: &'static str, bytes: usize, tag: Option<VlanTag>) -> Case {
    let payload = text(bytes - 14);
    let frame = ethernet(OURS, THEIRS, 0x88b5, &payload);
    let mut answer = ethernet(THEIRS, OURS, 0x88b5, &payload.to_ascii_uppercase());
    if let Some(VlanTag { tpid, tci }) = tag {
        let bytes = [tpid.to_be_bytes(), tci.to_be_bytes()].concat();
        answer.splice(12..12, bytes);
    }
    Case { name, rules: rules(false), meta: meta(frame.len(), tag), frame, answer }
}

/// The sum of RFC 1071 in its plainest form.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|two| u32::from(two[0]) << 8 | two.get(1).map_or(0, |&b| b.into()));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A UDP datagram over IPv4, its checksums right.
fn datagram(from: [u8; 4], to: [u8; 4], from_port: u16, to_port: u16, payload: &[u8]) -> Vec<u8> {
    let udp_bytes = (8 + payload.len()) as u16;
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    ip[2..4].copy_from_slice(&(20 + udp_bytes).to_be_bytes());
    ip.extend(from.iter().chain(&to));
    let header = internet_checksum(&ip);
    ip[10..12].copy_from_slice(&header.to_be_bytes());
    let ports = [from_port.to_be_bytes(), to_port.to_be_bytes(), udp_bytes.to_be_bytes()].concat();
    let mut udp = [&ports[..], &[0, 0], payload].concat();
    let pseudo = [&ip[12..20], &[0, 17], &udp_bytes.to_be_bytes(), &udp].concat();
    let sum = internet_checksum(&pseudo);
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    [ip, udp].concat()
}

fn udp(name: &'static str, bytes: usize) -> Case {
    let payload = text(bytes - 42);
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let question = datagram(client, server, 40_000, PORT, &payload);
    let echo = datagram(server, client, PORT, 40_000, &payload.to_ascii_uppercase());
    let frame = ethernet(OURS, THEIRS, 0x0800, &question);
    let answer = ethernet(THEIRS, OURS, 0x0800, &echo);
    Case { name, rules: rules(true), meta: meta(frame.len(), None), frame, answer }
}

fn cases() -> Vec<Case> {
    let tag = Some(VlanTag { tpid: 0x8100, tci: 7 });
    vec![
        raw("raw, 60 B", 60, None),
        raw("raw, 1514 B", 1514, None),
        raw("tagged, 60 B", 60, tag),
        raw("tagged, 1514 B", 1514, tag),
        udp("UDP, 60 B", 60),
        udp("UDP, 1514 B", 1514),
    ]
}

/// Decides and copies; the length of the answer.
#[inline]
fn answer(case: &Case, out: &mut [u8]) -> usize {
    match case.rules.decide(&case.meta, black_box(&case.frame)) {
        Reply::Echo { edit, changed } => {
            assert!(changed);
            edit.copy(&case.frame, out)
        }
        Reply::Drop(reason) => panic!("{} was dropped: {}", case.name, reason.name()),
    }
}

fn decide_and_copy() {
    let mut out = [0u8; 2048];
    for case in cases() {
        measure::calls(&format!("decide and copy, {}", case.name), 1, || {
            let length = answer(&case, black_box(&mut out));
            assert_eq!(length, case.answer.len());
        });
        // Once more outside the clock, with every byte looked at.
        out.fill(0);
        let length = answer(&case, &mut out);
        assert_eq!(&out[..length], case.answer, "{}", case.name);
    }
}

fn decide_only() {
    for case in cases() {
        measure::calls(&format!("decide, {}", case.name), 1, || {
            let reply = case.rules.decide(&case.meta, black_box(&case.frame));
            assert!(matches!(reply, Reply::Echo { changed: true, .. }));
        });
    }
}

fn main() {
    decide_and_copy();
    decide_only();
}
