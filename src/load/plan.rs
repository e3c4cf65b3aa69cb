//! What a load sends, over which rings, and for how long.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use super::carriage::{Carriage, Content};
use super::choice::{BATCH_FRAMES, LIVE_FRAMES, RxChoice, TxChoice};
use super::flows::Flows;
use super::pace::Pattern;
use super::rate::{FrameRate, Rate};
use super::run_id::FRAMES_MAX;
pub use super::sizes::Sizes;
use super::trace::TraceSpec;
use crate::error::{Error, Result};
use crate::ring::geometry::GeometryChoice;
use crate::ring::layout::rx_mac_offset;
use crate::ring::send_rule;
use crate::sys::interface::called;
use crate::sys::packet::RingVersion;
use crate::sys::stamps::PtpClock;
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

/// A frame that leaves more than this after its intended time left late. It is a gap of 100,000
/// frames a second, and more than a free CPU ever needs between two looks at the clock.
pub const LATE_DEPARTURE: Duration = Duration::from_micros(10);

/// The most threads that send.
pub const SENDERS_MAX: usize = 64;

/// The longest window.
pub const WINDOW_FRAMES_MAX: u64 = 1 << 14;

/// What decides when a frame is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Drive {
    /// An open loop: a schedule that nothing that comes back can shift.
    Paced {
        /// The mean rate; [`Rate::Max`] sends as fast as it can, without a schedule.
        rate: Rate,
        /// How departures follow one another.
        pattern: Pattern,
    },
    /// A closed loop with this number of frames in flight, a new one for each answer. 1 is
    /// ping-pong. Frames that are not answered within the configured answer time-out are given up.
    Window(u64),
}

/// Which threads do the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One sends and receives by turns.
    Together,
    /// One receives; the others (at least one) send and share the schedule.
    Apart {
        /// Senders.
        senders: usize,
    },
}

impl Threads {
    /// Threads in all.
    pub fn count(self) -> usize {
        match self {
            Threads::Together => 1,
            Threads::Apart { .. } => self.senders() + 1,
        }
    }

    /// Threads that send.
    pub fn senders(self) -> usize {
        match self {
            Threads::Together => 1,
            Threads::Apart { senders } => senders.max(1),
        }
    }
}

/// What a receive ring has whose number of blocks is left open.
const RX_RING_BYTES: usize = 16 << 20;

/// Who stamps received frames.
#[derive(Clone, Debug, Default)]
pub enum Stamps {
    /// The kernel, where the receive half shows its stamps.
    #[default]
    Kernel,
    /// The device too, by this clock, as far as its filter lets it.
    Nic {
        /// The device's clock.
        clock: Arc<PtpClock>,
        /// Which frames it stamps.
        filter: &'static str,
        /// Which it stamped before.
        filter_before: &'static str,
    },
    /// The kernel alone although the device was asked for, for this reason.
    NicMissing(String),
}

impl Stamps {
    /// The clock of the device's stamps.
    pub fn nic_clock(&self) -> Option<&Arc<PtpClock>> {
        match self {
            Stamps::Nic { clock, .. } => Some(clock),
            Stamps::Kernel | Stamps::NicMissing(_) => None,
        }
    }
}

/// What is decided about a load.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// What was asked for.
    pub spec: LoadSpec,
    /// The interface's name, which errors give when it has gone.
    pub name: String,
    /// The exact rate; `None` where there is no schedule.
    pub rate: Option<FrameRate>,
    /// The TX half.
    pub tx: TxChoice,
    /// The receive half.
    pub rx: RxChoice,
}

