//! The shipped sender and receiver over a kernel, a device and a clock in memory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use crossbeam_channel::bounded;

use super::job::ns;
use super::sender::SenderPlan;
use super::*;
use crate::load::pace::Pattern;
use crate::load::plan::LoadSpec;
use crate::load::rate::Rate;
use crate::load::rx::{RxRingHalf, RxSocket};
use crate::ring::fake::{Arrival, FakeRxV2, FakeRxV3, FakeTx, Fate};
use crate::ring::geometry::{Geometry, GeometryChoice};
use crate::ring::outlet::Outlet;
use crate::ring::rx_v2::RxRingV2;
use crate::ring::rx_v3::RxRingV3;
use crate::ring::tx::TxRing;
use crate::stats::gaps::GapSums;
use crate::sys::kick::Kick;
use crate::sys::packet::{Direction, RingVersion, SocketStatistics};
use crate::wire::ethernet::MacAddress;
use crate::wire::transform::uppercase;
use sender::Step;

const HERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const THERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
/// The time of the first test's beginning, and what the other clock is ahead.
const BEGIN_NS: u64 = 50 * SECOND;
const REALTIME_AHEAD_NS: u64 = 1_000_000 * SECOND;
/// What a reading of the clock takes.
const READ_NS: u64 = 1000;

const ENOBUFS: i32 = 105;
const ENETDOWN: i32 = 100;

/// The kernel's side of the receive ring.
enum FakeRx {
    V2(FakeRxV2),
    V3(FakeRxV3),
}

/// A clock, a kernel, and behind it a device that echoes.
struct Kernel {
    tx: RefCell<FakeTx>,
    rx: RefCell<FakeRx>,
    now_ns: Cell<u64>,
    /// Echoes that are not delivered yet.
    under_way: RefCell<VecDeque<Vec<u8>>>,
    /// Whether echoes wait until somebody waits for them, as of a device that is paused.
    paused: Cell<bool>,
    /// The device loses one of this many frames; 0 for none.
    lose_each: Cell<u64>,
    echoed: Cell<u64>,
    /// Most frames that a kick takes; the rest is refused.
    queue: Cell<usize>,
    /// From this time on a kick ends with this error and takes nothing.
    error_from: Cell<Option<(u64, i32)>>,
    /// When and for how long the generator has no CPU.
    suspended: Cell<Option<(u64, u64)>>,
    /// At this time, the flag is set.
    stop_at: RefCell<Option<(u64, Arc<std::sync::atomic::AtomicBool>)>>,
    /// What a received frame counts in the socket's statistics, which have 32 bits.
    packets_each: Cell<u64>,
    packets: Cell<u64>,
}

#[derive(Clone)]
struct World(Rc<Kernel>);

impl World {
    /// Time goes on by `ns`, and what was to happen meanwhile does.
    fn pass(&self, ns: u64) -> u64 {
        let kernel = &*self.0;
        let mut now_ns = kernel.now_ns.get() + ns;
        if let Some((at_ns, lasts_ns)) = kernel.suspended.get()
            && now_ns >= at_ns
        {
            kernel.suspended.set(None);
            now_ns += lasts_ns;
        }
        if let Some((at_ns, flag)) = &*kernel.stop_at.borrow()
            && now_ns >= *at_ns
        {
            flag.store(true, Ordering::Relaxed);
        }
        kernel.now_ns.set(now_ns);
        now_ns
    }

    fn deliver(&self) {
        let kernel = &*self.0;
        let stamp_ns = kernel.now_ns.get() + REALTIME_AHEAD_NS;
        let mut rx = kernel.rx.borrow_mut();
        for frame in kernel.under_way.borrow_mut().drain(..) {
            kernel.echoed.set(kernel.echoed.get() + 1);
            let lose_each = kernel.lose_each.get();
            if lose_each > 0 && kernel.echoed.get().is_multiple_of(lose_each) {
                continue;
            }
            kernel.packets.set(kernel.packets.get() + kernel.packets_each.get());
            let arrival =
                Arrival { stamp_ns: stamp_ns + kernel.echoed.get(), ..Arrival::of(&frame) };
            match &mut *rx {
                FakeRx::V2(ring) => drop(ring.deliver(arrival)),
                FakeRx::V3(ring) => drop(ring.deliver(arrival)),
            }
        }
        if let FakeRx::V3(ring) = &mut *rx {
            ring.retire();
        }
    }
}

