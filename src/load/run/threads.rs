//! Who does what in which thread, and what the caller hears of it.

use std::sync::atomic::Ordering;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver as ChannelReceiver, Sender as ChannelSender, bounded};

use super::job::{Job, Received, Worked, ns};
use super::latencies::Latencies;
use super::outcome::{SHORTFALL_MAX, TAIL_MAX_NS};
use super::progress::Progress;
use super::receiver::{Analyzer, Receiver};
use super::sender::{self, SenderPlan, SenderReport, Step};
use super::shared::{SenderState, SharedState};
use super::thread_record::Recording;
use crate::error::{Error, Result};
use crate::load::plan::Threads;
use crate::load::rate::FrameRate;
use crate::load::rx::{AnyRx, RxHalf, with_rx};
use crate::load::tx::{AnyTx, TxHalf, with_tx};
use crate::stats::gaps::Gaps;
use crate::sys::clock::{Clock, SystemClock, set_timer_slack};
use crate::sys::privilege::drop_capabilities;

/// Departures nearer than this are waited for by looking at the clock: a sleep may end so much later
/// than asked for.
const SPIN_NS: u64 = 80_000;

/// How much before a departure a sleep is to end.
const WAKE_EARLY_NS: u64 = 50_000;

/// The longest sleep: the stop flag is looked at in between.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// Progress reports that may wait for the caller, and histograms that go round with them.
const REPORTS_WAITING: usize = 2;

/// Sends progress reports and never waits for anybody.
pub(super) struct Reporter {
    due: Option<Due>,
    is_behind: bool,
    interval_ns: u64,
    start_ns: u64,
    next_ns: u64,
    next_check_ns: u64,
    reports: ChannelSender<Progress>,
    empty: ChannelReceiver<Box<Latencies>>,
}

/// What a schedule has due in the measurement.
#[derive(Clone, Copy, Debug)]
struct Due {
    rate: FrameRate,
    measure_ns: u64,
    end_ns: u64,
    count: u64,
}

impl Due {
    fn of<C: Clock + Clone>(job: &Job<'_, C>, start_ns: u64) -> Option<Due> {
        let SenderPlan { measure_ns, end_ns, .. } = job.sender_plan(0, start_ns);
        let count = job.plan.spec.limits.count.unwrap_or(u64::MAX);
        job.plan.rate.map(|rate| Due { rate, measure_ns, end_ns, count })
    }

    /// Whether at `now_ns` so few frames are sent that the run would be generator-limited.
    fn is_missed(&self, shared: &SharedState, now_ns: u64) -> bool {
        let elapsed_ns = now_ns.min(self.end_ns).saturating_sub(self.measure_ns);
        let due = (elapsed_ns as f64 / 1e9 * self.rate.as_f64()).min(self.count as f64);
        let measured = |one: &SenderState| one.taken.get().saturating_sub(one.measured_from.get());
        let missing = due - shared.senders.iter().map(measured).sum::<u64>() as f64;
        let missing_ns = missing / self.rate.as_f64() * 1e9;
        missing > due * SHORTFALL_MAX && missing_ns > TAIL_MAX_NS as f64
    }
}

impl Reporter {
    pub(super) fn new<C: Clock + Clone>(
        job: &Job<'_, C>,
        start_ns: u64,
        reports: ChannelSender<Progress>,
        empty: ChannelReceiver<Box<Latencies>>,
    ) -> Reporter {
        let interval_ns = ns(job.plan.spec.interval).max(1_000_000);
        Reporter {
            due: Due::of(job, start_ns),
            is_behind: false,
            interval_ns,
            start_ns,
            next_ns: start_ns + interval_ns,
            next_check_ns: start_ns,
            reports,
            empty,
        }
    }

    /// Reports if it is time to, and has the receiver check its socket and its clocks once a second.
    /// Whether it did either.
    #[inline]
    fn tick<I: RxHalf, C: Clock>(
        &mut self,
        receiver: &mut Receiver<'_, I, C>,
        shared: &SharedState,
        gaps: &mut Gaps,
        now_ns: u64,
    ) -> Result<bool> {
        receiver.analyzer.trace.look(now_ns);
        let (checks, reports) = (now_ns >= self.next_check_ns, now_ns >= self.next_ns);
        if checks {
            self.next_check_ns = now_ns + receiver.analyzer.check_every_ns();
            receiver.check()?;
        }
        if reports {
            self.report(&mut receiver.analyzer, shared, gaps, now_ns);
        }
        Ok(checks || reports)
    }

