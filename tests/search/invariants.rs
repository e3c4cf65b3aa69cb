//! What holds of every search, whatever the device does.

use std::time::Duration;

use linerate::bench::search::goal::{Procedure, SearchConfig, SearchGoal};
use linerate::bench::search::result::{Irregularity, SearchResult};
use proptest::prelude::*;

use crate::devices::*;

fn any_loss() -> impl Strategy<Value = (&'static str, f64, f64)> {
    let kinds = proptest::sample::select(vec![
        "constant", "linear", "livelock", "noisy", "bursty", "lying", "erratic", "changing",
        "zero", "infinite",
    ]);
    (kinds, 50.0f64..2e6, 0.0f64..1.0)
}

fn build((kind, capacity, part): (&'static str, f64, f64)) -> Loss {
    match kind {
        "constant" => constant_rate(capacity),
        "linear" => linear_loss(capacity, part),
        "livelock" => livelock(capacity),
        "noisy" => noisy(capacity, part, 0.2),
        "bursty" => bursty(capacity, 5.0 * part),
        "lying" => lying(capacity),
        "erratic" => erratic(),
        "changing" => changing(capacity, capacity * 2.0 * part, (40.0 * part) as usize),
        "zero" => constant_rate(0.0),
        _ => constant_rate(f64::INFINITY),
    }
}

fn any_goal() -> impl Strategy<Value = SearchGoal> {
    let ratios = proptest::sample::select(vec![0.0, 0.001, 0.005, 0.1]);
    let exceed = proptest::sample::select(vec![0.0, 0.2, 0.5, 0.8]);
    let widths = proptest::sample::select(vec![0.001, 0.005, 0.1, 0.5]);
    (ratios, exceed, widths, 1u64..20, 1u64..4, 1u64..4).prop_map(
        |(loss_ratio, exceed_ratio, width, sum, first, last)| SearchGoal {
            loss_ratio,
            exceed_ratio,
            width,
            initial_trial_duration: Duration::from_secs(first.min(last)),
            final_trial_duration: Duration::from_secs(last),
            duration_sum: Duration::from_secs(sum.max(last)),
            procedure: Procedure::Conditional,
        },
    )
}

fn check(bench: &Bench, config: &SearchConfig, result: &SearchResult) {
    assert!(result.trials.len() <= config.max_trials);
    assert_eq!(bench.offered.len(), result.trials.len());
    let spent: Duration = result.trials.iter().map(|trial| trial.outcome.duration).sum();
    assert!(spent <= config.max_duration);
    for load in &bench.offered {
        assert!((config.min_load_pps..=config.max_load_pps).contains(load), "{load}");
    }
    for goal in &result.goals {
        if let (Some(lower), Some(upper)) = (goal.lower_bound_pps, goal.upper_bound_pps) {
            assert!(lower < upper, "{goal:?}");
        }
        if let Some(throughput) = goal.conditional_throughput_pps {
            assert!(throughput >= 0.0 && throughput <= goal.lower_bound_pps.unwrap());
        }
        if goal.irregular.is_empty() {
            assert!(goal.width.unwrap() <= goal.goal.width * (1.0 + 1e-6));
            assert!(config.confirmation.is_none() || goal.confirmed == Some(true));
        }
        if config.confirmation.is_none() {
            let unconfirmed = |why: &Irregularity| matches!(why, Irregularity::NotConfirmed(_));
            assert!(!goal.irregular.iter().any(unconfirmed));
        }
        if result.halted.is_none() {
            assert!(goal.lower_bound_pps.is_some() || goal.upper_bound_pps.is_some());
        }
    }
}

proptest! {
    #[test]
    fn every_search_ends_within_its_limits(
        device in any_loss(),
        goals in proptest::collection::vec(any_goal(), 1..4),
        seed in any::<u64>(),
        ceiling in prop_oneof![Just(f64::INFINITY), 50.0f64..1e6],
        void_chance in prop_oneof![Just(0.0), 0.0f64..1.0],
        max_trials in 0usize..150,
        max_seconds in 0u64..400,
        confirm in any::<bool>(),
    ) {
        let mut bench = Bench::new(seed, build(device));
        bench.ceiling_pps = ceiling;
        bench.void_chance = void_chance;
        let config = SearchConfig {
            goals,
            max_trials,
            max_duration: Duration::from_secs(max_seconds),
            confirmation: confirm.then_some(Duration::from_secs(10)),
            ..SearchConfig::between(100.0, 1e6)
        };
        let result = bench.search(&config);
        check(&bench, &config, &result);
    }

    #[test]
    fn a_looser_goal_is_never_below_a_stricter_one(
        device in any_loss(),
        goal in any_goal(),
        seed in any::<u64>(),
        max_trials in 1usize..200,
    ) {
        let ratios = [0.0, 0.001, 0.005];
        let goals = ratios.map(|loss_ratio| SearchGoal { loss_ratio, ..goal }).to_vec();
        let config = SearchConfig { goals, max_trials, ..SearchConfig::between(100.0, 1e6) };
        let result = Bench::new(seed, build(device)).search(&config);
        let lower = |at: usize| result.goals[at].lower_bound_pps.unwrap_or(0.0);
        let upper = |at: usize| result.goals[at].upper_bound_pps.unwrap_or(f64::INFINITY);
        prop_assert!(lower(0) <= lower(1) && lower(1) <= lower(2), "{:?}", result.goals);
        prop_assert!(upper(0) <= upper(1) && upper(1) <= upper(2), "{:?}", result.goals);
    }

    #[test]
    fn together_goals_cost_no_more_than_each_alone_and_decide_as_much(
        kind in proptest::sample::select(vec!["constant", "linear", "livelock"]),
        capacity in 150.0f64..0.9e6,
        slope in 0.05f64..1.0,
    ) {
        let goals = [0.0, 0.001, 0.005].map(SearchGoal::with_loss_ratio).to_vec();
        let limits = SearchConfig { max_duration: Duration::from_secs(9999), ..SearchConfig::between(100.0, 1e6) };
        let run = |goals: Vec<SearchGoal>| {
            let config = SearchConfig { goals, ..limits.clone() };
            Bench::new(0, build((kind, capacity, slope))).search(&config)
        };
        let together = run(goals.clone());
        let mut alone = 0;
        for (at, goal) in goals.iter().enumerate() {
            let result = run(vec![*goal]);
            alone += result.trials.len();
            prop_assert!(together.goals[at].irregular.is_empty() || !result.goals[0].irregular.is_empty());
        }
        prop_assert!(together.trials.len() <= alone, "{} > {alone}", together.trials.len());
    }

    #[test]
    fn a_search_that_is_stopped_says_so(stop_after in 0usize..20) {
        let mut bench = Bench::new(0, livelock(5e5));
        bench.stop_after = stop_after;
        let config = SearchConfig::between(100.0, 1e6);
        let result = bench.search(&config);
        // The trial during which the stop came does not count.
        prop_assert_eq!(result.trials.len(), stop_after.saturating_sub(1));
        prop_assert_eq!(result.halted, Some(linerate::bench::search::result::Halt::Stopped));
    }
}
