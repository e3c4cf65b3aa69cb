//! Reordering in the sense of RFC 4737, in bounded memory.

use std::collections::VecDeque;

/// Gaps in the numbers that are remembered; older ones are forgotten.
const GAPS_REMEMBERED: usize = 4096;

/// Numbers that were passed over when a larger one came.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// The larger number, behind the gap.
    to: u64,
    /// Which arrival passed over them.
    arrival: u64,
}

/// Tells which arrivals are reordered, and how far.
///
/// Give it each number once: duplicates do not count (RFC 4737, section 3.3).
#[derive(Debug)]
pub struct Reorder {
    /// The number after the largest that came.
    next_expected: u64,
    arrivals: u64,
    gaps: VecDeque<Gap>,
    extent_max: u64,
}

impl Default for Reorder {
    fn default() -> Reorder {
        Reorder {
            next_expected: 0,
            arrivals: 0,
            gaps: VecDeque::with_capacity(GAPS_REMEMBERED),
            extent_max: 0,
        }
    }
}

impl Reorder {
    /// Takes the next arrival; true if it is reordered: smaller than one that came before (RFC
    /// 4737, section 3.3).
    #[inline]
    pub fn take(&mut self, number: u64) -> bool {
        let arrival = self.arrivals;
        self.arrivals += 1;
        if number == self.next_expected {
            self.next_expected += 1;
            return false;
        }
        self.take_out_of_turn(number, arrival)
    }

    #[cold]
    fn take_out_of_turn(&mut self, number: u64, arrival: u64) -> bool {
        if number > self.next_expected {
            if self.gaps.len() == GAPS_REMEMBERED {
                self.gaps.pop_front();
            }
            self.gaps.push_back(Gap { to: number, arrival });
            self.next_expected = number + 1;
            return false;
        }
        let next = self.gaps.partition_point(|gap| gap.to <= number);
        // A number older than all gaps that are remembered was passed over before the first of
        // them: its extent is at least this.
        let earliest = self.gaps.get(next).map_or(arrival, |gap| gap.arrival);
        self.extent_max = self.extent_max.max(arrival - earliest);
        true
    }

    /// The largest reordering extent (RFC 4737, section 4.2.2): arrivals between a reordered packet
    /// and the earliest one that came before it with a larger number, that one included. A packet
    /// that was passed over more than 4096 gaps ago counts as at least as far as the oldest gap
    /// that is remembered.
    pub fn extent_max(&self) -> u64 {
        self.extent_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Section 4.2.2 as it is written: for a reordered packet i, the smallest j < i with
    /// s[j] > s[i]; the extent is i - j.
    fn plain(numbers: &[u64]) -> (u64, u64) {
        let mut found = (0, 0);
        for (i, number) in numbers.iter().enumerate() {
            if let Some(j) = numbers[..i].iter().position(|earlier| earlier > number) {
                found.0 += 1;
                found.1 = found.1.max((i - j) as u64);
            }
        }
        found
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // Section 7.1 and 7.2 in spirit: one packet late by four, and two swapped.
        for (numbers, expected) in [
            (&[0, 1, 2, 3][..], (0, 0)),
            (&[1, 2, 3, 7, 8, 9, 10, 4, 5, 6, 11][..], (3, 6)),
            (&[0, 2, 1, 3][..], (1, 1)),
        ] {
            let mut reorder = Reorder::default();
            let reordered = numbers.iter().filter(|&&number| reorder.take(number)).count() as u64;
            assert_eq!((reordered, reorder.extent_max()), expected, "{numbers:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_the_definition(
            mut numbers in proptest::collection::btree_set(0u64..500, 0..200)
                .prop_map(|set| set.into_iter().collect::<Vec<_>>()),
            swaps in proptest::collection::vec((0usize..200, 0usize..200), 0..40),
        ) {
            for (a, b) in swaps {
                if a < numbers.len() && b < numbers.len() {
                    numbers.swap(a, b);
                }
            }
            let mut reorder = Reorder::default();
            let reordered = numbers.iter().filter(|&&number| reorder.take(number)).count() as u64;
            prop_assert_eq!((reordered, reorder.extent_max()), plain(&numbers));
        }
    }
}
