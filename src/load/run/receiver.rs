//! The receiver: verifies what comes back and times it.

use std::sync::Arc;
use std::time::Duration;

use super::latencies::Latencies;
use super::nic_times::NicClock;
use super::shared::SharedState;
use crate::error::Result;
use crate::load::rx::{RxHalf, RxSocket, Sink};
use crate::load::trace::{Trace, TraceSpec};
use crate::load::verify::{Taken, Verifier};
use crate::ring::frame::FrameMeta;
use crate::stats::counters::KernelCounters;
use crate::stats::jitter::Jitter;
use crate::sys::clock::{Clock, realtime_offset_of};
use crate::sys::failure::failed;

/// Batches taken before the sending goes on.
const BATCHES_AT_ONCE: usize = 16;

/// How long to look for duplicates after everything is back.
const LINGER: Duration = Duration::from_millis(5);

/// Time between two looks at the socket's counters, which have 32 bits and begin again with each look (they
/// would overflow after 28 s at the line rate of 100 Gbit/s), and at the clocks.
const CHECK_NS: u64 = 1_000_000_000;
/// The same with the device's clock, which drifts by up to 50 µs a second.
const NIC_CHECK_NS: u64 = 20_000_000;

/// A change of the offset between the clocks beyond what measuring it can be wrong by.
const CLOCK_STEP_NS: u64 = 100_000;

/// Receiver state without the socket: all that a received frame changes.
pub(super) struct Analyzer<C> {
    clock: C,
    pub verifier: Verifier,
    pub latencies: Box<Latencies>,
    /// One for each sender.
    pub jitters: Box<[Jitter]>,
    /// Intact frames so old that their departure was forgotten: in no histogram.
    pub untimed: u64,
    /// When the last gap of this thread's time ended.
    pub gap_end_ns: u64,
    /// Each echo's arrival, where asked for.
    pub trace: Trace,
    shared: Arc<SharedState>,
    late_after_ns: u64,
    breakdown: bool,
    /// What to take from a kernel stamp to get a time on `CLOCK_MONOTONIC`.
    offset_ns: i64,
    /// The device's stamps, where they are to be had.
    pub nic: Option<NicClock>,
    /// Times that somebody set the clock of the kernel's stamps.
    pub clock_steps: u64,
    /// When the batch at hand was lent, or later if a frame came later.
    now_ns: u64,
}

/// The receiving side of a run.
pub(super) struct Receiver<'r, I, C> {
    rx: &'r mut I,
    pub analyzer: Analyzer<C>,
    pub kernel: KernelCounters,
}

impl<C: Clock> Analyzer<C> {
    pub fn new(
        verifier: Verifier,
        shared: &Arc<SharedState>,
        late_after: Duration,
        breakdown: bool,
        trace: &TraceSpec,
        clock: C,
    ) -> Analyzer<C> {
        let senders = shared.senders.len();
        let offset_ns = realtime_offset_of(&clock);
        Analyzer {
            clock,
            verifier,
            latencies: Box::default(),
            jitters: vec![Jitter::default(); senders].into(),
            gap_end_ns: 0,
            untimed: 0,
            trace: Trace::new(trace),
            shared: Arc::clone(shared),
            late_after_ns: late_after.as_nanos().try_into().unwrap_or(u64::MAX),
            breakdown,
            offset_ns,
            nic: None,
            clock_steps: 0,
            now_ns: 0,
        }
    }

    /// Measures the offset between the clocks again.
    pub fn check_clocks(&mut self) {
        let offset_ns = realtime_offset_of(&self.clock);
        self.clock_steps += u64::from(offset_ns.abs_diff(self.offset_ns) > CLOCK_STEP_NS);
        self.offset_ns = offset_ns;
        if let Some(nic) = &mut self.nic {
            nic.check();
        }
    }

    /// How long the clocks may go unchecked: those of a device and of the system drift apart.
    pub fn check_every_ns(&self) -> u64 {
        if self.nic.is_some() { NIC_CHECK_NS } else { CHECK_NS }
    }

    /// A stamp on `CLOCK_REALTIME` on `CLOCK_MONOTONIC`; 0 for none.
    #[inline]
    fn monotonic_ns(&self, realtime_ns: u64) -> u64 {
        if realtime_ns == 0 { 0 } else { realtime_ns.saturating_add_signed(-self.offset_ns) }
    }

    #[inline]
    fn time(&mut self, number: u64, (kernel_ns, nic_ns): (u64, u64), is_intact: bool) {
        let received_ns = if kernel_ns == 0 { nic_ns } else { kernel_ns };
        let (sender, own) = self.verifier.place_of(number);
        let departure = self.shared.senders[sender].departure_of(own);
        if is_intact {
            self.trace.arrived(received_ns, number, departure.map_or(0, |(_, sent_ns)| sent_ns));
        }
        let Some((intended_ns, sent_ns)) = departure else {
            self.untimed += u64::from(is_intact);
            return self.verifier.note_late(number);
        };
        let service_ns = self.now_ns.saturating_sub(sent_ns);
        if service_ns > self.late_after_ns {
            self.verifier.note_late(number);
        }
        if !is_intact || own < self.verifier.ledger_of(sender).measured_from() {
            return;
        }
        let latencies = &mut *self.latencies;
        latencies.response.record_between(intended_ns, self.now_ns);
        latencies.service.record(service_ns);
        if self.breakdown && intended_ns >= self.gap_end_ns {
            latencies.untouched.record_between(intended_ns, self.now_ns);
        }
        let mut transit_ns = service_ns;
        if received_ns != 0 {
            // The offset is right to some tens of nanoseconds, so either part may be as far below
            // zero: that is zero.
            transit_ns = received_ns.saturating_sub(sent_ns);
            if self.breakdown && kernel_ns != 0 {
                latencies.until_kernel.record(transit_ns);
                latencies.in_ring.record(self.now_ns.saturating_sub(received_ns));
            }
        }
        self.jitters[sender].record(transit_ns);
        if let Some(nic) = &mut self.nic {
            nic.times.record(sent_ns, nic_ns, kernel_ns, self.now_ns);
        }
    }

