//! `linerate compare`: its options and what they mean.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use super::testbed::TestbedArgs;
use crate::bench::compare::{self, CompareConfig};
use crate::engine::config::PathName;
use crate::engine::turn::LatencyMode;
use crate::error::{Result, exit};
use crate::report::compare::CompareReport;
use crate::ring::budget::MemoryBudget;
use crate::sys::failure::failed;
use crate::sys::signal::Interrupt;
use crate::units::{FrameSize, parse_positive_duration};

const EXAMPLES: &str = "\
Paths:
  ring      TPACKET_V3 receive ring, blocks of frames, and a TX ring
  ring-v2   TPACKET_V2 receive ring, frame by frame, and a TX ring
  syscall   epoll_wait, one recvfrom, one sendto a frame, as the tutorial does. recvfrom shows no
            VLAN tag, no checksum state and no kernel stamp

Examples:
  linerate compare                                  no root needed: makes its own veth testbed
  linerate compare --sizes 64,512,1518 --trials 9 --json result.json
  sudo linerate compare -i eth1 --dut-interface eth2    two ports of this machine, cabled together

What is measured, for each size and path:
  forwarded  verified echoes per second while the generator sends as fast as it can
  drain      the engine's own ceiling: its rings or buffer are filled while it is paused, the
             generator stops, and the echoes are timed by the kernel's stamps
  CPU/frame  CPU time of the engine's thread for each echo, user and kernel. On a veth pair the
             sender's thread also does the receiver's work in the kernel, so it is included
  RTT        a lone frame's round trip; the client looks without sleeping, so this is the engine's
             latency and the kernel's. A V3 block waits for its retire timeout (1 ms): `ring` is
             the path for throughput, ring-v2 and syscall answer at once

Paths take turns, trial by trial; ratios are formed within a round. Exit code 130 after Ctrl-C.";

/// Run the same verified echo over several packet paths, side by side
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
pub struct CompareArgs {
    /// Packet paths, with commas
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "ring,ring-v2,syscall"
    )]
    paths: Vec<PathName>,

    /// Frame sizes with FCS, as RFC 2544 counts them (64 is 60 bytes at the socket), with commas
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', default_value = "64,1518", value_parser = parse_size, allow_hyphen_values = true)]
    sizes: Vec<FrameSize>,

    /// Trials for each path and size
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = parse_trials, allow_hyphen_values = true)]
    trials: usize,

    /// How long the flood of a trial lasts
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_trial_duration, allow_hyphen_values = true)]
    trial_duration: Duration,

    #[command(flatten)]
    testbed: TestbedArgs,

    /// Write the result as JSON to FILE, or to stdout with `-` (the text then goes to stderr)
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

impl CompareArgs {
    /// Compares, reports, and says how it ended.
    pub fn run(self) -> Result<u8> {
        let cpus = self.testbed.cpus()?;
        let (paths, sizes) = (distinct(&self.paths), distinct(&self.sizes));
        let mut report = CompareReport::open(self.json.as_deref())?;
        let testbed = self.testbed.open(&sizes)?;
        let stop = Arc::new(AtomicBool::new(false));
        let interrupt = Interrupt::catch_with(Arc::clone(&stop))
            .map_err(|error| failed("catch signals", &error, ""))?;
        let config = CompareConfig {
            paths,
            sizes,
            trials: self.trials,
            trial_duration: self.trial_duration,
            round_trips: ROUND_TRIPS,
            cpus,
            latency: LatencyMode::On,
            ring_memory: MemoryBudget::new(MemoryBudget::DEFAULT_BYTES),
            stop: Arc::clone(&stop),
        };
        report.start(&testbed, cpus, expected(&config));
        let mut progress = report.progress();
        let comparison = compare::run(&testbed, &config, &mut progress)?;
        report.finish(&testbed, &comparison)?;
        let wrong = comparison.results.iter().any(|result| result.wrong() > 0);
        Ok(match (interrupt.caught() || stop.load(Ordering::Relaxed), wrong) {
            (true, _) => exit::INTERRUPTED,
            (false, true) => exit::FAILED,
            (false, false) => exit::OK,
        })
    }
}

/// How long single frames are exchanged in a trial.
const ROUND_TRIPS: Duration = Duration::from_millis(200);
/// What a trial takes beside its flood: rings made and unmade, warm-up, drain, round trips.
const TRIAL_OVERHEAD: Duration = Duration::from_millis(900);

fn expected(config: &CompareConfig) -> Duration {
    let trials = config.paths.len() * config.sizes.len() * config.trials;
    (config.trial_duration + TRIAL_OVERHEAD) * u32::try_from(trials).unwrap_or(u32::MAX)
}

fn distinct<T: Copy + PartialEq>(values: &[T]) -> Vec<T> {
    let mut kept = Vec::new();
    for value in values {
        if !kept.contains(value) {
            kept.push(*value);
        }
    }
    kept
}

fn parse_size(text: &str) -> std::result::Result<FrameSize, String> {
    // What is valid is said here, where a number was not even read; what is too short says it too.
    let whole = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if whole { text.parse() } else { Err("whole bytes from 64, FCS included".into()) }
}

pub(super) fn parse_trials(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1000) => Ok(count),
        _ => Err("from 1 to 1000".into()),
    }
}

pub(super) fn parse_trial_duration(text: &str) -> std::result::Result<Duration, String> {
    let duration = parse_positive_duration(text)?;
    if duration < Duration::from_millis(20) || duration > Duration::from_secs(600) {
        return Err("from 20ms to 10m".into());
    }
    Ok(duration)
}
