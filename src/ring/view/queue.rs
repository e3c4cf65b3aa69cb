//! The rings of an AF_XDP socket: one side produces entries, the other consumes them, and two 32-bit
//! words that only ever count on say how far each has come.
//!
//! An entry is ours to write from its consumption until our index that covers it is published, and
//! ours to read from the publication of the other side's index until ours says that it is
//! consumed. Each side keeps a copy of the other's index and reads the shared word only when
//! the copy says that nothing is left, so both words are touched once a batch.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Memory;

/// What a ring is made of.
pub trait Entry: sealed::Entry {}

impl Entry for u64 {}
impl Entry for Descriptor {}

mod sealed {
    /// Types without padding for which any bytes are a valid value.
    pub trait Entry: Copy {}
    impl Entry for u64 {}
    impl Entry for super::Descriptor {}
}

/// A frame in a receive or TX ring (`struct xdp_desc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Descriptor {
    /// Where in the UMEM its first byte is.
    pub address: u64,
    /// Its bytes, without FCS.
    pub length: u32,
    /// Flags of more than one buffer a frame; 0 here.
    pub options: u32,
}

/// How a ring lies in its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLayout {
    /// Byte of the producer's index.
    pub producer: usize,
    /// Byte of the consumer's index.
    pub consumer: usize,
    /// Byte of the flag word.
    pub flags: usize,
    /// Byte of the first entry.
    pub entries_at: usize,
    /// Number of entries, a power of two.
    pub entries: u32,
}

#[derive(Debug)]
struct Shared<E> {
    memory: Arc<Memory>,
    layout: QueueLayout,
    entry: PhantomData<E>,
}

impl<E: Entry> Shared<E> {
    /// Panics where the ring would not lie within its memory or words would not be aligned.
    fn new(memory: Arc<Memory>, layout: QueueLayout) -> Shared<E> {
        let QueueLayout { producer, consumer, flags, entries_at, entries } = layout;
        assert!(entries.is_power_of_two() && entries <= 1 << 30, "{entries} entries");
        let end = entries_at + entries as usize * size_of::<E>();
        assert!(end <= memory.length(), "a ring must lie within its memory");
        for word in [producer, consumer, flags] {
            assert!(word + 4 <= entries_at, "index words come before the entries");
            assert!(word.is_multiple_of(4), "index words must be aligned");
        }
        assert!(entries_at.is_multiple_of(align_of::<E>()), "entries must be aligned");
        Shared { memory, layout, entry: PhantomData }
    }

    #[inline]
    fn word(&self, at: usize) -> &AtomicU32 {
        // SAFETY: new() checked that the three words lie within the memory, which the Arc keeps alive.
        let word = unsafe { self.memory.base().add(at) }.cast::<u32>();
        // SAFETY: new() checked the alignment; the mapping begins on a page. No slice covers the
        // words, and the other side accesses each as one aligned 32-bit word (struct xdp_ring).
        unsafe { AtomicU32::from_ptr(word.as_ptr()) }
    }

    #[inline]
    fn entry(&self, position: u32) -> *mut E {
        let index = (position & (self.layout.entries - 1)) as usize;
        let at = self.layout.entries_at + index * size_of::<E>();
        // SAFETY: new() checked that all entries lie within the memory; the index is below their
        // number.
        unsafe { self.memory.base().add(at) }.cast::<E>().as_ptr()
    }
}

/// The side that adds entries.
#[derive(Debug)]
pub struct Producer<E> {
    shared: Shared<E>,
    /// The next entry to write.
    next: u32,
    /// Entries before this one are the other side's.
    published: u32,
    /// Entries before this one have been consumed, as far as we looked.
    consumed: u32,
}

impl<E: Entry> Producer<E> {
    /// The producing side of a ring that is still empty. Kept inside `ring`, which makes one for each
    /// ring.
    pub(in crate::ring) fn new(memory: Arc<Memory>, layout: QueueLayout) -> Producer<E> {
        let shared = Shared::new(memory, layout);
        Producer { shared, next: 0, published: 0, consumed: 0 }
    }

    /// Number of entries that the ring holds.
    pub fn entries(&self) -> u32 {
        self.shared.layout.entries
    }

