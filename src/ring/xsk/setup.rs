//! Opening AF_XDP sockets: UMEM, rings, mappings, and then the interface's queue.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::receive::ReceiveQueues;
use super::{QueuePair, XskForward, XskReceive, XskTransmit};
use crate::error::{Error, Result};
use crate::ring::budget::MemoryBudget;
use crate::ring::view::Memory;
use crate::ring::view::queue::{Consumer, Entry, Producer, QueueLayout};
use crate::ring::view::umem::Umem;
use crate::sys::failure::failed;
use crate::sys::mapping::Mapping;
use crate::sys::xdp::{CopyMode, RECEIVE_HEADROOM_BYTES, RingOffsets, XdpRing, XdpSocket};
use crate::units::{ETHERNET_HEADER_BYTES, memory};
use crate::wire::ethernet::VLAN_TAG_BYTES;

/// Frames of a socket that only sends, if nothing else is asked for: what one kick handles. More memory
/// makes it hardly faster, and locked memory is limited for ordinary users.
pub const TRANSMIT_FRAMES: usize = 32;

/// 2 MiB for a socket that only sends, however large its batches are.
const TRANSMIT_FRAMES_MAX: usize = 1024;

/// Frames of a socket that receives, if nothing else is asked for: 4 MiB.
pub const RECEIVE_FRAMES: usize = 2048;

const FRAMES_MAX: usize = 1 << 16;
/// The sizes of a chunk that the kernel takes, where a memory page has 4096 bytes.
const CHUNK_BYTES: [usize; 2] = [2048, 4096];

/// The largest MTU whose frames, with a tag, a socket that only sends can take.
pub const TRANSMIT_MTU_MAX: usize = CHUNK_BYTES[1] - ETHERNET_HEADER_BYTES - VLAN_TAG_BYTES;

/// What an AF_XDP socket shall be.
#[derive(Clone, Copy, Debug)]
pub struct XskChoice {
    /// The interface, by its index.
    pub interface: u32,
    /// The queue of the interface, which serves one AF_XDP socket at a time.
    pub queue: u32,
    /// Frames of the UMEM, a power of two; `None` for [`TRANSMIT_FRAMES`] or [`RECEIVE_FRAMES`].
    pub frames: Option<usize>,
    /// Longest frames to expect are those of this MTU, with tags.
    pub mtu: usize,
    /// Whether a device may write into the chunks by itself.
    pub hardware: bool,
}

/// Some devices are told the length of a chunk in steps of so many bytes, rounded down (igb, igc), and split what
/// is longer (XDP-18).
const DEVICE_STEP_BYTES: usize = 1024;

impl XskChoice {
    /// Queue `queue` of `interface`, whose MTU is `mtu`; the rest as it is best.
    pub fn new(interface: u32, queue: u32, mtu: usize) -> XskChoice {
        XskChoice { interface, queue, frames: None, mtu, hardware: false }
    }

    /// The same with frames for a socket that only sends, `batch` of them at a time. One batch is filled
    /// while the kernel still has the one before it: on a busy machine it gives frames back only when
    /// the receiving end's softirq has had its turn.
    pub fn for_batches(self, batch: usize) -> XskChoice {
        let frames = (2 * batch).next_power_of_two().clamp(TRANSMIT_FRAMES, TRANSMIT_FRAMES_MAX);
        XskChoice { frames: Some(frames), ..self }
    }

    fn frames(&self, default: usize) -> Result<usize> {
        let frames = self.frames.unwrap_or(default);
        if frames.is_power_of_two() && (2..=FRAMES_MAX).contains(&frames) {
            return Ok(frames);
        }
        Err(Error::Usage(format!(
            "{frames} frames: a UMEM has a power of two of them, from 2 to {FRAMES_MAX}"
        )))
    }

    /// The smallest chunk that holds a frame with its tags and `headroom` bytes before it, by a device's steps
    /// where there may be one and such a chunk.
    fn chunk_bytes(&self, headroom: usize, tags: usize) -> Result<usize> {
        let beside = ETHERNET_HEADER_BYTES + tags * VLAN_TAG_BYTES + headroom;
        let fits = |&chunk: &usize| self.mtu + beside <= chunk;
        let in_steps = |chunk: &usize| {
            let written = (chunk - headroom) / DEVICE_STEP_BYTES * DEVICE_STEP_BYTES;
            self.hardware && self.mtu + beside <= written + headroom
        };
        let chunk = CHUNK_BYTES.into_iter().find(in_steps);
        chunk.or_else(|| CHUNK_BYTES.into_iter().find(fits)).ok_or_else(|| {
            Error::Usage(format!(
                "an MTU of {} is too large for AF_XDP, whose frames lie in one memory page: at most \
                 {}. Take another half, or lower the MTU",
                self.mtu,
                CHUNK_BYTES[1] - beside
            ))
        })
    }
}

