//! What `linerate compare` says: the machine, a table for each size and load, the verdict.

use std::path::Path;
use std::time::Duration;

use comfy_table::Table;

use super::base::Base;
use super::compare_document::{cpu_clock, document};
use super::text::{self, grouped, lines_of, table, wrap};
use super::verdict;
use crate::bench::compare::observation::{LIGHT_PPS, LoadKind, Metric, Observation, WINDOW_FRAMES};
use crate::bench::compare::result::{Comparison, ContestantResult};
use crate::bench::compare::run::Step;
use crate::bench::contestant::{Contestant, Name};
use crate::bench::search::trial::VoidReason;
use crate::bench::testbed::Testbed;
use crate::error::Result;
use crate::stats::spread::Spread;
use crate::units::FrameSize;

/// What `linerate compare` says.
#[derive(Debug)]
pub struct CompareReport(Base);

impl CompareReport {
    /// Opens the outputs.
    pub fn open(json: Option<&Path>) -> Result<CompareReport> {
        Base::open(json).map(CompareReport)
    }

    /// What is about to be measured, and where.
    pub fn start(&mut self, testbed: &Testbed, cpus: (usize, usize), expected: Duration) {
        let (generator, engine) = (&testbed.generator.link, &testbed.engine.link);
        let headline = format!(
            "linerate compare: generator on {} (CPU {}), engine on {} (CPU {})",
            generator.name, cpus.0, engine.name, cpus.1
        );
        self.0.header(headline, engine, cpus.0 == cpus.1, text::runs_as());
        self.0.say(format!("  about {} s; Ctrl-C ends with what there is", expected.as_secs()));
    }

    /// A trial is about to begin.
    pub fn step(&mut self, step: Step) {
        let Step { done, total, contestant, size } = step;
        if done == 0 {
            self.0.begin(total as u64, Duration::MAX);
        }
        self.0.progress(done as u64, format!("{done} of {total} trials: {size} B {contestant}"));
    }

    /// Tables, verdict, JSON.
    pub fn finish(&mut self, testbed: &Testbed, comparison: &Comparison) -> Result<()> {
        self.0.end();
        for excluded in &comparison.excluded {
            let reason = excluded.reason.replace('\n', ";");
            self.0.say(wrap(&format!("NOT RUN HERE: {}: {reason}", excluded.contestant)));
        }
        let sizes = comparison.sizes();
        // What a profile comes to is the same with every size.
        for result in sizes.first().map(|&size| comparison.with_size(size)).unwrap_or_default() {
            let ContestantResult { contestant, path, wait, .. } = result;
            if matches!(contestant.name, Name::Profile(_)) {
                self.0.say(format!("  {contestant} is {path}, wait {}", wait.name()));
            }
        }
        for size in sizes {
            self.size(comparison, size);
        }
        if comparison.results.is_empty() {
            self.0.say("\ninterrupted: no trial was finished");
        } else {
            self.0.say("\nVerdict");
            for sentence in verdict::sentences(comparison) {
                self.0.say(wrap(&sentence));
            }
            self.0.say(verification(comparison));
        }
        if let Some(error) = &comparison.broken {
            self.0.say(format!("BROKEN OFF: {error}"));
        }
        if comparison.interrupted && !comparison.results.is_empty() {
            self.0.say("interrupted: the numbers are of the trials that were finished");
        }
        let cpu_clock = cpu_clock(&self.0.host, testbed.is_veth());
        self.0.write("linerate.compare/2", &document(cpu_clock, testbed, comparison))
    }

    fn size(&mut self, comparison: &Comparison, size: FrameSize) {
        let results = comparison.with_size(size);
        let trials = results.iter().map(|result| result.trials().count()).min().unwrap_or(0);
        self.0.say(format!(
            "\n{size} B frames ({} B at the socket), {trials} trial{} in turn: median (min-max)\n  \
             x: in units of {}'s, round by round",
            size.socket_bytes(),
            if trials == 1 { "" } else { "s" },
            Contestant::BASELINE,
        ));
        for &load in &comparison.loads {
            self.0.say(format!("\n {}", title(load)));
            self.0.say(lines_of(&mut load_table(comparison, &results, load)));
            if load == LoadKind::Flood && results.iter().any(|r| r.is_generator_limited()) {
                self.0.say(
                    "  >= the generator was the limit, in most trials: the engine kept up with it",
                );
            }
        }
        for result in &results {
            let oddities = oddities(result);
            if !oddities.is_empty() {
                self.0.say(wrap(&format!("{}: {oddities}", result.contestant)));
            }
        }
    }
}

