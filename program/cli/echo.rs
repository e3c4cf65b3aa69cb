//! Options of `linerate echo`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use self::knobs::{BatchArgs, PathArgs};
use self::rings::RingArgs;
use self::workers::WorkerArgs;
use super::choices::choice;
use super::user::UserArgs;
use super::values::interface_name;
use super::waiting::WaitArgs;
use crate::bench::account::Account;
use crate::bench::testbed::End;
use crate::engine::config::{EngineConfig, PathName};
use crate::engine::edit::Transform;
use crate::engine::names::TxName;
use crate::engine::pool::{Engine, EngineEvent};
use crate::engine::profile::{self, Asked, Profile};
use crate::engine::storm::Allowance;
use crate::engine::turn::{LatencyMode, WhenFull};
use crate::error::{Error, Result, exit};
use crate::report::echo::EchoReport;
use crate::ring::budget::MemoryBudget;
use crate::sys::failure::EBUSY;
use crate::sys::privilege::drop_capabilities;
use crate::sys::signal::Interrupt;
use crate::units::{parse_count, parse_duration, parse_positive_duration};
use crate::wire::ethernet::EtherType;

mod knobs;
mod rings;
mod workers;

/// Echo frames back to their senders, payload in upper case
#[derive(Args, Debug)]
#[command(after_help = include_str!("help/echo.txt"), allow_negative_numbers = true)]
pub struct EchoArgs {
    /// Interface to serve
    #[arg(short, long, alias = "dev", value_name = "NAME", value_parser = interface_name())]
    interface: String,

    /// Optimise for PROFILE: it chooses path, receive ring, wait and batch unless they are given
    /// [default: balanced if --path is auto]
    #[arg(long, value_parser = choice::<Profile>(), value_name = "PROFILE")]
    profile: Option<Profile>,

    #[command(flatten)]
    path: PathArgs,

    /// Use --path syscall if the ring cannot be set up
    #[arg(long)]
    fallback: bool,

    #[command(flatten)]
    workers: WorkerArgs,

    /// EtherTypes to echo, comma-separated: names (ip, ipv6, pae), numbers (0x88b5), or all. Behind
    /// VLAN tags the inner type counts. With all, IP is answered only with --reply udp, and ARP and
    /// control frames (pause, LACP, LLDP, 802.1X) never [default: 0x88b5, local experimental; with --reply udp: ip,ipv6]
    #[arg(long, value_name = "TYPE", value_parser = parse_ether_types)]
    ethertype: Option<EtherTypes>,

    /// l2: the payload starts behind the Ethernet header. udp: also swap IP addresses and ports,
    /// upper-case the UDP payload only, make the checksum anew [default: l2; for IP: udp]
    #[arg(long, value_enum)]
    reply: Option<ReplyArg>,

    /// UDP port to answer
    #[arg(long, value_name = "PORT", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// Transform of payload bytes
    #[arg(long, value_parser = choice::<Transform>(), default_value = "uppercase")]
    transform: Transform,

    /// Set promiscuous mode, and also answer frames to other hosts
    #[arg(long)]
    promisc: bool,

    /// Also answer frames to broadcast and multicast addresses, from the interface's address
    #[arg(long)]
    echo_broadcast: bool,

    /// Rate limit per worker, in frames/s, for payloads that the transform leaves unchanged
    /// (prevents echo loops). Use `unlimited` with --transform none on a network that cannot loop
    #[arg(long, value_name = "N|unlimited", default_value = "10", value_parser = parse_allowance, allow_hyphen_values = true)]
    echo_unchanged: Allowance,

    /// Rate limit per UDP peer (IP address and port) and worker, in answers/s, for source ports below
    /// 32768 (ends loops with services that answer anything). A peer that sends linerate's probes, or
    /// 16 datagrams in one batch, is a load and has no limit
    #[arg(long, value_name = "N|unlimited", default_value = "1000", value_parser = parse_allowance, allow_hyphen_values = true)]
    echo_peer: Allowance,

    /// Also answer datagrams from ports below 1024 and other well-known service ports
    #[arg(long)]
    echo_services: bool,

