//! Where loads start from: an interface of this machine, or one end of a lab with our own engine at
//! the other. Opened once, it serves one load or several in turn, with everything around them that can
//! be known: counters of every layer before and after, the engine's own where it is ours.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use super::account::Account;
use super::contestant::Contestant;
use super::floor::HarnessFloor;
use super::loading::{
    Finding, LoadObserver, LoadRequest, QueuePlan, Reach, Target, line_bits_per_second,
};
use super::neighbour::{Way, find_way};
use super::own_engine::OwnEngine;
use super::snapshot::{CounterSnapshot, Ends, generator_counts};
use super::testbed::{End, Testbed};
use super::vlan_filter;
use super::watch::{OwnTraffic, Watch};
use crate::engine::config::EngineConfig;
use crate::engine::edit::Transform;
use crate::engine::storm::Allowance;
use crate::error::{Error, Result};
use crate::lab::{self, LabConfig};
use crate::load::plan::{Carriage, Drive, LoadSpec};
use crate::load::run::{Load, LoadOutcome};
use crate::load::tx::TxChoice;
use crate::ring::budget::MemoryBudget;
use crate::sys::cpus::choose_cpus;
use crate::sys::failure::EBUSY;
use crate::sys::link::{Link, Links};
use crate::sys::offload::Ethtool;
use crate::sys::silent_port::SilentPort;
use crate::units::FrameSize;
use crate::wire::ethernet::{EtherType, MacAddress, VlanTag};
use crate::wire::headers::{IpAddresses, UdpHeaders};
use crate::wire::probe::Expectation;

/// Runs a load.
pub fn run(request: &LoadRequest, observer: &mut dyn LoadObserver) -> Result<Finding> {
    let largest = request.spec.sizes.all().max().unwrap_or_else(FrameSize::smallest);
    Site::open(request, largest)?.load(request, observer)
}

/// Where loads run: opened once, for one load or for several in turn.
pub enum Site {
    /// Our own engine is at the other end.
    Own {
        /// The two ends.
        testbed: Testbed,
        /// The engine.
        engine: Contestant,
        /// UDP over IPv4 (false) or IPv6 (true) instead of plain frames.
        udp: Option<bool>,
    },
    /// A device that somebody else runs is.
    Device {
        /// The interfaces of this machine.
        links: Links,
        /// Where frames are sent from.
        here: End,
        /// Who echoes.
        target: Target,
        /// The device's interface, where it is on this machine. Nothing is sent from it.
        there: Option<End>,
    },
}

impl Site {
    /// Makes the lab that `request` wants, for frames of up to `largest`, or looks at its interfaces:
    /// one that is part of the way out of this host is refused unless it is forced.
    pub fn open(request: &LoadRequest, largest: FrameSize) -> Result<Site> {
        Ok(match &request.reach {
            Reach::Lab { engine, udp } => {
                let queues = request.queues();
                let polls = [engine.sends_by_program(), request.spec.tx == Some(TxChoice::Live)];
                let addresses = udp.is_some();
                let lab = LabConfig { addresses, queues, polls, ..LabConfig::default() };
                let testbed = Testbed::lab_with(largest, lab)?;
                Site::Own { testbed, engine: *engine, udp: *udp }
            }
            Reach::Cable { interface, device_interface, engine } => {
                let testbed = Testbed::interfaces(interface, device_interface, request.force)?;
                Site::Own { testbed, engine: *engine, udp: None }
            }
            Reach::Device { interface, target, device_interface } => {
                let links = Links::open()?;
                let here = End::of(&links, links.by_zone(interface)?, request.force)?;
                check_zone(&links, &here, target)?;
                let there = device_interface.as_deref();
                let there = there.map(|name| observed_end(&links, &here, name)).transpose()?;
                Site::Device { links, here, target: target.clone(), there }
            }
        })
    }

    /// The end that frames are sent from.
    pub fn here(&self) -> &End {
        match self {
            Site::Own { testbed, .. } => &testbed.generator,
            Site::Device { here, .. } => here,
        }
    }

