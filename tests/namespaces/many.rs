//! Many frames, each byte of each answer verified by the generator.

use std::time::Duration;

use libtest_mimic::Failed;
use linerate::engine::config::{EngineConfig, PathName};
use linerate::engine::pool::Engine;
use linerate::lab::{ENGINE, GENERATOR, LabConfig};
use linerate::load::pace::Pattern;
use linerate::load::plan::{Carriage, Limits, LoadSpec, Sizes};
use linerate::load::rate::Rate;
use linerate::load::run::{Drive, Load, LoadOutcome};
use linerate::load::rx::RxChoice;
use linerate::ring::budget::MemoryBudget;
use linerate::units::FrameSize;
use linerate::wire::ethernet::{EtherType, MacAddress, VlanTag};
use linerate::wire::headers::{IpAddresses, UdpHeaders};

use crate::check::{Test, over, over_every_path};
use crate::covering::at_most;
use crate::served::{check_summary, lab_for};

pub fn tests() -> Vec<Test> {
    let mut tests = over_every_path(
        "many",
        &[
            ("many rings full of frames of all sizes come back, each byte right", all_sizes),
            ("a flood may lose frames, and damages, doubles and forgets none", flood),
            ("datagrams over IPv4 and IPv6 come back, each byte right", datagrams),
            ("two workers damage and double none", two_workers),
        ],
    );
    let seeing: Vec<_> = crate::check::PATHS.into_iter().filter(|path| path.sees_tags()).collect();
    tests.extend(over(
        "many",
        &seeing,
        &[("tagged frames of all sizes come back, each byte right", tagged)],
    ));
    tests
}

/// An engine and what a generator found of it.
fn run(
    path: PathName,
    adjust_engine: impl FnOnce(&mut EngineConfig),
    adjust_load: impl FnOnce(&mut LoadSpec),
    (drive, limits): (Drive, Limits),
) -> Result<LoadOutcome, Failed> {
    let (lab, config) = lab_for(&LabConfig::default(), path, adjust_engine)?;
    let engine = Engine::start(&config)?;
    let (here, there) = (MacAddress(GENERATOR.mac), MacAddress(ENGINE.mac));
    let mut load = LoadSpec::new(lab.generator.link.index, 1500, here, there);
    // The machine may have other work for a while.
    load.answer_timeout = Duration::from_secs(2);
    load.rx_ring.blocks = Some(64);
    adjust_load(&mut load);
    let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
    let plan = LoadSpec {
        // Slot by slot, so that a window waits for one retire timeout and not for two.
        rx: Some(RxChoice::V2),
        drain: Duration::from_secs(5),
        quiet: Some(Duration::from_millis(500)),
        late_after: Duration::from_secs(10),
        ..load.driven(drive, limits)
    };
    let report = lab.generator.namespace.run(|| Load::run(&plan, &budget, &mut |_| {}))??;
    let summary = engine.stop();
    check_summary(&summary);
    report.assert_conserved();
    let (counters, link) = (summary.counters, lab.engine.counters()?);
    assert_eq!(counters.forwarded, link.transmitted_frames, "{counters:?}");
    assert_eq!(counters.kernel.packets, report.sent, "{counters:?}");
    Ok(report)
}

/// As many frames as there are sizes, or more.
const EACH_SIZE: u64 = 1500;

fn sweep(from: usize, to: usize) -> Result<Sizes, Failed> {
    Ok(Sizes::Sweep { from: FrameSize::with_fcs(from)?, to: FrameSize::with_fcs(to)?, step: 1 })
}

/// So many unanswered frames fit every buffer on the way, whatever their sizes.
fn in_windows(frames: u64) -> (Drive, Limits) {
    (Drive::Window(128), Limits::frames(frames))
}

fn assert_clean(report: &LoadOutcome, sent: u64) {
    assert_eq!(report.sent, sent);
    assert!(report.is_clean(), "{:?}, lost {}, {:?}", report.tally, report.lost, report.damage);
}

fn all_sizes(path: PathName) -> Result<(), Failed> {
    // Most of them short, because a build for tests is slow with each byte.
    let (long, short) = (at_most(10_000, 3000), at_most(90_000, 20_000));
    for (sizes, count) in [(sweep(64, 1518)?, long), (sweep(64, 128)?, short)] {
        let report = run(path, |_| {}, |load| load.sizes = sizes, in_windows(count))?;
        assert_clean(&report, count);
        assert_eq!(report.tally.reordered, 0);
    }
    Ok(())
}

fn tagged(path: PathName) -> Result<(), Failed> {
    let frames = at_most(5000, EACH_SIZE);
    let stacks =
        [vec![VlanTag::customer(5, 3)], vec![VlanTag::service(7, 0), VlanTag::customer(6, 1)]];
    for tags in stacks {
        // The kernel sends four bytes more than the MTU for 802.1Q only.
        let sizes = sweep(72, if tags.len() == 1 { 1522 } else { 1518 })?;
        let adjust = |load: &mut LoadSpec| {
            load.sizes = sizes;
            load.carriage.tags = tags;
        };
        assert_clean(&run(path, |_| {}, adjust, in_windows(frames))?, frames);
    }
    Ok(())
}

fn flood(path: PathName) -> Result<(), Failed> {
    let duration = Duration::from_millis(at_most(500, 200));
    let limits = Limits { duration: Some(duration), count: Some(100_000) };
    let flood = Drive::Paced { rate: Rate::Max, pattern: Pattern::Constant };
    let report = run(path, |_| {}, |_| {}, (flood, limits))?;
    let tally = report.tally;
    assert!(tally.intact > 0);
    let wrong = tally.corrupted + tally.not_transformed + tally.truncated + tally.duplicated;
    let strange = tally.reordered + tally.foreign + tally.forgotten + tally.malformed;
    assert_eq!((wrong, strange), (0, 0), "{tally:?}, {:?}", report.damage);
    Ok(())
}

fn datagrams(path: PathName) -> Result<(), Failed> {
    let over_ipv4 = IpAddresses::pair(GENERATOR.ipv4, ENGINE.ipv4).unwrap();
    let over_ipv6 = IpAddresses::pair(GENERATOR.ipv6, ENGINE.ipv6).unwrap();
    for addresses in [over_ipv4, over_ipv6] {
        let headers =
            UdpHeaders { addresses, source_port: 4000, destination_port: 7, hop_limit: 64 };
        let sizes = sweep(84, 1518)?;
        let adjust_engine = |config: &mut EngineConfig| {
            config.ether_types = vec![EtherType::IPV4, EtherType::IPV6];
            config.link_layer = false;
            config.udp_port = Some(7);
        };
        let adjust_load = |load: &mut LoadSpec| {
            load.carriage = Carriage::udp(headers);
            load.sizes = sizes;
        };
        let frames = at_most(5000, EACH_SIZE);
        let report = run(path, adjust_engine, adjust_load, in_windows(frames))?;
        assert_clean(&report, frames);
    }
    Ok(())
}

fn two_workers(path: PathName) -> Result<(), Failed> {
    let frames = at_most(20_000, 8000);
    let report = run(path, |config| config.workers = 2, |_| {}, in_windows(frames))?;
    assert_clean(&report, frames);
    Ok(())
}
