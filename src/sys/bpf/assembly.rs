//! A small typed assembler for eBPF (`Documentation/bpf/standardization/instruction-set.rst`): as
//! much as the programs of this crate need.

use std::os::fd::{AsRawFd, BorrowedFd};

/// A register. R0 holds results, R1 to R5 arguments, which a call destroys; R6 to R9 are kept; R10 points to the
/// end of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// How many bytes a load or store takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One byte.
    Byte,
    /// Two bytes.
    Half,
    /// Four bytes.
    Word,
    /// Eight bytes.
    Double,
}

impl Width {
    const fn code(self) -> u8 {
        match self {
            Width::Word => 0x00,
            Width::Half => 0x08,
            Width::Byte => 0x10,
            Width::Double => 0x18,
        }
    }
}

/// What is done with a register and an operand, in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    Add = 0x00,
    Subtract = 0x10,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    Xor = 0xa0,
    Set = 0xb0,
}

/// The other side of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// What is in a register.
    Register(Register),
    /// This, its sign extended.
    Constant(i32),
}

impl From<Register> for Operand {
    fn from(register: Register) -> Operand {
        Operand::Register(register)
    }
}

impl From<i32> for Operand {
    fn from(constant: i32) -> Operand {
        Operand::Constant(constant)
    }
}

/// A place in a program, to jump to. Jumps go forward only, so every program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// When a jump is taken. Comparisons are of 64 bits, unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The register equals the number.
    Equals(Register, i32),
    /// It does not.
    Differs(Register, i32),
    /// The register has one of the number's bits.
    HasAny(Register, i32),
    /// The register is below the number.
    Below(Register, i32),
    /// The first register is greater than the second.
    Exceeds(Register, Register),
    /// Always.
    Always,
}

/// One instruction slot (`struct bpf_insn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation code.
    pub code: u8,
    /// Destination register in the low, source register in the high four bits.
    pub registers: u8,
    /// Offset of a memory access in bytes, or of a jump in slots.
    pub offset: i16,
    /// Constant.
    pub constant: i32,
}

/// A program in the making.
#[derive(Debug, Default)]
pub struct Assembly {
    instructions: Vec<Instruction>,
    /// Jumps, by slot, and where they lead.
    jumps: Vec<(usize, Label)>,
    /// Slots of the labels that were placed.
    places: Vec<Option<usize>>,
}

// Classes, sources and operations of the instruction set.
const LOAD_CONSTANT: u8 = 0x18; // BPF_LD | BPF_DW | BPF_IMM
const LOAD: u8 = 0x61; // BPF_LDX | BPF_MEM; the width is 0 for a word
const STORE: u8 = 0x63; // BPF_STX | BPF_MEM
const TO_BIG_ENDIAN: u8 = 0xdc; // BPF_ALU | BPF_END | BPF_TO_BE
const ARITHMETIC: u8 = 0x07; // BPF_ALU64
const JUMP: u8 = 0x05; // BPF_JMP
const BY_REGISTER: u8 = 0x08; // BPF_X
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
/// `BPF_PSEUDO_MAP_FD`: the constant is the descriptor of a map.
const MAP_DESCRIPTOR: u8 = 1;
/// `BPF_PSEUDO_MAP_VALUE`: the constant is that as well, and the next one an offset in the map's first value.
const MAP_VALUE: u8 = 2;
/// `BPF_PSEUDO_KFUNC_CALL`: the constant is the number of a function in the kernel's type information.
const KERNEL_FUNCTION: u8 = 2;

impl Assembly {
    /// An empty program.
    pub fn new() -> Assembly {
        Assembly::default()
    }

    /// A label that is still to be placed.
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// Places `label` before the next instruction. Panics if it stands somewhere already.
    pub fn place(&mut self, label: Label) -> &mut Assembly {
        let next = self.instructions.len();
        assert_eq!(self.places[label.0].replace(next), None, "a label stands in one place");
        self
    }

    /// `to = *(from + offset)`.
    pub fn load(
        &mut self,
        width: Width,
        to: Register,
        from: Register,
        offset: i16,
    ) -> &mut Assembly {
        self.push(LOAD | width.code(), to, from as u8, offset, 0)
    }

    /// `*(to + offset) = from`.
    pub fn store(
        &mut self,
        width: Width,
        to: Register,
        offset: i16,
        from: Register,
    ) -> &mut Assembly {
        self.push(STORE | width.code(), to, from as u8, offset, 0)
    }

    /// The low two bytes of the register in network order, all others zero.
    pub fn to_network_order(&mut self, of: Register) -> &mut Assembly {
        self.push(TO_BIG_ENDIAN, of, 0, 0, 16)
    }

    /// `to = from`.
    pub fn copy(&mut self, to: Register, from: Register) -> &mut Assembly {
        self.push(ARITHMETIC | BY_REGISTER | 0xb0, to, from as u8, 0, 0)
    }

