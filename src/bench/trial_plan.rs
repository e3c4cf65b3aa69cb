//! What is asked of a trial, and the frames and bursts that follow from it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::compare::observation::LoadKind;
use super::contestant::Contestant;
use super::own_engine::failure;
use super::testbed::Testbed;
use crate::engine::config::EngineConfig;
use crate::engine::names::RxName;
use crate::engine::pool::EngineSummary;
use crate::engine::turn::LatencyMode;
use crate::error::Result;
use crate::load::plan::{LoadSpec, Sizes};
use crate::load::tx::TxChoice;
use crate::ring::budget::MemoryBudget;
use crate::ring::geometry::GeometryChoice;
use crate::units::FrameSize;
use crate::wire::ethernet::MacAddress;

/// How a trial is run.
#[derive(Clone, Debug)]
pub struct TrialPlan {
    /// Whose turn it is.
    pub contestant: Contestant,
    /// The frames.
    pub size: FrameSize,
    /// The loads, in the order of [`LoadKind`].
    pub loads: Vec<LoadKind>,
    /// How long each of them lasts that has no end of its own.
    pub duration: Duration,
    /// The generator's TX half; `None` for the best. A drain is filled by a TX ring.
    pub tx: Option<TxChoice>,
    /// CPUs of the generator and of the engine.
    pub cpus: (usize, usize),
    /// Of which frames the engine keeps the latency.
    pub latency: LatencyMode,
    /// The cap on ring memory.
    pub ring_memory: Arc<MemoryBudget>,
    /// Ends the sending early.
    pub stop: Arc<AtomicBool>,
}

/// Longer than any block waits for its retire timeout.
pub(super) const SETTLE: Duration = Duration::from_millis(10);
/// After this time without an echo, what is not back is lost.
pub(super) const QUIET: Duration = Duration::from_millis(100);

impl TrialPlan {
    /// The engine that is put under load, with a worker on each of `cpus`.
    pub(super) fn engine_config(&self, testbed: &Testbed, cpus: &[usize]) -> Result<EngineConfig> {
        Ok(EngineConfig {
            latency: self.latency,
            ring_memory: Arc::clone(&self.ring_memory),
            ..self.contestant.engine_config(testbed, cpus)?
        })
    }

    /// The frames that it gets.
    pub(super) fn frames(&self, testbed: &Testbed) -> LoadSpec {
        frames_for(testbed, Sizes::Fixed(self.size), &self.stop)
    }

    /// Bursts of up to `frames` of these from `cpu`, which is the calling thread's from then on.
    pub(super) fn bursts(&self, testbed: &Testbed, frames: u64, cpu: usize) -> LoadSpec {
        LoadSpec { cpus: vec![cpu], ..self.frames(testbed).bursts(frames) }
    }

    /// The engine's own account, unless it lost sight of frames.
    pub(super) fn account(&self, summary: EngineSummary) -> Result<EngineSummary> {
        match failure(self.contestant, &summary) {
            None => Ok(summary),
            Some(failure) => Err(failure),
        }
    }
}

/// Frames of these sizes from the generator to the engine.
pub(super) fn frames_for(testbed: &Testbed, sizes: Sizes, stop: &Arc<AtomicBool>) -> LoadSpec {
    let here = &testbed.generator.link;
    let there = MacAddress(testbed.engine.link.mac);
    let mut load = LoadSpec::new(here.index, here.mtu as usize, MacAddress(here.mac), there);
    load.sizes = sizes;
    load.stop = Arc::clone(stop);
    load
}

/// Frames that fill most of what an engine's socket or ring holds while nobody empties it: V3 blocks
/// pack frames, V2 has a slot for each, and the kernel charges a socket's buffer with each frame's
/// `truesize`.
pub(super) fn drain_frames(config: &EngineConfig, size: FrameSize) -> u64 {
    let bytes = size.socket_bytes();
    let GeometryChoice { block_bytes, blocks, slots, .. } = config.receive_ring;
    // Three quarters of it; by default it has 4 MiB.
    let ring = block_bytes.zip(blocks).map_or(3 << 20, |(bytes, count)| bytes * count / 4 * 3);
    let (room, each) = match (config.path.rx, slots) {
        (RxName::V3, _) => (ring, bytes + 96),
        (RxName::V2, Some(slots)) => (slots / 4 * 3, 1),
        (RxName::V2, None) => (ring, (bytes + 80).next_power_of_two().max(2048)),
        (RxName::Recv | RxName::Recvmsg | RxName::Mmsg, _) => {
            (6 << 20, (bytes + 576).next_power_of_two().max(1024))
        }
        // A UMEM of 2048 frames or more.
        (RxName::Xsk, _) => (3 << 20, 2048),
    };
    ((room / each) as u64).clamp(64, DRAIN_FRAMES_MAX)
}

/// Enough for a rate to settle.
const DRAIN_FRAMES_MAX: u64 = 8000;
