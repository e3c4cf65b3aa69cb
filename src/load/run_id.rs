//! What tells the frames of one load from those of all others.

use std::hash::{BuildHasher, RandomState};

use crate::wire::probe::{Probe, RUN_MAX, SEQUENCE_BITS, SEQUENCE_MAX};

/// Frames of one load at most: each has a sequence of its own. 82 hours at 14.88 million a second.
pub const FRAMES_MAX: u64 = 1 << SEQUENCE_BITS;

/// A load's own part of the probe's numbers, random for each load.
///
/// The run has 12 bits. Frame 0 has a random sequence of 42 bits, the others follow it, modulo 2^42.
/// A frame of another load passes as one's own only if both runs are equal and its sequence is one of
/// those that were sent and are remembered. Among two loads of a million frames each that happens once
/// in 10^10 pairs; of loads that never end, once in 4 million ([`AGE_MAX`](super::verify::AGE_MAX)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId {
    run: u16,
    first: u64,
}

impl RunId {
    /// The id with this run; frame number 0 has the sequence `first`.
    pub const fn new(run: u16, first: u64) -> RunId {
        RunId { run: run & RUN_MAX, first: first & SEQUENCE_MAX }
    }

    /// An id that no other load has.
    pub fn random() -> RunId {
        // Each `RandomState` has keys of its own, which come from the system's random numbers.
        let random = RandomState::new().hash_one(std::process::id());
        RunId::new((random >> SEQUENCE_BITS) as u16, random)
    }

    /// The probe of frame `number`.
    #[inline]
    pub fn probe(self, number: u64) -> Probe {
        Probe::new(self.run, self.first.wrapping_add(number))
    }

    /// The number of the frame that carries `probe`; `None` for a frame of another load.
    #[inline]
    pub fn number_of(self, probe: Probe) -> Option<u64> {
        let number = probe.sequence().wrapping_sub(self.first) & SEQUENCE_MAX;
        (probe.run() == self.run).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_are_read_back_over_the_end_of_the_field() {
        let id = RunId::new(9, SEQUENCE_MAX - 1);
        for number in [0, 1, 2, 3, FRAMES_MAX - 1] {
            assert_eq!(id.number_of(id.probe(number)), Some(number));
        }
        assert_eq!(RunId::new(10, SEQUENCE_MAX - 1).number_of(id.probe(0)), None);
        let beside = RunId::new(9, 1 << 41).number_of(id.probe(0));
        assert!(beside.is_some_and(|number| number > 1 << 40), "{beside:?}");
    }

    #[test]
    fn no_two_loads_have_the_same_id() {
        let ids: BTreeSet<_> =
            (0..1000).map(|_| RunId::random()).map(|id| (id.run, id.first)).collect();
        assert_eq!(ids.len(), 1000);
        let runs: BTreeSet<_> = ids.iter().map(|(run, _)| run).collect();
        assert!(runs.len() > 700, "1000 of 4096 numbers: {}", runs.len());
    }
}
