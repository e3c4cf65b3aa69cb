//! One load over one interface, with everything that can be known around it: counters of every
//! layer before and after, the engine's own where it is ours, and what the harness itself costs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::floor::HarnessFloor;
use super::snapshot::{CounterSnapshot, Ends};
use super::testbed::{End, Testbed};
use crate::engine::config::{EngineConfig, PathName};
use crate::engine::guard::refuse_unsafe_interface;
use crate::engine::placement::choose_cpus;
use crate::engine::pool::{Engine, EngineSummary};
use crate::error::{Error, Result};
use crate::lab;
use crate::load::intake::RxChoice;
use crate::load::plan::{Carriage, Limits, LoadConfig};
use crate::load::run::{Drive, Load, LoadOutcome, LoadPlan, Progress, Threads};
use crate::load::sizes::Sizes;
use crate::load::transmit::TxChoice;
use crate::ring::budget::MemoryBudget;
use crate::ring::geometry::GeometryChoice;
use crate::stats::waterfall::{GeneratorCounts, Waterfall};
use crate::sys::link::Links;
use crate::sys::namespace::Namespace;
use crate::sys::offload::Ethtool;
use crate::sys::silent_port::SilentPort;
use crate::units::FrameSize;
use crate::wire::ethernet::{EtherType, MacAddress, VlanTag};
use crate::wire::headers::{IpAddresses, UdpHeaders};
use crate::wire::probe::Expectation;

/// Whom the frames reach.
#[derive(Clone, Debug)]
pub enum Reach {
    /// A station on the link.
    Station {
        /// The interface to send from.
        interface: String,
        /// The station.
        mac: MacAddress,
    },
    /// A UDP port, by way of whatever leads there.
    Udp {
        /// The interface to send from.
        interface: String,
        /// The port.
        target: SocketAddr,
        /// The source address; `None` for the one that the kernel would choose.
        from: Option<IpAddr>,
    },
    /// Our own engine at the other end of a veth pair of our own.
    Lab {
        /// The engine's path.
        path: PathName,
        /// UDP over IPv4 (false) or IPv6 (true) instead of plain frames.
        udp: Option<bool>,
    },
}

/// A load as asked for.
#[derive(Clone, Debug)]
pub struct LoadRequest {
    /// Whom the frames reach.
    pub reach: Reach,
    /// EtherType of plain frames.
    pub ether_type: EtherType,
    /// First UDP source port.
    pub source_port: u16,
    /// VLAN tags, outermost first.
    pub tags: Vec<VlanTag>,
    /// Frame sizes.
    pub sizes: Sizes,
    /// Flows.
    pub flows: u32,
    /// Seed of everything random.
    pub seed: u64,
    /// When frames are sent.
    pub drive: Drive,
    /// How long.
    pub limits: Limits,
    /// How long before the measurement begins.
    pub warm_up: Duration,
    /// How long to wait for the last echoes.
    pub drain: Duration,
    /// From when on an echo is late.
    pub late_after: Duration,
    /// CPUs: senders in order, then the receiver; empty for the first that the process may use.
    pub cpus: Vec<usize>,
    /// Threads.
    pub threads: Threads,
    /// The TX half; `None` for the best.
    pub transmit: Option<TxChoice>,
    /// The receive half; `None` for the best.
    pub receive: Option<RxChoice>,
    /// Whether frames go past the queueing discipline.
    pub qdisc_bypass: bool,
    /// How payloads must come back.
    pub expectation: Expectation,
    /// Whether round trips are split at the kernel's stamp.
    pub breakdown: bool,
    /// Bad frames to keep.
    pub evidence_max: usize,
    /// Time between progress reports.
    pub interval: Duration,
    /// Ends the sending early.
    pub stop: Arc<AtomicBool>,
    /// Send on an interface with the default route all the same.
    pub force: bool,
}

/// What a load found, and what was around it.
#[derive(Debug)]
pub struct Finding {
    /// What the generator found.
    pub outcome: LoadOutcome,
    /// Where every frame stayed.
    pub waterfall: Waterfall,
    /// What the counters of every layer did meanwhile.
    pub counters: CounterSnapshot,
    /// What our own engine did; `None` where the device is not ours.
    pub engine: Option<EngineSummary>,
}

/// Who is told how a load goes.
pub trait Audience: Send {
    /// It is about to begin.
    fn start(
        &mut self,
        request: &LoadRequest,
        here: &End,
        config: &LoadConfig,
        floor: &HarnessFloor,
    );

