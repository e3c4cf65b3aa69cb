//! A UMEM: the frames of an AF_XDP socket in memory that the kernel shares, held by tokens.
//!
//! A [`Frame`] is the right to read and write one frame. It cannot be copied. Handing it over to the
//! kernel consumes it ([`Umem::hand_over`]), and only an address that the kernel names on the ring
//! where that frame is to come back makes it again ([`Returns::take_back`]); a table says for
//! each frame where it is, so that an address that the kernel got wrong is found out and not
//! followed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use super::Memory;

/// The two ways that frames go to the kernel and come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Way {
    /// Out by the fill ring, back by the receive ring.
    Receive = 1,
    /// Out by the TX ring, back by the completion ring.
    Transmit = 2,
}

/// What the table says of a frame that is not with the kernel.
const HERE: u8 = 0;

/// The right to one frame of a UMEM.
#[derive(Debug)]
#[must_use = "a frame that is let go of is lost to its UMEM"]
pub struct Frame {
    index: u32,
    umem: u32,
}

/// An address from the kernel that names no frame that it could have named there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray {
    /// The address.
    pub address: u64,
}

/// The memory of the frames, and where each of them is.
#[derive(Debug)]
pub struct Umem {
    memory: Arc<Memory>,
    chunk_bits: u32,
    frames: u32,
    id: u32,
    /// For each frame [`HERE`], or the way on which it is with the kernel. An entry is written by
    /// whoever holds the frame's token, or makes it again.
    places: Box<[AtomicU8]>,
}

/// Each UMEM has another number, so that a token opens no frame of another one.
static NEXT_ID: AtomicU32 = AtomicU32::new(0);

impl Umem {
    /// The frames of `chunk_bytes` bytes (a power of two) that `memory` is made of: all tokens of
    /// them, and the two places where frames come back.
    ///
    /// Kept inside `ring`, which makes one of each memory for each side.
    pub(in crate::ring) fn new(
        memory: Arc<Memory>,
        chunk_bytes: usize,
    ) -> (Arc<Umem>, Vec<Frame>, [Returns; 2]) {
        assert!(chunk_bytes.is_power_of_two(), "chunks have a power of two of bytes");
        let frames = memory.length() / chunk_bytes;
        let frames = u32::try_from(frames).expect("a UMEM has less than 2^32 frames");
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        assert_ne!(id, u32::MAX, "no more UMEMs in this process");
        let places = (0..frames).map(|_| AtomicU8::new(HERE)).collect();
        let chunk_bits = chunk_bytes.trailing_zeros();
        let umem = Arc::new(Umem { memory, chunk_bits, frames, id, places });
        let tokens = (0..frames).map(|index| Frame { index, umem: id }).collect();
        let returns = |way| Returns { umem: Arc::clone(&umem), way };
        let both = [returns(Way::Receive), returns(Way::Transmit)];
        (umem, tokens, both)
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.frames as usize
    }

    /// Bytes of one frame.
    #[inline]
    pub fn chunk_bytes(&self) -> usize {
        1 << self.chunk_bits
    }

    /// The frame's bytes.
    #[inline]
    pub fn bytes<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        assert_eq!(frame.umem, self.id, "a frame of another UMEM");
        // SAFETY: tokens of this UMEM have indices below its number of frames, whose chunks lie
        // within the memory, which the Arc in self keeps alive.
        let base = unsafe { self.memory.base().add((frame.index as usize) << self.chunk_bits) };
        // SAFETY: the token is the only one of its frame, since new() makes one of each and
        // take_back() one for each that hand_over() consumed, and it is borrowed for as long as
        // the slice. The kernel touches a frame only between its address's publication in the fill
        // or TX ring and in the receive or completion ring (af_xdp.rst, "UMEM"), when no token is.
        unsafe { std::slice::from_raw_parts_mut(base.as_ptr(), self.chunk_bytes()) }
    }

    /// Lends the frame in `slot` to a reader who may take it away.
    #[inline]
    pub fn lend<'a>(&'a self, slot: &'a mut Option<Frame>) -> Option<LentFrame<'a>> {
        let frame = slot.as_mut()?;
        let bytes: *mut [u8] = self.bytes(frame);
        // SAFETY: as in bytes(). The slice is of the UMEM's memory and not of the slot's; the
        // LentFrame holds the slot, and so the token, exclusively for as long as the slice, and
        // gives the token out only when the slice is given up.
        let bytes = unsafe { &mut *bytes };
        Some(LentFrame { bytes, slot })
    }

    /// Gives up a frame that is about to go to the kernel on `way`; the address to name it by, of
    /// its first byte.
    #[inline]
    pub fn hand_over(&self, frame: Frame, way: Way) -> u64 {
        assert_eq!(frame.umem, self.id, "a frame of another UMEM");
        let index = frame.index as usize;
        debug_assert_eq!(self.places[index].load(Ordering::Relaxed), HERE);
        self.places[index].store(way as u8, Ordering::Relaxed);
        u64::from(frame.index) << self.chunk_bits
    }
}

