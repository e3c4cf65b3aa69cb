//! A contestant's seat: its testbed, its engine, and what loads it, a short while in each round.

use std::time::{Duration, Instant};

use super::device::Device;
use super::observation::{LIGHT_PPS, LoadKind, Observation, WINDOW_FRAMES};
use super::plan::{ComparePlan, SETTLE, batch_frames, drain_frames};
use super::result::{Round, SeatSummary};
use super::scale;
use crate::bench::account::{Account, Taken};
use crate::bench::contestant::Contestant;
use crate::bench::own_engine::failure;
use crate::bench::search::trial::VoidReason;
use crate::bench::testbed::{QUIET, Testbed};
use crate::bench::watch::{OwnTraffic, Watch};
use crate::engine::config::EngineConfig;
use crate::engine::names::RxName;
use crate::engine::pool::EngineSummary;
use crate::error::{Error, Result};
use crate::load::choice::TxChoice;
use crate::load::pace::Pattern;
use crate::load::plan::{Limits, LoadSpec};
use crate::load::rate::Rate;
use crate::load::run::{Drive, Load};
use crate::load::trace::TraceSpec;
use crate::stats::counters::EngineCounters;
use crate::stats::latency::Latency;
use crate::sys::clock;
use crate::units::FrameSize;
use crate::wire::probe::Expectation;

/// How long somebody else's program may take until it answers, and how long it is asked each time.
const READY: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);
/// A load ends when no echo has come for this time, or after [`EMPTIED`]. An engine with frames never
/// pauses for as long.
const SILENCE: Duration = Duration::from_millis(50);
/// Longer than the slowest engine needs for what it holds at the end of a flood.
const EMPTIED: Duration = Duration::from_secs(1);
/// The generator's receive ring, of 128 KiB blocks: a flood's echoes while its CPU is taken for 5 ms.
const FLOOD_BLOCKS: usize = 64;
/// The same where a few frames are in flight.
const WINDOW_BLOCKS: usize = 4;
/// Arrivals that are kept of one load: half a second at a million a second.
const ARRIVALS_MAX: usize = 1 << 19;

/// A contestant's seat.
pub(super) struct Seat {
    pub contestant: Contestant,
    pub config: EngineConfig,
    testbed: Testbed,
    /// Alone on a testbed that nobody changes, a seat keeps its engine, parked between its turns.
    is_alone: bool,
    /// Frames that wait in a drain, if somebody else's program answers.
    foreign_drain: Option<u64>,
    engine: Option<Device>,
    load: Option<Load>,
    watch: Watch,
    account: Account,
    /// What the engine forwarded at flood, in frames per second.
    flood_pps: f64,
    counters: EngineCounters,
    latency: Option<Latency>,
}

/// What is measured in a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub size: FrameSize,
    pub load: LoadKind,
}

impl Seat {
    /// Takes the seat: starts the engine and parks it. What fails here would fail in every round.
    pub fn take(
        plan: &ComparePlan,
        contestant: Contestant,
        testbed: &Testbed,
        is_alone: bool,
    ) -> Result<Seat> {
        let config = plan.engine(contestant, testbed, &[plan.cpus.1])?;
        let mut seat = Seat {
            contestant,
            config,
            testbed: testbed.clone(),
            is_alone: is_alone && plan.ab.as_ref().is_none_or(|ab| ab.keeps_engines()),
            foreign_drain: plan
                .ab
                .as_ref()
                .zip(contestant.as_arm())
                .and_then(|(ab, arm)| ab.foreign_drain(arm)),
            engine: None,
            load: None,
            watch: Watch::open([&testbed.generator, &testbed.engine])?,
            account: Account::open(Vec::new()),
            flood_pps: 0.0,
            counters: EngineCounters::default(),
            latency: None,
        };
        seat.open_engine(plan)?;
        if !seat.is_alone {
            seat.close_engine()?;
        }
        Ok(seat)
    }

    /// Makes ready for rounds of `task`.
    pub fn prepare(&mut self, plan: &ComparePlan, task: Task) -> Result<()> {
        self.load = None;
        match task.load {
            // It has an engine of its own, with two workers.
            LoadKind::Scale => self.close_engine()?,
            _ if self.is_alone => {
                self.open_engine(plan)?;
                self.open_load(plan, task)?;
            }
            _ => {}
        }
        if task.load == LoadKind::Half && self.flood_pps == 0.0 {
            self.turn(plan, Task { load: LoadKind::Flood, ..task })?;
            self.prepare(plan, task)?;
        }
        Ok(())
    }

