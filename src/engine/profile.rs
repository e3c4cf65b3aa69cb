//! Profiles: a purpose, turned into halves, rings, wait and batch.
//!
//! # What the choices rest on
//!
//! No frame is sent to choose. The choices follow from the interface, the process and these
//! measurements over a veth pair between two CPUs (docs/performance.md):
//!
//! | measured, 64 B | |
//! |---|---|
//! | `v3+xsk` drains | 0.86 M echoes/s |
//! | `v3+ring` | 0.73 M echoes/s |
//! | `v3+mmsg` | 0.58 M echoes/s |
//! | `v2+xsk`, `v2+ring` | 0.88 and 0.71 M echoes/s |
//! | `recv+send` | 0.22 M echoes/s |
//! | one frame in flight on `v3` | up to the retire timeout, 1 ms at least, where `v2` takes microseconds |
//! | the same on `v2`, spinning | 3.4 µs with `xsk`, 3.6 with `send`, 4.1 with `ring` |
//! | 64 frames in flight on `v3` | 64 k echoes/s in blocks of 256 KiB, 400 k in blocks of 4 KiB |
//! | 64 frames in flight on `v2`, adaptive | 627 k echoes/s with `xsk` |
//! | one frame in flight, a prototype | 5.3 µs with 2048 slots of 2048 bytes, 4.1 µs with slots of 256 |
//!
//! The last row is an effect of the cache: each frame is written to the next slot, so a ring larger
//! than the cache always misses it. Nothing was measured on a NIC. No AF_XDP socket is chosen there,
//! because a driver with zero-copy would reconfigure its queue for it.

use super::config::{BATCH_FRAMES, EngineConfig};
pub use super::names::Profile;
use super::names::{PathName, RxName, TxName};
use super::wait::{SPIN, Wait};
use crate::error::Result;
use crate::ring::geometry::{GeometryChoice, slot_for};
use crate::ring::layout::block;
use crate::ring::xsk::setup::{TRANSMIT_MTU_MAX, XskChoice, XskTransmitSocket};
use crate::sys::cpus::choose_cpus;
use crate::sys::link::Links;
use crate::sys::mapping::page_bytes;
use crate::sys::offload::Ethtool;
use crate::sys::packet::{Direction, RingVersion};
use crate::units::memory;

/// The profile where neither a profile nor a path is asked for: `balanced`, as long as it loses at
/// most 15 % of the rate to `throughput` at flood and takes at most 30 % longer than `latency` with
/// one frame in flight.
pub const DEFAULT: Profile = Profile::Balanced;

impl Profile {
    /// Candidate paths, best first, each with its reason.
    const fn candidates(self) -> &'static [(PathName, &'static str)] {
        const V2_SEND: PathName = PathName { rx: RxName::V2, tx: TxName::Send };
        const ONE_A_SLOT: &str = "sees each frame as soon as it arrives";
        match self {
            Profile::Throughput => &[
                (PathName::RING_XSK, "one wake-up per block; 0.86 M/s measured"),
                (PathName::RING, "one wake-up per block; 0.73 M/s measured"),
            ],
            Profile::Latency => &[(V2_SEND, ONE_A_SLOT), (PathName::RING_V2, ONE_A_SLOT)],
            Profile::Balanced => {
                &[(PathName::RING_V2_XSK, ONE_A_SLOT), (PathName::RING_V2, ONE_A_SLOT)]
            }
        }
    }
}

/// Halves that are asked for; those left open are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The receive half.
    pub rx: Option<RxName>,
    /// The TX half.
    pub tx: Option<TxName>,
}

impl Asked {
    /// The pair, if none is left open.
    pub fn path(self) -> Option<PathName> {
        Some(PathName { rx: self.rx?, tx: self.tx? })
    }
}

impl From<PathName> for Asked {
    fn from(PathName { rx, tx }: PathName) -> Asked {
        Asked { rx: Some(rx), tx: Some(tx) }
    }
}

