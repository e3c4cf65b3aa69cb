//! Options of `linerate compare`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;

use super::testbed::TestbedArgs;
use super::values::{distinct, parse_between, parse_trial_duration};
use crate::bench::compare::observation::LoadKind;
use crate::bench::compare::plan::ComparePlan;
use crate::bench::compare::run;
use crate::bench::contestant::{Contestant, Contestants};
use crate::engine::turn::LatencyMode;
use crate::error::{Error, Result, exit};
use crate::load::tx::TxChoice;
use crate::report::compare::CompareReport;
use crate::ring::budget::MemoryBudget;
use crate::sys::signal::Interrupt;
use crate::units::{FrameSize, parse_positive_duration};

/// Run the same verified echo over several packet paths, side by side
#[derive(Args, Debug)]
#[command(after_help = include_str!("help/compare.txt"), allow_negative_numbers = true)]
pub struct CompareArgs {
    /// Packet paths or profiles, comma-separated, each with optional @WAIT or @PROFILE; `all` stands
    /// for every preset
    #[arg(
        long,
        value_name = "LIST",
        default_value = "syscall,mmsg,ring,ring-v2,ring-xsk,latency,balanced"
    )]
    paths: Contestants,

    /// Loads, comma-separated: flood, drain, ping, window, light, half, scale
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "drain,ping")]
    loads: Vec<LoadKind>,

    /// Rounds of each size and load [default: until more would add nothing, or the time is over]
    #[arg(long, alias = "trials", value_name = "N", value_parser = parse_between::<1, 1000>, allow_hyphen_values = true)]
    rounds: Option<usize>,

    #[command(flatten)]
    turns: TurnArgs,

    /// The generator's TX half: xsk, ring, mmsg or send [default: xsk over veth, else ring]
    #[arg(long, value_name = "HALF")]
    tx: Option<TxChoice>,

    #[command(flatten)]
    testbed: TestbedArgs,

    /// Write the result as JSON to FILE; `-` writes it to stdout, and the text to stderr
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

impl CompareArgs {
    /// Compares, reports, and says how it ended.
    pub fn run(self) -> Result<u8> {
        if self.tx == Some(TxChoice::Live) {
            return Err(Error::Usage(
                "--tx live is for load and stress: over veth it takes an engine that polls, and that \
                 changes what is compared"
                    .into(),
            ));
        }
        let cpus = self.testbed.cpus()?;
        let Contestants(contestants) = self.paths;
        let stop = Arc::new(AtomicBool::new(false));
        let interrupt = Interrupt::catch_with(Arc::clone(&stop))?;
        let mut report = CompareReport::open(self.json.as_deref(), self.turns.details)?;
        let max_time = self.turns.max_time(self.rounds);
        let plan = self.turns.plan(contestants, &self.loads, self.rounds, cpus, &stop);
        let plan = ComparePlan { tx: self.tx, ..plan };
        // An AF_XDP socket has a queue to itself, and `scale` runs two workers.
        let queues = if plan.loads.contains(&LoadKind::Scale) { 2 } else { 1 };
        let (count, polls) = (plan.seats(), plan.takes_programs());
        let testbeds = self.testbed.open_several(&plan.sizes, (queues, polls), count)?;
        report.start(&testbeds[0], cpus, max_time);
        let comparison = run::run(&testbeds, &plan, &mut |step| report.step(step))?;
        report.finish(&comparison)?;
        let failed = comparison.has_failed();
        if let Some(error) = comparison.broken {
            return Err(error);
        }
        Ok(match (interrupt.caught(), failed) {
            (true, _) => exit::INTERRUPTED,
            (false, true) => exit::FAILED,
            (false, false) => exit::OK,
        })
    }
}

/// How long turns and rounds take, of all commands that compare.
#[derive(Args, Debug)]
pub struct TurnArgs {
    /// Frame sizes with FCS, comma-separated (RFC 2544; 64 is 60 bytes at the socket)
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', default_value = "64,1518", value_parser = parse_size, allow_hyphen_values = true)]
    sizes: Vec<FrameSize>,

    /// End after this time with what there is [default: 60s, or none with --rounds]
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration, allow_hyphen_values = true)]
    max_time: Option<Duration>,

    /// Duration of each load in a round (a drain ends by itself)
    #[arg(long, value_name = "TIME", default_value = "25ms", value_parser = parse_trial_duration, allow_hyphen_values = true)]
    trial_duration: Duration,

    /// Show a table for each load, with every metric
    #[arg(long)]
    pub details: bool,
}

impl TurnArgs {
    /// When `rounds` rounds end at the latest; `None` for no limit.
    pub fn max_time(&self, rounds: Option<usize>) -> Option<Duration> {
        self.max_time.or(rounds.is_none().then_some(MAX_TIME))
    }

    /// The plan of a comparison of `contestants` under `loads`.
    pub fn plan(
        &self,
        contestants: Vec<Contestant>,
        loads: &[LoadKind],
        rounds: Option<usize>,
        cpus: (usize, usize),
        stop: &Arc<AtomicBool>,
    ) -> ComparePlan {
        let mut loads = distinct(loads);
        loads.sort();
        ComparePlan {
            contestants,
            ab: None,
            sizes: distinct(&self.sizes),
            loads,
            rounds,
            max_time: self.max_time(rounds).unwrap_or(FOR_EVER),
            duration: self.trial_duration,
            tx: None,
            cpus,
            latency: LatencyMode::On,
            ring_memory: MemoryBudget::new(2 * MemoryBudget::DEFAULT_BYTES),
            stop: Arc::clone(stop),
        }
    }
}

/// Long enough for small differences, short enough to wait for.
const MAX_TIME: Duration = Duration::from_secs(60);

/// No limit.
const FOR_EVER: Duration = Duration::from_secs(1 << 32);

fn parse_size(text: &str) -> std::result::Result<FrameSize, String> {
    // Names the valid sizes if the text is not a number; a size that is too small says so itself.
    let whole = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if whole { text.parse() } else { Err("whole bytes from 64, FCS included".into()) }
}