    #[command(flatten)]
    wait: WaitArgs,

    /// When the TX side is full: `drop`, or the longest time that a batch waits before dropping
    #[arg(long, value_name = "drop|TIME", default_value = "10ms", value_parser = parse_when_full)]
    tx_full: WhenFull,

    /// Record the latency of every answered frame, of every 61st, or of none
    #[arg(long, value_parser = choice::<LatencyMode>(), default_value = "on")]
    latency: LatencyMode,

    /// Interval of live lines
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    interval: Duration,

    /// End after this time (5s, 2m) [default: run until Ctrl-C]
    #[arg(short, long, value_name = "TIME", value_parser = parse_positive_duration, allow_hyphen_values = true)]
    duration: Option<Duration>,

    /// End after COUNT received frames over all workers (1000, 10k), plus at most one batch
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = parse_frame_limit, allow_hyphen_values = true)]
    count: Option<u64>,

    /// Write the result as JSON to FILE; `-` writes it to stdout, and the text to stderr
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,

    /// Print no live lines
    #[arg(short, long)]
    quiet: bool,

    /// Allow lo, interfaces that are part of the way out of this host, and a veth whose VLAN tags the path cannot see
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    user: UserArgs,

    #[command(flatten)]
    batching: BatchArgs,

    #[command(flatten)]
    ring: RingArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ReplyArg {
    /// The payload starts behind the Ethernet header
    L2,
    /// UDP over IPv4 and IPv6
    Udp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct EtherTypes(Vec<EtherType>);

impl EchoArgs {
    /// The engine's configuration.
    fn config(&self) -> Result<EngineConfig> {
        let asked = self.ethertype.as_ref().map(|types| types.0.clone());
        let ether_types = asked.unwrap_or_else(|| match self.reply {
            Some(ReplyArg::Udp) => vec![EtherType::IPV4, EtherType::IPV6],
            _ => vec![EtherType::LOCAL_EXPERIMENTAL],
        });
        let all = ether_types.is_empty();
        let any_ip = ether_types.iter().any(|t| t.is_ip());
        let any_other = all || ether_types.iter().any(|t| !t.is_ip());
        let refuse = |reason: &str| Err(Error::Usage(reason.into()));
        if self.reply == Some(ReplyArg::Udp) && !all && !any_ip {
            return refuse(
                "--reply udp answers IP only: leave out --ethertype, or name ip, ipv6 or all",
            );
        }
        if ether_types.contains(&EtherType::ARP) {
            return refuse(
                "--ethertype arp: an echoed ARP request would only confuse the neighbours",
            );
        }
        // 802.1X has long served for tests, and NICs stamp PTP messages; clocks talk to groups. Who names one
        // means it.
        let meant = [EtherType::PAE, EtherType::PTP];
        if ether_types.iter().any(|t| t.is_control() && !meant.contains(t)) {
            return refuse(
                "--ethertype: an echoed control frame would steer the link as the first one did",
            );
        }
        if ether_types.iter().any(|t| t.is_vlan_tag()) {
            return refuse(
                "--ethertype: tags are looked through and put back; name the type behind them",
            );
        }
        let udp = match self.reply {
            Some(reply) => reply == ReplyArg::Udp,
            None => any_ip,
        };
        let mut config = EngineConfig {
            receive_ring: self.ring.receive(),
            transmit_ring: self.ring.transmit(),
            ring_memory: MemoryBudget::new(self.ring.memory_bytes()),
            link_layer: self.reply == Some(ReplyArg::L2) || any_other,
            udp_port: udp.then_some(self.port),
            ether_types,
            transform: self.transform,
            promiscuous: self.promisc,
            echo_group: self.echo_broadcast,
            echo_services: self.echo_services,
            unchanged: self.echo_unchanged,
            per_peer: self.echo_peer,
            when_full: self.tx_full,
            latency: self.latency,
            max_frame: self.batching.max_frame,
            qdisc_bypass: self.batching.qdisc_bypass(),
            send_buffer: self.batching.send_buffer(),
            interval: self.interval,
            frame_limit: self.count,
            force: self.force,
            ..EngineConfig::new(&self.interface)
        };
        self.workers.check(self.path.asked().path())?;
        self.workers.apply(&mut config);
        Ok(config)
    }

    /// The profile. A named path has none, unless --profile is given.
    fn profile(&self) -> Option<Profile> {
        self.profile.or(self.path.asked().path().is_none().then_some(profile::DEFAULT))
    }

    /// Chooses by the interface what the options left open.
    fn tune(&self, config: &mut EngineConfig) -> Result<()> {
        self.workers.count_queues(config)?;
        match (self.profile(), self.path.asked().path()) {
            (Some(profile), _) => profile::tune(config, profile, self.path.asked(), None)?,
            (None, path) => config.path = path.unwrap_or(config.path),
        }
        self.ring.check(config.path)?;
        self.batching.check(config.path)?;
        config.wait = self.wait.wait(config.wait)?;
        config.batch = self.batching.batch.unwrap_or(config.batch);
        Ok(())
    }

    /// The engine that these options ask for at this end.
    pub(super) fn engine_at(&self, end: &End) -> Result<EngineConfig> {
        let mut config = EngineConfig { namespace: Some(end.namespace.clone()), ..self.config()? };
        self.tune(&mut config)?;
        Ok(config)
    }

    /// Starts the engine. If another program holds the queue of an automatically chosen AF_XDP
    /// socket, another TX half is chosen.
    fn start(&self, config: &mut EngineConfig) -> Result<Engine> {
        let error = match Engine::start(config) {
            Err(error) if error.errno() == Some(EBUSY) => error,
            started => return started,
        };
        match (self.profile(), self.path.asked()) {
            (Some(profile), asked @ Asked { tx: None, .. }) if config.path.tx == TxName::Xsk => {
                let reason = error.to_string().lines().next().unwrap_or_default().to_string();
                let (wait, batch) = (config.wait, config.batch);
                profile::tune(config, profile, asked, Some(reason))?;
                (config.wait, config.batch) = (wait, batch);
                Engine::start(config)
            }
            _ => Err(error),
        }
    }

    /// Serves until Ctrl-C, the duration, the count or the end of the interface.
    pub fn run(self) -> Result<u8> {
        let mut config = self.config()?;
        self.tune(&mut config)?;
        let interrupt = Interrupt::catch()?;
        let mut pin = self.workers.pin_interrupts(&config.interface)?;
        let mut report = EchoReport::open(self.json.as_deref(), self.quiet)?;
        self.user.become_plain()?;
        let started = self.start(&mut config);
        let mut engine = match started {
            Err(error @ Error::Ring(_)) if self.fallback => {
                report.fallback(config.path, &error);
                config.path = PathName::SYSCALL;
                Engine::start(&config)?
            }
            started => started?,
        };
        // Sockets, rings and files are open: nothing more is needed.
        drop_capabilities()?;
        report.start(&engine, &config);
        if let Some(pin) = &mut pin {
            let cpus: Vec<usize> = engine.threads().iter().map(|worker| worker.cpu).collect();
            report.pinned(pin.put(&cpus)?);
        }
        let mut account = Account::open(engine.threads());
        let deadline = self.duration.and_then(|duration| Instant::now().checked_add(duration));
        let mut ended = false;
        while !ended && !interrupt.caught() && !report.reader_gone() {
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break;
            }
            let events = engine.poll(left.unwrap_or(POLL).min(POLL))?;
            ended = events
                .iter()
                .any(|event| matches!(event, EngineEvent::Ended | EngineEvent::InterfaceGone));
            report.events(&mut engine, events, self.interval);
        }
        let taken = account.read(&[]);
        let summary = engine.stop();
        let restored = pin.map(|mut pin| pin.end()).unwrap_or_default();
        let is_left = report.restored(&restored);
        report.summary(&config, &summary, &taken)?;
        let failed = !summary.failures.is_empty() || summary.interface_gone || is_left;
        Ok(if failed { exit::FAILED } else { exit::OK })
    }
}

