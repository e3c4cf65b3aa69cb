//! Devices and generators that make it hard: noise, bursts of loss, inversion, change, void trials.

use std::time::Duration;

use linerate::bench::search::goal::{SearchConfig, SearchGoal};
use linerate::bench::search::repeats::{Repetition, agreement};
use linerate::bench::search::result::{GoalResult, Halt};
use linerate::stats::state::{Doubt, State};

use crate::devices::*;

const CAPACITY: f64 = 800_000.0;

fn config() -> SearchConfig {
    SearchConfig {
        confirmation: None,
        max_duration: Duration::from_secs(600),
        ..SearchConfig::between(1000.0, 5e6)
    }
}

/// The lower bounds that searches with 200 seeds find, in units of the capacity.
fn found(config: &SearchConfig, goal: usize, loss: impl Fn() -> Loss) -> Vec<f64> {
    (0..200)
        .map(|seed| {
            let result = Bench::new(seed, loss()).search(config);
            result.goals[goal].lower_bound_pps.unwrap_or(0.0) / CAPACITY
        })
        .collect()
}

fn part_within(values: &[f64], tolerance: f64) -> f64 {
    let near = values.iter().filter(|&&value| (value - 1.0).abs() <= tolerance).count();
    near as f64 / values.len() as f64
}

#[test]
fn repeated_searches_agree_on_a_mildly_noisy_device() {
    for probability in [0.02, 0.05, 0.1] {
        for goal in [0, 1] {
            let lower = found(&config(), goal, || noisy(CAPACITY, probability, 0.05));
            let agree = part_within(&lower, 0.1);
            assert!(agree >= 0.98, "{probability} {goal}: {agree}");
        }
    }
}

#[test]
fn a_majority_of_trials_finds_the_device_behind_noise() {
    let lower = found(&config(), 0, || noisy(CAPACITY, 0.2, 0.05));
    assert!(part_within(&lower, 0.1) >= 0.85, "{}", part_within(&lower, 0.1));
    // One trial that decides alone believes every spike.
    let gullible = SearchGoal {
        exceed_ratio: 0.0,
        duration_sum: Duration::from_secs(1),
        ..SearchGoal::default()
    };
    let single = SearchConfig { goals: vec![gullible], ..config() };
    let believed = found(&single, 0, || noisy(CAPACITY, 0.2, 0.05));
    assert!(part_within(&believed, 0.01) < 0.8 * part_within(&lower, 0.01));
}

#[test]
fn short_windows_of_loss_hide_the_ndr_and_not_the_pdr() {
    // One dark window of 10 ms in two seconds: four trials of ten lose 1 % at any load.
    let strict = found(&config(), 0, || bursty(CAPACITY, 0.2));
    assert!(part_within(&strict, 0.1) >= 0.8, "{}", part_within(&strict, 0.1));
    let goals = vec![SearchGoal::with_loss_ratio(0.02)];
    let tolerant = SearchConfig { goals, ..config() };
    let lower = found(&tolerant, 0, || bursty(CAPACITY, 0.5));
    assert!(part_within(&lower, 0.1) >= 0.95, "{}", part_within(&lower, 0.1));
}

#[test]
fn a_device_that_loses_at_low_loads_only_is_taken_at_its_highest() {
    let result = Bench::new(0, lying(2e6)).search(&config());
    assert_eq!(result.goals[0].lower_bound_pps, Some(5e6));
    // Where a low load was seen to fail, no higher one is a relevant lower bound.
    let both: Loss = Box::new(|load, _, _, _| {
        if load > 4e6 {
            0.5
        } else if !(2e6..=3e6).contains(&load) {
            0.1
        } else {
            0.0
        }
    });
    let result = Bench::new(0, both).search(&config());
    let goal = &result.goals[0];
    let (lower, upper) = (goal.lower_bound_pps.unwrap_or(0.0), goal.upper_bound_pps.unwrap());
    assert!(lower < upper, "{goal:?}");
}

#[test]
fn a_device_that_slows_down_is_not_reported_at_its_old_rate_once_confirmed() {
    for trials in 1..40 {
        let confirming = SearchConfig { confirmation: Some(Duration::from_secs(10)), ..config() };
        let result = Bench::new(0, changing(1e6, 5e5, trials)).search(&confirming);
        let last_trial = result.trials.len();
        for goal in result.goals.iter().filter(|goal| goal.confirmed == Some(true)) {
            let lower = goal.lower_bound_pps.unwrap();
            assert!(lower <= 1.01e6, "{goal:?}");
            let confirmed_at = result
                .trials
                .iter()
                .rposition(|trial| trial.duration.as_secs() >= 10 && trial.load_pps == lower);
            let slow = confirmed_at.unwrap() >= trials;
            assert!(!slow || lower <= 5.1e5, "{trials} of {last_trial}: {goal:?}");
        }
    }
}

