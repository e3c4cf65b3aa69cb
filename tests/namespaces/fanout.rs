//! Several workers on one interface.

use libtest_mimic::Failed;
use linerate::engine::config::PathName;
use linerate::engine::names::{RxName, TxName};
use linerate::lab::{ENGINE, GENERATOR, LabConfig};
use linerate::ring::geometry::GeometryChoice;
use linerate::stats::counters::RolloverCounters;
use linerate::stats::drops::DropReason;
use linerate::sys::packet::FanoutMode;
use linerate::wire::ethernet::EtherType;
use linerate::wire::headers::{IpAddresses, UdpHeaders};

use crate::check::{PATHS, Test, eventually, over, over_every_path_behind_the_stack};
use crate::client::{frame, numbered};
use crate::served::{serve, serve_in};

pub fn tests() -> Vec<Test> {
    let mut tests = over_every_path_behind_the_stack(
        "fanout",
        &[
            ("every frame is answered once, whichever worker gets it", every_mode),
            ("IP is spread by flow, anything else in turn", defaults),
            ("a limit on frames holds over all workers", limit),
            ("cbpf spreads source addresses that hash does not", source_addresses),
            ("rollover is counted, and nothing where nothing can roll over", rollover_counts),
        ],
    );
    // An AF_XDP socket has its queue for itself.
    let sharing: Vec<_> = PATHS.into_iter().filter(|path| path.tx != TxName::Xsk).collect();
    tests.extend(over(
        "fanout",
        &sharing,
        &[("two engines on one interface do not take each other's frames", two_engines)],
    ));
    let by_ring: Vec<_> =
        PATHS.into_iter().filter(|path| matches!(path.rx, RxName::V3 | RxName::V2)).collect();
    tests.extend(over(
        "fanout",
        &by_ring,
        &[("what one ring has no room for rolls over to the other", full_ring)],
    ));
    tests
}

fn every_mode(path: PathName) -> Result<(), Failed> {
    let modes = [
        FanoutMode::Hash,
        FanoutMode::LoadBalance,
        FanoutMode::Cpu,
        FanoutMode::Random,
        FanoutMode::Rollover,
        FanoutMode::Queue,
        FanoutMode::SourceMac,
    ];
    for mode in modes {
        let lab = LabConfig { queues: 2, ..LabConfig::default() };
        let mut served = serve_in(&lab, path, |config| {
            config.workers = 2;
            config.fanout = Some(mode);
        })?;
        served.echo_in_any_order(0..200)?;
        let (summary, _) = served.finish()?;
        let shares: Vec<_> = summary.workers.iter().map(|worker| worker.received).collect();
        assert_eq!(shares.iter().sum::<u64>(), 200, "{mode:?}");
        match mode {
            FanoutMode::LoadBalance => assert_eq!(shares, [100, 100]),
            FanoutMode::Random => assert!(shares.iter().all(|&share| share > 50), "{shares:?}"),
            // The flow hash knows no other than IP flows, and there is one source.
            FanoutMode::Hash | FanoutMode::SourceMac => {
                assert!(shares.contains(&200), "{shares:?}")
            }
            _ => {}
        }
    }
    Ok(())
}

/// 64 sources, ten frames each.
fn source_addresses(path: PathName) -> Result<(), Failed> {
    for (mode, spreads) in [(FanoutMode::Hash, false), (FanoutMode::SourceMac, true)] {
        let mut served = serve(path, |config| {
            config.workers = 2;
            config.fanout = Some(mode);
        })?;
        let frames: Vec<_> = (0..640u32)
            .map(|number| {
                let mut frame = numbered(number, 60);
                frame[6..12].copy_from_slice(&[2, 0, 0, 0, 7, (number % 64) as u8]);
                frame
            })
            .collect();
        served.client.send_all(&frames)?;
        served.answered_in_any_order(&frames)?;
        let (summary, _) = served.finish()?;
        let shares: Vec<_> = summary.workers.iter().map(|worker| worker.forwarded).collect();
        // A source stays with its worker.
        assert!(shares.iter().all(|share| share % 10 == 0), "{mode:?}: {shares:?}");
        assert_eq!(shares.iter().all(|&share| share >= 160), spreads, "{mode:?}: {shares:?}");
    }
    Ok(())
}

fn rollover_counts(path: PathName) -> Result<(), Failed> {
    for (mode, rollover) in [
        (FanoutMode::LoadBalance, false),
        (FanoutMode::LoadBalance, true),
        (FanoutMode::Rollover, false),
    ] {
        let mut served = serve(path, |config| {
            config.workers = 2;
            config.fanout = Some(mode);
            config.rollover = rollover;
        })?;
        served.echo_in_any_order(0..100)?;
        let (summary, _) = served.finish()?;
        let counted = summary.counters.kernel.rollover;
        // By itself the mode looks for room for every frame, the flag only for those without.
        if mode == FanoutMode::Rollover {
            assert!(counted.all >= 100, "{counted:?}");
        } else {
            assert_eq!(counted, RolloverCounters::default(), "{rollover}");
            assert!(summary.workers.iter().all(|worker| worker.received == 50));
        }
    }
    Ok(())
}

