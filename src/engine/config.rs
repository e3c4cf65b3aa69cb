//! What an engine is asked to do, in plain values.

use std::sync::Arc;
use std::time::Duration;

use super::edit::Transform;
pub use super::names::PathName;
use super::names::Profile;
use super::storm::{self, Allowance};
use super::turn::{LatencyMode, WhenFull};
use super::wait::Wait;
use crate::ring::budget::MemoryBudget;
use crate::ring::geometry::GeometryChoice;
use crate::sys::namespace::Namespace;
use crate::sys::packet::{Fanout, FanoutMode};
use crate::units::{ETHERNET_HEADER_BYTES, FrameSize};
use crate::wire::ethernet::{EtherType, VLAN_TAG_BYTES};

/// What an engine is asked to do.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Interface name.
    pub interface: String,
    /// Network namespace of the interface; `None` for the caller's.
    pub namespace: Option<Namespace>,
    /// The packet path.
    pub path: PathName,
    /// Number of workers, each with its own socket.
    pub workers: usize,
    /// CPUs to pin the workers to, in turn; empty for those that the process may use.
    pub cpus: Vec<usize>,
    /// Where none are asked for, begin with the CPUs of the interface's NUMA node.
    pub numa: bool,
    /// Put each worker on the CPU of its receive queue's interrupt, instead.
    pub follow_interrupts: bool,
    /// How several workers share the frames; `None` chooses by what is answered.
    pub fanout: Option<FanoutMode>,
    /// A frame for which the chosen worker has no room goes to another that has some.
    pub rollover: bool,
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
    /// Answer datagrams from well-known service ports too.
    pub echo_services: bool,
    /// How many frames a second and worker pass that the transform does not change.
    pub unchanged: Allowance,
    /// How many answers a second and worker go to one peer that sends no probes.
    pub per_peer: Allowance,
    /// What happens when the TX half is full.
    pub when_full: WhenFull,
    /// The frames whose latency is kept.
    pub latency: LatencyMode,
    /// How a worker waits for frames.
    pub wait: Wait,
    /// Most frames that a receive half lends at once, where it has the choice (`v2`, `mmsg`, `xsk`).
    pub batch: usize,
    /// The longest frame to expect, an outer tag not counted: slots and buffers are made for it, and
    /// longer frames are dropped by name where they do not fit. `None` for what the MTU allows.
    pub max_frame: Option<FrameSize>,
    /// Send past the queueing discipline (packet sockets; AF_XDP always does).
    pub qdisc_bypass: bool,
    /// Send buffer to ask for, in bytes; `None` leaves the system's default.
    pub send_buffer: Option<usize>,
    /// The profile that path, receive ring, wait and batch were chosen for.
    pub profile: Option<Profile>,
    /// Why they were chosen, in sentences for the user.
    pub reasons: Vec<String>,
    /// Time between snapshots.
    pub interval: Duration,
    /// Ends the run after this number of received frames over all workers, plus at most a batch.
    pub frame_limit: Option<u64>,
    /// Serve the loopback interface, a part of the way out of this host, or a veth whose tags the path cannot see,
    /// all the same.
    pub force: bool,
}

/// Most frames lent at once by default: enough to share the cost of a batch, few enough to give
/// room back soon.
pub const BATCH_FRAMES: usize = 64;

impl EngineConfig {
    /// The defaults: one worker on the V3 ring, the local experimental EtherType, upper-casing.
    pub fn new(interface: impl Into<String>) -> EngineConfig {
        EngineConfig {
            interface: interface.into(),
            namespace: None,
            path: PathName::RING,
            workers: 1,
            cpus: Vec::new(),
            numa: true,
            follow_interrupts: false,
            fanout: None,
            rollover: false,
            receive_ring: GeometryChoice::default(),
            transmit_ring: GeometryChoice::default(),
            ring_memory: MemoryBudget::new(MemoryBudget::DEFAULT_BYTES),
            ether_types: vec![EtherType::LOCAL_EXPERIMENTAL],
            link_layer: true,
            udp_port: None,
            transform: Transform::Uppercase,
            promiscuous: false,
            echo_group: false,
            echo_services: false,
            unchanged: Allowance::PerSecond(10),
            per_peer: storm::PER_PEER,
            when_full: WhenFull::Wait(Duration::from_millis(10)),
            latency: LatencyMode::On,
            wait: Wait::Epoll,
            batch: BATCH_FRAMES,
            max_frame: None,
            qdisc_bypass: false,
            send_buffer: None,
            profile: None,
            reasons: Vec::new(),
            interval: Duration::from_secs(1),
            frame_limit: None,
            force: false,
        }
    }

    /// The longest frame to make room for on an interface whose MTU is `mtu`, in bytes without FCS.
    pub fn frame_bytes_max(&self, mtu: usize) -> usize {
        let of_mtu = mtu + ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES;
        self.max_frame.map_or(of_mtu, FrameSize::socket_bytes)
    }

    /// How several workers share the frames: by flow where only IP is answered, in turn where the
    /// flow hash would send everything to one of them (FAN-2).
    pub fn fanout(&self) -> Fanout {
        let only_ip = !self.ether_types.is_empty() && self.ether_types.iter().all(|t| t.is_ip());
        let by_content = if only_ip { FanoutMode::Hash } else { FanoutMode::LoadBalance };
        Fanout { mode: self.fanout.unwrap_or(by_content), rollover: self.rollover }
    }

    /// The fanout group that the workers share the frames by; `None` for one worker, and where each
    /// has a receive queue for itself.
    pub fn shared_by(&self) -> Option<Fanout> {
        (self.workers > 1 && !self.path.needs_xdp_program()).then(|| self.fanout())
    }

    /// Whether receive queues decide which worker gets a frame.
    pub fn is_by_queue(&self) -> bool {
        self.path.needs_xdp_program() || self.is_shared_by_queue()
    }

    /// Whether a fanout group by receive queue decides it.
    pub fn is_shared_by_queue(&self) -> bool {
        self.shared_by().is_some_and(|fanout| fanout.mode == FanoutMode::Queue)
    }

    /// The receive queues, of `receive` in use, whose frames a worker gets; all are shared where
    /// [`EngineConfig::is_by_queue`] does not hold.
    pub fn queues_of(&self, worker: usize, receive: u32) -> Vec<u32> {
        let queues = worker as u32..receive;
        match self.path.needs_xdp_program() {
            true => queues.take(1).collect(),
            false => queues.step_by(self.workers).collect(),
        }
    }
}
