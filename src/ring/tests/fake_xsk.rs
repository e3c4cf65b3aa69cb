//! The kernel's side of AF_XDP rings in memory: what `xsk_rcv` and `__xsk_generic_xmit` do, for tests
//! that need no privilege.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::receive::ReceiveQueues;
use super::{QueuePair, XskForward, XskReceive, XskTransmit};
use crate::ring::fake::memory;
use crate::ring::view::Memory;
use crate::ring::view::queue::{Consumer, Descriptor, Entry, Producer, QueueLayout};
use crate::ring::view::umem::{Frame, Returns, Umem, Way};
use crate::sys::failure;
use crate::sys::xdp::{KICK_FRAMES_MAX, RECEIVE_HEADROOM_BYTES};

/// What becomes of a frame that the fake kernel finds in the TX ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XskFate {
    /// Sent and completed at once.
    Complete,
    /// Sent; completed by [`FakeXsk::complete`].
    InDriver,
    /// The queue is full: the frame stays and the kick ends with EAGAIN.
    Full,
    /// The driver drops it: it is completed and the kick ends with EBUSY.
    Dropped,
}

/// The kernel's side of an AF_XDP socket in copy mode.
#[derive(Debug)]
pub struct FakeXsk {
    umem: Arc<Umem>,
    returns: Returns,
    fill: Option<Consumer<u64>>,
    arrivals: Option<Producer<Descriptor>>,
    /// Frames from the fill ring, the oldest first.
    filled: VecDeque<Frame>,
    transmit: Consumer<Descriptor>,
    completions: Producer<u64>,
    /// Frames that the driver has, with the addresses that their descriptors named.
    in_driver: VecDeque<(Frame, u64)>,
    /// Whether the link is up; if not, a kick takes nothing.
    pub up: bool,
    /// Frames for which the fill ring had none.
    pub rx_dropped: u64,
    /// TX descriptors that were refused.
    pub tx_invalid_descs: u64,
}

const PAGE_BYTES: usize = 4096;

/// A ring with index words on cache lines of their own, as the kernel lays it out.
fn ring<E: Entry>(entries: usize) -> (Arc<Memory>, QueueLayout) {
    let layout = QueueLayout {
        producer: 0,
        consumer: 64,
        flags: 128,
        entries_at: 192,
        entries: entries as u32,
    };
    let bytes = (layout.entries_at + entries * size_of::<E>()).next_multiple_of(PAGE_BYTES);
    (memory(bytes), layout)
}

/// Both sides of a ring that the program fills.
fn to_kernel<E: Entry>(entries: usize) -> (Producer<E>, Consumer<E>) {
    let (memory, layout) = ring::<E>(entries);
    (Producer::new(Arc::clone(&memory), layout), Consumer::new(memory, layout))
}

impl FakeXsk {
    /// A socket that only sends, of `frames` frames of `chunk_bytes`, and the kernel's side of it.
    pub fn sending(frames: usize, chunk_bytes: usize, mtu: usize) -> (XskTransmit, FakeXsk) {
        let memory = self::memory(frames * chunk_bytes);
        let (umem, free, [_, returns]) = Umem::new(Arc::clone(&memory), chunk_bytes);
        let (queues, kernel) = FakeXsk::new(memory, frames, chunk_bytes);
        (XskTransmit::new(umem, free, returns, queues, false, mtu), kernel)
    }

    /// A socket that receives and forwards, lending at most `batch` frames.
    pub fn receiving(
        frames: usize,
        chunk_bytes: usize,
        batch: usize,
    ) -> (XskReceive, XskForward, FakeXsk) {
        let memory = self::memory(frames * chunk_bytes);
        let umem = Umem::new(Arc::clone(&memory), chunk_bytes);
        let (pair, mut kernel) = FakeXsk::new(memory, frames, chunk_bytes);
        let (fill, kernel_fill) = to_kernel(frames);
        let (kernel_arrivals, arrivals) = to_kernel(frames);
        kernel.fill = Some(kernel_fill);
        kernel.arrivals = Some(kernel_arrivals);
        let queues = ReceiveQueues { fill, arrivals };
        let (receive, forward) = XskReceive::pair(umem, queues, pair, false, batch);
        (receive, forward, kernel)
    }

    fn new(memory: Arc<Memory>, frames: usize, chunk_bytes: usize) -> (QueuePair, FakeXsk) {
        // On this side, all frames are away, and come by any ring.
        let (umem, frames_away, [returns, _]) = Umem::new(memory, chunk_bytes);
        for frame in frames_away {
            let _ = umem.hand_over(frame, Way::Receive);
        }
        let (transmit, kernel_transmit) = to_kernel(frames);
        let (kernel_completions, completions) = to_kernel(2 * frames);
        let kernel = FakeXsk {
            umem,
            returns,
            fill: None,
            arrivals: None,
            filled: VecDeque::new(),
            transmit: kernel_transmit,
            completions: kernel_completions,
            in_driver: VecDeque::new(),
            up: true,
            rx_dropped: 0,
            tx_invalid_descs: 0,
        };
        (QueuePair { transmit, completions }, kernel)
    }

