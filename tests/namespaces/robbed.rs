//! A machine that takes the CPUs away: the program measures on, and says so.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use libtest_mimic::Failed;
use linerate::sys::cpus::{choose_cpus, pin};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::check::{Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test("robbed: a load among thieves is disturbed", load_among_thieves),
        test("robbed: a load that nobody's counters show to be stopped has gaps", stopped_load),
        test("robbed: a search among thieves is never clear", search_among_thieves),
    ]
}

/// So many frames that the generator never sleeps between two.
const LOAD: &str = "load --lab ring -r 20k -d 1s --interval 200ms --breakdown --json -";

/// The program's document and text, with `meanwhile` done as long as it runs.
fn run(line: &str, mut meanwhile: impl FnMut(Pid)) -> Result<(Value, String), Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linerate"));
    let command = command.args(line.split(' '));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let pid = Pid::from_raw(child.id().try_into()?);
    let output = thread::scope(|scope| {
        let output = scope.spawn(|| child.wait_with_output());
        while !output.is_finished() {
            meanwhile(pid);
        }
        output.join()
    });
    let output = output.map_err(|_| "the reader panicked")??;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {text}", output.status);
    Ok((serde_json::from_slice(&output.stdout)?, text))
}

/// Does `work` while a thread spins on each CPU.
fn among_thieves<T>(work: impl FnOnce() -> Result<T, Failed>) -> Result<T, Failed> {
    let over = AtomicBool::new(false);
    let cpus = choose_cpus(&[])?;
    thread::scope(|scope| {
        for &cpu in &cpus {
            let over = &over;
            scope.spawn(move || {
                pin(cpu).expect("a CPU of this process");
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })
}

fn wait_a_moment(_: Pid) {
    thread::sleep(Duration::from_millis(5));
}

/// The account of the CPU that `role` has.
fn cpu<'a>(document: &'a Value, role: &str) -> &'a Value {
    let cpus = document["taken"]["cpus"].as_array().expect("a list");
    cpus.iter().find(|cpu| cpu["role"] == role).expect("both have a CPU")
}

fn load_among_thieves() -> Result<(), Failed> {
    let (document, text) = among_thieves(|| run(LOAD, wait_a_moment))?;
    assert_ne!(document["state"]["state"], "clear", "{document:#}");
    assert!(text.contains("DISTURBED") && text.contains("ROBBED"), "{text}");
    for role in ["generator", "engine"] {
        assert!(cpu(&document, role)["run_delay_ns"].as_u64() > Some(0), "{document:#}");
    }
    let generator = cpu(&document, "generator");
    assert!(generator["involuntary_switches"].as_u64() > Some(0), "{document:#}");
    // What the counters show, the loop sees as well.
    assert!(generator["gap_ns"].as_u64() > Some(1_000_000), "{document:#}");
    assert!(document["response_untouched_share"].as_f64() < Some(1.0), "{document:#}");
    let intervals = document["intervals"].as_array().expect("a list");
    assert!(intervals.iter().any(|one| one["state"]["state"] != "clear"), "{document:#}");
    Ok(())
}

fn stopped_load() -> Result<(), Failed> {
    const STOPPED: Duration = Duration::from_millis(20);
    let (document, text) = run(LOAD, |pid| {
        // It may have ended.
        let _ = kill(pid, Signal::SIGSTOP);
        thread::sleep(STOPPED);
        let _ = kill(pid, Signal::SIGCONT);
        thread::sleep(STOPPED);
    })?;
    let generator = cpu(&document, "generator");
    let longest_ns = generator["longest_gap_ns"].as_u64().expect("it spins");
    assert!(longest_ns >= STOPPED.as_nanos() as u64, "{document:#}");
    assert!(generator["gap_ns"].as_u64() >= Some(5 * longest_ns.min(20_000_000)), "{document:#}");
    let evidence = generator["evidence"].as_array().expect("a list");
    assert!(evidence.contains(&Value::from("clock_gaps")), "{document:#}");
    assert_ne!(document["state"]["state"], "clear", "{document:#}");
    assert!(text.contains("DISTURBED"), "{text}");
    Ok(())
}

fn search_among_thieves() -> Result<(), Failed> {
    let line = "search --sizes 64 --paths ring --loss 0 --width 20% --trial-duration 100ms \
                --initial-duration 50ms --duration-sum 100ms --confirm 0s --max-duration 5s --json -";
    let (document, _) = among_thieves(|| run(line, wait_a_moment))?;
    let found = &document["results"][0];
    assert_ne!(found["goals"][0]["state"]["state"], "clear", "{found:#}");
    let trials = found["trials"].as_array().expect("a list");
    let share = |trial: &Value| {
        let cpus = trial["outcome"]["taken"]["cpus"].as_array().expect("a list");
        let shares = cpus.iter().filter_map(|cpu| cpu["disturbed_share"].as_f64());
        shares.fold(0.0, f64::max)
    };
    assert!(trials.iter().any(|trial| share(trial) > 0.05), "{found:#}");
    Ok(())
}
