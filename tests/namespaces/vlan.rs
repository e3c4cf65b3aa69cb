//! VLAN tags: the kernel takes the outer one off, and the echo has it again.

use libtest_mimic::Failed;
use linerate::engine::config::PathName;
use linerate::engine::names::RxName;
use linerate::lab::ENGINE;
use linerate::stats::drops::DropReason;
use linerate::wire::ethernet::{EtherType, VlanTag};
use linerate::wire::probe::Probe;

use crate::check::{Test, over, pairs};
use crate::client::{EXPERIMENTAL, answer, answer_from, frame, numbered};
use crate::served::{Served, serve};

pub fn tests() -> Vec<Test> {
    let (seeing, blind): (Vec<_>, Vec<_>) = pairs().into_iter().partition(|path| path.sees_tags());
    let mut tests = over(
        "vlan",
        &seeing,
        &[
            ("tags come back as they were, stacked and empty ones, too", tags_come_back),
            ("control frames are never answered, tagged or not", control),
            ("padding behind a tag that was taken off does not come back", padding),
            ("a full frame keeps an 802.1Q tag", full_frame),
            ("a full frame with an 802.1ad tag is dropped by name", full_service_frame),
            ("a tag does not make an unwanted EtherType wanted", unwanted),
        ],
    );
    tests.extend(over("vlan", &blind, &[("tagged frames are never answered", never_answered)]));
    tests
}

/// The frame of this length and number with tags; returns what must come back as well.
fn tagged(number: u32, length: usize, tags: &[VlanTag]) -> (Vec<u8>, Vec<u8>) {
    let mut frame = numbered(number, length - 4 * tags.len());
    frame.splice(12..12, tags.iter().flat_map(|tag| tag.bytes()));
    let answer = answer_from(ENGINE.mac, &frame, 14 + 4 * tags.len());
    (frame, answer)
}

fn stacks() -> Vec<Vec<VlanTag>> {
    vec![
        vec![VlanTag::customer(5, 0)],
        vec![VlanTag::customer(0, 7)],
        vec![VlanTag::customer(0, 0)],
        vec![VlanTag { tpid: 0x8100, tci: 0xffff }],
        vec![VlanTag::service(9, 3)],
        vec![VlanTag::service(100, 0), VlanTag::customer(200, 5)],
        vec![VlanTag::customer(1, 0), VlanTag::customer(2, 0)],
        vec![VlanTag::service(1, 0), VlanTag::service(2, 0), VlanTag::customer(3, 0)],
    ]
}

/// Tags that the kernel leaves in the frame. The id's low byte is a small letter.
fn strange_stacks() -> Vec<Vec<VlanTag>> {
    let strange = |tpid| VlanTag { tpid, tci: 100 };
    vec![
        vec![strange(0x9100)],
        vec![strange(0x9200)],
        vec![strange(0x9300)],
        vec![strange(0x9100), VlanTag::customer(100, 0)],
        vec![VlanTag::service(100, 0), strange(0x9100), VlanTag::customer(100, 0)],
    ]
}

fn tags_come_back(path: PathName) -> Result<(), Failed> {
    let lengths = [60, 61, 64, 127, 900, 1514];
    let tags = [stacks(), strange_stacks()].concat();
    let pairs = tags.iter().flat_map(|tags| lengths.map(|n| tagged(n as u32, n, tags)));
    let (frames, answers): (Vec<_>, Vec<_>) = pairs.unzip();
    for all in [true, false] {
        // An XDP program takes only what is named.
        if all && path.rx == RxName::Xsk {
            continue;
        }
        let mut served = serve(path, |config| {
            if all {
                config.ether_types = vec![];
            }
        })?;
        served.client.exchange(&frames, &answers)?;
        let (summary, _) = served.finish()?;
        assert_eq!(summary.counters.forwarded, frames.len() as u64);
    }
    Ok(())
}

fn full_frame(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |_| {})?;
    let (plain, plain_answer) = tagged(1, 1518, &[VlanTag::customer(5, 0)]);
    let (stacked, stacked_answer) =
        tagged(2, 1518, &[VlanTag::customer(5, 0), VlanTag::customer(6, 0)]);
    served.client.exchange(&[plain, stacked], &[plain_answer, stacked_answer])?;
    served.finish().map(drop)
}

