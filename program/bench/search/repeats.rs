//! Whether repeated searches found the same, and if not, why.

use serde::Serialize;

use super::result::{Confirmation, GoalResult, Halt, Irregularity};
use super::throughput::SearchRun;
use crate::bench::contestant::Contestant;
use crate::load::sizes::Sizes;
use crate::stats::spread::Spread;
use crate::stats::state::{Doubt, State};
use crate::units::percent;

/// Repeated searches agree if their lower bounds differ by no more than this part of the median.
pub const AGREEMENT: f64 = 0.1;

/// What a repeated search found for one goal.
#[derive(Clone, Copy, Debug)]
pub struct Repetition<'a> {
    /// What it found.
    pub goal: &'a GoalResult,
    /// What the generator alone sent into a sink at that time, in frames per second.
    pub sink_pps: f64,
}

/// How far repeated searches agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// The lower bounds that were found, in frames per second.
    pub lower_bounds_pps: Vec<f64>,
    /// Median, smallest and largest of them; `None` without any.
    pub spread_pps: Option<Spread>,
    /// From the smallest to the largest, as a part of the median; `None` with less than two.
    pub difference: Option<f64>,
    /// Whether each found a lower bound, and all are within [`AGREEMENT`].
    pub agrees: bool,
    /// What the lower bounds are worth together.
    pub state: State,
    /// Where they do not agree: what was seen that may be the cause. Never empty then.
    pub reasons: Vec<String>,
}

/// Agreement between the repetitions of one search, for one goal.
#[derive(Clone, Debug, Serialize)]
pub struct Agreed {
    /// The path.
    pub path: Contestant,
    /// The frames.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// The goal's name.
    pub goal: String,
    /// How far.
    #[serde(flatten)]
    pub agreement: Agreement,
}

/// Agreement between repetitions, for each search and goal.
pub fn agreements(runs: &[SearchRun]) -> Vec<Agreed> {
    let mut agreed = Vec::new();
    for SearchRun { subject, result, .. } in runs.iter().filter(|run| run.repetition == 1) {
        let alike = runs
            .iter()
            .filter(|run| run.subject.path == subject.path && run.subject.sizes == subject.sizes);
        for (at, GoalResult { goal, .. }) in result.goals.iter().enumerate() {
            let repetitions = alike.clone().map(|run| Repetition {
                goal: &run.result.goals[at],
                sink_pps: run.subject.sink_pps,
            });
            agreed.push(Agreed {
                path: subject.path,
                sizes: subject.sizes.clone(),
                goal: goal.to_string(),
                agreement: agreement(&repetitions.collect::<Vec<_>>()),
            });
        }
    }
    agreed
}

/// Compares repetitions of one search for one goal.
pub fn agreement(repetitions: &[Repetition]) -> Agreement {
    let lower_bounds_pps: Vec<f64> =
        repetitions.iter().filter_map(|repetition| repetition.goal.lower_bound_pps).collect();
    let spread_pps = Spread::of(lower_bounds_pps.iter().copied());
    let (found, all) = (lower_bounds_pps.len(), repetitions.len());
    let difference = spread_pps.as_ref().map(relative).filter(|_| found > 1);
    let agrees = found == all && difference.is_some_and(|difference| difference <= AGREEMENT);
    let mut why = Vec::new();
    if found < all {
        why.push(format!("only {found} of {all} found a lower bound"));
    }
    if !agrees {
        why.extend(reasons(repetitions));
    }
    let state = state(repetitions, spread_pps.as_ref(), agrees);
    Agreement { lower_bounds_pps, spread_pps, difference, agrees, state, reasons: why }
}

/// None is worth more than the worst of them, and if they do not agree, nobody can tell.
fn state(repetitions: &[Repetition], spread: Option<&Spread>, agrees: bool) -> State {
    let mut share_max = 0.0f64;
    for Repetition { goal, .. } in repetitions {
        match goal.state {
            State::Clear => {}
            State::Disturbed { share } => share_max = share_max.max(share),
            cannot_tell => return cannot_tell,
        }
    }
    match (agrees, spread) {
        (true, _) => State::of_share(share_max),
        (false, _) if share_max > 0.0 => {
            State::CannotTell { reason: Doubt::TimeTaken { share: share_max } }
        }
        (false, Some(spread)) if spread.min > 0.0 => {
            State::CannotTell { reason: Doubt::IntervalTooWide { width: spread.max / spread.min } }
        }
        _ => State::CannotTell { reason: Doubt::BoundMissing },
    }
}

fn relative(spread: &Spread) -> f64 {
    if spread.median > 0.0 { (spread.max - spread.min) / spread.median } else { 0.0 }
}

fn reasons(repetitions: &[Repetition]) -> Vec<String> {
    let all = repetitions.len();
    let mut reasons = Vec::new();
    let sinks = Spread::of(repetitions.iter().map(|repetition| repetition.sink_pps));
    if let Some(differed) = sinks.map(|sinks| relative(&sinks)).filter(|&part| part > AGREEMENT) {
        reasons.push(format!(
            "the generator alone differed by {} from one to the next: other work shared the CPUs",
            percent(differed)
        ));
    }
    let mut count = |what: &str, is_so: &dyn Fn(&GoalResult) -> bool| {
        let count = repetitions.iter().filter(|repetition| is_so(repetition.goal)).count();
        if count > 0 {
            reasons.push(format!("in {count} of {all} {what}"));
        }
    };
    let any =
        |goal: &GoalResult, is_it: fn(&Irregularity) -> bool| goal.irregular.iter().any(is_it);
    count("the generator was the limit, not the path", &|goal| goal.at_least);
    count("the machine took CPU time from the measurement", &|goal| match goal.state {
        State::Clear => false,
        State::CannotTell { reason } => matches!(reason, Doubt::TimeTaken { .. }),
        State::Disturbed { .. } => true,
    });
    count("trials at one load disagreed", &|goal| goal.disagreement.is_some());
    count("the time was over before the bounds were decided", &|goal| {
        any(goal, |why| matches!(why, Irregularity::Halted(Halt::TimeExhausted)))
    });
    count("the long trial lost more than the goal allows", &|goal| {
        any(goal, |why| matches!(why, Irregularity::NotConfirmed(Some(Confirmation::Run(_)))))
    });
    if reasons.is_empty() {
        reasons.push(
            "each found its bounds without a contradiction: what the path stands changed between \
             them"
                .into(),
        );
    }
    reasons
}
