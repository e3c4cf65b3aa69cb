//! The generator: one thread that sends and receives.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::ledger::NUMBERS_REMEMBERED;
use super::line::{Line, SocketLine};
use super::plan::LoadConfig;
use super::report::LoadReport;
use super::round_trips::RoundTrips;
use super::run_id::RunId;
use super::template::Template;
use super::verify::{Taken, Verifier};
use crate::error::{Error, Result};
use crate::ring::block::Malformed;
use crate::ring::budget::MemoryBudget;
use crate::ring::frame::RxFrame;
use crate::ring::setup::{RxRing, RxRingSocket, TxRingSocket};
use crate::ring::tx::TxRing;
use crate::stats::counters::KernelCounters;
use crate::sys::clock;
use crate::sys::failure::{failed, is_refused_for_now};
use crate::sys::filter::Wanted;
use crate::sys::interface::called;
use crate::sys::packet::{ALL_PROTOCOLS, RingVersion};

mod runs;

pub use runs::WINDOW_MAX;

/// Blocks or runs of frames taken before the sending goes on.
const LOANS_AT_ONCE: usize = 16;
/// Frames that a lent V3 block of the shortest frames holds at most, by default.
const ANSWERS_AT_ONCE: usize = 4096;
/// How long to look for duplicates after everything is back.
const LINGER: Duration = Duration::from_millis(5);
/// A count-limited run ends when the kernel takes nothing for so long.
const STALL: Duration = Duration::from_secs(1);
/// Send buffer to ask for: a busy interface holds many frames, and the kernel charges each with
/// about a kilobyte. Best effort; the kernel caps it.
const SEND_BUFFER_BYTES: usize = 4 << 20;

/// Sends numbered frames and verifies their echoes, in the calling thread.
///
/// It keeps its socket and rings over many runs. Each run has a number of its own, so that a
/// straggler of the run before is foreign to it, and begins with empty rings.
///
/// [`flood`](Generator::flood), [`window`](Generator::window) and
/// [`ping_pong`](Generator::ping_pong) are whole runs. To measure how fast an engine empties its
/// ring, fill it while it is paused with [`send_burst`](Generator::send_burst), resume it, and
/// [`collect`](Generator::collect): the report's
/// [`arrival_pps`](LoadReport::arrival_pps) is the rate.
#[derive(Debug)]
pub struct Generator<L = SocketLine> {
    line: L,
    receive: RxRing,
    transmit: TxRing,
    template: Arc<Template>,
    verifier: Verifier,
    round_trips: RoundTrips,
    /// Whether round trips are recorded in this run.
    timed: bool,
    /// How long after the last frame an open V3 block is still the kernel's.
    retire: Duration,
    refusals: u64,
    unsent: u64,
    kernel: KernelCounters,
    first_kick_ns: u64,
    last_kick_ns: u64,
    batch: usize,
    spin: Duration,
    pause_max: Duration,
    answer_timeout: Duration,
    quiet: Duration,
    stop: Arc<AtomicBool>,
    notes: Vec<String>,
}

impl Generator {
    /// Opens the rings on the interface and, if asked to, pins the calling thread.
    ///
    /// The thread must be in the interface's network namespace. Usage errors name what cannot be
    /// sent or pinned; system errors are those of the socket and its rings.
    pub fn open(config: &LoadConfig, budget: &Arc<MemoryBudget>) -> Result<Generator> {
        let template = Template::new(config)?;
        if let Some(cpu) = config.cpu
            && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
        {
            return Err(Error::Usage(format!("the generator cannot be pinned to CPU {cpu}")));
        }
        let wanted =
            Wanted { ether_types: vec![config.carriage.ether_type().0], tagged: true }.program();
        let receive =
            RxRingSocket::open(config.version, config.receive, config.mtu, &wanted, budget)?;
        let transmit = TxRingSocket::open(RingVersion::V2, config.transmit, config.mtu, budget)?;
        let interface = config.interface;
        receive.socket.ignore_outgoing()?;
        // The default holds fewer frames than a ring; less than was asked for is no error.
        let _ = transmit.socket.set_send_buffer(SEND_BUFFER_BYTES);
        for (socket, protocol) in [(&*receive.socket, ALL_PROTOCOLS), (&transmit.socket, 0)] {
            socket.bind(interface, protocol).map_err(|error| {
                failed(format!("bind the generator's socket to {}", called(interface)), &error, "")
            })?;
        }
        let retire = Duration::from_millis(receive.geometry.retire_ms().into());
        let line = SocketLine::new(receive.socket, config.version, transmit.socket);
        let mut generator = Generator::over(line, receive.ring, transmit.ring, template, config)?;
        (generator.retire, generator.notes) = (retire, [receive.notes, transmit.notes].concat());
        Ok(generator)
    }

