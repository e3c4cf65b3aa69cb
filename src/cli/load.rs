//! `linerate load`: its options and what they mean.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};

use super::echo::{CpuList, parse_cpu_list};
use crate::bench::loading::{self, LoadRequest, Reach};
use crate::engine::config::PathName;
use crate::error::{Error, Result, exit};
use crate::load::intake::RxChoice;
use crate::load::pace::Pattern;
use crate::load::plan::Limits;
use crate::load::rate::Rate;
use crate::load::run::{Drive, Threads};
use crate::load::sizes::Sizes;
use crate::load::transmit::TxChoice;
use crate::report::load::{LoadReportFiles, LoadVoice};
use crate::sys::failure::failed;
use crate::sys::privilege::ensure_namespaces_allowed;
use crate::sys::signal::Interrupt;
use crate::units::{parse_count, parse_duration, parse_positive_duration};
use crate::wire::ethernet::{EtherType, MacAddress, VlanTag};
use crate::wire::probe::{Expectation, PayloadPattern};

const EXAMPLES: &str = "\
Examples:
  linerate load --lab -r 100k -d 10s               no root needed: against our own engine
  linerate load --lab ring-v2 --ping -d 2s         round trips of lone frames
  sudo linerate load -i eth1 --to 02:00:00:00:00:02 -r 1.5M -d 30s -s imix
  sudo linerate load -i eth1 --to 192.0.2.7:7777 -r 10% -d 10s --flows 64 --json -
  sudo linerate load -i eth1 --to 02:00:00:00:00:02 --expect any     foreign reflectors (testpmd macswap)

Rates: 1.5M, 800kpps (frames a second), 2.5gbit (layer 2, FCS counted), 2.5gbit-l1 (20 bytes a frame
more), 10% of the link's line rate, max. Sizes include the 4-byte FCS, as RFC 2544 counts them.

Latency is taken of every frame: response from the time at which the schedule had it due, so that a
generator that stalls hides nothing; service from the kick that sent it.

Exit codes: 0 done, 1 could not run, 2 usage, 3 a threshold was missed, 77 missing privilege,
130 interrupted (after the summary).";

/// Send frames at a rate, verify every echoed byte, account for every frame
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true, group(ArgGroup::new("where").required(true).args(["interface", "lab"])))]
pub struct LoadArgs {
    /// Interface to send from
    #[arg(short, long, alias = "dev", value_name = "NAME", requires = "to")]
    interface: Option<String>,

