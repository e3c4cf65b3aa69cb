//! What became of the phases.

use super::events::EventFinding;
use super::phases::Phase;
use super::verdict::{Conclusion, Verdict};
use crate::bench::loading::Finding;
use crate::stats::state::{Doubt, State};

/// What became of a phase.
#[derive(Debug)]
pub enum PhaseState {
    /// It was run.
    Run(Box<PhaseFinding>),
    /// It cannot be run here, for this reason.
    Skipped(String),
    /// The kernel refused what was to happen, with this errno.
    Refused(String),
    /// The test was ended before it.
    NotReached,
}

/// What a phase found.
#[derive(Debug)]
pub struct PhaseFinding {
    /// The load and what was around it.
    pub finding: Finding,
    /// What that says about the device.
    pub verdict: Verdict,
    /// What happened meanwhile, and what that did to the frames.
    pub event: Option<EventFinding>,
}

impl PhaseFinding {
    /// What the numbers are worth.
    pub fn numbers(&self) -> State {
        match self.finding.state() {
            // Frames that wait for the generator's own link are what an event is about.
            State::CannotTell { reason: Doubt::GeneratorLimited }
                if self.verdict.limit.is_none() =>
            {
                self.finding.taken.state()
            }
            state => state,
        }
    }
}

/// A phase and what became of it.
#[derive(Debug)]
pub struct PhaseResult {
    /// The phase.
    pub phase: Phase,
    /// What became of it.
    pub state: PhaseState,
}

impl PhaseResult {
    /// How it ended, if it was run.
    pub fn conclusion(&self) -> Option<Conclusion> {
        match &self.state {
            PhaseState::Run(run) => Some(run.verdict.conclusion),
            _ => None,
        }
    }

    /// How it ended, in a word of the documents.
    pub fn ended(&self) -> &'static str {
        match (&self.state, self.conclusion()) {
            (_, Some(conclusion)) => conclusion.name(),
            (PhaseState::Skipped(_), _) => "skipped",
            (PhaseState::Refused(_), _) => "not_supported",
            _ => "not_reached",
        }
    }
}
