//! Stress tests against our engine, which stands them, and against a reflector that does not.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed};
use linerate::bench::account::Taken;
use linerate::bench::contestant::Contestant;
use linerate::bench::loading::{LoadObserver, LoadRequest, Reach, Target};
use linerate::bench::stress::events::{Event, Expected};
use linerate::bench::stress::phases::{Phase, PhaseName};
use linerate::bench::stress::verdict::{Conclusion, Fault, Tolerance};
use linerate::bench::stress::{
    self, PhaseResult, PhaseState, StressObserver, StressRequest, StressRun,
};
use linerate::bench::testbed::End;
use linerate::engine::config::PathName;
use linerate::engine::names::RxName;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::load::rate::Rate;
use linerate::load::run::Progress;
use linerate::stats::state::State;
use linerate::sys::packet::PacketSocket;
use linerate::wire::ethernet::{MacAddress, VlanTag};

use crate::check::{Test, over_every_path, test, test_of};
use crate::covering::at_most;
use crate::load::{Fault as Double, Reflector};
use crate::spoiled::unless_spoiled;

pub fn tests() -> Vec<Test> {
    let mut all = over_every_path("stress", &[("our engine stands every phase", stands)]);
    for path in [PathName::RING_V2, PathName::RING_XSK, PathName::XDP] {
        let name = format!("stress, {path}: our engine recovers from every event");
        all.push(test_of(path, name, move || {
            unless_spoiled(|| recovers(path)).map(|()| Completion::Completed)
        }));
    }
    all.push(test("stress: each wrong that a reflector does has its name", || {
        DOUBLES.iter().try_for_each(|wrong| unless_spoiled(|| named(wrong)))
    }));
    all.push(test("stress: a wrong device is named by phase and fault", wrong));
    all.push(test("stress: an echo that limits unchanged frames is explained", unchanged));
    all.push(test("stress: told to stop, it has what there is", stopped));
    all
}

/// Counts what it is told.
#[derive(Default)]
struct Counting {
    begun: Vec<PhaseName>,
    ended: usize,
    /// Set when the phase after the first one begins.
    stop: Option<Arc<AtomicBool>>,
}

impl LoadObserver for Counting {
    fn progress(&mut self, _: &Progress, _: &Taken) {}
}

impl StressObserver for Counting {
    fn begins(&mut self, _: &StressRequest, _: &End, _: &[Phase], _: Duration) {}

    fn phase_begins(&mut self, phase: &Phase) {
        self.begun.push(phase.name);
        if let (Some(stop), 2) = (&self.stop, self.begun.len()) {
            stop.store(true, Ordering::Relaxed);
        }
    }

    fn phase_ends(&mut self, _: &PhaseResult) {
        self.ended += 1;
    }
}

const PATIENCE: Duration = Duration::from_secs(2);

/// 2,000 frames a second, with patience for a machine that has other work.
fn request(reach: Reach, phases: &[PhaseName], duration: Duration) -> StressRequest {
    let rate = Rate::frames(2000);
    let mut base = LoadRequest::new(reach);
    base.spec.seed = 1;
    (base.spec.drain, base.spec.late_after) = (PATIENCE, PATIENCE);
    base.spec.interval = Duration::from_millis(100);
    StressRequest {
        base,
        duration,
        rate: Some(rate),
        repeat_for: None,
        record_every: Duration::MAX,
        records: Vec::new(),
        max_recovery: Duration::from_secs(3),
        phases: phases.to_vec(),
        tag: VlanTag::customer(100, 0),
        flows: 16,
        tolerance: Tolerance { loss_ratio: 0.0, reordered: false },
    }
}

fn traffic() -> Vec<PhaseName> {
    PhaseName::ALL.into_iter().filter(|name| Event::of(*name).is_none()).collect()
}

fn events() -> Vec<PhaseName> {
    PhaseName::ALL.into_iter().filter(|name| Event::of(*name).is_some()).collect()
}