    /// A turn of a round. An error ends the comparison.
    pub fn turn(&mut self, plan: &ComparePlan, task: Task) -> Result<Round> {
        if let (Some(ab), Some(arm)) = (&plan.ab, self.contestant.as_arm()) {
            ab.set(arm, &mut self.testbed)?;
        }
        if !self.is_alone {
            // Those of the contestant before on the same link.
            self.watch.settle()?;
        }
        self.watch.begin()?;
        let (observation, taken) = match task.load {
            LoadKind::Scale => {
                let (observation, summary) =
                    scale::run(plan, self.contestant, &self.testbed, task.size)?;
                self.add_up(summary)?;
                // Its workers are on both CPUs, as is the generator: they take them from each other.
                (observation, Taken::default())
            }
            _ => {
                if !self.is_alone {
                    self.open_engine(plan)?;
                    self.open_load(plan, task)?;
                    // What its XDP program did to the link disturbed nothing (XDP-13).
                    self.watch.begin()?;
                }
                self.measure(plan, task)?
            }
        };
        if task.load == LoadKind::Flood {
            self.flood_pps = observation.echoed_pps;
        }
        let own = OwnTraffic {
            transmitted: observation.sent,
            received: observation.received,
            under_way: observation.lost,
        };
        let void = self.watch.void(own)?.or_else(|| observation.void(task.size));
        if !self.is_alone || self.engine.as_ref().is_some_and(Device::has_ended) {
            self.load = None;
            self.close_engine()?;
        }
        Ok(Round { observation, void, taken })
    }

    fn open_engine(&mut self, plan: &ComparePlan) -> Result<()> {
        if self.engine.is_none() {
            let engine = plan.device(self.contestant, &self.testbed, &self.config)?;
            self.testbed.wait_for_carrier()?;
            if self.foreign_drain.is_some() {
                self.wait_for_answer(plan, &engine)?;
            }
            engine.pause()?;
            self.account = Account::open(engine.threads());
            self.engine = Some(engine);
        }
        Ok(())
    }

    /// Nothing else tells when somebody else's program is ready.
    fn wait_for_answer(&self, plan: &ComparePlan, engine: &Device) -> Result<()> {
        engine.resume()?;
        let deadline = Instant::now() + READY;
        let look = Limits::lasting(LOOK);
        let mut spec = self.frames(plan, FrameSize::smallest()).driven(Drive::Window(1), look);
        spec.cpus = vec![plan.cpus.0];
        spec = LoadSpec { quiet: Some(LOOK), drain: LOOK, ..spec };
        let mut load = self.testbed.at_generator(|| Load::open(&spec, &plan.ring_memory))??;
        while load.measure(Drive::Window(1), look)?.tally.intact == 0 {
            let why = match (engine.has_ended(), Instant::now() >= deadline) {
                (true, _) => "ended before it answered".into(),
                (_, true) => format!("answered no frame of EtherType 0x88b5 in {READY:?}"),
                _ => continue,
            };
            return Err(Error::Run(format!("arm {}: its program {why}", self.contestant)));
        }
        Ok(())
    }

    /// Frames of this size from the generator to the engine.
    fn frames(&self, plan: &ComparePlan, size: FrameSize) -> LoadSpec {
        let frames = plan.frames(&self.testbed, size);
        match self.foreign_drain {
            Some(_) => LoadSpec { expectation: Expectation::Any, ..frames },
            None => frames,
        }
    }

    fn drain_frames(&self, size: FrameSize) -> u64 {
        self.foreign_drain.unwrap_or_else(|| drain_frames(&self.config, size))
    }

