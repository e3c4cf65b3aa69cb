//! Headers that lie: nothing panics, and no frame reaches out of what is on loan.

use std::ops::Range;

use linerate::ring::block::Malformed;
use linerate::ring::fake::{Arrival, FakeRxV2, FakeRxV3};
use linerate::ring::frame::RxFrame;
use linerate::ring::geometry::RUN_FRAMES;
use linerate::ring::receive::{ReceiveRing, RxBatch};
use linerate::sys::packet::RingVersion;
use linerate::wire::ethernet::VLAN_TAG_BYTES;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::parts::{BLOCK_BYTES, receive};

/// Words of headers: mostly such as get a walk past its first checks.
fn word() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => 0u32..200,
        2 => prop_oneof![Just(48), Just(68), Just(82), Just(112), Just(144)],
        2 => 0u32..5000,
        1 => any::<u32>(),
        1 => prop_oneof![Just(u32::MAX), Just(u32::MAX - 67), Just(4095), Just(4096)],
    ]
}

/// Words that repeat until the block is full, or plain noise.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let plausible = (vec(word(), 1..40), 0usize..1024).prop_map(|(words, count)| {
        words.iter().cycle().take(count).flat_map(|word| word.to_ne_bytes()).collect()
    });
    prop_oneof![3 => plausible, 1 => vec(any::<u8>(), 0..300)]
}

/// Overwrites each frame's room and returns where it was.
fn rooms<'a>(frames: impl Iterator<Item = Result<RxFrame<'a>, Malformed>>) -> Vec<Range<usize>> {
    let mut rooms = Vec::new();
    for received in frames.flatten() {
        assert!(received.bytes().len() <= BLOCK_BYTES);
        let (room, start) = received.into_room();
        assert!((VLAN_TAG_BYTES..=room.len()).contains(&start), "a stripped tag can be put back");
        room.fill(0xab);
        let first = room.as_ptr().addr();
        rooms.push(first..first + room.len());
    }
    rooms
}

proptest! {
    #[test]
    fn a_v3_block_of_any_bytes_lends_nothing_outside_itself(
        hostile in vec(bytes(), 1..6),
    ) {
        let (mut ring, mut kernel) = FakeRxV3::pair(&receive(RingVersion::V3, 3, 2048));
        for bytes in hostile {
            kernel.retire_hostile(&bytes);
            // Shorter ones leave the count of the block's last life in place.
            let claimed = bytes.first_chunk().map_or(u32::MAX, |word| u32::from_ne_bytes(*word));
            {
                let mut block = ring.lend(RUN_FRAMES).unwrap();
                let rooms = rooms(block.frames());
                prop_assert!(rooms.len() <= claimed as usize);
                prop_assert!(rooms.windows(2).all(|pair| pair[0].end <= pair[1].start));
                if let [first, .., last] = &rooms[..] {
                    prop_assert!(last.end - first.start < BLOCK_BYTES);
                }
            }
            // The neighbours were not written: both status words and headers still work.
            prop_assert!(ring.lend(RUN_FRAMES).is_none());
            prop_assert!(kernel.deliver(Arrival::of(&[7; 60])));
            kernel.retire();
            let mut block = ring.lend(RUN_FRAMES).unwrap();
            let frames: Vec<_> = block.frames().map(|item| item.unwrap().bytes().to_vec()).collect();
            prop_assert_eq!(frames, [[7; 60]]);
        }
    }

    #[test]
    fn a_v2_slot_of_any_bytes_lends_nothing_outside_itself(
        hostile in vec(bytes(), 1..6),
        slot_bytes in prop_oneof![Just(64usize), Just(256), Just(2048)],
    ) {
        let (mut ring, mut kernel) = FakeRxV2::pair(&receive(RingVersion::V2, 2, slot_bytes));
        for bytes in hostile {
            kernel.deliver_hostile(&bytes);
            prop_assert!(kernel.deliver(Arrival::of(&[])), "the next slot is untouched");
            let mut run = ring.lend(RUN_FRAMES).unwrap();
            let mut seen = 0;
            let rooms = rooms(run.frames().inspect(|_| seen += 1));
            prop_assert_eq!(seen, 2);
            prop_assert!(rooms.iter().all(|room| room.len() < slot_bytes));
            prop_assert!(rooms.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
        prop_assert!(ring.lend(RUN_FRAMES).is_none());
    }
}

#[test]
fn a_v2_slot_that_cannot_be_read_counts_as_one_malformed_frame() {
    let (mut ring, mut kernel) = FakeRxV2::pair(&receive(RingVersion::V2, 2, 256));
    kernel.deliver_hostile(&[0xff; 60]);
    let mut run = ring.lend(RUN_FRAMES).unwrap();
    let item = run.frames().next().unwrap();
    assert_eq!(item.unwrap_err(), Malformed { frames: 1 });
}

#[test]
fn a_v3_block_whose_first_offset_lies_counts_all_it_claims() {
    let (mut ring, mut kernel) = FakeRxV3::pair(&receive(RingVersion::V3, 2, 2048));
    for first in [0u32, 11, 47, 4096, u32::MAX] {
        kernel.retire_hostile(&[3u32.to_ne_bytes(), first.to_ne_bytes()].concat());
        let mut block = ring.lend(RUN_FRAMES).unwrap();
        let items: Vec<_> = block.frames().map(Result::unwrap_err).collect();
        assert_eq!(items, [Malformed { frames: 3 }], "first frame at {first}");
    }
}

#[test]
fn a_frame_right_behind_its_headers_leaves_no_room_for_its_tag_and_is_malformed() {
    let words =
        |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
    const TAGGED: u32 = 1 | 1 << 4 | 1 << 6;
    for (mac, is_read) in [(68, false), (71, false), (72, true)] {
        let (mut ring, mut kernel) = FakeRxV3::pair(&receive(RingVersion::V3, 2, 2048));
        let block = words(&[1, 48, 200, 0, 0, 0, 0, 0, 0]);
        let frame = words(&[0, 0, 0, 60, 60, TAGGED, mac]);
        kernel.retire_hostile(&[block, frame].concat());
        let item = ring.lend(RUN_FRAMES).unwrap().frames().next().map(|item| item.is_ok());
        assert_eq!(item, Some(is_read), "V3, tp_mac {mac}");
    }
    for (mac, is_read) in [(52, false), (55, false), (56, true)] {
        let (mut ring, mut kernel) = FakeRxV2::pair(&receive(RingVersion::V2, 2, 256));
        kernel.deliver_hostile(&words(&[60, 60, mac]));
        let item = ring.lend(RUN_FRAMES).unwrap().frames().next().map(|item| item.is_ok());
        assert_eq!(item, Some(is_read), "V2, tp_mac {mac}");
    }
}
