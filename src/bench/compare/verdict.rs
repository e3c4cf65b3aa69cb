//! What a comparison's numbers say about each question; they may say that the rings lost.

use super::observation::{LoadKind, Metric};
use super::result::{Comparison, ContestantResult};
use crate::bench::contestant::Contestant;
use crate::stats::spread::Spread;
use crate::units::FrameSize;

/// What the numbers of one size say about one question.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Answer {
    /// The size of the frames.
    #[serde(rename = "frame_bytes", serialize_with = "bytes")]
    pub size: FrameSize,
    /// What is asked: throughput, latency or CPU.
    pub about: &'static str,
    /// How it was measured.
    pub by: &'static str,
    /// The number that answers it.
    pub metric: Metric,
    /// The best one.
    pub leader: Standing,
    /// Those that the best one does not beat in every round; with any there is no winner.
    pub rivals: Vec<Contestant>,
    /// Whether there were too few trials to name a winner.
    pub too_few_trials: bool,
    /// Those that the baseline beats in every round.
    pub losers: Vec<Standing>,
}

/// Where a contestant stands.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Standing {
    /// Who.
    pub contestant: Contestant,
    /// The median of the metric.
    pub value: f64,
    /// The same in units of the baseline's, round by round; `None` of the baseline itself, and without
    /// one.
    pub ratio_to_baseline: Option<Spread>,
}

/// For each size the answers about throughput, latency and CPU, as far as they were measured.
pub fn answers(comparison: &Comparison) -> Vec<Answer> {
    let of_size = |size: FrameSize| {
        let questions =
            [throughput(comparison, size), latency(comparison, size), cost(comparison, size)];
        questions.into_iter().flatten().map(|question| question.answer())
    };
    comparison.sizes().into_iter().flat_map(of_size).collect()
}

/// What a second worker adds with frames of `size`, for each that was asked.
pub fn scaling(comparison: &Comparison, size: FrameSize) -> Vec<(Contestant, Spread)> {
    let of_one = |result: &ContestantResult| {
        Some((result.contestant, result.spread(LoadKind::Scale, Metric::Scaling)?))
    };
    comparison.with_size(size).into_iter().filter_map(of_one).collect()
}

fn bytes<S: serde::Serializer>(size: &FrameSize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(size.bytes() as u64)
}

/// One question, and the numbers that answer it.
struct Question<'a> {
    /// What is asked.
    about: &'static str,
    /// How it was measured.
    by: &'static str,
    load: LoadKind,
    metric: Metric,
    baseline: Option<&'a ContestantResult>,
    results: Vec<&'a ContestantResult>,
}

fn throughput(comparison: &Comparison, size: FrameSize) -> Option<Question<'_>> {
    let results = comparison.with_size(size);
    let limited = results.iter().any(|result| result.is_generator_limited());
    let choices = [
        (LoadKind::Flood, "at flood", !limited),
        (LoadKind::Drain, "by drain", true),
        (LoadKind::Flood, "at flood (a lower bound: the generator was the limit)", true),
        (LoadKind::Window, "with 64 frames in flight", true),
    ];
    let by_drain = "by drain, the generator limits the flood";
    choices.into_iter().filter(|(.., fits)| *fits).find_map(|(load, by, _)| {
        let by = if limited && load == LoadKind::Drain { by_drain } else { by };
        question(comparison, size, "throughput", by, load, Metric::Rate)
    })
}

fn latency(comparison: &Comparison, size: FrameSize) -> Option<Question<'_>> {
    let choices = [
        (LoadKind::Ping, "round trip with one frame in flight, p50"),
        (LoadKind::Light, "response time at light load, p50"),
        (LoadKind::Half, "response time at half of its own rate, p50"),
    ];
    choices
        .into_iter()
        .find_map(|(load, by)| question(comparison, size, "latency", by, load, Metric::P50))
}

fn cost(comparison: &Comparison, size: FrameSize) -> Option<Question<'_>> {
    let choices = [
        (LoadKind::Flood, "per echo at flood"),
        (LoadKind::Drain, "per echo in the drain"),
        (LoadKind::Window, "per echo with 64 frames in flight"),
        (LoadKind::Ping, "per round trip"),
    ];
    choices
        .into_iter()
        .find_map(|(load, by)| question(comparison, size, "CPU", by, load, Metric::Cpu))
}

/// The question, if `load` was measured.
fn question<'a>(
    comparison: &'a Comparison,
    size: FrameSize,
    about: &'static str,
    by: &'static str,
    load: LoadKind,
    metric: Metric,
) -> Option<Question<'a>> {
    let mut results = comparison.with_size(size);
    results.retain(|result| result.spread(load, metric).is_some());
    let baseline = comparison.baseline(size);
    (!results.is_empty()).then_some(Question { about, by, load, metric, baseline, results })
}

impl Question<'_> {
    /// How much better `one` is than `other`, round by round: above 1 where it is.
    fn advantage(&self, one: &ContestantResult, other: &ContestantResult) -> Option<Spread> {
        match self.metric.is_cost() {
            true => other.ratio(one, self.load, self.metric),
            false => one.ratio(other, self.load, self.metric),
        }
    }

    fn median(&self, result: &ContestantResult) -> f64 {
        result.spread(self.load, self.metric).map_or(f64::NAN, |spread| spread.median)
    }

    fn standing(&self, result: &ContestantResult) -> Standing {
        let contestant = result.contestant;
        let base = self.baseline.filter(|base| base.contestant != contestant);
        let ratio = base.and_then(|base| result.ratio(base, self.load, self.metric));
        Standing { contestant, value: self.median(result), ratio_to_baseline: ratio }
    }

    fn answer(&self) -> Answer {
        let mut order = self.results.clone();
        order.sort_by(|a, b| self.median(a).total_cmp(&self.median(b)));
        if !self.metric.is_cost() {
            order.reverse();
        }
        let leader = order[0];
        let beats = |one: &ContestantResult, other: &ContestantResult| {
            self.advantage(one, other).is_some_and(decides)
        };
        let rivals: Vec<Contestant> = order[1..]
            .iter()
            .filter(|rival| !beats(leader, rival))
            .map(|rival| rival.contestant)
            .collect();
        let loses =
            |result: &&&ContestantResult| self.baseline.is_some_and(|base| beats(base, result));
        Answer {
            size: leader.size,
            about: self.about,
            by: self.by,
            metric: self.metric,
            leader: self.standing(leader),
            too_few_trials: !rivals.is_empty() && leader.trials().count() < TRIALS_MIN,
            rivals,
            losers: self.results.iter().filter(loses).map(|one| self.standing(one)).collect(),
        }
    }
}

/// Fewer trials than these decide nothing, whatever they say.
const TRIALS_MIN: usize = 3;

/// Only rounds that all point the same way decide.
fn decides(advantage: Spread) -> bool {
    advantage.count >= TRIALS_MIN && advantage.min > 1.0
}
