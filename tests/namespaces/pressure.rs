//! What goes out is slower than what comes in.

use std::collections::BTreeSet;
use std::time::Duration;

use libtest_mimic::{Completion, Failed};
use linerate::engine::config::PathName;
use linerate::engine::names::TxName;
use linerate::engine::turn::WhenFull;
use linerate::engine::wait::Wait;
use linerate::ring::geometry::GeometryChoice;
use linerate::stats::drops::DropReason;

use crate::check::{PATHS, Test, impossible_here, pairs, possible_test, test_of};
use crate::client::{answer, number_of, numbered};
use crate::covering::chosen;
use crate::served::{check_summary, serve};
use crate::slow_queue::slow_down;

/// Longer than any batch takes to get through the slow queue, however slow the machine is as well.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn tests() -> Vec<Test> {
    let every_pair = [
        ("a full queue is waited for", WhenFull::Wait(PATIENCE), 64 << 10),
        ("a full queue is not waited for", WhenFull::Drop, 8 << 10),
    ];
    let every_path = [
        ("a full queue is waited for so long", WhenFull::Wait(Duration::from_millis(2)), 8 << 10),
        // Here the socket's send buffer is what runs full.
        ("a full send buffer is waited for", WhenFull::Wait(PATIENCE), 4 << 20),
        ("a full send buffer is not waited for", WhenFull::Drop, 4 << 20),
    ];
    let mut tests = Vec::new();
    let mut add = |paths: &[PathName], cases: &[(&str, WhenFull, u32)]| {
        for (&(name, when_full, limit_bytes), turn) in cases.iter().zip(0..) {
            for path in chosen(paths, turn) {
                let run = move || slow(path, Wait::Epoll, when_full, limit_bytes);
                tests.push(test_of(path, format!("pressure, {path}: {name}"), run));
            }
        }
    };
    // AF_XDP sends past the queueing discipline: none makes it wait.
    let queued = |path: &PathName| path.tx != TxName::Xsk;
    add(&pairs().into_iter().filter(queued).collect::<Vec<_>>(), &every_pair);
    add(&PATHS.into_iter().filter(queued).collect::<Vec<_>>(), &every_path);
    // What is left in the TX ring goes out although no sleep ends and nothing is received.
    let spinning = || slow(PathName::RING_V2, Wait::Spin, WhenFull::Drop, 8 << 10);
    tests.push(possible_test("pressure, ring-v2: a spinning worker sends the rest", spinning));
    tests
}

/// 300 frames of 1000 bytes at once, against 2 MB/s: 0.15 s.
fn slow(
    path: PathName,
    wait: Wait,
    when_full: WhenFull,
    limit_bytes: u32,
) -> Result<Completion, Failed> {
    const FRAMES: u32 = 300;
    let mut served = serve(path, |config| {
        config.wait = wait;
        config.when_full = when_full;
        // Eight slots.
        config.transmit_ring = GeometryChoice {
            block_bytes: Some(8 << 10),
            blocks: Some(2),
            ..GeometryChoice::default()
        };
    })?;
    if !slow_down(&served.lab.engine, 2_000_000, limit_bytes)? {
        return impossible_here("this kernel has no tbf queue (CONFIG_NET_SCH_TBF)");
    }
    let frames: Vec<_> = (0..FRAMES).map(|number| numbered(number, 1000)).collect();
    served.client.send_all(&frames)?;
    let answers = served.collect_rest(FRAMES.into())?;
    let numbers: Vec<_> = answers.iter().map(|answer| number_of(&answer.bytes)).collect();
    let different: BTreeSet<_> = numbers.iter().collect();
    assert_eq!(different.len(), numbers.len(), "sent twice");
    assert!(numbers.is_sorted(), "out of order: {numbers:?}");
    for one in &answers {
        assert_eq!(one.bytes, answer(&numbered(number_of(&one.bytes), 1000)));
    }
    // No deadlock: when the queue is empty again, the next frame is answered at once.
    served.echo(FRAMES..FRAMES + 5)?;
    let summary = served.engine.stop();
    check_summary(&summary);
    let counters = summary.counters;
    assert_eq!(counters.received, u64::from(FRAMES) + 5);
    // Forwarded is what the kernel took, and what it took has gone out.
    assert_eq!(counters.forwarded, answers.len() as u64 + 5, "{counters:?}");
    assert_eq!(served.lab.engine.counters()?.transmitted_frames, counters.forwarded);
    let dropped = counters.drops[DropReason::TxFull] + counters.drops[DropReason::Unsent];
    assert_eq!(dropped, u64::from(FRAMES) - answers.len() as u64);
    match when_full {
        WhenFull::Drop => assert!(dropped > 0, "{counters:?}"),
        // Patience is for a batch, which is one frame for some paths and many for others.
        WhenFull::Wait(patience) if patience < PATIENCE => {}
        WhenFull::Wait(_) => assert_eq!(dropped, 0, "{counters:?}"),
    }
    Ok(Completion::Completed)
}
