//! One direction of a link: the counters of both ends, with every overlap taken out.

use super::hop::{Evidence, Hops};
use super::stage::Layer;

/// What an interface and its queue lost during the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceLosses {
    /// Dropped by the interface's queue discipline.
    pub queue_dropped: u64,
    /// `tx_dropped`.
    pub transmit_dropped: u64,
    /// `tx_errors`.
    pub transmit_errors: u64,
    /// `rx_dropped`.
    pub receive_dropped: u64,
    /// `rx_errors`.
    pub receive_errors: u64,
    /// `rx_missed_errors`.
    pub receive_missed: u64,
}

/// Losses between handing a frame to an interface and its arrival at the other side's sockets, no
/// frame in two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Crossing {
    queue: u64,
    transmit_dropped: u64,
    transmit_errors: u64,
    /// The backlog of the receiver's CPU was full.
    pub backlog: u64,
    /// The veth peer refused them.
    refused_by_peer: u64,
    receive_errors: u64,
    missed: u64,
    receive_dropped: u64,
}

impl Crossing {
    /// From `sender` to `receiver`, each `None` where it is out of sight; `softnet_dropped` is
    /// what the machine's CPUs dropped and no other crossing has claimed.
    pub fn between(
        sender: Option<&InterfaceLosses>,
        receiver: Option<&InterfaceLosses>,
        veth_pair: bool,
        softnet_dropped: u64,
    ) -> Crossing {
        let both_ends_of_a_pair = veth_pair && sender.is_some() && receiver.is_some();
        let transmit = sender.copied().unwrap_or_default();
        let receive = receiver.copied().unwrap_or_default();
        let shared = match both_ends_of_a_pair {
            true => transmit.transmit_dropped.min(receive.receive_dropped),
            false => 0,
        };
        let backlog_most = if both_ends_of_a_pair { shared } else { receive.receive_dropped };
        let backlog = softnet_dropped.min(backlog_most);
        Crossing {
            queue: transmit.queue_dropped,
            transmit_dropped: transmit.transmit_dropped - shared,
            transmit_errors: transmit.transmit_errors,
            backlog,
            refused_by_peer: shared.saturating_sub(backlog),
            receive_errors: receive.receive_errors,
            missed: receive.receive_missed,
            receive_dropped: receive.receive_dropped - shared.max(backlog),
        }
    }

    /// The sender's stages.
    pub fn offer_sending(&self, hops: &mut Hops, places: Places) {
        hops.offer(places.queue, "qdisc_dropped", Some(self.queue), Evidence::Weak);
        hops.offer(places.transmit, "tx_dropped", Some(self.transmit_dropped), Evidence::Sure);
        hops.offer(places.transmit, "tx_errors", Some(self.transmit_errors), Evidence::Sure);
    }

    /// The receiver's stages.
    pub fn offer_receiving(&self, hops: &mut Hops, places: Places) {
        let refused = Some(self.refused_by_peer);
        hops.offer(places.receive, "refused_by_peer", refused, Evidence::Sure);
        hops.offer(places.receive, "rx_errors", Some(self.receive_errors), Evidence::Sure);
        hops.offer(places.receive, "rx_missed", Some(self.missed), Evidence::Sure);
        hops.offer(places.softnet, "backlog_full", Some(self.backlog), Evidence::Sure);
        hops.offer(places.receive, "rx_dropped", Some(self.receive_dropped), Evidence::Weak);
    }
}

/// The layers of one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    queue: Layer,
    transmit: Layer,
    receive: Layer,
    softnet: Layer,
}

impl Places {
    /// From the generator to the device under test.
    pub const TO_DEVICE: Places = Places {
        queue: Layer::GeneratorQueue,
        transmit: Layer::GeneratorTransmit,
        receive: Layer::DeviceReceive,
        softnet: Layer::DeviceSoftnet,
    };
    /// And back.
    pub const TO_GENERATOR: Places = Places {
        queue: Layer::DeviceQueue,
        transmit: Layer::DeviceTransmit,
        receive: Layer::GeneratorReceive,
        softnet: Layer::GeneratorSoftnet,
    };
}
