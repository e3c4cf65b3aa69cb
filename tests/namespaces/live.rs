//! Loads whose frames a BPF program makes in the kernel (`--tx live`).

use std::time::Duration;

use libtest_mimic::{Completion, Failed};
use linerate::engine::config::{EngineConfig, PathName};
use linerate::engine::names::{RxName, TxName};
use linerate::engine::pool::Engine;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::load::pace::Pattern;
use linerate::load::plan::{Carriage, Limits, LoadSpec};
use linerate::load::rate::Rate;
use linerate::load::run::{Drive, Load, Threads};
use linerate::load::tx::TxChoice;
use linerate::ring::budget::MemoryBudget;
use linerate::sys::bpf::SocketMap;
use linerate::sys::offload::Ethtool;
use linerate::wire::ethernet::{EtherType, VlanTag};
use linerate::wire::headers::{IpAddresses, UdpHeaders};

use crate::check::{Test, alone, impossible_here, possible_test, test};
use crate::open_loop::{assert_clean, load, plan};
use crate::served::{check_summary, config as engine_config};

pub fn tests() -> Vec<Test> {
    let privileged = |name: &str, run: fn() -> Result<(), Failed>| {
        possible_test(name, move || match SocketMap::create(1) {
            Ok(_) => run().map(|()| Completion::Completed),
            Err(error) => impossible_here(&error.to_string()),
        })
    };
    alone(vec![
        privileged("live: all kinds of frames, paces and senders come back", kinds),
        privileged("live: what the driver does not take is lost, and the books balance", not_taken),
        privileged("live: an engine answers through a program, behind every receive half", answers),
        test("live: without privilege or a peer that polls it is refused by name", refused),
    ])
}

/// A testbed whose engine polls, or does not.
fn lab(polls: bool) -> Result<Lab, Failed> {
    Ok(Lab::create(&LabConfig { addresses: true, polls: [false, polls], ..LabConfig::default() })?)
}

fn spec(lab: &Lab) -> LoadSpec {
    LoadSpec { tx: Some(TxChoice::Live), ..plan(lab) }
}

fn kinds() -> Result<(), Failed> {
    type Adjust = fn(&mut LoadSpec);
    let kinds: [Adjust; 8] = [
        |_| {},
        |spec| spec.sizes = "imix".parse().expect("sizes"),
        |spec| {
            spec.carriage = spec.carriage.clone().tagged(VlanTag::customer(5, 3));
            spec.sizes = "random:64-1518".parse().expect("sizes");
            spec.flows = 9;
        },
        |spec| {
            let addresses = IpAddresses::pair(GENERATOR.ipv4, ENGINE.ipv4).expect("a pair");
            let (source_port, destination_port, hop_limit) = (4000, 7777, 64);
            let headers = UdpHeaders { addresses, source_port, destination_port, hop_limit };
            spec.carriage = Carriage::udp(headers);
            spec.sizes = "64,65,1500".parse().expect("sizes");
            spec.flows = 64;
        },
        |spec| {
            let rate = Rate::frames(20_000);
            spec.drive = Drive::Paced { rate, pattern: Pattern::Poisson { seed: 3 } };
        },
        |spec| {
            let rate = Rate::frames(20_000);
            spec.drive = Drive::Paced { rate, pattern: Pattern::Burst { frames: 40 } };
        },
        |spec| spec.threads = Threads::Apart { senders: 3 },
        |spec| spec.drive = Drive::Window(64),
    ];
    for udp in [false, true] {
        let lab = lab(true)?;
        let engine = Engine::start(&engine_config(&lab, PathName::RING_V2, |config| {
            config.receive_ring.blocks = Some(128);
            if udp {
                let (ether_types, udp_port) = (vec![EtherType::IPV4], Some(7777));
                let plain = config.clone();
                *config = EngineConfig { ether_types, udp_port, link_layer: false, ..plain };
            }
        }))?;
        for (kind, adjust) in kinds.iter().enumerate().filter(|(kind, _)| (*kind == 3) == udp) {
            let mut spec = spec(&lab);
            spec.limits = Limits::frames(1001);
            adjust(&mut spec);
            let outcome = load(&lab, &spec)?;
            assert_clean(&outcome, 1001);
            let scheduled = if outcome.asked.is_some() { 1001 } else { 0 };
            assert_eq!(outcome.departures.lateness.count(), scheduled, "kind {kind}");
        }
        check_summary(&engine.stop());
    }
    Ok(())
}

/// Frames of several lengths in one batch, tagged or not.
fn answers() -> Result<(), Failed> {
    for rx in RxName::ALL {
        let path = PathName { rx, tx: TxName::Bpf };
        let lab = Lab::create(&LabConfig { polls: [true, false], ..LabConfig::default() })?;
        let engine = Engine::start(&engine_config(&lab, path, |config| {
            config.receive_ring.blocks = Some(128);
        }))?;
        let mut spec = LoadSpec { tx: None, ..spec(&lab) };
        spec.sizes = "imix".parse().expect("sizes");
        spec.limits = Limits::frames(2000);
        assert_clean(&load(&lab, &spec)?, 2000);
        if path.sees_tags() {
            spec.carriage = spec.carriage.tagged(VlanTag::customer(5, 3));
            assert_clean(&load(&lab, &spec)?, 2000);
        }
        check_summary(&engine.stop());
    }
    Ok(())
}

/// The peer ceases to poll between the opening and the first frame.
fn not_taken() -> Result<(), Failed> {
    let lab = lab(true)?;
    let spec = LoadSpec { drain: Duration::from_millis(100), ..spec(&lab) };
    let name = lab.engine.link.name.clone();
    let quiet =
        || Ethtool::open().map(|ethtool| ethtool.set_feature(&name, "rx-gro", false).unwrap());
    let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
    let outcome = lab.generator.namespace.run(|| {
        let mut open = Load::open(&spec, &budget)?;
        lab.engine.namespace.run(quiet)??;
        open.measure(spec.drive, Limits::frames(500))
    })??;
    outcome.assert_conserved();
    assert_eq!((outcome.sent, outcome.lost), (500, 500), "{:?}", outcome.notes);
    Ok(())
}

fn refused() -> Result<(), Failed> {
    let lab = lab(false)?;
    let error = load(&lab, &spec(&lab)).err().ok_or("it sent to a peer that does not poll")?;
    let text = error.message().unwrap_or_default();
    assert!(text.contains("gro on") || text.contains("CAP_BPF"), "{text}");
    Ok(())
}
