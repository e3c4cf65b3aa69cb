//! What keeping the latency histogram costs, in CPU time for each frame: paired trials with it on
//! and off, over path `ring` with 64-byte frames, where a fixed cost weighs most.
//!
//! Each trial is an engine of its own in a veth testbed of the bench's own, measured twice:
//!
//! * **drain**: the ring is filled while the engine is paused, the generator stops, and the engine's
//!   CPU time for echoing just that is taken. The same frames in the same full blocks each time,
//!   and nobody else at work. The median of a trial's drains leaves out those that something on
//!   the machine disturbed: this is what is judged.
//! * **flood**: CPU time under full load. How many frames a wake-up finds, and with whom the engine
//!   shares caches and locks of the kernel, is left to chance, so that this one is only shown.
//!
//! The two trials of a pair follow each other, and which comes first alternates, so that what drifts
//! disturbs both alike. Judged is the upper end of the 95 % interval (Student's t on the mean of the
//! pairs' log ratios): above 1.05 the bench fails. Fewer than ten pairs (`--quick`) are not judged.
//!
//! `cargo bench --bench histogram_cost [-- --pairs N] [-- --quick]`

use std::process::ExitCode;
use std::time::Duration;

use linerate::bench::testbed::{End, Testbed};
use linerate::engine::config::EngineConfig;
use linerate::engine::pool::Engine;
use linerate::engine::turn::LatencyMode;
use linerate::error::{Error, Result};
use linerate::lab::LabConfig;
use linerate::load::plan::{Limits, LoadSpec};
use linerate::load::rate::Rate;
use linerate::load::run::Load;
use linerate::ring::budget::MemoryBudget;
use linerate::stats::spread::Spread;
use linerate::sys::clock;
use linerate::sys::cpus::choose_cpus;
use linerate::sys::privilege::ensure_namespaces_allowed;
use linerate::units::FrameSize;
use linerate::wire::ethernet::MacAddress;

/// The most that keeping the histogram may cost: 5 %.
const RATIO_MAX: f64 = 1.05;
/// Fewer pairs say nothing about their spread.
const PAIRS_MIN: usize = 5;
/// Fewer have an interval so wide that a fault of the histogram and a busy machine look alike.
const PAIRS_TO_JUDGE: usize = 10;
/// Longer than a block waits for its retire timeout, and than a worker needs to finish a batch.
const SETTLE: Duration = Duration::from_millis(10);
/// Nothing came for so long: what is not back from a flood is lost.
const QUIET: Duration = Duration::from_millis(100);
/// As long for a drain, which ends as soon as all is back: a busy machine may keep the engine off
/// its CPU for a while, and its CPU time does not count that.
const DRAIN_QUIET: Duration = Duration::from_secs(2);

/// How much is done.
#[derive(Clone, Copy)]
struct Plan {
    pairs: usize,
    flood: Duration,
    drains: usize,
    drain_frames: u64,
}

const WHOLE: Plan =
    Plan { pairs: 20, flood: Duration::from_millis(200), drains: 10, drain_frames: 8000 };
const QUICK: Plan = Plan { pairs: PAIRS_MIN, ..WHOLE };
/// Whether it runs at all, as `cargo test --benches` asks.
const SMOKE: Plan =
    Plan { pairs: 1, flood: Duration::from_millis(20), drains: 1, drain_frames: 500 };

