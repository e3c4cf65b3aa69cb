//! Options of `linerate search`, `loss-curve` and `burst`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::testbed::TestbedArgs;
use super::values::{distinct, parse_between, parse_ratio, parse_trial_duration};
use crate::bench::contestant::Contestants;
use crate::bench::loading::line_bits_per_second;
use crate::bench::search::burst::{BURST_FRAMES_MAX, BurstConfig, run_burst};
use crate::bench::search::device::{Sinks, Subject};
use crate::bench::search::goal::{Procedure, SearchConfig, SearchGoal};
use crate::bench::search::line_rate::LineRate;
use crate::bench::search::loss_curve::{LossCurveConfig, run_curve};
use crate::bench::search::repeats::{Agreed, agreements};
use crate::bench::search::throughput::{MIN_LOAD_PPS, SearchRun, run_search};
use crate::bench::testbed::Testbed;
use crate::error::{Error, Result, exit};
use crate::load::sizes::Sizes;
use crate::report::search::SearchReport;
use crate::ring::budget::MemoryBudget;
use crate::sys::signal::Interrupt;
use crate::units::{FrameSize, parse_duration, parse_positive_duration};

/// Options of all three.
#[derive(Args, Debug)]
pub struct SubjectArgs {
    /// Packet paths or profiles, comma-separated, each with optional @WAIT or @PROFILE, as in
    /// `compare`; `all` stands for every preset
    #[arg(long, value_name = "LIST", default_value = "ring,syscall")]
    paths: Contestants,

    #[command(flatten)]
    testbed: TestbedArgs,

    /// Write the result as JSON to FILE; `-` writes it to stdout, and the text to stderr
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

/// Find the highest load within a loss ratio: NDR and PDR, or RFC 2544 throughput
#[derive(Args, Debug)]
#[command(after_help = include_str!("help/search.txt"), allow_negative_numbers = true)]
pub struct SearchArgs {
    /// Frame sizes with FCS, comma-separated: 64, imix, 64-1518:64 (a sweep is one mix)
    #[arg(
        short,
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "64,128,256,512,1024,1280,1518"
    )]
    sizes: Vec<Sizes>,

    #[command(flatten)]
    subject: SubjectArgs,

    /// Goals: tolerated loss ratios, comma-separated (0 gives the NDR)
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0,0.5%", value_parser = parse_ratio, allow_hyphen_values = true)]
    loss: Vec<f64>,

    /// Duration of a trial
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_trial_duration, allow_hyphen_values = true)]
    trial_duration: Duration,

    /// Duration of coarse trials
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = parse_trial_duration, allow_hyphen_values = true)]
    initial_duration: Duration,

    /// Trial time that decides a load
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_positive_duration)]
    duration_sum: Duration,

    /// Share of trial time that may exceed the loss goal
    #[arg(long, value_name = "RATIO", default_value = "50%", value_parser = parse_ratio, allow_hyphen_values = true)]
    exceed: f64,

    /// Target precision, relative to the upper bound
    #[arg(long, value_name = "RATIO", default_value = "0.5%", value_parser = parse_ratio, allow_hyphen_values = true)]
    width: f64,

    /// Duration of a last, longer trial at the lower bound; 0: none
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    confirm: Duration,

    /// Time limit per size and path, response times included. Near it the search accepts wider
    /// bounds
    #[arg(long, value_name = "TIME", default_value = "40s", value_parser = parse_positive_duration)]
    max_duration: Duration,

    /// Repeat every search N times, in turn, and report whether the results agree
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_between::<1, 100>, allow_hyphen_values = true)]
    repeat: usize,

    /// RFC 2544 section 26.1: trials of 60 s without loss. Takes up to an hour per size and path
    #[arg(long, conflicts_with_all = ["loss", "trial_duration", "initial_duration", "duration_sum", "exceed", "width", "confirm", "max_duration"])]
    rfc2544: bool,
}

/// Measure loss, rate and latency at rising loads
#[derive(Args, Debug)]
#[command(after_help = include_str!("help/loss-curve.txt"), allow_negative_numbers = true)]
pub struct LossCurveArgs {
    /// Frame sizes with FCS, comma-separated: 64, imix, 64-1518:64 (a sweep is one mix)
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', default_value = "64,1518")]
    sizes: Vec<Sizes>,

    #[command(flatten)]
    subject: SubjectArgs,