/// A load as asked for.
#[derive(Clone, Debug)]
pub struct LoadSpec {
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
    /// Whether a router is on the way, which lowers the hop limit of datagrams.
    pub is_routed: bool,
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
    /// Set it from another thread to end the sending early; read once a batch.
    pub stop: Arc<AtomicBool>,
    /// When frames are sent.
    pub drive: Drive,
    /// The link's line rate in bits per second, where it has one (a veth pair has none).
    pub line_bits_per_second: Option<u64>,
    /// How long the measurement lasts or how many frames it has; the warm-up comes on top.
    pub limits: Limits,
    /// How long frames are sent and verified before the measurement begins.
    pub warm_up: Duration,
    /// How long to wait for echoes after the sending; it ends earlier when all are back.
    pub drain: Duration,
    /// The drain also ends when no echo has come for this time; `None` waits to the end of `drain`.
    pub quiet: Option<Duration>,
    /// An echo that takes longer than this from its frame's sending counts as late.
    pub late_after: Duration,
    /// The TX half; `None` for the best.
    pub tx: Option<TxChoice>,
    /// The receive half; `None` for the best.
    pub rx: Option<RxChoice>,
    /// Whether frames go past the interface's queueing discipline, unseen by packet captures.
    pub qdisc_bypass: bool,
    /// Which threads do the work.
    pub threads: Threads,
    /// CPUs to pin threads to: senders in order, then the receiver, round and round. Empty: none is
    /// pinned.
    pub cpus: Vec<usize>,
    /// Whether round trips are split at the kernel's receive stamp.
    pub breakdown: bool,
    /// Who stamps received frames.
    pub stamps: Stamps,
    /// Bad frames kept byte by byte, from the first on.
    pub evidence_max: usize,
    /// Time between two progress reports.
    pub interval: Duration,
    /// Nothing is opened after this load: the calling thread, too, gives its capabilities up once all
    /// sockets are open.
    pub is_last: bool,
    /// What a run in the calling thread keeps of each echo.
    pub trace: TraceSpec,
}

/// The slowest engine, in frames per second, for which [`LoadSpec::bursts`] finds room.
pub const UNREAD_PPS_MIN: u64 = 25_000;

impl Drive {
    /// As fast as the generator can.
    pub const FLOOD: Drive = Drive::Paced { rate: Rate::Max, pattern: Pattern::Constant };
}

impl LoadPlan {
    /// Decides anew what depends on these; the halves stay.
    pub fn set_drive(&mut self, drive: Drive, limits: Limits) -> Result<()> {
        (self.spec.drive, self.spec.limits) = (drive, limits);
        self.spec.check()?;
        self.rate = self.spec.frame_rate()?;
        Ok(())
    }
}

impl LoadSpec {
    /// 64-byte frames of the local experimental EtherType over a V3 ring, upper-cased in return.
    pub fn new(
        interface: u32,
        mtu: usize,
        source: MacAddress,
        destination: MacAddress,
    ) -> LoadSpec {
        LoadSpec {
            interface,
            mtu,
            source,
            destination,
            carriage: Carriage::raw(EtherType::LOCAL_EXPERIMENTAL),
            sizes: Sizes::Fixed(FrameSize::smallest()),
            payload: PayloadPattern::Filler,
            flows: 1,
            is_routed: false,
            seed: 0,
            expectation: Expectation::Uppercased,
            rx_ring: GeometryChoice::default(),
            tx_ring: GeometryChoice::default(),
            batch: BATCH_FRAMES,
            spin: Duration::from_millis(2),
            answer_timeout: Duration::from_millis(100),
            stop: Arc::default(),
            drive: Drive::FLOOD,
            line_bits_per_second: None,
            limits: Limits::default(),
            warm_up: Duration::ZERO,
            drain: Duration::from_millis(200),
            quiet: None,
            late_after: Duration::from_millis(100),
            tx: None,
            rx: None,
            qdisc_bypass: false,
            threads: Threads::Together,
            cpus: Vec::new(),
            breakdown: false,
            stamps: Stamps::Kernel,
            evidence_max: 0,
            interval: Duration::from_secs(1),
            is_last: false,
            trace: TraceSpec::default(),
        }
    }

    /// The same at `rate`, evenly spaced, for `limits`.
    pub fn paced(self, rate: Rate, limits: Limits) -> LoadSpec {
        self.driven(Drive::Paced { rate, pattern: Pattern::Constant }, limits)
    }

    /// The same as `drive` says, for `limits`.
    pub fn driven(self, drive: Drive, limits: Limits) -> LoadSpec {
        LoadSpec { drive, limits, ..self }
    }

