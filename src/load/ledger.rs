//! Which numbers of a run came back, in bounded memory.

/// Numbers that a ledger remembers unless told otherwise: 4,194,304 in 512 KiB, four seconds of a
/// million frames each.
pub const NUMBERS_REMEMBERED: usize = 1 << 22;

/// What a number that came back means to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// It came back for the first time.
    First,
    /// It had come back before.
    Again,
    /// It is so old that the ledger has forgotten whether it had come back; the sums have it as
    /// whatever it was then.
    Forgotten,
    /// It was never handed out.
    NeverSent,
}

/// One bit for each of the newest numbers: whether it came back.
///
/// Numbers are handed out from 0 on. One that leaves the memory without having come back is counted
/// as missing there and then, so the sums stay exact over any number of frames.
#[derive(Debug)]
pub struct Ledger {
    returned: Box<[u64]>,
    /// Numbers handed out; the next one is this.
    handed_out: u64,
    /// Numbers that left the memory without having come back.
    forgotten_missing: u64,
    /// Those of them below `measured_from`.
    forgotten_missing_in_warm_up: u64,
    /// Numbers below this are of the warm-up.
    measured_from: u64,
}

impl Ledger {
    /// An empty ledger that remembers the newest `numbers`, rounded up to a power of two and to 64.
    pub fn new(numbers: usize) -> Ledger {
        let words = numbers.next_power_of_two().div_ceil(64);
        Ledger {
            returned: vec![0; words].into(),
            handed_out: 0,
            forgotten_missing: 0,
            forgotten_missing_in_warm_up: 0,
            measured_from: 0,
        }
    }

    /// How many numbers it remembers.
    #[inline]
    pub fn remembered(&self) -> u64 {
        self.returned.len() as u64 * 64
    }

    /// Numbers handed out so far, which is the next number.
    #[inline]
    pub fn handed_out(&self) -> u64 {
        self.handed_out
    }

    /// Hands out the next number.
    #[inline]
    pub fn hand_out(&mut self) -> u64 {
        let number = self.handed_out;
        let remembered = self.remembered();
        if number >= remembered {
            let leaving = number - remembered;
            let is_missing = u64::from(!self.has_returned(leaving));
            self.forgotten_missing += is_missing;
            if leaving < self.measured_from {
                self.forgotten_missing_in_warm_up += is_missing;
            }
        }
        let (word, bit) = self.place(number);
        self.returned[word] &= !bit;
        self.handed_out += 1;
        number
    }

    /// Hands out numbers until there are `count` in all.
    #[inline]
    pub fn hand_out_until(&mut self, count: u64) {
        while self.handed_out < count {
            self.hand_out();
        }
    }

    /// Numbers below `number` are of the warm-up: counted, and told apart. To be set before the
    /// first one that is not leaves the memory.
    pub fn set_measured_from(&mut self, number: u64) {
        self.measured_from = number;
    }

    /// Numbers below this are of the warm-up.
    #[inline]
    pub fn measured_from(&self) -> u64 {
        self.measured_from
    }

    /// Takes back the newest `count` numbers, whose frames were never sent.
    pub fn take_back(&mut self, count: u64) {
        self.handed_out -= count;
    }

    /// Marks `number` as come back.
    #[inline]
    pub fn mark_returned(&mut self, number: u64) -> Return {
        if number >= self.handed_out {
            return Return::NeverSent;
        }
        if self.handed_out - number > self.remembered() {
            return Return::Forgotten;
        }
        let (word, bit) = self.place(number);
        if self.returned[word] & bit != 0 {
            return Return::Again;
        }
        self.returned[word] |= bit;
        Return::First
    }

    /// Numbers handed out that have not come back, counted bit by bit: slow, and independent of
    /// whoever counted the returns.
    pub fn missing(&self) -> u64 {
        self.forgotten_missing + self.remembered_missing_below(self.handed_out)
    }

    /// Those of the [missing](Ledger::missing) that are of the warm-up.
    pub fn missing_in_warm_up(&self) -> u64 {
        self.forgotten_missing_in_warm_up + self.remembered_missing_below(self.measured_from)
    }

    fn remembered_missing_below(&self, end: u64) -> u64 {
        let oldest = self.handed_out.saturating_sub(self.remembered());
        let remembered = oldest..end.min(self.handed_out);
        remembered.filter(|&number| !self.has_returned(number)).count() as u64
    }

    #[inline]
    fn has_returned(&self, number: u64) -> bool {
        let (word, bit) = self.place(number);
        self.returned[word] & bit != 0
    }

    #[inline]
    fn place(&self, number: u64) -> (usize, u64) {
        ((number / 64) as usize & (self.returned.len() - 1), 1 << (number % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_number_returns_once() {
        let mut ledger = Ledger::new(64);
        assert_eq!(ledger.mark_returned(0), Return::NeverSent);
        assert_eq!((ledger.hand_out(), ledger.hand_out()), (0, 1));
        assert_eq!(ledger.mark_returned(1), Return::First);
        assert_eq!(ledger.mark_returned(1), Return::Again);
        assert_eq!(ledger.missing(), 1);
    }

    #[test]
    fn what_is_taken_back_was_never_sent() {
        let mut ledger = Ledger::new(64);
        for number in 0..10 {
            assert_eq!(ledger.hand_out(), number);
        }
        ledger.take_back(4);
        assert_eq!((ledger.handed_out(), ledger.missing()), (6, 6));
        assert_eq!(ledger.mark_returned(6), Return::NeverSent);
        assert_eq!((ledger.hand_out(), ledger.missing()), (6, 7));
    }

    proptest! {
        #[test]
        fn it_is_a_set_with_a_short_memory(steps in proptest::collection::vec(0u64..200, 1..600)) {
            let mut ledger = Ledger::new(64);
            ledger.set_measured_from(100);
            let mut returned = BTreeSet::new();
            for step in steps {
                match step {
                    // Hand out more often than not, so that numbers leave the memory.
                    76.. => _ = ledger.hand_out(),
                    0 => prop_assert_eq!(
                        ledger.mark_returned(ledger.handed_out()),
                        Return::NeverSent,
                    ),
                    back => {
                        let Some(number) = ledger.handed_out().checked_sub(back) else { continue };
                        let expected = if back > 64 {
                            Return::Forgotten
                        } else if returned.insert(number) {
                            Return::First
                        } else {
                            Return::Again
                        };
                        prop_assert_eq!(ledger.mark_returned(number), expected);
                    }
                }
                let missing = ledger.handed_out() - returned.len() as u64;
                prop_assert_eq!(ledger.missing(), missing);
                let early = returned.range(..100).count() as u64;
                prop_assert_eq!(
                    ledger.missing_in_warm_up(),
                    ledger.handed_out().min(100) - early
                );
            }
        }
    }
}
