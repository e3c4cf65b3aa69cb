//! The programs, run by the kernel over frames in memory; see [`may_load`](crate::sys::bpf::tests::may_load).

use std::os::fd::AsFd;

use proptest::prelude::*;

use super::*;
use crate::sys::bpf::tests::may_load;
use crate::sys::bpf::{Program, SocketMap};
use crate::sys::xdp::{XdpRing, XdpSocket};

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    /// To the socket of the receive queue.
    Redirect,
}

/// A loaded program, and the socket that it redirects to.
struct Loaded {
    program: Program,
    _socket: (SocketMap, XdpSocket),
}

impl Loaded {
    fn new(selection: &Selection) -> Loaded {
        let sockets = SocketMap::create(1).unwrap();
        let socket = XdpSocket::open().unwrap();
        // The map takes sockets that can receive.
        socket.create_ring(XdpRing::Receive, 64).unwrap();
        sockets.insert(0, &socket).unwrap();
        let program = Program::load(&selection.program(sockets.as_fd(), None)).unwrap();
        Loaded { program, _socket: (sockets, socket) }
    }

    fn verdict(&self, frame: &[u8]) -> Verdict {
        match self.program.try_out(frame).unwrap() {
            (2, after) if after == frame => Verdict::Pass,
            (4, after) if after == frame => Verdict::Redirect,
            other => panic!("{other:x?} of {frame:x?}"),
        }
    }
}

fn verdict(selection: &Selection, frame: &[u8]) -> Verdict {
    Loaded::new(selection).verdict(frame)
}

/// What is to become of a frame, said plainly.
fn oracle(selection: &Selection, frame: &[u8]) -> Verdict {
    let field = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let is_ours = || {
        let tags = (0..TAGS_MAX).take_while(|tag| {
            field(12 + 4 * tag).is_some_and(|ether_type| TAG_TYPES.contains(&ether_type))
        });
        let at = 12 + 4 * tags.count();
        let (ether_type, ip) = (field(at)?, at + 2);
        if selection.ether_types.contains(&ether_type) {
            return Some(true);
        }
        let (protocol, udp) = match ether_type {
            IPV4 if field(ip + 6)? & 0x3fff == 0 && frame.len() >= ip + 20 => {
                (frame[ip + 9], ip + 4 * usize::from(frame[ip] & 15).max(5))
            }
            IPV6 if frame.len() >= ip + 44 => (frame[ip + 6], ip + 40),
            _ => return Some(false),
        };
        let is_short = ether_type == IPV4 && frame[ip] & 15 < 5;
        Some(protocol == 17 && !is_short && field(udp + 2)? == selection.udp_port?)
    };
    match is_ours() {
        Some(true) => Verdict::Redirect,
        _ => Verdict::Pass,
    }
}

/// A frame with these two-byte fields behind the MAC addresses, and `rest` behind them.
fn frame(fields: &[u16], rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xff; 12];
    fields.iter().for_each(|field| frame.extend(field.to_be_bytes()));
    frame.extend(rest);
    frame
}

/// An IPv4 header of `words` words with these fragment bits, and ports 7 and `port` behind it.
fn ipv4(words: u8, fragment: u16, protocol: u8, port: u16) -> Vec<u8> {
    let mut header = vec![0; usize::from(words.max(5)) * 4];
    header[0] = 0x40 | words;
    header[6..8].copy_from_slice(&fragment.to_be_bytes());
    header[9] = protocol;
    header.extend(7u16.to_be_bytes());
    header.extend(port.to_be_bytes());
    header
}

fn ipv6(next_header: u8, port: u16) -> Vec<u8> {
    let mut header = vec![0; 40];
    header[0] = 0x60;
    header[6] = next_header;
    header.extend(7u16.to_be_bytes());
    header.extend(port.to_be_bytes());
    header
}

#[test]
fn an_ether_type_is_found_behind_tags_of_any_type() {
    if !may_load() {
        return;
    }
    let selection = Selection { ether_types: vec![0x88b5, 0x9000], udp_port: None };
    let tagged = |tpids: &[u16]| tpids.iter().flat_map(|&tpid| [tpid, 5]).collect::<Vec<u16>>();
    let stacks: [&[u16]; 5] =
        [&[], &[0x88a8, 0x8100], &[0x8100, 0x8100], &[0x9100, 0x8100], &[0x8100; 4]];
    let loaded = Loaded::new(&selection);
    for tag in stacks.map(tagged).iter().chain(&TAG_TYPES.map(|tpid| tagged(&[tpid]))) {
        for (ether_type, expected) in
            [(0x88b5, Verdict::Redirect), (0x9000, Verdict::Redirect), (0x88b6, Verdict::Pass)]
        {
            let fields = [&tag[..], &[ether_type]].concat();
            assert_eq!(loaded.verdict(&frame(&fields, &[])), expected, "{fields:x?}");
        }
    }
    let five = [&tagged(&[0x8100; 5])[..], &[0x88b5]].concat();
    assert_eq!(verdict(&selection, &frame(&five, &[])), Verdict::Pass);
}