/// What a load is, above its table.
fn title(load: LoadKind) -> String {
    match load {
        LoadKind::Flood => "flood: the generator sends as fast as it can".into(),
        LoadKind::Drain => "drain: a full ring or buffer is emptied, the generator silent".into(),
        LoadKind::Ping => "ping: one frame in flight".into(),
        LoadKind::Window => format!("window: {WINDOW_FRAMES} frames in flight"),
        LoadKind::Light => format!("light: {LIGHT_PPS} frames/s on a schedule, response time"),
        LoadKind::Half => {
            "half: half of what each forwards at flood, on a schedule, response time".into()
        }
        LoadKind::Scale => "scale: two workers drain, together and each alone".into(),
    }
}

/// A table's column: its head, and a contestant's cell.
type Column<'a> = (&'a str, Box<dyn Fn(&ContestantResult) -> String + 'a>);

fn load_table(comparison: &Comparison, results: &[&ContestantResult], load: LoadKind) -> Table {
    let value = |head, metric, cell: fn(Spread) -> String| -> Column<'_> {
        (head, Box::new(move |result| or_dash(result.spread(load, metric), cell)))
    };
    let times = |metric, cell: fn(Spread) -> String| -> Column<'_> {
        let is_base = |result: &ContestantResult| result.contestant == Contestant::BASELINE;
        let ratio = move |result: &ContestantResult| match is_base(result) {
            true => None,
            false => comparison.ratio(result, load, metric),
        };
        ("x", Box::new(move |result| or_dash(ratio(result), cell)))
    };
    let loss: Column<'_> =
        ("loss", Box::new(move |result| format!("{:.1} %", 100.0 * result.loss_ratio(load))));
    let columns: Vec<Column<'_>> = match load {
        LoadKind::Flood => vec![
            ("forwarded k/s", Box::new(forwarded)),
            times(Metric::Rate, ratio_spread),
            loss,
            value("CPU ns", Metric::Cpu, whole),
            times(Metric::Cpu, ratio_median),
        ],
        LoadKind::Drain => vec![
            value("echoes k/s", Metric::Rate, thousands_spread),
            times(Metric::Rate, ratio_spread),
            value("CPU ns", Metric::Cpu, whole),
            times(Metric::Cpu, ratio_median),
        ],
        LoadKind::Ping => vec![
            value("p50 µs", Metric::P50, micros_spread),
            times(Metric::P50, ratio_spread),
            value("p99 µs", Metric::P99, micros),
            times(Metric::P99, ratio_median),
            value("CPU µs", Metric::Cpu, micros),
            times(Metric::Cpu, ratio_median),
        ],
        LoadKind::Window => vec![
            value("echoes k/s", Metric::Rate, thousands_spread),
            times(Metric::Rate, ratio_spread),
            value("p50 µs", Metric::P50, micros),
            value("p99 µs", Metric::P99, micros),
            value("CPU ns", Metric::Cpu, whole),
        ],
        LoadKind::Light | LoadKind::Half => vec![
            value("echoes k/s", Metric::Rate, thousands),
            value("p50 µs", Metric::P50, micros_spread),
            times(Metric::P50, ratio_spread),
            value("p99 µs", Metric::P99, micros),
            times(Metric::P99, ratio_median),
            loss,
        ],
        LoadKind::Scale => vec![
            ("each alone k/s", Box::new(alone)),
            value("together k/s", Metric::Rate, thousands_spread),
            value("x one worker", Metric::Scaling, ratio_spread),
        ],
    };
    let heads = std::iter::once("path").chain(columns.iter().map(|(head, _)| *head));
    let mut table = table(&heads.collect::<Vec<_>>());
    // Seven columns fit 80 characters only if they lie close together.
    for column in table.column_iter_mut() {
        column.set_padding((1, 0));
    }
    for result in results {
        let name = result.contestant.to_string();
        table.add_row(std::iter::once(name).chain(columns.iter().map(|(_, cell)| cell(result))));
    }
    table
}

/// The rate at flood, marked where the generator was the limit.
fn forwarded(result: &ContestantResult) -> String {
    let limited = if result.is_generator_limited() { ">=" } else { "" };
    let rate = result.spread(LoadKind::Flood, Metric::Rate);
    format!("{limited}{}", or_dash(rate, thousands_spread))
}

/// The rates of two workers, each alone: the medians.
fn alone(result: &ContestantResult) -> String {
    let of = |worker: usize| {
        let rates = result.of(LoadKind::Scale).filter_map(|found| found.alone_pps);
        or_dash(Spread::of(rates.map(|rates| rates[worker])), thousands)
    };
    format!("{}, {}", of(0), of(1))
}

