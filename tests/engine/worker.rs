//! The worker's loop over fake kernels, with a clock and a place to sleep of the test's own.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use linerate::engine::control::Control;
use linerate::engine::turn::{LatencyMode, TurnState, WhenFull};
use linerate::engine::wait::{Wait, Waiting};
use linerate::engine::worker::{Reporter, Snapshot, WorkerReport, run};
use linerate::ring::fake::{Arrival, FakeRxV2, FakeRxV3};
use linerate::ring::outlet::Outlet;
use linerate::ring::tx::TxRing;
use linerate::stats::drops::DropReason;
use linerate::sys::clock::Clock;
use linerate::sys::epoll::{Sleeper, Woken};

use crate::clock::FakeClock;
use crate::frames::{Known, OURS, no_storm_guard, rules};
use crate::kernel::{
    BATCH, EINVAL, ENETDOWN, FREELY, MakeTx, ROOM, RxKernel, RxRingSocket, SharedWire,
    TxRingSocket, v2, wire,
};

type RingTx = Outlet<TxRing, TxRingSocket>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Wait(Duration),
    Leave,
    Join,
}

/// What a worker did with its epoll set.
type Calls = Rc<RefCell<Vec<Call>>>;

/// A place to sleep: `at_wait` is what happens meanwhile, given which sleep it is.
struct Script<F> {
    calls: Calls,
    at_wait: RefCell<F>,
}

impl<F: FnMut(usize) -> Woken> Sleeper for Script<F> {
    fn wait(&self, timeout: Duration) -> io::Result<Woken> {
        let waits = |call: &&Call| matches!(call, Call::Wait(_));
        let number = self.calls.borrow().iter().filter(waits).count();
        self.calls.borrow_mut().push(Call::Wait(timeout));
        Ok((self.at_wait.borrow_mut())(number))
    }

    fn leave(&self) -> io::Result<()> {
        self.calls.borrow_mut().push(Call::Leave);
        Ok(())
    }

    fn join(&self) -> io::Result<()> {
        self.calls.borrow_mut().push(Call::Join);
        Ok(())
    }
}

/// The clock of a worker, which the test holds too.
#[derive(Clone, Debug, Default)]
struct SharedClock(Rc<FakeClock>);

impl Clock for SharedClock {
    fn realtime_ns(&self) -> u64 {
        self.0.realtime_ns()
    }

    fn monotonic_ns(&self) -> u64 {
        self.0.monotonic_ns()
    }

    fn sleep(&self, duration: Duration) {
        self.0.sleep(duration);
    }
}

fn state(when_full: WhenFull) -> TurnState {
    TurnState::new(rules(), when_full, no_storm_guard(), LatencyMode::Off)
}

/// A reporter, and where its snapshots arrive.
fn reporter(interval: Duration) -> (Reporter, Receiver<Snapshot>) {
    let (snapshots, received) = bounded(64);
    let (_, empty) = bounded(1);
    (Reporter { worker: 0, interval, snapshots, empty, spare: None }, received)
}

const NEVER: Duration = Duration::from_secs(1 << 20);

fn control() -> Control {
    Control::new(1500, OURS, None)
}

/// A worker on a V2 ring and a TX ring, in the hands of a test.
struct Bench {
    kernel: Rc<RefCell<FakeRxV2>>,
    socket: RxRingSocket,
    rx: Option<<FakeRxV2 as RxKernel>::Half>,
    wire: SharedWire,
    clock: SharedClock,
    calls: Calls,
    control: Rc<Control>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with_batch(BATCH)
    }

    fn with_batch(frames: usize) -> Bench {
        let wire = wire(FREELY);
        let (rx, socket, kernel) = v2(frames);
        Bench {
            kernel: Rc::new(RefCell::new(kernel)),
            socket,
            rx: Some(rx),
            wire,
            clock: SharedClock::default(),
            calls: Calls::default(),
            control: Rc::new(control()),
        }
    }

    fn run(
        &mut self,
        wait: Wait,
        when_full: WhenFull,
        at_wait: impl FnMut(usize) -> Woken,
    ) -> WorkerReport {
        let script = Script { calls: Rc::clone(&self.calls), at_wait: RefCell::new(at_wait) };
        let waiting = Waiting::new(script, self.clock.clone(), wait);
        let (rx, tx) = (self.rx.take().unwrap(), RingTx::make(&self.wire));
        run(rx, tx, state(when_full), waiting, &self.control, &mut reporter(NEVER).0)
    }

    fn waits(&self) -> Vec<Duration> {
        let calls = self.calls.borrow();
        calls
            .iter()
            .filter_map(|call| match call {
                Call::Wait(longest) => Some(*longest),
                _ => None,
            })
            .collect()
    }
}

