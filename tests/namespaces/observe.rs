//! Counters of every layer around a run, and where its frames went.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Completion, Failed};
use linerate::bench::snapshot::{CounterSnapshot, Ends, generator_counts};
use linerate::bench::testbed::End;
use linerate::engine::config::{EngineConfig, PathName};
use linerate::engine::pool::{Engine, EngineSummary};
use linerate::engine::turn::WhenFull;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig, Side};
use linerate::load::plan::{Limits, LoadSpec, Sizes};
use linerate::load::rate::Rate;
use linerate::load::run::{Load, LoadOutcome};
use linerate::ring::budget::MemoryBudget;
use linerate::ring::geometry::GeometryChoice;
use linerate::stats::drops::DropReason;
use linerate::stats::waterfall::{Layer, Waterfall};
use linerate::units::FrameSize;
use linerate::wire::ethernet::{EtherType, MacAddress, VlanTag};

use crate::check::{Test, impossible_here, over_every_path, possible_test, test};
use crate::served::config;
use crate::slow_queue::slow_down;

pub fn tests() -> Vec<Test> {
    let mut tests =
        over_every_path("observe", &[("a ring that overflows is where the frames went", overflow)]);
    tests.extend([
        test("observe: every layer's counters move with the frames", counters_move),
        test("observe: what a veth peer refuses is counted twice and lost once", peer_refuses),
        test("observe: tagged frames count as dropped and arrive", tagged_frames_arrive),
        test("observe: a reflector that is not ours is one stage", beyond_sight),
        possible_test("observe: a queue's drops are found", queue_drops),
    ]);
    tests
}

/// What offered, minus all stages, minus returned intact leaves: zero, or the waterfall is wrong.
fn imbalance(waterfall: &Waterfall) -> i128 {
    let lost: i128 = waterfall.stages.iter().map(|stage| stage.frames).sum();
    i128::from(waterfall.offered) - lost - i128::from(waterfall.returned_intact)
}

/// Frames that the stage called `name` at `layer` took; 0 if there is none.
fn lost_at(waterfall: &Waterfall, layer: Layer, name: &str) -> i128 {
    let stages = waterfall.stages.iter();
    stages
        .filter(|stage| stage.layer == layer && stage.name == name)
        .map(|stage| stage.frames)
        .sum()
}

/// What a run and the counters around it found.
struct Observation {
    load: LoadOutcome,
    counters: CounterSnapshot,
    engine: EngineSummary,
}

impl Observation {
    fn waterfall(&self) -> Waterfall {
        let waterfall =
            self.counters.waterfall(generator_counts(&self.load), Some(&self.engine.counters));
        assert_eq!(imbalance(&waterfall), 0, "{waterfall:?}");
        assert_eq!(waterfall.returned_intact, self.load.tally.intact);
        waterfall
    }
}

fn end(side: &Side) -> End {
    End { link: side.link.clone(), namespace: side.namespace.clone() }
}

fn both_ends(lab: &Lab) -> Result<Ends, Failed> {
    Ok(Ends::open(&end(&lab.generator), Some(&end(&lab.engine)))?)
}

fn load_config(lab: &Lab) -> LoadSpec {
    let (here, there) = (MacAddress(GENERATOR.mac), MacAddress(ENGINE.mac));
    LoadSpec::new(lab.generator.link.index, 1500, here, there)
}

/// Runs an engine and `work` against it, counters read around it.
fn observe(
    lab: &Lab,
    engine: &EngineConfig,
    work: impl FnOnce(&Arc<MemoryBudget>, &Engine) -> linerate::error::Result<LoadOutcome> + Send,
) -> Result<Observation, Failed> {
    let ends = both_ends(lab)?;
    let engine = Engine::start(engine)?;
    let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
    let before = CounterSnapshot::read(&ends)?;
    let load = lab.generator.namespace.run(|| work(&budget, &engine))??;
    let engine = engine.stop();
    let counters = CounterSnapshot::read(&ends)?.since(&before);
    assert_eq!(engine.failures, Vec::<String>::new());
    assert_eq!((&counters.near.unreadable, &counters.unreadable), (&vec![], &vec![]));
    Ok(Observation { load, counters, engine })
}

