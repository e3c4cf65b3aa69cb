//! The TX ring, one rule a test.

use linerate::ring::fake::{FakeTx, Fate};
use linerate::ring::send_rule::SendRefusal;
use linerate::ring::slots::{Settled, Slots};
use linerate::ring::tx::TxRing;

use crate::parts::{frame, transmit};

const MTU: usize = 1500;
/// Slots of the rings here.
const SLOTS: usize = 4;

fn pair() -> (TxRing, FakeTx) {
    FakeTx::pair(&transmit(2, 2048), MTU)
}

/// A sendable frame that tells its number.
fn numbered(number: usize) -> Vec<u8> {
    let mut bytes = frame(number, 60 + number * 31 % 1400);
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes
}

fn put(ring: &mut TxRing, bytes: &[u8]) -> Result<(), SendRefusal> {
    let mut slot = ring.reserve().expect("a free slot");
    slot.bytes()[..bytes.len()].copy_from_slice(bytes);
    slot.commit(bytes.len())
}

fn put_numbers(ring: &mut TxRing, numbers: impl IntoIterator<Item = usize>) {
    numbers.into_iter().for_each(|number| put(ring, &numbered(number)).unwrap());
}

fn bytes_of(numbers: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    numbers.into_iter().map(numbered).collect()
}

/// What settling should say of these frames.
fn settled(numbers: impl IntoIterator<Item = usize>) -> Settled {
    let lengths: Vec<u64> = numbers.into_iter().map(|n| numbered(n).len() as u64).collect();
    Settled { frames: lengths.len() as u64, bytes: lengths.iter().sum(), ..Settled::default() }
}

#[test]
fn frames_leave_in_the_order_of_their_commits_over_many_wrap_arounds() {
    let (mut ring, mut kernel) = pair();
    let mut number = 0;
    for round in 0..50 {
        let batch = number..number + 1 + round % SLOTS;
        number = batch.end;
        put_numbers(&mut ring, batch.clone());
        assert_eq!(ring.in_flight(), batch.len() as u64);
        assert_eq!(kernel.send(|_| Fate::Complete), bytes_of(batch.clone()));
        assert_eq!(ring.settle(), settled(batch));
        assert_eq!(ring.settle(), Settled::default(), "settled once");
    }
}

#[test]
fn a_full_ring_gives_no_slot_until_the_driver_is_done() {
    let (mut ring, mut kernel) = pair();
    put_numbers(&mut ring, 0..SLOTS);
    assert!(ring.reserve().is_none() && !ring.has_room(), "all slots are queued");
    assert_eq!(kernel.send(|_| Fate::InDriver).len(), SLOTS);
    assert_eq!(ring.settle(), settled(0..SLOTS), "taken is taken, read or not");
    assert!(ring.reserve().is_none(), "all slots are being read");
    kernel.complete(1);
    put_numbers(&mut ring, [SLOTS]);
    assert!(ring.reserve().is_none(), "the next is still being read");
    kernel.complete(SLOTS);
    put_numbers(&mut ring, [SLOTS + 1]);
    assert_eq!(kernel.send(|_| Fate::Complete), bytes_of(SLOTS..SLOTS + 2));
}

#[test]
fn completion_of_a_later_slot_does_not_open_the_one_before_it() {
    let (mut ring, mut kernel) = pair();
    put_numbers(&mut ring, 0..SLOTS);
    let mut fates = [Fate::InDriver, Fate::Complete, Fate::Complete, Fate::InDriver].into_iter();
    assert_eq!(kernel.send(|_| fates.next().unwrap()).len(), SLOTS);
    assert_eq!(ring.settle(), settled(0..SLOTS));
    assert!(ring.reserve().is_none());
    kernel.complete(1);
    put_numbers(&mut ring, 4..7);
    assert!(ring.reserve().is_none());
    kernel.complete(1);
    put_numbers(&mut ring, [7]);
    assert_eq!(kernel.send(|_| Fate::Complete), bytes_of(4..8));
}

