//! A whole load: sends to a schedule or as fast as it can, verifies every echo, times each of them.
//!
//! ```text
//!  sender thread(s)                        receiver thread, or the same one by turns
//!  schedule says it is due
//!  template writes the frame  ── kick ──►  kernel ─► device ─► kernel
//!  shared: intended, sent ──────────────►   verifier judges it, analyzer times it
//!                                          once an interval: progress, to the caller
//! ```
//!
//! All times are on `CLOCK_MONOTONIC`; kernel stamps, which are on `CLOCK_REALTIME`, are brought
//! over by an offset that is measured at the start and once an interval. Departures share one clock
//! reading a kick, arrivals one a batch.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver as ChannelReceiver, Sender as ChannelSender, bounded};

use crate::error::{Error, Result};
use crate::load::pace::{Schedule, Share};
use crate::load::plan::{Limits, LoadSpec};
use crate::load::rate::FrameRate;
use crate::load::run_id::{FRAMES_MAX, RunId};
use crate::load::rx::{self, AnyRx, RxChoice, RxHalf};
use crate::load::tally::Tally;
use crate::load::template::Template;
use crate::load::tx::{self, AnyTx, TxHalf};
use crate::load::verify::Verifier;
use crate::ring::budget::MemoryBudget;
use crate::stats::jitter::Jitter;
use crate::sys::clock::{Clock, SystemClock, set_timer_slack};
use crate::sys::failure::failed;
use crate::sys::privilege::drop_capabilities;

mod departures;
mod latencies;
mod outcome;
mod receiver;
mod sender;
mod shared;
mod threads;

pub use crate::load::plan::{Drive, LATE_DEPARTURE, LoadPlan, Threads};
pub use departures::Departures;
pub use latencies::Latencies;
pub use outcome::{GeneratorLimit, LoadOutcome, SHORTFALL_MAX, WarmUp};

use receiver::{Analyzer, Receiver};
use sender::{Sender, SenderPlan, SenderReport, Trigger};
use shared::SharedState;
use threads::{Received, Worked};

/// How a load is doing, once an interval.
#[derive(Debug)]
pub struct Progress {
    /// Since the run began, the warm-up included.
    pub elapsed: Duration,
    /// Whether the warm-up still lasts.
    pub warming_up: bool,
    /// Frames that the kernel took so far, those of the warm-up included.
    pub sent: u64,
    /// Frames that came back so far, those of the warm-up included.
    pub returned: u64,
    /// What came back so far, the warm-up left out.
    pub tally: Tally,
    /// Whether the generator is so far behind its schedule that the run would be generator-limited if
    /// it ended now.
    pub is_behind: bool,
    /// Latencies since the last progress report, the warm-up left out.
    pub interval: Box<Latencies>,
}

impl Progress {
    /// Frames sent and not back: lost ones, and those on their way.
    pub fn unanswered(&self) -> u64 {
        self.sent.saturating_sub(self.returned)
    }
}

/// Numbers that the verifier remembers, over all senders.
const NUMBERS_REMEMBERED: usize = crate::load::ledger::NUMBERS_REMEMBERED;

/// Departures that are remembered, over all senders: 2^18 to 2^21 (4 to 32 MiB), by the rate.
const DEPARTURES: std::ops::RangeInclusive<usize> = 1 << 18..=1 << 21;

/// From the end of the preparations to the first departure.
const LEAD_NS: u64 = 2_000_000;

/// A load whose sockets and rings are open.
///
/// [`Load::run`] is a whole run. [`Load::fill`] sends a burst that is [collected](Filled::collect)
/// later, as often as wanted, over the same sockets: to fill an engine that is paused and then find out
/// how fast it empties its ring ([`LoadOutcome::arrival_pps`]).
#[derive(Debug)]
pub struct Load {
    plan: LoadPlan,
    template: Arc<Template>,
    /// One for each sender.
    tx: Vec<AnyTx>,
    rx: AnyRx,
    notes: Vec<String>,
}

