//! The probe: the payload of each frame, by which every returned byte is verified.
//!
//! # Layout
//!
//! ```text
//! byte  0         10                                   end of payload
//!       | number   | filler: lower-case text, at least 4 bytes |
//! ```
//!
//! The number is 70 bits, first bit first, as ten digits of 7 bits each, every digit a byte with its
//! top bit set. No such byte is a letter, so upper-casing leaves the number alone:
//!
//! | bits | field | reach |
//! |---|---|---|
//! | 12 | run | random: tells frames of other loads apart |
//! | 42 | sequence | from a random one on, modulo 2^42: 82 hours at 14.88 M/s, the line rate of 10 Gbit/s |
//! | 16 | check | CRC-16 (polynomial 0x1021) over run and sequence |
//!
//! The check finds every damage that stays within two neighbouring bytes, every damage of up to
//! three bits, and all but one in 65,536 of any other. A number that fails it belongs to no frame:
//! the frame is foreign and its number lost.
//!
//! # Filler
//!
//! The filler is a stretch of one cyclic text of 26^3 = 17,576 lower-case letters, in which each
//! group of three letters occurs exactly once (a de Bruijn sequence). The sequence number says where
//! the stretch begins, so any three bytes in a row belong to one place only: bytes left over from
//! another frame, shifted or mixed cannot pass, unless the sequences are the same modulo 17,576.
//! Each letter stands at each place of the filler equally often over 17,576 frames in a row.
//! Writing is one `memcpy` out of a static text, verifying one `memcmp` with it.

use crate::names;

mod digits;
mod filler;
mod pattern;

pub use digits::{CHECK_OFFSET, NUMBER_BYTES, REMAINDERS, RUN_BITS, SEQUENCE_BITS};
pub use filler::{Cycle, filler};
pub use pattern::{PatternText, PayloadPattern};

/// Bytes of filler that follow the number at least.
pub const FILLER_BYTES_MIN: usize = 4;

/// The shortest payload that a probe fits in.
pub const PAYLOAD_BYTES_MIN: usize = NUMBER_BYTES + FILLER_BYTES_MIN;

/// Runs are numbered from 0 to this.
pub const RUN_MAX: u16 = (1 << RUN_BITS) - 1;

/// Sequences are numbered from 0 to this.
pub const SEQUENCE_MAX: u64 = (1 << SEQUENCE_BITS) - 1;

/// A frame's identity: which run sent it, and as which frame of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Probe {
    run: u16,
    sequence: u64,
}

names! {
    "expectation",
    /// The expected payload of an echo.
    pub enum Expectation {
        /// Upper case.
        Uppercased = "uppercase",
        /// Unchanged.
        Same = "same",
        /// Upper case or unchanged, for foreign reflectors; addresses, tags and headers are not checked.
        Any = "any",
    }
}

/// The verdict over a payload's filler, given how to find out whether it is upper-cased or as sent;
/// `None` if it is neither of those that `expectation` allows.
fn settled(
    expectation: Expectation,
    is_uppercased: impl Fn() -> bool,
    is_as_sent: impl Fn() -> bool,
) -> Option<Verdict> {
    match expectation {
        Expectation::Uppercased if is_uppercased() => Some(Verdict::Intact),
        Expectation::Uppercased if is_as_sent() => Some(Verdict::NotTransformed),
        Expectation::Same if is_as_sent() => Some(Verdict::Intact),
        Expectation::Any if is_uppercased() || is_as_sent() => Some(Verdict::Intact),
        _ => None,
    }
}

/// What became of a payload whose number was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Every byte is as expected.
    Intact,
    /// Every byte is as it was sent, where upper-case was expected.
    NotTransformed,
    /// Something else.
    Corrupted {
        /// The first payload byte that is not as expected, counted from the number's first; the
        /// payload's length when it is too short to be a probe and right so far.
        first_offset: usize,
    },
}

/// The payload is shorter than [`PAYLOAD_BYTES_MIN`]; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadTooShort;

impl Probe {
    /// Frame number `sequence` of `run`; both count on from 0 behind [`SEQUENCE_MAX`] and
    /// [`RUN_MAX`].
    pub fn new(run: u16, sequence: u64) -> Probe {
        Probe { run: run & RUN_MAX, sequence: sequence & SEQUENCE_MAX }
    }

    /// The run, at most [`RUN_MAX`].
    pub fn run(self) -> u16 {
        self.run
    }

    /// The frame's number in its run, at most [`SEQUENCE_MAX`].
    pub fn sequence(self) -> u64 {
        self.sequence
    }

    /// Fills the whole payload: the number, then lower-case text to the end.
    #[inline]
    pub fn write(self, payload: &mut [u8]) -> Result<(), PayloadTooShort> {
        if payload.len() < PAYLOAD_BYTES_MIN {
            return Err(PayloadTooShort);
        }
        let (number, rest) = payload.split_first_chunk_mut().ok_or(PayloadTooShort)?;
        *number = self.number();
        filler::write(rest, self.sequence);
        Ok(())
    }

    /// Reads the number at the front of a payload in either case; it does not read the filler.
    ///
    /// `None` if it is no valid probe number.
    #[inline]
    pub fn read(payload: &[u8]) -> Option<Probe> {
        let (fields, check) = digits::decode(payload.first_chunk()?)?;
        (check == digits::check(fields)).then_some(Probe {
            run: (fields >> SEQUENCE_BITS) as u16,
            sequence: fields & SEQUENCE_MAX,
        })
    }

    /// Compares every byte of the payload, number included, with what this probe's payload should
    /// be. Whether the payload has the length that was sent is for the caller to know.
    #[inline]
    pub fn verify(self, payload: &[u8], expectation: Expectation) -> Verdict {
        let rest = match self.split_number(payload) {
            Ok(rest) => rest,
            Err(verdict) => return verdict,
        };
        if rest.len() >= FILLER_BYTES_MIN {
            let is_intact = |uppercased| filler::is_intact(rest, self.sequence, uppercased);
            let verdict = settled(expectation, || is_intact(true), || is_intact(false));
            if let Some(verdict) = verdict {
                return verdict;
            }
        }
        let uppercased = expectation != Expectation::Same;
        let right = filler::first_difference(rest, self.sequence, uppercased);
        let number_bytes = payload.len() - rest.len();
        Verdict::Corrupted { first_offset: number_bytes + right.unwrap_or(rest.len()) }
    }

    /// What follows the number, or where the number is not this probe's.
    #[inline]
    fn split_number(self, payload: &[u8]) -> Result<&[u8], Verdict> {
        let number = self.number();
        match payload.split_first_chunk() {
            // Ten bytes at once: of nearly all frames nothing else is asked.
            Some((found, rest)) if *found == number => Ok(rest),
            _ => {
                let right = payload.iter().zip(number).take_while(|(a, b)| **a == *b).count();
                Err(Verdict::Corrupted { first_offset: right })
            }
        }
    }

    /// The number as it stands in the payload.
    #[inline]
    fn number(self) -> [u8; NUMBER_BYTES] {
        let fields = u64::from(self.run) << SEQUENCE_BITS | self.sequence;
        digits::encode(fields, digits::check(fields))
    }
}

#[cfg(test)]
mod tests;
