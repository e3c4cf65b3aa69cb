//! What a comparison says about each question, in sentences.

use crate::bench::compare::observation::Metric;
use crate::bench::compare::result::Comparison;
use crate::bench::compare::verdict::{Answer, Standing, answers, scaling};
use crate::bench::contestant::Contestant;
use crate::stats::spread::Spread;
use crate::units::{nanoseconds, rate};

/// Size by size, the best for each question, those that lose to the baseline, and what a second worker
/// adds.
pub fn sentences(comparison: &Comparison) -> Vec<String> {
    let answers = answers(comparison);
    let mut sentences = Vec::new();
    for size in comparison.sizes() {
        let mut say = |sentence| sentences.push(format!("{size} B, {sentence}."));
        for answer in answers.iter().filter(|answer| answer.size == size) {
            say(best(answer));
            losers(answer).into_iter().for_each(&mut say);
        }
        let two: Vec<String> = scaling(comparison, size)
            .into_iter()
            .map(|(contestant, Spread { median, min, max, .. })| {
                format!("{contestant} {median:.2} times one ({min:.2} to {max:.2})")
            })
            .collect();
        if !two.is_empty() {
            say(format!("two workers drain: {}", two.join(", ")));
        }
    }
    sentences
}

fn best(answer: &Answer) -> String {
    let Answer { about, by, rivals, .. } = answer;
    let leader = praise(answer);
    if rivals.is_empty() {
        return format!("{about}: {leader} ({by})");
    }
    if answer.too_few_trials {
        return format!("{about}: {leader}, too few trials to name a winner ({by})");
    }
    let names: Vec<String> = rivals.iter().map(Contestant::to_string).collect();
    let names = names.join(", ");
    format!("{about}: no clear winner, {leader} and not clearly behind it {names} ({by})")
}

/// `ring with 812 k/s, 3.10 times syscall's (2.90 to 3.30)`.
fn praise(answer: &Answer) -> String {
    let Standing { contestant, value, ratio_to_baseline } = answer.leader;
    let value = match answer.metric {
        Metric::Rate => rate(value),
        _ => nanoseconds(value as u64),
    };
    let base = Contestant::BASELINE;
    let ratio = ratio_to_baseline.map(|Spread { median, min, max, .. }| {
        format!(", {median:.2} times {base}'s ({min:.2} to {max:.2})")
    });
    format!("{contestant} with {value}{}", ratio.unwrap_or_default())
}

