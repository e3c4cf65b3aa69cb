//! What verifying costs a generator that sends and receives on one CPU: floods into our engine, which
//! echoes every frame, against floods into the same engine that receives and answers nothing.
//!
//! Floods of both kinds take turns in a veth testbed of the bench's own, so that what drifts disturbs
//! both alike. Shown are the rates, their ratio, and the generator's CPU time for each frame, which
//! does not count what other work on the machine takes away.
//!
//! `cargo bench --bench verify_cost [-- --pairs N] [-- --size BYTES] [-- --rx v3|v2|recv]`

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use linerate::bench::testbed::Testbed;
use linerate::engine::config::{EngineConfig, PathName};
use linerate::engine::edit::Transform;
use linerate::engine::pool::Engine;
use linerate::engine::storm::Allowance;
use linerate::error::{Error, Result};
use linerate::lab::LabConfig;
use linerate::load::plan::{Limits, LoadSpec, Sizes};
use linerate::load::rate::Rate;
use linerate::load::run::Load;
use linerate::load::rx::RxChoice;
use linerate::ring::budget::MemoryBudget;
use linerate::stats::spread::Spread;
use linerate::sys::cpus::choose_cpus;
use linerate::sys::privilege::ensure_namespaces_allowed;
use linerate::units::FrameSize;
use linerate::wire::ethernet::MacAddress;
use nix::time::{ClockId, clock_gettime};

struct Plan {
    pairs: usize,
    flood: Duration,
    size: FrameSize,
    receive: Option<RxChoice>,
}

/// What a flood came to.
struct Flood {
    sent_pps: f64,
    /// CPU time of the generator for each frame, user and kernel.
    cpu_ns: f64,
    /// The part of the frames that came back intact.
    intact: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    // Cargo passes `--bench` when it benchmarks, and not when it tests.
    let whole = arguments.iter().any(|argument| argument == "--bench");
    let plan = Plan {
        pairs: option(&arguments, "--pairs").unwrap_or(if whole { 10 } else { 1 }),
        flood: Duration::from_millis(if whole { 500 } else { 20 }),
        size: option(&arguments, "--size").unwrap_or(FrameSize::smallest()),
        receive: option(&arguments, "--rx"),
    };
    // Before any thread exists: a user namespace is entered by the whole process.
    if let Err(error) = ensure_namespaces_allowed() {
        eprintln!("*** NOTHING IS MEASURED HERE: {error}");
        let forced = std::env::var_os("CI").is_some_and(|value| value == "true");
        return if forced { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    match measure(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn option<T: FromStr>(arguments: &[String], name: &str) -> Option<T> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.get(at + 1)?.parse().ok()
}

fn measure(plan: &Plan) -> Result<()> {
    let testbed = Testbed::lab_with(plan.size, LabConfig::default())?;
    let cpus = match choose_cpus(&[])?[..] {
        [first, second, ..] => (first, second),
        _ => return Err(Error::Run("two CPUs are needed, or nothing is told apart".into())),
    };
    testbed.generator.namespace.run(|| {
        let (mut rates, mut costs) = (Vec::new(), Vec::new());
        for number in 0..plan.pairs {
            let flood = |echoes| flood(&testbed, plan, cpus, echoes);
            let (echoed, silent) = match number % 2 {
                0 => (flood(true)?, flood(false)?),
                _ => {
                    let silent = flood(false)?;
                    (flood(true)?, silent)
                }
            };
            rates.push(echoed.sent_pps / silent.sent_pps);
            costs.push(silent.cpu_ns / echoed.cpu_ns);
            println!(
                "pair {:>2}: echoed {:>8.0}/s, {:>6.0} ns a frame, {:>5.1} % back; silent {:>8.0}/s, \
                 {:>6.0} ns; rate x {:.3}, CPU x {:.3}",
                number + 1,
                echoed.sent_pps,
                echoed.cpu_ns,
                100.0 * echoed.intact,
                silent.sent_pps,
                silent.cpu_ns,
                echoed.sent_pps / silent.sent_pps,
                silent.cpu_ns / echoed.cpu_ns,
            );
        }
        for (what, ratios) in [("rate", rates), ("frames a CPU second", costs)] {
            if let Some(Spread { median, min, max, .. }) = Spread::of(ratios) {
                println!("verified against sent only, {what}: x {median:.3} ({min:.3} to {max:.3})");
            }
        }
        Ok(())
    })?
}

fn flood(testbed: &Testbed, plan: &Plan, cpus: (usize, usize), echoes: bool) -> Result<Flood> {
    let mut config = EngineConfig {
        namespace: Some(testbed.engine.namespace.clone()),
        path: PathName::RING,
        cpus: vec![cpus.1],
        ..EngineConfig::new(&testbed.engine.link.name)
    };
    if !echoes {
        (config.transform, config.unchanged) = (Transform::None, Allowance::PerSecond(0));
    }
    let engine = Engine::start(&config)?;
    let (here, there) = (&testbed.generator.link, &testbed.engine.link);
    let addresses = (MacAddress(here.mac), MacAddress(there.mac));
    let mut load = LoadSpec::new(here.index, here.mtu as usize, addresses.0, addresses.1);
    load.sizes = Sizes::Fixed(plan.size);
    let load = LoadSpec {
        warm_up: plan.flood / 4,
        drain: Duration::from_millis(50),
        rx: plan.receive,
        cpus: vec![cpus.0],
        ..load.paced(Rate::Max, Limits::lasting(plan.flood))
    };
    let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
    let before = process_cpu_ns()? - engine.cpu_ns();
    let outcome = Load::run(&load, &budget, &mut |_| {})?;
    let cpu_ns = process_cpu_ns()? - engine.cpu_ns() - before;
    engine.stop();
    let frames = outcome.sent + outcome.warm_up.sent;
    let intact = outcome.tally.intact + outcome.warm_up.tally.intact;
    assert_eq!(intact > 0, echoes, "it echoes, or it answers nothing: {:?}", outcome.tally);
    assert_eq!(outcome.tally.returned(), outcome.tally.intact, "{:?}", outcome.tally);
    Ok(Flood {
        sent_pps: outcome.achieved_pps().unwrap_or(0.0),
        cpu_ns: cpu_ns as f64 / frames.max(1) as f64,
        intact: intact as f64 / frames.max(1) as f64,
    })
}

fn process_cpu_ns() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    let time = time.map_err(|error| Error::Run(format!("the process's CPU time: {error}")))?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}