    /// The device's end, where it is on this machine.
    pub fn there(&self) -> Option<&End> {
        match self {
            Site::Own { testbed, .. } => Some(&testbed.engine),
            Site::Device { there, .. } => there.as_ref(),
        }
    }

    /// Runs a load from here. Whom it reaches was said when this was opened; `request.reach` is not
    /// looked at again.
    pub fn load(&self, request: &LoadRequest, observer: &mut dyn LoadObserver) -> Result<Finding> {
        match self {
            Site::Own { testbed, engine, udp } => {
                to_own_engine(request, testbed, *engine, *udp, observer)
            }
            Site::Device { here, target: Target::Station(mac), there, .. } => {
                let config = LoadSpec { carriage: plain(request), ..config(request, here, *mac) };
                measure(request, config, here, there.as_ref(), None, observer)
            }
            Site::Device { links, here, target: Target::Port { address, from, .. }, there } => {
                let Way { mac, source, is_routed } = find_way(links, here, address.ip(), *from)?;
                let _silent = hold_source_ports(request, &here.link.name)?;
                let carriage = datagrams(request, source, *address)?;
                let config = LoadSpec { carriage, is_routed, ..config(request, here, mac) };
                measure(request, config, here, there.as_ref(), None, observer)
            }
        }
    }
}

/// Refuses a target whose zone is another interface than that which frames are sent from.
fn check_zone(links: &Links, here: &End, target: &Target) -> Result<()> {
    let Target::Port { zone: Some(zone), .. } = target else { return Ok(()) };
    let named = links.by_zone(zone)?;
    if named.index == here.link.index {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "--to {target} is behind {}, and --interface is {}: name one of them",
        named.name, here.link.name
    )))
}

/// Runs `config` as `request` says from `here`, in the namespace of the calling thread, and ends the
/// engine `there` where that is ours.
fn measure(
    request: &LoadRequest,
    config: LoadSpec,
    here: &End,
    there: Option<&End>,
    mut engine: Option<OwnEngine>,
    observer: &mut dyn LoadObserver,
) -> Result<Finding> {
    // Our engine may have had a NIC reset its link.
    for end in [here].into_iter().chain(there).filter(|_| engine.is_some()) {
        end.wait_for_carrier()?;
    }
    let cpus = choose_cpus(&request.spec.cpus)?;
    let threads = request.spec.threads;
    let mut plan = LoadSpec {
        line_bits_per_second: line_bits_per_second(&here.link)?,
        tx: config.tx.or_else(|| Some(TxChoice::best_on(&here.link, threads.senders()))),
        cpus: cpus.iter().copied().cycle().take(threads.count()).collect(),
        ..config
    };
    plan.check()?;
    let udp = request.reach.is_udp();
    let mut queues = QueuePlan::of(&plan, here, there, udp)?;
    observer.start(request, here, &plan, &HarnessFloor::measure_on(plan.cpus[0])?, &queues);
    let ends = Ends::open(here, there)?;
    let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
    let mut watch = Watch::open([here].into_iter().chain(there))?;
    let before = CounterSnapshot::read(&ends)?;
    let workers = engine.as_ref().map_or(Vec::new(), OwnEngine::threads);
    let mut account = Account::open(workers);
    let mut live = account.clone();
    let mut run = |plan: &LoadSpec| {
        Load::run(plan, &budget, &mut |progress: &_| {
            if engine.as_mut().is_some_and(|engine| engine.check().is_err()) {
                request.spec.stop.store(true, Ordering::Relaxed);
            }
            observer.progress(progress, &live.read(&progress.threads));
        })
    };
    let mut outcome = match run(&plan) {
        // What nobody asked for is not insisted on. Nothing was sent yet.
        Err(error) if request.spec.tx.is_none() && error.errno() == Some(EBUSY) => {
            plan.tx = Some(TxChoice::ANYWHERE);
            queues = QueuePlan::of(&plan, here, there, udp)?;
            let mut outcome = run(&plan)?;
            outcome.notes.push(format!(
                "another program has the queue of {} that an AF_XDP socket needs: sent by --tx {}",
                here.link.name,
                TxChoice::ANYWHERE,
            ));
            outcome
        }
        ran => ran?,
    };
    // Before the engine's threads are gone.
    let taken = account.read(&outcome.threads);
    let (engine, engine_failure) = match engine.map(OwnEngine::end) {
        Some((summary, failure)) => (Some(summary), failure),
        None => (None, None),
    };
    if request.reach.is_udp() && request.spec.flows > HELD_PORTS_MAX {
        outcome.notes.push(format!(
            "only {HELD_PORTS_MAX} of {} source ports are held on this host: if it owns the source \
             address, it answers some echoes to the others with ICMP",
            request.spec.flows,
        ));
    }
    outcome.notes.extend(lone_flow(request, &outcome, here));
    if outcome.lost > 0 {
        let ends = [here].into_iter().chain(there);
        outcome.notes.extend(ends.filter_map(|end| vlan_filter::hint(end, &plan.carriage.tags)));
    }
    let disturbances = watch.verdict(OwnTraffic::of(&outcome))?;
    let counters = match CounterSnapshot::read(&ends) {
        // With the interface its counters have gone.
        Err(_) if outcome.broken.is_some() => before.since(&before),
        after => after?.since(&before),
    };
    let engine_counters = engine.as_ref().map(|summary| &summary.counters);
    let waterfall = counters.waterfall(generator_counts(&outcome), engine_counters);
    Ok(Finding {
        outcome,
        waterfall,
        counters,
        queues,
        answers_due: engine.is_some() || matches!(request.spec.drive, Drive::Window(_)),
        engine,
        engine_failure,
        disturbances,
        taken,
    })
}

