//! The program that makes frames: header, number, text, and of datagrams the checksum.

use std::os::fd::BorrowedFd;

use super::layout::{
    BEGIN, FIELDS, FORM_BYTES, FORMS, Layout, PLACE, ROOM, SHORTER, SLOTS, STAMPED, STAMPS, SUM,
    TABLES, TEXT_BYTES,
};
use crate::sys::bpf::assembly::Condition::{Always, Below, Differs, Equals, Exceeds, HasAny};
use crate::sys::bpf::assembly::Operation::{And, Or, ShiftRight, Subtract, Xor};
use crate::sys::bpf::assembly::Register::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use crate::sys::bpf::assembly::{Assembly, Instruction, Label, Register, Width};
use crate::sys::bpf::live;
use crate::wire::probe::{CHECK_OFFSET, NUMBER_BYTES, REMAINDERS};

/// Offsets in `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;

/// Where the mark of the frame's flow lies on the stack.
const MARK: i16 = -8;

/// Texts up to this length are copied word by word, where all are of one length.
const UNROLLED_BYTES: usize = 256;

/// A program to be made.
pub struct FrameProgram {
    /// Where everything is in the memory.
    pub layout: Layout,
    /// By which interface frames leave.
    pub interface: u32,
    /// From one frame's number to the next.
    pub every: u64,
    /// Where the mark of a flow stands, and its bytes; `None` where all frames are of one flow.
    pub mark: Option<(usize, usize)>,
}

impl FrameProgram {
    /// The instructions, for this memory.
    ///
    /// Register 6 keeps the context, 7 points to the memory, 8 is the frame's place, 9 points as far behind the
    /// memory's beginning as the frame's form lies behind the first one.
    pub fn assemble(&self, memory: BorrowedFd<'_>) -> Vec<Instruction> {
        let mut a = Assembly::new();
        let drop = a.label();
        a.copy(R6, R1).load_memory(R7, memory);
        a.load(Width::Word, R8, R7, PLACE as i16);
        let room = a.label();
        a.jump(Below(R8, ROOM as i32), room).jump(Always, drop).place(room);
        self.stamp(&mut a);
        self.form(&mut a, drop);
        self.header(&mut a, drop);
        number(&mut a, self.layout.header_bytes as i16);
        self.text(&mut a, drop);
        a.load(Width::Double, R1, R7, FIELDS as i16);
        a.add(R1, self.every as i32).store(Width::Double, R7, FIELDS as i16, R1);
        a.add(R8, 1).store(Width::Word, R7, PLACE as i16, R8);
        a.set(R1, self.interface as i32).set(R2, 0).call(live::REDIRECT).exit();
        a.place(drop).set(R0, live::DROP).exit();
        a.finish()
    }

    /// Whether a slot says what the frame is to be.
    pub fn has_slots(&self) -> bool {
        self.layout.forms > 1 || self.mark.is_some()
    }

    /// The first of some frames notes the time.
    fn stamp(&self, a: &mut Assembly) {
        let not_first = a.label();
        a.jump(HasAny(R8, STAMPED as i32 - 1), not_first).call(live::CLOCK);
        a.copy(R1, R8).operate(ShiftRight, R1, STAMPED.ilog2() as i32).shift_left(R1, 3);
        a.add_register(R1, R7).store(Width::Double, R1, STAMPS as i16, R0).place(not_first);
    }

    /// Finds the form, and gives the page its length.
    fn form(&self, a: &mut Assembly, drop: Label) {
        a.copy(R9, R7);
        if !self.has_slots() {
            return;
        }
        a.copy(R1, R8).shift_left(R1, 3).add(R1, SLOTS as i32).add_register(R1, R7);
        a.load(Width::Word, R2, R1, 0).load(Width::Word, R3, R1, 4);
        a.store(Width::Word, R10, MARK, R3);
        let known = a.label();
        a.jump(Below(R2, self.layout.forms as i32), known).jump(Always, drop).place(known);
        a.shift_left(R2, FORM_BYTES.ilog2() as i32).add_register(R9, R2);
        if self.layout.forms > 1 {
            let longest = a.label();
            // The function takes 32 bits for a signed number.
            self.load_form(a, Width::Word, R2, SHORTER);
            a.jump(Equals(R2, 0), longest).copy(R1, R6).call(live::ADJUST_TAIL);
            a.jump(Differs(R0, 0), drop).place(longest);
        }
    }

