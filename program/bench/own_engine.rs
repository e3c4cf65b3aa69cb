//! Our own engine under test, whose failures are never counted as the device's losses.

use std::time::Duration;

use super::contestant::Contestant;
use crate::engine::config::EngineConfig;
use crate::engine::pool::{Engine, EngineEvent, EngineSummary, WorkerThread};
use crate::error::{Error, Result};

/// An engine, and the name that errors give it.
pub struct OwnEngine {
    name: Contestant,
    engine: Engine,
    ended: bool,
}

impl OwnEngine {
    /// Starts it.
    pub fn start(name: Contestant, config: &EngineConfig) -> Result<OwnEngine> {
        Ok(OwnEngine { name, engine: Engine::start(config)?, ended: false })
    }

    /// As [`Engine::threads`].
    pub fn threads(&self) -> Vec<WorkerThread> {
        self.engine.threads()
    }

    /// Looks after the engine, which follows changes of the link. An error if it has ended by itself;
    /// [`OwnEngine::stop`] then says why.
    pub fn check(&mut self) -> Result<()> {
        let mut reported = true;
        while reported {
            let events = self.engine.poll(Duration::ZERO)?;
            reported = events.iter().any(|event| matches!(event, EngineEvent::Snapshot));
            self.ended |= events
                .iter()
                .any(|event| matches!(event, EngineEvent::Ended | EngineEvent::InterfaceGone));
        }
        match self.ended {
            false => Ok(()),
            true => Err(Error::Run(format!("{}: the engine has ended by itself", self.name))),
        }
    }

    /// Ends it, and returns its account; an error if it failed.
    pub fn stop(self) -> Result<EngineSummary> {
        match self.end() {
            (summary, None) => Ok(summary),
            (_, Some(failure)) => Err(failure),
        }
    }

    /// Ends it, and returns its account and what went wrong.
    pub fn end(mut self) -> (EngineSummary, Option<Error>) {
        let check = self.check();
        let summary = self.engine.stop();
        let failure = failure(self.name, &summary).or(check.err());
        (summary, failure)
    }
}

/// What went wrong with an engine, if anything did.
pub fn failure(name: Contestant, summary: &EngineSummary) -> Option<Error> {
    let unexplained = summary.counters.unexplained(0);
    Some(Error::Run(match summary.failures.first() {
        Some(failure) => format!("{name}: {failure}"),
        None if summary.interface_gone => {
            format!("{name}: the engine's interface is gone (deleted or moved away)")
        }
        None if unexplained != 0 => {
            format!("{name}: {unexplained} frames are unaccounted for: please report it")
        }
        None => return None,
    }))
}
