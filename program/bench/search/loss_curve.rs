//! The frame loss rate over the load (RFC 2544 section 26.3).
//!
//! The RFC walks down from the highest load and stops after two loads without loss; this walks up
//! and measures every step, because the rates and latencies below the knee are wanted too.

use std::time::Duration;

use serde::Serialize;

use super::device::{Device, Subject};
use super::result::{End, Halt, Progress, until_halted};
use super::trial::{Measurer, TrialOutcome};
use crate::bench::testbed::Testbed;
use crate::error::{Error, Result};
use crate::stats::spread::Spread;
use crate::stats::state::{Doubt, State};

/// What is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct LossCurveConfig {
    /// The load that counts as 100 %, in frames per second.
    pub max_load_pps: f64,
    /// The first load, in percent.
    pub first_percent: f64,
    /// From load to load, in percent; RFC 2544 allows at most 10. The last one is always 100 %.
    pub step_percent: f64,
    /// Trials at each load that must count.
    pub trials: usize,
    /// How long each of them lasts.
    pub trial_duration: Duration,
    /// How often a void trial is repeated.
    pub void_repeats: usize,
}

impl LossCurveConfig {
    /// From 10 % up to `max_load_pps` in steps of 10 %, one trial of 1 s each.
    pub fn up_to(max_load_pps: f64) -> LossCurveConfig {
        LossCurveConfig {
            max_load_pps,
            first_percent: 10.0,
            step_percent: 10.0,
            trials: 1,
            trial_duration: Duration::from_secs(1),
            void_repeats: 2,
        }
    }

    fn check(&self) -> Result<()> {
        let refuse = |what: &str| Err(Error::Usage(format!("loss curve: {what}")));
        if !(self.max_load_pps > 0.0 && self.max_load_pps.is_finite()) {
            return refuse("the load must be above zero");
        }
        let percent = PERCENT_MIN..=100.0;
        if !percent.contains(&self.first_percent) || !percent.contains(&self.step_percent) {
            return refuse("the first load and the step are from 0.1 to 100 %");
        }
        if self.trials == 0 || self.trial_duration.is_zero() {
            return refuse("there must be trials, and they must last");
        }
        Ok(())
    }

    /// How many loads the curve has.
    pub fn loads(&self) -> usize {
        self.percents().len()
    }

    /// The loads in percent, ascending, 100 last.
    fn percents(&self) -> Vec<f64> {
        let steps = ((100.0 - self.first_percent) / self.step_percent - 1e-9).max(0.0).ceil();
        let mut percents: Vec<f64> = (0..steps as usize)
            .map(|step| self.first_percent + step as f64 * self.step_percent)
            .collect();
        percents.push(100.0);
        percents
    }
}

/// The finest step; with it the curve has a thousand loads.
const PERCENT_MIN: f64 = 0.1;

/// A finished loss curve over one path with one size.
#[derive(Debug, Serialize)]
pub struct CurveRun {
    /// Over what. 100 % is what its generator alone sends into a sink.
    #[serde(flatten)]
    pub subject: Subject,
    /// The curve.
    #[serde(flatten)]
    pub curve: LossCurve,
}

/// Measures a loss curve, in the generator's namespace; `after_point` is told of each load.
pub fn run_curve(
    testbed: &Testbed,
    subject: &Subject,
    config: &LossCurveConfig,
    after_point: &mut dyn FnMut(&LossPoint),
) -> Result<CurveRun> {
    Device::serve(testbed, subject, |device| {
        let curve = loss_curve(device, config, after_point)?;
        Ok(CurveRun { subject: subject.clone(), curve })
    })
}

/// A curve.
#[derive(Clone, Debug, Serialize)]
pub struct LossCurve {
    /// Loads ascending.
    pub points: Vec<LossPoint>,
    /// Why it ended before 100 %, if it did.
    pub halted: Option<Halt>,
}