    #[cold]
    fn report<C: Clock>(
        &mut self,
        analyzer: &mut Analyzer<C>,
        shared: &SharedState,
        gaps: &mut Gaps,
        now_ns: u64,
    ) {
        while self.next_ns <= now_ns {
            self.next_ns += self.interval_ns;
        }
        if let Some(due) = &self.due
            && !shared.all_done()
        {
            self.is_behind = due.is_missed(shared, now_ns);
        }
        // Without a spare histogram the caller is behind: what is recorded goes into a later one.
        let Ok(empty) = self.empty.try_recv() else { return };
        let progress = Progress {
            elapsed: Duration::from_nanos(now_ns.saturating_sub(self.start_ns)),
            warming_up: shared.senders.iter().all(|sender| sender.measured_from.get() == u64::MAX),
            sent: shared.taken(),
            returned: analyzer.verifier.returned(),
            tally: *analyzer.verifier.tally(),
            is_behind: self.is_behind,
            interval: std::mem::replace(&mut analyzer.latencies, empty),
            gaps: gaps.take_recent(),
            threads: Vec::new(),
        };
        // There is room: as many reports may wait as there are histograms.
        let _ = self.reports.try_send(progress);
    }
}

/// Starts the threads, listens to their progress, and gathers what they leave.
pub(super) fn work(
    job: &Job<'_, SystemClock>,
    tx: Vec<AnyTx>,
    rx: AnyRx,
    analyzer: Analyzer<SystemClock>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Worked<SystemClock>> {
    let (reports, heard) = bounded(REPORTS_WAITING);
    let (give_back, empty) = bounded(REPORTS_WAITING);
    (0..REPORTS_WAITING).for_each(|_| drop(give_back.try_send(Box::default())));
    let mut latencies = Latencies::default();
    thread::scope(|scope| {
        let cpu_of = |number: usize| {
            let cpus = &job.plan.spec.cpus;
            (!cpus.is_empty()).then(|| cpus[number % cpus.len()])
        };
        let mut sending: Vec<ScopedJoinHandle<'_, Result<SenderReport>>> = Vec::new();
        let receiving = match job.plan.spec.threads {
            Threads::Together => {
                let (mut tx, mut rx) = (tx, rx);
                let cpu = cpu_of(0);
                scope.spawn(move || {
                    let start_ns = begin_thread(job, cpu)?;
                    let reporter = Reporter::new(job, start_ns, reports, empty);
                    together(job, &mut tx[0], &mut rx, analyzer, reporter)
                })
            }
            Threads::Apart { .. } => {
                let receiver_cpu = cpu_of(tx.len());
                for (number, mut tx) in tx.into_iter().enumerate() {
                    let cpu = cpu_of(number);
                    sending.push(scope.spawn(move || {
                        let _done = DoneAtLast(&job.shared, number);
                        let start_ns = begin_thread(job, cpu)?;
                        with_tx!(&mut tx, half => send_alone(job, half, number, start_ns))
                    }));
                }
                let mut rx = rx;
                scope.spawn(move || {
                    let _failed = FailedAtLast(&job.shared);
                    let start_ns = begin_thread(job, receiver_cpu)?;
                    let reporter = Reporter::new(job, start_ns, reports, empty);
                    with_rx!(&mut rx, half => receive_alone(job, half, analyzer, reporter))
                })
            }
        };
        // Ends when the receiving thread does, which has the only sender.
        for mut report in heard {
            // The last of the threads reports.
            let reporting = job.plan.spec.threads.count() - 1;
            report.threads = job.shared.threads.recent(reporting, report.gaps);
            progress(&report);
            latencies.merge(&report.interval);
            let mut interval = report.interval;
            interval.reset();
            let _ = give_back.try_send(interval);
        }
        let joined = |result: thread::Result<Result<Received<SystemClock>>>| {
            result.map_err(|_| Error::Run("the generator's receiving thread panicked".into()))?
        };
        let received = joined(receiving.join());
        let mut senders = Vec::new();
        for handle in sending {
            let report = handle.join();
            let panicked = |_| Error::Run("a sending thread of the generator panicked".into());
            senders.push(report.map_err(panicked)?);
        }
        // A sender's error is the cause of what its receiver saw.
        let mut senders = senders.into_iter().collect::<Result<Vec<_>>>()?;
        let received = received?;
        senders.extend(received.sender);
        let Received { analyzer, kernel, drained, .. } = received;
        let start_ns = job.gate.start_ns();
        Ok(Worked { analyzer, senders, latencies, kernel, drained, start_ns })
    })
}

/// Does it all in the calling thread; nobody hears of progress.
pub(super) fn work_here(
    job: &Job<'_, SystemClock>,
    tx: &mut AnyTx,
    rx: &mut AnyRx,
) -> Result<Worked<SystemClock>> {
    let ((reports, _), (_, empty)) = (bounded(0), bounded(0));
    let start_ns = SystemClock.monotonic_ns();
    let reporter = Reporter::new(job, start_ns, reports, empty);
    let Received { analyzer, kernel, drained, sender } =
        together(job, tx, rx, job.analyzer(), reporter)?;
    let senders = sender.into_iter().collect();
    Ok(Worked { analyzer, senders, latencies: Latencies::default(), kernel, drained, start_ns })
}

/// Whatever becomes of a sender, nobody waits for it for ever.
struct DoneAtLast<'a>(&'a SharedState, usize);

