//! The search itself (the Controller of MLRsearch).

use std::time::Duration;

use super::choice::{Range, Step, next_load};
use super::classify::{LoadClass, Sample, conditional_throughput};
use super::evidence::{Bounds, Evidence};
use super::goal::{SearchConfig, SearchGoal};
use super::result::{
    Confirmation, End, GoalResult, Halt, Irregularity, Progress, SearchResult, until_halted,
};
use super::trial::{Measurer, Purpose, TrialRecord, VoidReason};
use crate::error::Result;
use crate::stats::spread::Spread;
use crate::stats::state::{Doubt, State, WIDTH_MAX as WIDTH_MAX_TO_TELL};

/// How many goal widths the first step of narrowing takes: the first guess is a rough one.
const FIRST_STEP_WIDTHS: f64 = 4.0;

/// How many duration sums an upper bound is measured for that other trials contradict.
const DOUBTED_DURATION_SUMS: u32 = 2;

/// Each trial that came out by chance makes a goal ask for bounds this much further apart: closer ones
/// cannot be told apart on this machine.
const WIDENING: f64 = 2.0;

/// The widest that noise or want of time may make a goal's width.
const WIDTH_MAX: f64 = 0.1;

/// The part of its time after which a goal makes do with bounds as close as they are by then.
const PATIENCE: f64 = 0.5;

/// The part of its time after which a goal that has no lower bound yet wants any, and how far below
/// the upper one it may be.
const LAST_PATIENCE: f64 = 0.6;
const LAST_WIDTH: f64 = 0.5;

/// How often a confirmation is repeated that the generator spoiled: it is long.
const VOID_CONFIRMATIONS: usize = 1;

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
    let fresh = |goal: &SearchGoal| GoalProgress { width: goal.width, ..GoalProgress::default() };
    let mut run = Run {
        measurer,
        config,
        after_trial,
        evidence: Evidence::new(config.void_repeats),
        trials: Vec::new(),
        elapsed: Duration::ZERO,
        disturbed: 0,
        confirmations: Vec::new(),
        progress: config.goals.iter().map(fresh).collect(),
    };
    let halted = until_halted(run.serve_all_goals())?;
    Ok(run.into_result(halted))
}

#[derive(Clone, Copy, Debug, Default)]
struct GoalProgress {
    trials_used: usize,
    failed_confirmations: usize,
    /// Whether a longer trial denied what short ones had said of a load. From then on only long
    /// ones say where to look, and they are taken for what they are: subject to chance.
    misled: bool,
    /// The width that the goal makes do with for now, and the one that it will not go below again:
    /// its own, or wider.
    width: f64,
    accepted: f64,
    /// How far the next step outwards goes.
    step: Step,
    /// Where to look first.
    hint_pps: Option<f64>,
    /// The load whose single trial was void.
    pursued_pps: Option<f64>,
}

/// A trial to be run next.
#[derive(Clone, Copy, Debug)]
struct Next {
    load_pps: f64,
    duration: Duration,
    purpose: Purpose,
}

struct Run<'a> {
    measurer: &'a mut dyn Measurer,
    config: &'a SearchConfig,
    after_trial: &'a mut dyn FnMut(&TrialRecord),
    evidence: Evidence,
    trials: Vec<TrialRecord>,
    elapsed: Duration,
    /// Trials in a row that were void for a reason that has nothing to do with the load.
    disturbed: usize,
    /// The long trials, with the loads that they were run at; void ones too.
    confirmations: Vec<(f64, Confirmation)>,
    progress: Vec<GoalProgress>,
}

