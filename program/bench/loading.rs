//! A load over one interface: what is asked for, and what was found of it and around it. A
//! [site](super::site) runs it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use super::account::Taken;
use super::contestant::Contestant;
use super::disturbance::Disturbance;
use super::floor::HarnessFloor;
use super::snapshot::CounterSnapshot;
use super::testbed::End;
use crate::engine::pool::EngineSummary;
use crate::error::{Error, Result};
use crate::load::plan::LoadSpec;
use crate::load::run::{LoadOutcome, Progress};
use crate::load::tx::TxChoice;
use crate::stats::state::{Doubt, State};
use crate::stats::waterfall::Waterfall;
use crate::sys::cpus::choose_cpus;
use crate::sys::link::Link;
use crate::sys::offload::Ethtool;
use crate::sys::queues::{Steering, transmit_queue};
use crate::wire::ethernet::{EtherType, MacAddress, VlanTag};

/// Whom the frames reach.
#[derive(Clone, Debug)]
pub enum Reach {
    /// A device that somebody else runs.
    Device {
        /// The interface to send from.
        interface: String,
        /// Who echoes there.
        target: Target,
        /// The device's own interface, where it is on this machine and its counters are to be read.
        device_interface: Option<String>,
    },
    /// Our own engine on another interface of this machine, cabled to the first one.
    Cable {
        /// The interface to send from.
        interface: String,
        /// The interface that the engine serves.
        device_interface: String,
        /// The engine.
        engine: Contestant,
    },
    /// Our own engine at the other end of a veth pair of our own.
    Lab {
        /// The engine.
        engine: Contestant,
        /// UDP over IPv4 (false) or IPv6 (true) instead of plain frames.
        udp: Option<bool>,
    },
}

/// Who echoes on a device: typed as a MAC, or as an IP address and UDP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A station on the link.
    Station(MacAddress),
    /// A UDP port, by way of whatever leads there.
    Port {
        /// The port.
        address: SocketAddr,
        /// The zone of the address, the name or number of an interface.
        zone: Option<String>,
        /// The source address; `None` for the one that the kernel would choose.
        from: Option<IpAddr>,
    },
}

impl Reach {
    /// Our own engine; `None` where somebody else answers.
    pub fn own_engine(&self) -> Option<Contestant> {
        match self {
            Reach::Cable { engine, .. } | Reach::Lab { engine, .. } => Some(*engine),
            Reach::Device { .. } => None,
        }
    }

    /// The interface that frames are sent from; `None` in a lab, which is yet to be made.
    pub fn interface(&self) -> Option<&str> {
        match self {
            Reach::Device { interface, .. } | Reach::Cable { interface, .. } => Some(interface),
            Reach::Lab { .. } => None,
        }
    }

    /// Whether frames are UDP datagrams.
    pub fn is_udp(&self) -> bool {
        match self {
            Reach::Device { target, .. } => matches!(target, Target::Port { .. }),
            Reach::Cable { .. } => false,
            Reach::Lab { udp, .. } => udp.is_some(),
        }
    }

