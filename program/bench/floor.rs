//! What the harness itself costs, measured before anything is measured with it: no latency below
//! this floor means anything, and no pause shorter than a wake-up is kept.

use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::stats::latency::Latency;
use crate::sys::clock::{self, ClockSource, set_timer_slack};
use crate::sys::cpus::pin;

/// The sleep that is asked for: a short pause of a paced sender.
const SLEEP: Duration = Duration::from_micros(50);

/// Sleeps measured.
const SLEEPS: usize = 200;

/// Time limit of all sleeps, for busy machines.
const SLEEPING_NS_MAX: u64 = 30_000_000;

/// The costs of the harness on this machine, now.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct HarnessFloor {
    /// The CPU that it was measured on.
    pub cpu: usize,
    /// What one clock read costs, in nanoseconds; each latency has two of them in it.
    pub clock_read_ns: f64,
    /// The kernel's clock source, as in `tsc`.
    pub clock_source: String,
    /// Whether a clock read takes no system call ([`ClockSource::by_vdso`]).
    pub clock_by_vdso: bool,
    /// How much later than asked a thread wakes from a sleep of 50 µs, in nanoseconds, median; with
    /// a timer slack of 1 ns, as senders have.
    pub sleep_late_p50_ns: u64,
    /// The same, 99th percentile.
    pub sleep_late_p99_ns: u64,
    /// Sleeps measured: 200, fewer on a machine that had other things to do.
    pub sleeps: u64,
}

impl HarnessFloor {
    /// Measures on the CPU that will send, in a thread like a sender. Takes less than 50 ms on a
    /// machine that has a CPU for it. A CPU that cannot be used is a usage error.
    pub fn measure_on(cpu: usize) -> Result<HarnessFloor> {
        let measure = || {
            pin(cpu)?;
            set_timer_slack(1);
            Ok(HarnessFloor::measure(cpu))
        };
        let panicked = |_| Error::Run("the measurement of the harness floor panicked".into());
        thread::scope(|scope| scope.spawn(measure).join()).map_err(panicked)?
    }

    fn measure(cpu: usize) -> HarnessFloor {
        let clock = ClockSource::measure();
        let late = sleeps_late();
        HarnessFloor {
            cpu,
            clock_read_ns: clock.read_ns,
            clock_source: clock.name,
            clock_by_vdso: clock.by_vdso,
            sleep_late_p50_ns: late.percentile(50.0),
            sleep_late_p99_ns: late.percentile(99.0),
            sleeps: late.count(),
        }
    }
}

fn sleeps_late() -> Latency {
    let mut late = Latency::default();
    let begin_ns = clock::monotonic_ns();
    for _ in 0..SLEEPS {
        let start_ns = clock::monotonic_ns();
        clock::sleep(SLEEP);
        let woken_ns = clock::monotonic_ns();
        let slept_ns = woken_ns.saturating_sub(start_ns);
        late.record(slept_ns.saturating_sub(SLEEP.as_nanos() as u64));
        if woken_ns.saturating_sub(begin_ns) > SLEEPING_NS_MAX {
            break;
        }
    }
    late
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::sys::cpus::choose_cpus;

    #[test]
    fn the_floor_is_found_in_no_time() {
        // The best of a few, because the machine has other work, too.
        assert_eq!(HarnessFloor::measure_on(100_000).unwrap_err().exit_code(), 2);
        let mut best = Duration::MAX;
        let cpu = choose_cpus(&[]).unwrap()[0];
        for _ in 0..20 {
            let started = Instant::now();
            let floor = HarnessFloor::measure_on(cpu).unwrap();
            best = best.min(started.elapsed());
            assert!(floor.clock_read_ns > 0.5, "{floor:?}");
            assert!(floor.sleep_late_p50_ns <= floor.sleep_late_p99_ns, "{floor:?}");
            assert!(floor.sleeps > 0 && floor.sleep_late_p50_ns > 100, "{floor:?}");
            assert_eq!(floor.cpu, cpu);
            if best < Duration::from_millis(50) {
                return;
            }
        }
        panic!("it took {} ms", best.as_millis());
    }
}
