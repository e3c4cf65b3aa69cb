//! What a long test keeps of an hour: sums, and the first faults by name.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::result::{PhaseResult, PhaseState};
use crate::error::{Error, Result, escaped};
use crate::sys::clock::realtime_ns;
use crate::sys::failure::failed;

/// The schema of the documents that have records.
pub const SCHEMA: &str = "linerate.stress/1";

/// Faults that are kept in words; all are counted.
const FAULTS_KEPT: usize = 20;

/// What was found in a time, an hour of a long test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When it began, in seconds since 1970.
    pub began_s: u64,
    /// How long it lasted, in seconds.
    pub lasted_s: f64,
    /// Phases by how they ended.
    pub phases: BTreeMap<String, u64>,
    /// Frames sent.
    pub sent: u64,
    /// Frames that came back right in every byte.
    pub intact: u64,
    /// Frames that did not come back, those that events cost included.
    pub lost: u64,
    /// Frames that came back wrong.
    pub wrong: u64,
    /// Events by name.
    pub events: BTreeMap<String, Recoveries>,
    /// The first faults, with the phase that found them.
    pub faults: Vec<String>,
}

/// How events of a kind were recovered from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recoveries {
    /// How often frames came back steadily.
    pub recovered: u64,
    /// How often they came back, and never steadily.
    pub unsteady: u64,
    /// How often they did not come back.
    pub not_recovered: u64,
    /// All the times together that it took, in nanoseconds.
    pub total_ns: u64,
    /// The longest of them, in nanoseconds.
    pub longest_ns: u64,
    /// Frames that it cost.
    pub lost: u64,
}

/// The records of an earlier run of `test` in `file`, which this run goes on with.
pub fn resume(file: &Path, test: &Value) -> Result<Vec<Record>> {
    let name = escaped(file.display());
    let text = std::fs::read_to_string(file).map_err(|error| {
        failed(format!("read {name}"), &error, "--resume takes a result of stress")
    })?;
    let unreadable = |why: String| Error::Usage(format!("--resume {name}: {why}"));
    let mut document: Value =
        serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    if document["schema"] != SCHEMA {
        return Err(unreadable(format!("no result of stress ({SCHEMA})")));
    }
    for (what, value) in test.as_object().into_iter().flatten() {
        let before = &document["test"][what];
        if before != value {
            return Err(unreadable(format!(
                "another test: {what} was {before}, and is {value} now"
            )));
        }
    }
    serde_json::from_value(document["records"].take())
        .map_err(|error| unreadable(error.to_string()))
}

impl Record {
    /// An empty one that begins now.
    pub fn begin() -> Record {
        Record { began_s: realtime_ns() / 1_000_000_000, ..Record::default() }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.phases.is_empty()
    }

    /// Phases that ended so.
    pub fn count(&self, ended: &str) -> u64 {
        self.phases.get(ended).copied().unwrap_or(0)
    }

    /// Adds what became of a phase.
    pub fn add(&mut self, result: &PhaseResult) {
        let name = result.phase.name.to_string();
        *self.phases.entry(result.ended().into()).or_default() += 1;
        let PhaseState::Run(found) = &result.state else { return };
        let outcome = &found.finding.outcome;
        self.sent += outcome.sent;
        self.intact += outcome.tally.intact;
        self.lost += outcome.lost;
        self.wrong += outcome.tally.returned() - outcome.tally.intact;
        let room = FAULTS_KEPT.saturating_sub(self.faults.len());
        let faults = found.verdict.faults.iter().map(|fault| format!("{name}: {fault}"));
        self.faults.extend(faults.take(room));
        for (_, step) in found.event.iter().flat_map(|event| event.steps()) {
            let all = self.events.entry(name.clone()).or_default();
            all.lost += step.lost;
            match step.recovery_ns {
                Some(ns) => {
                    all.recovered += 1;
                    (all.total_ns, all.longest_ns) = (all.total_ns + ns, all.longest_ns.max(ns));
                }
                None if step.back => all.unsteady += 1,
                None => all.not_recovered += 1,
            }
        }
    }
}
