//! A stress test of a link: phase after phase of what breaks drivers, each with a verdict.
//!
//! Each phase is one verified load with everything around it that [`loading`](crate::bench::loading)
//! knows; the site is the same for all of them. A phase that fails does not end the test.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::bench::loading::{Finding, LoadObserver, LoadRequest, line_bits_per_second};
use crate::bench::site::Site;
use crate::bench::testbed::End;
use crate::error::{Error, Result};
use crate::load::rate::Rate;
use crate::load::rx::RxChoice;
use crate::units::FrameSize;
use crate::wire::ethernet::VlanTag;

pub mod phases;
pub mod verdict;

use phases::{Phase, PhaseName, PhaseSettings};
use verdict::{Circumstances, Conclusion, Fault, NEARLY_ALL, Tolerance, Verdict};

/// A stress test as asked for.
#[derive(Clone, Debug)]
pub struct StressRequest {
    /// Whom the frames reach and how they are verified; sizes, payload, tags, flows, drive, limits
    /// and warm-up are the phases' own.
    pub base: LoadRequest,
    /// How long all phases together send.
    pub duration: Duration,
    /// The rate of all phases; `None` for a moderate one.
    pub rate: Option<Rate>,
    /// The phases, which run in their own order; empty for all.
    pub phases: Vec<PhaseName>,
    /// The tag of the phase with tags.
    pub tag: VlanTag,
    /// Flows of the phase with many.
    pub flows: u32,
    /// What is let pass.
    pub tolerance: Tolerance,
}

/// What became of a phase.
#[derive(Debug)]
pub enum PhaseState {
    /// It was run.
    Run(Box<PhaseFinding>),
    /// It cannot be run here, for this reason.
    Skipped(String),
    /// The test was ended before it.
    NotReached,
}

/// What a phase found.
#[derive(Debug)]
pub struct PhaseFinding {
    /// The load and what was around it.
    pub finding: Finding,
    /// What that says about the device.
    pub verdict: Verdict,
}

/// A phase and what became of it.
#[derive(Debug)]
pub struct PhaseResult {
    /// The phase.
    pub phase: Phase,
    /// What became of it.
    pub state: PhaseState,
}

impl PhaseResult {
    /// How it ended, if it was run.
    pub fn conclusion(&self) -> Option<Conclusion> {
        match &self.state {
            PhaseState::Run(run) => Some(run.verdict.conclusion),
            _ => None,
        }
    }
}

/// A finished stress test.
#[derive(Debug)]
pub struct StressRun {
    /// All phases.
    pub results: Vec<PhaseResult>,
    /// What ended the test early, other than being told to stop: the interface has gone.
    pub broken: Option<Error>,
}

impl StressRun {
    /// Whether the device did wrong in any phase.
    pub fn has_failed(&self) -> bool {
        self.count(Conclusion::Fail) > 0
    }

    /// Phases that ended so.
    pub fn count(&self, conclusion: Conclusion) -> usize {
        self.results.iter().filter(|one| one.conclusion() == Some(conclusion)).count()
    }
}

/// Who is told how a stress test goes.
pub trait StressObserver: LoadObserver {
    /// It is about to begin; each phase that can be run sends for `each`.
    fn begins(&mut self, request: &StressRequest, here: &End, phases: &[Phase], each: Duration);

    /// A phase is about to begin.
    fn phase_begins(&mut self, phase: &Phase);

    /// A phase was run, or skipped.
    fn phase_ends(&mut self, result: &PhaseResult);
}

