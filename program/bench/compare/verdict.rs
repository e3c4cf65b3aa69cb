//! What a comparison's numbers say about each question; they may say that the rings lost.

use serde::Serialize;

use super::observation::{LoadKind, Metric};
use super::result::{Comparison, Finding, Series};
use crate::bench::contestant::Contestant;
use crate::stats::best_set::{beats, best_set};
use crate::stats::modes::Mode;
use crate::stats::sign::SignInterval;
use crate::stats::state::State;
use crate::units::FrameSize;

/// What is asked of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Who forwards the most frames.
    Throughput,
    /// Who uses the least CPU time for one.
    Cpu,
    /// Who answers the fastest.
    Latency,
}

/// What the numbers of one size say about one question.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// The size of the frames.
    #[serde(rename = "frame_bytes", serialize_with = "bytes")]
    pub size: FrameSize,
    /// What is asked.
    pub question: Question,
    /// The load that answers it.
    pub load: LoadKind,
    /// The number that answers it.
    pub metric: Metric,
    /// Those that no other is better than, the best median first. One alone is the winner.
    pub best: Vec<Standing>,
    /// Those that the baseline is better than.
    pub losers: Vec<Standing>,
    /// All, in the order of the tables.
    #[serde(skip)]
    pub all: Vec<Standing>,
}

/// Where a contestant stands.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Standing {
    /// Who.
    pub contestant: Contestant,
    /// The median of the metric.
    pub value: f64,
    /// The same in units of the baseline's; `None` of the baseline itself, and of too few rounds.
    pub ratio_to_baseline: Option<SignInterval>,
    /// The two values that it jumps between, if there are.
    pub modes: Option<[Mode; 2]>,
    /// What the ratio is worth.
    pub state: State,
}

impl Question {
    /// All of them.
    pub const ALL: [Question; 3] = [Question::Throughput, Question::Cpu, Question::Latency];

    /// The load and the metric that answer it, the better ones first.
    pub const fn measured_by(self) -> &'static [(LoadKind, Metric)] {
        match self {
            // In a drain nobody but the engine has the say.
            Question::Throughput => &[
                (LoadKind::Drain, Metric::Rate),
                (LoadKind::Flood, Metric::Rate),
                (LoadKind::Window, Metric::Rate),
            ],
            Question::Cpu => &[
                (LoadKind::Drain, Metric::Cpu),
                (LoadKind::Flood, Metric::Cpu),
                (LoadKind::Window, Metric::Cpu),
                (LoadKind::Ping, Metric::Cpu),
            ],
            Question::Latency => &[
                (LoadKind::Ping, Metric::P50),
                (LoadKind::Light, Metric::P50),
                (LoadKind::Half, Metric::P50),
            ],
        }
    }
}

impl Comparison {
    /// The series and the metric that answer `question` about frames of `size`, if they were measured.
    pub fn answered_by(&self, size: FrameSize, question: Question) -> Option<(&Series, Metric)> {
        question.measured_by().iter().find_map(|&(load, metric)| {
            let series = self.series(size, load)?;
            let has_value = |seat| series.values(seat, metric).iter().any(Option::is_some);
            (0..self.contestants).any(has_value).then_some((series, metric))
        })
    }

    /// Size by size, the answers to all questions, as far as they were measured.
    pub fn answers(&self) -> Vec<Answer> {
        let of_size = |size| {
            Question::ALL.into_iter().filter_map(move |question| self.answer(size, question))
        };
        self.sizes().into_iter().flat_map(of_size).collect()
    }

    fn answer(&self, size: FrameSize, question: Question) -> Option<Answer> {
        let (series, metric) = self.answered_by(size, question)?;
        let values: Vec<_> =
            (0..self.contestants).map(|seat| series.values(seat, metric)).collect();
        let lower_is_better = metric.is_cost();
        let standing = |seat: usize| {
            let Finding { median: value, ratio_to_baseline, modes, state, .. } =
                self.finding(series, seat, metric)?;
            let contestant = self.seats[seat].contestant;
            Some(Standing { contestant, value, ratio_to_baseline, modes, state })
        };
        let best = best_set(&values, lower_is_better, series.alpha);
        let mut best: Vec<Standing> = best.into_iter().filter_map(standing).collect();
        best.sort_by(|a, b| match lower_is_better {
            true => a.value.total_cmp(&b.value),
            false => b.value.total_cmp(&a.value),
        });
        let base = &values[self.baseline];
        let loses = |seat: &usize| beats(base, &values[*seat], lower_is_better, series.alpha);
        let losers = (0..self.contestants).filter(loses).filter_map(standing);
        // What says nothing condemns nobody.
        let losers = losers.filter(|standing| standing.state.tells()).collect();
        let all = (0..self.contestants).filter_map(standing).collect();
        Some(Answer { size, question, load: series.load, metric, best, losers, all })
    }
}

fn bytes<S: serde::Serializer>(size: &FrameSize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(size.bytes() as u64)
}