impl Clock for World {
    fn realtime_ns(&self) -> u64 {
        self.pass(READ_NS) + REALTIME_AHEAD_NS
    }

    fn monotonic_ns(&self) -> u64 {
        self.pass(READ_NS)
    }

    fn sleep(&self, duration: Duration) {
        self.pass(ns(duration));
    }
}

impl Kick for World {
    fn kick(&self) -> io::Result<()> {
        let kernel = &*self.0;
        if let Some((from_ns, errno)) = kernel.error_from.get()
            && kernel.now_ns.get() >= from_ns
        {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let mut room = kernel.queue.get();
        let sent = kernel.tx.borrow_mut().send(|_| match room {
            0 => Fate::Busy,
            _ => {
                room -= 1;
                Fate::Complete
            }
        });
        for mut frame in sent {
            frame[..12].rotate_left(6);
            uppercase(&mut frame[14..]);
            kernel.under_way.borrow_mut().push_back(frame);
        }
        if !kernel.paused.get() {
            self.deliver();
        }
        if room == 0 { Err(io::Error::from_raw_os_error(ENOBUFS)) } else { Ok(()) }
    }
}

impl RxSocket for World {
    fn wait(&self, timeout: Duration) -> io::Result<()> {
        if self.0.under_way.borrow().is_empty() {
            self.pass(ns(timeout));
        }
        self.deliver();
        Ok(())
    }

    fn take_statistics(&self, _: Option<RingVersion>) -> io::Result<SocketStatistics> {
        let drops = match &mut *self.0.rx.borrow_mut() {
            FakeRx::V2(ring) => std::mem::take(&mut ring.drops),
            FakeRx::V3(ring) => std::mem::take(&mut ring.drops),
        };
        let packets = self.0.packets.take() as u32;
        Ok(SocketStatistics { packets, drops: drops as u32, freezes: 0 })
    }
}

enum Rx {
    V2(RxRingHalf<RxRingV2, World>),
    V3(RxRingHalf<RxRingV3, World>),
}

/// The halves of a load and what is behind them.
struct Bench {
    world: World,
    tx: Outlet<TxRing, World>,
    rx: Rx,
}

const VERSIONS: [RingVersion; 2] = [RingVersion::V2, RingVersion::V3];

impl Bench {
    fn new(version: RingVersion) -> Bench {
        let geometry = |direction, blocks| {
            let choice = GeometryChoice { blocks: Some(blocks), ..GeometryChoice::default() };
            Geometry::plan(version, direction, 1500, choice, 4096).unwrap()
        };
        let (tx, fake_tx) = FakeTx::pair(&geometry(Direction::Transmit, 2), 1500);
        let receive = geometry(Direction::Receive, 16);
        let kernel = |rx| {
            World(Rc::new(Kernel {
                tx: RefCell::new(fake_tx),
                rx: RefCell::new(rx),
                now_ns: Cell::new(BEGIN_NS),
                under_way: RefCell::default(),
                paused: Cell::new(false),
                lose_each: Cell::new(0),
                echoed: Cell::new(0),
                queue: Cell::new(usize::MAX),
                error_from: Cell::new(None),
                suspended: Cell::new(None),
                stop_at: RefCell::default(),
                packets_each: Cell::new(1),
                packets: Cell::new(0),
            }))
        };
        let (world, rx) = match version {
            RingVersion::V2 => {
                let (ring, fake) = FakeRxV2::pair(&receive);
                let world = kernel(FakeRx::V2(fake));
                (world.clone(), Rx::V2(RxRingHalf { socket: world, ring }))
            }
            RingVersion::V3 => {
                let (ring, fake) = FakeRxV3::pair(&receive);
                let world = kernel(FakeRx::V3(fake));
                (world.clone(), Rx::V3(RxRingHalf { socket: world, ring }))
            }
        };
        Bench { tx: Outlet::new(tx, world.clone()), world, rx }
    }

