//! AF_XDP rings against the fake kernel: what is sent, dropped, withdrawn and given back.

use std::io;

use linerate::ring::receive::RxBatch;
use linerate::ring::send_rule::SendRefusal;
use linerate::ring::slots::{Settled, Slots};
use linerate::ring::xsk::XskTransmit;
use linerate::ring::xsk::fake::{FakeXsk, XskFate};

use crate::parts;

const FRAMES: usize = 64;

/// The frame of this number, which stands at its beginning; the next ones have other lengths.
pub fn frame(number: usize) -> Vec<u8> {
    let mut frame = parts::frame(number, 60 + number % 41);
    frame[..8].copy_from_slice(&(number as u64).to_be_bytes());
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}

fn sending() -> (XskTransmit, FakeXsk) {
    FakeXsk::sending(FRAMES, 2048, 1500)
}

fn commit(ring: &mut XskTransmit, bytes: &[u8]) {
    let mut slot = ring.reserve().expect("a free frame");
    slot.bytes()[..bytes.len()].copy_from_slice(bytes);
    slot.commit(bytes.len()).expect("a frame that can be sent");
}

fn commit_all(ring: &mut XskTransmit, numbers: std::ops::Range<usize>) {
    numbers.for_each(|number| commit(ring, &frame(number)));
}

/// Kicks, and counts the calls that it took.
fn kick(
    ring: &mut XskTransmit,
    kernel: &mut FakeXsk,
    sent: &mut Vec<Vec<u8>>,
    mut fate: impl FnMut(&[u8]) -> XskFate,
) -> (io::Result<()>, usize) {
    let mut calls = 0;
    let result = ring.kick(|| {
        calls += 1;
        kernel.kick(sent, &mut fate)
    });
    (result, calls)
}

fn frames(numbers: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    numbers.map(frame).collect()
}

fn settled(sent: &[Vec<u8>]) -> Settled {
    let bytes = sent.iter().map(|one| one.len() as u64).sum();
    Settled { frames: sent.len() as u64, bytes, ..Settled::default() }
}

#[test]
fn one_kick_sends_any_number_in_helpings_that_the_kernel_takes_at_once() {
    let (mut ring, mut kernel) = sending();
    commit_all(&mut ring, 0..FRAMES);
    assert!(ring.reserve().is_none());
    let mut sent = Vec::new();
    let (result, calls) = kick(&mut ring, &mut kernel, &mut sent, |_| XskFate::Complete);
    assert!(result.is_ok());
    assert_eq!((sent, calls), (frames(0..FRAMES), 2), "two helpings of 32");
    assert_eq!(ring.settle(), settled(&frames(0..FRAMES)));
    assert_eq!((ring.in_flight(), ring.uncompleted(), ring.strays()), (0, 0, 0));
}

#[test]
fn a_full_queue_keeps_the_frames_and_the_next_kick_sends_them() {
    let (mut ring, mut kernel) = sending();
    commit_all(&mut ring, 0..40);
    let mut sent = Vec::new();
    let mut left = 35;
    let (result, _) = kick(&mut ring, &mut kernel, &mut sent, |_| {
        left -= 1;
        if left < 0 { XskFate::Full } else { XskFate::Complete }
    });
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!((ring.settle().frames, ring.in_flight()), (35, 5));
    kick(&mut ring, &mut kernel, &mut sent, |_| XskFate::Complete).0.unwrap();
    assert_eq!(sent, frames(0..40));
    assert_eq!((ring.settle().frames, ring.in_flight()), (5, 0));
}

