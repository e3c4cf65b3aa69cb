//! What `linerate ab` says beside a comparison's tables: what the arms differ in, and what was put back.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::compare::CompareReport;
use super::text::wrap;
use super::verdict;
use crate::bench::ab::{ARMS, Ab, Arm, Differences, Program};
use crate::bench::compare::result::Comparison;
use crate::bench::compare::run::Step;
use crate::bench::testbed::Testbed;
use crate::error::{Result, escaped};
use crate::sys::privilege::user_name;
use crate::sys::runner::Restored;
use crate::sys::settings::Change;

/// What `linerate ab` says.
#[derive(Debug)]
pub struct AbReport {
    report: CompareReport,
    /// Whose rights the hooks have.
    hooks_as: String,
}

/// Fields of a seat that only an engine of our own fills.
const UNKNOWN: [&str; 3] = ["drops", "kernel", "engine_latency_ns"];

/// As many changes as fit the screen; all are in the document.
const CHANGES_SHOWN: usize = 6;

impl AbReport {
    /// Opens the outputs. Call it before the program becomes another user.
    pub fn open(json: Option<&Path>, details: bool) -> Result<AbReport> {
        Ok(AbReport { report: CompareReport::of("ab", json, details)?, hooks_as: user_name() })
    }

    /// What is about to be measured, and where.
    pub fn start(&mut self, testbed: &Testbed, cpus: (usize, usize), at_most: Option<Duration>) {
        self.report.start(testbed, cpus, at_most);
        self.report.base.say(format!("  hooks run as {}", self.hooks_as));
    }

    /// What each arm is, and what setting it changed.
    pub fn arms(&mut self, ab: &Ab, differences: &Differences) {
        for ((name, arm), changes) in ARMS.iter().zip(&ab.arms).zip(&differences.changes) {
            let Arm { hook, options, engine, program } = arm;
            let path = format!("path {}", engine.path);
            let engine = match program {
                None => path,
                Some(Program::Build(build)) => format!("{}, {path}", escaped(build)),
                Some(Program::Foreign(line)) => escaped(line).to_string(),
            };
            let options = match options.is_empty() {
                true => String::new(),
                false => format!(" ({})", options.join(" ")),
            };
            let hook = hook.as_ref().map_or(String::new(), |hook| format!("; {}", escaped(hook)));
            let line = format!("{name}: {engine}{options}{hook}");
            self.report.base.say(wrap(&line));
            if arm.hook.is_some() {
                self.report.base.say(wrap(&format!("   changed {}", listed(changes))));
            }
        }
    }

    /// A round is about to begin.
    pub fn step(&mut self, step: Step) {
        self.report.step(step);
    }

    /// What could not be put back, and why.
    pub fn restored(&mut self, (failure, left): &Restored) {
        if let Some(failure) = failure {
            self.report.base.say(wrap(&format!("NOT RESTORED: {failure}")));
        }
        match (failure, left.is_empty()) {
            (None, true) => self.report.base.say("  Settings: as they were before"),
            (_, true) => {}
            _ => self.report.base.say(wrap(&format!("Settings LEFT CHANGED: {}", listed(left)))),
        }
    }

    /// Tables, verdict, what is left changed, JSON.
    pub fn finish(
        &mut self,
        comparison: &Comparison,
        ab: &Ab,
        differences: &Differences,
        restored: &Restored,
    ) -> Result<()> {
        let verdict = verdict::of_arms(comparison);
        self.report.tell(comparison, &verdict);
        self.restored(restored);
        let (failure, left) = restored;
        let arms =
            ARMS.iter().zip(&ab.arms).zip(&differences.changes).map(|((name, arm), changes)| {
                json!({
                    "name": name,
                    "hook": arm.hook,
                    "engine": arm.program,
                    "options": arm.options,
                    "changed": changes,
                })
            });
        let mut document = self.report.document(comparison);
        document["verdict"] = verdict.into();
        document["arms"] = arms.collect();
        if ab.arms.iter().any(|arm| arm.program.is_some()) {
            // What a process of its own counted, it has kept to itself.
            let seats = document["results"].as_array_mut().into_iter().flatten();
            seats.for_each(|seat| UNKNOWN.iter().for_each(|name| seat[name] = Value::Null));
        }
        document["differences"] = json!(differences.settings);
        document["not_restored"] = json!(failure);
        document["left_changed"] = json!(left);
        self.report.base.write("linerate.ab/1", &document)
    }
}

/// `eth1 MTU 1500 → 9000, eth1 rx-gro on → off`.
fn listed(changes: &[Change]) -> String {
    let mut words: Vec<String> =
        changes.iter().take(CHANGES_SHOWN).map(Change::to_string).collect();
    match changes.len() {
        0 => return "nothing".into(),
        count if count > CHANGES_SHOWN => {
            words.push(format!("and {} more", count - CHANGES_SHOWN));
        }
        _ => {}
    }
    words.join(", ")
}
