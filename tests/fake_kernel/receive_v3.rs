//! The V3 receive ring, one rule a test.

use std::mem::forget;

use linerate::ring::fake::{Arrival, FakeRxV3};
use linerate::ring::geometry::RUN_FRAMES;
use linerate::ring::layout::rx_mac_offset;
use linerate::ring::receive::{ReceiveRing, RxBatch};
use linerate::ring::rx_v3::RxRingV3;
use linerate::sys::packet::RingVersion;

use crate::parts::{BLOCK_BYTES, Sent, frame, receive};

fn pair(blocks: usize) -> (RxRingV3, FakeRxV3) {
    FakeRxV3::pair(&receive(RingVersion::V3, blocks, 2048))
}

fn numbers_in_next_block(ring: &mut RxRingV3) -> Option<Vec<u8>> {
    let mut block = ring.lend(RUN_FRAMES)?;
    Some(block.frames().map(|frame| frame.unwrap().bytes()[0]).collect())
}

#[test]
fn nothing_is_lent_before_the_block_is_retired() {
    let (mut ring, mut kernel) = pair(2);
    assert!(ring.lend(RUN_FRAMES).is_none());
    assert!(kernel.deliver(Arrival::of(&[1; 60])));
    assert!(ring.lend(RUN_FRAMES).is_none(), "an open block is the kernel's");
    kernel.retire();
    assert_eq!(numbers_in_next_block(&mut ring), Some(vec![1]));
    assert!(ring.lend(RUN_FRAMES).is_none());
}

#[test]
fn dropping_the_guard_returns_the_block_and_forgetting_it_does_not() {
    let (mut ring, mut kernel) = pair(2);
    for number in 1..=2 {
        kernel.deliver(Arrival::of(&[number; 60]));
        kernel.retire();
    }
    assert!(!kernel.deliver(Arrival::of(&[3; 60])), "both blocks are ours");
    forget(ring.lend(RUN_FRAMES).unwrap());
    assert!(!kernel.deliver(Arrival::of(&[4; 60])), "a forgotten block stays on loan");
    assert_eq!(numbers_in_next_block(&mut ring), Some(vec![1]), "and is lent again");
    assert!(kernel.deliver(Arrival::of(&[5; 60])), "a dropped one is the kernel's again");
    kernel.retire();
    assert_eq!(numbers_in_next_block(&mut ring), Some(vec![2]));
    assert_eq!(numbers_in_next_block(&mut ring), Some(vec![5]));
    assert_eq!(kernel.drops, 2);
}

#[test]
fn a_block_whose_frames_were_not_looked_at_goes_back_all_the_same() {
    let (mut ring, mut kernel) = pair(2);
    kernel.deliver(Arrival::of(&[1; 60]));
    kernel.retire();
    drop(ring.lend(RUN_FRAMES).unwrap());
    kernel.deliver(Arrival::of(&[2; 60]));
    kernel.retire();
    assert_eq!(numbers_in_next_block(&mut ring), Some(vec![2]));
}

#[test]
fn an_empty_block_is_lent_and_returned_like_any_other() {
    let (mut ring, mut kernel) = pair(3);
    for round in 0..20 {
        kernel.retire_empty();
        kernel.deliver(Arrival::of(&[round; 60]));
        kernel.retire();
        assert_eq!(numbers_in_next_block(&mut ring), Some(vec![]));
        assert_eq!(numbers_in_next_block(&mut ring), Some(vec![round]));
    }
    assert_eq!(kernel.drops, 0);
}

#[test]
fn a_frame_longer_than_a_block_comes_truncated_behind_an_empty_block() {
    let (mut ring, mut kernel) = pair(3);
    let jumbo = Sent::numbered(3, 9000);
    assert!(kernel.deliver(jumbo.arrival()));
    kernel.retire();
    assert_eq!(numbers_in_next_block(&mut ring), Some(vec![]));
    let mut block = ring.lend(RUN_FRAMES).unwrap();
    let frames: Vec<_> = block.frames().map(Result::unwrap).collect();
    assert_eq!(frames.len(), 1);
    // kernel-contract: block size less 48 less tp_mac.
    jumbo.assert_is(&frames[0], BLOCK_BYTES - 48 - rx_mac_offset(RingVersion::V3));
    assert!(frames[0].is_truncated());
}

