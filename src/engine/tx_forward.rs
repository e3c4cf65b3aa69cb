//! TX half `xsk` behind the receive half `xsk`: the received frame itself goes out, edited where it
//! lies. No byte is copied on our side.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use super::edit::Edit;
use super::half::{Settled, TxBatch, TxHalf};
use super::tx_xsk::add;
use crate::ring::frame::RxFrame;
use crate::ring::xsk::XskForward;
use crate::sys::xdp::XdpSocket;

/// TX half `xsk` for frames of the same socket.
#[derive(Debug)]
pub struct TxForward {
    socket: Arc<XdpSocket>,
    ring: XskForward,
    settled: Settled,
}

impl TxForward {
    /// The sending side of a socket whose receiving side is the path's receive half.
    pub fn new(socket: Arc<XdpSocket>, ring: XskForward) -> TxForward {
        TxForward { socket, ring, settled: Settled::default() }
    }

    #[inline]
    fn kick_socket(&mut self) -> io::Result<()> {
        let TxForward { socket, ring, .. } = self;
        ring.kick(|| socket.kick())
    }
}

impl TxHalf for TxForward {
    type Batch<'t, 'rx> = TxForwardBatch<'t, 'rx>;

    #[inline]
    fn begin<'rx>(&mut self) -> TxForwardBatch<'_, 'rx> {
        TxForwardBatch { half: self, frames: PhantomData }
    }

    fn kick(&mut self) -> io::Result<()> {
        self.kick_socket()
    }

    #[inline]
    fn settle(&mut self) -> Settled {
        let taken = self.ring.settle();
        add(&mut self.settled, taken, self.ring.take_dropped());
        std::mem::take(&mut self.settled)
    }

    fn withdraw(&mut self) -> u64 {
        let (withdrawn, taken) = self.ring.withdraw();
        add(&mut self.settled, taken, self.ring.take_dropped());
        withdrawn
    }

    fn in_flight(&self) -> u64 {
        self.ring.in_flight() + self.settled.frames + self.settled.dropped
    }

    fn answer_bytes_max(&self) -> usize {
        // The answer stays where the frame was received, tags and all.
        usize::MAX
    }

    fn set_mtu(&mut self, _mtu: usize) {}
}

/// Frames on their way out, taken from the batch that they came in.
#[derive(Debug)]
pub struct TxForwardBatch<'t, 'rx> {
    half: &'t mut TxForward,
    frames: PhantomData<&'rx ()>,
}

impl<'rx> TxBatch<'rx> for TxForwardBatch<'_, 'rx> {
    #[inline]
    fn has_room(&mut self) -> bool {
        self.half.ring.has_room()
    }

    #[inline]
    fn put(&mut self, mut frame: RxFrame<'rx>, edit: &Edit) {
        let (room, start) = frame.room();
        let end = room.len();
        let start = edit.in_place(room, start);
        let frame = frame.into_umem().expect("the receive half is of the same UMEM");
        self.half.ring.post(frame, start, end - start);
    }

    #[inline]
    fn kick(&mut self) -> io::Result<()> {
        self.half.kick_socket()
    }

    fn finish(self) -> u64 {
        0
    }
}
