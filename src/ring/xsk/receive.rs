//! Receiving over an AF_XDP socket, and sending what was received from the very frame.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::tx_queue::TxQueue;
use super::{QueuePair, Strays};
use crate::ring::block::Malformed;
use crate::ring::frame::{ChecksumState, FrameMeta, PacketType, RxFrame};
use crate::ring::receive::RxBatch;
use crate::ring::slots::Settled;
use crate::ring::view::queue::{Consumer, Descriptor, Producer};
use crate::ring::view::umem::{Frame, Returns, Umem, Way};

/// The receiving side of an AF_XDP socket.
///
/// It keeps all frames that are not elsewhere in the fill ring. The completion ring is its too: frames
/// that were sent are free to be received into again.
#[derive(Debug)]
pub struct XskReceive {
    umem: Arc<Umem>,
    /// Frames that are ours, on their way to the fill ring.
    free: Vec<Frame>,
    fill: Producer<u64>,
    arrivals: Consumer<Descriptor>,
    received: Returns,
    completions: Consumer<u64>,
    sent: Returns,
    withdrawn: Arc<Withdrawn>,
    /// What is on loan; never grows beyond its first capacity.
    lent: Vec<Lent>,
    /// Frames in the fill ring, with the driver, or in the receive ring.
    receivable: usize,
    strays: Strays,
}

/// Addresses of frames that [`XskForward`] took back: seldom, so a lock will do, which nobody takes while
/// there are none.
#[derive(Debug, Default)]
struct Withdrawn {
    /// Whether there are any; written with the lock held.
    some: AtomicBool,
    list: Mutex<Vec<u64>>,
}

impl Withdrawn {
    fn addresses(&self) -> MutexGuard<'_, Vec<u64>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A received frame on loan.
#[derive(Debug)]
struct Lent {
    /// Gone when it was taken.
    frame: Option<Frame>,
    start: u32,
    length: u32,
}

/// The rings of a socket that receives.
#[derive(Debug)]
pub(in crate::ring) struct ReceiveQueues {
    pub fill: Producer<u64>,
    pub arrivals: Consumer<Descriptor>,
}

impl XskReceive {
    /// Both sides of a socket, which lends at most `batch` frames at a time.
    pub(in crate::ring) fn pair(
        (umem, frames, [received, sent]): (Arc<Umem>, Vec<Frame>, [Returns; 2]),
        ReceiveQueues { fill, arrivals }: ReceiveQueues,
        QueuePair { transmit, completions }: QueuePair,
        zero_copy: bool,
        batch: usize,
    ) -> (XskReceive, XskForward) {
        let withdrawn = Arc::<Withdrawn>::default();
        let strays = Strays::of(&umem);
        let forward = XskForward {
            umem: Arc::clone(&umem),
            tx_queue: TxQueue::new(transmit, zero_copy, strays.nowhere),
            withdrawn: Arc::clone(&withdrawn),
        };
        let mut receive = XskReceive {
            umem,
            free: frames,
            fill,
            arrivals,
            received,
            completions,
            sent,
            withdrawn,
            lent: Vec::with_capacity(batch),
            receivable: 0,
            strays,
        };
        receive.refill();
        (receive, forward)
    }

    /// Lends the frames that have arrived, at most a batch; `None` if there are none. Frames that were
    /// sent meanwhile go back to the kernel first.
    #[inline]
    pub fn lend(&mut self) -> Option<XskBatch<'_>> {
        if self.withdrawn.some.load(Ordering::Acquire) {
            self.take_back_withdrawn();
        }
        self.refill();
        if self.arrivals.available() == 0 {
            return None;
        }
        while self.lent.len() < self.lent.capacity() {
            let Some(Descriptor { address, length, .. }) = self.arrivals.pop() else { break };
            let (frame, start) = match self.received.take_back(address) {
                Ok(taken) => taken,
                Err(stray) => {
                    self.strays.note(stray);
                    continue;
                }
            };
            self.receivable -= 1;
            // The kernel never lets a frame run over its chunk; if it says so, nothing is there.
            let room = self.umem.chunk_bytes() - start;
            let length = if length as usize > room { 0 } else { length };
            self.lent.push(Lent { frame: Some(frame), start: start as u32, length });
        }
        self.arrivals.release();
        Some(XskBatch { ring: self, stamp_ns: 0 })
    }

    /// Most frames of one batch.
    pub fn batch_frames_max(&self) -> usize {
        self.lent.capacity()
    }

