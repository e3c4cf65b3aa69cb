//! Receive half `recv`: one `recvfrom`, one frame, as the tutorial does.
//!
//! `recvfrom` gives no control message (RX-13): a tag, the state of the checksum and the kernel's stamp
//! cannot be seen. So the socket's filter keeps tagged frames out, the checksum counts as unseen,
//! and the latency clock starts when the call returns.

use std::io;
use std::sync::Arc;

use super::half::{RxBatch, RxHalf};
use super::rx_ring::RxSocket;
use crate::ring::block::Malformed;
use crate::ring::frame::{ChecksumState, FrameMeta, PacketType, RxFrame};
use crate::stats::counters::KernelCounters;
use crate::sys::clock::realtime_ns;
use crate::sys::packet::PacketSocket;

/// The largest frame that a packet socket can hand over: a super-frame of 64 KiB and its header.
const BUFFER_BYTES: usize = (64 << 10) + 64;

/// Receive half `recv`.
#[derive(Debug)]
pub struct RxReceive {
    socket: Arc<PacketSocket>,
    buffer: Box<[u8]>,
    stamped: bool,
}

impl RxReceive {
    /// The half of a bound socket; `stamped` if latency is measured, which costs a clock read a
    /// frame here.
    pub fn new(socket: Arc<PacketSocket>, stamped: bool) -> RxReceive {
        RxReceive { socket, buffer: vec![0; BUFFER_BYTES].into(), stamped }
    }
}

impl RxHalf for RxReceive {
    const ONE_BATCH_A_WAKE_UP: bool = true;

    #[inline]
    fn lend(&mut self) -> io::Result<Option<impl RxBatch>> {
        let received = match self.socket.receive(&mut self.buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let stamp_ns = if self.stamped { realtime_ns() } else { 0 };
        let captured = received.wire_bytes.min(self.buffer.len());
        let meta = FrameMeta {
            wire_bytes: received.wire_bytes as u32,
            stamp_ns,
            nic_ns: 0,
            packet_type: PacketType::from_number(received.from.packet_type),
            tag: None,
            checksum: ChecksumState::Unseen,
        };
        Ok(Some(OneFrame { meta, bytes: &mut self.buffer[..captured] }))
    }

    fn accumulate(&mut self, counters: &mut KernelCounters) -> io::Result<()> {
        RxSocket::accumulate(&self.socket, None, counters)
    }

    fn take_error(&mut self) -> Option<io::Error> {
        self.socket.take_error()
    }

    fn batch_frames_max(&self) -> usize {
        1
    }
}

/// One received frame.
#[derive(Debug)]
pub struct OneFrame<'a> {
    meta: FrameMeta,
    bytes: &'a mut [u8],
}

impl RxBatch for OneFrame<'_> {
    #[inline]
    fn frames(&mut self) -> impl Iterator<Item = Result<RxFrame<'_>, Malformed>> {
        std::iter::once(Ok(RxFrame::new(self.meta, self.bytes, 0)))
    }
}
