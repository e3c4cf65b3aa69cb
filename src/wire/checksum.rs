//! The Internet checksum (RFC 1071) and the UDP pseudo-header (RFC 768, RFC 8200 section 8.1).

use std::ops::Add;

/// Words of 64 bits that are added side by side.
const LANES: usize = 4;

/// Bytes of one word for each lane.
const BLOCK_BYTES: usize = LANES * 8;

/// A ones' complement sum of 16-bit big-endian words, folded to 16 bits and not complemented.
///
/// Sums of parts add up to the sum of the whole, as long as each part begins at an even offset of
/// the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u16);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Sum = Sum(0);

    /// The sum of `bytes`; an odd last byte counts as if a zero byte followed it.
    ///
    /// The words are added in the machine's own byte order and swapped once at the end (RFC 1071
    /// section 2(B)). Whole blocks go to independent lanes that hold their carries until then, so
    /// that the compiler can keep them in vector registers; headers are too short for that and take
    /// the shorter way. A lane overflows after 2^32 blocks (128 GiB).
    #[inline]
    pub fn of(bytes: &[u8]) -> Sum {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        let mut total = if blocks.is_empty() { 0 } else { sum_of_blocks(blocks) };
        let (words, rest) = rest.as_chunks::<4>();
        for word in words {
            total += u64::from(u32::from_ne_bytes(*word));
        }
        total += match *rest {
            [a, b, c] => u64::from(u32::from_ne_bytes([a, b, c, 0])),
            [a, b] => u64::from(u16::from_ne_bytes([a, b])),
            [a] => u64::from(u16::from_ne_bytes([a, 0])),
            _ => 0,
        };
        Sum(u16::from_be(fold_to_16(total)))
    }

    /// The sum of one 16-bit word in host order.
    pub fn word(word: u16) -> Sum {
        Sum(word)
    }

    /// The folded sum itself: 0xffff over data that contains its own valid checksum.
    pub fn folded(self) -> u16 {
        self.0
    }

    /// The checksum field that makes the whole sum to 0xffff (IPv4 header, ICMP).
    pub fn checksum(self) -> u16 {
        !self.0
    }

    /// The checksum field of UDP, where 0 would mean "none" and is sent as 0xffff (RFC 768).
    pub fn udp_checksum(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

impl Add for Sum {
    type Output = Sum;

    fn add(self, other: Sum) -> Sum {
        let (sum, carry) = self.0.overflowing_add(other.0);
        Sum(sum + u16::from(carry))
    }
}

impl std::iter::Sum for Sum {
    fn sum<I: Iterator<Item = Sum>>(parts: I) -> Sum {
        parts.fold(Sum::ZERO, Add::add)
    }
}

/// The pseudo-header's sum for IPv4 and IPv6 alike.
///
/// `addresses` is source then destination as both headers hold them side by side: 8 bytes (RFC 768)
/// or 32 (RFC 8200 section 8.1). `transport_bytes` is the length of the UDP datagram with its
/// header. IPv6's wider length and protocol fields add only zero words.
pub fn pseudo_header(addresses: &[u8], protocol: u8, transport_bytes: u16) -> Sum {
    Sum::of(addresses) + Sum::word(u16::from(protocol)) + Sum::word(transport_bytes)
}

/// The sum of the blocks' 32-bit words in the machine's byte order, at most 36 bits of it.
fn sum_of_blocks(blocks: &[[u8; BLOCK_BYTES]]) -> u64 {
    let mut low = [0u64; LANES];
    let mut high = [0u64; LANES];
    for block in blocks {
        for (lane, word) in block.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_ne_bytes(*word);
            low[lane] += word & 0xffff_ffff;
            high[lane] += word >> 32;
        }
    }
    low.iter().chain(&high).map(|lane| fold_to_32(*lane)).sum()
}

/// Brings a sum of 32-bit words to at most 33 bits, its value modulo 2^16 - 1 unchanged.
fn fold_to_32(sum: u64) -> u64 {
    (sum >> 32) + (sum & 0xffff_ffff)
}

/// Folds the carries of a sum of 32-bit words into 16 bits; zero only for zero.
fn fold_to_16(sum: u64) -> u16 {
    let sum = fold_to_32(fold_to_32(sum));
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// Word by word, as RFC 1071 section 1 says it.
#[cfg(test)]
pub(super) fn oracle(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&bytes).folded(), 0xddf2);
        assert_eq!(Sum::of(&bytes).checksum(), !0xddf2);
    }

    #[test]
    fn extremes_fold_right() {
        assert_eq!(Sum::of(&[]), Sum::ZERO);
        assert_eq!(Sum::of(&[0; 1000]), Sum::ZERO);
        assert_eq!(Sum::of(&[0xff; 70_000]).folded(), 0xffff);
        assert_eq!(Sum::of(&[0xff; 2]).udp_checksum(), 0xffff);
        assert_eq!(Sum::ZERO.checksum(), 0xffff);
        assert_eq!(fold_to_16(u64::MAX), 0xffff);
    }

    #[test]
    fn the_pseudo_header_is_the_one_that_the_kernel_leaves() {
        // 10.0.0.1 to 10.0.0.2, UDP, 13 bytes: summed by hand.
        let sum = pseudo_header(&[10, 0, 0, 1, 10, 0, 0, 2], 17, 13);
        assert_eq!(sum.folded(), 0x0a00 + 1 + 0x0a00 + 2 + 17 + 13);
    }

    proptest! {
        #[test]
        fn the_fast_sum_is_the_plain_one(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            start in 0usize..9,
        ) {
            let part = &bytes[start.min(bytes.len())..];
            prop_assert_eq!(Sum::of(part).folded(), oracle(part));
        }

        #[test]
        fn parts_add_up_to_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            cuts in proptest::collection::vec(0usize..150, 0..5),
        ) {
            let mut cuts: Vec<usize> =
                cuts.into_iter().map(|cut| (2 * cut).min(bytes.len() & !1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let whole: Sum = cuts
                .windows(2)
                .map(|cut| Sum::of(&bytes[cut[0]..cut[1]]))
                .sum();
            prop_assert_eq!(whole, Sum::of(&bytes));
        }

        #[test]
        fn data_with_its_checksum_sums_to_all_ones(
            mut bytes in proptest::collection::vec(any::<u8>(), 2..300),
        ) {
            bytes[..2].fill(0);
            let checksum = Sum::of(&bytes).checksum();
            bytes[..2].copy_from_slice(&checksum.to_be_bytes());
            prop_assert_eq!(Sum::of(&bytes).folded(), 0xffff);
        }
    }
}
