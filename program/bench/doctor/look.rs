//! A look of some seconds at the CPUs that a measurement would use: what is taken from a loop that does
//! nothing but look at the clock, and what an interface carries meanwhile.

use std::thread;
use std::time::Duration;

use crate::stats::gaps::{GapSums, Gaps};
use crate::sys::clock::monotonic_ns;
use crate::sys::cpu_stat::cpu_times;
use crate::sys::cpus::pin;
use crate::sys::link::{Link, Links};
use crate::sys::reading::{Reading, Unreadable};

/// What was seen on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CpuLook {
    /// The CPU.
    pub cpu: usize,
    /// How long the loop ran, in nanoseconds.
    pub span_ns: u64,
    /// Time that is missing between two looks at the clock, all together, in nanoseconds.
    pub gap_ns: u64,
    /// The longest time missing at a stretch, in nanoseconds.
    pub longest_gap_ns: u64,
    /// Nanoseconds that the hypervisor says it gave to others; `None` where it is not to be read.
    pub steal_ns: Option<u64>,
}

impl CpuLook {
    /// The part of the time that was taken, from 0 to 1, by the larger evidence.
    pub fn share(&self) -> f64 {
        self.gap_ns.max(self.steal_ns.unwrap_or(0)) as f64 / self.span_ns.max(1) as f64
    }
}

/// Looks at `cpus` for `lasting`, a thread on each, and gives the frames that the interface received and sent
/// meanwhile.
pub fn look(
    cpus: &[usize],
    interface: Option<(&Links, &Link)>,
    lasting: Duration,
) -> (Vec<Reading<CpuLook>>, Option<Reading<[u64; 2]>>) {
    let frames = || {
        let (links, link) = interface?;
        let counted = links.counters(link.index);
        let counted = counted.map_err(|error| Unreadable::because(error.to_string()));
        Some(counted.map(|counted| [counted.received_frames, counted.transmitted_frames]))
    };
    let before = frames();
    let looks = thread::scope(|scope| {
        let threads: Vec<_> =
            cpus.iter().map(|&cpu| scope.spawn(move || spin(cpu, lasting))).collect();
        let ended = |thread: thread::ScopedJoinHandle<'_, Reading<CpuLook>>| {
            thread
                .join()
                .unwrap_or_else(|_| Err(Unreadable::because("the looking thread panicked")))
        };
        threads.into_iter().map(ended).collect()
    });
    let passed = |before: Reading<[u64; 2]>, now: Reading<[u64; 2]>| {
        let (before, now) = (before?, now?);
        Ok([0, 1].map(|way| now[way].saturating_sub(before[way])))
    };
    (looks, before.zip(frames()).map(|(before, now)| passed(before, now)))
}

fn spin(cpu: usize, lasting: Duration) -> Reading<CpuLook> {
    pin(cpu).map_err(|error| Unreadable::because(error.to_string()))?;
    let steal = steal_ns(cpu);
    let begin = monotonic_ns();
    let end = begin + lasting.as_nanos() as u64;
    let (mut gaps, mut now) = (Gaps::default(), begin);
    while now < end {
        gaps.was_idle(now);
        now = monotonic_ns();
        gaps.looked(now);
    }
    let steal = steal.zip(steal_ns(cpu)).map(|(before, now)| now.saturating_sub(before));
    let GapSums { total_ns, longest_ns, .. } = gaps.sums();
    let (gap_ns, longest_gap_ns) = (total_ns, longest_ns);
    Ok(CpuLook { cpu, span_ns: now - begin, gap_ns, longest_gap_ns, steal_ns: steal })
}

fn steal_ns(cpu: usize) -> Option<u64> {
    let times = cpu_times("").ok()?;
    times.into_iter().find(|(other, _)| *other == cpu).map(|(_, times)| times.steal_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_ends_and_says_which_cpu_it_could_not_see() {
        let links = Links::open().unwrap();
        let loopback = links.by_name("lo").unwrap();
        let lasting = Duration::from_millis(20);
        let cpu = crate::sys::cpus::choose_cpus(&[]).unwrap()[0];
        let (looks, passed) = look(&[cpu, usize::MAX], Some((&links, &loopback)), lasting);
        let seen = looks[0].as_ref().unwrap();
        assert!(seen.span_ns >= 20_000_000 && seen.gap_ns <= seen.span_ns, "{seen:?}");
        assert!(seen.longest_gap_ns <= seen.gap_ns && seen.share() <= 1.0);
        assert!(looks[1].is_err() && passed.unwrap().is_ok());
    }
}
