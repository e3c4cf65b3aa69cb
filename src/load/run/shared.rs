//! What senders and the receiver tell each other, without locks: written once a batch.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::thread_record::ThreadRecords;
use crate::error::{Error, Result};

/// The shared of a run.
#[derive(Debug)]
pub struct SharedState {
    /// One for each sender.
    pub senders: Box<[SenderState]>,
    /// What the receiver writes.
    pub receiver: ReceiverState,
    /// What its threads notice of their CPUs.
    pub(super) threads: ThreadRecords,
    /// What broke the run off, if something did.
    failure: Mutex<Option<Error>>,
}

/// Written by the receiver, read by senders that wait for answers.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ReceiverState {
    /// Numbers that came back so far.
    pub returned: Published,
    /// The receiver or a sender has failed: nobody needs to send any more.
    pub failed: AtomicBool,
}

/// A number that one thread writes for others; they see all that it did before.
#[derive(Debug, Default)]
pub struct Published(AtomicU64);

impl Published {
    #[inline]
    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Release);
    }

    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Written by one sender. Its frames have numbers of their own, 0, 1, 2 and so on.
#[derive(Debug)]
#[repr(align(128))]
pub struct SenderState {
    /// Numbers handed out, announced before their frames can reach the kernel; nobody has seen later ones.
    /// Whoever sees a frame of these numbers, or a departure of theirs, sees this as well: the departure's
    /// store is behind it and releases it, and the frame passed through the kernel's locks.
    pub handed_out: Published,
    /// Frames that the kernel has taken.
    pub taken: Published,
    /// The first number that is not of the warm-up, said before it is handed out; `u64::MAX` until then.
    pub measured_from: Published,
    /// The sender is done: what is handed out and not taken never will be.
    done: AtomicBool,
    /// When the newest numbers left, by number modulo the length, which is a power of two.
    departures: Box<[Departure]>,
}

/// When a frame was to leave and when it left, in nanoseconds on `CLOCK_MONOTONIC`.
#[derive(Debug, Default)]
struct Departure {
    intended_ns: Published,
    sent_ns: Published,
}

impl SharedState {
    /// A shared for `senders` senders. Each remembers the departures of its newest `departures`
    /// frames, rounded up to a power of two. All memory is touched here.
    pub fn new(senders: usize, departures: usize) -> SharedState {
        let departures = departures.next_power_of_two();
        let sender = |_| SenderState {
            handed_out: Published::default(),
            taken: Published::default(),
            measured_from: Published(AtomicU64::new(u64::MAX)),
            done: AtomicBool::new(false),
            departures: (0..departures).map(|_| Departure::default()).collect(),
        };
        SharedState {
            senders: (0..senders).map(sender).collect(),
            receiver: ReceiverState::default(),
            threads: ThreadRecords::default(),
            failure: Mutex::default(),
        }
    }

    /// What `result` holds; an error breaks the run off, and what was counted until then stands. The
    /// first one is kept.
    pub fn keep<T>(&self, result: Result<T>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(error);
        self.receiver.failed.store(true, Ordering::Release);
        None
    }

    /// What broke the run off.
    pub fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }

    /// Frames of all senders that the kernel has taken so far.
    pub fn taken(&self) -> u64 {
        self.senders.iter().map(|sender| sender.taken.get()).sum()
    }

    /// Whether all senders are done.
    pub fn all_done(&self) -> bool {
        self.senders.iter().all(|sender| sender.done.load(Ordering::Acquire))
    }
}

impl SenderState {
    /// Nothing more will be sent.
    pub fn finish(&self) {
        self.done.store(true, Ordering::Release);
    }

    /// Notes when frame `number` was to leave.
    #[inline]
    pub fn note_intended(&self, number: u64, intended_ns: u64) {
        self.departure(number).intended_ns.set(intended_ns);
    }

    /// Notes when the kernel is about to be given frame `number`.
    #[inline]
    pub fn note_sent(&self, number: u64, sent_ns: u64) {
        self.departure(number).sent_ns.set(sent_ns);
    }

    /// For the sender itself: when frame `number` was to leave.
    #[inline]
    pub fn intended_ns(&self, number: u64) -> u64 {
        self.departure(number).intended_ns.get()
    }

    /// When frame `number` was to leave and when it left; `None` once that is forgotten.
    #[inline]
    pub fn departure_of(&self, number: u64) -> Option<(u64, u64)> {
        let Departure { intended_ns, sent_ns } = self.departure(number);
        let times = (intended_ns.get(), sent_ns.get());
        // Looked at behind the times: if a later frame's were read, its number is seen as well.
        let is_remembered = self.handed_out.get() - number <= self.departures.len() as u64;
        is_remembered.then_some(times)
    }

    #[inline]
    fn departure(&self, number: u64) -> &Departure {
        &self.departures[number as usize & (self.departures.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_departures_are_forgotten_and_never_mistaken() {
        let shared = SharedState::new(1, 3);
        let sender = &shared.senders[0];
        for number in 0..5 {
            sender.handed_out.set(number + 1);
            sender.note_intended(number, 10 * number);
            sender.note_sent(number, 10 * number + 1);
        }
        assert_eq!(sender.departure_of(0), None);
        assert_eq!(sender.departure_of(1), Some((10, 11)));
        assert_eq!(sender.departure_of(4), Some((40, 41)));
        assert!(!shared.all_done());
        sender.finish();
        assert!(shared.all_done());
    }
}
