//! How a pool of workers is stopped, paused and notified of changes.
//!
//! # No shared cache line is written on the hot path
//!
//! A worker that writes a cache line slows down every worker that reads it. No worker does so between
//! two reports:
//!
//! * [`Control`] is all that the workers of a pool share. Each batch loads `stop`, `paused`, `mtu` and
//!   `mac`, which are written only when they change. Other words have other lines: the reference
//!   counts of the `Arc` (written when a worker starts or ends), the lock and the list of wakers (at a
//!   pause and at the end). With `--count`, each batch decrements one shared counter.
//! * The halves, the [`TurnState`](super::turn::TurnState) with its counters and the reporter are
//!   moved to the worker's own stack. Their buffers are allocated by the worker's own thread.
//! * The histograms are allocated by the thread that starts the workers and go round through its hands:
//!   [`Latency`](crate::stats::latency::Latency) has whole lines to itself. Its counts are 190 KiB of
//!   their own, and at their edges, where an allocation may touch the next, stand latencies of a few
//!   nanoseconds and of 10 s.
//! * A socket and its rings belong to one worker; its `Arc` is cloned at the start only. Channels and
//!   wakers are touched once a report, at a stop or at a change.
//!
//! The kernel shares words of its own when it fills the rings: a fanout group `lb` counts its turns in
//! one word for all CPUs (`fanout_demux_lb`); `hash`, `cpu`, `qm` and `cbpf` do not.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock};

use crate::sys::epoll::Waker;

/// Shared by the workers of one pool. Workers read it once a batch and, without a limit on the
/// number of frames, never write it while they run.
#[derive(Debug, Default)]
pub struct Control {
    flags: OwnLine<Flags>,
    /// Frames that may still be received over all workers, if there is a limit.
    left: OwnLine<AtomicU64>,
    parked: OwnLine<Mutex<usize>>,
    changed: Condvar,
    wakers: OnceLock<Vec<Waker>>,
}

/// What workers read once a batch.
#[derive(Debug, Default)]
struct Flags {
    stop: AtomicBool,
    paused: AtomicBool,
    limited: bool,
    mtu: AtomicUsize,
    /// Six bytes, the first in the lowest bits.
    mac: AtomicU64,
}

/// A value that shares no cache line with what comes before or behind it: two lines of 64 bytes, which
/// adjacent-line prefetchers fetch as one.
#[derive(Debug, Default)]
#[repr(align(128))]
struct OwnLine<T>(T);

impl Control {
    /// A control for an interface of this MTU and address and a run that ends after `limit` frames.
    pub fn new(mtu: usize, mac: [u8; 6], limit: Option<u64>) -> Control {
        let flags = Flags {
            limited: limit.is_some(),
            mtu: AtomicUsize::new(mtu),
            mac: AtomicU64::new(packed(mac)),
            ..Flags::default()
        };
        Control {
            flags: OwnLine(flags),
            left: OwnLine(AtomicU64::new(limit.unwrap_or(0))),
            ..Control::default()
        }
    }

    /// Names the wakers of the workers; once.
    pub fn set_wakers(&self, wakers: Vec<Waker>) {
        let _ = self.wakers.set(wakers);
    }

    fn wake_all(&self) {
        self.wakers.get().into_iter().flatten().for_each(Waker::wake);
    }

    /// Ends all workers after the batch in hand.
    pub fn stop(&self) {
        // Under the lock, so that a worker between its check and its sleep cannot miss it.
        let _parked = self.parked.0.lock().expect("no worker panics with the lock held");
        self.flags.0.stop.store(true, Ordering::Relaxed);
        self.changed.notify_all();
        self.wake_all();
    }

    /// Whether the workers shall end.
    #[inline]
    pub fn stopping(&self) -> bool {
        self.flags.0.stop.load(Ordering::Relaxed)
    }

    /// The interface's MTU.
    #[inline]
    pub fn mtu(&self) -> usize {
        self.flags.0.mtu.load(Ordering::Relaxed)
    }

