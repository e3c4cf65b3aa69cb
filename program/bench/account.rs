//! The disturbance account: how much of a CPU's time was taken from the generator and the engine while
//! they ran, by whoever it was.
//!
//! Gaps in the time of a loop that spins prove it whoever took the CPU. The counters of the kernel explain
//! a gap, and show more where no loop spins; each of them sees its own kind of theft only, and containers
//! hide some, which is named and not taken for zero. So the largest evidence counts for each CPU, and not
//! the sum.

use std::collections::BTreeMap;
use std::fmt;

use super::disturbance::Disturbance;
use crate::engine::pool::WorkerThread;
use crate::load::run::ThreadRecord;
use crate::stats::gaps::GapSums;
use crate::stats::state::{DISTURBED_SHARE, State};
use crate::sys::clock::monotonic_ns;
use crate::sys::cpu_stat::{CpuTimes, cpu_times, frequency_khz, pressure_ns, throttled_ns};
use crate::sys::reading::{Reading, Unreadable};
use crate::sys::thread_stat::ThreadStat;

/// For less than this no ring or buffer overflows: it holds what comes meanwhile. A quiet machine keeps
/// a thread waiting for up to a millisecond of a second, in small pieces.
const AWAY_NS: u64 = 2_000_000;

/// Frames that may be lost for each that came while a CPU was away.
const CATCHING_UP: f64 = 2.0;

/// Waking up on an idle CPU costs a thread at most this much run delay (0.05 to 0.3 µs were measured),
/// which nobody took from it.
const WAKE_UP_NS: u64 = 1000;

/// The kernel tells stolen time in ticks: one more may stand for next to nothing.
const TICK_NS: u64 = 10_000_000;

/// Whose CPU it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A thread of the load.
    #[default]
    Generator,
    /// A worker of our own engine.
    Engine,
}

/// What shows that a CPU was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Gaps of a spinning loop.
    ClockGaps,
    /// Waiting in this kernel's run queue.
    RunQueue,
    /// The hypervisor's account.
    Steal,
    /// The cgroup's quota.
    Throttling,
}

/// What was taken from one CPU of the generator or the engine.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct CpuTaken {
    /// Whose it is.
    pub role: Role,
    /// The CPU; `None` for threads that are pinned to none.
    pub cpu: Option<usize>,
    /// Nanoseconds that are missing in the time of a loop that spun there; `None` where none of ours
    /// looks at the clock.
    pub gap_ns: Option<u64>,
    /// The longest time missing at a stretch, in nanoseconds.
    pub longest_gap_ns: Option<u64>,
    /// Nanoseconds for which our threads there could have run and were not let, wake-ups included.
    pub run_delay_ns: Option<u64>,
    /// Times that the CPU was taken from them.
    pub involuntary_switches: Option<u64>,
    /// Nanoseconds that the hypervisor says it gave to others.
    pub steal_ns: Option<u64>,
    /// Nanoseconds in interrupts.
    pub irq_ns: Option<u64>,
    /// Nanoseconds in soft interrupts; on a veth pair most are the measurement's own.
    pub softirq_ns: Option<u64>,
    /// The clock rate at the end, in kilohertz.
    pub frequency_khz: Option<u64>,
    /// The part of the time that was taken, from 0 to 1, by the largest evidence.
    pub disturbed_share: f64,
    /// The largest evidence that the CPU was away at a stretch, in nanoseconds.
    #[serde(skip)]
    pub away_ns: u64,
    /// What shows it; empty where the share is within [`DISTURBED_SHARE`].
    pub evidence: Vec<Evidence>,
}

/// What was taken in the time between two readings.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Taken {
    /// The time, in nanoseconds.
    pub span_ns: u64,
    /// By CPU, the generator's first.
    pub cpus: Vec<CpuTaken>,
    /// Nanoseconds for which the cgroup was kept from all CPUs.
    pub throttled_ns: Option<u64>,
    /// Nanoseconds for which some task of the machine waited for a CPU.
    pub pressure_ns: Option<u64>,
    /// What this machine hides: the fields that have no value for it, and why.
    pub not_readable: BTreeMap<&'static str, String>,
}

impl Taken {
    /// The part of the time that was taken from the CPU that fared worst, from 0 to 1.
    pub fn share(&self) -> f64 {
        self.cpus.iter().map(|cpu| cpu.disturbed_share).fold(0.0, f64::max)
    }