/// Runs a stress test. What hinders the first phase is an error; what ends a later one is in the
/// result, beside the phases that were run.
pub fn run(request: &StressRequest, observer: &mut dyn StressObserver) -> Result<StressRun> {
    let base = &request.base;
    let site = Site::open(base, FrameSize::smallest())?;
    let phases = plan(request, &site)?;
    let runnable = phases.iter().filter(|phase| phase.impossible.is_none()).count();
    let each = request.duration / runnable.max(1) as u32;
    observer.begins(request, site.here(), &phases, each);
    let mut run = StressRun { results: Vec::new(), broken: None };
    let mut none_was_run = true;
    for phase in phases {
        let state = if let Some(reason) = &phase.impossible {
            PhaseState::Skipped(reason.clone())
        } else if run.broken.is_some() || base.spec.stop.load(Ordering::Relaxed) {
            PhaseState::NotReached
        } else {
            observer.phase_begins(&phase);
            match load(request, &site, &phase, each, observer) {
                Ok((found, broken)) => {
                    run.broken = broken;
                    PhaseState::Run(Box::new(found))
                }
                Err(error) if none_was_run => return Err(error),
                Err(error) => {
                    run.broken = Some(error);
                    PhaseState::NotReached
                }
            }
        };
        none_was_run &= !matches!(state, PhaseState::Run(_));
        let result = PhaseResult { phase, state };
        if !matches!(result.state, PhaseState::NotReached) {
            observer.phase_ends(&result);
        }
        run.results.push(result);
    }
    Ok(run)
}

fn plan(request: &StressRequest, site: &Site) -> Result<Vec<Phase>> {
    let link = &site.here().link;
    let tagless = match (request.base.reach.own_engine(), request.base.spec.rx) {
        (Some(engine), _) if !engine.sees_tags() => {
            Some(format!("the path {engine} sees no VLAN tags, so it cannot send them back"))
        }
        (_, Some(RxChoice::Recv)) => Some("the receive half recv sees no VLAN tags".to_string()),
        _ => None,
    };
    let settings = PhaseSettings {
        mtu: link.mtu as usize,
        line_bits_per_second: line_bits_per_second(link)?,
        rate: request.rate,
        tag: request.tag,
        tagless,
        flows: request.flows,
    };
    let wanted = |name: &PhaseName| request.phases.is_empty() || request.phases.contains(name);
    let names = PhaseName::ALL.into_iter().filter(wanted);
    Ok(names.map(|name| Phase::new(name, &settings)).collect())
}

/// A disturbed phase is repeated so often.
const VOID_REPEATS: usize = 2;

/// What a phase found, and what broke it off.
fn load(
    request: &StressRequest,
    site: &Site,
    phase: &Phase,
    duration: Duration,
    observer: &mut dyn StressObserver,
) -> Result<(PhaseFinding, Option<Error>)> {
    let phase_request = phase.request(&request.base, duration);
    let given = Circumstances {
        phase,
        expectation: request.base.spec.expectation,
        own_engine: request.base.reach.own_engine().is_some(),
        tolerance: request.tolerance,
    };
    let mut repeats = 0;
    let (mut finding, mut verdict) = loop {
        let mut finding = site.load(&phase_request, observer)?;
        let outcome = &finding.outcome;
        let verdict = Verdict::of(&given, outcome, &finding.counters);
        // A machine that takes a CPU away has frames lost, but neither nearly all nor damaged ones.
        let may_be_theft =
            |fault: &Fault| matches!(fault, Fault::Lost { ratio, .. } if *ratio < NEARLY_ALL);
        if verdict.conclusion == Conclusion::Fail
            && verdict.faults.iter().all(may_be_theft)
            && finding.taken.explains(outcome.lost, outcome.achieved_pps())
        {
            finding.disturbances.push(finding.taken.disturbance());
        }
        let is_over =
            finding.outcome.broken.is_some() || request.base.spec.stop.load(Ordering::Relaxed);
        if finding.disturbances.is_empty() || is_over || repeats == VOID_REPEATS {
            break (finding, verdict);
        }
        repeats += 1;
    };
    let broken = finding.outcome.broken.clone().map(Error::Run);
    let broken = finding.engine_failure.take().or(broken);
    if !finding.disturbances.is_empty() || broken.is_some() {
        verdict.conclusion = Conclusion::Void;
    }
    Ok((PhaseFinding { finding, verdict }, broken))
}
