//! What a search costs and how far repetitions agree on a machine that takes its CPUs away now and
//! then: within the time for one size and path, which the command line gives as 40 s.

use std::time::Duration;

use linerate::bench::search::goal::SearchConfig;
use linerate::bench::search::repeats::{AGREEMENT, Repetition, agreement};
use linerate::bench::search::result::{Irregularity, SearchResult};

use crate::devices::*;

const CAPACITY: f64 = 200_000.0;
/// Frames that a V2 ring holds, and that a socket buffer of the common size holds.
const RING: f64 = 2048.0;
const SOCKET: f64 = 277.0;

/// What the search may take of 40 s, the response times left out.
const TIME: Duration = Duration::from_millis(36_400);

fn searches(buffer: f64, thefts_per_second: f64) -> Vec<SearchResult> {
    let config =
        SearchConfig { max_duration: TIME, ..SearchConfig::between(1000.0, 3.0 * CAPACITY) };
    let one = |seed| {
        let mut bench = Bench::new(seed, stolen(CAPACITY, buffer, thefts_per_second));
        bench.overhead = Duration::from_millis(150);
        bench.search(&config)
    };
    (0..150).map(one).collect()
}

fn lower(result: &SearchResult, goal: usize) -> f64 {
    result.goals[goal].lower_bound_pps.unwrap_or(0.0)
}

fn part(results: &[SearchResult], is_so: impl Fn(&SearchResult) -> bool) -> f64 {
    results.iter().filter(|result| is_so(result)).count() as f64 / results.len() as f64
}

/// The last trial may begin when there is just room for it, without what it takes beside.
fn assert_in_time(results: &[SearchResult]) {
    for result in results {
        let spent: Duration = result.trials.iter().map(|trial| trial.outcome.duration).sum();
        assert!(spent <= TIME + Duration::from_millis(150), "{spent:?}");
    }
}

/// Wider bounds than asked for, a missing bound, a failed confirmation: all have a reason.
fn assert_honest(results: &[SearchResult]) {
    for goal in results.iter().flat_map(|result| &result.goals) {
        let has = |is_it: fn(&Irregularity) -> bool| goal.irregular.iter().any(is_it);
        let narrow = goal.width.is_some_and(|width| width <= goal.goal.width * (1.0 + 1e-6));
        let wide = |why: &Irregularity| {
            matches!(why, Irregularity::Coarse { .. } | Irregularity::Halted(_))
        };
        assert!(narrow || has(wide), "{goal:?}");
        let unconfirmed = |why: &Irregularity| matches!(why, Irregularity::NotConfirmed(_));
        let confirmed = goal.confirmed == Some(true) || goal.lower_bound_pps.is_none();
        assert!(confirmed || has(unconfirmed), "{goal:?}");
    }
}

#[test]
fn a_quiet_machine_is_searched_to_the_end_and_confirmed() {
    let results = searches(RING, 0.01);
    assert_in_time(&results);
    let done = |result: &SearchResult| result.goals.iter().all(|goal| goal.irregular.is_empty());
    assert!(part(&results, done) >= 0.97, "{}", part(&results, done));
    let right = |result: &SearchResult| (lower(result, 0) / CAPACITY - 1.0).abs() <= 0.005;
    assert!(part(&results, right) >= 0.99);
}

#[test]
fn a_noisy_machine_is_found_to_within_width_and_noise_in_time() {
    for (buffer, thefts_per_second) in [(RING, 2.0), (SOCKET, 0.3)] {
        let results = searches(buffer, thefts_per_second);
        assert_in_time(&results);
        assert_honest(&results);
        for goal in [0, 1] {
            let right =
                |result: &SearchResult| (lower(result, goal) / CAPACITY - 1.0).abs() <= 0.05;
            let share = part(&results, right);
            assert!(share >= 0.95, "{thefts_per_second} a second, goal {goal}: {share}");
        }
        let converged = |result: &SearchResult| result.halted.is_none();
        assert!(part(&results, converged) >= 0.9, "{}", part(&results, converged));
    }
}

#[test]
fn three_repetitions_agree_on_a_noisy_machine_or_say_why_not() {
    for (buffer, thefts_per_second, share) in
        [(RING, 2.0, 0.9), (SOCKET, 0.3, 0.9), (SOCKET, 5.0, 0.0)]
    {
        let results = searches(buffer, thefts_per_second);
        let (mut agreed, mut all) = (0, 0);
        for three in results.chunks_exact(3) {
            let repetitions: Vec<Repetition> = three
                .iter()
                .map(|result| Repetition { goal: &result.goals[0], sink_pps: 3.0 * CAPACITY })
                .collect();
            let found = agreement(&repetitions);
            assert!(!found.agrees || found.difference.unwrap() <= AGREEMENT, "{found:?}");
            assert_eq!(found.agrees, found.reasons.is_empty(), "{found:?}");
            all += 1;
            agreed += usize::from(found.agrees);
        }
        assert!(agreed as f64 >= share * 50.0, "{thefts_per_second}: {agreed} of {all}");
    }
}

/// Thefts so frequent that the loss of a trial is a matter of chance at any load worth having.
#[test]
fn a_machine_that_is_busy_with_other_work_still_gives_a_bound_in_time() {
    for (buffer, thefts_per_second) in [(RING, 20.0), (SOCKET, 5.0)] {
        let results = searches(buffer, thefts_per_second);
        assert_in_time(&results);
        assert_honest(&results);
        let bounded = |result: &SearchResult| result.goals[1].lower_bound_pps.is_some();
        assert!(part(&results, bounded) >= 0.95, "{}", part(&results, bounded));
    }
}

#[test]
fn what_differs_between_repetitions_is_named() {
    let mut bench = Bench::new(1, constant_rate(CAPACITY));
    let config = SearchConfig::between(1000.0, 1e6);
    let result = bench.search(&config);
    let goal = &result.goals[0];
    let other = linerate::bench::search::result::GoalResult {
        lower_bound_pps: Some(CAPACITY / 2.0),
        ..goal.clone()
    };
    let differ = |sink_pps| {
        let repetitions =
            [Repetition { goal, sink_pps: 1e6 }, Repetition { goal: &other, sink_pps }];
        agreement(&repetitions).reasons
    };
    assert!(differ(1e6)[0].contains("without a contradiction"), "{:?}", differ(1e6));
    assert!(differ(5e5)[0].contains("the generator alone differed"), "{:?}", differ(5e5));
    let alone = [Repetition { goal, sink_pps: 1e6 }];
    assert_eq!(agreement(&alone).difference, None);
    let none =
        linerate::bench::search::result::GoalResult { lower_bound_pps: None, ..goal.clone() };
    let one_of_two =
        [Repetition { goal, sink_pps: 1e6 }, Repetition { goal: &none, sink_pps: 1e6 }];
    assert!(agreement(&one_of_two).reasons[0].contains("only 1 of 2"));
    let alike = [Repetition { goal, sink_pps: 1e6 }; 2];
    assert!(agreement(&alike).agrees);
}
