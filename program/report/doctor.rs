//! What `linerate doctor` says: a line a finding, by section, and the verdict.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::base::Base;
use super::text::{fill, sentence_columns};
use crate::bench::doctor::facts::Facts;
use crate::bench::doctor::finding::{Finding, Section, Severity, Verified};
use crate::bench::doctor::reasons;
use crate::error::Result;
use crate::sys::host::Host;
use crate::sys::link::Link;

/// What `linerate doctor` says.
#[derive(Debug)]
pub struct DoctorReport {
    base: Base,
}

#[derive(Serialize)]
struct Document<'a> {
    fit: bool,
    reasons: Vec<&'a str>,
    findings: &'a [Finding],
    facts: Value,
}

impl DoctorReport {
    /// Opens the outputs.
    pub fn open(json: Option<&Path>) -> Result<DoctorReport> {
        Ok(DoctorReport { base: Base::open(json)? })
    }

    /// The machine.
    pub fn host(&self) -> &Host {
        &self.base.host
    }

    /// The looking begins.
    pub fn start(&mut self, link: Option<&Link>) {
        let Host { kernel, cpu, cpus, .. } = &self.base.host;
        self.base.say(format!("Linux {kernel}, {cpu}, {cpus} CPUs; a look of two seconds"));
        if let Some(link) = link {
            self.base.set_link(link);
        }
    }

    /// What was found.
    pub fn finish(&mut self, facts: &Facts, findings: &[Finding]) -> Result<()> {
        let mut section = None;
        for finding in findings {
            if section != Some(finding.section) {
                self.base.say(title(finding.section, facts));
                section = Some(finding.section);
            }
            self.base.say(lines(finding));
        }
        self.base.say_forbidden();
        let reasons = reasons(findings);
        let count = |severity| findings.iter().filter(|one| one.severity == severity).count();
        self.base.say(match &reasons[..] {
            [] => format!("FIT for measuring; notes: {}", count(Severity::Note)),
            reasons => {
                let named: Vec<&str> = reasons.iter().map(|finding| finding.subject).collect();
                format!("UNFIT for measuring: {}", named.join(", "))
            }
        });
        self.base.write(
            "linerate.doctor/1",
            &Document {
                fit: reasons.is_empty(),
                reasons: reasons.iter().map(|finding| finding.text.as_str()).collect(),
                findings,
                facts: serde_json::to_value(facts).map(plain).unwrap_or_default(),
            },
        )
    }
}

fn title(section: Section, facts: &Facts) -> String {
    match (section, &facts.interface) {
        (Section::Machine, _) => "machine".into(),
        (Section::Rights, _) => "rights".into(),
        (Section::Cpus, _) => "CPUs".into(),
        (Section::Interface, Some(interface)) => interface.link.name.clone(),
        (Section::Interface, None) => "interface".into(),
    }
}

/// Columns of the subject, behind those of the mark.
const INDENT: usize = 24;

fn lines(finding: &Finding) -> String {
    let mark = match (finding.severity, finding.verified) {
        (_, Verified::NotReadable) => "?",
        (Severity::Fine, _) => "ok",
        (Severity::Note, _) => "note",
        (Severity::Spoils, _) => "SPOILS",
    };
    let head = format!("  {mark:<6}  {:<14}", finding.subject);
    let mut lines = hanging(&head, &finding.text);
    if let Some(fix) = &finding.fix {
        lines.push('\n');
        lines.push_str(&hanging(&format!("{:INDENT$}->", ""), fix));
    }
    lines
}

/// `head` and `text`, broken between words, each line but the first as far in as the text begins.
fn hanging(head: &str, text: &str) -> String {
    let (columns, indent) = (sentence_columns(), head.chars().count() + 1);
    // A word that is too long, as a path may be, is broken.
    let words = text.split_whitespace().flat_map(|word| chunks(word, columns - indent));
    fill(&format!("{head} "), indent, words, columns)
}

/// A word in pieces of at most `most` letters.
fn chunks(word: &str, most: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    letters.chunks(most).map(|piece| piece.iter().collect()).collect()
}

/// The value that was read, or the reason why none was, in place of how Rust tells them apart.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(map)
            if map.len() == 1 && (map.contains_key("Ok") || map.contains_key("Err")) =>
        {
            map.into_iter().next().map_or(Value::Null, |(_, value)| plain(value))
        }
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, plain(value))).collect(),
        Value::Array(all) => all.into_iter().map(plain).collect(),
        other => other,
    }
}