fn losers(answer: &Answer) -> Option<String> {
    let losers = answer.losers.iter().filter_map(|one| {
        Some(format!("{} ({:.2} times)", one.contestant, one.ratio_to_baseline?.median))
    });
    let losers: Vec<String> = losers.collect();
    let verb = if losers.len() == 1 { "LOSES" } else { "LOSE" };
    let (about, base) = (answer.about, Contestant::BASELINE);
    (!losers.is_empty()).then(|| format!("{about}: {} {verb} to {base}", losers.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::compare::observation::{KEPT_UP_LOSS, LoadKind, Observation};
    use crate::bench::compare::result::{ContestantResult, Round};
    use crate::bench::trial::Trial;
    use crate::engine::config::PathName;
    use crate::engine::wait::Wait;
    use crate::load::run::LoadOutcome;
    use crate::load::tally::Tally;
    use crate::stats::latency::LatencySummary;
    use crate::units::FrameSize;

    /// `sent` thousand frames left and `intact` thousand came back within a second.
    fn observed(load: LoadKind, sent: u64, intact: u64) -> Observation {
        let (sent, intact) = (sent * 1000, intact * 1000);
        let outcome = LoadOutcome {
            sent,
            span_ns: 1_000_000_000,
            tally: Tally { intact, ..Tally::default() },
            lost: sent - intact,
            stamps_ns: (1, 1_000_000_001),
            ..LoadOutcome::default()
        };
        Observation::of_outcome(load, &outcome, 500_000_000)
    }

    fn ping(p50: u64) -> Observation {
        let rtt = Some(LatencySummary { p50, ..LatencySummary::default() });
        Observation { rtt, cpu_ns_per_echo: None, ..observed(LoadKind::Ping, 1, 1) }
    }

    /// A contestant whose rounds each found `sent` and `intact` at flood, `drained` and `p50`.
    fn result(name: &str, flood: &[(u64, u64)], drained: u64, p50: &[u64]) -> ContestantResult {
        let rounds = flood.iter().zip(p50.iter().cycle());
        let trial = |(&(sent, intact), &p50): (&(u64, u64), &u64)| Trial {
            observations: vec![
                observed(LoadKind::Flood, sent, intact),
                observed(LoadKind::Drain, drained, drained),
                ping(p50),
            ],
            ..Trial::default()
        };
        let rounds = rounds.map(|round| Round { trial: Some(trial(round)), void: Vec::new() });
        let contestant: Contestant = name.parse().unwrap();
        ContestantResult {
            contestant,
            path: PathName::RING,
            wait: Wait::Epoll,
            size: FrameSize::smallest(),
            rounds: rounds.collect(),
        }
    }

    fn say(results: Vec<ContestantResult>) -> String {
        let loads = vec![LoadKind::Flood, LoadKind::Drain, LoadKind::Ping];
        let (excluded, interrupted) = (Vec::new(), false);
        sentences(&Comparison { results, loads, excluded, interrupted, broken: None }).join("\n")
    }

    #[test]
    fn the_best_for_throughput_latency_and_cost_are_named_each() {
        let text = say(vec![
            result("syscall", &[(900, 250); 3], 300, &[20_000]),
            result("ring", &[(900, 600), (900, 550), (900, 500)], 900, &[1_000_000]),
            result("ring-v2@spin", &[(900, 400); 3], 600, &[5_000, 4_000, 6_000]),
        ]);
        for words in [
            "64 B, throughput: ring with 550.0 k/s, 2.20 times syscall's (2.00 to 2.40) (at flood).",
            "64 B, latency: ring-v2@spin with 5.0 µs, 0.25 times syscall's (0.20 to 0.30)",
            "64 B, latency: ring (50.00 times) LOSES to syscall.",
            "64 B, CPU: ring with 909 ns, 0.45 times syscall's (0.42 to 0.50) (per echo at flood).",
        ] {
            assert!(text.contains(words), "no '{words}' in\n{text}");
        }
    }

    #[test]
    fn whoever_leads_only_in_some_rounds_is_no_clear_winner() {
        let text = say(vec![
            result("ring", &[(900, 450), (900, 420), (900, 300)], 900, &[9_000]),
            result("ring-xsk", &[(900, 400); 3], 900, &[8_000]),
            result("syscall", &[(900, 200); 3], 300, &[20_000]),
        ]);
        let words = "throughput: no clear winner, ring with 420.0 k/s, 2.10 times syscall's \
                     (1.50 to 2.25) and not clearly behind it ring-xsk (at flood)";
        assert!(text.contains(words), "{text}");
        assert!(text.contains("latency: ring-xsk with 8.0 µs"), "{text}");
    }

    #[test]
    fn rings_that_lose_are_said_to_lose() {
        let text = say(vec![
            result("ring", &[(900, 200), (900, 210), (900, 220)], 100, &[20_000]),
            result("ring-v2", &[(900, 300); 3], 100, &[20_000]),
            result("syscall", &[(900, 400); 3], 300, &[20_000]),
        ]);
        assert!(text.contains("throughput: syscall with 400.0 k/s (at flood)"), "{text}");
        assert!(
            text.contains("throughput: ring (0.52 times), ring-v2 (0.75 times) LOSE to syscall."),
            "{text}"
        );
    }

    #[test]
    fn two_trials_decide_nothing() {
        let text = say(vec![
            result("ring", &[(900, 600); 2], 900, &[9_000]),
            result("syscall", &[(900, 250); 2], 300, &[20_000]),
        ]);
        assert!(text.contains("2.40 times syscall's (2.40 to 2.40), too few trials"), "{text}");
        assert!(!text.contains("LOSE"), "{text}");
    }

    #[test]
    fn a_flood_that_the_generator_limits_gives_way_to_the_drain() {
        let text = say(vec![
            result("ring", &[(600, 600); 3], 900, &[9_000]),
            result("syscall", &[(900, 400); 3], 300, &[20_000]),
        ]);
        let words = "ring with 900.0 k/s, 3.00 times syscall's (3.00 to 3.00) (by drain, the \
                     generator limits the flood)";
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn where_the_generator_was_the_limit_in_most_trials_the_loss_says_the_same() {
        // Of 600 thousand sent none is lost, or a quarter.
        let (kept_up, lost) = ((600, 600), (600, 450));
        for (flood, is_limited) in [
            (vec![kept_up, lost, kept_up, lost, kept_up], true),
            (vec![lost, kept_up, lost, kept_up, lost], false),
            (vec![kept_up, lost], false),
            (vec![kept_up, kept_up, lost, kept_up], true),
        ] {
            let result = result("ring", &flood, 900, &[9_000]);
            assert_eq!(result.is_generator_limited(), is_limited, "{flood:?}");
            let loss = result.loss_ratio(LoadKind::Flood);
            assert_eq!(loss < KEPT_UP_LOSS, is_limited, "{flood:?}: {loss}");
        }
    }

    #[test]
    fn what_a_second_worker_adds_is_said_without_a_winner() {
        let found = |together| Observation {
            alone_pps: Some([500_000.0, 500_000.0]),
            ..observed(LoadKind::Scale, together, together)
        };
        let mut ring = result("ring", &[(900, 600); 3], 900, &[9_000]);
        let trials = ring.rounds.iter_mut().filter_map(|round| round.trial.as_mut());
        for (trial, together) in trials.zip([900, 950, 925]) {
            trial.observations = vec![found(together)];
        }
        let text = say(vec![ring]);
        assert_eq!(text, "64 B, two workers drain: ring 1.85 times one (1.80 to 1.90).");
    }

    #[test]
    fn one_alone_is_praised_without_a_ratio() {
        let text = say(vec![result("ring", &[(900, 600); 3], 900, &[9_000])]);
        assert!(text.contains("throughput: ring with 600.0 k/s (at flood)."), "{text}");
    }
}