/// An AF_XDP socket that only sends, bound to its queue.
#[derive(Debug)]
pub struct XskTransmitSocket {
    /// The socket.
    pub socket: XdpSocket,
    /// Its frames and rings.
    pub ring: XskTransmit,
    /// Whether the driver takes frames straight from the UMEM.
    pub zero_copy: bool,
}

impl XskTransmitSocket {
    /// Opens and binds one. Needs no program, and CAP_NET_RAW alone, also in a user namespace (XDP-1).
    pub fn open(choice: &XskChoice, budget: &Arc<MemoryBudget>) -> Result<XskTransmitSocket> {
        let frames = choice.frames(TRANSMIT_FRAMES)?;
        let chunk_bytes = choice.chunk_bytes(0, 1)?;
        let opening = Opening::begin(frames, chunk_bytes, budget)?;
        // Without a fill ring bind(2) fails with EINVAL, also where nothing is ever received (XDP-1).
        opening.socket.create_ring(XdpRing::Fill, 1)?;
        let queues = opening.send_queues(frames)?;
        let Opening { socket, umem, .. } = opening;
        // Drivers with zero-copy take the queue over at the bind, and then refuse every kick as long as
        // no program is attached (XDP-12).
        let zero_copy = bind(&socket, choice, CopyMode::Copy)?;
        let (umem, free, [_, returns]) = Umem::new(umem, chunk_bytes);
        let ring = XskTransmit::new(umem, free, returns, queues, zero_copy, choice.mtu);
        Ok(XskTransmitSocket { socket, ring, zero_copy })
    }

    /// Tries whether this process may have such a socket and the locked memory for its frames (XDP-7); the
    /// queue is left alone, so that it may still be busy.
    pub fn try_out(choice: &XskChoice) -> Result<()> {
        let frames = choice.frames(TRANSMIT_FRAMES)?;
        let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
        Opening::begin(frames, choice.chunk_bytes(0, 1)?, &budget).map(drop)
    }
}

/// An AF_XDP socket that receives, and sends what it received, bound to its queue.
///
/// Nothing arrives until a program redirects it: see [`Redirect`](crate::sys::bpf::Redirect).
#[derive(Debug)]
pub struct XskSocket {
    /// The socket.
    pub socket: Arc<XdpSocket>,
    /// The receiving side.
    pub receive: XskReceive,
    /// The sending side.
    pub forward: XskForward,
    /// Whether the driver uses the UMEM itself.
    pub zero_copy: bool,
}

impl XskSocket {
    /// Opens and binds one that lends at most `batch` frames at a time.
    pub fn open(choice: &XskChoice, batch: usize, budget: &Arc<MemoryBudget>) -> Result<XskSocket> {
        let frames = choice.frames(RECEIVE_FRAMES)?;
        let chunk_bytes = choice.chunk_bytes(RECEIVE_HEADROOM_BYTES, 2)?;
        let opening = Opening::begin(frames, chunk_bytes, budget)?;
        // Each ring holds every frame, so none is ever full for want of entries.
        let queues = ReceiveQueues {
            fill: opening.producer(XdpRing::Fill, frames)?,
            arrivals: opening.consumer(XdpRing::Receive, frames)?,
        };
        let pair = opening.send_queues(frames)?;
        let Opening { socket, umem, .. } = opening;
        let zero_copy = bind(&socket, choice, CopyMode::Auto)?;
        let umem = Umem::new(umem, chunk_bytes);
        let (receive, forward) = XskReceive::pair(umem, queues, pair, zero_copy, batch);
        Ok(XskSocket { socket: Arc::new(socket), receive, forward, zero_copy })
    }
}

/// A socket with its UMEM, on the way to its rings.
struct Opening<'a> {
    socket: XdpSocket,
    umem: Arc<Memory>,
    budget: &'a Arc<MemoryBudget>,
}

