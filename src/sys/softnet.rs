//! What the CPUs count while they take received frames from devices (`/proc/net/softnet_stat`).
//!
//! The counters belong to the CPUs of the **machine**, not to a network namespace or an interface:
//! the file shows the same numbers in every namespace (`softnet_seq_show` in net/core/net-procfs.c
//! prints the machine's only set of per-CPU `softnet_data`). So a dropped frame may be anybody's. No
//! privilege is needed.

use std::fs::read_to_string;
use std::io;

use super::failure::failed;
use crate::error::Result;

/// The file, in the namespace of the calling thread. Any namespace's would do.
const SOFTNET_STAT: &str = "/proc/thread-self/net/softnet_stat";

/// The columns, each a hexadecimal number of 32 bits.
const PROCESSED: usize = 0;
const DROPPED: usize = 1;
const TIME_SQUEEZE: usize = 2;
/// Since Linux 5.10; before, a line's number stands for the CPU's.
const CPU: usize = 12;

/// The counters of one CPU since it came online. The kernel keeps them in 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoftnetCpu {
    /// The CPU.
    pub cpu: u32,
    /// Frames taken.
    pub processed: u32,
    /// Frames dropped because the backlog was full (`net.core.netdev_max_backlog`). Only frames
    /// that go through a backlog can be: those of veth without NAPI, of loopback and of RPS, not
    /// those that a NIC's driver hands over itself.
    pub dropped: u32,
    /// Times that a round of receiving ended with work left, because its budget of frames or time
    /// was used up (`net.core.netdev_budget`); no loss.
    pub time_squeeze: u32,
}

/// The counters of all CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Softnet {
    /// One for each CPU that is online, in the order of the file.
    pub cpus: Vec<SoftnetCpu>,
}

impl Softnet {
    /// Reads the counters.
    pub fn read() -> Result<Softnet> {
        read_to_string(SOFTNET_STAT)
            .map(|text| Softnet::parse(&text))
            .map_err(|error: io::Error| failed(format!("read {SOFTNET_STAT}"), &error, ""))
    }

    /// What was counted since `earlier`, by the kernel's own 32-bit arithmetic, which wraps. A CPU
    /// that was not online then counts from zero.
    pub fn since(&self, earlier: &Softnet) -> Softnet {
        let cpus = self.cpus.iter().map(|now| {
            let before = earlier.cpus.iter().find(|before| before.cpu == now.cpu);
            let before = before.copied().unwrap_or_default();
            SoftnetCpu {
                cpu: now.cpu,
                processed: now.processed.wrapping_sub(before.processed),
                dropped: now.dropped.wrapping_sub(before.dropped),
                time_squeeze: now.time_squeeze.wrapping_sub(before.time_squeeze),
            }
        });
        Softnet { cpus: cpus.collect() }
    }

    /// Frames that all CPUs dropped.
    pub fn dropped(&self) -> u64 {
        self.cpus.iter().map(|cpu| u64::from(cpu.dropped)).sum()
    }

    /// Parses any text; a column that is missing or not a number counts as zero. Kernels have had 9 to
    /// 15 columns; the first three never changed.
    fn parse(text: &str) -> Softnet {
        let lines = text.lines().filter(|line| !line.trim().is_empty()).enumerate();
        let cpus = lines.map(|(number, line)| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let column = |at: usize| u32::from_str_radix(columns.get(at)?, 16).ok();
            SoftnetCpu {
                cpu: column(CPU).unwrap_or(number as u32),
                processed: column(PROCESSED).unwrap_or(0),
                dropped: column(DROPPED).unwrap_or(0),
                time_squeeze: column(TIME_SQUEEZE).unwrap_or(0),
            }
        });
        Softnet { cpus: cpus.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn columns_are_read_whatever_their_number() {
        let new = "020f4720 0000000a 00000004 0 0 0 0 0 0 0 0 0 00000003 0 0\n";
        let cpu = SoftnetCpu { cpu: 3, processed: 0x020f_4720, dropped: 10, time_squeeze: 4 };
        assert_eq!(Softnet::parse(new).cpus, [cpu]);
        let old = "1 2 3 0 0 0 0 0 0\n4 5 6 0 0 0 0 0 0\n";
        let cpus = Softnet::parse(old).cpus;
        assert_eq!((cpus[1].cpu, cpus[1].dropped, Softnet::parse(old).dropped()), (1, 5, 7));
    }

    #[test]
    fn a_difference_is_by_cpu_and_wraps() {
        let earlier = Softnet::parse("0 ffffffff 1\n0 5 1");
        let later = Softnet::parse("0 1 1\n0 9 3\n0 2 0");
        let passed = later.since(&earlier);
        assert_eq!(passed.cpus.iter().map(|cpu| cpu.dropped).collect::<Vec<_>>(), [2, 4, 2]);
        assert_eq!(passed.dropped(), 8);
        assert_eq!(passed.cpus.iter().map(|cpu| cpu.time_squeeze).collect::<Vec<_>>(), [0, 2, 0]);
    }

    #[test]
    fn this_machine_has_cpus() {
        let now = Softnet::read().unwrap();
        assert!(!now.cpus.is_empty());
        assert_eq!(now.since(&now).dropped(), 0);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[0-9a-fx \n]{0,200}") {
            let cpus = Softnet::parse(&text).cpus.len();
            prop_assert!(cpus <= text.lines().count());
        }
    }
}
