//! Findings of made-up facts.

use std::time::Duration;

use super::facts::{CpuFacts, Facts, InterfaceFacts};
use super::finding::{Finding, Severity, Verified};
use super::look::CpuLook;
use super::{findings, reasons};
use crate::sys::clock::ClockSource;
use crate::sys::ethtool_settings::{Coalescing, DeviceRings, Pause};
use crate::sys::host::Host;
use crate::sys::interface_files::Reception;
use crate::sys::irq::Interrupt;
use crate::sys::link::{ForeignProgram, Link};
use crate::sys::netdev::XdpAbilities;
use crate::sys::offload::Driver;
use crate::sys::packet_sockets::ListedSocket;
use crate::sys::queues::{Queues, Rss, Steering};
use crate::sys::reading::{Reading, Unreadable};
use crate::sys::rights::Rights;

fn cpu(cpu: usize) -> CpuFacts {
    let look = CpuLook { cpu, span_ns: 2_000_000_000, steal_ns: Some(0), ..CpuLook::default() };
    CpuFacts {
        cpu,
        siblings: Ok(vec![cpu, cpu + 8]),
        governor: Ok(Some("performance".into())),
        look: Ok(look),
    }
}

fn interface() -> InterfaceFacts {
    let rings = DeviceRings { receive: 4096, receive_max: 4096, transmit: 512, transmit_max: 4096 };
    let xdp = XdpAbilities { native: true, redirect: true, ..XdpAbilities::default() };
    InterfaceFacts {
        link: Link { name: "eth1".into(), mtu: 1500, up: true, running: true, ..Link::default() },
        refused: None,
        driver: Ok(Driver { name: "ixgbe".into(), ..Driver::default() }),
        megabits_per_second: Ok(Some(10_000)),
        queues: Ok(Steering { queues: Queues { receive: 8, transmit: 8 }, rss: None }),
        rings: Ok(Some(rings)),
        coalescing: Ok(Some(Coalescing::default())),
        pause: Ok(Some(Pause::default())),
        features: Ok(["rx-checksum", "tx-udp-segmentation"].map(String::from).into()),
        hardware_clock: Ok(Some(0)),
        xdp: Ok(xdp),
        program: Ok(None),
        interrupts: Ok(vec![Interrupt { number: 30, cpus: vec![6], ..Interrupt::default() }]),
        reception: Ok(Reception::default()),
        near_cpus: Ok(Some((0..16).collect())),
        sockets: Ok(Vec::new()),
        frames: Ok([3, 4]),
    }
}

/// A bare machine set up for measuring, by somebody with all rights.
fn fit() -> Facts {
    let host = Host {
        kernel: "6.18.3".into(),
        hypervisor: Some("none".into()),
        cpu_idle_driver: "intel_idle".into(),
        cpu_idle_states: vec!["POLL".into(), "C1".into()],
        irq_time_accounting: Some(true),
        ..Host::detect()
    };
    let rights = Rights {
        user: "root".into(),
        capabilities: vec!["CAP_NET_RAW", "CAP_IPC_LOCK"],
        missing_for_lab: Vec::new(),
        packet_socket_refused: None,
        user_namespace_refused: None,
        namespace_settings: Vec::new(),
        xdp_program_refused: None,
        unprivileged_bpf_disabled: Ok(None),
        memlock_bytes: Ok(Some(65_536)),
    };
    Facts {
        host,
        look: Duration::from_secs(2),
        clock: ClockSource { name: "tsc".into(), by_vdso: true, read_ns: 20.0 },
        rights,
        allowed_cpus: (0..16).collect(),
        cpus: vec![cpu(2), cpu(3)],
        isolated: Ok(vec![2, 3]),
        tickless: Ok(vec![2, 3]),
        busy_poll_us: ["0", "0"].map(|us| Ok(us.into())),
        interface: Some(interface()),
    }
}

/// The findings about `subject` after `change`.
fn about(subject: &str, change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let mut facts = fit();
    change(&mut facts);
    findings(&facts).into_iter().filter(|finding| finding.subject == subject).collect()
}

/// The one finding about `subject` after `change`.
#[track_caller]
fn one(subject: &str, change: impl FnOnce(&mut Facts)) -> Finding {
    let found = about(subject, change);
    assert_eq!(found.len(), 1, "{subject}: {found:#?}");
    found.into_iter().next().unwrap()
}

/// [`one`] of an interface's fact.
#[track_caller]
fn of_interface(subject: &str, change: impl FnOnce(&mut InterfaceFacts)) -> Finding {
    one(subject, |facts| change(facts.interface.as_mut().unwrap()))
}

fn on(feature: &'static str) -> impl FnOnce(&mut InterfaceFacts) {
    move |interface| interface.features = Ok([feature.to_string()].into())
}

