//! Upper-casing ASCII: every byte `a..=z` loses its bit 0x20, every other byte stays.
//!
//! Nothing branches on a byte's value. Long stretches go byte by byte, which the compiler turns into
//! vector code; the copy takes what is left over eight bytes at a time by arithmetic on one word,
//! which halves the time of a small frame's payload. (In place that gains nothing: the last word
//! overlaps bytes just stored, and a load waits for such stores.) The plain version below is the
//! oracle of all.

use super::checksum::Sum;

/// Bytes that are worth vector code.
const BLOCK_BYTES: usize = 32;

/// Bytes changed at a time behind the last whole block.
const WORD_BYTES: usize = 8;

/// Upper-cases `bytes` in place.
#[inline]
pub fn uppercase(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = uppercased(*byte);
    }
}

/// Writes `source` upper-cased to `destination`, in one pass over both.
///
/// As many bytes are written as the shorter of the two holds; the rest of `destination` stays.
#[inline]
pub fn uppercase_copy(source: &[u8], destination: &mut [u8]) {
    let bytes = source.len().min(destination.len());
    let (source, destination) = (&source[..bytes], &mut destination[..bytes]);
    let (from_blocks, from_rest) = source.as_chunks::<BLOCK_BYTES>();
    let (to_blocks, to_rest) = destination.as_chunks_mut::<BLOCK_BYTES>();
    // Indices, not `zip`, which is a call in its own codegen unit where nothing is optimised across units.
    let (to, from) = (to_blocks.as_flattened_mut(), from_blocks.as_flattened());
    for at in 0..to.len().min(from.len()) {
        to[at] = uppercased(from[at]);
    }
    let from = from_rest.as_chunks::<WORD_BYTES>().0;
    let to = to_rest.as_chunks_mut::<WORD_BYTES>().0;
    for at in 0..to.len().min(from.len()) {
        to[at] = uppercased_word(from[at]);
    }
    // The last eight bytes may overlap the word before them, which then is written twice alike.
    match (destination.last_chunk_mut(), source.last_chunk()) {
        (Some(to), Some(from)) => *to = uppercased_word(*from),
        _ => destination.iter_mut().zip(source).for_each(|(to, from)| *to = uppercased(*from)),
    }
}

/// [`uppercase_copy`], and the checksum's sum over the bytes written (as if they began at an even
/// offset).
///
/// The sum is a second pass, over bytes that the first one has just put into the nearest cache.
#[inline]
pub fn uppercase_copy_sum(source: &[u8], destination: &mut [u8]) -> Sum {
    uppercase_copy(source, destination);
    Sum::of(&destination[..source.len().min(destination.len())])
}

/// Whether upper-casing would change `bytes`; looks no further than the block of 32 bytes that holds
/// the first lower-case letter.
#[inline]
pub fn is_changed_by_uppercase(bytes: &[u8]) -> bool {
    let marks = |word: &[u8; WORD_BYTES]| lowercase_marks(u64::from_ne_bytes(*word));
    let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
    let in_block = |block: &[u8; BLOCK_BYTES]| {
        block.as_chunks().0.iter().fold(0, |found, word| found | marks(word)) != 0
    };
    blocks.iter().any(in_block)
        || rest.as_chunks().0.iter().any(|word| marks(word) != 0)
        || match bytes.last_chunk() {
            Some(last) => marks(last) != 0,
            None => bytes.iter().any(u8::is_ascii_lowercase),
        }
}

#[inline(always)]
fn uppercased(byte: u8) -> u8 {
    byte ^ (u8::from(byte.is_ascii_lowercase()) << 5)
}

#[inline(always)]
fn uppercased_word(word: [u8; WORD_BYTES]) -> [u8; WORD_BYTES] {
    let word = u64::from_ne_bytes(word);
    u64::to_ne_bytes(word ^ (lowercase_marks(word) >> 2))
}

/// The top bit of each byte of `word` that is a lower-case letter, and no other bit.
#[inline(always)]
fn lowercase_marks(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP_BITS: u64 = EACH * 0x80;
    // Without their top bits, bytes can grow by 0x80 - 'a' and not carry into their neighbours: those
    // from 'a' on, and then those behind 'z', reach the top bit.
    let low = word & !TOP_BITS;
    let from_a = low + EACH * (0x80 - b'a' as u64);
    let behind_z = low + EACH * (0x7f - b'z' as u64);
    from_a & !behind_z & !word & TOP_BITS
}

/// Upper-casing said plainly.
#[cfg(test)]
pub(super) fn oracle(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in bytes {
        match byte {
            b'a'..=b'z' => out.push(byte - b'a' + b'A'),
            _ => out.push(*byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::checksum;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_value_is_right() {
        let all: Vec<u8> = (0..=255).collect();
        let mut changed = all.clone();
        uppercase(&mut changed);
        assert_eq!(changed, oracle(&all));
        for byte in all {
            assert_eq!(is_changed_by_uppercase(&[byte]), byte.is_ascii_lowercase());
        }
    }

    #[test]
    fn one_letter_anywhere_is_found() {
        for bytes in [1, 63, 64, 65, 200] {
            for at in 0..bytes {
                let mut text = vec![b'A'; bytes];
                assert!(!is_changed_by_uppercase(&text));
                text[at] = if at % 2 == 0 { b'a' } else { b'z' };
                assert!(is_changed_by_uppercase(&text), "{at} of {bytes}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_fast_ones_are_the_plain_one(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            from in 0usize..40,
            to in 0usize..40,
        ) {
            let source = &bytes[from.min(bytes.len())..];
            let expected = oracle(source);

            let mut in_place = bytes.clone();
            uppercase(&mut in_place[from.min(bytes.len())..]);
            prop_assert_eq!(&in_place[from.min(bytes.len())..], &expected[..]);
            prop_assert_eq!(&in_place[..from.min(bytes.len())], &bytes[..from.min(bytes.len())]);

            let mut copied = vec![0xaa; to + source.len() + 3];
            let sum = uppercase_copy_sum(source, &mut copied[to..to + source.len()]);
            prop_assert_eq!(&copied[to..to + source.len()], &expected[..]);
            prop_assert!(copied[..to].iter().chain(&copied[to + source.len()..]).all(|b| *b == 0xaa));
            prop_assert_eq!(sum.folded(), checksum::oracle(&expected));

            prop_assert_eq!(is_changed_by_uppercase(source), expected != source);
            prop_assert!(!is_changed_by_uppercase(&expected));
        }

        #[test]
        fn a_copy_stops_at_the_shorter_side(source: Vec<u8>, room in 0usize..200) {
            let mut copied = vec![0; room];
            let sum = uppercase_copy_sum(&source, &mut copied);
            let written = room.min(source.len());
            prop_assert_eq!(&copied[..written], &oracle(&source[..written])[..]);
            prop_assert_eq!(sum, Sum::of(&copied[..written]));
        }
    }
}
