//! How long verified frames took, each of them.

use crate::stats::latency::Latency;

/// Latencies of the measurement's intact frames, the warm-up left out. All in fixed memory.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// From when the frame was to leave to when its echo was held: includes the time that it waited
    /// for a generator that was behind its schedule, so a stalled generator cannot hide waiting
    /// (no coordinated omission). Without a schedule it is the service time.
    pub response: Latency,
    /// From just before the kick that sent the frame to when its echo was held.
    pub service: Latency,
    /// Where asked for: from that kick to the kernel's stamp on the echo.
    pub until_kernel: Latency,
    /// Where asked for: from the kernel's stamp to when the echo was held.
    pub in_ring: Latency,
    /// Where asked for: those of `response` that no gap of the receiving thread's time touches.
    pub untouched: Latency,
}

impl Latencies {
    /// Adds what others recorded.
    pub fn merge(&mut self, other: &Latencies) {
        self.response.merge(&other.response);
        self.service.merge(&other.service);
        self.until_kernel.merge(&other.until_kernel);
        self.in_ring.merge(&other.in_ring);
        self.untouched.merge(&other.untouched);
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.response.reset();
        self.service.reset();
        self.until_kernel.reset();
        self.in_ring.reset();
        self.untouched.reset();
    }
}
