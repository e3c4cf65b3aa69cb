//! All that a search has learnt: the trials that count, by load.

use super::classify::{LoadClass, Sample, classify};
use super::goal::SearchGoal;

/// The samples at each load that was measured, loads ascending. All goals read the same ones:
/// that is how they share trials.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    loads: Vec<MeasuredLoad>,
    /// So many void trials at a load still say nothing of the generator.
    void_repeats: usize,
}

#[derive(Clone, Debug, Default)]
struct MeasuredLoad {
    load_pps: f64,
    samples: Vec<Sample>,
    /// Trials that the generator spoiled; what they lost says nothing.
    void: Vec<Sample>,
}

/// The Relevant Bounds of a goal: the smallest load that is an upper bound, and the largest lower
/// bound below it. A lower bound above an upper one (loss inversion) is thereby no bound at all.
///
/// A load that the generator cannot offer bounds the search as one that the device does not stand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bounds {
    pub lower: Option<f64>,
    pub upper: Option<f64>,
    /// Whether the upper bound is the generator's.
    pub beyond_generator: bool,
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
    /// Nothing yet.
    pub fn new(void_repeats: usize) -> Evidence {
        Evidence { loads: Vec::new(), void_repeats }
    }

    /// Adds a trial that counts.
    pub fn add(&mut self, load_pps: f64, sample: Sample) {
        self.entry(load_pps).samples.push(sample);
    }

    /// Adds a trial that the generator spoiled.
    pub fn add_void(&mut self, load_pps: f64, sample: Sample) {
        self.entry(load_pps).void.push(sample);
    }

    fn entry(&mut self, load_pps: f64) -> &mut MeasuredLoad {
        let place = self.loads.binary_search_by(|load| load.load_pps.total_cmp(&load_pps));
        let at = place.unwrap_or_else(|at| {
            self.loads.insert(at, MeasuredLoad { load_pps, ..MeasuredLoad::default() });
            at
        });
        &mut self.loads[at]
    }

    fn measured(&self, load_pps: f64) -> Option<&MeasuredLoad> {
        let place = self.loads.binary_search_by(|load| load.load_pps.total_cmp(&load_pps));
        place.ok().map(|at| &self.loads[at])
    }

    /// The trials at exactly `load_pps`.
    pub fn at(&self, load_pps: f64) -> &[Sample] {
        self.measured(load_pps).map_or(&[], |load| &load.samples)
    }

    /// What `load_pps` is for `goal`.
    pub fn class(&self, goal: &SearchGoal, load_pps: f64) -> LoadClass {
        self.measured(load_pps).map_or(LoadClass::Undecided, |load| self.class_of(goal, load))
    }

    fn class_of(&self, goal: &SearchGoal, load: &MeasuredLoad) -> LoadClass {
        let full = |samples: &[Sample]| -> (usize, f64) {
            let full = samples.iter().filter(|sample| sample.is_full(goal));
            full.fold((0, 0.0), |(count, sum_s), sample| (count + 1, sum_s + sample.duration_s))
        };
        let (void, void_s) = full(&load.void);
        match void > self.void_repeats && void_s > full(&load.samples).1 {
            true => LoadClass::BeyondGenerator,
            false => classify(goal, &load.samples),
        }
    }

    /// The relevant bounds of `goal`.
    pub fn bounds(&self, goal: &SearchGoal) -> Bounds {
        let mut bounds = Bounds::default();
        for load in &self.loads {
            match self.class_of(goal, load) {
                LoadClass::Undecided => {}
                LoadClass::LowerBound => bounds.lower = Some(load.load_pps),
                upper @ (LoadClass::UpperBound | LoadClass::BeyondGenerator) => {
                    bounds.upper = Some(load.load_pps);
                    bounds.beyond_generator = upper == LoadClass::BeyondGenerator;
                    break;
                }
            }
        }
        bounds
    }

    /// The bounds between which the device's limit lies most likely, if all that differs from load
    /// to load is chance, and how many full-length trials then came out by chance.
    ///
    /// Below the limit trials should pass and above it fail; the limit is where the fewest do
    /// otherwise. So one unlucky trial far below hides nothing, as it would in
    /// [`Evidence::bounds`]. Short trials that pass say nothing, and those that fail as much as they
    /// last. A load that is decided as an upper bound stays one.
    pub fn likely_bounds(&self, goal: &SearchGoal) -> (Bounds, f64) {
        let full_length_s = goal.final_trial_duration.as_secs_f64();
        let decided = self.bounds(goal).upper;
        let is_of_use = |load: &&MeasuredLoad| decided.is_none_or(|pps| load.load_pps <= pps);
        let tried: Vec<(f64, f64, f64)> = self
            .loads
            .iter()
            .take_while(is_of_use)
            .map(|load| {
                let sum = |samples: &[Sample], counts: &dyn Fn(&Sample) -> bool| -> f64 {
                    samples.iter().filter(|one| counts(one)).map(|one| one.duration_s).sum()
                };
                let passed_s = sum(&load.samples, &|one| !one.exceeds(goal) && one.is_full(goal));
                let failed_s = sum(&load.samples, &|one| one.exceeds(goal));
                let beyond = self.class_of(goal, load) == LoadClass::BeyondGenerator;
                let void_s = sum(&load.void, &|_| beyond);
                (load.load_pps, passed_s, failed_s + void_s)
            })
            .filter(|&(_, passed_s, failed_s)| passed_s + failed_s > 0.0)
            .collect();
        let mut chance_s: f64 = tried.iter().map(|&(_, passed_s, _)| passed_s).sum();
        let (mut least_s, mut below) = (chance_s, 0);
        for (place, &(load_pps, passed_s, failed_s)) in tried.iter().enumerate() {
            chance_s += failed_s - passed_s;
            if chance_s < least_s - 1e-9 && decided.is_none_or(|upper| load_pps < upper) {
                (least_s, below) = (chance_s, place + 1);
            }
        }
        let at = |place: usize| tried.get(place).map(|&(load_pps, ..)| load_pps);
        let (lower, upper) = (below.checked_sub(1).and_then(at), at(below));
        let is_beyond = |pps| self.class(goal, pps) == LoadClass::BeyondGenerator;
        let beyond_generator = upper.is_some_and(is_beyond);
        (Bounds { lower, upper, beyond_generator }, least_s.max(0.0) / full_length_s)
    }

    /// The smallest load that the generator could not offer, as the trials of `goal` have it.
    pub fn generator_ceiling(&self, goal: &SearchGoal) -> Option<f64> {
        let beyond = |load: &&MeasuredLoad| self.class_of(goal, load) == LoadClass::BeyondGenerator;
        self.loads.iter().find(beyond).map(|load| load.load_pps)
    }

    /// Whether a load above `load_pps` is a lower bound of `goal` (loss inversion).
    pub fn passed_above(&self, goal: &SearchGoal, load_pps: f64) -> bool {
        let mut above = self.loads.iter().rev().take_while(|load| load.load_pps > load_pps);
        above.any(|load| self.class_of(goal, load) == LoadClass::LowerBound)
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

    /// The load from `from` to `to` whose full-length trials were the least of one mind about
    /// `goal`: how many of them lost too much, and how many there were.
    pub fn disagreement(&self, goal: &SearchGoal, from: f64, to: f64) -> Option<Disagreement> {
        let within = self.loads.iter().filter(|load| (from..=to).contains(&load.load_pps));
        let counted = within.map(|load| {
            let full = load.samples.iter().filter(|sample| sample.is_full(goal));
            let exceeded = full.clone().filter(|sample| sample.exceeds(goal));
            let (exceeded, trials) = (exceeded.count(), full.count());
            Disagreement { load_pps: load.load_pps, exceeded, trials }
        });
        let minority = |found: &Disagreement| found.exceeded.min(found.trials - found.exceeded);
        counted.filter(|found| minority(found) > 0).max_by_key(minority)
    }
}

