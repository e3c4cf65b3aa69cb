//! How a thread got on with the kernel's scheduler. No privilege is needed for the process's own
//! threads.

use nix::unistd::gettid;

use super::reading::{Reading, found_in};

/// A thread of this process, by the kernel's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadNumber(pub i32);

impl ThreadNumber {
    /// The calling thread.
    pub fn current() -> ThreadNumber {
        ThreadNumber(gettid().as_raw())
    }
}

/// What the scheduler has counted for a thread since it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadStat {
    /// Nanoseconds for which it could have run and was not let: the second field of `schedstat`
    /// (`sched_info.run_delay`, kernel/sched/stats.h), which grows when a wait ends. Waking up on an
    /// idle CPU takes some of it, too.
    pub run_delay_ns: Reading<u64>,
    /// Times that the CPU was taken from it (`nonvoluntary_ctxt_switches` of `status`).
    pub involuntary_switches: Reading<u64>,
    /// Times that it went to sleep (`voluntary_ctxt_switches`).
    pub voluntary_switches: Reading<u64>,
}

impl ThreadStat {
    /// Reads the counts of `thread`, in some ten microseconds. `root` is what stands before `/proc`:
    /// nothing, outside of tests.
    pub fn read(root: &str, ThreadNumber(thread): ThreadNumber) -> ThreadStat {
        let schedstat = format!("{root}/proc/self/task/{thread}/schedstat");
        let status = format!("{root}/proc/self/task/{thread}/status");
        let switches = |name: &'static str| {
            found_in(&status, |text| {
                text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
            })
        };
        ThreadStat {
            run_delay_ns: found_in(&schedstat, run_delay_ns),
            involuntary_switches: switches("nonvoluntary_ctxt_switches:"),
            voluntary_switches: switches("voluntary_ctxt_switches:"),
        }
    }

    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &ThreadStat) -> ThreadStat {
        ThreadStat {
            run_delay_ns: passed(&self.run_delay_ns, &earlier.run_delay_ns),
            involuntary_switches: passed(&self.involuntary_switches, &earlier.involuntary_switches),
            voluntary_switches: passed(&self.voluntary_switches, &earlier.voluntary_switches),
        }
    }
}

/// The growth of a counter that was readable both times.
pub(super) fn passed(now: &Reading<u64>, earlier: &Reading<u64>) -> Reading<u64> {
    Ok(now.clone()?.saturating_sub(earlier.clone()?))
}

/// The second of three numbers. All are zero where the kernel does not count, and the third, how often
/// the thread was let run, is not where it does.
fn run_delay_ns(schedstat: &str) -> Option<u64> {
    let mut numbers = schedstat.split_whitespace().map(|number| number.parse::<u64>().ok());
    let (_, delay_ns, turns) = (numbers.next()??, numbers.next()??, numbers.next()??);
    (turns > 0).then_some(delay_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_the_kernel_does_not_watch_has_no_run_delay() {
        assert_eq!(run_delay_ns("5123 77 3\n"), Some(77));
        assert_eq!(run_delay_ns("5123 0 3\n"), Some(0));
        assert_eq!(run_delay_ns("0 0 0\n"), None);
        assert_eq!(run_delay_ns("5123 77"), None);
        assert_eq!(run_delay_ns("a b c"), None);
    }

    #[test]
    fn a_thread_that_sleeps_gives_its_cpu_up_by_itself() {
        let read = || ThreadStat::read("", ThreadNumber::current());
        let before = read();
        std::thread::sleep(std::time::Duration::from_millis(1));
        let passed = read().since(&before);
        assert!(passed.voluntary_switches.unwrap() >= 1);
        assert!(passed.involuntary_switches.is_ok());
    }

    #[test]
    fn what_is_hidden_is_named() {
        let stat = ThreadStat::read("/nonexistent", ThreadNumber::current());
        let hidden = stat.run_delay_ns.clone().unwrap_err();
        assert!(hidden.not_readable.contains("ENOENT"), "{hidden}");
        assert!(stat.since(&stat).involuntary_switches.is_err());
    }
}
