//! Payloads for stress, in place of the filler text: bit patterns that links and drivers get wrong.

use super::filler::Cycle;
use super::{Expectation, NUMBER_BYTES, Probe, Verdict, settled};
use crate::names;
use crate::wire::random::Random;
use crate::wire::transform::uppercase;

names! {
    "payload pattern",
    /// What follows the number in a frame's payload.
    ///
    /// Whatever it is, an echo is compared byte by byte with its upper-cased form. Where that form is
    /// the same, because no byte is a lower-case letter, a frame that was not transformed cannot be told
    /// from one that was: of these patterns only the filler and random bytes show it.
    #[derive(Default)]
    pub enum PayloadPattern {
        /// Lower-case text that depends on the frame's number.
        #[default]
        Filler = "filler",
        /// 0x00.
        Zeros = "zeros",
        /// 0xff.
        Ones = "ones",
        /// 0x55 and 0xaa by turns; odd frames begin with the other one.
        Alternating = "alternating",
        /// One bit set, each byte the next one; each frame begins one bit further.
        WalkingBit = "walking-bit",
        /// Random bytes, reproducible by the seed.
        Random = "random",
    }
}

impl PayloadPattern {
    /// Whether upper-casing changes it, so that untransformed frames can be recognised.
    pub const fn shows_transform(self) -> bool {
        matches!(self, PayloadPattern::Filler | PayloadPattern::Random)
    }
}

/// Bytes after which random payloads repeat.
const RANDOM_PERIOD: usize = 8192;

/// How far the random bytes of neighbouring frames begin from each other: odd, so that each
/// beginning is used once in a period.
const RANDOM_STRIDE: u64 = 7919;

/// A pattern written out once, long enough for any payload to be one stretch of it.
#[derive(Clone, Debug)]
pub struct PatternText {
    sent: Box<[u8]>,
    uppercased: Box<[u8]>,
    period: usize,
    stride: u64,
}

impl PatternText {
    /// `pattern` for payloads of at most `longest` bytes; `None` for [`PayloadPattern::Filler`],
    /// which needs none. `seed` decides random bytes.
    pub fn new(pattern: PayloadPattern, longest: usize, seed: u64) -> Option<PatternText> {
        let mut random = Random::new(seed);
        let period: Vec<u8> = match pattern {
            PayloadPattern::Filler => return None,
            PayloadPattern::Zeros => vec![0x00],
            PayloadPattern::Ones => vec![0xff],
            PayloadPattern::Alternating => vec![0x55, 0xaa],
            PayloadPattern::WalkingBit => (0..8).map(|bit| 1 << bit).collect(),
            PayloadPattern::Random => {
                (0..RANDOM_PERIOD / 8).flat_map(|_| random.next_u64().to_le_bytes()).collect()
            }
        };
        let stride = if pattern == PayloadPattern::Random { RANDOM_STRIDE } else { 1 };
        let bytes = period.len() + longest;
        let sent: Box<[u8]> = period.iter().copied().cycle().take(bytes).collect();
        let mut uppercased = sent.clone();
        uppercase(&mut uppercased);
        Some(PatternText { sent, uppercased, period: period.len(), stride })
    }

    /// The bytes as they are sent, of which each frame has a stretch by its number.
    #[inline]
    pub fn cycle(&self) -> Cycle<'_> {
        Cycle { round: &self.sent[..self.period], stride: self.stride }
    }
}

impl Probe {
    /// Fills the whole payload, which holds at least a probe: the number, then a stretch of `text`,
    /// which was made for payloads of this length, from the place of frame `number` on.
    #[inline]
    pub fn write_with(self, payload: &mut [u8], text: &PatternText, number: u64) {
        let (front, rest) = payload.split_at_mut(NUMBER_BYTES);
        front.copy_from_slice(&self.number());
        let begin = text.cycle().beginning(number);
        rest.copy_from_slice(&text.sent[begin..begin + rest.len()]);
    }

    /// [`Probe::verify`] for payloads that [`Probe::write_with`] wrote.
    pub fn verify_with(
        self,
        payload: &[u8],
        text: &PatternText,
        number: u64,
        expectation: Expectation,
    ) -> Verdict {
        let rest = match self.split_number(payload) {
            Ok(rest) => rest,
            Err(verdict) => return verdict,
        };
        let begin = text.cycle().beginning(number);
        let stretch = begin..begin + rest.len();
        let (Some(sent), Some(uppercased)) =
            (text.sent.get(stretch.clone()), text.uppercased.get(stretch))
        else {
            return Verdict::Corrupted { first_offset: payload.len() };
        };
        let found = settled(expectation, || rest == uppercased, || rest == sent);
        found.unwrap_or_else(|| {
            let expected = if expectation == Expectation::Same { sent } else { uppercased };
            let right = rest.iter().zip(expected).position(|(a, b)| a != b);
            let number_bytes = payload.len() - rest.len();
            Verdict::Corrupted { first_offset: number_bytes + right.unwrap_or(rest.len()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_and_only_two_show_the_transform() {
        for pattern in PayloadPattern::ALL {
            assert_eq!(pattern.to_string().parse(), Ok(pattern));
            let Some(text) = PatternText::new(pattern, 1500, 1) else { continue };
            assert_eq!(text.sent != text.uppercased, pattern.shows_transform(), "{pattern}");
        }
        assert!("noise".parse::<PayloadPattern>().is_err());
    }

    proptest! {
        #[test]
        fn every_byte_counts(
            index in 1usize..6,
            sequence in 0u64..1 << 42,
            bytes in 14usize..2000,
            at in 0usize..2000,
            flip in 1u8..,
        ) {
            let pattern = PayloadPattern::ALL[index];
            let text = PatternText::new(pattern, 2000, 9).unwrap();
            let probe = Probe::new(3, sequence);
            let mut payload = vec![0; bytes];
            probe.write_with(&mut payload, &text, 7);
            prop_assert_eq!(Probe::read(&payload), Some(probe));
            let unchanged = probe.verify_with(&payload, &text, 7, Expectation::Uppercased);
            prop_assert_eq!(
                probe.verify_with(&payload, &text, 7, Expectation::Same),
                Verdict::Intact
            );
            let mut echo = payload.clone();
            uppercase(&mut echo);
            for expectation in [Expectation::Uppercased, Expectation::Any] {
                prop_assert_eq!(probe.verify_with(&echo, &text, 7, expectation), Verdict::Intact);
            }
            let expected =
                if echo == payload { Verdict::Intact } else { Verdict::NotTransformed };
            prop_assert_eq!(unchanged, expected);
            // One wrong byte is corruption at that byte, unless it is what was sent.
            let at = at % bytes;
            echo[at] ^= flip;
            if echo != payload {
                prop_assert_eq!(
                    probe.verify_with(&echo, &text, 7, Expectation::Uppercased),
                    Verdict::Corrupted { first_offset: at }
                );
            }
        }
    }
}