/// Longest time until a signal or a link change is noticed.
const POLL: Duration = Duration::from_millis(100);

/// A frame limit; 0 would end the server at once.
fn parse_frame_limit(text: &str) -> std::result::Result<u64, String> {
    match parse_count(text)? {
        0 => Err("from 1; without --count the engine runs until Ctrl-C".into()),
        count => Ok(count),
    }
}

fn parse_ether_types(text: &str) -> std::result::Result<EtherTypes, String> {
    if text == "all" {
        return Ok(EtherTypes(Vec::new()));
    }
    let types: std::result::Result<Vec<EtherType>, String> =
        text.split(',').map(|name| name.trim().parse()).collect();
    match types? {
        types if types.len() <= 16 => Ok(EtherTypes(types)),
        _ => Err("at most 16 EtherTypes; `all` echoes every one".into()),
    }
}

fn parse_allowance(text: &str) -> std::result::Result<Allowance, String> {
    if text == "unlimited" {
        return Ok(Allowance::Unlimited);
    }
    let rate = parse_count(text)?;
    u32::try_from(rate).map(Allowance::PerSecond).map_err(|_| "use `unlimited`".into())
}

fn parse_when_full(text: &str) -> std::result::Result<WhenFull, String> {
    if text == "drop" {
        return Ok(WhenFull::Drop);
    }
    let patience = parse_duration(text)?;
    if patience > Duration::from_secs(1) {
        return Err("at most 1s: meanwhile the worker serves nobody".into());
    }
    Ok(WhenFull::Wait(patience))
}

