//! What `linerate stress` says: a line a phase, and a table at the end.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::base::Base;
use super::json;
use super::text::{self, grouped, or_dash};
use crate::bench::account::Taken;
use crate::bench::disturbance::Disturbance;
use crate::bench::loading::LoadObserver;
use crate::bench::snapshot::InterfaceSnapshot;
use crate::bench::stress::events::{Event, EventFinding};
use crate::bench::stress::phases::Phase;
use crate::bench::stress::record::SCHEMA;
use crate::bench::stress::recovery::Recovery;
use crate::bench::stress::verdict::{Conclusion, Fault};
use crate::bench::stress::{
    PhaseFinding, PhaseResult, PhaseState, StressObserver, StressRequest, StressRun,
};
use crate::bench::testbed::End;
use crate::error::Result;
use crate::load::run::Progress;
use crate::stats::state::State;
use crate::sys::runner::Restored;
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
    pub fn finish(
        &mut self,
        request: &StressRequest,
        run: &StressRun,
        restored: Option<&Restored>,
    ) -> Result<()> {
        self.base.end();
        let header = ["phase", "sent", "intact", "lost", "wrong", "p99", "max", "verdict"];
        self.base.table(header, run.results.iter().map(row));
        let ended = |word: &str| run.results.iter().filter(|one| one.ended() == word).count();
        let counts = ENDS.map(|(word, what)| (ended(word) as u64, what));
        self.base.say(format!("{} phases: {}", run.results.len(), listed(counts)));
        for result in &run.results {
            if let PhaseState::Run(found) = &result.state
                && !found.verdict.faults.is_empty()
            {
                self.base.say(format!("  {}: {}", result.phase.name, sentence(found)));
            }
        }
        if request.repeat_for.is_some() {
            let seconds: f64 = run.records.iter().map(|record| record.lasted_s).sum();
            let counts = ENDS.map(|(word, what)| {
                (run.records.iter().map(|record| record.count(word)).sum(), what)
            });
            let time = Duration::from_secs_f64(seconds);
            self.base.say(format!(
                "In {time:.0?}, {} records: {}",
                run.records.len(),
                listed(counts)
            ));
        }
        let stopped = request.base.spec.stop.load(Ordering::Relaxed);
        if stopped {
            self.base.say("interrupted: phases that were not reached say nothing");
        }
        if let Some((failure, left)) = restored {
            let left = left.iter().map(|change| format!("  LEFT CHANGED: {change}"));
            let failure = failure.iter().map(|failure| format!("  NOT RESTORED: {failure}"));
            failure.chain(left).for_each(|line| self.base.say(text::wrap(&line)));
        }
        let reason = json::interruption(stopped, run.broken.as_ref());
        let mut document = self.document(request, run, reason);
        document["left"] = json!(restored.map(|(_, left)| left));
        self.base.write(SCHEMA, &document)
    }

    fn document(&self, request: &StressRequest, run: &StressRun, reason: Option<String>) -> Value {
        json!({
            "test": request.test(),
            "lab_path": request.base.reach.own_engine(),
            "duration_s": request.duration.as_secs_f64(),
            "phase_duration_s": self.each.as_secs_f64(),
            "max_loss_ratio": request.tolerance.loss_ratio,
            "reordering_allowed": request.tolerance.reordered,
            "seed": request.base.spec.seed,
            "for_s": request.repeat_for.map(|time| time.as_secs_f64()),
            "interrupted": reason.is_some(),
            "reason": reason,
            "failed": run.has_failed(),
            "broken": run.broken.as_ref().map(ToString::to_string),
            "phases": run.results.iter().map(phase_json).collect::<Vec<_>>(),
            "records": run.records,
        })
    }
}

/// How phases end: in documents, and for people.
const ENDS: [(&str, &str); 7] = [
    ("pass", "passed"),
    ("fail", "FAILED"),
    ("generator_limited", "limited by the generator"),
    ("void", "VOID"),
    ("not_supported", "not supported"),
    ("skipped", "skipped"),
    ("not_reached", "not reached"),
];

fn listed(counts: [(u64, &str); ENDS.len()]) -> String {
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
    words.join(", ")
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
            "linerate stress: {} to {}: {} phases, those of traffic {:.2} s each, MTU {}",
            here.link.name,
            request.base.reach,
            phases.len(),
            each.as_secs_f64(),
            here.link.mtu,
        );
        self.base.header(headline, &here.link, request.base.shares_cpu(), text::runs_as());
        self.each = each;
        let runnable =
            |phase: &&Phase| phase.impossible.is_none() && Event::of(phase.name).is_none();
        let runnable = phases.iter().filter(runnable).count();
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
                self.done += u32::from(found.event.is_none());
                let outcome = &found.finding.outcome;
                let mut lines = format!(
                    "  {:<7} {name:<12}  {} frames at {}, {}: {}",
                    word(found.verdict.conclusion),
                    grouped(outcome.sent),
                    outcome.achieved_pps().map_or("no known rate".into(), rate),
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
            PhaseState::Refused(reason) => {
                self.base.say(format!("  {:<7} {name:<12}  {reason}", "-"));
            }
            PhaseState::NotReached => {}
        }
    }

    fn recorded(&mut self, request: &StressRequest, run: &StressRun) {
        self.done = 0;
        let document = self.document(request, run, Some("under way".into()));
        if let Err(error) = self.base.checkpoint(SCHEMA, &document) {
            self.base.say(format!("  WARNING: {error}"));
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
    parts.extend(found.event.iter().map(told));
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

/// How frames came back around an event.
fn told(event: &EventFinding) -> String {
    let told = |(step, recovery): (&str, &Recovery)| {
        let Recovery { recovery_ns, back, outage_ns, lost, lost_ns, .. } = recovery;
        let came = match recovery_ns {
            None if *back => "back, but not steadily".into(),
            Some(0) => return format!("{step}: no interruption"),
            Some(ns) => format!("recovery {}", nanoseconds(*ns)),
            None => "NO RECOVERY".into(),
        };
        let (outage, by_loss) = (nanoseconds(*outage_ns), nanoseconds(*lost_ns));
        format!("{step}: {came}, outage {outage}, lost {} ({by_loss})", grouped(*lost))
    };
    event.steps().map(told).collect::<Vec<_>>().join("; ")
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
        PhaseState::Refused(_) => return blank("not supported"),
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
        or_dash(response.known(), |response| nanoseconds(response.p99)),
        or_dash(response.known(), |response| nanoseconds(response.max)),
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
            PhaseState::Refused(_) => "not_supported",
            PhaseState::NotReached => "not_reached",
        },
    });
    let more = match &result.state {
        PhaseState::Run(found) => found_json(found),
        PhaseState::Skipped(reason) | PhaseState::Refused(reason) => json!({ "reason": reason }),
        PhaseState::NotReached => Value::Null,
    };
    json::joined([phase, more])
}

fn found_json(found: &PhaseFinding) -> Value {
    let PhaseFinding { finding, verdict, event } = found;
    let outcome = &finding.outcome;
    let engine = finding.engine.as_ref().map(|summary| json::engine(&summary.counters));
    let ends = std::iter::once(&finding.counters.near).chain(&finding.counters.far);
    json!({
        "verdict": verdict.conclusion,
        "disturbances": finding.disturbances,
        "numbers": found.numbers(),
        "event": event,
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
