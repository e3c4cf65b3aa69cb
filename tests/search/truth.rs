//! Devices with one truth: the search finds it.

use std::time::Duration;

use linerate::bench::search::goal::{SearchConfig, SearchGoal};
use linerate::bench::search::result::{GoalResult, Halt, Irregularity};
use linerate::bench::search::trial::Purpose;
use proptest::prelude::*;

use crate::devices::*;

const MIN: f64 = 100.0;
const MAX: f64 = 10e6;

fn config(loss_ratios: &[f64]) -> SearchConfig {
    let goals = loss_ratios.iter().map(|&ratio| SearchGoal::with_loss_ratio(ratio)).collect();
    SearchConfig { goals, ..SearchConfig::between(MIN, MAX) }
}

fn assert_brackets(result: &GoalResult, truth: f64) {
    assert!(result.irregular.is_empty(), "{result:?}");
    let (lower, upper) = (result.lower_bound_pps.unwrap(), result.upper_bound_pps.unwrap());
    assert!(lower <= truth * (1.0 + 1e-9) && truth * (1.0 - 1e-9) <= upper, "{truth} {result:?}");
    assert!(result.width.unwrap() <= 0.005 + 1e-9, "{result:?}");
    assert_eq!(result.confirmed, Some(true));
    assert!(!result.at_least);
}

proptest! {
    #[test]
    fn a_threshold_is_found_within_the_width(capacity in 150.0f64..9.9e6) {
        let mut bench = Bench::new(1, constant_rate(capacity));
        let result = bench.search(&config(&[0.0]));
        assert_brackets(&result.goals[0], capacity);
        let throughput = result.goals[0].conditional_throughput_pps.unwrap();
        prop_assert!(throughput >= capacity * (1.0 - 0.0051) && throughput <= capacity);
        prop_assert!(result.trials.len() <= 30, "{}", result.trials.len());
    }

    #[test]
    fn every_goal_of_a_linear_loss_is_found(knee in 150.0f64..5e6, slope in 0.05f64..5.0) {
        let mut bench = Bench::new(2, linear_loss(knee, slope));
        let result = bench.search(&config(&[0.005, 0.0, 0.001]));
        for (goal, ratio) in result.goals.iter().zip([0.005, 0.0, 0.001]) {
            prop_assert_eq!(goal.goal.loss_ratio, ratio);
            assert_brackets(goal, knee * (1.0 + ratio / slope));
        }
    }

    #[test]
    fn a_device_that_collapses_is_searched_from_below(capacity in 150.0f64..9.9e6) {
        let mut bench = Bench::new(3, livelock(capacity));
        let result = bench.search(&config(&[0.0, 0.005]));
        assert_brackets(&result.goals[0], capacity);
        prop_assert!(result.trials.len() <= 80, "{}", result.trials.len());
    }

    #[test]
    fn a_generator_that_is_the_limit_is_named(ceiling in 200.0f64..9e6) {
        let mut bench = Bench::new(4, constant_rate(2.0 * MAX));
        bench.ceiling_pps = ceiling;
        let result = bench.search(&config(&[0.0, 0.005]));
        for goal in &result.goals {
            prop_assert!(goal.at_least);
            prop_assert_eq!(&goal.irregular, &vec![Irregularity::GeneratorIsTheLimit]);
            let lower = goal.lower_bound_pps.unwrap();
            prop_assert!(lower <= ceiling * 1.002 && lower >= ceiling * 0.98, "{} {}", lower, ceiling);
        }
        let beyond = result.generator_ceiling_pps.unwrap();
        prop_assert!(beyond > ceiling && beyond <= ceiling * 1.02, "{} {}", beyond, ceiling);
    }

    /// The generator's limit only shows where the device's is not met before.
    #[test]
    fn a_device_below_the_generator_is_found_all_the_same(capacity in 200.0f64..4e6) {
        let mut bench = Bench::new(5, constant_rate(capacity));
        bench.ceiling_pps = 1.5 * capacity;
        let result = bench.search(&config(&[0.0]));
        assert_brackets(&result.goals[0], capacity);
    }
}

