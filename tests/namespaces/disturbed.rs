//! What disturbs a trial makes it void, and what ends an engine ends the experiment: neither is taken
//! for a loss of the device.

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libtest_mimic::Failed;
use linerate::bench::compare::observation::LoadKind;
use linerate::bench::compare::plan::ComparePlan;
use linerate::bench::compare::run;
use linerate::bench::contestant::Contestant;
use linerate::bench::disturbance::Disturbance;
use linerate::bench::search::device::Subject;
use linerate::bench::search::goal::{SearchConfig, SearchGoal};
use linerate::bench::search::throughput::{SearchRun, run_search};
use linerate::bench::search::trial::{TrialRecord, VoidReason};
use linerate::bench::testbed::{End, Testbed};
use linerate::bench::watch::{OwnTraffic, Watch};
use linerate::engine::turn::LatencyMode;
use linerate::lab::LabConfig;
use linerate::load::sizes::Sizes;
use linerate::ring::budget::MemoryBudget;
use linerate::sys::cpus::choose_cpus;
use linerate::sys::link::Links;
use linerate::sys::packet::{PacketSocket, SocketType};
use linerate::units::FrameSize;
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};

use crate::check::{Test, test};
use crate::parts::Part;

pub fn tests() -> Vec<Test> {
    vec![
        test("disturbed: a search repeats trials in which the link changed", search_repeats),
        test("disturbed: rounds of a comparison in which a link changed are void", compare_is_void),
        test("disturbed: other traffic is noticed, and our own is not", other_traffic),
        test("disturbed: a worker that dies ends a search with its error", || {
            Part::DyingWorker.run()
        }),
    ]
}

const TRIAL: Duration = Duration::from_millis(100);

fn cpus() -> Result<(usize, usize), Failed> {
    let cpus = choose_cpus(&[])?;
    Ok((cpus[0], cpus[1 % cpus.len()]))
}

/// Changes the engine's MTU again and again, each time to a new one, as long as `work` has not ended and `goes_on` is set.
fn with_changes<T: Send>(
    testbed: &Testbed,
    goes_on: &AtomicBool,
    work: impl FnOnce() -> T,
) -> Result<T, Failed> {
    let links = Links::open_in(&testbed.engine.namespace)?;
    let index = testbed.engine.link.index;
    std::thread::scope(|scope| {
        let changes = scope.spawn(move || {
            for mtu in (1501..).take_while(|_| goes_on.load(Ordering::Relaxed)) {
                links.set_mtu(index, mtu)?;
                std::thread::sleep(TRIAL / 4);
            }
            Ok::<_, Failed>(())
        });
        let done = work();
        goes_on.store(false, Ordering::Relaxed);
        changes.join().map_err(|_| "the thread that changes the MTU panicked")??;
        Ok(done)
    })
}

fn search(
    testbed: &Testbed,
    path: &str,
    after_trial: &mut (dyn FnMut(&TrialRecord) + Send),
) -> Result<linerate::error::Result<SearchRun>, Failed> {
    let subject = Subject {
        path: path.parse::<Contestant>()?,
        sizes: Sizes::Fixed(FrameSize::smallest()),
        cpus: cpus()?,
        sink_pps: 20_000.0,
        ring_memory: MemoryBudget::new(MemoryBudget::DEFAULT_BYTES),
        stop: Arc::default(),
    };
    let goal = SearchGoal {
        loss_ratio: 0.5,
        initial_trial_duration: TRIAL,
        final_trial_duration: TRIAL,
        duration_sum: TRIAL,
        width: 0.5,
        ..SearchGoal::default()
    };
    let config = SearchConfig {
        goals: vec![goal],
        confirmation: None,
        max_duration: Duration::from_secs(60),
        // As many as it takes until the changes end.
        void_repeats: 1000,
        ..SearchConfig::between(1000.0, 20_000.0)
    };
    let namespace = &testbed.generator.namespace;
    Ok(namespace.run(|| run_search(testbed, &subject, config, after_trial))?)
}

fn search_repeats() -> Result<(), Failed> {
    let testbed = Testbed::lab_with(FrameSize::smallest(), LabConfig::default())?;
    let goes_on = AtomicBool::new(true);
    let is_changed = |record: &TrialRecord| {
        let reason = record.outcome.spoiled();
        matches!(reason, Some(VoidReason::Disturbed(Disturbance::MtuChanged { .. })))
    };
    let mut until_seen = |record: &TrialRecord| {
        if is_changed(record) {
            goes_on.store(false, Ordering::Relaxed);
        }
    };
    let run = with_changes(&testbed, &goes_on, || search(&testbed, "ring", &mut until_seen))???;
    assert!(run.result.trials.iter().any(is_changed), "{:?}", run.result.trials);
    assert_eq!(run.result.halted, None);
    assert!(run.result.goals[0].lower_bound_pps.is_some(), "{:?}", run.result.goals);
    Ok(())
}

