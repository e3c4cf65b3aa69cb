//! What a receiver's place in an epoll set costs: the sender, for each frame that it delivers, and
//! the receiver, for each time that it leaves and rejoins. What `engine/wait.rs` rests on.
//!
//! A thread sends 60-byte frames over a veth pair, whose far end's reception is done in the sender's
//! own system call, into a V2 ring that signals each frame. Between rounds the ring is emptied. The
//! states take turns, round by round; the cheapest round of each counts, because what disturbs only
//! adds.
//!
//! `cargo bench --bench epoll_set`

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use linerate::error::{Error, Result};
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::ring::budget::MemoryBudget;
use linerate::ring::geometry::{GeometryChoice, RUN_FRAMES};
use linerate::ring::receive::{ReceiveRing, RxBatch};
use linerate::ring::rx_v2::RxRingV2;
use linerate::ring::setup::{RxRing, RxRingSocket};
use linerate::sys::cpus::{choose_cpus, pin};
use linerate::sys::filter::Wanted;
use linerate::sys::packet::{ALL_PROTOCOLS, PacketSocket, RingVersion, SocketType};
use linerate::sys::privilege::ensure_namespaces_allowed;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Frames of a round; fewer than the ring has slots.
const FRAMES: u32 = 1000;
/// Pairs of calls of a round.
const PAIRS: u32 = 1000;
const ETHER_TYPE: u16 = 0x88b5;

/// Where the receiver's socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Out of the set (`EPOLL_CTL_DEL`).
    Left,
    /// In it, for no event (`EPOLL_CTL_MOD`).
    Masked,
    /// In it, and nobody sleeps.
    Awake,
    /// In it, and a thread on another CPU sleeps and wakes at each frame if it can.
    Asleep,
}