impl Run<'_> {
    fn range(&self) -> Range {
        Range { bottom: self.config.min_load_pps, top: self.config.max_load_pps }
    }

    fn serve_all_goals(&mut self) -> Progress<()> {
        let first_guess_pps = self.look_at_the_top()?;
        self.progress.iter_mut().for_each(|goal| goal.hint_pps = Some(first_guess_pps));
        // The strictest goal first: its bounds are where the others begin.
        let mut order: Vec<usize> = (0..self.config.goals.len()).collect();
        let loss_ratio = |goal: &usize| self.config.goals[*goal].loss_ratio;
        order.sort_by(|a, b| loss_ratio(a).total_cmp(&loss_ratio(b)));
        // A trial for one goal may undo a bound of another, so they take turns until a whole
        // round needs no trial. Each round but the last runs one, so the limits end this too.
        loop {
            let before = self.trials.len();
            for (turn, &at) in order.iter().enumerate() {
                let turns = (order.len() - turn) as u32;
                let patience = (self.time_to_settle() / turns).mul_f64(PATIENCE);
                let most = self.time_left() / turns;
                self.settle(at, self.elapsed + patience, self.elapsed + most)?;
            }
            if self.trials.len() == before && !self.confirm_next(&order)? {
                return Ok(());
            }
        }
    }

    fn time_left(&self) -> Duration {
        self.config.max_duration.saturating_sub(self.elapsed)
    }

    /// Time that is left beside a confirmation to come, which may have half of all. It is kept for
    /// one only: goals that find the same bound share it, and others take theirs if there is time.
    fn time_to_settle(&self) -> Duration {
        let is_open = (0..self.progress.len()).any(|at| self.confirmation(at).is_none());
        let confirming = self.config.confirmation.filter(|_| is_open).unwrap_or_default();
        self.time_left().saturating_sub(confirming.min(self.config.max_duration / 2))
    }

    /// Measures the highest load, which the generator may well be unable to offer; the most that
    /// came through is the first guess.
    fn look_at_the_top(&mut self) -> Progress<f64> {
        let shortest = self.config.goals.iter().map(|goal| goal.initial_trial_duration).min();
        let look = Next {
            load_pps: self.config.max_load_pps,
            duration: shortest.unwrap_or_default(),
            purpose: Purpose::Start,
        };
        let mut guess_pps = self.config.min_load_pps;
        for _ in 0..=self.config.void_repeats {
            let counts = self.measure(None, look)?;
            let seen = self.trials.last().map(|record| record.outcome.forwarding_pps());
            guess_pps = guess_pps.max(seen.filter(|pps| pps.is_finite()).unwrap_or(0.0));
            if counts {
                break;
            }
        }
        Ok(guess_pps)
    }

    /// Narrows and decides until the relevant bounds of a goal are as close as it wants them, or
    /// nothing that may be offered could move them. After `patience` it makes do with wider ones,
    /// and after `until` it is cut short.
    ///
    /// Which trial is needed next is asked anew after each: one that goes against what a load was
    /// taken for moves the search on at once, and a load that is no bound needs no decision.
    fn settle(&mut self, at: usize, patience: Duration, until: Duration) -> Progress<()> {
        let goal = self.config.goals[at];
        let last_patience =
            self.elapsed + until.saturating_sub(self.elapsed).mul_f64(LAST_PATIENCE);
        // Where trials for another goal contradicted one another, short ones mislead this one too.
        let misled = self.progress.iter().any(|goal| goal.misled);
        let progress = &mut self.progress[at];
        progress.step = Step::starting_at(FIRST_STEP_WIDTHS * goal.width);
        progress.misled = misled;
        loop {
            let patient = self.elapsed <= patience;
            self.widen(at, !patient, self.elapsed > last_patience);
            let Some(next) = self.next_trial(at, patient) else { break };
            if self.elapsed.saturating_add(next.duration) > until {
                return Ok(());
            }
            self.measure(Some(at), next)?;
        }
        let bounds = self.evidence.bounds(&goal);
        if bounds.beyond_generator && bounds.upper.is_some_and(|u| u <= self.range().bottom) {
            return Err(End::Halt(Halt::GeneratorBelowMin));
        }
        Ok(())
    }

    /// Sets the width that a goal makes do with.
    fn widen(&mut self, at: usize, out_of_patience: bool, urgent: bool) {
        let goal = self.config.goals[at];
        let (ends, chance) = self.likely_ends(at);
        let most = goal.width.max(WIDTH_MAX);
        let mut width = (goal.width * WIDENING.powf(chance.min(99.0))).min(most);
        if out_of_patience {
            let decided = self.evidence.bounds(&goal).width().filter(|&width| width <= most);
            width = width.max(decided.or(ends.width()).unwrap_or(0.0).min(most));
        }
        // What the goal once made do with it keeps: it would hunt for closer bounds to the end.
        let progress = &mut self.progress[at];
        progress.accepted = progress.accepted.max(width);
        let has_none = self.evidence.bounds(&goal).lower.is_none();
        progress.width =
            if urgent && has_none { progress.accepted.max(LAST_WIDTH) } else { progress.accepted };
    }

    /// The goal by which single trials narrow: short ones, until they mislead.
    fn single(&self, at: usize) -> SearchGoal {
        let goal = self.config.goals[at];
        let GoalProgress { misled, width, .. } = self.progress[at];
        let narrowing = match misled {
            false => goal.narrowing(),
            true => SearchGoal { duration_sum: goal.final_trial_duration, ..goal },
        };
        SearchGoal { width, ..narrowing }
    }

    /// Between which loads the limit is to be looked for, and how many trials came out by chance.
    fn likely_ends(&self, at: usize) -> (Bounds, f64) {
        let (likely, chance) = self.evidence.likely_bounds(&self.config.goals[at]);
        match self.progress[at].misled {
            false => (self.evidence.bounds(&self.single(at)), chance),
            true => (likely, chance),
        }
    }

    fn next_trial(&mut self, at: usize, may_doubt: bool) -> Option<Next> {
        let goal = self.config.goals[at];
        let single = self.single(at);
        let range = self.range();
        if self.evidence.bounds(&goal).is_narrow(&single) {
            return self.doubtful_upper_bound(&goal).filter(|_| may_doubt).map(|load_pps| Next {
                load_pps,
                duration: goal.final_trial_duration,
                purpose: Purpose::Decide,
            });
        }
        let (ends, _) = self.likely_ends(at);
        let progress = &mut self.progress[at];
        let pursued = progress.pursued_pps.take();
        let again =
            pursued.filter(|&pps| self.evidence.class(&single, pps) == LoadClass::Undecided);
        let narrowing = again.or_else(|| {
            let hint_pps = progress.hint_pps.take();
            progress.step.widen_to(single.width);
            next_load(&single, ends, &self.evidence, range, &mut progress.step, hint_pps)
        });
        if let Some(load_pps) = narrowing {
            progress.pursued_pps = Some(load_pps);
            let duration = single.final_trial_duration;
            return Some(Next { load_pps, duration, purpose: Purpose::Narrow });
        }
        let undecided = [self.lower_end(at, ends), ends.upper]
            .into_iter()
            .flatten()
            .find(|&end| self.evidence.class(&goal, end) == LoadClass::Undecided);
        let load_pps =
            undecided.or_else(|| self.doubtful_upper_bound(&goal).filter(|_| may_doubt))?;
        let duration = goal.final_trial_duration;
        Some(Next { load_pps, duration, purpose: Purpose::Decide })
    }

    /// The lower of two ends that single trials found. Where trials contradicted one another it is
    /// no closer to the upper one than half of what the goal makes do with, for what lies closer
    /// would be decided by chance.
    fn lower_end(&self, at: usize, ends: Bounds) -> Option<f64> {
        let GoalProgress { misled, width, .. } = self.progress[at];
        let lower_pps = ends.lower?;
        let Some(upper_pps) = ends.upper.filter(|_| misled) else { return Some(lower_pps) };
        let (far_pps, near_pps) = (upper_pps * (1.0 - width), upper_pps * (1.0 - width / 2.0));
        let goal = self.config.goals[at];
        let is_decided = self.evidence.class(&goal, lower_pps) != LoadClass::Undecided;
        if lower_pps <= near_pps || is_decided {
            return Some(lower_pps);
        }
        let measured = self.evidence.nearest_measured(far_pps, near_pps, far_pps);
        Some(measured.unwrap_or(far_pps).max(self.range().bottom))
    }

    /// The relevant upper bound if noise may have made it: it passed some trials, or higher loads
    /// passed (loss inversion). Such a bound would hide all that is above it, so it must hold for
    /// longer than others.
    fn doubtful_upper_bound(&self, goal: &SearchGoal) -> Option<f64> {
        let duration_sum = goal.duration_sum.saturating_mul(DOUBTED_DURATION_SUMS);
        let long = SearchGoal { duration_sum, ..*goal };
        let upper_pps = self.evidence.bounds(goal).upper?;
        let mut trials = self.evidence.at(upper_pps).iter();
        let passed_once = trials.any(|sample| sample.is_full(goal) && !sample.exceeds(goal));
        let contradicted = passed_once || self.evidence.passed_above(&goal.narrowing(), upper_pps);
        let undecided = self.evidence.class(&long, upper_pps) == LoadClass::Undecided;
        (contradicted && undecided).then_some(upper_pps)
    }

    /// Runs a long trial at the lower bound of the first goal that wants one and for which there is
    /// time. False if there is none.
    fn confirm_next(&mut self, order: &[usize]) -> Progress<bool> {
        let Some(duration) = self.config.confirmation else { return Ok(false) };
        if self.elapsed.saturating_add(duration) > self.config.max_duration {
            return Ok(false);
        }
        let lower_pps = |run: &Self, at: usize| run.evidence.bounds(&run.config.goals[at]).lower;
        let due = order.iter().copied().find(|&at| {
            let failed = self.progress[at].failed_confirmations;
            failed < self.config.max_failed_confirmations
                && lower_pps(self, at).is_some()
                && match self.confirmation(at) {
                    None => true,
                    Some(Confirmation::Void) => self.void_confirmations(at) <= VOID_CONFIRMATIONS,
                    Some(Confirmation::Run(_)) => false,
                }
        });
        let Some((at, load_pps)) = due.and_then(|at| Some((at, lower_pps(self, at)?))) else {
            return Ok(false);
        };
        self.measure(Some(at), Next { load_pps, duration, purpose: Purpose::Confirm })?;
        Ok(true)
    }

    fn void_confirmations(&self, at: usize) -> usize {
        let lower_pps = self.evidence.bounds(&self.config.goals[at]).lower;
        let here = self.confirmations.iter().filter(|(load_pps, _)| Some(*load_pps) == lower_pps);
        here.filter(|(_, confirmation)| *confirmation == Confirmation::Void).count()
    }

    /// What the last long trial at the relevant lower bound of a goal came to; `None` if there was
    /// none.
    fn confirmation(&self, at: usize) -> Option<Confirmation> {
        let lower_pps = self.evidence.bounds(&self.config.goals[at]).lower?;
        let mut latest = self.confirmations.iter().rev();
        latest.find(|(load_pps, _)| *load_pps == lower_pps).map(|&(_, confirmation)| confirmation)
    }

    /// Takes a long trial at the lower bound of goal `at` as what it is worth.
    fn weigh_confirmation(&mut self, at: usize, load_pps: f64, sample: Sample) {
        let goal = self.config.goals[at];
        let Sample { loss_ratio, .. } = sample;
        self.confirmations.push((load_pps, Confirmation::Run(sample)));
        if loss_ratio > goal.loss_ratio {
            self.progress[at].failed_confirmations += 1;
        }
        // A bound that is right to within the width may lose that much, and so may one about which
        // shorter trials differed: the long one says nothing new. Else the bound was wrong, and is
        // searched again if there is time.
        let mut trials = self.evidence.at(load_pps).iter();
        let differed = trials.any(|sample| sample.is_full(&goal) && sample.exceeds(&goal));
        let wrong = loss_ratio > goal.loss_ratio + goal.width && !differed;
        let searched_again = wrong && self.time_left() >= 2 * goal.duration_sum;
        if searched_again {
            self.progress[at].hint_pps = Some(load_pps * (1.0 - loss_ratio));
        }
        if searched_again || loss_ratio <= goal.loss_ratio {
            self.evidence.add(load_pps, sample);
        }
    }

    /// Runs a trial for a goal, and learns from it. False if the generator spoiled it.
    fn measure(&mut self, at: Option<usize>, next: Next) -> Progress<bool> {
        let Next { load_pps, duration, purpose } = next;
        self.check_limits(duration)?;
        let outcome = self.measurer.measure(load_pps, duration)?;
        if self.measurer.is_stopped() {
            return Err(End::Halt(Halt::Stopped));
        }
        self.elapsed = self.elapsed.saturating_add(outcome.duration);
        let spoiled = outcome.spoiled().cloned();
        let sample =
            Sample { duration_s: duration.as_secs_f64(), loss_ratio: outcome.loss_ratio() };
        let record = TrialRecord { purpose, goal: at, load_pps, duration, outcome };
        (self.after_trial)(&record);
        self.trials.push(record);
        let single = at.map(|at| self.single(at));
        let class = |run: &Self| {
            single.map_or(LoadClass::Undecided, |goal| run.evidence.class(&goal, load_pps))
        };
        let before = class(self);
        let counts = spoiled.is_none();
        match (&spoiled, at) {
            (None, Some(at)) if purpose == Purpose::Confirm => {
                self.weigh_confirmation(at, load_pps, sample);
            }
            (None, _) => self.evidence.add(load_pps, sample),
            (Some(_), _) if purpose == Purpose::Confirm => {
                self.confirmations.push((load_pps, Confirmation::Void));
            }
            (Some(VoidReason::Disturbed(_)), _) => {}
            (Some(_), _) => self.evidence.add_void(load_pps, sample),
        }
        let after = class(self);
        if let Some(at) = at {
            let progress = &mut self.progress[at];
            progress.trials_used += 1;
            if before != LoadClass::Undecided && after != before && !progress.misled {
                progress.misled = true;
                progress.step = Step::starting_at(FIRST_STEP_WIDTHS * self.config.goals[at].width);
            }
        }
        self.note_disturbance(load_pps, spoiled)?;
        Ok(counts)
    }

    /// Trials that are disturbed one after the other will be so again.
    fn note_disturbance(&mut self, load_pps: f64, spoiled: Option<VoidReason>) -> Progress<()> {
        let Some(why @ VoidReason::Disturbed(_)) = spoiled else {
            self.disturbed = 0;
            return Ok(());
        };
        self.disturbed += 1;
        if self.disturbed > why.repeats(self.config.void_repeats) {
            return Err(End::Halt(Halt::Spoiled { load_pps, why: why.to_string() }));
        }
        Ok(())
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

    fn into_result(self, halted: Option<Halt>) -> SearchResult {
        let goals: Vec<GoalResult> =
            (0..self.config.goals.len()).map(|at| self.goal_result(at, halted.as_ref())).collect();
        let ended_early = goals.iter().flat_map(|goal| &goal.irregular).find_map(|why| match why {
            Irregularity::Halted(halt) => Some(halt.clone()),
            _ => None,
        });
        let ceilings = self
            .config
            .goals
            .iter()
            .filter_map(|goal| self.evidence.generator_ceiling(&goal.narrowing()));
        let generator_ceiling_pps = ceilings.reduce(f64::min);
        let halted = halted.or(ended_early);
        SearchResult { goals, trials: self.trials, halted, generator_ceiling_pps }
    }

    /// What bounds are worth: the trials at them say through what disturbance they were found.
    fn state(&self, bounds: Bounds, at_least: bool) -> State {
        let fails_the_bottom = bounds.upper.is_some_and(|upper| upper <= self.range().bottom);
        let thefts = self.trials.iter().filter_map(|trial| trial.outcome.spoiled()?.theft());
        let theft = Spread::of(thefts);
        let reason = match (bounds.lower, bounds.upper) {
            _ if at_least || bounds.beyond_generator => Some(Doubt::GeneratorLimited),
            (None, Some(_)) if fails_the_bottom => None,
            (Some(lower), Some(upper)) if upper <= WIDTH_MAX_TO_TELL * lower => None,
            _ if theft.is_some() => theft.map(|share| Doubt::TimeTaken { share: share.median }),
            (Some(lower), Some(upper)) => Some(Doubt::IntervalTooWide { width: upper / lower }),
            _ => Some(Doubt::BoundMissing),
        };
        let is_at_a_bound =
            |trial: &&TrialRecord| [bounds.lower, bounds.upper].contains(&Some(trial.load_pps));
        let counting = self.trials.iter().filter(|trial| trial.outcome.spoiled().is_none());
        let shares = counting.filter(is_at_a_bound).map(|trial| trial.outcome.taken.share());
        let share = Spread::of(shares).map_or(0.0, |spread| spread.median);
        reason.map_or_else(|| State::of_share(share), |reason| State::CannotTell { reason })
    }

    fn goal_result(&self, at: usize, halted: Option<&Halt>) -> GoalResult {
        let goal = self.config.goals[at];
        let GoalProgress { trials_used, width, .. } = self.progress[at];
        let bounds = self.evidence.bounds(&goal);
        let stands_the_top = bounds.lower.is_some_and(|lower| lower >= self.range().top);
        let narrow = bounds.is_narrow(&SearchGoal { width, ..goal });
        let at_least = stands_the_top || narrow && bounds.beyond_generator;
        let confirmation = self.confirmation(at);
        let (from, to) = (bounds.lower.unwrap_or(0.0), bounds.upper.unwrap_or(f64::INFINITY));
        let disagreement =
            self.evidence.disagreement(&goal, from * (1.0 - WIDTH_MAX), to * (1.0 + WIDTH_MAX));
        let mut irregular = Vec::new();
        if !narrow && !stands_the_top {
            let fails_the_bottom = bounds.upper.is_some_and(|u| u <= self.range().bottom);
            irregular.push(match halted {
                _ if fails_the_bottom && !bounds.beyond_generator => Irregularity::MinLoadFails,
                Some(halt) => Irregularity::Halted(halt.clone()),
                None => Irregularity::Halted(Halt::TimeExhausted),
            });
        } else if stands_the_top {
            irregular.push(Irregularity::MaxLoadPasses);
        } else if at_least {
            irregular.push(Irregularity::GeneratorIsTheLimit);
        }
        if !bounds.is_narrow(&goal) && (narrow || disagreement.is_some()) {
            irregular.push(Irregularity::Coarse { width: bounds.width(), disagreement });
        }
        let confirmed = match confirmation {
            Some(Confirmation::Run(sample)) => Some(sample.loss_ratio <= goal.loss_ratio),
            _ => None,
        };
        if self.config.confirmation.is_some() && bounds.lower.is_some() && confirmed != Some(true) {
            irregular.push(Irregularity::NotConfirmed(confirmation));
        }
        let throughput = |lower| conditional_throughput(&goal, lower, self.evidence.at(lower));
        GoalResult {
            goal,
            lower_bound_pps: bounds.lower,
            upper_bound_pps: bounds.upper,
            conditional_throughput_pps: bounds.lower.map(throughput),
            width: bounds.width(),
            estimate_pps: self.evidence.bounds(&goal.narrowing()).lower,
            trials_used,
            confirmed,
            confirmation,
            disagreement,
            at_least,
            state: self.state(bounds, at_least),
            irregular,
        }
    }
}
