//! What follows from the facts of an interface.

use super::facts::{Facts, InterfaceFacts};
use super::finding::{Finding, Findings, Section};
use crate::sys::interface_files::Reception;
use crate::sys::irq::{Interrupt, describe};
use crate::units::rate;

/// Other frames that are more than this part of a measurement's own make its trials void; at this rate
/// they are so for 100,000 frames/s.
const FOREIGN_SPOILS: f64 = 1000.0;
/// Neighbour discovery and its like are fewer.
const FOREIGN_NOTE: f64 = 50.0;

pub(super) fn of_interface(facts: &Facts, interface: &InterfaceFacts) -> Vec<Finding> {
    let mut found = Findings::of(Section::Interface);
    link(&mut found, interface);
    traffic(&mut found, facts, interface);
    driver(&mut found, interface);
    frames(&mut found, interface);
    device(&mut found, interface);
    steering(&mut found, facts, interface);
    reception(&mut found, interface);
    found.end()
}

fn link(found: &mut Findings, interface: &InterfaceFacts) {
    let link = &interface.link;
    let name = &link.name;
    let speed = match &interface.megabits_per_second {
        Ok(Some(megabits)) if !link.is_veth() => format!("{megabits} Mb/s, "),
        _ => String::new(),
    };
    let text = format!("{speed}MTU {}", link.mtu);
    match link.running {
        true => found.fine("link", text),
        false if link.up => {
            let fix = "put the cable in, switch the other end on";
            found.spoils("link", format!("no carrier, {text}"), fix);
        }
        false => {
            let fix = format!("sudo ip link set {name} up");
            found.spoils("link", format!("switched off, {text}"), fix);
        }
    }
    if let Some(why) = &interface.refused {
        let why = why.split(':').next().unwrap_or_default();
        found.note("use", format!("refused without --force: {why}"), "take another interface");
    }
}

/// Who else is there.
fn traffic(found: &mut Findings, facts: &Facts, interface: &InterfaceFacts) {
    let name = &interface.link.name;
    if let Some(frames) = found.known("others' frames", &interface.frames) {
        let [received, sent] = frames.map(|frames| frames as f64 / facts.look.as_secs_f64());
        let text = format!("{} received, {} sent", rate(received), rate(sent));
        let fix = "stop who sends (sudo tcpdump -i IF shows them), or use another interface"
            .replace("IF", name);
        match received + sent {
            FOREIGN_SPOILS.. => found.spoils("others' frames", text, fix),
            FOREIGN_NOTE.. => found.note("others' frames", text, fix),
            _ => found.fine("others' frames", text),
        }
        found.tried();
    }
    match found.known("sockets", &interface.sockets).map(Vec::as_slice) {
        None => {}
        Some([]) => found.fine("sockets", "no packet socket of others sees its frames"),
        Some(all) => {
            let text = format!("{} packet sockets of others cost time for each frame", all.len());
            found.note("sockets", text, "sudo ss -0p names the programs; stop them");
        }
    }
    let program = found.known_or("program", &interface.program, "no XDP program is attached");
    if let Some(program) = program {
        let text = format!("XDP program {} ({}) sees all first", program.id, program.mode);
        let fix = format!("sudo ip link set {name} xdp off, or end who attached it");
        found.note("program", format!("{text}; the path xdp is closed"), fix);
    }
}

fn driver(found: &mut Findings, interface: &InterfaceFacts) {
    if let Some(driver) = found.known("driver", &interface.driver) {
        let firmware = match driver.firmware.as_str() {
            "" | "N/A" => String::new(),
            firmware => format!(", firmware {firmware}"),
        };
        found.fine("driver", format!("{} {}{firmware}", driver.name, driver.version));
    }
    if let Some(xdp) = found.known("driver's XDP", &interface.xdp) {
        let can = [
            (xdp.native, "native"),
            (xdp.redirect, "redirect"),
            (xdp.zero_copy, "zero-copy"),
            (xdp.multi_buffer, "multi-buffer"),
        ];
        let can: Vec<&str> = can.iter().filter(|(can, _)| *can).map(|(_, what)| *what).collect();
        match xdp.native && xdp.redirect {
            true => found.fine("driver's XDP", can.join(", ")),
            false => found.note("driver's XDP", "none: the path xdp runs in the stack", ""),
        }
    }
}

