//! Sending over an AF_XDP socket: frames are reserved, filled where they are, and committed.

use std::io;
use std::sync::Arc;

use super::tx_queue::TxQueue;
use super::{QueuePair, Strays};
use crate::ring::send_rule::{self, SendRefusal};
use crate::ring::slots::{Settled, Slots};
use crate::ring::view::queue::Consumer;
use crate::ring::view::umem::{Frame, Returns, Umem, Way};

/// The sending side of an AF_XDP socket that does not receive.
///
/// Frames go out in the order of their commits. A frame cannot be written once it is committed:
///
/// ```compile_fail,E0382
/// fn late(ring: &mut linerate_core::ring::xsk::XskTransmit) {
///     let mut slot = ring.reserve().unwrap();
///     slot.commit(60).unwrap();
///     slot.bytes()[0] = 1;
/// }
/// ```
///
/// ```compile_fail,E0499
/// fn twice(ring: &mut linerate_core::ring::xsk::XskTransmit) {
///     let first = ring.reserve();
///     let second = ring.reserve();
///     drop((first, second));
/// }
/// ```
#[derive(Debug)]
pub struct XskTransmit {
    umem: Arc<Umem>,
    /// The frames that are ours; the last one came back last and is still in the cache.
    free: Vec<Frame>,
    tx_queue: TxQueue,
    completions: Consumer<u64>,
    returns: Returns,
    /// Completions so far, modulo 2^32.
    completed: u32,
    strays: Strays,
    mtu: usize,
}

impl XskTransmit {
    pub(in crate::ring) fn new(
        umem: Arc<Umem>,
        free: Vec<Frame>,
        returns: Returns,
        queues: QueuePair,
        zero_copy: bool,
        mtu: usize,
    ) -> XskTransmit {
        let strays = Strays::of(&umem);
        let QueuePair { transmit, completions } = queues;
        let tx_queue = TxQueue::new(transmit, zero_copy, strays.nowhere);
        XskTransmit { umem, free, tx_queue, completions, returns, completed: 0, strays, mtu }
    }

    /// Frames that the kernel has consumed and not given back yet.
    pub fn uncompleted(&self) -> u64 {
        (self.umem.frames() - self.free.len()) as u64 - self.tx_queue.unconsumed()
    }

    /// Addresses that the kernel gave back and could not have had.
    pub fn strays(&self) -> u64 {
        self.strays.count
    }

    /// A free frame, unless all are queued or the kernel still has them.
    #[inline]
    pub fn reserve(&mut self) -> Option<XskSlot<'_>> {
        if !self.has_room() {
            return None;
        }
        let frame = self.free.pop();
        Some(XskSlot { ring: self, frame })
    }

    /// Takes the completed frames.
    #[inline]
    fn take_back(&mut self) {
        if self.completions.available() == 0 {
            return;
        }
        while let Some(address) = self.completions.pop() {
            match self.returns.take_back(address) {
                Ok((frame, _)) => {
                    self.free.push(frame);
                    self.completed = self.completed.wrapping_add(1);
                }
                Err(stray) => self.strays.note(stray),
            }
        }
        self.completions.release();
        self.tx_queue.note_completed(self.completed);
    }
}

impl Slots for XskTransmit {
    #[inline]
    fn has_room(&mut self) -> bool {
        if self.free.is_empty() {
            self.take_back();
        }
        !self.free.is_empty() && self.tx_queue.has_room()
    }

    #[inline(always)]
    fn put(&mut self, write: impl FnOnce(&mut [u8]) -> usize) {
        let mut slot = self.reserve().expect("put only with room");
        let length = write(slot.bytes());
        slot.commit(length).expect("a frame that the kernel takes");
    }

    /// Has the kernel send what was committed; `wake` is the system call that kicks the socket
    /// ([`Kick`](crate::sys::kick::Kick)). Ok when the kernel has consumed all.
    /// EAGAIN: a queue is full and the rest stays. A frame that the driver drops is counted
    /// ([`Settled::dropped`]) and no error.
    #[inline]
    fn kick(&mut self, wake: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        // The kernel sends only what it has room to complete.
        self.take_back();
        self.tx_queue.kick(wake)
    }

    /// Counts what the kernel has taken, and the driver dropped, since the last call; never stuck.
    #[inline]
    fn settle(&mut self) -> Settled {
        self.take_back();
        self.tx_queue.settle()
    }

    /// Takes back every frame that the kernel has not taken and returns how many they were, and what
    /// the kernel had taken before. No later kick sends them.
    ///
    /// Only between kicks, and from the thread that kicks.
    fn withdraw(&mut self) -> (u64, Settled) {
        self.take_back();
        let XskTransmit { tx_queue, returns, free, strays, .. } = self;
        let withdrawn = tx_queue.withdraw(|address| match returns.take_back(address) {
            Ok((frame, _)) => free.push(frame),
            Err(stray) => strays.note(stray),
        });
        (withdrawn, self.tx_queue.settle())
    }

    #[inline]
    fn in_flight(&self) -> u64 {
        self.tx_queue.in_flight()
    }

    fn slot_capacity(&self) -> usize {
        self.umem.chunk_bytes()
    }

    fn set_mtu(&mut self, mtu: usize) {
        self.mtu = mtu;
    }
}

/// A free frame of the UMEM; without a commit nothing is sent and the frame is free again.
#[derive(Debug)]
pub struct XskSlot<'ring> {
    ring: &'ring mut XskTransmit,
    frame: Option<Frame>,
}

impl XskSlot<'_> {
    /// The room for a frame, from the Ethernet header on; what it holds is left over from earlier
    /// frames.
    #[inline]
    pub fn bytes(&mut self) -> &mut [u8] {
        let frame = self.frame.as_mut().expect("a slot has its frame until it is committed");
        self.ring.umem.bytes(frame)
    }

    /// Queues the first `length` bytes as one frame, to be taken at the next kick.
    ///
    /// Refuses what a packet socket would refuse, although AF_XDP leaves the check to the driver: what
    /// can be sent must not depend on the half that sends it. Panics if the slot is shorter than
    /// `length`.
    #[inline(always)]
    pub fn commit(mut self, length: usize) -> Result<(), SendRefusal> {
        let bytes = &self.bytes()[..length];
        let ether_type = bytes.get(12..14).map_or([0; 2], |field| [field[0], field[1]]);
        send_rule::check(length, ether_type, self.ring.mtu)?;
        let frame = self.frame.take().expect("a slot has its frame until it is committed");
        let address = self.ring.umem.hand_over(frame, Way::Transmit);
        self.ring.tx_queue.post(address, length as u32);
        Ok(())
    }
}

impl Drop for XskSlot<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(frame) = self.frame.take() {
            self.ring.free.push(frame);
        }
    }
}
