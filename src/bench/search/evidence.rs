//! All that a search has learnt: the trials that count, by load.

use super::classify::{LoadClass, Sample, classify};
use super::goal::SearchGoal;

/// The samples at each load that was measured, loads ascending. All goals read the same ones:
/// that is how they share trials.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    loads: Vec<MeasuredLoad>,
}

#[derive(Clone, Debug)]
struct MeasuredLoad {
    load_pps: f64,
    samples: Vec<Sample>,
}

/// The Relevant Bounds of a goal: the smallest load that is an upper bound, and the largest lower
/// bound below it. A lower bound above an upper one (loss inversion) is thereby no bound at all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bounds {
    pub lower: Option<f64>,
    pub upper: Option<f64>,
}

impl Bounds {
    /// How far the bounds are apart, as a part of the upper one.
    pub fn width(&self) -> Option<f64> {
        let (lower, upper) = (self.lower?, self.upper?);
        Some((upper - lower) / upper)
    }

    /// Whether the bounds are as close as `goal` wants them.
    pub fn is_narrow(&self, goal: &SearchGoal) -> bool {
        // The division that made a load and the one that checks it may differ in the last bits.
        self.width().is_some_and(|width| width <= goal.width * (1.0 + 1e-9))
    }
}

impl Evidence {
    /// Adds a trial that counts.
    pub fn add(&mut self, load_pps: f64, sample: Sample) {
        match self.loads.binary_search_by(|load| load.load_pps.total_cmp(&load_pps)) {
            Ok(at) => self.loads[at].samples.push(sample),
            Err(at) => self.loads.insert(at, MeasuredLoad { load_pps, samples: vec![sample] }),
        }
    }

    /// Whether there is no trial yet.
    pub fn is_empty(&self) -> bool {
        self.loads.is_empty()
    }

    /// The trials at exactly `load_pps`.
    pub fn at(&self, load_pps: f64) -> &[Sample] {
        match self.loads.binary_search_by(|load| load.load_pps.total_cmp(&load_pps)) {
            Ok(at) => &self.loads[at].samples,
            Err(_) => &[],
        }
    }

    /// What `load_pps` is for `goal`.
    pub fn class(&self, goal: &SearchGoal, load_pps: f64) -> LoadClass {
        classify(goal, self.at(load_pps))
    }

    /// The relevant bounds of `goal`.
    pub fn bounds(&self, goal: &SearchGoal) -> Bounds {
        let mut bounds = Bounds::default();
        for load in &self.loads {
            match classify(goal, &load.samples) {
                LoadClass::LowerBound => bounds.lower = Some(load.load_pps),
                LoadClass::UpperBound => {
                    bounds.upper = Some(load.load_pps);
                    break;
                }
                LoadClass::Undecided => {}
            }
        }
        bounds
    }

    /// Whether a load above `load_pps` is a lower bound of `goal` (loss inversion).
    pub fn passed_above(&self, goal: &SearchGoal, load_pps: f64) -> bool {
        self.loads
            .iter()
            .rev()
            .take_while(|load| load.load_pps > load_pps)
            .any(|load| classify(goal, &load.samples) == LoadClass::LowerBound)
    }

    /// Of the measured loads strictly between two, the one nearest to `target` by ratio. What is
    /// measured already needs fewer trials to be decided.
    pub fn nearest_measured(&self, above: f64, below: f64, target: f64) -> Option<f64> {
        let distance = |load: f64| (load / target).ln().abs();
        self.loads
            .iter()
            .map(|load| load.load_pps)
            .filter(|&load| load > above && load < below)
            .min_by(|&a, &b| distance(a).total_cmp(&distance(b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_bound_above_an_upper_one_is_not_relevant() {
        let goal = SearchGoal::default().narrowing();
        let mut evidence = Evidence::default();
        let mut add = |load, loss_ratio| {
            evidence.add(load, Sample { duration_s: 1.0, loss_ratio });
        };
        add(100.0, 0.0);
        add(300.0, 0.0);
        add(200.0, 0.5);
        let bounds = evidence.bounds(&goal);
        assert_eq!(bounds, Bounds { lower: Some(100.0), upper: Some(200.0) });
        assert_eq!(bounds.width(), Some(0.5));
        // Two good trials outweigh the bad one: the bound opens again.
        for _ in 0..2 {
            evidence.add(200.0, Sample { duration_s: 1.0, loss_ratio: 0.0 });
        }
        assert_eq!(evidence.bounds(&goal), Bounds { lower: Some(300.0), upper: None });
    }
}