impl Drop for DoneAtLast<'_> {
    fn drop(&mut self) {
        self.0.senders[self.1].finish();
    }
}

/// Whatever becomes of the receiver, nobody sends for ever.
struct FailedAtLast<'a>(&'a SharedState);

impl Drop for FailedAtLast<'_> {
    fn drop(&mut self) {
        self.0.receiver.failed.store(true, Ordering::Release);
    }
}

/// Sets a thread of its own up, whose sockets are open, so that it needs no capability; gives the start of
/// the run once all threads are ready.
fn begin_thread(job: &Job<'_, SystemClock>, cpu: Option<usize>) -> Result<u64> {
    let place = job.gate.place();
    let ready = drop_capabilities().and_then(|()| prepare(cpu));
    // The others hear of a failure before they begin.
    let failed = || job.shared.receiver.failed.store(true, Ordering::Release);
    ready.inspect_err(|_| failed())?;
    Ok(place.ready())
}

/// Pins the calling thread where asked for, and has it sleep as exactly as the kernel can.
pub(super) fn prepare(cpu: Option<usize>) -> Result<()> {
    set_timer_slack(1);
    cpu.map_or(Ok(()), crate::sys::cpus::pin)
}

fn together(
    job: &Job<'_, SystemClock>,
    tx: &mut AnyTx,
    rx: &mut AnyRx,
    analyzer: Analyzer<SystemClock>,
    reporter: Reporter,
) -> Result<Received<SystemClock>> {
    with_tx!(tx, tx => with_rx!(rx, rx => by_turns(job, tx, rx, analyzer, reporter)))
}

/// Sends and receives by turns in the calling thread.
pub(super) fn by_turns<T: TxHalf, I: RxHalf, C: Clock + Clone>(
    job: &Job<'_, C>,
    tx: &mut T,
    rx: &mut I,
    analyzer: Analyzer<C>,
    mut reporter: Reporter,
) -> Result<Received<C>> {
    let mut sender = job.sender(tx, 0, job.sender_plan(0, reporter.start_ns));
    let mut receiver = Receiver::new(rx, analyzer);
    let spin_ns = ns(job.plan.spec.spin);
    let mut recording = job.recording(0);
    loop {
        let now_ns = job.clock.monotonic_ns();
        if recording.gaps.looked(now_ns) {
            receiver.analyzer.gap_end_ns = now_ns;
        }
        let step = sender.step(now_ns);
        let received = receiver.step();
        let told = reporter.tick(&mut receiver, &job.shared, &mut recording.gaps, now_ns);
        let all = step.and_then(|step| Ok((step, received? | told?)));
        let Some((step, was_busy)) = job.shared.keep(all) else {
            sender.stop(now_ns);
            break;
        };
        let idle_until_ns = match step {
            Step::Done => break,
            Step::Sent => continue,
            _ if was_busy => continue,
            Step::IdleUntil(next_ns) => next_ns,
            // The window's time-out is far longer.
            Step::Awaiting => u64::MAX,
        };
        // An answer that is still awaited is found sooner by looking than by sleeping.
        let answer_near =
            now_ns.saturating_sub(sender.last_sent_ns()) < spin_ns && receiver.unanswered() > 0;
        if answer_near || idle_until_ns.saturating_sub(now_ns) < SPIN_NS {
            if sender.is_empty() {
                recording.gaps.was_idle(now_ns);
            }
            std::hint::spin_loop();
        } else {
            let wake_ns = idle_until_ns.min(reporter.next_ns).saturating_sub(WAKE_EARLY_NS);
            let waited = receiver.wait(sender::until(wake_ns, now_ns).min(SLEEP_MAX));
            if job.shared.keep(waited).is_none() {
                sender.stop(now_ns);
                break;
            }
        }
    }
    let sent = sender.finish();
    let mut received = finish(job, receiver, reporter, recording)?;
    received.sender = Some(sent);
    Ok(received)
}

