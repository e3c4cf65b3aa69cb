//! A stress test of a link: phase after phase of what breaks drivers, each with a verdict.
//!
//! Each phase is one verified load with everything around it that [`loading`](crate::bench::loading)
//! knows; the site is the same for all of them. A phase that fails does not end the test.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::contestant::{Contestant, Name};
use crate::bench::loading::{LoadObserver, LoadRequest, Reach, line_bits_per_second};
use crate::bench::site::Site;
use crate::bench::testbed::End;
use crate::bench::vlan_filter;
use crate::engine::names::RxName;
use crate::error::{Error, Result};
use crate::load::rate::Rate;
use crate::load::run::GeneratorLimit::Busy;
use crate::load::rx::RxChoice;
use crate::sys::link::Links;
use crate::units::FrameSize;
use crate::wire::ethernet::VlanTag;

pub mod events;
mod names;
pub mod phases;
pub mod record;
pub mod recovery;
pub mod result;
pub mod verdict;

use events::{Event, EventFinding};
use phases::{Phase, PhaseName, PhaseSettings};
use record::Record;
pub use result::{PhaseFinding, PhaseResult, PhaseState};
use verdict::{Circumstances, Conclusion, Fault, NEARLY_ALL, Tolerance, Verdict};

/// A stress test as asked for.
#[derive(Clone, Debug)]
pub struct StressRequest {
    /// Whom the frames reach and how they are verified; sizes, payload, tags, flows, drive, limits
    /// and warm-up are the phases' own.
    pub base: LoadRequest,
    /// How long all phases together send, but for events, which take as long as they do.
    pub duration: Duration,
    /// All phases are run again until this time is over.
    pub repeat_for: Option<Duration>,
    /// A record of a long test is closed after this time.
    pub record_every: Duration,
    /// Records of the test that this one resumes.
    pub records: Vec<Record>,
    /// After an event frames must come back steadily in this time.
    pub max_recovery: Duration,
    /// The rate of all phases; `None` for a moderate one.
    pub rate: Option<Rate>,
    /// The phases, which run in their own order.
    pub phases: Vec<PhaseName>,
    /// The tag of the phase with tags.
    pub tag: VlanTag,
    /// Flows of the phase with many.
    pub flows: u32,
    /// What is let pass.
    pub tolerance: Tolerance,
}

impl StressRequest {
    /// What a run that resumes this test must have in common with it.
    pub fn test(&self) -> Value {
        let interface = match &self.base.reach {
            Reach::Lab { .. } => None,
            Reach::Device { interface, .. } | Reach::Cable { interface, .. } => Some(interface),
        };
        json!({
            "interface": interface,
            "reaches": self.base.reach.to_string(),
            "phases": self.phases,
            "rate": self.rate.map(|rate| rate.to_string()),
            "duration_s": self.duration.as_secs_f64(),
            "seed": self.base.spec.seed,
        })
    }
}

/// A finished stress test.
#[derive(Debug)]
pub struct StressRun {
    /// All phases, of the last round if there are several.
    pub results: Vec<PhaseResult>,
    /// What was found hour by hour, before this run was begun as well if it resumes another.
    pub records: Vec<Record>,
    /// What ended the test early, other than being told to stop: the interface has gone.
    pub broken: Option<Error>,
}

impl StressRun {
    /// Whether the device did wrong in any phase.
    pub fn has_failed(&self) -> bool {
        self.counted(Conclusion::Fail) > 0
    }

