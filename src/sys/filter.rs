//! Classic BPF programs that packet sockets run on each frame before it is queued.
//!
//! The frame that a per-socket filter sees begins with its Ethernet header and has lost its outer
//! VLAN tag, which stands in the ancillary words (`bpf_convert_filter`, `net/core/filter.c`).

use libc::{
    BPF_A, BPF_ABS, BPF_ALU, BPF_B, BPF_H, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_MUL, BPF_RET,
    BPF_RSH, BPF_W,
};

use crate::units::{TAG_TYPES, TAGS_MAX};

/// One instruction of a classic BPF program, as the kernel has it (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation code.
    pub code: u16,
    /// Instructions to skip where a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip where it does not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

const _: () = assert!(size_of::<Instruction>() == size_of::<libc::sock_filter>());

/// `program` as an option of a socket wants it, which copies the instructions.
pub(super) fn handed_over(program: &[Instruction]) -> libc::sock_fprog {
    let filter = program.as_ptr().cast_mut().cast();
    libc::sock_fprog { len: program.len() as u16, filter }
}

/// Accept as much of the frame as there is; the return value is also the snap length.
const WHOLE: u32 = 0x0004_0000;
const ANCILLARY_PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
const ANCILLARY_TAG_PRESENT: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG_PRESENT) as u32;
pub(super) const ETHER_TYPE_OFFSET: u8 = 12;
pub(super) const TAG_BYTES: u8 = 4;

/// What a receive filter lets through. Outgoing frames never pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// EtherTypes, also behind in-band tags; none given means all. At most 32.
    pub ether_types: Vec<u16>,
    /// Whether frames pass that came with a VLAN tag.
    pub tagged: bool,
}

impl Wanted {
    /// The program that lets through just this.
    pub fn program(&self) -> Vec<Instruction> {
        // The kernel loops our neighbours' outgoing frames back to ETH_P_ALL sockets, and
        // PACKET_IGNORE_OUTGOING is lost in a fanout group: the filter holds everywhere.
        let mut program = vec![
            load(BPF_B, ANCILLARY_PACKET_TYPE),
            skip_unless(libc::PACKET_OUTGOING.into()),
            verdict(0),
        ];
        if !self.tagged {
            program.extend([load(BPF_B, ANCILLARY_TAG_PRESENT), skip_if(0), verdict(0)]);
        }
        if self.ether_types.is_empty() {
            program.push(verdict(WHOLE));
            return program;
        }
        program.push(load(BPF_H, ETHER_TYPE_OFFSET.into()));
        program.extend(self.accept_wanted());
        if self.tagged {
            // Inner tags stand in the frame itself, as do those that the kernel does not know; look behind them.
            for tag in 1..=TAGS_MAX as u32 {
                let tests = TAG_TYPES.iter().zip((1..=TAG_TYPES.len() as u8).rev());
                program.extend(tests.map(|(&tpid, to_load)| compare(tpid.into(), to_load, 0)));
                program.push(verdict(0));
                let offset = u32::from(ETHER_TYPE_OFFSET) + tag * u32::from(TAG_BYTES);
                program.push(load(BPF_H, offset));
                program.extend(self.accept_wanted());
            }
        }
        program.push(verdict(0));
        program
    }

    /// Accepts the frame if the loaded EtherType is wanted.
    fn accept_wanted(&self) -> impl Iterator<Item = Instruction> {
        self.ether_types.iter().flat_map(|&wanted| [skip_unless(wanted.into()), verdict(WHOLE)])
    }
}

/// The program that drops every frame.
pub fn nothing() -> Vec<Instruction> {
    vec![verdict(0)]
}

/// The last four bytes of the source address. A fanout program begins at the network header, unlike a
/// socket's filter, so that the offset has to name the link layer (`packet_rcv_fanout`,
/// `bpf_internal_load_pointer_neg_helper`).
const SOURCE_MAC_END: u32 = (libc::SKF_LL_OFF + 8) as u32;

/// 2^32 over the golden ratio (Knuth, volume 3, section 6.4): neighbours end far from each other.
const MULTIPLIER: u32 = 0x9e37_79b1;

/// The program of a fanout group that spreads frames by their source MAC address; the kernel takes
/// the result modulo the number of members (`fanout_demux_bpf`). The address is scattered first:
/// where all are even, the remainder of two would be.
pub fn by_source_mac() -> Vec<Instruction> {
    vec![
        load(BPF_W, SOURCE_MAC_END),
        instruction(BPF_ALU | BPF_MUL | BPF_K, 0, 0, MULTIPLIER),
        // The high bits are the scattered ones.
        instruction(BPF_ALU | BPF_RSH | BPF_K, 0, 0, 16),
        instruction(BPF_RET | BPF_A, 0, 0, 0),
    ]
}

fn load(width: u32, offset: u32) -> Instruction {
    instruction(BPF_LD | width | BPF_ABS, 0, 0, offset)
}

fn compare(value: u32, jump_true: u8, jump_false: u8) -> Instruction {
    instruction(BPF_JMP | BPF_JEQ | BPF_K, jump_true, jump_false, value)
}

/// Skips the next instruction unless the loaded word is `value`.
fn skip_unless(value: u32) -> Instruction {
    compare(value, 0, 1)
}

/// Skips the next instruction if the loaded word is `value`.
fn skip_if(value: u32) -> Instruction {
    compare(value, 1, 0)
}

fn verdict(snap_length: u32) -> Instruction {
    instruction(BPF_RET | BPF_K, 0, 0, snap_length)
}