fn deliver(kernel: &RefCell<FakeRxV2>, frames: usize) {
    let known = Known::raw(&[], b"some text");
    (0..frames).for_each(|_| assert!(kernel.borrow_mut().deliver(Arrival::of(&known.bytes))));
}

fn readable() -> Woken {
    Woken { readable: true, ..Woken::default() }
}

#[test]
fn a_worker_answers_what_arrives_and_ends_when_it_is_told_to() {
    let mut bench = Bench::new();
    let (kernel, control) = (Rc::clone(&bench.kernel), Rc::clone(&bench.control));
    let report = bench.run(Wait::Epoll, WhenFull::Drop, |number| {
        match number {
            0..3 => deliver(&kernel, 5),
            _ => control.stop(),
        }
        readable()
    });
    assert!(report.error.is_none());
    assert_eq!((report.counters.received, report.counters.forwarded), (15, 15));
    assert_eq!((report.counters.wakeups, bench.wire.borrow().sent.len()), (4, 15));
    assert_eq!(bench.socket.reads.get(), 1, "the last read of the statistics");
    // Nothing was queued, so each sleep could be long, and none ended spinning.
    assert_eq!(bench.waits(), [Duration::from_millis(500); 4]);
    assert_eq!(bench.calls.borrow().len(), 4);
}

#[test]
fn a_frame_limit_ends_the_worker() {
    let mut bench = Bench::new();
    bench.control = Rc::new(Control::new(1500, OURS, Some(7)));
    let kernel = Rc::clone(&bench.kernel);
    let report = bench.run(Wait::Epoll, WhenFull::Drop, |_| {
        deliver(&kernel, 5);
        readable()
    });
    assert_eq!((report.counters.received, report.counters.forwarded), (10, 10));
}

#[test]
fn spinning_ends_after_its_time_and_the_set_is_joined_before_the_sleep() {
    // The second batch shows that leaving the set pays.
    let mut bench = Bench::with_batch(1);
    let (kernel, control) = (Rc::clone(&bench.kernel), Rc::clone(&bench.control));
    bench.clock.0.step_ns.set(1_000);
    let spin = Duration::from_micros(50);
    let report = bench.run(Wait::Adaptive(spin), WhenFull::Drop, |number| {
        match number {
            0 => deliver(&kernel, 3),
            _ => control.stop(),
        }
        readable()
    });
    assert_eq!(
        (report.counters.forwarded, report.counters.batches, report.counters.rejoins),
        (3, 3, 1)
    );
    let longest = Duration::from_millis(500);
    let expected = [Call::Wait(longest), Call::Leave, Call::Join, Call::Wait(longest)];
    assert_eq!(*bench.calls.borrow(), expected);
}

#[test]
fn a_worker_that_spins_never_sleeps_and_keeps_house_all_the_same() {
    let mut bench = Bench::new();
    bench.clock.0.step_ns.set(10_000);
    deliver(&bench.kernel, 3);
    bench.control = Rc::new(Control::new(1500, OURS, Some(3)));
    bench.socket.error.set(Some(ENETDOWN));
    let report = bench.run(Wait::Spin, WhenFull::Drop, |_| unreachable!("it never sleeps"));
    assert_eq!((report.counters.forwarded, report.counters.wakeups), (3, 0));
    assert_eq!(*bench.calls.borrow(), [Call::Leave]);
}

