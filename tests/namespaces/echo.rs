//! What comes back, and what does not.

use std::time::Instant;

use libtest_mimic::Failed;
use linerate::engine::config::PathName;
use linerate::engine::edit::Transform;
use linerate::engine::storm::Allowance;
use linerate::engine::turn::LatencyMode;
use linerate::lab::{ENGINE, GENERATOR};
use linerate::stats::drops::DropReason;
use linerate::wire::ethernet::EtherType;

use crate::check::{Test, over_every_pair, over_every_path, over_every_path_behind_the_stack};
use crate::client::{EXPERIMENTAL, answer, answer_from, frame, frame_between, numbered};
use crate::served::serve;

pub fn tests() -> Vec<Test> {
    let mut tests = over_every_pair(
        "echo",
        &[
            ("frames of every size come back byte for byte", every_size),
            ("latency is kept for each forwarded frame, or for none", latency),
        ],
    );
    tests.extend(over_every_path(
        "echo",
        &[
            ("a bare header is a frame too, and less is a runt", headers),
            ("what is not for us, or not ours to answer, is dropped by name", not_ours),
            ("promiscuous, foreign unicast is answered from the address it was for", promiscuous),
            ("group frames are answered from our own address where asked for", groups),
            ("without a transform only the addresses are swapped", no_transform),
            ("what the transform does not change passes a few times a second", unchanged),
        ],
    ));
    tests.extend(over_every_path_behind_the_stack(
        "echo",
        &[("all EtherTypes are answered but ARP and IP", all_ether_types)],
    ));
    tests
}

const STRANGER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x77];
const GROUP: [u8; 6] = [0x01, 0x00, 0x5e, 0, 0, 0x05];
const BROADCAST: [u8; 6] = [0xff; 6];

/// From one payload byte to the full MTU, in runs that no buffer on the way can lose.
fn every_size(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |_| {})?;
    let sizes: Vec<usize> = (15..=1514).collect();
    for run in sizes.chunks(100) {
        let frames: Vec<_> = run.iter().map(|&size| numbered(size as u32, size)).collect();
        let answers: Vec<_> = frames.iter().map(|frame| answer(frame)).collect();
        served.client.exchange(&frames, &answers)?;
    }
    let (summary, _) = served.finish()?;
    assert_eq!(summary.counters.received, sizes.len() as u64);
    assert_eq!(summary.counters.forwarded, sizes.len() as u64);
    assert_eq!(summary.counters.forwarded_bytes, sizes.iter().sum::<usize>() as u64);
    assert_eq!(summary.counters.received_bytes, summary.counters.forwarded_bytes);
    Ok(())
}

fn headers(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |config| config.unchanged = Allowance::Unlimited)?;
    let bare = frame(EXPERIMENTAL, &[]);
    assert!(served.client.send(&bare[..13]).is_err(), "the kernel sends no runt");
    served.client.exchange(&[&bare], &[answer(&bare)])?;
    served.finish().map(drop)
}

fn not_ours(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |_| {})?;
    let us = ENGINE.mac;
    let cases = [
        (STRANGER, GENERATOR.mac, DropReason::OtherHost),
        (BROADCAST, GENERATOR.mac, DropReason::Broadcast),
        (GROUP, GENERATOR.mac, DropReason::Multicast),
        (us, us, DropReason::OwnSource),
        (us, GROUP, DropReason::GroupSource),
        (us, BROADCAST, DropReason::GroupSource),
        (us, [0; 6], DropReason::GroupSource),
    ];
    let payload = [b'x'; 46];
    let mut frames: Vec<_> = cases
        .iter()
        .map(|&(to, from, _)| frame_between(to, from, EXPERIMENTAL, &payload))
        .collect();
    // The filter keeps other EtherTypes out, so that they never reach the engine.
    frames.extend([0x88b6, 0x0800, 0x0806, 0x1234].map(|unwanted| frame(unwanted, &payload)));
    let wanted = numbered(1, 60);
    frames.push(wanted.clone());
    served.client.exchange(&frames, &[answer(&wanted)])?;
    let (summary, _) = served.finish()?;
    let counters = summary.counters;
    for &(_, _, reason) in &cases {
        let expected = cases.iter().filter(|case| case.2 == reason).count() as u64;
        assert_eq!(counters.drops[reason], expected, "{reason:?}");
    }
    assert_eq!(counters.received, cases.len() as u64 + 1);
    Ok(())
}