    /// Sentences for the user where the rings came out otherwise than asked for.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl<L: Line> Generator<L> {
    /// A generator over a line and rings that are there already.
    pub fn over(
        line: L,
        receive: RxRing,
        transmit: TxRing,
        template: Template,
        config: &LoadConfig,
    ) -> Result<Generator<L>> {
        if transmit.slot_capacity() < template.longest() {
            return Err(Error::Usage(format!(
                "frames of {} bytes do not fit the TX ring's slots of {}",
                template.longest(),
                transmit.slot_capacity(),
            )));
        }
        let template = Arc::new(template);
        Ok(Generator {
            line,
            receive,
            transmit,
            verifier: Verifier::new(Arc::clone(&template), NUMBERS_REMEMBERED),
            template,
            round_trips: RoundTrips::new(ANSWERS_AT_ONCE),
            timed: false,
            retire: Duration::ZERO,
            refusals: 0,
            unsent: 0,
            kernel: KernelCounters::default(),
            first_kick_ns: 0,
            last_kick_ns: 0,
            batch: config.batch,
            spin: config.spin,
            pause_max: config.pause_max,
            answer_timeout: config.answer_timeout,
            quiet: config.quiet,
            stop: Arc::clone(&config.stop),
            notes: Vec::new(),
        })
    }

    /// The flag that ends the sending of a run early.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Starts a run: empties the rings and counts from zero under a new number.
    fn begin(&mut self, timed: bool) -> Result<()> {
        self.transmit.withdraw();
        self.discard_received();
        if !self.retire.is_zero() {
            // Frames of the run before may be in a block that the kernel still holds open.
            clock::sleep(self.retire * 2);
            self.discard_received();
        }
        self.take_counters()?;
        self.kernel = KernelCounters::default();
        self.verifier.begin(RunId::random());
        self.round_trips.latency.reset();
        self.timed = timed;
        (self.refusals, self.unsent) = (0, 0);
        (self.first_kick_ns, self.last_kick_ns) = (0, 0);
        Ok(())
    }

    fn discard_received(&mut self) {
        match &mut self.receive {
            RxRing::V3(ring) => while ring.lend().is_some() {},
            RxRing::V2(ring) => {
                while let Some(mut run) = ring.lend() {
                    run.frames().for_each(drop);
                }
            }
        }
    }

    /// Writes up to `wanted` frames, as many as have room, and returns their numbers.
    #[inline]
    fn fill(&mut self, wanted: usize) -> Range<u64> {
        let first = self.verifier.ledger().handed_out();
        let id = self.verifier.id();
        for _ in 0..wanted {
            let Some(mut slot) = self.transmit.reserve() else { break };
            let sequence = self.verifier.ledger().hand_out();
            let length = self.template.write(slot.bytes(), id, sequence);
            // LoadConfig::check asked the same rule about every size.
            slot.commit(length).expect("a frame that the kernel takes");
        }
        first..self.verifier.ledger().handed_out()
    }

