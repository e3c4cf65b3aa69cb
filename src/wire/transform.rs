//! Upper-casing ASCII: every byte `a..=z` loses its bit 0x20, every other byte stays.
//!
//! The loops have no branch on a byte's value and no early exit inside a block, so that the compiler
//! turns them into vector code; the plain versions below are their oracle.

use super::checksum::Sum;

/// Bytes looked at between two chances to stop early.
const BLOCK_BYTES: usize = 64;

/// Upper-cases `bytes` in place.
pub fn uppercase(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = uppercased(*byte);
    }
}

/// Writes `source` upper-cased to `destination`, in one pass over both.
///
/// As many bytes are written as the shorter of the two holds; the rest of `destination` stays.
pub fn uppercase_copy(source: &[u8], destination: &mut [u8]) {
    for (to, from) in destination.iter_mut().zip(source) {
        *to = uppercased(*from);
    }
}

/// [`uppercase_copy`], and the checksum's sum over the bytes written (as if they began at an even
/// offset).
///
/// The sum is a second pass, over bytes that the first one has just put into the nearest cache.
pub fn uppercase_copy_sum(source: &[u8], destination: &mut [u8]) -> Sum {
    uppercase_copy(source, destination);
    Sum::of(&destination[..source.len().min(destination.len())])
}

/// Whether upper-casing would change `bytes`; looks no further than the block of 64 bytes that holds
/// the first lower-case letter.
pub fn is_changed_by_uppercase(bytes: &[u8]) -> bool {
    let (blocks, tail) = bytes.as_chunks::<BLOCK_BYTES>();
    blocks.iter().any(|block| holds_lowercase(block)) || holds_lowercase(tail)
}

#[inline(always)]
fn uppercased(byte: u8) -> u8 {
    byte ^ (u8::from(byte.is_ascii_lowercase()) << 5)
}

#[inline(always)]
fn holds_lowercase(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, byte| found | byte.is_ascii_lowercase())
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