impl Load {
    /// Opens sockets and rings. The calling thread must be in the interface's network namespace. Usage
    /// errors name what cannot be sent; system errors are those of the sockets.
    pub fn open(spec: &LoadSpec, budget: &Arc<MemoryBudget>) -> Result<Load> {
        let plan = spec.clone().resolve()?;
        let template = Arc::new(Template::new(spec)?);
        let promiscuous = template.flows().need_promiscuous();
        let mut notes = Vec::new();
        let rx = rx::open(plan.rx, &plan.spec, promiscuous, budget, &mut notes)?;
        let mut halves = Vec::new();
        for sender in 0..spec.threads.senders() {
            halves.push(tx::open(plan.tx, &plan.spec, sender, budget, &mut notes)?);
        }
        notes.dedup();
        Ok(Load { plan, template, tx: halves, rx, notes })
    }

    /// Opens `spec`, warms up, measures, drains, and says what it found.
    ///
    /// The calling thread does none of the work: it waits for progress reports and gives them to
    /// `progress`; a slow `progress` delays nothing but itself.
    pub fn run(
        spec: &LoadSpec,
        budget: &Arc<MemoryBudget>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<LoadOutcome> {
        let Load { plan, template, tx, rx, notes } = Load::open(spec, budget)?;
        if spec.is_last {
            drop_capabilities()?;
        }
        let job = Job::new(&plan, &template, departures(&plan), SystemClock);
        let worked = threads::work(&job, tx, rx, job.analyzer(), progress)?;
        job.outcome(worked, notes)
    }

    /// Sends `frames` frames at once, in the calling thread, and receives nothing. Fewer are sent where
    /// the kernel takes none for 1 s or the stop flag is set. The thread is pinned to the plan's first
    /// CPU, if it has any.
    pub fn fill(&mut self, frames: u64) -> Result<Filled<'_>> {
        if frames > NUMBERS_REMEMBERED as u64 {
            let most = NUMBERS_REMEMBERED;
            return Err(Error::Usage(format!("{frames} frames: a burst has at most {most}")));
        }
        threads::prepare(self.plan.spec.cpus.first().copied())?;
        self.plan.spec.limits = Limits::frames(frames);
        let Load { plan, template, tx, rx, .. } = self;
        rx.discard().map_err(|error| failed("empty the receive ring", &error, ""))?;
        let job = Job::new(plan, template, frames as usize, SystemClock);
        let start_ns = SystemClock.monotonic_ns();
        let sender = match &mut tx[0] {
            AnyTx::Xsk(half) => threads::send_alone(&job, half, 0, start_ns)?,
            AnyTx::Ring(half) => threads::send_alone(&job, half, 0, start_ns)?,
            AnyTx::Copy(half) => threads::send_alone(&job, half, 0, start_ns)?,
        };
        Ok(Filled { job, rx, sender, start_ns })
    }
}

/// A burst that was sent.
pub struct Filled<'a> {
    job: Job<'a, SystemClock>,
    rx: &'a mut AnyRx,
    sender: SenderReport,
    start_ns: u64,
}

impl Filled<'_> {
    /// Frames that the kernel took.
    pub fn sent(&self) -> u64 {
        self.sender.sent
    }

    /// Takes the echoes until all are back or none has come for `quiet`. Those that come before this is
    /// called wait in the receive ring, which must hold them ([`LoadSpec::bursts`]).
    pub fn collect(self, quiet: Duration) -> Result<LoadOutcome> {
        let Filled { job, rx, sender, start_ns } = self;
        let received = match rx {
            AnyRx::V3(half) => job.collect(half, quiet),
            AnyRx::V2(half) => job.collect(half, quiet),
            AnyRx::Recv(half) => job.collect(half, quiet),
        };
        let Received { analyzer, kernel, drained, .. } = received;
        let (senders, latencies) = (vec![sender], Latencies::default());
        let worked = Worked { analyzer, senders, latencies, kernel, drained, start_ns };
        job.outcome(worked, Vec::new())?.unbroken()
    }
}

/// How many departures to remember: those of the time after which an echo is late.
fn departures(plan: &LoadPlan) -> usize {
    let most = plan.rate.map_or(*DEPARTURES.end() as f64 / 2.0, FrameRate::as_f64);
    let late_after = plan.spec.late_after.max(plan.spec.drain).as_secs_f64();
    let wanted = (most * (late_after + 0.1) * 1.2) as usize;
    wanted.clamp(*DEPARTURES.start(), *DEPARTURES.end())
}

