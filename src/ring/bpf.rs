//! Slots that a BPF program copies into frames in the kernel, for TX half `bpf` (XDP-19).
//!
//! ```text
//! byte 0      4        64                        64 + SLOT_BYTES
//!      | place | longest | … | length | frame … | length | frame …
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::slots::{Settled, Slots};
use crate::error::{Error, Result};
use crate::sys::bpf::assembly::Condition::{Always, Below, Differs, Equals};
use crate::sys::bpf::assembly::Operation::Subtract;
use crate::sys::bpf::assembly::Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9};
use crate::sys::bpf::assembly::{Assembly, Instruction, Label, Width};
use crate::sys::bpf::live::{self, LIVE_BYTES_MAX, LiveProgram, ProgramMemory};
use crate::units::ETHERNET_HEADER_BYTES;
use crate::wire::ethernet::VLAN_TAG_BYTES;

/// Frames of a call at most: with fewer than 256 its own cost shows.
const SLOTS: usize = 512;

const PLACE: usize = 0;
const LONGEST: usize = 4;
const FIRST: usize = 64;
/// Bytes of a slot's length.
const LENGTH: usize = 4;

/// Slots in the memory of a program, and the program.
#[derive(Debug)]
pub struct BpfSlots {
    program: LiveProgram,
    slot_bytes: usize,
    /// What pages begin as.
    blank: Box<[u8]>,
    /// Frames put, and those of them that left; both begin again once all left.
    put: usize,
    left: usize,
    /// The longest of them.
    longest: usize,
    settled: Settled,
}

impl BpfSlots {
    /// Slots for frames of up to `mtu` bytes behind their header and a tag, which leave by `interface`. A usage error
    /// where its driver takes no such frames; EPERM without the privileges of [`NEEDS_BPF`](crate::sys::bpf::NEEDS_BPF).
    pub fn open(interface: u32, mtu: usize) -> Result<BpfSlots> {
        live::check_driver("bpf", interface)?;
        let longest = mtu + ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES;
        if longest > LIVE_BYTES_MAX {
            return Err(Error::Usage(format!(
                "--tx bpf: an MTU of {mtu} is too large for frames that lie in one memory page: at most {}",
                LIVE_BYTES_MAX - ETHERNET_HEADER_BYTES - VLAN_TAG_BYTES,
            )));
        }
        let slot_bytes = (LENGTH + longest).next_power_of_two();
        let memory = ProgramMemory::create(FIRST + SLOTS * slot_bytes)?;
        let instructions = assemble(memory.as_fd(), interface, slot_bytes);
        let mut program = LiveProgram::load(&instructions, memory)?;
        write(program.memory(), PLACE, SLOTS);
        let blank = vec![0; longest].into_boxed_slice();
        program.check(&blank)?;
        Ok(BpfSlots {
            program,
            slot_bytes,
            blank,
            put: 0,
            left: 0,
            longest: 0,
            settled: Settled::default(),
        })
    }

    fn slot(&self, place: usize) -> usize {
        FIRST + place * self.slot_bytes
    }

    /// Counts the frames up to `place` as sent.
    fn count(&mut self, place: usize) {
        let slots = self.left..place.min(self.put);
        self.settled.frames += slots.len() as u64;
        let (bytes, first) = (self.slot_bytes, self.slot(slots.start));
        let memory = self.program.memory();
        let length = |slot: usize| read(memory, first + slot * bytes) as u64;
        self.settled.bytes += (0..slots.len()).map(length).sum::<u64>();
        self.left = slots.end;
    }
}

impl Slots for BpfSlots {
    #[inline]
    fn has_room(&mut self) -> bool {
        if self.put == self.left {
            (self.put, self.left, self.longest) = (0, 0, 0);
        }
        self.put < SLOTS
    }

    #[inline(always)]
    fn put(&mut self, write_frame: impl FnOnce(&mut [u8]) -> usize) {
        let (slot, most) = (self.slot(self.put), self.blank.len());
        let memory = self.program.memory();
        let length = write_frame(&mut memory[slot + LENGTH..][..most]);
        write(memory, slot, length);
        self.longest = self.longest.max(length);
        self.put += 1;
    }

    /// Has the kernel make the frames and hand them to the driver, by a call of its own. A signal ends it early: the
    /// rest stays.
    #[inline]
    fn kick(&mut self, _: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        if self.put == self.left {
            return Ok(());
        }
        let (left, waiting) = (self.left, self.put - self.left);
        let memory = self.program.memory();
        write(memory, PLACE, left);
        write(memory, LONGEST, self.longest);
        let ran = self.program.run(&self.blank[..self.longest], waiting as u32);
        let place = read(self.program.memory(), PLACE);
        self.count(place);
        ran
    }

