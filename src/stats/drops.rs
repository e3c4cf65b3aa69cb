//! The reasons for not answering a received frame.

use std::ops::{AddAssign, Index, Sub};

use serde::{Serialize, Serializer};

use crate::names;

names! {
    "drop reason",
    /// Why a received frame is not answered.
    #[repr(u8)]
    pub enum DropReason {
        /// The ring's own headers contradict themselves.
        Malformed = "malformed_ring_entry",
        /// Bytes are missing: the slot, block or buffer was shorter than the frame.
        Truncated = "truncated",
        /// Longer than the interface's MTU plus header and tag: a merged super-frame (GRO, TSO).
        Oversize = "oversize",
        /// Shorter than an Ethernet header.
        Runt = "runt",
        /// A copy of what this machine sends.
        Outgoing = "outgoing",
        /// Its source is our own address: a frame of ours that came back.
        OwnSource = "own_source",
        /// Its source is a group address or zero, which cannot be answered.
        GroupSource = "group_source",
        /// To another host, without `--promisc`.
        OtherHost = "other_host",
        /// To the broadcast address, without `--echo-broadcast`.
        Broadcast = "broadcast",
        /// To a multicast address, without `--echo-broadcast`.
        Multicast = "multicast",
        /// A frame that steers the link (pause, spanning tree, LACP, LLDP and others), by its EtherType or address:
        /// an echo would steer it, too.
        Control = "control_frame",
        /// Of an EtherType that is not answered.
        EtherType = "ether_type",
        /// An IP header that is cut short, has wrong lengths or a wrong checksum.
        BadIpHeader = "bad_ip_header",
        /// A fragment, whose UDP checksum covers bytes that are not here.
        Fragment = "fragment",
        /// IP, but not UDP.
        NotUdp = "not_udp",
        /// To another UDP port.
        OtherPort = "other_port",
        /// From the port that we answer on: an answer, not a question.
        ReflectedPort = "reflected_port",
        /// From the port of a service that may answer anything, so that the two would not stop.
        ServicePort = "service_port",
        /// From an address that cannot be answered (multicast, broadcast, unspecified, the target's), or to
        /// a group address, which cannot be the source of an answer.
        BadIpSource = "bad_ip_source",
        /// A wrong UDP length.
        BadUdpLength = "bad_udp_length",
        /// A UDP checksum that was wrong on arrival.
        BadChecksum = "bad_checksum",
        /// The transform changes nothing, so it may be an echo of an echo, and this second has had its share of those.
        Unchanged = "unchanged",
        /// The peer has had its answers of this second, and the frame is no probe: it may be part of a loop.
        Storm = "storm",
        /// With its tag put back it would be longer than the kernel sends, or than the TX slots, which
        /// were sized before the MTU was raised.
        TooLong = "too_long",
        /// With its 802.1ad tag put back it would be longer than the MTU, which only 802.1Q may be.
        TagTooLong = "tag_too_long",
        /// The kernel refused the answer for what it is (EMSGSIZE, EINVAL): the MTU was lowered meanwhile.
        Refused = "refused",
        /// The driver dropped the answer as it was handed over (EBUSY of an AF_XDP socket): no carrier, a
        /// full queue, or longer than the driver takes.
        DriverDropped = "driver_dropped",
        /// The TX half had no room within the time allowed.
        TxFull = "tx_full",
        /// Prepared, but the kernel had not taken it when the run ended or its buffer went back.
        Unsent = "unsent",
    }
}

/// Dropped frames by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Default for Drops {
    fn default() -> Drops {
        Drops([0; DropReason::ALL.len()])
    }
}

impl Drops {
    /// Counts `frames` more.
    #[inline]
    pub fn add(&mut self, reason: DropReason, frames: u64) {
        self.0[reason as usize] += frames;
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that occurred, with their counts.
    pub fn named(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self[reason])).filter(|(_, count)| *count > 0)
    }
}

impl Serialize for Drops {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.named().map(|(reason, count)| (reason.name(), count)))
    }
}

impl Index<DropReason> for Drops {
    type Output = u64;

    fn index(&self, reason: DropReason) -> &u64 {
        &self.0[reason as usize]
    }
}

impl AddAssign<&Drops> for Drops {
    fn add_assign(&mut self, other: &Drops) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }
}

impl Sub<&Drops> for Drops {
    type Output = Drops;

    fn sub(mut self, earlier: &Drops) -> Drops {
        self.0.iter_mut().zip(earlier.0).for_each(|(now, before)| *now -= before);
        self
    }
}
