//! A token bucket that loses no fraction of a token.

/// How many frames of a kind may pass in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// At most so many in a second, and so many at once.
    PerSecond(u32),
    /// All.
    Unlimited,
}

const SECOND_NS: u64 = 1_000_000_000;

/// A bucket that fills at a steady rate and holds at most one second's worth.
///
/// Tokens are kept in billionths, so that an interval that fills less than one token is not lost.
#[derive(Debug)]
pub struct TokenBucket {
    allowance: Allowance,
    billionths: u64,
    filled_ns: u64,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(allowance: Allowance) -> TokenBucket {
        let billionths = match allowance {
            Allowance::PerSecond(rate) => u64::from(rate) * SECOND_NS,
            Allowance::Unlimited => 0,
        };
        TokenBucket { allowance, billionths, filled_ns: 0 }
    }

    /// Takes a token if there is one; `now_ns` is asked for the time, on any clock that does not
    /// run backwards for long, only if it matters.
    #[inline]
    pub fn take(&mut self, now_ns: impl FnOnce() -> u64) -> bool {
        let Allowance::PerSecond(rate) = self.allowance else { return true };
        let rate = u64::from(rate);
        let now_ns = now_ns();
        // A clock that was set back starts the filling anew; one second fills any bucket.
        let passed = now_ns.saturating_sub(self.filled_ns).min(SECOND_NS);
        self.filled_ns = now_ns;
        self.billionths = (self.billionths + passed * rate).min(rate * SECOND_NS);
        let enough = self.billionths >= SECOND_NS;
        if enough {
            self.billionths -= SECOND_NS;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lets_just_the_rate_pass_however_it_is_cut() {
        for step in [1, 7, 999_983, 10_000_019] {
            let mut bucket = TokenBucket::new(Allowance::PerSecond(10));
            let mut now = 5 * SECOND_NS;
            while bucket.take(|| now) {}
            let end = now + 3 * SECOND_NS;
            let mut passed = 0;
            let step = step.max(3 * SECOND_NS / 1_000_000);
            while now < end {
                now = (now + step).min(end);
                passed += u32::from(bucket.take(|| now));
            }
            assert_eq!(passed, 30, "steps of {step} ns");
        }
    }

    #[test]
    fn nothing_and_everything_are_rates_too() {
        let mut closed = TokenBucket::new(Allowance::PerSecond(0));
        assert!(!closed.take(|| u64::MAX));
        let mut open = TokenBucket::new(Allowance::Unlimited);
        assert!((0..1000).all(|_| open.take(|| unreachable!())));
    }
}