    /// So far.
    fn progress(&mut self, progress: &Progress);
}

/// Runs a load.
pub fn run(request: &LoadRequest, audience: &mut dyn Audience) -> Result<Finding> {
    match &request.reach {
        Reach::Lab { path, udp } => in_lab(request, *path, *udp, audience),
        Reach::Station { interface, mac } => {
            let (links, here) = interface_end(interface, request.force)?;
            let config = LoadConfig {
                carriage: tagged(Carriage::raw(request.ether_type), &request.tags),
                ..config(request, &here, *mac)
            };
            drop(links);
            measure(request, config, &here, None, audience)
        }
        Reach::Udp { interface, target, from } => {
            let (links, here) = interface_end(interface, request.force)?;
            let hop = links.next_hop(target.ip())?;
            if hop.interface != here.link.index {
                return Err(Error::Usage(format!(
                    "{} is not reached through {interface}: the route leads elsewhere",
                    target.ip()
                )));
            }
            let mac = MacAddress(links.resolve(here.link.index, hop.neighbour)?);
            let source = from.or(hop.source).ok_or_else(|| {
                Error::Usage(format!("{interface} has no address to send from: give --from"))
            })?;
            let _silent = hold_source_ports(request, interface)?;
            let config = LoadConfig {
                carriage: datagrams(request, source, *target)?,
                ..config(request, &here, mac)
            };
            measure(request, config, &here, None, audience)
        }
    }
}

/// The far end of a load, where it is ours.
struct Far<'a> {
    end: &'a End,
    engine: Engine,
}

fn in_lab(
    request: &LoadRequest,
    path: PathName,
    udp: Option<bool>,
    audience: &mut dyn Audience,
) -> Result<Finding> {
    let largest = request.sizes.all().max().unwrap_or_else(FrameSize::smallest);
    let testbed = Testbed::lab_with(largest, udp.is_some())?;
    let cpus = choose_cpus(&request.cpus)?;
    let engine = EngineConfig {
        namespace: Some(testbed.engine.namespace.clone()),
        path,
        // The generator's CPUs come first; the engine gets the one behind them.
        cpus: vec![cpus[request.threads.senders().min(cpus.len() - 1)]],
        ether_types: match udp {
            None => vec![request.ether_type],
            Some(false) => vec![EtherType::IPV4],
            Some(true) => vec![EtherType::IPV6],
        },
        link_layer: udp.is_none(),
        udp_port: udp.map(|_| LAB_PORT),
        receive_ring: GeometryChoice { blocks: Some(LAB_BLOCKS), ..GeometryChoice::default() },
        ..EngineConfig::new(&testbed.engine.link.name)
    };
    let engine = Engine::start(&engine)?;
    let here = &testbed.generator;
    let mac = MacAddress(testbed.engine.link.mac);
    here.namespace.run(|| {
        let (carriage, _silent) = match udp {
            None => (tagged(Carriage::raw(request.ether_type), &request.tags), None),
            Some(ipv6) => {
                let address = |end: &lab::Addresses| -> IpAddr {
                    if ipv6 { end.ipv6.into() } else { end.ipv4.into() }
                };
                let (source, target) = (address(&lab::GENERATOR), address(&lab::ENGINE));
                let held = hold_source_ports(request, &here.link.name)?;
                (datagrams(request, source, (target, LAB_PORT).into())?, Some(held))
            }
        };
        let config = LoadConfig { carriage, ..config(request, here, mac) };
        measure(request, config, here, Some(Far { end: &testbed.engine, engine }), audience)
    })?
}

/// Blocks of the lab engine's receive ring, of 128 KiB each: 16 MiB, so that a CPU that is taken away
/// for some ten milliseconds does not show as a loss of the path.
const LAB_BLOCKS: usize = 128;
/// The UDP port of the lab's engine.
const LAB_PORT: u16 = 7777;

fn interface_end(name: &str, force: bool) -> Result<(Links, End)> {
    let links = Links::open()?;
    let link = links.by_name(name)?;
    refuse_unsafe_interface(&links, &link, force)?;
    if !link.running {
        return Err(Error::Run(format!("{name} has no link: is it up, is the cable in?")));
    }
    Ok((links, End { link, namespace: Namespace::current()? }))
}

fn config(request: &LoadRequest, here: &End, destination: MacAddress) -> LoadConfig {
    let link = &here.link;
    LoadConfig {
        sizes: request.sizes.clone(),
        flows: request.flows,
        seed: request.seed,
        expectation: request.expectation,
        stop: Arc::clone(&request.stop),
        ..LoadConfig::new(link.index, link.mtu as usize, MacAddress(link.mac), destination)
    }
}