fn stands(path: PathName) -> Result<(), Failed> {
    let reach = Reach::Lab { engine: Contestant::of(path), udp: None };
    let mut audience = Counting::default();
    let run = stress::run(
        &request(reach, &traffic(), Duration::from_millis(at_most(4000, 1000))),
        &mut audience,
    )?;
    assert_eq!(run.results.len(), traffic().len());
    assert!(run.broken.is_none(), "{:?}", run.broken);
    for PhaseResult { phase, state } in &run.results {
        match state {
            PhaseState::Run(found) => {
                let outcome = &found.finding.outcome;
                // Nothing is wrong, however little of the machine the generator got, unless that was nothing.
                if found.finding.disturbances.is_empty() {
                    assert_eq!(found.verdict.faults, [], "{}", phase.name);
                    assert!(outcome.sent > 0, "{}", phase.name);
                }
                assert_eq!(outcome.tally.returned(), outcome.tally.intact, "{}", phase.name);
            }
            PhaseState::Skipped(reason) => {
                assert!(phase.name == PhaseName::VlanOn && !path.sees_tags(), "{reason}");
            }
            other => return Err(format!("{}: {other:?}", phase.name).into()),
        }
    }
    assert_eq!(audience.ended, run.results.len());
    Ok(())
}

/// Runs the phases against a double, from the generator's end of a lab.
fn against(
    double: Double,
    phases: &[PhaseName],
    late_after: Duration,
) -> Result<StressRun, Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let reflector = Reflector::start(&lab.engine, double)?;
    let reach = Reach::Device {
        interface: GENERATOR.interface.into(),
        target: Target::Station(MacAddress(ENGINE.mac)),
        device_interface: None,
    };
    let mut request = request(reach, phases, Duration::from_millis(500) * phases.len() as u32);
    request.base.spec.late_after = late_after;
    let mut audience = Counting::default();
    let run = lab.generator.namespace.run(|| stress::run(&request, &mut audience))??;
    reflector.stop()?;
    Ok(run)
}

fn found(run: &StressRun, name: PhaseName) -> Result<&stress::PhaseFinding, Failed> {
    let result = run.results.iter().find(|one| one.phase.name == name);
    match result.map(|one| &one.state) {
        Some(PhaseState::Run(found)) => Ok(found),
        other => Err(format!("{name}: {other:?}").into()),
    }
}

/// It loses the largest frames, damages those whose payload is 0x00, and doubles those of 0xff.
fn wrong() -> Result<(), Failed> {
    let double: Double = |_, frame, socket| match (frame.len(), frame[40]) {
        (1514, _) => frame.clear(),
        (_, 0x00) => frame[45] ^= 1,
        (_, 0xff) => send(socket, frame),
        _ => {}
    };
    let phases =
        [PhaseName::Imix, PhaseName::SmallBursts, PhaseName::LargeBursts, PhaseName::Zeros, {
            PhaseName::Ones
        }];
    let run = against(double, &phases, PATIENCE)?;
    assert!(run.has_failed());
    let faults = |name| found(&run, name).map(|found| found.verdict.faults.clone());
    assert_eq!(faults(PhaseName::SmallBursts)?, []);
    // One frame of twelve in IMIX, and all of the largest.
    let imix = found(&run, PhaseName::Imix)?;
    let (sent, lost) = (imix.finding.outcome.sent, imix.finding.outcome.lost);
    assert!(lost.abs_diff(sent / 12) <= 1, "{lost} of {sent}");
    let ratio = lost as f64 / sent as f64;
    if imix.verdict.limit.is_none() {
        assert_eq!(imix.verdict.faults, [Fault::Lost { frames: lost, ratio }]);
    }
    let large = faults(PhaseName::LargeBursts)?;
    assert!(matches!(large[..], [Fault::Lost { ratio: 1.0, .. }]), "{large:?}");
    let zeros = faults(PhaseName::Zeros)?;
    let is_damage =
        |fault: &Fault| matches!(fault, Fault::Corrupted { frames: 400.., first: Some((_, 45)) });
    assert!(zeros.iter().any(is_damage), "{zeros:?}");
    let ones = faults(PhaseName::Ones)?;
    assert!(ones.iter().any(|fault| matches!(fault, Fault::Duplicated { frames: 400.. })));
    // The machine may have taken so much time that it may have made the loss of one in twelve.
    let imix_fails = imix.verdict.conclusion == Conclusion::Fail;
    assert!(
        imix_fails || imix.verdict.limit.is_some() || imix.finding.taken.state() != State::Clear
    );
    let failed = run.results.iter().filter(|one| one.conclusion() == Some(Conclusion::Fail));
    assert_eq!(failed.count(), if imix_fails { 4 } else { 3 });
    Ok(())
}