/// Floods an engine with so many frames.
fn flood(
    lab: &Lab,
    engine: &EngineConfig,
    load: LoadSpec,
    frames: u64,
) -> Result<Observation, Failed> {
    let plan = LoadSpec {
        drain: Duration::from_secs(5),
        quiet: Some(Duration::from_millis(200)),
        late_after: Duration::from_secs(10),
        ..load.paced(Rate::Max, Limits::frames(frames))
    };
    observe(lab, engine, |budget, _| Load::run(&plan, budget, &mut |_| {}))
}

fn counters_move() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let (engine, load) = (config(&lab, PathName::RING, |_| {}), load_config(&lab));
    let seen = flood(&lab, &engine, load, 500)?;
    assert!(seen.load.is_clean(), "{:?}", seen.load);
    let far = seen.counters.far.as_ref().ok_or("no far end")?;
    for interface in [&seen.counters.near, far] {
        let link = interface.link;
        assert_eq!((link.transmitted_frames, link.received_frames), (500, 500), "{link:?}");
        assert_eq!(interface.queueing, None, "a veth has no queue unless asked for one");
        // veth says at least this; its value is no counter and does not move.
        let index = ("peer_ifindex".to_owned(), 0);
        assert!(interface.driver.0.contains(&index), "{:?}", interface.driver);
    }
    let processed: u64 =
        seen.counters.softnet.cpus.iter().map(|cpu| u64::from(cpu.processed)).sum();
    assert!(processed >= 1000, "each way of each frame goes through a backlog: {processed}");
    let waterfall = seen.waterfall();
    assert!(waterfall.stages.iter().all(|stage| stage.frames == 0), "{waterfall:?}");
    Ok(())
}

/// The engine sleeps while more frames come than its ring holds.
fn overflow(path: PathName) -> Result<(), Failed> {
    const SENT: u64 = 15_000;
    let lab = Lab::create(&LabConfig::default())?;
    let engine = config(&lab, path, |config| {
        config.receive_ring = GeometryChoice {
            block_bytes: Some(16 << 10),
            blocks: Some(4),
            ..GeometryChoice::default()
        };
    });
    let plan = load_config(&lab).bursts(SENT);
    let seen = observe(&lab, &engine, |budget, engine| {
        let mut load = Load::open(&plan, budget)?;
        engine.pause();
        let filled = load.fill(SENT);
        engine.resume();
        let filled = filled?;
        assert_eq!(filled.sent(), SENT);
        filled.collect(Duration::from_millis(300))
    })?;
    let waterfall = seen.waterfall();
    let lost = i128::from(seen.engine.counters.kernel.drops);
    assert!(lost > 0 && lost < SENT.into(), "{lost} of {SENT} were lost");
    assert_eq!(lost_at(&waterfall, Layer::EngineRing, "no_room"), lost, "{waterfall:?}");
    assert_eq!(waterfall.unexplained, 0, "{waterfall:?}");
    let elsewhere = i128::from(waterfall.offered - waterfall.returned_intact) - lost;
    // What the engine has no room to answer it drops by name.
    let engine_drops = i128::from(seen.engine.counters.drops.total());
    let ring = lost_at(&waterfall, Layer::GeneratorRing, "no_room");
    assert_eq!(elsewhere, engine_drops + ring, "{waterfall:?}");
    Ok(())
}

/// Frames longer than the peer's MTU: the sender's interface and the peer's both count each attempt.
/// Newer kernels (this is so on 6.18) tell the sender, who tries again, so that the counters are far
/// above the number of frames; older ones count the frame as sent.
fn peer_refuses() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    lab.engine.links().set_mtu(lab.engine.link.index, 1000)?;
    let mut load = load_config(&lab);
    load.sizes = Sizes::Fixed(FrameSize::with_fcs(1400)?);
    let engine = config(&lab, PathName::RING, |_| {});
    let seen = flood(&lab, &engine, load, 300)?;
    let far = seen.counters.far.as_ref().ok_or("no far end")?;
    let counted = seen.counters.near.link.transmit_dropped;
    assert_eq!(counted, far.link.receive_dropped, "{:?}", seen.counters);
    let waterfall = seen.waterfall();
    let refused = lost_at(&waterfall, Layer::Generator, "refused_by_kernel");
    let lost = lost_at(&waterfall, Layer::DeviceReceive, "refused_by_peer");
    assert!(counted >= waterfall.offered, "{waterfall:?}");
    assert_eq!((waterfall.offered, refused + lost), (300, 300), "{waterfall:?}");
    assert_eq!(waterfall.unexplained, 0);
    Ok(())
}