/// Why nothing came back of all flows but the one with the interface's own MAC.
fn lone_flow(request: &LoadRequest, outcome: &LoadOutcome, here: &End) -> Option<String> {
    let (flows, Link { name, kind, .. }) = (request.spec.flows, &here.link);
    let is_alone = flows > 1
        && !request.reach.is_udp()
        && outcome.lost > 0
        && outcome.tally.returned() > 0
        && outcome.returned_beside_first_flow == 0;
    let reason = match kind.as_deref() {
        Some(kind) if kind.starts_with("mac") || kind.starts_with("ipv") => {
            format!("{name} is a {kind}, which takes only frames to its own MAC")
        }
        _ => format!(
            "only frames with {name}'s own MAC seem to pass, as with virtual functions with spoof check \
             and the NICs of many clouds"
        ),
    };
    is_alone.then(|| {
        format!(
            "WARNING: only 1 of {flows} flows came back, that from {name}'s own MAC: {reason}. Use UDP ports \
             as flows: --to IP:PORT --flows {flows}"
        )
    })
}

/// What our own engine is to do for `request`: whatever is expected, for every frame. Nothing here
/// can loop, so frames that it does not change need no limit.
fn engine_for(
    request: &LoadRequest,
    testbed: &Testbed,
    engine: Contestant,
    udp: Option<bool>,
) -> Result<EngineConfig> {
    if !request.tags.is_empty() && !engine.sees_tags() {
        return Err(Error::Usage(format!(
            "the path {engine} sees no VLAN tags, so it cannot send them back: leave out --vlan-id, or \
             take another path, such as ring-v2"
        )));
    }
    let cpus = choose_cpus(&request.spec.cpus)?;
    // The generator's CPUs come first; the engine gets the one behind them.
    let cpu = cpus[request.spec.threads.count().min(cpus.len() - 1)];
    let engine = engine.engine_config(testbed, &[cpu])?;
    // Frames of a queue without a worker would be lost, and that is not the path's fault.
    let workers = match engine.path.needs_xdp_program() {
        true => {
            let end = &testbed.engine;
            end.inside(|| Ethtool::open()?.queues(&end.link))?.receive as usize
        }
        false => engine.workers,
    };
    let mut receive_ring = engine.receive_ring;
    if engine.profile.is_none() {
        receive_ring.blocks = Some(OWN_BLOCKS);
    }
    Ok(EngineConfig {
        receive_ring,
        workers,
        ether_types: match udp {
            None => vec![request.ether_type],
            Some(false) => vec![EtherType::IPV4],
            Some(true) => vec![EtherType::IPV6],
        },
        link_layer: udp.is_none(),
        udp_port: udp.map(|_| LAB_PORT),
        transform: match request.spec.expectation {
            Expectation::Same => Transform::None,
            Expectation::Uppercased | Expectation::Any => Transform::Uppercase,
        },
        unchanged: Allowance::Unlimited,
        per_peer: Allowance::Unlimited,
        ..engine
    })
}

