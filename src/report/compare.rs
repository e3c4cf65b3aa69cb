//! What `linerate compare` says: the machine, a table for each size, the verdict.

use std::path::Path;
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::json::{self, JsonFile};
use super::text::{self, Text, grouped};
use crate::bench::compare::{Comparison, PathResult, Step};
use crate::bench::testbed::Testbed;
use crate::bench::trial::Trial;
use crate::bench::verdict;
use crate::engine::config::PathName;
use crate::error::Result;
use crate::stats::spread::Spread;
use crate::sys::host::Host;
use crate::units::{FrameSize, nanoseconds};

/// The voice of `linerate compare`.
#[derive(Debug)]
pub struct CompareReport {
    text: Text,
    json: JsonFile,
    host: Host,
    bar: ProgressBar,
}

impl CompareReport {
    /// Opens the outputs.
    pub fn open(json: Option<&Path>) -> Result<CompareReport> {
        let json = JsonFile::open(json)?;
        let text = Text::new(json.takes_stdout());
        Ok(CompareReport { text, json, host: Host::detect(), bar: ProgressBar::hidden() })
    }

    /// What is about to be measured, and where.
    pub fn start(&mut self, testbed: &Testbed, cpus: (usize, usize), expected: Duration) {
        let Host { kernel, cpu, cpus: count, .. } = &self.host;
        self.text.say(format!("linerate compare: Linux {kernel}, {cpu}, {count} CPUs"));
        let (generator, engine) = (&testbed.generator.link, &testbed.engine.link);
        self.text.say(format!(
            "  generator on {} (CPU {}), engine on {} (CPU {})",
            generator.name, cpus.0, engine.name, cpus.1
        ));
        if cpus.0 == cpus.1 {
            self.text
                .say("  WARNING: one CPU for both: rates are those of the pair, not of the engine");
        }
        if testbed.is_veth() {
            let made = if testbed.is_lab() { ", made for this run" } else { "" };
            self.text.say(format!(
                "  a veth pair{made}: it shows what kernel and path cost,\n  and is not a NIC. It has no \
                 line rate; a sender pays for its peer's reception\n  too, on both sides alike"
            ));
        }
        self.text.say(format!("  about {} s; Ctrl-C ends with what there is", expected.as_secs()));
    }

    /// A bar on a terminal; nothing where nobody watches.
    pub fn progress(&mut self) -> impl FnMut(Step) + Send + use<> {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} trials  {msg}  {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar = ProgressBar::new(0).with_style(style);
        let bar = self.bar.clone();
        move |step: Step| {
            bar.set_length(step.total as u64);
            bar.set_position(step.done as u64);
            bar.set_message(format!("{} B {}", step.size, step.path));
        }
    }

    /// Tables, verdict, JSON.
    pub fn finish(&mut self, testbed: &Testbed, comparison: &Comparison) -> Result<()> {
        self.bar.finish_and_clear();
        let mut sizes: Vec<FrameSize> = comparison.results.iter().map(|r| r.size).collect();
        sizes.dedup();
        for size in sizes {
            self.size(comparison, size);
        }
        if comparison.results.is_empty() {
            self.text.say("\nno trial was finished");
        } else {
            self.text.say("\nVerdict");
            for sentence in verdict::sentences(comparison) {
                self.text.say(wrap(&sentence));
            }
            self.text.say(verification(comparison));
        }
        if comparison.interrupted {
            self.text.say("interrupted: the numbers are of the trials that were finished");
        }
        self.json.write(&self.document(testbed, comparison))
    }

