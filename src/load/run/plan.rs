//! What a load is asked to do.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::load::pace::Pattern;
use crate::load::plan::{Limits, LoadConfig};
use crate::load::rate::{FrameRate, Rate};
use crate::load::run_id::FRAMES_MAX;
use crate::load::rx::RxChoice;
use crate::load::tx::TxChoice;
use crate::ring::layout::rx_mac_offset;
use crate::sys::packet::RingVersion;
use crate::units::FrameSize;
use crate::wire::encapsulation::Encapsulation;

/// A frame that leaves more than this after its intended time left late. It is a gap of 100,000
/// frames a second, and more than a free CPU ever needs between two looks at the clock.
pub const LATE_DEPARTURE: Duration = Duration::from_micros(10);

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

/// What a load is asked to do.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// The frames, the interface, the rings, the batch and the stop flag.
    pub config: LoadConfig,
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
    /// Bad frames kept byte by byte, from the first on.
    pub evidence_max: usize,
    /// Time between two progress reports.
    pub interval: Duration,
    /// Nothing is opened after this load: the calling thread, too, gives its capabilities up once all
    /// sockets are open.
    pub is_last: bool,
}

/// The slowest engine, in frames per second, for which [`LoadPlan::bursts`] finds room.
pub const UNREAD_PPS_MIN: u64 = 25_000;

impl LoadPlan {
    /// `config` at `rate`, evenly spaced, for `limits`; one thread, no warm-up.
    pub fn paced(config: LoadConfig, rate: Rate, limits: Limits) -> LoadPlan {
        LoadPlan::new(config, Drive::Paced { rate, pattern: Pattern::Constant }, limits)
    }

    /// `config` as `drive` says, for `limits`; one thread, no warm-up.
    ///
    /// A receive ring whose number of blocks is left open gets 16 MiB: a generator that is kept from
    /// its CPU for a while must not be the one that loses the echoes.
    pub fn new(mut config: LoadConfig, drive: Drive, limits: Limits) -> LoadPlan {
        if config.rx_ring.blocks.is_none() {
            let block_bytes = *config.rx_ring.block_bytes.get_or_insert(128 << 10);
            config.rx_ring.blocks = Some(((16 << 20) / block_bytes.max(1)).max(2));
        }
        LoadPlan {
            config,
            drive,
            line_bits_per_second: None,
            limits,
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
            evidence_max: 0,
            interval: Duration::from_secs(1),
            is_last: false,
        }
    }

    /// Bursts of at most `frames` frames of `config` ([`Load::fill`](super::Load::fill)). A V3 ring holds
    /// all their echoes unread, from an engine that sends at least [`UNREAD_PPS_MIN`] a second: a slower
    /// one has more blocks retired half empty.
    pub fn bursts(mut config: LoadConfig, frames: u64) -> LoadPlan {
        const BLOCK_BYTES: usize = 64 << 10;
        const RETIRE_MS: u32 = 10;
        let frames_a_timeout = UNREAD_PPS_MIN as usize * RETIRE_MS as usize / 1000;
        let longest = config.sizes.all().max().map_or(0, FrameSize::socket_bytes);
        let each = (rx_mac_offset(RingVersion::V3) + longest).next_multiple_of(8);
        let full = (frames as usize * each).div_ceil(BLOCK_BYTES - each);
        let half_empty = (frames as usize).div_ceil(frames_a_timeout);
        config.rx_ring.block_bytes = Some(BLOCK_BYTES);
        config.rx_ring.blocks = Some(full + half_empty + 2);
        config.rx_ring.retire_ms = Some(RETIRE_MS);
        LoadPlan {
            drain: Duration::from_secs(60),
            // They wait for whoever collects them.
            late_after: Duration::MAX,
            rx: Some(RxChoice::V3),
            ..LoadPlan::paced(config, Rate::Max, Limits::frames(frames))
        }
    }

    /// The exact rate; `None` where there is no schedule.
    pub fn frame_rate(&self) -> Result<Option<FrameRate>> {
        let Drive::Paced { rate, .. } = self.drive else { return Ok(None) };
        let mean = self.config.sizes.mean().ok_or_else(|| {
            Error::Usage(format!("frame sizes {}: no size is in it", self.config.sizes))
        })?;
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
    pub fn tx_half(&self) -> TxChoice {
        self.tx.unwrap_or(TxChoice::ANYWHERE)
    }

    /// The receive half that is used. Where nothing else is asked for it is V3 for a flood, which it
    /// takes most cheaply, and else V2: V3 hands a frame over up to a retire timeout after its
    /// arrival, which would be most of its latency, and `recv` sees no tags.
    pub fn rx_half(&self) -> RxChoice {
        let is_flood = matches!(self.drive, Drive::Paced { rate: Rate::Max, .. });
        self.rx.unwrap_or(if is_flood { RxChoice::V3 } else { RxChoice::V2 })
    }

    /// Checks what can be checked without a socket; a usage error says what is wrong.
    pub fn check(&self) -> Result<Encapsulation> {
        let usage = |text: &str| Err(Error::Usage(text.into()));
        self.config.check()?;
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
        if let Threads::Apart { senders: 0 | 65.. } = self.threads {
            return usage("1 to 64 threads can send");
        }
        if self.rx_half() == RxChoice::Recv && !self.config.carriage.tags.is_empty() {
            return usage("the receive half recv sees no VLAN tags: take v2 or v3");
        }
        if self.breakdown && self.rx_half() == RxChoice::Recv {
            return usage(
                "a breakdown needs kernel stamps, which the receive half recv does not have",
            );
        }
        self.config.carriage.encapsulation()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ethernet::MacAddress;

    #[test]
    fn a_schedule_with_more_frames_than_numbers_is_refused() {
        let (here, there) = (MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2]));
        let config = LoadConfig::new(1, 1500, here, there);
        let hours = |hours: u64| Limits::lasting(Duration::from_secs(3600 * hours));
        let line = Rate::frames(14_880_952);
        let check = |rate, limits| LoadPlan::paced(config.clone(), rate, limits).check();
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
