//! Where the CPUs' time went, as the kernel counts it for the whole machine. No privilege is needed;
//! containers hide some of it.

use std::path::Path;

use nix::unistd::{SysconfVar, sysconf};

use super::reading::{Reading, found_in};

/// What one CPU did since the machine began, by `/proc/stat`, which counts in ticks of usually 10 ms
/// and may be late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// Nanoseconds that the hypervisor gave to others. Zero proves nothing: not every hypervisor says.
    pub steal_ns: u64,
    /// Nanoseconds in interrupts.
    pub irq_ns: u64,
    /// Nanoseconds in soft interrupts, the measurement's own receive work among them.
    pub softirq_ns: u64,
}

/// The places of the times in a line of `/proc/stat`, behind user, nice, system, idle and iowait.
const IRQ: usize = 5;
const SOFTIRQ: usize = 6;
const STEAL: usize = 7;

/// The times of all CPUs, by number.
pub fn cpu_times(root: &str) -> Reading<Vec<(usize, CpuTimes)>> {
    let ticks_a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100).max(1) as u64;
    found_in(&format!("{root}/proc/stat"), |text| parse(text, 1_000_000_000 / ticks_a_second))
}

/// Lines that say nothing but zero, as in a container that hides the times, are left out.
fn parse(text: &str, tick_ns: u64) -> Option<Vec<(usize, CpuTimes)>> {
    let cpu = |line: &str| {
        let (cpu, times) = line.strip_prefix("cpu")?.split_once(' ')?;
        let times: Vec<u64> =
            times.split_whitespace().map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let at = |place: usize| Some(times.get(place)? * tick_ns);
        let found = CpuTimes { steal_ns: at(STEAL)?, irq_ns: at(IRQ)?, softirq_ns: at(SOFTIRQ)? };
        let counts = times.iter().any(|&time| time > 0);
        Some((cpu.parse().ok()?, found)).filter(|_| counts)
    };
    let cpus: Vec<_> = text.lines().filter_map(cpu).collect();
    (!cpus.is_empty()).then_some(cpus)
}

/// The CPU's clock rate in kilohertz at this moment; many virtual machines have none to read.
pub fn frequency_khz(root: &str, cpu: usize) -> Reading<u64> {
    let file = format!("{root}/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq");
    found_in(&file, |text| text.trim().parse().ok())
}

/// Nanoseconds for which some task of the machine waited for a CPU (`/proc/pressure/cpu`), our own
/// included.
pub fn pressure_ns(root: &str) -> Reading<u64> {
    found_in(&format!("{root}/proc/pressure/cpu"), |text| {
        let some = text.lines().find(|line| line.starts_with("some "))?;
        let total_us: u64 = some.split_once("total=")?.1.trim().parse().ok()?;
        Some(total_us * 1000)
    })
}

/// Nanoseconds for which this process's cgroup, or one around it as far as they are in sight, was kept
/// from all CPUs because its quota was used up. The quota of a host around a container is not in sight.
pub fn throttled_ns(root: &str) -> Reading<u64> {
    let groups = format!("{root}/proc/self/cgroup");
    // In version 1 the controller `cpu` has a hierarchy of its own, and the one of version 2, which is
    // named nothing, has none for CPUs.
    let (folder, key, unit_ns) = found_in(&groups, |text| {
        let group = |wanted: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
            let found = lines.find(|(names, _)| names.split(',').any(|name| name == wanted))?;
            Some(found.1.trim_start_matches('/').to_string())
        };
        let first = group("cpu").map(|group| (format!("cpu/{group}"), "throttled_time ", 1));
        first.or_else(|| Some((group("")?, "throttled_usec ", 1000)))
    })?;
    let throttled = |folder: &Path| {
        let file = format!("{root}/sys/fs/cgroup/{}", folder.join("cpu.stat").display());
        found_in(&file, |text| {
            let number = text.lines().find_map(|line| line.strip_prefix(key))?;
            Some(number.trim().parse::<u64>().ok()? * unit_ns)
        })
    };
    let folder = Path::new(&folder);
    let around = folder.ancestors().skip(1).filter_map(|folder| throttled(folder).ok());
    // The outermost group has no quota and so no count.
    Ok(throttled(folder)? + around.sum::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};

    const STAT: &str = "cpu  30 0 0 0 0 0 0 9 0 0\n\
                        cpu0 10 2 3 4 5 6 7 8 9 0\n\
                        cpu12 20 0 0 0 0 0 0 1\n\
                        intr 5 0 0\n";

    #[test]
    fn times_are_those_of_each_cpu_and_zeros_are_none() {
        let found = parse(STAT, 10).unwrap();
        let first = CpuTimes { steal_ns: 80, irq_ns: 60, softirq_ns: 70 };
        assert_eq!(found[0], (0, first));
        assert_eq!((found[1].0, found[1].1.steal_ns), (12, 10));
        assert_eq!(found.len(), 2);
        assert_eq!(parse("cpu  0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n", 10), None);
        assert_eq!(parse("cpu0 1 2 3 4\n", 10), None, "a kernel without the fields");
        assert_eq!(parse("", 10), None);
    }

    /// A directory with these files, to stand before `/proc` and `/sys`.
    fn machine(name: &str, files: &[(&str, &str)]) -> String {
        let root = std::env::temp_dir().join(format!("linerate-{name}-{}", std::process::id()));
        for (file, text) in files {
            let file = root.join(file);
            create_dir_all(file.parent().unwrap()).unwrap();
            write(file, text).unwrap();
        }
        root.to_string_lossy().into_owned()
    }

    #[test]
    fn throttling_of_the_own_cgroup_and_of_those_around_it_adds() {
        let files = [
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("sys/fs/cgroup/outer/inner/cpu.stat", "usage_usec 9\nthrottled_usec 30\n"),
            ("sys/fs/cgroup/outer/cpu.stat", "throttled_usec 2\n"),
            ("sys/fs/cgroup/cpu.stat", "usage_usec 9\n"),
        ];
        assert_eq!(throttled_ns(&machine("v2", &files)), Ok(32_000));
        let files = [
            ("proc/self/cgroup", "4:cpu,cpuacct:/a\n1:name=systemd:/b\n0::/\n"),
            ("sys/fs/cgroup/cpu/a/cpu.stat", "nr_throttled 3\nthrottled_time 77\n"),
        ];
        assert_eq!(throttled_ns(&machine("v1", &files)), Ok(77));
    }

    #[test]
    fn what_is_hidden_is_named_and_not_zero() {
        let files = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/cpu.stat", "usage_usec 9\n")];
        let root = machine("bare", &files);
        assert!(throttled_ns(&root).unwrap_err().not_readable.contains("cpu.stat"));
        assert!(cpu_times(&root).unwrap_err().not_readable.contains("ENOENT"));
        assert!(pressure_ns(&root).is_err() && frequency_khz(&root, 0).is_err());
        let files = [
            ("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\n"),
            ("sys/devices/system/cpu/cpu3/cpufreq/scaling_cur_freq", "2400000\n"),
        ];
        let root = machine("shown", &files);
        assert_eq!(pressure_ns(&root), Ok(12_000));
        assert_eq!(frequency_khz(&root, 3), Ok(2_400_000));
    }
}
