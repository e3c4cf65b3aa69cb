//! What a network interface counts.

use crate::sys::netlink::Message;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $at:literal;)*) => {
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

            /// From the kernel's structure, each counter by its place in it; an old kernel's is
            /// shorter and lacks the last.
            fn from_kernel(words: &[[u8; 8]]) -> LinkCounters {
                LinkCounters { $($name: words.get($at).map_or(0, |word| u64::from_ne_bytes(*word)),)* }
            }
        }
    };
}

counters! {
    /// Frames received and given to the kernel's stack, before packet sockets' own losses.
    received_frames = 0;
    /// Frames transmitted. On veth: frames that the other end has taken.
    transmitted_frames = 1;
    /// Bytes of the received frames.
    received_bytes = 2;
    /// Bytes of the transmitted frames.
    transmitted_bytes = 3;
    /// Received frames with any error.
    receive_errors = 4;
    /// Frames that could not be transmitted for any error.
    transmit_errors = 5;
    /// Received frames dropped for want of room or of a taker. On veth this includes frames that
    /// the sending end could not hand over because this end's CPU had no room for them.
    receive_dropped = 6;
    /// Frames dropped on their way out. On veth: the other end could not take them.
    transmit_dropped = 7;
    /// Multicast frames received.
    multicast = 8;
    /// Collisions.
    collisions = 9;
    /// Received frames of a wrong length.
    receive_length_errors = 10;
    /// Received frames that the device's ring had no room for (drivers differ).
    receive_over_errors = 11;
    /// Received frames with a wrong FCS.
    receive_crc_errors = 12;
    /// Received frames with a wrong alignment.
    receive_frame_errors = 13;
    /// Overruns of the device's receive FIFO.
    receive_fifo_errors = 14;
    /// Frames that the host was too slow to take from the device.
    receive_missed = 15;
    /// Aborted transmissions.
    transmit_aborted = 16;
    /// Transmissions that lost the carrier.
    transmit_carrier_errors = 17;
    /// Underruns of the device's transmit FIFO.
    transmit_fifo_errors = 18;
    /// Missing heartbeats (10 Mb/s half duplex).
    transmit_heartbeat_errors = 19;
    /// Late collisions.
    transmit_window_errors = 20;
    /// Received frames without a protocol or socket to take them (since 4.6).
    receive_no_handler = 23;
    /// Received frames for another MAC address that were dropped for it (since 5.19).
    receive_other_host = 24;
}

impl LinkCounters {
    /// The counters in the kernel's description of a link.
    pub(super) fn from_message(message: &Message) -> Option<LinkCounters> {
        let counters = message.find(libc::IFLA_STATS64)?;
        Some(LinkCounters::from_kernel(counters.as_chunks().0))
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
