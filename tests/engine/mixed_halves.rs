//! The shipped halves over fake kernels, through the engine's own turn: any two fit together, and every
//! frame is forwarded, dropped by name or in flight.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::forget;
use std::rc::Rc;
use std::time::Duration;

use linerate::engine::edit::Transform;
use linerate::engine::half::{RxBatch, RxHalf, TxHalf};
use linerate::engine::turn::{LatencyMode, TurnState, WhenFull, settle, turn};
use linerate::engine::tx_forward::TxForward;
use linerate::engine::tx_mmsg::TxMmsg;
use linerate::engine::tx_send::TxSend;
use linerate::ring::fake::{Arrival, FakeRxV2, FakeRxV3};
use linerate::ring::outlet::Outlet;
use linerate::ring::tx::TxRing;
use linerate::ring::xsk::XskTransmit;
use linerate::stats::counters::EngineCounters;
use linerate::stats::drops::DropReason;
use linerate::wire::ethernet::VlanTag;
use linerate::wire::probe::Probe;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::clock::FakeClock;
use crate::frames::{Known, OURS, no_storm_guard, rules};
use crate::kernel::{
    BATCH, ENETDOWN, FREELY, MakeTx, PlainSocket, ROOM, RxKernel, SharedWire, TxRingSocket,
    UmemSocket, XskKernel, wire,
};

type RingTx = Outlet<TxRing, TxRingSocket>;
type UmemTx = Outlet<XskTransmit, UmemSocket>;
type MmsgTx = TxMmsg<PlainSocket>;
type SendTx = TxSend<PlainSocket>;

/// A receive half, its kernel, and what a worker keeps.
struct Bench<K: RxKernel> {
    rx: K::Half,
    kernel: K,
    state: TurnState,
    wire: SharedWire,
    clock: FakeClock,
}

impl<K: RxKernel> Bench<K> {
    fn new(when_full: WhenFull, frames_per_refusal: usize) -> Bench<K> {
        let wire = wire(frames_per_refusal);
        let (rx, kernel) = K::make(&wire);
        let mut state = TurnState::new(rules(), when_full, no_storm_guard(), LatencyMode::On);
        state.reserve(BATCH);
        Bench { rx, kernel, state, wire, clock: FakeClock::default() }
    }

    fn deliver(&mut self, known: &Known) {
        let arrival = Arrival { tag: known.meta.tag, ..Arrival::of(&known.bytes) };
        assert!(self.kernel.deliver(arrival), "the receive ring is large enough");
    }

    /// The same as a driver hands it over that pads short frames after the tag was taken off.
    fn deliver_padded(&mut self, known: &Known) {
        let mut padded = known.clone();
        if K::TAKES_TAGS_OFF {
            padded.bytes.resize(known.bytes.len().max(60), 0);
        }
        self.deliver(&padded);
    }

    /// One turn, and the law after it.
    fn turn(&mut self, tx: &mut impl TxHalf) -> bool {
        let turned = turn(&mut self.rx, tx, &mut self.state, &self.clock).unwrap().is_some();
        assert_eq!(self.state.counters.unexplained(tx.in_flight()), 0);
        turned
    }

    /// Hands over what arrived, and turns until nothing is left.
    fn drain(&mut self, tx: &mut impl TxHalf) {
        self.kernel.retire();
        while self.turn(tx) {}
    }

    /// Ends a run as a worker does.
    fn finish(mut self, tx: &mut impl TxHalf) -> (EngineCounters, Vec<Vec<u8>>) {
        let withdrawn = tx.withdraw();
        settle(tx, &mut self.state.counters);
        self.state.counters.drops.add(DropReason::Unsent, withdrawn);
        assert_eq!((self.state.counters.unexplained(0), tx.in_flight()), (0, 0));
        let sent = std::mem::take(&mut self.wire.borrow_mut().sent);
        let counters = self.state.counters;
        assert_eq!(counters.forwarded, sent.len() as u64, "as the other side counts");
        let bytes: usize = sent.iter().map(Vec::len).sum();
        assert_eq!(counters.forwarded_bytes, bytes as u64);
        (counters, sent)
    }
}