    /// Takes over what the senders have announced.
    fn read_shared(&mut self) {
        for (sender, shared) in self.shared.senders.iter().enumerate() {
            // In this order: the first number that is measured is said before it is handed out.
            let handed_out = shared.handed_out.get();
            let ledger = self.verifier.ledger_of(sender);
            ledger.set_measured_from(shared.measured_from.get());
            ledger.hand_out_until(handed_out);
        }
    }
}

impl<C: Clock> Sink for Analyzer<C> {
    #[inline]
    fn begin(&mut self) {
        self.now_ns = self.clock.monotonic_ns();
        self.read_shared();
    }

    #[inline]
    fn frame(&mut self, meta: &FrameMeta, bytes: &[u8]) {
        let kernel_ns = self.monotonic_ns(meta.stamp_ns);
        let nic_ns = self.nic.as_ref().map_or(0, |nic| nic.realtime_ns(meta.nic_ns));
        let stamps = (kernel_ns, self.monotonic_ns(nic_ns));
        // A V2 ring shows frames that came while those before them were looked at.
        if stamps.0.max(stamps.1) > self.now_ns {
            self.begin();
        }
        let mut taken = self.verifier.take_if_sent(meta, bytes);
        if taken == Taken::NeverSent {
            self.read_shared();
            taken = self.verifier.take(meta, bytes);
        }
        match taken {
            Taken::Intact(number) => self.time(number, stamps, true),
            Taken::Damaged(number) => self.time(number, stamps, false),
            Taken::Beside | Taken::NeverSent => {}
        }
    }

    fn malformed(&mut self, frames: u32) {
        self.verifier.take_malformed(frames);
    }
}

impl<'r, I: RxHalf, C: Clock> Receiver<'r, I, C> {
    pub fn new(rx: &'r mut I, analyzer: Analyzer<C>) -> Receiver<'r, I, C> {
        Receiver { rx, analyzer, kernel: KernelCounters::default() }
    }

    /// Takes and verifies what has arrived, a bounded amount; whether anything had.
    #[inline]
    pub fn step(&mut self) -> Result<bool> {
        for batch in 0..BATCHES_AT_ONCE {
            let took = self.rx.take(&mut self.analyzer);
            if !took.map_err(|error| failed("receive echoes", &error, ""))? {
                if batch > 0 {
                    self.publish();
                }
                return Ok(batch > 0);
            }
        }
        self.publish();
        Ok(true)
    }

    #[inline]
    fn publish(&self) {
        let returned = self.analyzer.verifier.returned();
        self.analyzer.shared.receiver.returned.set(returned);
    }

    /// Frames that the kernel took and that are not back, those of the warm-up included.
    #[inline]
    pub fn unanswered(&self) -> u64 {
        self.analyzer.shared.taken().saturating_sub(self.analyzer.verifier.returned())
    }

    /// Sleeps until something arrives or `timeout` is over.
    pub fn wait(&mut self, timeout: Duration) -> Result<()> {
        self.rx.socket().wait(timeout).map_err(|error| failed("wait for echoes", &error, ""))
    }

    /// All senders are done: takes echoes until all are back and 5 ms more, for duplicates, until none
    /// has come for `quiet`, or until `longest` is over. `go_on` is asked now and then, given the time.
    /// Returns how long it took.
    pub fn drain(
        &mut self,
        longest: Duration,
        quiet: Duration,
        retire: Duration,
        mut go_on: impl FnMut(&mut Self, u64) -> Result<bool>,
    ) -> Result<Duration> {
        self.analyzer.read_shared();
        for sender in 0..self.analyzer.shared.senders.len() {
            let shared = &self.analyzer.shared.senders[sender];
            let never_sent = shared.handed_out.get() - shared.taken.get();
            self.analyzer.verifier.ledger_of(sender).take_back(never_sent);
        }
        let begin_ns = self.analyzer.clock.monotonic_ns();
        let mut last_ns = begin_ns;
        loop {
            let took = self.step()?;
            let now_ns = self.analyzer.clock.monotonic_ns();
            let elapsed = Duration::from_nanos(now_ns.saturating_sub(begin_ns));
            if !go_on(self, now_ns)? {
                return Ok(elapsed);
            }
            if took {
                last_ns = now_ns;
                if elapsed < longest {
                    continue;
                }
            }
            let all_back = self.unanswered() == 0;
            let silence = Duration::from_nanos(now_ns.saturating_sub(last_ns));
            let patience = if all_back { LINGER + retire * 2 } else { quiet };
            let left = longest.saturating_sub(elapsed).min(patience.saturating_sub(silence));
            if left.is_zero() {
                return Ok(elapsed);
            }
            self.wait(left.min(Duration::from_millis(10)))?;
        }
    }

    /// Adds what the kernel counted for the socket, and measures the offset between the clocks again.
    pub fn check(&mut self) -> Result<()> {
        self.analyzer.check_clocks();
        self.rx
            .accumulate(&mut self.kernel)
            .map_err(|error| failed("read the generator's socket statistics", &error, ""))
    }
}
