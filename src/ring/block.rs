//! Walking the frames of a retired V3 block: a total function over plain bytes.
//!
//! The walk never trusts the kernel's numbers: each offset and length is checked against the
//! bytes that are left, and the number of steps is bounded by both the packet count and the
//! block's length, so hostile headers end the walk and never a thread.

use std::mem::take;

use super::frame::{RxFrame, describe_v3};
use super::layout::{ADDRESS_BYTES, block, read_u32, v3};
use crate::wire::ethernet::VLAN_TAG_BYTES;

/// Frames that could not be reached because the block's headers contradict themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// How many frames the block claimed beyond those handed out.
    pub frames: u32,
}

const PACKET_HEADERS: usize = v3::HEADER_BYTES + ADDRESS_BYTES;
/// The first byte where a frame may begin: a stripped tag can be put back before it. The kernel leaves
/// more room than that (RX-4).
const FRAME_MIN: usize = PACKET_HEADERS + VLAN_TAG_BYTES;
/// A lent block's bytes begin after its status word.
const BODY: usize = block::STATUS + 4;

/// The frames of one block, in the order of their arrival.
#[derive(Debug)]
pub struct BlockWalk<'a> {
    rest: &'a mut [u8],
    left: u32,
}

impl<'a> BlockWalk<'a> {
    /// The frames of a block whose bytes after the status word are `body`.
    pub fn new(body: &'a mut [u8]) -> BlockWalk<'a> {
        let claimed = read_u32(body, block::PACKETS - BODY).unwrap_or(0);
        let first = read_u32(body, block::FIRST - BODY).unwrap_or(0) as usize;
        // No block of this length holds more packets than headers fit into it.
        let left = claimed.min((body.len() / PACKET_HEADERS) as u32 + 1);
        let rest = match first.checked_sub(BODY) {
            Some(at) if first >= block::HEADER_BYTES && at <= body.len() => &mut body[at..],
            _ => &mut [],
        };
        BlockWalk { rest, left }
    }

    fn give_up(&mut self) -> Malformed {
        self.rest = &mut [];
        Malformed { frames: take(&mut self.left) }
    }
}

impl<'a> Iterator for BlockWalk<'a> {
    type Item = Result<RxFrame<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let rest = take(&mut self.rest);
        let Some(described) = describe_v3(rest) else { return Some(Err(self.give_up())) };
        // tp_next_offset is 0 in the last frame of a block; only the count ends the walk (RX-6).
        let extent = if self.left == 1 {
            rest.len()
        } else {
            let next = read_u32(rest, v3::NEXT).unwrap_or(0) as usize;
            if next < PACKET_HEADERS || next > rest.len() {
                return Some(Err(self.give_up()));
            }
            next
        };
        let (start, end) = (described.mac, described.mac.saturating_add(described.captured));
        if start < FRAME_MIN || end > extent {
            return Some(Err(self.give_up()));
        }
        let (frame, rest) = rest.split_at_mut(extent);
        self.rest = rest;
        self.left -= 1;
        let room = &mut frame[PACKET_HEADERS..end];
        Some(Ok(RxFrame::new(described.meta, room, start - PACKET_HEADERS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::layout::write_u32;
    use proptest::prelude::*;

    /// A block with frames of the given lengths, as tpacket_rcv packs them.
    fn block_of(lengths: &[usize]) -> Vec<u8> {
        let mut bytes = vec![0u8; 1 << 16];
        let mut at = block::HEADER_BYTES;
        for (n, &length) in lengths.iter().enumerate() {
            let mac = 82;
            let next = (mac + length).next_multiple_of(8);
            let header = &mut bytes[at..];
            write_u32(header, v3::NEXT, if n + 1 == lengths.len() { 0 } else { next as u32 });
            write_u32(header, v3::CAPTURED_BYTES, length as u32);
            write_u32(header, v3::WIRE_BYTES, length as u32);
            header[v3::MAC..v3::MAC + 2].copy_from_slice(&(mac as u16).to_ne_bytes());
            header[mac..mac + length].fill(n as u8);
            at += next;
        }
        write_u32(&mut bytes, block::PACKETS, lengths.len() as u32);
        write_u32(&mut bytes, block::FIRST, block::HEADER_BYTES as u32);
        write_u32(&mut bytes, block::LENGTH, at as u32);
        bytes
    }

    #[test]
    fn every_frame_of_a_block_comes_once_and_in_order() {
        let lengths = [60, 61, 1514, 0, 14];
        let mut bytes = block_of(&lengths);
        let frames: Vec<_> = BlockWalk::new(&mut bytes[BODY..]).map(Result::unwrap).collect();
        assert_eq!(frames.len(), lengths.len());
        for (n, (frame, length)) in frames.iter().zip(lengths).enumerate() {
            assert_eq!(frame.bytes(), vec![n as u8; length]);
        }
    }

    #[test]
    fn an_empty_block_has_no_frames() {
        let mut bytes = block_of(&[]);
        assert!(BlockWalk::new(&mut bytes[BODY..]).next().is_none());
    }

    #[test]
    fn a_frame_that_claims_more_than_the_block_ends_the_walk_and_is_counted() {
        let mut bytes = block_of(&[60, 60, 60]);
        let second = block::HEADER_BYTES + (82usize + 60).next_multiple_of(8);
        write_u32(&mut bytes[second..], v3::CAPTURED_BYTES, u32::MAX);
        let mut walk = BlockWalk::new(&mut bytes[BODY..]);
        assert!(walk.next().unwrap().is_ok());
        assert_eq!(walk.next().unwrap().unwrap_err(), Malformed { frames: 2 });
        assert!(walk.next().is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_walk_panic_or_run_on(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..2048),
            small in any::<bool>(),
        ) {
            if small && bytes.len() > 12 {
                // Plausible counts and offsets, so that the walk gets past the block header.
                bytes[1..4].fill(0);
                bytes[4..8].copy_from_slice(&48u32.to_ne_bytes());
            }
            let limit = bytes.len() / PACKET_HEADERS + 2;
            prop_assert!(BlockWalk::new(&mut bytes).count() <= limit);
        }

        #[test]
        fn damaged_headers_never_yield_more_than_was_claimed(
            lengths in proptest::collection::vec(0usize..300, 1..20),
            at in 0usize..4000,
            value in any::<u8>(),
        ) {
            let mut bytes = block_of(&lengths);
            bytes[BODY + 4..][at] = value;
            let mut seen = 0;
            for item in BlockWalk::new(&mut bytes[BODY..]) {
                seen += match item { Ok(_) => 1, Err(malformed) => malformed.frames };
            }
            prop_assert_eq!(seen, lengths.len() as u32);
        }
    }
}
