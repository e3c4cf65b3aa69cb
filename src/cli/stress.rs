//! Options of `linerate stress`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::target::TargetArgs;
use super::values::parse_ratio;
use crate::bench::stress::phases::PhaseName;
use crate::bench::stress::verdict::{Conclusion, Tolerance};
use crate::bench::stress::{self, StressRequest};
use crate::error::{Error, Result, exit};
use crate::load::rate::Rate;
use crate::load::run::Threads;
use crate::report::stress::StressReport;
use crate::sys::signal::Interrupt;
use crate::units::parse_positive_duration;
use crate::wire::ethernet::VlanTag;

const EXAMPLES: &str = "\
Examples:
  linerate stress --lab -d 20s             no root: veth and our engine
  sudo linerate stress -i eth1 --to 02:00:00:00:00:02 -d 10m --json nic.json
  sudo linerate stress -i eth1 --to 02:00:00:00:00:02 --phases sweep,vlan-on
  sudo linerate stress -i eth1 --dut-interface eth2
                                           two cabled ports, our engine
  sudo linerate echo -i eth2 --echo-unchanged unlimited
                                           the reflector, on another host

Engines (--lab, --path): see `linerate load --help`.

Phases, in this order: sweep (every size up to the MTU), imix, small-bursts and
large-bursts (256 frames back to back, then a gap), zeros, ones, alternating,
walking-bit, random (payloads, at random sizes), vlan-on, vlan-off, one-flow,
many-flows. Every byte of every echo is verified. A phase fails if frames were
lost (more than --max-loss), corrupted, not transformed, truncated, duplicated
or reordered, or if an interface's error counter moved. The driver's counters
(`ethtool -S`) are shown beside the verdict. Echoes that the generator's own
ring dropped, and losses in a phase that the generator could not keep up with,
do not count against the device; the output names both.
A disturbed phase (link down, clock set, other traffic) is repeated; if it stays
disturbed, it is void.

Exit codes: 0 all phases passed, 1 could not run, output was lost, or a phase
stayed void, 2 usage, 3 a phase failed, 77 missing privilege, 130 interrupted
(after the summary).";

/// Test a link with sizes, bursts, patterns, VLANs and flows; a verdict per phase
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
pub struct StressArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// Total sending time of all phases
    #[arg(short, long, value_name = "TIME", default_value = "60s", value_parser = parse_positive_duration, allow_hyphen_values = true)]
    duration: Duration,

    /// Rate of every phase: 100k, 2.5gbit, 10%, max. Bursts keep the default, so that they have gaps
    /// [default: 50k frames/s, or half of the line rate if that is less]
    #[arg(short, long, value_name = "RATE", allow_hyphen_values = true)]
    rate: Option<Rate>,

    /// Run only these phases, comma-separated [default: all]
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

/// Time between two moves of the progress bar.
const INTERVAL: Duration = Duration::from_millis(200);

impl StressArgs {
    /// Runs the phases, reports, and says how it ended.
    pub fn run(self) -> Result<u8> {
        let request = self.request()?;
        let interrupt = Interrupt::catch_with(Arc::clone(&request.base.spec.stop))?;
        let mut report = StressReport::open(self.json.as_deref())?;
        self.target.user.prepare(request.base.reach.is_lab())?;
        let run = stress::run(&request, &mut report)?;
        report.finish(&request, &run)?;
        let (failed, void) = (run.has_failed(), run.count(Conclusion::Void) > 0);
        if let Some(error) = run.broken {
            return Err(error);
        }
        Ok(match (interrupt.caught(), failed, void) {
            (true, ..) => exit::INTERRUPTED,
            (false, true, _) => exit::THRESHOLD,
            (false, false, true) => exit::FAILED,
            (false, false, false) => exit::OK,
        })
    }

    fn request(&self) -> Result<StressRequest> {
        let reach = self.target.reach(None, None)?;
        if reach.is_udp() {
            return Err(Error::Usage("--to: stress reaches a station, by its MAC".into()));
        }
        let drain = self.target.drain;
        let mut base = self.target.request(reach, Threads::Together)?;
        (base.spec.late_after, base.spec.interval) = (drain, INTERVAL);
        Ok(StressRequest {
            base,
            duration: self.duration,
            rate: self.rate,
            phases: self.phases.clone(),
            tag: VlanTag::customer(self.vlan_id, 0),
            flows: self.flows,
            tolerance: Tolerance { loss_ratio: self.max_loss, reordered: self.allow_reordering },
        })
    }
}
