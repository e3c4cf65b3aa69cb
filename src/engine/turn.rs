//! One turn: one batch from the receive half, decided over, edited and handed to the TX half.

use std::io;
use std::time::Duration;

use super::half::{RxBatch, RxHalf, Settled, TxBatch, TxHalf};
use super::padding::frame_bytes;
use super::reply::{Reply, ReplyRules};
use super::storm::StormGuard;
use crate::ring::block::Malformed;
use crate::stats::counters::EngineCounters;
use crate::stats::drops::DropReason;
use crate::stats::latency::Latency;
use crate::sys::clock::Clock;
use crate::sys::failure::is_queue_full;

/// What to do with an answer for which the TX half has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Drop it at once.
    Drop,
    /// Wait this long for room, then drop it. Meanwhile the receive ring fills, and the kernel counts
    /// its drops.
    Wait(Duration),
}

/// How long a full TX half is left alone between two kicks: epoll does not tell of room (EPOLL-2).
const PAUSE_WHEN_FULL: Duration = Duration::from_micros(50);

/// What a worker keeps from turn to turn.
#[derive(Debug)]
pub struct TurnState {
    /// What is answered.
    pub rules: ReplyRules,
    /// What happens when the TX half is full.
    pub when_full: WhenFull,
    /// Limits answers that may be part of a loop.
    pub storm: StormGuard,
    /// What happened so far.
    pub counters: EngineCounters,
    /// Latencies since the last snapshot; `None` if they are not measured.
    pub latency: Option<Box<Latency>>,
    /// Sampling interval of latency, in answered frames.
    every: u32,
    /// Answers left until the next sample.
    until_next: u32,
    /// Stamps of the batch's answered frames; never grows beyond its first capacity.
    stamps: Vec<u64>,
}

/// The frames whose latency the engine keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyMode {
    /// Of none; the receive path need not stamp either.
    Off,
    /// Of every [`SAMPLE_EVERY`]th answered frame.
    Sampled,
    /// Of every answered frame.
    On,
}

/// Answered frames for each one whose latency [`LatencyMode::Sampled`] keeps: a prime, so that no
/// pattern of block or batch sizes falls in step with it.
pub const SAMPLE_EVERY: u32 = 61;

impl LatencyMode {
    fn every(self) -> Option<u32> {
        match self {
            LatencyMode::Off => None,
            LatencyMode::Sampled => Some(SAMPLE_EVERY),
            LatencyMode::On => Some(1),
        }
    }
}

impl TurnState {
    /// A state at the beginning of a run.
    pub fn new(
        rules: ReplyRules,
        when_full: WhenFull,
        storm: StormGuard,
        latency: LatencyMode,
    ) -> TurnState {
        TurnState {
            rules,
            when_full,
            storm,
            counters: EngineCounters::default(),
            latency: latency.every().map(|_| Box::default()),
            every: latency.every().unwrap_or(1),
            until_next: 0,
            stamps: Vec::new(),
        }
    }

    /// Makes room for batches of `frames` frames, so that no turn allocates.
    pub fn reserve(&mut self, frames: usize) {
        self.stamps.reserve_exact(frames);
    }
}

/// Handles one batch. Returns when it was handed over (nanoseconds on `CLOCK_REALTIME`, the only
/// clock read of the batch), or `None` if nothing had arrived.
pub fn turn<R: RxHalf, T: TxHalf>(
    rx: &mut R,
    tx: &mut T,
    state: &mut TurnState,
    clock: &impl Clock,
) -> io::Result<Option<u64>> {
    let TurnState { rules, when_full, storm, counters, latency, every, until_next, stamps } = state;
    let Some(mut batch) = rx.lend()? else { return Ok(None) };
    stamps.clear();
    storm.begin_batch();
    let first_kept = *until_next as usize;
    let mut answers = 0;
    let answer_bytes_max = tx.answer_bytes_max();
    let mut out = tx.begin();
    let mut room_wait = RoomWait::new(*when_full, clock);
    for item in batch.frames() {
        let mut frame = match item {
            Ok(frame) => frame,
            Err(Malformed { frames }) => {
                counters.received += u64::from(frames);
                counters.drops.add(DropReason::Malformed, frames.into());
                continue;
            }
        };
        counters.received += 1;
        counters.received_bytes += u64::from(frame.meta.wire_bytes);
        let frame_bytes = frame_bytes(&frame.meta, frame.bytes());
        if frame_bytes < frame.bytes().len() {
            frame.cut(frame_bytes);
        }
        let (edit, changed) = match rules.decide(&frame.meta, frame.bytes()) {
            Reply::Echo { edit, changed } => (edit, changed),
            Reply::Drop(reason) => {
                counters.drops.add(reason, 1);
                continue;
            }
        };
        if frame.bytes().len() + edit.growth() > answer_bytes_max {
            counters.drops.add(DropReason::TooLong, 1);
            continue;
        }
        if let Err(reason) = storm.check(frame.bytes(), &edit, changed, || clock.monotonic_ns()) {
            counters.drops.add(reason, 1);
            continue;
        }
        if !out.has_room() && !room_wait.make_room(&mut out, counters) {
            counters.drops.add(DropReason::TxFull, 1);
            continue;
        }
        answers += 1;
        if latency.is_some() {
            if *until_next == 0 {
                *until_next = *every;
                stamps.push(frame.meta.stamp_ns);
            }
            *until_next -= 1;
        }
        out.put(frame, &edit);
    }
    let handed_over_ns = clock.realtime_ns();
    if let Err(error) = out.kick() {
        counters.send_refusals += 1;
        if is_queue_full(&error) {
            room_wait.send_rest(&mut out, counters);
        }
    }
    let given_up = out.finish();
    counters.drops.add(DropReason::Unsent, given_up);
    drop(batch);
    counters.batches += 1;
    if let Some(latency) = latency {
        // Answers are given up from the newest.
        let sent = answers - given_up as usize;
        let sent = sent.saturating_sub(first_kept).div_ceil(*every as usize);
        stamps[..sent].iter().for_each(|&stamp| latency.record_between(stamp, handed_over_ns));
    }
    settle(tx, counters);
    counters.assert_conserved(tx.in_flight());
    Ok(Some(handed_over_ns))
}

