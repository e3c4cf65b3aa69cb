//! The TX ring of an AF_XDP socket, and what became of each frame that was posted in it.

use std::io;

use crate::ring::slots::Settled;
use crate::ring::view::queue::{Descriptor, Producer};
use crate::sys::failure::EBUSY;
use crate::sys::xdp::{KICK_FRAMES_MAX, NEED_WAKEUP};

/// What is to be made of a posted frame when the kernel has consumed its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It was sent.
    Sent,
    /// The driver dropped it.
    Dropped,
    /// It was withdrawn before; the descriptor is void and the kernel refuses it (XDP-4).
    Withdrawn,
}

#[derive(Clone, Copy, Debug)]
struct Posted {
    address: u64,
    length: u32,
    fate: Fate,
}

/// The TX ring. It publishes at most [`KICK_FRAMES_MAX`] descriptors per kick.
///
/// With more published descriptors, every kick of a socket in copy mode would end with EAGAIN, because
/// of its budget or of a full queue. With this limit EAGAIN always means a full queue, and unpublished
/// descriptors can still be taken back (XDP-2).
#[derive(Debug)]
pub(super) struct TxQueue {
    ring: Producer<Descriptor>,
    /// By ring slot, so that no shared word is read back.
    posted: Box<[Posted]>,
    /// The first position whose fate was not counted.
    settled: u32,
    /// The first position that the kernel is not known to have consumed.
    consumed: u32,
    /// Descriptors in view of the kernel at a time.
    window: u32,
    zero_copy: bool,
    in_flight: u64,
    /// Void descriptors that the kernel has not passed.
    voids: u32,
    /// Consumed and not told yet.
    taken: Settled,
    /// An address that no UMEM has, so that the kernel refuses the descriptor.
    nowhere: u64,
}

impl TxQueue {
    /// The queue over a TX ring, of a UMEM that ends at `nowhere`.
    pub fn new(ring: Producer<Descriptor>, zero_copy: bool, nowhere: u64) -> TxQueue {
        let nothing = Posted { address: nowhere, length: 0, fate: Fate::Withdrawn };
        let entries = ring.entries();
        TxQueue {
            posted: vec![nothing; entries as usize].into(),
            settled: 0,
            consumed: 0,
            window: if zero_copy { entries } else { KICK_FRAMES_MAX.min(entries) },
            zero_copy,
            in_flight: 0,
            voids: 0,
            taken: Settled::default(),
            nowhere,
            ring,
        }
    }