fn tagged(carriage: Carriage, tags: &[VlanTag]) -> Carriage {
    tags.iter().fold(carriage, |carriage, tag| carriage.tagged(*tag))
}

fn datagrams(request: &LoadRequest, source: IpAddr, target: SocketAddr) -> Result<Carriage> {
    let addresses = IpAddresses::pair(source, target.ip()).ok_or_else(|| {
        Error::Usage(format!("{source} and {} are not of one IP version", target.ip()))
    })?;
    let headers = UdpHeaders {
        addresses,
        source_port: request.source_port,
        destination_port: target.port(),
        hop_limit: 64,
    };
    Ok(tagged(Carriage::udp(headers), &request.tags))
}

/// Holds the source ports, so that this host's kernel does not answer the echoes with ICMP.
fn hold_source_ports(request: &LoadRequest, interface: &str) -> Result<Vec<SilentPort>> {
    let last = u32::from(request.source_port) + request.flows.min(HELD_PORTS_MAX) - 1;
    let last = u16::try_from(last)
        .map_err(|_| Error::Usage("--flows: the source ports would run past 65535".to_string()))?;
    (request.source_port..=last).map(|port| SilentPort::hold(interface, port)).collect()
}

/// Ports that are held at most: each costs two descriptors of a usual limit of 1024.
const HELD_PORTS_MAX: u32 = 256;

fn measure(
    request: &LoadRequest,
    config: LoadConfig,
    here: &End,
    far: Option<Far<'_>>,
    audience: &mut dyn Audience,
) -> Result<Finding> {
    let speed = match here.link.is_veth() {
        // It reports 10 Gb/s and has no such thing.
        true => None,
        false => Ethtool::open()?.megabits_per_second(&here.link.name)?,
    };
    let cpus = choose_cpus(&request.cpus)?;
    let threads = request.threads;
    let used = match threads {
        Threads::Together => 1,
        Threads::Apart { senders } => senders + 1,
    };
    let plan = LoadPlan {
        line_bits_per_second: speed.map(|megabits| u64::from(megabits) * 1_000_000),
        warm_up: request.warm_up,
        drain: request.drain,
        late_after: request.late_after,
        transmit: request.transmit,
        receive: request.receive,
        qdisc_bypass: request.qdisc_bypass,
        threads,
        cpus: cpus.iter().copied().cycle().take(used).collect(),
        breakdown: request.breakdown,
        evidence_max: request.evidence_max,
        interval: request.interval,
        ..LoadPlan::new(config, request.drive, request.limits)
    };
    plan.check()?;
    audience.start(request, here, &plan.config, &HarnessFloor::measure());
    let ends = Ends::open(here, far.as_ref().map(|far| far.end))?;
    let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
    let before = CounterSnapshot::read(&ends)?;
    let outcome = Load::run(&plan, &budget, &mut |progress| audience.progress(progress))?;
    let engine = far.map(|far| far.engine.stop());
    let counters = CounterSnapshot::read(&ends)?.since(&before);
    let engine_counters = engine.as_ref().map(|summary| &summary.counters);
    let waterfall = counters.waterfall(generator_counts(&outcome), engine_counters);
    Ok(Finding { outcome, waterfall, counters, engine })
}

/// What the generator counted, the warm-up included: the counters of the layers know of no warm-up.
fn generator_counts(outcome: &LoadOutcome) -> GeneratorCounts {
    let (measured, warm_up) = (&outcome.tally, &outcome.warm_up);
    let sum =
        |field: fn(&crate::load::report::Tally) -> u64| field(measured) + field(&warm_up.tally);
    GeneratorCounts {
        offered: outcome.offered + warm_up.sent,
        behind_schedule: outcome.unsent_late,
        refused: outcome.unsent_refused,
        sent: outcome.sent + warm_up.sent,
        kernel: Some(outcome.kernel),
        malformed: sum(|tally| tally.malformed),
        foreign: sum(|tally| tally.foreign),
        duplicated: sum(|tally| tally.duplicated),
        forgotten: sum(|tally| tally.forgotten),
        corrupted: sum(|tally| tally.corrupted),
        not_transformed: sum(|tally| tally.not_transformed),
        truncated: sum(|tally| tally.truncated),
        intact: sum(|tally| tally.intact),
    }
}
