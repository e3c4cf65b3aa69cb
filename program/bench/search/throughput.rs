//! A search over a real path, and response times at parts of the rate that it found.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::controller::search;
use super::device::{Device, Subject};
use super::goal::SearchConfig;
use super::result::SearchResult;
use super::trial::{Measurer, TrialOutcome, TrialRecord, VoidReason};
use crate::bench::testbed::Testbed;
use crate::error::Result;
use crate::stats::latency::LatencySummary;
use crate::stats::state::State;
use crate::units::as_seconds;

/// A finished search over one path with one size.
#[derive(Debug, Serialize)]
pub struct SearchRun {
    /// Over what.
    #[serde(flatten)]
    pub subject: Subject,
    /// Which repetition of the whole it is, from 1.
    pub repetition: usize,
    /// What was found.
    #[serde(flatten)]
    pub result: SearchResult,
    /// Response times at parts of the found rate.
    #[serde(rename = "latency")]
    pub latencies: Vec<LatencyPoint>,
    /// How long it took.
    #[serde(rename = "elapsed_s", serialize_with = "as_seconds")]
    pub elapsed: Duration,
}

/// Response times at a part of the found rate.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyPoint {
    /// The part, in percent.
    pub percent: u32,
    /// The load, in frames per second.
    pub load_pps: f64,
    /// Response times.
    #[serde(rename = "response_ns")]
    pub latency: LatencySummary,
    /// How the generator spoiled the trial, if it did.
    pub void: Option<VoidReason>,
    /// What the times are worth.
    pub state: State,
}

/// The lowest load that a search tries, in frames per second.
pub const MIN_LOAD_PPS: f64 = 1000.0;

/// Parts of the found rate, in percent, at which response times are taken (as FD.io CSIT does).
const LATENCY_PERCENTS: [u32; 3] = [10, 50, 90];
/// How long response times are taken at each part of the rate, at most.
const LATENCY_TRIAL: Duration = Duration::from_secs(1);
/// What a trial takes beside its duration: rings made and unmade, warm-up, stragglers.
const TRIAL_OVERHEAD: Duration = Duration::from_millis(200);

/// Searches, in the generator's namespace; `after_trial` is told of each trial.
///
/// The time limit of `config` covers the search and the response times after it.
pub fn run_search(
    testbed: &Testbed,
    subject: &Subject,
    mut config: SearchConfig,
    after_trial: &mut dyn FnMut(&TrialRecord),
) -> Result<SearchRun> {
    let began = Instant::now();
    let longest = config.goals.iter().map(|goal| goal.final_trial_duration).max();
    let latency_trial = LATENCY_TRIAL.min(longest.unwrap_or(LATENCY_TRIAL));
    let latencies_take = (latency_trial + TRIAL_OVERHEAD) * LATENCY_PERCENTS.len() as u32;
    config.max_duration -= latencies_take.min(config.max_duration / 2);
    subject.limit(&mut config);
    Device::serve(testbed, subject, |device| {
        let result = search(device, &config, after_trial)?;
        let found = result.goals.first().and_then(|goal| goal.lower_bound_pps);
        let latencies = match found {
            Some(found_pps) => response_times(device, found_pps, latency_trial)?,
            None => Vec::new(),
        };
        let (subject, elapsed) = (subject.clone(), began.elapsed());
        Ok(SearchRun { subject, repetition: 1, result, latencies, elapsed })
    })
}

/// Response times at parts of the found rate, until stopped.
fn response_times(
    device: &mut Device<'_>,
    found_pps: f64,
    duration: Duration,
) -> Result<Vec<LatencyPoint>> {
    let mut latencies = Vec::new();
    for percent in LATENCY_PERCENTS {
        if device.is_stopped() {
            break;
        }
        let load_pps = found_pps * f64::from(percent) / 100.0;
        let TrialOutcome { latency, void, taken, .. } = device.measure(load_pps, duration)?;
        if let Some(latency) = latency.filter(|_| !device.is_stopped()) {
            let state = taken.state();
            latencies.push(LatencyPoint { percent, load_pps, latency, void, state });
        }
    }
    Ok(latencies)
}
