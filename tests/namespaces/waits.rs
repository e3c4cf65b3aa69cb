//! What a worker's wait costs it in wake-ups, and that none gets lost. That every wait serves as well
//! as the others is tested in `running`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use linerate::engine::config::{EngineConfig, PathName};
use linerate::engine::pool::Engine;
use linerate::engine::wait::{SPIN, Wait};
use linerate::lab::{Lab, LabConfig};
use linerate::ring::geometry::GeometryChoice;
use linerate::stats::counters::EngineCounters;
use linerate::sys::cpus::{choose_cpus, pin};
use linerate::sys::filter::Wanted;
use linerate::sys::packet::{ALL_PROTOCOLS, PacketSocket, SocketType};
use linerate::wire::random::Random;

use crate::check::{PATIENCE, Test, eventually, over};
use crate::client::{EXPERIMENTAL, answer, numbered};
use crate::covering::{at_most, is_long};
use crate::served::{Served, config, serve};

pub fn tests() -> Vec<Test> {
    const KINDS: [PathName; 4] =
        [PathName::RING, PathName::RING_V2, PathName::SYSCALL, PathName::XDP];
    let mut tests = over(
        "waits",
        &KINDS,
        &[
            ("epoll: a wake-up for each lone frame, and no more", epoll_wakes_once_a_frame),
            ("spin: none at all", spin_never_wakes),
            ("adaptive: none for who is asked again in time", adaptive_stays_awake),
        ],
    );
    tests.extend(over(
        "waits",
        &[PathName::RING, PathName::RING_V2, PathName::XDP],
        &[("adaptive: no wake-up is lost when frames race with falling asleep", none_is_lost)],
    ));
    tests
}

/// Long enough that no snapshot ends a sleep.
fn undisturbed(config: &mut EngineConfig) {
    config.interval = Duration::from_secs(100);
}

/// Frames one by one, each sent `pause` after the answer to the one before.
fn echo_one_by_one(served: &mut Served, frames: u32, pause: Duration) -> Result<(), Failed> {
    (0..frames).try_for_each(|number| {
        std::thread::sleep(pause);
        served.echo(number..number + 1)
    })
}

/// Returns of epoll that are no frame's: sleeps that timed out, and the end.
fn other_wakeups(since: Instant) -> u64 {
    2 + since.elapsed().as_millis() as u64 / 500
}

fn counters_after(served: Served) -> Result<EngineCounters, Failed> {
    served.finish().map(|(summary, _)| summary.counters)
}

fn epoll_wakes_once_a_frame(path: PathName) -> Result<(), Failed> {
    const FRAMES: u32 = 200;
    let mut served = serve(path, undisturbed)?;
    let started = Instant::now();
    echo_one_by_one(&mut served, FRAMES, Duration::ZERO)?;
    let others = other_wakeups(started);
    let counters = counters_after(served)?;
    let frames = u64::from(FRAMES);
    assert!((frames..=frames + others).contains(&counters.wakeups), "{counters:?}");
    assert_eq!((counters.batches, counters.rejoins), (frames, 0), "{counters:?}");
    Ok(())
}

fn spin_never_wakes(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, |config| config.wait = Wait::Spin)?;
    echo_one_by_one(&mut served, 50, Duration::from_millis(1))?;
    served.echo(0..2000)?;
    let counters = counters_after(served)?;
    assert_eq!((counters.wakeups, counters.rejoins), (0, 0), "{counters:?}");
    Ok(())
}

/// The thread of the only engine's only worker.
pub struct WorkerThread(PathBuf);

impl WorkerThread {
    pub fn find() -> Result<WorkerThread, Failed> {
        for task in std::fs::read_dir("/proc/self/task")? {
            let task = task?.path();
            let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
            if name.trim_end() == "linerate-0" {
                return Ok(WorkerThread(task));
            }
        }
        Err("no thread of a worker".into())
    }

    /// The kernel's number of it.
    pub fn id(&self) -> Result<i32, Failed> {
        let name = self.0.file_name().and_then(|name| name.to_str());
        Ok(name.ok_or("no thread")?.parse()?)
    }

