//! What a load found.

use std::fmt;
use std::time::Duration;

use super::departures::Departures;
use super::latencies::Latencies;
use super::nic_times::NicTimes;
use super::thread_record::ThreadRecord;
use crate::error::{Error, Result};
use crate::load::evidence::{Damage, Evidence};
use crate::load::rate::FrameRate;
use crate::load::rx::RxChoice;
use crate::load::trace::Trace;
use crate::load::tx::TxChoice;
use crate::load::verify::Hops;
use crate::stats::counters::{KernelCounters, Tally};
use crate::stats::jitter::Jitter;
use crate::units::FCS_BYTES;

/// An achieved rate further below the asked one than this part makes a run generator-limited.
pub const SHORTFALL_MAX: f64 = 0.001;

/// A last frame that leaves no later than this after its time does not make a run generator-limited,
/// however short the run is.
pub(super) const TAIL_MAX_NS: u64 = 1_000_000;

/// Why a generator did not reach the rate that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratorLimit {
    /// Its CPU had too much to do, or was taken away.
    Busy,
    /// The kernel refused frames: a full queue or buffer (ENOBUFS, EAGAIN), or a link that is down.
    Refused,
}

impl fmt::Display for GeneratorLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GeneratorLimit::Busy => "its CPU could not keep the schedule",
            GeneratorLimit::Refused => "the kernel refused frames",
        })
    }
}

/// Frames of the warm-up, which count nowhere else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WarmUp {
    /// Frames that the kernel took.
    pub sent: u64,
    /// What came back of them.
    pub tally: Tally,
    /// What did not.
    pub lost: u64,
}

/// What one sender did with its share of the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SenderCounts {
    /// Frames of the measurement that the kernel took.
    pub sent: u64,
    /// Frames that were not even prepared when the time was over.
    pub unsent_late: u64,
    /// Frames that were prepared and that the kernel had not taken by then.
    pub unsent_refused: u64,
    /// Frames of the warm-up that the kernel took.
    pub warm_up_sent: u64,
}

/// What a load sent and what came back. All counts and times are of the measurement; what happened
/// in the warm-up stands apart.
#[derive(Clone, Debug, Default)]
pub struct LoadOutcome {
    /// The rate that was asked for; `None` without a schedule.
    pub asked: Option<FrameRate>,
    /// Frames that were to be sent: all that the schedule had due in the time, or what was prepared
    /// where there is no schedule.
    pub offered: u64,
    /// Frames that the kernel accepted for sending.
    pub sent: u64,
    /// Offered frames that were not even prepared when the time was over: the generator was late.
    pub unsent_late: u64,
    /// Offered frames that were prepared and that the kernel had not accepted by then.
    pub unsent_refused: u64,
    /// The same of each sender.
    pub senders: Vec<SenderCounts>,
    /// Bytes of all frames sent, FCS included; of the warm-up as well.
    pub all_sent_bytes: u64,
    /// The span of the measurement: from its beginning to when the frame behind the last one would have
    /// left, or to its end where the schedule was not kept, or to the last departure where that was
    /// later. Nanoseconds.
    pub span_ns: u64,
    /// How punctually frames left.
    pub departures: Departures,
    /// What came back.
    pub tally: Tally,
    /// Frames that did not come back before the drain ended. Some may have been dropped by the
    /// generator's own ring: see `kernel.drops`.
    pub lost: u64,
    /// The largest reordering extent (RFC 4737, section 4.2.2); 0 without reordering.
    pub reorder_extent_max: u64,
    /// Routers that intact frames came by; `None` where none is known of.
    pub hops: Option<Hops>,
    /// Frames of all flows but the first that came back, those of the warm-up included.
    pub returned_beside_first_flow: u64,
    /// How long intact frames took.
    pub latencies: Latencies,
    /// What stamps of the device say, where they were to be had.
    pub nic: Option<Box<NicTimes>>,
    /// Intact frames that are in no histogram, because they came back so late that their departure
    /// was forgotten.
    pub untimed: u64,
    /// Jitter of the intact frames' transit, from the kick to the kernel's stamp (to where the frame
    /// was held, without stamps).
    pub jitter: Jitter,
    /// The warm-up.
    pub warm_up: WarmUp,
    /// What the kernel counted for the receive socket, over the whole run. Its drops are echoes that
    /// the generator was too slow to take.
    pub kernel: KernelCounters,
    /// Kernel stamps of the first and the last intact frame, the warm-up included, in nanoseconds on
    /// `CLOCK_REALTIME`; 0 without any.
    pub stamps_ns: (u64, u64),
    /// The first corrupted frames.
    pub damage: Vec<Damage>,
    /// The first bad frames, byte by byte.
    pub evidence: Vec<Evidence>,
    /// How long was waited for echoes after the sending.
    pub drained: Duration,
    /// Whether the sending ended before its time: by the stop flag, or because it was broken off.
    pub stopped: bool,
    /// What broke the run off (its interface was deleted, for example); what was counted until then
    /// stands.
    pub broken: Option<String>,
    /// Times that somebody set the clock of the kernel's stamps meanwhile: with any, `until_kernel`,
    /// `in_ring` and the jitter are not to be trusted.
    pub clock_steps: u64,
    /// Each echo's arrival, where asked for.
    pub trace: Trace,
    /// The halves that were used.
    pub halves: (TxChoice, RxChoice),
    /// What each thread noticed of its CPU being taken away, from its first departure to its last echo.
    pub threads: Vec<ThreadRecord>,
    /// Sentences for the user where something came out otherwise than asked for.
    pub notes: Vec<String>,
}

