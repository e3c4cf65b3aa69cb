//! Searches over real paths: what runs the trials that [`super::search`] asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::search::burst::{BurstConfig, BurstMeasurer, BurstOutcome, BurstResult, longest_burst};
use super::search::goal::SearchConfig;
use super::search::loss_curve::{LossCurve, LossCurveConfig, LossPoint, loss_curve};
use super::search::result::SearchResult;
use super::search::search;
use super::search::trial::{Measurer, TrialOutcome, TrialRecord, VoidReason};
use super::testbed::Testbed;
use super::trial::{QUIET, frames_for};
use crate::engine::config::{EngineConfig, PathName};
use crate::engine::pool::Engine;
use crate::error::Result;
use crate::load::generator::Generator;
use crate::load::plan::{Limits, LoadConfig};
use crate::load::rate::Rate;
use crate::load::run::{Load, LoadOutcome, LoadPlan};
use crate::ring::budget::MemoryBudget;
use crate::stats::latency::LatencySummary;
use crate::sys::clock;
use crate::units::FrameSize;

/// What is searched over, beside the search's own parameters.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The path.
    pub path: PathName,
    /// The frames.
    pub size: FrameSize,
    /// CPUs of the generator and of the engine.
    pub cpus: (usize, usize),
    /// The cap on ring memory.
    pub ring_memory: Arc<MemoryBudget>,
    /// Ends everything early.
    pub stop: Arc<AtomicBool>,
}

/// A finished search over one path with one size.
#[derive(Debug)]
pub struct SearchRun {
    /// The path.
    pub path: PathName,
    /// The size.
    pub size: FrameSize,
    /// What the generator alone sends into a sink, in frames per second.
    pub sink_pps: f64,
    /// What was found.
    pub result: SearchResult,
    /// Response times at parts of the found rate: percent, load in frames per second, latencies.
    pub latencies: Vec<(u32, f64, LatencySummary)>,
    /// How long it took.
    pub elapsed: Duration,
}

/// A finished loss curve.
#[derive(Debug)]
pub struct CurveRun {
    /// The path.
    pub path: PathName,
    /// The size.
    pub size: FrameSize,
    /// The curve.
    pub curve: LossCurve,
}

/// Finished bursts.
#[derive(Debug)]
pub struct BurstRun {
    /// The path.
    pub path: PathName,
    /// The size.
    pub size: FrameSize,
    /// What was found.
    pub result: BurstResult,
}

/// Parts of the found rate, in percent, at which response times are taken (as FD.io CSIT does).
const LATENCY_PERCENTS: [u32; 3] = [10, 50, 90];
/// How long the generator's own ceiling is measured.
const SINK_TRIAL: Duration = Duration::from_millis(500);
/// How long response times are taken at each part of the rate.
const LATENCY_TRIAL: Duration = Duration::from_secs(1);
/// How long a trial waits for its last echoes.
const DRAIN: Duration = Duration::from_millis(100);
/// A trial in which a larger part of the load was not offered says nothing about the device. As wide
/// as the default goal width: a generator that is kept from its CPU for a few milliseconds of a second
/// does not spoil a trial, whose load is known all the same.
const SHORTFALL_MAX: f64 = 0.005;
/// Sent before each trial counts, so that it does not begin in a cold cache.
const WARM_UP: Duration = Duration::from_millis(20);

/// What the generator sends in a second when nobody answers: its ceiling. In the generator's
/// namespace, with no engine at the other end.
pub fn sink_pps(testbed: &Testbed, subject: &Subject) -> Result<f64> {
    let device = Device { testbed, subject };
    let outcome = device.load(Rate::Max, SINK_TRIAL)?;
    Ok(outcome.achieved_pps())
}

/// Searches, in the generator's namespace; `after_trial` is told of each trial.
pub fn run_search(
    testbed: &Testbed,
    subject: &Subject,
    mut config: SearchConfig,
    after_trial: &mut dyn FnMut(&TrialRecord),
) -> Result<SearchRun> {
    let began = Instant::now();
    let sink_pps = sink_pps(testbed, subject)?;
    config.max_load_pps = config.max_load_pps.min(sink_pps.floor());
    let engine = start_engine(testbed, subject)?;
    let mut device = Device { testbed, subject };
    let result = search(&mut device, &config, after_trial)?;
    let mut latencies = Vec::new();
    let found = result.goals.first().and_then(|goal| goal.lower_bound_pps);
    for percent in LATENCY_PERCENTS {
        let Some(found) = found.filter(|_| !device.is_stopped()) else { break };
        let load_pps = found * f64::from(percent) / 100.0;
        let outcome = device.measure(load_pps, LATENCY_TRIAL)?;
        latencies.extend(outcome.latency.map(|latency| (percent, load_pps, latency)));
    }
    engine.stop();
    let elapsed = began.elapsed();
    let Subject { path, size, .. } = *subject;
    Ok(SearchRun { path, size, sink_pps, result, latencies, elapsed })
}

