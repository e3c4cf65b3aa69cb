use super::*;
use crate::bench::stress::phases::{PhaseName, PhaseSettings};
use crate::load::evidence::Damage;
use crate::load::rate::FrameRate;
use crate::stats::counters::Tally;
use crate::wire::ethernet::VlanTag;

/// A second at 10,000 frames a second, all back.
fn outcome() -> LoadOutcome {
    LoadOutcome {
        asked: FrameRate::new(10_000, 1),
        offered: 10_000,
        sent: 10_000,
        all_sent_bytes: 640_000,
        span_ns: 1_000_000_000,
        tally: Tally { intact: 10_000, ..Tally::default() },
        ..LoadOutcome::default()
    }
}

fn lost(frames: u64) -> LoadOutcome {
    let intact = 10_000 - frames;
    LoadOutcome { lost: frames, tally: Tally { intact, ..Tally::default() }, ..outcome() }
}

const STRICT: Tolerance = Tolerance { loss_ratio: 0.0, reordered: false };

fn judge_with(
    name: PhaseName,
    tolerance: Tolerance,
    outcome: &LoadOutcome,
    counters: &CounterSnapshot,
) -> Verdict {
    let settings = PhaseSettings {
        mtu: 1500,
        line_bits_per_second: None,
        rate: None,
        tag: VlanTag::customer(100, 0),
        tagless: None,
        eventless: None,
        far: true,
        flows: 64,
    };
    let phase = Phase::new(name, &settings);
    let expectation = Expectation::Uppercased;
    let given =
        Circumstances { phase: &phase, expectation, own_engine: false, tolerance, event: None };
    Verdict::of(&given, outcome, counters)
}

fn judge(name: PhaseName, outcome: &LoadOutcome) -> Verdict {
    judge_with(name, STRICT, outcome, &CounterSnapshot::default())
}

#[test]
fn what_is_intact_passes_without_a_word() {
    for name in PhaseName::ALL {
        let verdict = judge(name, &outcome());
        assert_eq!(verdict.conclusion, Conclusion::Pass);
        assert_eq!((verdict.faults, verdict.notes), (vec![], vec![]));
    }
}

#[test]
fn every_fault_is_named() {
    let found = LoadOutcome {
        lost: 5,
        tally: Tally {
            intact: 9985,
            corrupted: 4,
            not_transformed: 3,
            truncated: 3,
            duplicated: 2,
            reordered: 1,
            ..Tally::default()
        },
        reorder_extent_max: 7,
        damage: vec![Damage { sequence: 12, received_bytes: 60, first_offset: 50 }],
        ..outcome()
    };
    let verdict = judge(PhaseName::Sweep, &found);
    assert_eq!(verdict.conclusion, Conclusion::Fail);
    let said: Vec<String> = verdict.faults.iter().map(Fault::to_string).collect();
    assert_eq!(
        said,
        [
            "lost 5 (0.0500 %)",
            "corrupted 4, first at offset 50 of frame 12",
            "not transformed 3",
            "truncated 3",
            "duplicated 2",
            "reordered 1 (extent 7)",
        ]
    );
    // Flows may overtake each other.
    let verdict = judge(PhaseName::ManyFlows, &found);
    assert!(!verdict.faults.iter().any(|fault| matches!(fault, Fault::Reordered { .. })));
}

#[test]
fn losses_count_above_the_tolerance_and_without_our_own() {
    let lenient = Tolerance { loss_ratio: 0.001, ..STRICT };
    let counters = CounterSnapshot::default();
    let conclusion =
        |found: &LoadOutcome| judge_with(PhaseName::Sweep, lenient, found, &counters).conclusion;
    assert_eq!(conclusion(&lost(10)), Conclusion::Pass);
    assert_eq!(conclusion(&lost(11)), Conclusion::Fail);
    let mut own = lost(11);
    own.kernel.drops = 11;
    let verdict = judge(PhaseName::Sweep, &own);
    assert_eq!(verdict.conclusion, Conclusion::Pass);
    assert!(verdict.notes[0].contains("own ring"), "{:?}", verdict.notes);
}

#[test]
fn a_generator_that_was_late_fails_no_device_but_hides_no_wrong() {
    let late = LoadOutcome { offered: 12_000, unsent_late: 2000, ..lost(11) };
    let late = LoadOutcome { asked: FrameRate::new(12_000, 1), ..late };
    let verdict = judge(PhaseName::Sweep, &late);
    assert_eq!(verdict.conclusion, Conclusion::GeneratorLimited);
    assert!(verdict.notes[0].contains("not counted"), "{:?}", verdict.notes);
    let mut wrong = late.clone();
    (wrong.tally.intact, wrong.tally.truncated) = (wrong.tally.intact - 1, 1);
    assert_eq!(judge(PhaseName::Sweep, &wrong).conclusion, Conclusion::Fail);
    // A device that answers nothing at all is no victim of the generator.
    let dead = LoadOutcome { lost: 10_000, tally: Tally::default(), ..late };
    assert_eq!(judge(PhaseName::Sweep, &dead).conclusion, Conclusion::Fail);
    let nothing = LoadOutcome { sent: 0, lost: 0, unsent_late: 12_000, ..dead };
    assert_eq!(judge(PhaseName::Sweep, &nothing).faults, [Fault::NothingSent]);
}

#[test]
fn payloads_that_do_not_change_are_explained() {
    let explained = |verdict: &Verdict| {
        verdict.notes.iter().any(|note| note.contains("--echo-unchanged unlimited"))
    };
    assert!(explained(&judge(PhaseName::Zeros, &lost(9990))));
    assert!(!explained(&judge(PhaseName::Zeros, &lost(10))));
    assert!(!explained(&judge(PhaseName::Sweep, &lost(9990))));
    assert!(explained(&judge(PhaseName::Random, &lost(2))));
    assert!(!explained(&judge(PhaseName::Random, &lost(500))));
}

#[test]
fn error_counters_fail_and_others_are_shown() {
    let mut counters = CounterSnapshot::default();
    counters.near.name = "eth1".into();
    counters.near.driver.0.push(("rx_queue_0_drops".into(), 4));
    counters.near.driver.0.push(("rx_queue_0_packets".into(), 10_000));
    counters.near.link.receive_missed = 2;
    let verdict = judge_with(PhaseName::Sweep, STRICT, &outcome(), &counters);
    assert_eq!(verdict.conclusion, Conclusion::Pass);
    assert_eq!(verdict.notes, ["eth1 rx_missed_errors +2", "eth1 rx_queue_0_drops (driver) +4"]);
    counters.near.link.receive_crc_errors = 3;
    let verdict = judge_with(PhaseName::Sweep, STRICT, &outcome(), &counters);
    assert_eq!(verdict.conclusion, Conclusion::Fail);
    assert_eq!(verdict.faults[0].to_string(), "eth1 rx_crc_errors +3");
}

#[test]
fn sizes_that_were_not_reached_are_said() {
    let few = LoadOutcome {
        offered: 1000,
        sent: 1000,
        asked: FrameRate::new(1000, 1),
        tally: Tally { intact: 1000, ..Tally::default() },
        ..outcome()
    };
    assert!(judge(PhaseName::Sweep, &few).notes[0].contains("only 1000 of 1455 sizes"));
    assert_eq!(judge(PhaseName::SmallBursts, &few).notes, [""; 0]);
}