#[test]
fn errors_of_the_socket_are_counted_and_end_nothing() {
    let mut bench = Bench::new();
    let (kernel, control, socket) =
        (Rc::clone(&bench.kernel), Rc::clone(&bench.control), bench.socket.clone());
    let report = bench.run(Wait::Epoll, WhenFull::Drop, |number| {
        match number {
            0 => {
                socket.error.set(Some(ENETDOWN));
                return Woken { error: true, ..Woken::default() };
            }
            1 => deliver(&kernel, 1),
            _ => control.stop(),
        }
        readable()
    });
    assert!(report.error.is_none());
    assert_eq!((report.counters.link_errors, report.counters.forwarded), (1, 1));
}

#[test]
fn a_socket_that_fails_ends_the_worker_with_its_error_and_its_counts() {
    let wire = wire(FREELY);
    let (rx, socket, mut kernel) = v2(BATCH);
    let known = Known::raw(&[], b"some text");
    let clock = SharedClock::default();
    let (control, time, reads) = (control(), clock.clone(), socket.clone());
    let script = Script {
        calls: Calls::default(),
        at_wait: RefCell::new(|_| {
            assert!(kernel.deliver(Arrival::of(&known.bytes)));
            time.0.pass(Duration::from_secs(2));
            reads.next_read.set(Some(EINVAL));
            readable()
        }),
    };
    let waiting = Waiting::new(script, clock, Wait::Epoll);
    let (mut reporter, _snapshots) = reporter(Duration::from_secs(1));
    let state = state(WhenFull::Drop);
    let report = run(rx, RingTx::make(&wire), state, waiting, &control, &mut reporter);
    assert_eq!(report.error.unwrap().raw_os_error(), Some(EINVAL));
    assert_eq!((report.counters.received, report.counters.forwarded), (1, 1));
}

#[test]
fn a_snapshot_is_offered_each_interval_and_one_that_finds_no_room_is_not_waited_for() {
    let wire = wire(FREELY);
    let (rx, _, mut kernel) = v2(BATCH);
    let known = Known::raw(&[], b"some text");
    let clock = SharedClock::default();
    let (control, time) = (control(), clock.clone());
    let stop = &control;
    let script = Script {
        calls: Calls::default(),
        at_wait: RefCell::new(|number| {
            assert!(kernel.deliver(Arrival::of(&known.bytes)));
            time.0.pass(Duration::from_millis(500));
            if number == 199 {
                stop.stop();
            }
            readable()
        }),
    };
    let waiting = Waiting::new(script, clock, Wait::Epoll);
    let (mut reporter, snapshots) = reporter(Duration::from_secs(1));
    let state = state(WhenFull::Drop);
    let report = run(rx, RingTx::make(&wire), state, waiting, &control, &mut reporter);
    assert_eq!(report.counters.forwarded, 200);
    let received: Vec<u64> = snapshots.try_iter().map(|one| one.counters.received).collect();
    assert_eq!(received, (1..=64).map(|second| 2 * second).collect::<Vec<u64>>());
}

#[test]
fn while_the_kernel_takes_nothing_sleeps_grow_and_when_it_does_again_all_goes_out() {
    let mut bench = Bench::new();
    bench.wire.borrow_mut().open(0);
    let (kernel, control) = (Rc::clone(&bench.kernel), Rc::clone(&bench.control));
    let open = Rc::clone(&bench.wire);
    let report = bench.run(Wait::Epoll, WhenFull::Drop, |number| {
        match number {
            0 => deliver(&kernel, ROOM),
            1..=9 => {}
            10 => open.borrow_mut().open(FREELY),
            _ => control.stop(),
        }
        Woken::default()
    });
    assert_eq!((report.counters.forwarded, report.counters.drops.total()), (ROOM as u64, 0));
    let waits: Vec<u128> = bench.waits().iter().map(Duration::as_millis).collect();
    assert_eq!(waits, [500, 1, 2, 4, 8, 16, 32, 64, 64, 64, 64, 500]);
    assert_eq!(bench.clock.0.slept(), Duration::ZERO, "nothing is left to flush");
}

