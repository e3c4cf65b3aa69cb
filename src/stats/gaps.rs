//! Gaps in the time of a loop that spins: its CPU was taken away, whoever took it and whether or not any
//! counter says so.

use std::collections::VecDeque;

/// A loop that does nothing takes less than this from one look at the clock to the next, interrupts
/// included.
pub const GAP_NS: u64 = 20_000;

/// Gaps that are remembered one by one: the newest.
const REMEMBERED: usize = 4096;

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
    newest: VecDeque<(u64, u64)>,
    /// The last look at the clock if nothing was done since; otherwise 0.
    idle_since_ns: u64,
}

impl Gaps {
    /// None yet, and room for those to come.
    pub fn with_room() -> Gaps {
        Gaps { newest: VecDeque::with_capacity(REMEMBERED), ..Gaps::default() }
    }

    /// The loop looks at its clock; whether a gap ends here.
    #[inline]
    pub fn looked(&mut self, now_ns: u64) -> bool {
        let since_ns = std::mem::take(&mut self.idle_since_ns);
        let is_gap = since_ns != 0 && now_ns.saturating_sub(since_ns) >= GAP_NS;
        if is_gap {
            self.note(since_ns, now_ns);
        }
        is_gap
    }

    /// Since it looked, at `now_ns`, the loop found nothing to do and did not sleep.
    #[inline]
    pub fn was_idle(&mut self, now_ns: u64) {
        self.idle_since_ns = now_ns;
    }

    #[cold]
    fn note(&mut self, start_ns: u64, end_ns: u64) {
        let lasted_ns = end_ns - start_ns;
        self.recent.merge(GapSums { total_ns: lasted_ns, longest_ns: lasted_ns, count: 1 });
        if self.newest.len() == REMEMBERED {
            self.newest.pop_front();
        }
        self.newest.push_back((start_ns, end_ns));
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

    /// The newest 4096, oldest first: from the last look at the clock before to the first after.
    pub fn intervals(&self) -> impl ExactSizeIterator<Item = (u64, u64)> + '_ {
        self.newest.iter().copied()
    }

    /// Adds the gaps of another loop, or of the same one later.
    pub fn merge(&mut self, other: &Gaps) {
        self.recent.merge(other.sums());
        self.newest.extend(other.intervals());
        let forgotten = self.newest.len().saturating_sub(REMEMBERED);
        self.newest.drain(..forgotten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_in_which_nothing_was_done_is_a_gap() {
        let mut gaps = Gaps::with_room();
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
        assert_eq!(gaps.intervals().collect::<Vec<_>>(), [(1_000_000, 3_000_000)]);
    }

    #[test]
    fn memory_is_bounded_and_sums_are_not() {
        let mut gaps = Gaps::with_room();
        let most = REMEMBERED as u64 + 10;
        (1..=most).for_each(|n| gaps.note(n * 100, n * 100 + 50));
        let mut both = gaps.clone();
        both.merge(&gaps);
        assert_eq!((both.sums().count, both.sums().total_ns), (2 * most, 100 * most));
        assert_eq!((gaps.intervals().len(), both.intervals().len()), (REMEMBERED, REMEMBERED));
        assert_eq!(gaps.intervals().next(), Some((1100, 1150)));
    }
}