fn to_own_engine(
    request: &LoadRequest,
    testbed: &Testbed,
    engine: Contestant,
    udp: Option<bool>,
    observer: &mut dyn LoadObserver,
) -> Result<Finding> {
    let engine = OwnEngine::start(engine, &engine_for(request, testbed, engine, udp)?)?;
    let here = &testbed.generator;
    let mac = MacAddress(testbed.engine.link.mac);
    let load = || {
        let (carriage, _silent) = match udp {
            None => (plain(request), None),
            Some(ipv6) => {
                let address = |end: &lab::Addresses| -> IpAddr {
                    if ipv6 { end.ipv6.into() } else { end.ipv4.into() }
                };
                let (source, target) = (address(&lab::GENERATOR), address(&lab::ENGINE));
                let held = hold_source_ports(request, &here.link.name)?;
                (datagrams(request, source, (target, LAB_PORT).into())?, Some(held))
            }
        };
        let config = LoadSpec { carriage, ..config(request, here, mac) };
        measure(request, config, here, Some(&testbed.engine), Some(engine), observer)
    };
    // Entering the own namespace takes privilege, too, so it is not asked for without need.
    match (testbed.is_lab(), request.spec.is_last) {
        (true, false) => here.namespace.run(load)?,
        (true, true) => here.namespace.enter().and_then(|()| load()),
        (false, _) => load(),
    }
}

/// The UDP port of the lab's engine.
const LAB_PORT: u16 = 7777;

/// Blocks of our own engine's receive ring, of 128 KiB each: 16 MiB, so that a CPU that is taken away
/// for some ten milliseconds does not show as a loss of the path.
const OWN_BLOCKS: usize = 128;

/// The interface `name`, whose counters are to be read beside those of `here`.
fn observed_end(links: &Links, here: &End, name: &str) -> Result<End> {
    let link = links.by_name(name)?;
    if link.index == here.link.index {
        return Err(Error::Usage(format!(
            "--interface and --dut-interface are both {name}: the second is where frames arrive"
        )));
    }
    Ok(End { link, namespace: here.namespace.clone() })
}

fn config(request: &LoadRequest, here: &End, destination: MacAddress) -> LoadSpec {
    let link = &here.link;
    LoadSpec {
        interface: link.index,
        mtu: link.mtu as usize,
        source: MacAddress(link.mac),
        destination,
        ..request.spec.clone()
    }
}

fn plain(request: &LoadRequest) -> Carriage {
    tagged(Carriage::raw(request.ether_type), &request.tags)
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
    let last = u32::from(request.source_port) + request.spec.flows.min(HELD_PORTS_MAX) - 1;
    let last = u16::try_from(last)
        .map_err(|_| Error::Usage("--flows: the source ports would run past 65535".to_string()))?;
    (request.source_port..=last).map(|port| SilentPort::hold(interface, port)).collect()
}

/// Ports that are held at most: each costs two descriptors of a usual limit of 1024.
const HELD_PORTS_MAX: u32 = 256;
