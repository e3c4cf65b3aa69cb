//! Load classification: what the trials at one load say about a goal.
//!
//! The rules are those of MLRsearch (RFC 9971, appendices on load classification and conditional
//! throughput); sums are over Trial Durations, which here are also the effective ones.

use super::goal::SearchGoal;

/// One trial that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Its Trial Duration, in seconds.
    pub duration_s: f64,
    /// Its Trial Loss Ratio.
    pub loss_ratio: f64,
}

/// What a load is for a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadClass {
    /// The device stands it.
    LowerBound,
    /// The device does not.
    UpperBound,
    /// The trials so far leave both possible.
    Undecided,
    /// Most trials were void: the generator cannot offer it.
    BeyondGenerator,
}

impl Sample {
    /// Whether the trial was long enough to decide `goal`.
    pub fn is_full(&self, goal: &SearchGoal) -> bool {
        self.duration_s >= goal.final_trial_duration.as_secs_f64() - TOLERANCE_S
    }

    /// Whether it lost more than `goal` allows.
    pub fn exceeds(&self, goal: &SearchGoal) -> bool {
        self.loss_ratio > goal.loss_ratio
    }
}

/// Durations compare with this much mercy, in seconds: sums of them are not exact.
const TOLERANCE_S: f64 = 1e-9;

/// Classifies a load by the trials measured at it.
///
/// Full-length trials count as they are. Short high-loss trials count as far as short low-loss
/// ones do not balance them; short low-loss trials never make a lower bound. The load is decided
/// once the trials still missing from the duration sum could not change it.
pub fn classify(goal: &SearchGoal, samples: &[Sample]) -> LoadClass {
    let sum = |full: bool, high: bool| -> f64 {
        let of_kind = |one: &&Sample| one.is_full(goal) == full && one.exceeds(goal) == high;
        samples.iter().filter(of_kind).map(|sample| sample.duration_s).sum()
    };
    let low_s = sum(true, false);
    let balancing_s = sum(false, false) * goal.exceed_ratio / (1.0 - goal.exceed_ratio);
    let excess_s = (sum(false, true) - balancing_s).max(0.0);
    let high_s = sum(true, true) + excess_s;
    let whole_s = (low_s + high_s).max(goal.duration_sum.as_secs_f64());
    let tolerated_s = whole_s * goal.exceed_ratio + TOLERANCE_S;
    let at_best = high_s <= tolerated_s;
    let at_worst = whole_s - low_s <= tolerated_s;
    match (at_best, at_worst) {
        (true, true) => LoadClass::LowerBound,
        (false, false) => LoadClass::UpperBound,
        _ => LoadClass::Undecided,
    }
}

/// Conditional Throughput: the forwarding rate of the trial at the exceed ratio's quantile, in
/// frames per second. Without high-loss trials among the best it is the load itself.
pub fn conditional_throughput(goal: &SearchGoal, load_pps: f64, samples: &[Sample]) -> f64 {
    let mut full: Vec<Sample> =
        samples.iter().copied().filter(|sample| sample.is_full(goal)).collect();
    full.sort_by(|a, b| a.loss_ratio.total_cmp(&b.loss_ratio));
    let full_s: f64 = full.iter().map(|sample| sample.duration_s).sum();
    let whole_s = full_s.max(goal.duration_sum.as_secs_f64());
    let mut remaining_s = whole_s * (1.0 - goal.exceed_ratio) - TOLERANCE_S;
    let mut quantile = 1.0;
    for (at, sample) in full.iter().enumerate() {
        if at > 0 && remaining_s <= 0.0 {
            break;
        }
        quantile = sample.loss_ratio;
        remaining_s -= sample.duration_s;
    }
    if remaining_s > 0.0 {
        // Trials that were not run might have lost everything.
        quantile = 1.0;
    }
    load_pps * (1.0 - quantile)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn goal(final_s: u64, sum_s: u64, loss_ratio: f64, exceed_ratio: f64) -> SearchGoal {
        SearchGoal {
            loss_ratio,
            exceed_ratio,
            duration_sum: Duration::from_secs(sum_s),
            final_trial_duration: Duration::from_secs(final_s),
            ..SearchGoal::default()
        }
    }

    /// The goals and points in time of the example in RFC 9971, classified by the pseudocode of
    /// its appendix. The example's table prints a lower bound for the last goal at the last two
    /// points, beside an exceed ratio of 42.857 % (27.273 %) that is above the goal's 20 %.
    #[test]
    fn the_example_of_the_rfc_is_classified_as_its_pseudocode_does() {
        let goals = [
            goal(60, 60, 0.0, 0.0),
            goal(60, 120, 0.0, 0.5),
            goal(1, 120, 0.005, 0.5),
            goal(60, 60, 0.005, 0.2),
        ];
        let points = [
            (59, 1.0, 0.0, "????"),
            (1, 1.0, 0.01, "U???"),
            (59, 1.0, 0.01, "U??U"),
            (1, 1.0, 0.0, "U?LU"),
            (1, 60.0, 0.001, "U?LU"),
            (1, 60.0, 0.0, "ULLU"),
        ];
        let mut samples = Vec::new();
        for (count, duration_s, loss_ratio, expected) in points {
            samples.extend((0..count).map(|_| Sample { duration_s, loss_ratio }));
            let classes: String = goals
                .iter()
                .map(|goal| match classify(goal, &samples) {
                    LoadClass::LowerBound => 'L',
                    LoadClass::UpperBound => 'U',
                    _ => '?',
                })
                .collect();
            assert_eq!(classes, expected, "after {} trials", samples.len());
        }
    }

    /// The end of the same example: two trials of 60 s, one without loss and one with 0.1 %.
    #[test]
    fn the_example_of_the_rfc_comes_to_its_throughputs() {
        let full = [0.0, 0.001].map(|loss_ratio| Sample { duration_s: 60.0, loss_ratio });
        let short = Sample { duration_s: 1.0, loss_ratio: 0.01 };
        let samples = [full[1], short, full[0]];
        let throughput = |goal| conditional_throughput(&goal, 1e6, &samples);
        assert_eq!(throughput(goal(60, 120, 0.0, 0.5)), 1e6);
        assert_eq!(throughput(goal(60, 60, 0.005, 0.2)), 999e3);
    }

    #[test]
    fn by_default_three_trials_of_one_kind_decide() {
        let goal = SearchGoal::default();
        let low = Sample { duration_s: 1.0, loss_ratio: 0.0 };
        let high = Sample { duration_s: 1.0, loss_ratio: 0.1 };
        assert_eq!(classify(&goal, &[]), LoadClass::Undecided);
        assert_eq!(classify(&goal, &[low, low]), LoadClass::Undecided);
        assert_eq!(classify(&goal, &[low, high, low, low]), LoadClass::LowerBound);
        assert_eq!(classify(&goal, &[low, high, high, high]), LoadClass::UpperBound);
    }

    #[test]
    fn the_conditional_throughput_is_that_of_the_quantile_trial() {
        let goal = SearchGoal::with_loss_ratio(0.1);
        let lossy = |loss_ratio| Sample { duration_s: 1.0, loss_ratio };
        let throughput = |samples: &[Sample]| conditional_throughput(&goal, 1000.0, samples);
        assert_eq!(throughput(&[lossy(0.0); 3]), 1000.0);
        assert_eq!(throughput(&[lossy(0.5), lossy(0.0), lossy(0.02), lossy(0.01)]), 980.0);
        // Two seconds of five cannot stand for half of them.
        assert_eq!(throughput(&[lossy(0.0); 2]), 0.0);
        assert_eq!(throughput(&[]), 0.0);
    }
}