    /// A frame arrives and is redirected here; false if it had to be dropped.
    pub fn deliver(&mut self, frame: &[u8]) -> bool {
        self.take_filled();
        let Some(mut token) = self.filled.pop_front() else {
            self.rx_dropped += u64::from(self.fill.is_some());
            return false;
        };
        let start = RECEIVE_HEADROOM_BYTES;
        self.umem.bytes(&mut token)[start..start + frame.len()].copy_from_slice(frame);
        let address = self.umem.hand_over(token, Way::Receive) + start as u64;
        self.push_arrival(address, frame.len() as u32);
        true
    }

    /// Names any address in the receive ring. If a frame lies there that the user has filled, it is the
    /// user's from here on.
    pub fn deliver_hostile(&mut self, address: u64, length: u32) {
        self.take_filled();
        let filled = std::mem::take(&mut self.filled);
        for token in filled {
            let first = self.umem.hand_over(token, Way::Receive);
            if !(first..first + self.umem.chunk_bytes() as u64).contains(&address) {
                let (token, _) = self.returns.take_back(first).expect("it was handed over");
                self.filled.push_back(token);
            }
        }
        self.push_arrival(address, length);
    }

    fn push_arrival(&mut self, address: u64, length: u32) {
        let arrivals = self.arrivals.as_mut().expect("a socket that receives");
        arrivals.push(Descriptor { address, length, options: 0 });
        arrivals.publish();
    }

    fn take_filled(&mut self) {
        let Some(fill) = &mut self.fill else { return };
        while let Some(address) = fill.pop() {
            let (token, start) = self.returns.take_back(address).expect("the user filled a frame");
            assert_eq!(start, 0, "frames are filled by their first byte");
            self.filled.push_back(token);
        }
        fill.release();
    }

    /// Names any address in the completion ring. Nothing may wait in the TX ring, whose frames would be
    /// the user's and the kernel's at once.
    pub fn complete_hostile(&mut self, address: u64) {
        assert_eq!(self.transmit.available(), 0, "a frame in the TX ring is the kernel's");
        self.completions.push(address);
        self.completions.publish();
    }

    /// A kick: sends what is in the TX ring, as `fate` decides over each frame, into `sent`.
    pub fn kick(
        &mut self,
        sent: &mut Vec<Vec<u8>>,
        mut fate: impl FnMut(&[u8]) -> XskFate,
    ) -> io::Result<()> {
        let errno = |code| Err(io::Error::from_raw_os_error(code));
        if !self.up {
            return errno(failure::ENETDOWN);
        }
        let mut budget = KICK_FRAMES_MAX;
        let mut has_sent = false;
        let result = loop {
            // __xskq_cons_peek: the index is published when nothing that is known of is left.
            let Some(Descriptor { address, length, .. }) = self.transmit.pop() else {
                self.transmit.release();
                break Ok(());
            };
            if budget == 0 || !self.can_complete_one_more() {
                self.transmit.put_back();
                break errno(failure::EAGAIN);
            }
            budget -= 1;
            let Ok((mut token, start)) = self.returns.take_back(address) else {
                // Since 6.18 or so it is completed as it came.
                self.tx_invalid_descs += 1;
                self.completions.push(address);
                self.completions.publish();
                break Ok(());
            };
            let frame = self.umem.bytes(&mut token)[start..start + length as usize].to_vec();
            let fate = fate(&frame);
            if fate == XskFate::Full {
                // The user still has it; to this side it is as if it had never come.
                let _ = self.umem.hand_over(token, Way::Receive);
                self.transmit.put_back();
                break errno(failure::EAGAIN);
            }
            if fate == XskFate::InDriver {
                self.in_driver.push_back((token, address));
            } else {
                self.give_back(token, address);
            }
            if fate == XskFate::Dropped {
                break errno(failure::EBUSY);
            }
            sent.push(frame);
            has_sent = true;
        };
        if has_sent {
            self.transmit.release();
        }
        result
    }

    /// Frames that the driver still has.
    pub fn in_driver(&self) -> usize {
        self.in_driver.len()
    }

    /// The driver is done with `frames` frames, or with all if they are fewer; the newest first if
    /// `newest` says so, since skbs may be freed in any order.
    pub fn complete(&mut self, frames: usize, newest: bool) {
        for _ in 0..frames {
            let next = if newest { self.in_driver.pop_back() } else { self.in_driver.pop_front() };
            let Some((token, address)) = next else { break };
            self.give_back(token, address);
        }
    }

    /// Whether the completion ring has an entry for another frame: the kernel reserves it before it
    /// sends (`xsk_cq_reserve_locked`).
    fn can_complete_one_more(&mut self) -> bool {
        let waiting = self.completions.next().wrapping_sub(self.completions.load_consumed());
        waiting as usize + self.in_driver.len() < self.completions.entries() as usize
    }

    fn give_back(&mut self, token: Frame, address: u64) {
        let _ = self.umem.hand_over(token, Way::Receive);
        self.completions.push(address);
        self.completions.publish();
    }
}
