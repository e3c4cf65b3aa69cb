//! Whole loads against our engine and against a reflector that does wrong on purpose, over the
//! kernel.

use std::time::Duration;

use libtest_mimic::Failed;
use linerate::engine::config::{EngineConfig, PathName};
use linerate::engine::pool::Engine;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::load::pace::Pattern;
use linerate::load::plan::{Carriage, Content, Limits, LoadSpec};
use linerate::load::rate::Rate;
use linerate::load::run::{Drive, GeneratorLimit, Load, LoadOutcome, Threads};
use linerate::load::rx::RxChoice;
use linerate::load::tx::TxChoice;
use linerate::ring::budget::MemoryBudget;
use linerate::wire::ethernet::{EtherType, MacAddress, VlanTag};
use linerate::wire::headers::{IpAddresses, UdpHeaders};
use linerate::wire::probe::{Expectation, PayloadPattern};

use crate::check::{PATIENCE, Test, test};
use crate::served::{check_summary, config as engine_config};
use crate::spoiled::unless_spoiled;

pub fn tests() -> Vec<Test> {
    let mut all = vec![
        test("open loop: a rate is kept, every frame verified and timed", kept),
        test("open loop: IMIX comes back", || clean(|plan| plan.sizes = imix())),
        test("open loop: a VLAN tag and two of them come back", tagged),
        test("open loop: UDP over IPv4 and IPv6, in many flows, tagged or not", udp),
        test("open loop: many flows of other EtherTypes", || clean(|plan| plan.flows = 100)),
        test("open loop: Poisson and bursts send exactly their count", patterns),
        test("open loop: every payload pattern is verified", payloads),
        test("open loop: sender and receiver in threads of their own", apart),
        test("open loop: three senders share a schedule", several),
        test("open loop: windows and ping-pong are timed", windows),
        test("open loop: a flood is no schedule, and a rate out of reach says so", out_of_reach),
        test("open loop: warm-up, progress and the stop flag", || unless_spoiled(warm_up)),
        test("open loop: two AF_XDP senders have a queue each, a third has none", two_queues),
        test("open loop: any reflector will do where any is expected", any),
    ];
    // The frames of `live` have tests of their own.
    for transmit in TxChoice::ALL.into_iter().filter(|half| *half != TxChoice::Live) {
        for receive in RxChoice::ALL {
            all.push(test(format!("open loop: halves {transmit} and {receive}"), move || {
                clean(|plan| {
                    plan.tx = Some(transmit);
                    plan.rx = Some(receive);
                    plan.qdisc_bypass = receive == RxChoice::V2;
                })
            }));
        }
    }
    all
}

/// An AF_XDP socket has a queue for itself, so that two senders need two.
fn two_queues() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig { queues: 2, ..LabConfig::default() })?;
    let engine = Engine::start(&engine_config(&lab, PathName::RING_V2, |config| {
        config.receive_ring.blocks = Some(128);
    }))?;
    let mut plan = plan(&lab);
    plan.tx = Some(TxChoice::Xsk);
    plan.threads = Threads::Apart { senders: 2 };
    plan.carriage.tags = vec![VlanTag::customer(5, 1)];
    // Slow enough for a machine that has other work.
    plan.drive = Drive::Paced { rate: Rate::frames(2000), pattern: Pattern::Constant };
    plan.limits = Limits::frames(2000);
    let outcome = load(&lab, &plan)?;
    check_summary(&engine.stop());
    assert_clean(&outcome, 2000);
    plan.threads = Threads::Apart { senders: 3 };
    let refused = load(&lab, &plan).err().ok_or("three senders over two queues")?;
    let text = refused.message().unwrap_or_default();
    assert!(text.contains("queue 2") && text.contains("ethtool -l"), "{text}");
    Ok(())
}

fn imix() -> linerate::load::plan::Sizes {
    linerate::load::plan::Sizes::Imix
}