    /// Whether the veth pair is made for this run.
    pub fn is_lab(&self) -> bool {
        matches!(self, Reach::Lab { .. })
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reach::Device { target, .. } => target.fmt(f),
            Reach::Cable { device_interface, engine, .. } => {
                write!(f, "our own engine on {device_interface}, {engine}")
            }
            Reach::Lab { engine, .. } => write!(f, "our own engine, {engine}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Station(mac) => mac.fmt(f),
            Target::Port { address, zone: Some(zone), .. } => {
                write!(f, "[{}%{zone}]:{}", address.ip(), address.port())
            }
            Target::Port { address, .. } => address.fmt(f),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Target, String> {
        if let Ok(mac) = text.parse() {
            return Ok(Target::Station(mac));
        }
        let zoned = text.split_once('%').and_then(|(ip, rest)| Some((ip, rest.rsplit_once("]:")?)));
        let (address, zone) = match zoned {
            Some((ip, (zone, port))) => (format!("{ip}]:{port}").parse(), Some(zone.to_string())),
            None => (text.parse::<SocketAddr>(), None),
        };
        match (address, zone) {
            (Ok(address), zone) if address.port() > 0 && zone.as_deref() != Some("") => {
                Ok(Target::Port { address, zone, from: None })
            }
            _ => Err("a MAC (02:00:00:00:00:02), or an IP address and port (192.0.2.7:7777, \
                      [2001:db8::2]:7777, [fe80::2%eth1]:7777)"
                .into()),
        }
    }
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
    /// The rest. Interface, addresses and what carries the probe are for the site to say.
    pub spec: LoadSpec,
    /// Send on an interface that is part of the way out of this host all the same.
    pub force: bool,
    /// Queues that a lab has at least.
    pub queues_min: u32,
}

impl LoadRequest {
    /// The smallest frames, each followed by filler, without a schedule and for ever: whoever asks
    /// says what else it is to be.
    pub fn new(reach: Reach) -> LoadRequest {
        LoadRequest {
            reach,
            ether_type: EtherType::LOCAL_EXPERIMENTAL,
            source_port: 40_000,
            tags: Vec::new(),
            spec: LoadSpec {
                drain: Duration::from_millis(500),
                ..LoadSpec::new(0, 0, MacAddress::default(), MacAddress::default())
            },
            force: false,
            queues_min: 1,
        }
    }

    /// Whether our own engine is on a CPU of the generator's, because there is none left for it.
    pub fn shares_cpu(&self) -> bool {
        let cpus = choose_cpus(&self.spec.cpus).map_or(0, |cpus| cpus.len());
        self.reach.own_engine().is_some() && cpus <= self.spec.threads.count()
    }

    /// Transmit queues that the senders need: an AF_XDP socket has one for itself.
    pub fn queues(&self) -> u32 {
        let needed = match self.spec.tx {
            Some(TxChoice::Xsk) => self.spec.threads.senders() as u32,
            _ => 1,
        };
        needed.max(self.queues_min)
    }
}

/// The queues on the way of a load.
#[derive(Clone, Debug, Default)]
pub struct QueuePlan {
    /// Those of the interface that frames leave by.
    pub here: Steering,
    /// Those of the device's interface, where it is on this machine.
    pub there: Option<Steering>,
    /// The CPU of each sender, and the transmit queue of its frames where it can be told.
    pub senders: Vec<(usize, Option<u32>)>,
    /// What keeps queues idle, in sentences for the user.
    pub warnings: Vec<String>,
}

impl QueuePlan {
    /// For a load as `spec` says, of UDP datagrams or plain frames. `spec` has a CPU for each thread, and its TX half.
    pub fn of(spec: &LoadSpec, here: &End, there: Option<&End>, udp: bool) -> Result<QueuePlan> {
        let steering = |end: &End| end.inside(|| Steering::of(&end.link));
        let mut plan = QueuePlan {
            here: steering(here)?,
            there: there.map(steering).transpose()?,
            ..QueuePlan::default()
        };
        let transmit = plan.here.queues.transmit;
        let queue = |(number, cpu): (usize, &usize)| {
            let queue = match spec.tx {
                Some(TxChoice::Xsk) => Some(number as u32),
                _ if transmit < 2 => Some(0),
                _ => spec.qdisc_bypass.then(|| transmit_queue(&here.link, *cpu, transmit)),
            };
            (*cpu, queue)
        };
        plan.senders =
            spec.cpus.iter().take(spec.threads.senders()).enumerate().map(queue).collect();
        let reached: BTreeSet<u32> = plan.senders.iter().filter_map(|one| one.1).collect();
        let idle = (reached.len() as u32) < transmit.min(plan.senders.len() as u32);
        if !reached.is_empty() && idle {
            plan.warnings.push(format!(
                "{} senders reach {} of {transmit} transmit queues of {}, by their CPUs: name other --cpus, \
                 or --tx xsk",
                plan.senders.len(),
                reached.len(),
                here.link.name,
            ));
        }
        if let (Some(steering), Some(there)) = (&plan.there, there)
            && !there.link.is_veth()
        {
            let few = steering.too_few_flows(&there.link.name, spec.flows, udp);
            plan.warnings.extend(
                steering
                    .idle_queues(&there.link.name)
                    .map(|(what, fix)| format!("{what}: `{fix}`"))
                    .or(few),
            );
        }
        Ok(plan)
    }
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
    /// The queues on the way.
    pub queues: QueuePlan,
    /// What our own engine did; `None` where the device is not ours.
    pub engine: Option<EngineSummary>,
    /// Why our own engine failed, if it did: losses are then not the device's.
    pub engine_failure: Option<Error>,
    /// Whether echoes must come: our own engine answers, or the load waits for each.
    pub answers_due: bool,
    /// What disturbed the load.
    pub disturbances: Vec<Disturbance>,
    /// What was taken of the CPUs meanwhile.
    pub taken: Taken,
}

impl Finding {
    /// Why this says nothing: no frame left, or none came back although something must answer.
    pub fn nothing_measured(&self) -> Option<String> {
        let LoadOutcome { sent, .. } = self.outcome;
        let silence = (self.answers_due && self.outcome.is_silence())
            .then(|| format!("none of {sent} frames came back. {WHO_ANSWERS}"));
        silence.or(self.outcome.nothing_sent().map(String::from))
    }

    /// What the numbers are worth.
    pub fn state(&self) -> State {
        match self.outcome.generator_limit() {
            _ if self.nothing_measured().is_some() => {
                State::CannotTell { reason: Doubt::NothingMeasured }
            }
            _ if self.taken.shares_cpu() => State::CannotTell { reason: Doubt::OneCpu },
            Some(_) => State::CannotTell { reason: Doubt::GeneratorLimited },
            None => self.taken.state(),
        }
    }
}

/// What to look at where nothing comes back.
pub const WHO_ANSWERS: &str =
    "Does an echo run there, for this address and this EtherType or port?";

/// Who is told how a load goes.
pub trait LoadObserver: Send {
    /// It is about to begin. (Several in turn are announced together.)
    fn start(&mut self, _: &LoadRequest, _: &End, _: &LoadSpec, _: &HarnessFloor, _: &QueuePlan) {}

    /// So far, `taken` being what was taken of the CPUs since the last time.
    fn progress(&mut self, progress: &Progress, taken: &Taken);
}

/// The line rate of the link in bits per second; `None` where it has none, or says none.
pub fn line_bits_per_second(link: &Link) -> Result<Option<u64>> {
    if link.is_veth() {
        // It reports 10 Gb/s and has no such thing.
        return Ok(None);
    }
    let speed = Ethtool::open()?.megabits_per_second(&link.name)?;
    Ok(speed.map(|megabits| u64::from(megabits) * 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_stations_or_udp_ports() {
        let target = |text: &str| text.parse::<Target>();
        assert!(matches!(target("02:00:00:00:00:02"), Ok(Target::Station(_))));
        assert!(matches!(target("192.0.2.7:7"), Ok(Target::Port { .. })));
        assert!(matches!(target("[2001:db8::2]:7"), Ok(Target::Port { .. })));
        for (text, named) in [("[fe80::2%eth1]:7", "eth1"), ("[fe80::2%3]:7", "3")] {
            let found = target(text).unwrap();
            assert!(matches!(&found, Target::Port { zone: Some(zone), .. } if zone == named));
            assert_eq!(found.to_string(), text);
        }
        let zones = ["[fe80::2%]:7", "fe80::2%eth1", "[192.0.2.7%eth1]:7", "192.0.2.7%eth1:7"];
        for bad in ["", "192.0.2.7", "192.0.2.7:0", "eth0"].into_iter().chain(zones) {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