/// One load of the curve.
#[derive(Clone, Debug, Serialize)]
pub struct LossPoint {
    /// The load in percent of the highest.
    pub percent: f64,
    /// The load asked for, in frames per second.
    pub load_pps: f64,
    /// What the numbers are worth.
    pub state: State,
    /// Every trial, void ones included, in order.
    pub trials: Vec<TrialOutcome>,
    /// What the counting trials offered, in frames per second; `None` if all were void.
    pub offered_pps: Option<Spread>,
    /// What came back, in frames per second.
    pub forwarded_pps: Option<Spread>,
    /// Frame loss ratio, from 0 to 1.
    pub loss_ratio: Option<Spread>,
    /// Median latency in nanoseconds, where it was measured.
    pub response_p50_ns: Option<Spread>,
    /// 99th percentile in nanoseconds, where it was measured.
    pub response_p99_ns: Option<Spread>,
}

impl LossPoint {
    fn new(percent: f64, load_pps: f64, trials: Vec<TrialOutcome>) -> LossPoint {
        let counting: Vec<&TrialOutcome> =
            trials.iter().filter(|trial| trial.spoiled().is_none()).collect();
        let spread =
            |value: fn(&TrialOutcome) -> f64| Spread::of(counting.iter().map(|trial| value(trial)));
        let shares = counting.iter().map(|trial| trial.taken.share());
        let state = match Spread::of(shares) {
            Some(share) => State::of_share(share.median),
            None => State::CannotTell { reason: doubt(&trials) },
        };
        let latencies = || counting.iter().filter_map(|trial| trial.latency?.known());
        LossPoint {
            percent,
            load_pps,
            state,
            offered_pps: spread(|trial| trial.achieved_pps),
            forwarded_pps: spread(TrialOutcome::forwarding_pps),
            loss_ratio: spread(TrialOutcome::loss_ratio),
            response_p50_ns: Spread::of(latencies().map(|latency| latency.p50 as f64)),
            response_p99_ns: Spread::of(latencies().map(|latency| latency.p99 as f64)),
            trials,
        }
    }

    /// Whether the generator spoiled all trials: the device was not measured at this load.
    pub fn is_void(&self) -> bool {
        self.loss_ratio.is_none()
    }
}

/// Why trials that are all void tell nothing.
fn doubt(trials: &[TrialOutcome]) -> Doubt {
    let theft = trials.iter().filter_map(|trial| trial.spoiled()?.theft()).reduce(f64::max);
    theft.map_or(Doubt::GeneratorLimited, |share| Doubt::TimeTaken { share })
}

/// Measures a curve. A load whose trials stay void is kept as such, and the curve goes on.
pub fn loss_curve(
    measurer: &mut dyn Measurer,
    config: &LossCurveConfig,
    after_point: &mut dyn FnMut(&LossPoint),
) -> Result<LossCurve> {
    config.check()?;
    let mut points = Vec::new();
    let mut climb = || {
        for percent in config.percents() {
            let load_pps = config.max_load_pps * percent / 100.0;
            // The trials of a load cut short say less than those of the others.
            let trials = measure_load(measurer, config, load_pps)?;
            let point = LossPoint::new(percent, load_pps, trials);
            after_point(&point);
            points.push(point);
        }
        Ok(())
    };
    let halted = until_halted(climb())?;
    Ok(LossCurve { points, halted })
}

/// The trials at one load.
fn measure_load(
    measurer: &mut dyn Measurer,
    config: &LossCurveConfig,
    load_pps: f64,
) -> Progress<Vec<TrialOutcome>> {
    let mut trials: Vec<TrialOutcome> = Vec::new();
    let (mut counting, mut void, mut void_max) = (0, 0, config.void_repeats);
    while counting < config.trials && void <= void_max {
        if measurer.is_stopped() {
            return Err(End::Halt(Halt::Stopped));
        }
        let outcome = measurer.measure(load_pps, config.trial_duration)?;
        if measurer.is_stopped() {
            return Err(End::Halt(Halt::Stopped));
        }
        if let Some(reason) = outcome.spoiled() {
            void += 1;
            void_max = reason.repeats(config.void_repeats);
        } else {
            counting += 1;
        }
        trials.push(outcome);
    }
    Ok(trials)
}
