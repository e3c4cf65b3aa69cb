//! Where loads start from: an interface of this machine, or one end of a lab with our own engine at
//! the other. Opened once, it serves one load or several in turn.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::loading::{Audience, Far, Finding, LoadRequest, Reach, measure};
use super::testbed::{End, Testbed};
use crate::engine::config::{EngineConfig, PathName};
use crate::engine::guard::refuse_unsafe_interface;
use crate::engine::placement::choose_cpus;
use crate::engine::pool::Engine;
use crate::error::{Error, Result};
use crate::lab::{self, LabConfig};
use crate::load::plan::{Carriage, LoadConfig};
use crate::ring::geometry::GeometryChoice;
use crate::sys::link::Links;
use crate::sys::namespace::Namespace;
use crate::sys::silent_port::SilentPort;
use crate::units::FrameSize;
use crate::wire::ethernet::{EtherType, MacAddress, VlanTag};
use crate::wire::headers::{IpAddresses, UdpHeaders};

/// Where loads run: opened once, for one load or for several in turn.
pub struct Site {
    place: Place,
    lab_engine: fn(&mut EngineConfig),
}

enum Place {
    Lab { testbed: Box<Testbed>, path: PathName, udp: Option<bool> },
    Station { here: End, mac: MacAddress },
    Udp { links: Links, here: End, target: SocketAddr, from: Option<IpAddr> },
}

impl Site {
    /// Makes the lab for loads such as `request`, with frames of up to `largest`, or looks at the
    /// interface: one that carries the machine's default route is refused unless it is forced.
    pub fn open(request: &LoadRequest, largest: FrameSize) -> Result<Site> {
        let force = request.force;
        let place = match &request.reach {
            Reach::Lab { path, udp } => {
                let lab = LabConfig {
                    addresses: udp.is_some(),
                    queues: request.queues(),
                    ..LabConfig::default()
                };
                let testbed = Box::new(Testbed::lab_with(largest, lab)?);
                Place::Lab { testbed, path: *path, udp: *udp }
            }
            Reach::Station { interface, mac } => {
                let (_, here) = interface_end(interface, force)?;
                Place::Station { here, mac: *mac }
            }
            Reach::Udp { interface, target, from } => {
                let (links, here) = interface_end(interface, force)?;
                Place::Udp { links, here, target: *target, from: *from }
            }
        };
        Ok(Site { place, lab_engine: |_| {} })
    }

    /// The same with the lab's engine as `adjust` makes it; without effect elsewhere.
    pub fn with_engine(self, adjust: fn(&mut EngineConfig)) -> Site {
        Site { lab_engine: adjust, ..self }
    }

    /// The end that frames are sent from.
    pub fn here(&self) -> &End {
        match &self.place {
            Place::Lab { testbed, .. } => &testbed.generator,
            Place::Station { here, .. } | Place::Udp { here, .. } => here,
        }
    }

    /// Runs a load from here. Whom it reaches was said when this was opened; `request.reach` is not
    /// looked at again.
    pub fn load(&self, request: &LoadRequest, audience: &mut dyn Audience) -> Result<Finding> {
        match &self.place {
            Place::Lab { testbed, path, udp } => {
                in_lab(request, testbed, self.engine(request, testbed, *path, *udp)?, audience)
            }
            Place::Station { here, mac } => {
                let config = LoadConfig {
                    carriage: tagged(Carriage::raw(request.ether_type), &request.tags),
                    ..config(request, here, *mac)
                };
                measure(request, config, here, None, audience)
            }
            Place::Udp { links, here, target, from } => {
                to_port(request, links, here, *target, *from, audience)
            }
        }
    }

    /// What the lab's engine is to do for `request`.
    fn engine(
        &self,
        request: &LoadRequest,
        testbed: &Testbed,
        path: PathName,
        udp: Option<bool>,
    ) -> Result<EngineConfig> {
        let cpus = choose_cpus(&request.cpus)?;
        let mut engine = EngineConfig {
            namespace: Some(testbed.engine.namespace.clone()),
            path,
            // The generator's CPUs come first; the engine gets the one behind them.
            cpus: vec![cpus[request.threads.count().min(cpus.len() - 1)]],
            receive_ring: GeometryChoice { blocks: Some(LAB_BLOCKS), ..GeometryChoice::default() },
            ether_types: match udp {
                None => vec![request.ether_type],
                Some(false) => vec![EtherType::IPV4],
                Some(true) => vec![EtherType::IPV6],
            },
            link_layer: udp.is_none(),
            udp_port: udp.map(|_| LAB_PORT),
            ..EngineConfig::new(&testbed.engine.link.name)
        };
        (self.lab_engine)(&mut engine);
        Ok(engine)
    }
}

fn to_port(
    request: &LoadRequest,
    links: &Links,
    here: &End,
    target: SocketAddr,
    from: Option<IpAddr>,
    audience: &mut dyn Audience,
) -> Result<Finding> {
    let interface = &here.link.name;
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
    let config =
        LoadConfig { carriage: datagrams(request, source, target)?, ..config(request, here, mac) };
    measure(request, config, here, None, audience)
}

fn in_lab(
    request: &LoadRequest,
    testbed: &Testbed,
    engine: EngineConfig,
    audience: &mut dyn Audience,
) -> Result<Finding> {
    let udp = engine.udp_port.map(|_| engine.ether_types.contains(&EtherType::IPV6));
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

/// The UDP port of the lab's engine.
const LAB_PORT: u16 = 7777;

/// Blocks of the lab engine's receive ring, of 128 KiB each: 16 MiB, so that a CPU that is taken away
/// for some ten milliseconds does not show as a loss of the path.
const LAB_BLOCKS: usize = 128;

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
        payload: request.payload,
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
