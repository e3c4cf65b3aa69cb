//! TX half `xsk` behind the receive half `xsk`: the received frame itself goes out, edited where it
//! lies. No byte is copied on our side.

use std::io;
use std::marker::PhantomData;

use super::edit::Edit;
use super::half::{Settled, TxBatch, TxHalf};
use crate::ring::frame::RxFrame;
use crate::ring::xsk::XskForward;
use crate::sys::kick::Kick;

/// TX half `xsk` for frames of the same socket.
#[derive(Debug)]
pub struct TxForward<K> {
    socket: K,
    ring: XskForward,
    settled: Settled,
}

impl<K: Kick> TxForward<K> {
    /// The sending side of a socket whose receiving side is the path's receive half.
    pub fn new(socket: K, ring: XskForward) -> TxForward<K> {
        TxForward { socket, ring, settled: Settled::default() }
    }

    #[inline]
    fn kick_socket(&mut self) -> io::Result<()> {
        let TxForward { socket, ring, .. } = self;
        ring.kick(|| socket.kick())
    }
}

impl<K: Kick> TxHalf for TxForward<K> {
    #[inline]
    fn begin<'rx>(&mut self) -> impl TxBatch<'rx> {
        TxForwardBatch { half: self, frames: PhantomData }
    }

    fn kick(&mut self) -> io::Result<()> {
        self.kick_socket()
    }

    #[inline]
    fn settle(&mut self) -> Settled {
        self.settled += self.ring.settle();
        std::mem::take(&mut self.settled)
    }

    fn withdraw(&mut self) -> u64 {
        let (withdrawn, taken) = self.ring.withdraw();
        self.settled += taken;
        withdrawn
    }

    fn in_flight(&self) -> u64 {
        self.ring.in_flight() + self.settled.frames + self.settled.dropped
    }
}

/// Frames on their way out, taken from the batch that they came in.
#[derive(Debug)]
pub struct TxForwardBatch<'t, 'rx, K> {
    half: &'t mut TxForward<K>,
    frames: PhantomData<&'rx ()>,
}

impl<'rx, K: Kick> TxBatch<'rx> for TxForwardBatch<'_, 'rx, K> {
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
}
