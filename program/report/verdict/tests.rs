use super::*;
use crate::bench::account::{CpuTaken, Evidence, Role, Taken};
use crate::bench::compare::observation::{LoadKind, Metric, Observation};
use crate::bench::compare::result::{Excluded, Round, SeatSummary, Series};
use crate::bench::search::trial::VoidReason;
use crate::engine::config::PathName;
use crate::engine::wait::Wait;
use crate::load::run::LoadOutcome;
use crate::report::{compare_details, compare_table};
use crate::stats::best_set::{LOOKS, alpha_for};
use crate::stats::counters::EngineCounters;
use crate::stats::counters::Tally;
use crate::stats::latency::{Latency, LatencySummary};
use crate::stats::state::Doubt;
use crate::sys::ethtool_settings::DeviceRings;
use crate::units::FrameSize;
use std::time::Duration;

/// Rounds that scatter by a hundredth around `value`, for other values in another order.
fn around(value: f64) -> Vec<f64> {
    let every = [3, 5, 7][value as usize / 1000 % 3];
    let scatter = |round: usize| 0.01 * ((round * every % 11) as f64 / 5.0 - 1.0);
    (0..22).map(|round| value * (1.0 + scatter(round))).collect()
}

fn drained(pps: f64) -> Observation {
    let outcome = LoadOutcome {
        sent: 1000,
        tally: Tally { intact: 1000, ..Tally::default() },
        stamps_ns: (1, 1 + (999.0 * 1e9 / pps) as u64),
        ..LoadOutcome::default()
    };
    let found = Observation::of_outcome(LoadKind::Drain, &outcome, 1_000_000, 1);
    // As much CPU time as time.
    Observation { cpu_ns_per_echo: Some(1e9 / pps), ..found }
}

fn pinged(p50: f64) -> Observation {
    let rtt = Some(LatencySummary { count: 99, p50: p50 as u64, ..LatencySummary::default() });
    Observation { rtt, load: LoadKind::Ping, ..drained(1e5) }
}

/// A contestant, its rates and its times.
type Sat<'a> = (&'a str, Vec<f64>, Vec<f64>);

/// Who drains at which rates and answers in which times; the first is the baseline, and sits again at the end.
fn comparison(seats: &[Sat<'_>]) -> Comparison {
    let with_again: Vec<_> =
        seats.iter().chain(seats.first().filter(|_| seats.len() > 1)).collect();
    let series = |load, rounds: &dyn Fn(&Sat<'_>) -> Vec<Observation>| Series {
        size: FrameSize::smallest(),
        load,
        rounds: with_again
            .iter()
            .map(|seat| {
                let round =
                    |observation| Round { observation, void: None, taken: Taken::default() };
                rounds(seat).into_iter().map(round).collect()
            })
            .collect(),
        alpha: alpha_for(seats.len(), LOOKS.len()),
    };
    let summary = |(name, ..): &&Sat<'_>| SeatSummary {
        contestant: name.parse().unwrap(),
        path: PathName::RING,
        wait: Wait::Epoll,
        counters: EngineCounters::default(),
        latency: Latency::default(),
    };
    Comparison {
        seats: with_again.iter().map(summary).collect(),
        contestants: seats.len(),
        baseline: 0,
        series: vec![
            series(LoadKind::Drain, &|(_, rates, _)| {
                rates.iter().map(|&one| drained(one)).collect()
            }),
            series(LoadKind::Ping, &|(.., times)| times.iter().map(|&one| pinged(one)).collect()),
        ],
        excluded: Vec::<Excluded>::new(),
        shares_cpu: false,
        interrupted: false,
        broken: None,
        took: Duration::from_secs(60),
    }
}

fn three() -> Comparison {
    comparison(&[
        ("syscall", around(230e3), around(8_000.0)),
        ("ring", around(921e3), around(1e6)),
        ("balanced", around(690e3), around(2_000.0)),
    ])
}

#[test]
fn the_best_is_named_with_ratio_interval_and_cost_and_so_is_who_loses() {
    let said = sentences(&three());
    assert_eq!(said.len(), 3, "{said:?}");
    for words in ["ring forwards 4.0", "(95 %: 3.9", "to 4.0", "for 0.25 times the CPU"] {
        assert!(said[0].contains(words), "{words}: {said:?}");
    }
    assert!(said[1].contains("balanced answers a lone frame in 0.25"), "{said:?}");
    assert!(said[2].contains("ring (12") && said[2].contains("LOSES to syscall"), "{said:?}");
    let table = compare_table::of_size(&three(), FrameSize::smallest());
    assert!(
        table.lines().all(|line| line.chars().count() <= 80) && !table.contains('?'),
        "{table}"
    );
    assert_eq!(table.lines().count(), 1 + 1 + 1 + 4, "{table}");
}

#[test]
fn equals_have_no_winner() {
    let found = comparison(&[
        ("syscall", around(230e3), around(8_000.0)),
        ("ring", around(900e3), around(8_000.0)),
        ("ring-v2", around(901e3), around(8_000.0)),
    ]);
    let answers = found.answers();
    assert_eq!(answers[0].best.len(), 2);
    assert_eq!(answers[2].best.len(), 3);
    assert!(answers.iter().all(|answer| answer.losers.len() != 2));
    assert!(sentences(&found)[0].contains("not clearly behind: ring"), "{:?}", sentences(&found));
}