#[test]
fn frames_that_the_driver_drops_are_counted_one_by_one_wherever_they_stand() {
    for doomed in [vec![0], vec![39], vec![31, 32], vec![0, 1, 2, 17, 38, 39], (0..40).collect()] {
        let (mut ring, mut kernel) = sending();
        commit_all(&mut ring, 0..40);
        let mut sent = Vec::new();
        let is_doomed = |bytes: &[u8]| doomed.iter().any(|&number| frame(number) == bytes);
        let (result, _) = kick(&mut ring, &mut kernel, &mut sent, |bytes| {
            if is_doomed(bytes) { XskFate::Dropped } else { XskFate::Complete }
        });
        result.unwrap();
        let lost: Vec<_> = doomed.iter().map(|&number| frame(number)).collect();
        let Settled { frames: dropped, bytes: dropped_bytes, .. } = settled(&lost);
        let expected = Settled { dropped, dropped_bytes, ..settled(&sent) };
        assert_eq!(ring.settle(), expected, "{doomed:?}");
        assert_eq!((ring.in_flight(), ring.uncompleted()), (0, 0));
    }
}

#[test]
fn while_the_link_is_down_nothing_moves_and_nothing_is_lost() {
    let (mut ring, mut kernel) = sending();
    kernel.up = false;
    commit_all(&mut ring, 0..40);
    let mut sent = Vec::new();
    let (result, calls) = kick(&mut ring, &mut kernel, &mut sent, |_| XskFate::Complete);
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NetworkDown);
    assert_eq!((calls, ring.settle(), ring.in_flight()), (1, Settled::default(), 40));
    kernel.up = true;
    kick(&mut ring, &mut kernel, &mut sent, |_| XskFate::Complete).0.unwrap();
    assert_eq!(sent, frames(0..40));
}

#[test]
fn what_was_withdrawn_is_sent_by_no_later_kick() {
    let (mut ring, mut kernel) = sending();
    kernel.up = false;
    commit_all(&mut ring, 0..FRAMES);
    let mut sent = Vec::new();
    assert!(kick(&mut ring, &mut kernel, &mut sent, |_| XskFate::Complete).0.is_err());
    assert_eq!(ring.withdraw(), (FRAMES as u64, Settled::default()));
    assert_eq!((ring.in_flight(), ring.uncompleted()), (0, 0));
    kernel.up = true;
    commit_all(&mut ring, 100..110);
    kick(&mut ring, &mut kernel, &mut sent, |_| XskFate::Complete).0.unwrap();
    assert_eq!(sent, frames(100..110));
    assert_eq!(ring.settle(), settled(&sent));
    assert_eq!(kernel.tx_invalid_descs, 32, "void descriptors of those that the kernel had seen");
    // A withdrawal with nothing left does nothing.
    assert_eq!(ring.withdraw(), (0, Settled::default()));
}

#[test]
fn a_withdrawal_counts_first_what_was_taken() {
    let (mut ring, mut kernel) = sending();
    commit_all(&mut ring, 0..20);
    let mut sent = Vec::new();
    let mut left = 5;
    let _ = kick(&mut ring, &mut kernel, &mut sent, |_| {
        left -= 1;
        if left < 0 { XskFate::Full } else { XskFate::InDriver }
    });
    assert_eq!(ring.withdraw(), (15, settled(&frames(0..5))));
    assert_eq!(ring.uncompleted(), 5, "the driver still has them");
    kernel.complete(5, true);
    ring.settle();
    assert_eq!(ring.uncompleted(), 0);
    assert_eq!(sent, frames(0..5));
}

