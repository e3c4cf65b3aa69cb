//! What `linerate search`, `loss-curve` and `burst` say.

use std::path::Path;

use comfy_table::Table;
use serde_json::{Value, json};

use super::compare::table;
use super::json::{self, JsonFile};
use super::text::{Text, grouped};
use crate::bench::line_rate::LineRate;
use crate::bench::search::burst::BurstResult;
use crate::bench::search::loss_curve::{LossCurve, LossPoint};
use crate::bench::search::result::{GoalResult, Irregularity};
use crate::bench::search::trial::{TrialOutcome, TrialRecord};
use crate::bench::searching::{BurstRun, CurveRun, SearchRun};
use crate::bench::testbed::Testbed;
use crate::error::{Error, Result};
use crate::stats::latency::LatencySummary;
use crate::sys::host::Host;
use crate::units::{nanoseconds, rate};

/// The voice of the searches.
#[derive(Debug)]
pub struct SearchReport {
    text: Text,
    json: JsonFile,
    host: Host,
    line_rate: Option<LineRate>,
}

impl SearchReport {
    /// Opens the outputs.
    pub fn open(json: Option<&Path>) -> Result<SearchReport> {
        let json = JsonFile::open(json)?;
        let text = Text::new(json.takes_stdout());
        Ok(SearchReport { text, json, host: Host::detect(), line_rate: None })
    }

    /// What is about to be measured, and where.
    pub fn start(&mut self, what: &str, testbed: &Testbed, line_rate: Option<LineRate>) {
        let Host { kernel, cpu, cpus, .. } = &self.host;
        self.text.say(format!("linerate {what}: Linux {kernel}, {cpu}, {cpus} CPUs"));
        let (generator, engine) = (&testbed.generator.link, &testbed.engine.link);
        self.text.say(format!("  generator on {}, engine on {}", generator.name, engine.name));
        match line_rate {
            Some(LineRate { bits_per_second }) => {
                self.text.say(format!("  link speed {} Gb/s", bits_per_second / 1e9));
            }
            None if testbed.is_veth() => self
                .text
                .say("  a veth pair has no line rate: this finds what kernel and path can do here"),
            None => self.text.say("  the link does not tell its speed"),
        }
        self.line_rate = line_rate;
    }

    /// A line for each trial of a search.
    pub fn trial(&mut self, record: &TrialRecord) {
        let TrialRecord { purpose, load_pps, duration, outcome, .. } = record;
        let what = match outcome.spoiled() {
            Some(reason) => format!("void: {reason}"),
            None => format!("lost {:.4} %", 100.0 * outcome.loss_ratio()),
        };
        let purpose = format!("{purpose:?}").to_lowercase();
        self.text.say(format!(
            "    {purpose:<8} {:>12} for {:.1} s: {what}",
            rate(*load_pps),
            duration.as_secs_f64(),
        ));
    }

    /// One of the searches could not be carried out.
    pub fn failed(&mut self, error: &Error) {
        self.text.say(format!("  ERROR: {error}"));
    }

    /// What is searched next.
    pub fn heading(&mut self, text: &str) {
        self.text.say(format!("\n{text}"));
    }

    /// The result of one search.
    pub fn found(&mut self, run: &SearchRun) {
        let header = ["goal", "at most lost", "throughput", "bounds", "confirmed"];
        let mut rows = table(&header);
        for goal in &run.result.goals {
            rows.add_row(self.goal_row(run, goal));
        }
        self.text.say(rows.to_string());
        for goal in &run.result.goals {
            if let Some(why) = &goal.irregular {
                self.text.say(format!("  {}: {why}", goal_name(goal)));
            }
        }
        if let Some(halted) = &run.result.halted {
            self.text.say(format!("  ended early: {halted}"));
        }
        self.text.say(format!(
            "  the generator alone, into a sink: {}; {} trials, {:.0} s",
            rate(run.sink_pps),
            run.result.trials.len(),
            run.elapsed.as_secs_f64(),
        ));
        for (percent, load_pps, latency) in &run.latencies {
            self.text.say(format!(
                "  response time at {percent} % ({}): p50 {}, p99 {}, max {}",
                rate(*load_pps),
                nanoseconds(latency.p50),
                nanoseconds(latency.p99),
                nanoseconds(latency.max),
            ));
        }
    }

