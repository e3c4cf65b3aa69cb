//! Batches, slots and buffers other than the usual ones, and sends past the queueing discipline.

use libtest_mimic::Failed;
use linerate::engine::config::PathName;
use linerate::engine::names::{RxName, TxName};
use linerate::ring::geometry::GeometryChoice;
use linerate::stats::drops::DropReason;
use linerate::units::FrameSize;
use linerate::wire::ethernet::VlanTag;

use crate::check::{PATHS, Test, over, over_every_pair};
use crate::client::{answer, answer_from, numbered};
use crate::served::serve;

pub fn tests() -> Vec<Test> {
    let mut tests = over_every_pair(
        "knobs",
        &[
            (
                "slots and buffers for short frames hold them, and name the longer ones",
                short_frames,
            ),
            ("batches are as long as asked at most", batches),
        ],
    );
    // An AF_XDP socket always sends past it, and its buffer follows its frames.
    let of_packets: Vec<_> = PATHS.into_iter().filter(|path| path.tx != TxName::Xsk).collect();
    tests.extend(over(
        "knobs",
        &of_packets,
        &[("past the queueing discipline, out of a small buffer, all comes back", bypass)],
    ));
    tests
}

fn short_frames(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |config| {
        config.max_frame = Some(FrameSize::smallest());
        config.transmit_ring = GeometryChoice { slots: Some(8), ..GeometryChoice::default() };
    })?;
    let lengths = [60, 61, 62, 63, 64, 65, 92, 93, 150, 1514];
    let mut frames: Vec<_> =
        lengths.iter().map(|&length| numbered(length as u32, length)).collect();
    let mut answers: Vec<_> = frames.iter().map(|frame| answer(frame)).collect();
    let mut tagged = numbered(1, 60);
    tagged.splice(12..12, VlanTag::customer(5, 0).bytes());
    if path.sees_tags() {
        // The tag comes on top.
        answers.push(answer_from(linerate::lab::ENGINE.mac, &tagged, 18));
        frames.push(tagged);
    }
    let mut answered = 0;
    for (frame, answer_) in frames.iter().zip(&answers) {
        // A short one behind each shows that no more comes.
        let last = numbered(0, 60);
        served.client.send_all(&[frame, &last])?;
        let expected = [answer_.clone(), answer(&last)];
        let mut got = Vec::new();
        while got.last() != Some(&expected[1]) {
            let more = served.client.collect(1)?;
            assert!(!more.is_empty(), "no answer behind a frame of {} bytes", frame.len());
            got.extend(more.into_iter().map(|one| one.bytes));
        }
        let whole = got == expected;
        assert!(whole || got == expected[1..], "{} bytes", frame.len());
        assert!(whole || frame.len() > 60 && frame[12] != 0x81, "{} bytes", frame.len());
        answered += u64::from(whole);
    }
    let (summary, _) = served.finish()?;
    let counters = summary.counters;
    let sent = frames.len() as u64;
    assert_eq!(counters.forwarded, sent + answered);
    let named = counters.drops[DropReason::TooLong] + counters.drops[DropReason::Truncated];
    assert_eq!(counters.drops.total(), named);
    let cut = matches!(path.rx, RxName::V2 | RxName::Recvmsg | RxName::Mmsg);
    assert_eq!(named > 0, cut || path.tx == TxName::Ring, "{counters:?}");
    assert_eq!(counters.drops[DropReason::Truncated] > 0, cut, "{counters:?}");
    Ok(())
}

fn batches(path: PathName) -> Result<(), Failed> {
    for batch in [1, 7] {
        let mut served = serve(path, |config| {
            config.batch = batch;
            config.transmit_ring = GeometryChoice { slots: Some(8), ..GeometryChoice::default() };
        })?;
        served.engine.pause();
        let frames: Vec<_> = (0..200).map(|number| numbered(number, 60)).collect();
        served.client.send_all(&frames)?;
        served.engine.resume();
        let answers: Vec<_> = frames.iter().map(|frame| answer(frame)).collect();
        served.client.exchange::<Vec<u8>, _>(&[], &answers)?;
        let (summary, _) = served.finish()?;
        let batches = summary.counters.batches;
        match path.rx {
            RxName::V2 | RxName::Mmsg => assert!(batches >= 200_u64.div_ceil(batch as u64)),
            RxName::Recv | RxName::Recvmsg => assert_eq!(batches, 200),
            RxName::V3 | RxName::Xsk => {}
        }
    }
    Ok(())
}

fn bypass(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |config| {
        config.qdisc_bypass = true;
        config.send_buffer = Some(8 << 10);
    })?;
    // The kernel doubles it.
    let notes = served.engine.notes().join("\n");
    assert!(notes.contains("16 KiB") && notes.contains("8 KiB"), "{notes}");
    for run in 0..10 {
        served.echo(run * 100..run * 100 + 100)?;
    }
    served.finish().map(drop)
}