    fn size(&mut self, comparison: &Comparison, size: FrameSize) {
        let results: Vec<&PathResult> =
            comparison.results.iter().filter(|result| result.size == size).collect();
        let trials = results.iter().map(|result| result.trials.len()).min().unwrap_or(0);
        self.text.say(format!(
            "\n{size} B frames ({} B at the socket), {trials} trial{} in turn: median (min-max)",
            size.socket_bytes(),
            if trials == 1 { "" } else { "s" },
        ));
        let header = [
            "path",
            "offered k/s",
            "forwarded k/s",
            "loss",
            "drain k/s",
            "CPU/frame",
            "RTT p50",
            "RTT p99",
        ];
        let mut table = table(&header);
        for result in &results {
            let round_trips = result.round_trips();
            let limited = if result.is_generator_limited() { ">=" } else { "" };
            table.add_row([
                result.path.to_string(),
                result.offered().map_or("-".into(), |rate| thousands(rate.median)),
                format!("{limited}{}", rates(result.forwarded())),
                format!("{:.1} %", 100.0 * result.loss_ratio()),
                rates(result.drain()),
                result.cpu().map_or("-".into(), |cpu| format!("{:.0} ns", cpu.median)),
                nanoseconds(round_trips.percentile(50.0)),
                nanoseconds(round_trips.percentile(99.0)),
            ]);
        }
        self.text.say(table.to_string());
        self.text.say(table_against(comparison, &results).to_string());
        if results.iter().any(|result| result.is_generator_limited()) {
            self.text.say(
                "  >= the generator was the limit: less than 1 % was lost, the engine can do more \
                 (see drain)",
            );
        }
        for result in &results {
            let losses = losses(result);
            if !losses.is_empty() {
                self.text.say(format!("  {}: {losses}", result.path));
            }
        }
    }

    fn document(&self, testbed: &Testbed, comparison: &Comparison) -> Value {
        let results: Vec<Value> =
            comparison.results.iter().map(|result| path_json(comparison, result)).collect();
        json!({
            "schema": "linerate.compare/1",
            "version": env!("CARGO_PKG_VERSION"),
            "host": json::host(&self.host),
            "link": json::link(&testbed.engine.link),
            "lab": testbed.is_lab(),
            "interrupted": comparison.interrupted,
            "cpu_clock": cpu_clock(&self.host, testbed.is_veth()),
            "results": results,
            "verdict": verdict::sentences(comparison),
        })
    }
}

/// What the engine's CPU time counts.
fn cpu_clock(host: &Host, veth: bool) -> &'static str {
    match (veth, host.irq_time_accounting) {
        (false, _) => "thread CPU time of the engine's worker",
        (true, Some(true)) => {
            "thread CPU time of the engine's worker; on veth, CONFIG_IRQ_TIME_ACCOUNTING keeps the \
             generator socket's receive work out of it"
        }
        (true, _) => {
            "thread CPU time of the engine's worker; on veth, without CONFIG_IRQ_TIME_ACCOUNTING, it \
             includes the generator socket's receive work"
        }
    }
}

fn path_json(comparison: &Comparison, result: &PathResult) -> Value {
    let trials: Vec<Value> = result
        .trials
        .iter()
        .map(|trial| {
            let flood = &trial.flood;
            json!({
                "offered_pps": flood.offered_pps(),
                "forwarded_pps": flood.arrival_pps(),
                "sent": flood.sent,
                "received": flood.tally.returned(),
                "lost": flood.lost,
                "duplicated": flood.tally.duplicated,
                "reordered": flood.tally.reordered,
                "corrupted": flood.tally.corrupted,
                "not_transformed": flood.tally.not_transformed,
                "truncated": flood.tally.truncated,
                "foreign": flood.tally.foreign,
                "generator_ring_drops": flood.kernel.drops,
                "generator_limited": trial.is_generator_limited(),
                "drain_sent": trial.drain.sent,
                "drain_received": trial.drain.tally.returned(),
                "drain_pps": trial.drain.arrival_pps(),
                "cpu_ns_per_frame": trial.cpu_ns_per_frame,
                "rtt_p50_ns": trial.round_trips.rtt.percentile(50.0),
            })
        })
        .collect();
    let engine = result.engine();
    json!({
        "path": result.path,
        "frame_bytes": result.size.bytes(),
        "socket_bytes": result.size.socket_bytes(),
        "generator_limited": result.is_generator_limited(),
        "trials": trials,
        "forwarded_pps": result.forwarded(),
        "drain_pps": result.drain(),
        "loss_ratio": result.loss_ratio(),
        "ratio_to_syscall": comparison.ratios(result),
        "cpu_ns_per_frame": result.cpu(),
        "rtt_ns": result.round_trips().summary(),
        "engine_latency_ns": result.engine_latency().summary(),
        "engine_latency_definition": result.path.latency_definition(),
        "drops": json::drops(&engine.drops),
        "kernel": {
            "packets": engine.kernel.packets,
            "drops": engine.kernel.drops,
            "freezes": engine.kernel.freezes,
        },
        "verified": result.verified(),
        "wrong": result.wrong(),
    })
}