    /// Whether [`TxQueue::post`] may be called.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        if self.is_table_full() {
            // Positions are kept until their fate is counted.
            self.update_consumed();
            self.count();
        }
        !self.is_table_full() && self.ring.has_room()
    }

    #[inline]
    fn is_table_full(&self) -> bool {
        self.ring.next().wrapping_sub(self.settled) >= self.ring.entries()
    }

    /// Posts a frame, to be taken at the next kick.
    #[inline]
    pub fn post(&mut self, address: u64, length: u32) {
        let slot = self.slot(self.ring.next());
        self.posted[slot] = Posted { address, length, fate: Fate::Sent };
        self.ring.push(Descriptor { address, length, options: 0 });
        self.in_flight += 1;
    }

    /// Posted frames that were neither settled nor withdrawn.
    #[inline]
    pub fn in_flight(&self) -> u64 {
        self.in_flight + self.taken.frames + self.taken.dropped
    }

    /// Posted frames that the kernel is not known to have consumed, nor withdrawn.
    pub fn unconsumed(&self) -> u64 {
        self.in_flight
    }

    /// Has the kernel send what was posted: `wake` is the system call. Ends when all is taken, or with
    /// the error that says why it is not.
    #[inline]
    pub fn kick(&mut self, mut wake: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        if self.zero_copy {
            self.ring.publish();
            // Without the flag the driver is at work and finds the descriptors by itself.
            let sleeps = self.ring.flags() & NEED_WAKEUP != 0;
            return if sleeps && self.in_flight > 0 { wake() } else { Ok(()) };
        }
        // A void descriptor is passed without a sign: the kernel tells of it only when it has come to the
        // end (XDP-3).
        let mut silent = 0;
        loop {
            let outstanding = self.ring.published().wrapping_sub(self.consumed);
            let published = self.window.saturating_sub(outstanding).min(self.ring.unpublished());
            self.ring.publish_until(self.ring.published().wrapping_add(published));
            if self.ring.published() == self.consumed {
                return Ok(());
            }
            let before = self.consumed;
            let mut result = wake();
            self.update_consumed();
            if is_busy(&result) {
                self.note_drop(before);
                result = Ok(());
            }
            silent = if self.consumed == before { silent + 1 } else { 0 };
            match result {
                Ok(()) if silent <= self.voids => {}
                Err(error) if is_full(&error) && silent == 0 => {}
                result => return result,
            }
        }
    }

    /// Learns from the consumer's index how far the kernel has come.
    #[inline]
    fn update_consumed(&mut self) {
        let seen = self.ring.load_consumed();
        self.advance_consumed(seen);
    }

    /// Learns that the kernel has consumed what is before `position`. Its own index may lag behind: it
    /// publishes that at the end of a kick that sent something (before Linux 6.17 not even then), and
    /// when it finds the ring empty.
    #[inline]
    fn advance_consumed(&mut self, position: u32) {
        let ahead = position.wrapping_sub(self.consumed);
        if ahead <= self.ring.published().wrapping_sub(self.consumed) {
            self.consumed = position;
        }
    }

    /// The kick that stood at position `before` ended with EBUSY: the last frame that it consumed was
    /// dropped. The kernel's index shows that frame only if it sent others before; else it is the
    /// first one that is not void.
    #[cold]
    fn note_drop(&mut self, before: u32) {
        if self.consumed == before {
            let mut first = before;
            while self.posted[self.slot(first)].fate == Fate::Withdrawn
                && first != self.ring.published()
            {
                first = first.wrapping_add(1);
            }
            self.advance_consumed(first.wrapping_add(1));
        }
        let slot = self.slot(self.consumed.wrapping_sub(1));
        if self.posted[slot].fate == Fate::Sent {
            self.posted[slot].fate = Fate::Dropped;
        }
    }

    /// Notes that `frames` were completed since the beginning, modulo 2^32: the kernel has consumed at
    /// least that number of descriptors.
    #[inline]
    pub fn note_completed(&mut self, frames: u32) {
        self.advance_consumed(frames);
    }

    /// What the kernel has taken, and the driver dropped, since the last call.
    #[inline]
    pub fn settle(&mut self) -> Settled {
        if self.settled != self.ring.published() {
            self.update_consumed();
            self.count();
        }
        std::mem::take(&mut self.taken)
    }

    /// Counts the fates of what was consumed.
    #[inline]
    fn count(&mut self) {
        while self.settled != self.consumed {
            let Posted { length, fate, .. } = self.posted[self.slot(self.settled)];
            let bytes = u64::from(length);
            match fate {
                Fate::Sent => {
                    self.taken.frames += 1;
                    self.taken.bytes += bytes;
                    self.in_flight -= 1;
                }
                Fate::Dropped => {
                    self.taken.dropped += 1;
                    self.taken.dropped_bytes += bytes;
                    self.in_flight -= 1;
                }
                Fate::Withdrawn => self.voids -= 1,
            }
            self.settled = self.settled.wrapping_add(1);
        }
    }

    /// Takes back every frame that the kernel has not consumed, gives their addresses to `free`, and
    /// returns how many they were. They are not sent by any later kick.
    ///
    /// In zero-copy mode the driver may read published descriptors at any time: those frames count as
    /// taken.
    pub fn withdraw(&mut self, mut free: impl FnMut(u64)) -> u64 {
        self.update_consumed();
        self.count();
        let mut withdrawn = 0;
        let mut position = self.consumed;
        while position != self.ring.next() {
            let slot = self.slot(position);
            let is_published = position.wrapping_sub(self.consumed)
                < self.ring.published().wrapping_sub(self.consumed);
            let is_void = self.posted[slot].fate == Fate::Withdrawn;
            if is_published && self.zero_copy {
                self.advance_consumed(position.wrapping_add(1));
            } else if !is_void {
                free(self.posted[slot].address);
                withdrawn += 1;
                if is_published {
                    self.posted[slot].fate = Fate::Withdrawn;
                    self.voids += 1;
                    let void = Descriptor { address: self.nowhere, length: 0, options: 0 };
                    self.ring.amend(position, void);
                }
            }
            position = position.wrapping_add(1);
        }
        self.ring.take_back_unpublished();
        self.in_flight -= withdrawn;
        self.count();
        withdrawn
    }

    #[inline]
    fn slot(&self, position: u32) -> usize {
        (position & (self.ring.entries() - 1)) as usize
    }
}

fn is_busy(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(|error| error.raw_os_error() == Some(EBUSY))
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
