//! When each frame is to leave: pure arithmetic from an absolute start that loses no fraction.
//!
//! Times are nanoseconds after the start of the run. Frame n of a constant rate leaves at
//! ⌊n × seconds × 10^9 / frames⌋, computed step by step with the remainder carried along, so the
//! thousand-millionth frame is as punctual as the first. Several senders share a schedule: sender i
//! of k has frames i, i + k, i + 2k and so on, and whatever their number, all of them together send
//! the same frames at the same times.

use std::fmt;

use super::rate::FrameRate;
use crate::wire::random::Random;

const NS_PER_SECOND: u128 = 1_000_000_000;

/// How departures follow one another at a given mean rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Evenly spaced.
    Constant,
    /// Independent, exponentially distributed gaps: a Poisson process, the same one for the same
    /// seed.
    Poisson {
        /// Where its random numbers begin.
        seed: u64,
    },
    /// So many frames at once, back to back as fast as the link takes them, then a gap that makes
    /// the mean come out right. All frames of a burst are due when it begins.
    Burst {
        /// Frames of one burst; 1 is [`Pattern::Constant`].
        frames: u32,
    },
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Constant => f.write_str("evenly spaced"),
            Pattern::Poisson { seed } => write!(f, "Poisson process of seed {seed}"),
            Pattern::Burst { frames } => write!(f, "in bursts of {frames}"),
        }
    }
}

/// Which frames of a schedule a sender has: `first`, `first + every`, `first + 2 × every`...
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The first one.
    pub first: u64,
    /// From one to the next; at least 1.
    pub every: u64,
}

impl Share {
    /// How many of the first `count` frames of the schedule are in it.
    pub fn of(self, count: u64) -> u64 {
        count.saturating_sub(self.first).div_ceil(self.every)
    }
}

/// The departures of one sender, one after another.
#[derive(Clone, Debug)]
pub struct Schedule {
    kind: Kind,
    rate: FrameRate,
    pattern: Pattern,
    share: Share,
    /// Frames of the share that were gone past.
    passed: u64,
}

#[derive(Clone, Debug)]
enum Kind {
    Even(Even),
    Poisson(Poisson),
}

impl Schedule {
    /// The departures of `share` at a mean rate of `rate`.
    pub fn new(rate: FrameRate, pattern: Pattern, share: Share) -> Schedule {
        let every = share.every.max(1);
        let share = Share { every, ..share };
        let kind = match pattern {
            Pattern::Constant => Kind::Even(Even::new(rate, 1, share)),
            Pattern::Burst { frames } => {
                Kind::Even(Even::new(rate, u64::from(frames).max(1), share))
            }
            Pattern::Poisson { seed } => {
                let mut poisson = Poisson::new(rate, seed);
                (0..share.first).for_each(|_| poisson.advance());
                Kind::Poisson(poisson)
            }
        };
        Schedule { kind, rate, pattern, share, passed: 0 }
    }

    /// Begins again: the same departures after another start.
    pub fn restart(&mut self) {
        *self = Schedule::new(self.rate, self.pattern, self.share);
    }

    /// When the next frame is to leave, in nanoseconds after the start.
    #[inline]
    pub fn next_ns(&self) -> u64 {
        match &self.kind {
            Kind::Even(even) => even.at.whole_ns,
            Kind::Poisson(poisson) => (poisson.at >> Poisson::FRACTION_BITS) as u64,
        }
    }

    /// Goes on to the frame after it.
    #[inline]
    pub fn advance(&mut self) {
        self.passed += 1;
        match &mut self.kind {
            Kind::Even(even) => even.advance(),
            Kind::Poisson(poisson) => (0..self.share.every).for_each(|_| poisson.advance()),
        }
    }

    /// When the next frame would leave if every gap were the mean one, which is how long those before it
    /// take; `None` for a Poisson process.
    pub fn passed_ns(&self) -> Option<u64> {
        let Kind::Even(_) = self.kind else { return None };
        let before =
            u128::from(self.share.first) + u128::from(self.passed) * u128::from(self.share.every);
        let ns = before * u128::from(self.rate.seconds()) * NS_PER_SECOND;
        Some((ns / u128::from(self.rate.frames())).try_into().unwrap_or(u64::MAX))
    }

    /// Frames of this share from the next one on that are due before `end_ns`. Exact for even
    /// spacing. For a Poisson process `COUNTED_MAX` frames are counted and the rest is estimated.
    pub fn remaining_before(&mut self, end_ns: u64) -> u64 {
        const COUNTED_MAX: u64 = 1 << 22;
        match &self.kind {
            Kind::Even(even) => {
                let due = self.share.of(even.frames_before(self.rate, end_ns));
                due.saturating_sub(self.passed)
            }
            Kind::Poisson(_) => {
                let before = self.passed;
                while self.next_ns() < end_ns {
                    self.advance();
                    if self.passed - before == COUNTED_MAX {
                        let seconds = (end_ns - self.next_ns().min(end_ns)) as f64 / 1e9;
                        let rest = seconds * self.rate.as_f64() / self.share.every as f64;
                        return COUNTED_MAX + rest as u64;
                    }
                }
                self.passed - before
            }
        }
    }
}

