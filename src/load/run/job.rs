//! What all threads of a run know, what each of them has to do, and what comes of what they leave.

use std::sync::Arc;
use std::time::Duration;

use super::departures::Departures;
use super::gate::Gate;
use super::latencies::Latencies;
use super::nic_times::NicClock;
use super::outcome::{LoadOutcome, WarmUp};
use super::receiver::{Analyzer, Receiver};
use super::sender::{Sender, SenderPlan, SenderReport, Trigger};
use super::shared::SharedState;
use super::thread_record::Recording;
use crate::error::Result;
use crate::load::ledger::NUMBERS_REMEMBERED;
use crate::load::pace::{Schedule, Share};
use crate::load::plan::{Drive, LoadPlan, LoadSpec};
use crate::load::run_id::{FRAMES_MAX, RunId};
use crate::load::rx::{RxChoice, RxHalf};
use crate::load::template::Template;
use crate::load::trace::{CPU_EVERY, Trace};
use crate::load::tx::TxHalf;
use crate::load::verify::Verifier;
use crate::stats::counters::KernelCounters;
use crate::stats::jitter::Jitter;
use crate::sys::clock::Clock;

/// How long a measured device works before its echoes are looked at.
const STAND_BY_NS: u64 = 10_000_000;

/// What all threads of a run know.
pub(super) struct Job<'a, C> {
    pub clock: C,
    pub plan: &'a LoadPlan,
    pub id: RunId,
    pub template: Arc<Template>,
    pub shared: Arc<SharedState>,
    pub gate: Gate,
}

