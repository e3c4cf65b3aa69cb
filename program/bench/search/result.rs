//! What a search found, in numbers and in words.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::json;

use super::classify::Sample;
pub use super::evidence::Disagreement;
use super::goal::SearchGoal;
use super::trial::TrialRecord;
use crate::error::Error;
use crate::stats::state::State;
use crate::units;
use linerate_core::serialize_as_text;

/// A whole search.
#[derive(Clone, Debug, Serialize)]
pub struct SearchResult {
    /// By goal, in the order asked for.
    pub goals: Vec<GoalResult>,
    /// All trials, in the order in which they were run.
    pub trials: Vec<TrialRecord>,
    /// Why the search ended before all goals were served, if it did.
    pub halted: Option<Halt>,
    /// The lowest load that the generator could not offer, in frames per second, if the search met
    /// one.
    pub generator_ceiling_pps: Option<f64>,
}

/// A Goal Result.
#[derive(Clone, Debug, Serialize)]
pub struct GoalResult {
    /// The goal.
    #[serde(flatten)]
    pub goal: SearchGoal,
    /// Relevant Lower Bound, in frames per second: the largest load that the device stood.
    pub lower_bound_pps: Option<f64>,
    /// Relevant Upper Bound, in frames per second: the smallest load that it did not.
    pub upper_bound_pps: Option<f64>,
    /// Conditional Throughput: what came through at the lower bound, in frames per second.
    pub conditional_throughput_pps: Option<f64>,
    /// How far the bounds are apart, as a part of the upper one.
    pub width: Option<f64>,
    /// The best guess of an unfinished search, from single trials; frames per second.
    pub estimate_pps: Option<f64>,
    /// Trials that were run for this goal. It may owe its bounds to those of other goals too.
    pub trials_used: usize,
    /// Whether the lower bound stood the long trial; `None` if none was asked for, or none counts.
    pub confirmed: Option<bool>,
    /// The long trial at the lower bound; `None` if none was run there.
    pub confirmation: Option<Confirmation>,
    /// The load near the bounds about which trials differed most, if any did.
    pub disagreement: Option<Disagreement>,
    /// Whether the device may well do more: the highest load that could be offered passed.
    pub at_least: bool,
    /// What the bounds are worth.
    pub state: State,
    /// Why the result is irregular; empty for a Regular Goal Result.
    pub irregular: Vec<Irregularity>,
}

/// What came of a long trial at a lower bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Confirmation {
    /// The generator spoiled it.
    Void,
    /// It counts.
    Run(Sample),
}

impl Serialize for Confirmation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sample = match self {
            Confirmation::Void => None,
            Confirmation::Run(sample) => Some(sample),
        };
        let confirmation = json!({
            "void": sample.is_none(),
            "duration_s": sample.map(|sample| sample.duration_s),
            "loss_ratio": sample.map(|sample| sample.loss_ratio),
        });
        confirmation.serialize(serializer)
    }
}

/// Why a goal's result is irregular.
#[derive(Clone, Debug, PartialEq)]
pub enum Irregularity {
    /// The highest load asked for passes.
    MaxLoadPasses,
    /// The highest load that the generator could offer passes.
    GeneratorIsTheLimit,
    /// Even the lowest load asked for fails.
    MinLoadFails,
    /// The bounds are further apart than the goal wants them: trials differed too much for closer
    /// ones, or the time was too short.
    Coarse {
        /// How far they are apart, as a part of the upper one; `None` where one is missing.
        width: Option<f64>,
        /// About which load trials differed.
        disagreement: Option<Disagreement>,
    },
    /// The lower bound did not stand the long trial, or saw none that counts.
    NotConfirmed(Option<Confirmation>),
    /// The search ended before.
    Halted(Halt),
}

/// What ended a search early.
#[derive(Clone, Debug, PartialEq)]
pub enum Halt {
    /// As many trials as may be were run.
    TrialsExhausted(usize),
    /// The next trial would not have fitted into the time.
    TimeExhausted,
    /// Somebody wanted no more trials.
    Stopped,
    /// Trials at a load were spoiled again and again.
    Spoiled {
        /// The load, in frames per second.
        load_pps: f64,
        /// By what.
        why: String,
    },
    /// A burst was spoiled again and again.
    SpoiledBurst {
        /// Which, and by what.
        why: String,
    },
    /// The generator could not even offer the lowest load.
    GeneratorBelowMin,
}

serialize_as_text!(Irregularity, Halt);

/// What ends a search before it is done.
pub(super) enum End {
    Halt(Halt),
    Failure(Error),
}

/// What goes on unless the search ends.
pub(super) type Progress<T> = Result<T, End>;

impl From<Error> for End {
    fn from(error: Error) -> End {
        End::Failure(error)
    }
}

/// Why a search ended before it was done, if it did; an error where it could not go on.
pub(super) fn until_halted(progress: Progress<()>) -> Result<Option<Halt>, Error> {
    match progress {
        Ok(()) => Ok(None),
        Err(End::Halt(halt)) => Ok(Some(halt)),
        Err(End::Failure(error)) => Err(error),
    }
}

impl fmt::Display for Irregularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The highest load is what the generator sends into a sink.
            Irregularity::MaxLoadPasses | Irregularity::GeneratorIsTheLimit => {
                f.write_str("the generator is the limit: all that it can offer passes")
            }
            Irregularity::MinLoadFails => f.write_str("even the lowest load fails"),
            Irregularity::Coarse { width, disagreement } => {
                match width {
                    Some(width) => write!(f, "bounds {} apart: ", units::percent(*width))?,
                    None => f.write_str("a bound is missing: ")?,
                }
                match disagreement {
                    Some(disagreement) => disagreement.fmt(f),
                    None => f.write_str("the time allowed no closer ones"),
                }
            }
            Irregularity::NotConfirmed(None) => {
                f.write_str("not confirmed: no time was left for the long trial")
            }
            Irregularity::NotConfirmed(Some(Confirmation::Void)) => {
                f.write_str("not confirmed: the generator spoiled the long trial")
            }
            Irregularity::NotConfirmed(Some(Confirmation::Run(Sample {
                duration_s,
                loss_ratio,
            }))) => {
                let lost = units::percent(*loss_ratio);
                write!(f, "not confirmed: {duration_s} s at the lower bound lost {lost}")
            }
            Irregularity::Halted(halt) => halt.fmt(f),
        }
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Disagreement { load_pps, exceeded, trials } = self;
        let load = units::rate(*load_pps);
        write!(f, "trials at {load} disagreed, {exceeded} of {trials} exceeded the goal")
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Halt::TrialsExhausted(trials) => write!(f, "{trials} trials did not suffice"),
            Halt::TimeExhausted => f.write_str("the time was over"),
            Halt::Stopped => f.write_str("the search was stopped"),
            Halt::Spoiled { load_pps, why } => {
                write!(
                    f,
                    "trials at {} were spoiled again and again: {why}",
                    units::rate(*load_pps)
                )
            }
            Halt::SpoiledBurst { why } => write!(f, "spoiled again and again: {why}"),
            Halt::GeneratorBelowMin => {
                f.write_str("the generator could not even offer the lowest load")
            }
        }
    }
}