    /// `to = constant`.
    pub fn set(&mut self, to: Register, constant: i32) -> &mut Assembly {
        self.push(ARITHMETIC | 0xb0, to, 0, 0, constant)
    }

    /// `to += constant`.
    pub fn add(&mut self, to: Register, constant: i32) -> &mut Assembly {
        self.push(ARITHMETIC, to, 0, 0, constant)
    }

    /// `to += from`.
    pub fn add_register(&mut self, to: Register, from: Register) -> &mut Assembly {
        self.push(ARITHMETIC | BY_REGISTER, to, from as u8, 0, 0)
    }

    /// `to &= constant`.
    pub fn and(&mut self, to: Register, constant: i32) -> &mut Assembly {
        self.push(ARITHMETIC | 0x50, to, 0, 0, constant)
    }

    /// `to <<= bits`.
    pub fn shift_left(&mut self, to: Register, bits: i32) -> &mut Assembly {
        self.push(ARITHMETIC | 0x60, to, 0, 0, bits)
    }

    /// `to = to operation operand`.
    pub fn operate(
        &mut self,
        operation: Operation,
        to: Register,
        operand: impl Into<Operand>,
    ) -> &mut Assembly {
        let code = ARITHMETIC | operation as u8;
        match operand.into() {
            Operand::Register(from) => self.push(code | BY_REGISTER, to, from as u8, 0, 0),
            Operand::Constant(constant) => self.push(code, to, 0, 0, constant),
        }
    }

    /// All eight bytes of the register in network order.
    pub fn double_to_network_order(&mut self, of: Register) -> &mut Assembly {
        self.push(TO_BIG_ENDIAN, of, 0, 0, 64)
    }

    /// `to = constant`, of 64 bits; takes two slots.
    pub fn set_double(&mut self, to: Register, constant: u64) -> &mut Assembly {
        self.push(LOAD_CONSTANT, to, 0, 0, constant as i32);
        self.push(0, Register::R0, 0, 0, (constant >> 32) as i32)
    }

    /// `to = where the one value of the map behind this descriptor lies`; takes two slots.
    pub fn load_memory(&mut self, to: Register, map: BorrowedFd<'_>) -> &mut Assembly {
        self.push(LOAD_CONSTANT, to, MAP_VALUE, 0, map.as_raw_fd());
        self.push(0, Register::R0, 0, 0, 0)
    }

    /// `to = the map behind this descriptor`; takes two slots.
    pub fn load_map(&mut self, to: Register, map: BorrowedFd<'_>) -> &mut Assembly {
        self.push(LOAD_CONSTANT, to, MAP_DESCRIPTOR, 0, map.as_raw_fd());
        self.push(0, Register::R0, 0, 0, 0)
    }

    /// Goes on at `label` if `condition` holds.
    pub fn jump(&mut self, condition: Condition, label: Label) -> &mut Assembly {
        self.jumps.push((self.instructions.len(), label));
        match condition {
            Condition::Equals(one, number) => self.push(JUMP | 0x10, one, 0, 0, number),
            Condition::Differs(one, number) => self.push(JUMP | 0x50, one, 0, 0, number),
            Condition::Below(one, number) => self.push(JUMP | 0xa0, one, 0, 0, number),
            Condition::HasAny(one, bits) => self.push(JUMP | 0x40, one, 0, 0, bits),
            Condition::Exceeds(one, other) => {
                self.push(JUMP | BY_REGISTER | 0x20, one, other as u8, 0, 0)
            }
            Condition::Always => self.push(JUMP, Register::R0, 0, 0, 0),
        }
    }

    /// Calls a function of the kernel by its number in the kernel's type information ([`super::types`]).
    pub fn call_kernel(&mut self, function: u32) -> &mut Assembly {
        self.push(JUMP | CALL, Register::R0, KERNEL_FUNCTION, 0, function as i32)
    }

    /// Calls a helper function by its number.
    pub fn call(&mut self, function: i32) -> &mut Assembly {
        self.push(JUMP | CALL, Register::R0, 0, 0, function)
    }

    /// Ends with what is in R0.
    pub fn exit(&mut self) -> &mut Assembly {
        self.push(JUMP | EXIT, Register::R0, 0, 0, 0)
    }

    /// The program. Panics if a jump leads nowhere or back: programs are written in this crate.
    pub fn finish(mut self) -> Vec<Instruction> {
        for (jump, label) in self.jumps {
            let place = self.places[label.0].expect("a label that is jumped to is placed");
            assert!(place > jump, "jumps go forward");
            let distance = place - jump - 1;
            self.instructions[jump].offset = distance.try_into().expect("a program is short");
        }
        self.instructions
    }

