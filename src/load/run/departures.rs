//! How punctually frames left.

use crate::load::plan::LATE_DEPARTURE;
use crate::stats::latency::Latency;

/// How punctually the frames of the measurement left, the warm-up left out.
///
/// A frame leaves with the kick that makes the kernel take it; the clock is read once, just before.
#[derive(Clone, Debug, Default)]
pub struct Departures {
    /// From the intended to the actual departure, every frame; empty without a schedule.
    pub lateness: Latency,
    /// From one departure to the next of the same sender; frames of one kick leave together.
    pub gaps: Latency,
    /// How far each gap is from the intended one, either way; empty without a schedule.
    pub gap_errors: Latency,
    /// Frames that left more than [`LATE_DEPARTURE`] after their time: the generator was behind its
    /// schedule.
    pub late: u64,
    /// Those of them that the kernel had refused at first (ENOBUFS and the like).
    pub late_for_refusal: u64,
    /// Kicks that the kernel refused for the moment, those of the warm-up included.
    pub refusals: u64,
    /// Kicks, those of the warm-up included.
    pub kicks: u64,
    /// When the last frame of the measurement left, in nanoseconds on `CLOCK_MONOTONIC`.
    pub last_ns: u64,
    last_intended_ns: u64,
}

const LATE_NS: u64 = LATE_DEPARTURE.as_nanos() as u64;

impl Departures {
    /// A frame that was to leave at `intended_ns` left at `sent_ns`.
    #[inline]
    pub(super) fn record_scheduled(&mut self, intended_ns: u64, sent_ns: u64, refused: bool) {
        let lateness_ns = sent_ns.saturating_sub(intended_ns);
        self.lateness.record(lateness_ns);
        if lateness_ns > LATE_NS {
            self.late += 1;
            self.late_for_refusal += u64::from(refused);
        }
        if self.last_ns > 0 {
            let gap_ns = sent_ns - self.last_ns;
            self.gaps.record(gap_ns);
            let intended_gap_ns = intended_ns.saturating_sub(self.last_intended_ns);
            self.gap_errors.record(gap_ns.abs_diff(intended_gap_ns));
        }
        (self.last_ns, self.last_intended_ns) = (sent_ns, intended_ns);
    }

    /// So many frames left together at `sent_ns`, without a schedule.
    #[inline]
    pub(super) fn record_unscheduled(&mut self, frames: u64, sent_ns: u64) {
        if self.last_ns > 0 {
            self.gaps.record(sent_ns - self.last_ns);
        }
        if frames > 1 {
            self.gaps.record_many(0, frames - 1);
        }
        self.last_ns = sent_ns;
    }

    /// Adds what another sender recorded.
    pub(super) fn merge(&mut self, other: &Departures) {
        self.lateness.merge(&other.lateness);
        self.gaps.merge(&other.gaps);
        self.gap_errors.merge(&other.gap_errors);
        self.late += other.late;
        self.late_for_refusal += other.late_for_refusal;
        self.refusals += other.refusals;
        self.kicks += other.kicks;
        self.last_ns = self.last_ns.max(other.last_ns);
    }
}