    /// A veth testbed of our own, with our own engine on this path at its other end
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "ring-v2")]
    lab: Option<PathName>,

    /// Who echoes: a MAC, or an IP address and UDP port (192.0.2.7:7777, [2001:db8::2]:7777)
    #[arg(long, value_name = "MAC|IP:PORT", value_parser = parse_target)]
    to: Option<Target>,

    /// In the lab: UDP over this IP version instead of plain Ethernet frames
    #[arg(long, value_enum, value_name = "VERSION", requires = "lab", conflicts_with = "to")]
    udp: Option<IpArg>,

    /// EtherType of plain frames
    #[arg(long, value_name = "TYPE", default_value = "0x88b5")]
    ethertype: EtherType,

    /// Source IP address [default: what the kernel would choose]
    #[arg(long, value_name = "IP", conflicts_with = "lab")]
    from: Option<IpAddr>,

    /// First UDP source port; --flows counts on from it
    #[arg(long, value_name = "PORT", default_value_t = 40_000, value_parser = clap::value_parser!(u16).range(1..))]
    source_port: u16,

    /// VLAN to send in (0 to 4094)
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(0..=4094))]
    vlan_id: Option<u16>,

    /// Priority in the VLAN tag
    #[arg(long, value_name = "0-7", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=7), requires = "vlan_id")]
    vlan_pri: u8,

    /// Outer 802.1ad VLAN, around --vlan-id
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(0..=4094), requires = "vlan_id")]
    qinq_id: Option<u16>,

    /// Frame sizes with FCS: 64, 64,512,1518, 64-1518, 64-1518:64, random:64-1518, imix
    #[arg(short, long, value_name = "SIZES", default_value = "64", value_parser = parse_sizes, allow_hyphen_values = true)]
    size: Sizes,

    /// Flows, in turn: UDP source ports, or source MACs (which the flow hash does not spread)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    flows: u32,

    /// Seed of everything random: sizes, payloads, the Poisson pattern
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Rate: 100k, 1.5M, 800kpps, 2.5gbit, 2.5gbit-l1, 10%, max
    #[arg(short, long, value_name = "RATE", default_value = "10k", conflicts_with_all = ["window", "ping"], allow_hyphen_values = true)]
    rate: Rate,

    /// Closed loop: so many unanswered frames at a time
    #[arg(long, value_name = "N", conflicts_with = "ping")]
    window: Option<u64>,

    /// One frame at a time
    #[arg(long)]
    ping: bool,

    /// How departures follow one another
    #[arg(long, value_enum, default_value_t = PatternArg::Constant, conflicts_with_all = ["window", "ping"])]
    pattern: PatternArg,

    /// Frames that leave back to back; the gaps are so much longer
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["window", "ping"])]
    burst: u32,

    /// How long to measure [default: 10s, or until --count]
    #[arg(short, long, value_name = "TIME", value_parser = parse_positive_duration, allow_hyphen_values = true)]
    duration: Option<Duration>,

    /// How many frames to measure
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = parse_frames, allow_hyphen_values = true)]
    count: Option<u64>,

    /// Send so long before the measurement begins
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = parse_duration)]
    warmup: Duration,

    /// How long to wait for the last echoes
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_duration)]
    drain: Duration,

    /// An echo that takes longer counts as late
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = parse_positive_duration)]
    late_after: Duration,

    /// CPUs: senders in order, then the receiver; one CPU for one thread that does both
    /// [default: the first that the process may use]
    #[arg(long, value_name = "LIST", value_parser = parse_cpu_list)]
    cpus: Option<CpuList>,

    /// Threads that send, beside one that receives [default: one thread does both]
    #[arg(long, value_name = "N", value_parser = parse_senders)]
    senders: Option<usize>,

    /// TX half: xsk, ring, mmsg, send [default: ring]
    #[arg(long, value_name = "HALF")]
    tx: Option<TxChoice>,

    /// Receive half: v3, v2, recv
    #[arg(long, value_name = "HALF")]
    rx: Option<RxChoice>,

    /// Send past the queueing discipline; packet captures do not see such frames
    #[arg(long)]
    qdisc_bypass: bool,

    /// How payloads must come back
    #[arg(long, value_enum, default_value_t = ExpectArg::Uppercase)]
    expect: ExpectArg,

    /// Split round trips at the kernel's stamp of the returning frame
    #[arg(long)]
    breakdown: bool,

    /// Time between live lines
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_positive_duration)]
    interval: Duration,

    /// Write the result as JSON to FILE, or to stdout with `-` (the text then goes to stderr)
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,

    /// Write a row an interval to FILE
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Write an HdrHistogram interval log of response and service times to FILE
    #[arg(long, value_name = "FILE")]
    hdr_log: Option<PathBuf>,

    /// Keep the first bad frames in FILE, with nanosecond stamps
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,

    /// Exit with 3 if a larger part of the frames is lost (0, 0.1%)
    #[arg(long, value_name = "RATIO", value_parser = parse_ratio, allow_hyphen_values = true)]
    max_loss: Option<f64>,

    /// Exit with 3 if the 99th percentile of response time is longer (50us)
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    max_p99: Option<Duration>,

    /// Send on an interface with the default route all the same
    #[arg(long)]
    force: bool,
}

/// Who echoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A station on the link.
    Mac(MacAddress),
    /// A UDP port.
    Udp(SocketAddr),
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PatternArg {
    /// Evenly spaced
    Constant,
    /// Exponential gaps of the same mean
    Poisson,
}

/// How payloads must come back.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ExpectArg {
    /// In upper case, addresses swapped
    Uppercase,
    /// Unchanged, addresses swapped
    Same,
    /// Either, whatever the addresses: foreign reflectors
    Any,
}

impl ExpectArg {
    /// What it means.
    pub(super) fn meaning(self) -> Expectation {
        match self {
            ExpectArg::Uppercase => Expectation::Uppercased,
            ExpectArg::Same => Expectation::Same,
            ExpectArg::Any => Expectation::Any,
        }
    }
}

impl LoadArgs {
    /// Runs the load, reports, and says how it ended.
    pub fn run(self) -> Result<u8> {
        let request = self.request()?;
        let mut voice = LoadVoice::open(&LoadReportFiles {
            json: self.json.as_deref(),
            csv: self.csv.as_deref(),
            hdr_log: self.hdr_log.as_deref(),
            pcap: self.pcap.as_deref(),
        })?;
        if matches!(request.reach, Reach::Lab { .. }) {
            // Before any thread exists: a user namespace is entered by the whole process.
            ensure_namespaces_allowed()?;
        }
        let interrupt = Interrupt::catch_with(Arc::clone(&request.stop))
            .map_err(|error| failed("catch signals", &error, ""))?;
        let finding = loading::run(&request, &mut voice)?;
        voice.finish(&request, &finding)?;
        let missed = voice.thresholds_missed(self.max_loss, self.max_p99, &finding.outcome);
        Ok(match (interrupt.caught(), missed) {
            (true, _) => exit::INTERRUPTED,
            (false, true) => exit::THRESHOLD,
            (false, false) => exit::OK,
        })
    }