fn or_dash(spread: Option<Spread>, cell: fn(Spread) -> String) -> String {
    spread.map_or("-".into(), cell)
}

/// `540`.
fn thousands(Spread { median, .. }: Spread) -> String {
    format!("{:.0}", median / 1e3)
}

/// `540 (295-582)`.
fn thousands_spread(Spread { median, min, max, .. }: Spread) -> String {
    format!("{:.0} ({:.0}-{:.0})", median / 1e3, min / 1e3, max / 1e3)
}

fn whole(Spread { median, .. }: Spread) -> String {
    format!("{median:.0}")
}

/// `2.31`.
fn ratio_median(Spread { median, .. }: Spread) -> String {
    format!("{median:.2}")
}

/// `2.31 (2.10-2.44)`.
fn ratio_spread(Spread { median, min, max, .. }: Spread) -> String {
    format!("{median:.2} ({min:.2}-{max:.2})")
}

/// `5.3`; `1060` where tenths say nothing.
fn in_micros(ns: f64) -> String {
    if ns < 99_950.0 { format!("{:.1}", ns / 1e3) } else { format!("{:.0}", ns / 1e3) }
}

fn micros(Spread { median, .. }: Spread) -> String {
    in_micros(median)
}

fn micros_spread(Spread { median, min, max, .. }: Spread) -> String {
    format!("{} ({}-{})", in_micros(median), in_micros(min), in_micros(max))
}

/// What should not have been: frames lost where nothing was to overflow, a generator that was the limit
/// without being asked to, or of some floods only, frames that the engine dropped by name.
fn oddities(result: &ContestantResult) -> String {
    let sum =
        |load: LoadKind, count: fn(&Observation) -> u64| result.of(load).map(count).sum::<u64>();
    let mut parts = Vec::new();
    let (limited, of) = (result.generator_limited_trials(), result.trials().count());
    if (1..of).contains(&limited) {
        parts.push(format!("the generator was the limit of the flood in {limited} of {of} trials"));
    }
    let void: Vec<String> = result.void().map(VoidReason::to_string).collect();
    if !void.is_empty() {
        let (void_rounds, rounds) = (result.void_rounds(), result.rounds.len());
        parts.push(match void_rounds {
            0 => format!("{} void trials repeated ({})", void.len(), void.join("; ")),
            _ => format!("VOID in {void_rounds} of {rounds} rounds ({})", void.join("; ")),
        });
    }
    let apart = result.of(LoadKind::Scale).filter(|found| found.value(Metric::Rate).is_none());
    let apart = apart.count();
    if apart > 0 {
        parts.push(format!(
            "the two workers did not drain at the same time in {apart} of {of} trials"
        ));
    }
    for load in [LoadKind::Ping, LoadKind::Window, LoadKind::Light, LoadKind::Half] {
        let lost = sum(load, |found| found.lost);
        if lost > 0 {
            parts.push(format!("{} lost at {load}", grouped(lost)));
        }
        let behind = sum(load, |found| found.behind_schedule.into());
        if behind > 0 {
            parts.push(format!("at {load} the generator was late in {behind} of {of} trials"));
        }
    }
    let over_all = |count: fn(&Observation) -> u64| -> u64 {
        LoadKind::ALL.into_iter().map(|load| sum(load, count)).sum()
    };
    let beyond = over_all(|found| found.rtt.map_or(0, |rtt| rtt.beyond));
    parts.extend(text::beyond(beyond).map(|line| line.trim().to_string()));
    let own_drops = over_all(|found| found.generator_drops);
    if own_drops > 0 {
        parts.push(format!("{} lost for want of room in the generator's ring", grouped(own_drops)));
    }
    let foreign = over_all(|found| found.tally.foreign);
    if foreign > 0 {
        parts.push(format!("{} foreign", grouped(foreign)));
    }
    let other_loads = over_all(|found| found.tally.other_loads);
    if other_loads > 0 {
        parts.push(format!("{} frames of another linerate load", grouped(other_loads)));
    }
    let drops = result.engine().drops;
    if drops.total() > 0 {
        parts.push(format!("engine dropped {}", text::drops(&drops)));
    }
    parts.join(", ")
}

fn verification(comparison: &Comparison) -> String {
    let verified: u64 = comparison.results.iter().map(ContestantResult::verified).sum();
    let wrong: u64 = comparison.results.iter().map(ContestantResult::wrong).sum();
    if wrong == 0 {
        return format!("  {} echoes verified, every byte of each; none wrong", grouped(verified));
    }
    format!(
        "  ERROR: {} echoes were WRONG (corrupted, duplicated, truncated or not in upper case), \
         {} were right",
        grouped(wrong),
        grouped(verified)
    )
}
