//! Two receive halves and three TX halves through the engine's own turn: any two fit together, and
//! every frame is forwarded, dropped by name or in flight.

use std::collections::VecDeque;
use std::mem::forget;
use std::time::{Duration, Instant};

use linerate::engine::edit::Transform;
use linerate::engine::half::TxHalf;
use linerate::engine::storm::StormGuard;
use linerate::engine::turn::{LatencyMode, TurnState, WhenFull, settle, turn};
use linerate::ring::fake::{Arrival, FakeTx};
use linerate::ring::geometry::{Geometry, GeometryChoice};
use linerate::stats::counters::EngineCounters;
use linerate::stats::drops::DropReason;
use linerate::sys::packet::{Direction, RingVersion};
use linerate::wire::ethernet::VlanTag;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::frames::{Known, OURS, rules};
use crate::halves::{FakeHalf, FakeV2, FakeV3, GatherHalf, RingHalf, SharedWire, TokenHalf, Wire};

/// Answers that each TX half holds at once.
const ROOM: usize = 8;
const FREELY: usize = usize::MAX;

fn geometry(version: RingVersion, direction: Direction) -> Geometry {
    let blocks = if direction == Direction::Receive { 16 } else { ROOM / 2 };
    let choice = GeometryChoice {
        block_bytes: Some(4096),
        blocks: Some(blocks),
        frame_bytes: Some(2048),
        ..GeometryChoice::default()
    };
    Geometry::plan(version, direction, 1500, choice, 4096).unwrap()
}

/// A receive half, its kernel, and what a worker keeps.
struct Bench<R: FakeHalf> {
    rx: R,
    kernel: R::Kernel,
    state: TurnState,
    wire: SharedWire,
}

impl<R: FakeHalf> Bench<R> {
    fn new(when_full: WhenFull, frames_per_kick: usize) -> Bench<R> {
        let (rx, kernel) = R::pair(&geometry(R::VERSION, Direction::Receive));
        let mut state = TurnState::new(rules(), when_full, StormGuard::off(), LatencyMode::On);
        state.reserve(64);
        let wire = SharedWire::default();
        *wire.borrow_mut() = Wire { frames_per_kick, ..Wire::default() };
        Bench { rx, kernel, state, wire }
    }

    fn ring(&self) -> RingHalf {
        RingHalf::new(
            FakeTx::pair(&geometry(RingVersion::V3, Direction::Transmit), 1500),
            self.wire.clone(),
        )
    }

    fn gather(&self) -> GatherHalf {
        GatherHalf::new(ROOM, self.wire.clone())
    }

    fn tokens(&self) -> TokenHalf {
        TokenHalf::new(ROOM, 2048, self.wire.clone())
    }

    fn deliver(&mut self, known: &Known) {
        let arrival = Arrival { tag: known.meta.tag, ..Arrival::of(&known.bytes) };
        assert!(R::deliver(&mut self.kernel, arrival), "the receive ring is large enough");
    }

    /// One turn, and the law after it.
    fn turn(&mut self, tx: &mut impl TxHalf) -> bool {
        let turned = turn(&mut self.rx, tx, &mut self.state).unwrap().is_some();
        assert_eq!(self.state.counters.unexplained(tx.in_flight()), 0);
        turned
    }

