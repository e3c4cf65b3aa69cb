//! TX half `send`: one `sendto` a frame, edited where it was received, as the tutorial does. Of a
//! batch, each answer is sent when the next one is due.

use std::io;

use super::edit::Edit;
use super::half::{Settled, TxBatch, TxHalf};
use crate::ring::frame::RxFrame;
use crate::sys::failure::{is_refused_for_good, past_old_outage};
use crate::sys::kick::SendFrames;

/// TX half `send`.
#[derive(Debug)]
pub struct TxSend<S> {
    socket: S,
    settled: Settled,
}

impl<S: SendFrames> TxSend<S> {
    /// The half of a bound socket without a TX ring: a socket with one ignores what `send` is given
    /// (TX-6).
    pub fn new(socket: S) -> TxSend<S> {
        TxSend { socket, settled: Settled::default() }
    }
}

impl<S: SendFrames> TxHalf for TxSend<S> {
    #[inline]
    fn begin<'rx>(&mut self) -> impl TxBatch<'rx> {
        TxSendBatch { half: self, waiting: None }
    }

    #[inline]
    fn settle(&mut self) -> Settled {
        std::mem::take(&mut self.settled)
    }

    fn in_flight(&self) -> u64 {
        self.settled.frames + self.settled.refused
    }
}

/// At most one answer, in the memory of the frame that it answers.
#[derive(Debug)]
pub struct TxSendBatch<'t, 'rx, S> {
    half: &'t mut TxSend<S>,
    waiting: Option<&'rx [u8]>,
}

impl<'rx, S: SendFrames> TxBatch<'rx> for TxSendBatch<'_, 'rx, S> {
    #[inline]
    fn has_room(&mut self) -> bool {
        // Why the kernel did not take it shows again at the kick that follows.
        self.kick().is_ok()
    }

    #[inline]
    fn put(&mut self, frame: RxFrame<'rx>, edit: &Edit) {
        let (room, start) = frame.into_room();
        let start = edit.in_place(room, start);
        self.waiting = Some(&room[start..]);
    }

    #[inline]
    fn kick(&mut self) -> io::Result<()> {
        let Some(answer) = self.waiting else { return Ok(()) };
        let TxSend { socket, settled } = &mut *self.half;
        match past_old_outage(|| socket.send(answer)) {
            Ok(()) => {
                settled.frames += 1;
                settled.bytes += answer.len() as u64;
            }
            Err(error) if is_refused_for_good(&error) => settled.refused += 1,
            Err(error) => return Err(error),
        }
        self.waiting = None;
        Ok(())
    }

    fn finish(self) -> u64 {
        u64::from(self.waiting.is_some())
    }
}