/// Counts what the kernel has taken, and what it will never take.
pub fn settle<T: TxHalf>(tx: &mut T, counters: &mut EngineCounters) {
    if count(tx.settle(), counters) {
        // Cannot happen with PACKET_LOSS on; if it does, the next frame overwrites the slot.
        let withdrawn = tx.withdraw();
        counters.drops.add(DropReason::Unsent, withdrawn);
        count(tx.settle(), counters);
    }
}

/// Counts what was settled; true if the kernel is stuck.
#[inline]
fn count(settled: Settled, counters: &mut EngineCounters) -> bool {
    let Settled { frames, bytes, refused, dropped, dropped_bytes: _, stuck } = settled;
    counters.forwarded += frames;
    counters.forwarded_bytes += bytes;
    counters.drops.add(DropReason::Refused, refused);
    counters.drops.add(DropReason::DriverDropped, dropped);
    stuck
}

/// How long one batch may wait for room.
struct RoomWait<'c, C> {
    clock: &'c C,
    limit_ns: u64,
    /// When the batch began to wait, on `CLOCK_MONOTONIC`.
    since_ns: Option<u64>,
    /// Answers dropped since the last kick that made no room.
    dropped: u32,
}

/// Answers that are dropped for want of room between two tries to make some, so that a full queue
/// does not cost a system call a frame.
const DROPS_A_KICK: u32 = 64;

impl<'c, C: Clock> RoomWait<'c, C> {
    fn new(when_full: WhenFull, clock: &'c C) -> RoomWait<'c, C> {
        let limit_ns = match when_full {
            WhenFull::Drop => 0,
            WhenFull::Wait(patience) => patience.as_nanos() as u64,
        };
        RoomWait { clock, limit_ns, since_ns: None, dropped: 0 }
    }

    /// Sleeps a little; false when the time to wait is over.
    fn pause(&mut self) -> bool {
        if self.limit_ns == 0 {
            return false;
        }
        let now_ns = self.clock.monotonic_ns();
        let since_ns = *self.since_ns.get_or_insert(now_ns);
        if now_ns.saturating_sub(since_ns) >= self.limit_ns {
            return false;
        }
        self.clock.sleep(PAUSE_WHEN_FULL);
        true
    }

    /// Kicks until there is room or this batch has waited long enough.
    #[cold]
    fn make_room<'rx>(
        &mut self,
        out: &mut impl TxBatch<'rx>,
        counters: &mut EngineCounters,
    ) -> bool {
        if self.dropped > 0 && self.dropped < DROPS_A_KICK {
            self.dropped += 1;
            return false;
        }
        loop {
            let refusal = out.kick().err();
            counters.send_refusals += u64::from(refusal.is_some());
            if out.has_room() {
                return true;
            }
            // A full queue passes; a link that is down or gone is not waited for.
            if refusal.is_some_and(|error| !is_queue_full(&error)) || !self.pause() {
                self.dropped = 1;
                return false;
            }
        }
    }

    /// Kicks until everything is taken or this batch has waited long enough; what is left then
    /// stays queued or is given up, as the half has it.
    #[cold]
    fn send_rest<'rx>(&mut self, out: &mut impl TxBatch<'rx>, counters: &mut EngineCounters) {
        while self.pause() {
            let Err(error) = out.kick() else { return };
            counters.send_refusals += 1;
            if !is_queue_full(&error) {
                return;
            }
        }
    }
}
