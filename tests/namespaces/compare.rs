//! Comparisons on a machine that is not at its best: an engine that is lost on the way, and CPUs that are taken
//! away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed};
use linerate::bench::compare::observation::{LoadKind, Metric};
use linerate::bench::compare::plan::ComparePlan;
use linerate::bench::compare::result::Comparison;
use linerate::bench::compare::run::{self, Step};
use linerate::bench::contestant::Contestants;
use linerate::bench::testbed::Testbed;
use linerate::engine::turn::LatencyMode;
use linerate::lab::LabConfig;
use linerate::ring::budget::MemoryBudget;
use linerate::stats::best_set::LOOKS;
use linerate::sys::cpus::{choose_cpus, pin};
use linerate::sys::link::Links;
use linerate::units::FrameSize;

use crate::check::{Test, possible_test, test};
use crate::slow_queue::slow_down_end;
use crate::spoiled::unless_spoiled;

pub fn tests() -> Vec<Test> {
    vec![
        test("compare: an engine that is lost is named, and the others go on", engine_is_lost),
        possible_test("compare: late frames of one turn are in no other", stragglers),
        test("compare: half of both CPUs is taken away, and no verdict is reversed", robbed),
    ]
}

fn plan(paths: &str, rounds: usize) -> Result<ComparePlan, Failed> {
    let Contestants(contestants) = paths.parse()?;
    let cpus = choose_cpus(&[])?;
    Ok(ComparePlan {
        contestants,
        ab: None,
        sizes: vec![FrameSize::smallest()],
        loads: vec![LoadKind::Drain],
        rounds: Some(rounds),
        max_time: Duration::from_secs(300),
        duration: Duration::from_millis(20),
        tx: None,
        cpus: (cpus[0], cpus[1 % cpus.len()]),
        latency: LatencyMode::On,
        ring_memory: MemoryBudget::new(MemoryBudget::DEFAULT_BYTES),
        stop: Arc::default(),
    })
}

fn compare(
    paths: &str,
    rounds: usize,
    after_round: &mut (dyn FnMut(&[Testbed], Step) + Send),
) -> Result<Comparison, Failed> {
    let plan = plan(paths, rounds)?;
    let lab = |_| Testbed::lab_with(FrameSize::smallest(), LabConfig::default());
    let testbeds = (0..plan.seats()).map(lab).collect::<Result<Vec<_>, _>>()?;
    Ok(run::run(&testbeds, &plan, &mut |step| after_round(&testbeds, step))?)
}

/// Contestants take turns on one link, whose queue is emptied long after a load has ended.
fn stragglers() -> Result<Completion, Failed> {
    let mut has_queue = true;
    unless_spoiled(|| {
        let testbed = Testbed::lab_with(FrameSize::smallest(), LabConfig::default())?;
        // 333 frames a second of those that fill a TX ring.
        has_queue = slow_down_end(&testbed.engine, 20_000, 1 << 20)?;
        let mut plan = plan("ring,ring-mmsg", 2)?;
        (plan.loads, plan.duration) = (vec![LoadKind::Flood], Duration::from_millis(50));
        let found = run::run(&[testbed], &plan, &mut |_| {})?;
        for round in found.series[0].rounds.iter().flatten() {
            let others = round.observation.tally.other_loads;
            assert_eq!(others, 0, "{:?}", found.series[0].rounds);
        }
        Ok(())
    })?;
    Ok(match has_queue {
        true => Completion::Completed,
        false => Completion::ignored_with("this kernel has no tbf"),
    })
}

fn engine_is_lost() -> Result<(), Failed> {
    let mut links = None;
    let found = compare("syscall,ring-v2,ring", 12, &mut |testbeds, step| {
        let engine = &testbeds[1].engine;
        let links = links.get_or_insert_with(|| Links::open_in(&engine.namespace).unwrap());
        if step.rounds == 5 {
            links.delete(engine.link.index).unwrap();
        }
    })?;
    let rounds: Vec<usize> = found.series[0].rounds.iter().map(Vec::len).collect();
    assert_eq!(rounds, [12, 5, 12, 12]);
    let lost: Vec<String> = found.excluded.iter().map(|one| one.contestant.to_string()).collect();
    assert_eq!(lost, ["ring-v2"], "{:?}", found.excluded);
    assert!(found.excluded[0].reason.contains("deleted"), "{:?}", found.excluded);
    assert!(found.broken.is_none() && !found.interrupted);
    Ok(())
}

/// Takes half of a CPU in pieces of 2 ms while `goes_on`.
fn thief(cpu: usize, goes_on: &AtomicBool) {
    const PIECE: Duration = Duration::from_millis(2);
    pin(cpu).unwrap();
    while goes_on.load(Ordering::Relaxed) {
        let begin = Instant::now();
        while begin.elapsed() < PIECE {
            std::hint::spin_loop();
        }
        std::thread::sleep(PIECE);
    }
}

fn robbed() -> Result<(), Failed> {
    let ratio = |found: &Comparison| {
        let finding = found.finding(&found.series[0], 1, Metric::Rate).expect("a rate");
        let told = finding.ratio_to_baseline.filter(|_| finding.state.tells());
        (finding.state, told.map(|ratio| ratio.estimate))
    };
    let goes_on = AtomicBool::new(true);
    let found = std::thread::scope(|scope| {
        for cpu in choose_cpus(&[])?.into_iter().take(2) {
            scope.spawn({
                let goes_on = &goes_on;
                move || thief(cpu, goes_on)
            });
        }
        let found = compare("syscall,ring-v2", LOOKS[0], &mut |_, _| {});
        goes_on.store(false, Ordering::Relaxed);
        found
    })?;
    let share = found.series[0].taken(1).share();
    assert!(share > 0.1, "the thieves took {share:.2}");
    let (state, told) = ratio(&found);
    // Here the ring is between two and four times as fast, whatever the machine.
    assert!(told.is_none_or(|ratio| (1.5..6.0).contains(&ratio)), "{told:?} {state:?}");
    assert_ne!(
        state,
        linerate::stats::state::State::Clear,
        "it was measured through a disturbance"
    );
    Ok(())
}
