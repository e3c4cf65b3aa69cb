//! Searches over real paths: what runs the trials that [`super::search`] asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::burst::{
    BufferTime, BurstConfig, BurstMeasurer, BurstOutcome, BurstResult, buffer_time, longest_burst,
};
use super::goal::{SearchConfig, SearchGoal};
use super::line_rate::LineRate;
use super::loss_curve::{LossCurve, LossCurveConfig, LossPoint, loss_curve};
use super::result::{GoalResult, SearchResult};
use super::run::search;
use super::trial::{Measurer, TrialOutcome, TrialRecord, VoidReason};
use crate::bench::contestant::Contestant;
use crate::bench::own_engine::OwnEngine;
use crate::bench::testbed::Testbed;
use crate::bench::trial_plan::{QUIET, frames_for};
use crate::bench::watch::{OwnTraffic, Watch};
use crate::engine::config::EngineConfig;
use crate::error::{Error, Result};
use crate::load::plan::{Limits, LoadSpec};
use crate::load::rate::Rate;
use crate::load::run::{Load, LoadOutcome};
use crate::load::sizes::Sizes;
use crate::load::tx::TxChoice;
use crate::ring::budget::MemoryBudget;
use crate::stats::counters::KernelCounters;
use crate::stats::latency::LatencySummary;
use crate::sys::clock;

/// What is searched over, beside the search's own parameters.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The path, and how its worker waits.
    pub path: Contestant,
    /// The frames: of one size, or a mix.
    pub sizes: Sizes,
    /// CPUs of the generator and of the engine.
    pub cpus: (usize, usize),
    /// What the generator alone sends into a sink, in frames per second ([`Sinks`]).
    pub sink_pps: f64,
    /// The cap on ring memory.
    pub ring_memory: Arc<MemoryBudget>,
    /// Ends everything early.
    pub stop: Arc<AtomicBool>,
}

