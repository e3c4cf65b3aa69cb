//! TX half `xsk` behind a receive half of another kind: an AF_XDP socket that only sends. Each answer
//! is copied into the UMEM, the edit fused into the copy. It needs no XDP program.

use std::io;
use std::marker::PhantomData;

use super::edit::Edit;
use super::half::{Settled, TxBatch, TxHalf};
use crate::ring::frame::RxFrame;
use crate::ring::xsk::Dropped;
use crate::ring::xsk::setup::XskTransmitSocket;

/// TX half `xsk` for frames that were received elsewhere.
#[derive(Debug)]
pub struct TxXsk {
    socket: XskTransmitSocket,
    settled: Settled,
}

impl TxXsk {
    /// The half of an AF_XDP socket that is bound to its queue.
    pub fn new(socket: XskTransmitSocket) -> TxXsk {
        TxXsk { socket, settled: Settled::default() }
    }
}

/// Adds what the kernel took, and what the driver dropped of it.
#[inline]
pub(super) fn add(sum: &mut Settled, taken: Settled, dropped: Dropped) {
    sum.frames += taken.frames;
    sum.bytes += taken.bytes;
    sum.dropped += dropped.frames;
}

impl TxHalf for TxXsk {
    type Batch<'t, 'rx> = TxXskBatch<'t, 'rx>;

    #[inline]
    fn begin<'rx>(&mut self) -> TxXskBatch<'_, 'rx> {
        TxXskBatch { socket: &mut self.socket, frames: PhantomData }
    }

    fn kick(&mut self) -> io::Result<()> {
        self.socket.kick()
    }

    #[inline]
    fn settle(&mut self) -> Settled {
        let taken = self.socket.ring.settle();
        add(&mut self.settled, taken, self.socket.ring.take_dropped());
        std::mem::take(&mut self.settled)
    }

    fn withdraw(&mut self) -> u64 {
        let (withdrawn, taken) = self.socket.ring.withdraw();
        add(&mut self.settled, taken, self.socket.ring.take_dropped());
        withdrawn
    }

    fn in_flight(&self) -> u64 {
        self.socket.ring.in_flight() + self.settled.frames + self.settled.dropped
    }

    fn answer_bytes_max(&self) -> usize {
        self.socket.ring.slot_capacity()
    }

    fn set_mtu(&mut self, mtu: usize) {
        self.socket.ring.set_mtu(mtu);
    }
}

/// A batch of copies; nothing of the received frames is kept.
#[derive(Debug)]
pub struct TxXskBatch<'t, 'rx> {
    socket: &'t mut XskTransmitSocket,
    frames: PhantomData<&'rx ()>,
}

impl<'rx> TxBatch<'rx> for TxXskBatch<'_, 'rx> {
    #[inline]
    fn has_room(&mut self) -> bool {
        self.socket.ring.has_room()
    }

    #[inline]
    fn put(&mut self, frame: RxFrame<'rx>, edit: &Edit) {
        let mut slot = self.socket.ring.reserve().expect("put only after has_room");
        let length = edit.copy(frame.bytes(), slot.bytes());
        let committed = slot.commit(length);
        debug_assert_eq!(committed, Ok(()), "the reply rules let only sendable frames pass");
    }

    #[inline]
    fn kick(&mut self) -> io::Result<()> {
        self.socket.kick()
    }

    fn finish(self) -> u64 {
        0
    }
}