/// Even departures of bursts: whole nanoseconds, and what is left over in parts of one.
#[derive(Clone, Debug)]
struct Even {
    at: Exact,
    parts: u128,
    /// Frames of a burst, and the place of the next frame in its own.
    burst: u64,
    place: u64,
    /// How much further the place is at the next frame, whole bursts left out.
    step: u64,
    /// From one frame to the next: where it is as many bursts on as the step always is, and where
    /// it is one more.
    steps: [Exact; 2],
}

/// A time of whole nanoseconds, and a rest in units of one nanosecond divided by `Even::parts`.
#[derive(Clone, Copy, Debug)]
struct Exact {
    whole_ns: u64,
    rest: u128,
}

impl Even {
    fn new(rate: FrameRate, burst: u64, share: Share) -> Even {
        let parts = u128::from(rate.frames());
        let of_bursts = |bursts: u64| {
            let ns = u128::from(bursts) * u128::from(burst);
            let ns = ns * u128::from(rate.seconds()) * NS_PER_SECOND;
            Exact { whole_ns: (ns / parts).try_into().unwrap_or(u64::MAX), rest: ns % parts }
        };
        Even {
            at: of_bursts(share.first / burst),
            parts,
            burst,
            place: share.first % burst,
            step: share.every % burst,
            steps: [of_bursts(share.every / burst), of_bursts(share.every / burst + 1)],
        }
    }

    /// Frames of the whole schedule that are due before `end_ns`: bursts g with
    /// ⌊g × period⌋ < end, which are those with g × period < end.
    fn frames_before(&self, rate: FrameRate, end_ns: u64) -> u64 {
        let period = u128::from(rate.seconds()) * NS_PER_SECOND * u128::from(self.burst);
        let bursts = (u128::from(end_ns) * u128::from(rate.frames())).div_ceil(period);
        u64::try_from(bursts * u128::from(self.burst)).unwrap_or(u64::MAX)
    }

    #[inline]
    fn advance(&mut self) {
        self.place += self.step;
        let one_more = self.place >= self.burst;
        if one_more {
            self.place -= self.burst;
        }
        let step = self.steps[usize::from(one_more)];
        self.at.whole_ns = self.at.whole_ns.saturating_add(step.whole_ns);
        self.at.rest += step.rest;
        if self.at.rest >= self.parts {
            self.at.rest -= self.parts;
            self.at.whole_ns = self.at.whole_ns.saturating_add(1);
        }
    }
}

/// A Poisson process: departures with independent exponential gaps.
#[derive(Clone, Debug)]
struct Poisson {
    /// In units of 2^-20 ns.
    at: u128,
    mean_gap: f64,
    random: Random,
}

impl Poisson {
    const FRACTION_BITS: u32 = 20;

    fn new(rate: FrameRate, seed: u64) -> Poisson {
        let unit = (1u64 << Poisson::FRACTION_BITS) as f64;
        let mean_gap = NS_PER_SECOND as f64 / rate.as_f64() * unit;
        let mut poisson = Poisson { at: 0, mean_gap, random: Random::new(seed) };
        poisson.advance();
        poisson
    }

