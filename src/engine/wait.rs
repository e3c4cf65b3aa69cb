//! How a worker waits for frames: asleep in epoll, polling its receive half, or polling first and then
//! asleep.
//!
//! # Leaving and rejoining the epoll set
//!
//! While a worker's socket is in an epoll set, the kernel calls epoll for every frame of a V2 ring
//! or a plain socket and for every block of a V3 ring (`sock_def_readable`, `ep_poll_callback`),
//! also when nobody sleeps there. So a polling worker takes its socket out (`EPOLL_CTL_DEL`), and
//! puts it back (`EPOLL_CTL_ADD`) before it sleeps. Frames that arrive in between wake nobody, hence
//! the order:
//!
//! | worker | kernel |
//! |---|---|
//! | join the set | write the status word |
//! | read the status word once more | wake whoever is in the set |
//!
//! Each side writes before it reads, with a full barrier between (`sock_poll_wait`, called by
//! `EPOLL_CTL_ADD`; `skwq_has_sleeper`), so at least one sees the other: either the worker finds the
//! frame, or the kernel finds the worker in the set and the sleep ends. This does not rely on
//! level-triggered epoll polling the socket by itself. `tests/engine/leave_and_rejoin.rs` walks through
//! every interleaving of [`WaitState`] with the kernel's steps.
//!
//! # What it costs and gains
//!
//! By `cargo bench --bench epoll_set`, cheapest of 200 rounds on two CPUs of a virtual machine (Linux
//! 6.18, veth, V2 ring), each frame of a sender of 1.9 µs a frame:
//!
//! | receiver's socket | sender, a frame | receiver, leaving and rejoining |
//! |---|---|---|
//! | in the set, nobody asleep | + 170 ns | |
//! | in the set for no event (`EPOLL_CTL_MOD`) | + 160 ns | 0.8 µs |
//! | out of the set (`EPOLL_CTL_DEL`, `ADD`) | | 1.6 µs |
//!
//! In the set for no event, epoll is still called. So a worker leaves the set, which pays from some
//! ten frames on. It leaves at the second batch since it slept: if each frame ends a sleep, it makes
//! no call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::stats::gaps::GapSums;
use crate::sys::clock::Clock;
use crate::sys::epoll::Sleeper;
use crate::units::duration;

/// How a worker waits for frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// Sleeps in epoll when no frame is left.
    Epoll,
    /// Never sleeps: polls the ring, at the price of a whole CPU.
    Spin,
    /// Polls the ring for this time after the last frame, then sleeps in epoll.
    Adaptive(Duration),
}

/// Default polling time of [`Wait::Adaptive`]: longer than a wake-up, so that a client in a closed
/// loop finds the worker awake.
pub const SPIN: Duration = Duration::from_micros(50);

impl Wait {
    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Wait::Epoll => "epoll",
            Wait::Spin => "spin",
            Wait::Adaptive(_) => "adaptive",
        }
    }

    /// What it means and costs, in a sentence for the user.
    pub fn note(self) -> String {
        match self {
            Wait::Epoll => "wait epoll: sleeps when no frame is left".into(),
            Wait::Spin => "wait spin: never sleeps, one CPU per worker".into(),
            Wait::Adaptive(spin) => {
                let spin = duration(spin);
                format!("wait adaptive: spins for {spin} after the last frame, then sleeps")
            }
        }
    }
}

/// What a worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Polls the receive half.
    Poll,
    /// Takes its socket out of the epoll set, then polls.
    Leave,
    /// Puts its socket back into the set, then polls: what came before woke nobody.
    Join,
    /// Sleeps in epoll, then polls.
    Sleep,
}

/// Empty polls between two readings of the clock while spinning: some hundred nanoseconds on a ring,
/// some microseconds where each poll is a system call.
const POLLS_A_CLOCK_READING: u32 = 16;

