//! What follows from the facts of the machine, of this process's rights and of the CPUs.

use super::facts::{CpuFacts, Facts};
use super::finding::{Finding, Findings, Section};
use super::kernel::{FINE_BLOCK_TIMER, OLDEST, faults, version};
use super::look::CpuLook;
use crate::stats::state::DISTURBED_SHARE;
use crate::sys::host::Host;
use crate::sys::reading::Unreadable;
use crate::units::{memory, nanoseconds, percent};

pub(super) fn of_machine(facts: &Facts) -> Vec<Finding> {
    let mut found = Findings::of(Section::Machine);
    let host = &facts.host;
    match version(&host.kernel) {
        None => found.unknown("kernel", &Unreadable::because(format!("'{}'", host.kernel))),
        Some(version) if version < OLDEST => {
            let text = format!("{}: linerate is meant for 5.10 and newer", host.kernel);
            found.spoils("kernel", text, "boot a newer kernel");
        }
        Some(version) => {
            let faults = faults(version);
            if faults.is_empty() {
                found.fine("kernel", format!("{}: no known fault of packet sockets", host.kernel));
            }
            let fix =
                "install the newest kernel of this series, unless your distribution has mended it";
            faults.iter().for_each(|fault| found.note("kernel", *fault, fix));
            if version < FINE_BLOCK_TIMER {
                let text = "before 6.18 a lone frame waits 4 to 8 ms in a V3 ring, not 1 ms";
                found.note("block timer", text, "choose a V2 path for latency, such as ring-v2");
            }
        }
    }
    match host.hypervisor.as_deref() {
        Some("none") => found.fine("hardware", "not a virtual machine"),
        Some(name) => {
            let text = format!("virtual ({name}): its CPUs may be taken away");
            found.note("hardware", text, "");
        }
        None => found.unknown("hardware", &missing(host, "hypervisor")),
    }
    let (clock, cost) = (&facts.clock, nanoseconds(facts.clock.read_ns.round() as u64));
    let name = match clock.name.as_str() {
        "unknown" => "name not readable",
        name => name,
    };
    match clock.by_vdso {
        true => found.fine("clock", format!("{name}, {cost} a reading, no system call")),
        false => {
            let text = format!("{name}: each reading is a system call of {cost}");
            let fix = "echo tsc | sudo tee \
                       /sys/devices/system/clocksource/clocksource0/current_clocksource";
            found.spoils("clock", text, fix);
        }
    }
    found.tried();
    if host.cpu_idle_driver == "unknown" {
        found.unknown("idle CPUs", &Unreadable::because("/sys/devices/system/cpu/cpuidle"));
    } else if host.cpu_idle_states.len() > 2 {
        let text = format!("{}: waking takes up to 100 µs and varies", host.idle());
        found.note("idle CPUs", text, "sudo cpupower idle-set -D 2, or paths that spin");
    } else {
        found.fine("idle CPUs", host.idle());
    }
    match host.irq_time_accounting {
        Some(true) => found.fine("CPU time", "interrupt work is counted apart from threads"),
        Some(false) => {
            found.note("CPU time", "interrupt work counts as that of the thread it interrupts", "");
        }
        None => {
            let why = format!("/boot/config-{}", host.kernel);
            found.unknown("CPU time", &Unreadable::because(why));
        }
    }
    let polls: Vec<&str> = (facts.busy_poll_us.iter())
        .filter_map(|poll| poll.as_deref().ok().filter(|us| *us != "0"))
        .collect();
    match (&facts.busy_poll_us, polls.first()) {
        ([Err(why), _], _) => found.unknown("busy poll", why),
        (_, None) => found.fine("busy poll", "off for sockets that do not ask for it"),
        (_, Some(us)) => {
            let fix = "sudo sysctl -w net.core.busy_poll=0 net.core.busy_read=0";
            found.note("busy poll", format!("every socket polls its queue for {us} µs"), fix);
        }
    }
    found.end()
}

/// Why the fingerprint lacks a field.
fn missing(host: &Host, field: &str) -> Unreadable {
    Unreadable::because(host.not_readable.get(field).map_or("", String::as_str))
}

