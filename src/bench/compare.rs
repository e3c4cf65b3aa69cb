//! The comparison: for each size the paths take turns, so that what disturbs the machine disturbs
//! them alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::testbed::Testbed;
use super::trial::{self, Trial, TrialPlan};
use crate::engine::config::PathName;
use crate::engine::turn::LatencyMode;
use crate::error::{Error, Result};
use crate::ring::budget::MemoryBudget;
use crate::stats::counters::EngineCounters;
use crate::stats::latency::Latency;
use crate::stats::spread::Spread;
use crate::units::FrameSize;

/// What is compared.
#[derive(Clone, Debug)]
pub struct CompareConfig {
    /// The paths, in the order of the table.
    pub paths: Vec<PathName>,
    /// The frame sizes.
    pub sizes: Vec<FrameSize>,
    /// Trials for each path and size.
    pub trials: usize,
    /// How long the flood of a trial lasts.
    pub trial_duration: Duration,
    /// How long single frames are exchanged in a trial.
    pub round_trips: Duration,
    /// CPUs of the generator and of the engine.
    pub cpus: (usize, usize),
    /// Of which frames engines keep the latency.
    pub latency: LatencyMode,
    /// The cap on ring memory, for generators and engines together.
    pub ring_memory: Arc<MemoryBudget>,
    /// Set it from another thread to end early, with what there is.
    pub stop: Arc<AtomicBool>,
}

/// All trials of one path with one size.
#[derive(Debug)]
pub struct PathResult {
    /// The path.
    pub path: PathName,
    /// The size.
    pub size: FrameSize,
    /// The trials, in order; trial n of every path ran in the same round.
    pub trials: Vec<Trial>,
}

/// A finding, relative to the `syscall` path: trial by trial, then spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Ratios {
    /// Forwarding rate at flood.
    pub forwarded: Option<Spread>,
    /// Drain rate.
    pub drain: Option<Spread>,
    /// CPU time of the engine for each frame.
    pub cpu: Option<Spread>,
    /// Median round trip of a lone frame.
    pub rtt_p50: Option<Spread>,
}

impl PathResult {
    /// Rate at which frames left at flood, in frames per second.
    pub fn offered(&self) -> Option<Spread> {
        Spread::of(self.trials.iter().map(|trial| trial.flood.offered_pps()))
    }

    /// Latencies inside the engine, of all trials; which, its path says.
    pub fn engine_latency(&self) -> Latency {
        let mut sum = Latency::default();
        self.trials.iter().filter_map(|t| t.engine_latency.as_ref()).for_each(|l| sum.merge(l));
        sum
    }

    /// Rate at which verified echoes came back at flood, in frames per second.
    pub fn forwarded(&self) -> Option<Spread> {
        Spread::of(self.trials.iter().map(forwarded_pps))
    }

    /// Rate of the drain, in frames per second.
    pub fn drain(&self) -> Option<Spread> {
        Spread::of(self.trials.iter().map(drain_pps))
    }

    /// CPU time of the engine, in nanoseconds for each frame.
    pub fn cpu(&self) -> Option<Spread> {
        Spread::of(self.trials.iter().map(cpu_ns))
    }

    /// Round trips of all trials.
    pub fn round_trips(&self) -> Latency {
        let mut sum = Latency::default();
        self.trials.iter().for_each(|trial| sum.merge(&trial.round_trips.rtt));
        sum
    }

    /// Part of the flood's frames that did not come back intact.
    pub fn loss_ratio(&self) -> f64 {
        let sent: u64 = self.trials.iter().map(|trial| trial.flood.sent).sum();
        let intact: u64 = self.trials.iter().map(|trial| trial.flood.tally.intact).sum();
        if sent == 0 { 0.0 } else { 1.0 - intact as f64 / sent as f64 }
    }

    /// Whether the generator was the limit in most trials.
    pub fn is_generator_limited(&self) -> bool {
        let limited = self.trials.iter().filter(|trial| trial.is_generator_limited()).count();
        2 * limited > self.trials.len()
    }

    /// Frames verified in all parts of all trials.
    pub fn verified(&self) -> u64 {
        self.reports().map(|report| report.tally.intact).sum()
    }

    /// Frames that came back wrong in any way, in all parts of all trials.
    pub fn wrong(&self) -> u64 {
        let wrong = |tally: &crate::load::report::Tally| {
            tally.corrupted + tally.not_transformed + tally.truncated + tally.duplicated
        };
        self.reports().map(|report| wrong(&report.tally)).sum()
    }

    /// What the engines did, added up.
    pub fn engine(&self) -> EngineCounters {
        self.trials.iter().fold(EngineCounters::default(), |mut sum, trial| {
            sum += &trial.engine;
            sum
        })
    }