/// More than that many empty polls take, also where each is a system call on a slow machine: if more
/// time passes, the worker's CPU was taken away.
const GAP_NS: u64 = 100_000;

/// How often a worker that does not sleep does its housekeeping: it checks its interface's
/// errors, address and MTU, and for answers that the kernel has not taken yet.
const HOUSEKEEPING_NS: u64 = 1_000_000;

/// Where a worker stands between polling and sleeping: pure state, which makes no call by itself.
///
/// Times are readings of one clock that may be set back: then the spinning is over and it is time
/// for housekeeping.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WaitState {
    wait: Wait,
    /// Whether the socket is in the epoll set.
    joined: bool,
    /// Whether a frame came since the last sleep and the time to spin behind it is not over.
    spinning: bool,
    /// Empty polls since the last batch or reading of the clock.
    empty_polls: u32,
    now_ns: u64,
    last_batch_ns: u64,
    /// The last reading of the clock if nothing but empty polls came since.
    idle_since_ns: Option<u64>,
    /// The first reading since the last housekeeping.
    housekeeping_ns: Option<u64>,
}

impl WaitState {
    /// The beginning: the socket is in the set.
    pub fn new(wait: Wait) -> WaitState {
        WaitState {
            wait,
            joined: true,
            spinning: wait == Wait::Spin,
            empty_polls: 0,
            now_ns: 0,
            last_batch_ns: 0,
            idle_since_ns: None,
            housekeeping_ns: None,
        }
    }

    /// The first step.
    pub fn begin(&mut self) -> Step {
        if self.spinning { self.leave() } else { Step::Sleep }
    }

    /// The step after a batch, which was handled at `now_ns`. With
    /// `one_a_sleep`, a worker that does not spin sleeps after each batch.
    #[inline]
    pub fn batch_was_handled(&mut self, now_ns: u64, one_a_sleep: bool) -> Step {
        self.read_clock(now_ns);
        if self.wait == Wait::Epoll {
            return if one_a_sleep { Step::Sleep } else { Step::Poll };
        }
        self.last_batch_ns = now_ns;
        let first = !std::mem::replace(&mut self.spinning, true);
        if self.joined && !first { self.leave() } else { Step::Poll }
    }

    /// The step after an empty poll. `clock_ns` is read at every sixteenth of them. `note_gap` is told
    /// how long the CPU was away, in nanoseconds, if it was.
    #[inline]
    pub fn poll_was_empty(
        &mut self,
        clock_ns: impl FnOnce() -> u64,
        note_gap: impl FnOnce(u64),
    ) -> Step {
        if self.spinning {
            self.empty_polls += 1;
            if self.empty_polls < POLLS_A_CLOCK_READING {
                return Step::Poll;
            }
            let idle_since_ns = self.idle_since_ns;
            self.read_clock(clock_ns());
            let lasted_ns = idle_since_ns.and_then(|since_ns| self.now_ns.checked_sub(since_ns));
            if let Some(gap_ns) = lasted_ns.filter(|&lasted_ns| lasted_ns >= GAP_NS) {
                note_gap(gap_ns);
            }
            if !self.has_spun_enough() {
                self.idle_since_ns = Some(self.now_ns);
                return Step::Poll;
            }
            self.spinning = false;
        }
        if std::mem::replace(&mut self.joined, true) { Step::Sleep } else { Step::Join }
    }

    fn has_spun_enough(&self) -> bool {
        let spun_ns = since(self.last_batch_ns, self.now_ns);
        matches!(self.wait, Wait::Adaptive(enough) if u128::from(spun_ns) >= enough.as_nanos())
    }

    /// Whether it is time for housekeeping.
    #[inline]
    pub fn housekeeping_due(&self) -> bool {
        self.housekeeping_ns.is_some_and(|last_ns| since(last_ns, self.now_ns) >= HOUSEKEEPING_NS)
    }

