//! The arithmetic of hops: distributes a hop's loss over the counters that may explain it.

use super::stage::{Layer, Stage};

/// How far a counter can be trusted to count lost frames of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// What it counts is lost.
    Sure,
    /// It may also count foreign frames, or frames that arrived.
    Weak,
    /// No counter: takes what the counters leave of the hop's loss.
    Rest,
}

struct Candidate {
    layer: Layer,
    name: &'static str,
    counted: Option<u64>,
    evidence: Evidence,
    frames: i128,
}

/// A way in the making.
pub(super) struct Hops {
    /// Frames at the beginning of the present hop.
    at: i128,
    /// What may explain the losses of the present hop, in the order of the way.
    candidates: Vec<Candidate>,
    stages: Vec<Stage>,
}

impl Hops {
    /// The first hop, entered by `frames`.
    pub fn starting_with(frames: i128) -> Hops {
        Hops { at: frames, candidates: Vec::new(), stages: Vec::new() }
    }

    /// Something that may explain losses of the present hop.
    pub fn offer(
        &mut self,
        layer: Layer,
        name: &'static str,
        counted: Option<u64>,
        evidence: Evidence,
    ) {
        self.candidates.push(Candidate { layer, name, counted, evidence, frames: 0 });
    }

    /// Ends the hop at `layer`, which `frames` reached.
    pub fn reach(&mut self, frames: i128, layer: Layer) {
        let mut unexplained = self.at - frames;
        for evidence in [Evidence::Sure, Evidence::Weak, Evidence::Rest] {
            for candidate in self.candidates.iter_mut().filter(|one| one.evidence == evidence) {
                let most = candidate.counted.map_or(i128::MAX, i128::from);
                candidate.frames = unexplained.clamp(0, most);
                unexplained -= candidate.frames;
            }
        }
        for candidate in std::mem::take(&mut self.candidates) {
            let Candidate { layer, name, counted, frames, .. } = candidate;
            self.push(layer, name, frames, counted);
        }
        if unexplained != 0 {
            self.push(layer, Stage::UNEXPLAINED, unexplained, None);
        }
    }

    fn push(&mut self, layer: Layer, name: &'static str, frames: i128, counted: Option<u64>) {
        self.at -= frames;
        self.stages.push(Stage { layer, name, frames, counted, left: self.at });
    }

    /// All stages, in the order of the way.
    pub fn into_stages(self) -> Vec<Stage> {
        debug_assert!(self.candidates.is_empty(), "the last hop was not ended");
        self.stages
    }
}
