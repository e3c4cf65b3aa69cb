use std::collections::VecDeque;
use std::io;

use super::*;
use crate::load::plan::{Limits, LoadConfig, Mode};
use crate::ring::fake::{Arrival, FakeRxV2, FakeRxV3, FakeTx, Fate};
use crate::ring::geometry::{Geometry, GeometryChoice};
use crate::sys::packet::{Direction, RingVersion};
use crate::wire::ethernet::MacAddress;
use crate::wire::transform::uppercase;

const HERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const THERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

/// The kernel's side of the receive ring.
#[derive(Debug)]
enum FakeRx {
    V2(FakeRxV2),
    V3(FakeRxV3),
}

/// A kernel in memory with an engine behind it that echoes with faults.
#[derive(Debug)]
struct FakeLine {
    transmit: FakeTx,
    receive: FakeRx,
    /// Echoes that were sent and are not delivered yet.
    on_the_way: VecDeque<Vec<u8>>,
    /// Whether echoes wait for the generator to sleep, as with a paused engine.
    paused: bool,
    /// The kernel refuses everything.
    down: bool,
    /// Every so many frames are lost; 0 for none.
    drop_each: u64,
    /// Each kick takes at most so many frames, the rest with ENOBUFS.
    queue: usize,
    seen: u64,
}

impl FakeLine {
    fn deliver(&mut self) {
        let FakeLine { receive, on_the_way, seen, drop_each, .. } = self;
        for frame in on_the_way.drain(..) {
            *seen += 1;
            if *drop_each > 0 && *seen % *drop_each == 0 {
                continue;
            }
            let arrival = Arrival { stamp_ns: *seen, ..Arrival::of(&frame) };
            match receive {
                FakeRx::V2(ring) => drop(ring.deliver(arrival)),
                FakeRx::V3(ring) => drop(ring.deliver(arrival)),
            }
        }
        if let FakeRx::V3(ring) = receive {
            ring.retire();
        }
    }
}

impl Line for FakeLine {
    fn kick(&mut self) -> io::Result<()> {
        if self.down {
            return Err(io::Error::from_raw_os_error(100));
        }
        let mut room = self.queue;
        let sent = self.transmit.send(|_| match room {
            0 => Fate::Busy,
            _ => {
                room -= 1;
                Fate::Complete
            }
        });
        for mut frame in sent {
            frame[..12].rotate_left(6);
            uppercase(&mut frame[14..]);
            self.on_the_way.push_back(frame);
        }
        if !self.paused {
            self.deliver();
        }
        if room == 0 { Err(io::Error::from_raw_os_error(105)) } else { Ok(()) }
    }

    fn wait_readable(&mut self, _: Duration) -> io::Result<bool> {
        self.deliver();
        Ok(true)
    }

    fn take_counters(&mut self) -> io::Result<KernelCounters> {
        let drops = match &mut self.receive {
            FakeRx::V2(ring) => &mut ring.drops,
            FakeRx::V3(ring) => &mut ring.drops,
        };
        Ok(KernelCounters { drops: std::mem::take(drops), ..KernelCounters::default() })
    }
}

fn generator(version: RingVersion) -> Generator<FakeLine> {
    let mut config = LoadConfig::new(1, 1500, HERE, THERE);
    config.quiet = Duration::from_millis(1);
    config.answer_timeout = Duration::from_millis(1);
    config.spin = Duration::ZERO;
    config.pause_max = Duration::from_micros(50);
    let geometry = |direction, blocks| {
        let choice = GeometryChoice { blocks: Some(blocks), ..GeometryChoice::default() };
        Geometry::plan(version, direction, 1500, choice, 4096).unwrap()
    };
    let (transmit, fake_transmit) = FakeTx::pair(&geometry(Direction::Transmit, 2), 1500);
    let receive = geometry(Direction::Receive, 16);
    let (receive, fake_receive) = match version {
        RingVersion::V2 => {
            let (ring, fake) = FakeRxV2::pair(&receive);
            (RxRing::V2(ring), FakeRx::V2(fake))
        }
        RingVersion::V3 => {
            let (ring, fake) = FakeRxV3::pair(&receive);
            (RxRing::V3(ring), FakeRx::V3(fake))
        }
    };
    let line = FakeLine {
        transmit: fake_transmit,
        receive: fake_receive,
        on_the_way: VecDeque::new(),
        paused: false,
        down: false,
        drop_each: 0,
        queue: usize::MAX,
        seen: 0,
    };
    let template = Template::new(&config).unwrap();
    Generator::over(line, receive, transmit, template, &config).unwrap()
}