    /// Phases of all rounds that ended so.
    pub fn counted(&self, conclusion: Conclusion) -> u64 {
        self.records.iter().map(|record| record.count(conclusion.name())).sum()
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

    /// A record was closed: what there is by now is to be kept.
    fn recorded(&mut self, _: &StressRequest, _: &StressRun) {}
}

/// Runs a stress test where `request` says.
pub fn run(request: &StressRequest, observer: &mut dyn StressObserver) -> Result<StressRun> {
    run_at(request, &open_site(request)?, observer)
}

/// Where a test runs. A lab has a second queue, so that their number can change.
pub fn open_site(request: &StressRequest) -> Result<Site> {
    let mut base = request.base.clone();
    let own_queue =
        |engine: Contestant| matches!(engine.name, Name::Path(path) if path.rx == RxName::Xsk);
    // An AF_XDP socket sees one queue only.
    if request.phases.contains(&PhaseName::Channels)
        && !base.reach.own_engine().is_some_and(own_queue)
    {
        base.queues_min = 2;
    }
    Site::open(&base, FrameSize::smallest())
}

/// Runs a stress test. What hinders the first phase is an error; what ends a later one is in the
/// result, beside the phases that were run.
pub fn run_at(
    request: &StressRequest,
    site: &Site,
    observer: &mut dyn StressObserver,
) -> Result<StressRun> {
    let phases = plan(request, site)?;
    let runnable = |phase: &&Phase| phase.impossible.is_none() && Event::of(phase.name).is_none();
    let each = request.duration / phases.iter().filter(runnable).count().max(1) as u32;
    observer.begins(request, site.here(), &phases, each);
    let mut run = StressRun { results: Vec::new(), records: request.records.clone(), broken: None };
    let before_s: f64 = run.records.iter().map(|record| record.lasted_s).sum();
    let begin = Instant::now();
    let mut hour = (Record::begin(), Instant::now());
    loop {
        run.results.clear();
        for phase in &phases {
            let state = state_of(request, site, phase, each, &mut run, observer)?;
            let result = PhaseResult { phase: phase.clone(), state };
            if !matches!(result.state, PhaseState::NotReached) {
                observer.phase_ends(&result);
                hour.0.add(&result);
            }
            run.results.push(result);
            if hour.1.elapsed() >= request.record_every {
                run.close(&mut hour);
                observer.recorded(request, &run);
            }
        }
        let is_over = run.broken.is_some() || request.base.spec.stop.load(Ordering::Relaxed);
        let lasted_s = before_s + begin.elapsed().as_secs_f64();
        if is_over || request.repeat_for.is_none_or(|time| lasted_s >= time.as_secs_f64()) {
            break;
        }
    }
    if !hour.0.is_empty() {
        run.close(&mut hour);
    }
    Ok(run)
}

impl StressRun {
    /// Whether no phase was run.
    fn is_empty(&self) -> bool {
        let was_run = |one: &PhaseResult| matches!(one.state, PhaseState::Run(_));
        self.records.iter().all(|record| record.sent == 0) && !self.results.iter().any(was_run)
    }

