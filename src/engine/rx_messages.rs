//! Receive halves `recvmsg` and `mmsg`: frames copied into our own buffers, one or many a call, with
//! what the kernel knows of them beside the bytes (RX-16).

use std::io;
use std::sync::Arc;

use super::half::{RxBatch, RxHalf};
use super::rx_ring::RxSocket;
use crate::ring::block::Malformed;
use crate::ring::frame::{FrameMeta, RxFrame};
use crate::stats::counters::KernelCounters;
use crate::sys::packet::{Message, Messages, PacketSocket, ReceiveBatch};

/// Receive halves `recvmsg` (`MANY` is false) and `mmsg`.
#[derive(Debug)]
pub struct RxMessages<const MANY: bool> {
    socket: Arc<PacketSocket>,
    buffers: ReceiveBatch,
}

impl<const MANY: bool> RxMessages<MANY> {
    /// The half of a bound socket that tells auxiliary data, and stamps if they are wanted.
    pub fn new(socket: Arc<PacketSocket>, buffers: ReceiveBatch) -> RxMessages<MANY> {
        RxMessages { socket, buffers }
    }
}

impl<const MANY: bool> RxHalf for RxMessages<MANY> {
    const ONE_BATCH_A_WAKE_UP: bool = false;

    #[inline]
    fn lend(&mut self) -> io::Result<Option<impl RxBatch>> {
        let RxMessages { socket, buffers } = self;
        let received = match MANY {
            true => socket.receive_messages(buffers),
            false => socket.receive_message(buffers),
        };
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            received => received.map(Some),
        }
    }

    fn accumulate(&mut self, counters: &mut KernelCounters) -> io::Result<()> {
        RxSocket::accumulate(&self.socket, None, counters)
    }

    fn take_error(&mut self) -> Option<io::Error> {
        self.socket.take_error()
    }

    fn batch_frames_max(&self) -> usize {
        if MANY { self.buffers.frames_max() } else { 1 }
    }
}

impl RxBatch for Messages<'_> {
    #[inline]
    fn frames(&mut self) -> impl Iterator<Item = Result<RxFrame<'_>, Malformed>> {
        self.walk().map(|message| Ok(frame_of(message)))
    }
}

#[inline]
fn frame_of(message: Message<'_>) -> RxFrame<'_> {
    RxFrame::new(FrameMeta::of_message(&message), message.room, message.start)
}
