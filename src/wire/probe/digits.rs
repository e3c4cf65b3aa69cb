//! Seventy bits in ten bytes that upper-casing leaves alone, and the check among them.

/// Bytes of the number.
pub const NUMBER_BYTES: usize = 10;

/// Bits of the run.
pub const RUN_BITS: u32 = 12;

/// Bits of the sequence.
pub const SEQUENCE_BITS: u32 = 42;

/// Bits of run and sequence together.
const FIELD_BITS: u32 = RUN_BITS + SEQUENCE_BITS;

/// Bits of the check.
const CHECK_BITS: u32 = 16;

const _: () = assert!(FIELD_BITS + CHECK_BITS == 7 * NUMBER_BYTES as u32);

/// Bytes that [`FIELD_BITS`] fill, the first of them not quite.
const FIELD_BYTES: usize = FIELD_BITS.div_ceil(8) as usize;

/// The generator polynomial x^16 + x^12 + x^5 + 1 (ITU-T V.41). It finds any damage within 16 bits
/// in a row, and any three flipped bits in up to 32,751 bits.
const POLYNOMIAL: u16 = 0x1021;

/// Added to each check, so that a number of equal bytes is none.
pub const CHECK_OFFSET: u16 = 0xffff;

/// What byte value `v` of run and sequence at place `p` adds to the check: `REMAINDERS[p][v]`. The remainder is
/// linear, so the places can be looked up side by side.
pub static REMAINDERS: [[u16; 256]; FIELD_BYTES] = remainders();

const fn remainders() -> [[u16; 256]; FIELD_BYTES] {
    let mut tables = [[0; 256]; FIELD_BYTES];
    let mut place = FIELD_BYTES;
    while place > 0 {
        place -= 1;
        let mut value = 0;
        while value < 256 {
            // The last place holds the value itself; each earlier one has one more byte behind it.
            let start = if place == FIELD_BYTES - 1 {
                (value as u16) << 8
            } else {
                tables[place + 1][value]
            };
            tables[place][value] = eight_steps(start);
            value += 1;
        }
    }
    tables
}

const fn eight_steps(mut remainder: u16) -> u16 {
    let mut step = 0;
    while step < 8 {
        let overflow = remainder & 0x8000 != 0;
        remainder <<= 1;
        if overflow {
            remainder ^= POLYNOMIAL;
        }
        step += 1;
    }
    remainder
}

/// The check that belongs to `fields` ([`FIELD_BITS`] bits).
#[inline]
pub(super) fn check(fields: u64) -> u16 {
    let bytes = fields.to_be_bytes();
    let places = bytes[8 - FIELD_BYTES..].iter().zip(&REMAINDERS);
    places.fold(CHECK_OFFSET, |sum, (byte, table)| sum ^ table[usize::from(*byte)])
}

/// Fields, then check, first bit first, seven bits a byte, every top bit set.
#[inline]
pub(super) fn encode(fields: u64, check: u16) -> [u8; NUMBER_BYTES] {
    let head = spread(fields << 2 | u64::from(check >> 14)).to_be_bytes();
    let tail = [0x80 | (check >> 7 & 0x7f) as u8, 0x80 | (check & 0x7f) as u8];
    let mut number = [0; NUMBER_BYTES];
    number[..8].copy_from_slice(&head);
    number[8..].copy_from_slice(&tail);
    number
}

/// Undoes [`encode`]: `None` when a top bit is missing. Each number that is not `None` is the
/// encoding of exactly the fields and check returned.
#[inline]
pub(super) fn decode(number: &[u8; NUMBER_BYTES]) -> Option<(u64, u16)> {
    let [a, b, c, d, e, f, g, h, i, j] = *number;
    let head = gather(u64::from_be_bytes([a, b, c, d, e, f, g, h]))?;
    if i & j & 0x80 == 0 {
        return None;
    }
    let tail = u16::from(i & 0x7f) << 7 | u16::from(j & 0x7f);
    Some((head >> 2, ((head & 3) as u16) << 14 | tail))
}