/// What a choice depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The longest frame to expect, in bytes without FCS and outer tag.
    pub longest: usize,
    /// The interface's MTU in bytes.
    pub mtu: usize,
    /// Why this process can have no AF_XDP socket that sends, if so: privilege, or locked memory.
    pub no_xdp: Option<String>,
    /// TX queues of the interface that are in use: each has room for one AF_XDP socket.
    pub transmit_queues: usize,
    /// Whether the interface is of the kind that was measured: a veth pair.
    pub is_veth: bool,
    /// CPUs that the process may use.
    pub cpus: usize,
    /// Workers that shall run.
    pub workers: usize,
}

impl Facts {
    /// For an engine of this process that is to serve as `config` says, in the network namespace of
    /// the calling thread.
    fn here(config: &EngineConfig) -> Result<Facts> {
        let link = Links::open()?.by_name(&config.interface)?;
        let mtu = link.mtu as usize;
        let socket =
            XskChoice::new(link.index, 0, mtu.min(TRANSMIT_MTU_MAX)).for_batches(BATCH_FRAMES);
        Ok(Facts {
            longest: config.frame_bytes_max(mtu),
            mtu,
            no_xdp: XskTransmitSocket::try_out(&socket).err().map(|error| error.to_string()),
            transmit_queues: Ethtool::open()?.queues(&link)?.transmit as usize,
            is_veth: link.is_veth(),
            cpus: choose_cpus(&[])?.len(),
            workers: config.workers,
        })
    }
}

/// What was chosen, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The pair of halves.
    pub path: PathName,
    /// The receive ring, where the path has one.
    pub receive_ring: GeometryChoice,
    /// How workers wait.
    pub wait: Wait,
    /// Most frames lent at once.
    pub batch: usize,
    /// Why, in sentences for the user.
    pub reasons: Vec<String>,
}

/// Chooses for `profile`: the best path that can be had with what is `asked` for, and its knobs.
pub fn choose(profile: Profile, asked: Asked, facts: &Facts) -> Choice {
    let mut reasons = Vec::new();
    let path = asked.path().unwrap_or_else(|| auto(profile, asked, facts, &mut reasons));
    let receive_ring = receive_ring(profile, path.rx, facts.longest, &mut reasons);
    let wait = wait(profile, facts, &mut reasons);
    let batch = match profile {
        Profile::Throughput | Profile::Balanced => BATCH_FRAMES,
        Profile::Latency => LATENCY_BATCH_FRAMES,
    };
    Choice { path, receive_ring, wait, batch, reasons }
}

impl Choice {
    /// Takes the choice over into `config`; what is given there of the receive ring stays.
    pub fn apply(self, config: &mut EngineConfig) {
        let (given, chosen) = (config.receive_ring, self.receive_ring);
        config.receive_ring = GeometryChoice {
            block_bytes: given.block_bytes.or(chosen.block_bytes),
            slots: given.slots.or(chosen.slots),
            retire_ms: given.retire_ms.or(chosen.retire_ms),
            ..given
        };
        config.path = self.path;
        config.wait = self.wait;
        config.batch = self.batch;
        config.reasons = self.reasons;
    }
}

/// Makes `config` what `profile` asks for on its interface, with the halves that are `asked` for. Of
/// its receive ring what is given stays; wait and batch are overwritten. `no_xdp` is the reason for which
/// no AF_XDP socket can be had, where an engine that was started has shown it.
pub fn tune(
    config: &mut EngineConfig,
    profile: Profile,
    asked: Asked,
    no_xdp: Option<String>,
) -> Result<()> {
    let mut facts = match &config.namespace {
        Some(namespace) => namespace.run(|| Facts::here(config))??,
        None => Facts::here(config)?,
    };
    facts.no_xdp = no_xdp.or(facts.no_xdp);
    choose(profile, asked, &facts).apply(config);
    config.profile = Some(profile);
    Ok(())
}

