//! How a comparison is asked for and run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::observation::{LoadKind, Observation};
use super::result::{Comparison, ContestantResult, Excluded, Round};
use crate::bench::contestant::Contestant;
use crate::bench::scale;
use crate::bench::search::trial::VoidReason;
use crate::bench::testbed::Testbed;
use crate::bench::trial::{self, Trial};
use crate::bench::trial_plan::TrialPlan;
use crate::bench::watch::{OwnTraffic, Watch};
use crate::engine::config::PathName;
use crate::engine::turn::LatencyMode;
use crate::engine::wait::Wait;
use crate::error::{Error, Result};
use crate::load::tx::TxChoice;
use crate::ring::budget::MemoryBudget;
use crate::units::FrameSize;

/// What is compared.
#[derive(Clone, Debug)]
pub struct CompareConfig {
    /// Who takes part, in the order of the tables.
    pub contestants: Vec<Contestant>,
    /// The frame sizes.
    pub sizes: Vec<FrameSize>,
    /// The loads of a trial, in the order of [`LoadKind`].
    pub loads: Vec<LoadKind>,
    /// Trials for each contestant and size.
    pub trials: usize,
    /// How long each load of a trial lasts that has no end of its own.
    pub duration: Duration,
    /// The generator's TX half; `None` for the best.
    pub tx: Option<TxChoice>,
    /// CPUs of the generator and of the engine.
    pub cpus: (usize, usize),
    /// Of which frames engines keep the latency.
    pub latency: LatencyMode,
    /// The cap on ring memory, for generators and engines together.
    pub ring_memory: Arc<MemoryBudget>,
    /// Set it from another thread to end early, with what there is.
    pub stop: Arc<AtomicBool>,
}

/// What is about to happen, for a progress bar.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Trials done so far.
    pub done: usize,
    /// Trials in all.
    pub total: usize,
    /// Whose turn it is.
    pub contestant: Contestant,
    /// The size.
    pub size: FrameSize,
}

/// Runs a comparison; `progress` is called before each trial.
///
/// Those that cannot run here are left out, with the reason; if nobody can, the first one's error is
/// the result.
pub fn run(
    testbed: &Testbed,
    config: &CompareConfig,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<Comparison> {
    if config.loads.contains(&LoadKind::Scale) {
        scale::check(testbed, config.cpus)?;
    }
    // The generator is a thread of its own in its own namespace; this one only waits for it.
    testbed.generator.namespace.run(|| take_turns(testbed, config, progress))?
}

fn take_turns(
    testbed: &Testbed,
    config: &CompareConfig,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<Comparison> {
    let (able, excluded) = who_can_run(testbed, config)?;
    let mut watch = Watch::open([&testbed.engine, &testbed.generator])?;
    let total = config.sizes.len() * able.len() * config.trials;
    let loads = config.loads.clone();
    let mut comparison =
        Comparison { results: Vec::new(), loads, excluded, interrupted: false, broken: None };
    let mut done = 0;
    for &size in &config.sizes {
        let mut results: Vec<ContestantResult> = able
            .iter()
            .map(|&(contestant, path, wait)| ContestantResult {
                contestant,
                path,
                wait,
                size,
                rounds: Vec::new(),
            })
            .collect();
        'rounds: for round in 0..config.trials {
            // Each round begins with another one, so that none always follows the same one.
            for turn in 0..able.len() {
                let index = (round + turn) % able.len();
                let contestant = results[index].contestant;
                progress(Step { done, total, contestant, size });
                let plan = plan(config, contestant, size);
                // If the very first trial sees no echo, none will.
                let is_first = done == 0;
                let turn = match take_turn(testbed, &plan, &mut watch, is_first) {
                    Err(error) if !is_first => {
                        comparison.broken = Some(error);
                        None
                    }
                    turn => turn?,
                };
                let Some(turn) = turn else {
                    // A trial cut short says nothing; those before it stand.
                    comparison.interrupted = true;
                    break 'rounds;
                };
                results[index].rounds.push(turn);
                done += 1;
            }
        }
        results.retain(|result| !result.rounds.is_empty());
        comparison.results.extend(results);
        if comparison.interrupted {
            break;
        }
    }
    Ok(comparison)
}

/// A void trial is repeated so often.
const VOID_REPEATS: usize = 2;

/// One contestant's trial, repeated while it is void; `None` if it was cut short.
fn take_turn(
    testbed: &Testbed,
    plan: &TrialPlan,
    watch: &mut Watch,
    is_first: bool,
) -> Result<Option<Round>> {
    let mut round = Round::default();
    while round.trial.is_none() && round.void.len() <= VOID_REPEATS {
        watch.begin()?;
        let trial = trial::run(testbed, plan)?;
        if plan.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        // The engine counts all that it gets and gives, warm-ups included; frames that were lost may
        // have been lost between the interface and the engine.
        let own = OwnTraffic {
            transmitted: trial.engine.forwarded,
            received: trial.engine.kernel.packets,
            under_way: trial.observations.iter().map(|one| one.lost).sum(),
        };
        let other_loads: u64 = trial.observations.iter().map(|one| one.tally.other_loads).sum();
        let other = (other_loads > 0).then_some(VoidReason::OtherLoad { frames: other_loads });
        match watch.void(own)?.or(other) {
            Some(reason) => round.void.push(reason),
            None if trial.observations.iter().any(|found| found.sent == 0) => {
                round.void.push(VoidReason::BehindSchedule);
            }
            None if trial.observations.iter().any(Observation::lacks_rate) => {
                round.void.push(VoidReason::NoRate);
            }
            None => match silence(&trial, plan) {
                None => round.trial = Some(trial),
                Some(silence) if is_first => {
                    return Err(Error::Run(format!(
                        "{}: {silence}. Are the two interfaces joined, and do they carry EtherType \
                         0x88b5?",
                        plan.contestant
                    )));
                }
                Some(silence) => round.void.push(silence),
            },
        }
    }
    Ok(Some(round))
}

/// Starts each one's engine once: those that start with what they come to, and those that do not with
/// the reason.
fn who_can_run(testbed: &Testbed, config: &CompareConfig) -> Result<(Vec<Able>, Vec<Excluded>)> {
    let (mut able, mut excluded, mut first) = (Vec::new(), Vec::new(), None);
    for &contestant in &config.contestants {
        match trial::check(testbed, &plan(config, contestant, FrameSize::smallest())) {
            Ok(engine) => able.push((contestant, engine.path, engine.wait)),
            Err(error) => {
                excluded.push(Excluded { contestant, reason: error.to_string() });
                first.get_or_insert(error);
            }
        }
    }
    match first {
        Some(error) if able.is_empty() => Err(error),
        _ => Ok((able, excluded)),
    }
}

/// One that can run here, its path and how its workers wait.
type Able = (Contestant, PathName, Wait);

fn plan(config: &CompareConfig, contestant: Contestant, size: FrameSize) -> TrialPlan {
    TrialPlan {
        contestant,
        size,
        loads: config.loads.clone(),
        duration: config.duration,
        tx: config.tx,
        cpus: config.cpus,
        latency: config.latency,
        ring_memory: Arc::clone(&config.ring_memory),
        stop: Arc::clone(&config.stop),
    }
}

/// A load that sent frames and got none back.
fn silence(trial: &Trial, plan: &TrialPlan) -> Option<VoidReason> {
    let silent = trial.observations.iter().find(|found| found.sent > 0 && found.tally.intact == 0);
    let Observation { load, sent: frames, .. } = *silent?;
    Some(VoidReason::Silence { load: load.name(), size: plan.size, frames })
}
