//! What a comparison's numbers say, in plain words; free to say that the rings lost.

use super::observation::{LoadKind, Metric};
use super::result::{Comparison, ContestantResult};
use crate::stats::spread::Spread;
use crate::units::{FrameSize, nanoseconds, rate};

/// For each size the best for throughput, for latency and for CPU cost, as far as it was measured, and
/// those that lose to the baseline.
pub fn sentences(comparison: &Comparison) -> Vec<String> {
    let of_size = |size: FrameSize| {
        let questions =
            [throughput(comparison, size), latency(comparison, size), cost(comparison, size)];
        let found: Vec<String> = questions
            .into_iter()
            .flatten()
            .flat_map(|question| [Some(question.best()), question.losers()])
            .flatten()
            .chain(scaling(comparison, size))
            .map(|sentence| format!("{size} B, {sentence}."))
            .collect();
        found
    };
    comparison.sizes().into_iter().flat_map(of_size).collect()
}

/// One question, and the numbers that answer it.
struct Question<'a> {
    /// What is asked.
    about: &'static str,
    /// How it was measured.
    by: &'static str,
    load: LoadKind,
    metric: Metric,
    baseline: Option<&'a ContestantResult>,
    results: Vec<&'a ContestantResult>,
}

fn throughput(comparison: &Comparison, size: FrameSize) -> Option<Question<'_>> {
    let results = comparison.with_size(size);
    let limited = results.iter().any(|result| result.is_generator_limited());
    let choices = [
        (LoadKind::Flood, "at flood", !limited),
        (LoadKind::Drain, "by drain", true),
        (LoadKind::Flood, "at flood (a lower bound: the generator was the limit)", true),
        (LoadKind::Window, "with 64 frames in flight", true),
    ];
    let by_drain = "by drain, the generator limits the flood";
    choices.into_iter().filter(|(.., fits)| *fits).find_map(|(load, by, _)| {
        let by = if limited && load == LoadKind::Drain { by_drain } else { by };
        question(comparison, size, "throughput", by, load, Metric::Rate)
    })
}

fn latency(comparison: &Comparison, size: FrameSize) -> Option<Question<'_>> {
    let choices = [
        (LoadKind::Ping, "round trip with one frame in flight, p50"),
        (LoadKind::Light, "response time at light load, p50"),
        (LoadKind::Half, "response time at half of its own rate, p50"),
    ];
    choices
        .into_iter()
        .find_map(|(load, by)| question(comparison, size, "latency", by, load, Metric::P50))
}

fn cost(comparison: &Comparison, size: FrameSize) -> Option<Question<'_>> {
    let choices = [
        (LoadKind::Flood, "per echo at flood"),
        (LoadKind::Drain, "per echo in the drain"),
        (LoadKind::Window, "per echo with 64 frames in flight"),
        (LoadKind::Ping, "per round trip"),
    ];
    choices
        .into_iter()
        .find_map(|(load, by)| question(comparison, size, "CPU", by, load, Metric::Cpu))
}

/// What a second worker adds, for each that was asked.
fn scaling(comparison: &Comparison, size: FrameSize) -> Option<String> {
    let of_one = |result: &ContestantResult| {
        let Spread { median, min, max, .. } = result.spread(LoadKind::Scale, Metric::Scaling)?;
        Some(format!("{} {median:.2} times one ({min:.2} to {max:.2})", result.contestant))
    };
    let results = comparison.with_size(size);
    let found: Vec<String> = results.into_iter().filter_map(of_one).collect();
    (!found.is_empty()).then(|| format!("two workers drain: {}", found.join(", ")))
}

/// The question, if `load` was measured.
fn question<'a>(
    comparison: &'a Comparison,
    size: FrameSize,
    about: &'static str,
    by: &'static str,
    load: LoadKind,
    metric: Metric,
) -> Option<Question<'a>> {
    let mut results = comparison.with_size(size);
    results.retain(|result| result.spread(load, metric).is_some());
    let baseline = comparison.baseline(size);
    (!results.is_empty()).then_some(Question { about, by, load, metric, baseline, results })
}