    /// Tells the workers of a new MTU.
    pub fn set_mtu(&self, mtu: usize) {
        self.flags.0.mtu.store(mtu, Ordering::Relaxed);
        self.wake_all();
    }

    /// The interface's own address.
    #[inline]
    pub fn mac(&self) -> [u8; 6] {
        let [a, b, c, d, e, f, _, _] = self.flags.0.mac.load(Ordering::Relaxed).to_le_bytes();
        [a, b, c, d, e, f]
    }

    /// Tells the workers of a new address.
    pub fn set_mac(&self, mac: [u8; 6]) {
        self.flags.0.mac.store(packed(mac), Ordering::Relaxed);
        self.wake_all();
    }

    /// Counts received frames against the limit, once a batch; stops the pool when it is reached.
    #[inline]
    pub fn count_received(&self, frames: u64) {
        if !self.flags.0.limited {
            return;
        }
        let before = self
            .left
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(frames))
            })
            .expect("the update never refuses");
        if before <= frames {
            self.stop();
        }
    }

    /// Parks all `workers` and returns when they are parked: nobody touches the rings until
    /// [`Control::resume`].
    pub fn pause(&self, workers: usize) {
        self.flags.0.paused.store(true, Ordering::Relaxed);
        self.wake_all();
        let parked = self.parked.0.lock().expect("no worker panics with the lock held");
        let still_running = |parked: &mut usize| *parked < workers && !self.stopping();
        drop(self.changed.wait_while(parked, still_running));
    }

    /// Lets parked workers go on.
    pub fn resume(&self) {
        let _parked = self.parked.0.lock().expect("no worker panics with the lock held");
        self.flags.0.paused.store(false, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Whether the workers shall park.
    #[inline]
    pub fn pausing(&self) -> bool {
        self.flags.0.paused.load(Ordering::Relaxed)
    }

    /// Counts the calling worker as parked for ever, because it has ended: nobody waits for it.
    pub fn retire(&self) {
        let mut parked = self.parked.0.lock().expect("no worker panics with the lock held");
        *parked += 1;
        self.changed.notify_all();
    }

    /// Parks the calling worker until it may go on.
    #[cold]
    pub fn park(&self) {
        let mut parked = self.parked.0.lock().expect("no worker panics with the lock held");
        *parked += 1;
        self.changed.notify_all();
        let paused = |_: &mut usize| self.pausing() && !self.stopping();
        let mut parked = self.changed.wait_while(parked, paused).expect("as above");
        *parked -= 1;
    }
}

fn packed([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    /// What is written while workers read has lines of its own, wherever the compiler puts it.
    #[test]
    fn what_workers_read_is_alone_on_its_lines() {
        const LINES: usize = align_of::<OwnLine<u8>>();
        assert_eq!(align_of::<Control>(), LINES);
        assert!(size_of::<Flags>() <= LINES);
        let lines = |offset: usize| offset / LINES;
        let flags = lines(offset_of!(Control, flags));
        let written = [
            offset_of!(Control, left),
            offset_of!(Control, parked),
            offset_of!(Control, changed),
            offset_of!(Control, wakers),
        ];
        assert!(written.iter().all(|&offset| lines(offset) != flags));
        assert_ne!(lines(offset_of!(Control, left)), lines(offset_of!(Control, parked)));
        // The counts of an Arc come before what it holds.
        let control = std::sync::Arc::new(Control::default());
        assert!((&raw const *control).addr().is_multiple_of(LINES));
        assert_eq!(align_of::<crate::stats::latency::Latency>(), LINES);
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let unlimited = Control::new(1500, [2; 6], None);
        unlimited.count_received(u64::MAX);
        assert_eq!(unlimited.left.0.load(Ordering::Relaxed), 0);
        assert!(!unlimited.stopping());
        let limited = Control::new(1500, [2; 6], Some(3));
        limited.count_received(2);
        assert!(!limited.stopping());
        limited.count_received(1);
        assert!(limited.stopping());
    }
}