/// One of every kind that is answered, and some that are not.
fn some_of_everything(number: usize) -> Known {
    let text = format!("frame number {number} of some");
    let text = text.as_bytes();
    let letters = VlanTag { tpid: 0x8100, tci: u16::from_be_bytes(*b"ab") };
    match number % 7 {
        0 => Known::raw(&[], text),
        1 => Known::raw(&[], text).tagged(Some(VlanTag::customer(number as u16, 0))),
        2 => Known::raw(&[letters], text).tagged(Some(VlanTag::service(9, 0))),
        3 => Known::udp_v4(&[], 2, text).padded(5),
        4 => Known::udp_v6(&[letters], 1, text).tagged(Some(letters)),
        5 => Known::raw(&[], text).with(0, &[0xff; 6]),
        _ => Known::of_type(0x0806, text),
    }
}

fn answers_to(frames: &[Known]) -> Vec<Vec<u8>> {
    let answered = frames.iter().filter(|known| known.bytes.starts_with(&OURS));
    let answered = answered.filter(|known| known.bytes[12..14] != [0x08, 0x06]);
    answered.map(|known| known.answer(OURS, Transform::Uppercase)).collect()
}

/// Whether `part` is `whole` with some left out.
fn is_in_order(part: &[Vec<u8>], whole: &[Vec<u8>]) -> bool {
    let mut rest: VecDeque<_> = whole.iter().collect();
    part.iter().all(|one| {
        while let Some(next) = rest.pop_front() {
            if next == one {
                return true;
            }
        }
        false
    })
}

/// Runs a test body with each pair of halves, each on a bench of its own. `$room` is how many answers
/// the TX half holds while the kernel takes none.
macro_rules! with_each_pair {
    ($when_full:expr, $frames_per_refusal:expr, |$bench:ident, $half:ident, $room:ident| $body:expr) => {{
        macro_rules! with {
            ($kernel:ty, $tx:ty, $make:expr, $held:expr) => {{
                let mut $bench = Bench::<$kernel>::new($when_full, $frames_per_refusal);
                let mut $half: $tx = $make(&mut $bench);
                let $room: usize = $held;
                $body
            }};
        }
        macro_rules! with_each_tx {
            ($kernel:ty) => {{
                with!(
                    $kernel,
                    RingTx,
                    |bench: &mut Bench<_>| RingTx::make(&bench.wire),
                    RingTx::ROOM
                );
                with!(
                    $kernel,
                    UmemTx,
                    |bench: &mut Bench<_>| UmemTx::make(&bench.wire),
                    UmemTx::ROOM
                );
                with!(
                    $kernel,
                    MmsgTx,
                    |bench: &mut Bench<_>| MmsgTx::make(&bench.wire),
                    MmsgTx::ROOM
                );
                with!(
                    $kernel,
                    SendTx,
                    |bench: &mut Bench<_>| SendTx::make(&bench.wire),
                    SendTx::ROOM
                );
            }};
        }
        with_each_tx!(FakeRxV3);
        with_each_tx!(FakeRxV2);
        with_each_tx!(XskKernel);
        let forward = |bench: &mut Bench<XskKernel>| bench.kernel.take_forward();
        with!(XskKernel, TxForward<UmemSocket>, forward, BATCH);
    }};
}

#[test]
fn all_halves_send_the_same_bytes_which_are_the_plain_ones() {
    let frames: Vec<Known> = (0..210).map(some_of_everything).collect();
    let expected = answers_to(&frames);
    assert_eq!(expected.len(), 150);
    // More answers a batch than there is room: each has to kick in the middle of one.
    with_each_pair!(WhenFull::Drop, FREELY, |bench, half, _room| {
        for batch in frames.chunks(21) {
            batch.iter().for_each(|known| bench.deliver(known));
            bench.drain(&mut half);
        }
        let latency = bench.state.latency.take().unwrap();
        let (counters, sent) = bench.finish(&mut half);
        assert_eq!(sent, expected);
        assert_eq!(counters.received, 210);
        assert_eq!(counters.drops[DropReason::Broadcast], 30);
        assert_eq!(counters.drops[DropReason::EtherType], 30);
        assert_eq!(latency.count(), 150, "one for each answer");
    });
}

