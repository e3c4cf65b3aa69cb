//! A whole load: sends to a schedule or as fast as it can, verifies every echo, times each of them.
//!
//! ```text
//!  sender thread(s)                        receiver thread, or the same one by turns
//!  schedule says it is due
//!  template writes the frame  ── kick ──►  kernel ─► device ─► kernel
//!  board: intended, sent ──────────────►   verifier judges it, books time it
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
use crate::load::intake::{self, AnyIntake, Intake, RxChoice};
use crate::load::pace::{Schedule, Share};
use crate::load::plan::LoadConfig;
use crate::load::rate::FrameRate;
use crate::load::report::{LoadReport, Tally};
use crate::load::run_id::{FRAMES_MAX, RunId};
use crate::load::template::Template;
use crate::load::transmit::{CopyTransmit, RingTransmit, Transmit, TxChoice, UmemTransmit};
use crate::load::verify::Verifier;
use crate::ring::budget::MemoryBudget;
use crate::stats::jitter::Jitter;
use crate::sys::clock::{monotonic_ns, set_timer_slack};

mod board;
mod departures;
mod latencies;
mod outcome;
mod plan;
mod receiver;
mod sender;
mod threads;

pub use departures::Departures;
pub use latencies::Latencies;
pub use outcome::{GeneratorLimit, LoadOutcome, SHORTFALL_MAX, WarmUp};
pub use plan::{Drive, LATE_DEPARTURE, LoadPlan, Threads, WINDOW_FRAMES_MAX};

use board::Board;
use receiver::{Books, Receiver};
use sender::{Sender, SenderPlan, SenderReport, Trigger};
use threads::Worked;

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

/// A load.
#[derive(Debug)]
pub struct Load;

impl Load {
    /// Runs `plan`: opens sockets and rings, warms up, measures, drains, and says what it found.
    ///
    /// The calling thread must be in the interface's network namespace. It does none of the work:
    /// it waits for progress reports and gives them to `progress`; a slow `progress` delays nothing
    /// but itself. Usage errors name what cannot be sent; system errors are those of the sockets.
    pub fn run(
        plan: &LoadPlan,
        budget: &Arc<MemoryBudget>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<LoadOutcome> {
        plan.check()?;
        let template = Arc::new(Template::new(&plan.config)?);
        let rate = plan.frame_rate()?;
        let senders = plan.threads.senders();
        let board = Arc::new(Board::new(senders, departures(plan, rate) / senders));
        let mut notes = Vec::new();
        let id = RunId::random();
        let mut verifier = Verifier::of_senders(
            Arc::clone(&template),
            senders,
            NUMBERS_REMEMBERED,
            plan.evidence_max,
        );
        verifier.begin(id);
        let promiscuous = template.flows().need_promiscuous();
        let intake =
            intake::open(plan.receive_half(), &plan.config, promiscuous, budget, &mut notes)?;
        let mut transmits = Vec::new();
        for sender in 0..senders {
            transmits.push(AnyTransmit::open(plan, sender, &template, budget, &mut notes)?);
        }
        notes.dedup();
        let books = Books::new(verifier, &board, plan.late_after, plan.breakdown);
        let job = Job { plan, rate, id, template, board };
        let mut worked = threads::work(&job, transmits, intake, books, progress)?;
        let mut outcome = job.outcome(&mut worked, notes);
        outcome.assert_conserved();
        match job.board.take_failure() {
            Some(failure) if outcome.sent + outcome.warm_up.sent == 0 => return Err(failure),
            failure => outcome.broken = failure.map(|failure| failure.to_string()),
        }
        Ok(outcome)
    }
}

/// How many departures to remember: those of the time after which an echo is late.
fn departures(plan: &LoadPlan, rate: Option<FrameRate>) -> usize {
    let most = rate.map_or(*DEPARTURES.end() as f64 / 2.0, FrameRate::as_f64);
    let late_after = plan.late_after.max(plan.drain).as_secs_f64();
    let wanted = (most * (late_after + 0.1) * 1.2) as usize;
    wanted.clamp(*DEPARTURES.start(), *DEPARTURES.end())
}

/// A TX half that was opened and bound.
enum AnyTransmit {
    Umem(UmemTransmit),
    Ring(RingTransmit),
    Copy(CopyTransmit),
}

impl AnyTransmit {
    fn open(
        plan: &LoadPlan,
        sender: usize,
        template: &Template,
        budget: &Arc<MemoryBudget>,
        notes: &mut Vec<String>,
    ) -> Result<AnyTransmit> {
        let (config, bypass): (&LoadConfig, bool) = (&plan.config, plan.qdisc_bypass);
        let (opened, most) = match plan.transmit_half() {
            TxChoice::Xsk => {
                // A queue serves one AF_XDP socket.
                let umem = UmemTransmit::open(config, sender as u32, budget)?;
                let most = umem.frame_bytes_max();
                (AnyTransmit::Umem(umem), most)
            }
            TxChoice::Ring => {
                let ring = RingTransmit::open(config, bypass, budget, notes)?;
                let most = ring.frame_bytes_max();
                (AnyTransmit::Ring(ring), most)
            }
            choice => {
                let copy = CopyTransmit::open(config, choice == TxChoice::Mmsg, bypass)?;
                let most = copy.frame_bytes_max();
                (AnyTransmit::Copy(copy), most)
            }
        };
        if most < template.longest() {
            return Err(Error::Usage(format!(
                "frames of {} bytes do not fit the TX half's slots of {most}",
                template.longest(),
            )));
        }
        Ok(opened)
    }
}

/// What all threads of a run know.
struct Job<'a> {
    plan: &'a LoadPlan,
    rate: Option<FrameRate>,
    id: RunId,
    template: Arc<Template>,
    board: Arc<Board>,
}