    #[inline]
    fn advance(&mut self) {
        // Above 0 and at most 1, so the logarithm is finite: at most 36.7 mean gaps.
        let uniform = ((self.random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        self.at += (-uniform.ln() * self.mean_gap) as u128;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: Share = Share { first: 0, every: 1 };

    impl Schedule {
        /// Takes the next frame if it is due at `now_ns`, and says when it was to leave.
        fn take_due(&mut self, now_ns: u64) -> Option<u64> {
            let next_ns = self.next_ns();
            (next_ns <= now_ns).then(|| {
                self.advance();
                next_ns
            })
        }
    }

    /// Due time of frame n at a constant rate, in nanoseconds after the start.
    fn constant_ns(rate: FrameRate, frame: u64) -> u64 {
        let ns = u128::from(frame) * u128::from(rate.seconds()) * NS_PER_SECOND;
        (ns / u128::from(rate.frames())).try_into().unwrap_or(u64::MAX)
    }

    fn rates() -> impl Strategy<Value = FrameRate> {
        (1u64..20_000_000, 1u64..5000)
            .prop_filter_map("at most a frame a nanosecond", |(frames, seconds)| {
                FrameRate::new(frames, seconds)
            })
    }

    /// Frames of a constant rate that leave at or before `now_ns`: the n with
    /// ⌊n × period⌋ ≤ now, which are those with n × period < now + 1.
    fn due(rate: FrameRate, now_ns: u64) -> u64 {
        let period = u128::from(rate.seconds()) * NS_PER_SECOND;
        let frames = (u128::from(now_ns) + 1) * u128::from(rate.frames());
        frames.div_ceil(period) as u64
    }

    proptest! {
        #[test]
        fn any_cut_of_time_has_exactly_the_right_frames(
            rate in rates(),
            cuts in proptest::collection::vec(0u64..3_000_000, 1..40),
            senders in 1u64..5,
        ) {
            let mut schedules: Vec<_> = (0..senders)
                .map(|first| {
                    Schedule::new(rate, Pattern::Constant, Share { first, every: senders })
                })
                .collect();
            let (mut now_ns, mut sent) = (0, 0u64);
            for cut in cuts {
                // Keeps the test short.
                now_ns += cut.min(constant_ns(rate, 2000));
                for schedule in &mut schedules {
                    while let Some(at_ns) = schedule.take_due(now_ns) {
                        prop_assert!(at_ns <= now_ns);
                        sent += 1;
                    }
                }
                prop_assert_eq!(sent, due(rate, now_ns));
            }
        }

        #[test]
        fn nothing_drifts_in_a_thousand_million_frames(
            rate in rates(),
            every in 900_000u64..1_100_000,
            first in 0u64..5,
        ) {
            let mut schedule = Schedule::new(rate, Pattern::Constant, Share { first, every });
            for step in 0..1000 {
                prop_assert_eq!(schedule.next_ns(), constant_ns(rate, first + step * every));
                schedule.advance();
            }
        }

        #[test]
        fn a_burst_is_due_when_its_first_frame_would_be(
            rate in rates(),
            frames in 1u32..100,
            every in 1u64..5,
            first in 0u64..5,
        ) {
            let pattern = Pattern::Burst { frames };
            let mut schedule = Schedule::new(rate, pattern, Share { first, every });
            let burst = u64::from(frames);
            for step in 0..300 {
                let number = first + step * every;
                prop_assert_eq!(schedule.next_ns(), constant_ns(rate, number / burst * burst));
                schedule.advance();
            }
        }

        #[test]
        fn senders_share_a_poisson_process_without_changing_it(seed: u64, senders in 2u64..5) {
            let rate = FrameRate::new(100_000, 1).unwrap();
            let pattern = Pattern::Poisson { seed };
            let mut whole = Schedule::new(rate, pattern, WHOLE);
            let mut parts: Vec<_> = (0..senders)
                .map(|first| Schedule::new(rate, pattern, Share { first, every: senders }))
                .collect();
            for number in 0..200 {
                let part = &mut parts[number % senders as usize];
                prop_assert_eq!(part.next_ns(), whole.next_ns());
                part.advance();
                whole.advance();
            }
        }
    }

    #[test]
    fn a_poisson_process_has_the_rate_and_the_spread_of_one() {
        let rate = FrameRate::new(1_000_000, 1).unwrap();
        let mut schedule = Schedule::new(rate, Pattern::Poisson { seed: 7 }, WHOLE);
        const FRAMES: usize = 200_000;
        let mut times = Vec::new();
        for _ in 0..FRAMES {
            times.push(schedule.next_ns());
            schedule.advance();
        }
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // The standard error of the mean is 1000 ns / √200,000 = 2.2 ns.
        assert!((mean - 1000.0).abs() < 10.0, "{mean}");
        assert!((variance.sqrt() - 1000.0).abs() < 20.0, "{}", variance.sqrt());
    }

    proptest! {
        #[test]
        fn the_frames_before_an_end_are_those_that_come(
            rate in rates(),
            burst in 1u32..20,
            poisson: bool,
            every in 1u64..4,
            first in 0u64..4,
            frames in 1u64..500,
            passed in 0u64..20,
        ) {
            let pattern = match poisson {
                true => Pattern::Poisson { seed: frames },
                false => Pattern::Burst { frames: burst },
            };
            let mut schedule = Schedule::new(rate, pattern, Share { first, every });
            (0..passed).for_each(|_| schedule.advance());
            let end_ns = constant_ns(rate, frames);
            let mut plain = schedule.clone();
            let mut count = 0;
            while plain.take_due(end_ns.saturating_sub(1)).is_some() && end_ns > 0 {
                count += 1;
            }
            prop_assert_eq!(schedule.remaining_before(end_ns), count);
        }
    }

    #[test]
    fn shares_add_up() {
        assert_eq!(Share { first: 2, every: 4 }.of(11), 3);
        assert_eq!(Share { first: 2, every: 4 }.of(1), 0);
    }
}
