//! The filler text: a cyclic de Bruijn sequence over `a..=z`, in which each group of three letters
//! occurs exactly once, and its upper-case twin.

/// Letters in the alphabet.
const LETTERS: usize = 26;

/// Letters after which the text repeats.
pub(super) const PERIOD: usize = LETTERS * LETTERS * LETTERS;

/// The text goes on behind its period, so that the filler of a standard Ethernet frame (MTU 1500) is
/// one stretch of it wherever it begins.
const TEXT_BYTES: usize = PERIOD + 1500;

/// How far neighbouring frames' fillers begin from each other. It has no divisor in common with
/// [`PERIOD`] (2^3 × 13^3), so each beginning is used once in a period, and it is far from small
/// distances, at which the text resembles itself.
const STRIDE: u64 = 7919;

static LOWER_CASE: [u8; TEXT_BYTES] = text(b'a');
static UPPER_CASE: [u8; TEXT_BYTES] = text(b'A');

/// All Lyndon words over 26 letters whose length divides 3, in dictionary order, one after another:
/// that is the de Bruijn sequence of order 3 (Fredricksen and Maiorana, 1978).
const fn text(first_letter: u8) -> [u8; TEXT_BYTES] {
    let mut text = [0; TEXT_BYTES];
    let mut at = 0;
    let mut a = 0;
    while a < LETTERS {
        text[at] = first_letter + a as u8;
        at += 1;
        // The words of three letters that begin with `a`: smaller than both their rotations.
        let mut b = a;
        while b < LETTERS {
            let mut c = a + 1;
            while c < LETTERS {
                text[at] = first_letter + a as u8;
                text[at + 1] = first_letter + b as u8;
                text[at + 2] = first_letter + c as u8;
                at += 3;
                c += 1;
            }
            b += 1;
        }
        a += 1;
    }
    assert!(at == PERIOD);
    while at < TEXT_BYTES {
        text[at] = text[at - PERIOD];
        at += 1;
    }
    text
}

/// Bytes that go round, and a stretch of them for each number.
#[derive(Clone, Copy, Debug)]
pub struct Cycle<'a> {
    /// The bytes of one round.
    pub round: &'a [u8],
    /// How far the stretches of neighbouring numbers begin from each other.
    pub stride: u64,
}

impl Cycle<'_> {
    /// Where the stretch of `number` begins.
    #[inline]
    pub fn beginning(&self, number: u64) -> usize {
        let bytes = self.round.len() as u64;
        (number % bytes * self.stride % bytes) as usize
    }
}

/// The lower-case text that fillers are stretches of, by sequence.
#[inline]
pub fn filler() -> Cycle<'static> {
    Cycle { round: &LOWER_CASE[..PERIOD], stride: STRIDE }
}

fn beginning(sequence: u64) -> usize {
    filler().beginning(sequence)
}

/// The longest stretch of `text` from `begin` on, at most `wanted` bytes, and where the next begins.
fn stretch(text: &[u8; TEXT_BYTES], begin: usize, wanted: usize) -> (&[u8], usize) {
    let end = TEXT_BYTES.min(begin + wanted);
    (&text[begin..end], end % PERIOD)
}

/// Fills `room` with the lower-case text that belongs to `sequence`.
pub(super) fn write(mut room: &mut [u8], sequence: u64) {
    let mut begin = beginning(sequence);
    while !room.is_empty() {
        let (piece, next) = stretch(&LOWER_CASE, begin, room.len());
        let (filled, rest) = room.split_at_mut(piece.len());
        filled.copy_from_slice(piece);
        (room, begin) = (rest, next);
    }
}

/// Whether `bytes` are exactly the text that belongs to `sequence`, in the case asked for.
pub(super) fn is_intact(mut bytes: &[u8], sequence: u64, uppercased: bool) -> bool {
    let text = if uppercased { &UPPER_CASE } else { &LOWER_CASE };
    let mut begin = beginning(sequence);
    while !bytes.is_empty() {
        let (piece, next) = stretch(text, begin, bytes.len());
        let (compared, rest) = bytes.split_at(piece.len());
        if compared != piece {
            return false;
        }
        (bytes, begin) = (rest, next);
    }
    true
}

/// Where `bytes` first differ from the text that belongs to `sequence`; for the rare frame that does.
pub(super) fn first_difference(bytes: &[u8], sequence: u64, uppercased: bool) -> Option<usize> {
    let text = if uppercased { &UPPER_CASE } else { &LOWER_CASE };
    let period = text[..PERIOD].iter().cycle().skip(beginning(sequence));
    bytes.iter().zip(period).position(|(found, expected)| found != expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_three_letters_occur_once() {
        let groups: HashSet<&[u8]> = LOWER_CASE[..PERIOD + 2].windows(3).collect();
        assert_eq!(groups.len(), PERIOD);
        assert!(LOWER_CASE.iter().all(u8::is_ascii_lowercase));
    }

    #[test]
    fn the_twin_is_the_same_text_upper_cased() {
        assert_eq!(LOWER_CASE.to_ascii_uppercase(), UPPER_CASE);
    }

    #[test]
    fn each_frame_of_a_period_begins_elsewhere() {
        let beginnings: HashSet<usize> = (5..5 + PERIOD as u64).map(beginning).collect();
        assert_eq!(beginnings.len(), PERIOD);
    }

    #[test]
    fn long_fillers_go_round() {
        for bytes in [0, 1, 1500, TEXT_BYTES, PERIOD + 1501, 3 * TEXT_BYTES + 7] {
            for sequence in [0, 1, 2, 17_575, u64::MAX] {
                let mut room = vec![0; bytes];
                write(&mut room, sequence);
                assert!(is_intact(&room, sequence, false));
                assert_eq!(first_difference(&room, sequence, false), None);
                assert!(room.iter().zip(room.iter().skip(PERIOD)).all(|(a, b)| a == b));
                room.make_ascii_uppercase();
                assert!(is_intact(&room, sequence, true));
                assert_eq!(first_difference(&room, sequence, true), None);
            }
        }
    }
}