/// Frames a second that an optimised build keeps on a CPU of its own, and an unoptimised one as well.
const RATE: u64 = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
const FRAMES: u64 = 4000;

pub fn plan(lab: &Lab) -> LoadSpec {
    let (here, there) = (MacAddress(GENERATOR.mac), MacAddress(ENGINE.mac));
    let config = LoadSpec::new(lab.generator.link.index, 1500, here, there);
    let limits = Limits::frames(FRAMES);
    let mut plan = config.paced(Rate::frames(RATE), limits);
    plan.drain = PATIENCE;
    plan.late_after = PATIENCE;
    plan
}

/// What a load found of an engine.
fn run(
    adjust_engine: impl FnOnce(&mut EngineConfig),
    adjust: impl FnOnce(&mut LoadSpec),
) -> Result<LoadOutcome, Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let engine = Engine::start(&engine_config(&lab, PathName::RING_V2, |config| {
        // The machine may have other work for a while.
        config.receive_ring.blocks = Some(128);
        config.when_full = linerate::engine::turn::WhenFull::Wait(Duration::from_secs(1));
        adjust_engine(config);
    }))?;
    let mut plan = plan(&lab);
    adjust(&mut plan);
    let outcome = load(&lab, &plan)?;
    check_summary(&engine.stop());
    Ok(outcome)
}

pub fn load(lab: &Lab, plan: &LoadSpec) -> Result<LoadOutcome, Failed> {
    let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
    Ok(lab.generator.namespace.run(|| Load::run(plan, &budget, &mut |_| {}))??)
}

pub fn assert_clean(outcome: &LoadOutcome, sent: u64) {
    outcome.assert_conserved();
    let LoadOutcome { tally, lost, kernel, damage, .. } = outcome;
    assert!(outcome.is_clean(), "{tally:?}, lost {lost}, {kernel:?}, {damage:?}");
    assert_eq!((outcome.sent, outcome.offered), (sent, sent));
    assert_eq!(outcome.latencies.response.count() + outcome.untimed, sent);
    assert_eq!(outcome.latencies.service.count() + outcome.untimed, sent);
}

fn clean(adjust: impl Fn(&mut LoadSpec)) -> Result<(), Failed> {
    assert_clean(&run(|_| {}, adjust)?, FRAMES);
    Ok(())
}

/// At the highest rate that the machine lets the generator keep now, of [`RATE`] and its halves.
fn kept() -> Result<(), Failed> {
    let at = |rate, frames| {
        run(
            |_| {},
            |plan| {
                let rate = Rate::frames(rate);
                plan.drive = Drive::Paced { rate, pattern: Pattern::Constant };
                plan.limits = Limits::frames(frames);
                plan.breakdown = true;
            },
        )
    };
    let mut frames = FRAMES;
    let mut outcome = at(RATE, frames)?;
    for attempt in 1..16 {
        if outcome.generator_limit().is_none() {
            break;
        }
        let halvings = attempt.min(5);
        frames = FRAMES >> halvings;
        outcome = at(RATE >> halvings, frames)?;
    }
    if let Some(limit) = outcome.generator_limit() {
        return Err(format!("spoiled by the machine, at all rates: {limit}").into());
    }
    assert_clean(&outcome, frames);
    // The last frame alone may be late.
    let late = outcome.departures.lateness.max() as f64 * outcome.achieved_pps().unwrap_or(0.0)
        / (1e9 * frames as f64);
    let error = outcome.rate_error().unwrap_or(1.0);
    assert!(error.abs() < 0.001 + late, "{error}, {:?}", outcome.departures.lateness.max());
    assert_eq!(outcome.departures.lateness.count(), frames);
    assert_eq!(outcome.departures.gaps.count(), frames - 1);
    let latencies = &outcome.latencies;
    assert_eq!(latencies.until_kernel.count(), frames);
    // Both parts of every round trip together are the round trip.
    let parts = latencies.until_kernel.mean() + latencies.in_ring.mean();
    let whole = latencies.service.mean();
    assert!((parts - whole).abs() < 0.01 * whole + 100.0, "{parts} {whole}");
    assert!(latencies.response.mean() >= whole);
    assert!(outcome.jitter.max_ns() > 0);
    Ok(())
}

