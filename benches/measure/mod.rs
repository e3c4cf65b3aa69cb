//! A small measuring loop for code that makes no system call: batches of calls, timed one by one.
//!
//! Shown is the time of one item of work, as the median of the batches with the fastest and the slowest of
//! them. `cargo bench --bench ring -- run` measures only what has `run` in its name. Without `--bench`, as in
//! `cargo test --benches`, everything runs once, its assertions too, and nothing is timed.

use std::time::{Duration, Instant};

use linerate::stats::spread::Spread;

/// A batch takes longer than the clock's step and a timer interrupt, shorter than a slice of CPU time.
const BATCH_MIN: Duration = Duration::from_millis(2);
const BATCHES: usize = 101;
/// States that are in memory together: few, since one may be a ring, and more than one, so that reading the
/// clock costs little.
const AT_ONCE: u64 = 16;

/// Measures `call`, which works through `items`.
pub fn calls(name: &str, items: u64, mut call: impl FnMut()) {
    timed(name, items, |rounds| {
        let began = Instant::now();
        (0..rounds).for_each(|_| call());
        began.elapsed()
    });
}

/// Measures `call`, which works through `items`, on a state of its own for each call. Making and dropping the state
/// is not timed.
#[allow(dead_code, reason = "not every bench needs it")]
pub fn calls_on<S>(
    name: &str,
    items: u64,
    mut fresh: impl FnMut() -> S,
    mut call: impl FnMut(&mut S),
) {
    timed(name, items, |rounds| {
        let (mut spent, mut left) = (Duration::ZERO, rounds);
        while left > 0 {
            let mut states: Vec<S> = (0..left.min(AT_ONCE)).map(|_| fresh()).collect();
            left -= states.len() as u64;
            let began = Instant::now();
            states.iter_mut().for_each(&mut call);
            spent += began.elapsed();
        }
        spent
    });
}

/// Measures calls whose number `rounds` is given, and whose time it tells.
pub fn timed(name: &str, items: u64, mut rounds: impl FnMut(u64) -> Duration) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag| arguments.iter().any(|argument| argument == flag);
    let mut wanted = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    if has("--list")
        || (wanted.peek().is_some() && !wanted.any(|part| name.contains(part.as_str())))
    {
        return;
    }
    if !has("--bench") {
        rounds(1);
        return;
    }
    let mut calls = 1;
    while rounds(calls) < BATCH_MIN {
        calls *= 2;
    }
    let of_one = |spent: Duration| spent.as_nanos() as f64 / (calls * items) as f64;
    let batches = (0..BATCHES).map(|_| of_one(rounds(calls)));
    let ns = Spread::of(batches).expect("batches");
    println!(
        "{name:<40} {:>10.2} ns ({:.2} to {:.2}) {:>9.2} M/s",
        ns.median,
        ns.min,
        ns.max,
        1e3 / ns.median,
    );
}