/// Sends in the calling thread; another one receives.
pub(super) fn send_alone<T: TxHalf, C: Clock + Clone>(
    job: &Job<'_, C>,
    tx: &mut T,
    number: usize,
    start_ns: u64,
) -> Result<SenderReport> {
    let mut sender = job.sender(tx, number, job.sender_plan(number, start_ns));
    let mut recording = job.recording(number);
    loop {
        let now_ns = job.clock.monotonic_ns();
        recording.gaps.looked(now_ns);
        if job.shared.receiver.failed.load(Ordering::Relaxed) {
            sender.stop(now_ns);
            break;
        }
        let idle_until_ns = match job.shared.keep(sender.step(now_ns)) {
            Some(Step::Done) => break,
            None | Some(Step::Sent) => continue,
            Some(Step::IdleUntil(next_ns)) => next_ns,
            Some(Step::Awaiting) => now_ns,
        };
        if idle_until_ns.saturating_sub(now_ns) < SPIN_NS {
            if sender.is_empty() {
                recording.gaps.was_idle(now_ns);
            }
            std::hint::spin_loop();
        } else {
            let wake_ns = idle_until_ns.saturating_sub(WAKE_EARLY_NS);
            job.clock.sleep(sender::until(wake_ns, now_ns).min(SLEEP_MAX));
        }
    }
    Ok(sender.finish())
}

/// Receives in the calling thread; others send.
pub(super) fn receive_alone<I: RxHalf, C: Clock + Clone>(
    job: &Job<'_, C>,
    rx: &mut I,
    analyzer: Analyzer<C>,
    mut reporter: Reporter,
) -> Result<Received<C>> {
    let mut receiver = Receiver::new(rx, analyzer);
    // A receiver that shares its CPU with a sender must not spin on it.
    let cpus = &job.plan.spec.cpus;
    let has_own_cpu = cpus.len() > job.plan.spec.threads.senders();
    let spin_ns = if has_own_cpu { ns(job.plan.spec.spin) } else { 0 };
    let mut recording = job.recording(job.plan.spec.threads.senders());
    let mut last_ns = 0;
    while !job.shared.all_done() {
        let now_ns = job.clock.monotonic_ns();
        if recording.gaps.looked(now_ns) {
            receiver.analyzer.gap_end_ns = now_ns;
        }
        let told = reporter.tick(&mut receiver, &job.shared, &mut recording.gaps, now_ns);
        let all = receiver.step().and_then(|received| Ok((received, told?)));
        match job.shared.keep(all) {
            // The senders have yet to see that it is over.
            None => job.clock.sleep(Duration::from_millis(1)),
            Some((true, _)) => last_ns = now_ns,
            Some((false, told)) if now_ns.saturating_sub(last_ns) < spin_ns => {
                if !told {
                    recording.gaps.was_idle(now_ns);
                }
                std::hint::spin_loop();
            }
            Some((false, _)) => {
                job.shared.keep(receiver.wait(Duration::from_millis(1)));
            }
        }
    }
    finish(job, receiver, reporter, recording)
}

fn finish<I: RxHalf, C: Clock + Clone>(
    job: &Job<'_, C>,
    mut receiver: Receiver<'_, I, C>,
    mut reporter: Reporter,
    mut recording: Recording<'_>,
) -> Result<Received<C>> {
    let stop = &job.plan.spec.stop;
    // Who ends the sending wants to know what becomes of what was sent; who stops it after that does
    // not want to wait.
    let was_stopped = stop.load(Ordering::Relaxed);
    let quiet = job.plan.spec.quiet.unwrap_or(job.plan.spec.drain);
    let drained = job.drain(&mut receiver, quiet, |receiver, now_ns| {
        reporter.tick(receiver, &job.shared, &mut recording.gaps, now_ns)?;
        Ok(was_stopped || !stop.load(Ordering::Relaxed))
    });
    let Receiver { analyzer, kernel, .. } = receiver;
    Ok(Received { analyzer, kernel, drained, sender: None })
}