    /// Where the next entry goes: counts on without an end, modulo 2^32.
    #[inline]
    pub fn next(&self) -> u32 {
        self.next
    }

    /// The position behind the last entry that the other side knows of.
    #[inline]
    pub fn published(&self) -> u32 {
        self.published
    }

    /// Whether there is room for an entry; reads the consumer's index only if there seems to be
    /// none.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        if self.next.wrapping_sub(self.consumed) < self.entries() {
            return true;
        }
        self.load_consumed();
        self.next.wrapping_sub(self.consumed) < self.entries()
    }

    /// Writes an entry, which the other side does not see yet. Panics without room.
    #[inline]
    pub fn push(&mut self, entry: E) {
        assert!(self.has_room(), "push only with room");
        // SAFETY: the entry is free: the consumer's index, read with acquire, says that the other
        // side is done with it (xskq_cons_release), and it reads it again only when our index
        // covers it, which it does not yet.
        unsafe { self.shared.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
    }

    /// Tells the other side of the entries before `position`, with release: what we wrote is seen
    /// with them. Pairs with `smp_load_acquire` in `__xskq_cons_peek`.
    #[inline]
    pub fn publish_until(&mut self, position: u32) {
        assert!(
            position.wrapping_sub(self.published) <= self.unpublished(),
            "only what is written"
        );
        if position != self.published {
            self.published = position;
            self.shared.word(self.shared.layout.producer).store(position, Ordering::Release);
        }
    }

    /// Tells the other side of everything.
    #[inline]
    pub fn publish(&mut self) {
        self.publish_until(self.next);
    }

    /// Entries that the other side does not know of.
    #[inline]
    pub fn unpublished(&self) -> u32 {
        self.next.wrapping_sub(self.published)
    }

    /// Forgets the entries that the other side does not know of.
    pub fn take_back_unpublished(&mut self) {
        self.next = self.published;
    }

    /// The position behind the last entry that the other side has consumed, loaded with acquire.
    /// Pairs with `smp_store_release` in `__xskq_cons_release`. An index that cannot be is not
    /// believed.
    #[inline]
    pub fn load_consumed(&mut self) -> u32 {
        let seen = self.shared.word(self.shared.layout.consumer).load(Ordering::Acquire);
        let outstanding = self.published.wrapping_sub(self.consumed);
        if seen.wrapping_sub(self.consumed) <= outstanding {
            self.consumed = seen;
        }
        self.consumed
    }

    /// Writes another entry over one that was published and not consumed.
    ///
    /// Only where the other side reads entries in a system call of this thread, as the kernel does
    /// with the TX ring of a socket in copy mode (`xsk_sendmsg`): else it may be reading it now. Kept
    /// inside `ring`. Panics if the entry is no such one.
    pub(in crate::ring) fn amend(&mut self, position: u32, entry: E) {
        let outstanding = self.published.wrapping_sub(self.consumed);
        assert!(position.wrapping_sub(self.consumed) < outstanding, "only what is outstanding");
        // SAFETY: the caller vouches that the other side reads entries only within calls of this
        // thread, which exclusively borrows this side, so nobody reads it now.
        unsafe { self.shared.entry(position).write(entry) };
    }

    /// The flag word.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.shared.word(self.shared.layout.flags).load(Ordering::Relaxed)
    }
}

/// The side that takes entries.
#[derive(Debug)]
pub struct Consumer<E> {
    shared: Shared<E>,
    /// The next entry to read.
    next: u32,
    /// Entries before this one may be written over.
    released: u32,
    /// Entries before this one are known to be there.
    produced: u32,
}

impl<E: Entry> Consumer<E> {
    /// The consuming side of a ring that is still empty. Kept inside `ring`, as for the producer.
    pub(in crate::ring) fn new(memory: Arc<Memory>, layout: QueueLayout) -> Consumer<E> {
        Consumer { shared: Shared::new(memory, layout), next: 0, released: 0, produced: 0 }
    }