    /// Hands over the block, and turns until nothing is left.
    fn drain(&mut self, tx: &mut impl TxHalf) {
        R::retire(&mut self.kernel);
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

/// Runs a test body with each pair of halves, each on a bench of its own.
macro_rules! with_each_half {
    ($when_full:expr, $frames_per_kick:expr, |$bench:ident, $half:ident| $body:expr) => {{
        with_each_half!(FakeV3, $when_full, $frames_per_kick, |$bench, $half| $body);
        with_each_half!(FakeV2, $when_full, $frames_per_kick, |$bench, $half| $body);
    }};
    ($rx:ty, $when_full:expr, $frames_per_kick:expr, |$bench:ident, $half:ident| $body:expr) => {{
        let one = |mut $bench: Bench<$rx>, make: fn(&Bench<$rx>) -> RingHalf| {
            let mut $half = make(&$bench);
            $body
        };
        one(Bench::new($when_full, $frames_per_kick), Bench::ring);
        let two = |mut $bench: Bench<$rx>, make: fn(&Bench<$rx>) -> GatherHalf| {
            let mut $half = make(&$bench);
            $body
        };
        two(Bench::new($when_full, $frames_per_kick), Bench::gather);
        let three = |mut $bench: Bench<$rx>, make: fn(&Bench<$rx>) -> TokenHalf| {
            let mut $half = make(&$bench);
            $body
        };
        three(Bench::new($when_full, $frames_per_kick), Bench::tokens);
    }};
}

#[test]
fn all_halves_send_the_same_bytes_which_are_the_plain_ones() {
    let frames: Vec<Known> = (0..210).map(some_of_everything).collect();
    let expected = answers_to(&frames);
    assert_eq!(expected.len(), 150);
    // More answers a batch than there is room: each has to kick in the middle of one.
    with_each_half!(WhenFull::Drop, FREELY, |bench, half| {
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
fn sending_out_of_the_receive_ring_copies_nothing() {
    let mut bench = Bench::<FakeV3>::new(WhenFull::Drop, FREELY);
    let mut half = bench.gather();
    let frames: Vec<Known> = (0..ROOM).map(|n| some_of_everything(n % 5)).collect();
    frames.iter().for_each(|known| bench.deliver(known));
    bench.kernel.retire();
    let mut block = bench.rx.ring.lend().unwrap();
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
    with_each_half!(WhenFull::Drop, 0, |bench, half| {
        frames[..20].iter().for_each(|known| bench.deliver(known));
        bench.drain(&mut half);
        let counters = bench.state.counters;
        assert_eq!((counters.forwarded, counters.received), (0, 20));
        assert_eq!(counters.drops[DropReason::TxFull], 20 - ROOM as u64);
        // What was put stays queued, or is given up with the block that it lives in.
        let held = half.in_flight() + counters.drops[DropReason::Unsent];
        assert_eq!(held, ROOM as u64);
        let kept = half.in_flight() as usize;

        bench.wire.borrow_mut().frames_per_kick = FREELY;
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
    with_each_half!(WhenFull::Wait(Duration::from_secs(5)), 3, |bench, half| {
        for batch in frames.chunks(21) {
            batch.iter().for_each(|known| bench.deliver(known));
            bench.drain(&mut half);
        }
        let kicks = bench.wire.borrow().kicks;
        assert!(kicks >= expected.len() / 3);
        let (counters, sent) = bench.finish(&mut half);
        assert_eq!(sent, expected);
        assert_eq!(counters.drops[DropReason::TxFull] + counters.drops[DropReason::Unsent], 0);
        assert!(counters.send_refusals > 0);
    });
}

#[test]
fn patience_has_an_end_and_one_batch_has_only_one() {
    let frames: Vec<Known> = (0..20).map(|n| Known::raw(&[], format!("n{n}").as_bytes())).collect();
    with_each_half!(WhenFull::Wait(Duration::from_millis(5)), 0, |bench, half| {
        frames.iter().for_each(|known| bench.deliver(known));
        let start = Instant::now();
        bench.drain(&mut half);
        // 100 pauses of 50 us, not 12 times as many.
        assert!(bench.wire.borrow().kicks < 100 + 2 * frames.len());
        assert!(start.elapsed() < Duration::from_secs(2));
        let (counters, sent) = bench.finish(&mut half);
        assert_eq!(sent.len(), 0);
        assert_eq!(counters.drops[DropReason::TxFull], 20 - ROOM as u64);
        assert_eq!(counters.drops[DropReason::Unsent], ROOM as u64);
    });
}

#[test]
fn a_refused_slot_costs_its_batch_and_nothing_after_it() {
    let mut bench = Bench::<FakeV3>::new(WhenFull::Drop, FREELY);
    let mut half = bench.ring();
    half.refuse_next = true;
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

#[test]
fn an_answer_longer_than_a_slot_is_dropped_by_name_after_the_mtu_was_raised() {
    let mut bench = Bench::<FakeV3>::new(WhenFull::Drop, FREELY);
    let mut half = bench.ring();
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
        with_each_half!(when_full, 0, |bench, half| {
            let mut rest = &frames[..];
            for &(count, frames_per_kick) in &rounds {
                bench.wire.borrow_mut().frames_per_kick = frames_per_kick;
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