fn unchanged() -> Result<(), Failed> {
    let double: Double = |_, frame, _| {
        if !frame[40..].iter().any(u8::is_ascii_uppercase) {
            frame.clear();
        }
    };
    let run = against(double, &[PhaseName::Sweep, PhaseName::Zeros], PATIENCE)?;
    assert_eq!(found(&run, PhaseName::Sweep)?.verdict.faults, []);
    let zeros = &found(&run, PhaseName::Zeros)?.verdict;
    assert!(matches!(zeros.faults[..], [Fault::Lost { .. }]), "{:?}", zeros.faults);
    assert!(zeros.notes.iter().any(|note| note.contains("--echo-unchanged")), "{:?}", zeros.notes);
    Ok(())
}

fn stopped() -> Result<(), Failed> {
    let reach = Reach::Lab { engine: Contestant::of(PathName::RING_V2), udp: None };
    let request = request(reach, &traffic(), Duration::from_secs(3));
    let stop = Some(Arc::clone(&request.base.spec.stop));
    let mut audience = Counting { stop, ..Counting::default() };
    let run = stress::run(&request, &mut audience)?;
    assert_eq!((audience.begun.len(), audience.ended), (2, 2));
    let is_left = |one: &&PhaseResult| matches!(one.state, PhaseState::NotReached);
    assert_eq!(run.results.iter().filter(is_left).count(), traffic().len() - 2);
    assert!(!run.has_failed());
    assert!(found(&run, PhaseName::Imix)?.finding.outcome.stopped);
    Ok(())
}

/// Every event happens, is undone and recovered from; what veth or this kernel cannot do says so.
fn recovers(path: PathName) -> Result<(), Failed> {
    let reach = Reach::Lab { engine: Contestant::of(path), udp: None };
    let run =
        stress::run(&request(reach, &events(), Duration::from_secs(1)), &mut Counting::default())?;
    assert!(run.broken.is_none(), "{:?}", run.broken);
    for PhaseResult { phase, state } in &run.results {
        let name = phase.name;
        let found = match state {
            PhaseState::Run(found) => found,
            PhaseState::Refused(reason) => {
                let why = match name {
                    // A veth pair has no rings; that of an AF_XDP path has one queue.
                    PhaseName::Rings => "not supported: EOPNOTSUPP",
                    PhaseName::Channels if path.rx == RxName::Xsk => "not supported: EOPNOTSUPP",
                    // There is one program an interface, and without privilege none.
                    PhaseName::Xdp if path.rx == RxName::Xsk => "not supported: EBUSY",
                    PhaseName::Xdp => "not permitted: EPERM",
                    _ => "no event that a veth pair refuses",
                };
                assert!(reason.starts_with(why), "{name}: {reason}");
                continue;
            }
            other => return Err(format!("{name}: {other:?}").into()),
        };
        let event = found.event.as_ref().ok_or("an event")?;
        let outcome = &found.finding.outcome;
        assert_eq!(found.verdict.faults, [], "{name}: {event:#?}");
        assert_eq!((&event.left[..], event.undo.back), (&[][..], true), "{name}: {event:#?}");
        assert_eq!(outcome.tally.returned(), outcome.tally.intact, "{name}");
        let holds = [PhaseName::Promiscuous, PhaseName::Fanout].contains(&name);
        // A driver may change what it likes for a program.
        assert!(name == PhaseName::Xdp || event.changed.is_empty() == holds, "{name}: {event:#?}");
        if event.expected == Expected::Silence {
            // It was silent for as long as the change was held, and the loss tells the same.
            assert!(
                event.apply.is_none() && event.undo.outage_ns > 300_000_000,
                "{name}: {event:#?}"
            );
            let told_ns = event.undo.lost_ns.max(event.undo.recovery_ns.unwrap_or(0));
            assert!(told_ns < event.undo.outage_ns + 3_000_000_000, "{name}: {event:#?}");
        }
    }
    Ok(())
}

