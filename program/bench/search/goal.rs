//! What is searched for: goals with the names and meanings of MLRsearch (RFC 9971), and limits.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::json;

use crate::error::{Error, Result};
use crate::units::percent;

/// The shortest trial that RFC 2544 section 24 lets decide a throughput.
pub const RFC_2544_TRIAL: Duration = Duration::from_secs(60);

/// A Search Goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchGoal {
    /// Goal Loss Ratio, from 0 to below 1: a trial that loses more is a high-loss trial. Zero
    /// searches the NDR, more a PDR.
    pub loss_ratio: f64,
    /// Goal Exceed Ratio, from 0 to below 1: the part of the duration sum that high-loss trials
    /// may take at a load that still counts as a lower bound.
    pub exceed_ratio: f64,
    /// Goal Duration Sum: how much trial time a load is decided by.
    pub duration_sum: Duration,
    /// Goal Initial Trial Duration: of the trials that find the region.
    pub initial_trial_duration: Duration,
    /// Goal Final Trial Duration: of the trials that decide.
    pub final_trial_duration: Duration,
    /// Goal Width: how far the bounds may be apart, as a part of the upper one.
    pub width: f64,
    /// By whose procedure, and so what the result may be called.
    pub procedure: Procedure,
}

/// By whose procedure a goal is searched for. Equal parameters do not make it another one: a result
/// bears the name of RFC 2544 only if that procedure was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Procedure {
    /// A conditional throughput, in the manner of MLRsearch (RFC 9971).
    #[default]
    Conditional,
    /// The throughput of RFC 2544 section 26.1.
    Rfc2544,
}

impl Default for SearchGoal {
    fn default() -> SearchGoal {
        SearchGoal {
            loss_ratio: 0.0,
            exceed_ratio: 0.5,
            duration_sum: Duration::from_secs(5),
            initial_trial_duration: Duration::from_millis(200),
            final_trial_duration: Duration::from_secs(1),
            width: 0.005,
            procedure: Procedure::Conditional,
        }
    }
}

impl SearchGoal {
    /// The defaults with another loss ratio.
    pub fn with_loss_ratio(loss_ratio: f64) -> SearchGoal {
        SearchGoal { loss_ratio, ..SearchGoal::default() }
    }

    /// The throughput of RFC 2544 section 26.1: one trial of 60 s decides, and no frame is lost.
    pub fn rfc2544() -> SearchGoal {
        SearchGoal {
            loss_ratio: 0.0,
            exceed_ratio: 0.0,
            duration_sum: RFC_2544_TRIAL,
            initial_trial_duration: RFC_2544_TRIAL,
            final_trial_duration: RFC_2544_TRIAL,
            procedure: Procedure::Rfc2544,
            ..SearchGoal::default()
        }
    }

    /// What the goal's result is called.
    pub fn result_name(&self) -> &'static str {
        match self.procedure {
            Procedure::Rfc2544 => "RFC 2544 throughput",
            Procedure::Conditional => "conditional throughput (MLRsearch-like)",
        }
    }

    /// The goal of the trials that find the region: a single initial trial decides.
    pub(super) fn narrowing(&self) -> SearchGoal {
        SearchGoal {
            duration_sum: self.initial_trial_duration,
            final_trial_duration: self.initial_trial_duration,
            ..*self
        }
    }

    fn check(&self) -> std::result::Result<(), &'static str> {
        if !(0.0..1.0).contains(&self.loss_ratio) {
            return Err("a goal loss ratio is from 0 to below 1");
        }
        if !(0.0..1.0).contains(&self.exceed_ratio) {
            return Err("a goal exceed ratio is from 0 to below 1");
        }
        if !(WIDTH_MIN..=0.5).contains(&self.width) {
            return Err("a goal width is from 0.001 % to 50 %");
        }
        if self.initial_trial_duration.is_zero() {
            return Err("a trial must be longer than zero");
        }
        if self.initial_trial_duration > self.final_trial_duration {
            return Err("the final trials may not be shorter than the initial ones");
        }
        if self.duration_sum < self.final_trial_duration {
            return Err("the goal duration sum may not be shorter than one final trial");
        }
        let strict = self.loss_ratio == 0.0
            && self.exceed_ratio == 0.0
            && self.final_trial_duration >= RFC_2544_TRIAL;
        if self.procedure == Procedure::Rfc2544 && !strict {
            return Err("RFC 2544 wants trials of 60 s without any loss");
        }
        Ok(())
    }
}

/// What the rate is called that the goal finds: several goals with loss are told apart.
impl fmt::Display for SearchGoal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.procedure, self.loss_ratio) {
            (Procedure::Rfc2544, _) => f.write_str(self.result_name()),
            (_, 0.0) => f.write_str("NDR"),
            (_, ratio) => write!(f, "PDR {}", percent(ratio)),
        }
    }
}

impl Serialize for SearchGoal {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let goal = json!({
            "goal": self.to_string(),
            "name": self.result_name(),
            "loss_ratio": self.loss_ratio,
            "exceed_ratio": self.exceed_ratio,
            "duration_sum_s": self.duration_sum.as_secs_f64(),
            "trial_duration_s": self.final_trial_duration.as_secs_f64(),
            "initial_trial_duration_s": self.initial_trial_duration.as_secs_f64(),
            "goal_width": self.width,
        });
        goal.serialize(serializer)
    }
}

