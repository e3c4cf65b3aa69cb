//! Searches over real paths: what runs the trials that [`super::search`] asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::search::burst::{BurstConfig, BurstMeasurer, BurstOutcome, BurstResult, longest_burst};
use super::search::goal::SearchConfig;
use super::search::loss_curve::{LossCurve, LossCurveConfig, LossPoint, loss_curve};
use super::search::result::SearchResult;
use super::search::run::search;
use super::search::trial::{Measurer, TrialOutcome, TrialRecord, VoidReason};
use super::testbed::Testbed;
use super::trial::{QUIET, load_config};
use crate::engine::config::{EngineConfig, PathName};
use crate::engine::pool::Engine;
use crate::error::Result;
use crate::load::generator::Generator;
use crate::load::plan::{Limits, LoadConfig};
use crate::ring::budget::MemoryBudget;
use crate::stats::latency::LatencySummary;
use crate::units::FrameSize;

/// What is searched over, beside the search's own parameters.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The path.
    pub path: PathName,
    /// The frames.
    pub size: FrameSize,
    /// CPUs of the generator and of the engine.
    pub cpus: (usize, usize),
    /// The cap on ring memory.
    pub ring_memory: Arc<MemoryBudget>,
    /// Ends everything early.
    pub stop: Arc<AtomicBool>,
}

/// A finished search over one path with one size.
#[derive(Debug)]
pub struct SearchRun {
    /// The path.
    pub path: PathName,
    /// The size.
    pub size: FrameSize,
    /// What the generator alone sends into a sink, in frames per second.
    pub sink_pps: f64,
    /// What was found.
    pub result: SearchResult,
    /// Response times at parts of the found rate: percent, load in frames per second, latencies.
    pub latencies: Vec<(u32, f64, LatencySummary)>,
    /// How long it took.
    pub elapsed: Duration,
}

/// A finished loss curve.
#[derive(Debug)]
pub struct CurveRun {
    /// The path.
    pub path: PathName,
    /// The size.
    pub size: FrameSize,
    /// The curve.
    pub curve: LossCurve,
}

/// Finished bursts.
#[derive(Debug)]
pub struct BurstRun {
    /// The path.
    pub path: PathName,
    /// The size.
    pub size: FrameSize,
    /// What was found.
    pub result: BurstResult,
}

/// Parts of the found rate, in percent, at which response times are taken (as FD.io CSIT does).
const LATENCY_PERCENTS: [u32; 3] = [10, 50, 90];
/// How long the generator's own ceiling is measured.
const SINK_TRIAL: Duration = Duration::from_millis(500);