/// Measures a loss curve up to what the generator alone can send, in the generator's namespace.
pub fn run_curve(
    testbed: &Testbed,
    subject: &Subject,
    step_percent: f64,
    trials: usize,
    trial_duration: Duration,
    after_point: &mut dyn FnMut(&LossPoint),
) -> Result<CurveRun> {
    let sink_pps = sink_pps(testbed, subject)?;
    let engine = start_engine(testbed, subject)?;
    let config = LossCurveConfig {
        first_percent: step_percent,
        step_percent,
        trials,
        trial_duration,
        ..LossCurveConfig::up_to(sink_pps.floor().max(1.0))
    };
    let curve = loss_curve(&mut Device { testbed, subject }, &config, after_point)?;
    engine.stop();
    let Subject { path, size, .. } = *subject;
    Ok(CurveRun { path, size, curve })
}

/// Searches the longest burst without loss, in the generator's namespace.
pub fn run_burst(
    testbed: &Testbed,
    subject: &Subject,
    config: &BurstConfig,
    pause: Duration,
) -> Result<BurstRun> {
    let engine = start_engine(testbed, subject)?;
    let mut load = subject_load(testbed, subject);
    load.hold_unread(config.max_frames.min(BURST_FRAMES_MAX));
    let generator = Generator::open(&load, &subject.ring_memory)?;
    let mut bursts = Bursts { generator, subject, pause };
    let result = longest_burst(&mut bursts, config)?;
    drop(bursts);
    engine.stop();
    let Subject { path, size, .. } = *subject;
    Ok(BurstRun { path, size, result })
}

/// The longest burst that can be asked for: the generator's ring holds so many echoes unread.
pub const BURST_FRAMES_MAX: u64 = 20_000;

fn start_engine(testbed: &Testbed, subject: &Subject) -> Result<Engine> {
    Engine::start(&EngineConfig {
        namespace: Some(testbed.engine.namespace.clone()),
        path: subject.path,
        cpus: vec![subject.cpus.1],
        ring_memory: Arc::clone(&subject.ring_memory),
        force: testbed.force,
        ..EngineConfig::new(&testbed.engine.link.name)
    })
}

fn subject_load(testbed: &Testbed, subject: &Subject) -> LoadConfig {
    frames_for(testbed, subject.size, subject.cpus.0, &subject.stop)
}

/// A path under test.
struct Device<'a> {
    testbed: &'a Testbed,
    subject: &'a Subject,
}

impl Device<'_> {
    fn load(&self, rate: Rate, duration: Duration) -> Result<LoadOutcome> {
        let config = subject_load(self.testbed, self.subject);
        let plan = LoadPlan {
            warm_up: WARM_UP,
            drain: DRAIN,
            cpus: vec![self.subject.cpus.0],
            ..LoadPlan::paced(config, rate, Limits::lasting(duration))
        };
        Load::run(&plan, &self.subject.ring_memory, &mut |_| {})
    }
}

impl Measurer for Device<'_> {
    fn measure(&mut self, load_pps: f64, duration: Duration) -> Result<TrialOutcome> {
        let began = Instant::now();
        let asked = Rate::frames(load_pps.round().max(1.0) as u64);
        let outcome = self.load(asked, duration)?;
        let void = if outcome.kernel.drops > 0 {
            Some(VoidReason::OwnDrops { frames: outcome.kernel.drops })
        } else {
            let short = outcome.rate_error().is_some_and(|error| error < -SHORTFALL_MAX);
            short.then_some(VoidReason::BehindSchedule)
        };
        Ok(TrialOutcome {
            intended_pps: load_pps,
            achieved_pps: outcome.achieved_pps(),
            sent: outcome.sent,
            lost: outcome.sent - outcome.tally.intact,
            duration: began.elapsed(),
            void,
            latency: Some(outcome.latencies.response.summary()),
        })
    }

    fn is_stopped(&self) -> bool {
        self.subject.stop.load(Ordering::Relaxed)
    }
}

struct Bursts<'a> {
    generator: Generator,
    subject: &'a Subject,
    /// After each burst, for the device's buffers to drain.
    pause: Duration,
}

impl BurstMeasurer for Bursts<'_> {
    fn send_burst(&mut self, frames: u64) -> Result<BurstOutcome> {
        let sent = self.generator.send_burst(frames)?;
        let report = self.generator.collect(QUIET)?;
        clock::sleep(self.pause);
        let own_drops = report.kernel.drops;
        let void = if own_drops > 0 {
            Some(VoidReason::OwnDrops { frames: own_drops })
        } else {
            (sent < frames).then_some(VoidReason::BehindSchedule)
        };
        Ok(BurstOutcome { sent, lost: sent - report.tally.intact, void })
    }

    fn is_stopped(&self) -> bool {
        self.subject.stop.load(Ordering::Relaxed)
    }
}
