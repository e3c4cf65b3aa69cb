//! One thing found, and those of a section in the making.

use crate::sys::reading::{Reading, Unreadable};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Fine,
    /// Worth knowing: it shapes what is measured, or closes a way.
    Note,
    /// Numbers taken like this are not worth having.
    Spoils,
}

/// How it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// The system says so.
    Read,
    /// It was done, or measured.
    Tried,
    /// It is not known.
    NotReadable,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// The kernel and the machine.
    Machine,
    /// What this process may do.
    Rights,
    /// The CPUs that a measurement would use.
    Cpus,
    /// The interface that was named.
    Interface,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Where it belongs.
    pub section: Section,
    /// What it is about, in a word or two.
    pub subject: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// How it is known.
    pub verified: Verified,
    /// What was found.
    pub text: String,
    /// What to do about it, mostly a command.
    pub fix: Option<String>,
}

/// Findings of one section, in the making.
pub(super) struct Findings {
    section: Section,
    all: Vec<Finding>,
}

impl Findings {
    pub(super) fn of(section: Section) -> Findings {
        Findings { section, all: Vec::new() }
    }

    fn add(
        &mut self,
        subject: &'static str,
        severity: Severity,
        text: String,
        fix: Option<String>,
    ) {
        let (section, verified) = (self.section, Verified::Read);
        self.all.push(Finding { section, subject, severity, verified, text, fix });
    }

    pub(super) fn fine(&mut self, subject: &'static str, text: impl Into<String>) {
        self.add(subject, Severity::Fine, text.into(), None);
    }

    pub(super) fn note(
        &mut self,
        subject: &'static str,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let fix = Some(fix.into()).filter(|fix| !fix.is_empty());
        self.add(subject, Severity::Note, text.into(), fix);
    }

    pub(super) fn spoils(
        &mut self,
        subject: &'static str,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(subject, Severity::Spoils, text.into(), Some(fix.into()));
    }

    /// The last one was tried or measured.
    pub(super) fn tried(&mut self) {
        self.all.iter_mut().last().expect("a finding to mark").verified = Verified::Tried;
    }

    /// What was read, or `None` and a finding that it could not be.
    pub(super) fn known<'a, T>(
        &mut self,
        subject: &'static str,
        reading: &'a Reading<T>,
    ) -> Option<&'a T> {
        reading.as_ref().map_err(|why| self.unknown(subject, why)).ok()
    }

    /// As [`Findings::known`]; where there is nothing, that is fine and said as `absent`.
    pub(super) fn known_or<'a, T>(
        &mut self,
        subject: &'static str,
        reading: &'a Reading<Option<T>>,
        absent: &str,
    ) -> Option<&'a T> {
        let known = self.known(subject, reading)?.as_ref();
        if known.is_none() {
            self.fine(subject, absent);
        }
        known
    }

    pub(super) fn unknown(&mut self, subject: &'static str, why: &Unreadable) {
        let verified = Verified::NotReadable;
        self.add(subject, Severity::Note, format!("not readable: {why}"), None);
        self.all.iter_mut().last().expect("the one just added").verified = verified;
    }

    pub(super) fn end(self) -> Vec<Finding> {
        self.all
    }
}
