use proptest::prelude::*;

use super::*;
use crate::stats::drops::DropReason;

/// What offered, minus all stages, minus returned intact leaves: zero, or the waterfall is wrong.
fn imbalance(waterfall: &Waterfall) -> i128 {
    let lost: i128 = waterfall.stages.iter().map(|stage| stage.frames).sum();
    i128::from(waterfall.offered) - lost - i128::from(waterfall.returned_intact)
}

fn kernel(packets: u64, drops: u64) -> KernelCounters {
    KernelCounters { packets, drops, ..KernelCounters::default() }
}

/// A thousand frames that all come back through an engine.
fn clean() -> RunCounts {
    RunCounts {
        generator: GeneratorCounts {
            offered: 1000,
            sent: 1000,
            kernel: Some(kernel(1000, 0)),
            tally: Tally { intact: 1000, ..Tally::default() },
            ..GeneratorCounts::default()
        },
        far: Some(InterfaceLosses::default()),
        engine: Some(EngineCounters {
            received: 1000,
            forwarded: 1000,
            kernel: kernel(1000, 0),
            ..EngineCounters::default()
        }),
        veth_pair: true,
        ..RunCounts::default()
    }
}

/// The stages that took frames: layer, name, how many.
fn losses(run: &RunCounts) -> Vec<(Layer, &'static str, i128)> {
    let waterfall = Waterfall::of(run);
    assert_eq!(imbalance(&waterfall), 0);
    let stages = waterfall.stages.iter().filter(|stage| stage.frames != 0);
    stages.map(|stage| (stage.layer, stage.name, stage.frames)).collect()
}

#[test]
fn a_clean_run_loses_nothing() {
    assert_eq!(losses(&clean()), []);
    assert!(Waterfall::of(&clean()).stages.iter().all(|stage| stage.left == 1000));
}

#[test]
fn each_loss_has_its_place() {
    let mut run = clean();
    run.generator.offered = 1107;
    run.generator.behind_schedule = 100;
    run.generator.refused = 7;
    run.engine = Some(EngineCounters {
        received: 960,
        forwarded: 950,
        kernel: kernel(990, 30),
        ..EngineCounters::default()
    });
    let engine = run.engine.as_mut().unwrap();
    engine.drops.add(DropReason::TxFull, 10);
    run.near.transmit_dropped = 10;
    run.far.as_mut().unwrap().transmit_dropped = 2;
    run.generator.kernel = Some(kernel(948, 8));
    (run.generator.tally.corrupted, run.generator.tally.intact) = (1, 939);
    let expected = [
        (Layer::Generator, "behind_schedule", 100),
        (Layer::Generator, "refused_by_kernel", 7),
        (Layer::GeneratorTransmit, "tx_dropped", 10),
        (Layer::EngineRing, "no_room", 30),
        (Layer::Engine, "tx_full", 10),
        (Layer::DeviceTransmit, "tx_dropped", 2),
        (Layer::GeneratorRing, "no_room", 8),
        (Layer::Verifier, "corrupted", 1),
    ];
    assert_eq!(losses(&run), expected);
}

/// 100 frames were lost between the generator's socket and the engine's.
fn lost_on_the_way_out(near: InterfaceLosses, far: InterfaceLosses, softnet: u64) -> RunCounts {
    let mut run = clean();
    run.generator.offered += 100;
    run.generator.sent += 100;
    (run.near, run.far, run.softnet_dropped) = (near, Some(far), softnet);
    run
}

#[test]
fn a_frame_that_three_counters_saw_dropped_is_lost_once() {
    let near = InterfaceLosses { transmit_dropped: 100, ..InterfaceLosses::default() };
    let far = InterfaceLosses { receive_dropped: 100, ..InterfaceLosses::default() };
    let backlog = lost_on_the_way_out(near, far, 100);
    assert_eq!(losses(&backlog), [(Layer::DeviceSoftnet, "backlog_full", 100)]);
    let mtu = lost_on_the_way_out(near, far, 0);
    assert_eq!(losses(&mtu), [(Layer::DeviceReceive, "refused_by_peer", 100)]);
    let ring = lost_on_the_way_out(near, InterfaceLosses::default(), 100);
    assert_eq!(losses(&ring), [(Layer::GeneratorTransmit, "tx_dropped", 100)]);
    // Others' losses on the same machine explain nothing here.
    let others = lost_on_the_way_out(near, far, 1_000_000);
    assert_eq!(losses(&others), [(Layer::DeviceSoftnet, "backlog_full", 100)]);
}

#[test]
fn on_hardware_the_two_ends_count_different_frames() {
    let near = InterfaceLosses { transmit_dropped: 30, ..InterfaceLosses::default() };
    let far =
        InterfaceLosses { receive_dropped: 40, receive_missed: 30, ..InterfaceLosses::default() };
    let run = RunCounts { veth_pair: false, ..lost_on_the_way_out(near, far, 5) };
    let expected = [
        (Layer::GeneratorTransmit, "tx_dropped", 30),
        (Layer::DeviceReceive, "rx_missed", 30),
        (Layer::DeviceSoftnet, "backlog_full", 5),
        (Layer::DeviceReceive, "rx_dropped", 35),
    ];
    assert_eq!(losses(&run), expected);
}

#[test]
fn a_counter_of_frames_that_arrived_all_the_same_explains_nothing() {
    let mut run = clean();
    run.far.as_mut().unwrap().receive_dropped = 1000;
    run.near.queue_dropped = 77;
    assert_eq!(losses(&run), []);
    let waterfall = Waterfall::of(&run);
    let counted = |name| waterfall.stages.iter().find(|stage| stage.name == name);
    assert_eq!(counted("rx_dropped").unwrap().counted, Some(1000));
    assert_eq!(counted("qdisc_dropped").unwrap().counted, Some(77));
}

