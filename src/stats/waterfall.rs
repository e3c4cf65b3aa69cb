//! Where the frames of a run went: from offered to returned intact, one loss after another.
//!
//! The frames of a run pass counts that are exactly theirs: offered, sent, seen by the engine's
//! socket, taken by the engine, handed on, seen by the generator's socket, come back, intact. The
//! way from one of these to the next is a *hop*, and what a hop lost is a difference of two exact
//! numbers. Interfaces, queues and CPUs count everybody's frames, some frames twice, and some frames
//! that arrived. So their counters never make a loss, they only explain one: a stage takes from its
//! hop at most what the hop lost and at most what was counted. Both
//! numbers are kept ([`Stage::frames`], [`Stage::counted`]). What no counter explains is a stage of
//! its own at the end of its hop, positive for frames lost without a name, negative for frames that
//! joined. Hence offered - the sum of all stages = returned intact, always and exactly.
//!
//! Counters that overlap, and what is made of them:
//!
//! - A frame that a veth pair could not hand to the peer's CPU (`netif_rx` in net/core/dev.c, the
//!   backlog of `net.core.netdev_max_backlog` was full) counts in the sender's `tx_dropped`, in the
//!   peer's `rx_dropped` and in the `dropped` of the CPU in softnet_stat: once here, as softnet.
//!   One that the peer refused (longer than its MTU; `__dev_forward_skb`) counts in the first two:
//!   once here, at the peer. Only `tx_dropped` alone (the peer's NAPI ring was full, the peer was
//!   down) is a loss of the sending interface (`veth_xmit` in drivers/net/veth.c).
//! - On hardware a full backlog (RPS) counts in `rx_dropped` and in softnet_stat: once here.
//! - The rest of `rx_dropped` is frames without a taker. VLAN-tagged frames that packet sockets got a
//!   copy of are among them (`__netif_receive_skb_core`), so it explains a loss only where nothing
//!   better does.
//! - A queue counts a frame as dropped each time that it refuses it, although the sender keeps it and
//!   tries again: its drops explain a loss only where nothing better does. Since the kernel reports
//!   the drops of a veth to the sender as well (seen on 6.18: 300 frames that the peer refused, 5402
//!   drops counted at both ends), such frames end as refused by the kernel, and what the interfaces
//!   counted is far more than there were frames.
//! - Frames that a socket's ring had no room for are in no counter of an interface, and the frames
//!   that an interface lost are in no counter of a socket.
//! - `rx_errors` and `tx_errors` include the errors by kind; `rx_missed_errors` is separate, and so
//!   is `rx_dropped`, although drivers differ
//!   (Documentation/networking/statistics.rst, `struct rtnl_link_stats64`).

use super::counters::{EngineCounters, KernelCounters, Tally};

mod crossing;
mod hop;
mod stage;

pub use crossing::InterfaceLosses;
use crossing::{Crossing, Places};
use hop::{Evidence, Hops};
pub use stage::{Layer, Stage};

/// What the generator counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GeneratorCounts {
    /// Frames that the plan had for the run.
    pub offered: u64,
    /// Of these, frames never made because the generator was behind its schedule.
    pub behind_schedule: u64,
    /// Of these, frames made that the kernel had not taken when the sending ended.
    pub refused: u64,
    /// Frames that the kernel took for sending.
    pub sent: u64,
    /// The kernel's counters of the receiving socket; `None` if unknown.
    pub kernel: Option<KernelCounters>,
    /// What came back, the warm-up included.
    pub tally: Tally,
}

/// Everything that is known of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// The generator.
    pub generator: GeneratorCounts,
    /// The generator's interface.
    pub near: InterfaceLosses,
    /// The interface of the device under test; `None` where it is out of sight.
    pub far: Option<InterfaceLosses>,
    /// The engine behind it; `None` where the device is not ours.
    pub engine: Option<EngineCounters>,
    /// Whether the two interfaces are the ends of one veth pair.
    pub veth_pair: bool,
    /// Frames that the CPUs of this machine dropped from their backlogs, of all interfaces.
    pub softnet_dropped: u64,
}

/// The losses of a run, in the order of a frame's way.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Waterfall {
    /// Frames that the plan had for the run.
    pub offered: u64,
    /// Everywhere that frames could go, in the order of their way, with zeros where none went. An
    /// unexplained remainder is there only if it is not zero.
    pub stages: Vec<Stage>,
    /// The sum of the unexplained remainders: positive for frames lost without a name, negative
    /// for frames that joined from elsewhere. Remainders of different sign cancel out here and
    /// not in the stages.
    pub unexplained: i128,
    /// Frames that came back right in every byte.
    pub returned_intact: u64,
}

