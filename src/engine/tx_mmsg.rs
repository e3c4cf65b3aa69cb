//! TX half `mmsg`: `sendmmsg` out of the memory that the frames were received in, where they are
//! edited. No byte of a frame is copied on our side.

use std::io;
use std::sync::Arc;

use super::edit::Edit;
use super::half::{Settled, TxBatch, TxHalf};
use crate::ring::frame::RxFrame;
use crate::sys::failure::{is_refused_for_good, past_old_outage};
use crate::sys::packet::{Gather, PacketSocket, SendBatch};

/// TX half `mmsg`.
#[derive(Debug)]
pub struct TxMmsg {
    outlet: Outlet,
    batch: SendBatch,
}

/// Where answers leave, and what became of them.
#[derive(Debug)]
struct Outlet {
    socket: Arc<PacketSocket>,
    settled: Settled,
}

impl TxMmsg {
    /// The half of a bound socket without a TX ring, for received batches of at most `frames`
    /// frames. Longer ones than one call takes go out in pieces.
    pub fn new(socket: Arc<PacketSocket>, frames: usize) -> TxMmsg {
        let outlet = Outlet { socket, settled: Settled::default() };
        TxMmsg { outlet, batch: SendBatch::new(frames) }
    }
}

impl TxHalf for TxMmsg {
    type Batch<'t, 'rx> = TxMmsgBatch<'t, 'rx>;

    #[inline]
    fn begin<'rx>(&mut self) -> TxMmsgBatch<'_, 'rx> {
        TxMmsgBatch { outlet: &mut self.outlet, answers: self.batch.gather() }
    }

    fn kick(&mut self) -> io::Result<()> {
        Ok(())
    }

    #[inline]
    fn settle(&mut self) -> Settled {
        std::mem::take(&mut self.outlet.settled)
    }

    fn withdraw(&mut self) -> u64 {
        0
    }

    fn in_flight(&self) -> u64 {
        self.outlet.settled.frames + self.outlet.settled.refused
    }

    fn answer_bytes_max(&self) -> usize {
        // The answer stays where the frame was received.
        usize::MAX
    }

    fn set_mtu(&mut self, _mtu: usize) {}
}

/// Answers in the memory of the frames that they answer.
#[derive(Debug)]
pub struct TxMmsgBatch<'t, 'rx> {
    outlet: &'t mut Outlet,
    answers: Gather<'t, 'rx>,
}

impl Outlet {
    /// Sends until nothing is left or the kernel wants to be left alone. A frame that it will never
    /// take does not hold up the others.
    fn send(&mut self, answers: &mut Gather<'_, '_>) -> io::Result<()> {
        let Outlet { socket, settled } = self;
        let mut send = || {
            let sent = answers.send(socket);
            settled.frames += sent.frames as u64;
            settled.bytes += sent.bytes;
            match sent.refused {
                None => Ok(false),
                Some(error) if is_refused_for_good(&error) => {
                    answers.skip();
                    settled.refused += 1;
                    Ok(true)
                }
                Some(error) => Err(error),
            }
        };
        while past_old_outage(&mut send)? {}
        Ok(())
    }
}

impl<'rx> TxBatch<'rx> for TxMmsgBatch<'_, 'rx> {
    #[inline]
    fn has_room(&mut self) -> bool {
        // A block may hold more frames than one call takes. Why the kernel takes no more shows
        // again at the kick that follows.
        self.answers.has_room() || self.outlet.send(&mut self.answers).is_ok()
    }

    #[inline]
    fn put(&mut self, frame: RxFrame<'rx>, edit: &Edit) {
        let (room, start) = frame.into_room();
        let start = edit.in_place(room, start);
        self.answers.push(&room[start..]);
    }

    #[inline]
    fn kick(&mut self) -> io::Result<()> {
        self.outlet.send(&mut self.answers)
    }

    #[inline]
    fn finish(self) -> u64 {
        self.answers.waiting() as u64
    }
}
