//! What the threads of a load notice of their CPUs being taken away.

use std::sync::{Mutex, PoisonError};

use crate::stats::gaps::{GapSums, Gaps};
use crate::sys::thread_stat::{ThreadNumber, ThreadStat};

/// What one thread of a load noticed in a part of its life.
#[derive(Clone, Debug)]
pub struct ThreadRecord {
    /// The CPU that it is pinned to, if it is.
    pub cpu: Option<usize>,
    /// Whether another thread of the load is pinned to the same CPU: they take it from one another.
    pub shares_cpu: bool,
    /// Its gaps while it had nothing to do and did not sleep.
    pub gaps: GapSums,
    /// What the scheduler counted for it.
    pub stat: ThreadStat,
}

/// The threads of a load.
#[derive(Debug, Default)]
pub(super) struct ThreadRecords(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    running: Vec<Begun>,
    ended: Vec<ThreadRecord>,
}

/// A running thread.
#[derive(Clone, Debug)]
struct Begun {
    /// Its place among the load's threads.
    number: usize,
    thread: ThreadNumber,
    cpu: Option<usize>,
    shares_cpu: bool,
    since: ThreadStat,
}

impl Begun {
    fn record(&self, now: &ThreadStat, gaps: GapSums) -> ThreadRecord {
        let Begun { cpu, shares_cpu, since, .. } = self;
        ThreadRecord { cpu: *cpu, shares_cpu: *shares_cpu, gaps, stat: now.since(since) }
    }
}

impl ThreadRecords {
    /// The calling thread begins; `cpus` are those of all threads, its own in the place `number`, as
    /// far as they are pinned.
    pub fn begin(&self, cpus: &[usize], number: usize) -> Recording<'_> {
        let thread = ThreadNumber::current();
        let cpu = cpus.get(number).copied();
        let begun = Begun {
            number,
            thread,
            cpu,
            shares_cpu: cpus.iter().filter(|other| Some(**other) == cpu).count() > 1,
            since: ThreadStat::read("", thread),
        };
        self.locked(|all| all.running.push(begun.clone()));
        Recording { records: self, begun, gaps: Gaps::default() }
    }

    /// What the running threads noticed since the last call, `gaps` being those of thread `number`.
    pub fn recent(&self, number: usize, gaps: GapSums) -> Vec<ThreadRecord> {
        let recent = |begun: &mut Begun| {
            let now = ThreadStat::read("", begun.thread);
            let its_gaps = if begun.number == number { gaps } else { GapSums::default() };
            let record = begun.record(&now, its_gaps);
            begun.since = now;
            record
        };
        self.locked(|all| all.running.iter_mut().map(recent).collect())
    }

    /// What all threads noticed that have ended.
    pub fn take(&self) -> Vec<ThreadRecord> {
        self.locked(|all| std::mem::take(&mut all.ended))
    }

    fn locked<T>(&self, work: impl FnOnce(&mut Recorded) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The record of the calling thread, until this is dropped.
pub(super) struct Recording<'a> {
    records: &'a ThreadRecords,
    begun: Begun,
    pub gaps: Gaps,
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        let now = ThreadStat::read("", self.begun.thread);
        let record = self.begun.record(&now, self.gaps.sums());
        self.records.locked(|all| {
            all.running.retain(|other| other.thread != self.begun.thread);
            all.ended.push(record);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_go_to_the_thread_that_had_them_and_each_time_counts_once() {
        let records = ThreadRecords::default();
        let gaps = GapSums { total_ns: 50, longest_ns: 30, count: 2 };
        {
            let mut other = records.begin(&[4, 5, 5], 1);
            let _reports = records.begin(&[4, 5, 5], 0);
            let recent = records.recent(0, gaps);
            assert_eq!((recent[0].cpu, recent[0].gaps), (Some(5), GapSums::default()));
            assert_eq!((recent[1].cpu, recent[1].gaps), (Some(4), gaps));
            assert!(recent[0].shares_cpu && !recent[1].shares_cpu);
            other.gaps.was_idle(1);
            other.gaps.looked(100_001);
        }
        let ended = records.take();
        assert_eq!(ended.len(), 2);
        let found = ended.iter().find(|one| one.cpu == Some(5)).unwrap();
        assert_eq!(found.gaps.total_ns, 100_000);
        assert!(records.take().is_empty());
    }
}