fn reason(found: &Comparison, seat: usize, load: usize, metric: Metric) -> Option<Doubt> {
    match found.finding(&found.series[load], seat, metric).unwrap().state {
        State::CannotTell { reason } => Some(reason),
        _ => None,
    }
}

#[test]
fn a_baseline_that_differs_from_itself_says_nothing_of_anybody() {
    let mut found = three();
    for round in &mut found.series[0].rounds[3] {
        round.observation.echoed_pps *= 1.2;
    }
    for seat in 0..3 {
        let doubt = reason(&found, seat, 0, Metric::Rate);
        assert!(matches!(doubt, Some(Doubt::BaselineDiffers { .. })), "{doubt:?}");
        assert_eq!(reason(&found, seat, 1, Metric::P50), None, "another series");
    }
    assert!(sentences(&found)[0].contains("cannot be told"), "{:?}", sentences(&found));
    assert!(compare_table::of_size(&found, FrameSize::smallest()).contains('?'));
}

#[test]
fn too_few_rounds_and_rounds_that_scatter_say_nothing() {
    let mut few = three();
    few.series[0].rounds.iter_mut().for_each(|rounds| rounds.truncate(5));
    assert!(matches!(
        reason(&few, 1, 0, Metric::Rate),
        Some(Doubt::TooFewRounds { valid: 5, needed: 8 })
    ));
    let mut void = three();
    for round in void.series[0].rounds[1].iter_mut().skip(5) {
        round.void = Some(VoidReason::BehindSchedule);
    }
    assert!(matches!(
        reason(&void, 1, 0, Metric::Rate),
        Some(Doubt::TooFewRounds { valid: 5, .. })
    ));
    assert!(compare_details::oddities(&void, false)[0].contains("VOID in 17 of 44"));
    let mut wide = three();
    for (at, round) in wide.series[0].rounds[1].iter_mut().enumerate() {
        round.observation.echoed_pps *= 1.0 + at as f64 / 10.0;
    }
    assert!(matches!(reason(&wide, 1, 0, Metric::Rate), Some(Doubt::IntervalTooWide { .. })));
}

#[test]
fn what_a_drain_lost_is_laid_to_rings_that_are_smaller_than_it() {
    let rings = |receive| {
        let rings = DeviceRings { receive, receive_max: 4096, ..DeviceRings::default() };
        vec![("eth2".to_string(), rings)]
    };
    let mut lossy = three();
    let found = &mut lossy.series[0].rounds[1][0].observation;
    (found.sent, found.lost) = (1536, 480);
    let said = |found: &Comparison, receive| compare_details::short_rings(found, &rings(receive));
    let words = said(&lossy, 256).join("\n");
    assert!(words.contains("256 receive desc") && words.contains("`ethtool -G eth2 rx 4096`"));
    assert!(said(&lossy, 4096).is_empty() && said(&three(), 256).is_empty());
}

/// The baseline jumps between 8 and 26 us: all are judged only where both modes say the same.
#[test]
fn two_modes_are_judged_where_they_agree() {
    let jumps: Vec<f64> = around(1.0)
        .iter()
        .enumerate()
        .map(|(at, one)| one * if at % 3 == 0 { 26_000.0 } else { 8_000.0 })
        .collect();
    let found = comparison(&[
        ("syscall", around(230e3), jumps.clone()),
        ("ring-v2", around(690e3), around(16_000.0)),
        ("balanced", around(690e3), around(2_000.0)),
    ]);
    assert!(matches!(reason(&found, 1, 1, Metric::P50), Some(Doubt::ModesDisagree { .. })));
    assert_eq!(reason(&found, 2, 1, Metric::P50), None);
    assert!(found.finding(&found.series[1], 0, Metric::P50).unwrap().modes.is_some());
}

#[test]
fn what_was_measured_through_a_disturbance_is_marked() {
    let mut found = three();
    let cpu = CpuTaken {
        role: Role::Engine,
        cpu: Some(1),
        run_delay_ns: Some(300_000),
        involuntary_switches: Some(3),
        disturbed_share: 0.3,
        evidence: vec![Evidence::RunQueue],
        ..CpuTaken::default()
    };
    let taken = Taken { span_ns: 1_000_000, cpus: vec![cpu], ..Taken::default() };
    for round in found.series[0].rounds.iter_mut().flatten() {
        round.taken = taken.clone();
    }
    let state = found.finding(&found.series[0], 1, Metric::Rate).unwrap().state;
    assert!(matches!(state, State::Disturbed { share } if (share - 0.3).abs() < 1e-9), "{state:?}");
    assert!(compare_table::of_size(&found, FrameSize::smallest()).contains(" ~4.0"));
    assert!(sentences(&found)[0].contains("30 % of a CPU"), "{:?}", sentences(&found));
    assert!((found.taken().share() - 0.3).abs() < 1e-9 && found.taken().state() != State::Clear);
}

#[test]
fn one_alone_is_told_without_a_ratio() {
    let found = comparison(&[("ring", around(921e3), around(1e6))]);
    let said = sentences(&found);
    assert!(said[0].starts_with("64 B: ring forwards 921"), "{said:?}");
    assert!(!said[0].contains("times"), "{said:?}");
}