    /// The same in bursts of at most `frames` frames ([`Load::fill`](super::run::Load::fill)). A V3 ring holds
    /// all their echoes unread, from an engine that sends at least [`UNREAD_PPS_MIN`] a second: a slower
    /// one has more blocks retired half empty.
    pub fn bursts(mut self, frames: u64) -> LoadSpec {
        const BLOCK_BYTES: usize = 64 << 10;
        const RETIRE_MS: u32 = 10;
        let frames_a_timeout = UNREAD_PPS_MIN as usize * RETIRE_MS as usize / 1000;
        let longest = self.sizes.all().max().map_or(0, FrameSize::socket_bytes);
        let each = (rx_mac_offset(RingVersion::V3) + longest).next_multiple_of(8);
        let full = (frames as usize * each).div_ceil(BLOCK_BYTES - each);
        let half_empty = (frames as usize).div_ceil(frames_a_timeout);
        self.rx_ring.block_bytes = Some(BLOCK_BYTES);
        self.rx_ring.blocks = Some(full + half_empty + 2);
        self.rx_ring.retire_ms = Some(RETIRE_MS);
        LoadSpec {
            drain: Duration::from_secs(60),
            // They wait for whoever collects them.
            late_after: Duration::MAX,
            rx: Some(RxChoice::V3),
            ..self.paced(Rate::Max, Limits::frames(frames))
        }
    }

    /// The flows that the frames belong to; a usage error where there are none such.
    pub fn spread(&self) -> Result<Flows> {
        let period = self.sizes.order(self.seed).period();
        Flows::new(self.flows, &self.carriage, period, (self.source, self.destination))
    }