    /// This path's findings in units of `base`'s, trial by trial.
    pub fn ratios_to(&self, base: &PathResult) -> Ratios {
        let ratio = |value: fn(&Trial) -> f64| {
            let pairs = self.trials.iter().zip(&base.trials);
            Spread::of(
                pairs.map(|(own, other)| value(own) / value(other)).filter(|r| r.is_finite()),
            )
        };
        Ratios {
            forwarded: ratio(forwarded_pps),
            drain: ratio(drain_pps),
            cpu: ratio(cpu_ns),
            rtt_p50: ratio(rtt_p50_ns),
        }
    }

    fn reports(&self) -> impl Iterator<Item = &crate::load::report::LoadReport> {
        self.trials.iter().flat_map(|trial| [&trial.flood, &trial.drain, &trial.round_trips])
    }
}

fn forwarded_pps(trial: &Trial) -> f64 {
    trial.flood.arrival_pps()
}

fn drain_pps(trial: &Trial) -> f64 {
    trial.drain.arrival_pps()
}

fn cpu_ns(trial: &Trial) -> f64 {
    trial.cpu_ns_per_frame
}

fn rtt_p50_ns(trial: &Trial) -> f64 {
    trial.round_trips.rtt.percentile(50.0) as f64
}

/// A whole comparison.
#[derive(Debug)]
pub struct Comparison {
    /// By size, then by path.
    pub results: Vec<PathResult>,
    /// Whether it was ended before all trials were done.
    pub interrupted: bool,
}

impl Comparison {
    /// The result of `path` with `size`.
    pub fn result(&self, path: PathName, size: FrameSize) -> Option<&PathResult> {
        self.results.iter().find(|result| result.path == path && result.size == size)
    }

    /// The findings of `result` in units of the `syscall` path's with the same size.
    pub fn ratios(&self, result: &PathResult) -> Option<Ratios> {
        Some(result.ratios_to(self.result(PathName::SYSCALL, result.size)?))
    }
}

/// What is about to happen, for a progress bar.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Trials done so far.
    pub done: usize,
    /// Trials in all.
    pub total: usize,
    /// The path whose turn it is.
    pub path: PathName,
    /// The size.
    pub size: FrameSize,
}

/// Runs a comparison; `progress` is called before each trial.
pub fn run(
    testbed: &Testbed,
    config: &CompareConfig,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<Comparison> {
    // The generator is a thread of its own in its own namespace; this one only waits for it.
    testbed.generator.namespace.run(|| take_turns(testbed, config, progress))?
}

fn take_turns(
    testbed: &Testbed,
    config: &CompareConfig,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<Comparison> {
    let total = config.sizes.len() * config.paths.len() * config.trials;
    let mut comparison = Comparison { results: Vec::new(), interrupted: false };
    let mut done = 0;
    for &size in &config.sizes {
        let mut results: Vec<PathResult> = config
            .paths
            .iter()
            .map(|&path| PathResult { path, size, trials: Vec::new() })
            .collect();
        'rounds: for round in 0..config.trials {
            // Each round begins with another path, so that none always follows the same one.
            for turn in 0..results.len() {
                let index = (round + turn) % config.paths.len();
                let path = results[index].path;
                progress(Step { done, total, path, size });
                let trial = trial::run(testbed, &plan(config, path, size), &config.ring_memory)?;
                if config.stop.load(Ordering::Relaxed) {
                    // A trial cut short says nothing; those before it stand.
                    comparison.interrupted = true;
                    break 'rounds;
                }
                reject_damage(&trial, path, size)?;
                results[index].trials.push(trial);
                done += 1;
            }
        }
        results.retain(|result| !result.trials.is_empty());
        comparison.results.extend(results);
        if comparison.interrupted {
            break;
        }
    }
    Ok(comparison)
}

fn plan(config: &CompareConfig, path: PathName, size: FrameSize) -> TrialPlan {
    TrialPlan {
        path,
        size,
        flood: config.trial_duration,
        round_trips: config.round_trips,
        generator_cpu: config.cpus.0,
        engine_cpu: config.cpus.1,
        latency: config.latency,
        stop: Arc::clone(&config.stop),
    }
}

/// A rate of frames that nobody answered is no rate.
fn reject_damage(trial: &Trial, path: PathName, size: FrameSize) -> Result<()> {
    if trial.flood.tally.intact == 0 {
        return Err(Error::Run(format!(
            "--path {path}, {size} bytes: none of {} frames came back. Are the two interfaces \
             joined, and do they carry EtherType 0x88b5?",
            trial.flood.sent
        )));
    }
    Ok(())
}