    /// Whether our own engine was on a CPU of the generator's: then they take it from one another.
    pub fn shares_cpu(&self) -> bool {
        let of = |role| self.cpus.iter().filter(move |one| one.role == role && one.cpu.is_some());
        of(Role::Engine).any(|engine| of(Role::Generator).any(|other| other.cpu == engine.cpu))
    }

    /// Adds what was taken in another time, from the same CPUs.
    pub fn merge(&mut self, other: &Taken) {
        if self.cpus.is_empty() {
            *self = other.clone();
            return;
        }
        let span_ns = self.span_ns + other.span_ns;
        for (sum, more) in self.cpus.iter_mut().zip(&other.cpus) {
            let share = |taken: &CpuTaken, ns: u64| taken.disturbed_share * ns as f64;
            sum.disturbed_share =
                (share(sum, self.span_ns) + share(more, other.span_ns)) / span_ns.max(1) as f64;
            sum.gap_ns = plus(sum.gap_ns, more.gap_ns);
            sum.longest_gap_ns = sum.longest_gap_ns.max(more.longest_gap_ns);
            sum.run_delay_ns = plus(sum.run_delay_ns, more.run_delay_ns);
            sum.involuntary_switches = plus(sum.involuntary_switches, more.involuntary_switches);
            sum.steal_ns = plus(sum.steal_ns, more.steal_ns);
            sum.away_ns += more.away_ns;
            sum.irq_ns = plus(sum.irq_ns, more.irq_ns);
            sum.softirq_ns = plus(sum.softirq_ns, more.softirq_ns);
            let new = more.evidence.iter().filter(|one| !sum.evidence.contains(one));
            let new: Vec<Evidence> = new.copied().collect();
            sum.evidence.extend(new);
        }
        self.span_ns = span_ns;
        self.throttled_ns = plus(self.throttled_ns, other.throttled_ns);
        self.pressure_ns = plus(self.pressure_ns, other.pressure_ns);
    }

    /// Whether it may be owed to the machine that `frames` of a load of `pps` frames per second did not
    /// come back, or were not even sent: what came while a CPU was away may be lost, and as much while
    /// the thread catches up with cold caches. Frames beyond that are lost for want of speed.
    pub fn explains(&self, frames: u64, pps: f64) -> bool {
        let away_ns = self.cpus.iter().map(|cpu| cpu.away_ns).max().unwrap_or(0);
        let most = CATCHING_UP * pps * away_ns as f64 / 1e9;
        away_ns >= AWAY_NS && frames as f64 <= most
    }

    /// This as what disturbed a measurement.
    pub fn disturbance(&self) -> Disturbance {
        let share = self.share();
        let account = match self.to_string() {
            empty if empty.is_empty() => {
                format!("{:.1} % of a CPU's time was taken", 100.0 * share)
            }
            account => account,
        };
        Disturbance::TimeTaken { share, account }
    }

    /// What a number is worth that was measured meanwhile.
    pub fn state(&self) -> State {
        State::of_share(self.share())
    }
}

/// A sum of what both say; what one of them hides is not known.
fn plus(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    Some(one? + other?)
}

impl fmt::Display for Taken {
    /// What was taken from each disturbed CPU, in a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.cpus.iter().filter(|cpu| cpu.disturbed_share > DISTURBED_SHARE);
        for (at, CpuTaken { role, cpu, disturbed_share, evidence, .. }) in taken.enumerate() {
            f.write_str(if at == 0 { "" } else { "; " })?;
            let whose = match role {
                Role::Generator => "the generator's",
                Role::Engine => "the engine's",
            };
            let cpu = cpu.map_or("time".into(), |cpu| format!("CPU {cpu}"));
            let names = evidence.iter().map(|one| match one {
                Evidence::ClockGaps => "clock gaps",
                Evidence::RunQueue => "run queue",
                Evidence::Steal => "steal",
                Evidence::Throttling => "cgroup quota",
            });
            let names: Vec<&str> = names.collect();
            let share = 100.0 * disturbed_share;
            write!(f, "{share:.0} % of {whose} {cpu} was taken ({})", names.join(", "))?;
        }
        Ok(())
    }
}

