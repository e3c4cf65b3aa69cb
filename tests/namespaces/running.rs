//! Stopping, idling, and links that come and go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed};
use linerate::engine::config::PathName;
use linerate::engine::names::RxName;
use linerate::engine::pool::{Engine, EngineEvent, EngineSummary};
use linerate::engine::wait::{SPIN, Wait};
use linerate::lab::{Lab, LabConfig};

use crate::check::{PATHS, PATIENCE, Test, eventually, pairs, test_of};
use crate::client::{Client, answer, numbered};
use crate::covering::{chosen, is_long};
use crate::served::{Served, check_summary, config, serve};
use crate::spoiled::unless_spoiled;

type CaseTest = (&'static str, fn(Case) -> Result<(), Failed>);

/// Stopping and links, asleep and awake. The kinds of receive half that differ in how they wake: a wake-up
/// for each block, for each frame, a system call for each look, and AF_XDP.
pub fn tests() -> Vec<Test> {
    const OF_THE_PAIR: [CaseTest; 3] = [
        ("an engine under load stops at once", stops_under_load),
        ("a link that is down takes no CPU, and service resumes by itself", down_and_up),
        ("answers prepared while the link was down are not lost without a name", down_while_paused),
    ];
    const OF_THE_PATH: [CaseTest; 8] = [
        ("an idle engine stops at once", stops_idle),
        ("a paused engine stops", stops_paused),
        ("a paused engine serves nobody, and goes on where it was", pauses),
        ("an idle engine takes no CPU", idle),
        ("a flap that nobody looked at is got over", flap),
        ("a lost carrier is reported, and service resumes by itself", carrier),
        ("a deleted interface ends the engine cleanly", deleted),
        ("an engine started on a link that is down serves when it is up", started_down),
    ];
    let of_the_pair = OF_THE_PAIR.map(|test| (pairs(), test));
    let of_the_path = OF_THE_PATH.map(|test| (PATHS.to_vec(), test));
    let turns = of_the_pair.into_iter().chain(of_the_path).zip(0..);
    let mut tests: Vec<_> = turns
        .flat_map(|((paths, (name, run)), turn)| {
            cases(&paths, turn).into_iter().map(move |case| trial(case, name, run))
        })
        .collect();
    // These load the machine, and measure how soon an engine ends.
    tests.iter_mut().for_each(|test| test.alone = test.name.contains("stops at once"));
    tests
}

/// Asleep over all that is [chosen] of `paths`; awake over one path of each kind, and by default over a
/// pair of these, which is another one for the next test.
fn cases(paths: &[PathName], turn: usize) -> Vec<Case> {
    const KINDS: [PathName; 4] =
        [PathName::RING, PathName::RING_V2, PathName::SYSCALL, PathName::XDP];
    const AWAKE: [Wait; 2] = [Wait::Adaptive(SPIN), Wait::Spin];
    let asleep = chosen(paths, turn).into_iter().map(|path| Case { path, wait: Wait::Epoll });
    let awake: Vec<_> = match is_long() {
        true => KINDS.iter().flat_map(|&path| AWAKE.map(|wait| Case { path, wait })).collect(),
        false => (0..2).map(|n| Case { path: KINDS[(turn + n) % 4], wait: AWAKE[n] }).collect(),
    };
    asleep.chain(awake).collect()
}

fn trial(case: Case, name: &str, run: fn(Case) -> Result<(), Failed>) -> Test {
    let Case { path, wait } = case;
    let name = format!("running, {path}, {}: {name}", wait.name());
    test_of(path, name, move || run(case).map(|()| Completion::Completed))
}

#[derive(Clone, Copy)]
struct Case {
    path: PathName,
    wait: Wait,
}

impl Case {
    fn serve(self) -> Result<Served, Failed> {
        serve(self.path, |config| config.wait = self.wait)
    }

    /// What an engine with nothing to do may take of a CPU is `most`; who spins takes all there is.
    fn check_load(self, engine: &Engine, duration: Duration, most: f64) {
        let load = load(engine, duration);
        match self.wait {
            // However many others want the CPU.
            Wait::Spin => assert!(load > most, "{:.2} % of a CPU", load * 100.0),
            _ => assert!(load < most, "{:.2} % of a CPU", load * 100.0),
        }
    }
}

/// An engine that is not woken ends when its sleep does, which takes half a second.
const AT_ONCE: Duration = Duration::from_millis(400);

/// Stops the engine, which must happen at once.
fn stop_at_once(engine: Engine) -> Result<EngineSummary, Failed> {
    let started = Instant::now();
    let summary = engine.stop();
    let took = started.elapsed();
    assert_eq!(summary.failures, Vec::<String>::new());
    assert!(took < AT_ONCE, "it took {} ms", took.as_millis());
    Ok(summary)
}

fn stops_idle(case: Case) -> Result<(), Failed> {
    unless_spoiled(|| {
        let mut served = case.serve()?;
        served.echo(0..10)?;
        stop_at_once(served.engine).map(drop)
    })
}

fn stops_under_load(case: Case) -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let client = Client::open(&lab.generator)?;
    let frame = numbered(1, 60);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                client.send(&frame).expect("a veth takes every frame");
            }
        });
        let result = unless_spoiled(|| {
            let mut engine = Engine::start(&config(&lab, case.path, |config| {
                config.wait = case.wait;
                config.interval = Duration::from_millis(10);
            }))?;
            eventually("the engine answers", || {
                engine.poll(Duration::from_millis(5))?;
                Ok(engine.counters().forwarded > 0)
            })?;
            let summary = stop_at_once(engine)?;
            assert_eq!(summary.counters.unexplained(0), 0);
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn stops_paused(case: Case) -> Result<(), Failed> {
    let mut served = case.serve()?;
    served.echo(0..10)?;
    served.engine.pause();
    served.client.send(&numbered(10, 60))?;
    let summary = served.engine.stop();
    assert_eq!(summary.failures, Vec::<String>::new());
    assert_eq!(summary.counters.unexplained(0), 0);
    Ok(())
}

fn pauses(case: Case) -> Result<(), Failed> {
    let mut served = case.serve()?;
    for round in 0..5 {
        let first = round * 40;
        served.echo(first..first + 20)?;
        // Returns when the worker is parked, be it asleep or spinning.
        served.engine.pause();
        let frames: Vec<_> = (first + 20..first + 40).map(|n| numbered(n, 60)).collect();
        served.client.send_all(&frames)?;
        assert_eq!(served.client.collect_all()?, [], "a parked worker answered");
        served.engine.resume();
        let answers: Vec<_> = frames.iter().map(|frame| answer(frame)).collect();
        served.client.exchange::<Vec<u8>, _>(&[], &answers)?;
    }
    served.finish().map(drop)
}

/// CPU time of the workers over `duration`, in parts of it.
fn load(engine: &Engine, duration: Duration) -> f64 {
    let before = engine.cpu_ns();
    std::thread::sleep(duration);
    (engine.cpu_ns() - before) as f64 / duration.as_nanos() as f64
}

fn idle(case: Case) -> Result<(), Failed> {
    let mut served = serve(case.path, |config| {
        config.wait = case.wait;
        config.interval = Duration::from_secs(1);
    })?;
    served.echo(0..10)?;
    case.check_load(&served.engine, Duration::from_secs(2), 0.01);
    served.finish().map(drop)
}

fn is_down(event: &EngineEvent) -> bool {
    matches!(event, EngineEvent::LinkDown)
}

fn is_up(event: &EngineEvent) -> bool {
    matches!(event, EngineEvent::LinkUp { .. })
}

fn down_and_up(case: Case) -> Result<(), Failed> {
    let mut served = case.serve()?;
    served.echo(0..10)?;
    served.lab.engine.set_up(false)?;
    served.poll_until("the link goes down", is_down)?;
    case.check_load(&served.engine, Duration::from_millis(700), 0.02);
    served.lab.engine.set_up(true)?;
    served.poll_until("the link comes up", is_up)?;
    served.lab.generator.wait_until_running(PATIENCE)?;
    served.echo(10..110)?;
    let (summary, _) = served.finish()?;
    assert_eq!(summary.link_downs, 1);
    // An AF_XDP socket tells nobody that its link went down (kernel-contract XDP-10).
    let is_told = case.path.rx != RxName::Xsk;
    assert!(summary.counters.link_errors > 0 || !is_told);
    assert_eq!(summary.counters.forwarded, 110);
    Ok(())
}

fn flap(case: Case) -> Result<(), Failed> {
    let mut served = case.serve()?;
    for round in 0..3 {
        served.echo(round * 20..round * 20 + 10)?;
        served.lab.engine.set_up(false)?;
        served.lab.engine.set_up(true)?;
        served.lab.engine.wait_until_running(PATIENCE)?;
        served.lab.generator.wait_until_running(PATIENCE)?;
        // The first answer after it meets the old outage, and passes all the same.
        served.echo(round * 20 + 10..round * 20 + 20)?;
    }
    let mut events = Vec::new();
    eventually("the link comes up", || {
        events.extend(served.engine.poll(Duration::from_millis(20))?);
        Ok(events.iter().any(is_up))
    })?;
    assert!(events.iter().any(is_down), "{events:?}");
    let (summary, _) = served.finish()?;
    assert_eq!((summary.link_downs, summary.counters.forwarded), (3, 60));
    Ok(())
}

fn carrier(case: Case) -> Result<(), Failed> {
    let mut served = case.serve()?;
    served.lab.generator.set_up(false)?;
    served.poll_until("the carrier goes", is_down)?;
    served.lab.generator.set_up(true)?;
    served.poll_until("the carrier comes", is_up)?;
    served.lab.generator.wait_until_running(PATIENCE)?;
    served.lab.engine.wait_until_running(PATIENCE)?;
    served.echo(0..100)?;
    served.finish().map(drop)
}

/// The worker has frames to answer and nowhere to send them: it drops them by name or keeps them
/// until the link is up, and never says that they were forwarded.
fn down_while_paused(case: Case) -> Result<(), Failed> {
    let mut served = case.serve()?;
    served.engine.pause();
    let frames: Vec<_> = (0..20).map(|number| numbered(number, 60)).collect();
    served.client.send_all(&frames)?;
    served.lab.engine.set_up(false)?;
    served.engine.resume();
    case.check_load(&served.engine, Duration::from_millis(500), 0.05);
    served.lab.engine.set_up(true)?;
    served.lab.engine.wait_until_running(PATIENCE)?;
    served.lab.generator.wait_until_running(PATIENCE)?;
    let answers = served.collect_rest(20)?;
    served.client.send(&numbered(20, 60))?;
    assert_eq!(served.client.collect(1)?.len(), 1);
    let (summary, _) = served.finish()?;
    assert_eq!(summary.counters.forwarded, answers.len() as u64 + 1);
    assert_eq!(summary.counters.received, 21);
    Ok(())
}

fn deleted(case: Case) -> Result<(), Failed> {
    let mut served = case.serve()?;
    served.echo(0..100)?;
    served.lab.engine.delete()?;
    let gone = |event: &EngineEvent| matches!(event, EngineEvent::InterfaceGone);
    served.poll_until("the interface goes", gone)?;
    let ended = |event: &EngineEvent| matches!(event, EngineEvent::Ended);
    served.poll_until("the workers end", ended)?;
    let summary = served.engine.stop();
    assert!(summary.interface_gone);
    check_summary(&summary);
    assert_eq!(summary.counters.forwarded, 100);
    assert_eq!(summary.latency.map(|latency| latency.count()), Some(100));
    Ok(())
}

fn started_down(case: Case) -> Result<(), Failed> {
    let mut lab = Lab::create(&LabConfig::default())?;
    lab.engine.set_up(false)?;
    let client = Client::open(&lab.generator)?;
    let engine = Engine::start(&config(&lab, case.path, |config| config.wait = case.wait))?;
    let mut served = Served { engine, client, lab };
    case.check_load(&served.engine, Duration::from_millis(300), 0.05);
    served.lab.engine.set_up(true)?;
    served.poll_until("the link comes up", is_up)?;
    served.lab.generator.wait_until_running(PATIENCE)?;
    served.echo(0..10)?;
    let (summary, _) = served.finish()?;
    assert_eq!(summary.link_downs, 0);
    Ok(())
}