/// Where frames come back that went to the kernel on one way; there is one for each way.
#[derive(Debug)]
pub struct Returns {
    umem: Arc<Umem>,
    way: Way,
}

impl Returns {
    /// The frame in which `address` lies, and where in it, if it is away on this way. The address
    /// may be of any byte of the frame: the kernel gives back what a descriptor said.
    #[inline]
    pub fn take_back(&mut self, address: u64) -> Result<(Frame, usize), Stray> {
        let umem = &*self.umem;
        let index = address >> umem.chunk_bits;
        let place = usize::try_from(index).ok().and_then(|index| umem.places.get(index));
        let place = place.ok_or(Stray { address })?;
        // Only this value makes tokens of frames that are away on its way, and it is borrowed
        // exclusively: between the load and the store nobody else does.
        if place.load(Ordering::Relaxed) != self.way as u8 {
            return Err(Stray { address });
        }
        place.store(HERE, Ordering::Relaxed);
        let start = address as usize & (umem.chunk_bytes() - 1);
        Ok((Frame { index: index as u32, umem: umem.id }, start))
    }
}

/// A frame on loan to a reader, who may take it away.
#[derive(Debug)]
pub struct LentFrame<'a> {
    bytes: &'a mut [u8],
    slot: &'a mut Option<Frame>,
}

impl<'a> LentFrame<'a> {
    /// The frame's bytes.
    #[inline]
    pub fn bytes(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// The frame's bytes, to read.
    #[inline]
    pub fn peek(&self) -> &[u8] {
        self.bytes
    }

    /// Leaves the frame where it is, with its bytes on loan.
    #[inline]
    pub fn into_bytes(self) -> &'a mut [u8] {
        self.bytes
    }

    /// Takes the frame away.
    #[inline]
    pub fn take(self) -> Frame {
        self.slot.take().expect("a lent frame is in its slot")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::fake::memory;

    #[test]
    fn a_frame_comes_back_only_where_it_went_and_once() {
        let (umem, mut frames, [mut received, mut sent]) = Umem::new(memory(8192), 2048);
        assert_eq!((umem.frames(), frames.len()), (4, 4));
        let mut frame = frames.pop().unwrap();
        umem.bytes(&mut frame)[5] = 7;
        let address = umem.hand_over(frame, Way::Transmit);
        assert_eq!(address, 3 * 2048);
        assert_eq!(umem.places[3].load(Ordering::Relaxed), Way::Transmit as u8);
        assert_eq!(received.take_back(address).unwrap_err(), Stray { address });
        let (mut frame, start) = sent.take_back(address + 256).unwrap();
        assert_eq!((umem.bytes(&mut frame)[5], start), (7, 256));
        assert!(sent.take_back(address).is_err());
        frames.push(frame);
    }

    #[test]
    fn an_address_out_of_range_is_found_out() {
        let (_, _, [mut received, _]) = Umem::new(memory(8192), 2048);
        for address in [0, 8192, u64::MAX, 1 << 63] {
            assert_eq!(received.take_back(address).unwrap_err(), Stray { address });
        }
    }

    #[test]
    #[should_panic(expected = "another UMEM")]
    fn a_frame_opens_only_in_its_own_umem() {
        let (one, ..) = Umem::new(memory(4096), 2048);
        let (_other, mut frames, _) = Umem::new(memory(4096), 2048);
        one.bytes(&mut frames[0]);
    }

    #[test]
    fn a_lent_frame_stays_unless_it_is_taken() {
        let (umem, mut frames, _) = Umem::new(memory(4096), 2048);
        let mut slot = frames.pop();
        umem.lend(&mut slot).unwrap().into_bytes()[0] = 9;
        let mut lent = umem.lend(&mut slot).unwrap();
        assert_eq!(lent.bytes()[0], 9);
        let frame = lent.take();
        assert!(umem.lend(&mut slot).is_none());
        assert_eq!(umem.hand_over(frame, Way::Receive), 2048);
    }
}