impl Job<'_> {
    fn sender<T: Transmit>(&self, transmit: T, number: usize) -> Sender<T> {
        Sender::new(transmit, number, &self.template, &self.board, &self.plan.config.stop)
    }

    /// What sender `number` has to do in a run that begins at `start_ns`.
    fn sender_plan(&self, number: usize, start_ns: u64) -> SenderPlan {
        let LoadPlan { config, drive, limits, warm_up, threads, .. } = self.plan;
        let senders = threads.senders() as u64;
        let share = Share { first: number as u64, every: senders };
        let trigger = match (drive, self.rate) {
            (Drive::Paced { pattern, .. }, Some(rate)) => {
                Trigger::Schedule(Box::new(Schedule::new(rate, *pattern, share)))
            }
            (Drive::Paced { .. }, None) => Trigger::Always,
            (Drive::Window(frames), _) => {
                Trigger::Window { frames: *frames, give_up_ns: ns(config.answer_timeout) }
            }
        };
        let measure_ns = start_ns.saturating_add(ns(*warm_up));
        let end_ns = limits.duration.map_or(u64::MAX, |time| measure_ns.saturating_add(ns(time)));
        // So many frames in all, whoever sends them.
        let count = limits.count.unwrap_or(u64::MAX);
        let count = if count == u64::MAX { count } else { share.of(count) };
        let (id, batch) = (self.id, config.batch);
        let numbers = share.of(FRAMES_MAX);
        SenderPlan { trigger, share, id, batch, start_ns, measure_ns, end_ns, count, numbers }
    }

    fn outcome(&self, worked: &mut Worked, mut notes: Vec<String>) -> LoadOutcome {
        let Worked { books, senders, latencies, kernel, drained, start_ns } = worked;
        latencies.merge(&books.latencies);
        let mut departures = Departures::default();
        senders.iter().for_each(|sender| departures.merge(&sender.departures));
        let sum = |field: fn(&SenderReport) -> u64| senders.iter().map(field).sum::<u64>();
        let (sent, warm_up) = (sum(|s| s.sent), sum(|s| s.warm_up));
        let (unsent_late, unsent_refused) = (sum(|s| s.unsent_late), sum(|s| s.unsent_refused));
        // Of the senders' next frames the first one ends the span of a count.
        let ends = senders.iter().map(|sender| sender.span_end_ns);
        let scheduled = self.rate.is_some();
        let end_ns = if scheduled { ends.min() } else { ends.max() }.unwrap_or(0);
        let measure_ns = *start_ns + ns(self.plan.warm_up);
        let span_ns = end_ns.max(departures.last_ns).saturating_sub(measure_ns);
        let mut found = LoadReport::default();
        books.verifier.conclude(&mut found);
        let (lost, warm_up_lost) = books.verifier.missing();
        let mut jitter = Jitter::default();
        books.jitters.iter().for_each(|one| jitter.merge(one));
        let latencies = std::mem::take(latencies);
        if sent + warm_up + unsent_refused >= FRAMES_MAX {
            notes.push(format!("it ended after {FRAMES_MAX} frames: there are no more numbers"));
        }
        LoadOutcome {
            run: self.id.run(),
            asked: self.rate,
            offered: sent + unsent_late + unsent_refused,
            sent,
            unsent_late,
            unsent_refused,
            all_sent_bytes: LoadOutcome::with_fcs(sum(|s| s.all_bytes), sent + warm_up),
            span_ns,
            departures,
            tally: *books.verifier.tally(),
            lost,
            reorder_extent_max: books.verifier.reorder_extent_max(),
            latencies,
            untimed: books.untimed,
            jitter,
            warm_up: WarmUp { sent: warm_up, tally: *books.verifier.warm_up(), lost: warm_up_lost },
            kernel: *kernel,
            stamps_ns: books.verifier.stamps_ns(),
            damage: found.damage,
            evidence: books.verifier.take_evidence(),
            drained: *drained,
            stopped: senders.iter().any(|sender| sender.stopped),
            broken: None,
            clock_steps: books.clock_steps,
            halves: (self.plan.transmit_half(), self.plan.receive_half()),
            notes,
        }
    }
}

fn ns(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}
