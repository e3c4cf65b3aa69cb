//! What a comparison found, round by round, and what its numbers are worth.

use std::time::Duration;

use serde::Serialize;

use super::observation::{LoadKind, Metric, Observation};
use crate::bench::account::Taken;
use crate::bench::contestant::Contestant;
use crate::bench::search::trial::VoidReason;
use crate::engine::config::PathName;
use crate::engine::wait::Wait;
use crate::error::Error;
use crate::stats::best_set::{FAMILY_ALPHA, ratios};
use crate::stats::counters::EngineCounters;
use crate::stats::latency::Latency;
use crate::stats::modes::{Mode, two_modes};
use crate::stats::sign::SignInterval;
use crate::stats::spread::Spread;
use crate::stats::state::{DISTURBED_SHARE, Doubt, State};
use crate::units::FrameSize;

/// A contestant's turn in a round.
#[derive(Debug)]
pub struct Round {
    /// What it found.
    pub observation: Observation,
    /// Why that does not count, if it does not.
    pub void: Option<VoidReason>,
    /// What was taken from the CPUs meanwhile.
    pub taken: Taken,
}

/// Rounds of one size and load.
#[derive(Debug)]
pub struct Series {
    /// The size.
    pub size: FrameSize,
    /// The load.
    pub load: LoadKind,
    /// By seat, then by round; round n of all seats is the same one. A seat whose engine ended has fewer.
    pub rounds: Vec<Vec<Round>>,
    /// How often an interval of a ratio may miss the truth.
    pub alpha: f64,
}

/// Who sat where, and what its engine did in all series.
#[derive(Debug)]
pub struct SeatSummary {
    /// Who.
    pub contestant: Contestant,
    /// The path that it comes to.
    pub path: PathName,
    /// How its workers wait.
    pub wait: Wait,
    /// What the engine counted.
    pub counters: EngineCounters,
    /// Latencies inside the engine; which, its path says.
    pub latency: Latency,
}

/// One that cannot run here, or not to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excluded {
    /// Who.
    pub contestant: Contestant,
    /// Why, and what to do about it.
    pub reason: String,
}

/// A whole comparison.
#[derive(Debug)]
pub struct Comparison {
    /// Who took part. The one behind the contestants, if there is one, is the baseline once more.
    pub seats: Vec<SeatSummary>,
    /// How many of the seats are contestants'.
    pub contestants: usize,
    /// The seat that the others are measured against.
    pub baseline: usize,
    /// By size, then by load.
    pub series: Vec<Series>,
    /// Those that were asked for and cannot run here, or not to the end.
    pub excluded: Vec<Excluded>,
    /// Whether generator and engines had one CPU between them.
    pub shares_cpu: bool,
    /// Whether it was ended before it had found out what it could.
    pub interrupted: bool,
    /// The error that ended it (its interface was deleted, for example); what was found before stands.
    pub broken: Option<Error>,
    /// How long it took.
    pub took: Duration,
}

/// A number with what it is worth.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The median over the rounds, with the 95 % interval; `None` of too few rounds.
    pub value: Option<SignInterval>,
    /// The median, however many rounds there are.
    pub median: f64,
    /// In units of the baseline's, round by round.
    pub ratio_to_baseline: Option<SignInterval>,
    /// Two values that it jumps between, if there are.
    pub modes: Option<[Mode; 2]>,
    /// What it is worth.
    pub state: State,
    /// The values, round by round; `None` where a round does not count.
    pub rounds: Vec<Option<f64>>,
}

impl Series {
    /// What was found in each round that counts.
    pub fn of(&self, seat: usize) -> impl Iterator<Item = &Observation> {
        let counts = |round: &'_ &Round| round.void.is_none();
        self.rounds[seat].iter().filter(counts).map(|round| &round.observation)
    }

    /// `metric`, round by round.
    pub fn values(&self, seat: usize, metric: Metric) -> Vec<Option<f64>> {
        let value = |round: &Round| match round.void {
            None => round.observation.value(metric),
            Some(_) => None,
        };
        self.rounds[seat].iter().map(value).collect()
    }

    /// The interval of `metric` in units of `base`'s.
    pub fn ratio(&self, seat: usize, base: usize, metric: Metric) -> Option<SignInterval> {
        let (own, base) = (self.values(seat, metric), self.values(base, metric));
        SignInterval::of(ratios(&own, &base), self.alpha)
    }

    /// What was taken from the CPUs in the turns of this seat.
    pub fn taken(&self, seat: usize) -> Taken {
        let mut sum = Taken::default();
        self.rounds[seat].iter().for_each(|round| sum.merge(&round.taken));
        sum
    }

    /// The part of the frames that did not come back intact: the median over the rounds.
    pub fn loss_ratio(&self, seat: usize) -> f64 {
        Spread::of(self.of(seat).map(Observation::loss_ratio)).map_or(0.0, |spread| spread.median)
    }

    /// Whether the generator was the limit of the flood in most rounds.
    pub fn is_generator_limited(&self, seat: usize) -> bool {
        let limited = self.of(seat).filter(|found| found.is_generator_limited()).count();
        2 * limited > self.of(seat).count()
    }

