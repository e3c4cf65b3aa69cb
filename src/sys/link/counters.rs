//! What a network interface counts.

use netlink_packet_route::link::{LinkAttribute, LinkMessage, Stats64};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $kernel:ident;)*) => {
        /// The counters of an interface since it was made (`struct rtnl_link_stats64`, whose fields
        /// Documentation/networking/statistics.rst defines). Bytes are without FCS.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct LinkCounters { $($(#[$doc])* pub $name: u64,)* }

        impl LinkCounters {
            /// What was counted since `earlier`. A counter that has gone back (a driver was
            /// restarted) gives 0.
            pub fn since(&self, earlier: &LinkCounters) -> LinkCounters {
                LinkCounters { $($name: self.$name.saturating_sub(earlier.$name),)* }
            }

            fn from_kernel(kernel: &Stats64) -> LinkCounters {
                LinkCounters { $($name: kernel.$kernel,)* }
            }
        }
    };
}

counters! {
    /// Frames received and given to the kernel's stack, before packet sockets' own losses.
    received_frames = rx_packets;
    /// Frames transmitted. On veth: frames that the other end has taken.
    transmitted_frames = tx_packets;
    /// Bytes of the received frames.
    received_bytes = rx_bytes;
    /// Bytes of the transmitted frames.
    transmitted_bytes = tx_bytes;
    /// Received frames with any error.
    receive_errors = rx_errors;
    /// Frames that could not be transmitted for any error.
    transmit_errors = tx_errors;
    /// Received frames dropped for want of room or of a taker. On veth this includes frames that
    /// the sending end could not hand over because this end's CPU had no room for them.
    receive_dropped = rx_dropped;
    /// Frames dropped on their way out. On veth: the other end could not take them.
    transmit_dropped = tx_dropped;
    /// Multicast frames received.
    multicast = multicast;
    /// Collisions.
    collisions = collisions;
    /// Received frames of a wrong length.
    receive_length_errors = rx_length_errors;
    /// Received frames that the device's ring had no room for (drivers differ).
    receive_over_errors = rx_over_errors;
    /// Received frames with a wrong FCS.
    receive_crc_errors = rx_crc_errors;
    /// Received frames with a wrong alignment.
    receive_frame_errors = rx_frame_errors;
    /// Overruns of the device's receive FIFO.
    receive_fifo_errors = rx_fifo_errors;
    /// Frames that the host was too slow to take from the device.
    receive_missed = rx_missed_errors;
    /// Aborted transmissions.
    transmit_aborted = tx_aborted_errors;
    /// Transmissions that lost the carrier.
    transmit_carrier_errors = tx_carrier_errors;
    /// Underruns of the device's transmit FIFO.
    transmit_fifo_errors = tx_fifo_errors;
    /// Missing heartbeats (10 Mb/s half duplex).
    transmit_heartbeat_errors = tx_heartbeat_errors;
    /// Late collisions.
    transmit_window_errors = tx_window_errors;
    /// Received frames that nobody in the kernel wanted: no protocol, no socket (since 4.6).
    receive_no_handler = rx_nohandler;
    /// Received frames for another MAC address that were dropped for it (since 5.19).
    receive_other_host = rx_otherhost_dropped;
}

impl LinkCounters {
    /// The counters in the kernel's description of a link.
    pub(super) fn from_message(message: &LinkMessage) -> Option<LinkCounters> {
        message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Stats64(kernel) => Some(LinkCounters::from_kernel(kernel)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_never_wraps() {
        let earlier = LinkCounters { received_frames: 5, received_bytes: 9, ..Default::default() };
        let later = LinkCounters { received_frames: 7, received_bytes: 0, ..Default::default() };
        let passed = later.since(&earlier);
        assert_eq!((passed.received_frames, passed.received_bytes), (2, 0));
    }
}
