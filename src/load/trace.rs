//! When each echo of a short run arrived, and what the device's CPU clock said meanwhile: a rate and a
//! cost can then be formed slice by slice, so that a CPU that is taken away for a while spoils some
//! slices and not the whole.

use std::time::Duration;

use crate::sys::clock::ThreadCpuClock;

/// Time between two readings of the CPU clocks.
pub const CPU_EVERY: Duration = Duration::from_micros(500);

/// What a run is to keep.
#[derive(Clone, Debug, Default)]
pub struct TraceSpec {
    /// Kernel stamps of this many echoes at most.
    pub arrivals_max: usize,
    /// Their numbers and departures, too.
    pub numbers: bool,
    /// The sum of these is read every 500 µs.
    pub cpu_clocks: Vec<ThreadCpuClock>,
}

/// What a run kept. All times are nanoseconds on `CLOCK_MONOTONIC`.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// When the kernel stamped each intact echo, in the order in which they were taken.
    pub arrivals_ns: Vec<u64>,
    /// The number of each of them and when the kernel took its frame, where asked for.
    pub numbers: Vec<(u64, u64)>,
    /// Times, and the CPU time used until then.
    pub cpu: Vec<(u64, u64)>,
    cpu_clocks: Vec<ThreadCpuClock>,
    next_ns: u64,
}

impl Trace {
    /// An empty one.
    pub fn new(spec: &TraceSpec) -> Trace {
        Trace {
            arrivals_ns: Vec::with_capacity(spec.arrivals_max),
            numbers: Vec::with_capacity(if spec.numbers { spec.arrivals_max } else { 0 }),
            cpu: Vec::new(),
            cpu_clocks: spec.cpu_clocks.clone(),
            next_ns: if spec.cpu_clocks.is_empty() { u64::MAX } else { 0 },
        }
    }

    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        self.arrivals_ns.capacity() > 0
    }

    /// The intact echo of frame `number`, which left at `sent_ns`; 0 without a stamp.
    #[inline]
    pub fn arrived(&mut self, stamp_ns: u64, number: u64, sent_ns: u64) {
        if self.arrivals_ns.len() < self.arrivals_ns.capacity() && stamp_ns != 0 {
            self.arrivals_ns.push(stamp_ns);
            if self.numbers.capacity() > 0 {
                self.numbers.push((number, sent_ns));
            }
        }
    }

    /// Reads the CPU clocks if it is time to.
    #[inline]
    pub fn look(&mut self, now_ns: u64) {
        if now_ns >= self.next_ns {
            self.read_cpu(now_ns);
        }
    }

    #[cold]
    fn read_cpu(&mut self, now_ns: u64) {
        self.next_ns = now_ns + CPU_EVERY.as_nanos() as u64;
        // Clocks of threads that have ended say nothing.
        let cpu_ns = self.cpu_clocks.iter().filter_map(|clock| clock.read_ns()).sum();
        self.cpu.push((now_ns, cpu_ns));
    }
}
