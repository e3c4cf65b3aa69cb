//! TX half `ring`: slots of a TX ring, filled by one copy that the edit is fused into.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use super::edit::Edit;
use super::half::{Settled, TxBatch, TxHalf};
use crate::ring::frame::RxFrame;
use crate::ring::tx::TxRing;
use crate::sys::failure::past_old_outage;
use crate::sys::packet::PacketSocket;

/// TX half `ring`.
#[derive(Debug)]
pub struct TxRingHalf {
    ring: TxRing,
    socket: Arc<PacketSocket>,
    settled: Settled,
}

impl TxRingHalf {
    /// The half of a ring and its socket.
    pub fn new(ring: TxRing, socket: Arc<PacketSocket>) -> TxRingHalf {
        TxRingHalf { ring, socket, settled: Settled::default() }
    }

    fn settle_more(&mut self) {
        let settled = self.ring.settle();
        self.add(settled);
    }

    fn add(&mut self, Settled { frames, bytes, stuck, .. }: Settled) {
        self.settled.frames += frames;
        self.settled.bytes += bytes;
        self.settled.stuck |= stuck;
    }

    fn kick_socket(&self) -> io::Result<()> {
        past_old_outage(|| self.socket.kick())
    }
}

impl TxHalf for TxRingHalf {
    type Batch<'t, 'rx> = TxRingBatch<'t, 'rx>;

    #[inline]
    fn begin<'rx>(&mut self) -> TxRingBatch<'_, 'rx> {
        TxRingBatch { half: self, frames: PhantomData }
    }

    fn kick(&mut self) -> io::Result<()> {
        self.kick_socket()
    }

    #[inline]
    fn settle(&mut self) -> Settled {
        self.settle_more();
        std::mem::take(&mut self.settled)
    }

    fn withdraw(&mut self) -> u64 {
        let (withdrawn, settled) = self.ring.withdraw();
        self.add(settled);
        withdrawn
    }

    fn in_flight(&self) -> u64 {
        self.ring.in_flight() + self.settled.frames
    }

    fn answer_bytes_max(&self) -> usize {
        self.ring.slot_capacity()
    }

    fn set_mtu(&mut self, mtu: usize) {
        self.ring.set_mtu(mtu);
    }
}

/// A batch of copies; nothing of the received frames is kept.
#[derive(Debug)]
pub struct TxRingBatch<'t, 'rx> {
    half: &'t mut TxRingHalf,
    frames: PhantomData<&'rx ()>,
}

impl<'rx> TxBatch<'rx> for TxRingBatch<'_, 'rx> {
    #[inline]
    fn has_room(&mut self) -> bool {
        if self.half.ring.has_room() {
            return true;
        }
        self.half.settle_more();
        self.half.ring.has_room()
    }

    #[inline]
    fn put(&mut self, frame: RxFrame<'rx>, edit: &Edit) {
        let mut slot = self.half.ring.reserve().expect("put only after has_room");
        let length = edit.copy(frame.bytes(), slot.bytes());
        let committed = slot.commit(length);
        debug_assert_eq!(committed, Ok(()), "the reply rules let only sendable frames pass");
    }

    #[inline]
    fn kick(&mut self) -> io::Result<()> {
        if self.half.ring.in_flight() == 0 { Ok(()) } else { self.half.kick_socket() }
    }

    fn finish(self) -> u64 {
        0
    }
}