fn parse_interval(text: &str) -> std::result::Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < Duration::from_millis(10) || interval > Duration::from_secs(3600) {
        return Err("from 10ms to 1h".into());
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Echo {
        #[command(flatten)]
        args: EchoArgs,
    }

    fn config(line: &str) -> Result<EngineConfig> {
        let words = format!("echo -i x {line}");
        Echo::try_parse_from(words.split_whitespace()).unwrap().args.config()
    }

    #[test]
    fn what_is_echoed_follows_from_type_and_reply() {
        let plain = config("").unwrap();
        assert_eq!(plain.ether_types, [EtherType::LOCAL_EXPERIMENTAL]);
        assert_eq!((plain.link_layer, plain.udp_port), (true, None));
        let udp = config("--reply udp --port 7777").unwrap();
        assert_eq!(udp.ether_types, [EtherType::IPV4, EtherType::IPV6]);
        assert_eq!((udp.link_layer, udp.udp_port), (false, Some(7777)));
        let ip = config("--ethertype ip").unwrap();
        assert_eq!((ip.link_layer, ip.udp_port), (false, Some(7)));
        let all = config("--ethertype all").unwrap();
        assert!(all.ether_types.is_empty() && all.link_layer && all.udp_port.is_none());
        let reflector = config("--ethertype ip --reply l2 --transform none").unwrap();
        assert_eq!((reflector.link_layer, reflector.udp_port), (true, None));
        assert!(config("--ethertype pae --reply udp").is_err());
        let mixed = config("--ethertype ip,0x88b5").unwrap();
        assert_eq!((mixed.link_layer, mixed.udp_port), (true, Some(7)));
        for refused in ["arp", "vlan", "ip,qinq", "0x9100", "0x8808", "0x88cc"] {
            assert!(config(&format!("--ethertype {refused}")).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_path_by_name_has_a_profile_only_if_asked_for() {
        let chosen = |line: &str| {
            let words = format!("echo -i x {line}");
            Echo::try_parse_from(words.split_whitespace()).unwrap().args.profile()
        };
        for open in ["", "--path auto", "--rx v2", "--tx ring", "--wait spin"] {
            assert_eq!(chosen(open), Some(profile::DEFAULT), "{open}");
        }
        for named in ["--path ring", "--path v2+mmsg", "--rx v2 --tx send"] {
            assert_eq!(chosen(named), None, "{named}");
            let asked = format!("{named} --profile latency");
            assert_eq!(chosen(&asked), Some(Profile::Latency), "{named}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        assert!(parse_when_full("2s").is_err());
        assert!(parse_interval("1ms").is_err());
        assert!(parse_frame_limit("0").is_err());
        assert!(parse_ether_types("ip,nonsense").is_err());
    }
}