fn tagged() -> Result<(), Failed> {
    let tag = VlanTag::customer(5, 3);
    clean(|plan| plan.carriage = plan.carriage.clone().tagged(tag))?;
    clean(|plan| {
        let inner = plan.carriage.clone().tagged(tag);
        plan.carriage = inner.tagged(VlanTag::service(7, 0));
        plan.sizes = "64-1518:97".parse().expect("sizes");
    })
}

fn udp() -> Result<(), Failed> {
    let tags = [vec![], vec![VlanTag::customer(5, 3)], {
        vec![VlanTag::service(7, 0), VlanTag::customer(6, 1)]
    }];
    for tags in tags {
        for addresses in [
            IpAddresses::pair(GENERATOR.ipv4, ENGINE.ipv4).unwrap(),
            IpAddresses::pair(GENERATOR.ipv6, ENGINE.ipv6).unwrap(),
        ] {
            let headers =
                UdpHeaders { addresses, source_port: 4000, destination_port: 7, hop_limit: 64 };
            let answer_udp = |config: &mut EngineConfig| {
                config.ether_types = vec![EtherType::IPV4, EtherType::IPV6];
                config.link_layer = false;
                config.udp_port = Some(7);
            };
            let outcome = run(answer_udp, |plan| {
                plan.carriage = Carriage { tags: tags.clone(), content: Content::Udp(headers) };
                plan.sizes = "88,128,1500".parse().expect("sizes");
                plan.flows = 64;
                plan.limits = Limits::frames(2000);
            })?;
            assert_clean(&outcome, 2000);
        }
    }
    Ok(())
}

fn patterns() -> Result<(), Failed> {
    for pattern in [Pattern::Poisson { seed: 3 }, Pattern::Burst { frames: 32 }] {
        let outcome = run(
            |_| {},
            |plan| {
                if let Drive::Paced { pattern: constant, .. } = &mut plan.drive {
                    *constant = pattern;
                }
                plan.limits = Limits::frames(3333);
            },
        )?;
        assert_clean(&outcome, 3333);
    }
    Ok(())
}

fn payloads() -> Result<(), Failed> {
    for payload in PayloadPattern::ALL {
        let outcome = run(
            |config| config.unchanged = linerate::engine::storm::Allowance::Unlimited,
            |plan| {
                plan.payload = payload;
                plan.sizes = "random:64-1518".parse().expect("sizes");
                plan.limits = Limits::frames(2000);
            },
        )?;
        assert_clean(&outcome, 2000);
    }
    Ok(())
}

fn apart() -> Result<(), Failed> {
    clean(|plan| plan.threads = Threads::Apart { senders: 1 })?;
    clean(|plan| {
        plan.threads = Threads::Apart { senders: 1 };
        plan.rx = Some(RxChoice::V3);
        plan.sizes = imix();
    })
}

fn several() -> Result<(), Failed> {
    let outcome = run(
        |_| {},
        |plan| {
            plan.threads = Threads::Apart { senders: 3 };
            plan.flows = 7;
        },
    )?;
    assert_clean(&outcome, FRAMES);
    assert!(outcome.rate_error().unwrap_or(1.0) <= 0.0, "{:?}", outcome.rate_error());
    // A count is a count, whoever sends it.
    let outcome = run(
        |_| {},
        |plan| {
            plan.threads = Threads::Apart { senders: 3 };
            plan.limits = Limits::frames(1001);
            plan.warm_up = Duration::from_millis(200);
        },
    )?;
    assert_clean(&outcome, 1001);
    assert!((1..=RATE / 4).contains(&outcome.warm_up.sent), "{:?}", outcome.warm_up);
    Ok(())
}