/// Few frames are in flight, and each batch ends in the system call that sends it.
const LATENCY_BATCH_FRAMES: usize = 16;

/// Throughput: blocks that some thousand short frames fill.
const LARGE_BLOCK_BYTES: usize = 256 << 10;
const RETIRE_MS: u32 = 1;

/// [`RETIRE_MS`] as it comes out (RX-11).
const LONE_FRAME_WAITS: &str = "1 ms, before Linux 6.18 up to 8 ms";
/// Latency: slots of a V2 ring, so few that the ring stays in a second-level cache.
const FEW_SLOTS: usize = 256;

/// The first possible candidate, with the given half in place of its own. `xdp` is never chosen: no
/// measurement favours it.
fn auto(profile: Profile, asked: Asked, facts: &Facts, reasons: &mut Vec<String>) -> PathName {
    let candidates = profile.candidates();
    let merit_of = |path| candidates.iter().find(|(one, _)| *one == path).map(|(_, merit)| *merit);
    let mut chosen = None;
    for (candidate, _) in candidates {
        let path =
            PathName { rx: asked.rx.unwrap_or(candidate.rx), tx: asked.tx.unwrap_or(candidate.tx) };
        match obstacle(path, facts) {
            Some(obstacle) => reasons.push(format!("path auto: {path} skipped: {obstacle}")),
            None => {
                let merit = merit_of(path).unwrap_or("the best path with the given half");
                let kind = if facts.is_veth { "" } else { " (measured on veth pairs only)" };
                reasons.push(format!("path auto, {}: {path}: {merit}{kind}", profile.name()));
                chosen = Some(path);
                break;
            }
        }
    }
    reasons.push(
        "path auto: xdp skipped: no measurement favours it, and its program needs CAP_BPF and \
         CAP_NET_ADMIN in the initial user namespace"
            .into(),
    );
    chosen.unwrap_or(PathName {
        rx: asked.rx.unwrap_or(RxName::V2),
        tx: asked.tx.unwrap_or(TxName::Ring),
    })
}

/// Why a path cannot be had here.
fn obstacle(path: PathName, facts: &Facts) -> Option<String> {
    if path.tx != TxName::Xsk {
        return None;
    }
    let Facts { workers, transmit_queues, mtu, ref no_xdp, .. } = *facts;
    if let Some(reason) = no_xdp {
        return Some(reason.clone());
    }
    if !facts.is_veth && path.rx != RxName::Xsk {
        return Some("measured on veth pairs only, not on this kind of interface".into());
    }
    if mtu > TRANSMIT_MTU_MAX {
        return Some(format!("its MTU is {mtu}, and AF_XDP takes {TRANSMIT_MTU_MAX} at most"));
    }
    (workers > transmit_queues)
        .then(|| format!("{workers} workers need one TX queue each; there are {transmit_queues}"))
}

fn receive_ring(
    profile: Profile,
    rx: RxName,
    longest: usize,
    reasons: &mut Vec<String>,
) -> GeometryChoice {
    let open = GeometryChoice::default();
    match (rx, profile) {
        (RxName::V3, Profile::Throughput) => {
            reasons.push(format!(
                "blocks of {}: most frames per wake-up; a lone frame waits up to {LONE_FRAME_WAITS}",
                memory(LARGE_BLOCK_BYTES as u64)
            ));
            let block_bytes = Some(LARGE_BLOCK_BYTES);
            GeometryChoice { block_bytes, retire_ms: Some(RETIRE_MS), ..open }
        }
        (RxName::V3, Profile::Latency | Profile::Balanced) => {
            let slot = slot_for(RingVersion::V3, Direction::Receive, longest);
            let block_bytes = (slot + block::HEADER_BYTES).next_multiple_of(page_bytes());
            reasons.push(format!(
                "blocks of {}: a few frames in flight fill one; a lone frame still waits up to \
                 {LONE_FRAME_WAITS} (not with --rx v2)",
                memory(block_bytes as u64)
            ));
            GeometryChoice { block_bytes: Some(block_bytes), retire_ms: Some(RETIRE_MS), ..open }
        }
        (RxName::V2, Profile::Latency) => {
            reasons.push(format!(
                "{FEW_SLOTS} receive slots for frames of up to {longest} bytes: a ring that stays \
                 in the cache; --max-frame makes it smaller"
            ));
            GeometryChoice { slots: Some(FEW_SLOTS), ..open }
        }
        (RxName::V2, Profile::Throughput | Profile::Balanced)
        | (RxName::Recv | RxName::Recvmsg | RxName::Mmsg | RxName::Xsk, _) => open,
    }
}