    /// Whether the driver sleeps until it is woken for the fill ring
    /// ([`XdpSocket::wake_receiver`](crate::sys::xdp::XdpSocket::wake_receiver)).
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        self.fill.flags() & crate::sys::xdp::NEED_WAKEUP != 0
    }

    /// Whether the kernel has no frame to receive into, because all are being sent: nothing arrives until
    /// some were completed and taken back, and a completion wakes nobody (`xsk_poll`).
    #[inline]
    pub fn is_starved(&self) -> bool {
        self.receivable == 0
    }

    /// Addresses that the kernel gave back and could not have had.
    pub fn strays(&self) -> u64 {
        self.strays.count
    }

    /// Hands all free frames to the kernel.
    #[inline]
    fn refill(&mut self) {
        if self.completions.available() > 0 {
            while let Some(address) = self.completions.pop() {
                self.take_back_sent(address);
            }
            self.completions.release();
        }
        while self.fill.has_room() {
            let Some(frame) = self.free.pop() else { break };
            self.fill.push(self.umem.hand_over(frame, Way::Receive));
            self.receivable += 1;
        }
        self.fill.publish();
    }

    #[cold]
    fn take_back_withdrawn(&mut self) {
        let withdrawn = Arc::clone(&self.withdrawn);
        let mut addresses = withdrawn.addresses();
        while let Some(address) = addresses.pop() {
            self.take_back_sent(address);
        }
        withdrawn.some.store(false, Ordering::Release);
    }

    #[inline]
    fn take_back_sent(&mut self, address: u64) {
        match self.sent.take_back(address) {
            Ok((frame, _)) => self.free.push(frame),
            Err(stray) => self.strays.note(stray),
        }
    }
}

/// Received frames on loan; dropping it returns the untaken ones to the kernel.
#[derive(Debug)]
pub struct XskBatch<'ring> {
    ring: &'ring mut XskReceive,
    /// The stamp that its frames get: when the batch was found, in nanoseconds on `CLOCK_REALTIME`.
    pub stamp_ns: u64,
}

impl XskBatch<'_> {
    /// Number of frames.
    pub fn len(&self) -> usize {
        self.ring.lent.len()
    }

    /// Whether nothing that can be read has arrived.
    pub fn is_empty(&self) -> bool {
        self.ring.lent.is_empty()
    }
}

impl RxBatch for XskBatch<'_> {
    /// The untaken frames, in the order of their arrival.
    #[inline]
    fn frames(&mut self) -> impl Iterator<Item = Result<RxFrame<'_>, Malformed>> {
        let XskReceive { umem, lent, .. } = &mut *self.ring;
        let (umem, stamp_ns): (&Umem, u64) = (umem, self.stamp_ns);
        lent.iter_mut().filter_map(move |Lent { frame, start, length }| {
            let frame = umem.lend(frame)?;
            let meta = FrameMeta {
                wire_bytes: *length,
                stamp_ns,
                nic_ns: 0,
                // Nobody has looked yet; a driver hands over no outgoing frames.
                packet_type: PacketType::Other,
                tag: None,
                checksum: ChecksumState::Unseen,
            };
            let start = *start as usize;
            Some(Ok(RxFrame::in_umem(meta, frame, start, start + *length as usize)))
        })
    }
}

impl Drop for XskBatch<'_> {
    #[inline]
    fn drop(&mut self) {
        let XskReceive { lent, free, .. } = &mut *self.ring;
        free.extend(lent.drain(..).filter_map(|one| one.frame));
        // Those that were sent come first: the kernel may have completed them by now.
        self.ring.refill();
    }
}

/// Sends frames that the other side of the same socket has received, without a copy.
#[derive(Debug)]
pub struct XskForward {
    umem: Arc<Umem>,
    tx_queue: TxQueue,
    withdrawn: Arc<Withdrawn>,
}

impl XskForward {
    /// Whether [`XskForward::post`] may be called.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        self.tx_queue.has_room()
    }

    /// Queues `length` bytes of `frame` from `start` on, to be taken at the next kick. Panics if they
    /// are not all in the frame, or if it is another socket's.
    #[inline]
    pub fn post(&mut self, frame: Frame, start: usize, length: usize) {
        assert!(start + length <= self.umem.chunk_bytes(), "a frame lies within its chunk");
        let address = self.umem.hand_over(frame, Way::Transmit);
        self.tx_queue.post(address + start as u64, length as u32);
    }

    /// Posted frames that were neither settled nor withdrawn.
    #[inline]
    pub fn in_flight(&self) -> u64 {
        self.tx_queue.in_flight()
    }

    /// As [`XskTransmit`](super::XskTransmit) does.
    #[inline]
    pub fn kick(&mut self, wake: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        self.tx_queue.kick(wake)
    }

    /// Counts what the kernel has taken, and the driver dropped, since the last call; never stuck.
    #[inline]
    pub fn settle(&mut self) -> Settled {
        self.tx_queue.settle()
    }

    /// Takes back every frame that the kernel has not taken and returns how many they were, and what
    /// the kernel had taken before. The receiving side has them again.
    pub fn withdraw(&mut self) -> (u64, Settled) {
        let mut addresses = self.withdrawn.addresses();
        let withdrawn = self.tx_queue.withdraw(|address| addresses.push(address));
        self.withdrawn.some.store(!addresses.is_empty(), Ordering::Release);
        (withdrawn, self.tx_queue.settle())
    }
}
