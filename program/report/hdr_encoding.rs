//! A histogram as the text that HdrHistogram readers take: the V2 encoding (HdrHistogram,
//! `AbstractHistogram.encodeIntoByteBuffer`), wrapped in zlib (RFC 1950) and base 64 (RFC 4648).
//!
//! The zlib stream stores its bytes as they are (RFC 1951, section 3.2.4): runs of empty buckets are
//! one number already, so compression would save little.

use hdrhistogram::Histogram;

const V2_COOKIE: u32 = 0x1c84_9303 | 0x10;
const V2_COMPRESSED_COOKIE: u32 = 0x1c84_9304 | 0x10;
/// zlib: deflate with a window of 32 KiB, lowest level, no dictionary.
const ZLIB_HEADER: [u8; 2] = [0x78, 0x01];
const STORED_BYTES_MAX: usize = u16::MAX as usize;

/// The histogram's counts, in text without line breaks.
pub fn encode(histogram: &Histogram<u64>) -> String {
    let stream = zlib(&v2(histogram));
    let head = [V2_COMPRESSED_COOKIE, stream.len() as u32].map(u32::to_be_bytes).concat();
    base64(&[head, stream].concat())
}

fn v2(histogram: &Histogram<u64>) -> Vec<u8> {
    let mut counts = Vec::new();
    let (mut left, mut zeros) = (histogram.len(), 0);
    for bucket in histogram.iter_all() {
        let count = bucket.count_at_value();
        if count == 0 && left > 0 {
            zeros += 1;
            continue;
        }
        // Several empty buckets are their number, negative; one is a count of 0.
        match zeros {
            0 => {}
            1 => put_number(&mut counts, 0),
            zeros => put_number(&mut counts, -zeros),
        }
        zeros = 0;
        put_number(&mut counts, count as i64);
        left = left.saturating_sub(count);
        if left == 0 {
            break;
        }
    }
    let digits = u32::from(histogram.sigfig());
    // The cookie, the length, how far the buckets are shifted, the precision.
    let mut bytes = [V2_COOKIE, counts.len() as u32, 0, digits].map(u32::to_be_bytes).concat();
    bytes
        .extend([histogram.low(), histogram.high(), 1f64.to_bits()].map(u64::to_be_bytes).concat());
    bytes.extend(counts);
    bytes
}

/// Zigzag, then seven bits a byte, the lowest first; a ninth byte has eight.
fn put_number(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    for _ in 0..8 {
        if rest < 0x80 {
            break;
        }
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut stream = ZLIB_HEADER.to_vec();
    let blocks = bytes.chunks(STORED_BYTES_MAX);
    let last = blocks.len() - 1;
    for (number, block) in blocks.enumerate() {
        let length = block.len() as u16;
        stream.push(u8::from(number == last));
        stream.extend([length, !length].map(u16::to_le_bytes).concat());
        stream.extend(block);
    }
    // Adler-32 (RFC 1950, section 8.2).
    let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    stream.extend((b << 16 | a).to_be_bytes());
    stream
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let four = |three: &[u8]| {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        [0, 1, 2, 3].map(|at| match at <= three.len() {
            true => char::from(ALPHABET[(bits >> (18 - 6 * at)) as usize % 64]),
            false => '=',
        })
    };
    bytes.chunks(3).flat_map(four).collect()
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::{Serializer, V2Serializer};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64_is_the_standards() {
        // RFC 4648, section 10.
        let vectors = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (length, text) in vectors.iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..length]), *text);
        }
    }

    #[test]
    fn a_stream_of_several_blocks_has_the_checksum_of_all() {
        let stream = zlib(&[7; STORED_BYTES_MAX + 2]);
        assert_eq!(stream.len(), 2 + 2 * 5 + STORED_BYTES_MAX + 2 + 4);
        assert_eq!(stream[..7], [0x78, 0x01, 0, 0xff, 0xff, 0, 0]);
        assert_eq!(stream[7 + STORED_BYTES_MAX..][..7], [1, 2, 0, 0xfd, 0xff, 7, 7]);
        // "Wikipedia", whose sum is published.
        assert_eq!(zlib(b"Wikipedia")[16..], 0x11e6_0398_u32.to_be_bytes());
    }

    proptest! {
        #[test]
        fn the_counts_are_encoded_as_the_reference_does(
            values in proptest::collection::vec((1..=20_000_000_000u64, 1..u64::MAX >> 9), 0..60)
        ) {
            let mut histogram = Histogram::new_with_bounds(1, 1 << 36, 3).unwrap();
            values.iter().for_each(|(value, count)| histogram.record_n(*value, *count).unwrap());
            let mut reference = Vec::new();
            V2Serializer::new().serialize(&histogram, &mut reference).unwrap();
            prop_assert_eq!(v2(&histogram), reference);
        }
    }
}
