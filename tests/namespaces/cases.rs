//! What happens to an engine from outside: a queue that stays full, an interface that is moved or made anew,
//! a worker that is stopped or put on another CPU, error messages on its socket.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed};
use linerate::engine::config::PathName;
use linerate::engine::names::TxName;
use linerate::engine::pool::{Engine, EngineEvent};
use linerate::engine::turn::WhenFull;
use linerate::engine::wait::Wait;
use linerate::lab::{ENGINE, GENERATOR};
use linerate::ring::geometry::GeometryChoice;
use linerate::sys::cpus::choose_cpus;
use linerate::sys::link::{Links, VethPair};
use linerate::sys::namespace::Namespace;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::check::{PATHS, PATIENCE, Test, impossible_here, over, over_every_path, test_of};
use crate::client::numbered;
use crate::covering::chosen;
use crate::links::plain_pair;
use crate::served::{Served, check_summary, config, serve};
use crate::slow_queue::{move_to, slow_down};
use crate::spoiled::unless_spoiled;
use crate::waits::WorkerThread;

pub fn tests() -> Vec<Test> {
    let queued: Vec<_> = PATHS.into_iter().filter(|path| path.tx != TxName::Xsk).collect();
    let mut tests: Vec<_> = chosen(&queued, 0)
        .into_iter()
        .map(|path| {
            let name = format!("cases, {path}: a queue that stays full takes no CPU");
            test_of(path, name, move || full_queue(path))
        })
        .collect();
    tests.extend(over_every_path(
        "cases",
        &[
            ("an interface moved to another namespace ends the engine", moved),
            ("an interface made anew is not taken for the old one", made_anew),
            ("a worker that is put on another CPU serves on", other_cpu),
        ],
    ));
    let timed = [PathName::RING, PathName::RING_V2];
    tests.extend(over(
        "cases",
        &timed,
        &[("a lone frame waits for its block at most", lone_frame)],
    ));
    tests.extend(over("cases", &queued, &[("messages on the error queue end no service", errors)]));
    tests
}

/// 100 frames of 1000 bytes against 50 kB/s: the queue is full for most of two seconds.
fn full_queue(path: PathName) -> Result<Completion, Failed> {
    const FULL: Duration = Duration::from_millis(1000);
    let mut served = serve(path, |config| {
        config.wait = Wait::Epoll;
        config.when_full = WhenFull::Wait(PATIENCE);
        config.transmit_ring = GeometryChoice { slots: Some(8), ..GeometryChoice::default() };
    })?;
    if !slow_down(&served.lab.engine, 50_000, 8 << 10)? {
        return impossible_here("this kernel has no tbf queue (CONFIG_NET_SCH_TBF)");
    }
    let frames: Vec<_> = (0..100).map(|number| numbered(number, 1000)).collect();
    served.client.send_all(&frames)?;
    let before = served.engine.cpu_ns();
    let started = Instant::now();
    // Each lone frame takes a block of the client's ring, which must not run full.
    let mut answers = Vec::new();
    while started.elapsed() < FULL {
        answers.extend(served.client.collect_now()?);
    }
    let (used, elapsed) = (served.engine.cpu_ns() - before, started.elapsed());
    let transmitted = served.lab.engine.counters()?.transmitted_frames;
    assert!(transmitted < 100, "the queue was not full");
    let load = used as f64 / elapsed.as_nanos() as f64;
    // A worker that asks again and again takes all of it, on however slow a machine.
    assert!(load < 0.5, "{:.1} % of a CPU", load * 100.0);
    answers.extend(served.collect_rest(100)?);
    assert_eq!(answers.len(), 100);
    let summary = served.engine.stop();
    check_summary(&summary);
    assert_eq!(summary.counters.forwarded, 100);
    Ok(Completion::Completed)
}

fn ends_by_itself(served: &mut Served) -> Result<(), Failed> {
    let gone = |event: &EngineEvent| matches!(event, EngineEvent::InterfaceGone);
    served.poll_until("the interface goes", gone)?;
    let ended = |event: &EngineEvent| matches!(event, EngineEvent::Ended);
    served.poll_until("the workers end", ended)
}

/// To the kernel's packet sockets the same as a deletion.
fn moved(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |_| {})?;
    served.echo(0..50)?;
    move_to(&served.lab.engine, &Namespace::create()?)?;
    ends_by_itself(&mut served)?;
    let summary = served.engine.stop();
    assert!(summary.interface_gone);
    assert_eq!(summary.counters.forwarded, 50);
    Ok(())
}

