//! The MTU changes while the engine runs.

use libtest_mimic::Failed;
use linerate::engine::config::PathName;
use linerate::engine::pool::EngineEvent;
use linerate::stats::drops::DropReason;

use crate::check::{Test, over_every_path};
use crate::client::{answer, numbered};
use crate::served::{Served, serve};

pub fn tests() -> Vec<Test> {
    over_every_path(
        "mtu",
        &[
            ("lowered at run time, longer answers are dropped by name", lowered),
            ("raised at run time, what buffers cannot hold is dropped by name", raised),
        ],
    )
}

/// Sets the MTU of the engine's end and waits until the workers know of it.
fn set_mtu(served: &mut Served, mtu: u32) -> Result<(), Failed> {
    let side = &served.lab.engine;
    side.links().set_mtu(side.link.index, mtu)?;
    let told =
        |event: &EngineEvent| matches!(event, EngineEvent::MtuChanged { mtu: now } if *now == mtu);
    served.poll_until("the MTU changes", told)
}

fn lowered(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |_| {})?;
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
        let frame = numbered(length as u32, length);
        served.client.send(&frame)?;
        let answers = served.client.collect_all()?;
        if let [back] = &answers[..] {
            assert_eq!(back.bytes, answer(&frame));
            answered += 1;
        }
        // What fitted before must be answered in any case, also after one that did not fit.
        assert!(answers.len() == 1 || length > 1514 && answers.is_empty(), "{length} bytes");
    }
    let (summary, _) = served.finish()?;
    let counters = summary.counters;
    let named = counters.drops[DropReason::TooLong] + counters.drops[DropReason::Truncated];
    assert_eq!((counters.forwarded, named), (answered, lengths.len() as u64 - answered));
    Ok(())
}