pub(super) fn of_rights(facts: &Facts) -> Vec<Finding> {
    let mut found = Findings::of(Section::Rights);
    let rights = &facts.rights;
    let setcap =
        "sudo setcap cap_net_raw,cap_net_admin+ep $(command -v linerate), or sudo linerate";
    match &rights.packet_socket_refused {
        None => found.fine("interfaces", format!("{} may open packet sockets", rights.user)),
        Some(why) => {
            let text = format!("no -i for {}: {why}", rights.user);
            found.note("interfaces", text, setcap);
        }
    }
    found.tried();
    let fix = match &rights.namespace_settings[..] {
        [] => "sudo linerate, or in a container NET_RAW, NET_ADMIN and SYS_ADMIN".to_string(),
        settings => format!("change it, or sudo linerate: {}", settings.join(", ")),
    };
    match (&rights.user_namespace_refused, rights.missing_for_lab.is_empty()) {
        (_, true) => found.fine("testbed", "capabilities suffice for one of its own"),
        (None, false) => found.fine("testbed", "in a user namespace, without privilege"),
        (Some(why), false) if rights.packet_socket_refused.is_none() => {
            found.note("testbed", format!("none of its own here: {why}"), fix);
        }
        (Some(why), false) => {
            found.spoils("testbed", format!("neither interfaces nor one of its own: {why}"), fix);
        }
    }
    found.tried();
    match &rights.xdp_program_refused {
        None => found.fine("XDP", "programs can be loaded: the path xdp is open"),
        Some(why) => {
            let setting = match &rights.unprivileged_bpf_disabled {
                Ok(Some(value)) => format!(" (kernel.unprivileged_bpf_disabled = {value})"),
                _ => String::new(),
            };
            let fix = "sudo linerate; TX by AF_XDP (ring-xsk) needs no program";
            found.note("XDP", format!("the path xdp is closed: {why}{setting}"), fix);
        }
    }
    found.tried();
    let exempt = rights.capabilities.contains(&"CAP_IPC_LOCK");
    match found.known_or("memlock", &rights.memlock_bytes, "no limit") {
        None => {}
        Some(bytes) if exempt || *bytes >= 8 << 20 => {
            found.fine("memlock", format!("{} for AF_XDP; rings are not charged", memory(*bytes)));
        }
        Some(bytes) => {
            let text = format!("{} for all AF_XDP sockets together", memory(*bytes));
            found.note("memlock", text, "ulimit -l 65536, or LimitMEMLOCK= of the service");
        }
    }
    found.end()
}

pub(super) fn of_cpus(facts: &Facts) -> Vec<Finding> {
    let mut found = Findings::of(Section::Cpus);
    let numbers: Vec<usize> = facts.cpus.iter().map(|cpu| cpu.cpu).collect();
    let allowed = facts.allowed_cpus.len();
    match &numbers[..] {
        [generator, engine] if generator != engine => {
            let text = format!("{generator} generates, {engine} serves; {allowed} allowed");
            match allowed {
                0..=2 => found.note("CPUs", format!("{text}, so none is free"), ""),
                _ => found.fine("CPUs", text),
            }
        }
        _ => {
            let text = "one for generator and engine: rates are those of the pair";
            found.spoils("CPUs", text, "allow two (taskset, cpuset of the container, --cpus)");
        }
    }
    if let [first, second] = &facts.cpus[..] {
        siblings(&mut found, facts, first, second);
    }
    let inside = |list: &[usize]| numbers.iter().all(|cpu| list.contains(cpu));
    if let Some(isolated) = found.known("isolation", &facts.isolated) {
        let tickless = facts.tickless.as_ref().is_ok_and(|list| inside(list));
        let list: Vec<String> = numbers.iter().map(usize::to_string).collect();
        let list = list.join(",");
        match (inside(isolated), tickless) {
            (true, true) => found.fine("isolation", "no other tasks, no tick"),
            (true, false) => found.fine("isolation", "no other tasks; the tick goes on"),
            (false, _) => {
                let fix = format!("boot with isolcpus={list} nohz_full={list}");
                found.note("isolation", "other tasks may run there, too", fix);
            }
        }
    }
    if let Some(CpuFacts { cpu, governor, .. }) = facts.cpus.first() {
        match found
            .known_or("frequency", governor, "not this kernel's to choose")
            .map(String::as_str)
        {
            None => {}
            Some("performance") => found.fine("frequency", "governor performance"),
            Some(other) => {
                let text = format!("governor {other} on CPU {cpu}: rates follow the clock");
                found.note("frequency", text, "sudo cpupower frequency-set -g performance");
            }
        }
    }
    taken(&mut found, facts);
    found.end()
}

/// Two threads of a core share what a packet path needs.
fn siblings(found: &mut Findings, facts: &Facts, first: &CpuFacts, second: &CpuFacts) {
    let Some(core) = found.known("cores", &first.siblings) else { return };
    if !core.contains(&second.cpu) || first.cpu == second.cpu {
        return found.fine("cores", "one for each");
    }
    let other = facts.allowed_cpus.iter().find(|cpu| !core.contains(cpu));
    let fix = match other {
        Some(other) => format!("--cpus {},{other}", first.cpu),
        None => "take a machine with two cores".into(),
    };
    found.note("cores", "both are threads of one core, and slow each other", fix);
}

/// From this part of a CPU's time on it is worth knowing that it is taken.
const NOTABLE_SHARE: f64 = 0.005;

fn taken(found: &mut Findings, facts: &Facts) {
    let looks: Vec<&CpuLook> =
        facts.cpus.iter().filter_map(|cpu| found.known("taken time", &cpu.look)).collect();
    if looks.is_empty() {
        return;
    }
    let part = |ns: u64, look: &CpuLook| percent(ns as f64 / look.span_ns.max(1) as f64);
    let one = |look: &&CpuLook| {
        let steal = match look.steal_ns {
            Some(ns) => format!("steal {}", part(ns, look)),
            None => "steal not readable".into(),
        };
        let longest = nanoseconds(look.longest_gap_ns);
        format!("CPU {}: {}, longest {longest}, {steal}", look.cpu, percent(look.share()))
    };
    let text = looks.iter().map(one).collect::<Vec<_>>().join("; ");
    let fix = "stop what runs beside (top); in a cloud, take dedicated CPUs";
    match looks.iter().map(|look| look.share()).fold(0.0, f64::max) {
        DISTURBED_SHARE.. => found.spoils("taken time", text, fix),
        NOTABLE_SHARE.. => found.note("taken time", text, fix),
        _ => found.fine("taken time", text),
    }
    found.tried();
}