#[test]
fn frames_of_any_length_end_the_program_within_their_bytes() {
    if !may_load() {
        return;
    }
    let selection = Selection { ether_types: vec![0x88b5], udp_port: Some(7777) };
    let tagged = frame(&[0x88a8, 6, 0x8100, 5, 0x0800], &ipv4(15, 0, 17, 7777));
    let plain = frame(&[0x86dd], &ipv6(17, 7777));
    for whole in [tagged, plain] {
        let loaded = Loaded::new(&selection);
        assert_eq!(loaded.verdict(&whole), Verdict::Redirect);
        // The kernel runs nothing over less than a header.
        for length in 14..whole.len() {
            assert_eq!(loaded.verdict(&whole[..length]), Verdict::Pass, "{length}");
        }
    }
}

#[test]
fn a_udp_port_is_found_behind_both_ips_and_fragments_are_left_alone() {
    if !may_load() {
        return;
    }
    let selection = Selection { ether_types: vec![], udp_port: Some(7777) };
    let loaded = Loaded::new(&selection);
    let v4 = |words, fragment, protocol, port| {
        loaded.verdict(&frame(&[0x8100, 9, 0x0800], &ipv4(words, fragment, protocol, port)))
    };
    assert_eq!(v4(5, 0, 17, 7777), Verdict::Redirect);
    assert_eq!(v4(15, 0x4000, 17, 7777), Verdict::Redirect, "options, do not fragment");
    assert_eq!(v4(5, 0, 17, 7778), Verdict::Pass);
    assert_eq!(v4(5, 0, 6, 7777), Verdict::Pass, "TCP");
    assert_eq!(v4(5, 0x2000, 17, 7777), Verdict::Pass, "more fragments");
    assert_eq!(v4(5, 0x0001, 17, 7777), Verdict::Pass, "a later fragment");
    assert_eq!(v4(4, 0, 17, 7777), Verdict::Pass, "a header shorter than itself");
    let v6 = |next, port| loaded.verdict(&frame(&[0x86dd], &ipv6(next, port)));
    assert_eq!(v6(17, 7777), Verdict::Redirect);
    assert_eq!(v6(17, 1), Verdict::Pass);
    assert_eq!(v6(44, 7777), Verdict::Pass, "a fragment header");
    assert_eq!(loaded.verdict(&frame(&[0x0806], &[0; 28])), Verdict::Pass, "ARP");
}

#[test]
fn nothing_selected_passes_everything() {
    if !may_load() {
        return;
    }
    assert_eq!(verdict(&Selection::default(), &frame(&[0x88b5], &[0; 46])), Verdict::Pass);
}

/// Frames that come near to being wanted.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let tags = prop::collection::vec(prop::sample::select(TAG_TYPES.to_vec()), 0..=TAGS_MAX + 1);
    let inner = prop_oneof![
        prop::sample::select(vec![0x88b5, 0x9000, 0x0806]).prop_map(|one| frame(&[one], &[1; 46])),
        (3u8..=15, prop::sample::select(vec![0, 1, 0x2000, 0x4000]), 16u8..=17, 7776u16..=7777)
            .prop_map(|(words, fragment, protocol, port)| frame(
                &[IPV4],
                &ipv4(words, fragment, protocol, port)
            )),
        (16u8..=17, 7776u16..=7777).prop_map(|(next, port)| frame(&[IPV6], &ipv6(next, port))),
    ];
    (tags, inner, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(tags, inner, length, is_cut)| {
            let mut whole = inner[..12].to_vec();
            tags.iter().for_each(|tag| whole.extend([tag.to_be_bytes(), [0, 5]].concat()));
            whole.extend(&inner[12..]);
            let length = if is_cut { 14 + length.index(whole.len() - 13) } else { whole.len() };
            whole.truncate(length);
            whole
        },
    )
}

#[test]
fn the_program_is_the_plain_rule() {
    if !may_load() {
        return;
    }
    let selection = Selection { ether_types: vec![0x88b5, 0x9000], udp_port: Some(7777) };
    let loaded = Loaded::new(&selection);
    proptest!(|(frame in frames())| {
        prop_assert_eq!(loaded.verdict(&frame), oracle(&selection, &frame), "{:x?}", frame);
    });
}