    fn now_ns(&self) -> u64 {
        self.world.0.now_ns.get()
    }

    /// Runs `plan` from now on, by turns in this thread.
    fn run(&mut self, spec: &LoadSpec) -> LoadOutcome {
        let plan = &spec.clone().resolve().unwrap();
        let template = Arc::new(Template::new(spec).unwrap());
        let job = Job::new(plan, &template, 1 << 14, self.world.clone());
        // As after the preparations of a real run.
        let start_ns = self.now_ns() + MS / 10;
        // Nobody listens: there are no histograms to send.
        let (reports, _heard) = bounded(1);
        let (_give_back, empty) = bounded(1);
        let reporter = threads::Reporter::new(&job, start_ns, reports, empty);
        let (tx, analyzer) = (&mut self.tx, job.analyzer());
        let received = match &mut self.rx {
            Rx::V2(rx) => threads::by_turns(&job, tx, rx, analyzer, reporter),
            Rx::V3(rx) => threads::by_turns(&job, tx, rx, analyzer, reporter),
        };
        let Received { analyzer, kernel, drained, sender } = received.unwrap();
        let (senders, latencies) = (vec![sender.unwrap()], Latencies::default());
        let worked = Worked { analyzer, senders, latencies, kernel, drained, start_ns };
        job.outcome(worked, Vec::new()).unwrap()
    }