const VERSIONS: [RingVersion; 2] = [RingVersion::V2, RingVersion::V3];

#[test]
fn every_mode_sends_exactly_its_count_and_gets_it_back() {
    for version in VERSIONS {
        let mut generator = generator(version);
        for mode in [Mode::Flood, Mode::Window(16), Mode::PingPong] {
            let report = generator.run(mode, Limits::frames(1000)).unwrap();
            assert_eq!(report.sent, 1000, "{version:?} {mode:?}");
            assert!(report.is_clean(), "{version:?} {mode:?}: {:?}", report.tally);
            let timed = if mode == Mode::Flood { 0 } else { 1000 };
            assert_eq!(report.rtt.count(), timed, "{version:?} {mode:?}");
            assert!(report.sending_ns > 0 && report.offered_pps() > 0.0);
        }
    }
}

#[test]
fn a_lossy_engine_neither_stops_a_window_nor_the_sums() {
    for version in VERSIONS {
        let mut generator = generator(version);
        generator.line.drop_each = 3;
        for mode in [Mode::Flood, Mode::Window(8), Mode::PingPong] {
            generator.line.seen = 0;
            let report = generator.run(mode, Limits::frames(30)).unwrap();
            assert_eq!((report.sent, report.lost, report.tally.intact), (30, 10, 20), "{mode:?}");
            assert!(!report.is_clean() && report.loss_ratio() > 0.3);
        }
    }
}

#[test]
fn a_full_queue_delays_and_loses_nothing() {
    let mut generator = generator(RingVersion::V3);
    generator.line.queue = 10;
    let report = generator.flood(Limits::frames(1000)).unwrap();
    assert!(report.is_clean() && report.sent == 1000, "{report:?}");
    assert!(report.refusals >= 90, "{}", report.refusals);
}

#[test]
fn what_the_kernel_never_took_was_not_sent() {
    let mut generator = generator(RingVersion::V3);
    generator.line.down = true;
    let report = generator.flood(Limits::lasting(Duration::from_millis(5))).unwrap();
    assert_eq!((report.sent, report.lost, report.tally.returned()), (0, 0, 0));
    assert!(report.unsent > 0 && report.refusals > 0);
    generator.line.down = false;
    assert!(generator.ping_pong(Limits::frames(5)).unwrap().is_clean());
}

#[test]
fn a_burst_is_collected_later_and_a_straggler_is_foreign_to_the_next_run() {
    for version in VERSIONS {
        let mut generator = generator(version);
        generator.line.paused = true;
        assert_eq!(generator.send_burst(500).unwrap(), 500);
        let report = generator.collect(Duration::from_millis(1)).unwrap();
        assert!(report.is_clean() && report.sent == 500, "{:?}", report.tally);
        assert_eq!((report.first_stamp_ns, report.last_stamp_ns), (1, 500));
        assert!((report.arrival_pps() - 1e9).abs() < 1.0);

        assert_eq!(generator.send_burst(3).unwrap(), 3);
        assert_eq!(generator.send_burst(2).unwrap(), 2);
        let report = generator.collect(Duration::from_millis(1)).unwrap();
        assert_eq!((report.tally.other_loads, report.tally.intact, report.lost), (3, 2, 0));
    }
}

#[test]
fn echoes_that_the_generator_cannot_hold_are_its_own_drops() {
    let mut generator = generator(RingVersion::V2);
    generator.line.paused = true;
    // 16 blocks of 128 KiB hold 1024 slots of 2 KiB.
    generator.send_burst(1500).unwrap();
    let report = generator.collect(Duration::from_millis(1)).unwrap();
    assert_eq!((report.tally.intact, report.lost, report.kernel.drops), (1024, 476, 476));
}

#[test]
fn the_stop_flag_and_missing_limits_end_a_run() {
    let mut generator = generator(RingVersion::V3);
    assert_eq!(generator.flood(Limits::default()).unwrap_err().exit_code(), 2);
    assert_eq!(generator.window(0, Limits::frames(1)).unwrap_err().exit_code(), 2);
    generator.stop_flag().store(true, Ordering::Relaxed);
    for mode in [Mode::Flood, Mode::Window(4), Mode::PingPong] {
        let report = generator.run(mode, Limits::lasting(Duration::from_secs(100))).unwrap();
        assert!(report.sent <= 64 && report.is_clean(), "{mode:?} {:?}", report.tally);
    }
}
