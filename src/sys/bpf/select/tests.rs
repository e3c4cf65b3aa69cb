//! The programs, run by an interpreter of our own over frames in memory.

use std::os::fd::AsFd;

use super::*;

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    /// To the socket of the receive queue.
    Redirect,
}

/// Where the context and the data lie in the interpreter's world.
const CONTEXT: u64 = 0x1000;
const FRAME: u64 = 0x8000;
const QUEUE: u64 = 5;

/// Runs a program over `frame`. Panics where the kernel's verifier would refuse: a load outside of the
/// frame, an unknown instruction, a missing end.
fn run(program: &[Instruction], frame: &[u8]) -> Verdict {
    let mut registers = [0u64; 11];
    registers[1] = CONTEXT;
    let mut at = 0;
    loop {
        let Instruction { code, registers: pair, offset, constant } = program[at];
        let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
        let (one, other) = (registers[to], registers[from]);
        let constant = i64::from(constant) as u64;
        at += 1;
        let mut jump = |taken: bool| at += if taken { offset as usize } else { 0 };
        match code {
            0x61 | 0x69 | 0x71 => {
                let bytes = match code {
                    0x61 => 4,
                    0x69 => 2,
                    _ => 1,
                };
                let address = other.wrapping_add_signed(offset.into());
                registers[to] = load(frame, address, bytes);
            }
            0xbf => registers[to] = other,
            0xb7 => registers[to] = constant,
            0x07 => registers[to] = one.wrapping_add(constant),
            0x0f => registers[to] = one.wrapping_add(other),
            0x57 => registers[to] = one & constant,
            0x67 => registers[to] = one << constant,
            0x18 => at += 1,
            0x15 => jump(one == constant),
            0x55 => jump(one != constant),
            0x45 => jump(one & constant != 0),
            0x2d => jump(one > other),
            0x05 => jump(true),
            0x85 => {
                assert_eq!((constant, registers[2], registers[3]), (51, QUEUE, 2));
                registers[0] = 4; // XDP_REDIRECT
            }
            0x95 => {
                return match registers[0] {
                    2 => Verdict::Pass,
                    4 => Verdict::Redirect,
                    other => panic!("a verdict of {other}"),
                };
            }
            _ => panic!("instruction {code:#x}"),
        }
    }
}

fn load(frame: &[u8], address: u64, bytes: usize) -> u64 {
    let end = FRAME + frame.len() as u64;
    match (address, bytes) {
        (CONTEXT, 4) => return FRAME,
        (address, 4) if address == CONTEXT + 4 => return end,
        (address, 4) if address == CONTEXT + 16 => return QUEUE,
        _ => {}
    }
    let at = (address - FRAME) as usize;
    let field = &frame[at..at + bytes];
    match bytes {
        1 => field[0].into(),
        _ => u16::from_ne_bytes([field[0], field[1]]).into(),
    }
}

fn verdict(selection: &Selection, frame: &[u8]) -> Verdict {
    let file = std::fs::File::open("/proc/self/status").unwrap();
    run(&selection.program(file.as_fd(), None), frame)
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
    let selection = Selection { ether_types: vec![0x88b5, 0x9000], udp_port: None };
    let tagged = |tpids: &[u16]| tpids.iter().flat_map(|&tpid| [tpid, 5]).collect::<Vec<u16>>();
    let stacks: [&[u16]; 5] =
        [&[], &[0x88a8, 0x8100], &[0x8100, 0x8100], &[0x9100, 0x8100], &[0x8100; 4]];
    for tag in stacks.map(tagged).iter().chain(&TAG_TYPES.map(|tpid| tagged(&[tpid]))) {
        for (ether_type, expected) in
            [(0x88b5, Verdict::Redirect), (0x9000, Verdict::Redirect), (0x88b6, Verdict::Pass)]
        {
            let fields = [&tag[..], &[ether_type]].concat();
            assert_eq!(verdict(&selection, &frame(&fields, &[])), expected, "{fields:x?}");
        }
    }
    let five = [&tagged(&[0x8100; 5])[..], &[0x88b5]].concat();
    assert_eq!(verdict(&selection, &frame(&five, &[])), Verdict::Pass);
}

#[test]
fn frames_of_any_length_end_the_program_within_their_bytes() {
    let selection = Selection { ether_types: vec![0x88b5], udp_port: Some(7777) };
    let tagged = frame(&[0x88a8, 6, 0x8100, 5, 0x0800], &ipv4(15, 0, 17, 7777));
    let plain = frame(&[0x86dd], &ipv6(17, 7777));
    for whole in [tagged, plain] {
        assert_eq!(verdict(&selection, &whole), Verdict::Redirect);
        for length in 0..whole.len() {
            assert_eq!(verdict(&selection, &whole[..length]), Verdict::Pass, "{length}");
        }
    }
}

#[test]
fn a_udp_port_is_found_behind_both_ips_and_fragments_are_left_alone() {
    let selection = Selection { ether_types: vec![], udp_port: Some(7777) };
    let v4 = |words, fragment, protocol, port| {
        verdict(&selection, &frame(&[0x8100, 9, 0x0800], &ipv4(words, fragment, protocol, port)))
    };
    assert_eq!(v4(5, 0, 17, 7777), Verdict::Redirect);
    assert_eq!(v4(15, 0x4000, 17, 7777), Verdict::Redirect, "options, do not fragment");
    assert_eq!(v4(5, 0, 17, 7778), Verdict::Pass);
    assert_eq!(v4(5, 0, 6, 7777), Verdict::Pass, "TCP");
    assert_eq!(v4(5, 0x2000, 17, 7777), Verdict::Pass, "more fragments");
    assert_eq!(v4(5, 0x0001, 17, 7777), Verdict::Pass, "a later fragment");
    assert_eq!(v4(4, 0, 17, 7777), Verdict::Pass, "a header shorter than itself");
    let v6 = |next, port| verdict(&selection, &frame(&[0x86dd], &ipv6(next, port)));
    assert_eq!(v6(17, 7777), Verdict::Redirect);
    assert_eq!(v6(17, 1), Verdict::Pass);
    assert_eq!(v6(44, 7777), Verdict::Pass, "a fragment header");
    assert_eq!(verdict(&selection, &frame(&[0x0806], &[0; 28])), Verdict::Pass, "ARP");
}

#[test]
fn nothing_selected_passes_everything() {
    assert_eq!(verdict(&Selection::default(), &frame(&[0x88b5], &[0; 46])), Verdict::Pass);
}
