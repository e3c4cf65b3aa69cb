//! What `linerate compare` says: one screen with the answers, and with `--details` a table for each size
//! and load.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::base::Base;
use super::compare_details;
use super::compare_document::{cpu_clock, document};
use super::compare_table;
use super::text::{grouped, wrap};
use super::verdict;
use crate::bench::account::Taken;
use crate::bench::compare::result::Comparison;
use crate::bench::compare::run::Step;
use crate::bench::contestant::Name;
use crate::bench::testbed::{End, Testbed};
use crate::error::Result;
use crate::stats::state::State;
use crate::sys::ethtool_settings::DeviceRings;
use crate::sys::offload::Ethtool;

/// What `linerate compare` says.
#[derive(Debug)]
pub struct CompareReport {
    pub(super) base: Base,
    command: &'static str,
    details: bool,
    lab: bool,
    shares_cpu: bool,
    cpu_clock: &'static str,
    /// The NICs' rings, by interface.
    rings: Vec<(String, DeviceRings)>,
}

/// Steps of the progress bar.
const STEPS: f64 = 1000.0;

impl CompareReport {
    /// Opens the outputs.
    pub fn open(json: Option<&Path>, details: bool) -> Result<CompareReport> {
        CompareReport::of("compare", json, details)
    }

    /// That of a command which compares.
    pub(super) fn of(
        command: &'static str,
        json: Option<&Path>,
        details: bool,
    ) -> Result<CompareReport> {
        Ok(CompareReport {
            base: Base::open(json)?,
            command,
            details,
            lab: false,
            shares_cpu: false,
            cpu_clock: "",
            rings: Vec::new(),
        })
    }

    /// What is about to be measured, and where.
    pub fn start(&mut self, testbed: &Testbed, cpus: (usize, usize), at_most: Option<Duration>) {
        self.base.testbed_header(self.command, testbed, cpus);
        self.lab = testbed.is_lab();
        self.shares_cpu = cpus.0 == cpus.1;
        let rings = |end: &End| {
            let name = end.link.name.clone();
            let rings = end.inside(|| Ok(Ethtool::open()?.rings(&name).ok().flatten()));
            Some((name, rings.ok()??))
        };
        self.rings = [&testbed.generator, &testbed.engine].into_iter().filter_map(rings).collect();
        self.cpu_clock = cpu_clock(&self.base.host, testbed.is_veth());
        let at_most = at_most.map(|time| format!("at most {} s; ", time.as_secs_f64().ceil()));
        self.base.say(format!("  {}Ctrl-C ends with what there is", at_most.unwrap_or_default()));
    }

    /// A round is about to begin.
    pub fn step(&mut self, step: Step) {
        let Step { done, rounds, load, size } = step;
        if done == 0.0 {
            self.base.begin(STEPS as u64, Duration::MAX);
        }
        let line = format!("{size} B, {load}: {rounds} rounds");
        self.base.progress((done * STEPS) as u64, line);
    }

    /// Tables, verdict, JSON.
    pub fn finish(&mut self, comparison: &Comparison) -> Result<()> {
        self.tell(comparison, &verdict::sentences(comparison));
        self.base.write("linerate.compare/3", &self.document(comparison))
    }

    /// The document, without what all have.
    pub(super) fn document(&self, comparison: &Comparison) -> Value {
        document(self.cpu_clock, self.lab, comparison)
    }

    /// Tables and verdict.
    pub(super) fn tell(&mut self, comparison: &Comparison, verdict: &[String]) {
        self.base.end();
        for excluded in &comparison.excluded {
            let reason = excluded.reason.replace('\n', ";");
            self.base.say(wrap(&format!("NOT RUN HERE: {}: {reason}", excluded.contestant)));
        }
        for seat in comparison.contestants() {
            if matches!(seat.contestant.name, Name::Profile(_)) && self.details {
                let wait = seat.wait.name();
                self.base.say(format!("  {} is {}, wait {wait}", seat.contestant, seat.path));
            }
        }
        for size in comparison.sizes() {
            self.base.say(compare_table::of_size(comparison, size));
            if self.details {
                self.base.say(compare_details::of_size(comparison, size));
            }
        }
        if comparison.series.is_empty() {
            self.base.say("\ninterrupted: no round was finished");
        } else {
            self.base.say("\nVerdict");
            for sentence in verdict {
                self.base.say(wrap(sentence));
            }
            self.base.say(wrap(&format!("Machine: {}", self.machine(&comparison.taken()))));
            let oddities = compare_details::oddities(comparison, self.details);
            let rings = compare_details::short_rings(comparison, &self.rings);
            for oddity in oddities.iter().chain(&rings) {
                self.base.say(wrap(oddity));
            }
            self.base.say(verification(comparison));
        }
        if let Some(error) = &comparison.broken {
            self.base.say(format!("BROKEN OFF: {error}"));
        }
        if comparison.interrupted && !comparison.series.is_empty() {
            self.base.say("interrupted: the numbers are of the rounds that were finished");
        }
    }

    /// Whether the machine let us measure.
    fn machine(&self, taken: &Taken) -> String {
        match taken.state() {
            _ if self.shares_cpu => {
                "cannot tell: generator and engine take their one CPU from each other".into()
            }
            State::Clear => {
                format!("quiet, at most {:.1} % of a CPU was taken", 100.0 * taken.share())
            }
            _ => format!("DISTURBED: {taken}"),
        }
    }
}

fn verification(comparison: &Comparison) -> String {
    let seats = || 0..comparison.seats.len();
    let verified: u64 = seats().map(|seat| comparison.verified(seat)).sum();
    let wrong: u64 = seats().map(|seat| comparison.wrong(seat)).sum();
    let took = comparison.took.as_secs_f64();
    if wrong == 0 {
        let verified = grouped(verified);
        return format!(
            "  {verified} echoes verified, every byte of each, in {took:.0} s; none wrong"
        );
    }
    format!(
        "  ERROR: {} echoes were WRONG (corrupted, duplicated, truncated or not in upper case), \
         {} were right",
        grouped(wrong),
        grouped(verified)
    )
}
