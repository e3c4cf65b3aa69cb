//! The V2 receive ring, one rule a test.

use std::mem::forget;

use linerate::ring::fake::{Arrival, FakeRxV2};
use linerate::ring::geometry::RUN_FRAMES;
use linerate::ring::layout::rx_mac_offset;
use linerate::ring::receive::{ReceiveRing, RxBatch};
use linerate::ring::rx_v2::RxRingV2;
use linerate::sys::packet::RingVersion;

use crate::parts::{Sent, frame, receive};

fn pair(blocks: usize, slot_bytes: usize) -> (RxRingV2, FakeRxV2) {
    FakeRxV2::pair(&receive(RingVersion::V2, blocks, slot_bytes))
}

/// Looks at the first `count` frames of a run and returns them.
fn take(ring: &mut RxRingV2, count: usize) -> Vec<u8> {
    let Some(mut run) = ring.lend(RUN_FRAMES) else { return Vec::new() };
    run.frames().take(count).map(|frame| frame.unwrap().bytes()[0]).collect()
}

#[test]
fn a_run_returns_only_the_frames_that_were_looked_at() {
    let (mut ring, mut kernel) = pair(2, 1024);
    for number in 0..8 {
        assert!(kernel.deliver(Arrival::of(&[number; 60])));
    }
    assert!(!kernel.deliver(Arrival::of(&[8; 60])), "all slots are ours");
    assert_eq!(take(&mut ring, 3), [0, 1, 2]);
    let taken = (9..14).filter(|&number| kernel.deliver(Arrival::of(&[number; 60]))).count();
    assert_eq!(taken, 3, "as many slots as were looked at");
    assert_eq!(take(&mut ring, 99), [3, 4, 5, 6, 7, 9, 10, 11]);
    assert!(ring.lend(RUN_FRAMES).is_none());
    assert_eq!(kernel.drops, 3);
}

#[test]
fn a_forgotten_run_lends_its_frames_again() {
    let (mut ring, mut kernel) = pair(2, 1024);
    for number in 0..3 {
        kernel.deliver(Arrival::of(&[number; 60]));
    }
    let mut run = ring.lend(RUN_FRAMES).unwrap();
    assert_eq!(run.frames().count(), 3);
    forget(run);
    assert_eq!(take(&mut ring, 99), [0, 1, 2]);
    drop(ring.lend(RUN_FRAMES));
    assert!(ring.lend(RUN_FRAMES).is_none());
}

#[test]
fn walking_a_run_twice_returns_each_frame_once() {
    let (mut ring, mut kernel) = pair(2, 1024);
    for number in 0..4 {
        kernel.deliver(Arrival::of(&[number; 60]));
    }
    let mut run = ring.lend(RUN_FRAMES).unwrap();
    assert_eq!(run.frames().count(), 4);
    assert_eq!(run.frames().take(2).count(), 2);
    drop(run);
    assert_eq!(take(&mut ring, 99), [2, 3]);
}

#[test]
fn a_run_is_bounded() {
    let (mut ring, mut kernel) = pair(8, 256);
    for number in 0..128 {
        assert!(kernel.deliver(Arrival::of(&[number; 60])));
    }
    assert_eq!(take(&mut ring, usize::MAX).len(), RUN_FRAMES);
    assert_eq!(take(&mut ring, usize::MAX).len(), 128 - RUN_FRAMES);
}

#[test]
fn a_frame_longer_than_its_slot_is_truncated_and_its_neighbours_are_not() {
    let (mut ring, mut kernel) = pair(2, 256);
    let room = 256 - rx_mac_offset(RingVersion::V2);
    for number in 0..40 {
        let sent = Sent::numbered(number, room - 2 + number % 5);
        assert!(kernel.deliver(sent.arrival()));
        let mut run = ring.lend(RUN_FRAMES).unwrap();
        let received = run.frames().next().unwrap().unwrap();
        sent.assert_is(&received, room);
        assert_eq!(received.is_truncated(), number % 5 > 2);
    }
}

#[test]
fn a_slot_too_short_for_any_byte_gives_an_empty_truncated_frame() {
    // 64 bytes are legal for the kernel, and end before tp_mac.
    let (mut ring, mut kernel) = pair(2, 64);
    for number in 0..200 {
        let sent = Sent::numbered(number, 60);
        assert!(kernel.deliver(sent.arrival()));
        let mut run = ring.lend(RUN_FRAMES).unwrap();
        let received = run.frames().next().unwrap().unwrap();
        sent.assert_is(&received, 0);
        assert!(received.is_truncated() && received.bytes().is_empty());
    }
}

#[test]
fn metadata_of_every_kind_is_read_right_over_wrap_arounds_and_dead_space() {
    // Two slots of 1792 bytes leave 512 dead bytes at the end of each block.
    for slot_bytes in [512, 1024, 1792, 2048] {
        let (mut ring, mut kernel) = pair(3, slot_bytes);
        for number in 0..100 {
            let sent = Sent::numbered(number, 60 + number);
            assert!(kernel.deliver(sent.arrival()));
            let mut run = ring.lend(RUN_FRAMES).unwrap();
            let mut frames = run.frames();
            sent.assert_is(&frames.next().unwrap().unwrap(), usize::MAX);
            assert!(frames.next().is_none());
        }
    }
}

#[test]
fn slots_have_room_for_tags_and_may_be_overwritten() {
    let (mut ring, mut kernel) = pair(2, 256);
    for round in 0..3 {
        for number in 0..32 {
            assert!(kernel.deliver(Arrival::of(&frame(round + number, 190))));
        }
        let mut run = ring.lend(RUN_FRAMES).unwrap();
        for (number, item) in run.frames().enumerate() {
            let received = item.unwrap();
            assert_eq!(received.bytes(), frame(round + number, 190));
            let (room, start) = received.into_room();
            assert_eq!(start, 14);
            room.fill(0xff);
        }
    }
}
