//! TX half `mmsg`: `sendmmsg` (TX-11) out of the memory that the frames were received in, where they are
//! edited. No byte of a frame is copied on our side.

use std::io;

use super::edit::Edit;
use super::half::{Settled, TxBatch, TxHalf};
use crate::ring::frame::RxFrame;
use crate::sys::failure::{is_refused_for_good, past_old_outage};
use crate::sys::kick::SendFrames;
use crate::sys::packet::{Gather, SendBatch};

/// TX half `mmsg`.
#[derive(Debug)]
pub struct TxMmsg<S> {
    sender: Sender<S>,
    batch: SendBatch,
}

/// Where answers leave, and what became of them.
#[derive(Debug)]
struct Sender<S> {
    socket: S,
    settled: Settled,
}

impl<S: SendFrames> TxMmsg<S> {
    /// The half of a bound socket without a TX ring, for received batches of at most `frames`
    /// frames. Longer ones than one call takes go out in pieces.
    pub fn new(socket: S, frames: usize) -> TxMmsg<S> {
        let sender = Sender { socket, settled: Settled::default() };
        TxMmsg { sender, batch: SendBatch::new(frames) }
    }
}

impl<S: SendFrames> TxHalf for TxMmsg<S> {
    #[inline]
    fn begin<'rx>(&mut self) -> impl TxBatch<'rx> {
        TxMmsgBatch { sender: &mut self.sender, answers: self.batch.gather() }
    }

    #[inline]
    fn settle(&mut self) -> Settled {
        std::mem::take(&mut self.sender.settled)
    }

    fn in_flight(&self) -> u64 {
        self.sender.settled.frames + self.sender.settled.refused
    }
}

/// Answers in the memory of the frames that they answer.
#[derive(Debug)]
pub struct TxMmsgBatch<'t, 'rx, S> {
    sender: &'t mut Sender<S>,
    answers: Gather<'t, 'rx>,
}

impl<S: SendFrames> Sender<S> {
    /// Sends until nothing is left or the kernel refuses. A frame that it will never
    /// take does not hold up the others.
    fn send(&mut self, answers: &mut Gather<'_, '_>) -> io::Result<()> {
        let Sender { socket, settled } = self;
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

impl<'rx, S: SendFrames> TxBatch<'rx> for TxMmsgBatch<'_, 'rx, S> {
    #[inline]
    fn has_room(&mut self) -> bool {
        // A block may hold more frames than one call takes. Why the kernel takes no more shows
        // again at the kick that follows.
        self.answers.has_room() || self.sender.send(&mut self.answers).is_ok()
    }

    #[inline]
    fn put(&mut self, frame: RxFrame<'rx>, edit: &Edit) {
        let (room, start) = frame.into_room();
        let start = edit.in_place(room, start);
        self.answers.push(&room[start..]);
    }

    #[inline]
    fn kick(&mut self) -> io::Result<()> {
        self.sender.send(&mut self.answers)
    }

    #[inline]
    fn finish(self) -> u64 {
        self.answers.waiting() as u64
    }
}