fn compare_is_void() -> Result<(), Failed> {
    let testbed = Testbed::lab_with(FrameSize::smallest(), LabConfig::default())?;
    let plan = ComparePlan {
        contestants: vec!["ring".parse()?],
        ab: None,
        sizes: vec![FrameSize::smallest()],
        loads: vec![LoadKind::Flood, LoadKind::Drain],
        rounds: Some(3),
        max_time: Duration::from_secs(600),
        duration: TRIAL,
        tx: None,
        cpus: cpus()?,
        latency: LatencyMode::On,
        ring_memory: MemoryBudget::new(MemoryBudget::DEFAULT_BYTES),
        stop: Arc::default(),
    };
    let compare = || run::run(std::slice::from_ref(&testbed), &plan, &mut |_| {});
    let goes_on = AtomicBool::new(true);
    let found = with_changes(&testbed, &goes_on, compare)??;
    // A change falls into most rounds, and each of those is void, for that reason.
    let is_changed = |reason: &VoidReason| {
        matches!(reason, VoidReason::Disturbed(Disturbance::MtuChanged { .. }))
    };
    for series in &found.series {
        assert_eq!(series.rounds[0].len(), 3);
        let void: Vec<&VoidReason> = series.void(0).collect();
        assert!(!void.is_empty() && void.iter().all(|reason| is_changed(reason)), "{void:?}");
        assert_eq!(series.of(0).count() + void.len(), 3);
    }
    // And without changes they count.
    let found = compare()?;
    let mut void = found.series.iter().flat_map(|series| series.void(0));
    assert!(!void.any(is_changed), "{found:?}");
    Ok(())
}

fn other_traffic() -> Result<(), Failed> {
    let testbed = Testbed::lab_with(FrameSize::smallest(), LabConfig::default())?;
    let End { link, namespace } = &testbed.generator;
    let mut watch = Watch::open([&testbed.generator, &testbed.engine])?;
    let send = |frames: usize| -> Result<(), Failed> {
        namespace.run(|| -> linerate::error::Result<()> {
            let socket = PacketSocket::open(SocketType::Raw)?;
            socket.bind(link.index, 0).expect("bind");
            for _ in 0..frames {
                while socket.send(&[0xff; 60]).is_err() {
                    std::thread::yield_now();
                }
            }
            Ok(())
        })??;
        Ok(())
    };
    let own = |transmitted| OwnTraffic { transmitted, ..OwnTraffic::default() };
    watch.begin()?;
    send(1000)?;
    assert_eq!(watch.verdict(own(1000))?, []);
    watch.begin()?;
    send(1500)?;
    let found = watch.verdict(own(1000))?;
    assert!(matches!(found[..], [Disturbance::ForeignTraffic { frames: 500, .. }]), "{found:?}");
    Ok(())
}

/// Part of a child, since it takes away every packet socket that its process has.
pub fn search_with_a_dying_worker() -> Result<(), Failed> {
    let testbed = Testbed::lab_with(FrameSize::smallest(), LabConfig::default())?;
    let mut trials = 0;
    // Between two trials only the engine has packet sockets. It spins, so that it looks again.
    let mut kill = |_: &TrialRecord| {
        trials += 1;
        take_packet_sockets().expect("take the sockets away");
    };
    let error = search(&testbed, "syscall@spin", &mut kill)?.expect_err("no worker is left");
    let text = error.to_string();
    assert!(text.contains("syscall@spin") && text.contains("ENOTSOCK"), "{text}");
    assert_eq!(trials, 1, "the trial without a worker is none");
    Ok(())
}

/// Puts /dev/null in the place of every packet socket of this process.
fn take_packet_sockets() -> Result<(), Failed> {
    let null = std::fs::File::open("/dev/null")?;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let descriptor: i32 = entry?.file_name().to_string_lossy().parse()?;
        let name = getsockname::<SockaddrStorage>(descriptor);
        let is_packet = |name: SockaddrStorage| name.family() == Some(AddressFamily::Packet);
        if name.is_ok_and(is_packet) {
            // SAFETY: the number is that of an open descriptor, and what is made of it is forgotten.
            let mut socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
            nix::unistd::dup2(&null, &mut socket)?;
            std::mem::forget(socket);
        }
    }
    Ok(())
}