#[test]
fn what_the_kernel_has_not_taken_a_while_after_the_end_is_unsent() {
    for when_full in [WhenFull::Drop, WhenFull::Wait(Duration::from_millis(10))] {
        let mut bench = Bench::new();
        bench.wire.borrow_mut().open(0);
        let (kernel, control) = (Rc::clone(&bench.kernel), Rc::clone(&bench.control));
        let report = bench.run(Wait::Epoll, when_full, |number| {
            match number {
                0 => deliver(&kernel, ROOM + 4),
                _ => control.stop(),
            }
            readable()
        });
        let drops = report.counters.drops;
        assert_eq!((drops[DropReason::TxFull], drops[DropReason::Unsent]), (4, ROOM as u64));
        assert_eq!(report.counters.forwarded, 0);
        let patience = match when_full {
            WhenFull::Drop => Duration::ZERO,
            WhenFull::Wait(patience) => patience,
        };
        assert_eq!(bench.clock.0.slept(), patience + Duration::from_millis(100));
    }
}

#[test]
fn a_change_of_mtu_and_address_is_followed() {
    let mut bench = Bench::new();
    let (kernel, control) = (Rc::clone(&bench.kernel), Rc::clone(&bench.control));
    let other = [2, 7, 7, 7, 7, 7];
    let report = bench.run(Wait::Epoll, WhenFull::Drop, |number| {
        match number {
            0 => deliver(&kernel, 1),
            1 => {
                control.set_mac(other);
                deliver(&kernel, 1);
            }
            2 => {
                control.set_mtu(10);
                let known = Known::raw(&[], b"longer than that").with(0, &other);
                assert!(kernel.borrow_mut().deliver(Arrival::of(&known.bytes)));
            }
            _ => control.stop(),
        }
        readable()
    });
    let drops = report.counters.drops;
    assert_eq!(report.counters.forwarded, 1);
    assert_eq!((drops[DropReason::OtherHost], drops[DropReason::Oversize]), (1, 1));
}

#[test]
fn a_paused_worker_takes_nothing_until_it_may_go_on() {
    let control = control();
    let (slept, over) = (AtomicU32::new(0), AtomicBool::new(false));
    let report = thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let wire = wire(FREELY);
            let (rx, mut kernel) = FakeRxV3::make(&wire);
            let known = Known::raw(&[], b"some text");
            let script = Script {
                calls: Calls::default(),
                at_wait: RefCell::new(|_| {
                    thread::sleep(Duration::from_millis(1));
                    slept.fetch_add(1, Ordering::SeqCst);
                    assert!(kernel.deliver(Arrival::of(&known.bytes)));
                    kernel.retire();
                    readable()
                }),
            };
            let waiting = Waiting::new(script, SharedClock::default(), Wait::Epoll);
            let (mut reporter, _snapshots) = reporter(NEVER);
            let tx = RingTx::make(&wire);
            let report = run(rx, tx, state(WhenFull::Drop), waiting, &control, &mut reporter);
            over.store(true, Ordering::SeqCst);
            report
        });
        let deadline = Instant::now() + Duration::from_secs(30);
        let reaches = |count: u32| {
            while slept.load(Ordering::SeqCst) < count && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            assert!(slept.load(Ordering::SeqCst) >= count, "the worker does not go on");
        };
        reaches(3);
        control.pause(1);
        let before = slept.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(30));
        assert_eq!(slept.load(Ordering::SeqCst), before, "it is parked");
        control.resume();
        reaches(before + 3);
        // Also a worker that is parked ends when it is stopped.
        control.pause(1);
        assert!(!over.load(Ordering::SeqCst));
        control.stop();
        worker.join().unwrap()
    });
    assert!(report.error.is_none());
    assert_eq!(report.counters.received, report.counters.forwarded);
    assert!(report.counters.forwarded >= 6);
}