    /// Housekeeping is done.
    pub fn housekeeping_done(&mut self) {
        self.housekeeping_ns = None;
        self.idle_since_ns = None;
    }

    fn read_clock(&mut self, now_ns: u64) {
        self.empty_polls = 0;
        self.idle_since_ns = None;
        self.now_ns = now_ns;
        self.housekeeping_ns.get_or_insert(now_ns);
    }

    #[cold]
    fn leave(&mut self) -> Step {
        self.joined = false;
        Step::Leave
    }
}

/// Nanoseconds from `earlier_ns` to `now_ns`; very many if the clock was set back in between.
fn since(earlier_ns: u64, now_ns: u64) -> u64 {
    now_ns.wrapping_sub(earlier_ns)
}

/// The gaps in the time of a worker that polls, for another thread to read; written at a gap only.
#[derive(Debug, Default)]
pub struct SharedGaps {
    total_ns: AtomicU64,
    longest_ns: AtomicU64,
    count: AtomicU64,
}

impl SharedGaps {
    /// Adds a gap of this many nanoseconds.
    #[cold]
    pub fn note(&self, lasted_ns: u64) {
        self.total_ns.fetch_add(lasted_ns, Ordering::Relaxed);
        self.longest_ns.fetch_max(lasted_ns, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// What all of them come to.
    pub fn sums(&self) -> GapSums {
        GapSums {
            total_ns: self.total_ns.load(Ordering::Relaxed),
            longest_ns: self.longest_ns.load(Ordering::Relaxed),
            count: self.count.load(Ordering::Relaxed),
        }
    }
}

/// Where a worker sleeps, what it reads the time by, and how it waits.
#[derive(Debug)]
pub struct Waiting<E, C> {
    /// Where it sleeps; its socket is in the set.
    pub sleeper: E,
    /// Its clock.
    pub clock: C,
    /// How it gets to sleep.
    pub state: WaitState,
    /// The times at which it spun and its CPU was taken away.
    pub gaps: Arc<SharedGaps>,
}

impl<E: Sleeper, C: Clock> Waiting<E, C> {
    /// As it is before the first frame.
    pub fn new(sleeper: E, clock: C, wait: Wait) -> Waiting<E, C> {
        Waiting { sleeper, clock, state: WaitState::new(wait), gaps: Arc::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPIN: Duration = Duration::from_micros(20);

    /// Polls without a frame until the clock is read, which says `now_ns`; the step after that.
    fn spin_until(wait_state: &mut WaitState, now_ns: u64) -> Step {
        let mut asked = false;
        for polls in 1.. {
            let read = || {
                asked = true;
                now_ns
            };
            let step = wait_state.poll_was_empty(read, |_| ());
            if asked || step != Step::Poll {
                assert!(polls <= POLLS_A_CLOCK_READING);
                return step;
            }
        }
        unreachable!("the loop ends at the latest at the clock");
    }

    #[test]
    fn epoll_drains_and_sleeps_and_never_asks_the_clock() {
        let mut wait_state = WaitState::new(Wait::Epoll);
        assert_eq!(wait_state.begin(), Step::Sleep);
        assert_eq!(
            [wait_state.batch_was_handled(1, false), wait_state.batch_was_handled(2, false)],
            [Step::Poll; 2]
        );
        assert_eq!(wait_state.poll_was_empty(|| unreachable!(), |_| unreachable!()), Step::Sleep);
        assert_eq!(wait_state.batch_was_handled(3, true), Step::Sleep);
    }

    #[test]
    fn spinning_leaves_once_and_never_comes_back() {
        let mut wait_state = WaitState::new(Wait::Spin);
        assert_eq!(wait_state.begin(), Step::Leave);
        for now_ns in [1, 2, 1 << 60] {
            assert_eq!(wait_state.batch_was_handled(now_ns, true), Step::Poll);
            assert_eq!(spin_until(&mut wait_state, now_ns + (1 << 40)), Step::Poll);
        }
    }

    #[test]
    fn lone_frames_cost_no_leave_and_no_join() {
        let mut wait_state = WaitState::new(Wait::Adaptive(SPIN));
        assert_eq!(wait_state.begin(), Step::Sleep);
        for start_ns in [1_000_000, 2_000_000] {
            assert_eq!(wait_state.batch_was_handled(start_ns, false), Step::Poll);
            assert_eq!(spin_until(&mut wait_state, start_ns + 19_999), Step::Poll);
            assert_eq!(spin_until(&mut wait_state, start_ns + 20_000), Step::Sleep);
            // A sleep that timed out.
            assert_eq!(
                wait_state.poll_was_empty(|| unreachable!(), |_| unreachable!()),
                Step::Sleep
            );
        }
    }

    #[test]
    fn what_was_left_at_the_second_batch_is_joined_and_polled_before_the_sleep() {
        let mut wait_state = WaitState::new(Wait::Adaptive(SPIN));
        assert_eq!(wait_state.batch_was_handled(1_000, false), Step::Poll);
        assert_eq!(wait_state.batch_was_handled(2_000, false), Step::Leave);
        assert_eq!(wait_state.batch_was_handled(3_000, false), Step::Poll);
        assert_eq!(spin_until(&mut wait_state, 23_000), Step::Join);
        let mut missed = wait_state.clone();
        assert_eq!(wait_state.poll_was_empty(|| unreachable!(), |_| unreachable!()), Step::Sleep);
        // Found by the poll after the join: the first batch after a pause.
        assert_eq!(missed.batch_was_handled(23_500, false), Step::Poll);
        assert_eq!(missed.batch_was_handled(24_000, false), Step::Leave);
    }

    #[test]
    fn a_clock_that_was_set_back_ends_the_spinning_and_lets_the_worker_do_its_housekeeping() {
        let mut wait_state = WaitState::new(Wait::Adaptive(SPIN));
        let hour_ns = 3_600_000_000_000;
        wait_state.batch_was_handled(hour_ns, false);
        assert!(!wait_state.housekeeping_due());
        assert_eq!(spin_until(&mut wait_state, hour_ns - 1), Step::Sleep);
        assert!(wait_state.housekeeping_due());
    }

    #[test]
    fn only_time_in_which_the_worker_polled_in_vain_is_a_gap() {
        let mut wait_state = WaitState::new(Wait::Spin);
        let mut gaps = Vec::new();
        let mut reading = |wait_state: &mut WaitState, now_ns| {
            for _ in 0..POLLS_A_CLOCK_READING {
                wait_state.poll_was_empty(|| now_ns, |gap_ns| gaps.push(gap_ns));
            }
        };
        reading(&mut wait_state, 1_000_000);
        reading(&mut wait_state, 1_000_000 + GAP_NS - 1);
        reading(&mut wait_state, 9_000_000);
        // A batch, housekeeping and a clock that is set back are no gaps.
        wait_state.batch_was_handled(20_000_000, false);
        reading(&mut wait_state, 30_000_000);
        wait_state.housekeeping_done();
        reading(&mut wait_state, 40_000_000);
        reading(&mut wait_state, 35_000_000);
        assert_eq!(gaps, [9_000_000 - 1_000_000 - (GAP_NS - 1)]);
    }

    #[test]
    fn housekeeping_is_due_a_millisecond_after_its_first_reading() {
        let mut wait_state = WaitState::new(Wait::Epoll);
        wait_state.batch_was_handled(5_000_000, false);
        wait_state.batch_was_handled(5_999_999, false);
        assert!(!wait_state.housekeeping_due());
        wait_state.batch_was_handled(6_000_000, false);
        assert!(wait_state.housekeeping_due());
        // However long it slept since.
        wait_state.housekeeping_done();
        wait_state.batch_was_handled(900_000_000, false);
        assert!(!wait_state.housekeeping_due());
    }
}
