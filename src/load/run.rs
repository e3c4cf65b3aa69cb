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
use std::time::Duration;

use crate::error::{Error, Result};
use crate::load::ledger::NUMBERS_REMEMBERED;
use crate::load::plan::{Limits, LoadSpec};
use crate::load::rate::FrameRate;
use crate::load::rx::{self, AnyRx, with_rx};
use crate::load::template::Template;
use crate::load::tx::{self, AnyTx, with_tx};
use crate::ring::budget::MemoryBudget;
use crate::sys::clock::{Clock, SystemClock};
use crate::sys::failure::failed;
use crate::sys::privilege::drop_capabilities;

mod departures;
mod gate;
mod job;
mod latencies;
mod nic_times;
mod outcome;
mod progress;
mod receiver;
mod sender;
mod shared;
mod thread_record;
mod threads;

pub use crate::load::plan::{Drive, LATE_DEPARTURE, LoadPlan, Threads};
pub use crate::load::trace::{Trace, TraceSpec};
pub use departures::Departures;
pub use latencies::Latencies;
pub use nic_times::NicTimes;
pub use outcome::{GeneratorLimit, LoadOutcome, SHORTFALL_MAX, SenderCounts, WarmUp};
pub use progress::Progress;
pub use thread_record::ThreadRecord;

use job::{Job, Received, Worked};
use sender::SenderReport;

/// Departures that are remembered, over all senders: 2^18 to 2^21 (4 to 32 MiB), by the rate.
const DEPARTURES: std::ops::RangeInclusive<usize> = 1 << 18..=1 << 21;

/// A load whose sockets and rings are open.
///
/// [`Load::run`] is a whole run. [`Load::measure`] is one in the calling thread, as often as wanted over
/// the same sockets. [`Load::fill`] sends a burst that is [collected](Filled::collect)
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
            halves.push(tx::open(plan.tx, &plan.spec, &template, sender, budget, &mut notes)?);
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

    /// Sends and receives by turns in the calling thread, which is pinned to the plan's first CPU, if it
    /// has any. What came before is discarded. Errors are those of [`Load::open`] and [`Load::run`].
    pub fn measure(&mut self, drive: Drive, limits: Limits) -> Result<LoadOutcome> {
        self.prepare(drive, limits)?;
        let Load { plan, template, tx, rx, notes } = self;
        let job = Job::new(plan, template, departures(plan), SystemClock);
        let worked = threads::work_here(&job, &mut tx[0], rx)?;
        job.outcome(worked, notes.clone())?.unbroken()
    }

    fn prepare(&mut self, drive: Drive, limits: Limits) -> Result<()> {
        threads::prepare(self.plan.spec.cpus.first().copied())?;
        self.plan.set_drive(drive, limits)?;
        self.rx.discard().map_err(|error| failed("empty the receive ring", &error, ""))
    }

    /// Sends `frames` frames at once, in the calling thread, and receives nothing. Fewer are sent where
    /// the kernel takes none for 1 s or the stop flag is set. The thread is pinned to the plan's first
    /// CPU, if it has any.
    pub fn fill(&mut self, frames: u64) -> Result<Filled<'_>> {
        if frames > NUMBERS_REMEMBERED as u64 {
            let most = NUMBERS_REMEMBERED;
            return Err(Error::Usage(format!("{frames} frames: a burst has at most {most}")));
        }
        self.prepare(Drive::FLOOD, Limits::frames(frames))?;
        let Load { plan, template, tx, rx, .. } = self;
        let job = Job::new(plan, template, frames as usize, SystemClock);
        let start_ns = SystemClock.monotonic_ns();
        let sender = with_tx!(&mut tx[0], half => threads::send_alone(&job, half, 0, start_ns))?;
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
        self.sender.counts.sent
    }

    /// Takes the echoes until all are back or none has come for `quiet`. Those that come before this is
    /// called wait in the receive ring, which must hold them ([`LoadSpec::bursts`]).
    pub fn collect(self, quiet: Duration) -> Result<LoadOutcome> {
        let Filled { job, rx, sender, start_ns } = self;
        let received = with_rx!(rx, half => job.collect(half, quiet));
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

#[cfg(test)]
mod tests;
