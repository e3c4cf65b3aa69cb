//! What `linerate stress` says: a line a phase, and a table at the end.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::base::Base;
use super::json;
use super::text::{self, grouped};
use crate::bench::account::Taken;
use crate::bench::disturbance::Disturbance;
use crate::bench::loading::LoadObserver;
use crate::bench::snapshot::InterfaceSnapshot;
use crate::bench::stress::phases::Phase;
use crate::bench::stress::verdict::{Conclusion, Fault};
use crate::bench::stress::{
    PhaseFinding, PhaseResult, PhaseState, StressObserver, StressRequest, StressRun,
};
use crate::bench::testbed::End;
use crate::error::Result;
use crate::load::run::Progress;
use crate::stats::state::State;
use crate::units::{nanoseconds, rate};

/// What `linerate stress` says.
#[derive(Debug)]
pub struct StressReport {
    base: Base,
    each: Duration,
    /// Phases that were run.
    done: u32,
}

impl StressReport {
    /// Opens the outputs.
    pub fn open(json: Option<&Path>) -> Result<StressReport> {
        Ok(StressReport { base: Base::open(json)?, each: Duration::ZERO, done: 0 })
    }

    /// The end of the test.
    pub fn finish(&mut self, request: &StressRequest, run: &StressRun) -> Result<()> {
        self.base.end();
        let header = ["phase", "sent", "intact", "lost", "wrong", "p99", "max", "verdict"];
        self.base.table(header, run.results.iter().map(row));
        let skipped = |one: &&PhaseResult| matches!(one.state, PhaseState::Skipped(_));
        let not_reached = |one: &&PhaseResult| matches!(one.state, PhaseState::NotReached);
        let counts = [
            (run.count(Conclusion::Pass), "passed"),
            (run.count(Conclusion::Fail), "FAILED"),
            (run.count(Conclusion::GeneratorLimited), "limited by the generator"),
            (run.count(Conclusion::Void), "VOID"),
            (run.results.iter().filter(skipped).count(), "skipped"),
            (run.results.iter().filter(not_reached).count(), "not reached"),
        ];
        let counts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        self.base.say(format!("{} phases: {}", run.results.len(), counts.join(", ")));
        for result in &run.results {
            if let PhaseState::Run(found) = &result.state
                && !found.verdict.faults.is_empty()
            {
                self.base.say(format!("  {}: {}", result.phase.name, sentence(found)));
            }
        }
        if request.base.spec.stop.load(Ordering::Relaxed) {
            self.base.say("interrupted: phases that were not reached say nothing");
        }
        let document = self.document(request, run);
        self.base.write("linerate.stress/1", &document)
    }

    fn document(&self, request: &StressRequest, run: &StressRun) -> Value {
        let stopped = request.base.spec.stop.load(Ordering::Relaxed);
        json!({
            "lab_path": request.base.reach.own_engine(),
            "duration_s": request.duration.as_secs_f64(),
            "phase_duration_s": self.each.as_secs_f64(),
            "max_loss_ratio": request.tolerance.loss_ratio,
            "reordering_allowed": request.tolerance.reordered,
            "seed": request.base.spec.seed,
            "interrupted": stopped || run.broken.is_some(),
            "reason": json::interruption(stopped, run.broken.as_ref()),
            "failed": run.has_failed(),
            "broken": run.broken.as_ref().map(ToString::to_string),
            "phases": run.results.iter().map(phase_json).collect::<Vec<_>>(),
        })
    }
}

impl LoadObserver for StressReport {
    fn progress(&mut self, progress: &Progress, _: &Taken) {
        let here = progress.elapsed.min(self.each);
        self.base.advance((self.each * self.done + here).as_millis() as u64);
    }
}

impl StressObserver for StressReport {
    fn begins(&mut self, request: &StressRequest, here: &End, phases: &[Phase], each: Duration) {
        let headline = format!(
            "linerate stress: {} to {}: {} phases, each {:.2} s, MTU {}",
            here.link.name,
            request.base.reach,
            phases.len(),
            each.as_secs_f64(),
            here.link.mtu,
        );
        self.base.header(headline, &here.link, request.base.shares_cpu(), text::runs_as());
        self.each = each;
        let runnable = phases.iter().filter(|phase| phase.impossible.is_none()).count();
        self.base.begin((each * runnable as u32).as_millis() as u64, Duration::MAX);
    }

    fn phase_begins(&mut self, phase: &Phase) {
        let line = format!("{}: {}", phase.name, phase.what());
        self.base.progress((self.each * self.done).as_millis() as u64, line);
    }

    fn phase_ends(&mut self, result: &PhaseResult) {
        let name = result.phase.name;
        match &result.state {
            PhaseState::Run(found) => {
                self.done += 1;
                let outcome = &found.finding.outcome;
                let mut lines = format!(
                    "  {:<7} {name:<12}  {} frames at {}, {}: {}",
                    word(found.verdict.conclusion),
                    grouped(outcome.sent),
                    rate(outcome.achieved_pps()),
                    result.phase.what(),
                    sentence(found),
                );
                for note in &found.verdict.notes {
                    lines.push_str(&format!("\n{:24}{note}", ""));
                }
                self.base.say(&lines);
            }
            PhaseState::Skipped(reason) => {
                self.base.say(format!("  {:<7} {name:<12}  {reason}", "skipped"));
            }
            PhaseState::NotReached => {}
        }
    }
}