    /// Counts the frames that were made. What the driver did not take of them is lost, and only the interface counts it.
    #[inline]
    fn settle(&mut self) -> Settled {
        std::mem::take(&mut self.settled)
    }

    fn withdraw(&mut self) -> (u64, Settled) {
        let withdrawn = (self.put - self.left) as u64;
        self.put = self.left;
        (withdrawn, self.settle())
    }

    #[inline]
    fn in_flight(&self) -> u64 {
        (self.put - self.left) as u64 + self.settled.frames
    }

    fn slot_capacity(&self) -> usize {
        self.blank.len()
    }

    /// The slots have the room of the first MTU.
    fn set_mtu(&mut self, _: usize) {}
}

#[inline]
fn write(memory: &mut [u8], at: usize, number: usize) {
    memory[at..at + 4].copy_from_slice(&(number as u32).to_ne_bytes());
}

#[inline]
fn read(memory: &[u8], at: usize) -> usize {
    memory[at..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes) as usize)
}

/// The program: it gives the page the length of the next slot's frame, copies the frame and lets it leave.
///
/// Register 6 keeps the context, 7 points to the memory, 8 is the place of the slot and 9 points to it.
fn assemble(memory: BorrowedFd<'_>, interface: u32, slot_bytes: usize) -> Vec<Instruction> {
    let mut a = Assembly::new();
    let (drop, known, fits) = (a.label(), a.label(), a.label());
    a.copy(R6, R1).load_memory(R7, memory).load(Width::Word, R8, R7, PLACE as i16);
    a.jump(Below(R8, SLOTS as i32), known).jump(Always, drop).place(known);
    a.copy(R9, R8).shift_left(R9, slot_bytes.ilog2() as i32);
    a.add(R9, FIRST as i32).add_register(R9, R7);
    length(&mut a, slot_bytes, drop);
    a.copy(R2, R4).load(Width::Word, R3, R7, LONGEST as i16).operate(Subtract, R2, R3);
    a.jump(Equals(R2, 0), fits).copy(R1, R6).call(live::ADJUST_TAIL);
    a.jump(Differs(R0, 0), drop).place(fits);
    length(&mut a, slot_bytes, drop);
    a.copy(R3, R9).add(R3, LENGTH as i32).copy(R1, R6).set(R2, 0).call(live::STORE_BYTES);
    a.jump(Differs(R0, 0), drop).add(R8, 1).store(Width::Word, R7, PLACE as i16, R8);
    a.set(R1, interface as i32).set(R2, 0).call(live::REDIRECT).exit();
    a.place(drop).set(R0, live::DROP).exit();
    a.finish()
}

/// The length of the slot's frame in register 4: at least one byte and at most the slot's.
fn length(a: &mut Assembly, slot_bytes: usize, drop: Label) {
    let known = a.label();
    a.load(Width::Word, R4, R9, 0).jump(Equals(R4, 0), drop);
    a.jump(Below(R4, (slot_bytes - LENGTH) as i32 + 1), known).jump(Always, drop).place(known);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::bpf::tests::may_load;
    use crate::sys::link::Links;

    #[test]
    fn the_program_copies_each_frame_and_gives_the_page_its_length() {
        if !may_load() {
            return;
        }
        let lo = Links::open().unwrap().by_name("lo").unwrap().index;
        let memory = ProgramMemory::create(FIRST + SLOTS * 2048).unwrap();
        let mut program = LiveProgram::load(&assemble(memory.as_fd(), lo, 2048), memory).unwrap();
        for (place, length) in [(0, 1514), (1, 60), (2, 14), (SLOTS - 1, 777)] {
            let frame: Vec<u8> = (0..length).map(|at| (at * 7 + place) as u8).collect();
            let memory = program.memory();
            let slot = FIRST + place * 2048;
            write(memory, PLACE, place);
            write(memory, LONGEST, 1514);
            write(memory, slot, length);
            memory[slot + LENGTH..][..length].copy_from_slice(&frame);
            let (returned, made) = program.try_out(&[0x5a; 1514]).unwrap();
            assert_eq!((returned, read(program.memory(), PLACE)), (4, place + 1));
            assert_eq!(made, frame);
        }
        // No slot, no frame.
        write(program.memory(), PLACE, SLOTS);
        assert_eq!(program.try_out(&[0; 60]).unwrap().0, live::DROP as u32);
    }
}
