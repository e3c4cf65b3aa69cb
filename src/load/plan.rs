//! What a load sends, over which rings, and for how long.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use super::carriage::{Carriage, Content};
use super::flows::Flows;
pub use super::sizes::Sizes;
use crate::error::{Error, Result};
use crate::ring::geometry::GeometryChoice;
use crate::ring::send_rule;
use crate::units::FrameSize;
use crate::wire::ethernet::{EtherType, MacAddress};
use crate::wire::probe::{Expectation, PayloadPattern};

/// When the sending ends: at whichever comes first; at least one must be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// After this time.
    pub duration: Option<Duration>,
    /// After exactly this many frames.
    pub count: Option<u64>,
}

impl Limits {
    /// So long.
    pub fn lasting(duration: Duration) -> Limits {
        Limits { duration: Some(duration), count: None }
    }

    /// So many frames.
    pub fn frames(count: u64) -> Limits {
        Limits { duration: None, count: Some(count) }
    }
}

/// The frames of a load, and the rings.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// Index of the interface, in the network namespace of the thread that opens the load.
    pub interface: u32,
    /// The interface's MTU in bytes.
    pub mtu: usize,
    /// The interface's own address: the frames' source.
    pub source: MacAddress,
    /// The engine's address: the frames' destination.
    pub destination: MacAddress,
    /// What carries the probe.
    pub carriage: Carriage,
    /// Frame sizes.
    pub sizes: Sizes,
    /// What follows the number in each payload.
    pub payload: PayloadPattern,
    /// How many flows the frames belong to, in turn (see [`Flows`]); at least 1.
    pub flows: u32,
    /// Decides random sizes and random payloads.
    pub seed: u64,
    /// How payloads should come back.
    pub expectation: Expectation,
    /// The receive ring's size.
    pub rx_ring: GeometryChoice,
    /// The TX ring's size.
    pub tx_ring: GeometryChoice,
    /// Frames sent with one kick.
    pub batch: usize,
    /// How long a window waits for an answer by looking at the ring over and over before it sleeps.
    /// Looking finds the answer when the engine has sent it; after a sleep the round trip also has
    /// the generator's own wake-up in it.
    pub spin: Duration,
    /// A window gives up its frames when none has come for this time.
    pub answer_timeout: Duration,
    /// Set it from another thread to end the sending early; looked at once a batch.
    pub stop: Arc<AtomicBool>,
}

/// Frames sent with one kick, if nothing else is asked for.
pub const BATCH_FRAMES: usize = 64;

impl LoadConfig {
    /// 64-byte frames of the local experimental EtherType over a V3 ring, upper-cased in return.
    pub fn new(
        interface: u32,
        mtu: usize,
        source: MacAddress,
        destination: MacAddress,
    ) -> LoadConfig {
        LoadConfig {
            interface,
            mtu,
            source,
            destination,
            carriage: Carriage::raw(EtherType::LOCAL_EXPERIMENTAL),
            sizes: Sizes::Fixed(FrameSize::smallest()),
            payload: PayloadPattern::Filler,
            flows: 1,
            seed: 0,
            expectation: Expectation::Uppercased,
            rx_ring: GeometryChoice::default(),
            tx_ring: GeometryChoice::default(),
            batch: BATCH_FRAMES,
            spin: Duration::from_millis(2),
            answer_timeout: Duration::from_millis(100),
            stop: Arc::default(),
        }
    }

    /// The flows that the frames belong to; a usage error where there are none such.
    pub fn spread(&self) -> Result<Flows> {
        let period = self.sizes.order(self.seed).period();
        Flows::new(self.flows, &self.carriage, period, (self.source, self.destination))
    }

    /// Checks what the kernel would refuse and what carries no probe; a usage error says which.
    pub fn check(&self) -> Result<()> {
        let encapsulation = self.carriage.encapsulation()?;
        if self.sizes.all().next().is_none() {
            return Err(Error::Usage(format!("frame sizes {}: no size is in it", self.sizes)));
        }
        if let Content::Raw(ether_type) = self.carriage.content
            && ether_type.is_vlan_tag()
        {
            return Err(Error::Usage(format!(
                "the EtherType {ether_type} is a VLAN tag: use --vlan-id, and name the type behind it"
            )));
        }
        self.spread()?;
        if self.batch == 0 {
            return Err(Error::Usage("a batch of 0 frames sends nothing; the least is 1".into()));
        }
        let first_type = match self.carriage.tags.first() {
            Some(tag) => tag.tpid,
            None => self.carriage.ether_type().0,
        };
        for size in self.sizes.all() {
            encapsulation.payload_bytes(size).map_err(Error::Usage)?;
            if send_rule::check(size.socket_bytes(), first_type.to_be_bytes(), self.mtu).is_err() {
                return Err(Error::Usage(format!(
                    "frames of {size} bytes ({} without FCS) are longer than an MTU of {} allows",
                    size.socket_bytes(),
                    self.mtu,
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ethernet::VlanTag;

    const HERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const THERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

    fn sweep(from: usize, to: usize) -> Sizes {
        let size = |bytes| FrameSize::with_fcs(bytes).unwrap();
        Sizes::Sweep { from: size(from), to: size(to), step: 1 }
    }

    #[test]
    fn sweeps_have_every_size_and_impossible_ones_are_usage_errors() {
        let mut config = LoadConfig::new(1, 1500, HERE, THERE);
        config.sizes = sweep(64, 1518);
        assert_eq!(config.sizes.all().count(), 1455);
        config.check().unwrap();
        for impossible in [sweep(64, 1519), sweep(65, 64)] {
            config.sizes = impossible;
            assert_eq!(config.check().unwrap_err().exit_code(), 2);
        }
        config.sizes = sweep(64, 1522);
        config.carriage = config.carriage.tagged(VlanTag::customer(5, 0));
        config.check().unwrap();
        config.carriage.tags[0] = VlanTag::service(5, 0);
        assert!(config.check().is_err(), "only 0x8100 earns four bytes more");
    }
}
