//! What is done to a whole process that measures: it is stopped and continued, and its CPUs are taken away.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed};
use linerate::sys::cpus::choose_cpus;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::check::{Test, eventually, possible_test, test};
use crate::load_program::is_sending;
use crate::spoiled::unless_spoiled;

pub fn tests() -> Vec<Test> {
    vec![
        test("process: a load that was stopped for a while says so", || {
            stopped(4, Duration::from_millis(500)).map(drop)
        }),
        test("process: a load that was stopped until its end is generator-limited", || {
            let document = stopped(1, Duration::from_millis(1200))?;
            assert!(document["generator_limited"].is_string(), "{document:#}");
            assert!(document["unsent_late"].as_u64() > Some(0), "{document:#}");
            Ok(())
        }),
        possible_test("process: a load serves on when its cpuset shrinks", cpuset),
    ]
}

/// A load in a lab of its own, with an engine of ours, so that all of it is one process.
struct Running {
    child: Child,
    said: std::io::Lines<BufReader<std::process::ChildStderr>>,
    /// What its schedule has.
    frames: u64,
}

impl Running {
    /// Sending for so many seconds, with `begin` done to it before.
    fn start(
        seconds: u64,
        begin: impl FnOnce(&Child) -> Result<(), Failed>,
    ) -> Result<Running, Failed> {
        let line = "load --lab ring -r 5k --warmup 0 --drain 5s --interval 20ms --json - -d";
        let mut command = Command::new(env!("CARGO_BIN_EXE_linerate"));
        command
            .args(line.split(' '))
            .arg(format!("{seconds}s"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        begin(&child)?;
        let mut said = BufReader::new(child.stderr.take().ok_or("a pipe")?).lines();
        let sending = said.by_ref().any(|line| line.is_ok_and(|line| is_sending(&line)));
        assert!(sending, "it sends nothing");
        Ok(Running { child, said, frames: seconds * 5000 })
    }

    fn signal(&self, signal: Signal) -> Result<(), Failed> {
        Ok(kill(Pid::from_raw(self.child.id().try_into()?), signal)?)
    }

    /// That field of the status of each thread.
    fn threads(&self, field: &str) -> Result<Vec<String>, Failed> {
        let mut found = Vec::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end meanwhile.
            let Ok(status) = fs::read_to_string(task?.path().join("status")) else { continue };
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            found.push(line.ok_or("no such field")?.trim().to_owned());
        }
        Ok(found)
    }

    /// The document of the load, once it has ended well; every sum in it is right.
    fn document(mut self) -> Result<Value, Failed> {
        let said: Vec<String> = self.said.by_ref().map_while(Result::ok).collect();
        let out = std::io::read_to_string(self.child.stdout.take().ok_or("a pipe")?)?;
        assert_eq!(self.child.wait()?.code(), Some(0), "{}", said.join("\n"));
        let document: Value = serde_json::from_str(&out)?;
        let count = |value: &Value| value.as_u64().expect("a count");
        let sum =
            |of: &Value, names: &[&str]| names.iter().map(|name| count(&of[*name])).sum::<u64>();
        assert_eq!(
            count(&document["offered"]),
            sum(&document, &["sent", "unsent_late", "unsent_refused"]),
        );
        let ends = ["intact", "corrupted", "not_transformed", "truncated", "lost"];
        assert_eq!(count(&document["sent"]), sum(&document["frames"], &ends));
        assert_eq!(document["waterfall"]["unexplained"], 0, "{document:#}");
        // The schedule does not forget what it could not send in time.
        assert_eq!(count(&document["offered"]), self.frames);
        Ok(document)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An end by itself is no error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nobody in the process sees the stop, and its clock goes on: what was due meanwhile leaves late.
fn stopped(seconds: u64, least: Duration) -> Result<Value, Failed> {
    let mut found = Value::Null;
    unless_spoiled(|| {
        let running = Running::start(seconds, |_| Ok(()))?;
        running.signal(Signal::SIGSTOP)?;
        eventually("every thread stands still", || {
            Ok(running.threads("State:")?.iter().all(|state| state.starts_with('T')))
        })?;
        let began = Instant::now();
        std::thread::sleep(least);
        let stop = began.elapsed();
        running.signal(Signal::SIGCONT)?;
        let frames = running.frames;
        let document = running.document()?;
        let departures = &document["departures"];
        let worst_ns = departures["lateness_ns"]["max"].as_u64().ok_or("a time")?;
        let late = departures["late"].as_u64().ok_or("a count")?
            + document["unsent_late"].as_u64().ok_or("a count")?;
        // Either it went on before its time was over, and what was due meanwhile left late; or it sent no more.
        let due = 5 * stop.as_millis() as u64;
        assert!(late >= due.min(frames / 2), "{late} of {due}: {document:#}");
        let has_gone_on = document["unsent_late"] == 0;
        // The histogram is right to a thousandth.
        let least_ns = stop.as_nanos() as u64 / 1000 * 998;
        assert!(!has_gone_on || worst_ns >= least_ns, "{worst_ns} ns of {stop:?}");
        found = document;
        Ok(())
    })?;
    Ok(found)
}

/// A cpuset that this test made; it goes with it.
struct Cpuset(PathBuf);

impl Cpuset {
    /// A fresh one with everything that the one above it has; `None` where none may be made. A control
    /// group of version 2 is only made where the machine has given cpusets to such groups already.
    fn make() -> Option<Cpuset> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let above = mounts.lines().find_map(|line| {
            let [_, place, kind, options, ..] = line.split(' ').collect::<Vec<_>>()[..] else {
                return None;
            };
            let given = || fs::read_to_string(Path::new(place).join("cgroup.subtree_control"));
            let is_here = match kind {
                "cgroup" => options.split(',').any(|option| option == "cpuset"),
                "cgroup2" => given().is_ok_and(|all| all.split_whitespace().any(|c| c == "cpuset")),
                _ => false,
            };
            is_here.then(|| PathBuf::from(place))
        })?;
        let own = above.join(format!("linerate-test-{}", std::process::id()));
        fs::create_dir(&own).ok()?;
        let made = Cpuset(own);
        for (name, effective) in [
            ("cpuset.cpus", ["cpuset.cpus.effective", "cpuset.effective_cpus"]),
            ("cpuset.mems", ["cpuset.mems.effective", "cpuset.effective_mems"]),
        ] {
            let all =
                effective.iter().find_map(|file| fs::read_to_string(above.join(file)).ok())?;
            made.write(name, all.trim()).ok()?;
        }
        Some(made)
    }

    fn write(&self, file: &str, text: &str) -> std::io::Result<()> {
        fs::write(self.0.join(file), text)
    }
}

impl Drop for Cpuset {
    fn drop(&mut self) {
        // Whoever was in it has ended, or it stays.
        let _ = fs::remove_dir(&self.0);
    }
}

/// The kernel moves every thread, whatever CPU it had been put on.
fn cpuset() -> Result<Completion, Failed> {
    let cpus = choose_cpus(&[])?;
    // Neither can be had by whoever runs the tests, so that no pipeline fails for it.
    let [first, _, ..] = cpus[..] else {
        return Ok(Completion::ignored_with("one CPU cannot be taken away"));
    };
    let Some(cpuset) = Cpuset::make() else {
        return Ok(Completion::ignored_with("no cpuset can be made here"));
    };
    let running =
        Running::start(4, |child| Ok(cpuset.write("cgroup.procs", &child.id().to_string())?))?;
    cpuset.write("cpuset.cpus", &first.to_string())?;
    eventually("every thread is where it may be", || {
        let allowed = running.threads("Cpus_allowed_list:")?;
        Ok(allowed.iter().all(|cpus| *cpus == first.to_string()))
    })?;
    let document = running.document()?;
    assert_eq!(document["engine_failure"], Value::Null, "{document:#}");
    assert!(document["frames"]["intact"].as_u64() > Some(0), "{document:#}");
    Ok(Completion::Completed)
}