    /// Step between loads, in percent of what the generator alone can send
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0, value_parser = parse_step, allow_hyphen_values = true)]
    step: f64,

    /// Trials per load
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_between::<1, 1000>, allow_hyphen_values = true)]
    trials: usize,

    /// Duration of a trial
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_trial_duration, allow_hyphen_values = true)]
    trial_duration: Duration,
}

/// Find the longest burst without loss (RFC 2544 section 26.4, RFC 9004)
#[derive(Args, Debug)]
#[command(after_help = include_str!("help/burst.txt"), allow_negative_numbers = true)]
pub struct BurstArgs {
    /// Frame sizes with FCS, comma-separated: 64, imix, 64-1518:64 (a sweep is one mix)
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', default_value = "64,1518")]
    sizes: Vec<Sizes>,

    #[command(flatten)]
    subject: SubjectArgs,

    /// Longest burst to try, in frames
    #[arg(long, value_name = "FRAMES", default_value_t = BURST_FRAMES_MAX, value_parser = clap::value_parser!(u64).range(1..=BURST_FRAMES_MAX))]
    max_frames: u64,

    /// Repetitions of the search (RFC 2544 asks for 50)
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = parse_between::<1, 1000>, allow_hyphen_values = true)]
    repetitions: usize,

    /// Pause after each burst, for buffers to drain (RFC 9004 asks for 2 s)
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = parse_duration, allow_hyphen_values = true)]
    pause: Duration,
}

impl SearchArgs {
    /// Searches, reports, and says how it ended.
    pub fn run(self) -> Result<u8> {
        let config = self.config();
        config.check()?;
        let sizes = distinct(&self.sizes);
        let mut bench = Bench::open(&self.subject, &sizes, "search")?;
        let searches = sizes.len() * self.subject.paths.0.len() * self.repeat;
        bench.report.expect(searches, config.max_duration);
        let (mut runs, mut code) = (Vec::new(), exit::OK);
        for repetition in 1..=self.repeat {
            let turn = (self.repeat > 1).then_some((repetition, self.repeat));
            let (found, ended) =
                bench.each(&self.subject, &sizes, |testbed, subject, report| {
                    report.search_begins(subject, turn, config.max_duration);
                    let after_trial = &mut |record: &_| report.trial(record);
                    let run = run_search(testbed, subject, config.clone(), after_trial)?;
                    report.found(&run);
                    Ok(SearchRun { repetition, ..run })
                })?;
            runs.extend(found);
            code = code.max(ended);
        }
        let agreed = if self.repeat > 1 { agreements(&runs) } else { Vec::new() };
        if !agreed.is_empty() {
            bench.report.agreed(&agreed);
        }
        bench.write("linerate.search/1", &runs, Some(&agreed))?;
        Ok(code)
    }

    fn config(&self) -> SearchConfig {
        let mut config = match self.rfc2544 {
            true => SearchConfig::rfc2544(MIN_LOAD_PPS, f64::from(u32::MAX)),
            false => SearchConfig::between(MIN_LOAD_PPS, f64::from(u32::MAX)),
        };
        if !self.rfc2544 {
            config.goals = self.loss.iter().map(|&loss_ratio| self.goal(loss_ratio)).collect();
            config.confirmation = (!self.confirm.is_zero()).then_some(self.confirm);
            config.max_duration = self.max_duration;
        }
        config
    }

    fn goal(&self, loss_ratio: f64) -> SearchGoal {
        SearchGoal {
            loss_ratio,
            exceed_ratio: self.exceed,
            duration_sum: self.duration_sum,
            initial_trial_duration: self.initial_duration.min(self.trial_duration),
            final_trial_duration: self.trial_duration,
            width: self.width,
            procedure: Procedure::Conditional,
        }
    }
}

impl LossCurveArgs {
    /// Measures, reports, and says how it ended.
    pub fn run(self) -> Result<u8> {
        let sizes = distinct(&self.sizes);
        let mut bench = Bench::open(&self.subject, &sizes, "loss-curve")?;
        let (runs, code) = bench.each(&self.subject, &sizes, |testbed, subject, report| {
            let config = self.config(subject.sink_pps);
            report.steps_begin(subject, config.loads());
            let run = run_curve(testbed, subject, &config, &mut |point| report.point(point))?;
            report.curve(&run);
            Ok(run)
        })?;
        bench.write("linerate.loss-curve/1", &runs, None)?;
        Ok(code)
    }

    fn config(&self, sink_pps: f64) -> LossCurveConfig {
        LossCurveConfig {
            first_percent: self.step,
            step_percent: self.step,
            trials: self.trials,
            trial_duration: self.trial_duration,
            ..LossCurveConfig::up_to(sink_pps.floor().max(1.0))
        }
    }
}