/// Reads what is taken, from one reading to the next.
#[derive(Clone, Debug)]
pub struct Account {
    /// What stands before `/proc` and `/sys`.
    root: String,
    workers: Vec<WorkerThread>,
    last: Look,
}

#[derive(Clone, Debug)]
struct Look {
    at_ns: u64,
    workers: Vec<(ThreadStat, Option<GapSums>)>,
    cpus: Reading<Vec<(usize, CpuTimes)>>,
    throttled_ns: Reading<u64>,
    pressure_ns: Reading<u64>,
}

impl Account {
    /// Begins with the engine's threads; none where the engine is not ours. The generator's threads come with each [`Account::read`].
    pub fn open(workers: Vec<WorkerThread>) -> Account {
        Account::open_in("", workers)
    }

    /// As [`Account::open`] on a machine whose `/proc` and `/sys` are below `root`.
    pub fn open_in(root: &str, workers: Vec<WorkerThread>) -> Account {
        let last = Look::now(root, &workers);
        Account { root: root.into(), workers, last }
    }

    /// What is taken until now does not count.
    pub fn begin(&mut self) {
        self.last = Look::now(&self.root, &self.workers);
    }

    /// What was taken since the last reading, `generator` being what the load's threads noticed. Takes
    /// some hundred microseconds.
    pub fn read(&mut self, generator: &[ThreadRecord]) -> Taken {
        let now = Look::now(&self.root, &self.workers);
        let before = std::mem::replace(&mut self.last, now);
        let now = &self.last;
        let mut rows: Vec<Row> = Vec::new();
        for ThreadRecord { cpu, shares_cpu, gaps, stat } in generator {
            Row::of(&mut rows, Role::Generator, *cpu).add(Some(*gaps), stat, *shares_cpu);
        }
        for (at, WorkerThread { cpu, .. }) in self.workers.iter().enumerate() {
            let shares_cpu = self.workers.iter().filter(|other| other.cpu == *cpu).count() > 1;
            let ((stat, gaps), (stat_before, gaps_before)) =
                (&now.workers[at], &before.workers[at]);
            let gaps = gaps.zip(*gaps_before).map(|(now, before)| now.since(&before));
            let stat = stat.since(stat_before);
            Row::of(&mut rows, Role::Engine, Some(*cpu)).add(gaps, &stat, shares_cpu);
        }
        let mut hidden = Hidden::default();
        let throttled_ns = hidden.passed("throttled_ns", &now.throttled_ns, &before.throttled_ns);
        let pressure_ns = hidden.passed("pressure_ns", &now.pressure_ns, &before.pressure_ns);
        let span_ns = now.at_ns.saturating_sub(before.at_ns);
        let mut cpus = Vec::new();
        for row in &rows {
            let mut spent = |signal, field: fn(&CpuTimes) -> u64| {
                let of = |look: &Look| times(look, row.cpu).map(|times| field(&times));
                hidden.passed(signal, &of(now), &of(&before))
            };
            let (steal_ns, irq_ns, softirq_ns) = (
                spent("steal_ns", |times| times.steal_ns),
                spent("irq_ns", |times| times.irq_ns),
                spent("softirq_ns", |times| times.softirq_ns),
            );
            let frequency = row.cpu.map_or(unpinned(), |cpu| frequency_khz(&self.root, cpu));
            let mut taken = CpuTaken {
                role: row.role,
                cpu: row.cpu,
                gap_ns: row.gaps.map(|gaps| gaps.total_ns),
                longest_gap_ns: row.gaps.map(|gaps| gaps.longest_ns),
                run_delay_ns: hidden.keep("run_delay_ns", &row.run_delay_ns),
                involuntary_switches: hidden.keep("involuntary_switches", &row.switches),
                steal_ns,
                irq_ns,
                softirq_ns,
                frequency_khz: hidden.keep("frequency_khz", &frequency),
                disturbed_share: 0.0,
                away_ns: 0,
                evidence: Vec::new(),
            };
            // Our own threads on one CPU take it from one another.
            let others = rows.iter().filter(|other| other.cpu == row.cpu).count() > 1;
            let is_shared = row.shares_cpu || (others && row.cpu.is_some());
            taken.judge(span_ns, throttled_ns, row.wake_ups, is_shared);
            cpus.push(taken);
        }
        Taken { span_ns, cpus, throttled_ns, pressure_ns, not_readable: hidden.0 }
    }
}

