//! All counters within reach, read before and after a run, and what they say about it.

use super::testbed::End;
use crate::error::Result;
use crate::load::run::LoadOutcome;
use crate::stats::counters::{EngineCounters, KernelCounters};
use crate::stats::waterfall::{GeneratorCounts, InterfaceLosses, RunCounts, Waterfall};
use crate::sys::ethtool_statistics::DriverStatistics;
use crate::sys::link::{LinkCounters, Links, QueueingCounters};
use crate::sys::offload::Ethtool;
use crate::sys::softnet::Softnet;

/// An interface whose counters can be read from any thread, whatever namespace it is in.
struct Observed {
    name: String,
    index: u32,
    links: Links,
    ethtool: Ethtool,
}

impl Observed {
    fn open(end: &End) -> Result<Observed> {
        let (links, ethtool) = end.inside(|| Ok((Links::open()?, Ethtool::open()?)))?;
        Ok(Observed { name: end.link.name.clone(), index: end.link.index, links, ethtool })
    }

    fn read(&self) -> Result<InterfaceSnapshot> {
        let mut unreadable = Vec::new();
        let driver = self.ethtool.statistics(&self.name).unwrap_or_else(|error| {
            unreadable.push(error.to_string());
            DriverStatistics::default()
        });
        let queueing = self.links.queueing(self.index).unwrap_or_else(|error| {
            unreadable.push(error.to_string());
            None
        });
        let link = self.links.counters(self.index)?;
        Ok(InterfaceSnapshot { name: self.name.clone(), link, queueing, driver, unreadable })
    }
}

/// The observed interfaces: the generator's and, if it is on this machine, the DUT's.
pub struct Ends {
    near: Observed,
    far: Option<Observed>,
    veth_pair: bool,
}

impl Ends {
    /// Makes ready to read; needs no privilege beyond what entering the ends' namespaces takes.
    /// `far` is the other end of the cable or of the veth pair, `None` where it is out of sight.
    pub fn open(near: &End, far: Option<&End>) -> Result<Ends> {
        let veth_pair = far.is_some_and(|far| far.link.is_veth_peer_of(&near.link));
        let far = far.map(Observed::open).transpose()?;
        Ok(Ends { near: Observed::open(near)?, far, veth_pair })
    }
}

/// What one interface has counted, layer by layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceSnapshot {
    /// Its name.
    pub name: String,
    /// The interface's counters.
    pub link: LinkCounters,
    /// Its root queue discipline's; `None` where it has none.
    pub queueing: Option<QueueingCounters>,
    /// Its driver's, by the driver's names.
    pub driver: DriverStatistics,
    /// What could not be read, in sentences; it counts as zero.
    pub unreadable: Vec<String>,
}

impl InterfaceSnapshot {
    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &InterfaceSnapshot) -> InterfaceSnapshot {
        let queueing = self.queueing.as_ref().map(|now| match &earlier.queueing {
            Some(before) => now.since(before),
            None => now.clone(),
        });
        InterfaceSnapshot {
            name: self.name.clone(),
            link: self.link.since(&earlier.link),
            queueing,
            driver: self.driver.since(&earlier.driver),
            unreadable: self.unreadable.clone(),
        }
    }

    /// What counts as a loss, for the waterfall.
    pub fn losses(&self) -> InterfaceLosses {
        InterfaceLosses {
            queue_dropped: self.queueing.as_ref().map_or(0, |queue| queue.dropped_frames.into()),
            transmit_dropped: self.link.transmit_dropped,
            transmit_errors: self.link.transmit_errors,
            receive_dropped: self.link.receive_dropped,
            receive_errors: self.link.receive_errors,
            receive_missed: self.link.receive_missed,
        }
    }
}

/// All counters within reach at one moment, or what they counted between two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CounterSnapshot {
    /// The generator's interface.
    pub near: InterfaceSnapshot,
    /// The interface of the device under test; `None` where it is out of sight.
    pub far: Option<InterfaceSnapshot>,
    /// The machine's CPUs. They belong to no interface, so both ends share them.
    pub softnet: Softnet,
    /// Whether the interfaces are the two ends of a veth pair.
    pub veth_pair: bool,
    /// What could not be read beside the interfaces.
    pub unreadable: Vec<String>,
}

impl CounterSnapshot {
    /// Reads everything, in well under a millisecond. Only an interface that has gone is an error;
    /// other counters that cannot be read are named in the snapshot.
    pub fn read(ends: &Ends) -> Result<CounterSnapshot> {
        let mut unreadable = Vec::new();
        let softnet = Softnet::read().unwrap_or_else(|error| {
            unreadable.push(error.to_string());
            Softnet::default()
        });
        Ok(CounterSnapshot {
            near: ends.near.read()?,
            far: ends.far.as_ref().map(Observed::read).transpose()?,
            softnet,
            veth_pair: ends.veth_pair,
            unreadable,
        })
    }

    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &CounterSnapshot) -> CounterSnapshot {
        let far = self.far.as_ref().map(|now| match &earlier.far {
            Some(before) => now.since(before),
            None => now.clone(),
        });
        CounterSnapshot {
            near: self.near.since(&earlier.near),
            far,
            softnet: self.softnet.since(&earlier.softnet),
            veth_pair: self.veth_pair,
            unreadable: self.unreadable.clone(),
        }
    }

    /// Where the frames of a run went: these counters being what was counted during the run, and
    /// `engine` what the engine did during it, where the device under test is ours.
    pub fn waterfall(
        &self,
        generator: GeneratorCounts,
        engine: Option<&EngineCounters>,
    ) -> Waterfall {
        Waterfall::of(&RunCounts {
            generator,
            near: self.near.losses(),
            far: self.far.as_ref().map(InterfaceSnapshot::losses),
            engine: engine.copied(),
            veth_pair: self.veth_pair,
            softnet_dropped: self.softnet.dropped(),
        })
    }
}

/// What the generator counted, the warm-up included: the counters of the layers know of no warm-up.
pub fn generator_counts(outcome: &LoadOutcome) -> GeneratorCounts {
    let warm_up = &outcome.warm_up;
    let mut tally = outcome.tally;
    tally += &warm_up.tally;
    // Echoes of other loads are no part of this one's way.
    let packets = outcome.kernel.packets.saturating_sub(tally.other_loads);
    GeneratorCounts {
        offered: outcome.offered + warm_up.sent,
        behind_schedule: outcome.unsent_late,
        refused: outcome.unsent_refused,
        sent: outcome.sent + warm_up.sent,
        kernel: Some(KernelCounters { packets, ..outcome.kernel }),
        tally,
    }
}