/// Where frames stayed, by name. A drain may fill more than there is room for, on purpose.
fn losses(result: &PathResult) -> String {
    let engine = result.engine();
    let sum = |count: fn(&Trial) -> u64| result.trials.iter().map(count).sum::<u64>();
    let mut parts = vec![
        (sum(|trial| trial.flood.lost), "lost at flood"),
        (sum(|trial| trial.drain.lost), "beyond what it holds, at drain"),
        (engine.kernel.drops, "of all for want of room in the engine's ring or buffer"),
        (sum(|trial| trial.flood.kernel.drops), "for want of room in the generator's ring"),
        (sum(|trial| trial.flood.tally.foreign), "foreign"),
    ];
    parts.retain(|(count, _)| *count > 0);
    let mut text: Vec<String> =
        parts.iter().map(|(count, what)| format!("{} {what}", grouped(*count))).collect();
    if engine.drops.total() > 0 {
        text.push(format!("engine dropped {}", text::drops(&engine.drops)));
    }
    text.join(", ")
}

fn verification(comparison: &Comparison) -> String {
    let verified: u64 = comparison.results.iter().map(PathResult::verified).sum();
    let wrong: u64 = comparison.results.iter().map(PathResult::wrong).sum();
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

fn table_against(comparison: &Comparison, results: &[&PathResult]) -> Table {
    let header = ["vs syscall", "verified", "forwarded", "drain", "CPU/frame", "RTT p50"];
    let mut table = table(&header);
    for result in results {
        let ratios = comparison.ratios(result).unwrap_or_default();
        let is_base = result.path == PathName::SYSCALL;
        let cell = |spread: Option<Spread>| match spread {
            Some(s) if !is_base => format!("x {:.2} ({:.2}-{:.2})", s.median, s.min, s.max),
            _ => "-".into(),
        };
        table.add_row([
            result.path.to_string(),
            grouped(result.verified()),
            cell(ratios.forwarded),
            cell(ratios.drain),
            cell(ratios.cpu),
            ratios
                .rtt_p50
                .filter(|_| !is_base)
                .map_or("-".into(), |s| format!("x {:.2}", s.median)),
        ]);
    }
    table
}

/// A rate in thousands per second: `540`.
fn thousands(per_second: f64) -> String {
    format!("{:.0}", per_second / 1e3)
}

/// A rate and its spread in thousands per second: `540 (295-582)`.
fn rates(spread: Option<Spread>) -> String {
    spread.map_or("-".into(), |Spread { median, min, max }| {
        format!("{} ({}-{})", thousands(median), thousands(min), thousands(max))
    })
}

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(text::width());
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Breaks a sentence into lines that fit the terminal, each but the first indented further.
fn wrap(sentence: &str) -> String {
    let width = usize::from(text::width());
    let mut lines = vec![String::from(" ")];
    for word in sentence.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if line.chars().count() + 1 + word.chars().count() > width {
            lines.push(format!("     {word}"));
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n")
}
