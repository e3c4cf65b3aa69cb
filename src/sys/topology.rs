//! How the CPUs lie to each other, and which of them the kernel leaves alone.

use super::reading::{Reading, Unreadable, setting, text_of};
use crate::units::parse_cpu_list;

const CPUS: &str = "/sys/devices/system/cpu";

/// The threads of the core that `cpu` is one of, itself included.
pub fn siblings(cpu: usize) -> Reading<Vec<usize>> {
    listed(&text_of(&format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list"))?)
}

/// The CPUs that the scheduler leaves alone (`isolcpus=`).
pub fn isolated() -> Reading<Vec<usize>> {
    listed(&setting(CPUS, "isolated")?.unwrap_or_default())
}

/// The CPUs without a tick while one thread runs (`nohz_full=`).
pub fn tickless() -> Reading<Vec<usize>> {
    listed(&setting(CPUS, "nohz_full")?.unwrap_or_default())
}

/// Who chooses the frequency of `cpu`; `None` where the kernel does not.
pub fn governor(cpu: usize) -> Reading<Option<String>> {
    setting(&format!("{CPUS}/cpu{cpu}"), "cpufreq/scaling_governor")
}

fn listed(text: &str) -> Reading<Vec<usize>> {
    match text {
        "" | "(null)" => Ok(Vec::new()),
        list => parse_cpu_list(list).map_err(Unreadable::because),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_an_empty_list() {
        assert_eq!(listed(""), Ok(vec![]));
        // What `nohz_full` says where none is named, before Linux 5.18.
        assert_eq!(listed("(null)"), Ok(vec![]));
        assert_eq!(listed("1-2,5"), Ok(vec![1, 2, 5]));
        assert!(listed("x").is_err());
        assert!(siblings(usize::MAX).is_err());
    }
}
