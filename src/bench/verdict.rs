//! What a comparison's numbers say, in plain words; free to say that the ring lost.

use super::compare::{Comparison, PathResult};
use crate::engine::config::PathName;
use crate::stats::spread::Spread;
use crate::units::{FrameSize, nanoseconds, rate};

/// A sentence for each size and path, and one for each size about lone frames.
pub fn sentences(comparison: &Comparison) -> Vec<String> {
    let mut sizes: Vec<FrameSize> = comparison.results.iter().map(|result| result.size).collect();
    sizes.dedup();
    sizes.into_iter().flat_map(|size| of_size(comparison, size)).collect()
}

fn of_size(comparison: &Comparison, size: FrameSize) -> Vec<String> {
    let results: Vec<&PathResult> =
        comparison.results.iter().filter(|result| result.size == size).collect();
    let mut clauses: Vec<String> = match comparison.result(PathName::SYSCALL, size) {
        Some(base) if results.len() > 1 => {
            let others = results.iter().filter(|result| result.path != PathName::SYSCALL);
            others.map(|result| against(result, base)).collect()
        }
        _ => results.iter().filter_map(|result| alone(result)).collect(),
    };
    let mut lone: Vec<(u64, PathName)> = results
        .iter()
        .map(|result| (result.round_trips().percentile(50.0), result.path))
        .filter(|(latency, _)| *latency > 0)
        .collect();
    lone.sort_by_key(|(latency, _)| *latency);
    if !lone.is_empty() {
        let times: Vec<String> =
            lone.iter().map(|(ns, path)| format!("{} on {path}", nanoseconds(*ns))).collect();
        clauses.push(format!("a lone frame is back after {}", times.join(", ")));
    }
    clauses.into_iter().map(|clause| format!("{size} B: {clause}.")).collect()
}

/// A path with nothing to compare it to.
fn alone(result: &PathResult) -> Option<String> {
    let spread = if result.is_generator_limited() { result.drain() } else { result.forwarded() };
    Some(format!("{} forwards {}", result.path, rate(spread?.median)))
}

/// How a path does against `syscall`.
fn against(result: &PathResult, base: &PathResult) -> String {
    let ratios = result.ratios_to(base);
    let by_drain = result.is_generator_limited() || base.is_generator_limited();
    let (ratio, how) = match (by_drain, ratios.drain, ratios.forwarded) {
        (true, Some(drain), _) => (drain, " by drain, the generator limits the flood"),
        (_, _, Some(forwarded)) => (forwarded, " at flood"),
        _ => return format!("{} gave no rate", result.path),
    };
    let path = result.path;
    let spread = format!("{:.2} to {:.2}{how}", ratio.min, ratio.max);
    let speed = match judge(ratio, result.trials.len()) {
        Judgement::Wins => {
            format!("{path} forwards {:.2} times what syscall does ({spread})", ratio.median)
        }
        Judgement::Loses => {
            format!("{path} LOSES to syscall: {:.2} times its rate ({spread})", ratio.median)
        }
        Judgement::Undecided => format!("{path} and syscall do not differ clearly ({spread})"),
        Judgement::TooFew => format!(
            "{path} forwards {:.2} times what syscall does, by too few trials to say more ({spread})",
            ratio.median
        ),
    };
    match ratios.cpu {
        Some(cpu) => format!("{speed} for {:.2} of the CPU per frame", cpu.median),
        None => speed,
    }
}

/// What a ratio's spread over the trials allows to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Wins,
    Loses,
    Undecided,
    TooFew,
}

/// Fewer trials than these decide nothing, whatever they say.
const TRIALS_MIN: usize = 3;

/// Only trials that all point the same way decide.
fn judge(ratio: Spread, trials: usize) -> Judgement {
    if trials < TRIALS_MIN {
        Judgement::TooFew
    } else if ratio.min > 1.0 {
        Judgement::Wins
    } else if ratio.max < 1.0 {
        Judgement::Loses
    } else {
        Judgement::Undecided
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::trial::Trial;
    use crate::load::report::{LoadReport, Tally};
    use crate::stats::counters::EngineCounters;

    /// A run in which `sent` frames left and `intact` came back within a second.
    fn load(sent: u64, intact: u64) -> LoadReport {
        LoadReport {
            sent,
            sending_ns: 1_000_000_000,
            tally: Tally { intact, ..Tally::default() },
            lost: sent - intact,
            first_stamp_ns: 1,
            last_stamp_ns: 1_000_000_001,
            ..LoadReport::default()
        }
    }

    fn result(path: PathName, flood: &[(u64, u64)], drain: u64) -> PathResult {
        let trials = flood.iter().map(|&(sent, intact)| Trial {
            flood: load(sent * 1000, intact * 1000),
            drain: load(drain, drain),
            round_trips: load(0, 0),
            cpu_ns_per_frame: 1e12 / intact as f64,
            engine: EngineCounters::default(),
            engine_latency: None,
        });
        PathResult { path, size: FrameSize::with_fcs(64).unwrap(), trials: trials.collect() }
    }

    fn say(ring: &[(u64, u64)], syscall: &[(u64, u64)]) -> String {
        let results = vec![
            result(PathName::RING, ring, 900_000),
            result(PathName::SYSCALL, syscall, 300_000),
        ];
        sentences(&Comparison { results, interrupted: false }).remove(0)
    }

    #[test]
    fn a_ring_that_wins_every_trial_wins() {
        let text = say(&[(900, 600), (900, 550), (900, 500)], &[(900, 250); 3]);
        assert!(text.contains("ring forwards 2.20 times what syscall does"), "{text}");
        assert!(text.contains("2.00 to 2.40 at flood"), "{text}");
    }

    #[test]
    fn a_ring_that_loses_is_said_to_lose() {
        let text = say(&[(900, 200), (900, 210), (900, 220)], &[(900, 400); 3]);
        assert!(text.contains("ring LOSES to syscall: 0.52"), "{text}");
    }

    #[test]
    fn two_trials_decide_nothing() {
        let text = say(&[(900, 600); 2], &[(900, 250); 2]);
        assert!(text.contains("by too few trials to say more"), "{text}");
    }

    #[test]
    fn trials_that_disagree_decide_nothing() {
        let text = say(&[(900, 450), (900, 420), (900, 300)], &[(900, 400); 3]);
        assert!(text.contains("do not differ clearly"), "{text}");
    }

    #[test]
    fn a_flood_that_the_generator_limits_gives_way_to_the_drain() {
        let text = say(&[(600, 600); 3], &[(900, 400); 3]);
        assert!(text.contains("3.00 times what syscall does (3.00 to 3.00 by drain"), "{text}");
    }
}
