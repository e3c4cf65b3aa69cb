//! Clocks, each named for what it counts. All are nanoseconds in a `u64`.

use std::time::Duration;

use nix::sys::pthread::pthread_self;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

use super::forbidden::tolerate;

/// Nanoseconds since the Unix epoch on `CLOCK_REALTIME`: the clock that packet sockets stamp
/// received frames with (`tpacket_get_timestamp`, `net/packet/af_packet.c`).
#[inline]
pub fn realtime_ns() -> u64 {
    now(ClockId::CLOCK_REALTIME)
}

/// Nanoseconds on `CLOCK_MONOTONIC`.
#[inline]
pub fn monotonic_ns() -> u64 {
    now(ClockId::CLOCK_MONOTONIC)
}

#[inline]
fn now(clock: ClockId) -> u64 {
    // Not by nix: dependencies are built without optimisation, and packets wait for clocks. Both clocks
    // exist on every Linux and the vDSO cannot fail for them (clock_gettime(2)).
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime writes one timespec, to a live local.
    let result = unsafe { libc::clock_gettime(clock.as_raw(), &raw mut time) };
    debug_assert_eq!(result, 0);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Sleeps for `duration` at the resolution of the kernel's high-resolution timers plus the
/// thread's timer slack (50 µs by default, `prctl(PR_SET_TIMERSLACK)`).
pub fn sleep(duration: Duration) {
    let flags = ClockNanosleepFlags::empty();
    // An interruption by a signal only makes the sleep shorter; callers check their own clock.
    let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, flags, &duration.into());
}

/// The clocks as a worker uses them. Tests put others in their place.
pub trait Clock {
    /// As [`realtime_ns`].
    fn realtime_ns(&self) -> u64;

    /// As [`monotonic_ns`].
    fn monotonic_ns(&self) -> u64;

    /// As [`sleep`].
    fn sleep(&self, duration: Duration);
}

/// The system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[inline]
    fn realtime_ns(&self) -> u64 {
        realtime_ns()
    }

    #[inline]
    fn monotonic_ns(&self) -> u64 {
        monotonic_ns()
    }

    fn sleep(&self, duration: Duration) {
        sleep(duration);
    }
}

/// Reads of a clock that a round of [`clock_read_ns`] does.
const READS: u32 = 100;

/// Rounds of [`clock_read_ns`], and how many there are whatever they take: an interruption is in one or
/// two of them, and no median is.
const ROUNDS: usize = 1000;
const ROUNDS_MIN: usize = 15;

/// Time limit of all other rounds, for slow clock sources.
const ROUNDS_NS_MAX: u64 = 5_000_000;

/// What one read of the clock costs, in nanoseconds: the mean of a round of 100 reads, of the median
/// round of up to a thousand.
pub fn clock_read_ns() -> f64 {
    typical_ns(|| {
        std::hint::black_box(monotonic_ns());
    })
}

/// What asking the kernel for the time by a real system call costs, in nanoseconds.
fn clock_system_call_ns() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    typical_ns(|| {
        // SAFETY: clock_gettime writes one timespec, to a live local; the C library's own
        // clock_gettime would ask the vDSO instead.
        unsafe {
            libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut time);
        }
    })
}

fn typical_ns(mut read: impl FnMut()) -> f64 {
    let begin = monotonic_ns();
    let mut rounds = Vec::with_capacity(ROUNDS);
    while rounds.len() < ROUNDS {
        let start = monotonic_ns();
        (0..READS).for_each(|_| read());
        let end = monotonic_ns();
        rounds.push(end.saturating_sub(start));
        if rounds.len() >= ROUNDS_MIN && end.saturating_sub(begin) > ROUNDS_NS_MAX {
            break;
        }
    }
    rounds.sort_unstable();
    rounds[rounds.len() / 2] as f64 / f64::from(READS)
}

/// How the kernel tells the time, and what that costs a program.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ClockSource {
    /// The name, as in `tsc`; "unknown" where sysfs does not say.
    pub name: String,
    /// Whether reading takes no system call: the vDSO reads the counter itself (clock_gettime(2),
    /// vdso(7)). Where it cannot, every stamp that the program takes is a system call. Told by the
    /// cost: a read that is not clearly cheaper than the system call is one.
    pub by_vdso: bool,
    /// What one read costs, in nanoseconds.
    pub read_ns: f64,
}