fn instruction(code: u32, jump_true: u8, jump_false: u8, operand: u32) -> Instruction {
    Instruction { code: code as u16, jump_true, jump_false, operand }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few lines of the kernel's interpreter: enough for the programs above.
    fn run(program: &[Instruction], frame: &[u8], packet_type: u32, tagged: bool) -> u32 {
        let (mut at, mut accumulator) = (0, 0u32);
        loop {
            let Instruction { code, jump_true, jump_false, operand } = program[at];
            at += 1;
            match u32::from(code) {
                c if c == BPF_LD | BPF_B | BPF_ABS => {
                    accumulator = match operand {
                        ANCILLARY_PACKET_TYPE => packet_type,
                        ANCILLARY_TAG_PRESENT => tagged.into(),
                        offset => frame[offset as usize].into(),
                    }
                }
                c if c == BPF_LD | BPF_H | BPF_ABS => {
                    let at = operand as usize;
                    // The kernel rejects a frame that is too short for a load.
                    let Some(bytes) = frame.get(at..at + 2) else { return 0 };
                    accumulator = u16::from_be_bytes([bytes[0], bytes[1]]).into();
                }
                // A negative offset names the link layer, where these frames begin.
                c if c == BPF_LD | BPF_W | BPF_ABS => {
                    let at = (operand as i32 - libc::SKF_LL_OFF) as usize;
                    accumulator = u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
                }
                c if c == BPF_ALU | BPF_MUL | BPF_K => {
                    accumulator = accumulator.wrapping_mul(operand);
                }
                c if c == BPF_ALU | BPF_RSH | BPF_K => accumulator >>= operand,
                c if c == BPF_RET | BPF_A => return accumulator,
                c if c == BPF_JMP | BPF_JEQ | BPF_K => {
                    at += usize::from(if accumulator == operand { jump_true } else { jump_false })
                }
                c if c == BPF_RET | BPF_K => return operand,
                other => panic!("unexpected instruction {other:#x}"),
            }
        }
    }

    fn frame(types: &[u16]) -> Vec<u8> {
        let mut frame = vec![0u8; 12];
        for (n, t) in types.iter().enumerate() {
            frame.extend(t.to_be_bytes());
            if n + 1 < types.len() {
                frame.extend([0, 5]);
            }
        }
        frame.resize(60, b'a');
        frame
    }

    #[test]
    fn one_ether_type_passes_also_behind_an_inner_tag() {
        let program = Wanted { ether_types: vec![0x88b5], tagged: true }.program();
        let host = libc::PACKET_HOST.into();
        assert_eq!(run(&program, &frame(&[0x88b5]), host, false), WHOLE);
        assert_eq!(run(&program, &frame(&[0x88b5]), host, true), WHOLE);
        assert_eq!(run(&program, &frame(&[0x8100, 0x88b5]), host, true), WHOLE);
        assert_eq!(run(&program, &frame(&[0x88a8, 0x88b5]), host, true), WHOLE);
        for tpid in TAG_TYPES {
            assert_eq!(run(&program, &frame(&[tpid, 0x88b5]), host, false), WHOLE, "{tpid:#x}");
            assert_eq!(run(&program, &frame(&[tpid, 0x8100, 0x8100, 0x88b5]), host, true), WHOLE);
            assert_eq!(run(&program, &frame(&[tpid, 0x0800]), host, false), 0);
        }
        assert_eq!(run(&program, &frame(&[0x8100; 5]), host, false), 0);
        assert_eq!(run(&program, &frame(&[0x0800]), host, false), 0);
        assert_eq!(run(&program, &frame(&[0x8100, 0x0800]), host, true), 0);
        assert_eq!(run(&program, &frame(&[0x88b5]), libc::PACKET_OUTGOING.into(), false), 0);
        assert_eq!(run(&program, &frame(&[0x88b5])[..13], host, false), 0);
    }

    #[test]
    fn a_socket_that_cannot_see_tags_gets_no_tagged_frame() {
        for ether_types in [vec![], vec![0x88b5]] {
            let program = Wanted { ether_types, tagged: false }.program();
            let host = libc::PACKET_HOST.into();
            assert_eq!(run(&program, &frame(&[0x88b5]), host, false), WHOLE);
            assert_eq!(run(&program, &frame(&[0x88b5]), host, true), 0);
        }
        let program = Wanted { ether_types: vec![0x88b5], tagged: false }.program();
        assert_eq!(run(&program, &frame(&[0x8100, 0x88b5]), 0, false), 0);
    }

    #[test]
    fn all_lets_everything_but_outgoing_through() {
        let program = Wanted { ether_types: vec![], tagged: true }.program();
        assert_eq!(run(&program, &frame(&[0x0806]), 0, false), WHOLE);
        assert_eq!(run(&program, &frame(&[0x0806]), libc::PACKET_OUTGOING.into(), true), 0);
        assert_eq!(run(&nothing(), &frame(&[0x0806]), 0, false), 0);
    }

    #[test]
    fn source_addresses_are_spread_evenly_whatever_their_steps() {
        for members in 2..=8u32 {
            for step in [1u32, 2, 4, 16, 256, 65_536] {
                let mut shares = vec![0; members as usize];
                for number in 0..1024u32 {
                    let mut frame = frame(&[0x88b5]);
                    frame[8..12].copy_from_slice(&(0x0200_0000 + number * step).to_be_bytes());
                    // What comes before and after is not looked at.
                    let share = run(&by_source_mac(), &frame, 0, false);
                    frame[..8].fill(number as u8);
                    frame[12..].fill(number as u8);
                    assert_eq!(run(&by_source_mac(), &frame, 0, true), share);
                    shares[(share % members) as usize] += 1;
                }
                let fair = 1024 / members;
                let range = fair / 2..=fair * 2;
                assert!(shares.iter().all(|share| range.contains(share)), "{step}: {shares:?}");
            }
        }
    }
}
