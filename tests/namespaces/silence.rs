//! An engine answers questions, never itself, its neighbours or another engine for long.

use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use linerate::engine::config::PathName;
use linerate::engine::pool::Engine;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig, Side};
use linerate::sys::packet::{PacketSocket, SocketType};

use crate::check::{Test, eventually, over_every_path};
use crate::client::{EXPERIMENTAL, frame, frame_between};
use crate::served::{config, serve};

pub fn tests() -> Vec<Test> {
    over_every_path(
        "silence",
        &[
            ("two engines that face each other end one frame soon", no_storm),
            ("what other sockets of the interface send is not echoed", foreign_sends),
            ("nor by two workers in a fanout group", foreign_sends_in_a_group),
        ],
    )
}

fn transmitted(lab: &Lab) -> Result<u64, Failed> {
    Ok(lab.engine.counters()?.transmitted_frames + lab.generator.counters()?.transmitted_frames)
}

fn no_storm(path: PathName) -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let mut facing = config(&lab, path, |_| {});
    facing.interface = GENERATOR.interface.into();
    facing.namespace = Some(lab.generator.namespace.clone());
    let engines = [Engine::start(&config(&lab, path, |_| {}))?, Engine::start(&facing)?];
    let socket = sender(&lab.generator)?;
    socket.send(&frame(EXPERIMENTAL, &[b's'; 46]))?;
    let started = Instant::now();
    let (mut before, mut after) = (0, 0);
    eventually("no frame is sent any more", || {
        std::thread::sleep(Duration::from_millis(300));
        (before, after) = (after, transmitted(&lab)?);
        Ok(before == after && after > 0)
    })?;
    // The question, its answer, and what both sides let pass in each second that was begun meanwhile.
    let most = 2 + 2 * 10 * (started.elapsed().as_secs() + 2);
    assert!((2..=most).contains(&after), "{after} frames");
    for engine in engines {
        let summary = engine.stop();
        assert_eq!(summary.failures, Vec::<String>::new());
    }
    Ok(())
}

fn sender(side: &Side) -> Result<PacketSocket, Failed> {
    side.namespace.run(|| -> Result<PacketSocket, Failed> {
        let socket = PacketSocket::open(SocketType::Raw)?;
        socket.bind(side.link.index, 0)?;
        Ok(socket)
    })?
}

fn foreign_sends(path: PathName) -> Result<(), Failed> {
    foreign_sends_past(path, 1)
}

fn foreign_sends_in_a_group(path: PathName) -> Result<(), Failed> {
    foreign_sends_past(path, 2)
}

fn foreign_sends_past(path: PathName, workers: usize) -> Result<(), Failed> {
    let mut served = serve(path, |config| {
        config.workers = workers;
        config.promiscuous = true;
        config.echo_group = true;
    })?;
    let socket = sender(&served.lab.engine)?;
    // To anybody, and as if somebody had asked us.
    let sends = [
        frame_between(GENERATOR.mac, ENGINE.mac, EXPERIMENTAL, &[b'o'; 46]),
        frame_between(ENGINE.mac, GENERATOR.mac, EXPERIMENTAL, &[b'o'; 46]),
        frame_between([0xff; 6], [2, 5, 5, 5, 5, 5], EXPERIMENTAL, &[b'o'; 46]),
    ];
    for send in &sends {
        (0..10).try_for_each(|_| socket.send(send).map(drop))?;
    }
    let mut seen = served.client.collect(30)?;
    seen.extend(served.client.collect_all()?);
    assert_eq!(seen.len(), 30, "the client sees the sends and nothing else");
    assert!(seen.iter().all(|one| one.bytes[14..].iter().all(|&byte| byte == b'o')));
    // It was not just deaf.
    served.echo_in_any_order(0..20)?;
    let summary = served.engine.stop();
    assert_eq!(summary.counters.received, 20, "{:?}", summary.counters);
    Ok(())
}