    fn close_engine(&mut self) -> Result<()> {
        match self.engine.take() {
            Some(engine) => match engine.stop()? {
                Some(summary) => self.add_up(summary),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    fn add_up(&mut self, summary: EngineSummary) -> Result<()> {
        self.counters += &summary.counters;
        match (&mut self.latency, &summary.latency) {
            (Some(sum), Some(more)) => sum.merge(more),
            (sum, more) => *sum = sum.take().or_else(|| more.clone()),
        }
        failure(self.contestant, &summary).map_or(Ok(()), Err)
    }

    fn open_load(&mut self, plan: &ComparePlan, task: Task) -> Result<()> {
        let testbed = &self.testbed;
        let cpu_clocks = self.engine.as_ref().map(Device::cpu_clocks).unwrap_or_default();
        let config = &self.config;
        let (frames, drain) = (self.frames(plan, task.size), self.drain_frames(task.size));
        self.load = Some(testbed.at_generator(|| {
            let mut spec = match task.load {
                LoadKind::Drain => {
                    // An engine with one worker for one queue misses what a hash sends by another: with
                    // `scale`, a testbed has two. An AF_XDP socket sends by the first.
                    let tx = config.path.needs_xdp_program().then_some(TxChoice::Xsk);
                    let mut spec = frames.bursts(drain);
                    // Its echoes are looked at while they come, so their blocks need not wait for long.
                    spec.rx_ring.retire_ms = Some(2);
                    LoadSpec { tx, ..spec }
                }
                load => {
                    let best = || TxChoice::best_on(&testbed.generator.link, 1);
                    let tx = Some(plan.tx.unwrap_or_else(best));
                    let limits = Limits::lasting(plan.duration);
                    let mut spec = frames.driven(drive(load, self.flood_pps), limits);
                    spec.rx_ring.blocks = Some(match load {
                        LoadKind::Flood | LoadKind::Half => FLOOD_BLOCKS,
                        _ => WINDOW_BLOCKS,
                    });
                    LoadSpec { tx, drain: EMPTIED, quiet: Some(SILENCE), ..spec }
                }
            };
            spec.cpus = vec![plan.cpus.0];
            spec.trace =
                TraceSpec { arrivals_max: ARRIVALS_MAX, cpu_clocks, ..TraceSpec::default() };
            Load::open(&spec, &plan.ring_memory)
        })??);
        Ok(())
    }

    fn measure(&mut self, plan: &ComparePlan, task: Task) -> Result<(Observation, Taken)> {
        let drain = self.drain_frames(task.size);
        let (Some(engine), Some(load)) = (&self.engine, &mut self.load) else {
            unreachable!("a turn follows its preparation")
        };
        let cpu_before_ns = engine.cpu_ns();
        let outcome = match task.load {
            LoadKind::Drain => {
                let filled = load.fill(drain)?;
                if self.config.path.rx == RxName::V3 || self.foreign_drain.is_some() {
                    clock::sleep(SETTLE);
                }
                self.account.begin();
                engine.resume()?;
                filled.collect(QUIET)
            }
            kind => {
                self.account.begin();
                engine.resume()?;
                load.measure(drive(kind, self.flood_pps), Limits::lasting(plan.duration))
            }
        };
        let taken = self.account.read(outcome.as_ref().map_or(&[][..], |found| &found.threads));
        engine.pause()?;
        let cpu_ns = engine.cpu_ns().saturating_sub(cpu_before_ns);
        let batch = batch_frames(&self.config, task.size);
        Ok((Observation::of_outcome(task.load, &outcome?, cpu_ns, batch), taken))
    }

    /// Leaves the seat, with the engine's account.
    pub fn leave(mut self) -> (SeatSummary, Result<()>) {
        self.load = None;
        let ended = self.close_engine();
        let summary = SeatSummary {
            contestant: self.contestant,
            path: self.config.path,
            wait: self.config.wait,
            counters: self.counters,
            latency: self.latency.unwrap_or_default(),
        };
        (summary, ended)
    }
}

fn drive(load: LoadKind, flood_pps: f64) -> Drive {
    let paced = |rate| Drive::Paced { rate, pattern: Pattern::Constant };
    match load {
        LoadKind::Ping => Drive::Window(1),
        LoadKind::Window => Drive::Window(WINDOW_FRAMES),
        LoadKind::Light => paced(Rate::frames(LIGHT_PPS)),
        LoadKind::Half => paced(Rate::frames((flood_pps / 2.0).max(1.0) as u64)),
        LoadKind::Flood | LoadKind::Drain | LoadKind::Scale => Drive::FLOOD,
    }
}

/// Why a round is void by what it found itself.
impl Observation {
    fn void(&self, size: FrameSize) -> Option<VoidReason> {
        match self.tally.other_loads {
            0 if self.sent == 0 => Some(VoidReason::BehindSchedule),
            0 if self.tally.intact == 0 => {
                Some(VoidReason::Silence { load: self.load.name(), size, frames: self.sent })
            }
            0 if self.lacks_rate() => Some(VoidReason::NoRate),
            0 => None,
            frames => Some(VoidReason::OtherLoad { frames }),
        }
    }
}
