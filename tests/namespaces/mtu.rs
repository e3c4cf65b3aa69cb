//! The MTU changes while the engine runs.

use std::time::Duration;

use libtest_mimic::Failed;
use linerate::engine::config::PathName;
use linerate::engine::names::TxName;
use linerate::engine::pool::EngineEvent;
use linerate::engine::wait::Wait;
use linerate::stats::drops::DropReason;

use crate::check::{Test, over, over_every_path, over_every_path_behind_the_stack, pairs};
use crate::client::{answer, numbered};
use crate::served::{Served, serve};

pub fn tests() -> Vec<Test> {
    let plain: Vec<_> = pairs().into_iter().filter(|path| path.tx != TxName::Ring).collect();
    let mut tests = over(
        "mtu",
        &plain,
        &[("lowered unseen, what the kernel refuses holds nothing up", lowered_unseen)],
    );
    tests.extend(over_every_path(
        "mtu",
        &[("lowered at run time, longer answers are dropped by name", lowered)],
    ));
    // The kernel lets nobody raise it under an XDP program.
    tests.extend(over_every_path_behind_the_stack(
        "mtu",
        &[("raised at run time, what buffers cannot hold is dropped by name", raised)],
    ));
    tests
}

/// Nobody has told the workers yet, so that only the kernel knows.
fn lowered_unseen(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |_| {})?;
    let side = &served.lab.engine;
    side.links().set_mtu(side.link.index, 1400)?;
    // A veth takes frames of its MTU and a tag; the kernel sends none beyond the MTU.
    let frames: Vec<_> = (1411..=1418).map(|length| numbered(length as u32, length)).collect();
    // AF_XDP in copy mode does not ask for the MTU; the veth's other end takes frames of its own.
    let refused = if path.tx == TxName::Xsk { 0 } else { 4 };
    let sent = &frames[..frames.len() - refused];
    let answers: Vec<_> = sent.iter().map(|frame| answer(frame)).collect();
    served.engine.pause();
    served.client.send_all(&frames)?;
    served.client.send(&numbered(1, 60))?;
    served.engine.resume();
    let answers = [&answers[..], &[answer(&numbered(1, 60))]].concat();
    served.client.exchange::<Vec<u8>, _>(&[], &answers)?;
    let (summary, _) = served.finish()?;
    assert_eq!(summary.counters.drops[DropReason::Refused], refused as u64);
    Ok(())
}

/// Sets the MTU of the engine's end and waits until the workers know of it.
fn set_mtu(served: &mut Served, mtu: u32) -> Result<(), Failed> {
    let side = &served.lab.engine;
    side.links().set_mtu(side.link.index, mtu)?;
    let told =
        |event: &EngineEvent| matches!(event, EngineEvent::MtuChanged { mtu: now } if *now == mtu);
    served.poll_until("the MTU changes", told)?;
    // A worker that spins or is never out of frames looks up every millisecond that it gets a CPU for.
    // Of its reports from now on, the second is of after a look.
    let is_report = |event: &EngineEvent| matches!(event, EngineEvent::Snapshot);
    while served.engine.poll(Duration::ZERO)?.iter().any(is_report) {}
    (0..2).try_for_each(|_| served.poll_until("a worker reports", is_report))
}

fn lowered(path: PathName) -> Result<(), Failed> {
    lowered_with(path, Wait::Epoll)?;
    // No wake-up tells a spinning worker of it.
    lowered_with(path, Wait::Spin)
}

fn lowered_with(path: PathName, wait: Wait) -> Result<(), Failed> {
    let mut served = serve(path, |config| {
        config.wait = wait;
        config.interval = Duration::from_millis(10);
    })?;
    let long = numbered(1, 1514);
    served.client.exchange(&[&long], &[answer(&long)])?;
    // A veth takes frames of its MTU and a tag; the kernel sends none beyond the MTU.
    set_mtu(&mut served, 1400)?;
    let lengths = [1413, 1414, 1415, 1418];
    let frames = lengths.map(|length| numbered(length as u32, length));
    served.client.exchange(&frames, &[answer(&frames[0]), answer(&frames[1])])?;
    set_mtu(&mut served, 1500)?;
    served.client.exchange(&[&long], &[answer(&long)])?;
    let (summary, _) = served.finish()?;
    assert_eq!(summary.counters.drops[DropReason::TooLong], 2);
    Ok(())
}

fn raised(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |_| {})?;
    let generator = &served.lab.generator;
    generator.links().set_mtu(generator.link.index, 9000)?;
    set_mtu(&mut served, 9000)?;
    let mut answered = 0;
    let lengths = [60, 1514, 1515, 1600, 1900, 1980, 2000, 2001, 2016, 2017, 2100, 4000, 9014, 61];
    for length in lengths {
        // A short frame behind each, which is answered in any case and shows that no more comes.
        let (frame, last) = (numbered(length as u32, length), numbered(0, 60));
        served.client.send_all(&[&frame, &last])?;
        let expected = [answer(&frame), answer(&last)];
        let mut answers = Vec::new();
        while answers.last() != Some(&expected[1]) {
            let more = served.client.collect(1)?;
            assert!(!more.is_empty(), "no answer behind a frame of {length} bytes");
            answers.extend(more.into_iter().map(|one| one.bytes));
        }
        // What fitted before must be answered, also after one that did not fit.
        let both = answers == expected;
        assert!(both || length > 1514 && answers == expected[1..], "{length} bytes");
        answered += u64::from(both);
    }
    let (summary, _) = served.finish()?;
    let counters = summary.counters;
    let named = counters.drops[DropReason::TooLong] + counters.drops[DropReason::Truncated];
    let sent = lengths.len() as u64;
    assert_eq!((counters.forwarded, named), (sent + answered, sent - answered));
    Ok(())
}
