//! A testbed with an engine at one end and a client at the other, and what always holds at the end.

use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use linerate::engine::config::{EngineConfig, PathName};
use linerate::engine::names::{RxName, TxName};
use linerate::engine::pool::{Engine, EngineEvent, EngineSummary};
use linerate::engine::storm::Allowance;
use linerate::lab::{ENGINE, Lab, LabConfig};
use linerate::sys::link::LinkCounters;

use crate::check::{PATIENCE, eventually};
use crate::client::{Answer, Client, answer, number_of, numbered};

/// A running engine and its client. The engine ends first.
pub struct Served {
    pub engine: Engine,
    pub client: Client,
    pub lab: Lab,
}

/// Starts an engine on `path` in a testbed of its own.
pub fn serve(path: PathName, adjust: impl FnOnce(&mut EngineConfig)) -> Result<Served, Failed> {
    serve_in(&LabConfig::default(), path, adjust)
}

/// The same in a testbed as described.
pub fn serve_in(
    lab: &LabConfig,
    path: PathName,
    adjust: impl FnOnce(&mut EngineConfig),
) -> Result<Served, Failed> {
    let (lab, config) = lab_for(lab, path, adjust)?;
    let client = Client::open(&lab.generator)?;
    let engine = Engine::start(&config)?;
    Ok(Served { engine, client, lab })
}

/// A testbed and the configuration of an engine in it. AF_XDP halves need a queue for each worker.
pub fn lab_for(
    lab: &LabConfig,
    path: PathName,
    adjust: impl FnOnce(&mut EngineConfig),
) -> Result<(Lab, EngineConfig), Failed> {
    let mut config = EngineConfig::new(ENGINE.interface);
    config.path = path;
    config.interval = Duration::from_millis(100);
    // The clients here send no probes, and their tags in the frame.
    config.per_peer = Allowance::Unlimited;
    config.force = true;
    adjust(&mut config);
    let own_queues = path.rx == RxName::Xsk || path.tx == TxName::Xsk;
    let queues = if own_queues { lab.queues.max(config.workers as u32) } else { lab.queues };
    let lab = Lab::create(&LabConfig { queues, ..lab.clone() })?;
    config.namespace = Some(lab.engine.namespace.clone());
    Ok((lab, config))
}

/// The configuration of an engine at the engine's end of `lab`.
pub fn config(lab: &Lab, path: PathName, adjust: impl FnOnce(&mut EngineConfig)) -> EngineConfig {
    let mut config = EngineConfig::new(ENGINE.interface);
    config.namespace = Some(lab.engine.namespace.clone());
    config.path = path;
    config.interval = Duration::from_millis(100);
    // The clients here send no probes, and their tags in the frame.
    config.per_peer = Allowance::Unlimited;
    config.force = true;
    adjust(&mut config);
    config
}

impl Served {
    /// Sends numbered frames of 60 bytes and expects each answer, in order.
    pub fn echo(&mut self, numbers: std::ops::Range<u32>) -> Result<(), Failed> {
        let frames: Vec<_> = numbers.map(|number| numbered(number, 60)).collect();
        let answers: Vec<_> = frames.iter().map(|frame| answer(frame)).collect();
        self.client.exchange(&frames, &answers)
    }

    /// The same where several workers answer, each in its own time.
    pub fn echo_in_any_order(&mut self, numbers: std::ops::Range<u32>) -> Result<(), Failed> {
        let frames: Vec<_> = numbers.map(|number| numbered(number, 60)).collect();
        self.client.send_all(&frames)?;
        self.answered_in_any_order(&frames)
    }

    /// Expects one answer to each of `frames`, which are numbered upwards and have been sent.
    pub fn answered_in_any_order(&mut self, frames: &[Vec<u8>]) -> Result<(), Failed> {
        let mut answers = self.client.collect(frames.len())?;
        answers.extend(self.client.collect_all()?);
        answers.sort_by_key(|answer| number_of(&answer.bytes));
        assert!(
            answers
                .iter()
                .map(|one| &one.bytes)
                .eq(&frames.iter().map(|f| answer(f)).collect::<Vec<_>>())
        );
        Ok(())
    }

    /// Collects what comes back until the engine has accounted for `sent` frames, which are all since its
    /// start, and the client has every answer.
    pub fn collect_rest(&mut self, sent: u64) -> Result<Vec<Answer>, Failed> {
        let mut answers = Vec::new();
        eventually("every frame is accounted for", || {
            answers.extend(self.client.collect_now()?);
            self.engine.poll(Duration::from_millis(10))?;
            let counters = self.engine.counters();
            let settled = counters.kernel.packets == sent && counters.unexplained(0) == 0;
            Ok(settled
                && counters.received + counters.kernel.drops == sent
                && counters.forwarded == self.client.collected)
        })?;
        Ok(answers)
    }

    /// Whether all workers have ended by themselves.
    pub fn has_ended(&mut self) -> Result<bool, Failed> {
        let events = self.engine.poll(Duration::ZERO)?;
        Ok(events.iter().any(|event| matches!(event, EngineEvent::Ended)))
    }

    /// Looks after the engine until it has said all that `wanted` looks for.
    pub fn poll_until(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&EngineEvent) -> bool,
    ) -> Result<(), Failed> {
        poll_until(&mut self.engine, what, &mut wanted)
    }

    /// Stops the engine and checks what always holds: no worker failed, every received frame is
    /// accounted for once, and forwarded frames are those that the interface transmitted.
    pub fn finish(self) -> Result<(EngineSummary, LinkCounters), Failed> {
        let summary = self.engine.stop();
        check_summary(&summary);
        let link = self.lab.engine.counters()?;
        assert_eq!(summary.counters.forwarded, link.transmitted_frames, "{link:?}");
        assert_eq!(summary.counters.forwarded_bytes, link.transmitted_bytes, "{link:?}");
        Ok((summary, link))
    }
}

/// What holds for every engine that has handled all that reached it.
pub fn check_summary(summary: &EngineSummary) {
    let counters = &summary.counters;
    assert_eq!(summary.failures, Vec::<String>::new());
    assert_eq!(counters.unexplained(0), 0, "{counters:?}");
    let kernel = counters.kernel;
    assert_eq!(kernel.packets, counters.received + kernel.drops, "{counters:?}");
}

/// Polls until an event is `wanted`.
pub fn poll_until(
    engine: &mut Engine,
    what: &str,
    wanted: &mut dyn FnMut(&EngineEvent) -> bool,
) -> Result<(), Failed> {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while Instant::now() < deadline {
        let events = engine.poll(Duration::from_millis(20))?;
        if events.iter().any(&mut *wanted) {
            return Ok(());
        }
        seen.extend(events.into_iter().filter(|event| !matches!(event, EngineEvent::Snapshot)));
    }
    Err(format!("{what} did not happen; this did: {seen:?}").into())
}
