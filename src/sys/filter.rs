//! Classic BPF programs that packet sockets run on each frame before it is queued.
//!
//! The frame that a per-socket filter sees begins with its Ethernet header and has lost its outer
//! VLAN tag, which stands in the ancillary words (`bpf_convert_filter`, `net/core/filter.c`).

use libc::{BPF_ABS, BPF_B, BPF_H, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET};

/// One instruction of a classic BPF program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Accept as much of the frame as there is; the return value is also the snap length.
const WHOLE: u32 = 0x0004_0000;
const ANCILLARY_PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
const ANCILLARY_TAG_PRESENT: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG_PRESENT) as u32;
const ETHER_TYPE_OFFSET: u32 = 12;
const TAG_BYTES: u32 = 4;
const TPIDS: [u32; 2] = [0x8100, 0x88a8];

/// What a receive filter lets through. Outgoing frames never pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// EtherTypes, also behind one in-band tag; none given means all. At most 32.
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
        program.push(load(BPF_H, ETHER_TYPE_OFFSET));
        program.extend(self.accept_wanted());
        if self.tagged {
            // An inner tag stands in the frame itself; look behind it.
            program.extend([compare(TPIDS[0], 2, 0), skip_if(TPIDS[1]), verdict(0)]);
            program.push(load(BPF_H, ETHER_TYPE_OFFSET + TAG_BYTES));
            program.extend(self.accept_wanted());
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
}