/// CPU time of the engine for each echo, in nanoseconds.
#[derive(Clone, Copy)]
struct Cost {
    drain_ns: f64,
    flood_ns: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let plan = match plan(&arguments) {
        Ok(plan) => plan,
        Err(reason) => {
            eprintln!("{reason}");
            return ExitCode::from(2);
        }
    };
    // Before any thread exists: a user namespace is entered by the whole process.
    if let Err(error) = ensure_namespaces_allowed() {
        eprintln!("*** NOTHING IS MEASURED HERE: {error}");
        let forced = std::env::var_os("CI").is_some_and(|value| value == "true");
        return if forced { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    match measure_pairs(plan) {
        Ok(pairs) => report(&pairs),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Cargo passes `--bench` when it benchmarks, and not when it tests.
fn plan(arguments: &[String]) -> std::result::Result<Plan, String> {
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let mut plan = match (has("--bench"), has("--quick")) {
        (false, _) => SMOKE,
        (true, true) => QUICK,
        (true, false) => WHOLE,
    };
    if let Some(at) = arguments.iter().position(|argument| argument == "--pairs") {
        let pairs = arguments.get(at + 1).and_then(|number| number.parse().ok());
        let enough = pairs.filter(|&pairs| pairs >= PAIRS_MIN);
        plan.pairs = enough.ok_or(format!("--pairs takes a number from {PAIRS_MIN}"))?;
    }
    Ok(plan)
}

/// Pairs of the cost with the histogram and without it.
fn measure_pairs(plan: Plan) -> Result<Vec<(Cost, Cost)>> {
    let testbed = Testbed::lab_with(FrameSize::smallest(), LabConfig::default())?;
    let cpus = choose_cpus(&[])?;
    let [generator_cpu, engine_cpu] = match cpus[..] {
        [first, second, ..] => [first, second],
        _ => return Err(Error::Run("two CPUs are needed, or nothing is told apart".into())),
    };
    testbed.generator.namespace.run(|| {
        let measure = |kept| measure(&testbed, plan, generator_cpu, engine_cpu, kept);
        let mut pairs = Vec::new();
        for number in 0..plan.pairs {
            let on_first = number % 2 == 0;
            let first = measure(on_first)?;
            let second = measure(!on_first)?;
            let (on, off) = if on_first { (first, second) } else { (second, first) };
            println!(
                "pair {:>2}: drain {:>6.1} ns on, {:>6.1} ns off, x {:.3}; flood {:>6.1} on, {:>6.1} off, x {:.3}",
                number + 1,
                on.drain_ns,
                off.drain_ns,
                on.drain_ns / off.drain_ns,
                on.flood_ns,
                off.flood_ns,
                on.flood_ns / off.flood_ns,
            );
            pairs.push((on, off));
        }
        Ok(pairs)
    })?
}

/// One trial, with the histogram `kept` or not.
fn measure(
    testbed: &Testbed,
    plan: Plan,
    generator_cpu: usize,
    engine_cpu: usize,
    kept: bool,
) -> Result<Cost> {
    let engine = Engine::start(&EngineConfig {
        namespace: Some(testbed.engine.namespace.clone()),
        cpus: vec![engine_cpu],
        latency: if kept { LatencyMode::On } else { LatencyMode::Off },
        ..EngineConfig::new(&testbed.engine.link.name)
    })?;
    let config = load(&testbed.generator, &testbed.engine);
    let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
    let flood = LoadSpec {
        quiet: Some(QUIET),
        drain: DRAIN_QUIET,
        cpus: vec![generator_cpu],
        ..config.clone().paced(Rate::Max, Limits::lasting(plan.flood))
    };
    // Caches, page tables and the frequency governor get warm.
    let warm_up = LoadSpec { limits: Limits::lasting(plan.flood / 4), ..flood.clone() };
    Load::run(&warm_up, &budget, &mut |_| {})?;

    let before = engine.cpu_ns();
    let flood = Load::run(&flood, &budget, &mut |_| {})?;
    clock::sleep(SETTLE);
    let echoed = (flood.tally.returned() + flood.kernel.drops).max(1);
    let flood_ns = (engine.cpu_ns() - before) as f64 / echoed as f64;

    let bursts = LoadSpec { cpus: vec![generator_cpu], ..config.bursts(plan.drain_frames) };
    let mut load = Load::open(&bursts, &budget)?;
    let mut drains = Vec::new();
    for _ in 0..plan.drains {
        engine.pause();
        let filled = load.fill(plan.drain_frames)?;
        let sent = filled.sent();
        clock::sleep(SETTLE);
        let before = engine.cpu_ns();
        engine.resume();
        let drain = filled.collect(DRAIN_QUIET)?;
        // The latencies of the last batch are recorded after its echoes have left.
        clock::sleep(SETTLE);
        let cpu_ns = engine.cpu_ns() - before;
        if !drain.is_clean() || drain.sent != sent {
            return Err(Error::Run(format!("{sent} frames were drained as {:?}", drain.tally)));
        }
        drains.push(cpu_ns as f64 / sent.max(1) as f64);
    }
    drop(load);

    let summary = engine.stop();
    if let Some(failure) = summary.failures.first() {
        return Err(Error::Run(failure.clone()));
    }
    let latencies = summary.latency.map_or(0, |latency| latency.count());
    // What is compared is what it says it is.
    let expected = if kept { summary.counters.forwarded } else { 0 };
    assert_eq!(latencies, expected, "one latency for each echo, or none at all");
    let drain_ns = Spread::of(drains).map_or(f64::NAN, |drains| drains.median);
    Ok(Cost { drain_ns, flood_ns })
}

fn load(here: &End, there: &End) -> LoadSpec {
    let mtu = here.link.mtu as usize;
    let (source, destination) = (MacAddress(here.link.mac), MacAddress(there.link.mac));
    LoadSpec::new(here.link.index, mtu, source, destination)
}

fn report(pairs: &[(Cost, Cost)]) -> ExitCode {
    if pairs.len() < PAIRS_MIN {
        println!("it works; {} pair is too few to say what the histogram costs", pairs.len());
        return ExitCode::SUCCESS;
    }
    let interval = |cost: fn(&Cost) -> f64| {
        Interval::of(pairs.iter().map(|(on, off)| cost(on) / cost(off)).collect())
    };
    let (drain, flood) = (interval(|cost| cost.drain_ns), interval(|cost| cost.flood_ns));
    println!("flood: on costs {flood} (shown only: what a wake-up finds is left to chance)");
    println!("drain: on costs {drain}");
    if pairs.len() < PAIRS_TO_JUDGE {
        println!("too few pairs to judge: that takes {PAIRS_TO_JUDGE}");
        return ExitCode::SUCCESS;
    }
    if drain.upper > RATIO_MAX {
        println!("FAILED: the histogram may cost more than {:.0} %", 100.0 * (RATIO_MAX - 1.0));
        return ExitCode::FAILURE;
    }
    println!(
        "keeping the histogram costs at most {:.0} % of CPU per frame",
        100.0 * (RATIO_MAX - 1.0)
    );
    ExitCode::SUCCESS
}

/// The geometric mean of paired ratios with its 95 % interval.
struct Interval {
    mean: f64,
    lower: f64,
    upper: f64,
    /// Standard deviation of a single pair, as a part of the ratio.
    spread: f64,
    pairs: usize,
}

impl Interval {
    fn of(ratios: Vec<f64>) -> Interval {
        let pairs = ratios.len();
        let logs: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
        let mean = logs.iter().sum::<f64>() / pairs as f64;
        let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
        let spread = (squares / (pairs - 1) as f64).sqrt();
        let half = t_quantile(pairs - 1) * spread / (pairs as f64).sqrt();
        Interval {
            mean: mean.exp(),
            lower: (mean - half).exp(),
            upper: (mean + half).exp(),
            spread,
            pairs,
        }
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "x {:.4}, 95 % interval {:.4} to {:.4} over {} pairs, each scattering by {:.1} %",
            self.mean,
            self.lower,
            self.upper,
            self.pairs,
            100.0 * self.spread,
        )
    }
}

/// The 97.5 % quantile of Student's t, by the expansion of Abramowitz and Stegun, 26.7.5; within
/// 0.5 % of the tables from 4 degrees of freedom on.
fn t_quantile(degrees: usize) -> f64 {
    let (z, n) = (1.959_963_984_540_054_f64, degrees as f64);
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / n + second / n.powi(2) + third / n.powi(3)
}
