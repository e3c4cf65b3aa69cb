//! What a caller hears of a load while it runs.

use std::time::Duration;

use super::latencies::Latencies;
use super::thread_record::ThreadRecord;
use crate::stats::counters::Tally;
use crate::stats::gaps::GapSums;

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
    /// Gaps of the receiving thread since the last progress report.
    pub gaps: GapSums,
    /// What the threads noticed since the last progress report.
    pub threads: Vec<ThreadRecord>,
}

impl Progress {
    /// Frames sent and not back: lost ones, and those on their way.
    pub fn unanswered(&self) -> u64 {
        self.sent.saturating_sub(self.returned)
    }
}