impl Waterfall {
    /// Explains a run.
    pub fn of(run: &RunCounts) -> Waterfall {
        let generator = &run.generator;
        let mut hops = Hops::starting_with(generator.offered.into());
        leave_the_generator(&mut hops, generator);
        match &run.engine {
            Some(engine) => pass_the_engine(&mut hops, run, engine),
            None => pass_a_stranger(&mut hops, run),
        }
        if run.engine.is_some() {
            // Last: only where everything in between is known may strangers be damaged frames.
            let foreign = Some(generator.tally.foreign);
            hops.offer(Layer::Verifier, "foreign", foreign, Evidence::Weak);
        }
        come_back(&mut hops, generator);
        let stages = hops.into_stages();
        let unexplained = stages.iter().filter(|stage| stage.is_unexplained());
        Waterfall {
            offered: generator.offered,
            unexplained: unexplained.map(|stage| stage.frames).sum(),
            stages,
            returned_intact: generator.tally.intact,
        }
    }
}

fn leave_the_generator(hops: &mut Hops, generator: &GeneratorCounts) {
    let behind = Some(generator.behind_schedule);
    hops.offer(Layer::Generator, "behind_schedule", behind, Evidence::Sure);
    hops.offer(Layer::Generator, "refused_by_kernel", Some(generator.refused), Evidence::Sure);
    hops.reach(generator.sent.into(), Layer::Generator);
}

fn pass_the_engine(hops: &mut Hops, run: &RunCounts, engine: &EngineCounters) {
    let out =
        Crossing::between(Some(&run.near), run.far.as_ref(), run.veth_pair, run.softnet_dropped);
    out.offer_sending(hops, Places::TO_DEVICE);
    out.offer_receiving(hops, Places::TO_DEVICE);
    hops.reach(engine.kernel.packets.into(), Layer::DeviceReceive);
    hops.offer(Layer::EngineRing, "no_room", Some(engine.kernel.drops), Evidence::Sure);
    hops.offer(Layer::EngineRing, "left_in_ring", None, Evidence::Rest);
    hops.reach(engine.received.into(), Layer::EngineRing);
    for (reason, frames) in engine.drops.named() {
        hops.offer(Layer::Engine, reason.name(), Some(frames), Evidence::Sure);
    }
    hops.reach(engine.forwarded.into(), Layer::Engine);
    let softnet_left = run.softnet_dropped - out.backlog;
    let back = Crossing::between(run.far.as_ref(), Some(&run.near), run.veth_pair, softnet_left);
    back.offer_sending(hops, Places::TO_GENERATOR);
    back.offer_receiving(hops, Places::TO_GENERATOR);
}

fn pass_a_stranger(hops: &mut Hops, run: &RunCounts) {
    let far = run.far.as_ref();
    let out = Crossing::between(Some(&run.near), far, run.veth_pair, run.softnet_dropped);
    let softnet_left = run.softnet_dropped - out.backlog;
    let back = Crossing::between(far, Some(&run.near), run.veth_pair, softnet_left);
    out.offer_sending(hops, Places::TO_DEVICE);
    if far.is_some() {
        out.offer_receiving(hops, Places::TO_DEVICE);
    }
    hops.offer(Layer::BeyondSight, "beyond_our_sight", None, Evidence::Rest);
    if far.is_some() {
        back.offer_sending(hops, Places::TO_GENERATOR);
    }
    back.offer_receiving(hops, Places::TO_GENERATOR);
}

fn come_back(hops: &mut Hops, generator: &GeneratorCounts) {
    let tally = &generator.tally;
    if let Some(kernel) = &generator.kernel {
        // Beside the sums: copies and strangers, which the socket counted as well.
        let beside = [tally.duplicated, tally.forgotten, tally.foreign];
        let beside: i128 = beside.into_iter().map(i128::from).sum();
        hops.reach(i128::from(kernel.packets) - beside, Layer::GeneratorReceive);
        hops.offer(Layer::GeneratorRing, "no_room", Some(kernel.drops), Evidence::Sure);
    }
    hops.offer(Layer::GeneratorRing, "malformed", Some(tally.malformed), Evidence::Sure);
    if generator.kernel.is_some() {
        hops.offer(Layer::GeneratorRing, "left_in_ring", None, Evidence::Rest);
    }
    let damaged = [
        ("truncated", tally.truncated),
        ("corrupted", tally.corrupted),
        ("not_transformed", tally.not_transformed),
    ];
    let returned = damaged.iter().map(|(_, frames)| i128::from(*frames)).sum::<i128>();
    hops.reach(returned + i128::from(tally.intact), Layer::GeneratorRing);
    for (name, frames) in damaged {
        hops.offer(Layer::Verifier, name, Some(frames), Evidence::Sure);
    }
    hops.reach(tally.intact.into(), Layer::Verifier);
}

#[cfg(test)]
mod tests;