#[test]
fn now_and_then_a_void_trial_is_repeated() {
    let mut agree = 0;
    for seed in 0..100 {
        let mut bench = Bench::new(seed, constant_rate(CAPACITY));
        bench.void_chance = 0.1;
        let result = bench.search(&config());
        let lower = result.goals[0].lower_bound_pps.unwrap();
        if result.goals[0].irregular.is_empty() {
            assert!((CAPACITY * 0.99..=CAPACITY).contains(&lower));
            agree += 1;
        }
    }
    assert!(agree >= 90, "{agree}");
}

#[test]
fn theft_makes_no_bound() {
    for (chance, share) in [(0.1, 0.02), (0.3, 0.3), (0.5, 0.7)] {
        for seed in 0..50 {
            let mut bench = Bench::new(seed, constant_rate(CAPACITY));
            (bench.theft_chance, bench.theft_share) = (chance, share);
            let goal = &bench.search(&config()).goals[0];
            let near = |pps: f64| (CAPACITY * 0.99..=CAPACITY).contains(&pps);
            let is_right = goal.lower_bound_pps.is_some_and(near);
            assert!(is_right || !goal.state.tells(), "{chance} {share} {seed}: {goal:?}");
        }
    }
}

#[test]
fn a_machine_that_is_always_robbed_cannot_tell_and_says_why() {
    let mut bench = Bench::new(0, constant_rate(CAPACITY));
    (bench.theft_chance, bench.theft_share) = (1.0, 0.4);
    let result = bench.search(&config());
    assert!(matches!(result.halted, Some(Halt::Spoiled { .. })), "{:?}", result.halted);
    let reason = Doubt::TimeTaken { share: 0.4 };
    assert_eq!(result.goals[0].state, State::CannotTell { reason });
    assert!(result.trials.len() > 3, "theft comes and goes, so more are tried than else");
}

#[test]
fn bounds_found_in_spite_of_theft_are_disturbed_and_others_clear() {
    let mut bench = Bench::new(0, constant_rate(CAPACITY));
    assert_eq!(bench.search(&config()).goals[0].state, State::Clear);
    bench.background_share = 0.2;
    let goal = &bench.search(&config()).goals[0];
    assert_eq!(goal.state, State::Disturbed { share: 0.2 });
    let repetitions = [Repetition { goal, sink_pps: 1e6 }; 3];
    assert_eq!(agreement(&repetitions).state, goal.state);
    let half = GoalResult { lower_bound_pps: Some(CAPACITY / 2.0), ..goal.clone() };
    let differ = [Repetition { goal, sink_pps: 1e6 }, Repetition { goal: &half, sink_pps: 1e6 }];
    let found = agreement(&differ);
    assert_eq!(found.state, State::CannotTell { reason: Doubt::TimeTaken { share: 0.2 } });
    assert!(found.reasons.iter().any(|why| why.contains("CPU time")), "{:?}", found.reasons);
}

#[test]
fn trials_that_stay_spoiled_end_the_search() {
    struct Spoiled;
    impl linerate::bench::search::trial::Measurer for Spoiled {
        fn measure(
            &mut self,
            load_pps: f64,
            duration: Duration,
        ) -> linerate::error::Result<linerate::bench::search::trial::TrialOutcome> {
            use linerate::bench::disturbance::Disturbance;
            use linerate::bench::search::trial::VoidReason;
            Ok(linerate::bench::search::trial::TrialOutcome {
                intended_pps: load_pps,
                achieved_pps: load_pps,
                sent: 1,
                lost: 0,
                duration,
                void: Some(VoidReason::Disturbed(Disturbance::LinkDown { interface: "x".into() })),
                latency: None,
                taken: Default::default(),
            })
        }
    }
    let result = linerate::bench::search::search(&mut Spoiled, &config(), &mut |_| {}).unwrap();
    assert_eq!(result.trials.len(), 3);
    let Some(Halt::Spoiled { load_pps, why }) = result.halted else { panic!("not spoiled") };
    assert_eq!((load_pps, why.as_str()), (5e6, "x: the link was down"));
}

/// A machine whose capacity is another one in each trial, with a cost to match the defaults.
#[test]
fn a_soft_knee_is_found_at_a_bearable_price() {
    for (swing, seconds_max) in [(0.0, 45.0), (0.01, 75.0), (0.05, 90.0), (0.1, 90.0)] {
        let (mut seconds, mut lowers) = (Vec::new(), Vec::new());
        for seed in 0..200 {
            let confirming =
                SearchConfig { confirmation: Some(Duration::from_secs(10)), ..config() };
            let result = Bench::new(seed, swinging(CAPACITY, swing)).search(&confirming);
            let spent: Duration = result.trials.iter().map(|trial| trial.duration).sum();
            seconds.push(spent.as_secs_f64());
            lowers.push(result.goals[0].lower_bound_pps.unwrap_or(0.0) / CAPACITY);
        }
        seconds.sort_by(f64::total_cmp);
        lowers.sort_by(f64::total_cmp);
        assert!(seconds[100] <= seconds_max, "swing {swing}: {} s", seconds[100]);
        let middle = lowers[100];
        let near = lowers.iter().filter(|&&lower| (lower / middle - 1.0).abs() <= 0.1).count();
        assert!(near >= 190, "swing {swing}: {near}");
    }
}