const TOP_BITS: u64 = 0x8080_8080_8080_8080;

/// Puts 56 bits into eight groups of seven, each below a set top bit.
fn spread(bits: u64) -> u64 {
    let halves = (bits & 0x00ff_ffff_f000_0000) << 4 | bits & 0x0fff_ffff;
    let quarters = (halves & 0x0fff_c000_0fff_c000) << 2 | halves & 0x0000_3fff_0000_3fff;
    let eighths = (quarters & 0x3f80_3f80_3f80_3f80) << 1 | quarters & 0x007f_007f_007f_007f;
    eighths | TOP_BITS
}

/// Undoes [`spread`].
fn gather(groups: u64) -> Option<u64> {
    if groups & TOP_BITS != TOP_BITS {
        return None;
    }
    let quarters = (groups & 0x7f00_7f00_7f00_7f00) >> 1 | groups & 0x007f_007f_007f_007f;
    let halves = (quarters & 0x3fff_0000_3fff_0000) >> 2 | quarters & 0x0000_3fff_0000_3fff;
    Some((halves & 0x0fff_ffff_0000_0000) >> 4 | halves & 0x0fff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The number's bits one by one.
    fn plain_encode(fields: u64, check: u16) -> Vec<u8> {
        let bits = u128::from(fields) << 16 | u128::from(check);
        (0..10).map(|digit| 0x80 | (bits >> (63 - 7 * digit) & 0x7f) as u8).collect()
    }

    /// The remainder bit by bit, as in long division.
    fn plain_check(fields: u64) -> u16 {
        let mut remainder: u16 = 0;
        for bit in (0..FIELD_BITS).rev() {
            let next = (fields >> bit & 1) as u16 ^ remainder >> 15;
            remainder = remainder << 1 ^ if next == 1 { POLYNOMIAL } else { 0 };
        }
        remainder ^ CHECK_OFFSET
    }

    proptest! {
        #[test]
        fn the_fast_code_is_the_plain_one(fields in 0u64..1 << FIELD_BITS, check_bits: u16) {
            let number = encode(fields, check_bits);
            prop_assert_eq!(&number[..], &plain_encode(fields, check_bits)[..]);
            prop_assert_eq!(decode(&number), Some((fields, check_bits)));
            prop_assert_eq!(check(fields), plain_check(fields));
        }

        #[test]
        fn each_number_is_one_encoding(mut number: [u8; NUMBER_BYTES], top in 0u8..4) {
            // Mostly with all top bits set: otherwise hardly any would be a number.
            if top != 0 {
                number.iter_mut().for_each(|byte| *byte |= 0x80);
            }
            match decode(&number) {
                Some((fields, check)) => prop_assert_eq!(encode(fields, check), number),
                None => prop_assert!(number.iter().any(|byte| byte & 0x80 == 0)),
            }
        }

        #[test]
        fn damage_within_two_neighbouring_bytes_is_found(
            fields in 0u64..1 << FIELD_BITS,
            at in 0usize..NUMBER_BYTES - 1,
            damage in 1u16..,
        ) {
            let mut number = encode(fields, check(fields));
            number[at] ^= (damage >> 8) as u8;
            number[at + 1] ^= damage as u8;
            if let Some((fields, found)) = decode(&number) {
                prop_assert_ne!(found, check(fields));
            }
        }

        #[test]
        fn three_flipped_bits_are_found(
            fields in 0u64..1 << FIELD_BITS,
            flips in proptest::collection::btree_set(0u32..80, 1..4),
        ) {
            let mut number = encode(fields, check(fields));
            for flip in flips {
                number[flip as usize / 8] ^= 1 << (flip % 8);
            }
            if let Some((fields, found)) = decode(&number) {
                prop_assert_ne!(found, check(fields));
            }
        }
    }

    #[test]
    fn equal_bytes_are_no_number() {
        for byte in 0..=255 {
            if let Some((fields, found)) = decode(&[byte; NUMBER_BYTES]) {
                assert_ne!(found, check(fields), "{byte:#x}");
            }
        }
    }
}