fn made_anew(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |_| {})?;
    served.echo(0..50)?;
    served.lab.engine.delete()?;
    let there = Links::open_in(&served.lab.engine.namespace)?;
    let here = Links::open_in(&served.lab.generator.namespace)?;
    let near = there.create_veth_pair(&VethPair {
        mac: Some(ENGINE.mac),
        peer_mac: Some(GENERATOR.mac),
        ..plain_pair(ENGINE.interface, GENERATOR.interface, &served.lab.generator.namespace)
    })?;
    there.set_up(near.index, true)?;
    here.set_up(here.by_name(GENERATOR.interface)?.index, true)?;
    ends_by_itself(&mut served)?;
    let again = config(&served.lab, path, |_| {});
    let summary = served.engine.stop();
    assert!(summary.interface_gone);
    assert_eq!(summary.counters.forwarded, 50);
    // A new engine serves the new interface.
    Engine::start(&again)?.stop();
    Ok(())
}

/// As the kernel does when a cpuset shrinks.
fn other_cpu(path: PathName) -> Result<(), Failed> {
    let cpus = choose_cpus(&[])?;
    let (first, last) = (cpus[0], cpus[cpus.len() - 1]);
    let mut served = serve(path, |config| config.cpus = vec![first])?;
    served.echo(0..50)?;
    let mut only = CpuSet::new();
    only.set(last)?;
    sched_setaffinity(Pid::from_raw(WorkerThread::find()?.id()?), &only)?;
    served.echo(50..100)?;
    served.finish().map(drop)
}

/// The median round trip of lone frames, against that over a ring without blocks.
fn lone_frame(path: PathName) -> Result<(), Failed> {
    const RETIRE_MS: u32 = 8;
    let median = |path: PathName| -> Result<Duration, Failed> {
        let is_v3 = path == PathName::RING;
        let mut served = serve(path, |config| {
            config.wait = Wait::Epoll;
            config.receive_ring.retire_ms = is_v3.then_some(RETIRE_MS);
        })?;
        let mut trips = Vec::new();
        for number in 0..31 {
            let sent = Instant::now();
            served.echo(number..number + 1)?;
            trips.push(sent.elapsed());
        }
        served.finish()?;
        trips.sort();
        Ok(trips[trips.len() / 2])
    };
    unless_spoiled(|| {
        let plain = median(PathName::RING_V2)?;
        let measured = median(path)?;
        // The kernel's timer may fire a tick of 4 ms late; a frame that just misses it waits for the next.
        let most = plain * 3 + Duration::from_millis(2 * u64::from(RETIRE_MS) + 8);
        assert!(measured < most, "{measured:?} {plain:?}");
        Ok(())
    })
}

/// Stamps of sent frames, which nobody reads: they come as errors of the socket.
fn errors(path: PathName) -> Result<(), Failed> {
    let before = packet_sockets()?;
    let mut served = serve(path, |config| config.wait = Wait::Epoll)?;
    let flags = libc::SOF_TIMESTAMPING_TX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    for socket in packet_sockets()?.into_iter().filter(|one| !before.contains(one)) {
        set_stamping(socket, flags)?;
    }
    served.echo(0..100)?;
    // Nor do they keep an idle worker awake.
    let cpu = served.engine.cpu_ns();
    let started = Instant::now();
    std::thread::sleep(Duration::from_millis(500));
    let load = (served.engine.cpu_ns() - cpu) as f64 / started.elapsed().as_nanos() as f64;
    assert!(load < 0.1, "{:.1} % of a CPU", load * 100.0);
    served.echo(100..200)?;
    served.finish().map(drop)
}

/// The packet sockets of this process.
fn packet_sockets() -> Result<Vec<RawFd>, Failed> {
    let mut sockets = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let descriptor: RawFd = entry?.file_name().to_string_lossy().parse()?;
        let mut domain: libc::c_int = 0;
        let mut length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: getsockopt(2) writes one integer and its length there; a descriptor that is no socket,
        // or is closed by now, is refused.
        let result = unsafe {
            libc::getsockopt(
                descriptor,
                libc::SOL_SOCKET,
                libc::SO_DOMAIN,
                (&raw mut domain).cast(),
                &raw mut length,
            )
        };
        if result == 0 && domain == libc::AF_PACKET {
            sockets.push(descriptor);
        }
    }
    Ok(sockets)
}

fn set_stamping(socket: RawFd, flags: libc::c_uint) -> Result<(), Failed> {
    // SAFETY: the pointer and length describe a live integer, which setsockopt(2) only reads.
    let result = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPING,
            (&raw const flags).cast(),
            size_of::<libc::c_uint>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}