/// The kernel's stack counts a tagged frame that has no VLAN interface as dropped, after packet
/// sockets have had it.
fn tagged_frames_arrive() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let mut load = load_config(&lab);
    load.carriage.tags = vec![VlanTag { tpid: EtherType::VLAN.0, tci: 100 }];
    load.sizes = Sizes::Fixed(FrameSize::with_fcs(100)?);
    let engine = config(&lab, PathName::RING, |_| {});
    let seen = flood(&lab, &engine, load, 300)?;
    assert_eq!(seen.load.tally.intact, 300, "{:?}", seen.load);
    let far = seen.counters.far.as_ref().ok_or("no far end")?;
    assert_eq!(far.link.receive_dropped, 300, "{:?}", far.link);
    let waterfall = seen.waterfall();
    assert!(waterfall.stages.iter().all(|stage| stage.frames == 0), "{waterfall:?}");
    Ok(())
}

/// The same run told without the engine's own counters, and without the far end.
fn beyond_sight() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let engine = config(&lab, PathName::RING, |config| config.ether_types = vec![EtherType::IPV4]);
    let load = load_config(&lab);
    let seen = flood(&lab, &engine, load, 100)?;
    assert_eq!((seen.load.sent, seen.load.lost), (100, 100));
    for far in [seen.counters.far.clone(), None] {
        let waterfall = CounterSnapshot { far, ..seen.counters.clone() }
            .waterfall(generator_counts(&seen.load), None);
        assert_eq!(imbalance(&waterfall), 0);
        let beyond = lost_at(&waterfall, Layer::BeyondSight, "beyond_our_sight");
        assert_eq!(beyond, 100, "{waterfall:?}");
    }
    Ok(())
}

/// The engine answers into a queue that is too slow and does not wait for it.
fn queue_drops() -> Result<Completion, Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    if !slow_down(&lab.engine, 2_000_000, 4 << 10)? {
        return impossible_here("this kernel has no tbf queue (CONFIG_NET_SCH_TBF)");
    }
    let engine = config(&lab, PathName::RING, |config| {
        config.when_full = WhenFull::Drop;
        // Eight slots.
        config.transmit_ring = GeometryChoice {
            block_bytes: Some(8 << 10),
            blocks: Some(2),
            ..GeometryChoice::default()
        };
    });
    let mut load = load_config(&lab);
    load.sizes = Sizes::Fixed(FrameSize::with_fcs(1000)?);
    let seen = flood(&lab, &engine, load, 300)?;
    let far = seen.counters.far.as_ref().ok_or("no far end")?;
    let queue = far.queueing.as_ref().ok_or("no queue")?;
    let engine = &seen.engine.counters;
    assert_eq!((queue.kind.as_str(), queue.waiting_frames), ("tbf", 0), "{queue:?}");
    assert_eq!(u64::from(queue.sent_frames), engine.forwarded, "{queue:?}");
    assert!(queue.dropped_frames > 0, "{queue:?}");
    // It gave back each frame that it dropped, so these losses are the engine's, by name.
    let waterfall = seen.waterfall();
    let dropped = engine.drops[DropReason::TxFull] + engine.drops[DropReason::Unsent];
    assert!(dropped > 0, "{engine:?}");
    assert_eq!(lost_at(&waterfall, Layer::DeviceQueue, "qdisc_dropped"), 0, "{waterfall:?}");
    assert_eq!(waterfall.unexplained, 0, "{waterfall:?}");
    Ok(Completion::Completed)
}
