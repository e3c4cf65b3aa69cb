//! What a result must say of the machine that it was measured on.

use std::fs::read_to_string;

use crate::units::nanoseconds;

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Host {
    /// Kernel release, as `uname -r` says it.
    pub kernel: String,
    /// Model name of the first CPU.
    pub cpu: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// The driver that puts idle CPUs to sleep, which shapes wake-up latency; "none" in many
    /// virtual machines.
    pub cpu_idle_driver: String,
    /// Who chooses among the idle states; "unknown" where sysfs does not say.
    pub cpu_idle_governor: String,
    /// Names of the first CPU's idle states, the lightest first; empty where there are none.
    pub cpu_idle_states: Vec<String>,
    /// How long an idle CPU of a virtual machine looks for work before it halts, in nanoseconds
    /// (`guest_halt_poll_ns` of the haltpoll governor); `None` without that governor.
    pub halt_poll_ns: Option<u64>,
    /// Whether the kernel keeps interrupt work out of threads' CPU time
    /// (`CONFIG_IRQ_TIME_ACCOUNTING`); `None` where its configuration is not to be read.
    pub irq_time_accounting: Option<bool>,
}

impl Host {
    /// Looks at the machine.
    pub fn detect() -> Host {
        let kernel = nix::sys::utsname::uname()
            .map_or(String::new(), |name| name.release().to_string_lossy().into_owned());
        let idle = |name| word(&format!("/sys/devices/system/cpu/cpuidle/{name}"));
        let governor = idle("current_governor").or_else(|| idle("current_governor_ro"));
        let haltpoll = governor.as_deref() == Some("haltpoll");
        let halt_poll_ns = word("/sys/module/haltpoll/parameters/guest_halt_poll_ns");
        let config = read_to_string(format!("/boot/config-{kernel}")).ok();
        Host {
            irq_time_accounting: config.map(|text| text.contains("CONFIG_IRQ_TIME_ACCOUNTING=y")),
            kernel,
            cpu: cpu_model(&read_to_string("/proc/cpuinfo").unwrap_or_default()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpu_idle_driver: idle("current_driver").unwrap_or_else(|| "unknown".into()),
            cpu_idle_governor: governor.unwrap_or_else(|| "unknown".into()),
            cpu_idle_states: idle_states(),
            halt_poll_ns: halt_poll_ns.filter(|_| haltpoll).and_then(|ns| ns.parse().ok()),
        }
    }

    /// How idle CPUs sleep, in words.
    pub fn idle(&self) -> String {
        let Host { cpu_idle_driver: driver, cpu_idle_governor: governor, .. } = self;
        let states = match &self.cpu_idle_states[..] {
            [] => "states unknown".into(),
            states => format!("states {}", states.join(", ")),
        };
        let poll = match self.halt_poll_ns {
            None => String::new(),
            Some(0) => ", halts at once".into(),
            Some(ns) => format!(", polls up to {} before it halts", nanoseconds(ns)),
        };
        format!("driver {driver}, governor {governor}, {states}{poll}")
    }
}

/// What a file of one word says; `None` where it is not to be read or says nothing.
fn word(path: &str) -> Option<String> {
    let text = read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_string())
}

fn idle_states() -> Vec<String> {
    (0..)
        .map_while(|n| word(&format!("/sys/devices/system/cpu/cpu0/cpuidle/state{n}/name")))
        .collect()
}

/// `model name` on x86, `CPU part` or `Processor` elsewhere.
fn cpu_model(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    ["model name", "Processor", "CPU part"]
        .iter()
        .find_map(|name| field(name))
        .unwrap_or_else(|| std::env::consts::ARCH.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_kernel_and_a_cpu() {
        let host = Host::detect();
        assert!(!host.kernel.is_empty() && host.cpus >= 1);
        assert!(!host.cpu_idle_driver.is_empty() && !host.cpu_idle_governor.is_empty());
        assert!(host.idle().starts_with("driver "), "{}", host.idle());
        assert_eq!(cpu_model("processor : 0\nmodel name\t: Fast One\n"), "Fast One");
        assert_eq!(cpu_model(""), std::env::consts::ARCH);
    }
}