fn times(look: &Look, cpu: Option<usize>) -> Reading<CpuTimes> {
    let cpus = look.cpus.as_ref().map_err(Unreadable::clone)?;
    let found = cpus.iter().find(|(number, _)| Some(*number) == cpu);
    found.map_or_else(unpinned, |(_, times)| Ok(*times))
}

fn unpinned<T>() -> Reading<T> {
    Err(Unreadable::because("not known of this CPU, or the thread is pinned to none"))
}

/// What turned out not to be readable, and why.
#[derive(Default)]
struct Hidden(BTreeMap<&'static str, String>);

impl Hidden {
    fn keep(&mut self, signal: &'static str, read: &Reading<u64>) -> Option<u64> {
        match read {
            Ok(value) => Some(*value),
            Err(why) => {
                self.0.entry(signal).or_insert_with(|| why.to_string());
                None
            }
        }
    }

    fn passed(
        &mut self,
        signal: &'static str,
        now: &Reading<u64>,
        before: &Reading<u64>,
    ) -> Option<u64> {
        let (now, before) = (self.keep(signal, now), self.keep(signal, before));
        Some(now?.saturating_sub(before?))
    }
}

impl CpuTaken {
    fn judge(&mut self, span_ns: u64, throttled_ns: Option<u64>, wake_ups: u64, is_shared: bool) {
        let own = |taken_ns: Option<u64>| taken_ns.filter(|_| !is_shared).unwrap_or(0);
        let waited_ns = own(self.run_delay_ns).saturating_sub(wake_ups * WAKE_UP_NS);
        let found = [
            (Evidence::ClockGaps, own(self.gap_ns)),
            (Evidence::RunQueue, waited_ns),
            (Evidence::Steal, self.steal_ns.unwrap_or(0).saturating_sub(TICK_NS)),
            (Evidence::Throttling, throttled_ns.unwrap_or(0)),
        ];
        for (evidence, taken_ns) in found {
            let share = (taken_ns as f64 / span_ns.max(1) as f64).min(1.0);
            self.disturbed_share = self.disturbed_share.max(share);
            // Many short gaps are no long one.
            let is_short = evidence == Evidence::ClockGaps && self.longest_gap_ns < Some(AWAY_NS);
            self.away_ns = self.away_ns.max(if is_short { 0 } else { taken_ns });
            if share > DISTURBED_SHARE {
                self.evidence.push(evidence);
            }
        }
    }
}

/// The threads of one role on one CPU.
#[derive(Debug)]
struct Row {
    role: Role,
    cpu: Option<usize>,
    shares_cpu: bool,
    gaps: Option<GapSums>,
    run_delay_ns: Reading<u64>,
    switches: Reading<u64>,
    wake_ups: u64,
}

impl Row {
    fn of(rows: &mut Vec<Row>, role: Role, cpu: Option<usize>) -> &mut Row {
        let at = rows.iter().position(|row| row.role == role && row.cpu == cpu);
        let at = at.unwrap_or_else(|| {
            let (run_delay_ns, switches) = (Ok(0), Ok(0));
            let (shares_cpu, gaps, wake_ups) = (false, None, 0);
            rows.push(Row { role, cpu, shares_cpu, gaps, run_delay_ns, switches, wake_ups });
            rows.len() - 1
        });
        &mut rows[at]
    }

    fn add(&mut self, gaps: Option<GapSums>, stat: &ThreadStat, shares_cpu: bool) {
        self.shares_cpu |= shares_cpu;
        if let Some(gaps) = gaps {
            self.gaps.get_or_insert_default().merge(gaps);
        }
        let sum = |sum: &mut Reading<u64>, count: &Reading<u64>| match (&mut *sum, count) {
            (Ok(sum), Ok(count)) => *sum += count,
            (Ok(_), Err(_)) => sum.clone_from(count),
            (Err(_), _) => {}
        };
        sum(&mut self.run_delay_ns, &stat.run_delay_ns);
        sum(&mut self.switches, &stat.involuntary_switches);
        self.wake_ups += stat.voluntary_switches.as_ref().unwrap_or(&0);
    }
}

impl Look {
    fn now(root: &str, workers: &[WorkerThread]) -> Look {
        let worker = |WorkerThread { number, gaps, .. }: &WorkerThread| {
            (ThreadStat::read(root, *number), gaps.as_ref().map(|gaps| gaps.sums()))
        };
        Look {
            at_ns: monotonic_ns(),
            workers: workers.iter().map(worker).collect(),
            cpus: cpu_times(root),
            throttled_ns: throttled_ns(root),
            pressure_ns: pressure_ns(root),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::wait::SharedGaps;
    use crate::sys::thread_stat::ThreadNumber;
    use std::fs::{create_dir_all, remove_file, write};
    use std::path::PathBuf;
    use std::sync::Arc;

    const MS: u64 = 1_000_000;
    const WORKER: ThreadNumber = ThreadNumber(71);

    /// A machine whose kernel says what it is told to.
    struct Machine(PathBuf);

    impl Machine {
        fn new(name: &str) -> Machine {
            let name = format!("linerate-account-{name}-{}", std::process::id());
            let machine = Machine(std::env::temp_dir().join(name));
            machine.says(0, 0, 0);
            machine.write("proc/pressure/cpu", "some avg10=0 avg60=0 avg300=0 total=5\n");
            machine.write("proc/self/cgroup", "0::/\n");
            machine.write("sys/fs/cgroup/cpu.stat", "throttled_usec 5\n");
            machine
        }

        fn write(&self, file: &str, text: &str) {
            let file = self.0.join(file);
            create_dir_all(file.parent().unwrap()).unwrap();
            write(file, text).unwrap();
        }

        /// The worker waited and was preempted so much, and CPU 0 was stolen for so many ticks.
        fn says(&self, waited_ns: u64, switches: u64, stolen: u64) {
            let task = format!("proc/self/task/{}", WORKER.0);
            self.write(&format!("{task}/schedstat"), &format!("9 {waited_ns} 3\n"));
            self.write(
                &format!("{task}/status"),
                &format!("voluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t{switches}\n"),
            );
            let cpus = format!("cpu0 9 0 0 0 0 1 2 {stolen}\ncpu1 9 0 0 0 0 0 0 0\n");
            self.write("proc/stat", &cpus);
        }

        fn account(&self) -> Account {
            self.account_of(None)
        }

        fn account_of(&self, gaps: Option<Arc<SharedGaps>>) -> Account {
            let worker = WorkerThread { number: WORKER, cpu: 1, gaps };
            Account::open_in(&self.0.to_string_lossy(), vec![worker])
        }
    }

    fn generator(cpu: usize, gaps: GapSums) -> ThreadRecord {
        let stat = ThreadStat::read("", ThreadNumber::current());
        let stat = stat.since(&stat);
        ThreadRecord { cpu: Some(cpu), shares_cpu: false, gaps, stat }
    }

    /// The reading of an account that began `span_ns` ago.
    fn read(account: &mut Account, span_ns: u64, generator: &[ThreadRecord]) -> Taken {
        account.last.at_ns = monotonic_ns() - span_ns;
        account.read(generator)
    }

    #[test]
    fn a_worker_that_polls_shows_what_no_counter_does() {
        let machine = Machine::new("polls");
        let gaps: Arc<SharedGaps> = Arc::default();
        gaps.note(900 * MS);
        let mut account = machine.account_of(Some(Arc::clone(&gaps)));
        let mut other = account.clone();
        let none = read(&mut account, 1000 * MS, &[]);
        assert_eq!((none.cpus[0].gap_ns, none.share()), (Some(0), 0.0));
        gaps.note(300 * MS);
        for account in [&mut account, &mut other] {
            let taken = read(account, 1000 * MS, &[]);
            let [worker] = &taken.cpus[..] else { panic!("{taken:?}") };
            assert_eq!((worker.gap_ns, worker.longest_gap_ns), (Some(300 * MS), Some(300 * MS)));
            assert!((worker.disturbed_share - 0.3).abs() < 0.01, "{worker:?}");
            assert_eq!(worker.evidence, [Evidence::ClockGaps]);
        }
    }

    #[test]
    fn the_largest_evidence_counts_for_each_cpu() {
        let machine = Machine::new("largest");
        let mut account = machine.account();
        machine.says(300 * MS, 40, 20);
        let gaps = GapSums { total_ns: 100 * MS, longest_ns: 4 * MS, count: 30 };
        let taken = read(&mut account, 1000 * MS, &[generator(0, gaps)]);
        let [here, there] = &taken.cpus[..] else { panic!("{taken:?}") };
        assert_eq!((here.gap_ns, here.longest_gap_ns), (Some(100 * MS), Some(4 * MS)));
        assert_eq!((here.steal_ns, here.irq_ns), (Some(200 * MS), Some(0)));
        assert!((here.disturbed_share - 0.19).abs() < 0.01, "{here:?}");
        assert_eq!(here.evidence, [Evidence::ClockGaps, Evidence::Steal]);
        assert_eq!((there.gap_ns, there.run_delay_ns), (None, Some(300 * MS)));
        assert_eq!((there.involuntary_switches, there.steal_ns), (Some(40), Some(0)));
        assert_eq!(there.evidence, [Evidence::RunQueue]);
        assert!((taken.share() - 0.3).abs() < 0.01 && taken.state() != State::Clear);
        let text = taken.to_string();
        assert!(text.contains("generator's CPU 0") && text.contains("engine's CPU 1"), "{text}");
        // At 1000 frames a second 300 came while the engine was away.
        assert!(taken.explains(500, 1000.0) && !taken.explains(700, 1000.0));
        // What was said before does not count again.
        let taken = read(&mut account, 1000 * MS, &[generator(0, GapSums::default())]);
        assert!(taken.share() == 0.0 && taken.to_string().is_empty(), "{taken:?}");
    }

    #[test]
    fn own_threads_that_take_a_cpu_from_one_another_are_no_theft() {
        let machine = Machine::new("shared");
        let mut account = machine.account();
        machine.says(300 * MS, 40, 0);
        let gaps = GapSums { total_ns: 400 * MS, longest_ns: 4 * MS, count: 100 };
        let taken = read(&mut account, 1000 * MS, &[generator(1, gaps)]);
        assert_eq!(taken.cpus.len(), 2);
        assert!(
            taken.state() == State::Clear && taken.cpus[0].gap_ns == Some(400 * MS),
            "{taken:?}"
        );
    }

    #[test]
    fn many_short_gaps_and_one_tick_disturb_and_explain_nothing() {
        let machine = Machine::new("short");
        let mut account = machine.account();
        machine.says(0, 0, 1);
        let gaps = GapSums { total_ns: 60 * MS, longest_ns: MS / 10, count: 900 };
        let taken = read(&mut account, 1000 * MS, &[generator(0, gaps)]);
        assert_eq!(taken.cpus[0].evidence, [Evidence::ClockGaps]);
        assert!(!taken.explains(1, 1e6), "{taken:?}");
        let gaps = GapSums { longest_ns: 3 * MS, ..gaps };
        assert!(read(&mut account, 1000 * MS, &[generator(0, gaps)]).explains(1, 1e6));
    }

    #[test]
    fn a_quota_of_the_cgroup_takes_every_cpu() {
        let machine = Machine::new("quota");
        let mut account = machine.account();
        machine.write("sys/fs/cgroup/cpu.stat", "throttled_usec 250005\n");
        machine.write("proc/pressure/cpu", "some avg10=0 avg60=0 avg300=0 total=9\n");
        let taken = read(&mut account, 1000 * MS, &[]);
        assert_eq!((taken.throttled_ns, taken.pressure_ns), (Some(250 * MS), Some(4000)));
        assert_eq!(taken.cpus[0].evidence, [Evidence::Throttling]);
    }

    #[test]
    fn what_a_container_hides_is_named_and_not_taken_for_zero() {
        let machine = Machine::new("hidden");
        remove_file(machine.0.join("proc/stat")).unwrap();
        remove_file(machine.0.join("proc/self/task/71/schedstat")).unwrap();
        let taken = read(&mut machine.account(), 1000 * MS, &[]);
        let engine = &taken.cpus[0];
        assert_eq!(
            (engine.steal_ns, engine.run_delay_ns, engine.frequency_khz),
            (None, None, None)
        );
        assert_eq!((engine.involuntary_switches, taken.throttled_ns), (Some(0), Some(0)));
        let hidden: Vec<&str> = taken.not_readable.keys().copied().collect();
        assert_eq!(hidden, ["frequency_khz", "irq_ns", "run_delay_ns", "softirq_ns", "steal_ns"]);
    }
}