fn promiscuous(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |config| config.promiscuous = true)?;
    assert!(served.lab.engine.refresh()?.promiscuous);
    let foreign = frame_between(STRANGER, GENERATOR.mac, EXPERIMENTAL, &[b'q'; 50]);
    let group = frame_between(GROUP, GENERATOR.mac, EXPERIMENTAL, &[b'q'; 50]);
    let ours = numbered(1, 60);
    let expected = [answer_from(STRANGER, &foreign, 14), answer(&ours)];
    served.client.exchange(&[foreign, group, ours], &expected)?;
    let (summary, _) = served.finish()?;
    assert_eq!(summary.counters.drops[DropReason::Multicast], 1);
    Ok(())
}

fn groups(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |config| config.echo_group = true)?;
    let to = |to| frame_between(to, GENERATOR.mac, EXPERIMENTAL, &[b'g'; 50]);
    let frames = [to(BROADCAST), to(GROUP), to(STRANGER), to(ENGINE.mac)];
    let expected = [answer(&frames[0]), answer(&frames[1]), answer(&frames[3])];
    served.client.exchange(&frames, &expected)?;
    let (summary, _) = served.finish()?;
    assert_eq!(summary.counters.drops[DropReason::OtherHost], 1);
    Ok(())
}

fn all_ether_types(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |config| config.ether_types = vec![])?;
    // 0x002e is the length of an 802.3 frame.
    let answered = [EXPERIMENTAL, 0x88b6, 0x1234, 0x9000, 0x002e].map(|t| frame(t, &[b'e'; 46]));
    let ignored = [0x0806, 0x0800, 0x86dd].map(|t| frame(t, &[b'e'; 46]));
    let frames = [&ignored[..], &answered].concat();
    let expected = answered.map(|frame| answer(&frame));
    served.client.exchange(&frames, &expected)?;
    let (summary, _) = served.finish()?;
    assert_eq!(summary.counters.drops[DropReason::EtherType], ignored.len() as u64);
    Ok(())
}

fn no_transform(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |config| {
        config.transform = Transform::None;
        config.unchanged = Allowance::Unlimited;
        config.ether_types = vec![EtherType(0x88b6), EtherType::LOCAL_EXPERIMENTAL];
    })?;
    let frames: Vec<_> = (0..100).map(|number| numbered(number, 60 + number as usize)).collect();
    let swapped = |frame: &Vec<u8>| [&frame[6..12], &frame[..6], &frame[12..]].concat();
    let expected: Vec<_> = frames.iter().map(swapped).collect();
    served.client.exchange(&frames, &expected)?;
    served.finish().map(drop)
}

fn unchanged(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |_| {})?;
    let upper = frame(EXPERIMENTAL, b"NOTHING HERE IS A LOWER-CASE LETTER: 0123456789{}");
    let started = Instant::now();
    served.client.send_all(&vec![upper; 100])?;
    let answers = served.collect_rest(100)?;
    // Ten in each second that was begun meanwhile.
    let most = 10 * (started.elapsed().as_secs() as usize + 2);
    assert!((10..=most).contains(&answers.len()), "{} answers", answers.len());
    let (summary, _) = served.finish()?;
    assert_eq!(summary.counters.drops[DropReason::Unchanged], 100 - answers.len() as u64);
    Ok(())
}

fn latency(path: PathName) -> Result<(), Failed> {
    let modes =
        [(LatencyMode::On, Some(200)), (LatencyMode::Sampled, Some(4)), (LatencyMode::Off, None)];
    for (mode, expected) in modes {
        let mut served = serve(path, |config| config.latency = mode)?;
        served.echo(0..200)?;
        let (summary, _) = served.finish()?;
        let count = summary.latency.map(|latency| latency.summary().count);
        // The first frame, and each 61st after it.
        assert_eq!(count, expected, "{mode:?}");
    }
    Ok(())
}