#[test]
fn a_busy_queue_keeps_frames_in_flight_and_the_next_kick_takes_them() {
    let (mut ring, mut kernel) = pair();
    put_numbers(&mut ring, 0..SLOTS);
    let mut free = 3;
    let sent = kernel.send(|_| {
        free -= 1;
        if free < 0 { Fate::Busy } else { Fate::Complete }
    });
    assert_eq!(sent, bytes_of(0..3));
    assert_eq!(ring.settle(), settled(0..3), "the slow way, slot by slot");
    assert_eq!(ring.in_flight(), 1);
    put_numbers(&mut ring, [SLOTS]);
    assert!(kernel.send(|_| Fate::Busy).is_empty());
    assert_eq!(ring.settle(), Settled::default());
    assert_eq!(kernel.send(|_| Fate::Complete), bytes_of(3..5));
    assert_eq!(ring.settle(), settled(3..5), "the fast way, by the newest slot");
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_refused_slot_is_reported_and_rewritten_and_everything_flows_again() {
    for refused_at in 0..SLOTS {
        let (mut ring, mut kernel) = pair();
        put_numbers(&mut ring, 0..SLOTS);
        let mut at = 0;
        let sent = kernel.send(|_| {
            at += 1;
            if at > refused_at { Fate::WrongFormat } else { Fate::Complete }
        });
        assert_eq!(sent.len(), refused_at);
        assert!(kernel.send(|_| Fate::Complete).is_empty(), "it stands still, and says 0");
        let expected = Settled { stuck: true, ..settled(0..refused_at) };
        assert_eq!(ring.settle(), expected);
        assert_eq!(ring.withdraw(), ((SLOTS - refused_at) as u64, Settled::default()));
        assert_eq!(ring.in_flight(), 0);
        put_numbers(&mut ring, 10..10 + SLOTS);
        assert_eq!(kernel.send(|_| Fate::Complete), bytes_of(10..10 + SLOTS));
        assert_eq!(ring.settle(), settled(10..10 + SLOTS));
    }
}

#[test]
fn withdrawn_frames_are_never_sent_and_new_ones_start_at_the_kernels_head() {
    let (mut ring, mut kernel) = pair();
    for round in 0..20 {
        let first = round * 10;
        put_numbers(&mut ring, first..first + 3);
        let mut free = round % 3;
        let sent = kernel.send(|_| {
            let fate = if free > 0 { Fate::Complete } else { Fate::Busy };
            free = free.saturating_sub(1);
            fate
        });
        assert_eq!(sent.len(), round % 3);
        let taken = settled(first..first + round % 3);
        // Without a settle before it: what was sent must not count as taken back.
        assert_eq!(ring.withdraw(), (3 - round as u64 % 3, taken));
        assert!(kernel.send(|_| Fate::Complete).is_empty());
        put_numbers(&mut ring, first + 5..first + 9);
        assert_eq!(kernel.send(|_| Fate::Complete), bytes_of(first + 5..first + 9));
        assert_eq!(ring.settle(), settled(first + 5..first + 9));
    }
}

#[test]
fn withdrawing_leaves_alone_what_the_driver_still_reads() {
    let (mut ring, mut kernel) = pair();
    put_numbers(&mut ring, 0..SLOTS);
    kernel.send(|_| Fate::InDriver);
    assert_eq!(ring.withdraw(), (0, settled(0..SLOTS)));
    assert!(ring.reserve().is_none(), "the slots are still being read");
    kernel.complete(SLOTS);
    put_numbers(&mut ring, [9]);
    assert_eq!(kernel.send(|_| Fate::Complete), bytes_of([9]));
}

#[test]
fn a_slot_dropped_without_commit_sends_nothing_and_leaves_no_hole() {
    let (mut ring, mut kernel) = pair();
    for number in 0..10 {
        ring.reserve().unwrap().bytes().fill(0xee);
        assert!(kernel.send(|_| Fate::Complete).is_empty());
        assert_eq!((ring.in_flight(), ring.settle()), (0, Settled::default()));
        put_numbers(&mut ring, [number]);
        ring.reserve().unwrap().bytes().fill(0xdd);
        put_numbers(&mut ring, [number + 1]);
        assert_eq!(kernel.send(|_| Fate::Complete), bytes_of(number..number + 2));
        assert_eq!(ring.settle(), settled(number..number + 2));
    }
}

#[test]
fn what_the_kernel_would_refuse_is_refused_before_it_is_queued() {
    let data = [0x88, 0xb5];
    let cases = [
        (0, data, Err(SendRefusal::TooShort)),
        (13, data, Err(SendRefusal::TooShort)),
        (14, data, Ok(())),
        (1514, data, Ok(())),
        (1515, data, Err(SendRefusal::TooLong)),
        (1515, [0x81, 0x00], Ok(())),
        (1518, [0x81, 0x00], Ok(())),
        (1519, [0x81, 0x00], Err(SendRefusal::TooLong)),
        (1514, [0x88, 0xa8], Ok(())),
        (1515, [0x88, 0xa8], Err(SendRefusal::TagTooLong)),
        (1519, [0x88, 0xa8], Err(SendRefusal::TooLong)),
        (1515, [0x81, 0x01], Err(SendRefusal::TooLong)),
    ];
    for (length, ether_type, expected) in cases {
        let (mut ring, mut kernel) = pair();
        let mut bytes = frame(1, length.max(14));
        bytes[12..14].copy_from_slice(&ether_type);
        assert_eq!(put(&mut ring, &bytes[..length]), expected, "{length} {ether_type:x?}");
        let sent = kernel.send(|_| Fate::Complete);
        assert_eq!(sent.len(), usize::from(expected.is_ok()));
        // No hole: the next frame leaves at once.
        put_numbers(&mut ring, [1]);
        assert_eq!(kernel.send(|_| Fate::Complete), bytes_of([1]));
    }
}

#[test]
fn the_rules_follow_the_mtu() {
    let (mut ring, _kernel) = pair();
    ring.set_mtu(1400);
    assert_eq!(put(&mut ring, &[0x88; 1415]), Err(SendRefusal::TooLong));
    ring.set_mtu(1600);
    assert_eq!(put(&mut ring, &[0x88; 1614]), Ok(()));
}

#[test]
fn slots_hold_what_their_header_leaves() {
    // The header, and 10 bytes of hint.
    let (mut ring, mut kernel) = FakeTx::pair(&transmit(2, 2048), 9000);
    assert_eq!(ring.slot_capacity(), 2048 - 32 - 10);
    let full = frame(5, ring.slot_capacity());
    for _ in 0..9 {
        let mut slot = ring.reserve().unwrap();
        assert_eq!(slot.bytes().len(), full.len());
        slot.bytes().copy_from_slice(&full);
        slot.commit(full.len()).unwrap();
        assert_eq!(kernel.send(|_| Fate::Complete), std::slice::from_ref(&full));
        ring.settle();
    }
}