/// What becomes of frames before a socket sees them.
fn frames(found: &mut Findings, interface: &InterfaceFacts) {
    let name = &interface.link.name;
    let Some(features) = found.known("offloads", &interface.features) else { return };
    let on = |feature: &str| features.contains(feature);
    let named = |wanted: &[(&str, &'static str)]| {
        let names = wanted.iter().filter(|(feature, _)| on(feature)).map(|(_, name)| *name);
        names.collect::<Vec<&str>>().join(", ")
    };
    let gro =
        named(&[("rx-gro", "GRO"), ("rx-gro-hw", "hardware GRO"), ("rx-gro-list", "GRO lists")]);
    if on("rx-lro") {
        let fix = format!("sudo ethtool -K {name} lro off");
        found.spoils("joined frames", "LRO joins received frames: they come back wrong", fix);
    } else if on("rx-udp-gro-forwarding") || on("rx-gro-list") || on("rx-gro-hw") {
        let fix = format!(
            "sudo ethtool -K {name} rx-gro-list off rx-udp-gro-forwarding off rx-gro-hw off"
        );
        found.note("joined frames", format!("{gro}: UDP frames may be joined"), fix);
    } else if on("rx-gro") {
        let fix = format!("sudo ethtool -K {name} gro off");
        found.note("joined frames", "GRO: costs time for each frame, joins TCP", fix);
    } else {
        found.fine("joined frames", "neither LRO nor GRO");
    }
    match (on("rx-vlan-filter"), on("rx-vlan-hw-parse")) {
        (true, _) if !interface.link.promiscuous => {
            let fix = format!("sudo ip link set {name} promisc on, or a VLAN interface of each id");
            found.note("VLAN", "tags without an interface of theirs are filtered out", fix);
        }
        (_, true) if interface.xdp.as_ref().is_ok_and(|xdp| xdp.tags) => {
            found.fine("VLAN", "tags beside the frame are told to sockets and programs");
        }
        (_, true) => {
            let fix = format!("sudo ethtool -K {name} rxvlan off");
            found.note(
                "VLAN",
                "tags may come beside the frame, where the path xdp misses them",
                fix,
            );
        }
        _ => found.fine("VLAN", "tags reach sockets and programs"),
    }
    let sends = [
        ("tx-checksum-ip-generic", "checksums"),
        ("tx-checksum-ipv4", "IPv4 checksums"),
        ("tx-tcp-segmentation", "TSO"),
        ("tx-udp-segmentation", "USO"),
    ];
    let receives = named(&[("rx-checksum", "verifies checksums")]);
    let sends = named(&sends);
    let text = match sends.is_empty() {
        true => format!(
            "none for sending{}",
            if receives.is_empty() { "" } else { "; verifies checksums" }
        ),
        false => format!("{sends} for the stack's own frames, not for ours"),
    };
    found.fine("offloads", text);
}

fn device(found: &mut Findings, interface: &InterfaceFacts) {
    let name = &interface.link.name;
    if let Some(steering) = found.known("queues", &interface.queues) {
        match steering.idle_queues(name) {
            None => found.fine("queues", steering.words()),
            Some((what, fix)) => found.note("queues", what, format!("sudo {fix}")),
        }
    }
    if let Some(rings) = found.known_or("device rings", &interface.rings, "none") {
        let (now, most) = (rings.receive, rings.receive_max);
        let text = format!(
            "receive {now} of {most}, transmit {} of {}",
            rings.transmit, rings.transmit_max
        );
        match now < most {
            true => {
                let fix = format!("sudo ethtool -G {name} rx {most}");
                found.note("device rings", format!("{text}: bursts may not fit"), fix);
            }
            false => found.fine("device rings", text),
        }
    }
    match found.known_or("coalescing", &interface.coalescing, "none") {
        None => {}
        Some(times) if times.receive_us == 0 && !times.adaptive_receive => {
            found.fine("coalescing", "interrupts do not wait for a time");
        }
        Some(times) => {
            let adaptive = if times.adaptive_receive { ", changing with the load" } else { "" };
            let text = format!("interrupts wait {} µs{adaptive}", times.receive_us);
            let fix = format!("sudo ethtool -C {name} adaptive-rx off rx-usecs 0 (for latency)");
            found.note("coalescing", text, fix);
        }
    }
    match found.known_or("pause frames", &interface.pause, "none") {
        Some(pause) if pause.receive || pause.transmit => {
            let fix = format!("sudo ethtool -A {name} autoneg off rx off tx off");
            found.note("pause frames", "a full receiver slows the sender instead of losing", fix);
        }
        Some(_) => found.fine("pause frames", "off"),
        None => {}
    }
    let clock = &interface.hardware_clock;
    if let Some(number) = found.known_or("PTP clock", clock, "none; stamps are the kernel's") {
        found.fine("PTP clock", format!("/dev/ptp{number}; not used"));
    }
}

/// Where its work is done, beside `facts.cpus`.
fn steering(found: &mut Findings, facts: &Facts, interface: &InterfaceFacts) {
    let measuring = |cpu: &usize| facts.cpus.iter().any(|one| one.cpu == *cpu);
    let near_all = |near: &[usize]| facts.cpus.iter().all(|one| near.contains(&one.cpu));
    match found.known_or("NUMA", &interface.near_cpus, "the device names no node") {
        None => {}
        Some(near) if near_all(near) => found.fine("NUMA", "the device is near the CPUs"),
        Some(near) => {
            let near: Vec<String> = near.iter().take(2).map(usize::to_string).collect();
            let fix = format!("--cpus {}", near.join(","));
            found.note("NUMA", "the device is at another node than the CPUs", fix);
        }
    }
    let Some(all) = found.known("interrupts", &interface.interrupts) else { return };
    let shared: Vec<&Interrupt> = all.iter().filter(|one| one.cpus.iter().any(measuring)).collect();
    match (shared.first(), all.len()) {
        (None, 0) => found.fine("interrupts", "none of its own"),
        (None, _) => found.fine("interrupts", format!("{}; on other CPUs", describe(all))),
        (Some(first), count) => {
            let text = format!(
                "{} of {count} on CPUs to be measured with; {}",
                shared.len(),
                describe(all)
            );
            let free = facts.allowed_cpus.iter().find(|cpu| !measuring(cpu));
            let fix = free.map(|free| {
                let file = format!("/proc/irq/{}/smp_affinity_list", first.number);
                format!("echo {free} | sudo tee {file}; irqbalance may move it back (echo --irq)")
            });
            found.note("interrupts", text, fix.unwrap_or_default());
        }
    }
}

/// Who takes frames from its queues.
fn reception(found: &mut Findings, interface: &InterfaceFacts) {
    let Some(Reception { rps, deferred_interrupts, flush_timeout_ns, threaded, .. }) =
        found.known("RPS, NAPI", &interface.reception)
    else {
        return;
    };
    let set = |value: &Option<String>| value.as_deref().is_some_and(|value| value != "0");
    let mut what = Vec::new();
    if let Some((queue, mask)) = rps.first() {
        what.push(format!("RPS spreads {queue} over mask {mask}"));
    }
    if set(deferred_interrupts) || set(flush_timeout_ns) {
        what.push("NAPI polls before it lets interrupts in".into());
    }
    if set(threaded) {
        what.push("a kernel thread receives".into());
    }
    match what.is_empty() {
        true => found.fine("RPS, NAPI", "off: the interrupted CPU receives"),
        false => {
            let files = format!("/sys/class/net/{}/", interface.link.name);
            let fix = format!("echo 0 > {files}queues/rx-0/rps_cpus, threaded, gro_flush_timeout");
            found.note("RPS, NAPI", what.join("; "), fix);
        }
    }
}