impl Opening<'_> {
    fn begin(frames: usize, chunk_bytes: usize, budget: &Arc<MemoryBudget>) -> Result<Opening<'_>> {
        let bytes = frames * chunk_bytes;
        let reservation = budget.reserve(bytes)?;
        let socket = XdpSocket::open()?;
        let length = NonZeroUsize::new(bytes).expect("a UMEM has frames");
        let mapping = Mapping::anonymous(length).map_err(|error| {
            failed(format!("get {} for a UMEM", memory(bytes as u64)), &error, "free memory")
        })?;
        socket.register_umem(&mapping, chunk_bytes as u32)?;
        // As many frames as there are may be under way; less than was asked for is no error.
        let _ = socket.set_send_buffer(frames * (chunk_bytes + SKB_BYTES));
        Ok(Opening { socket, umem: Memory::of_mapping(mapping, reservation), budget })
    }

    fn send_queues(&self, frames: usize) -> Result<QueuePair> {
        Ok(QueuePair {
            transmit: self.producer(XdpRing::Transmit, frames)?,
            // Void descriptors may be completed beside the frames.
            completions: self.consumer(XdpRing::Completion, 2 * frames)?,
        })
    }

    fn producer<E: Entry>(&self, ring: XdpRing, entries: usize) -> Result<Producer<E>> {
        let (memory, layout) = self.ring(ring, entries)?;
        Ok(Producer::new(memory, layout))
    }

    fn consumer<E: Entry>(&self, ring: XdpRing, entries: usize) -> Result<Consumer<E>> {
        let (memory, layout) = self.ring(ring, entries)?;
        Ok(Consumer::new(memory, layout))
    }

    fn ring(&self, ring: XdpRing, entries: usize) -> Result<(Arc<Memory>, QueueLayout)> {
        let entries = entries as u32;
        self.socket.create_ring(ring, entries)?;
        let (mapping, offsets) = self.socket.map_ring(ring, entries)?;
        let reservation = self.budget.reserve(mapping.length())?;
        let RingOffsets { producer, consumer, flags, entries: entries_at } = offsets;
        let layout = QueueLayout { producer, consumer, flags, entries_at, entries };
        Ok((Memory::of_mapping(mapping, reservation), layout))
    }
}

/// What the kernel charges a frame under way with, beside its bytes (`SKB_TRUESIZE`), generously.
const SKB_BYTES: usize = 1024;

/// Binds, and says whether it came to zero-copy.
fn bind(socket: &XdpSocket, choice: &XskChoice, copy: CopyMode) -> Result<bool> {
    let XskChoice { interface, queue, .. } = *choice;
    socket.bind(interface, queue, copy)?;
    socket.is_zero_copy().map_err(|error| {
        failed("ask whether an AF_XDP socket came to zero-copy", &error, "it needs Linux 5.3")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_mtu(mtu: usize) -> XskChoice {
        XskChoice::new(1, 0, mtu)
    }

    #[test]
    fn chunks_hold_the_frames_of_the_mtu_with_their_tags() {
        assert_eq!(with_mtu(1500).chunk_bytes(0, 1).unwrap(), 2048);
        assert_eq!(with_mtu(1500).chunk_bytes(256, 2).unwrap(), 2048);
        assert_eq!(with_mtu(1771).chunk_bytes(256, 2).unwrap(), 4096);
        // A device may be told 1 KiB where a chunk of 2048 bytes has 1792 for the frame.
        let hardware = |mtu| XskChoice { hardware: true, ..with_mtu(mtu) };
        for (mtu, bytes) in [(1002, 2048), (1003, 4096), (1500, 4096), (3050, 4096), (3818, 4096)] {
            assert_eq!(hardware(mtu).chunk_bytes(256, 2).unwrap(), bytes, "{mtu}");
        }
        assert_eq!(with_mtu(TRANSMIT_MTU_MAX).chunk_bytes(0, 1).unwrap(), 4096);
        let refused = with_mtu(4079).chunk_bytes(0, 1).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("at most 4078"), "{refused}");
    }

    #[test]
    fn a_socket_that_sends_has_frames_for_two_batches() {
        for (batch, frames) in [(1, 32), (16, 32), (50, 128), (64, 128), (1024, 1024)] {
            assert_eq!(with_mtu(1500).for_batches(batch).frames, Some(frames), "{batch}");
        }
    }

    #[test]
    fn odd_numbers_of_frames_are_usage_errors() {
        for frames in [0, 1, 33, 1 << 17] {
            let choice = XskChoice { frames: Some(frames), ..with_mtu(1500) };
            assert_eq!(choice.frames(32).unwrap_err().exit_code(), 2, "{frames}");
        }
        assert_eq!(with_mtu(1500).frames(32).unwrap(), 32);
    }
}
