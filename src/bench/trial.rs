//! One contestant's turn: an engine of its own, put under one load after the other.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::compare::observation::{LIGHT_PPS, LoadKind, Observation, WINDOW_FRAMES};
use super::scale;
use super::testbed::Testbed;
use super::trial_plan::{QUIET, SETTLE, TrialPlan, drain_frames};
use crate::engine::config::EngineConfig;
use crate::engine::pool::Engine;
use crate::error::Result;
use crate::load::pace::Pattern;
use crate::load::plan::{Limits, LoadSpec};
use crate::load::rate::Rate;
use crate::load::run::{Drive, Load, LoadOutcome};
use crate::load::tx::TxChoice;
use crate::stats::counters::EngineCounters;
use crate::stats::latency::Latency;
use crate::sys::clock;

/// What a trial found.
#[derive(Debug, Default)]
pub struct Trial {
    /// One for each load, in the plan's order.
    pub observations: Vec<Observation>,
    /// What the engine did in all of them, the warm-up included.
    pub engine: EngineCounters,
    /// The engine's own latencies.
    pub engine_latency: Option<Latency>,
}

impl Trial {
    /// What was found under `load`.
    pub fn of(&self, load: LoadKind) -> Option<&Observation> {
        self.observations.iter().find(|observation| observation.load == load)
    }
}

/// Frames that warm caches, page tables and the frequency governor before anything counts.
const WARM_UP: Duration = Duration::from_millis(50);
/// A load ends when no echo has come for this time, or after [`EMPTIED`]. An engine with frames never
/// pauses for as long.
const SILENCE: Duration = Duration::from_millis(50);
/// Longer than the slowest engine needs for what it holds at the end of a flood.
const EMPTIED: Duration = Duration::from_secs(1);
/// Starts and stops each engine that the plan's loads need: what fails here fails in every trial.
/// Returns what the contestant comes to.
pub fn check(testbed: &Testbed, plan: &TrialPlan) -> Result<EngineConfig> {
    let config = plan.engine_config(testbed, &[plan.cpus.1])?;
    if plan.loads.iter().any(|load| *load != LoadKind::Scale) {
        Engine::start(&config)?.stop();
    }
    if plan.loads.contains(&LoadKind::Scale) {
        Engine::start(&scale::engine_config(testbed, plan)?)?.stop();
    }
    Ok(config)
}

/// Runs one trial. The calling thread must be in the generator's network namespace, and is pinned to
/// the generator's CPU.
pub fn run(testbed: &Testbed, plan: &TrialPlan) -> Result<Trial> {
    let (alone, of_two): (Vec<LoadKind>, Vec<LoadKind>) =
        plan.loads.iter().partition(|load| **load != LoadKind::Scale);
    let mut trial = Trial::default();
    if !alone.is_empty() {
        let config = plan.engine_config(testbed, &[plan.cpus.1])?;
        let engine = Engine::start(&config)?;
        let drain_frames = drain_frames(&config, plan.size);
        let mut turn = Turn { testbed, plan, engine, drain_frames, forwarding_pps: 0.0 };
        turn.forwarding_pps = turn.offer(LoadKind::Flood, WARM_UP)?.echoed_pps;
        for load in alone {
            if plan.stop.load(Ordering::Relaxed) {
                break;
            }
            let observation = turn.observe(load)?;
            if load == LoadKind::Flood {
                turn.forwarding_pps = observation.echoed_pps;
            }
            trial.observations.push(observation);
        }
        let summary = plan.account(turn.engine.stop())?;
        (trial.engine, trial.engine_latency) = (summary.counters, summary.latency);
    }
    if !of_two.is_empty() && !plan.stop.load(Ordering::Relaxed) {
        let (observation, summary) = scale::run(testbed, plan)?;
        trial.observations.push(observation);
        trial.engine += &summary.counters;
    }
    Ok(trial)
}

/// An engine under load.
struct Turn<'a> {
    testbed: &'a Testbed,
    plan: &'a TrialPlan,
    engine: Engine,
    /// How many frames it holds while it is paused.
    drain_frames: u64,
    /// What it forwarded at flood, in frames per second.
    forwarding_pps: f64,
}

impl Turn<'_> {
    fn observe(&mut self, load: LoadKind) -> Result<Observation> {
        match load {
            LoadKind::Drain => self.drain(),
            load => self.offer(load, self.plan.duration),
        }
    }

    fn offer(&self, load: LoadKind, duration: Duration) -> Result<Observation> {
        let paced = |rate| Drive::Paced { rate, pattern: Pattern::Constant };
        let drive = match load {
            LoadKind::Ping => Drive::Window(1),
            LoadKind::Window => Drive::Window(WINDOW_FRAMES),
            LoadKind::Light => paced(Rate::frames(LIGHT_PPS)),
            LoadKind::Half => paced(Rate::frames((self.forwarding_pps / 2.0).max(1.0) as u64)),
            LoadKind::Flood | LoadKind::Drain | LoadKind::Scale => paced(Rate::Max),
        };
        let cpu_before_ns = self.engine.cpu_ns();
        let outcome = self.load(drive, duration)?;
        let cpu_ns = self.engine.cpu_ns().saturating_sub(cpu_before_ns);
        Ok(Observation::of_outcome(load, &outcome, cpu_ns))
    }

    fn load(&self, drive: Drive, duration: Duration) -> Result<LoadOutcome> {
        let frames = self.plan.frames(self.testbed);
        let plan = LoadSpec {
            drain: EMPTIED,
            quiet: Some(SILENCE),
            tx: Some(
                self.plan.tx.unwrap_or_else(|| TxChoice::best_on(&self.testbed.generator.link, 1)),
            ),
            cpus: vec![self.plan.cpus.0],
            ..frames.driven(drive, Limits::lasting(duration))
        };
        Load::run(&plan, &self.plan.ring_memory, &mut |_| {}).and_then(LoadOutcome::unbroken)
    }

    /// Fills the paused engine's socket or ring, then has it echo what it holds.
    fn drain(&self) -> Result<Observation> {
        let plan = self.plan.bursts(self.testbed, self.drain_frames, self.plan.cpus.0);
        let mut load = Load::open(&plan, &self.plan.ring_memory)?;
        self.engine.pause();
        let filled = load.fill(self.drain_frames)?;
        clock::sleep(SETTLE);
        let cpu_before_ns = self.engine.cpu_ns();
        self.engine.resume();
        let outcome = filled.collect(QUIET)?;
        let cpu_ns = self.engine.cpu_ns().saturating_sub(cpu_before_ns);
        Ok(Observation::of_outcome(LoadKind::Drain, &outcome, cpu_ns))
    }
}
