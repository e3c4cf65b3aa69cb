//! The statistics of `compare` on synthetic data, where the truth is known: how often intervals cover it,
//! how often equal contestants make a winner, and what drains of a robbed machine come to.

use linerate::stats::best_set::{LOOKS, alpha_for, best_set, is_enough, ratios};
use linerate::stats::shift::unpaired_ratio;
use linerate::stats::sign::SignInterval;
use linerate::stats::slices::{SLICE_AIM_NS, Slices, frames_per_slice};
use linerate::stats::state::{Doubt, State};

/// Random numbers that are the same in every run: SplitMix64.
struct Random(u64);

impl Random {
    /// Between 0 and 1, neither of them.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((mixed ^ (mixed >> 31)) >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.uniform().ln()
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A round's value around 1: mostly near, one in five far off to one side.
    fn noisy(&mut self) -> f64 {
        let far = if self.uniform() < 0.2 { self.exponential(0.5) } else { 0.0 };
        (0.05 * self.normal() + far).exp()
    }
}

/// The share of `repetitions` for which `is_so`.
fn share(repetitions: usize, mut is_so: impl FnMut() -> bool) -> f64 {
    (0..repetitions).filter(|_| is_so()).count() as f64 / repetitions as f64
}

#[test]
fn the_interval_covers_the_true_median() {
    let mut random = Random(1);
    // Each with the median that it truly has.
    type Law = (&'static str, fn(&mut Random) -> f64, f64);
    let laws: [Law; 4] = [
        ("log-normal", |random| random.normal().exp(), 1.0),
        ("exponential", |random| random.exponential(1.0), 2f64.ln()),
        ("ratio of heavy tails", |random| random.noisy() / random.noisy(), 1.0),
        ("two modes", |random| if random.uniform() < 0.5 { 1.0 } else { 3.0 }, 1.0),
    ];
    for (name, law, median) in laws {
        for rounds in [6, 11, 22, 44, 88] {
            let covers = share(2000, || {
                let values: Vec<f64> = (0..rounds).map(|_| law(&mut random)).collect();
                !SignInterval::of(values, 0.05).unwrap().excludes(median)
            });
            assert!(covers >= 0.94, "{name}, {rounds} rounds: {covers}");
        }
    }
}

/// The ratios of a run's rounds: `true_ratio`, each time a little off.
fn run_of(random: &mut Random, rounds: usize, spread: f64, true_ratio: f64) -> Vec<f64> {
    (0..rounds).map(|_| true_ratio * (spread * random.normal()).exp()).collect()
}

#[test]
fn two_runs_differ_by_what_they_truly_differ() {
    let mut random = Random(6);
    for (old, new) in [(4, 4), (11, 11), (11, 22), (22, 22)] {
        let covers = share(400, || {
            let noisy = |random: &mut Random, rounds| -> Vec<f64> {
                (0..rounds).map(|_| random.noisy() / random.noisy()).collect()
            };
            let (old, new) = (noisy(&mut random, old), noisy(&mut random, new));
            !unpaired_ratio(&old, &new, 0.05).unwrap().excludes(1.0)
        });
        assert!(covers >= 0.93, "{old} and {new} rounds: {covers}");
    }
    // A gate at 5 % that is shut by a slowdown of 8 %, and by no noise.
    let mut shuts = |slower: f64, spread_of_new: f64| {
        share(100, || {
            let old = run_of(&mut random, 22, 0.02, 3.58);
            let new = run_of(&mut random, 22, spread_of_new, 3.58 * slower);
            unpaired_ratio(&old, &new, 0.05).unwrap().low > 1.05
        })
    };
    let caught = shuts(1.08, 0.02);
    assert!(caught >= 0.9, "8 %: {caught}");
    assert_eq!(shuts(1.0, 0.02), 0.0);
    let spread = shuts(1.0, 0.1);
    assert!(spread <= 0.05, "five times the spread: {spread}");
}

/// Rounds of contestants that are equal but for `lead`, the first one's advantage. Each round has a
/// disturbance that all share.
fn rounds_of(
    random: &mut Random,
    contestants: usize,
    rounds: usize,
    lead: f64,
) -> Vec<Vec<Option<f64>>> {
    let mut all = vec![Vec::new(); contestants];
    for _ in 0..rounds {
        let shared = random.noisy();
        for (index, own) in all.iter_mut().enumerate() {
            let better = if index == 0 { lead } else { 1.0 };
            own.push(Some(better * shared * random.noisy()));
        }
    }
    all
}

/// The best set at the first look at which it is a single one, or at the last look.
fn best_after_looks(all: &[Vec<Option<f64>>]) -> Vec<usize> {
    let alpha = alpha_for(all.len(), LOOKS.len());
    let at = |look: usize| {
        let so_far: Vec<_> = all.iter().map(|own| own[..look].to_vec()).collect();
        best_set(&so_far, false, alpha)
    };
    let single = LOOKS.into_iter().map(at).find(|best| best.len() == 1);
    single.unwrap_or_else(|| at(LOOKS[LOOKS.len() - 1]))
}

#[test]
fn equal_contestants_make_no_winner_and_a_better_one_is_found() {
    let mut random = Random(2);
    let mut lost = 0;
    let repetitions = 200;
    let winners = share(repetitions, || {
        let best = best_after_looks(&rounds_of(&mut random, 7, 88, 1.0));
        lost += usize::from(!best.contains(&0));
        best.len() == 1
    });
    assert!(winners <= 0.05, "{winners} of equal contestants had a winner");
    assert!(lost as f64 / repetitions as f64 <= 0.05, "an equal one was dropped {lost} times");
    let found = share(30, || best_after_looks(&rounds_of(&mut random, 7, 88, 1.2)) == [0]);
    assert!(found >= 0.9, "a lead of 20 % won {found}");
}

#[test]
fn intervals_hold_when_narrow_ones_end_the_rounds() {
    let mut random = Random(5);
    for spread in [0.02, 0.05, 0.1, 0.2] {
        let covers = share(2000, || {
            let values: Vec<f64> = (0..88).map(|_| (spread * random.normal()).exp()).collect();
            let at = |rounds: usize| SignInterval::of(values[..rounds].to_vec(), 0.05);
            let end = LOOKS.into_iter().find(|&rounds| is_enough(&[at(rounds)], &[2]));
            !at(end.unwrap_or(88)).unwrap().excludes(1.0)
        });
        assert!(covers >= 0.94, "spread {spread}: {covers}");
    }
}

#[test]
fn a_baseline_agrees_with_itself() {
    let mut random = Random(3);
    let doubts = share(2000, || {
        let mut seat = || -> Vec<Option<f64>> {
            (0..22).map(|_| Some((0.04 * random.normal()).exp())).collect()
        };
        let ratio = SignInterval::of(ratios(&seat(), &seat()), 0.05).unwrap();
        Doubt::of_baseline(ratio).is_some()
    });
    assert!(doubts <= 0.06, "{doubts}");
}

/// A machine that takes its CPU away: on average `duty` of the time, in pieces of `piece_ns`.
#[derive(Clone, Copy)]
struct Theft {
    duty: f64,
    piece_ns: f64,
}

/// After a piece was taken, cold caches slow the work down by this much for this time.
const COLD_SLOWDOWN: f64 = 1.3;
const COLD_NS: f64 = 30_000.0;

/// Stamps of `frames` echoes that take `frame_ns` each where nobody steals.
fn drain(random: &mut Random, theft: Theft, frames: usize, frame_ns: f64) -> Vec<u64> {
    let between = theft.piece_ns * (1.0 - theft.duty) / theft.duty;
    let (mut now, mut cold_until) = (0.0, 0.0);
    let mut next_theft = random.exponential(between);
    let stamp = |_| {
        let slow = if now < cold_until { COLD_SLOWDOWN } else { 1.0 };
        now += frame_ns * slow * (1.0 + 0.1 * random.normal());
        while now >= next_theft {
            now += theft.piece_ns;
            cold_until = now + COLD_NS;
            next_theft = now + random.exponential(between);
        }
        now as u64
    };
    (0..frames).map(stamp).collect()
}

/// The rate of a drain; it is repeated up to three times where it does not count.
fn rate(random: &mut Random, theft: Theft, frames: usize, frame_ns: f64) -> Option<f64> {
    let drains = (0..4).map(|_| {
        let stamps = drain(random, theft, frames, frame_ns);
        Slices::cut(&stamps, frames_per_slice(32, &stamps, SLICE_AIM_NS))
    });
    drains.flatten().find(Slices::counts).map(|slices| slices.rate_pps())
}

/// The ratio of a fast to a slow path, and its state, after `LOOKS[0]` rounds.
fn ratio(random: &mut Random, theft: Theft) -> (Option<SignInterval>, State) {
    let rates = |random: &mut Random, frame_ns| -> Vec<Option<f64>> {
        (0..LOOKS[0]).map(|_| rate(random, theft, 2048, frame_ns)).collect()
    };
    let (fast, slow) = (rates(random, FAST_NS), rates(random, FAST_NS * TRUE_RATIO));
    let valid = ratios(&fast, &slow).count();
    let ratio = SignInterval::of(ratios(&fast, &slow), 0.05);
    (ratio, State::of_ratio(ratio, valid, 0.05, theft.duty))
}

const FAST_NS: f64 = 500.0;
const TRUE_RATIO: f64 = 3.58;

#[test]
fn a_robbed_machine_has_the_rates_of_a_quiet_one_or_says_so() {
    let mut random = Random(4);
    for (duty, piece_ms) in
        [(0.001, 1.0), (0.3, 1.0), (0.3, 4.0), (0.5, 1.0), (0.5, 4.0), (0.7, 1.0), (0.7, 4.0)]
    {
        let theft = Theft { duty, piece_ns: piece_ms * 1e6 };
        for _ in 0..5 {
            let found = rate(&mut random, theft, 2048, FAST_NS).expect("a drain that counts");
            assert!((found * FAST_NS / 1e9 - 1.0).abs() < 0.1, "{duty}, {piece_ms} ms: {found}");
        }
        let mut silent = 0;
        for _ in 0..20 {
            let (ratio, state) = ratio(&mut random, theft);
            silent += usize::from(!state.tells());
            if state.tells() {
                let found = ratio.unwrap().estimate / TRUE_RATIO;
                assert!((found - 1.0).abs() < 0.1, "{duty}, {piece_ms} ms: {found}");
            }
        }
        assert!(silent <= 4, "{duty}, {piece_ms} ms: {silent} of 20 could not tell");
    }
    let hopeless = Theft { duty: 0.9, piece_ns: 1e6 };
    for _ in 0..20 {
        let (ratio, state) = ratio(&mut random, hopeless);
        let right = ratio.is_some_and(|it| (it.estimate / TRUE_RATIO - 1.0).abs() < 0.1);
        assert!(right || !state.tells(), "{ratio:?}");
    }
}