impl Subject {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A finished search over one path with one size.
#[derive(Debug)]
pub struct SearchRun {
    /// The path, and how its worker waits.
    pub path: Contestant,
    /// The frames.
    pub sizes: Sizes,
    /// Which repetition of the whole it is, from 1.
    pub repetition: usize,
    /// What the generator alone sends into a sink, in frames per second.
    pub sink_pps: f64,
    /// What was found.
    pub result: SearchResult,
    /// Response times at parts of the found rate.
    pub latencies: Vec<LatencyPoint>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Response times at a part of the found rate.
#[derive(Clone, Debug)]
pub struct LatencyPoint {
    /// The part, in percent.
    pub percent: u32,
    /// The load, in frames per second.
    pub load_pps: f64,
    /// Response times.
    pub latency: LatencySummary,
    /// How the generator spoiled the trial, if it did.
    pub void: Option<VoidReason>,
}

/// A finished loss curve.
#[derive(Debug)]
pub struct CurveRun {
    /// The path, and how its worker waits.
    pub path: Contestant,
    /// The frames.
    pub sizes: Sizes,
    /// What counts as 100 %: what the generator alone sends into a sink, in frames per second.
    pub sink_pps: f64,
    /// The curve.
    pub curve: LossCurve,
}

/// Finished bursts.
#[derive(Debug)]
pub struct BurstRun {
    /// The path, and how its worker waits.
    pub path: Contestant,
    /// The frames.
    pub sizes: Sizes,
    /// What was found.
    pub result: BurstResult,
    /// The throughput that a short search found before, which the buffer time needs.
    pub throughput: Option<GoalResult>,
    /// The rate of the bursts, in frames per second: the wire's where it is known, else that at
    /// which the generator sent them.
    pub burst_pps: Option<f64>,
    /// The buffer that the mean implies; `None` where the throughput is not below the bursts' rate.
    pub buffer: Option<BufferTime>,
}

/// Parts of the found rate, in percent, at which response times are taken (as FD.io CSIT does).
const LATENCY_PERCENTS: [u32; 3] = [10, 50, 90];
/// How long the generator's own ceiling is measured, and how often: other work may take its CPU, and
/// nothing makes it faster than it is, so the best one counts.
const SINK_TRIAL: Duration = Duration::from_millis(200);
const SINK_TRIALS: usize = 3;
/// How long response times are taken at each part of the rate, at most.
const LATENCY_TRIAL: Duration = Duration::from_secs(1);
/// What a trial takes beside its duration: rings made and unmade, warm-up, stragglers.
const TRIAL_OVERHEAD: Duration = Duration::from_millis(200);
/// How long a trial waits for its last echoes.
const DRAIN: Duration = Duration::from_millis(100);
/// A trial in which a larger part of the frames never left says nothing about the device. Frames
/// that only left late do not spoil it: a generator that is kept from its CPU for some milliseconds
/// sends what was due meanwhile as soon as it is back, which no device finds easier.
const UNSENT_MAX: f64 = 0.005;
/// Nor does a trial that took so much longer for its frames than it should. With trials of half a
/// second and more the bounded time after their end, in which late frames still leave, is less.
const SHORTFALL_MAX: f64 = 0.02;
/// Sent before each trial counts, so that it does not begin in a cold cache.
const WARM_UP: Duration = Duration::from_millis(20);

/// What the generator alone sends in a second when nobody answers: its ceiling. Measured once for
/// each size, whatever the path.
#[derive(Debug, Default)]
pub struct Sinks(Vec<(Sizes, f64)>);

impl Sinks {
    /// The ceiling for the subject's sizes, in frames per second; measured if it is not known yet,
    /// in the generator's namespace, with no engine at the other end.
    pub fn pps(&mut self, testbed: &Testbed, subject: &Subject) -> Result<f64> {
        if let Some(&(_, pps)) = self.0.iter().find(|(sizes, _)| *sizes == subject.sizes) {
            return Ok(pps);
        }
        let mut best_pps = 0.0f64;
        for _ in 0..SINK_TRIALS {
            best_pps = best_pps.max(offer(testbed, subject, Rate::Max, SINK_TRIAL)?.achieved_pps());
        }
        if best_pps < 1.0 && !subject.is_stopped() {
            return Err(Error::Run(
                "the generator sent nothing into a sink: is the link up?".into(),
            ));
        }
        self.0.push((subject.sizes.clone(), best_pps));
        Ok(best_pps)
    }
}

/// Searches, in the generator's namespace; `after_trial` is told of each trial.
///
/// The time limit of `config` covers the search and the response times after it.
pub fn run_search(
    testbed: &Testbed,
    subject: &Subject,
    mut config: SearchConfig,
    after_trial: &mut dyn FnMut(&TrialRecord),
) -> Result<SearchRun> {
    let began = Instant::now();
    let longest = config.goals.iter().map(|goal| goal.final_trial_duration).max();
    let latency_trial = LATENCY_TRIAL.min(longest.unwrap_or(LATENCY_TRIAL));
    let latencies_take = (latency_trial + TRIAL_OVERHEAD) * LATENCY_PERCENTS.len() as u32;
    config.max_duration -= latencies_take.min(config.max_duration / 2);
    below_the_sink(&mut config, subject);
    let mut device = Device::open(testbed, subject)?;
    let found = search_and_load(&mut device, &config, latency_trial, after_trial);
    // Why an engine failed is said by its own account.
    device.engine.stop()?;
    let (result, latencies) = found?;
    let elapsed = began.elapsed();
    let Subject { path, sizes, sink_pps, .. } = subject.clone();
    Ok(SearchRun { path, sizes, repetition: 1, sink_pps, result, latencies, elapsed })
}

/// Searches, and then takes response times at parts of the found rate.
fn search_and_load(
    device: &mut Device<'_>,
    config: &SearchConfig,
    latency_trial: Duration,
    after_trial: &mut dyn FnMut(&TrialRecord),
) -> Result<(SearchResult, Vec<LatencyPoint>)> {
    let result = search(device, config, after_trial)?;
    let mut latencies = Vec::new();
    let found = result.goals.first().and_then(|goal| goal.lower_bound_pps);
    for percent in LATENCY_PERCENTS {
        let Some(found) = found.filter(|_| !device.is_stopped()) else { break };
        let load_pps = found * f64::from(percent) / 100.0;
        let TrialOutcome { latency, void, .. } = device.measure(load_pps, latency_trial)?;
        if let Some(latency) = latency.filter(|_| !device.is_stopped()) {
            latencies.push(LatencyPoint { percent, load_pps, latency, void });
        }
    }
    Ok((result, latencies))
}

/// The generator cannot offer more than into a sink.
fn below_the_sink(config: &mut SearchConfig, subject: &Subject) {
    let sink_pps = subject.sink_pps.floor().max(config.min_load_pps);
    config.max_load_pps = config.max_load_pps.min(sink_pps);
}

/// Measures a loss curve up to what the generator alone can send, in the generator's namespace;
/// `after_point` is told of each load.
pub fn run_curve(
    testbed: &Testbed,
    subject: &Subject,
    config: &LossCurveConfig,
    after_point: &mut dyn FnMut(&LossPoint),
) -> Result<CurveRun> {
    let mut device = Device::open(testbed, subject)?;
    let curve = loss_curve(&mut device, config, after_point);
    device.engine.stop()?;
    let curve = curve?;
    let Subject { path, sizes, sink_pps, .. } = subject.clone();
    Ok(CurveRun { path, sizes, sink_pps, curve })
}

/// Searches the longest burst without loss, in the generator's namespace; `after_repetition` is told
/// of each. A short search for the throughput comes before.
pub fn run_burst(
    testbed: &Testbed,
    subject: &Subject,
    config: &BurstConfig,
    pause: Duration,
    line_rate: Option<LineRate>,
    after_repetition: &mut dyn FnMut(u64),
) -> Result<BurstRun> {
    let mut device = Device::open(testbed, subject)?;
    let mut brief = brief_search();
    below_the_sink(&mut brief, subject);
    let most = config.max_frames.min(BURST_FRAMES_MAX);
    let plan =
        LoadSpec { cpus: vec![subject.cpus.0], ..subject_load(testbed, subject).bursts(most) };
    let mut found = || {
        let found = search(&mut device, &brief, &mut |_| {})?;
        let load = Load::open(&plan, &subject.ring_memory)?;
        let mut bursts = Bursts { load, device: &mut device, pause };
        let result = longest_burst(&mut bursts, config, after_repetition)?;
        Ok((found.goals.into_iter().next(), result))
    };
    let found: Result<_> = found();
    device.engine.stop()?;
    let (throughput, result) = found?;
    let mean_bytes = subject.sizes.mean().map_or(0.0, |mean| mean.as_f64());
    let wire_pps = line_rate.map(|line| line.frames_per_second(mean_bytes));
    let burst_pps = wire_pps.or(result.sent_pps);
    let throughput_pps = throughput.as_ref().and_then(|goal| goal.lower_bound_pps);
    let buffer = match (result.mean_frames, burst_pps, throughput_pps) {
        (Some(mean), Some(burst), Some(throughput)) => buffer_time(mean, burst, throughput),
        _ => None,
    };
    let Subject { path, sizes, .. } = subject.clone();
    Ok(BurstRun { path, sizes, result, throughput, burst_pps, buffer })
}

/// A throughput without loss, to two percent, in some seconds: enough to correct a buffer time.
fn brief_search() -> SearchConfig {
    let trial = Duration::from_millis(200);
    SearchConfig {
        goals: vec![SearchGoal {
            initial_trial_duration: trial,
            final_trial_duration: trial,
            duration_sum: 5 * trial,
            width: 0.02,
            ..SearchGoal::default()
        }],
        confirmation: None,
        max_duration: Duration::from_secs(8),
        ..SearchConfig::between(MIN_LOAD_PPS, f64::from(u32::MAX))
    }
}

/// The lowest load that a search tries, in frames per second.
pub const MIN_LOAD_PPS: f64 = 1000.0;

/// The longest burst, in frames: what the generator's ring holds unread.
pub const BURST_FRAMES_MAX: u64 = 20_000;

fn subject_load(testbed: &Testbed, subject: &Subject) -> LoadSpec {
    frames_for(testbed, subject.sizes.clone(), &subject.stop)
}

/// Offers `rate`, and takes what comes back.
fn offer(
    testbed: &Testbed,
    subject: &Subject,
    rate: Rate,
    duration: Duration,
) -> Result<LoadOutcome> {
    let config = subject_load(testbed, subject);
    let plan = LoadSpec {
        warm_up: WARM_UP,
        drain: DRAIN,
        cpus: vec![subject.cpus.0],
        tx: Some(TxChoice::best_on(&testbed.generator.link, 1)),
        ..config.paced(rate, Limits::lasting(duration))
    };
    Load::run(&plan, &subject.ring_memory, &mut |_| {}).and_then(LoadOutcome::unbroken)
}

/// A path under test.
struct Device<'a> {
    testbed: &'a Testbed,
    subject: &'a Subject,
    engine: OwnEngine,
    watch: Watch,
}

impl<'a> Device<'a> {
    fn open(testbed: &'a Testbed, subject: &'a Subject) -> Result<Device<'a>> {
        let config = EngineConfig {
            ring_memory: Arc::clone(&subject.ring_memory),
            ..subject.path.engine_config(testbed, &[subject.cpus.1])?
        };
        let engine = OwnEngine::start(subject.path, &config)?;
        let watch = Watch::open([&testbed.generator, &testbed.engine])?;
        Ok(Device { testbed, subject, engine, watch })
    }