    fn goal_row(&self, run: &SearchRun, goal: &GoalResult) -> Vec<String> {
        let bounds = match (goal.lower_bound_pps, goal.upper_bound_pps) {
            (Some(lower), Some(upper)) => format!("{} to {}", rate(lower), rate(upper)),
            (Some(lower), None) => format!("from {}", rate(lower)),
            (None, Some(upper)) => format!("below {}", rate(upper)),
            (None, None) => "-".into(),
        };
        let found = goal.lower_bound_pps.map_or("-".into(), |lower| {
            let at_least = if goal.at_least { "at least " } else { "" };
            let of_line = self.line_rate.map_or(String::new(), |line| {
                format!(" ({:.2} % of line rate)", line.percent(lower, run.size.bytes() as f64))
            });
            format!("{at_least}{}{of_line}", rate(lower))
        });
        vec![
            goal_name(goal),
            percent(goal.goal.loss_ratio),
            found,
            bounds,
            goal.confirmed.map_or("-".into(), |yes| if yes { "yes" } else { "no" }.into()),
        ]
    }

    /// A curve.
    pub fn curve(&mut self, run: &CurveRun) {
        let header = ["load", "offered", "forwarded", "loss", "p50", "p99"];
        let mut rows: Table = table(&header);
        for point in &run.curve.points {
            let LossPoint {
                percent: share,
                offered_pps,
                forwarding_pps,
                loss_ratio,
                p50_ns,
                p99_ns,
                ..
            } = point;
            let time = |spread: &Option<crate::stats::spread::Spread>| {
                spread.map_or("-".into(), |s| nanoseconds(s.median as u64))
            };
            rows.add_row([
                percent(share / 100.0),
                offered_pps.map_or("void".into(), |s| rate(s.median)),
                forwarding_pps.map_or("-".into(), |s| rate(s.median)),
                loss_ratio.map_or("-".into(), |s| format!("{:.3} %", 100.0 * s.median)),
                time(p50_ns),
                time(p99_ns),
            ]);
        }
        self.text.say(rows.to_string());
        if run.curve.points.iter().any(|point| point.offered_pps.is_none()) {
            self.text.say("  void: the generator could not offer the load, or lost echoes itself");
        }
        if let Some(halted) = &run.curve.halted {
            self.text.say(format!("  ended early: {halted}"));
        }
    }

    /// Bursts.
    pub fn burst(&mut self, run: &BurstRun) {
        let BurstResult { mean_frames, min_frames, max_frames, stdev_frames, at_least, .. } =
            &run.result;
        let repetitions = run.result.longest_frames.len();
        let found = match mean_frames {
            None => "none was measured to its end".into(),
            Some(mean) => {
                let at_least = if *at_least { "at least " } else { "" };
                format!("{at_least}{} frames", grouped(mean.round() as u64))
            }
        };
        self.text.say(format!("  longest burst without loss: {found}"));
        if let (Some(min), Some(max), Some(deviation), 2..) =
            (min_frames, max_frames, stdev_frames, repetitions)
        {
            self.text.say(format!(
                "  the mean of {repetitions} repetitions: {} to {}, standard deviation {}",
                grouped(*min),
                grouped(*max),
                grouped(deviation.round() as u64),
            ));
        }
        if let Some(halted) = &run.result.halted {
            self.text.say(format!("  ended early: {halted}"));
        }
    }

    /// Writes the document of searches.
    pub fn write_searches(
        &mut self,
        testbed: &Testbed,
        interrupted: bool,
        runs: &[SearchRun],
    ) -> Result<()> {
        let results: Vec<Value> = runs.iter().map(search_json).collect();
        self.write(testbed, "linerate.search/1", interrupted, results)
    }

    /// Writes the document of curves.
    pub fn write_curves(
        &mut self,
        testbed: &Testbed,
        interrupted: bool,
        runs: &[CurveRun],
    ) -> Result<()> {
        let results: Vec<Value> = runs.iter().map(curve_json).collect();
        self.write(testbed, "linerate.loss-curve/1", interrupted, results)
    }

    /// Writes the document of bursts.
    pub fn write_bursts(
        &mut self,
        testbed: &Testbed,
        interrupted: bool,
        runs: &[BurstRun],
    ) -> Result<()> {
        let results: Vec<Value> = runs.iter().map(burst_json).collect();
        self.write(testbed, "linerate.burst/1", interrupted, results)
    }

    fn write(
        &mut self,
        testbed: &Testbed,
        schema: &str,
        interrupted: bool,
        results: Vec<Value>,
    ) -> Result<()> {
        if interrupted {
            self.text.say("\ninterrupted: this is what was found until then");
        }
        self.json.write(&json!({
            "schema": schema,
            "version": env!("CARGO_PKG_VERSION"),
            "host": json::host(&self.host),
            "link": json::link(&testbed.engine.link),
            "lab": testbed.is_lab(),
            "interrupted": interrupted,
            "line_rate_bits_per_second": self.line_rate.map(|line| line.bits_per_second),
            "results": results,
        }))
    }
}

