//! How a pool of workers is stopped, paused and told of changes.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock};

use crate::sys::epoll::Waker;

/// Shared by the workers of one pool. Workers read it once a batch and, without a limit on the
/// number of frames, never write it while they run.
#[derive(Debug, Default)]
pub struct Control {
    stop: AtomicBool,
    paused: AtomicBool,
    mtu: AtomicUsize,
    /// Six bytes, the first in the lowest bits.
    mac: AtomicU64,
    /// Frames that may still be received over all workers; `None` without a limit.
    left: Option<AtomicU64>,
    parked: Mutex<usize>,
    changed: Condvar,
    wakers: OnceLock<Vec<Waker>>,
}

impl Control {
    /// A control for an interface of this MTU and address and a run that ends after `limit` frames.
    pub fn new(mtu: usize, mac: [u8; 6], limit: Option<u64>) -> Control {
        Control {
            mtu: AtomicUsize::new(mtu),
            mac: AtomicU64::new(packed(mac)),
            left: limit.map(AtomicU64::new),
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
        let _parked = self.parked.lock().expect("no worker panics with the lock held");
        self.stop.store(true, Ordering::Relaxed);
        self.changed.notify_all();
        self.wake_all();
    }

    /// Whether the workers shall end.
    #[inline]
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The interface's MTU.
    #[inline]
    pub fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed)
    }

    /// Tells the workers of a new MTU.
    pub fn set_mtu(&self, mtu: usize) {
        self.mtu.store(mtu, Ordering::Relaxed);
        self.wake_all();
    }

    /// The interface's own address.
    #[inline]
    pub fn mac(&self) -> [u8; 6] {
        let [a, b, c, d, e, f, _, _] = self.mac.load(Ordering::Relaxed).to_le_bytes();
        [a, b, c, d, e, f]
    }

    /// Tells the workers of a new address.
    pub fn set_mac(&self, mac: [u8; 6]) {
        self.mac.store(packed(mac), Ordering::Relaxed);
        self.wake_all();
    }

    /// Counts received frames against the limit, once a batch; stops the pool when it is reached.
    #[inline]
    pub fn count_received(&self, frames: u64) {
        let Some(left) = &self.left else { return };
        let before = left
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
        self.paused.store(true, Ordering::Relaxed);
        self.wake_all();
        let parked = self.parked.lock().expect("no worker panics with the lock held");
        let still_running = |parked: &mut usize| *parked < workers && !self.stopping();
        drop(self.changed.wait_while(parked, still_running));
    }

    /// Lets parked workers go on.
    pub fn resume(&self) {
        let _parked = self.parked.lock().expect("no worker panics with the lock held");
        self.paused.store(false, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Whether the workers shall park.
    #[inline]
    pub fn pausing(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Counts the calling worker as parked for ever, because it has ended: nobody waits for it.
    pub fn retire(&self) {
        let mut parked = self.parked.lock().expect("no worker panics with the lock held");
        *parked += 1;
        self.changed.notify_all();
    }

    /// Parks the calling worker until it may go on.
    #[cold]
    pub fn park(&self) {
        let mut parked = self.parked.lock().expect("no worker panics with the lock held");
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