    /// Whether it waits for an event, rather than for a CPU.
    fn is_asleep(&self) -> Result<bool, Failed> {
        let stat = std::fs::read_to_string(self.0.join("stat"))?;
        Ok(stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S')))
    }
}

fn adaptive_stays_awake(path: PathName) -> Result<(), Failed> {
    // Longer than the client and the retire timeouts of both rings take together, also where others want
    // the CPU.
    const LONG_SPIN: Duration = Duration::from_millis(60);
    const LATE: u32 = 10;
    const IN_TIME: u32 = 200;
    let mut served = serve(path, |config| {
        undisturbed(config);
        config.wait = Wait::Adaptive(LONG_SPIN);
    })?;
    let worker = WorkerThread::find()?;
    let asleep = || eventually("the worker sleeps", || worker.is_asleep());
    let started = Instant::now();
    for number in 0..LATE {
        asleep()?;
        served.echo(number..number + 1)?;
    }
    echo_one_by_one(&mut served, IN_TIME, Duration::ZERO)?;
    asleep()?;
    served.echo(0..1)?;
    let others = other_wakeups(started);
    let counters = counters_after(served)?;
    let late = u64::from(LATE) + 1;
    // The client may be late now and then on a machine that has other work, too.
    let most = late + u64::from(IN_TIME) / 4 + others;
    assert!((late..=most).contains(&counters.wakeups), "{counters:?}");
    // It left for the frames in time, and rejoined before it slept until the last one.
    assert!((1..=most).contains(&counters.rejoins), "{counters:?}");
    Ok(())
}

/// How many sleeps the race is run for: a second's worth, or with `LINERATE_LONG` in the
/// environment a minute's or two. Where others want the CPUs as well, [`ENOUGH`] of them are.
fn sleeps_wanted() -> u64 {
    at_most(1_000_000, 1500)
}

const ENOUGH: Duration = Duration::from_secs(10);

/// How often the worker must have raced the frames: it rejoined the set before it slept.
const REJOINS: u64 = 50;

/// Frames of the race, sent in turn.
const DIFFERENT: u32 = 64;

/// A worker whose wake-up was lost sleeps on for half a second. One that has no CPU does not sleep.
const LOST: Duration = Duration::from_millis(300);

/// How the frames of the race reach their worker one by one.
struct Race {
    frame_bytes: usize,
    receive_ring: GeometryChoice,
    /// Frames whose arrival it takes until a frame is handed over.
    behind: u32,
}

impl Race {
    fn on(path: PathName) -> Race {
        if path != PathName::RING {
            return Race { frame_bytes: 60, receive_ring: GeometryChoice::default(), behind: 0 };
        }
        // A frame that fits no more retires the block before it at once. The timer comes too late
        // to mend a lost wake-up.
        let receive_ring = GeometryChoice {
            block_bytes: Some(4 << 10),
            blocks: Some(256),
            retire_ms: Some(60_000),
            ..GeometryChoice::default()
        };
        Race { frame_bytes: 2100, receive_ring, behind: 1 }
    }
}

fn none_is_lost(path: PathName) -> Result<(), Failed> {
    let race = Race::on(path);
    let lab = Lab::create(&LabConfig { mtu: 3000, ..LabConfig::default() })?;
    let cpus = choose_cpus(&[])?;
    let mut engine = Engine::start(&config(&lab, path, |config| {
        config.cpus = cpus[..1].to_vec();
        config.receive_ring = race.receive_ring;
        config.wait = Wait::Adaptive(SPIN);
        config.interval = Duration::from_secs(1);
    }))?;
    let client = lab.generator.namespace.run(|| open(lab.generator.link.index))??;
    let (sent, engine) = std::thread::scope(|scope| {
        let race = || -> Result<_, Failed> {
            pin(cpus[cpus.len() - 1])?;
            let sent = run(&race, &client, &mut engine)?;
            Ok((sent, engine))
        };
        scope.spawn(race).join().expect("the race does not panic")
    })?;
    let summary = engine.stop();
    let counters = &summary.counters;
    println!(
        "waits, {path}: {sent} frames, {} sleeps, {} after a rejoin",
        counters.wakeups, counters.rejoins
    );
    assert_eq!(summary.failures, Vec::<String>::new());
    assert_eq!(counters.received, u64::from(sent - race.behind), "{counters:?}");
    assert_eq!(counters.forwarded, counters.received, "{counters:?}");
    // Both ways to fall asleep were taken: straight away, and by a rejoin.
    assert!(counters.rejoins >= REJOINS, "{counters:?}");
    assert!(counters.rejoins < counters.wakeups, "{counters:?}");
    Ok(())
}

fn open(interface: u32) -> Result<PacketSocket, Failed> {
    let socket = PacketSocket::open(SocketType::Raw)?;
    let wanted = Wanted { ether_types: vec![EXPERIMENTAL], tagged: false };
    socket.attach_filter(&wanted.program())?;
    socket.bind(interface, ALL_PROTOCOLS)?;
    Ok(socket)
}

/// Sends frames, each so long after the answer to the one before that the worker may or may not have
/// fallen asleep, until it has slept often enough. Returns how many it sent.
fn run(race: &Race, client: &PacketSocket, engine: &mut Engine) -> Result<u32, Failed> {
    let wanted = sleeps_wanted();
    let worker = WorkerThread::find()?;
    let mut random = Random::new(4);
    let mut buffer = vec![0; 4096];
    // Made beforehand, so that a frame can follow an answer at once.
    let frames: Vec<_> = (0..DIFFERENT).map(|n| numbered(n, race.frame_bytes)).collect();
    let answers: Vec<_> = frames.iter().map(|frame| answer(frame)).collect();
    let of = |number: u32| (number % DIFFERENT) as usize;
    let mut sent = 0;
    let started = Instant::now();
    while sent % 100 != 0 || sent == 0 || !is_enough(engine, wanted, started.elapsed())? {
        let frame = &frames[of(sent)];
        assert_eq!(client.send(frame)?, frame.len());
        sent += 1;
        let Some(expected) = sent.checked_sub(1 + race.behind) else { continue };
        let length = receive(client, &worker, &mut buffer)
            .map_err(|why| format!("frame {expected}: {}", why.message().unwrap_or_default()))?;
        let answered = Instant::now();
        assert!(buffer[..length] == answers[of(expected)], "answer {expected}");
        let pause = (2 * SPIN).mul_f64(random.next_u64() as f64 / u64::MAX as f64);
        while answered.elapsed() < pause {
            std::hint::spin_loop();
        }
    }
    Ok(sent)
}

/// Whether the worker has slept often enough, by its last snapshot, and in both ways.
fn is_enough(engine: &mut Engine, wanted: u64, elapsed: Duration) -> Result<bool, Failed> {
    engine.poll(Duration::ZERO)?;
    let EngineCounters { wakeups, rejoins, .. } = engine.counters();
    if elapsed > PATIENCE && rejoins < REJOINS {
        let few = format!("{rejoins} rejoins in {PATIENCE:?}");
        return Err(format!("spoiled by the machine, the threads hardly met: {few}").into());
    }
    Ok(wakeups >= wanted || !is_long() && elapsed > ENOUGH && rejoins >= REJOINS)
}

/// The length of the next frame. Fails if none comes while the worker sleeps for longer than it may.
fn receive(
    client: &PacketSocket,
    worker: &WorkerThread,
    buffer: &mut [u8],
) -> Result<usize, Failed> {
    const SOON: Duration = Duration::from_millis(1);
    const OVERDUE: Duration = Duration::from_millis(20);
    const LOOK: Duration = Duration::from_millis(1);
    let started = Instant::now();
    let mut looks_asleep = 0;
    while started.elapsed() < PATIENCE {
        if let Ok(received) = client.receive(buffer) {
            return Ok(received.wire_bytes);
        }
        if started.elapsed() > SOON {
            // Where there is one CPU, the worker needs it now.
            std::thread::yield_now();
        }
        if started.elapsed() > OVERDUE {
            std::thread::sleep(LOOK);
            looks_asleep = if worker.is_asleep()? { looks_asleep + 1 } else { 0 };
            if looks_asleep * LOOK > LOST {
                return Err("the worker's wake-up was lost".into());
            }
        }
    }
    Err(format!("no answer within {PATIENCE:?}").into())
}
