//! Two loads on one link at the same time: neither takes the other's frames for its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libtest_mimic::Failed;
use linerate::engine::config::PathName;
use linerate::engine::pool::Engine;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::load::plan::{Limits, LoadSpec};
use linerate::load::rate::Rate;
use linerate::load::run::{Load, LoadOutcome};
use linerate::ring::budget::MemoryBudget;
use linerate::wire::ethernet::MacAddress;

use crate::check::{Test, test};
use crate::served::{check_summary, config as engine_config};

pub fn tests() -> Vec<Test> {
    vec![
        test("two loads: each is exact, and says how many frames of the other it saw", at_once),
        test(
            "two loads: echoes of the other are no answers, with a device that is not there",
            absent,
        ),
        test("two loads: a drain beside a load is exact", beside_a_drain),
    ]
}

const FRAMES: u64 = 5000;

fn config(lab: &Lab) -> LoadSpec {
    let (here, there) = (MacAddress(GENERATOR.mac), MacAddress(ENGINE.mac));
    LoadSpec::new(lab.generator.link.index, 1500, here, there)
}

fn plan(lab: &Lab) -> LoadSpec {
    LoadSpec {
        drain: Duration::from_secs(5),
        late_after: Duration::from_secs(5),
        ..config(lab).paced(Rate::frames(10_000), Limits::frames(FRAMES))
    }
}

fn engine(lab: &Lab) -> Result<Engine, Failed> {
    Ok(Engine::start(&engine_config(lab, PathName::RING_V2, |config| {
        config.receive_ring.blocks = Some(128);
    }))?)
}

/// Runs `load` and `other` at the same time, `other` again and again until `load` has ended.
fn beside<T: Send>(
    lab: &Lab,
    load: impl FnOnce(&MemoryBudgetRef) -> linerate::error::Result<T> + Send,
    other: &LoadSpec,
) -> Result<(T, Vec<LoadOutcome>), Failed> {
    let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
    let ended = AtomicBool::new(false);
    let both = || {
        std::thread::scope(|scope| {
            let others = scope.spawn(|| {
                let mut outcomes = Vec::new();
                while outcomes.is_empty() || !ended.load(Ordering::Relaxed) {
                    outcomes.push(Load::run(other, &budget, &mut |_| {})?);
                }
                Ok::<_, linerate::error::Error>(outcomes)
            });
            let found = load(&budget);
            ended.store(true, Ordering::Relaxed);
            (found, others.join())
        })
    };
    let (found, others) = lab.generator.namespace.run(both)?;
    Ok((found?, others.map_err(|_| Failed::from("the other load panicked"))??))
}

type MemoryBudgetRef = std::sync::Arc<MemoryBudget>;

fn assert_exact(outcome: &LoadOutcome, sent: u64) {
    outcome.assert_conserved();
    let tally = &outcome.tally;
    assert_eq!((outcome.sent, tally.intact, outcome.lost), (sent, sent, 0), "{tally:?}");
    assert_eq!((tally.duplicated, tally.foreign, tally.forgotten), (0, 0, 0), "{tally:?}");
}

fn at_once() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let engine = engine(&lab)?;
    let plan = plan(&lab);
    let (one, others) = beside(&lab, |budget| Load::run(&plan, budget, &mut |_| {}), &plan)?;
    check_summary(&engine.stop());
    assert_exact(&one, FRAMES);
    others.iter().for_each(|other| assert_exact(other, FRAMES));
    // The first of the others ran for most of the same half second.
    assert!(one.tally.other_loads > 0 && others[0].tally.other_loads > 0);
    Ok(())
}

/// One load has its frames sent to nobody while the other one's are answered.
fn absent() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let engine = engine(&lab)?;
    let (mut into_the_void, other) = (plan(&lab), plan(&lab));
    into_the_void.destination = MacAddress([2, 0, 0, 0, 0, 0x77]);
    into_the_void.drain = Duration::from_millis(100);
    let load = |budget: &MemoryBudgetRef| Load::run(&into_the_void, budget, &mut |_| {});
    let (lost, others) = beside(&lab, load, &other)?;
    check_summary(&engine.stop());
    let tally = &lost.tally;
    assert_eq!((lost.sent, tally.returned(), lost.lost), (FRAMES, 0, FRAMES), "{tally:?}");
    assert!(tally.other_loads > 0 && tally.foreign == 0, "{tally:?}");
    others.iter().for_each(|other| assert_exact(other, FRAMES));
    Ok(())
}

fn beside_a_drain() -> Result<(), Failed> {
    const DRAINED: u64 = 1000;
    let lab = Lab::create(&LabConfig::default())?;
    let engine = engine(&lab)?;
    let bursts = config(&lab).bursts(20 * DRAINED);
    let drain = |budget: &MemoryBudgetRef| {
        let mut load = Load::open(&bursts, budget)?;
        let mut reports = Vec::new();
        for _ in 0..5 {
            engine.pause();
            let filled = load.fill(DRAINED)?;
            engine.resume();
            reports.push(filled.collect(Duration::from_secs(1))?);
        }
        Ok(reports)
    };
    let (reports, others) = beside(&lab, drain, &plan(&lab))?;
    check_summary(&engine.stop());
    for report in &reports {
        let tally = &report.tally;
        assert_eq!((report.sent, tally.intact, report.lost), (DRAINED, DRAINED, 0), "{tally:?}");
        assert_eq!((tally.duplicated, tally.foreign), (0, 0), "{tally:?}");
    }
    assert!(reports.iter().any(|report| report.tally.other_loads > 0));
    others.iter().for_each(|other| assert_exact(other, FRAMES));
    Ok(())
}
