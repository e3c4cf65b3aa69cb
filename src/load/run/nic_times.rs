//! The stamps of the interface's own clock, brought to the clocks of the kernel.

use std::sync::Arc;

use crate::stats::latency::Latency;
use crate::sys::stamps::{ClockOffset, PtpClock};

/// What the device's stamps say of the measurement's intact frames.
#[derive(Clone, Debug, Default)]
pub struct NicTimes {
    /// From the kick that sent a frame to the device's stamp on its echo.
    pub until_nic: Latency,
    /// From the device's stamp to the kernel's on the same echo.
    pub nic_to_kernel: Latency,
    /// From the device's stamp to when the echo was held.
    pub since_nic: Latency,
    /// Frames without a stamp of the device.
    pub unstamped: u64,
    /// The most by which a device's stamp was after the kernel's, in nanoseconds.
    pub after_kernel_max_ns: u64,
    /// What the device's clock last showed less what `CLOCK_REALTIME` did.
    pub offset_ns: i64,
    /// How far off a stamp that was brought over can be, in nanoseconds: by reading both clocks, and by how far
    /// they drifted apart between two readings.
    pub uncertainty_ns: u64,
    /// Why the clocks could not be compared once more, where that happened: the uncertainty is not known then.
    pub failure: Option<String>,
}

impl NicTimes {
    /// Frames with a stamp of the device.
    pub fn stamped(&self) -> u64 {
        self.until_nic.count()
    }

    /// Whether each frame was stamped by the device before the kernel stamped it, as far as the clocks can tell;
    /// `None` where no frame has both stamps.
    pub fn is_ordered(&self) -> Option<bool> {
        let known = self.failure.is_none() && self.nic_to_kernel.count() > 0;
        known.then_some(self.after_kernel_max_ns <= self.uncertainty_ns)
    }

    /// A frame that left at `sent_ns` and was held at `now_ns`, stamped by the device at `nic_ns` and by the
    /// kernel at `kernel_ns`, all on one clock; 0 without a stamp.
    #[inline]
    pub(super) fn record(&mut self, sent_ns: u64, nic_ns: u64, kernel_ns: u64, now_ns: u64) {
        if nic_ns == 0 {
            self.unstamped += 1;
            return;
        }
        self.until_nic.record(nic_ns.saturating_sub(sent_ns));
        self.since_nic.record(now_ns.saturating_sub(nic_ns));
        if kernel_ns != 0 {
            self.nic_to_kernel.record(kernel_ns.saturating_sub(nic_ns));
            self.after_kernel_max_ns =
                self.after_kernel_max_ns.max(nic_ns.saturating_sub(kernel_ns));
        }
    }

    fn compare(&mut self, before: ClockOffset, now: ClockOffset) {
        // Between the two readings the truth was between them, up to what either may be wrong by.
        let drift_ns = now.ns.abs_diff(before.ns) + now.within_ns;
        self.uncertainty_ns = self.uncertainty_ns.max(before.within_ns).max(drift_ns);
        self.offset_ns = now.ns;
    }
}

/// The clock, and what its stamps said so far.
#[derive(Debug)]
pub(super) struct NicClock {
    clock: Arc<PtpClock>,
    offset: ClockOffset,
    pub times: Box<NicTimes>,
}

impl NicClock {
    /// Looks at `clock` for the first time.
    pub fn new(clock: &Arc<PtpClock>) -> NicClock {
        let mut nic = NicClock {
            clock: Arc::clone(clock),
            offset: ClockOffset::default(),
            times: Box::default(),
        };
        if let Some(offset) = nic.read() {
            (nic.offset, nic.times.offset_ns) = (offset, offset.ns);
        }
        nic
    }

    /// Compares the clocks again.
    pub fn check(&mut self) {
        if let Some(now) = self.read() {
            self.times.compare(self.offset, now);
            self.offset = now;
        }
    }

    fn read(&mut self) -> Option<ClockOffset> {
        let offset = self.clock.offset();
        offset.map_err(|error| self.times.failure = Some(error.to_string())).ok()
    }

    /// A stamp of the device on `CLOCK_REALTIME`; 0 for none.
    #[inline]
    pub fn realtime_ns(&self, nic_ns: u64) -> u64 {
        if nic_ns == 0 { 0 } else { nic_ns.saturating_add_signed(-self.offset.ns) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_out_of_order_count_only_beyond_the_uncertainty() {
        let mut times = NicTimes::default();
        times.record(100, 0, 400, 500);
        assert_eq!((times.stamped(), times.unstamped, times.is_ordered()), (0, 1, None));
        times.record(100, 300, 400, 500);
        assert_eq!(times.is_ordered(), Some(true));
        times.record(100, 430, 400, 500);
        assert_eq!((times.after_kernel_max_ns, times.is_ordered()), (30, Some(false)));
        let offset = |ns, within_ns| ClockOffset { ns, within_ns };
        times.compare(offset(1000, 9), offset(1020, 10));
        assert_eq!((times.uncertainty_ns, times.is_ordered()), (30, Some(true)));
        times.compare(offset(1020, 10), offset(1020, 8));
        assert_eq!((times.uncertainty_ns, times.offset_ns), (30, 1020), "the worst one stays");
        times.compare(offset(1020, 31), offset(1020, 8));
        assert_eq!(times.uncertainty_ns, 31);
        // A ring has the device's stamp alone.
        times.record(100, 430, 0, 500);
        assert_eq!((times.stamped(), times.nic_to_kernel.count()), (3, 2));
        times.failure = Some("ENODEV".into());
        assert_eq!(times.is_ordered(), None);
    }
}