#[test]
fn padding_behind_a_stripped_tag_is_no_part_of_the_answer() {
    let tag = Some(VlanTag::customer(100, 0));
    let probe = |bytes: usize| {
        let mut payload = vec![0; bytes - 14];
        Probe::new(1, bytes as u64).write(&mut payload).unwrap();
        Known::raw(&[], &payload).tagged(tag)
    };
    let frames: Vec<Known> = (56..=61).map(probe).collect();
    let datagrams = (14..=19).map(|bytes| Known::udp_v4(&[], 0, &vec![b'x'; bytes]).tagged(tag));
    let frames: Vec<Known> = frames.into_iter().chain(datagrams).collect();
    let expected = answers_to(&frames);
    assert_eq!(expected.iter().map(Vec::len).collect::<Vec<_>>()[..6], [60, 61, 62, 63, 64, 65]);
    with_each_pair!(WhenFull::Drop, FREELY, |bench, half, _room| {
        frames.iter().for_each(|known| bench.deliver_padded(known));
        bench.drain(&mut half);
        assert_eq!(bench.finish(&mut half).1, expected);
    });
}

#[test]
fn sending_out_of_the_receive_ring_copies_nothing() {
    let mut bench = Bench::<FakeRxV3>::new(WhenFull::Drop, FREELY);
    let mut half = MmsgTx::make(&bench.wire);
    let frames: Vec<Known> = (0..ROOM).map(|n| some_of_everything(n % 5)).collect();
    frames.iter().for_each(|known| bench.deliver(known));
    bench.kernel.retire();
    let mut block = bench.rx.lend().unwrap().unwrap();
    let lent: Vec<_> = block
        .frames()
        .zip(&frames)
        .map(|(frame, known)| {
            let frame = frame.unwrap();
            let start = frame.bytes().as_ptr().addr();
            let growth = if known.meta.tag.is_some() { 4 } else { 0 };
            start - growth..start + frame.bytes().len()
        })
        .collect();
    // Forgotten, the block is lent again, to the turn.
    forget(block);
    assert!(bench.turn(&mut half));
    assert_eq!(bench.wire.borrow().addresses, lent);
}

#[test]
fn a_full_half_drops_by_name_and_flows_again_when_there_is_room() {
    let frames: Vec<Known> = (0..40).map(|n| Known::raw(&[], format!("n{n}").as_bytes())).collect();
    let all = answers_to(&frames);
    with_each_pair!(WhenFull::Drop, 0, |bench, half, room| {
        frames[..20].iter().for_each(|known| bench.deliver(known));
        bench.drain(&mut half);
        let counters = bench.state.counters;
        assert_eq!((counters.forwarded, counters.received), (0, 20));
        assert_eq!(counters.drops[DropReason::TxFull], 20u64.saturating_sub(room as u64));
        // What was put stays queued, or is given up with the block that it lives in.
        let held = half.in_flight() + counters.drops[DropReason::Unsent];
        assert_eq!(held, room.min(20) as u64);
        let kept = half.in_flight() as usize;
        assert_eq!(bench.clock.slept(), Duration::ZERO);

        bench.wire.borrow_mut().open(FREELY);
        frames[20..].iter().for_each(|known| bench.deliver(known));
        bench.drain(&mut half);
        let latency = bench.state.latency.take().unwrap();
        assert_eq!(latency.count() as usize, kept + 20, "none for those that were given up");
        let (counters, sent) = bench.finish(&mut half);
        assert_eq!(counters.forwarded as usize, kept + 20);
        assert!(is_in_order(&sent, &all));
    });
}

#[test]
fn a_slow_half_loses_nothing_when_there_is_time_to_wait() {
    let frames: Vec<Known> = (0..84).map(some_of_everything).collect();
    let expected = answers_to(&frames);
    with_each_pair!(WhenFull::Wait(Duration::from_secs(5)), 3, |bench, half, _room| {
        for batch in frames.chunks(21) {
            batch.iter().for_each(|known| bench.deliver(known));
            bench.drain(&mut half);
        }
        let refusals = bench.wire.borrow().refusals;
        assert!((expected.len() / 3 - 1..=expected.len() / 3).contains(&refusals), "{refusals}");
        let (counters, sent) = bench.finish(&mut half);
        assert_eq!(sent, expected);
        assert_eq!(counters.drops[DropReason::TxFull] + counters.drops[DropReason::Unsent], 0);
    });
}