impl<'a, C: Clock + Clone> Job<'a, C> {
    /// A run that remembers `departures` departures.
    pub fn new(
        plan: &'a LoadPlan,
        template: &Arc<Template>,
        departures: usize,
        clock: C,
    ) -> Job<'a, C> {
        let senders = plan.spec.threads.senders();
        let shared = Arc::new(SharedState::new(senders, departures / senders));
        let gate = Gate::of(plan.spec.threads.count());
        Job { clock, plan, id: RunId::random(), template: Arc::clone(template), shared, gate }
    }

    pub fn analyzer(&self) -> Analyzer<C> {
        let LoadSpec {
            threads, evidence_max, late_after, breakdown, ref trace, ref stamps, ..
        } = self.plan.spec;
        let template = Arc::clone(&self.template);
        let verifier =
            Verifier::new(template, self.id, threads.senders(), NUMBERS_REMEMBERED, evidence_max);
        let (shared, clock) = (&self.shared, self.clock.clone());
        let mut analyzer = Analyzer::new(verifier, shared, late_after, breakdown, trace, clock);
        analyzer.nic = stamps.nic_clock().map(NicClock::new);
        analyzer
    }

    /// Thread `number`, senders first, records what it notices of its CPU.
    pub fn recording(&self, number: usize) -> Recording<'_> {
        let LoadSpec { cpus, threads, .. } = &self.plan.spec;
        let cpus: Vec<usize> = cpus.iter().copied().cycle().take(threads.count()).collect();
        self.shared.threads.begin(&cpus, number)
    }

    /// Receives the echoes of a burst that was sent.
    pub fn collect<I: RxHalf>(&self, rx: &mut I, quiet: Duration) -> Received<C> {
        let _recording = self.recording(0);
        let mut receiver = Receiver::new(rx, self.analyzer());
        let drained = self.drain(&mut receiver, quiet, |receiver, now_ns| {
            let trace = &mut receiver.analyzer.trace;
            trace.look(now_ns);
            if trace.is_on() && receiver.unanswered() > 0 {
                self.stand_by(&mut receiver.analyzer.trace);
            }
            Ok(true)
        });
        let Receiver { analyzer, kernel, .. } = receiver;
        Received { analyzer, kernel, drained, sender: None }
    }

    /// Leaves the device alone for a while: who verifies echoes on a sibling of its CPU slows it down, and
    /// so it is better done in few slices than in all.
    fn stand_by(&self, trace: &mut Trace) {
        let until_ns = self.clock.monotonic_ns() + STAND_BY_NS;
        loop {
            self.clock.sleep(CPU_EVERY);
            let now_ns = self.clock.monotonic_ns();
            trace.look(now_ns);
            if now_ns >= until_ns {
                return;
            }
        }
    }

    /// Takes the last echoes.
    pub fn drain<I: RxHalf>(
        &self,
        receiver: &mut Receiver<'_, I, C>,
        quiet: Duration,
        go_on: impl FnMut(&mut Receiver<'_, I, C>, u64) -> Result<bool>,
    ) -> Duration {
        // A frame may wait for the retire timeout in a V3 block that is still open.
        let retire = match self.plan.rx {
            RxChoice::V3 => self.plan.spec.rx_ring.retire_ms.unwrap_or(1),
            _ => 0,
        };
        let retire = Duration::from_millis(retire.into());
        let drained = receiver.drain(self.plan.spec.drain, quiet, retire, go_on);
        self.shared.keep(receiver.check());
        self.shared.keep(drained).unwrap_or_default()
    }

    pub fn sender<'t, T: TxHalf>(
        &self,
        tx: &'t mut T,
        number: usize,
        plan: SenderPlan,
    ) -> Sender<'t, T, C> {
        let stop = &self.plan.spec.stop;
        Sender::new(tx, number, plan, &self.template, &self.shared, stop, self.clock.clone())
    }

    /// What sender `number` has to do in a run that begins at `start_ns`.
    pub fn sender_plan(&self, number: usize, start_ns: u64) -> SenderPlan {
        let LoadSpec { drive, limits, warm_up, threads, answer_timeout, batch, .. } =
            &self.plan.spec;
        let senders = threads.senders() as u64;
        let share = Share { first: number as u64, every: senders };
        let trigger = match (drive, self.plan.rate) {
            (Drive::Paced { pattern, .. }, Some(rate)) => {
                Trigger::Schedule(Box::new(Schedule::new(rate, *pattern, share)))
            }
            (Drive::Paced { .. }, None) => Trigger::Always,
            (Drive::Window(frames), _) => {
                Trigger::Window { frames: *frames, give_up_ns: ns(*answer_timeout) }
            }
        };
        let measure_ns = start_ns.saturating_add(ns(*warm_up));
        let end_ns = limits.duration.map_or(u64::MAX, |time| measure_ns.saturating_add(ns(time)));
        // So many frames in all, whoever sends them.
        let count = limits.count.unwrap_or(u64::MAX);
        let count = if count == u64::MAX { count } else { share.of(count) };
        let (id, batch) = (self.id, *batch);
        let numbers = share.of(FRAMES_MAX);
        SenderPlan { trigger, share, id, batch, start_ns, measure_ns, end_ns, count, numbers }
    }

    pub fn outcome(&self, worked: Worked<C>, mut notes: Vec<String>) -> Result<LoadOutcome> {
        let Worked { analyzer, senders, mut latencies, kernel, drained, start_ns } = worked;
        latencies.merge(&analyzer.latencies);
        let mut departures = Departures::default();
        senders.iter().for_each(|sender| departures.merge(&sender.departures));
        let sum = |field: fn(&SenderReport) -> u64| senders.iter().map(field).sum::<u64>();
        let (sent, warm_up) = (sum(|s| s.counts.sent), sum(|s| s.counts.warm_up_sent));
        let unsent_late = sum(|s| s.counts.unsent_late);
        let unsent_refused = sum(|s| s.counts.unsent_refused);
        // Of the senders' next frames the first one ends the span of a count.
        let ends = senders.iter().map(|sender| sender.span_end_ns);
        let scheduled = self.plan.rate.is_some();
        let end_ns = if scheduled { ends.min() } else { ends.max() }.unwrap_or(0);
        let measure_ns = start_ns + ns(self.plan.spec.warm_up);
        let span_ns = end_ns.max(departures.last_ns).saturating_sub(measure_ns);
        let (lost, warm_up_lost) = analyzer.verifier.missing();
        let mut jitter = Jitter::default();
        analyzer.jitters.iter().for_each(|one| jitter.merge(one));
        if sent + warm_up + unsent_refused >= FRAMES_MAX {
            notes.push(format!("it ended after {FRAMES_MAX} frames: there are no more numbers"));
        }
        let reorder_extent_max = analyzer.verifier.reorder_extent_max();
        let books = analyzer.verifier.books;
        let mut outcome = LoadOutcome {
            asked: self.plan.rate,
            offered: sent + unsent_late + unsent_refused,
            sent,
            unsent_late,
            unsent_refused,
            senders: senders.iter().map(|sender| sender.counts).collect(),
            all_sent_bytes: LoadOutcome::with_fcs(sum(|s| s.all_bytes), sent + warm_up),
            span_ns,
            departures,
            tally: books.tally,
            lost,
            reorder_extent_max,
            hops: books.hops,
            returned_beside_first_flow: books.returned_beside_first_flow,
            latencies,
            nic: analyzer.nic.map(|nic| nic.times),
            untimed: analyzer.untimed,
            jitter,
            warm_up: WarmUp { sent: warm_up, tally: books.warm_up, lost: warm_up_lost },
            kernel,
            stamps_ns: books.stamps_ns,
            damage: books.damage,
            evidence: books.evidence,
            drained,
            stopped: senders.iter().any(|sender| sender.stopped),
            broken: None,
            clock_steps: analyzer.clock_steps,
            trace: analyzer.trace,
            halves: (self.plan.tx, self.plan.rx),
            threads: self.shared.threads.take(),
            notes,
        };
        outcome.assert_conserved();
        match self.shared.take_failure() {
            Some(failure) if sent + warm_up == 0 => return Err(failure),
            failure => outcome.broken = failure.map(|why| format!("{}: {why}", self.plan.name)),
        }
        Ok(outcome)
    }
}

/// What is there when all threads have ended.
pub(super) struct Worked<C> {
    pub analyzer: Analyzer<C>,
    pub senders: Vec<SenderReport>,
    /// Of all intervals that were reported.
    pub latencies: Latencies,
    pub kernel: KernelCounters,
    pub drained: Duration,
    pub start_ns: u64,
}

/// What a receiving thread leaves behind.
pub(super) struct Received<C> {
    pub analyzer: Analyzer<C>,
    pub kernel: KernelCounters,
    pub drained: Duration,
    /// Of the sender in the same thread.
    pub sender: Option<SenderReport>,
}

pub(super) fn ns(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}