    /// Entries that can be taken; reads the producer's index, with acquire, only if none seems to
    /// be left. Pairs with `smp_store_release` in `xskq_prod_submit`. More than the ring holds is
    /// not believed.
    #[inline]
    pub fn available(&mut self) -> u32 {
        if self.next == self.produced {
            let seen = self.shared.word(self.shared.layout.producer).load(Ordering::Acquire);
            if seen.wrapping_sub(self.next) <= self.shared.layout.entries {
                self.produced = seen;
            }
        }
        self.produced.wrapping_sub(self.next)
    }

    /// Takes the next entry. The other side learns of it by [`Consumer::release`].
    #[inline]
    pub fn pop(&mut self) -> Option<E> {
        if self.available() == 0 {
            return None;
        }
        // SAFETY: the producer's index, read with acquire, covers the entry, and the other side
        // writes it again only when our index says that we are done with it (xskq_prod_reserve).
        // Any bytes are an entry.
        let entry = unsafe { self.shared.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Puts the entry that was taken last back, if it was not released. Panics if nothing was taken
    /// since.
    #[cfg(feature = "fake-kernel")]
    pub(in crate::ring) fn put_back(&mut self) {
        assert_ne!(self.next, self.released, "nothing was taken");
        self.next = self.next.wrapping_sub(1);
    }

    /// Tells the other side that what was taken may be written over, with release: our reads of it are
    /// done. Pairs with the kernel's read of the consumer index in `xskq_prod_nb_free`.
    #[inline]
    pub fn release(&mut self) {
        if self.next != self.released {
            self.released = self.next;
            self.shared.word(self.shared.layout.consumer).store(self.next, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::fake::memory;

    const LAYOUT: QueueLayout =
        QueueLayout { producer: 0, consumer: 64, flags: 128, entries_at: 192, entries: 4 };

    fn pair() -> (Producer<u64>, Consumer<u64>) {
        let memory = self::memory(4096);
        (Producer::new(Arc::clone(&memory), LAYOUT), Consumer::new(memory, LAYOUT))
    }

    #[test]
    fn what_is_published_is_taken_in_order_and_makes_room_when_released() {
        let (mut producer, mut consumer) = pair();
        for round in 0..9 {
            (0..4).for_each(|n| producer.push(10 * round + n));
            assert!(!producer.has_room());
            assert_eq!(consumer.pop(), None, "nothing was published");
            producer.publish_until(producer.published().wrapping_add(3));
            assert_eq!(consumer.available(), 3);
            producer.publish();
            let taken: Vec<u64> = std::iter::from_fn(|| consumer.pop()).collect();
            assert_eq!(taken, (0..4).map(|n| 10 * round + n).collect::<Vec<u64>>());
            assert!(!producer.has_room(), "nothing was released");
            consumer.release();
            assert!(producer.has_room());
            assert_eq!(producer.load_consumed(), 4 * (round as u32 + 1));
        }
    }

    #[test]
    fn what_was_not_published_can_be_taken_back_and_what_was_can_be_amended() {
        let (mut producer, mut consumer) = pair();
        producer.push(1);
        producer.publish();
        producer.push(2);
        producer.take_back_unpublished();
        producer.amend(0, 3);
        producer.push(4);
        producer.publish();
        assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Some(3), Some(4), None));
    }

    #[test]
    #[should_panic(expected = "outstanding")]
    fn what_was_not_published_cannot_be_amended() {
        let (mut producer, _) = pair();
        producer.push(1);
        producer.amend(0, 3);
    }

    #[test]
    fn indices_that_cannot_be_are_not_believed() {
        let (mut producer, mut consumer) = pair();
        producer.push(1);
        producer.publish();
        producer.shared.word(LAYOUT.consumer).store(2, Ordering::Release);
        assert_eq!(producer.load_consumed(), 0);
        producer.shared.word(LAYOUT.producer).store(5, Ordering::Release);
        assert_eq!(consumer.available(), 0);
        producer.shared.word(LAYOUT.producer).store(4, Ordering::Release);
        assert_eq!(consumer.available(), 4);
    }

    #[test]
    #[should_panic(expected = "within its memory")]
    fn a_ring_larger_than_its_memory_is_refused() {
        let layout = QueueLayout { entries: 1024, ..LAYOUT };
        Producer::<u64>::new(memory(4096), layout);
    }
}
