//! Trials that measure time, on a machine that may have other work. A trial that failed while the machine
//! stood still is repeated. If it stays spoiled it fails and says so: a spoiled trial is not a pass.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use linerate::sys::cpus::{choose_cpus, pin};

/// A CPU that does not run a thread that is due for this long has spoiled what was timed meanwhile.
const STALL: Duration = Duration::from_millis(50);
const ATTEMPTS: usize = 5;

/// Runs `trial` until it passes. A failure counts at once if every CPU ran whoever was due.
pub fn unless_spoiled(mut trial: impl FnMut() -> Result<(), Failed>) -> Result<(), Failed> {
    let mut failures = Vec::new();
    for _ in 0..ATTEMPTS {
        let (ended, stall) = watched(&mut trial)?;
        let Err(failed) = ended else { return Ok(()) };
        let reason = failed.message().unwrap_or("no reason given").to_owned();
        if stall < STALL {
            return Err(reason.into());
        }
        failures.push(format!("stall of {} ms: {reason}", stall.as_millis()));
    }
    Err(format!("spoiled by the machine, {ATTEMPTS} times:\n{}", failures.join("\n")).into())
}

/// Runs `trial`, and gives the longest time for which a CPU did not run a thread that was due.
fn watched(
    trial: &mut impl FnMut() -> Result<(), Failed>,
) -> Result<(Result<(), Failed>, Duration), Failed> {
    let (over, longest) = (AtomicBool::new(false), AtomicU64::new(0));
    let cpus = choose_cpus(&[])?;
    let ended = thread::scope(|scope| {
        for &cpu in &cpus {
            let (over, longest) = (&over, &longest);
            scope.spawn(move || watch(cpu, over, longest));
        }
        let ended = catch_unwind(AssertUnwindSafe(trial));
        over.store(true, Ordering::Relaxed);
        ended
    });
    let ended = ended.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(text.unwrap_or_else(|| "it panicked".to_owned()).into())
    });
    Ok((ended, Duration::from_nanos(longest.into_inner())))
}

fn watch(cpu: usize, over: &AtomicBool, longest_ns: &AtomicU64) {
    const NAP: Duration = Duration::from_millis(5);
    if pin(cpu).is_err() {
        return;
    }
    while !over.load(Ordering::Relaxed) {
        let before = Instant::now();
        thread::sleep(NAP);
        let late = before.elapsed().saturating_sub(NAP);
        longest_ns.fetch_max(late.as_nanos() as u64, Ordering::Relaxed);
    }
}