    fn push(
        &mut self,
        code: u8,
        to: Register,
        from: u8,
        offset: i16,
        constant: i32,
    ) -> &mut Assembly {
        let registers = from << 4 | to as u8;
        self.instructions.push(Instruction { code, registers, offset, constant });
        self
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::Condition::{Always, Differs, Equals, Exceeds, HasAny};
    use super::Register::{R0, R1, R2, R3, R6, R7, R10};
    use super::*;

    fn encoded(build: impl FnOnce(&mut Assembly)) -> Vec<[u8; 8]> {
        let mut assembly = Assembly::new();
        build(&mut assembly);
        let bytes = |one: Instruction| {
            let [o0, o1] = one.offset.to_le_bytes();
            let [c0, c1, c2, c3] = one.constant.to_le_bytes();
            [one.code, one.registers, o0, o1, c0, c1, c2, c3]
        };
        assembly.finish().into_iter().map(bytes).collect()
    }

    /// What a disassembler makes of these codes is quoted beside each.
    #[test]
    fn instructions_have_the_codes_of_the_instruction_set() {
        let code = encoded(|a| {
            a.load(Width::Word, R2, R1, 16); // r2 = *(u32 *)(r1 + 16)
            a.load(Width::Half, R0, R2, 12); // r0 = *(u16 *)(r2 + 12)
            a.load(Width::Byte, R0, R2, 14); // r0 = *(u8 *)(r2 + 14)
            a.copy(R6, R1); // r6 = r1
            a.set(R0, 2); // r0 = 2
            a.add(R3, 14); // r3 += 14
            a.add_register(R2, R0); // r2 += r0
            a.and(R0, 15); // r0 &= 15
            a.shift_left(R0, 2); // r0 <<= 2
            a.call(51); // call bpf_redirect_map
            a.exit(); // exit
            a.store(Width::Word, R10, -4, R7); // *(u32 *)(r10 - 4) = r7
            a.store(Width::Half, R2, 12, R0); // *(u16 *)(r2 + 12) = r0
            a.to_network_order(R0); // r0 = be16 r0
            a.call_kernel(77); // call the kernel's function 77
        });
        let expected: [[u8; 8]; 15] = [
            [0x61, 0x12, 16, 0, 0, 0, 0, 0],
            [0x69, 0x20, 12, 0, 0, 0, 0, 0],
            [0x71, 0x20, 14, 0, 0, 0, 0, 0],
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0xb7, 0x00, 0, 0, 2, 0, 0, 0],
            [0x07, 0x03, 0, 0, 14, 0, 0, 0],
            [0x0f, 0x02, 0, 0, 0, 0, 0, 0],
            [0x57, 0x00, 0, 0, 15, 0, 0, 0],
            [0x67, 0x00, 0, 0, 2, 0, 0, 0],
            [0x85, 0x00, 0, 0, 51, 0, 0, 0],
            [0x95, 0x00, 0, 0, 0, 0, 0, 0],
            [0x63, 0x7a, 0xfc, 0xff, 0, 0, 0, 0],
            [0x6b, 0x02, 12, 0, 0, 0, 0, 0],
            [0xdc, 0x00, 0, 0, 16, 0, 0, 0],
            [0x85, 0x20, 0, 0, 77, 0, 0, 0],
        ];
        assert_eq!(code, expected);
    }

    #[test]
    fn jumps_count_the_slots_between() {
        let code = encoded(|a| {
            let (near, far) = (a.label(), a.label());
            a.jump(Equals(R0, 8), far);
            a.jump(Differs(R0, 8), near);
            a.jump(HasAny(R0, 0x3f), near);
            a.jump(Exceeds(R3, R2), far);
            a.place(near).jump(Always, far);
            a.exit();
            a.place(far).exit();
        });
        let codes: Vec<(u8, u8)> = code.iter().map(|one| (one[0], one[2])).collect();
        assert_eq!(
            codes,
            [(0x15, 5), (0x55, 2), (0x45, 1), (0x2d, 2), (0x05, 1), (0x95, 0), (0x95, 0)]
        );
        assert_eq!(code[3][1], 0x23, "r3 > r2");
    }

    #[test]
    fn a_map_takes_two_slots_and_says_that_it_is_one() {
        let file = std::fs::File::open("/proc/self/status").unwrap();
        let number = file.as_raw_fd();
        let code = encoded(|a| {
            a.load_map(R1, file.as_fd());
        });
        assert_eq!(code[0], [0x18, 0x11, 0, 0, number as u8, 0, 0, 0]);
        assert_eq!(code[1], [0; 8]);
    }

    #[test]
    #[should_panic(expected = "jumps go forward")]
    fn a_loop_is_refused() {
        encoded(|a| {
            let start = a.label();
            a.place(start).jump(Always, start);
        });
    }

    #[test]
    #[should_panic(expected = "is placed")]
    fn a_jump_into_the_void_is_refused() {
        encoded(|a| {
            let nowhere = a.label();
            a.jump(Always, nowhere);
        });
    }
}
