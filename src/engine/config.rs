//! What an engine is asked to do, in plain values.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::edit::Transform;
use super::token_bucket::Allowance;
use super::turn::WhenFull;
use crate::ring::budget::MemoryBudget;
use crate::ring::geometry::GeometryChoice;
use crate::sys::namespace::Namespace;
use crate::sys::packet::FanoutMode;
use crate::wire::ethernet::EtherType;

/// A packet path by name: a pair of a receive half and a TX half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathName {
    /// `TPACKET_V3` receive ring and TX ring.
    Ring,
    /// `TPACKET_V2` receive ring and TX ring.
    RingV2,
    /// `recvfrom` and `sendto`, one frame each a wake-up.
    Syscall,
}

impl PathName {
    /// All paths.
    pub const ALL: [PathName; 3] = [PathName::Ring, PathName::RingV2, PathName::Syscall];

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            PathName::Ring => "ring",
            PathName::RingV2 => "ring-v2",
            PathName::Syscall => "syscall",
        }
    }

    /// Whether the path sees VLAN tags, the state of checksums and kernel stamps.
    pub const fn sees_metadata(self) -> bool {
        !matches!(self, PathName::Syscall)
    }

    /// From when to when the engine's latency counts, in words.
    pub const fn latency_definition(self) -> &'static str {
        if self.sees_metadata() {
            "kernel receive stamp to hand-over to TX"
        } else {
            "return of recvfrom to hand-over to TX (this path sees no kernel stamp)"
        }
    }
}

impl fmt::Display for PathName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for PathName {
    type Err = String;

    fn from_str(text: &str) -> Result<PathName, String> {
        let known = PathName::ALL.into_iter().find(|path| path.name() == text);
        known.ok_or_else(|| format!("unknown path '{text}': ring, ring-v2, syscall"))
    }
}

/// What an engine is asked to do.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Interface name.
    pub interface: String,
    /// Network namespace of the interface; `None` for that of the caller.
    pub namespace: Option<Namespace>,
    /// The packet path.
    pub path: PathName,
    /// Number of workers, each with its own socket.
    pub workers: usize,
    /// CPUs to pin the workers to, in turn; empty for those that the process may use.
    pub cpus: Vec<usize>,
    /// How several workers share the frames; `None` chooses by what is answered.
    pub fanout: Option<FanoutMode>,
    /// Receive ring.
    pub receive_ring: GeometryChoice,
    /// TX ring.
    pub transmit_ring: GeometryChoice,
    /// The cap on ring memory, shared by all that the process opens.
    pub ring_memory: Arc<MemoryBudget>,
    /// EtherTypes that are answered; empty for all.
    pub ether_types: Vec<EtherType>,
    /// Answer everything behind the Ethernet header as payload.
    pub link_layer: bool,
    /// Answer UDP datagrams to this port.
    pub udp_port: Option<u16>,
    /// What happens to payload bytes.
    pub transform: Transform,
    /// Answer foreign unicast too.
    pub promiscuous: bool,
    /// Answer frames to group addresses too.
    pub echo_group: bool,
    /// How many frames a second and worker pass that the transform does not change.
    pub unchanged: Allowance,
    /// What happens when the TX half is full.
    pub when_full: WhenFull,
    /// Whether each frame's latency is kept.
    pub measure_latency: bool,
    /// Time between snapshots.
    pub interval: Duration,
    /// Ends the run after so many received frames over all workers; overshoots by a batch at most.
    pub frame_limit: Option<u64>,
    /// Serve the loopback interface or the one with the default route all the same.
    pub force: bool,
}

impl EngineConfig {
    /// The defaults: one worker on the V3 ring, the local experimental EtherType, upper-casing.
    pub fn new(interface: impl Into<String>) -> EngineConfig {
        EngineConfig {
            interface: interface.into(),
            namespace: None,
            path: PathName::Ring,
            workers: 1,
            cpus: Vec::new(),
            fanout: None,
            receive_ring: GeometryChoice::default(),
            transmit_ring: GeometryChoice::default(),
            ring_memory: MemoryBudget::new(MemoryBudget::DEFAULT_BYTES),
            ether_types: vec![EtherType::LOCAL_EXPERIMENTAL],
            link_layer: true,
            udp_port: None,
            transform: Transform::Uppercase,
            promiscuous: false,
            echo_group: false,
            unchanged: Allowance::PerSecond(10),
            when_full: WhenFull::Wait(Duration::from_millis(10)),
            measure_latency: true,
            interval: Duration::from_secs(1),
            frame_limit: None,
            force: false,
        }
    }

    /// How several workers share the frames: by flow where only IP is answered, in turn where the
    /// flow hash would send everything to one of them.
    pub fn fanout_mode(&self) -> FanoutMode {
        let only_ip = !self.ether_types.is_empty() && self.ether_types.iter().all(|t| t.is_ip());
        let by_content = if only_ip { FanoutMode::Hash } else { FanoutMode::LoadBalance };
        self.fanout.unwrap_or(by_content)
    }
}