impl LoadOutcome {
    /// The outcome of a run that nothing broke off; else what did.
    pub fn unbroken(self) -> Result<LoadOutcome> {
        match self.broken {
            None => Ok(self),
            Some(reason) => Err(Error::Run(reason)),
        }
    }

    /// Frames per second that the generator achieved: sent frames over the span; `None` if the
    /// measurement never began.
    pub fn achieved_pps(&self) -> Option<f64> {
        (self.span_ns > 0).then(|| self.sent as f64 * 1e9 / self.span_ns as f64)
    }

    /// How far the achieved rate is from the asked one, as a part of that: below zero if short.
    pub fn rate_error(&self) -> Option<f64> {
        Some(self.achieved_pps()? / self.asked?.as_f64() - 1.0)
    }

    /// Why no frame was sent, if none was.
    pub fn nothing_sent(&self) -> Option<&'static str> {
        Some(match (self.sent, self.unsent_refused, self.offered) {
            (1.., ..) => return None,
            (0, 1.., _) => "no frame was sent: the kernel refused them all. Is the link up?",
            (0, 0, 1..) => "no frame was sent: the generator had no CPU while they were due",
            (0, 0, 0) => "no frame was sent: the run ended before its measurement began",
        })
    }

    /// Frames were sent, and none came back in any shape: who sends into a sink may want just that.
    pub fn is_silence(&self) -> bool {
        self.sent > 0 && self.tally.returned() == 0
    }

    /// Why the generator did not reach the asked rate; `None` if it did, or if none was asked. A run
    /// for which this says something shows the generator's limit, not the device's.
    pub fn generator_limit(&self) -> Option<GeneratorLimit> {
        let shortfall = -self.rate_error()?;
        let unsent = self.unsent_late + self.unsent_refused;
        let short_of_frames = unsent as f64 > self.offered as f64 * SHORTFALL_MAX;
        let tail_ns = (shortfall * self.span_ns as f64) as u64;
        let short_of_time = shortfall > SHORTFALL_MAX && tail_ns > TAIL_MAX_NS;
        // What its interface refused while it went is no rate of anybody's.
        let unfit = self.broken.is_some() || self.stopped && self.sent == 0;
        if unfit || !(short_of_frames || short_of_time) {
            return None;
        }
        let refused = self.unsent_refused + self.departures.late_for_refusal;
        Some(match 2 * refused >= self.departures.late + unsent {
            true => GeneratorLimit::Refused,
            false => GeneratorLimit::Busy,
        })
    }

    /// Bits per second at the achieved rate: of layer 2, and of layer 1 (20 bytes a frame more).
    pub fn achieved_bits_per_second(&self) -> Option<(f64, f64)> {
        let frames = self.sent + self.warm_up.sent;
        let mean = if frames == 0 { 0.0 } else { self.all_sent_bytes as f64 / frames as f64 };
        let overhead = super::super::rate::WIRE_OVERHEAD_BYTES as f64;
        let pps = self.achieved_pps()?;
        Some((pps * mean * 8.0, pps * (mean + overhead) * 8.0))
    }

    /// The part of the sent frames that did not come back intact, from 0 to 1; `None` if none was sent.
    pub fn loss_ratio(&self) -> Option<f64> {
        (self.sent > 0).then(|| 1.0 - self.tally.intact as f64 / self.sent as f64)
    }

    /// Intact frames that came back per second of the span; `None` if the measurement never began.
    pub fn forwarded_pps(&self) -> Option<f64> {
        (self.span_ns > 0).then(|| self.tally.intact as f64 * 1e9 / self.span_ns as f64)
    }

    /// Intact frames per second between the first and the last of them, by their kernel stamps:
    /// (n - 1) / (t_last - t_first). On a veth pair the kernel stamps an echo while the engine sends
    /// it, so this is the engine's own rate, whatever the generator does meanwhile.
    pub fn arrival_pps(&self) -> f64 {
        match self.arrival_ns() {
            0 => 0.0,
            elapsed_ns => self.tally.intact.saturating_sub(1) as f64 * 1e9 / elapsed_ns as f64,
        }
    }

    /// The time between the kernel's stamps of the first and the last intact frame, in nanoseconds.
    pub fn arrival_ns(&self) -> u64 {
        self.stamps_ns.1.saturating_sub(self.stamps_ns.0)
    }

    /// The part of the timed round trips that no gap of the receiving thread's time touches, from 0 to 1;
    /// known with [`LoadSpec::breakdown`](crate::load::plan::LoadSpec::breakdown), if there are any.
    pub fn untouched_share(&self) -> Option<f64> {
        let Latencies { response, untouched, .. } = &self.latencies;
        (response.count() > 0).then(|| untouched.count() as f64 / response.count() as f64)
    }

    /// Whether every number came back intact, once, in time, and nothing else came.
    pub fn is_clean(&self) -> bool {
        self.tally
            == Tally { intact: self.sent, reordered: self.tally.reordered, ..Tally::default() }
    }

    /// Checks the conservation laws, of the measurement and of the warm-up: offered = sent + unsent
    /// for lateness + unsent for refusal; sent = intact + corrupted + not transformed + truncated +
    /// lost, where the lost ones were counted in the ledger, independently of the others.
    pub fn assert_conserved(&self) {
        assert_eq!(
            self.offered,
            self.sent + self.unsent_late + self.unsent_refused,
            "offered = sent + unsent"
        );
        for (what, sent, tally, lost) in [
            ("measured", self.sent, &self.tally, self.lost),
            ("warm-up", self.warm_up.sent, &self.warm_up.tally, self.warm_up.lost),
        ] {
            assert_eq!(
                sent,
                tally.returned() + lost,
                "{what}: sent {sent} = returned {} + lost {lost}: {tally:?}",
                tally.returned(),
            );
        }
    }

    /// Bytes of a frame sent, FCS included, on the average.
    pub(super) fn with_fcs(bytes: u64, frames: u64) -> u64 {
        bytes + frames * FCS_BYTES as u64
    }
}
