//! The search itself (the Controller of MLRsearch).

use std::time::Duration;

use super::choice::{Range, Step, next_load};
use super::classify::{LoadClass, Sample, conditional_throughput};
use super::evidence::{Bounds, Evidence};
use super::goal::{SearchConfig, SearchGoal};
use super::result::{GoalResult, Halt, Irregularity, SearchResult};
use super::trial::{Measurer, Purpose, TrialRecord};
use crate::error::{Error, Result};

/// How many goal widths the first step of narrowing takes: the first guess is a rough one.
const FIRST_STEP_WIDTHS: f64 = 4.0;

/// How many duration sums an upper bound is measured for that other trials contradict.
const DOUBTED_DURATION_SUMS: u32 = 2;

/// Runs a search; `after_trial` sees each trial, void ones too.
///
/// Ends within [`SearchConfig::max_trials`] and [`SearchConfig::max_duration`], the last trial's
/// own excess excluded; what was found until then is in the result. Fails only if the
/// configuration makes no sense or a trial could not be run at all.
pub fn search(
    measurer: &mut dyn Measurer,
    config: &SearchConfig,
    after_trial: &mut dyn FnMut(&TrialRecord),
) -> Result<SearchResult> {
    config.check()?;
    let finest = config.goals.iter().map(|goal| goal.width).fold(1.0, f64::min);
    let mut run = Run {
        measurer,
        config,
        after_trial,
        evidence: Evidence::default(),
        trials: Vec::new(),
        elapsed: Duration::ZERO,
        ceiling_pps: None,
        ceiling_step: Step::starting_at(finest),
        progress: vec![GoalProgress::default(); config.goals.len()],
    };
    let halted = match run.serve_all_goals() {
        Ok(()) => None,
        Err(End::Halt(halt)) => Some(halt),
        Err(End::Failure(error)) => return Err(error),
    };
    Ok(run.into_result(halted))
}

/// What ends a search before it is done.
enum End {
    Halt(Halt),
    Failure(Error),
}

type Progress<T> = std::result::Result<T, End>;

#[derive(Clone, Copy, Debug, Default)]
struct GoalProgress {
    trials_used: usize,
    failed_confirmations: usize,
    gave_up_confirming: bool,
}

struct Run<'a> {
    measurer: &'a mut dyn Measurer,
    config: &'a SearchConfig,
    after_trial: &'a mut dyn FnMut(&TrialRecord),
    evidence: Evidence,
    trials: Vec<TrialRecord>,
    elapsed: Duration,
    /// The highest load to be offered since the generator could not do more.
    ceiling_pps: Option<f64>,
    /// How far the ceiling falls next.
    ceiling_step: Step,
    progress: Vec<GoalProgress>,
}