impl ClockSource {
    /// Measures for some milliseconds.
    pub fn measure() -> ClockSource {
        let name = std::fs::read_to_string(CURRENT_CLOCK_SOURCE);
        let read_ns = clock_read_ns();
        ClockSource {
            name: name.map_or("unknown".into(), |name| name.trim().to_owned()),
            // A system call costs the way into the kernel and back beside the read.
            by_vdso: read_ns * 1.25 < clock_system_call_ns(),
            read_ns,
        }
    }
}

/// Where the kernel names it.
pub(super) const CURRENT_CLOCK_SOURCE: &str =
    "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// Lets the calling thread's timers be late by at most `slack_ns` beside their own inaccuracy,
/// instead of the usual 50 µs. Best effort: without it sleeps end later.
pub fn set_timer_slack(slack_ns: u64) {
    let set = nix::sys::prctl::set_timerslack(slack_ns).map_err(std::io::Error::from);
    let _ = tolerate("prctl(PR_SET_TIMERSLACK)", "sleeps end 50 µs later", set);
}

/// What has to be taken from a time on `CLOCK_REALTIME` to give it on `CLOCK_MONOTONIC`.
///
/// Both clocks run at the same pace, that which NTP gives them; the difference changes only when
/// somebody sets the time. The narrowest of a few attempts is taken, so it is right to about the
/// cost of a clock reading.
pub fn realtime_offset_ns() -> i64 {
    realtime_offset_of(&SystemClock)
}

/// [`realtime_offset_ns`] of other clocks.
pub fn realtime_offset_of(clock: &impl Clock) -> i64 {
    const ATTEMPTS: usize = 8;
    let attempt = |_| {
        let before = clock.monotonic_ns();
        let realtime = clock.realtime_ns();
        let after = clock.monotonic_ns();
        let middle = before + after.saturating_sub(before) / 2;
        (after.saturating_sub(before), realtime as i64 - middle as i64)
    };
    (0..ATTEMPTS).map(attempt).min_by_key(|(width, _)| *width).map_or(0, |(_, offset)| offset)
}

/// The CPU time clock of one thread, readable from any thread of the process, or of another process.
///
/// It counts time in user space and in the kernel. Where the kernel was built without
/// `CONFIG_IRQ_TIME_ACCOUNTING` it also counts soft-interrupt work done in the thread's context,
/// so a sender on a veth pair is charged for its peer's receive work.
#[derive(Clone, Copy, Debug)]
pub struct ThreadCpuClock(ClockId);

impl ThreadCpuClock {
    /// The clock of the calling thread.
    pub fn current() -> ThreadCpuClock {
        let mut clock: libc::clockid_t = 0;
        // SAFETY: pthread_self() names a live thread, the caller, and the pointer is to a local;
        // pthread_getcpuclockid(3) writes one clockid_t there.
        let code = unsafe { libc::pthread_getcpuclockid(pthread_self(), &mut clock) };
        assert_eq!(code, 0, "pthread_getcpuclockid fails only for a thread that has ended");
        ThreadCpuClock(ClockId::from_raw(clock))
    }

    /// The clock of all threads of another process; `None` if there is none of that number. Needs no
    /// privilege.
    pub fn of_process(process: i32) -> Option<ThreadCpuClock> {
        let mut clock: libc::clockid_t = 0;
        // SAFETY: clock_getcpuclockid(3) takes a number and writes one clockid_t to a live local.
        let code = unsafe { libc::clock_getcpuclockid(process, &mut clock) };
        (code == 0).then_some(ThreadCpuClock(ClockId::from_raw(clock)))
    }

    /// Nanoseconds of CPU time so far, or `None` once the thread has ended.
    pub fn read_ns(self) -> Option<u64> {
        let time = clock_gettime(self.0).ok()?;
        Some(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_clock_counts_only_its_own_thread() {
        let clock = ThreadCpuClock::current();
        let before = clock.read_ns().unwrap();
        sleep(Duration::from_millis(30));
        let slept = clock.read_ns().unwrap() - before;
        assert!(slept < 20_000_000, "sleeping cost {slept} ns of CPU");
    }

    /// A machine that is away for longer than all the rounds may take does so in one of them.
    #[test]
    fn an_outlier_is_not_what_a_read_costs() {
        let mut reads = 0;
        let read_ns = typical_ns(|| {
            reads += 1;
            if reads == 1 {
                sleep(Duration::from_millis(50));
            }
        });
        assert!(read_ns < 100_000.0, "{read_ns} ns a read");
    }

    #[test]
    fn reading_the_clock_costs_something_and_less_than_asking_the_kernel() {
        let source = ClockSource::measure();
        assert!(source.read_ns > 0.5 && source.read_ns < 100_000.0, "{source:?}");
        assert!(!source.name.is_empty() && !source.name.contains('\n'), "{source:?}");
    }
}
