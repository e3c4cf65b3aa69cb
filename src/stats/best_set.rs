//! Which of several contestants can be the best one, and when rounds are enough to say.

use super::sign::SignInterval;

/// How often a set of contestants may lose the one that is truly best, from 0 to 1.
pub const FAMILY_ALPHA: f64 = 0.05;
/// Rounds after which a comparison looks at what it has, and may stop.
pub const LOOKS: [usize; 3] = [22, 44, 88];
/// An interval no wider than this is narrow enough: it resolves 2.5 %.
const NARROW: f64 = 1.05;
/// Narrow enough for a ratio once the best is known.
const NARROW_IF_DECIDED: f64 = 1.10;

/// A smaller ratio is no difference: two engines of the same path truly differ by up to 1 %, by where their
/// memory lies and who goes before them, and narrow intervals see that.
pub const EQUAL: f64 = 1.02;

/// The `alpha` of one pair when `contestants` are compared at up to `looks` looks, so that the best one is
/// lost in at most [`FAMILY_ALPHA`] of all comparisons (Bonferroni).
pub fn alpha_for(contestants: usize, looks: usize) -> f64 {
    FAMILY_ALPHA / (contestants.saturating_sub(1).max(1) * looks.max(1)) as f64
}

/// What `one` has in units of what `other` has, round by round, where both have a value.
pub fn ratios<'a>(
    one: &'a [Option<f64>],
    other: &'a [Option<f64>],
) -> impl Iterator<Item = f64> + 'a {
    one.iter().zip(other).filter_map(|(one, other)| Some((*one)? / (*other)?))
}

/// Whether `one` is better than `other` at `alpha`: the whole interval of their ratio lies on its side, and
/// beyond [`EQUAL`].
pub fn beats(
    one: &[Option<f64>],
    other: &[Option<f64>],
    lower_is_better: bool,
    alpha: f64,
) -> bool {
    SignInterval::of(ratios(one, other), alpha).is_some_and(|ratio| match lower_is_better {
        true => ratio.high < 1.0 / EQUAL,
        false => ratio.low > EQUAL,
    })
}

/// The contestants that none beats at `alpha`, by their index. `rounds[i][r]` is the value of contestant i
/// in round r, if it has one. A best set of one is a winner.
pub fn best_set(rounds: &[Vec<Option<f64>>], lower_is_better: bool, alpha: f64) -> Vec<usize> {
    let is_beaten =
        |own: &Vec<Option<f64>>| rounds.iter().any(|by| beats(by, own, lower_is_better, alpha));
    let has_value = |own: &[Option<f64>]| own.iter().any(Option::is_some);
    let measured = (0..rounds.len()).filter(|&index| has_value(&rounds[index]));
    let (beaten, best): (Vec<usize>, Vec<usize>) =
        measured.partition(|&index| is_beaten(&rounds[index]));
    // Medians of ratios can go round in a circle. Then nothing is known.
    if best.is_empty() { beaten } else { best }
}

/// Whether more rounds would add little: every ratio is narrow, less so if every question is decided
/// (`best_sets` has the size of each one's best set). A ratio that is still unknown is not narrow.
pub fn is_enough(ratios: &[Option<SignInterval>], best_sets: &[usize]) -> bool {
    let decided = !best_sets.is_empty() && best_sets.iter().all(|&size| size == 1);
    let most = if decided { NARROW_IF_DECIDED } else { NARROW };
    ratios.iter().all(|ratio| ratio.is_some_and(|it| it.width() <= most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rounds(of: &[&[f64]]) -> Vec<Vec<Option<f64>>> {
        of.iter().map(|values| values.iter().map(|&value| Some(value)).collect()).collect()
    }

    #[test]
    fn the_bound_is_shared_by_pairs_and_looks() {
        assert_eq!(alpha_for(2, 1), 0.05);
        assert_eq!(alpha_for(7, 4), 0.05 / 24.0);
        assert_eq!((alpha_for(1, 1), alpha_for(0, 0)), (0.05, 0.05));
    }

    #[test]
    fn only_those_that_are_beaten_leave() {
        let [slow, fast] = [[10.0; 8], [20.0; 8]];
        let mixed = [19.0, 21.0, 19.5, 22.0, 18.0, 20.5, 19.0, 21.0];
        let all = rounds(&[&slow, &fast, &mixed]);
        assert_eq!(best_set(&all, false, 0.05), [1, 2], "rates");
        assert_eq!(best_set(&all, true, 0.05), [0], "costs");
        assert!(beats(&all[1], &all[0], false, 0.05) && !beats(&all[0], &all[1], false, 0.05));
        assert!(!beats(&all[1], &all[1], false, 0.05), "its equal");
        let nearly = rounds(&[&[19.8; 8]]);
        assert!(
            !beats(&all[1], &nearly[0], false, 0.05) && !beats(&nearly[0], &all[1], true, 0.05)
        );
        assert_eq!(best_set(&all, false, 0.001), [0, 1, 2], "eight rounds cannot tell so surely");
        assert_eq!(best_set(&[], false, 0.05), [0usize; 0]);
    }

    #[test]
    fn rounds_without_both_values_say_nothing() {
        let mut all = rounds(&[&[10.0; 8], &[20.0; 8], &[]]);
        assert_eq!(best_set(&all, false, 0.05), [1], "one was never measured");
        all[0][3] = None;
        all[1][4] = None;
        assert_eq!(best_set(&all, false, 0.05), [1], "six rounds in common");
        all[1][5] = None;
        assert_eq!(best_set(&all, false, 0.05), [0, 1], "five");
    }

    #[test]
    fn a_circle_is_no_answer() {
        // Each beats the next one in two rounds of three.
        let [a, b, c]: [Vec<f64>; 3] = [[2.0, 4.0, 9.0], [1.0, 6.0, 8.0], [3.0, 5.0, 7.0]]
            .map(|three| three.into_iter().cycle().take(300).collect());
        assert_eq!(best_set(&rounds(&[&a, &b, &c]), false, 0.05).len(), 3);
    }

    #[test]
    fn narrow_or_decided_is_enough() {
        let ratio = |low, high| Some(SignInterval { estimate: 2.0, low, high, rounds: 11 });
        let (narrow, fair, wide) = (ratio(1.98, 2.05), ratio(1.95, 2.1), ratio(1.5, 2.5));
        assert!(is_enough(&[narrow, narrow], &[1, 3]));
        assert!(!is_enough(&[narrow, fair], &[1, 3]));
        assert!(is_enough(&[narrow, fair], &[1, 1]));
        assert!(!is_enough(&[narrow, wide], &[1, 1]));
        assert!(!is_enough(&[narrow, None], &[]));
        assert!(is_enough(&[narrow], &[]));
    }

    proptest! {
        #[test]
        fn the_best_median_is_never_lost_to_order(
            values in prop::collection::vec(prop::collection::vec(0.5f64..2.0, 12), 2..6),
            by in 0usize..6,
        ) {
            let mut turned = values.clone();
            let by = by % values.len();
            turned.rotate_left(by);
            let as_rounds = |values: &[Vec<f64>]| {
                rounds(&values.iter().map(Vec::as_slice).collect::<Vec<_>>())
            };
            let found = best_set(&as_rounds(&values), false, 0.05);
            let after = best_set(&as_rounds(&turned), false, 0.05);
            let mut back: Vec<usize> =
                after.iter().map(|index| (index + by) % values.len()).collect();
            back.sort_unstable();
            prop_assert_eq!(found, back);
        }
    }
}