    /// Checks what the kernel would refuse and what carries no probe; a usage error says which.
    pub fn check_frames(&self) -> Result<()> {
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

    /// The exact rate; `None` where there is no schedule.
    fn frame_rate(&self) -> Result<Option<FrameRate>> {
        let Drive::Paced { rate, .. } = self.drive else { return Ok(None) };
        let mean = self
            .sizes
            .mean()
            .ok_or_else(|| Error::Usage(format!("frame sizes {}: no size is in it", self.sizes)))?;
        rate.frame_rate(mean, self.line_bits_per_second).map_err(Error::Usage)
    }

    /// Frames that are due by schedule and count, those of the warm-up included; 0 where neither says.
    fn frames_most(&self) -> Result<f64> {
        let count = self.limits.count.map(|count| count as f64);
        let Some(rate) = self.frame_rate()?.map(FrameRate::as_f64) else {
            return Ok(count.unwrap_or(0.0));
        };
        let due = self.limits.duration.map_or(f64::INFINITY, |time| time.as_secs_f64() * rate);
        Ok(self.warm_up.as_secs_f64() * rate + count.unwrap_or(f64::INFINITY).min(due))
    }

    /// The TX half that is used; [`TxChoice::best_on`] is for who knows the interface.
    fn tx_half(&self) -> TxChoice {
        self.tx.unwrap_or(TxChoice::ANYWHERE)
    }

    /// The receive half that is used. Where nothing else is asked for it is V3 for a flood, which it
    /// takes most cheaply, and else V2: V3 hands a frame over up to a retire timeout after its
    /// arrival, which would be most of its latency, and `recv` sees no tags. With stamps of the device it is
    /// the one that sees both.
    fn rx_half(&self) -> RxChoice {
        let by_nature = match self.drive {
            _ if self.stamps.nic_clock().is_some() => RxChoice::Mmsg,
            Drive::Paced { rate: Rate::Max, .. } => RxChoice::V3,
            _ => RxChoice::V2,
        };
        self.rx.unwrap_or(by_nature)
    }

    /// Decides what was left open, and checks what can be checked without a socket; a usage error says
    /// what is wrong.
    pub fn resolve(mut self) -> Result<LoadPlan> {
        if self.rx_ring.blocks.is_none() {
            // A generator that is kept from its CPU for a while must not be the one that loses echoes.
            let block_bytes = *self.rx_ring.block_bytes.get_or_insert(128 << 10);
            self.rx_ring.blocks = Some((RX_RING_BYTES / block_bytes.max(1)).max(2));
        }
        if self.tx_half() == TxChoice::Live {
            self.batch = self.batch.max(LIVE_FRAMES);
        }
        self.check()?;
        let (rate, tx, rx) = (self.frame_rate()?, self.tx_half(), self.rx_half());
        let name = called(self.interface);
        Ok(LoadPlan { spec: self, name, rate, tx, rx })
    }

    /// Checks what can be checked without a socket; a usage error says what is wrong.
    pub fn check(&self) -> Result<()> {
        let usage = |text: &str| Err(Error::Usage(text.into()));
        self.check_frames()?;
        self.frame_rate()?;
        if self.limits.duration.is_none() && self.limits.count.is_none() {
            return usage("a run needs a duration or a count");
        }
        if self.limits.duration.is_some_and(|duration| duration.is_zero()) {
            return usage("the duration must be above 0");
        }
        match self.drive {
            Drive::Window(frames) if !(1..=WINDOW_FRAMES_MAX).contains(&frames) => {
                return usage(&format!("a window has 1 to {WINDOW_FRAMES_MAX} frames"));
            }
            Drive::Window(_) if self.threads.senders() > 1 => {
                return usage("a window has one sender: several cannot share it");
            }
            Drive::Paced { rate: Rate::Max, pattern } if pattern != Pattern::Constant => {
                return usage("a pattern needs a rate: `max` has no gaps to shape");
            }
            _ => {}
        }
        if self.frames_most()? > FRAMES_MAX as f64 {
            return usage(&format!(
                "a load has at most {FRAMES_MAX} frames, each with its own number: ask for a shorter \
                 time or a lower rate"
            ));
        }
        if let Threads::Apart { senders } = self.threads
            && !(1..=SENDERS_MAX).contains(&senders)
        {
            return usage("1 to 64 threads can send");
        }
        if self.rx_half() == RxChoice::Recv && !self.carriage.tags.is_empty() {
            return usage("the receive half recv sees no VLAN tags: take v2 or v3");
        }
        let needs_stamps = self.breakdown || !matches!(self.stamps, Stamps::Kernel);
        if needs_stamps && self.rx_half() == RxChoice::Recv {
            return usage(
                "--breakdown and --stamps hardware need stamps, which the receive half recv does not have",
            );
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
        let mut config = LoadSpec::new(1, 1500, HERE, THERE);
        config.sizes = sweep(64, 1518);
        assert_eq!(config.sizes.all().count(), 1455);
        config.check_frames().unwrap();
        for impossible in [sweep(64, 1519), sweep(65, 64)] {
            config.sizes = impossible;
            assert_eq!(config.check_frames().unwrap_err().exit_code(), 2);
        }
        config.sizes = sweep(64, 1522);
        config.carriage = config.carriage.tagged(VlanTag::customer(5, 0));
        config.check_frames().unwrap();
        config.carriage.tags[0] = VlanTag::service(5, 0);
        assert!(config.check_frames().is_err(), "only 0x8100 earns four bytes more");
    }

    #[test]
    fn a_schedule_with_more_frames_than_numbers_is_refused() {
        let (here, there) = (MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2]));
        let config = LoadSpec::new(1, 1500, here, there);
        let hours = |hours: u64| Limits::lasting(Duration::from_secs(3600 * hours));
        let line = Rate::frames(14_880_952);
        let check = |rate, limits| config.clone().paced(rate, limits).resolve();
        assert!(check(line, hours(82)).is_ok());
        assert_eq!(check(line, hours(83)).unwrap_err().exit_code(), 2);
        assert!(check(Rate::Max, hours(83)).is_ok(), "nobody knows how many it sends");
        for rate in [line, Rate::Max] {
            assert!(check(rate, Limits::frames(FRAMES_MAX)).is_ok());
            assert_eq!(check(rate, Limits::frames(FRAMES_MAX + 1)).unwrap_err().exit_code(), 2);
        }
        let most = Limits { duration: Some(Duration::from_secs(60)), count: Some(u64::MAX) };
        assert!(check(line, most).is_ok(), "the time ends it");
    }
}
