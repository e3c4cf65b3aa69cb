//! Frames that are longer than they should be, or than there is room for.

use std::net::UdpSocket;

use libtest_mimic::Failed;
use linerate::engine::config::{EngineConfig, PathName};
use linerate::engine::names::{RxName, TxName};
use linerate::engine::pool::Engine;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::ring::geometry::GeometryChoice;
use linerate::stats::drops::DropReason;
use linerate::wire::ethernet::EtherType;
use nix::sys::socket::{setsockopt, sockopt};

use crate::check::{
    PATIENCE, Test, eventually, over, over_every_path, over_every_path_behind_the_stack,
};
use crate::client::{answer, numbered};
use crate::served::{check_summary, config, serve, serve_in};

pub fn tests() -> Vec<Test> {
    let mut tests = over_every_path(
        "super-frames",
        &[("frames of 9000 bytes are echoed where the MTU allows them", jumbo)],
    );
    tests.extend(over_every_path_behind_the_stack(
        "super-frames",
        &[("merged datagrams are dropped by name, single ones are answered", segmentation)],
    ));
    tests.extend(over(
        "super-frames",
        &[PathName::RING, PathName::RING_V2],
        &[("frames for which slot or block is too short are dropped by name", short_rings)],
    ));
    tests.extend(over(
        "super-frames",
        &[PathName::RING_V2],
        &[("slots that hold no byte of a frame are no danger", tiny_slots)],
    ));
    tests
}

fn segmentation(path: PathName) -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig {
        addresses: true,
        checksum_offload: true,
        segmentation_offload: true,
        ..LabConfig::default()
    })?;
    let mut engine = Engine::start(&config(&lab, path, |config| {
        config.ether_types = vec![EtherType::IPV4];
        config.link_layer = false;
        config.udp_port = Some(7007);
    }))?;
    let socket = lab.generator.namespace.run(|| UdpSocket::bind((GENERATOR.ipv4, 0)))??;
    socket.connect((ENGINE.ipv4, 7007))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    setsockopt(&socket, sockopt::UdpGsoSegment, &1000)?;
    for _ in 0..5 {
        assert_eq!(socket.send(&[b'g'; 10_000])?, 10_000);
    }
    socket.send(b"single")?;
    let mut answer = [0; 20_000];
    let received = socket.recv(&mut answer)?;
    assert_eq!(&answer[..received], b"SINGLE");
    eventually("all are counted", || {
        engine.poll(std::time::Duration::from_millis(20))?;
        Ok(engine.counters().received == 6)
    })?;
    let summary = engine.stop();
    check_summary(&summary);
    assert_eq!(summary.counters.drops[DropReason::Oversize], 5, "{:?}", summary.counters);
    Ok(())
}

fn jumbo(path: PathName) -> Result<(), Failed> {
    let lab = LabConfig { mtu: 9000, ..LabConfig::default() };
    if path.tx == TxName::Xsk || path.rx == RxName::Xsk {
        let refused =
            serve_in(&lab, path, |_| {}).err().and_then(|error| error.message().map(String::from));
        assert!(refused.is_some_and(|words| words.contains("9000") && words.contains("AF_XDP")));
        return Ok(());
    }
    // Blocks into which one frame goes, but not two: the kernel retires some of them early.
    for block_bytes in [None, Some(16 << 10)] {
        let mut served = serve_in(&lab, path, |config| {
            config.receive_ring.block_bytes = block_bytes;
            config.receive_ring.blocks = block_bytes.map(|_| 64);
        })?;
        let lengths = [60, 1514, 1515, 8000, 9013, 9014, 60, 9014, 9014, 4096, 9014];
        let frames: Vec<_> =
            lengths.iter().enumerate().map(|(n, &length)| numbered(n as u32, length)).collect();
        let answers: Vec<_> = frames.iter().map(|frame| answer(frame)).collect();
        served.client.exchange(&frames, &answers)?;
        served.finish()?;
    }
    Ok(())
}

/// V3 retires an empty block before a frame that does not fit it, and cuts the frame all the same.
fn short_rings(path: PathName) -> Result<(), Failed> {
    let lab = LabConfig { mtu: 9000, ..LabConfig::default() };
    let mut served = serve_in(&lab, path, |config| {
        config.receive_ring = GeometryChoice {
            block_bytes: Some(4096),
            blocks: Some(128),
            frame_bytes: Some(2048),
            ..GeometryChoice::default()
        };
    })?;
    let mut expected = Vec::new();
    let mut frames = Vec::new();
    for round in 0..10 {
        let small = numbered(round, 60);
        let large = numbered(round, 8000);
        expected.push(answer(&small));
        frames.extend([small, large.clone(), large]);
    }
    served.client.exchange(&frames, &expected)?;
    let (summary, _) = served.finish()?;
    let counters = summary.counters;
    assert_eq!((counters.forwarded, counters.drops[DropReason::Truncated]), (10, 20));
    if path == PathName::RING {
        assert!(counters.batches > 20, "no block was retired empty: {counters:?}");
    }
    Ok(())
}

fn tiny_slots(path: PathName) -> Result<(), Failed> {
    let tiny = |config: &mut EngineConfig| config.receive_ring.frame_bytes = Some(64);
    let mut served = serve(path, tiny)?;
    let frames: Vec<_> = (0..100).map(|number| numbered(number, 60 + number as usize)).collect();
    served.client.exchange::<_, Vec<u8>>(&frames, &[])?;
    let (summary, _) = served.finish()?;
    assert_eq!(summary.counters.drops[DropReason::Truncated], 100);
    Ok(())
}
