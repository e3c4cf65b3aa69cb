//! One path's turn: an engine of its own, flooded, drained, and asked one frame at a time.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::testbed::Testbed;
use crate::engine::config::{EngineConfig, PathName};
use crate::engine::names::RxName;
use crate::engine::pool::Engine;
use crate::engine::turn::LatencyMode;
use crate::error::{Error, Result};
use crate::load::generator::Generator;
use crate::load::plan::{Limits, LoadConfig, Sizes};
use crate::load::report::LoadReport;
use crate::ring::budget::MemoryBudget;
use crate::stats::counters::EngineCounters;
use crate::stats::latency::Latency;
use crate::sys::clock;
use crate::sys::packet::RingVersion;
use crate::units::FrameSize;
use crate::wire::ethernet::MacAddress;

/// How a trial is run.
#[derive(Clone, Debug)]
pub struct TrialPlan {
    /// The path.
    pub path: PathName,
    /// The frames.
    pub size: FrameSize,
    /// How long the flood lasts.
    pub flood: Duration,
    /// How long single frames are exchanged.
    pub round_trips: Duration,
    /// CPU of the generator.
    pub generator_cpu: usize,
    /// CPU of the engine.
    pub engine_cpu: usize,
    /// Of which frames the engine keeps the latency.
    pub latency: LatencyMode,
    /// Ends the sending early.
    pub stop: Arc<AtomicBool>,
}

/// What a trial found.
#[derive(Debug)]
pub struct Trial {
    /// As fast as the generator can.
    pub flood: LoadReport,
    /// What the engine's socket and rings held while it was paused, echoed with the generator
    /// silent.
    pub drain: LoadReport,
    /// One frame at a time.
    pub round_trips: LoadReport,
    /// The engine's CPU time during the flood and its end, in nanoseconds for each echo.
    pub cpu_ns_per_frame: f64,
    /// What the engine did in all three parts.
    pub engine: EngineCounters,
    /// The engine's own latencies.
    pub engine_latency: Option<Latency>,
}

impl Trial {
    /// Whether the engine kept up with the flood, so that its rate is the generator's.
    pub fn is_generator_limited(&self) -> bool {
        self.flood.loss_ratio() < GENERATOR_LIMITED_LOSS
    }
}

/// With less loss than this at flood the engine kept up.
pub const GENERATOR_LIMITED_LOSS: f64 = 0.01;
/// Frames that warm caches, page tables and the frequency governor before the flood counts.
const WARM_UP: Duration = Duration::from_millis(50);
/// Longer than any block waits for its retire timeout.
const SETTLE: Duration = Duration::from_millis(10);
/// Nothing came for so long: what is not back is lost.
pub(super) const QUIET: Duration = Duration::from_millis(100);

/// Runs one trial. The calling thread becomes the generator: it must be in the generator's network
/// namespace, and is pinned to the generator's CPU.
pub fn run(testbed: &Testbed, plan: &TrialPlan, budget: &Arc<MemoryBudget>) -> Result<Trial> {
    let config = EngineConfig {
        namespace: Some(testbed.engine.namespace.clone()),
        path: plan.path,
        cpus: vec![plan.engine_cpu],
        latency: plan.latency,
        ring_memory: Arc::clone(budget),
        force: testbed.force,
        ..EngineConfig::new(&testbed.engine.link.name)
    };
    let engine = Engine::start(&config)?;
    let drain_frames = drain_frames(plan.path, plan.size);
    let mut load = load_config(testbed, plan);
    load.hold_unread(drain_frames);
    let mut generator = Generator::open(&load, budget)?;
    generator.flood(Limits::lasting(WARM_UP))?;
    let cpu_before = engine.cpu_ns();
    let flood = generator.flood(Limits::lasting(plan.flood))?;
    let cpu_ns = engine.cpu_ns().saturating_sub(cpu_before);
    let echoed = (flood.tally.returned() + flood.kernel.drops).max(1);
    engine.pause();
    generator.send_burst(drain_frames)?;
    clock::sleep(SETTLE);
    engine.resume();
    let drain = generator.collect(QUIET)?;
    drop(generator);
    // A frame alone in a V3 block would wait for the generator's own retire timeout.
    load.version = RingVersion::V2;
    load.receive = Default::default();
    let mut generator = Generator::open(&load, budget)?;
    let round_trips = generator.ping_pong(Limits::lasting(plan.round_trips))?;
    drop(generator);
    let summary = engine.stop();
    if let Some(failure) = summary.failures.first() {
        return Err(Error::Run(format!("--path {}: {failure}", plan.path)));
    }
    let unexplained = summary.counters.unexplained(0);
    if unexplained != 0 {
        return Err(Error::Run(format!(
            "--path {}: the engine lost sight of {unexplained} frames: please report it",
            plan.path
        )));
    }
    Ok(Trial {
        flood,
        drain,
        round_trips,
        cpu_ns_per_frame: cpu_ns as f64 / echoed as f64,
        engine: summary.counters,
        engine_latency: summary.latency,
    })
}

fn load_config(testbed: &Testbed, plan: &TrialPlan) -> LoadConfig {
    let mut load = frames_for(testbed, plan.size, plan.generator_cpu, &plan.stop);
    load.quiet = QUIET;
    load
}

/// Frames of one size from the generator to the engine, by a thread on `cpu`.
pub(super) fn frames_for(
    testbed: &Testbed,
    size: FrameSize,
    cpu: usize,
    stop: &Arc<AtomicBool>,
) -> LoadConfig {
    let here = &testbed.generator.link;
    let there = MacAddress(testbed.engine.link.mac);
    let mut load = LoadConfig::new(here.index, here.mtu as usize, MacAddress(here.mac), there);
    load.sizes = Sizes::Fixed(size);
    load.cpu = Some(cpu);
    load.stop = Arc::clone(stop);
    load
}

/// Frames that fill most of what a path holds while nobody empties it, with the default geometry:
/// V3 blocks pack frames, V2 has a slot for each, and the kernel charges a socket's buffer with
/// each frame's `truesize`.
fn drain_frames(path: PathName, size: FrameSize) -> u64 {
    let bytes = size.socket_bytes();
    let (room, each) = match path.rx {
        RxName::V3 => (3 << 20, bytes + 96),
        RxName::V2 => (3 << 20, (bytes + 80).next_power_of_two().max(2048)),
        RxName::Recv | RxName::Recvmsg | RxName::Mmsg => {
            (6 << 20, (bytes + 576).next_power_of_two().max(1024))
        }
        // A UMEM of 2048 frames or more.
        RxName::Xsk => (3 << 20, 2048),
    };
    ((room / each) as u64).clamp(64, DRAIN_FRAMES_MAX)
}

/// Enough for a rate to settle.
const DRAIN_FRAMES_MAX: u64 = 8000;