impl BurstArgs {
    /// Searches, reports, and says how it ended.
    pub fn run(self) -> Result<u8> {
        let config =
            BurstConfig { repetitions: self.repetitions, ..BurstConfig::up_to(self.max_frames) };
        let sizes = distinct(&self.sizes);
        let mut bench = Bench::open(&self.subject, &sizes, "burst")?;
        let (runs, code) = bench.each(&self.subject, &sizes, |testbed, subject, report| {
            report.steps_begin(subject, config.repetitions);
            let line_rate = report.line_rate();
            let after = &mut |frames| report.repetition(frames);
            let run = run_burst(testbed, subject, &config, self.pause, line_rate, after)?;
            report.burst(&run);
            Ok(run)
        })?;
        bench.write("linerate.burst/1", &runs, None)?;
        Ok(code)
    }
}

/// A testbed, a report, and the CPUs.
struct Bench {
    testbed: Testbed,
    report: SearchReport,
    cpus: (usize, usize),
    stop: Arc<AtomicBool>,
    interrupt: Interrupt,
}

impl Bench {
    fn open(args: &SubjectArgs, sizes: &[Sizes], what: &str) -> Result<Bench> {
        let cpus = args.testbed.cpus()?;
        let stop = Arc::new(AtomicBool::new(false));
        let interrupt = Interrupt::catch_with(Arc::clone(&stop))?;
        let mut report = SearchReport::open(args.json.as_deref())?;
        let every_size: Vec<FrameSize> = sizes.iter().flat_map(Sizes::all).collect();
        let testbed = args.testbed.open(&every_size)?;
        let line_rate = line_bits_per_second(&testbed.generator.link)?
            .map(|bits| LineRate { bits_per_second: bits as f64 });
        report.start(what, &testbed, cpus, line_rate);
        Ok(Bench { testbed, report, cpus, stop, interrupt })
    }

    fn write(
        &mut self,
        schema: &str,
        results: &[impl Serialize],
        agreement: Option<&[Agreed]>,
    ) -> Result<()> {
        let interrupted = self.interrupt.caught();
        self.report.write(schema, &self.testbed, interrupted, results, agreement)
    }

    /// Does `work` for each size and path, in the generator's namespace, until interrupted. What the
    /// generator can do alone is measured before the first path of each size.
    fn each<T: Send>(
        &mut self,
        args: &SubjectArgs,
        sizes: &[Sizes],
        mut work: impl FnMut(&Testbed, &Subject, &mut SearchReport) -> Result<T> + Send,
    ) -> Result<(Vec<T>, u8)> {
        let Bench { testbed, report, cpus, stop, interrupt } = self;
        let testbed = &*testbed;
        let ring_memory = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
        let subjects =
            sizes.iter().flat_map(|sizes| args.paths.0.iter().map(move |&path| (sizes, path)));
        let mut sinks = Sinks::default();
        let (mut found, mut code) = (Vec::new(), exit::OK);
        for (sizes, path) in subjects {
            if interrupt.caught() {
                break;
            }
            let (ring_memory, stop) = (Arc::clone(&ring_memory), Arc::clone(stop));
            let sizes = sizes.clone();
            let mut subject =
                Subject { path, sizes, cpus: *cpus, sink_pps: 0.0, ring_memory, stop };
            let namespace = &testbed.generator.namespace;
            let worked = namespace.run(|| {
                subject.sink_pps = sinks.pps(testbed, &subject)?;
                match interrupt.caught() {
                    true => Ok(None),
                    false => work(testbed, &subject, report).map(Some),
                }
            })?;
            match worked {
                Ok(run) => found.extend(run),
                // What an interruption broke off says nothing.
                Err(Error::Run(_)) if interrupt.caught() => {}
                // What was found before stands, and so does what comes after.
                Err(error @ (Error::Run(_) | Error::System(_) | Error::Ring(_))) => {
                    report.failed(&error);
                    code = error.exit_code();
                }
                Err(usage) => return Err(usage),
            }
        }
        Ok((found, if interrupt.caught() { exit::INTERRUPTED } else { code }))
    }
}

fn parse_step(text: &str) -> std::result::Result<f64, String> {
    let number = text.trim().strip_suffix('%').unwrap_or(text).trim();
    match number.parse() {
        Ok(percent) if (0.1..=100.0).contains(&percent) => Ok(percent),
        _ => Err("from 0.1 to 100 percent".into()),
    }
}
