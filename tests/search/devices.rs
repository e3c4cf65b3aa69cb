//! Devices that exist only as arithmetic; all that is random about them comes from a seed.

use std::time::Duration;

use linerate::bench::account::{CpuTaken, Taken};
use linerate::bench::search::goal::SearchConfig;
use linerate::bench::search::result::SearchResult;
use linerate::bench::search::search;
use linerate::bench::search::trial::{Measurer, TrialOutcome, VoidReason};
use linerate::error::Result;
use linerate::stats::latency::LatencySummary;

/// Whole numbers that look random (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    pub fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Exponentially distributed with a mean of 1.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.part()).ln()
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.part() < probability
    }
}

/// What a device loses of a load, given the trial's duration in seconds, its number and dice.
pub type Loss = Box<dyn FnMut(f64, f64, usize, &mut Dice) -> f64>;

/// A device and the generator before it.
pub struct Bench {
    pub loss: Loss,
    pub dice: Dice,
    /// The most that the generator can offer.
    pub ceiling_pps: f64,
    /// How often a trial is void for no reason.
    pub void_chance: f64,
    /// How often the machine takes so much of the time that the device loses more.
    pub theft_chance: f64,
    pub theft_share: f64,
    /// What it takes of every other trial, which the device stands.
    pub background_share: f64,
    /// What a trial takes beside its duration.
    pub overhead: Duration,
    /// Every load that was offered.
    pub offered: Vec<f64>,
    /// Stop wanted after so many trials.
    pub stop_after: usize,
}

impl Bench {
    pub fn new(seed: u64, loss: Loss) -> Bench {
        Bench {
            loss,
            dice: Dice(seed),
            ceiling_pps: f64::INFINITY,
            void_chance: 0.0,
            theft_chance: 0.0,
            theft_share: 0.3,
            background_share: 0.0,
            overhead: Duration::ZERO,
            offered: Vec::new(),
            stop_after: usize::MAX,
        }
    }

    pub fn search(&mut self, config: &SearchConfig) -> SearchResult {
        search(self, config, &mut |_| {}).unwrap()
    }
}

impl Measurer for Bench {
    fn measure(&mut self, load_pps: f64, duration: Duration) -> Result<TrialOutcome> {
        let number = self.offered.len();
        self.offered.push(load_pps);
        let achieved_pps = load_pps.min(self.ceiling_pps);
        // Frames are counted finely, so that rounding never hides a loss.
        let sent = 1_000_000_000u64;
        let ratio = (self.loss)(achieved_pps, duration.as_secs_f64(), number, &mut self.dice);
        let robbed = self.dice.chance(self.theft_chance);
        let taken = taken(if robbed { self.theft_share } else { self.background_share });
        let ratio = if robbed { ratio.max(self.theft_share / 2.0) } else { ratio };
        let void = if achieved_pps < 0.999 * load_pps {
            Some(VoidReason::BehindSchedule)
        } else if robbed {
            Some(VoidReason::Disturbed(taken.disturbance()))
        } else if self.dice.chance(self.void_chance) {
            Some(VoidReason::OwnDrops { frames: sent / 1000 })
        } else {
            None
        };
        let zero = LatencySummary::default();
        Ok(TrialOutcome {
            intended_pps: load_pps,
            achieved_pps,
            sent,
            lost: (ratio.clamp(0.0, 1.0) * sent as f64).ceil() as u64,
            duration: duration + self.overhead,
            void,
            latency: Some(LatencySummary { count: 1, p50: 1_000, p99: 9_000, ..zero }),
            taken,
        })
    }

    fn is_stopped(&self) -> bool {
        self.offered.len() >= self.stop_after
    }
}

/// What an account says of a second of which this share was taken.
pub fn taken(disturbed_share: f64) -> Taken {
    let cpus = vec![CpuTaken { disturbed_share, ..CpuTaken::default() }];
    Taken { span_ns: 1_000_000_000, cpus, ..Taken::default() }
}

/// Forwards up to `capacity` and loses the rest.
pub fn constant_rate(capacity: f64) -> Loss {
    Box::new(move |load, _, _, _| overload(load, capacity))
}

/// Loses `slope` of the load for each multiple of `knee` that the load is above it.
pub fn linear_loss(knee: f64, slope: f64) -> Loss {
    Box::new(move |load, _, _, _| slope * (load / knee - 1.0).max(0.0))
}

/// Collapses above its capacity: the more is offered, the less comes out (receive livelock).
pub fn livelock(capacity: f64) -> Loss {
    Box::new(
        move |load, _, _, _| {
            if load <= capacity { 0.0 } else { 1.0 - (capacity / load).powi(4) }
        },
    )
}

/// Stands `capacity`, less when it is overloaded, and with probability `p` a trial loses up to
/// `spike` at whatever load.
pub fn noisy(capacity: f64, p: f64, spike: f64) -> Loss {
    Box::new(move |load, _, _, dice| {
        let noise = if dice.chance(p) { spike * dice.part() } else { 0.0 };
        let overload = if load > capacity { 1.0 - 0.8 * capacity / load } else { 0.0 };
        overload.max(noise)
    })
}

/// A constant rate that loses everything during 10 ms windows, `per_second` of them a second.
pub fn bursty(capacity: f64, per_second: f64) -> Loss {
    Box::new(move |load, duration_s, _, dice| {
        let tenths = (duration_s * 100.0).round() as usize;
        let dark = (0..tenths).filter(|_| dice.chance(per_second / 100.0)).count();
        overload(load, capacity).max(dark as f64 / tenths.max(1) as f64)
    })
}

/// Loses at low loads and not at high ones (loss inversion).
pub fn lying(turn: f64) -> Loss {
    Box::new(move |load, _, _, _| if load < turn { 0.1 } else { 0.0 })
}

/// Has another capacity in each trial, within `swing` of the given one, and less when overloaded.
pub fn swinging(capacity: f64, swing: f64) -> Loss {
    Box::new(move |load, _, _, dice| {
        let now = capacity * (1.0 + swing * (dice.part() + dice.part() - 1.0));
        if load > now { 1.0 - 0.8 * now / load } else { 0.0 }
    })
}

/// A machine whose CPU is taken away `per_second` times a second, for 5 ms on the average: a device
/// of `capacity` that holds `buffer` frames meanwhile.
pub fn stolen(capacity: f64, buffer: f64, per_second: f64) -> Loss {
    Box::new(move |load, duration_s, _, dice| {
        let mut lost = load * duration_s * overload(load, capacity);
        let mut at_s = dice.exponential() / per_second;
        while at_s < duration_s {
            lost += (load * 0.005 * dice.exponential() - buffer).max(0.0);
            at_s += dice.exponential() / per_second;
        }
        lost / (load * duration_s)
    })
}

/// Loses by chance, whatever is offered.
pub fn erratic() -> Loss {
    Box::new(|_, _, _, dice| if dice.chance(0.5) { dice.part() } else { 0.0 })
}

/// Has `before` capacity for so many trials and `after` from then on.
pub fn changing(before: f64, after: f64, trials: usize) -> Loss {
    Box::new(move |load, _, number, _| overload(load, if number < trials { before } else { after }))
}

fn overload(load: f64, capacity: f64) -> f64 {
    (1.0 - capacity / load).max(0.0)
}