/// The kernel sends four bytes more than the MTU for EtherType 0x8100 only.
fn full_service_frame(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |_| {})?;
    let (long, _) = tagged(1, 1518, &[VlanTag::service(5, 0)]);
    assert!(served.client.send(&long).is_err(), "the kernel's rule is another one");
    // A client that may send more; the engine's end takes what its own MTU and a tag allow.
    let side = &served.lab.generator;
    side.links().set_mtu(side.link.index, 1600)?;
    let (qinq, _) = tagged(2, 1518, &[VlanTag::service(5, 0), VlanTag::customer(6, 0)]);
    let (fits, answer) = tagged(3, 1514, &[VlanTag::service(5, 0)]);
    served.client.exchange(&[long, qinq, fits], &[answer])?;
    let (summary, _) = served.finish()?;
    assert_eq!(summary.counters.drops[DropReason::TagTooLong], 2);
    Ok(())
}

/// An echoed pause frame would pause the sender, an echoed LACP frame take its port into a bundle.
fn control(path: PathName) -> Result<(), Failed> {
    if path.rx == RxName::Xsk {
        return Ok(()); // takes no EtherType that was not named
    }
    let mut served = serve(path, |config| {
        config.ether_types = vec![];
        config.echo_group = true;
    })?;
    let mut frames = Vec::new();
    for tags in [stacks(), strange_stacks()].concat().into_iter().chain([vec![]]) {
        for ether_type in [0x8808u16, 0x8809, 0x888e, 0x88cc] {
            let (mut frame, _) = tagged(1, 100, &tags);
            frame[12 + 4 * tags.len()..][..2].copy_from_slice(&ether_type.to_be_bytes());
            frames.push(frame);
        }
        // Spanning tree: the length of an LLC frame in the EtherType's place.
        let (mut frame, _) = tagged(1, 100, &tags);
        frame[..6].copy_from_slice(&[0x01, 0x80, 0xc2, 0, 0, 0]);
        frame[12 + 4 * tags.len()..][..2].copy_from_slice(&38u16.to_be_bytes());
        frames.push(frame);
    }
    let (plain, plain_answer) = tagged(2, 100, &[]);
    served.client.exchange(&[&frames[..], &[plain]].concat(), &[plain_answer])?;
    let (summary, _) = served.finish()?;
    assert_eq!(summary.counters.drops[DropReason::Control], frames.len() as u64);
    Ok(())
}

/// What a driver pads is taken for the frame's end only where somebody says how long the frame is: here a probe.
fn padding(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |_| {})?;
    let pairs = (56..=60).map(|bytes| {
        let mut payload = vec![0; bytes - 14];
        Probe::new(1, bytes as u64).write(&mut payload).unwrap();
        let mut tagged = frame(EXPERIMENTAL, &payload);
        tagged.splice(12..12, VlanTag::customer(100, 0).bytes());
        let mut answer = answer_from(ENGINE.mac, &tagged, 18);
        // As long as an igb hands a frame over, and the tag.
        tagged.resize(64, 0);
        // An XDP program sees the frame as on the wire, where nobody took anything off.
        let wire_bytes = if path.rx == RxName::Xsk { 64 } else { answer.len() };
        answer.resize(wire_bytes, 0);
        (tagged, answer)
    });
    let (frames, answers): (Vec<_>, Vec<_>) = pairs.unzip();
    served.client.exchange(&frames, &answers)?;
    served.finish().map(drop)
}

fn unwanted(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |_| {})?;
    let mut frames = Vec::new();
    for tags in stacks() {
        let (mut frame, _) = tagged(1, 100, &tags);
        let ether_type = 12 + 4 * tags.len();
        assert_eq!(frame[ether_type..ether_type + 2], EXPERIMENTAL.to_be_bytes());
        frame[ether_type] = 0x08;
        frame[ether_type + 1] = 0x00;
        frames.push(frame);
    }
    let (wanted, answer) = tagged(2, 100, &stacks()[0]);
    frames.push(wanted);
    served.client.exchange(&frames, &[answer])?;
    served.finish().map(drop)
}

/// An answer without the tag would go to another network than the question came from.
fn never_answered(path: PathName) -> Result<(), Failed> {
    for ether_types in [vec![], vec![EtherType::LOCAL_EXPERIMENTAL]] {
        let mut served = serve(path, |config| config.ether_types = ether_types)?;
        let mut frames: Vec<_> = stacks().iter().map(|tags| tagged(1, 100, tags).0).collect();
        let plain = numbered(2, 60);
        frames.push(plain.clone());
        served.client.exchange(&frames, &[answer(&plain)])?;
        let Served { engine, .. } = served;
        assert_eq!(engine.stop().counters.received, 1, "tagged frames came past the filter");
    }
    Ok(())
}
