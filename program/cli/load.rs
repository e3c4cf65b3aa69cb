//! Options of `linerate load`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::target::TargetArgs;
use super::values::{Count, parse_ratio};
use crate::bench::loading::LoadRequest;
use crate::bench::site;
use crate::error::{Error, Result, exit};
use crate::load::pace::Pattern;
use crate::load::plan::{Limits, LoadSpec, SENDERS_MAX, Stamps};
use crate::load::rate::Rate;
use crate::load::run::{Drive, Threads};
use crate::load::sizes::Sizes;
use crate::load::tx::TxChoice;
use crate::report::load::{LoadFiles, LoadReport};
use crate::sys::signal::Interrupt;
use crate::sys::stamps::NicStamps;
use crate::units::{parse_count, parse_duration, parse_positive_duration};
use crate::wire::ethernet::VlanTag;

/// Send frames at a rate, verify every echoed byte, account for every frame
#[derive(Args, Debug)]
#[command(after_help = include_str!("help/load.txt"), allow_negative_numbers = true)]
pub struct LoadArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// With --lab: send UDP over this IP version instead of plain Ethernet frames
    #[arg(
        long,
        value_enum,
        value_name = "VERSION",
        requires = "lab",
        conflicts_with = "interface"
    )]
    udp: Option<IpArg>,

    /// Source IP address; a target on this link then needs no route and no address here
    /// [default: the kernel's choice]
    #[arg(long, value_name = "IP", conflicts_with = "lab")]
    from: Option<IpAddr>,

    /// First UDP source port; --flows uses the next ones too [default: 40000]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    source_port: Option<u16>,

    /// VLAN ID of sent frames (0 to 4094)
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(0..=4094))]
    vlan_id: Option<u16>,

    /// Priority in the VLAN tag
    #[arg(long, value_name = "0-7", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=7), requires = "vlan_id")]
    vlan_pri: u8,

    /// Outer 802.1ad VLAN ID, around --vlan-id
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(0..=4094), requires = "vlan_id")]
    qinq_id: Option<u16>,

    /// Frame sizes with FCS: 64, 64,512,1518, 64-1518, 64-1518:64, random:64-1518, imix
    #[arg(short, long, value_name = "SIZES", default_value = "64", value_parser = parse_sizes, allow_hyphen_values = true)]
    size: Sizes,

    /// Number of flows: UDP source ports, or source MACs (which the flow hash does not spread)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    flows: u32,

    /// Rate: 100k, 1.5M, 800kpps, 2.5gbit, 2.5gbit-l1, 10%, max
    #[arg(short, long, value_name = "RATE", default_value = "10k", conflicts_with_all = ["window", "ping"], allow_hyphen_values = true)]
    rate: Rate,

    /// Closed loop with N frames in flight
    #[arg(long, value_name = "N", conflicts_with = "ping")]
    window: Option<u64>,

    /// Closed loop with one frame in flight
    #[arg(long)]
    ping: bool,

    /// Spacing of departures [default: constant; burst with --burst]
    #[arg(long, value_enum, conflicts_with_all = ["window", "ping"])]
    pattern: Option<PatternArg>,

    /// Send N back to back, then pause to keep the mean rate
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["window", "ping"])]
    burst: Option<u32>,

    /// Duration of the measurement [default: 10s, or until --count]
    #[arg(short, long, value_name = "TIME", value_parser = parse_positive_duration, allow_hyphen_values = true)]
    duration: Option<Duration>,

    /// Number of frames in the measurement
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = parse_frames, allow_hyphen_values = true)]
    count: Option<u64>,

    /// Duration of the warm-up, which is not part of the result
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = parse_duration)]
    warmup: Duration,

    /// Count echoes that take longer than this as late
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = parse_positive_duration)]
    late_after: Duration,

    /// Number of sending threads, beside one that receives. queues: one for each transmit queue in
    /// use; frames of --tx ring, mmsg and send then bypass the queueing discipline, so that the
    /// sender's CPU chooses the queue [default: one thread does both]
    #[arg(long, value_name = "N|queues", value_parser = Count::parse::<SENDERS_MAX>)]
    senders: Option<Count>,

    /// Split service times at the kernel's receive stamp of the echo
    #[arg(long)]
    breakdown: bool,

    /// Who stamps echoes. hardware: the NIC too, with the frames that its driver lets it stamp (some
    /// stamp PTP alone: --ethertype 0x88f7), by its clock; needs root, and is put back at the end
    #[arg(long, value_enum, value_name = "kernel|hardware", default_value_t = StampsArg::Kernel)]
    stamps: StampsArg,

    /// Interval of live lines
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_positive_duration)]
    interval: Duration,

    /// Write the result as JSON to FILE; `-` writes it to stdout, and the text to stderr
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,

    /// Write one CSV row per interval to FILE
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Write an HdrHistogram interval log of response and service times to FILE
    #[arg(long, value_name = "FILE")]
    hdr_log: Option<PathBuf>,

    /// Write the first 1000 bad frames to FILE, with nanosecond stamps
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,

    /// Exit 3 if loss exceeds RATIO (0, 0.1%)
    #[arg(long, value_name = "RATIO", value_parser = parse_ratio, allow_hyphen_values = true)]
    max_loss: Option<f64>,

    /// Exit 3 if the 99th percentile of response time exceeds TIME (50us)
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    max_p99: Option<Duration>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum IpArg {
    /// IPv4
    #[value(name = "4")]
    V4,
    /// IPv6
    #[value(name = "6")]
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StampsArg {
    /// The kernel
    Kernel,
    /// The NIC beside it
    Hardware,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PatternArg {
    /// Evenly spaced
    Constant,
    /// Exponential gaps of the same mean
    Poisson,
    /// Bursts of --burst frames, evenly spaced
    Burst,
}

impl LoadArgs {
    /// Runs the load, reports, and says how it ended.
    pub fn run(self) -> Result<u8> {
        let mut request = self.request()?;
        self.check_files()?;
        let interrupt = Interrupt::catch_with(Arc::clone(&request.spec.stop))?;
        let mut report = LoadReport::open(&LoadFiles {
            json: self.json.as_deref(),
            csv: self.csv.as_deref(),
            hdr_log: self.hdr_log.as_deref(),
            pcap: self.pcap.as_deref(),
        })?;
        let nic = self.begin_stamps(&mut request)?;
        self.target.user.prepare_for(&request)?;
        let finding = site::run(&request, &mut report)?;
        let restored = nic.map(|mut nic| nic.end());
        report.finish(&request, &finding)?;
        if let Some(failure) = restored.and_then(|restored| report.restored(&restored)) {
            return Err(failure);
        }
        if let Some(reason) = finding.outcome.broken {
            return Err(Error::Run(reason));
        }
        if let Some(failure) = finding.engine_failure {
            return Err(failure);
        }
        let missed = report.thresholds_missed(self.max_loss, self.max_p99, &finding.outcome);
        match (interrupt.caught(), missed, finding.nothing_measured()) {
            (true, ..) => Ok(exit::INTERRUPTED),
            (false, true, _) => Ok(exit::THRESHOLD),
            (false, false, Some(reason)) => Err(Error::Run(reason)),
            (false, false, None) => Ok(exit::OK),
        }
    }

    /// Has the NIC stamp, if that is asked for and it can.
    fn begin_stamps(&self, request: &mut LoadRequest) -> Result<Option<NicStamps>> {
        if self.stamps == StampsArg::Kernel {
            return Ok(None);
        }
        let began = match request.reach.interface() {
            Some(name) => NicStamps::begin(name)?,
            None => Err("the lab's veth pair has no clock".into()),
        };
        request.spec.stamps = match &began {
            Ok(nic) => Stamps::Nic {
                clock: Arc::clone(&nic.clock),
                filter: nic.filter,
                filter_before: nic.filter_before,
            },
            Err(reason) => Stamps::NicMissing(reason.clone()),
        };
        Ok(began.ok())
    }

    /// Refuses a file that two would write to, and stdout for what is no JSON.
    fn check_files(&self) -> Result<()> {
        let named = [
            ("--json", &self.json),
            ("--csv", &self.csv),
            ("--hdr-log", &self.hdr_log),
            ("--pcap", &self.pcap),
        ];
        let files: Vec<(&str, &Path)> =
            named.iter().filter_map(|(option, file)| Some((*option, file.as_deref()?))).collect();
        for (at, (option, file)) in files.iter().enumerate() {
            if *option != "--json" && *file == Path::new("-") {
                return Err(Error::Usage(format!(
                    "{option} -: only --json goes to stdout; name a file"
                )));
            }
            let other = files[..at].iter().find(|(_, other)| other == file);
            if let Some((other, _)) = other.filter(|_| !file.starts_with("/dev")) {
                return Err(Error::Usage(format!(
                    "{other} and {option} are both {}: each needs a file of its own",
                    file.display()
                )));
            }
        }
        Ok(())
    }

    fn request(&self) -> Result<LoadRequest> {
        let udp = self.udp.map(|version| matches!(version, IpArg::V6));
        let reach = self.target.reach(udp, self.from)?;
        if self.source_port.is_some() && !reach.is_udp() {
            return Err(Error::Usage(
                "--source-port is for UDP: plain frames have no ports".into(),
            ));
        }
        let mut tags = Vec::new();
        if let Some(id) = self.qinq_id {
            tags.push(VlanTag::service(id, self.vlan_pri));
        }
        if let Some(id) = self.vlan_id {
            tags.push(VlanTag::customer(id, self.vlan_pri));
        }
        let threads = match self.senders {
            None => Threads::Together,
            Some(Count::Number(senders)) => Threads::Apart { senders },
            Some(Count::Queues) => Threads::Apart { senders: self.target.transmit_queues()? },
        };
        let mut base = self.target.request(reach, threads)?;
        base.spec.qdisc_bypass |=
            self.senders == Some(Count::Queues) && base.spec.tx != Some(TxChoice::Live);
        let drive = match (self.ping, self.window) {
            (true, _) => Drive::Window(1),
            (false, Some(frames)) => Drive::Window(frames),
            (false, None) => {
                Drive::Paced { rate: self.rate, pattern: self.pattern(base.spec.seed)? }
            }
        };
        let by_time = self.count.is_none().then_some(Duration::from_secs(10));
        let spec = LoadSpec {
            sizes: self.size.clone(),
            flows: self.flows,
            drive,
            limits: Limits { duration: self.duration.or(by_time), count: self.count },
            warm_up: self.warmup,
            late_after: self.late_after,
            breakdown: self.breakdown,
            evidence_max: if self.pcap.is_some() { EVIDENCE_FRAMES } else { 0 },
            interval: self.interval,
            is_last: true,
            ..base.spec
        };
        let source_port = self.source_port.unwrap_or(base.source_port);
        Ok(LoadRequest { source_port, tags, spec, ..base })
    }

    fn pattern(&self, seed: u64) -> Result<Pattern> {
        match (self.pattern, self.burst) {
            (None | Some(PatternArg::Constant), None | Some(1)) => Ok(Pattern::Constant),
            (None | Some(PatternArg::Burst), Some(frames)) => Ok(Pattern::Burst { frames }),
            (Some(PatternArg::Poisson), None | Some(1)) => Ok(Pattern::Poisson { seed }),
            (Some(PatternArg::Burst), None) => {
                Err(Error::Usage("--pattern burst needs --burst N, the frames of one".into()))
            }
            (Some(pattern), Some(_)) => Err(Error::Usage(format!(
                "--burst and --pattern {} exclude each other",
                pattern.to_possible_value().map_or(String::new(), |value| value.get_name().into()),
            ))),
        }
    }
}

/// Bad frames that a pcap file keeps.
const EVIDENCE_FRAMES: usize = 1000;

fn parse_sizes(text: &str) -> std::result::Result<Sizes, String> {
    let valid = "a size (64), a list (64,512), a sweep (64-1518:64), random:64-1518, or imix";
    text.parse().map_err(|error| format!("{error}; valid is {valid}"))
}

fn parse_frames(text: &str) -> std::result::Result<u64, String> {
    match parse_count(text)? {
        0 => Err("from 1; without --count the --duration ends the run".into()),
        count => Ok(count),
    }
}