fn wait(profile: Profile, facts: &Facts, reasons: &mut Vec<String>) -> Wait {
    let Facts { cpus, workers, .. } = *facts;
    match profile {
        Profile::Throughput => Wait::Epoll,
        Profile::Balanced => Wait::Adaptive(SPIN),
        Profile::Latency if workers < cpus => Wait::Spin,
        Profile::Latency => {
            reasons.push(format!(
                "adaptive, not spin: {workers} polling workers on {cpus} CPUs would leave \
                 none for the kernel and the senders"
            ));
            Wait::Adaptive(SPIN)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::geometry::Geometry;
    use proptest::prelude::*;

    /// A veth pair and a worker on a machine with two CPUs.
    const FACTS: Facts = Facts {
        longest: 1518,
        mtu: 1500,
        no_xdp: None,
        transmit_queues: 1,
        is_veth: true,
        cpus: 2,
        workers: 1,
    };

    fn said(choice: &Choice) -> String {
        choice.reasons.join("\n")
    }

    #[test]
    fn throughput_takes_blocks_and_sleeps() {
        let choice = choose(Profile::Throughput, Asked::default(), &FACTS);
        assert_eq!((choice.path.rx, choice.wait), (RxName::V3, Wait::Epoll));
        let GeometryChoice { block_bytes, retire_ms, .. } = choice.receive_ring;
        assert_eq!((block_bytes, retire_ms), (Some(256 << 10), Some(1)));
        assert!(said(&choice).contains("a lone frame waits up to 1 ms"), "{choice:?}");
    }

    #[test]
    fn latency_takes_a_small_ring_of_frames_and_spins_where_a_cpu_is_left() {
        let choice = choose(Profile::Latency, Asked::default(), &FACTS);
        assert_eq!((choice.path.rx, choice.wait), (RxName::V2, Wait::Spin));
        for facts in [Facts { cpus: 1, ..FACTS }, Facts { workers: 2, ..FACTS }] {
            let choice = choose(Profile::Latency, Asked::default(), &facts);
            assert_eq!(choice.wait, Wait::Adaptive(SPIN));
            assert!(said(&choice).contains("adaptive, not spin"), "{choice:?}");
        }
    }

    #[test]
    fn balanced_sees_each_frame_and_sleeps_after_a_while() {
        let choice = choose(Profile::Balanced, Asked::default(), &FACTS);
        assert_eq!((choice.path.rx, choice.wait), (RxName::V2, Wait::Adaptive(SPIN)));
        assert_eq!(choice.batch, BATCH_FRAMES);
    }

    #[test]
    fn a_path_asked_for_is_taken_and_its_knobs_follow_the_profile() {
        let choice = choose(Profile::Latency, PathName::RING.into(), &FACTS);
        assert_eq!((choice.path, choice.receive_ring.block_bytes), (PathName::RING, Some(4096)));
        assert!(said(&choice).contains("--rx v2"), "{choice:?}");
        let choice = choose(Profile::Throughput, PathName::SYSCALL.into(), &FACTS);
        assert_eq!(
            (choice.path, choice.receive_ring),
            (PathName::SYSCALL, GeometryChoice::default())
        );
    }

    #[test]
    fn auto_says_what_it_passed_over_and_why() {
        for profile in Profile::ALL {
            let said = said(&choose(profile, Asked::default(), &FACTS));
            assert!(said.contains("CAP_BPF") && said.contains("initial user namespace"), "{said}");
        }
        let hardware =
            choose(Profile::Balanced, Asked::default(), &Facts { is_veth: false, ..FACTS });
        assert_eq!(hardware.path, PathName::RING_V2);
        assert!(said(&hardware).contains("measured on veth pairs only"));
        for (facts, reason) in [
            (Facts { workers: 2, ..FACTS }, "2 workers need one TX queue each"),
            (Facts { mtu: 9000, ..FACTS }, "its MTU is 9000, and AF_XDP takes 4078"),
            (Facts { no_xdp: Some("no such thing".into()), ..FACTS }, "no such thing"),
        ] {
            let choice = choose(Profile::Throughput, Asked::default(), &facts);
            assert_eq!(choice.path, PathName::RING);
            assert!(said(&choice).contains(&format!("ring-xsk skipped: {reason}")), "{choice:?}");
        }
    }

    #[test]
    fn a_half_asked_for_goes_with_the_best_other() {
        let path = |profile, asked| choose(profile, asked, &FACTS).path.to_string();
        let rx = |rx| Asked { rx: Some(rx), tx: None };
        let tx = |tx| Asked { rx: None, tx: Some(tx) };
        assert_eq!(path(Profile::Latency, rx(RxName::Recvmsg)), "recvmsg+send");
        assert_eq!(path(Profile::Balanced, tx(TxName::Ring)), "ring-v2");
        assert_eq!(path(Profile::Throughput, tx(TxName::Send)), "v3+send");
        let odd = choose(Profile::Throughput, rx(RxName::Recv), &FACTS);
        assert!(said(&odd).contains("the best path with the given half"), "{odd:?}");
    }

    #[test]
    fn what_is_given_of_the_ring_stays() {
        let given = GeometryChoice { block_bytes: Some(1 << 20), ..Default::default() };
        let mut config = EngineConfig { receive_ring: given, ..EngineConfig::new("x") };
        choose(Profile::Throughput, Asked::default(), &FACTS).apply(&mut config);
        assert_eq!(
            (config.receive_ring.block_bytes, config.receive_ring.retire_ms),
            (Some(1 << 20), Some(1))
        );
    }

    proptest! {
        /// Whatever the interface, what is chosen can be opened.
        #[test]
        fn every_choice_is_a_path_that_there_is_and_a_ring_that_the_kernel_takes(
            longest in 60usize..65_554, mtu in 68usize..65_536, transmit_queues in 1usize..9, is_veth in any::<bool>(),
            cpus in 1usize..9, workers in 1usize..9, of in 0usize..3,
            rx in 0usize..7, tx in 0usize..5,
        ) {
            let facts = Facts { longest, mtu, no_xdp: None, transmit_queues, is_veth, cpus, workers };
            let asked = Asked {
                rx: RxName::ALL.get(rx).copied(),
                tx: TxName::ALL.get(tx).copied(),
            };
            let choice = choose(Profile::ALL[of], asked, &facts);
            prop_assert_eq!(asked.rx.unwrap_or(choice.path.rx), choice.path.rx);
            prop_assert_eq!(asked.tx.unwrap_or(choice.path.tx), choice.path.tx);
            let version = if choice.path.rx == RxName::V3 { RingVersion::V3 } else { RingVersion::V2 };
            let ring = GeometryChoice { longest: Some(longest), ..choice.receive_ring };
            let planned = Geometry::plan(version, Direction::Receive, 1500, ring, page_bytes());
            prop_assert!(planned.is_ok(), "{planned:?}");
        }
    }
}
