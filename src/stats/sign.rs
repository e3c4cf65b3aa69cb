//! The interval of a median, by the sign test: it assumes nothing about how values are distributed.

use std::f64::consts::LN_2;

/// The median of positive values, such as the ratios of two contestants in each round, with an interval
/// that covers the true median with the asked probability, whatever the distribution, if rounds are
/// independent. (Conover, Practical Nonparametric Statistics, section 3.2.)
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct SignInterval {
    /// The median; the geometric mean of the two middle values if there is no middle one.
    pub estimate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How many values it is made of.
    pub rounds: usize,
}

impl SignInterval {
    /// The interval that misses the true median with a probability of at most `alpha`, half of it on each
    /// side; `None` if there are fewer values than [`rounds_needed`]. Values that are not finite or not
    /// positive are skipped.
    pub fn of(values: impl IntoIterator<Item = f64>, alpha: f64) -> Option<SignInterval> {
        let sorted = sorted_positive(values);
        let rounds = sorted.len();
        let from_end = order(rounds, alpha / 2.0);
        (from_end > 0).then(|| SignInterval {
            estimate: middle(&sorted),
            low: sorted[from_end - 1],
            high: sorted[rounds - from_end],
            rounds,
        })
    }

    /// How far the ends are apart: the upper one in units of the lower.
    pub fn width(&self) -> f64 {
        self.high / self.low
    }

    /// The relative difference that could not be seen: 0.06 if the interval reaches 6 % to each side.
    pub fn resolution(&self) -> f64 {
        self.width().sqrt() - 1.0
    }

    /// Whether `value` lies outside.
    pub fn excludes(&self, value: f64) -> bool {
        value < self.low || self.high < value
    }
}

/// The fewest values that have an interval at `alpha`: 6 at 5 %. `usize::MAX` if `alpha` is not positive.
pub fn rounds_needed(alpha: f64) -> usize {
    // All n values lie on one side of the median with probability 2 / 2ⁿ. The cast saturates.
    (2.0 / alpha.max(0.0)).log2().ceil().max(1.0) as usize
}

/// The largest k for which P(Bin(`n`, ½) < k) ≤ `tail`, so that the k-th value from each end bounds the
/// median; 0 if there is none.
fn order(n: usize, tail: f64) -> usize {
    // Probabilities are kept as logarithms: 2⁻ⁿ would be 0 from n = 1075 on. The allowance is for
    // rounding, so that a probability equal to `tail` counts as such.
    let tail = tail * (1.0 + 1e-9);
    let mut ln_of_k = -(n as f64) * LN_2;
    let mut below = 0.0;
    for k in 0..n.div_ceil(2) {
        below += ln_of_k.exp();
        if below > tail {
            return k;
        }
        ln_of_k += ((n - k) as f64 / (k + 1) as f64).ln();
    }
    n.div_ceil(2)
}

/// Those of `values` that are positive and finite, in order.
pub(super) fn sorted_positive(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let is_valid = |value: &f64| value.is_finite() && *value > 0.0;
    let mut sorted: Vec<f64> = values.into_iter().filter(is_valid).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The median of positive values in order, at least one; the geometric mean of the two
/// middle ones if there is no middle one.
pub(super) fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[half],
        _ => sorted[half - 1].sqrt() * sorted[half].sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ends_are_those_of_the_tables() {
        // Ranks of the 95 % interval of a median, as printed tables have them.
        for (n, rank) in [(5, 0), (6, 1), (9, 2), (12, 3), (20, 6), (50, 18), (100, 40)] {
            assert_eq!(order(n, 0.025), rank, "{n} values");
        }
        // The normal approximation is right to one rank here: n/2 - 0.98 √n.
        assert!(order(1_000_000, 0.025).abs_diff(500_000 - 980) <= 1);
        assert_eq!(order(0, 0.025), 0);
        assert_eq!(order(7, 1.0), 4, "the median itself");
    }

    #[test]
    fn there_are_rounds_too_few_for_an_interval() {
        assert_eq!(rounds_needed(0.05), 6);
        assert_eq!(rounds_needed(0.05 / 6.0), 8, "of one against six others");
        assert_eq!(rounds_needed(0.05 / 24.0), 10, "the same with four looks");
        assert_eq!(rounds_needed(0.0), usize::MAX);
        assert_eq!(rounds_needed(-1.0), usize::MAX);
        for alpha in [0.5, 0.25, 0.1, 0.05, 0.03125, 0.01, 1e-6] {
            let needed = rounds_needed(alpha);
            assert!(order(needed, alpha / 2.0) > 0 && order(needed - 1, alpha / 2.0) == 0);
        }
    }

    #[test]
    fn what_is_no_positive_number_is_skipped() {
        let values = [2.0, f64::NAN, 8.0, 0.0, f64::INFINITY, -1.0, 4.0, 2.0, 2.0, 16.0];
        let found = SignInterval::of(values, 0.05).unwrap();
        assert_eq!((found.low, found.high, found.rounds), (2.0, 16.0, 6));
        assert!((found.estimate - 8f64.sqrt()).abs() < 1e-12, "between 2 and 4");
        assert_eq!(found.width(), 8.0);
        assert!((found.resolution() - (8f64.sqrt() - 1.0)).abs() < 1e-12);
        assert!(found.excludes(1.9) && found.excludes(17.0) && !found.excludes(2.0));
        assert_eq!(SignInterval::of([f64::NAN; 20], 0.05), None);
    }

    proptest! {
        #[test]
        fn it_turns_with_its_values(values in prop::collection::vec(1e-6f64..1e6, 6..60)) {
            let found = SignInterval::of(values.iter().copied(), 0.05).unwrap();
            prop_assert!(found.low <= found.estimate * (1.0 + 1e-12));
            prop_assert!(found.estimate <= found.high * (1.0 + 1e-12));
            let turned = SignInterval::of(values.iter().map(|value| 1.0 / value), 0.05).unwrap();
            prop_assert!((turned.low * found.high - 1.0).abs() < 1e-9);
            prop_assert!((turned.estimate * found.estimate - 1.0).abs() < 1e-9);
        }

        #[test]
        fn less_doubt_is_a_wider_interval(values in prop::collection::vec(0.1f64..10.0, 12..60)) {
            let of = |alpha| SignInterval::of(values.iter().copied(), alpha).unwrap();
            prop_assert!(of(0.001).low <= of(0.05).low && of(0.05).high <= of(0.001).high);
        }
    }
}
