//! Gaps in the time of a loop that spins: its CPU was taken away, whoever took it and whether or not any
//! counter says so.

/// A loop that does nothing takes less than this from one look at the clock to the next, interrupts
/// included.
pub const GAP_NS: u64 = 20_000;

/// What some gaps come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GapSums {
    /// All of them together, in nanoseconds.
    pub total_ns: u64,
    /// The longest, in nanoseconds.
    pub longest_ns: u64,
    /// How many there were.
    pub count: u64,
}

impl GapSums {
    /// Adds others.
    pub fn merge(&mut self, other: GapSums) {
        self.total_ns += other.total_ns;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        self.count += other.count;
    }

    /// What came since `before`. The longest may be one from before that, if it is no longer than all that
    /// came since.
    pub fn since(&self, before: &GapSums) -> GapSums {
        let total_ns = self.total_ns - before.total_ns;
        let longest_ns = self.longest_ns.min(total_ns);
        GapSums { total_ns, longest_ns, count: self.count - before.count }
    }
}

/// The gaps of a loop, which says when it looked at the clock and when it did nothing after that.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    before: GapSums,
    recent: GapSums,
    /// The last look at the clock if nothing was done since; otherwise 0.
    idle_since_ns: u64,
}

impl Gaps {
    /// The loop looks at its clock; whether a gap ends here.
    #[inline]
    pub fn looked(&mut self, now_ns: u64) -> bool {
        let since_ns = std::mem::take(&mut self.idle_since_ns);
        let is_gap = since_ns != 0 && now_ns.saturating_sub(since_ns) >= GAP_NS;
        if is_gap {
            let lasted_ns = now_ns - since_ns;
            self.recent.merge(GapSums { total_ns: lasted_ns, longest_ns: lasted_ns, count: 1 });
        }
        is_gap
    }

    /// Since it looked, at `now_ns`, the loop found nothing to do and did not sleep.
    #[inline]
    pub fn was_idle(&mut self, now_ns: u64) {
        self.idle_since_ns = now_ns;
    }

    /// What all of them come to.
    pub fn sums(&self) -> GapSums {
        let mut sums = self.before;
        sums.merge(self.recent);
        sums
    }

    /// What those since the last call come to.
    pub fn take_recent(&mut self) -> GapSums {
        let recent = std::mem::take(&mut self.recent);
        self.before.merge(recent);
        recent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_in_which_nothing_was_done_is_a_gap() {
        let mut gaps = Gaps::default();
        assert!(!gaps.looked(1_000));
        // It sent something: however long that took, it is no gap.
        assert!(!gaps.looked(900_000));
        gaps.was_idle(900_000);
        assert!(!gaps.looked(900_000 + GAP_NS - 1));
        gaps.was_idle(1_000_000);
        assert!(gaps.looked(3_000_000));
        assert!(!gaps.looked(9_000_000), "the gap before is over");
        let found = GapSums { total_ns: 2_000_000, longest_ns: 2_000_000, count: 1 };
        assert_eq!((gaps.take_recent(), gaps.take_recent()), (found, GapSums::default()));
        assert_eq!(gaps.sums(), found);
    }
}
