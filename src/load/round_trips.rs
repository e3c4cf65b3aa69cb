//! Round trips: from just before the kick that sent a frame to when its verified answer is held.

use crate::stats::latency::Latency;

/// The newest frames whose sending time is remembered.
pub const STAMPS_REMEMBERED: usize = 1 << 16;

/// Sending times of the newest frames, and how long their answers took.
///
/// Clocks are read once a batch: all frames of one kick share the time before it, all answers of one
/// loan the time after the last of them was verified.
#[derive(Debug)]
pub struct RoundTrips {
    sent_ns: Box<[u64]>,
    /// Sending times of the answers in the batch at hand.
    answered: Vec<u64>,
    /// The round trips, in nanoseconds on `CLOCK_MONOTONIC`.
    pub latency: Latency,
}

impl RoundTrips {
    /// Nothing yet; at most `batch` answers come between two calls of [`RoundTrips::record`].
    pub fn new(batch: usize) -> RoundTrips {
        RoundTrips {
            sent_ns: vec![0; STAMPS_REMEMBERED].into(),
            answered: Vec::with_capacity(batch),
            latency: Latency::default(),
        }
    }

    /// Frames `numbers` are about to be sent.
    #[inline]
    pub fn note_sent(&mut self, numbers: std::ops::Range<u64>, now_ns: u64) {
        for number in numbers {
            self.sent_ns[number as usize % STAMPS_REMEMBERED] = now_ns;
        }
    }

    /// The answer to frame `number` was verified; `handed_out` frames were sent so far.
    #[inline]
    pub fn note_answer(&mut self, number: u64, handed_out: u64) {
        if handed_out - number <= STAMPS_REMEMBERED as u64 {
            self.answered.push(self.sent_ns[number as usize % STAMPS_REMEMBERED]);
        }
    }

    /// Whether answers wait for [`RoundTrips::record`].
    #[inline]
    pub fn has_answers(&self) -> bool {
        !self.answered.is_empty()
    }

    /// Records the answers noted since the last call as held at `now_ns`.
    #[inline]
    pub fn record(&mut self, now_ns: u64) {
        for sent_ns in self.answered.drain(..) {
            self.latency.record_between(sent_ns, now_ns);
        }
    }
}
