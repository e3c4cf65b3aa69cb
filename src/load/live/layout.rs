//! The memory that a program that makes frames shares with its sender.

use std::ops::Range;

use super::super::template::Template;
use crate::wire::checksum::Sum;
use crate::wire::probe::{Cycle, REMAINDERS};

/// Frames that wait at most.
pub const ROOM: usize = 4096;

/// Frames that share one look at the clock.
pub const STAMPED: usize = 16;

/// Run and sequence of the next frame's probe, 64 bits.
pub const FIELDS: usize = 0;
/// Where its text begins, 32 bits.
pub const BEGIN: usize = 8;
/// Its place among those that wait, 32 bits; at [`ROOM`] none is made.
pub const PLACE: usize = 12;
/// When the frames left, 64 bits for [`STAMPED`] of them.
pub const STAMPS: usize = 64;
/// What each byte of run and sequence adds to the check.
pub const TABLES: usize = STAMPS + ROOM / STAMPED * 8;
/// Of each that waits: its form in 32 bits, the mark of its flow in 32.
pub const SLOTS: usize = TABLES + size_of_val(&REMAINDERS);
/// The forms, each with its header at the front.
pub const FORMS: usize = SLOTS + ROOM * SLOT_BYTES;
pub const SLOT_BYTES: usize = 8;
pub const FORM_BYTES: usize = 128;
/// In a form: what the checksum covers in front of the probe, summed, 16 bits.
pub const SUM: usize = 96;
/// In a form: bytes of text behind the number, 32 bits.
pub const TEXT_BYTES: usize = 100;
/// In a form: bytes of the frame less those of the longest, 32 bits, signed.
pub const SHORTER: usize = 104;

/// Where the parts are whose place depends on the load, and how long they are.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Bytes of a frame in front of the probe.
    pub header_bytes: usize,
    /// Bytes of the longest frame, and of its text.
    pub longest: usize,
    pub longest_text: usize,
    pub forms: usize,
    /// Bytes after which the text repeats, and from the beginning of one frame's stretch to that of the sender's next.
    pub round: usize,
    pub step: usize,
    /// The text, then of datagrams the sums of all its even and odd pairs so far, each in 32 bits.
    pub text: usize,
    pub sums: Option<usize>,
    pub end: usize,
}

impl Layout {
    /// For the frames of `template`, of which a sender has each `every`th.
    pub fn new(template: &Template, every: u64) -> Layout {
        let Cycle { round, stride } = template.cycle();
        let header_bytes = template.header_bytes();
        let forms = template.forms();
        let (count, mut longest, mut is_udp) = (forms.len(), 0, false);
        for (bytes, _, sum) in forms {
            (longest, is_udp) = (bytes, sum.is_some());
        }
        let longest_text = longest - header_bytes - crate::wire::probe::NUMBER_BYTES;
        let text = FORMS + count * FORM_BYTES;
        let text_end = (text + round.len() + longest_text).next_multiple_of(8);
        let sums = is_udp.then_some(text_end);
        Layout {
            header_bytes,
            longest,
            longest_text,
            forms: count,
            round: round.len(),
            step: (every * stride % round.len() as u64) as usize,
            text,
            sums,
            end: text_end + if is_udp { 4 * (round.len() + longest_text + 1) } else { 0 },
        }
    }

    /// Writes all that does not change from frame to frame.
    pub fn fill(&self, memory: &mut [u8], template: &Template) {
        put(memory, PLACE, &(ROOM as u32).to_ne_bytes());
        for (at, remainder) in REMAINDERS.as_flattened().iter().enumerate() {
            put(memory, TABLES + 2 * at, &remainder.to_ne_bytes());
        }
        for (at, (bytes, header, sum)) in template.forms().enumerate() {
            let form = &mut memory[FORMS + at * FORM_BYTES..][..FORM_BYTES];
            put(form, 0, header);
            // Sums of words as the machine reads them, in whatever order its bytes are (RFC 1071 section 2(B)).
            put(form, SUM, &sum.unwrap_or(Sum::ZERO).folded().to_be_bytes());
            let text = self.longest_text - (self.longest - bytes);
            put(form, TEXT_BYTES, &(text as u32).to_ne_bytes());
            put(form, SHORTER, &(bytes as i32 - self.longest as i32).to_ne_bytes());
        }
        let length = self.round + self.longest_text;
        let text = template.cycle().round.iter().copied().cycle().take(length);
        let text: Vec<u8> = text.collect();
        put(memory, self.text, &text);
        let Some(sums) = self.sums else { return };
        let mut so_far = vec![0u32; length + 1];
        for at in 2..=length {
            let pair = u16::from_ne_bytes([text[at - 2], text[at - 1]]);
            so_far[at] = so_far[at - 2] + u32::from(pair);
        }
        for (at, sum) in so_far.iter().enumerate() {
            put(memory, sums + 4 * at, &sum.to_ne_bytes());
        }
    }
}

/// Writes `bytes` at `at`.
#[inline]
pub fn put(memory: &mut [u8], at: usize, bytes: &[u8]) {
    memory[at..at + bytes.len()].copy_from_slice(bytes);
}

/// The bytes of slot `place`.
#[inline]
pub fn slot(place: usize) -> Range<usize> {
    SLOTS + place * SLOT_BYTES..SLOTS + (place + 1) * SLOT_BYTES
}