fn word(conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Pass => "PASS",
        Conclusion::GeneratorLimited => "limited",
        Conclusion::Void => "VOID",
        Conclusion::Fail => "FAIL",
    }
}

/// What the phase found, in a sentence.
fn sentence(found: &PhaseFinding) -> String {
    let verdict = &found.verdict;
    let finding = &found.finding;
    let outcome = &finding.outcome;
    let disturbances = finding.disturbances.iter().map(Disturbance::to_string);
    let mut parts: Vec<String> =
        disturbances.chain(verdict.faults.iter().map(Fault::to_string)).collect();
    if parts.is_empty() && outcome.is_clean() {
        parts.push("all intact".into());
    }
    if finding.taken.state() != State::Clear && finding.disturbances.is_empty() {
        parts.push(format!("{:.0} % of a CPU was taken", 100.0 * finding.taken.share()));
    }
    if let Some(limit) = verdict.limit {
        parts.push(format!("GENERATOR-LIMITED: {limit}; the device was not the limit"));
    }
    if parts.is_empty() {
        parts.push("nothing beyond the tolerance".into());
    }
    let beyond = text::beyond(outcome.latencies.response.beyond());
    parts.extend(beyond.map(|line| line.trim().to_string()));
    if outcome.untimed > 0 {
        parts.push(format!("{} intact but too late to be timed", grouped(outcome.untimed)));
    }
    parts.join("; ")
}

fn row(result: &PhaseResult) -> [String; 8] {
    let name = result.phase.name.to_string();
    let blank = |verdict: &str| {
        let dash = || String::from("-");
        [name.clone(), dash(), dash(), dash(), dash(), dash(), dash(), verdict.to_string()]
    };
    let found = match &result.state {
        PhaseState::Run(found) => found,
        PhaseState::Skipped(_) => return blank("skipped"),
        PhaseState::NotReached => return blank("not reached"),
    };
    let outcome = &found.finding.outcome;
    let response = outcome.latencies.response.summary();
    [
        name,
        grouped(outcome.sent),
        grouped(outcome.tally.intact),
        grouped(outcome.lost),
        grouped(outcome.tally.returned() - outcome.tally.intact),
        nanoseconds(response.p99),
        nanoseconds(response.max),
        word(found.verdict.conclusion).to_string(),
    ]
}

fn phase_json(result: &PhaseResult) -> Value {
    let phase = &result.phase;
    let phase = json!({
        "name": phase.name,
        "frame_bytes": phase.sizes.to_string(),
        "payload": phase.payload.name(),
        "vlan_ids": phase.tags.iter().map(|tag| tag.id()).collect::<Vec<_>>(),
        "flows": phase.flows,
        "state": match &result.state {
            PhaseState::Run(_) => "run",
            PhaseState::Skipped(_) => "skipped",
            PhaseState::NotReached => "not_reached",
        },
    });
    let more = match &result.state {
        PhaseState::Run(found) => found_json(found),
        PhaseState::Skipped(reason) => json!({ "reason": reason }),
        PhaseState::NotReached => Value::Null,
    };
    json::joined([phase, more])
}

fn found_json(found: &PhaseFinding) -> Value {
    let PhaseFinding { finding, verdict } = found;
    let outcome = &finding.outcome;
    let engine = finding.engine.as_ref().map(|summary| json::engine(&summary.counters));
    let ends = std::iter::once(&finding.counters.near).chain(&finding.counters.far);
    json!({
        "verdict": verdict.conclusion,
        "disturbances": finding.disturbances,
        "numbers": finding.state(),
        "taken": finding.taken,
        "faults": verdict.faults,
        "notes": verdict.notes,
        "generator_limited": verdict.limit.map(|limit| limit.to_string()),
        "asked_pps": outcome.asked.map(|asked| asked.as_f64()),
        "achieved_pps": outcome.achieved_pps(),
        "sent": outcome.sent,
        "frames": json::frames(&outcome.tally, outcome.lost),
        "own_ring_drops": outcome.kernel.drops,
        "reorder_extent_max": outcome.reorder_extent_max,
        "response_ns": outcome.latencies.response.summary(),
        "untimed": outcome.untimed,
        "engine": engine,
        "waterfall": finding.waterfall,
        "interfaces": ends.map(interface_json).collect::<Vec<_>>(),
    })
}

/// What an interface counted during a phase; the driver's counters by the driver's own names.
fn interface_json(end: &InterfaceSnapshot) -> Value {
    let driver = end.driver.nonzero().map(|(name, count)| (name.to_string(), count.into()));
    let losses = end.losses();
    json!({
        "name": end.name,
        "rx_packets": end.link.received_frames,
        "tx_packets": end.link.transmitted_frames,
        "rx_errors": losses.receive_errors,
        "tx_errors": losses.transmit_errors,
        "rx_dropped": losses.receive_dropped,
        "tx_dropped": losses.transmit_dropped,
        "rx_missed_errors": losses.receive_missed,
        "qdisc_dropped": losses.queue_dropped,
        "driver": driver.collect::<Map<String, Value>>(),
        "unreadable": end.unreadable,
    })
}
