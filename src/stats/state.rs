//! The state of a number: whether the machine let it be measured.

use std::fmt;

use serde::Serialize;

use super::best_set::EQUAL;
use super::sign::{SignInterval, rounds_needed};

/// A wider interval tells nothing.
pub const WIDTH_MAX: f64 = 1.25;
/// A machine that took no larger share of a CPU's time did not disturb. On a quiet one timer ticks and
/// wake-ups come to less than half of this.
pub const DISTURBED_SHARE: f64 = 0.05;

/// What was measured once, while a larger share of the time was taken, tells nothing.
pub const SHARE_MAX: f64 = 0.5;

/// What a number is worth. JSON: `{"state": "clear"}`, `{"state": "disturbed", "share": 0.4}`, or
/// `{"state": "cannot_tell", "reason": "interval_too_wide", "width": 1.9}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Nothing disturbed it.
    #[default]
    Clear,
    /// It was measured through a disturbance, and holds.
    Disturbed {
        /// The share of the time that was taken away, from 0 to 1.
        share: f64,
    },
    /// It says nothing.
    CannotTell {
        /// Why.
        #[serde(flatten)]
        reason: Doubt,
    },
}

/// Why a number says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Doubt {
    /// The interval is wider than [`WIDTH_MAX`].
    IntervalTooWide {
        /// Its upper end in units of its lower.
        width: f64,
    },
    /// Nothing was found on one side of what was looked for.
    BoundMissing,
    /// Too few rounds count.
    TooFewRounds {
        /// How many do.
        valid: usize,
        /// How many an interval takes.
        needed: usize,
    },
    /// The baseline, measured twice in each round, differs from itself.
    BaselineDiffers {
        /// Its interval in units of its own.
        low: f64,
        /// See `low`.
        high: f64,
    },
    /// One of two modes is better than the baseline and the other worse.
    ModesDisagree {
        /// The lower mode, in units of the baseline.
        low: f64,
        /// The upper mode, in units of the baseline.
        high: f64,
    },
    /// The generator could not send enough to find out.
    GeneratorLimited,
    /// Generator and engine had one CPU between them, so that it is the pair's number.
    OneCpu,
    /// No frame left, or none came back.
    NothingMeasured,
    /// The machine took too much of the time.
    TimeTaken {
        /// The share that it took, from 0 to 1.
        share: f64,
    },
}

impl State {
    /// The state of a ratio, whose interval over `valid` rounds at `alpha` was made while the machine took
    /// `share` of the time.
    pub fn of_ratio(ratio: Option<SignInterval>, valid: usize, alpha: f64, share: f64) -> State {
        let reason = match ratio {
            None => Doubt::TooFewRounds { valid, needed: rounds_needed(alpha) },
            Some(ratio) if ratio.width() > WIDTH_MAX => {
                Doubt::IntervalTooWide { width: ratio.width() }
            }
            Some(_) if share > DISTURBED_SHARE => return State::Disturbed { share },
            Some(_) => return State::Clear,
        };
        State::CannotTell { reason }
    }

    /// The state of what was measured once while the machine took `share` of the time.
    pub fn of_share(share: f64) -> State {
        match share {
            share if share > SHARE_MAX => State::CannotTell { reason: Doubt::TimeTaken { share } },
            share if share > DISTURBED_SHARE => State::Disturbed { share },
            _ => State::Clear,
        }
    }

    /// Whether it is a number at all.
    pub fn tells(&self) -> bool {
        !matches!(self, State::CannotTell { .. })
    }

    /// In a table: "clear", "disturbed 34 %", "cannot tell".
    pub fn brief(&self) -> String {
        match self {
            State::Clear => "clear".into(),
            State::Disturbed { share } => format!("disturbed {:.0} %", 100.0 * share),
            State::CannotTell { .. } => "cannot tell".into(),
        }
    }
}

