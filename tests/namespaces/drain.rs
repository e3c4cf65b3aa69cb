//! Fill, then drain: how fast the engine answers what waits for it, whatever a generator can do.

use libtest_mimic::Failed;
use linerate::engine::config::{EngineConfig, PathName};
use linerate::engine::names::RxName;
use linerate::ring::geometry::GeometryChoice;

use crate::check::{Test, over_every_path};
use crate::client::{number_of, numbered};
use crate::served::serve;

pub fn tests() -> Vec<Test> {
    over_every_path("drain", &[("all that waited is answered, in order", drain)])
}

/// Rings of 16 MiB: 8192 slots, or some 100,000 short frames in blocks.
fn large_receive_ring(config: &mut EngineConfig) {
    config.receive_ring = GeometryChoice { blocks: Some(128), ..GeometryChoice::default() };
}

fn drain(path: PathName) -> Result<(), Failed> {
    let waiting: u32 = match path.rx {
        // What the smallest socket buffer holds that systems grant by default.
        RxName::Recv | RxName::Recvmsg | RxName::Mmsg => 250,
        // The frames of a UMEM.
        RxName::Xsk => 2000,
        RxName::V3 | RxName::V2 => 8000,
    };
    let mut served = serve(path, large_receive_ring)?;
    served.engine.pause();
    let frames: Vec<_> = (0..waiting).map(|number| numbered(number, 60)).collect();
    served.client.send_all(&frames)?;
    served.engine.resume();
    let answers = served.client.collect(frames.len())?;
    let numbers: Vec<_> = answers.iter().map(|answer| number_of(&answer.bytes)).collect();
    assert!(numbers.iter().copied().eq(0..waiting), "{} of {waiting}", numbers.len());
    // By the kernel's stamps at the client, which no scheduling of the client delays.
    let first = answers.first().ok_or("no answer")?.meta.stamp_ns;
    let last = answers.last().ok_or("no answer")?.meta.stamp_ns;
    let nanoseconds = last.checked_sub(first).filter(|&span| span > 0).ok_or("no time passed")?;
    let rate = f64::from(waiting - 1) * 1e9 / nanoseconds as f64;
    println!("drain, {path}: {waiting} frames of 60 bytes at {:.0} frames/ms", rate / 1e3);
    let (summary, _) = served.finish()?;
    assert_eq!(summary.counters.forwarded, u64::from(waiting));
    Ok(())
}
