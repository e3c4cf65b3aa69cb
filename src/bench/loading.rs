//! A load over one interface: what is asked for, and what was found of it and around it. A
//! [site](super::site) runs it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::contestant::Contestant;
use super::floor::HarnessFloor;
use super::snapshot::CounterSnapshot;
use super::testbed::End;
use super::watch::Disturbance;
use crate::engine::pool::EngineSummary;
use crate::error::{Error, Result};
use crate::load::pace::Pattern;
use crate::load::plan::{Limits, LoadSpec};
use crate::load::rate::Rate;
use crate::load::run::{Drive, LoadOutcome, Progress, Threads};
use crate::load::rx::RxChoice;
use crate::load::sizes::Sizes;
use crate::load::tx::TxChoice;
use crate::stats::waterfall::Waterfall;
use crate::sys::cpus::choose_cpus;
use crate::sys::link::Link;
use crate::sys::offload::Ethtool;
use crate::units::FrameSize;
use crate::wire::ethernet::{EtherType, MacAddress, VlanTag};
use crate::wire::probe::{Expectation, PayloadPattern};

/// Whom the frames reach.
#[derive(Clone, Debug)]
pub enum Reach {
    /// A station on the link.
    Station {
        /// The interface to send from.
        interface: String,
        /// The station.
        mac: MacAddress,
        /// The station's own interface, where it is on this machine and its counters are to be read.
        device_interface: Option<String>,
    },
    /// A UDP port, by way of whatever leads there.
    Udp {
        /// The interface to send from.
        interface: String,
        /// The port.
        target: SocketAddr,
        /// The source address; `None` for the one that the kernel would choose.
        from: Option<IpAddr>,
        /// The interface on which the port is served, as for a station.
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

impl Reach {
    /// Our own engine; `None` where somebody else answers.
    pub fn own_engine(&self) -> Option<Contestant> {
        match self {
            Reach::Cable { engine, .. } | Reach::Lab { engine, .. } => Some(*engine),
            Reach::Station { .. } | Reach::Udp { .. } => None,
        }
    }

    /// Whether frames are UDP datagrams.
    pub fn is_udp(&self) -> bool {
        matches!(self, Reach::Udp { .. } | Reach::Lab { udp: Some(_), .. })
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reach::Station { mac, .. } => mac.fmt(f),
            Reach::Udp { target, .. } => target.fmt(f),
            Reach::Cable { device_interface, engine, .. } => {
                write!(f, "our own engine on {device_interface}, {engine}")
            }
            Reach::Lab { engine, .. } => write!(f, "our own engine, {engine}"),
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
    /// Frame sizes.
    pub sizes: Sizes,
    /// What follows the number in each payload.
    pub payload: PayloadPattern,
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
    pub tx: Option<TxChoice>,
    /// The receive half; `None` for the best.
    pub rx: Option<RxChoice>,
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
    /// Nothing is opened after this load: the calling thread gives its capabilities up once the
    /// load's sockets are open, and stays in the load's namespace.
    pub is_last: bool,
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
            sizes: Sizes::Fixed(FrameSize::smallest()),
            payload: PayloadPattern::Filler,
            flows: 1,
            seed: 0,
            drive: Drive::Paced { rate: Rate::Max, pattern: Pattern::Constant },
            limits: Limits::default(),
            warm_up: Duration::ZERO,
            drain: Duration::from_millis(500),
            late_after: Duration::from_millis(100),
            cpus: Vec::new(),
            threads: Threads::Together,
            tx: None,
            rx: None,
            qdisc_bypass: false,
            expectation: Expectation::Uppercased,
            breakdown: false,
            evidence_max: 0,
            interval: Duration::from_secs(1),
            stop: Arc::default(),
            force: false,
            is_last: false,
        }
    }

    /// Whether our own engine is on a CPU of the generator's, because there is none left for it.
    pub fn shares_cpu(&self) -> bool {
        let cpus = choose_cpus(&self.cpus).map_or(0, |cpus| cpus.len());
        self.reach.own_engine().is_some() && cpus <= self.threads.count()
    }

    /// Transmit queues that the senders need: an AF_XDP socket has one for itself.
    pub fn queues(&self) -> u32 {
        match self.tx {
            Some(TxChoice::Xsk) => self.threads.senders() as u32,
            _ => 1,
        }
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
    /// What our own engine did; `None` where the device is not ours.
    pub engine: Option<EngineSummary>,
    /// Why our own engine failed, if it did: losses are then not the device's.
    pub engine_failure: Option<Error>,
    /// What disturbed the load.
    pub disturbances: Vec<Disturbance>,
}

/// Who is told how a load goes.
pub trait LoadObserver: Send {
    /// It is about to begin.
    fn start(&mut self, request: &LoadRequest, here: &End, config: &LoadSpec, floor: &HarnessFloor);

    /// So far.
    fn progress(&mut self, progress: &Progress);
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