impl Doubt {
    /// Why nothing can be told if the baseline's two seats in each round have this ratio; `None` if they
    /// agree, or differ by no more than [`EQUAL`].
    pub fn of_baseline(ratio: SignInterval) -> Option<Doubt> {
        let is_beside = ratio.low > EQUAL || ratio.high < 1.0 / EQUAL;
        let differs = is_beside || ratio.width() > WIDTH_MAX;
        differs.then_some(Doubt::BaselineDiffers { low: ratio.low, high: ratio.high })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Clear => f.write_str("clear"),
            State::Disturbed { share } => {
                write!(f, "disturbed: {:.0} % of the time was taken away", 100.0 * share)
            }
            State::CannotTell { reason } => write!(f, "cannot tell: {reason}"),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Doubt::IntervalTooWide { width } if width >= 10.0 => {
                f.write_str("the ends of the interval are more than 10 times apart")
            }
            Doubt::IntervalTooWide { width } => {
                write!(f, "the ends of the interval are {width:.1} times apart")
            }
            Doubt::BoundMissing => f.write_str("a bound is missing"),
            Doubt::TooFewRounds { valid, needed } => {
                write!(f, "valid rounds: {valid}, and an interval takes {needed}")
            }
            Doubt::BaselineDiffers { low, high } => write!(
                f,
                "measured twice, the baseline differs from itself ({low:.2} to {high:.2} times)"
            ),
            Doubt::ModesDisagree { low, high } => {
                write!(f, "there are two modes, {low:.2} and {high:.2} times the baseline")
            }
            Doubt::GeneratorLimited => f.write_str("the generator was the limit"),
            Doubt::NothingMeasured => f.write_str("no frame left, or none came back"),
            Doubt::OneCpu => f.write_str("generator and engine share one CPU"),
            Doubt::TimeTaken { share } => {
                write!(f, "the machine took {:.0} % of the time away", 100.0 * share)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ratio(low: f64, high: f64) -> SignInterval {
        SignInterval { estimate: (low * high).sqrt(), low, high, rounds: 11 }
    }

    #[test]
    fn a_ratio_is_clear_disturbed_or_says_nothing() {
        let narrow = Some(ratio(2.0, 2.2));
        assert_eq!(State::of_ratio(narrow, 11, 0.05, 0.0), State::Clear);
        let disturbed = State::of_ratio(narrow, 11, 0.05, 0.4);
        assert_eq!(json!(disturbed), json!({"state": "disturbed", "share": 0.4}));
        assert!(disturbed.tells());
        let wide = State::of_ratio(Some(ratio(1.0, 1.5)), 11, 0.05, 0.0);
        let expected = json!({"state": "cannot_tell", "reason": "interval_too_wide", "width": 1.5});
        assert_eq!(json!(wide), expected);
        let few = State::of_ratio(None, 4, 0.05, 0.0);
        let reason = Doubt::TooFewRounds { valid: 4, needed: 6 };
        assert_eq!(few, State::CannotTell { reason });
        assert!(!few.tells() && !wide.tells());
    }

    #[test]
    fn one_measurement_is_clear_disturbed_or_says_nothing() {
        assert_eq!(State::of_share(DISTURBED_SHARE * 0.9), State::Clear);
        assert_eq!(State::of_share(0.3), State::Disturbed { share: 0.3 });
        assert!(!State::of_share(0.6).tells());
    }

    #[test]
    fn a_baseline_that_differs_from_itself_judges_nobody() {
        assert_eq!(Doubt::of_baseline(ratio(0.97, 1.04)), None);
        assert_eq!(Doubt::of_baseline(ratio(1.003, 1.014)), None, "by where its memory lies");
        assert!(Doubt::of_baseline(ratio(1.03, 1.04)).is_some());
        assert!(Doubt::of_baseline(ratio(0.95, 0.97)).is_some());
        assert!(Doubt::of_baseline(ratio(0.8, 1.2)).is_some());
    }

    #[test]
    fn every_doubt_has_a_sentence_and_a_name() {
        let all = [
            Doubt::IntervalTooWide { width: 2.0 },
            Doubt::BoundMissing,
            Doubt::TooFewRounds { valid: 1, needed: 6 },
            Doubt::BaselineDiffers { low: 1.1, high: 1.2 },
            Doubt::ModesDisagree { low: 0.8, high: 1.6 },
            Doubt::GeneratorLimited,
            Doubt::OneCpu,
            Doubt::NothingMeasured,
            Doubt::TimeTaken { share: 0.9 },
        ];
        for reason in all {
            let state = State::CannotTell { reason };
            assert!(state.to_string().starts_with("cannot tell: "));
            assert_eq!(json!(state)["reason"], json!(reason)["reason"]);
            assert!(json!(reason)["reason"].is_string());
        }
    }
}