    /// Why a trial with this traffic says nothing about the device; an error if its engine failed.
    fn void(
        &mut self,
        own: OwnTraffic,
        drops: u64,
        other_loads: u64,
        behind: bool,
    ) -> Result<Option<VoidReason>> {
        self.engine.check()?;
        let disturbed = self.watch.void(own)?;
        let drops = (drops > 0).then_some(VoidReason::OwnDrops { frames: drops });
        let other = (other_loads > 0).then_some(VoidReason::OtherLoad { frames: other_loads });
        let behind = behind.then_some(VoidReason::BehindSchedule);
        Ok(disturbed.or(drops).or(other).or(behind))
    }
}

impl Measurer for Device<'_> {
    fn measure(&mut self, load_pps: f64, duration: Duration) -> Result<TrialOutcome> {
        let began = Instant::now();
        let asked = Rate::frames(load_pps.round().max(1.0) as u64);
        self.watch.begin()?;
        let outcome = offer(self.testbed, self.subject, asked, duration)?;
        let unsent = outcome.unsent_late + outcome.unsent_refused;
        let behind = unsent as f64 > UNSENT_MAX * outcome.offered as f64
            || outcome.rate_error().is_some_and(|error| error < -SHORTFALL_MAX);
        let own = OwnTraffic {
            transmitted: outcome.sent + outcome.warm_up.sent,
            received: outcome.kernel.packets,
            under_way: outcome.lost + outcome.warm_up.lost,
        };
        let void = self.void(own, outcome.kernel.drops, outcome.tally.other_loads, behind)?;
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
        self.subject.is_stopped()
    }
}

struct Bursts<'a, 'b> {
    load: Load,
    device: &'b mut Device<'a>,
    /// After each burst, for the device's buffers to drain.
    pause: Duration,
}

impl BurstMeasurer for Bursts<'_, '_> {
    fn send_burst(&mut self, frames: u64) -> Result<BurstOutcome> {
        self.device.watch.begin()?;
        let outcome = self.load.fill(frames)?.collect(QUIET)?;
        clock::sleep(self.pause);
        let LoadOutcome { sent, lost, tally, .. } = outcome;
        let KernelCounters { packets: received, drops, .. } = outcome.kernel;
        let own = OwnTraffic { transmitted: sent, received, under_way: lost };
        let void = self.device.void(own, drops, tally.other_loads, sent < frames)?;
        let sent_pps = Some(outcome.achieved_pps());
        Ok(BurstOutcome { sent, lost: sent - tally.intact, sent_pps, void })
    }

    fn is_stopped(&self) -> bool {
        self.device.is_stopped()
    }
}
