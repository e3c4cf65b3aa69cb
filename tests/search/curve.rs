//! The loss curve over synthetic devices.

use linerate::bench::search::loss_curve::{LossCurveConfig, loss_curve};
use linerate::bench::search::result::Halt;

use crate::devices::*;

#[test]
fn the_curve_knows_the_knee() {
    let mut bench = Bench::new(0, constant_rate(55_000.0));
    let config = LossCurveConfig { trials: 3, ..LossCurveConfig::up_to(100_000.0) };
    let curve = loss_curve(&mut bench, &config, &mut |_| {}).unwrap();
    let percents: Vec<f64> = curve.points.iter().map(|point| point.percent).collect();
    assert_eq!(percents, [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0]);
    for point in &curve.points {
        assert_eq!(point.trials.len(), 3);
        let (loss, rate) = (point.loss_ratio.unwrap(), point.forwarded_pps.unwrap());
        assert_eq!(loss.median > 0.0, point.load_pps > 55_000.0);
        assert!((rate.median - point.load_pps.min(55_000.0)).abs() < 1.0);
        assert_eq!(point.response_p50_ns.unwrap().median, 1000.0);
        assert_eq!(point.response_p99_ns.unwrap().max, 9000.0);
    }
}

#[test]
fn a_step_that_does_not_divide_still_ends_at_the_top() {
    let mut bench = Bench::new(0, constant_rate(1.0));
    let config = LossCurveConfig {
        first_percent: 25.0,
        step_percent: 40.0,
        ..LossCurveConfig::up_to(1000.0)
    };
    loss_curve(&mut bench, &config, &mut |_| {}).unwrap();
    assert_eq!(bench.offered, [250.0, 650.0, 1000.0]);
}

#[test]
fn loads_beyond_the_generator_are_void_and_the_rest_stands() {
    let mut bench = Bench::new(0, constant_rate(1e9));
    bench.ceiling_pps = 800.0;
    let mut seen = 0;
    let curve =
        loss_curve(&mut bench, &LossCurveConfig::up_to(1000.0), &mut |_| seen += 1).unwrap();
    let void: Vec<f64> =
        curve.points.iter().filter(|point| point.is_void()).map(|point| point.percent).collect();
    assert_eq!((void, seen), (vec![90.0, 100.0], 10));
    assert_eq!(curve.points[9].response_p50_ns, None);
    assert_eq!(curve.points[9].trials.len(), 3, "repeated before it is given up");
}

#[test]
fn a_stop_keeps_the_points_before_it_and_nonsense_is_refused() {
    let mut bench = Bench::new(0, constant_rate(1e9));
    bench.stop_after = 4;
    let curve = loss_curve(&mut bench, &LossCurveConfig::up_to(1000.0), &mut |_| {}).unwrap();
    assert_eq!((curve.points.len(), curve.halted), (3, Some(Halt::Stopped)));
    for bad in [
        LossCurveConfig::up_to(0.0),
        LossCurveConfig { step_percent: 0.0, ..LossCurveConfig::up_to(1.0) },
        LossCurveConfig { first_percent: f64::NAN, ..LossCurveConfig::up_to(1.0) },
        LossCurveConfig { trials: 0, ..LossCurveConfig::up_to(1.0) },
    ] {
        assert!(loss_curve(&mut bench, &bad, &mut |_| {}).is_err(), "{bad:?}");
    }
}
