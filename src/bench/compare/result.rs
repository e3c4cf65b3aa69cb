//! What a comparison found.

use super::observation::{LoadKind, Metric, Observation};
use crate::bench::contestant::Contestant;
use crate::bench::search::trial::VoidReason;
use crate::bench::trial::Trial;
use crate::engine::config::PathName;
use crate::engine::wait::Wait;
use crate::error::Error;
use crate::stats::counters::EngineCounters;
use crate::stats::latency::Latency;
use crate::stats::spread::Spread;
use crate::units::FrameSize;

/// All trials of one contestant with one size.
#[derive(Debug)]
pub struct ContestantResult {
    /// Who.
    pub contestant: Contestant,
    /// The path that it comes to.
    pub path: PathName,
    /// How its workers wait.
    pub wait: Wait,
    /// The size.
    pub size: FrameSize,
    /// The rounds, in order; round n of all contestants is the same one.
    pub rounds: Vec<Round>,
}

/// A contestant's turn in a round.
#[derive(Debug, Default)]
pub struct Round {
    /// The trial that counts; `None` if it stayed void.
    pub trial: Option<Trial>,
    /// Why trials before it were void and repeated.
    pub void: Vec<VoidReason>,
}

impl ContestantResult {
    /// The trials that count.
    pub fn trials(&self) -> impl Iterator<Item = &Trial> {
        self.rounds.iter().filter_map(|round| round.trial.as_ref())
    }

    /// What was found under `load`, trial by trial.
    pub fn of(&self, load: LoadKind) -> impl Iterator<Item = &Observation> {
        self.trials().filter_map(move |trial| trial.of(load))
    }

    /// `metric` under `load` over the trials.
    pub fn spread(&self, load: LoadKind, metric: Metric) -> Option<Spread> {
        Spread::of(self.of(load).filter_map(|found| found.value(metric)))
    }

    /// `metric` under `load` in units of `base`'s, round by round.
    pub fn ratio(&self, base: &ContestantResult, load: LoadKind, metric: Metric) -> Option<Spread> {
        let value = |round: &Round| round.trial.as_ref()?.of(load)?.value(metric);
        let rounds = self.rounds.iter().zip(&base.rounds);
        Spread::of(rounds.filter_map(|(own, other)| Some(value(own)? / value(other)?)))
    }

    /// The part of `load`'s frames that did not come back intact: the median over the trials, as for
    /// the metrics beside it.
    pub fn loss_ratio(&self, load: LoadKind) -> f64 {
        let losses = self.of(load).map(Observation::loss_ratio);
        Spread::of(losses).map_or(0.0, |spread| spread.median)
    }

    /// Trials in which the generator was the limit of the flood.
    pub fn generator_limited_trials(&self) -> usize {
        self.of(LoadKind::Flood).filter(|found| found.is_generator_limited()).count()
    }

    /// Whether the generator was the limit of the flood in most trials. Then the median loss is below
    /// [`KEPT_UP_LOSS`](super::observation::KEPT_UP_LOSS).
    pub fn is_generator_limited(&self) -> bool {
        2 * self.generator_limited_trials() > self.trials().count()
    }

    /// Why trials were void: those that were repeated with success, and those that stayed so.
    pub fn void(&self) -> impl Iterator<Item = &VoidReason> {
        self.rounds.iter().flat_map(|round| &round.void)
    }

    /// Rounds without a trial that counts.
    pub fn void_rounds(&self) -> usize {
        self.rounds.iter().filter(|round| round.trial.is_none()).count()
    }

    /// Frames verified under all loads of all trials.
    pub fn verified(&self) -> u64 {
        self.observations().map(|found| found.tally.intact).sum()
    }

    /// Frames that came back wrong in any way.
    pub fn wrong(&self) -> u64 {
        self.observations().map(Observation::wrong).sum()
    }

    /// What the engines did, added up.
    pub fn engine(&self) -> EngineCounters {
        self.trials().fold(EngineCounters::default(), |mut sum, trial| {
            sum += &trial.engine;
            sum
        })
    }

    /// Latencies inside the engine, of all trials; which, its path says.
    pub fn engine_latency(&self) -> Latency {
        let mut sum = Latency::default();
        self.trials().filter_map(|t| t.engine_latency.as_ref()).for_each(|l| sum.merge(l));
        sum
    }

    fn observations(&self) -> impl Iterator<Item = &Observation> {
        self.trials().flat_map(|trial| &trial.observations)
    }
}

/// One that cannot run here.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Excluded {
    /// Who.
    pub contestant: Contestant,
    /// Why, and what to do about it.
    pub reason: String,
}

/// A whole comparison.
#[derive(Debug)]
pub struct Comparison {
    /// By size, then by contestant.
    pub results: Vec<ContestantResult>,
    /// The loads of each trial.
    pub loads: Vec<LoadKind>,
    /// Those that were asked for and cannot run here.
    pub excluded: Vec<Excluded>,
    /// Whether it was ended before all trials were done.
    pub interrupted: bool,
    /// The error that ended it (its interface was deleted, for example); what was found before stands.
    pub broken: Option<Error>,
}

impl Comparison {
    /// The sizes, in order.
    pub fn sizes(&self) -> Vec<FrameSize> {
        let mut sizes: Vec<FrameSize> = self.results.iter().map(|result| result.size).collect();
        sizes.dedup();
        sizes
    }

    /// All results with `size`.
    pub fn with_size(&self, size: FrameSize) -> Vec<&ContestantResult> {
        self.results.iter().filter(|result| result.size == size).collect()
    }

    /// What the others with `size` are measured against.
    pub fn baseline(&self, size: FrameSize) -> Option<&ContestantResult> {
        let is_it = |result: &&ContestantResult| result.contestant == Contestant::BASELINE;
        self.results.iter().filter(|result| result.size == size).find(is_it)
    }

    /// `metric` of `result` under `load` in units of the baseline's with the same size.
    pub fn ratio(
        &self,
        result: &ContestantResult,
        load: LoadKind,
        metric: Metric,
    ) -> Option<Spread> {
        result.ratio(self.baseline(result.size)?, load, metric)
    }
}
