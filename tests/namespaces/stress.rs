//! Stress tests against our engine, which stands them, and against a reflector that does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libtest_mimic::Failed;
use linerate::bench::account::Taken;
use linerate::bench::contestant::Contestant;
use linerate::bench::loading::{LoadObserver, LoadRequest, Reach, Target};
use linerate::bench::stress::phases::{Phase, PhaseName};
use linerate::bench::stress::verdict::{Conclusion, Fault, Tolerance};
use linerate::bench::stress::{
    self, PhaseResult, PhaseState, StressObserver, StressRequest, StressRun,
};
use linerate::bench::testbed::End;
use linerate::engine::config::PathName;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::load::rate::Rate;
use linerate::load::run::Progress;
use linerate::stats::state::State;
use linerate::sys::packet::{ALL_PROTOCOLS, PacketSocket, SocketType};
use linerate::wire::ethernet::{MacAddress, VlanTag};

use crate::check::{Test, over_every_path, test};
use crate::covering::at_most;
use crate::load::answer;

pub fn tests() -> Vec<Test> {
    let mut all = over_every_path("stress", &[("our engine stands every phase", stands)]);
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

/// 5,000 frames a second, with patience for a machine that has other work.
fn request(reach: Reach, phases: &[PhaseName], duration: Duration) -> StressRequest {
    let rate = Rate::frames(5000);
    let patience = Duration::from_secs(2);
    let mut base = LoadRequest::new(reach);
    base.spec.seed = 1;
    (base.spec.drain, base.spec.late_after) = (patience, patience);
    base.spec.interval = Duration::from_millis(100);
    StressRequest {
        base,
        duration,
        rate: Some(rate),
        phases: phases.to_vec(),
        tag: VlanTag::customer(100, 0),
        flows: 16,
        tolerance: Tolerance { loss_ratio: 0.0, reordered: false },
    }
}

fn stands(path: PathName) -> Result<(), Failed> {
    let reach = Reach::Lab { engine: Contestant::of(path), udp: None };
    let mut audience = Counting::default();
    let run = stress::run(
        &request(reach, &[], Duration::from_millis(at_most(4000, 1000))),
        &mut audience,
    )?;
    assert_eq!(run.results.len(), PhaseName::ALL.len());
    assert!(run.broken.is_none() && !run.has_failed());
    for PhaseResult { phase, state } in &run.results {
        match state {
            PhaseState::Run(found) => {
                let outcome = &found.finding.outcome;
                // Nothing is wrong, however little of the machine the generator got.
                assert_eq!(found.verdict.faults, [], "{}", phase.name);
                assert!(outcome.sent > 0, "{}", phase.name);
                assert_eq!(outcome.tally.returned(), outcome.tally.intact, "{}", phase.name);
            }
            PhaseState::Skipped(reason) => {
                assert!(phase.name == PhaseName::VlanOn && !path.sees_tags(), "{reason}");
            }
            PhaseState::NotReached => return Err(format!("{} not reached", phase.name).into()),
        }
    }
    assert_eq!(audience.ended, run.results.len());
    Ok(())
}

/// What the double makes of a frame, and how often it sends it.
type Wrong = fn(&mut [u8]) -> usize;

/// Runs the phases against a double, from the generator's end of a lab.
fn against(double: Wrong, phases: &[PhaseName]) -> Result<StressRun, Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let socket = lab.engine.namespace.run(|| -> linerate::error::Result<PacketSocket> {
        let socket = PacketSocket::open(SocketType::Raw)?;
        socket.ignore_outgoing()?;
        Ok(socket)
    })??;
    socket.set_receive_buffer(16 << 20)?;
    socket.bind(lab.engine.link.index, ALL_PROTOCOLS)?;
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let reflector = std::thread::spawn(move || reflect(&socket, double, &seen));
    let reach = Reach::Device {
        interface: GENERATOR.interface.into(),
        target: Target::Station(MacAddress(ENGINE.mac)),
        device_interface: None,
    };
    let request = request(reach, phases, Duration::from_millis(300) * phases.len() as u32);
    let mut audience = Counting::default();
    let run = lab.generator.namespace.run(|| stress::run(&request, &mut audience))??;
    stop.store(true, Ordering::Relaxed);
    reflector.join().map_err(|_| Failed::from("the reflector panicked"))?;
    Ok(run)
}

fn reflect(socket: &PacketSocket, double: Wrong, stop: &AtomicBool) {
    let mut buffer = vec![0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok(received) = socket.receive(&mut buffer) else {
            let _ = socket.wait_readable(Duration::from_millis(5));
            continue;
        };
        let frame = &mut buffer[..received.wire_bytes];
        answer(frame);
        for _ in 0..double(frame) {
            while socket.send(frame).is_err() {
                std::thread::yield_now();
            }
        }
    }
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
    let double: Wrong = |frame| match (frame.len(), frame[40]) {
        (1514, _) => 0,
        (_, 0x00) => {
            frame[45] ^= 1;
            1
        }
        (_, 0xff) => 2,
        _ => 1,
    };
    let phases =
        [PhaseName::Imix, PhaseName::SmallBursts, PhaseName::LargeBursts, PhaseName::Zeros, {
            PhaseName::Ones
        }];
    let run = against(double, &phases)?;
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
        |fault: &Fault| matches!(fault, Fault::Corrupted { frames: 1000.., first: Some((_, 45)) });
    assert!(zeros.iter().any(is_damage), "{zeros:?}");
    let ones = faults(PhaseName::Ones)?;
    assert!(ones.iter().any(|fault| matches!(fault, Fault::Duplicated { frames: 1000.. })));
    // The machine may have taken so much time that it may have made the loss of one in twelve.
    let imix_fails = imix.verdict.conclusion == Conclusion::Fail;
    assert!(
        imix_fails || imix.verdict.limit.is_some() || imix.finding.taken.state() != State::Clear
    );
    assert_eq!(run.count(Conclusion::Fail), if imix_fails { 4 } else { 3 });
    Ok(())
}

fn unchanged() -> Result<(), Failed> {
    let double: Wrong = |frame| usize::from(frame[40..].iter().any(u8::is_ascii_uppercase));
    let run = against(double, &[PhaseName::Sweep, PhaseName::Zeros])?;
    assert_eq!(found(&run, PhaseName::Sweep)?.verdict.faults, []);
    let zeros = &found(&run, PhaseName::Zeros)?.verdict;
    assert!(matches!(zeros.faults[..], [Fault::Lost { .. }]), "{:?}", zeros.faults);
    assert!(zeros.notes.iter().any(|note| note.contains("--echo-unchanged")), "{:?}", zeros.notes);
    Ok(())
}

fn stopped() -> Result<(), Failed> {
    let reach = Reach::Lab { engine: Contestant::of(PathName::RING_V2), udp: None };
    let request = request(reach, &[], Duration::from_secs(3));
    let stop = Some(Arc::clone(&request.base.spec.stop));
    let mut audience = Counting { stop, ..Counting::default() };
    let run = stress::run(&request, &mut audience)?;
    assert_eq!((audience.begun.len(), audience.ended), (2, 2));
    let is_left = |one: &&PhaseResult| matches!(one.state, PhaseState::NotReached);
    assert_eq!(run.results.iter().filter(is_left).count(), PhaseName::ALL.len() - 2);
    assert!(!run.has_failed());
    assert!(found(&run, PhaseName::Imix)?.finding.outcome.stopped);
    Ok(())
}
