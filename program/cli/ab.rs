//! Options of `linerate ab`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, Parser};

use super::compare::TurnArgs;
use super::echo::EchoArgs;
use super::testbed::TestbedArgs;
use super::values::parse_between;
use crate::bench::ab::{ARMS, Ab, Arm, Program, parse_hook};
use crate::bench::compare::observation::LoadKind;
use crate::bench::compare::plan::ComparePlan;
use crate::bench::compare::run;
use crate::bench::contestant::Contestant;
use crate::bench::testbed::Testbed;
use crate::error::{Error, Result, exit};
use crate::report::ab::AbReport;
use crate::sys::runner::{Runner, RunnerPlan};
use crate::sys::settings::Settings;
use crate::sys::signal::Interrupt;
use crate::units::parse_positive_duration;

/// Compare two settings, engine options or builds: what is changed, and by how much that matters
#[derive(Args, Debug)]
#[command(after_help = include_str!("help/ab.txt"), allow_negative_numbers = true)]
pub struct AbArgs {
    /// Command that sets arm a
    #[arg(long, value_name = "COMMAND", value_parser = parse_hook)]
    a: Option<String>,

    /// Command that sets arm b
    #[arg(long, value_name = "COMMAND", value_parser = parse_hook)]
    b: Option<String>,

    /// Command that puts everything back at the end [default: linerate does]
    #[arg(long, value_name = "COMMAND", value_parser = parse_hook)]
    restore: Option<String>,

    /// Longest time that a hook may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_positive_duration, allow_hyphen_values = true)]
    hook_timeout: Duration,

    /// Packet path of both arms, as for `linerate echo` [default: ring-v2, unless --args-… choose]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// Engine options of arm a, as for `linerate echo`
    #[arg(long, value_name = "OPTIONS", default_value = "", allow_hyphen_values = true)]
    args_a: String,

    /// Engine options of arm b, as for `linerate echo`
    #[arg(long, value_name = "OPTIONS", default_value = "", allow_hyphen_values = true)]
    args_b: String,

    /// Another build of linerate that is the engine of arm a, or with {if} the command line of any program
    /// that answers EtherType 0x88b5 [default: this one]
    #[arg(long, value_name = "PROGRAM")]
    engine_a: Option<String>,

    /// The same for arm b
    #[arg(long, value_name = "PROGRAM")]
    engine_b: Option<String>,

    /// Frames of a drain that such a program can hold while it stands still
    #[arg(long, value_name = "N", value_parser = parse_between::<64, 1_000_000>, default_value = "256", allow_hyphen_values = true)]
    drain_frames: usize,

    /// Loads, comma-separated: flood, drain, ping, window, light, half
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "drain,ping")]
    loads: Vec<LoadKind>,

    /// Rounds of each size and load; fewer than 6 give no interval [default: until more would add
    /// nothing, or the time is over]
    #[arg(long, value_name = "N", value_parser = parse_between::<6, 1000>, allow_hyphen_values = true)]
    rounds: Option<usize>,

    #[command(flatten)]
    turns: TurnArgs,

    #[command(flatten)]
    testbed: TestbedArgs,

    /// Write the result as JSON to FILE; `-` writes it to stdout, and the text to stderr
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

const DEFAULT_PATH: &str = "ring-v2";
/// Options of an engine that choose its path.
const CHOICES: [&str; 4] = ["--path", "--rx", "--tx", "--profile"];

/// An engine's options by themselves.
#[derive(Parser, Debug)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct EngineWords {
    #[command(flatten)]
    echo: EchoArgs,
}