#[test]
fn what_nobody_counted_is_said_with_its_place_and_sign() {
    let mut run = lost_on_the_way_out(InterfaceLosses::default(), InterfaceLosses::default(), 0);
    assert_eq!(losses(&run), [(Layer::DeviceReceive, Stage::UNEXPLAINED, 100)]);
    let engine = run.engine.as_mut().unwrap();
    (engine.kernel.packets, engine.received) = (1200, 1200);
    engine.drops.add(DropReason::OtherHost, 200);
    let expected =
        [(Layer::DeviceReceive, Stage::UNEXPLAINED, -100), (Layer::Engine, "other_host", 200)];
    assert_eq!(losses(&run), expected);
    assert_eq!(Waterfall::of(&run).unexplained, -100);
}

#[test]
fn copies_and_strangers_are_beside_the_sums() {
    let mut run = clean();
    run.engine = None;
    run.far = None;
    (run.generator.tally.duplicated, run.generator.tally.foreign) = (5, 6);
    run.generator.kernel = Some(kernel(1000 - 3 + 11, 0));
    run.generator.tally.intact = 997;
    assert_eq!(losses(&run), [(Layer::BeyondSight, "beyond_our_sight", 3)]);
}

#[test]
fn a_number_that_came_back_unreadable_is_foreign() {
    let mut run = clean();
    (run.generator.tally.foreign, run.generator.tally.intact) = (4, 996);
    assert_eq!(losses(&run), [(Layer::Verifier, "foreign", 4)]);
}

#[test]
fn a_foreign_device_is_one_stage_beyond_sight() {
    let mut run = clean();
    (run.engine, run.far, run.veth_pair) = (None, None, false);
    run.near.receive_missed = 10;
    run.generator.kernel = Some(kernel(900, 0));
    run.generator.tally.intact = 900;
    let expected =
        [(Layer::BeyondSight, "beyond_our_sight", 90), (Layer::GeneratorReceive, "rx_missed", 10)];
    assert_eq!(losses(&run), expected);
    run.far = Some(InterfaceLosses { receive_missed: 50, ..InterfaceLosses::default() });
    assert_eq!(losses(&run)[0], (Layer::DeviceReceive, "rx_missed", 50));
    run.generator.kernel = None;
    assert_eq!(losses(&run)[1], (Layer::BeyondSight, "beyond_our_sight", 40));
}

#[test]
fn it_goes_to_json_as_it_is() {
    let json = serde_json::to_value(Waterfall::of(&clean())).unwrap();
    assert_eq!((&json["offered"], &json["unexplained"]), (&1000.into(), &0.into()));
    assert_eq!(json["stages"][0]["layer"], "generator");
    assert_eq!(json["stages"][0]["left"], 1000);
}

fn interface() -> impl Strategy<Value = InterfaceLosses> {
    any::<[u64; 6]>().prop_map(|counts| InterfaceLosses {
        queue_dropped: counts[0],
        transmit_dropped: counts[1],
        transmit_errors: counts[2],
        receive_dropped: counts[3],
        receive_errors: counts[4],
        receive_missed: counts[5],
    })
}

fn engine() -> impl Strategy<Value = EngineCounters> {
    let drops = proptest::collection::vec(0..u64::MAX / 64, DropReason::ALL.len());
    (any::<[u64; 4]>(), drops).prop_map(|(counts, drops)| {
        let mut engine = EngineCounters {
            received: counts[0],
            forwarded: counts[1],
            kernel: kernel(counts[2], counts[3]),
            ..EngineCounters::default()
        };
        for (&reason, frames) in DropReason::ALL.iter().zip(drops) {
            engine.drops.add(reason, frames);
        }
        engine
    })
}

fn generator() -> impl Strategy<Value = GeneratorCounts> {
    (any::<[u64; 12]>(), any::<Option<[u64; 2]>>()).prop_map(|(counts, socket)| GeneratorCounts {
        offered: counts[0],
        behind_schedule: counts[1],
        refused: counts[2],
        sent: counts[3],
        kernel: socket.map(|[packets, drops]| kernel(packets, drops)),
        tally: Tally {
            malformed: counts[4],
            foreign: counts[5],
            duplicated: counts[6],
            forgotten: counts[7],
            corrupted: counts[8],
            not_transformed: counts[9],
            truncated: counts[10],
            intact: counts[11],
            ..Tally::default()
        },
    })
}

proptest! {
    #[test]
    fn any_counters_sum_exactly(
        generator in generator(),
        near in interface(),
        far in proptest::option::of(interface()),
        engine in proptest::option::of(engine()),
        veth_pair: bool,
        softnet_dropped: u64,
    ) {
        let run = RunCounts { generator, near, far, engine, veth_pair, softnet_dropped };
        let waterfall = Waterfall::of(&run);
        prop_assert_eq!(imbalance(&waterfall), 0);
        let mut left = i128::from(waterfall.offered);
        for stage in waterfall.stages {
            left -= stage.frames;
            prop_assert_eq!(stage.left, left);
            if !stage.is_unexplained() {
                prop_assert!(stage.frames >= 0, "{:?}", stage);
                prop_assert!(stage.counted.is_none_or(|most| stage.frames <= most.into()));
            }
        }
        prop_assert_eq!(left, i128::from(waterfall.returned_intact));
    }
}