    /// Loads what stands at `at` in the frame's form.
    fn load_form(&self, a: &mut Assembly, width: Width, to: Register, at: usize) {
        a.copy(to, R9).add(to, (FORMS + at) as i32).load(width, to, to, 0);
    }

    /// Copies the header, and marks the flow: always, since a page that comes back is as its last user left it.
    /// Leaves register 2 pointing to the frame.
    fn header(&self, a: &mut Assembly, drop: Label) {
        a.load(Width::Word, R2, R6, DATA).load(Width::Word, R3, R6, DATA_END);
        let bytes = match self.is_unrolled() {
            true => self.layout.longest,
            false => self.layout.header_bytes + NUMBER_BYTES,
        };
        a.copy(R4, R2).add(R4, bytes as i32).jump(Exceeds(R4, R3), drop);
        a.copy(R1, R9).add(R1, FORMS as i32);
        copy(a, (R2, 0), (R1, 0), self.layout.header_bytes);
        if let Some((at, bytes)) = self.mark {
            let width = if bytes == 2 { Width::Half } else { Width::Word };
            a.load(Width::Word, R4, R10, MARK).store(width, R2, at as i16, R4);
        }
    }

    fn is_unrolled(&self) -> bool {
        self.layout.forms == 1 && self.layout.longest_text <= UNROLLED_BYTES
    }

    /// Copies the text behind the number, the checksum before it, and goes on to where the next text begins. The
    /// number is in registers 1 and 0, as [`number`] leaves it.
    fn text(&self, a: &mut Assembly, drop: Label) {
        let Layout { header_bytes, longest_text, round, step, text, sums, .. } = self.layout;
        a.load(Width::Word, R4, R7, BEGIN as i16);
        let known = a.label();
        a.jump(Below(R4, round as i32), known).jump(Always, drop).place(known);
        if let Some(sums) = sums {
            self.checksum(a, drop, sums);
        }
        let goes_on = a.label();
        a.copy(R3, R4).add(R3, step as i32);
        a.jump(Below(R3, round as i32), goes_on).operate(Subtract, R3, round as i32);
        a.place(goes_on).store(Width::Word, R7, BEGIN as i16, R3);
        a.add(R4, text as i32).add_register(R4, R7);
        let behind = header_bytes + NUMBER_BYTES;
        if self.is_unrolled() {
            return copy(a, (R2, behind as i16), (R4, 0), longest_text);
        }
        self.text_bytes(a, R5, drop);
        a.copy(R3, R4).copy(R4, R5).copy(R1, R6).set(R2, behind as i32).call(live::STORE_BYTES);
        a.jump(Differs(R0, 0), drop);
    }

    /// The bytes of the form's text, at least one and at most those of the longest.
    fn text_bytes(&self, a: &mut Assembly, to: Register, drop: Label) {
        let known = a.label();
        self.load_form(a, Width::Word, to, TEXT_BYTES);
        a.jump(Equals(to, 0), drop);
        a.jump(Below(to, self.layout.longest_text as i32 + 1), known).jump(Always, drop);
        a.place(known);
    }

