//! Two modes of one quantity: a lone frame finds a CPU asleep lightly or deeply, and what a median of both
//! says depends on chance.

use std::f64::consts::SQRT_2;

use super::sign::{middle, sorted_positive};

/// One of two modes.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Mode {
    /// The median of its values, in their unit.
    pub value: f64,
    /// Its share of the values, from 0 to 1.
    pub share: f64,
}

/// The smaller mode has at least this share of the values.
const SHARE_MIN: f64 = 0.15;
/// The modes are at least this ratio apart.
const RATIO_MIN: f64 = 1.3;
/// Ashman's D, the distance of the modes in units of their spread, is at least this. Halves of an even
/// spread have 3.5, and small samples more: at 3, eleven values of one wide mode pass for two in three of
/// four cases, at 5 in one to two of ten; and two true modes are found as often.
const DISTANCE_MIN: f64 = 5.0;

/// The two modes of positive `values`, the lower first; `None` if there is one, or values are too few to
/// tell. Values that are not finite or not positive are skipped.
pub fn two_modes(values: impl IntoIterator<Item = f64>) -> Option<[Mode; 2]> {
    let sorted = sorted_positive(values);
    let count = sorted.len();
    let sums = Sums::of(&sorted);
    // At least two on each side: one value has no spread, and so is far from everything.
    let fewest = ((SHARE_MIN * count as f64).ceil() as usize).max(2);
    // The best split leaves the least variance within the parts.
    let within = |&split: &usize| {
        let [low, high] = [sums.part(0, split), sums.part(split, count)];
        low.variance * split as f64 + high.variance * (count - split) as f64
    };
    let splits = fewest..=count.saturating_sub(fewest);
    let split = splits.min_by(|a, b| within(a).total_cmp(&within(b)))?;
    let [low, high] = [sums.part(0, split), sums.part(split, count)];
    let distance = high.mean - low.mean;
    let spread = (low.variance + high.variance).sqrt();
    let are_two = distance > RATIO_MIN.ln() && SQRT_2 * distance > DISTANCE_MIN * spread;
    let mode = |part: &[f64]| Mode { value: middle(part), share: part.len() as f64 / count as f64 };
    are_two.then(|| [mode(&sorted[..split]), mode(&sorted[split..])])
}

/// At each place the sum of the logarithms before it, and that of their squares.
struct Sums(Vec<(f64, f64)>);

/// Mean and variance of some successive logarithms.
struct Part {
    mean: f64,
    variance: f64,
}

impl Sums {
    fn of(sorted: &[f64]) -> Sums {
        // Relative to the middle value: differences of large squares would lose digits.
        let centre = sorted.get(sorted.len() / 2).map_or(0.0, |value| value.ln());
        let (mut sum, mut squares) = (0.0, 0.0);
        let next = |value: &f64| {
            let ln = value.ln() - centre;
            sum += ln;
            squares += ln * ln;
            (sum, squares)
        };
        Sums(std::iter::once((0.0, 0.0)).chain(sorted.iter().map(next)).collect())
    }

    fn part(&self, from: usize, to: usize) -> Part {
        let count = (to - from) as f64;
        let mean = (self.0[to].0 - self.0[from].0) / count;
        let square = (self.0[to].1 - self.0[from].1) / count;
        Part { mean, variance: (square - mean * mean).max(0.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn light_and_deep_sleep_are_two_modes() {
        let light = [7.9, 8.0, 8.2, 7.8, 8.1, 8.4];
        let deep = [17.0, 21.0, 24.0, 26.0];
        let [low, high] = two_modes(light.into_iter().chain(deep)).unwrap();
        assert!((low.value - 8.05).abs() < 0.01 && (low.share - 0.6).abs() < 1e-12);
        assert!((high.value - 22.4).abs() < 0.1 && (high.share - 0.4).abs() < 1e-12);
    }

    #[test]
    fn one_mode_is_not_two() {
        assert_eq!(two_modes([]), None);
        assert_eq!(two_modes([1.0, 2.0, 100.0]), None, "too few");
        assert_eq!(two_modes([5.0; 30]), None);
        let even: Vec<f64> = (0..40).map(|step| 100.0 + 10.0 * f64::from(step)).collect();
        assert_eq!(two_modes(even.iter().copied()), None, "a spread");
        let outlier = even.iter().copied().chain([5000.0]);
        assert_eq!(two_modes(outlier), None, "one value is no mode");
        assert_eq!(two_modes([10.0, 10.1, 10.2, 12.0, 12.1, 12.2]), None, "too near");
    }

    proptest! {
        #[test]
        fn the_unit_does_not_matter(
            low in prop::collection::vec(1.0f64..1.1, 4..20),
            high in prop::collection::vec(2.0f64..2.4, 4..20),
            unit in 1e-6f64..1e6,
        ) {
            let modes = two_modes(low.iter().chain(&high).map(|value| value * unit));
            prop_assert!(modes.is_some());
            let [a, b] = modes.unwrap();
            prop_assert!((a.share + b.share - 1.0).abs() < 1e-12);
            prop_assert!((1.0..1.1).contains(&(a.value / unit * 0.999_999_999 + 1e-9)));
            prop_assert!(a.value < b.value);
        }
    }
}