#[test]
fn void_descriptors_before_a_frame_that_is_dropped_do_not_take_its_place() {
    let (mut ring, mut kernel) = sending();
    kernel.up = false;
    commit_all(&mut ring, 0..3);
    let mut sent = Vec::new();
    let _ = kick(&mut ring, &mut kernel, &mut sent, |_| XskFate::Complete);
    assert_eq!(ring.withdraw().0, 3);
    kernel.up = true;
    commit_all(&mut ring, 7..8);
    kick(&mut ring, &mut kernel, &mut sent, |_| XskFate::Dropped).0.unwrap();
    let dropped_bytes = frame(7).len() as u64;
    let expected = Settled { dropped: 1, dropped_bytes, ..Settled::default() };
    assert_eq!((ring.settle(), sent.len()), (expected, 0));
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn completions_out_of_order_and_wrong_ones_are_told_apart() {
    let (mut ring, mut kernel) = sending();
    commit_all(&mut ring, 0..FRAMES);
    kick(&mut ring, &mut kernel, &mut Vec::new(), |_| XskFate::InDriver).0.unwrap();
    assert_eq!(ring.settle().frames, FRAMES as u64);
    assert!(!ring.has_room(), "the driver has them all");
    kernel.complete(10, true);
    assert!(ring.has_room());
    assert_eq!(ring.uncompleted(), FRAMES as u64 - 10);
    for address in [u64::MAX, (FRAMES * 2048) as u64 + 1, 0] {
        kernel.complete_hostile(address);
    }
    ring.settle();
    assert_eq!((ring.strays(), ring.uncompleted()), (3, FRAMES as u64 - 10));
}

#[test]
fn a_slot_that_is_not_committed_or_is_refused_is_free_again() {
    let (mut ring, _) = sending();
    for _ in 0..3 * FRAMES {
        ring.reserve().unwrap().bytes()[0] = 1;
    }
    assert_eq!(ring.reserve().unwrap().commit(13), Err(SendRefusal::TooShort));
    let mut slot = ring.reserve().unwrap();
    slot.bytes()[12..14].copy_from_slice(&[0x88, 0xb5]);
    assert_eq!(slot.commit(1515), Err(SendRefusal::TooLong));
    assert_eq!((ring.in_flight(), ring.uncompleted()), (0, 0));
}

#[test]
fn a_received_frame_is_sent_from_where_it_lies_and_is_then_received_into_again() {
    let (mut receive, mut forward, mut kernel) = FakeXsk::receiving(8, 2048, 4);
    let mut sent = Vec::new();
    for round in 0..20 {
        (0..6).for_each(|n| assert!(kernel.deliver(&frame(6 * round + n)), "round {round}"));
        let mut posted = 0;
        for expected in [4, 2] {
            let mut batch = receive.lend().expect("frames have arrived");
            assert_eq!(batch.len(), expected);
            for mut one in batch.frames().map(Result::unwrap) {
                assert_eq!(one.bytes(), frame(6 * round + posted));
                let length = one.bytes().len();
                let (room, start) = one.room();
                assert_eq!((room.len(), start), (256 + length, 256));
                room[start] = 0xee;
                let taken = one.into_umem().unwrap();
                forward.post(taken, start, length);
                posted += 1;
            }
            assert_eq!(batch.frames().count(), 0, "all were taken");
            forward.kick(|| kernel.kick(&mut sent, |_| XskFate::Complete)).unwrap();
        }
        assert!(receive.lend().is_none());
        assert_eq!(forward.settle().frames, 6);
        for (n, bytes) in sent.drain(..).enumerate() {
            let mut expected = frame(6 * round + n);
            expected[0] = 0xee;
            assert_eq!(bytes, expected);
        }
    }
    assert_eq!((kernel.rx_dropped, receive.strays()), (0, 0));
}

#[test]
fn frames_that_nobody_takes_go_back_and_a_starved_fill_ring_shows() {
    let (mut receive, mut forward, mut kernel) = FakeXsk::receiving(8, 2048, 8);
    (0..8).for_each(|n| assert!(kernel.deliver(&frame(n))));
    assert!(!kernel.deliver(&frame(8)));
    assert_eq!(kernel.rx_dropped, 1);
    let mut batch = receive.lend().unwrap();
    let (room, start) = batch.frames().next().unwrap().unwrap().into_room();
    assert_eq!(&room[start..], frame(0));
    for taken in batch.frames().map(Result::unwrap).take(3) {
        let length = taken.bytes().len();
        forward.post(taken.into_umem().unwrap(), 256, length);
    }
    drop(batch);
    assert_eq!((8..14).filter(|&n| kernel.deliver(&frame(n))).count(), 5, "three are to be sent");
    // They are taken back, and are there again.
    assert_eq!(forward.withdraw().0, 3);
    assert_eq!(receive.lend().unwrap().len(), 5);
    (0..8).for_each(|n| assert!(kernel.deliver(&frame(n))));
    forward.kick(|| kernel.kick(&mut Vec::new(), |_| panic!("nothing is sent"))).unwrap();
}

#[test]
fn who_sends_all_frames_is_starved_until_one_is_completed() {
    let (mut receive, mut forward, mut kernel) = FakeXsk::receiving(8, 2048, 8);
    (0..8).for_each(|n| assert!(kernel.deliver(&frame(n))));
    assert!(!receive.is_starved(), "what has arrived can be lent");
    let mut batch = receive.lend().unwrap();
    for one in batch.frames().map(Result::unwrap) {
        let length = one.bytes().len();
        forward.post(one.into_umem().unwrap(), 256, length);
    }
    drop(batch);
    forward.kick(|| kernel.kick(&mut Vec::new(), |_| XskFate::InDriver)).unwrap();
    assert_eq!((forward.settle().frames, forward.in_flight()), (8, 0), "nothing is queued");
    assert!(receive.lend().is_none() && receive.is_starved());
    assert!(!kernel.deliver(&frame(8)), "there is no frame for it");
    kernel.complete(1, false);
    assert!(receive.lend().is_none() && !receive.is_starved());
    assert!(kernel.deliver(&frame(9)));
    assert_eq!(receive.lend().unwrap().len(), 1);
}

#[test]
fn addresses_that_cannot_be_are_never_lent() {
    let (mut receive, _forward, mut kernel) = FakeXsk::receiving(8, 2048, 8);
    kernel.deliver_hostile(u64::MAX, 60);
    kernel.deliver_hostile(8 * 2048 + 1, 60);
    kernel.deliver_hostile(2048 + 256, 60);
    kernel.deliver_hostile(2048 + 256, 60);
    kernel.deliver_hostile(3 * 2048 + 2047, 60);
    let mut batch = receive.lend().unwrap();
    let lengths: Vec<usize> =
        batch.frames().map(Result::unwrap).map(|one| one.bytes().len()).collect();
    assert_eq!(lengths, [60, 0], "a frame once, and one that would run over its chunk is empty");
    drop(batch);
    assert_eq!(receive.strays(), 3);
}

#[test]
fn a_frame_that_was_named_falsely_is_not_received_into() {
    let (mut receive, _forward, mut kernel) = FakeXsk::receiving(2, 2048, 2);
    kernel.deliver_hostile(300, 60);
    assert!(kernel.deliver(&frame(1)));
    assert!(!kernel.deliver(&frame(2)), "the user has the other frame");
    assert_eq!(receive.lend().unwrap().len(), 2);
    assert!(kernel.deliver(&frame(3)) && kernel.deliver(&frame(4)));
}

#[test]
fn what_a_look_for_room_finds_sent_is_in_flight_until_it_is_settled() {
    let (mut ring, mut kernel) = FakeXsk::sending(32, 2048, 1500);
    let mut sent = Vec::new();
    commit_all(&mut ring, 0..8);
    let mut fates = [XskFate::Complete, XskFate::Full, XskFate::Full].into_iter();
    let (result, _) = kick(&mut ring, &mut kernel, &mut sent, |_| fates.next().unwrap());
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    // The last one finds its place only because the first one was sent.
    commit_all(&mut ring, 8..33);
    assert_eq!((ring.in_flight(), ring.uncompleted()), (33, 0));
    assert_eq!((ring.settle().frames, ring.in_flight()), (1, 32));
    kick(&mut ring, &mut kernel, &mut sent, |_| XskFate::Complete).0.unwrap();
    assert_eq!((ring.settle().frames, ring.in_flight()), (32, 0));
    assert_eq!(sent, frames(0..33));
}
