//! Frames that came back, by what they turned out to be.

use crate::stats::counters::counters;

counters! {
    /// Frames that came back, by what they turned out to be.
    pub struct Tally {
        /// Numbers whose frame came back right in every byte.
        pub intact: u64,
        /// Numbers whose frame came back wrong in at least one byte, its tag or its length.
        pub corrupted: u64,
        /// Numbers whose frame came back as it was sent, but for the addresses.
        pub not_transformed: u64,
        /// Numbers whose frame came back with bytes missing at its end.
        pub truncated: u64,
        /// Beside the sums: frames whose number had come back before.
        pub duplicated: u64,
        /// Beside the sums: frames whose number was smaller than one that came before (RFC 4737,
        /// section 3.3: type-P-reordered); each also counts in one of the sums.
        pub reordered: u64,
        /// Beside the sums: first returns that took longer than the plan allows; each also counts in
        /// one of the sums.
        pub late: u64,
        /// Beside the sums: frames that carry no number, or a damaged one.
        pub foreign: u64,
        /// Beside the sums: frames of other linerate loads on this link, or of an earlier one here.
        pub other_loads: u64,
        /// Beside the sums: frames whose number the ledger had forgotten
        /// ([`NUMBERS_REMEMBERED`](super::ledger::NUMBERS_REMEMBERED)) and counted as lost or returned.
        pub forgotten: u64,
        /// Beside the sums: frames that the ring's own headers describe in an impossible way.
        pub malformed: u64,
    }
}

impl Tally {
    /// Numbers that came back, whatever their frame looked like.
    pub fn returned(&self) -> u64 {
        self.intact + self.corrupted + self.not_transformed + self.truncated
    }
}

/// One corrupted frame, kept as evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The frame's number.
    pub sequence: u64,
    /// Bytes that came back, without FCS and without the outer tag.
    pub received_bytes: usize,
    /// The first wrong byte, as in
    /// [`Judgement::Corrupted`](super::template::Judgement::Corrupted).
    pub first_offset: usize,
}
