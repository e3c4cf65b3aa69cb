//! The histogram log, read back by HdrHistogram's Python port: the percentiles must be ours.
//!
//! Needs python3 with `venv` and the package `hdrhistogram` from PyPI, which the test installs into
//! a folder below the build's. Without them it says so and passes; with `CI=true` it fails.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use linerate::report::hdr_log::HdrLog;
use linerate::stats::latency::Latency;

#[test]
fn a_foreign_reader_finds_the_same_percentiles() {
    let python = match python_with_hdrhistogram() {
        Ok(python) => python,
        Err(reason) => {
            let is_pipeline = std::env::var_os("CI").is_some_and(|value| value == "true");
            assert!(!is_pipeline, "no foreign reader: {reason}");
            eprintln!("\n*** THE HISTOGRAM LOG WAS NOT READ BY A FOREIGN READER ***\n{reason}\n");
            return;
        }
    };
    let path = temporary_folder().join("foreign.hlog");
    let intervals = [intervals_of_a_run(0), intervals_of_a_run(1), Latency::default()];
    let mut total = Latency::default();
    let mut log = HdrLog::create(&path).expect("a writable folder");
    for (second, latency) in (0u64..).zip(&intervals) {
        let start = Duration::from_secs(second);
        let tag = (second == 1).then_some("response");
        log.write_interval(tag, start, Duration::from_secs(1), latency).expect("room on the disk");
        total.merge(latency);
    }
    log.publish().expect("the file takes its place");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/read_hdr_log.py");
    let output = Command::new(python).arg(script).arg(&path).output().expect("python runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).expect("text");
    let read: Vec<&str> = text.lines().skip(1).collect();
    let expected = [
        line("-", 0, 1, &intervals[0]),
        line("response", 1, 1, &intervals[1]),
        line("-", 2, 1, &intervals[2]),
        line("total", 0, 3, &total),
    ];
    assert_eq!(read, expected);
}

/// Latencies of a wide and ragged distribution, up to the largest that a histogram keeps.
fn intervals_of_a_run(seed: u64) -> Latency {
    let mut latency = Latency::default();
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ seed;
    for _ in 0..200_000 {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let magnitude = state % 30;
        latency.record((state >> 32) & ((1 << magnitude) | 0xfff));
    }
    latency.record(20_000_000_000 * seed);
    latency
}

/// What the script prints for a histogram.
fn line(tag: &str, start_s: u32, length_s: u32, latency: &Latency) -> String {
    let mut fields = vec![tag.to_owned(), format!("{start_s}.000"), format!("{length_s}.000")];
    fields.push(latency.count().to_string());
    let percentiles = [50.0, 90.0, 99.0, 99.9, 99.99];
    fields.extend(percentiles.map(|percentile| latency.percentile(percentile).to_string()));
    fields.push(latency.max().to_string());
    fields.join("\t")
}

fn temporary_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// A Python that has the package, made once and kept with the build.
fn python_with_hdrhistogram() -> Result<PathBuf, String> {
    let environment = temporary_folder().join("hdrhistogram-venv");
    let python = environment.join("bin/python3");
    let has_package = || run(Command::new(&python).args(["-c", "import hdrh.log"])).is_ok();
    if has_package() {
        return Ok(python);
    }
    let venv = |how: &[&str]| {
        run(Command::new("python3").args(["-m", "venv"]).args(how).arg(&environment))
    };
    let install = ["install", "--quiet", "--disable-pip-version-check", "hdrhistogram"];
    // A pip that is there already saves the seconds that it takes to install one.
    venv(&["--without-pip"])?;
    let pip = ["-m", "pip", "--python"];
    if run(Command::new("python3").args(pip).arg(&python).args(install)).is_err() {
        venv(&[])?;
        run(Command::new(&python).args(["-m", "pip"]).args(install))?;
    }
    if has_package() { Ok(python) } else { Err("hdrhistogram is installed and not there".into()) }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