/// What all threads of a run know.
struct Job<'a, C> {
    clock: C,
    plan: &'a LoadPlan,
    id: RunId,
    template: Arc<Template>,
    shared: Arc<SharedState>,
}

impl<'a, C: Clock + Clone> Job<'a, C> {
    /// A run that remembers `departures` departures.
    fn new(
        plan: &'a LoadPlan,
        template: &Arc<Template>,
        departures: usize,
        clock: C,
    ) -> Job<'a, C> {
        let senders = plan.spec.threads.senders();
        let shared = Arc::new(SharedState::new(senders, departures / senders));
        Job { clock, plan, id: RunId::random(), template: Arc::clone(template), shared }
    }

    fn analyzer(&self) -> Analyzer<C> {
        let LoadSpec { threads, evidence_max, late_after, breakdown, .. } = self.plan.spec;
        let template = Arc::clone(&self.template);
        let verifier =
            Verifier::new(template, self.id, threads.senders(), NUMBERS_REMEMBERED, evidence_max);
        Analyzer::new(verifier, &self.shared, late_after, breakdown, self.clock.clone())
    }

    /// Receives the echoes of a burst that was sent.
    fn collect<I: RxHalf>(&self, rx: &mut I, quiet: Duration) -> Received<C> {
        let mut receiver = Receiver::new(rx, self.analyzer());
        let drained = self.drain(&mut receiver, quiet, |_, _| Ok(true));
        let Receiver { analyzer, kernel, .. } = receiver;
        Received { analyzer, kernel, drained, sender: None }
    }

    /// Takes the last echoes.
    fn drain<I: RxHalf>(
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

    fn sender<'t, T: TxHalf>(&self, tx: &'t mut T, number: usize) -> Sender<'t, T, C> {
        let stop = &self.plan.spec.stop;
        Sender::new(tx, number, &self.template, &self.shared, stop, self.clock.clone())
    }

    /// What sender `number` has to do in a run that begins at `start_ns`.
    fn sender_plan(&self, number: usize, start_ns: u64) -> SenderPlan {
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

    fn outcome(&self, worked: Worked<C>, mut notes: Vec<String>) -> Result<LoadOutcome> {
        let Worked { mut analyzer, senders, mut latencies, kernel, drained, start_ns } = worked;
        latencies.merge(&analyzer.latencies);
        let mut departures = Departures::default();
        senders.iter().for_each(|sender| departures.merge(&sender.departures));
        let sum = |field: fn(&SenderReport) -> u64| senders.iter().map(field).sum::<u64>();
        let (sent, warm_up) = (sum(|s| s.sent), sum(|s| s.warm_up));
        let (unsent_late, unsent_refused) = (sum(|s| s.unsent_late), sum(|s| s.unsent_refused));
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
        let mut outcome = LoadOutcome {
            run: self.id.run(),
            asked: self.plan.rate,
            offered: sent + unsent_late + unsent_refused,
            sent,
            unsent_late,
            unsent_refused,
            all_sent_bytes: LoadOutcome::with_fcs(sum(|s| s.all_bytes), sent + warm_up),
            span_ns,
            departures,
            tally: *analyzer.verifier.tally(),
            lost,
            reorder_extent_max: analyzer.verifier.reorder_extent_max(),
            latencies,
            untimed: analyzer.untimed,
            jitter,
            warm_up: WarmUp {
                sent: warm_up,
                tally: *analyzer.verifier.warm_up(),
                lost: warm_up_lost,
            },
            kernel,
            stamps_ns: analyzer.verifier.stamps_ns(),
            damage: analyzer.verifier.damage().to_vec(),
            evidence: analyzer.verifier.take_evidence(),
            drained,
            stopped: senders.iter().any(|sender| sender.stopped),
            broken: None,
            clock_steps: analyzer.clock_steps,
            halves: (self.plan.tx, self.plan.rx),
            notes,
        };
        outcome.assert_conserved();
        match self.shared.take_failure() {
            Some(failure) if sent + warm_up == 0 => return Err(failure),
            failure => outcome.broken = failure.map(|failure| failure.to_string()),
        }
        Ok(outcome)
    }
}

fn ns(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