#[test]
fn a_device_without_capacity_fails_at_the_lowest_load() {
    let mut bench = Bench::new(1, Box::new(|_, _, _, _| 1.0));
    let result = bench.search(&config(&[0.0, 0.005]));
    for goal in &result.goals {
        assert_eq!(goal.irregular, [Irregularity::MinLoadFails]);
        assert_eq!((goal.lower_bound_pps, goal.upper_bound_pps), (None, Some(MIN)));
        assert_eq!(goal.conditional_throughput_pps, None);
    }
    assert!(result.trials.len() <= 30, "{}", result.trials.len());
}

#[test]
fn a_device_without_limit_passes_the_highest_load() {
    let mut bench = Bench::new(1, Box::new(|_, _, _, _| 0.0));
    let result = bench.search(&config(&[0.0, 0.005]));
    for goal in &result.goals {
        assert_eq!(goal.irregular, [Irregularity::MaxLoadPasses]);
        assert!(goal.at_least);
        assert_eq!((goal.lower_bound_pps, goal.upper_bound_pps), (Some(MAX), None));
    }
    // After a first look three seconds decide, ten confirm, and the second goal needs none of its own.
    assert_eq!(result.trials.len(), 5);
    assert_eq!(result.goals[1].trials_used, 0);
}

#[test]
fn a_generator_below_the_lowest_load_is_an_end() {
    let mut bench = Bench::new(1, constant_rate(MAX));
    bench.ceiling_pps = MIN / 2.0;
    let result = bench.search(&config(&[0.0]));
    assert_eq!(result.halted, Some(Halt::GeneratorBelowMin));
    assert_eq!(result.goals[0].lower_bound_pps, None);
}

#[test]
fn rfc_2544_runs_nothing_but_trials_of_a_minute_and_believes_each() {
    let mut bench = Bench::new(1, constant_rate(1e6));
    let result = bench.search(&SearchConfig::rfc2544(MIN, MAX));
    let goal = &result.goals[0];
    assert!(goal.irregular.is_empty() && goal.goal.result_name() == "RFC 2544 throughput");
    assert_eq!(goal.conditional_throughput_pps, goal.lower_bound_pps);
    assert!(result.trials.iter().all(|trial| trial.duration == Duration::from_secs(60)));
    let mut loads: Vec<u64> = bench.offered.iter().map(|load| load.to_bits()).collect();
    loads.sort_unstable();
    loads.dedup();
    assert_eq!(loads.len(), bench.offered.len(), "no load twice");
    assert!(loads.len() <= 15, "{}", loads.len());
}

/// A device with a large buffer stands every short trial and none of ten seconds.
#[test]
fn a_bound_that_a_long_trial_disproves_is_searched_anew() {
    let capacity = 1e6;
    let mut bench = Bench::new(
        1,
        Box::new(move |load, duration_s, _, _| {
            let buffer = 0.03 * capacity;
            (1.0 - (capacity * duration_s + buffer) / (load * duration_s)).max(0.0)
        }),
    );
    let wide = SearchConfig { max_failed_confirmations: 20, ..config(&[0.0]) };
    let result = bench.search(&wide);
    let confirmations =
        result.trials.iter().filter(|trial| trial.purpose == Purpose::Confirm).count();
    assert!(confirmations > 1, "the first bound must have failed");
    assert!(result.goals[0].lower_bound_pps.unwrap() <= capacity * 1.0031, "{:?}", result.goals[0]);
    assert_eq!(result.goals[0].confirmed, Some(true));

    let mut once = Bench::new(1, noisy(1e6, 0.0, 0.0));
    once.loss = Box::new(|_, duration_s, _, _| if duration_s > 5.0 { 0.1 } else { 0.0 });
    let result = once.search(&config(&[0.0]));
    assert!(!result.goals[0].irregular.is_empty());
    assert_ne!(result.goals[0].confirmed, Some(true));
}

#[test]
fn what_the_default_search_costs() {
    let mut bench = Bench::new(1, constant_rate(1_234_567.0));
    let result = bench.search(&config(&[0.0, 0.005]));
    let seconds: f64 = result.trials.iter().map(|trial| trial.duration.as_secs_f64()).sum();
    assert!(result.trials.len() <= 20 && seconds <= 45.0, "{} {seconds}", result.trials.len());
}