#[test]
fn a_machine_set_up_for_measuring_is_fine_in_every_line() {
    for finding in findings(&fit()) {
        assert_eq!(finding.severity, Severity::Fine, "{finding:?}");
        assert_eq!(finding.fix, None, "{finding:?}");
        assert_ne!(finding.verified, Verified::NotReadable, "{finding:?}");
    }
    let tried = ["clock", "interfaces", "testbed", "XDP", "taken time", "others' frames"];
    let marked = findings(&fit()).into_iter().filter(|one| one.verified == Verified::Tried);
    assert_eq!(marked.map(|one| one.subject).collect::<Vec<_>>(), tried);
}

#[test]
fn what_spoils_measurements_is_a_reason_with_something_to_do() {
    type Change = fn(&mut Facts);
    let nothing_allowed: Change = |facts| {
        facts.rights.packet_socket_refused = Some("EPERM".into());
        facts.rights.user_namespace_refused = Some("EPERM".into());
        facts.rights.missing_for_lab = vec!["CAP_NET_RAW"];
        facts.rights.namespace_settings = vec!["user.max_user_namespaces is 0".into()];
    };
    let taken: Change = |facts| facts.cpus[1].look.as_mut().unwrap().gap_ns = 100_000_000;
    let stolen: Change = |facts| facts.cpus[0].look.as_mut().unwrap().steal_ns = Some(100_000_000);
    let cases: [(&str, Change); 9] = [
        ("kernel", |facts| facts.host.kernel = "5.4.100".into()),
        ("clock", |facts| facts.clock.by_vdso = false),
        ("testbed", nothing_allowed),
        ("CPUs", |facts| facts.cpus.truncate(1)),
        ("CPUs", |facts| facts.cpus[1].cpu = 2),
        ("taken time", taken),
        ("taken time", stolen),
        ("link", |facts| facts.interface.as_mut().unwrap().link.running = false),
        ("others' frames", |facts| facts.interface.as_mut().unwrap().frames = Ok([1500, 500])),
    ];
    for (subject, change) in cases {
        let mut facts = fit();
        change(&mut facts);
        let found = findings(&facts);
        let reasons = reasons(&found);
        assert_eq!(reasons.len(), 1, "{subject}: {reasons:#?}");
        assert_eq!(reasons[0].subject, subject);
        assert!(reasons[0].fix.is_some(), "{subject}");
    }
    assert_eq!(of_interface("joined frames", on("rx-lro")).severity, Severity::Spoils);
}

#[test]
fn what_shapes_numbers_is_a_note() {
    let note = |finding: Finding, fix: &str| {
        assert_eq!(finding.severity, Severity::Note, "{finding:?}");
        let words = finding.fix.as_deref().unwrap_or_default();
        assert!(words.contains(fix), "no '{fix}' in {finding:?}");
    };
    note(one("block timer", |facts| facts.host.kernel = "6.12.90".into()), "ring-v2");
    assert_eq!(about("kernel", |facts| facts.host.kernel = "5.10.1".into()).len(), 2);
    note(one("hardware", |facts| facts.host.hypervisor = Some("KVMKVMKVM".into())), "");
    note(one("idle CPUs", |facts| facts.host.cpu_idle_states.push("C6".into())), "idle-set");
    note(one("CPU time", |facts| facts.host.irq_time_accounting = Some(false)), "");
    note(one("busy poll", |facts| facts.busy_poll_us[1] = Ok("50".into())), "busy_read=0");
    let closed = |facts: &mut Facts| facts.rights.packet_socket_refused = Some("EPERM".into());
    note(one("interfaces", closed), "setcap");
    note(one("XDP", |facts| facts.rights.xdp_program_refused = Some("EPERM".into())), "ring-xsk");
    note(one("memlock", |facts| facts.rights.capabilities.clear()), "ulimit");
    note(one("CPUs", |facts| facts.allowed_cpus.truncate(2)), "");
    note(one("cores", |facts| facts.cpus[0].siblings = Ok(vec![2, 3])), "--cpus 2,0");
    note(one("isolation", |facts| facts.isolated = Ok(vec![2])), "isolcpus=2,3");
    let slow = |facts: &mut Facts| facts.cpus[0].governor = Ok(Some("schedutil".into()));
    note(one("frequency", slow), "performance");
    let robbed = |facts: &mut Facts| facts.cpus[1].look.as_mut().unwrap().gap_ns = 50_000_000;
    note(one("taken time", robbed), "dedicated");

    note(of_interface("use", |it| it.refused = Some("eth1 carries x: y".into())), "another");
    note(of_interface("others' frames", |it| it.frames = Ok([200, 0])), "tcpdump -i eth1");
    let listed = ListedSocket { ether_type: 3, interface: 0, running: true, user: 0 };
    note(of_interface("sockets", |it| it.sockets = Ok(vec![listed])), "ss -0p");
    let program = ForeignProgram { mode: "native", id: 7 };
    note(of_interface("program", |it| it.program = Ok(Some(program))), "xdp off");
    note(of_interface("driver's XDP", |it| it.xdp = Ok(XdpAbilities::default())), "");
    note(of_interface("joined frames", on("rx-gro")), "gro off");
    note(of_interface("joined frames", on("rx-gro-list")), "rx-gro-list off");
    note(of_interface("VLAN", on("rx-vlan-filter")), "promisc on");
    note(of_interface("VLAN", on("rx-vlan-hw-parse")), "rxvlan off");
    let small = |it: &mut InterfaceFacts| it.rings.as_mut().unwrap().as_mut().unwrap().receive = 9;
    note(of_interface("device rings", small), "ethtool -G eth1 rx 4096");
    let one = Rss { table: vec![0; 128], ..Rss::default() };
    let all_to_one = |it: &mut InterfaceFacts| it.queues.as_mut().unwrap().rss = Some(one);
    note(of_interface("queues", all_to_one), "ethtool -X eth1 equal 8");
    let waits = Coalescing { receive_us: 50, ..Coalescing::default() };
    note(of_interface("coalescing", |it| it.coalescing = Ok(Some(waits))), "rx-usecs 0");
    let pause = Pause { receive: true, ..Pause::default() };
    note(of_interface("pause frames", |it| it.pause = Ok(Some(pause))), "rx off tx off");
    note(of_interface("NUMA", |it| it.near_cpus = Ok(Some(vec![4, 5]))), "--cpus 4,5");
    let near = vec![Interrupt { number: 30, cpus: vec![3], ..Interrupt::default() }];
    note(of_interface("interrupts", |it| it.interrupts = Ok(near)), "/proc/irq/30/");
    let spread = Reception { rps: vec![("rx-0".into(), "f".into())], ..Reception::default() };
    note(of_interface("RPS, NAPI", |it| it.reception = Ok(spread)), "/sys/class/net/eth1/");
    let thread = Reception { threaded: Some("1".into()), ..Reception::default() };
    note(of_interface("RPS, NAPI", |it| it.reception = Ok(thread)), "threaded");
}