#[test]
fn patience_has_an_end_and_one_batch_has_only_one() {
    let frames: Vec<Known> = (0..20).map(|n| Known::raw(&[], format!("n{n}").as_bytes())).collect();
    let patience = Duration::from_millis(5);
    with_each_pair!(WhenFull::Wait(patience), 0, |bench, half, room| {
        frames.iter().for_each(|known| bench.deliver(known));
        bench.kernel.retire();
        let mut batches = 0;
        while bench.turn(&mut half) {
            batches += 1;
        }
        let slept = bench.clock.slept();
        assert!(slept >= patience && slept <= patience * batches + Duration::from_millis(1));
        let (counters, sent) = bench.finish(&mut half);
        assert_eq!(sent.len(), 0);
        assert_eq!(counters.drops[DropReason::TxFull], 20u64.saturating_sub(room as u64));
        assert_eq!(counters.drops[DropReason::Unsent], room.min(20) as u64);
    });
}

#[test]
fn a_block_whose_answers_wait_in_it_is_held_and_no_other() {
    let mut bench = Bench::<FakeRxV3>::new(WhenFull::Wait(Duration::from_secs(1)), 0);
    let mut half = MmsgTx::make(&bench.wire);
    let frames: Vec<Known> = (0..ROOM).map(|n| Known::raw(&[], &[b'a' + n as u8; 400])).collect();
    frames.iter().for_each(|known| bench.deliver(known));
    bench.kernel.retire();
    let kernel = Rc::new(RefCell::new(bench.kernel));
    let (wire, ring) = (Rc::clone(&bench.wire), Rc::clone(&kernel));
    let mut sleeps = 0;
    bench.clock.at_sleep(move || {
        sleeps += 1;
        if sleeps == 3 {
            // The rest of the ring fills up: 15 blocks of two long frames each.
            let other = [0x5a; 1500];
            let taken = (0..40).filter(|_| ring.borrow_mut().deliver(Arrival::of(&other))).count();
            assert_eq!(taken, 30);
            wire.borrow_mut().open(FREELY);
        }
    });
    assert!(turn(&mut bench.rx, &mut half, &mut bench.state, &bench.clock).unwrap().is_some());
    assert_eq!(bench.wire.borrow().sent, answers_to(&frames));
    assert!(kernel.borrow_mut().deliver(Arrival::of(&[0; 60])), "the block went back");
}

#[test]
fn a_refused_slot_costs_its_batch_and_nothing_after_it() {
    let mut bench = Bench::<FakeRxV3>::new(WhenFull::Drop, FREELY);
    let mut half = RingTx::make(&bench.wire);
    bench.wire.borrow_mut().wrong_format_next = true;
    (0..4).for_each(|number| bench.deliver(&Known::raw(&[], &[b'a' + number; 50])));
    bench.drain(&mut half);
    assert_eq!(bench.state.counters.drops[DropReason::Unsent], 4);
    for number in 4..20 {
        bench.deliver(&Known::raw(&[], &[b'a' + number; 50]));
        bench.drain(&mut half);
    }
    let (counters, sent) = bench.finish(&mut half);
    assert_eq!((counters.forwarded, sent.len()), (16, 16));
}

/// Frames of a call after the one that the kernel refuses go out all the same.
fn one_too_long_among_others<T: MakeTx>() {
    let mut bench = Bench::<FakeRxV3>::new(WhenFull::Drop, FREELY);
    let mut half = T::make(&bench.wire);
    bench.wire.borrow_mut().bytes_max = Some(100);
    for payload in [50, 60, 90, 70, 95, 20] {
        bench.deliver(&Known::raw(&[], &vec![b'a'; payload]));
    }
    bench.drain(&mut half);
    let (counters, sent) = bench.finish(&mut half);
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [64, 74, 84, 34]);
    assert_eq!((counters.drops[DropReason::Refused], counters.forwarded), (2, 4));
    assert_eq!(counters.send_refusals, 0);
}

#[test]
fn a_frame_that_the_kernel_never_takes_holds_up_no_other() {
    one_too_long_among_others::<MmsgTx>();
    one_too_long_among_others::<SendTx>();
}

