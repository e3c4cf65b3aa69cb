//! What phases are called, and which of them a profile has.

use linerate_core::names;

names! {
    "phase",
    /// What a phase looks for.
    pub enum PhaseName {
        /// Every size in turn.
        Sweep = "sweep",
        /// The simple IMIX.
        Imix = "imix",
        /// Bursts of the smallest frames.
        SmallBursts = "small-bursts",
        /// Bursts of the largest frames.
        LargeBursts = "large-bursts",
        /// Payloads of 0x00.
        Zeros = "zeros",
        /// Payloads of 0xff.
        Ones = "ones",
        /// Payloads of 0x55 and 0xaa.
        Alternating = "alternating",
        /// Payloads with one bit set in each byte.
        WalkingBit = "walking-bit",
        /// Random payloads.
        Random = "random",
        /// Every size with a VLAN tag.
        VlanOn = "vlan-on",
        /// Every size without one, straight after: a tag that sticks is seen here.
        VlanOff = "vlan-off",
        /// One flow.
        OneFlow = "one-flow",
        /// Many flows.
        ManyFlows = "many-flows",
        /// The device's link goes down and comes up.
        LinkDown = "link-down",
        /// The other end of its cable does.
        PeerGone = "peer-gone",
        /// Its MTU changes.
        Mtu = "mtu",
        /// The number of its queues changes.
        Channels = "channels",
        /// The size of its rings changes.
        Rings = "rings",
        /// Its offloads are toggled.
        Offloads = "offloads",
        /// It becomes promiscuous for a while.
        Promiscuous = "promiscuous",
        /// Its address changes.
        Address = "address",
        /// Sockets join a fanout group there and leave it.
        Fanout = "fanout",
        /// An XDP program is attached to it and detached.
        Xdp = "xdp",
    }
}

names! {
    "profile",
    /// Which phases are run, and how often.
    pub enum Profile {
        /// All traffic, and a few events.
        Quick = "quick",
        /// Everything.
        Full = "full",
        /// Everything, again and again.
        Soak = "soak",
    }
}

impl Profile {
    /// Whether it has this phase.
    pub fn has(self, name: PhaseName) -> bool {
        use PhaseName::{Address, Channels, Fanout, Offloads, PeerGone, Rings, Xdp};
        let long = [PeerGone, Channels, Rings, Offloads, Address, Fanout, Xdp];
        self != Profile::Quick || !long.contains(&name)
    }
}