/// The finest goal width; finer ones would ask the generator for loads that it cannot tell apart.
const WIDTH_MIN: f64 = 1e-5;

/// A search: its goals, its range, and how long it may take.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchConfig {
    /// The goals, which share their trials.
    pub goals: Vec<SearchGoal>,
    /// Min Load: no trial offers less, in frames per second.
    pub min_load_pps: f64,
    /// Max Load: no trial offers more, in frames per second.
    pub max_load_pps: f64,
    /// The long trial that the found lower bound should stand in the end; `None` for none. If it
    /// loses more than the goal allows and its width explains, the bound was wrong and is searched
    /// anew; if it loses less than that, the bound is left and called not confirmed.
    pub confirmation: Option<Duration>,
    /// How many such trials of one goal may fail before the search leaves it at that.
    pub max_failed_confirmations: usize,
    /// How often a void trial is repeated. Where more trials than this are void, and they are the
    /// larger part, the load counts as beyond the generator.
    pub void_repeats: usize,
    /// Trials at most, void ones included.
    pub max_trials: usize,
    /// Time at most, as the outcomes of the trials state it. The goals share it, and each makes do
    /// with bounds further apart before its part is over.
    pub max_duration: Duration,
}

impl SearchConfig {
    /// NDR and a PDR of 0.5 % between two loads, with the defaults.
    pub fn between(min_load_pps: f64, max_load_pps: f64) -> SearchConfig {
        SearchConfig {
            goals: vec![SearchGoal::with_loss_ratio(0.0), SearchGoal::with_loss_ratio(0.005)],
            min_load_pps,
            max_load_pps,
            confirmation: Some(Duration::from_secs(10)),
            max_failed_confirmations: 3,
            void_repeats: 2,
            max_trials: 200,
            max_duration: Duration::from_secs(300),
        }
    }

    /// The RFC 2544 throughput between two loads: every trial takes 60 s and decides.
    pub fn rfc2544(min_load_pps: f64, max_load_pps: f64) -> SearchConfig {
        SearchConfig {
            goals: vec![SearchGoal::rfc2544()],
            confirmation: None,
            max_duration: Duration::from_secs(3600),
            ..SearchConfig::between(min_load_pps, max_load_pps)
        }
    }

    /// Refuses what cannot be searched.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: &str| Err(Error::Usage(format!("search: {what}")));
        if self.goals.is_empty() || self.goals.len() > GOALS_MAX {
            return refuse("there must be 1 to 16 goals");
        }
        for goal in &self.goals {
            if let Err(what) = goal.check() {
                return refuse(what);
            }
        }
        let loads_are_numbers = self.min_load_pps > 0.0 && self.max_load_pps.is_finite();
        if !loads_are_numbers || self.min_load_pps > self.max_load_pps {
            return refuse("the loads must be above zero, the smallest first");
        }
        let longest = self.goals.iter().map(|goal| goal.final_trial_duration).max();
        if self.confirmation.is_some_and(|confirmation| Some(confirmation) < longest) {
            return refuse("the confirmation may not be shorter than a final trial");
        }
        Ok(())
    }
}

const GOALS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_procedure_bears_the_name_and_only_its_parameters_may_bear_it() {
        let rfc = SearchGoal::rfc2544();
        assert_eq!(rfc.result_name(), "RFC 2544 throughput");
        rfc.check().unwrap();
        let alike = SearchGoal { procedure: Procedure::Conditional, ..rfc };
        assert!(!alike.result_name().contains("2544"));
        for bent in [
            SearchGoal { loss_ratio: 0.001, ..rfc },
            SearchGoal { exceed_ratio: 0.5, ..rfc },
            SearchGoal {
                initial_trial_duration: Duration::from_secs(1),
                final_trial_duration: Duration::from_secs(59),
                ..rfc
            },
        ] {
            assert!(bent.check().is_err(), "{bent:?}");
        }
    }

    #[test]
    fn what_cannot_be_searched_is_refused() {
        let good = SearchConfig::between(1.0, 1e6);
        good.check().unwrap();
        SearchConfig::rfc2544(1.0, 1e6).check().unwrap();
        let goal = SearchGoal::default();
        let bad = [
            SearchConfig { goals: vec![], ..good.clone() },
            SearchConfig { min_load_pps: 0.0, ..good.clone() },
            SearchConfig { min_load_pps: f64::NAN, ..good.clone() },
            SearchConfig { max_load_pps: f64::INFINITY, ..good.clone() },
            SearchConfig { max_load_pps: 0.5, ..good.clone() },
            SearchConfig { confirmation: Some(Duration::from_millis(1)), ..good.clone() },
            SearchConfig { goals: vec![SearchGoal { width: 0.0, ..goal }], ..good.clone() },
            SearchConfig { goals: vec![SearchGoal { exceed_ratio: 1.0, ..goal }], ..good.clone() },
            SearchConfig { goals: vec![SearchGoal { loss_ratio: -0.1, ..goal }], ..good.clone() },
            SearchConfig {
                goals: vec![SearchGoal { duration_sum: Duration::from_millis(1), ..goal }],
                ..good
            },
        ];
        for config in bad {
            assert!(config.check().is_err(), "{config:?}");
        }
    }
}