/// A wrong, the phase that shows it, and its name.
type Named = (&'static str, Double, PhaseName, fn(&Fault) -> bool);

/// What a reflector can do wrong: to every tenth frame, or for ever.
static DOUBLES: [Named; 10] = [
    ("nothing", |_, _, _| {}, PhaseName::OneFlow, |_| false),
    (
        "drops",
        |n, frame, _| frame.truncate(if tenth(n) { 0 } else { 2000 }),
        PhaseName::OneFlow,
        |fault| matches!(fault, Fault::Lost { .. }),
    ),
    (
        "duplicates",
        |n, frame, socket| (0..u64::from(tenth(n))).for_each(|_| send(socket, frame)),
        PhaseName::OneFlow,
        |fault| matches!(fault, Fault::Duplicated { .. }),
    ),
    (
        "reorders",
        |n, frame, socket| held(n, frame, socket, Duration::ZERO),
        PhaseName::OneFlow,
        |fault| matches!(fault, Fault::Reordered { .. }),
    ),
    (
        "corrupts",
        |n, frame, _| frame[50] ^= u8::from(tenth(n)),
        PhaseName::OneFlow,
        |fault| matches!(fault, Fault::Corrupted { first: Some((_, 50)), .. }),
    ),
    (
        "truncates",
        |n, frame, _| frame.truncate(if tenth(n) { 40 } else { 2000 }),
        PhaseName::OneFlow,
        |fault| matches!(fault, Fault::Truncated { .. }),
    ),
    (
        "answers late",
        |n, frame, socket| held(n, frame, socket, LATE * 2),
        PhaseName::OneFlow,
        |fault| matches!(fault, Fault::Late { .. }),
    ),
    (
        "answers foreign",
        |n, frame, socket| foreign(n, frame, socket),
        PhaseName::OneFlow,
        |fault| matches!(fault, Fault::Foreign { .. }),
    ),
    (
        "forgets its VLAN",
        |_, _, _| {},
        PhaseName::VlanOn,
        |fault| matches!(fault, Fault::WrongTag { .. }),
    ),
    ("never recovers", dies, PhaseName::LinkDown, |fault| {
        matches!(fault, Fault::NotRecovered { .. })
    }),
];

/// Longer than an honest reflector takes.
const LATE: Duration = Duration::from_millis(60);

fn tenth(number: u64) -> bool {
    number % 10 == 5
}

fn send(socket: &PacketSocket, frame: &[u8]) {
    while socket.send(frame).is_err() {
        std::thread::yield_now();
    }
}

thread_local! {
    /// What the reflector's thread keeps back, and since when.
    static KEPT: RefCell<Vec<(Instant, Vec<u8>)>> = const { RefCell::new(Vec::new()) };
    /// When it last got a frame; `None` once it is dead.
    static LAST: RefCell<Option<Instant>> = RefCell::new(Some(Instant::now()));
}

/// Keeps every tenth frame back for `time`, and until another one has passed.
fn held(number: u64, frame: &mut Vec<u8>, socket: &PacketSocket, time: Duration) {
    KEPT.with_borrow_mut(|kept| {
        if tenth(number) {
            return kept.push((Instant::now(), std::mem::take(frame)));
        }
        send(socket, frame);
        frame.clear();
        let due = kept.extract_if(.., |(since, _)| since.elapsed() >= time);
        due.for_each(|(_, frame)| send(socket, &frame));
    });
}

/// Sends a frame of its own after every tenth.
fn foreign(number: u64, frame: &[u8], socket: &PacketSocket) {
    if tenth(number) {
        let mut own = frame.to_vec();
        own[14..].fill(b'!');
        send(socket, &own);
    }
}

/// Answers nothing any more once no frame has come for a while.
fn dies(_: u64, frame: &mut Vec<u8>, _: &PacketSocket) {
    LAST.with_borrow_mut(|last| {
        *last =
            last.filter(|last| last.elapsed() < Duration::from_millis(200)).map(|_| Instant::now());
        if last.is_none() {
            frame.clear();
        }
    });
}

fn named((what, double, phase, is_named): &Named) -> Result<(), Failed> {
    let late_after = if *what == "answers late" { LATE } else { PATIENCE };
    let run = against(*double, &[*phase], late_after)?;
    let found = found(&run, *phase)?;
    let verdict = &found.verdict;
    if *what == "nothing" {
        let excused = found.finding.taken.state() != State::Clear;
        assert!(verdict.faults.is_empty() || excused, "{what}: {verdict:?}");
        return Ok(());
    }
    // Of a generator that was late no loss is counted, but told.
    let is_told = |note: &String| note.contains("frames lost, not counted");
    let is_lost = *what == "drops" && verdict.notes.iter().any(is_told);
    assert!(is_lost || verdict.faults.iter().any(is_named), "{what}: {verdict:?}");
    assert!(verdict.conclusion != Conclusion::Pass, "{what}: {verdict:?}");
    Ok(())
}
