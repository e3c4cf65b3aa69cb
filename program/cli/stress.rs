//! Options of `linerate stress`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::target::TargetArgs;
use super::values::parse_ratio;
use crate::bench::site::Site;
use crate::bench::stress::events::Event;
use crate::bench::stress::phases::{PhaseName, Profile};
use crate::bench::stress::verdict::{Conclusion, Tolerance};
use crate::bench::stress::{self, StressRequest, record};
use crate::error::{Error, Result, exit};
use crate::load::rate::Rate;
use crate::load::run::Threads;
use crate::report::stress::StressReport;
use crate::sys::privilege::ensure_namespaces_allowed;
use crate::sys::runner::{Runner, RunnerPlan};
use crate::sys::settings::Settings;
use crate::sys::signal::Interrupt;
use crate::units::parse_positive_duration;
use crate::wire::ethernet::VlanTag;

/// Test a link with all kinds of traffic and with events meanwhile; a verdict per phase
#[derive(Args, Debug)]
#[command(after_help = include_str!("help/stress.txt"), allow_negative_numbers = true)]
pub struct StressArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// Phases to run: quick, full, soak [default: quick; soak with --for]
    #[arg(long, value_name = "NAME")]
    profile: Option<Profile>,

    /// Repeat all phases until this time is over [default for soak: 24h]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_positive_duration, allow_hyphen_values = true)]
    repeat_for: Option<Duration>,

    /// Go on with the test whose result is in FILE, and add to it
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    resume: Option<PathBuf>,

    /// Time that a record of a repeated test covers
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_positive_duration, allow_hyphen_values = true)]
    record_every: Duration,

    /// Longest time after an event until frames come back steadily
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_positive_duration, allow_hyphen_values = true)]
    max_recovery: Duration,

    /// Sending time of a round of all traffic phases; events take as long as they do
    #[arg(short, long, value_name = "TIME", default_value = "60s", value_parser = parse_positive_duration, allow_hyphen_values = true)]
    duration: Duration,

    /// Rate: 100k, 2.5gbit, 10%, max. Bursts keep the default, so that they have gaps; events have at
    /// most 10k frames/s
    /// [default: 50k frames/s, or half of the line rate if that is less]
    #[arg(short, long, value_name = "RATE", allow_hyphen_values = true)]
    rate: Option<Rate>,

    /// Run only these phases, comma-separated [default: those of the profile]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    phases: Vec<PhaseName>,

    /// VLAN ID of the phase vlan-on (0 to 4094)
    #[arg(long, value_name = "ID", default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..4095))]
    vlan_id: u16,

    /// Flows of the phase many-flows: source MACs, so the interface becomes promiscuous
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..))]
    flows: u32,

    /// Tolerated loss ratio of a phase (0, 0.1%)
    #[arg(long, value_name = "RATIO", default_value = "0", value_parser = parse_ratio, allow_hyphen_values = true)]
    max_loss: f64,

    /// Tolerate reordering within a flow, as behind several queues
    #[arg(long)]
    allow_reordering: bool,

    /// Write the result as JSON to FILE; `-` writes it to stdout, and the text to stderr
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

/// How long a soak lasts unless told otherwise.
const SOAK: Duration = Duration::from_secs(24 * 3600);

/// Time between two moves of the progress bar.
const INTERVAL: Duration = Duration::from_millis(200);

impl StressArgs {
    /// Runs the phases, reports, and says how it ended.
    pub fn run(self) -> Result<u8> {
        let request = self.request()?;
        let is_lab = request.base.reach.is_lab();
        let interrupt = Interrupt::catch_with(Arc::clone(&request.base.spec.stop))?;
        if is_lab {
            ensure_namespaces_allowed()?;
        }
        let site = stress::open_site(&request)?;
        // The runner first: the report's own process shall not outlive the program by its socket.
        let mut runner = self.runner(&request, &site)?;
        let mut report = StressReport::open(self.resume.as_deref().or(self.json.as_deref()))?;
        self.target.user.prepare_for(&request.base)?;
        let run = stress::run_at(&request, &site, &mut report);
        let restored = runner.as_mut().map(Runner::finish);
        let run = run?;
        report.finish(&request, &run, restored.as_ref())?;
        let (failed, void) = (run.has_failed(), run.counted(Conclusion::Void) > 0);
        let unrestored =
            restored.is_some_and(|(failure, left)| failure.is_some() || !left.is_empty());
        if let Some(error) = run.broken {
            return Err(error);
        }
        Ok(match (interrupt.caught(), failed, void || unrestored) {
            (true, ..) => exit::INTERRUPTED,
            (false, true, _) => exit::THRESHOLD,
            (false, false, true) => exit::FAILED,
            (false, false, false) => exit::OK,
        })
    }

    /// Who puts back what events change; nobody in a lab, which is gone with the program.
    fn runner(&self, request: &StressRequest, site: &Site) -> Result<Option<Runner>> {
        let changes = request.phases.iter().any(|name| Event::of(*name).is_some());
        if request.base.reach.is_lab() || !changes {
            return Ok(None);
        }
        let ends = [Some(site.here()), site.there()].into_iter().flatten();
        let plan = RunnerPlan {
            places: Vec::new(),
            before: ends.map(|end| Settings::of(&end.link.name)).collect::<Result<_>>()?,
            restore: None,
            limit: self.max_recovery,
            stop: Arc::clone(&request.base.spec.stop),
        };
        Runner::start(&plan).map(Some)
    }

    fn request(&self) -> Result<StressRequest> {
        let reach = self.target.reach(None, None)?;
        if reach.is_udp() {
            return Err(Error::Usage("--to: stress reaches a station, by its MAC".into()));
        }
        let drain = self.target.drain;
        let mut base = self.target.request(reach, Threads::Together)?;
        (base.spec.late_after, base.spec.interval) = (drain, INTERVAL);
        let repeat_for = match (self.repeat_for, self.profile) {
            (None, Some(Profile::Soak)) => Some(SOAK),
            (time, _) => time,
        };
        if self.resume.is_some() && repeat_for.is_none() {
            return Err(Error::Usage(
                "--resume goes on with a test that is repeated: say --for".into(),
            ));
        }
        let repeated = if repeat_for.is_some() { Profile::Soak } else { Profile::Quick };
        let profile = self.profile.unwrap_or(repeated);
        let chosen = |name: &PhaseName| match self.phases.is_empty() {
            true => profile.has(*name),
            false => self.phases.contains(name),
        };
        let mut request = StressRequest {
            base,
            duration: self.duration,
            rate: self.rate,
            phases: PhaseName::ALL.into_iter().filter(chosen).collect(),
            repeat_for,
            record_every: self.record_every,
            records: Vec::new(),
            max_recovery: self.max_recovery,
            tag: VlanTag::customer(self.vlan_id, 0),
            flows: self.flows,
            tolerance: Tolerance { loss_ratio: self.max_loss, reordered: self.allow_reordering },
        };
        if let Some(file) = &self.resume {
            request.records = record::resume(file, &request.test())?;
        }
        Ok(request)
    }
}