impl Question<'_> {
    /// How much better `one` is than `other`, round by round: above 1 where it is.
    fn advantage(&self, one: &ContestantResult, other: &ContestantResult) -> Option<Spread> {
        match self.metric.is_cost() {
            true => other.ratio(one, self.load, self.metric),
            false => one.ratio(other, self.load, self.metric),
        }
    }

    fn median(&self, result: &ContestantResult) -> f64 {
        result.spread(self.load, self.metric).map_or(f64::NAN, |spread| spread.median)
    }

    /// The best one, or those among which no round-by-round comparison decides.
    fn best(&self) -> String {
        let mut order = self.results.clone();
        order.sort_by(|a, b| self.median(a).total_cmp(&self.median(b)));
        if !self.metric.is_cost() {
            order.reverse();
        }
        let leader = order[0];
        let rivals: Vec<&ContestantResult> = order[1..]
            .iter()
            .copied()
            .filter(|rival| !self.advantage(leader, rival).is_some_and(decides))
            .collect();
        let Question { about, by, .. } = self;
        if rivals.is_empty() {
            return format!("{about}: {} ({by})", self.praise(leader));
        }
        if leader.trials().count() < TRIALS_MIN {
            let too_few = "too few trials to name a winner";
            return format!("{about}: {}, {too_few} ({by})", self.praise(leader));
        }
        let names: Vec<String> = rivals.iter().map(|rival| rival.contestant.to_string()).collect();
        format!(
            "{about}: no clear winner, {} and not clearly behind it {} ({by})",
            self.praise(leader),
            names.join(", ")
        )
    }

    /// `ring with 812 k/s, 3.10 times syscall's (2.90 to 3.30)`.
    fn praise(&self, result: &ContestantResult) -> String {
        let contestant = result.contestant;
        let value = match self.metric {
            Metric::Rate => rate(self.median(result)),
            _ => nanoseconds(self.median(result) as u64),
        };
        let base = self.baseline.filter(|base| base.contestant != contestant);
        let ratio = base.and_then(|base| result.ratio(base, self.load, self.metric));
        match (base, ratio) {
            (Some(base), Some(Spread { median, min, max, .. })) => format!(
                "{contestant} with {value}, {median:.2} times {}'s ({min:.2} to {max:.2})",
                base.contestant
            ),
            _ => format!("{contestant} with {value}"),
        }
    }

    /// Those that the baseline beats in every round.
    fn losers(&self) -> Option<String> {
        let base = self.baseline?;
        let loses = |result: &&&ContestantResult| self.advantage(base, result).is_some_and(decides);
        let named = |result: &&ContestantResult| {
            let ratio = result.ratio(base, self.load, self.metric)?;
            Some(format!("{} ({:.2} times)", result.contestant, ratio.median))
        };
        let losers: Vec<String> = self.results.iter().filter(loses).filter_map(named).collect();
        let verb = if losers.len() == 1 { "LOSES" } else { "LOSE" };
        let about = self.about;
        (!losers.is_empty())
            .then(|| format!("{about}: {} {verb} to {}", losers.join(", "), base.contestant))
    }
}

/// Fewer trials than these decide nothing, whatever they say.
const TRIALS_MIN: usize = 3;

/// Only rounds that all point the same way decide.
fn decides(advantage: Spread) -> bool {
    advantage.count >= TRIALS_MIN && advantage.min > 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::compare::observation::{KEPT_UP_LOSS, Observation};
    use crate::bench::compare::result::Round;
    use crate::bench::contestant::Contestant;
    use crate::bench::trial::Trial;
    use crate::engine::config::PathName;
    use crate::engine::wait::Wait;
    use crate::load::run::LoadOutcome;
    use crate::load::tally::Tally;
    use crate::stats::latency::LatencySummary;

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
        sentences(&Comparison { results, loads, excluded, interrupted }).join("\n")
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