const PLACES: [Place; 4] = [Place::Left, Place::Masked, Place::Awake, Place::Asleep];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    // Cargo passes `--bench` when it benchmarks, and not when it tests.
    let rounds = if arguments.iter().any(|argument| argument == "--bench") { 200 } else { 3 };
    if let Err(error) = ensure_namespaces_allowed() {
        eprintln!("*** NOTHING IS MEASURED HERE: {error}");
        let forced = std::env::var_os("CI").is_some_and(|value| value == "true");
        return if forced { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    match measure(rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

struct Receiver {
    socket: std::sync::Arc<PacketSocket>,
    ring: RxRingV2,
    set: Epoll,
}

fn measure(rounds: u32) -> Result<()> {
    let lab = Lab::create(&LabConfig::default())?;
    let cpus = choose_cpus(&[])?;
    let mut receiver = lab.engine.namespace.run(|| receiver(lab.engine.link.index))??;
    let sender = lab.generator.namespace.run(|| -> Result<PacketSocket> {
        let socket = PacketSocket::open(SocketType::Raw)?;
        socket.bind(lab.generator.link.index, 0).map_err(run_error)?;
        Ok(socket)
    })??;
    let mut frame = [b'x'; 60];
    frame[..6].copy_from_slice(&ENGINE.mac);
    frame[6..12].copy_from_slice(&GENERATOR.mac);
    frame[12..14].copy_from_slice(&ETHER_TYPE.to_be_bytes());
    let mut cheapest = [Duration::MAX; PLACES.len()];
    pin(cpus[0])?;
    for _ in 0..rounds {
        for (place, cheapest) in PLACES.into_iter().zip(&mut cheapest) {
            let took = send_round(&mut receiver, &sender, &frame, place, cpus[cpus.len() - 1])?;
            *cheapest = took.min(*cheapest);
        }
    }
    let left_ns = cheapest[0].as_nanos() as f64 / f64::from(FRAMES);
    for (place, cheapest) in PLACES.into_iter().zip(cheapest) {
        let ns = cheapest.as_nanos() as f64 / f64::from(FRAMES);
        println!("a frame sent to a receiver {place:?}: {ns:.0} ns, {:+.0} ns", ns - left_ns);
    }
    let deleted = pairs(rounds, || {
        receiver.set.delete(&receiver.socket)?;
        receiver.set.add(&receiver.socket, interest(EpollFlags::EPOLLIN))
    })?;
    println!("EPOLL_CTL_DEL and ADD: {deleted:.0} ns");
    let masked = pairs(rounds, || {
        receiver.set.modify(&receiver.socket, &mut interest(EpollFlags::empty()))?;
        receiver.set.modify(&receiver.socket, &mut interest(EpollFlags::EPOLLIN))
    })?;
    println!("EPOLL_CTL_MOD to nothing and back: {masked:.0} ns");
    Ok(())
}

fn interest(flags: EpollFlags) -> EpollEvent {
    EpollEvent::new(flags, 0)
}

fn run_error(error: impl std::fmt::Display) -> Error {
    Error::Run(error.to_string())
}

/// A receiver whose socket is in its set.
fn receiver(interface: u32) -> Result<Receiver> {
    let filter = Wanted { ether_types: vec![ETHER_TYPE], tagged: false }.program();
    let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
    let choice = GeometryChoice::default();
    let opened = RxRingSocket::open(RingVersion::V2, choice, 1500, &filter, &budget)?;
    opened.socket.bind(interface, ALL_PROTOCOLS).map_err(run_error)?;
    let RxRing::V2(ring) = opened.ring else { unreachable!("a V2 ring was asked for") };
    let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(run_error)?;
    set.add(&opened.socket, interest(EpollFlags::EPOLLIN)).map_err(run_error)?;
    Ok(Receiver { socket: opened.socket, ring, set })
}

/// Sends a round and gives how long that took.
fn send_round(
    receiver: &mut Receiver,
    sender: &PacketSocket,
    frame: &[u8],
    place: Place,
    sleeper_cpu: usize,
) -> Result<Duration> {
    let Receiver { socket, ring, set } = receiver;
    match place {
        Place::Left => set.delete(&**socket),
        Place::Masked => set.modify(&**socket, &mut interest(EpollFlags::empty())),
        Place::Awake => Ok(()),
        // Edge-triggered, so that the sleeper need not empty the ring to fall asleep again.
        Place::Asleep => {
            set.modify(&**socket, &mut interest(EpollFlags::EPOLLIN | EpollFlags::EPOLLET))
        }
    }
    .map_err(run_error)?;
    let send = || -> Result<Duration> {
        let started = Instant::now();
        for _ in 0..FRAMES {
            sender.send(frame).map_err(run_error)?;
        }
        Ok(started.elapsed())
    };
    let took =
        if place == Place::Asleep { beside_a_sleeper(set, sleeper_cpu, send)? } else { send()? };
    let mut received = 0;
    while let Some(mut run) = ring.lend(RUN_FRAMES) {
        received += run.frames().count();
    }
    assert_eq!(received, FRAMES as usize, "every frame arrives");
    match place {
        Place::Left => set.add(&**socket, interest(EpollFlags::EPOLLIN)),
        _ => set.modify(&**socket, &mut interest(EpollFlags::EPOLLIN)),
    }
    .map_err(run_error)?;
    Ok(took)
}

/// Does `work` while a thread on CPU `cpu` sleeps in `set` whenever there is no event.
fn beside_a_sleeper<T>(set: &Epoll, cpu: usize, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(cpu).expect("a CPU that the process may use");
            let mut events = [EpollEvent::empty()];
            while !done.load(Ordering::Relaxed) {
                let _ = set.wait(&mut events, EpollTimeout::from(10u8));
            }
        });
        // Until it sleeps.
        thread::sleep(Duration::from_millis(2));
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// Nanoseconds of a pair of calls, by the cheapest round.
fn pairs(rounds: u32, mut pair: impl FnMut() -> nix::Result<()>) -> Result<f64> {
    let mut cheapest = Duration::MAX;
    for _ in 0..rounds {
        let started = Instant::now();
        for _ in 0..PAIRS {
            pair().map_err(run_error)?;
        }
        cheapest = cheapest.min(started.elapsed());
    }
    Ok(cheapest.as_nanos() as f64 / f64::from(PAIRS))
}