/// 185 frames of 1400 bytes while nobody reads: more than a ring of 256 KiB holds, and no more than two
/// hold up to three quarters, from where on the kernel lets only some frames roll over, at random
/// (`fanout_flow_is_huge`), and counts a failure where no ring is emptier.
fn full_ring(path: PathName) -> Result<(), Failed> {
    for (mode, rollover) in [(FanoutMode::Hash, true), (FanoutMode::Rollover, false)] {
        let mut served = serve(path, |config| {
            config.workers = 2;
            config.fanout = Some(mode);
            config.rollover = rollover;
            config.receive_ring = GeometryChoice {
                block_bytes: Some(64 << 10),
                blocks: Some(4),
                // Blocks of V3 are to be full, not late.
                retire_ms: (path.rx == RxName::V3).then_some(1000),
                ..GeometryChoice::default()
            };
        })?;
        served.engine.pause();
        let frames: Vec<_> = (0..185).map(|number| numbered(number, 1400)).collect();
        served.client.send_all(&frames)?;
        served.engine.resume();
        served.answered_in_any_order(&frames)?;
        let (summary, _) = served.finish()?;
        let shares: Vec<_> = summary.workers.iter().map(|worker| worker.received).collect();
        assert!(shares.iter().all(|&share| share > 0), "{mode:?}: {shares:?}");
        let counted = summary.counters.kernel.rollover;
        assert!(counted.all > 0 && counted.huge <= counted.all, "{mode:?}: {counted:?}");
        assert_eq!((counted.failed, summary.counters.kernel.drops), (0, 0), "{mode:?}");
        if rollover {
            // All that the second one got has left the first.
            assert!(shares.contains(&counted.all), "{shares:?} {counted:?}");
        }
    }
    Ok(())
}

fn defaults(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |config| config.workers = 2)?;
    served.echo_in_any_order(0..100)?;
    let (summary, _) = served.finish()?;
    assert!(summary.workers.iter().all(|worker| worker.forwarded == 50), "{:?}", summary.workers);

    let mut served = serve(path, |config| {
        config.workers = 2;
        config.ether_types = vec![EtherType::IPV4];
        config.link_layer = false;
        config.udp_port = Some(7);
    })?;
    // 64 flows, ten datagrams each.
    for round in 0..640u16 {
        let headers = UdpHeaders {
            addresses: IpAddresses::pair(GENERATOR.ipv4, ENGINE.ipv4).unwrap(),
            source_port: 4000 + round % 64,
            destination_port: 7,
            hop_limit: 64,
        };
        let mut packet = vec![b'h'; 28 + 20];
        headers.write(&mut packet, 20)?;
        served.client.send(&frame(EtherType::IPV4.0, &packet))?;
    }
    assert_eq!(served.client.collect(640)?.len(), 640);
    let (summary, _) = served.finish()?;
    let shares: Vec<_> = summary.workers.iter().map(|worker| worker.forwarded).collect();
    assert!(shares.iter().all(|&share| share > 0 && share % 10 == 0), "{shares:?}");
    Ok(())
}

fn limit(path: PathName) -> Result<(), Failed> {
    for (workers, limit) in [(1, 1), (1, 100), (2, 100)] {
        let mut served = serve(path, |config| {
            config.workers = workers;
            config.frame_limit = Some(limit);
        })?;
        let (mut number, mut ended) = (0, false);
        // Two at a time, each after the answers to the two before, so that no batch is longer.
        while !ended {
            served.client.send_all(&[numbered(number, 60), numbered(number + 1, 60)])?;
            number += 2;
            let mut answers = 0;
            eventually("two answers or the end", || {
                answers += served.client.collect_now()?.len();
                ended = served.has_ended()?;
                Ok(ended || answers == 2)
            })?;
        }
        let summary = served.engine.stop();
        let received = summary.counters.received;
        assert!((limit..limit + 2).contains(&received), "{received} of {limit}");
        assert_eq!(summary.counters.unexplained(0), 0);
        assert_eq!(summary.counters.drops[DropReason::Unsent], 0);
    }
    Ok(())
}

/// Each has a socket of its own and sees every frame: two answers to each.
fn two_engines(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |config| config.workers = 2)?;
    let other = crate::served::config(&served.lab, path, |config| config.workers = 2);
    let other = linerate::engine::pool::Engine::start(&other)?;
    served.client.send_all(&(0..50).map(|number| numbered(number, 60)).collect::<Vec<_>>())?;
    assert_eq!(served.client.collect(100)?.len(), 100);
    assert_eq!(served.client.collect_all()?, []);
    for summary in [served.engine.stop(), other.stop()] {
        assert_eq!((summary.counters.received, summary.counters.forwarded), (50, 50));
    }
    Ok(())
}