#[test]
fn a_frozen_ring_drops_and_counts_and_thaws_at_the_block_the_kernel_wants() {
    let (mut ring, mut kernel) = pair(3);
    let deliver = |kernel: &mut FakeRxV3, number| {
        let taken = kernel.deliver(Arrival::of(&[number; 60]));
        kernel.retire();
        taken
    };
    for number in 0..3 {
        assert!(deliver(&mut kernel, number));
    }
    for number in 10..15 {
        assert!(!deliver(&mut kernel, number));
    }
    assert_eq!(kernel.drops, 5);
    assert_eq!(numbers_in_next_block(&mut ring), Some(vec![0]));
    assert!(deliver(&mut kernel, 3));
    assert!(!deliver(&mut kernel, 16), "frozen again before block 1");
    for number in 1..=3 {
        assert_eq!(numbers_in_next_block(&mut ring), Some(vec![number]));
    }
    assert!(ring.lend(RUN_FRAMES).is_none());
    assert_eq!(kernel.drops, 6);
}

#[test]
fn frames_keep_their_order_and_bytes_over_many_wrap_arounds() {
    let (mut ring, mut kernel) = pair(3);
    let (mut sent, mut received) = (0, 0);
    while sent < 500 {
        for _ in 0..1 + sent % 5 {
            assert!(kernel.deliver(Arrival::of(&frame(sent, 60 + sent * 37 % 1000))));
            sent += 1;
        }
        kernel.retire();
        while let Some(mut block) = ring.lend(RUN_FRAMES) {
            for item in block.frames() {
                let expected = frame(received, 60 + received * 37 % 1000);
                assert_eq!(item.unwrap().bytes(), expected);
                received += 1;
            }
        }
    }
    assert_eq!((received, kernel.drops), (sent, 0));
}

#[test]
fn metadata_of_every_kind_is_read_right() {
    let (mut ring, mut kernel) = pair(2);
    let sent: Vec<Sent> = (0..21).map(|number| Sent::numbered(number, 60 + number)).collect();
    assert!(sent.iter().all(|one| kernel.deliver(one.arrival())));
    kernel.retire();
    let mut block = ring.lend(RUN_FRAMES).unwrap();
    let frames: Vec<_> = block.frames().map(Result::unwrap).collect();
    assert_eq!(frames.len(), sent.len());
    for (received, sent) in frames.iter().zip(&sent) {
        sent.assert_is(received, usize::MAX);
    }
}

#[test]
fn there_is_room_for_three_tags_before_every_frame() {
    let (mut ring, mut kernel) = pair(2);
    for number in 0..30 {
        kernel.deliver(Arrival::of(&frame(number, 61 + number)));
    }
    kernel.retire();
    let mut block = ring.lend(RUN_FRAMES).unwrap();
    for item in block.frames() {
        let (_, start) = item.unwrap().into_room();
        assert_eq!(start, 14, "what tpacket_rcv leaves between the address and tp_mac");
    }
}

#[test]
fn frames_may_be_overwritten_in_place_without_harm_to_their_neighbours() {
    let (mut ring, mut kernel) = pair(2);
    for round in 0..4 {
        for number in 0..20 {
            assert!(kernel.deliver(Arrival::of(&frame(round * 20 + number, 100 + number))));
        }
        kernel.retire();
        let mut block = ring.lend(RUN_FRAMES).unwrap();
        for (number, item) in block.frames().enumerate() {
            let received = item.unwrap();
            assert_eq!(received.bytes(), frame(round * 20 + number, 100 + number));
            received.into_room().0.fill(0xff);
        }
    }
}