    fn request(&self) -> Result<LoadRequest> {
        let reach = match (&self.interface, self.lab) {
            (Some(interface), _) => {
                let interface = interface.clone();
                match self.to {
                    Some(Target::Mac(_)) if self.from.is_some() => {
                        return Err(Error::Usage(
                            "--from is for UDP: a station's MAC is reached from the interface's own"
                                .into(),
                        ));
                    }
                    Some(Target::Mac(mac)) => Reach::Station { interface, mac },
                    Some(Target::Udp(target)) => Reach::Udp { interface, target, from: self.from },
                    None => return Err(Error::Usage("--interface needs --to".into())),
                }
            }
            (None, Some(path)) => {
                if self.to.is_some() {
                    return Err(Error::Usage(
                        "--lab has an engine of its own: leave out --to".into(),
                    ));
                }
                Reach::Lab { path, udp: self.udp.map(|version| matches!(version, IpArg::V6)) }
            }
            (None, None) => return Err(Error::Usage("name an --interface, or --lab".into())),
        };
        let mut tags = Vec::new();
        if let Some(id) = self.qinq_id {
            tags.push(VlanTag::service(id, self.vlan_pri));
        }
        if let Some(id) = self.vlan_id {
            tags.push(VlanTag::customer(id, self.vlan_pri));
        }
        let drive = match (self.ping, self.window) {
            (true, _) => Drive::Window(1),
            (false, Some(frames)) => Drive::Window(frames),
            (false, None) => Drive::Paced { rate: self.rate, pattern: self.pattern()? },
        };
        let by_time = self.count.is_none().then_some(Duration::from_secs(10));
        Ok(LoadRequest {
            reach,
            ether_type: self.ethertype,
            source_port: self.source_port,
            tags,
            sizes: self.size.clone(),
            payload: PayloadPattern::Filler,
            flows: self.flows,
            seed: self.seed,
            drive,
            limits: Limits { duration: self.duration.or(by_time), count: self.count },
            warm_up: self.warmup,
            drain: self.drain,
            late_after: self.late_after,
            cpus: self.cpus.clone().map_or(Vec::new(), |list| list.0),
            threads: self.senders.map_or(Threads::Together, |senders| Threads::Apart { senders }),
            transmit: self.tx,
            receive: self.rx,
            qdisc_bypass: self.qdisc_bypass,
            expectation: self.expect.meaning(),
            breakdown: self.breakdown,
            evidence_max: if self.pcap.is_some() { EVIDENCE_FRAMES } else { 0 },
            interval: self.interval,
            stop: Arc::new(AtomicBool::new(false)),
            force: self.force,
        })
    }

    fn pattern(&self) -> Result<Pattern> {
        match (self.pattern, self.burst) {
            (PatternArg::Constant, 1) => Ok(Pattern::Constant),
            (PatternArg::Constant, frames) => Ok(Pattern::Burst { frames }),
            (PatternArg::Poisson, 1) => Ok(Pattern::Poisson { seed: self.seed }),
            (PatternArg::Poisson, _) => {
                Err(Error::Usage("--burst and --pattern poisson exclude each other".into()))
            }
        }
    }
}

/// Bad frames that a pcap file keeps.
const EVIDENCE_FRAMES: usize = 1000;

fn parse_target(text: &str) -> std::result::Result<Target, String> {
    if let Ok(mac) = text.parse::<MacAddress>() {
        return Ok(Target::Mac(mac));
    }
    match text.parse::<SocketAddr>() {
        Ok(target) if target.port() > 0 => Ok(Target::Udp(target)),
        _ => Err("a MAC (02:00:00:00:00:02), or an IP address and port (192.0.2.7:7777, \
                  [2001:db8::2]:7777)"
            .into()),
    }
}

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

fn parse_senders(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=64) => Ok(count),
        _ => Err("from 1 to 64".into()),
    }
}

/// A part as typed: `0`, `0.001`, `0.1%`.
pub fn parse_ratio(text: &str) -> std::result::Result<f64, String> {
    let (number, scale) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim(), 100.0),
        None => (text.trim(), 1.0),
    };
    match number.parse::<f64>() {
        Ok(value) if (0.0..1.0).contains(&(value / scale)) => Ok(value / scale),
        _ => Err("a part, from 0 to less than 1: 0, 0.001, 0.1%".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_stations_or_udp_ports() {
        assert!(matches!(parse_target("02:00:00:00:00:02"), Ok(Target::Mac(_))));
        assert!(matches!(parse_target("192.0.2.7:7"), Ok(Target::Udp(_))));
        assert!(matches!(parse_target("[2001:db8::2]:7"), Ok(Target::Udp(_))));
        for bad in ["", "192.0.2.7", "192.0.2.7:0", "eth0"] {
            assert!(parse_target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ratios_are_parts_or_percents() {
        assert_eq!(parse_ratio("0").unwrap(), 0.0);
        assert_eq!(parse_ratio("0.5%").unwrap(), 0.005);
        assert!(parse_ratio("100%").is_err() && parse_ratio("-1").is_err());
    }
}