    /// Sums what is in front of the probe, the port, the number in registers 1 and 0 and, by two sums that are
    /// there already, the text from register 4 on; writes the UDP checksum in front of the number.
    fn checksum(&self, a: &mut Assembly, drop: Label, sums: usize) {
        let Layout { header_bytes, text, .. } = self.layout;
        a.copy(R3, R1).operate(ShiftRight, R3, 32).add_register(R0, R3);
        a.shift_left(R1, 32).operate(ShiftRight, R1, 32).add_register(R0, R1);
        self.load_form(a, Width::Half, R1, SUM);
        a.add_register(R0, R1);
        if self.mark.is_some() {
            a.load(Width::Word, R1, R10, MARK).add_register(R0, R1);
        }
        self.text_bytes(a, R5, drop);
        // An odd last byte, as if a zero followed.
        let even = a.label();
        let byte_shift = u16::from_ne_bytes([1, 0]).trailing_zeros() as i32;
        a.copy(R1, R5).and(R1, 1).jump(Equals(R1, 0), even);
        a.operate(Subtract, R5, 1);
        a.copy(R1, R4).add_register(R1, R5).add(R1, text as i32).add_register(R1, R7);
        a.load(Width::Byte, R1, R1, 0).shift_left(R1, byte_shift).add_register(R0, R1);
        a.place(even);
        a.copy(R1, R4).add_register(R1, R5);
        a.shift_left(R1, 2).add(R1, sums as i32).add_register(R1, R7);
        a.load(Width::Word, R1, R1, 0).add_register(R0, R1);
        a.copy(R1, R4).shift_left(R1, 2).add(R1, sums as i32).add_register(R1, R7);
        a.load(Width::Word, R1, R1, 0).operate(Subtract, R0, R1);
        for bits in [32, 16, 16] {
            a.copy(R1, R0).operate(ShiftRight, R1, bits);
            a.shift_left(R0, 64 - bits).operate(ShiftRight, R0, 64 - bits).add_register(R0, R1);
        }
        // 0 would mean "none" and is sent as 0xffff (RFC 768).
        let some = a.label();
        a.operate(Xor, R0, 0xffff).jump(Differs(R0, 0), some).set(R0, 0xffff).place(some);
        a.store(Width::Half, R2, header_bytes as i16 - 2, R0);
    }
}

/// Writes the digits of run, sequence and check `at` so many bytes behind register 2. Leaves the first eight in
/// register 1 and the other two in register 0, as they lie in memory.
fn number(a: &mut Assembly, at: i16) {
    a.load(Width::Double, R4, R7, FIELDS as i16).set(R5, CHECK_OFFSET.into());
    let places = REMAINDERS.len();
    for (place, table) in REMAINDERS.iter().enumerate() {
        a.copy(R0, R4).operate(ShiftRight, R0, 8 * (places - 1 - place) as i32).and(R0, 255);
        a.shift_left(R0, 1).add_register(R0, R7);
        let at = TABLES + place * size_of_val(table);
        a.load(Width::Half, R0, R0, at as i16).operate(Xor, R5, R0);
    }
    a.copy(R1, R4).shift_left(R1, 2).copy(R0, R5);
    a.operate(ShiftRight, R0, 14).operate(Or, R1, R0);
    // The upper half of each group moves up, from 56 bits in one to eight groups of seven.
    for (upper, lower, bits) in [
        (0x00ff_ffff_f000_0000, 0x0fff_ffff, 4),
        (0x0fff_c000_0fff_c000, 0x0000_3fff_0000_3fff, 2),
        (0x3f80_3f80_3f80_3f80, 0x007f_007f_007f_007f, 1),
    ] {
        a.copy(R0, R1).set_double(R3, upper).operate(And, R0, R3).shift_left(R0, bits);
        a.set_double(R3, lower).operate(And, R1, R3).operate(Or, R1, R0);
    }
    a.set_double(R3, 0x8080_8080_8080_8080).operate(Or, R1, R3);
    a.double_to_network_order(R1).store(Width::Double, R2, at, R1);
    a.copy(R0, R5).and(R0, 0x3f80).shift_left(R0, 1).and(R5, 0x7f).operate(Or, R0, R5);
    a.operate(Or, R0, 0x8080).to_network_order(R0).store(Width::Half, R2, at + 8, R0);
}

/// Copies so many bytes by register 3.
fn copy(a: &mut Assembly, to: (Register, i16), from: (Register, i16), bytes: usize) {
    let mut at = 0;
    for (width, step) in [(Width::Double, 8), (Width::Word, 4), (Width::Half, 2), (Width::Byte, 1)]
    {
        while at + step <= bytes {
            let offset = at as i16;
            a.load(width, R3, from.0, from.1 + offset).store(width, to.0, to.1 + offset, R3);
            at += step;
        }
    }
}