/// What the rate is called that a goal finds: several goals with loss are told apart.
fn goal_name(goal: &GoalResult) -> String {
    match goal.goal.loss_ratio {
        0.0 if goal.goal.is_rfc2544() => "RFC 2544 throughput".into(),
        0.0 => "NDR".into(),
        ratio => format!("PDR {}", percent(ratio)),
    }
}

/// A part in percent, without the digits that only binary fractions have.
fn percent(ratio: f64) -> String {
    let digits = format!("{:.6}", 100.0 * ratio);
    format!("{} %", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// Why a result is not a regular one; the highest load was set by what the generator can send.
fn note(goal: &GoalResult) -> String {
    let note = match &goal.irregular {
        Some(Irregularity::MaxLoadPasses) => Irregularity::GeneratorIsTheLimit.to_string(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    if goal.goal.is_rfc2544() && note.is_empty() { goal.name().into() } else { note }
}

fn search_json(run: &SearchRun) -> Value {
    let goals: Vec<Value> = run
        .result
        .goals
        .iter()
        .map(|goal| {
            json!({
                "name": goal.name(),
                "loss_ratio": goal.goal.loss_ratio,
                "exceed_ratio": goal.goal.exceed_ratio,
                "duration_sum_s": goal.goal.duration_sum.as_secs_f64(),
                "trial_duration_s": goal.goal.final_trial_duration.as_secs_f64(),
                "goal_width": goal.goal.width,
                "lower_bound_pps": goal.lower_bound_pps,
                "upper_bound_pps": goal.upper_bound_pps,
                "conditional_throughput_pps": goal.conditional_throughput_pps,
                "estimate_pps": goal.estimate_pps,
                "width": goal.width,
                "at_least": goal.at_least,
                "confirmed": goal.confirmed,
                "trials_used": goal.trials_used,
                "irregular": goal.irregular.as_ref().map(|_| note(goal)),
            })
        })
        .collect();
    let trials: Vec<Value> = run
        .result
        .trials
        .iter()
        .map(|record| {
            json!({
                "purpose": format!("{:?}", record.purpose).to_lowercase(),
                "goal": record.goal,
                "trial_duration_s": record.duration.as_secs_f64(),
                "outcome": outcome_json(&record.outcome),
            })
        })
        .collect();
    let latencies: Vec<Value> = run
        .latencies
        .iter()
        .map(|(percent, load_pps, latency)| {
            json!({"percent": percent, "load_pps": load_pps, "response_ns": latency})
        })
        .collect();
    json!({
        "path": run.path,
        "frame_bytes": run.size.bytes(),
        "generator_into_sink_pps": run.sink_pps,
        "generator_ceiling_pps": run.result.generator_ceiling_pps,
        "elapsed_s": run.elapsed.as_secs_f64(),
        "halted": run.result.halted.as_ref().map(ToString::to_string),
        "goals": goals,
        "latency": latencies,
        "trials": trials,
    })
}

fn outcome_json(outcome: &TrialOutcome) -> Value {
    json!({
        "intended_pps": outcome.intended_pps,
        "offered_pps": outcome.achieved_pps,
        "forwarded_pps": outcome.forwarding_pps(),
        "sent": outcome.sent,
        "lost": outcome.lost,
        "loss_ratio": outcome.loss_ratio(),
        "void": outcome.spoiled().map(ToString::to_string),
        "response_ns": outcome.latency.map(|latency: LatencySummary| json!(latency)),
    })
}

fn curve_json(run: &CurveRun) -> Value {
    let LossCurve { points, halted } = &run.curve;
    let points: Vec<Value> = points
        .iter()
        .map(|point| {
            json!({
                "percent": point.percent,
                "load_pps": point.load_pps,
                "offered_pps": point.offered_pps,
                "forwarded_pps": point.forwarding_pps,
                "loss_ratio": point.loss_ratio,
                "response_p50_ns": point.p50_ns,
                "response_p99_ns": point.p99_ns,
                "trials": point.trials.iter().map(outcome_json).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "path": run.path,
        "frame_bytes": run.size.bytes(),
        "points": points,
        "halted": halted.as_ref().map(ToString::to_string),
    })
}

fn burst_json(run: &BurstRun) -> Value {
    let result = &run.result;
    json!({
        "path": run.path,
        "frame_bytes": run.size.bytes(),
        "longest_frames": result.longest_frames,
        "mean_frames": result.mean_frames,
        "min_frames": result.min_frames,
        "max_frames": result.max_frames,
        "stdev_frames": result.stdev_frames,
        "at_least": result.at_least,
        "bursts": result.bursts,
        "halted": result.halted.as_ref().map(ToString::to_string),
    })
}
