//! Every frame is counted once, by the engine as by the kernel.

use std::time::Duration;

use libtest_mimic::Failed;
use linerate::engine::config::{EngineConfig, PathName};
use linerate::engine::names::RxName;
use linerate::lab::GENERATOR;
use linerate::ring::geometry::GeometryChoice;
use linerate::stats::drops::DropReason;

use crate::check::{Test, over_every_pair, over_every_path};
use crate::client::{EXPERIMENTAL, answer, frame_between, number_of, numbered};
use crate::served::serve;
use crate::spoiled::unless_spoiled;

pub fn tests() -> Vec<Test> {
    let mut tests = over_every_pair(
        "accounting",
        &[
            ("echoes, drops and interface counters add up", adds_up),
            ("latency of a frame counts from its arrival, also while frozen", frozen_latency),
        ],
    );
    tests.extend(over_every_path(
        "accounting",
        &[("frames that a frozen engine had no room for are counted once", frozen)],
    ));
    tests
}

fn adds_up(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |_| {})?;
    let stranger = frame_between([2, 9, 9, 9, 9, 9], GENERATOR.mac, EXPERIMENTAL, &[b'x'; 50]);
    let mut expected = Vec::new();
    for round in 0..50 {
        let frames: Vec<_> = (0..60).map(|n| numbered(round * 60 + n, 60 + n as usize)).collect();
        expected.extend(frames.iter().map(|frame| answer(frame)));
        served.client.send_all(&frames)?;
        served.client.send_all(&[&stranger; 10])?;
        if round % 4 == 3 {
            served.client.exchange::<Vec<u8>, _>(&[], &expected)?;
            expected.clear();
        }
    }
    served.client.exchange::<Vec<u8>, _>(&[], &expected)?;
    let (summary, link) = served.finish()?;
    let counters = summary.counters;
    assert_eq!((counters.forwarded, counters.drops.total()), (3000, 500));
    assert_eq!(counters.drops[DropReason::OtherHost], 500);
    assert_eq!((counters.received, counters.kernel.drops), (3500, 0));
    // Under an XDP program a veth counts frames without their Ethernet header (veth_xdp_rcv).
    let uncounted = if path.rx == RxName::Xsk { 14 * counters.received } else { 0 };
    assert_eq!(counters.received_bytes, link.received_bytes + uncounted);
    assert_eq!(summary.workers, [counters]);
    Ok(())
}

/// Rings that a few hundred frames fill.
fn small_rings(config: &mut EngineConfig) {
    let blocks = |blocks| GeometryChoice {
        block_bytes: Some(16 << 10),
        blocks: Some(blocks),
        ..GeometryChoice::default()
    };
    config.receive_ring = blocks(4);
    config.transmit_ring = blocks(4);
}

fn frozen(path: PathName) -> Result<(), Failed> {
    // More than the socket buffer of `syscall` holds, should the system grant all of it.
    const SENT: u32 = 15_000;
    let mut served = serve(path, small_rings)?;
    served.echo(0..10)?;
    let mut first = 10;
    for _ in 0..2 {
        served.engine.pause();
        let frames: Vec<_> = (first..first + SENT).map(|number| numbered(number, 60)).collect();
        served.client.send_all(&frames)?;
        assert_eq!(served.client.collect_all()?, [], "a frozen engine answered");
        served.engine.resume();
        let answers = served.collect_rest(u64::from(first + SENT))?;
        let numbers: Vec<_> = answers.iter().map(|answer| number_of(&answer.bytes)).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "out of order or twice: {numbers:?}");
        assert!((1..SENT as usize).contains(&numbers.len()), "{} fitted", numbers.len());
        // What was there first is kept; what came later was dropped.
        assert_eq!(numbers[0], first);
        for answer_ in &answers {
            assert_eq!(answer_.bytes, answer(&numbered(number_of(&answer_.bytes), 60)));
        }
        first += SENT;
        // It goes on at the right place.
        for _ in 0..10 {
            served.echo(first..first + 10)?;
            first += 10;
        }
    }
    let (summary, _) = served.finish()?;
    let counters = summary.counters;
    assert_eq!(counters.kernel.packets, u64::from(first));
    assert!(counters.kernel.drops > 0);
    assert_eq!(counters.received, counters.forwarded);
    if path.rx == RxName::V3 {
        assert_eq!(counters.kernel.freezes, 2, "{counters:?}");
    }
    Ok(())
}

fn frozen_latency(path: PathName) -> Result<(), Failed> {
    const FROZEN: Duration = Duration::from_millis(60);
    unless_spoiled(|| {
        let mut served = serve(path, |_| {})?;
        // Several times, because a kernel that nobody else has made stamp frames begins a moment after it
        // is asked to.
        for number in 0..4 {
            served.engine.pause();
            served.client.send(&numbered(number, 60))?;
            std::thread::sleep(FROZEN);
            served.engine.resume();
            assert_eq!(served.client.collect(1)?.len(), 1);
        }
        let (summary, _) = served.finish()?;
        let longest = summary.latency.ok_or("no latency")?.max();
        // A path without kernel stamps starts its clock when it takes the frame.
        let counted = u128::from(longest) >= FROZEN.as_nanos();
        assert_eq!(counted, path.rx.sees_kernel_stamps(), "{longest} ns");
        Ok(())
    })
}