#[test]
fn a_veth_has_neither_device_nor_speed() {
    let change = |it: &mut InterfaceFacts| {
        it.link.kind = Some("veth".into());
        (it.rings, it.coalescing, it.pause) = (Ok(None), Ok(None), Ok(None));
        (it.hardware_clock, it.interrupts, it.near_cpus) = (Ok(None), Ok(Vec::new()), Ok(None));
    };
    assert_eq!(of_interface("link", change).text, "MTU 1500");
    let mut facts = fit();
    change(facts.interface.as_mut().unwrap());
    assert!(findings(&facts).iter().all(|finding| finding.severity == Severity::Fine));
}

#[test]
fn nothing_is_claimed_of_what_was_not_read() {
    fn hide<T>(reading: &mut Reading<T>) {
        *reading = Err(Unreadable::because("hidden"));
    }
    let mut facts = fit();
    facts.host.hypervisor = None;
    facts.host.cpu_idle_driver = "unknown".into();
    facts.host.irq_time_accounting = None;
    facts.host.kernel = "odd".into();
    facts.busy_poll_us.iter_mut().for_each(hide);
    hide(&mut facts.rights.memlock_bytes);
    hide(&mut facts.rights.unprivileged_bpf_disabled);
    hide(&mut facts.isolated);
    hide(&mut facts.tickless);
    for cpu in &mut facts.cpus {
        hide(&mut cpu.siblings);
        hide(&mut cpu.governor);
        hide(&mut cpu.look);
    }
    let it = facts.interface.as_mut().unwrap();
    hide(&mut it.driver);
    hide(&mut it.megabits_per_second);
    hide(&mut it.queues);
    hide(&mut it.rings);
    hide(&mut it.coalescing);
    hide(&mut it.pause);
    hide(&mut it.features);
    hide(&mut it.hardware_clock);
    hide(&mut it.xdp);
    hide(&mut it.program);
    hide(&mut it.interrupts);
    hide(&mut it.near_cpus);
    hide(&mut it.reception);
    hide(&mut it.sockets);
    hide(&mut it.frames);
    // What does not come from a file or a driver.
    let known = ["clock", "interfaces", "testbed", "XDP", "CPUs", "link"];
    let found = findings(&facts);
    for finding in found.iter().filter(|finding| !known.contains(&finding.subject)) {
        assert_eq!(finding.verified, Verified::NotReadable, "{finding:?}");
        assert!(finding.text.starts_with("not readable: "), "{finding:?}");
    }
    assert!(reasons(&found).is_empty());
}
