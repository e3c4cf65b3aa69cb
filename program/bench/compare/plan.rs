//! What is compared, and the engines and frames that follow from it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::device::Device;
use super::observation::LoadKind;
use crate::bench::ab::Ab;
use crate::bench::contestant::Contestant;
use crate::bench::testbed::Testbed;
use crate::engine::config::EngineConfig;
use crate::engine::names::RxName;
use crate::engine::pool::Engine;
use crate::engine::turn::LatencyMode;
use crate::error::Result;
use crate::load::choice::TxChoice;
use crate::load::plan::{LoadSpec, Sizes};
use crate::ring::budget::MemoryBudget;
use crate::ring::geometry::GeometryChoice;
use crate::stats::slices::SLICES_MIN;
use crate::units::FrameSize;

/// What is compared.
#[derive(Clone, Debug)]
pub struct ComparePlan {
    /// Who takes part, in the order of the tables.
    pub contestants: Vec<Contestant>,
    /// The arms, where these are what takes part.
    pub ab: Option<Arc<Ab>>,
    /// The frame sizes.
    pub sizes: Vec<FrameSize>,
    /// The loads.
    pub loads: Vec<LoadKind>,
    /// Rounds of each size and load; `None` for as many as it takes, up to the last of
    /// [`LOOKS`](crate::stats::best_set::LOOKS).
    pub rounds: Option<usize>,
    /// When no further round begins; what was measured stands.
    pub max_time: Duration,
    /// How long a load lasts that has no end of its own.
    pub duration: Duration,
    /// The generator's TX half; `None` for the best. A drain is filled by a TX ring.
    pub tx: Option<TxChoice>,
    /// CPUs of the generator and of the engine.
    pub cpus: (usize, usize),
    /// Of which frames engines keep the latency.
    pub latency: LatencyMode,
    /// The cap on ring memory, for generators and engines together.
    pub ring_memory: Arc<MemoryBudget>,
    /// Set it from another thread to end early, with what there is.
    pub stop: Arc<AtomicBool>,
}

impl ComparePlan {
    /// The engine of `contestant` at the testbed's far end, with a worker on each of `cpus`.
    pub(super) fn engine(
        &self,
        contestant: Contestant,
        testbed: &Testbed,
        cpus: &[usize],
    ) -> Result<EngineConfig> {
        Ok(EngineConfig {
            latency: self.latency,
            ring_memory: Arc::clone(&self.ring_memory),
            ..match (&self.ab, contestant.as_arm()) {
                (Some(ab), Some(arm)) => ab.engine(arm, testbed, cpus),
                _ => contestant.engine_config(testbed, cpus)?,
            }
        })
    }

    /// What answers in the seat of `contestant`.
    pub(super) fn device(
        &self,
        contestant: Contestant,
        testbed: &Testbed,
        config: &EngineConfig,
    ) -> Result<Device> {
        let program = match (&self.ab, contestant.as_arm()) {
            (Some(ab), Some(arm)) => ab.start_program(arm, testbed, self.cpus.1)?,
            _ => None,
        };
        match program {
            Some(program) => Device::program(program),
            None => Ok(Device::Own(Box::new(Engine::start(config)?))),
        }
    }

    /// Frames of this size from the generator to the engine.
    pub(super) fn frames(&self, testbed: &Testbed, size: FrameSize) -> LoadSpec {
        testbed.frames(Sizes::Fixed(size), &self.stop)
    }

    /// Whether a BPF program sends frames to the generator, which must poll then.
    pub fn takes_programs(&self) -> bool {
        self.contestants.iter().any(Contestant::sends_by_program)
    }

    /// How many seats a comparison has at most: the baseline's is there twice.
    pub fn seats(&self) -> usize {
        self.contestants.len() + usize::from(self.contestants.len() > 1)
    }
}

/// Longer than any block waits for its retire timeout.
pub(super) const SETTLE: Duration = Duration::from_millis(10);

/// Frames that fill most of what an engine's socket or ring holds while nobody empties it: V3 blocks
/// pack frames, V2 has a slot for each, and the kernel charges a socket's buffer with each frame's
/// `truesize`.
pub fn drain_frames(config: &EngineConfig, size: FrameSize) -> u64 {
    let bytes = size.socket_bytes();
    let GeometryChoice { block_bytes, blocks, slots, .. } = config.receive_ring;
    // Three quarters of it; by default it has 4 MiB.
    let ring = block_bytes.zip(blocks).map_or(3 << 20, |(bytes, count)| bytes * count / 4 * 3);
    let (room, each) = match (config.path.rx, slots) {
        (RxName::V3, _) => (ring, bytes + V3_HEADERS_BYTES),
        (RxName::V2, Some(slots)) => (slots / 4 * 3, 1),
        (RxName::V2, None) => (ring, (bytes + 80).next_power_of_two().max(2048)),
        (RxName::Recv | RxName::Recvmsg | RxName::Mmsg, _) => {
            (6 << 20, (bytes + 576).next_power_of_two().max(1024))
        }
        // A UMEM of 2048 frames or more.
        (RxName::Xsk, _) => (3 << 20, 2048),
    };
    // With large blocks it takes more of them, for enough slices of whole blocks.
    let most = DRAIN_FRAMES.max((SLICES_MIN + 2) * batch_frames(config, size));
    (room / each).clamp(64, most) as u64
}

/// Frames that the engine takes at once when many wait: a slice of work is a multiple of them.
pub(super) fn batch_frames(config: &EngineConfig, size: FrameSize) -> usize {
    match config.path.rx {
        RxName::V3 => {
            let block_bytes = config.receive_ring.block_bytes.unwrap_or(128 << 10);
            (block_bytes / (size.socket_bytes() + V3_HEADERS_BYTES)).max(1)
        }
        RxName::V2 | RxName::Mmsg | RxName::Xsk => config.batch,
        RxName::Recv | RxName::Recvmsg => 1,
    }
}

/// What a frame takes in a V3 block beside its bytes.
const V3_HEADERS_BYTES: usize = 96;

/// Enough for a rate to settle, by slices of some batches, and no more than takes some 10 ms.
const DRAIN_FRAMES: usize = 3000;
