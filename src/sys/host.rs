//! What a result must say of the machine that it was measured on.

use std::collections::BTreeMap;
use std::fs::{read_dir, read_to_string};

use super::clock::CURRENT_CLOCK_SOURCE;
use super::reading::{Reading, Unreadable, setting, text_of};
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
    /// The revision of the first CPU's microcode; empty where the kernel names none.
    pub microcode: Option<String>,
    /// The hypervisor: `none` on a bare machine, `unknown` in a virtual machine that does not tell.
    pub hypervisor: Option<String>,
    /// The kernel's clock source, as in `tsc`.
    pub clock_source: Option<String>,
    /// The first CPU's frequency driver and governor; `none` where the kernel does not set its frequency.
    pub cpu_frequency_driver: Option<String>,
    /// See `cpu_frequency_driver`.
    pub cpu_frequency_governor: Option<String>,
    /// Whether cores run several threads at once.
    pub smt: Option<bool>,
    /// What the kernel does against each weakness of the CPU that it knows, in its own words; those that
    /// do not affect it are left out.
    pub mitigations: Option<BTreeMap<String, String>>,
    /// The machine's memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Of the fields from `microcode` on, those that could not be read, which are `None`, and why.
    pub not_readable: BTreeMap<&'static str, String>,
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
        let mut read = Readings::default();
        let cpuinfo = text_of("/proc/cpuinfo");
        let microcode = |text: String| match text.is_empty() {
            true => Err(Unreadable::because("/proc/cpuinfo: empty")),
            false => Ok(cpu_field(&text, "microcode").unwrap_or_default()),
        };
        let frequency = |file| Ok(setting(FIRST_CPU, file)?.unwrap_or_else(|| "none".into()));
        Host {
            microcode: read.keep("microcode", cpuinfo.clone().and_then(microcode)),
            hypervisor: read.keep("hypervisor", hypervisor()),
            clock_source: read.keep("clock_source", text_of(CURRENT_CLOCK_SOURCE)),
            cpu_frequency_driver: read
                .keep("cpu_frequency_driver", frequency("cpufreq/scaling_driver")),
            cpu_frequency_governor: read
                .keep("cpu_frequency_governor", frequency("cpufreq/scaling_governor")),
            smt: read.keep("smt", text_of(SMT).map(|active| active == "1")),
            mitigations: read.keep("mitigations", mitigations()),
            memory_bytes: read.keep("memory_bytes", memory_bytes()),
            not_readable: read.not_readable,
            irq_time_accounting: config.map(|text| text.contains("CONFIG_IRQ_TIME_ACCOUNTING=y")),
            kernel,
            cpu: cpu_model(cpuinfo.as_deref().unwrap_or_default()),
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
    ["model name", "Processor", "CPU part"]
        .iter()
        .find_map(|name| cpu_field(cpuinfo, name))
        .unwrap_or_else(|| std::env::consts::ARCH.to_string())
}

/// What `/proc/cpuinfo` says first of that name.
fn cpu_field(cpuinfo: &str, name: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

const FIRST_CPU: &str = "/sys/devices/system/cpu/cpu0";
const SMT: &str = "/sys/devices/system/cpu/smt/active";
const VULNERABILITIES: &str = "/sys/devices/system/cpu/vulnerabilities";

/// What could not be read, while the rest is.
#[derive(Default)]
struct Readings {
    not_readable: BTreeMap<&'static str, String>,
}

impl Readings {
    fn keep<T>(&mut self, field: &'static str, reading: Reading<T>) -> Option<T> {
        reading.map_err(|why| self.not_readable.insert(field, why.not_readable)).ok()
    }
}

/// Who runs this machine, where it is a virtual one. The CPU itself tells on x86, whatever a container
/// hides; elsewhere only Xen and the firmware's tables do.
fn hypervisor() -> Reading<String> {
    match hypervisor_by_cpuid() {
        Some(name) => Ok(name),
        None => {
            text_of("/sys/hypervisor/type").or_else(|_| text_of("/sys/class/dmi/id/sys_vendor"))
        }
    }
}

/// Leaf 1 says whether there is one (ECX bit 31), leaf 0x4000_0000 its name in twelve bytes.
#[cfg(target_arch = "x86_64")]
#[allow(unused_unsafe, reason = "newer versions of the standard library call it safe")]
fn hypervisor_by_cpuid() -> Option<String> {
    use std::arch::x86_64::__cpuid;
    // SAFETY: every 64-bit x86 CPU has the instruction, which reads and writes registers only.
    let (features, named) = unsafe { (__cpuid(1), __cpuid(0x4000_0000)) };
    if features.ecx & 1 << 31 == 0 {
        return Some("none".into());
    }
    let bytes: Vec<u8> =
        [named.ebx, named.ecx, named.edx].iter().flat_map(|word| word.to_le_bytes()).collect();
    let name = String::from_utf8_lossy(&bytes);
    let name = name.trim_matches(|letter: char| letter == '\0' || !letter.is_ascii_graphic());
    let known = [
        ("KVMKVMKVM", "KVM"),
        ("Microsoft Hv", "Hyper-V"),
        ("VMwareVMware", "VMware"),
        ("XenVMMXenVMM", "Xen"),
        ("TCGTCGTCGTCG", "QEMU without KVM"),
        ("", "unknown"),
    ];
    Some(
        known
            .iter()
            .find(|(signature, _)| *signature == name)
            .map_or(name, |(_, name)| name)
            .into(),
    )
}

#[cfg(not(target_arch = "x86_64"))]
fn hypervisor_by_cpuid() -> Option<String> {
    None
}

fn mitigations() -> Reading<BTreeMap<String, String>> {
    let files =
        read_dir(VULNERABILITIES).map_err(|error| Unreadable::of(VULNERABILITIES, &error))?;
    let names = files.flatten().map(|file| file.file_name().to_string_lossy().into_owned());
    let all = names.filter_map(|name| {
        let words = text_of(&format!("{VULNERABILITIES}/{name}")).ok()?;
        (words != "Not affected").then_some((name, words))
    });
    Ok(all.collect())
}

fn memory_bytes() -> Reading<u64> {
    let text = text_of("/proc/meminfo")?;
    let kib =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    let kib = kib.and_then(|kib| kib.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| Unreadable::because("/proc/meminfo: no MemTotal in it"))
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

    #[test]
    fn a_field_is_read_or_named_as_not_readable() {
        let host = serde_json::to_value(Host::detect()).unwrap();
        let not_readable = host["not_readable"].as_object().unwrap();
        let last = host.as_object().unwrap().keys().skip_while(|key| *key != "microcode");
        let mut seen = 0;
        for key in last.filter(|key| *key != "not_readable") {
            assert_eq!(host[key].is_null(), not_readable.contains_key(key), "{key}");
            seen += 1;
        }
        assert_eq!(seen, 8);
        #[cfg(target_arch = "x86_64")]
        assert!(host["hypervisor"].is_string());
    }
}
