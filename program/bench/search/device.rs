//! A path under test: what it is made of, and how it is put under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::goal::SearchConfig;
use super::trial::{Measurer, TrialOutcome, VoidReason};
use crate::bench::account::{Account, Taken};
use crate::bench::contestant::Contestant;
use crate::bench::own_engine::OwnEngine;
use crate::bench::testbed::Testbed;
use crate::bench::watch::{OwnTraffic, Watch};
use crate::engine::config::EngineConfig;
use crate::error::{Error, Result};
use crate::load::plan::{Limits, LoadSpec};
use crate::load::rate::{FrameRate, Rate};
use crate::load::run::{Load, LoadOutcome};
use crate::load::sizes::Sizes;
use crate::load::tx::TxChoice;
use crate::ring::budget::MemoryBudget;

/// What is searched over, beside the search's own parameters.
#[derive(Clone, Debug, Serialize)]
pub struct Subject {
    /// The path, and how its worker waits.
    pub path: Contestant,
    /// The frames: of one size, or a mix.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// CPUs of the generator and of the engine.
    #[serde(skip)]
    pub cpus: (usize, usize),
    /// What the generator alone sends into a sink, in frames per second ([`Sinks`]).
    #[serde(rename = "generator_into_sink_pps")]
    pub sink_pps: f64,
    /// The cap on ring memory.
    #[serde(skip)]
    pub ring_memory: Arc<MemoryBudget>,
    /// Ends everything early.
    #[serde(skip)]
    pub stop: Arc<AtomicBool>,
}

impl Subject {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Limits a search to what the generator can offer: no more than into a sink.
    pub(super) fn limit(&self, config: &mut SearchConfig) {
        let sink_pps = self.sink_pps.floor().max(config.min_load_pps);
        config.max_load_pps = config.max_load_pps.min(sink_pps);
    }

    /// Its frames, without a schedule and for ever.
    pub(super) fn load(&self, testbed: &Testbed) -> LoadSpec {
        LoadSpec { cpus: vec![self.cpus.0], ..testbed.frames(self.sizes.clone(), &self.stop) }
    }

    /// Offers `rate` for `duration`, and takes what comes back.
    fn offer(&self, testbed: &Testbed, rate: Rate, duration: Duration) -> Result<LoadOutcome> {
        let plan = LoadSpec {
            warm_up: WARM_UP,
            drain: DRAIN,
            tx: Some(TxChoice::best_on(&testbed.generator.link, 1)),
            ..self.load(testbed).paced(rate, Limits::lasting(duration))
        };
        Load::run(&plan, &self.ring_memory, &mut |_| {}).and_then(LoadOutcome::unbroken)
    }
}

/// How long the generator's own ceiling is measured, and how often: other work may take its CPU, and
/// nothing makes it faster than it is, so the best one counts.
const SINK_TRIAL: Duration = Duration::from_millis(200);
const SINK_TRIALS: usize = 3;
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
        testbed.wait_for_carrier()?;
        let mut best_pps = 0.0f64;
        for _ in 0..SINK_TRIALS {
            let outcome = subject.offer(testbed, Rate::Max, SINK_TRIAL)?;
            best_pps = best_pps.max(outcome.achieved_pps().unwrap_or(0.0));
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

/// A path under test.
pub(super) struct Device<'a> {
    /// Where it is.
    pub testbed: &'a Testbed,
    /// What it is made of.
    pub subject: &'a Subject,
    engine: OwnEngine,
    watch: Watch,
    account: Account,
}

impl<'a> Device<'a> {
    /// Does `work` over a path of its own, whose engine is started before it and ended behind it.
    pub fn serve<T>(
        testbed: &'a Testbed,
        subject: &'a Subject,
        work: impl FnOnce(&mut Device<'a>) -> Result<T>,
    ) -> Result<T> {
        let mut device = Device::open(testbed, subject)?;
        let done = work(&mut device);
        // Why an engine failed is said by its own account.
        device.engine.stop()?;
        done
    }

    fn open(testbed: &'a Testbed, subject: &'a Subject) -> Result<Device<'a>> {
        let config = EngineConfig {
            ring_memory: Arc::clone(&subject.ring_memory),
            ..subject.path.engine_config(testbed, &[subject.cpus.1])?
        };
        let engine = OwnEngine::start(subject.path, &config)?;
        testbed.wait_for_carrier()?;
        let watch = Watch::open([&testbed.generator, &testbed.engine])?;
        let account = Account::open(engine.threads());
        Ok(Device { testbed, subject, engine, watch, account })
    }

    /// A load begins: what disturbed it before does not count.
    pub fn begin(&mut self) -> Result<()> {
        self.account.begin();
        self.watch.begin()
    }

    /// What was taken of the CPUs since the load that came to `outcome` began, and why it says nothing
    /// about the device, `behind` saying whether its generator was; an error if the engine failed.
    pub fn judge(
        &mut self,
        outcome: &LoadOutcome,
        behind: bool,
    ) -> Result<(Taken, Option<VoidReason>)> {
        let taken = self.account.read(&outcome.threads);
        self.engine.check()?;
        let disturbed = self.watch.void(OwnTraffic::of(outcome))?;
        // What went well did so in spite of what was taken.
        let shortfall = -outcome.rate_error().unwrap_or(0.0) * outcome.offered as f64;
        let missing = (outcome.offered - outcome.tally.intact).max(shortfall as u64);
        let went_wrong = outcome.tally.intact < outcome.sent || behind;
        let pps = outcome.asked.map(FrameRate::as_f64).or(outcome.achieved_pps()).unwrap_or(0.0);
        let robbed = (went_wrong && taken.explains(missing, pps))
            .then(|| VoidReason::Disturbed(taken.disturbance()));
        let (drops, other_loads) = (outcome.kernel.drops, outcome.tally.other_loads);
        let drops = (drops > 0).then_some(VoidReason::OwnDrops { frames: drops });
        let other = (other_loads > 0).then_some(VoidReason::OtherLoad { frames: other_loads });
        let behind = behind.then_some(VoidReason::BehindSchedule);
        Ok((taken, disturbed.or(robbed).or(drops).or(other).or(behind)))
    }
}

impl Measurer for Device<'_> {
    fn measure(&mut self, load_pps: f64, duration: Duration) -> Result<TrialOutcome> {
        let began = Instant::now();
        let asked = Rate::frames(load_pps.round().max(1.0) as u64);
        self.begin()?;
        let outcome = self.subject.offer(self.testbed, asked, duration)?;
        let unsent = outcome.unsent_late + outcome.unsent_refused;
        let behind = unsent as f64 > UNSENT_MAX * outcome.offered as f64
            || outcome.rate_error().is_some_and(|error| error < -SHORTFALL_MAX);
        let (taken, void) = self.judge(&outcome, behind)?;
        Ok(TrialOutcome {
            intended_pps: load_pps,
            achieved_pps: outcome.achieved_pps().unwrap_or(0.0),
            sent: outcome.sent,
            lost: outcome.sent - outcome.tally.intact,
            duration: began.elapsed(),
            void,
            latency: Some(outcome.latencies.response.summary()),
            taken,
        })
    }

    fn is_stopped(&self) -> bool {
        self.subject.is_stopped()
    }
}