fn windows() -> Result<(), Failed> {
    for frames in [1, 64] {
        let outcome = run(
            |_| {},
            |plan| {
                plan.drive = Drive::Window(frames);
                plan.limits = Limits::frames(1000);
                plan.answer_timeout = PATIENCE;
            },
        )?;
        assert_clean(&outcome, 1000);
        assert_eq!(outcome.asked, None);
    }
    Ok(())
}

fn out_of_reach() -> Result<(), Failed> {
    let limits = Limits::lasting(Duration::from_millis(200));
    let outcome = run(
        |_| {},
        |plan| {
            plan.drive = Drive::Paced { rate: Rate::Max, pattern: Pattern::Constant };
            plan.limits = limits;
        },
    )?;
    outcome.assert_conserved();
    assert!(outcome.sent > 0 && outcome.achieved_pps() > Some(0.0));
    assert_eq!(outcome.generator_limit(), None);
    let outcome = run(
        |_| {},
        |plan| {
            let rate = Rate::frames(500_000_000);
            plan.drive = Drive::Paced { rate, pattern: Pattern::Constant };
            plan.limits = limits;
        },
    )?;
    outcome.assert_conserved();
    assert_eq!(outcome.offered, 100_000_000);
    assert!(outcome.unsent_late > 90_000_000);
    assert_eq!(outcome.generator_limit(), Some(GeneratorLimit::Busy));
    assert!(outcome.departures.late > 0);
    Ok(())
}

fn warm_up() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let engine = Engine::start(&engine_config(&lab, PathName::RING_V2, |_| {}))?;
    let mut plan = plan(&lab);
    plan.warm_up = Duration::from_millis(250);
    plan.interval = Duration::from_millis(100);
    plan.limits = Limits::lasting(Duration::from_secs(100));
    let stop = std::sync::Arc::clone(&plan.stop);
    let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
    let (mut reports, mut warming_up, mut timed) = (0, 0, 0);
    let mut progress = |report: &linerate::load::run::Progress| {
        reports += 1;
        warming_up += u64::from(report.warming_up);
        timed += report.interval.service.count();
        assert!(report.sent >= report.returned);
        stop.store(
            report.elapsed > Duration::from_millis(550),
            std::sync::atomic::Ordering::Relaxed,
        );
    };
    // The namespace's thread must be given something that can be sent.
    let outcome = std::thread::scope(|scope| {
        let work = || {
            lab.generator.namespace.enter()?;
            Load::run(&plan, &budget, &mut |report| progress(report))
        };
        scope.spawn(work).join()
    });
    let outcome = outcome.map_err(|_| "the load panicked")??;
    check_summary(&engine.stop());
    outcome.assert_conserved();
    assert!(outcome.stopped && reports >= 4, "{reports}");
    assert!((1..=3).contains(&warming_up), "{warming_up}");
    // What is late at the end of the warm-up is not sent any more.
    assert!((1..=5000).contains(&outcome.warm_up.sent), "{:?}", outcome.warm_up);
    assert_eq!(outcome.warm_up.tally.intact, outcome.warm_up.sent);
    assert_eq!(outcome.latencies.service.count(), outcome.tally.intact);
    assert!(timed > 0 && timed <= outcome.tally.intact);
    assert_eq!(outcome.sent, outcome.tally.intact);
    Ok(())
}

fn any() -> Result<(), Failed> {
    for transform in ["uppercase", "none"] {
        let outcome = run(
            |config| {
                config.unchanged = linerate::engine::storm::Allowance::Unlimited;
                if transform == "none" {
                    config.transform = linerate::engine::edit::Transform::None;
                }
            },
            |plan| {
                plan.expectation = Expectation::Any;
                plan.limits = Limits::frames(1000);
            },
        )?;
        assert_clean(&outcome, 1000);
    }
    Ok(())
}