impl AbArgs {
    /// Compares, reports, and says how it ended.
    pub fn run(self) -> Result<u8> {
        self.check()?;
        let cpus = self.testbed.cpus()?;
        let stop = Arc::new(AtomicBool::new(false));
        let interrupt = Interrupt::catch_with(Arc::clone(&stop))?;
        let contestants = vec![Contestant::arm(0), Contestant::arm(1)];
        let plan = self.turns.plan(contestants, &self.loads, self.rounds, cpus, &stop);
        let (testbeds, (arms, runner, mut report)) =
            self.testbed.open_and(&plan.sizes, plan.seats(), |testbeds| {
                let arms = self.arms(&testbeds[0])?;
                // The runner first: the report's own process shall not outlive the program by its socket.
                let runner = Runner::start(&self.runner(testbeds, &stop))?;
                Ok((arms, runner, AbReport::open(self.json.as_deref(), self.turns.details)?))
            })?;
        let ab = Arc::new(Ab::new(arms, self.drain_frames as u64, runner, &testbeds));
        let max_time = self.turns.max_time(self.rounds);
        report.start(&testbeds[0], cpus, max_time);
        let give_up = |report: &mut AbReport, error| {
            report.restored(&ab.finish());
            if interrupt.caught() { Ok(exit::INTERRUPTED) } else { Err(error) }
        };
        let differences = match ab.survey(&testbeds) {
            Err(error) => return give_up(&mut report, error),
            Ok(found) => found,
        };
        report.arms(&ab, &differences);
        let plan = ComparePlan { ab: Some(Arc::clone(&ab)), ..plan };
        let comparison = match run::run(&testbeds, &plan, &mut |step| report.step(step)) {
            Err(error) => return give_up(&mut report, error),
            Ok(found) => found,
        };
        let restored = ab.finish();
        report.finish(&comparison, &ab, &differences, &restored)?;
        let failed = comparison.has_failed();
        let (failure, left) = restored;
        let unrestored = failure.is_some() || self.restore.is_none() && !left.is_empty();
        match comparison.broken {
            Some(error) => Err(error),
            None if interrupt.caught() => Ok(exit::INTERRUPTED),
            None if failed || unrestored => Ok(exit::FAILED),
            None => Ok(exit::OK),
        }
    }

    fn check(&self) -> Result<()> {
        let hooks = self.a.is_some() || self.b.is_some();
        let programs = self.engine_a.is_some() || self.engine_b.is_some();
        let engines = programs || self.args_a != self.args_b;
        if !hooks && !engines {
            return Err(Error::Usage(
                "the arms do not differ: give them hooks (--a, --b), engine options (--args-a, \
                 --args-b) or engines (--engine-a, --engine-b)"
                    .into(),
            ));
        }
        if self.loads.contains(&LoadKind::Scale) {
            return Err(Error::Usage("--loads scale is for `linerate compare` only".into()));
        }
        Ok(())
    }

    fn runner(&self, testbeds: &[Testbed], stop: &Arc<AtomicBool>) -> RunnerPlan {
        let ends = |testbed: &Testbed| {
            let Testbed { generator, engine, .. } = testbed;
            (engine.namespace.clone(), generator.namespace.clone())
        };
        let first = &testbeds[0];
        let interfaces = [&first.engine, &first.generator].into_iter();
        let interfaces = interfaces
            .filter(|_| !first.is_lab())
            .filter_map(|end| Settings::of(&end.link.name).ok());
        RunnerPlan {
            places: testbeds.iter().map(ends).collect(),
            // A lab is gone with the program.
            before: interfaces.chain([Settings::of_machine()]).collect(),
            restore: self.restore.as_ref().map(|restore| crate::bench::ab::fill(restore, first)),
            limit: self.hook_timeout,
            stop: Arc::clone(stop),
        }
    }

    fn arms(&self, testbed: &Testbed) -> Result<[Arm; 2]> {
        let programs = self.engine_a.is_some() || self.engine_b.is_some();
        let itself = || "/proc/self/exe".to_owned();
        // A path that bears every MTU and every setting: what hooks change shall not choose it.
        let chooses = |word: &str| CHOICES.iter().any(|choice| word.starts_with(choice));
        let mut words = self.args_a.split_whitespace().chain(self.args_b.split_whitespace());
        let path = self.path.as_deref().or((!words.any(chooses)).then_some(DEFAULT_PATH));
        let arm = |arm: usize| -> Result<Arm> {
            let (hook, args, program) = match arm {
                0 => (&self.a, &self.args_a, &self.engine_a),
                _ => (&self.b, &self.args_b, &self.engine_b),
            };
            let path = path.iter().flat_map(|path| ["--path", path]);
            let options: Vec<String> =
                path.chain(args.split_whitespace()).map(str::to_owned).collect();
            let interface = testbed.engine.link.name.as_str();
            let words = ["-i", interface].into_iter().chain(options.iter().map(String::as_str));
            let words = EngineWords::try_parse_from(words).map_err(|error| {
                let error = error.to_string();
                let first = error.lines().next().unwrap_or_default();
                let what = first.trim_start_matches("error: ");
                Error::Usage(format!("--args-{}: {what}: see `linerate echo --help`", ARMS[arm]))
            })?;
            let engine = words.echo.engine_at(&testbed.engine)?;
            // Both arms are processes of their own, or neither is.
            let program = programs.then(|| Program::new(&program.clone().unwrap_or_else(itself)));
            Ok(Arm { hook: hook.clone(), options, engine, program })
        };
        Ok([arm(0)?, arm(1)?])
    }
}