    /// Makes the kernel look; returns how many frames it took since the last time. An error is one
    /// that trying again does not mend.
    #[inline]
    fn kick(&mut self) -> Result<u64> {
        if let Err(error) = self.line.kick() {
            if !is_refused_for_now(&error) {
                let advice = "is the interface still there, and in this namespace?";
                return Err(failed("send the generator's frames", &error, advice));
            }
            self.refusals += 1;
        }
        Ok(self.transmit.settle().frames)
    }

    /// Takes and verifies what has arrived, a bounded amount; returns how many numbers settled.
    #[inline]
    fn receive(&mut self) -> u64 {
        let Generator { receive, verifier, round_trips, timed, .. } = self;
        let before = verifier.tally().returned();
        match receive {
            RxRing::V3(ring) => {
                for _ in 0..LOANS_AT_ONCE {
                    let Some(mut block) = ring.lend() else { break };
                    absorb(block.frames(), verifier, round_trips, *timed);
                }
            }
            RxRing::V2(ring) => {
                for _ in 0..LOANS_AT_ONCE {
                    let Some(mut run) = ring.lend() else { break };
                    absorb(run.frames(), verifier, round_trips, *timed);
                }
            }
        }
        verifier.tally().returned() - before
    }

    /// Sleeps until something arrives or `timeout` is over.
    fn wait(&mut self, timeout: Duration) -> Result<()> {
        // The time-out counts in whole milliseconds.
        let timeout = timeout.max(Duration::from_millis(1));
        match self.line.wait_readable(timeout) {
            Ok(_) => Ok(()),
            Err(error) => Err(failed("wait for echoes", &error, "")),
        }
    }

    fn take_counters(&mut self) -> Result<()> {
        let counters = self
            .line
            .take_counters()
            .map_err(|error| failed("read the generator's socket statistics", &error, ""))?;
        self.kernel += &counters;
        Ok(())
    }

    /// Ends the sending: what the kernel has not taken by now is taken back.
    fn end_sending(&mut self) {
        (self.unsent, _) = self.transmit.withdraw();
        self.verifier.ledger().take_back(self.unsent);
        self.verifier.end_sending(clock::realtime_ns());
    }

    /// Takes frames until all numbers are back or none has come for `quiet`.
    fn drain(&mut self, quiet: Duration) -> Result<()> {
        let mut last_ns = clock::monotonic_ns();
        loop {
            if self.receive() > 0 {
                last_ns = clock::monotonic_ns();
                continue;
            }
            let sent = self.verifier.ledger().handed_out();
            let all_back = self.verifier.tally().returned() >= sent;
            let patience = if all_back { LINGER + self.retire * 2 } else { quiet };
            let elapsed = Duration::from_nanos(clock::monotonic_ns().saturating_sub(last_ns));
            let Some(left) = patience.checked_sub(elapsed) else { return Ok(()) };
            self.wait(left)?;
        }
    }

    fn conclude(&mut self) -> Result<LoadReport> {
        self.take_counters()?;
        let mut report = LoadReport {
            sending_ns: self.last_kick_ns.saturating_sub(self.first_kick_ns),
            kernel: self.kernel,
            refusals: self.refusals,
            unsent: self.unsent,
            rtt: self.round_trips.latency.clone(),
            ..LoadReport::default()
        };
        self.verifier.conclude(&mut report);
        report.assert_conserved();
        Ok(report)
    }
}

/// Verifies the frames of one loan and, in a timed run, records when their answers were held.
#[inline]
fn absorb<'a>(
    frames: impl Iterator<Item = std::result::Result<RxFrame<'a>, Malformed>>,
    verifier: &mut Verifier,
    round_trips: &mut RoundTrips,
    timed: bool,
) {
    for frame in frames {
        match frame {
            Ok(frame) => {
                let taken = verifier.take(&frame.meta, frame.bytes());
                if timed && let Taken::Intact(number) = taken {
                    round_trips.note_answer(number, verifier.ledger().handed_out());
                }
            }
            Err(malformed) => verifier.take_malformed(malformed.frames),
        }
    }
    if round_trips.has_answers() {
        round_trips.record(clock::monotonic_ns());
    }
}

#[cfg(test)]
mod tests;