#[test]
fn a_call_that_takes_a_part_is_gone_on_with_where_it_stopped() {
    let mut bench = Bench::<FakeRxV3>::new(WhenFull::Wait(Duration::from_secs(1)), 3);
    let mut half = MmsgTx::make(&bench.wire);
    let frames: Vec<Known> = (0..7).map(|n| Known::raw(&[], &[b'a' + n; 50])).collect();
    frames.iter().for_each(|known| bench.deliver(known));
    bench.drain(&mut half);
    // 3 taken, a refusal, 3 taken, a refusal, 1 taken.
    assert_eq!(bench.wire.borrow().calls, 5);
    let (counters, sent) = bench.finish(&mut half);
    assert_eq!((sent, counters.send_refusals), (answers_to(&frames), 2));
}

#[test]
fn an_error_of_a_kick_is_not_waited_for_and_an_old_outage_is_passed() {
    let known = Known::raw(&[], b"text");
    let when_full = WhenFull::Wait(Duration::from_secs(1));
    with_each_pair!(when_full, FREELY, |bench, half, _room| {
        bench.wire.borrow_mut().errors = vec![ENETDOWN, ENETDOWN];
        bench.deliver(&known);
        bench.drain(&mut half);
        let counters = bench.state.counters;
        assert_eq!((counters.forwarded, counters.send_refusals), (0, 1));
        assert_eq!(bench.clock.slept(), Duration::ZERO);
        // What stayed queued goes with the next batch; what was given up does not.
        let kept = half.in_flight();
        assert_eq!(kept + counters.drops[DropReason::Unsent], 1);
        bench.wire.borrow_mut().errors.clear();
        bench.deliver(&known);
        bench.drain(&mut half);
        assert_eq!(bench.finish(&mut half).0.forwarded, kept + 1);
    });
    // Packet sockets report an outage once after its end: the second try shows that it is over.
    let mut bench = Bench::<FakeRxV3>::new(when_full, FREELY);
    let mut half = RingTx::make(&bench.wire);
    bench.wire.borrow_mut().errors = vec![ENETDOWN];
    bench.deliver(&known);
    bench.drain(&mut half);
    let (counters, sent) = bench.finish(&mut half);
    assert_eq!((sent.len(), counters.send_refusals), (1, 0));
}

#[test]
fn an_answer_longer_than_a_slot_is_dropped_by_name_after_the_mtu_was_raised() {
    let mut bench = Bench::<FakeRxV3>::new(WhenFull::Drop, FREELY);
    let mut half = RingTx::make(&bench.wire);
    bench.state.rules.mtu = 3000;
    half.set_mtu(3000);
    let capacity = half.answer_bytes_max();
    for payload in [capacity - 14, capacity - 13, 3000] {
        bench.deliver(&Known::raw(&[], &vec![b'x'; payload]));
        bench.drain(&mut half);
    }
    let (counters, sent) = bench.finish(&mut half);
    assert_eq!((sent.len(), sent[0].len()), (1, capacity));
    assert_eq!(counters.drops[DropReason::TooLong], 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn whatever_the_wire_does_every_frame_is_accounted_for(
        rounds in vec((0usize..25, prop_oneof![0usize..6, Just(FREELY)]), 1..12),
        wait in any::<bool>(),
    ) {
        let patience = Duration::from_micros(150);
        let when_full = if wait { WhenFull::Wait(patience) } else { WhenFull::Drop };
        let total: usize = rounds.iter().map(|(frames, _)| frames).sum();
        let frames: Vec<Known> = (0..total).map(some_of_everything).collect();
        let expected = answers_to(&frames);
        with_each_pair!(when_full, 0, |bench, half, _room| {
            let mut rest = &frames[..];
            for &(count, frames_per_refusal) in &rounds {
                bench.wire.borrow_mut().open(frames_per_refusal);
                let (batch, later) = rest.split_at(count);
                rest = later;
                batch.iter().for_each(|known| bench.deliver(known));
                bench.drain(&mut half);
            }
            let (counters, sent) = bench.finish(&mut half);
            assert_eq!(counters.received as usize, total);
            assert!(is_in_order(&sent, &expected));
            let lost = counters.drops[DropReason::TxFull] + counters.drops[DropReason::Unsent];
            assert_eq!(sent.len() + lost as usize, expected.len());
        });
    }
}