/// Trials at one load that came out differently.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Disagreement {
    /// The load, in frames per second.
    pub load_pps: f64,
    /// Full-length trials that lost more than the goal allows.
    pub exceeded: usize,
    /// Full-length trials at this load.
    pub trials: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_second(loss_ratio: f64) -> Sample {
        Sample { duration_s: 1.0, loss_ratio }
    }

    #[test]
    fn a_lower_bound_above_an_upper_one_is_not_relevant() {
        let goal = SearchGoal::default().narrowing();
        let mut evidence = Evidence::new(2);
        evidence.add(100.0, one_second(0.0));
        evidence.add(300.0, one_second(0.0));
        evidence.add(200.0, one_second(0.5));
        let bounds = evidence.bounds(&goal);
        assert_eq!((bounds.lower, bounds.upper), (Some(100.0), Some(200.0)));
        assert_eq!(bounds.width(), Some(0.5));
        // Two good trials outweigh the bad one: the bound opens again.
        evidence.add(200.0, one_second(0.0));
        evidence.add(200.0, one_second(0.0));
        let bounds = evidence.bounds(&goal);
        assert_eq!((bounds.lower, bounds.upper), (Some(300.0), None));
    }

    #[test]
    fn most_trials_void_is_beyond_the_generator_and_may_open_again() {
        let goal = SearchGoal::default().narrowing();
        let mut evidence = Evidence::new(2);
        evidence.add(100.0, one_second(0.0));
        for _ in 0..3 {
            assert_eq!(evidence.bounds(&goal).upper, None);
            evidence.add_void(200.0, one_second(1.0));
        }
        let bounds = evidence.bounds(&goal);
        assert_eq!((bounds.upper, bounds.beyond_generator), (Some(200.0), true));
        assert_eq!(evidence.generator_ceiling(&goal), Some(200.0));
        (0..3).for_each(|_| evidence.add(200.0, one_second(0.0)));
        assert_eq!(evidence.bounds(&goal).lower, Some(200.0));
    }

    fn measured(trials: &[(f64, &[f64])]) -> Evidence {
        let mut evidence = Evidence::new(2);
        for &(load_pps, losses) in trials {
            losses.iter().for_each(|&loss| evidence.add(load_pps, one_second(loss)));
        }
        evidence
    }

    #[test]
    fn the_least_of_one_mind_is_named() {
        let goal = SearchGoal::default();
        let evidence = measured(&[
            (100.0, &[0.0, 0.0, 0.1]),
            (101.0, &[0.0, 0.1, 0.0, 0.2]),
            (102.0, &[0.1, 0.1]),
        ]);
        let found = evidence.disagreement(&goal, 100.0, 102.0).unwrap();
        assert_eq!((found.load_pps, found.exceeded, found.trials), (101.0, 2, 4));
        assert_eq!(evidence.disagreement(&goal, 102.0, 103.0), None);
    }

    #[test]
    fn the_limit_is_likely_where_the_fewest_trials_came_out_by_chance() {
        let goal = SearchGoal::default();
        let mut evidence = measured(&[
            (100.0, &[0.0]),
            (110.0, &[0.1]),
            (120.0, &[0.0, 0.0]),
            (130.0, &[0.0]),
            (140.0, &[0.2, 0.2]),
        ]);
        let (bounds, chance) = evidence.likely_bounds(&goal);
        assert_eq!((bounds.lower, bounds.upper), (Some(130.0), Some(140.0)));
        assert!((chance - 1.0).abs() < 1e-9, "{chance}");
        // Decided as an upper bound, 110 is one, whatever passed above it.
        (0..2).for_each(|_| evidence.add(110.0, one_second(0.1)));
        let (bounds, _) = evidence.likely_bounds(&goal);
        assert_eq!((bounds.lower, bounds.upper), (Some(100.0), Some(110.0)));
        // Short trials that pass say nothing of where it is; one that fails does.
        let mut short = measured(&[(100.0, &[0.0])]);
        short.add(150.0, Sample { duration_s: 0.2, loss_ratio: 0.0 });
        assert_eq!(short.likely_bounds(&goal).0.upper, None);
        short.add(150.0, Sample { duration_s: 0.2, loss_ratio: 0.1 });
        assert_eq!(short.likely_bounds(&goal).0.upper, Some(150.0));
    }
}
