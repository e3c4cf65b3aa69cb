//! What a result must say of the machine that it was measured on.

use std::fs::read_to_string;

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Whether the kernel keeps interrupt work out of threads' CPU time
    /// (`CONFIG_IRQ_TIME_ACCOUNTING`); `None` where its configuration is not to be read.
    pub irq_time_accounting: Option<bool>,
}

impl Host {
    /// Looks at the machine.
    pub fn detect() -> Host {
        let kernel = nix::sys::utsname::uname()
            .map_or(String::new(), |name| name.release().to_string_lossy().into_owned());
        let idle = read_to_string("/sys/devices/system/cpu/cpuidle/current_driver");
        let config = read_to_string(format!("/boot/config-{kernel}")).ok();
        Host {
            irq_time_accounting: config.map(|text| text.contains("CONFIG_IRQ_TIME_ACCOUNTING=y")),
            kernel,
            cpu: cpu_model(&read_to_string("/proc/cpuinfo").unwrap_or_default()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpu_idle_driver: idle.map_or("unknown".into(), |name| name.trim().to_string()),
        }
    }
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
        assert_eq!(cpu_model("processor : 0\nmodel name\t: Fast One\n"), "Fast One");
        assert_eq!(cpu_model(""), std::env::consts::ARCH);
    }
}
