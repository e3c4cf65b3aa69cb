//! How much each quantity changed between two results, and whether that is a regression.

use super::document::{Key, Results, Series};
use crate::error::{Error, Result};
use crate::stats::shift::{unpaired_ratio, values_needed};
use crate::stats::sign::SignInterval;
use crate::stats::spread::Spread;

/// What counts as a regression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// How often a change may lie outside of its interval, from 0 to 1.
    pub alpha: f64,
    /// The relative change for the worse that is still accepted.
    pub threshold: f64,
}

/// Two results compared.
#[derive(Clone, Debug)]
pub struct Diff {
    /// The limits that were asked for.
    pub limits: Limits,
    /// What the numbers are ratios to; `None` where they are absolute.
    pub baseline: Option<String>,
    /// Each quantity that both have.
    pub changes: Vec<Change>,
    /// What only the old one has.
    pub only_old: Vec<Key>,
    /// What only the new one has.
    pub only_new: Vec<Key>,
    /// How the machines differ.
    pub other_machine: Vec<String>,
}

/// One quantity in both.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which.
    pub key: Key,
    /// As the old result has it.
    pub old: Measured,
    /// As the new result has it.
    pub new: Measured,
    /// New in units of old, with an interval; `None` if one of them has none.
    pub ratio: Option<SignInterval>,
    /// What that means.
    pub verdict: Verdict,
}

/// A quantity in one result: the ratio to the baseline, where there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The median, however many rounds there are.
    pub median: f64,
    /// The median with its interval; `None` of too few rounds.
    pub interval: Option<SignInterval>,
    /// The share of a CPU that the machine took meanwhile, from 0 to 1, where it disturbed.
    pub taken: f64,
}

/// What a change means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval is worse than the threshold: a regression.
    Worse,
    /// The whole interval is better than the threshold.
    Better,
    /// The whole interval is no worse than the threshold.
    Fine,
    /// Neither, and why.
    CannotTell(String),
}

impl Measured {
    /// The median of `values`, which are of `series`, and its interval at `alpha`; `None` without any value.
    pub fn of(series: &Series, values: &[Option<f64>], alpha: f64) -> Option<Measured> {
        let present = || values.iter().flatten().copied();
        let median = Spread::of(present())?.median;
        let interval = SignInterval::of(present(), alpha);
        Some(Measured { median, interval, taken: series.taken })
    }
}

impl Diff {
    /// Compares, or says why these two cannot be. `old` and `new` each have a name in messages. Absolute values
    /// of different machines are refused unless `other_host`.
    pub fn of(
        old: (&str, &Results),
        new: (&str, &Results),
        limits: Limits,
        other_host: bool,
    ) -> Result<Diff> {
        let ((old_name, old), (new_name, new)) = (old, new);
        old.check_comparable(new, old_name, new_name)?;
        let other_machine = old.other_machine(new);
        let absolute = old.baseline.is_none();
        if let Some(difference) = other_machine.first().filter(|_| absolute && !other_host) {
            return Err(Error::Usage(format!(
                "{old_name} and {new_name} are of different machines ({difference}), and a {} has no \
                 baseline: only absolute values could be compared; --other-host does so all the same",
                old.schema
            )));
        }
        // The baseline itself has no ratio to itself.
        let comparable = |series: &&Series| absolute || series.ratios.is_some();
        let changes: Vec<Change> = old
            .series
            .iter()
            .filter(comparable)
            .filter_map(|series| change(series, new.with(&series.key)?, limits))
            .collect();
        if changes.is_empty() {
            return Err(Error::Usage(format!(
                "{old_name} and {new_name} have nothing in common: no contestant under the same load"
            )));
        }
        Ok(Diff {
            limits,
            baseline: old.baseline.clone(),
            changes,
            only_old: missing(old, new),
            only_new: missing(new, old),
            other_machine,
        })
    }

    /// How many verdicts are such.
    pub fn count(&self, is_such: fn(&Verdict) -> bool) -> usize {
        self.changes.iter().filter(|change| is_such(&change.verdict)).count()
    }

    /// Quantities that are worse than the threshold.
    pub fn regressions(&self) -> usize {
        self.count(|verdict| *verdict == Verdict::Worse)
    }

    /// Quantities about which nothing can be told.
    pub fn undecided(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::CannotTell(_)))
    }

    /// Whether the new result has all that the old one has, and all of it could be told.
    pub fn is_complete(&self) -> bool {
        self.undecided() == 0 && self.only_old.is_empty()
    }
}

impl Results {
    /// What was measured in one round at least.
    fn with(&self, key: &Key) -> Option<&Series> {
        let measured = |series: &&Series| series.compared().iter().any(Option::is_some);
        self.series.iter().filter(measured).find(|series| series.key == *key)
    }
}

impl Series {
    /// What is compared: ratios, where there is a baseline.
    pub fn compared(&self) -> &[Option<f64>] {
        self.ratios.as_deref().unwrap_or(&self.rounds)
    }
}

/// `None` for what one of them measured in no round.
fn change(old: &Series, new: &Series, limits: Limits) -> Option<Change> {
    let measured = |series: &Series| Measured::of(series, series.compared(), limits.alpha);
    // Rounds of two runs do not belong together in pairs.
    let values = |series: &Series| series.compared().iter().flatten().copied().collect::<Vec<_>>();
    let ratio = unpaired_ratio(&values(old), &values(new), limits.alpha);
    let verdict = verdict(old, new, ratio, limits);
    Some(Change { key: old.key.clone(), old: measured(old)?, new: measured(new)?, ratio, verdict })
}

fn verdict(old: &Series, new: &Series, ratio: Option<SignInterval>, limits: Limits) -> Verdict {
    for (name, series) in [("old", old), ("new", new)] {
        if let Some(doubt) = &series.doubt {
            return Verdict::CannotTell(format!("{name}: {doubt}"));
        }
    }
    let Some(SignInterval { low, high, .. }) = ratio else {
        let needed = values_needed(limits.alpha);
        return Verdict::CannotTell(format!("too few rounds: an interval takes {needed}"));
    };
    let threshold = limits.threshold;
    // A rate is worse where it is lower, a cost where it is higher.
    let (worse, better, fine) = match old.key.is_cost() {
        true => (low > 1.0 + threshold, high < 1.0 - threshold, high <= 1.0 + threshold),
        false => (high < 1.0 - threshold, low > 1.0 + threshold, low >= 1.0 - threshold),
    };
    match (worse, better, fine) {
        (true, ..) => Verdict::Worse,
        (_, true, _) => Verdict::Better,
        (.., true) => Verdict::Fine,
        _ => Verdict::CannotTell("the interval reaches across the threshold".into()),
    }
}

/// What `one` has and `other` does not.
fn missing(one: &Results, other: &Results) -> Vec<Key> {
    let keys = one.series.iter().map(|series| &series.key);
    keys.filter(|key| one.with(key).is_some() && other.with(key).is_none()).cloned().collect()
}