    /// Closes the record of `hour`, and begins the next one.
    fn close(&mut self, hour: &mut (Record, Instant)) {
        let (mut record, began) = std::mem::replace(hour, (Record::begin(), Instant::now()));
        record.lasted_s = began.elapsed().as_secs_f64();
        self.records.push(record);
    }
}

/// What becomes of a phase.
fn state_of(
    request: &StressRequest,
    site: &Site,
    phase: &Phase,
    each: Duration,
    run: &mut StressRun,
    observer: &mut dyn StressObserver,
) -> Result<PhaseState> {
    if let Some(reason) = &phase.impossible {
        return Ok(PhaseState::Skipped(reason.clone()));
    }
    if run.broken.is_some() || request.base.spec.stop.load(Ordering::Relaxed) {
        return Ok(PhaseState::NotReached);
    }
    observer.phase_begins(phase);
    match load(request, site, phase, each, observer) {
        Ok((state, broken)) => {
            run.broken = broken;
            Ok(state)
        }
        Err(error) if run.is_empty() => Err(error),
        Err(error) => {
            run.broken = Some(error);
            Ok(PhaseState::NotReached)
        }
    }
}

fn plan(request: &StressRequest, site: &Site) -> Result<Vec<Phase>> {
    let link = &site.here().link;
    let tagless = match (request.base.reach.own_engine(), request.base.spec.rx) {
        (Some(engine), _) if !engine.sees_tags() => {
            Some(format!("the path {engine} sees no VLAN tags, so it cannot send them back"))
        }
        (_, Some(RxChoice::Recv)) => Some("the receive half recv sees no VLAN tags".to_string()),
        // No device would get them, or none of its answers would come back.
        _ => [Some(site.here()), site.there()]
            .into_iter()
            .flatten()
            .find_map(|end| vlan_filter::hint(end, &[request.tag])),
    };
    let settings = PhaseSettings {
        mtu: link.mtu as usize,
        line_bits_per_second: line_bits_per_second(link)?,
        rate: request.rate,
        tag: request.tag,
        eventless: (request.base.spec.rx == Some(RxChoice::Recv))
            .then(|| "the receive half recv has no kernel stamps to time a recovery by".into()),
        far: site.there().is_some(),
        tagless,
        flows: request.flows,
    };
    let wanted = |name: &PhaseName| request.phases.contains(name);
    let names = PhaseName::ALL.into_iter().filter(wanted);
    let mut phases: Vec<Phase> = names.map(|name| Phase::new(name, &settings)).collect();
    for phase in phases.iter_mut().filter(|phase| phase.impossible.is_none()) {
        let Some(end) = Event::of(phase.name).filter(|event| event.switches_off()) else {
            continue;
        };
        let end = end.end(site);
        let links = end.inside(Links::open)?;
        if !request.base.force && links.forgets_when_down(end.link.index)? {
            phase.impossible = Some(format!(
                "{} has routes or IPv6 addresses that it would lose while it is down; --force does it",
                end.link.name
            ));
        }
    }
    Ok(phases)
}

/// A disturbed phase is repeated so often.
const VOID_REPEATS: usize = 2;

/// What became of a phase, and what broke it off.
fn load(
    request: &StressRequest,
    site: &Site,
    phase: &Phase,
    duration: Duration,
    observer: &mut dyn StressObserver,
) -> Result<(PhaseState, Option<Error>)> {
    let event = Event::of(phase.name);
    let phase_request = phase.request(&request.base, duration);
    let stopped = || request.base.spec.stop.load(Ordering::Relaxed);
    let mut repeats = 0;
    let mut found = loop {
        let (mut finding, happened) = match event {
            None => (site.load(&phase_request, observer)?, None),
            Some(event) => {
                let longest = request.max_recovery;
                let (finding, happened) = event.run(
                    &request.base.spec.stop,
                    |time| phase.request(&request.base, time),
                    site,
                    longest,
                    observer,
                )?;
                match happened {
                    Ok(happened) => (finding, Some(happened)),
                    Err(error) if finding.outcome.broken.is_none() => {
                        return Ok((PhaseState::Refused(refusal(&error)), None));
                    }
                    // The interface has gone under both.
                    Err(_) => (finding, None),
                }
            }
        };
        let event = event.zip(happened);
        let event = event.map(|(event, it)| EventFinding::of(event, it, &finding.outcome));
        let outcome = &finding.outcome;
        let given = Circumstances {
            phase,
            expectation: request.base.spec.expectation,
            own_engine: request.base.reach.own_engine().is_some(),
            tolerance: request.tolerance,
            event: event.as_ref(),
        };
        let verdict = Verdict::of(&given, outcome, &finding.counters);
        if event.is_some() {
            finding.disturbances.retain(|one| !one.is_of_the_link());
        }
        let is_theft = verdict.faults.iter().all(may_be_theft)
            && finding
                .taken
                .explains(verdict.blamed(outcome.lost), outcome.achieved_pps().unwrap_or(0.0));
        // A thread that is not let begin notices nothing of it.
        let is_starved = verdict.faults == [Fault::NothingSent] && verdict.limit == Some(Busy);
        if verdict.conclusion == Conclusion::Fail && (is_theft || is_starved) {
            finding.disturbances.push(finding.taken.disturbance());
        }
        let is_over = finding.outcome.broken.is_some() || stopped();
        if finding.disturbances.is_empty() || is_over || repeats == VOID_REPEATS {
            break PhaseFinding { finding, verdict, event };
        }
        repeats += 1;
    };
    let broken = found.finding.outcome.broken.clone().map(Error::Run);
    let broken = found.finding.engine_failure.take().or(broken);
    let is_cut = event.is_some() && stopped();
    if !found.finding.disturbances.is_empty() || broken.is_some() || is_cut {
        found.verdict.conclusion = Conclusion::Void;
    }
    Ok((PhaseState::Run(Box::new(found)), broken))
}

/// A machine that takes a CPU away has frames lost or late, or has none sent, but neither nearly all lost nor
/// any damaged.
fn may_be_theft(fault: &Fault) -> bool {
    match fault {
        Fault::Lost { ratio, .. } => *ratio < NEARLY_ALL,
        Fault::Late { .. } | Fault::NotRecovered { .. } | Fault::NothingSent => true,
        _ => false,
    }
}

/// Why an event cannot happen here.
fn refusal(error: &Error) -> String {
    let word = match error {
        Error::System(error) if error.errno.privilege => {
            format!("not permitted: {}", error.errno.name)
        }
        Error::System(error) => format!("not supported: {}", error.errno.name),
        _ => "not supported".into(),
    };
    let text = error.to_string();
    format!("{word} ({})", text.lines().next().unwrap_or_default())
}