    /// Sends a burst, and collects its echoes after `meanwhile`.
    fn burst(&mut self, frames: u64, meanwhile: impl FnOnce(&mut Bench)) -> LoadOutcome {
        let spec = config().bursts(frames);
        let template = Arc::new(Template::new(&spec).unwrap());
        let plan = spec.resolve().unwrap();
        let job = Job::new(&plan, &template, frames as usize, self.world.clone());
        let start_ns = self.now_ns();
        let sender = threads::send_alone(&job, &mut self.tx, 0, start_ns).unwrap();
        assert_eq!(sender.counts.sent, frames);
        meanwhile(self);
        let quiet = Duration::from_millis(1);
        let Received { analyzer, kernel, drained, .. } = match &mut self.rx {
            Rx::V2(rx) => job.collect(rx, quiet),
            Rx::V3(rx) => job.collect(rx, quiet),
        };
        let (senders, latencies) = (vec![sender], Latencies::default());
        let worked = Worked { analyzer, senders, latencies, kernel, drained, start_ns };
        job.outcome(worked, Vec::new()).unwrap()
    }
}

fn config() -> LoadSpec {
    LoadSpec { answer_timeout: Duration::from_millis(1), ..LoadSpec::new(1, 1500, HERE, THERE) }
}

fn paced(rate: u64) -> Drive {
    Drive::Paced { rate: Rate::frames(rate), pattern: Pattern::Constant }
}

const FLOOD: Drive = Drive::Paced { rate: Rate::Max, pattern: Pattern::Constant };

fn plan(drive: Drive, limits: Limits) -> LoadSpec {
    LoadSpec { quiet: Some(Duration::from_millis(20)), ..config().driven(drive, limits) }
}

fn lasting(ms: u64) -> Limits {
    Limits::lasting(Duration::from_millis(ms))
}

#[test]
fn every_drive_sends_exactly_its_count_and_times_every_echo() {
    for version in VERSIONS {
        let mut bench = Bench::new(version);
        for drive in [FLOOD, Drive::Window(16), Drive::Window(1), paced(10_000)] {
            let outcome = bench.run(&plan(drive, Limits::frames(1000)));
            assert_eq!(outcome.sent, 1000, "{version:?} {drive:?}");
            assert!(outcome.is_clean(), "{version:?} {drive:?}: {:?}", outcome.tally);
            assert_eq!(outcome.latencies.service.count(), 1000, "{version:?} {drive:?}");
            let least_ns = if drive == paced(10_000) { 100 * MS } else { 16 * READ_NS };
            assert!(outcome.span_ns >= least_ns, "{drive:?}: {} ns", outcome.span_ns);
            assert_eq!(outcome.generator_limit(), None, "{drive:?}");
        }
    }
}

#[test]
fn a_schedule_spans_its_time_to_the_nanosecond_and_its_count_to_the_next_frame() {
    let mut bench = Bench::new(RingVersion::V2);
    for limits in [lasting(1000), Limits::frames(1000)] {
        let outcome = bench.run(&plan(paced(1000), limits));
        assert_eq!((outcome.sent, outcome.span_ns), (1000, SECOND), "{limits:?}");
        assert_eq!((outcome.rate_error(), outcome.departures.late), (Some(0.0), 0), "{limits:?}");
        assert!(outcome.departures.lateness.max() < 10_000);
    }
    let both = Limits { count: Some(10), ..lasting(1000) };
    let outcome = bench.run(&plan(paced(1000), both));
    assert_eq!((outcome.sent, outcome.span_ns), (10, 10 * MS));
}

fn at(rate: &str, pattern: Pattern) -> Drive {
    Drive::Paced { rate: rate.parse().unwrap(), pattern }
}

#[test]
fn a_kept_schedule_has_its_rate_whatever_it_is_and_wherever_it_ends() {
    let (even, bursts) = (Pattern::Constant, Pattern::Burst { frames: 100 });
    for (rate, pattern, limits, sent) in [
        ("0.5", even, lasting(3000), 2),
        ("0.5", even, lasting(4000), 2),
        ("0.5", even, Limits::frames(1), 1),
        ("0.25", even, Limits::frames(2), 2),
        ("0.001", even, lasting(10), 1),
        ("1.5", even, Limits::frames(2), 2),
        ("1000", bursts, lasting(250), 300),
        ("1000", bursts, Limits::frames(50), 50),
        ("1000", bursts, Limits::frames(150), 150),
    ] {
        let mut bench = Bench::new(RingVersion::V2);
        // Over before the measurement begins, or long after it would be.
        for warm_up_ms in [0, 1, 5000] {
            let warm_up = Duration::from_millis(warm_up_ms);
            let spec = plan(at(rate, pattern), limits);
            let outcome = bench.run(&LoadSpec { warm_up, ..spec });
            let error = outcome.rate_error().expect("a rate");
            assert_eq!(outcome.sent, sent, "{rate} {limits:?}");
            assert!(error.abs() < 1e-6, "{rate} {limits:?}: {error}, {} ns", outcome.span_ns);
        }
    }
}

#[test]
fn the_span_of_a_few_frames_holds_them() {
    for frames in [1, 2, 3] {
        let mut bench = Bench::new(RingVersion::V2);
        let flood = bench.run(&plan(FLOOD, Limits::frames(frames)));
        assert!(flood.span_ns > 0 && flood.achieved_pps() > Some(0.0), "{}", flood.span_ns);
        // An echo comes when somebody waits for it, after a look of 2 ms.
        bench.world.0.paused.set(true);
        let ping = plan(Drive::Window(1), Limits::frames(frames));
        let ping = bench.run(&LoadSpec { answer_timeout: Duration::from_secs(1), ..ping });
        let most_pps = 1e9 / (2.0 * MS as f64);
        assert!(ping.achieved_pps().unwrap() <= most_pps, "{frames}: {} ns", ping.span_ns);
        assert_eq!(ping.tally.intact, frames);
    }
}

#[test]
fn what_never_began_has_no_rate_and_what_sent_nothing_no_loss() {
    let mut bench = Bench::new(RingVersion::V2);
    let spec = LoadSpec { warm_up: Duration::from_secs(1), ..plan(paced(1000), lasting(1000)) };
    spec.stop.store(true, Ordering::Relaxed);
    let outcome = bench.run(&spec);
    let rates = (outcome.achieved_pps(), outcome.rate_error(), outcome.forwarded_pps());
    assert_eq!((rates, outcome.loss_ratio()), ((None, None, None), None));
    assert!(outcome.nothing_sent().is_some());
    bench.world.0.error_from.set(Some((0, ENETDOWN)));
    let outcome = bench.run(&plan(paced(1000), lasting(100)));
    assert_eq!((outcome.achieved_pps(), outcome.loss_ratio()), (Some(0.0), None));
    assert!(outcome.nothing_sent().is_some_and(|why| why.contains("refused")));
    bench.world.0.error_from.set(None);
    bench.world.0.lose_each.set(1);
    let outcome = bench.run(&plan(paced(1000), lasting(100)));
    assert_eq!(outcome.loss_ratio(), Some(1.0));
    assert!(outcome.is_silence() && outcome.nothing_sent().is_none());
}

#[test]
fn the_warm_up_is_counted_apart_and_ends_in_time() {
    let mut bench = Bench::new(RingVersion::V2);
    let warm_up = Duration::from_millis(100);
    let plan = LoadSpec { warm_up, ..plan(paced(1000), lasting(200)) };
    let outcome = bench.run(&plan);
    assert_eq!((outcome.warm_up.sent, outcome.warm_up.tally.intact), (100, 100));
    assert_eq!((outcome.sent, outcome.tally.intact, outcome.span_ns), (200, 200, 200 * MS));
    assert_eq!(outcome.latencies.service.count(), 200);
    // Of a schedule that cannot be kept, the warm-up leaves nothing behind.
    bench.world.0.queue.set(0);
    bench.world.0.error_from.set(Some((bench.now_ns() + 150 * MS, ENETDOWN)));
    let outcome = bench.run(&plan);
    assert_eq!((outcome.warm_up.sent, outcome.sent, outcome.tally.intact), (0, 0, 0));
}

#[test]
fn losses_stop_neither_a_window_nor_the_sums() {
    for version in VERSIONS {
        let mut bench = Bench::new(version);
        bench.world.0.lose_each.set(3);
        for drive in [FLOOD, Drive::Window(8), Drive::Window(1), paced(10_000)] {
            bench.world.0.echoed.set(0);
            let outcome = bench.run(&plan(drive, Limits::frames(30)));
            let found = (outcome.sent, outcome.lost, outcome.tally.intact);
            assert_eq!(found, (30, 10, 20), "{version:?} {drive:?}");
        }
    }
}

#[test]
fn a_full_queue_delays_and_loses_nothing() {
    let mut bench = Bench::new(RingVersion::V3);
    bench.world.0.queue.set(10);
    let outcome = bench.run(&plan(FLOOD, Limits::frames(1000)));
    assert!(outcome.is_clean() && outcome.sent == 1000, "{:?}", outcome.tally);
    assert!(outcome.departures.refusals >= 90, "{}", outcome.departures.refusals);
}

#[test]
fn what_the_kernel_never_took_was_not_sent() {
    let mut bench = Bench::new(RingVersion::V3);
    bench.world.0.error_from.set(Some((0, ENETDOWN)));
    for limits in [lasting(5), Limits::frames(100)] {
        let begin_ns = bench.now_ns();
        let outcome = bench.run(&plan(FLOOD, limits));
        assert_eq!((outcome.sent, outcome.lost, outcome.tally.returned()), (0, 0, 0));
        assert!(outcome.unsent_refused > 0 && outcome.departures.refusals > 0);
        // Without a time a run ends when the kernel has taken nothing for a second.
        let took_ns = bench.now_ns() - begin_ns;
        let least_ns = if limits.count.is_some() { SECOND } else { 5 * MS };
        assert!((least_ns..least_ns + 100 * MS).contains(&took_ns), "{limits:?}: {took_ns}");
    }
    bench.world.0.error_from.set(None);
    assert!(bench.run(&plan(Drive::Window(1), Limits::frames(5))).is_clean());
}

#[test]
fn a_generator_that_is_kept_from_its_cpu_catches_up_or_says_that_it_was_the_limit() {
    let mut bench = Bench::new(RingVersion::V2);
    let suspend = |bench: &Bench, after_ms: u64, lasts_ms: u64| {
        bench.world.0.suspended.set(Some((bench.now_ns() + after_ms * MS, lasts_ms * MS)));
    };
    suspend(&bench, 500, 50);
    let outcome = bench.run(&plan(paced(1000), lasting(1000)));
    assert_eq!((outcome.sent, outcome.generator_limit()), (1000, None));
    assert!((49..=51).contains(&outcome.departures.late), "{}", outcome.departures.late);
    // The wait counts as response time, though not as service time.
    assert!(outcome.latencies.response.max() > 40 * MS && outcome.latencies.service.max() < MS);
    suspend(&bench, 980, 50);
    let outcome = bench.run(&plan(paced(1000), lasting(1000)));
    assert_eq!(outcome.offered, 1000);
    assert!((15..=25).contains(&outcome.unsent_late), "{}", outcome.unsent_late);
    assert_eq!(outcome.generator_limit(), Some(GeneratorLimit::Busy));
}

#[test]
fn a_loop_that_spins_sees_its_cpu_taken_away_and_one_that_sends_does_not() {
    let mut bench = Bench::new(RingVersion::V2);
    let mut run = |drive| {
        bench.world.0.suspended.set(Some((bench.now_ns() + 100 * MS, 50 * MS)));
        bench.run(&plan(drive, lasting(200)))
    };
    let outcome = run(paced(20_000));
    assert_eq!(outcome.threads.len(), 1);
    let GapSums { total_ns, longest_ns, count } = outcome.threads[0].gaps;
    assert!((50 * MS..51 * MS).contains(&longest_ns), "{longest_ns}");
    assert_eq!((total_ns, count), (longest_ns, 1));
    assert_eq!(run(FLOOD).threads[0].gaps, GapSums::default());
}

#[test]
fn frames_that_the_kernel_refused_make_the_kernel_the_limit() {
    let mut bench = Bench::new(RingVersion::V2);
    bench.world.0.error_from.set(Some((bench.now_ns() + 500 * MS, ENOBUFS)));
    let outcome = bench.run(&plan(paced(100), lasting(1000)));
    assert_eq!((outcome.sent, outcome.unsent_refused, outcome.unsent_late), (50, 50, 0));
    assert_eq!(outcome.generator_limit(), Some(GeneratorLimit::Refused));
}

#[test]
fn an_interface_that_goes_away_leaves_what_was_counted() {
    const ENXIO: i32 = 6;
    let mut bench = Bench::new(RingVersion::V2);
    // What was due while it went is the end of a run, and no limit of the generator.
    bench.world.0.suspended.set(Some((bench.now_ns() + 500 * MS, 20 * MS)));
    bench.world.0.error_from.set(Some((bench.now_ns() + 510 * MS, ENXIO)));
    let outcome = bench.run(&plan(paced(1000), lasting(100_000)));
    assert!(outcome.broken.is_some() && outcome.stopped);
    assert!((498..=500).contains(&outcome.sent), "{}", outcome.sent);
    assert_eq!((outcome.generator_limit(), outcome.unsent_refused > 10), (None, true));
    assert_eq!((outcome.tally.intact, outcome.lost), (outcome.sent, 0));
}

#[test]
fn the_stop_flag_ends_the_sending_and_then_the_drain() {
    for drive in [FLOOD, Drive::Window(4), paced(1000)] {
        let mut bench = Bench::new(RingVersion::V3);
        let plan = plan(drive, lasting(100_000));
        let begin_ns = bench.now_ns();
        let stop = Arc::clone(&plan.stop);
        *bench.world.0.stop_at.borrow_mut() = Some((begin_ns + 10 * MS, stop));
        let outcome = bench.run(&plan);
        assert!(outcome.stopped && outcome.is_clean(), "{drive:?} {:?}", outcome.tally);
        assert!((9 * MS..12 * MS).contains(&outcome.span_ns), "{drive:?} {}", outcome.span_ns);
        if drive == paced(1000) {
            assert_eq!((outcome.sent, outcome.generator_limit()), (10, None));
        }
    }
    // Told after the sending, it does not wait for echoes any more.
    let mut bench = Bench::new(RingVersion::V2);
    bench.world.0.lose_each.set(1);
    let second = Duration::from_secs(1);
    let plan = LoadSpec { drain: second, quiet: None, ..plan(paced(1000), Limits::frames(10)) };
    assert!(bench.run(&plan).drained >= second);
    let stop = Arc::clone(&plan.stop);
    *bench.world.0.stop_at.borrow_mut() = Some((bench.now_ns() + 100 * MS, stop));
    let outcome = bench.run(&plan);
    assert!(!outcome.stopped && outcome.drained < second / 5, "{:?}", outcome.drained);
}

#[test]
fn a_burst_is_collected_later_and_its_stragglers_belong_to_no_other_one() {
    for version in VERSIONS {
        let mut bench = Bench::new(version);
        bench.world.0.paused.set(true);
        let outcome = bench.burst(500, |_| {});
        assert!(outcome.is_clean() && outcome.sent == 500, "{:?}", outcome.tally);
        assert_eq!((outcome.arrival_ns(), outcome.arrival_pps().round()), (499, 1e9));
        // One burst within another: the echoes of the inner one are collected with it.
        let mut inner = None;
        let outcome = bench.burst(3, |bench| inner = Some(bench.burst(2, |_| {})));
        let inner = inner.unwrap();
        assert_eq!((inner.tally.other_loads, inner.tally.intact, inner.lost), (3, 2, 0));
        assert_eq!((outcome.tally.other_loads, outcome.lost), (0, 3));
    }
}

#[test]
fn echoes_that_the_ring_cannot_hold_are_its_own_drops() {
    let mut bench = Bench::new(RingVersion::V2);
    // 16 blocks of 128 KiB hold 1024 slots of 2 KiB.
    let outcome = bench.burst(1500, |_| {});
    assert_eq!((outcome.tally.intact, outcome.lost, outcome.kernel.drops), (1024, 476, 476));
}

#[test]
fn the_sockets_counters_are_read_before_their_32_bits_overflow() {
    let mut bench = Bench::new(RingVersion::V2);
    // 2.7 thousand million packets a second.
    bench.world.0.packets_each.set(1 << 28);
    let outcome = bench.run(&plan(paced(10), lasting(10_000)));
    assert_eq!((outcome.sent, outcome.kernel.packets), (100, 100 << 28));
}

#[test]
fn a_load_ends_when_there_are_no_more_numbers() {
    let mut bench = Bench::new(RingVersion::V2);
    let plan = plan(FLOOD, lasting(1000));
    let template = Arc::new(Template::new(&plan).unwrap());
    let plan = plan.resolve().unwrap();
    let job = Job::new(&plan, &template, 1 << 10, bench.world.clone());
    let start_ns = bench.now_ns();
    let plan = SenderPlan { numbers: 100, ..job.sender_plan(0, start_ns) };
    let mut sender = job.sender(&mut bench.tx, 0, plan);
    while sender.step(bench.world.monotonic_ns()).unwrap() != Step::Done {}
    assert!(bench.world.0.now_ns.get() < start_ns + 100 * MS, "long before its time");
    assert_eq!(sender.finish().counts.sent, 100);
}