impl Run<'_> {
    fn range(&self) -> Range {
        let top = self.ceiling_pps.unwrap_or(self.config.max_load_pps);
        Range { bottom: self.config.min_load_pps, top }
    }

    fn serve_all_goals(&mut self) -> Progress<()> {
        let first_guess_pps = self.look_at_the_top()?;
        // The strictest goal first: its bounds are where the others begin.
        let mut order: Vec<usize> = (0..self.config.goals.len()).collect();
        let loss_ratio = |goal: &usize| self.config.goals[*goal].loss_ratio;
        order.sort_by(|a, b| loss_ratio(a).total_cmp(&loss_ratio(b)));
        // A trial for one goal may undo a bound of another, so they take turns until a whole
        // round needs no trial. Each round but the last runs one, so the limits end this too.
        loop {
            let before = self.trials.len();
            for &goal in &order {
                self.serve(goal, first_guess_pps)?;
            }
            if self.trials.len() == before {
                return Ok(());
            }
        }
    }

    /// Measures the highest load that can be offered; what comes through is the first guess.
    fn look_at_the_top(&mut self) -> Progress<f64> {
        let shortest = self.config.goals.iter().map(|goal| goal.initial_trial_duration).min();
        while self.evidence.is_empty() {
            let top_pps = self.range().top;
            self.measure(top_pps, shortest.unwrap_or_default(), Purpose::Start, None)?;
        }
        let first = self.trials.last().map(|record| record.outcome.forwarding_pps());
        Ok(first.filter(|pps| pps.is_finite()).unwrap_or(self.config.min_load_pps))
    }

    fn serve(&mut self, at: usize, first_guess_pps: f64) -> Progress<()> {
        loop {
            self.decide_both_ends(at, first_guess_pps)?;
            if !self.confirm(at)? {
                return Ok(());
            }
        }
    }

    /// Narrows and decides until the relevant bounds of a goal are as close as it wants them, or
    /// nothing that may be offered could move them.
    fn decide_both_ends(&mut self, at: usize, first_guess_pps: f64) -> Progress<()> {
        let goal = self.config.goals[at];
        let duration_sum = goal.duration_sum.saturating_mul(DOUBTED_DURATION_SUMS);
        let long = SearchGoal { duration_sum, ..goal };
        let mut step = Step::starting_at(goal.width);
        loop {
            self.narrow(at, first_guess_pps)?;
            let range = self.range();
            let duration = goal.final_trial_duration;
            if let Some(load_pps) = self.next_to_decide(&goal, range, &mut step) {
                self.decide(at, &goal, load_pps, duration, Purpose::Decide)?;
            } else if let Some(load_pps) = self.doubtful_upper_bound(&goal, &long, range) {
                self.decide(at, &long, load_pps, duration, Purpose::Decide)?;
            } else {
                return Ok(());
            }
        }
    }

    fn next_to_decide(&self, goal: &SearchGoal, range: Range, step: &mut Step) -> Option<f64> {
        if self.evidence.bounds(goal).is_narrow(goal) {
            return None;
        }
        let Bounds { lower, upper } = self.evidence.bounds(&goal.narrowing());
        let undecided_end = [lower, upper].into_iter().flatten().find(|&end| {
            end <= range.top && self.evidence.class(goal, end) == LoadClass::Undecided
        });
        undecided_end.or_else(|| next_load(goal, &self.evidence, range, step, None))
    }

    /// The relevant upper bound if noise may have made it: it passed some trials, or higher loads
    /// passed (loss inversion). Such a bound would hide all that is above it, so it must hold for
    /// longer than others; how long, is in `long`.
    fn doubtful_upper_bound(
        &self,
        goal: &SearchGoal,
        long: &SearchGoal,
        range: Range,
    ) -> Option<f64> {
        let upper_pps = self.evidence.bounds(goal).upper.filter(|&upper| upper <= range.top)?;
        let full_length_s = goal.final_trial_duration.as_secs_f64();
        let passed_once = self.evidence.at(upper_pps).iter().any(|sample| {
            sample.duration_s >= full_length_s && sample.loss_ratio <= goal.loss_ratio
        });
        let contradicted = passed_once || self.evidence.passed_above(&goal.narrowing(), upper_pps);
        let undecided = self.evidence.class(long, upper_pps) == LoadClass::Undecided;
        (contradicted && undecided).then_some(upper_pps)
    }

    /// Finds the region by single trials.
    fn narrow(&mut self, at: usize, first_guess_pps: f64) -> Progress<()> {
        let goal = self.config.goals[at].narrowing();
        let mut hint = Some(first_guess_pps);
        let mut step = Step::starting_at(FIRST_STEP_WIDTHS * goal.width);
        while let Some(load_pps) =
            next_load(&goal, &self.evidence, self.range(), &mut step, hint.take())
        {
            self.decide(at, &goal, load_pps, goal.final_trial_duration, Purpose::Narrow)?;
        }
        Ok(())
    }

    /// Measures at a load until `goal` has it decided, or the generator turns out unable to.
    fn decide(
        &mut self,
        at: usize,
        goal: &SearchGoal,
        load_pps: f64,
        duration: Duration,
        purpose: Purpose,
    ) -> Progress<()> {
        while load_pps <= self.range().top
            && self.evidence.class(goal, load_pps) == LoadClass::Undecided
        {
            self.measure(load_pps, duration, purpose, Some(at))?;
        }
        Ok(())
    }

    /// Runs the long trial at the lower bound if it is due. True if the goal must be served again
    /// because the trial went wrong.
    fn confirm(&mut self, at: usize) -> Progress<bool> {
        let goal = self.config.goals[at];
        let Some(duration) = self.config.confirmation else { return Ok(false) };
        let Some(lower_pps) = self.evidence.bounds(&goal).lower else { return Ok(false) };
        if self.progress[at].gave_up_confirming
            || self.confirmation(&goal).is_some()
            || lower_pps > self.range().top
        {
            return Ok(false);
        }
        if !self.measure(lower_pps, duration, Purpose::Confirm, Some(at))? {
            return Ok(true);
        }
        if self.is_confirmed(&goal) {
            return Ok(false);
        }
        let progress = &mut self.progress[at];
        progress.failed_confirmations += 1;
        progress.gave_up_confirming =
            progress.failed_confirmations >= self.config.max_failed_confirmations;
        Ok(true)
    }

    /// Whether the relevant lower bound stood a long trial; `None` if it has seen none.
    fn confirmation(&self, goal: &SearchGoal) -> Option<bool> {
        let duration_s = self.config.confirmation?.as_secs_f64();
        let lower_pps = self.evidence.bounds(goal).lower?;
        let long = self.evidence.at(lower_pps).iter().rev().find(|s| s.duration_s >= duration_s)?;
        Some(long.loss_ratio <= goal.loss_ratio)
    }

    fn is_confirmed(&self, goal: &SearchGoal) -> bool {
        self.confirmation(goal) == Some(true)
    }

    /// Runs a trial, again if it is void. False if it stays void because the generator cannot
    /// offer the load: the ceiling then lies below it.
    fn measure(
        &mut self,
        load_pps: f64,
        duration: Duration,
        purpose: Purpose,
        goal: Option<usize>,
    ) -> Progress<bool> {
        let mut manageable_pps: Option<f64> = None;
        for _ in 0..=self.config.void_repeats {
            self.check_limits(duration)?;
            let outcome = self.measurer.measure(load_pps, duration).map_err(End::Failure)?;
            if self.measurer.is_stopped() {
                return Err(End::Halt(Halt::Stopped));
            }
            self.elapsed = self.elapsed.saturating_add(outcome.duration);
            if let Some(goal) = goal {
                self.progress[goal].trials_used += 1;
            }
            let record = TrialRecord { purpose, goal, load_pps, duration, outcome };
            (self.after_trial)(&record);
            self.trials.push(record);
            let outcome = &self.trials[self.trials.len() - 1].outcome;
            if outcome.spoiled().is_none() {
                let sample =
                    Sample { duration_s: duration.as_secs_f64(), loss_ratio: outcome.loss_ratio() };
                self.evidence.add(load_pps, sample);
                return Ok(true);
            }
            if let Some(pps) = outcome.manageable_pps().filter(|pps| pps.is_finite()) {
                manageable_pps = Some(manageable_pps.map_or(pps, |best| best.max(pps)));
            }
        }
        self.lower_ceiling(load_pps, manageable_pps).map(|()| false)
    }

    fn check_limits(&self, duration: Duration) -> Progress<()> {
        let halt = if self.measurer.is_stopped() {
            Halt::Stopped
        } else if self.trials.len() >= self.config.max_trials {
            Halt::TrialsExhausted(self.trials.len())
        } else if self.elapsed.saturating_add(duration) > self.config.max_duration {
            Halt::TimeExhausted
        } else {
            return Ok(());
        };
        Err(End::Halt(halt))
    }

    /// `load_pps` is beyond the generator, which managed `manageable_pps`: stay below from now on.
    fn lower_ceiling(&mut self, load_pps: f64, manageable_pps: Option<f64>) -> Progress<()> {
        let Some(manageable_pps) = manageable_pps else {
            let last = self.trials.last().and_then(|record| record.outcome.spoiled());
            let why = last.map(ToString::to_string).unwrap_or_default();
            return Err(End::Halt(Halt::Spoiled { load_pps, why }));
        };
        if load_pps <= self.config.min_load_pps {
            return Err(End::Halt(Halt::GeneratorBelowMin));
        }
        let below_pps = self.ceiling_step.down_from(manageable_pps.min(load_pps));
        self.ceiling_step.grow();
        self.ceiling_pps = Some(below_pps.max(self.config.min_load_pps));
        Ok(())
    }

    fn into_result(self, halted: Option<Halt>) -> SearchResult {
        let goals =
            (0..self.config.goals.len()).map(|at| self.goal_result(at, halted.as_ref())).collect();
        SearchResult { goals, trials: self.trials, halted, generator_ceiling_pps: self.ceiling_pps }
    }

    fn goal_result(&self, at: usize, halted: Option<&Halt>) -> GoalResult {
        let goal = self.config.goals[at];
        let bounds = self.evidence.bounds(&goal);
        let range = self.range();
        let stands_the_top = bounds.lower.is_some_and(|lower| lower >= range.top);
        let at_least = stands_the_top && !bounds.is_narrow(&goal);
        let confirmed = self.confirmation(&goal);
        let unconfirmed = self.config.confirmation.is_some() && confirmed != Some(true);
        let irregular = if bounds.is_narrow(&goal) || at_least {
            match halted {
                // Nothing was left to do but to confirm.
                Some(halt) if unconfirmed => Some(Irregularity::Halted(halt.clone())),
                _ if unconfirmed => Some(Irregularity::NotConfirmed),
                _ if !at_least => None,
                _ if self.ceiling_pps.is_some() => Some(Irregularity::GeneratorIsTheLimit),
                _ => Some(Irregularity::MaxLoadPasses),
            }
        } else if bounds.lower.is_none() && bounds.upper.is_some_and(|u| u <= range.bottom) {
            Some(Irregularity::MinLoadFails)
        } else {
            // Whoever is not halted goes on until one of the cases above holds.
            Some(halted.cloned().map_or(Irregularity::NotConfirmed, Irregularity::Halted))
        };
        let throughput = |lower| conditional_throughput(&goal, lower, self.evidence.at(lower));
        GoalResult {
            goal,
            lower_bound_pps: bounds.lower,
            upper_bound_pps: bounds.upper,
            conditional_throughput_pps: bounds.lower.map(throughput),
            width: bounds.width(),
            estimate_pps: self.evidence.bounds(&goal.narrowing()).lower,
            trials_used: self.progress[at].trials_used,
            confirmed,
            at_least,
            irregular,
        }
    }
}