    /// Why rounds were void.
    pub fn void(&self, seat: usize) -> impl Iterator<Item = &VoidReason> {
        self.rounds[seat].iter().filter_map(|round| round.void.as_ref())
    }
}

impl Comparison {
    /// The sizes, in order.
    pub fn sizes(&self) -> Vec<FrameSize> {
        let mut sizes: Vec<FrameSize> = self.series.iter().map(|series| series.size).collect();
        sizes.dedup();
        sizes
    }

    /// The series of this size and load, if it was measured.
    pub fn series(&self, size: FrameSize, load: LoadKind) -> Option<&Series> {
        self.series.iter().find(|series| series.size == size && series.load == load)
    }

    /// The seats of contestants.
    pub fn contestants(&self) -> &[SeatSummary] {
        &self.seats[..self.contestants]
    }

    /// The baseline.
    pub fn baseline(&self) -> Contestant {
        self.seats[self.baseline].contestant
    }

    /// The baseline's second seat.
    pub fn baseline_again(&self) -> Option<usize> {
        (self.seats.len() > self.contestants).then_some(self.contestants)
    }

    /// What the rounds say about `metric`; `None` if none has it.
    pub fn finding(&self, series: &Series, seat: usize, metric: Metric) -> Option<Finding> {
        let rounds = series.values(seat, metric);
        let values = || rounds.iter().flatten().copied();
        let median = Spread::of(values())?.median;
        let is_base = seat == self.baseline;
        let ratio = (!is_base).then(|| series.ratio(seat, self.baseline, metric)).flatten();
        let value = SignInterval::of(values(), FAMILY_ALPHA);
        Some(Finding {
            value,
            median,
            ratio_to_baseline: ratio,
            modes: two_modes(values()),
            state: self.state(series, seat, metric, (value, ratio)),
            rounds,
        })
    }

    fn state(
        &self,
        series: &Series,
        seat: usize,
        metric: Metric,
        (value, ratio): (Option<SignInterval>, Option<SignInterval>),
    ) -> State {
        // The engine's own CPU time is counted apart from the generator's.
        if self.shares_cpu && metric != Metric::Cpu {
            return State::CannotTell { reason: Doubt::OneCpu };
        }
        let own = series.values(seat, metric);
        let valid = own.iter().flatten().count();
        let share = series.taken(seat).share().max(series.taken(self.baseline).share());
        // Alone, or the baseline itself: what its own interval says.
        if self.contestants == 1 || seat == self.baseline && self.baseline_again().is_none() {
            return State::of_ratio(value, valid, FAMILY_ALPHA, share);
        }
        let base = series.values(self.baseline, metric);
        let base_has_modes = two_modes(base.iter().flatten().copied()).is_some();
        let again =
            self.baseline_again().and_then(|again| series.ratio(again, self.baseline, metric));
        let doubt = again.and_then(Doubt::of_baseline);
        match doubt {
            // A baseline that jumps between two values has a wide ratio to itself, too.
            Some(_) if base_has_modes && again.is_some_and(|again| !again.excludes(1.0)) => {}
            Some(reason) => return State::CannotTell { reason },
            None => {}
        }
        if seat == self.baseline {
            return State::of_ratio(again, valid, series.alpha, share);
        }
        let state = State::of_ratio(ratio, valid, series.alpha, share);
        // On a quiet machine two modes are the path's own: what they agree in can be told.
        match two_modes(ratios(&own, &base)).filter(|_| share <= DISTURBED_SHARE) {
            None => state,
            Some([low, high]) => {
                let is_one_sided = low.value > 1.0 || high.value < 1.0;
                match ratio.filter(|ratio| is_one_sided && ratio.excludes(1.0)) {
                    Some(_) => State::Clear,
                    None => State::CannotTell {
                        reason: Doubt::ModesDisagree { low: low.value, high: high.value },
                    },
                }
            }
        }
    }

    /// Frames verified over all rounds, void ones included.
    pub fn verified(&self, seat: usize) -> u64 {
        self.observations(seat).map(|found| found.tally.intact).sum()
    }

    /// Frames that came back wrong in any way.
    pub fn wrong(&self, seat: usize) -> u64 {
        self.observations(seat).map(Observation::wrong).sum()
    }

    /// What was found in all rounds, void ones included.
    pub fn observations(&self, seat: usize) -> impl Iterator<Item = &Observation> {
        self.series
            .iter()
            .flat_map(move |series| &series.rounds[seat])
            .map(|round| &round.observation)
    }

    /// What was taken from the CPUs in all turns.
    pub fn taken(&self) -> Taken {
        let mut sum = Taken::default();
        let turns = self.series.iter().flat_map(|series| series.rounds.iter().flatten());
        turns.for_each(|round| sum.merge(&round.taken));
        sum
    }

    /// Whether an echo was wrong, or nothing that some seat found counts.
    pub fn has_failed(&self) -> bool {
        (0..self.seats.len()).any(|seat| self.wrong(seat) > 0 || self.is_void(seat))
    }

    /// Whether something was measured and nothing of it counts.
    pub fn is_void(&self, seat: usize) -> bool {
        let counts = |series: &Series| series.of(seat).next().is_some();
        !self.series.is_empty() && !self.series.iter().any(counts)
    }
}
