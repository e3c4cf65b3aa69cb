//! Receive half `xsk`: frames that an XDP program took from the driver, before the kernel's stack saw
//! them. Tags stand in the frame (XDP-9), nothing is known of checksums, and there is no kernel stamp: the
//! latency clock starts when a batch is found.

use std::io;
use std::sync::Arc;

use super::half::{RxBatch, RxHalf};
use crate::ring::xsk::XskReceive;
use crate::stats::counters::KernelCounters;
use crate::sys::clock::realtime_ns;
use crate::sys::xdp::{XdpSocket, XdpStatistics};

/// What the half asks of its socket. Tests put a fake kernel in its place.
pub trait XskSocket {
    /// Wakes a driver that sleeps on the fill ring.
    fn wake_receiver(&self) -> io::Result<()>;

    /// What the kernel counted since the socket was opened.
    fn statistics(&self) -> io::Result<XdpStatistics>;

    /// Collects the pending error.
    fn take_error(&self) -> Option<io::Error>;
}

impl XskSocket for Arc<XdpSocket> {
    fn wake_receiver(&self) -> io::Result<()> {
        XdpSocket::wake_receiver(self)
    }

    fn statistics(&self) -> io::Result<XdpStatistics> {
        XdpSocket::statistics(self)
    }

    fn take_error(&self) -> Option<io::Error> {
        XdpSocket::take_error(self)
    }
}

/// Receive half `xsk`.
#[derive(Debug)]
pub struct RxXsk<S> {
    socket: S,
    ring: XskReceive,
    stamped: bool,
    /// Frames lent since the kernel's counts were last read.
    lent: u64,
    /// Drops of the socket as they were last read.
    dropped: u64,
}

impl<S: XskSocket> RxXsk<S> {
    /// The half of a bound socket; `stamped` if latency is measured, which costs a clock read a batch.
    pub fn new(socket: S, ring: XskReceive, stamped: bool) -> RxXsk<S> {
        RxXsk { socket, ring, stamped, lent: 0, dropped: 0 }
    }
}

impl<S: XskSocket> RxHalf for RxXsk<S> {
    const ONE_BATCH_A_WAKE_UP: bool = false;

    #[inline]
    fn lend(&mut self) -> io::Result<Option<impl RxBatch>> {
        let RxXsk { socket, ring, stamped, lent, .. } = self;
        if ring.needs_wakeup() {
            // A driver that sleeps on its fill ring; copy mode never asks for it. It is asked again at
            // the next look.
            let _ = socket.wake_receiver();
        }
        let Some(mut batch) = ring.lend() else { return Ok(None) };
        *lent += batch.len() as u64;
        if *stamped {
            batch.stamp_ns = realtime_ns();
        }
        Ok(Some(batch))
    }

    /// The kernel counts only what it drops (`XDP_STATISTICS`): what it delivered is what was lent.
    fn accumulate(&mut self, counters: &mut KernelCounters) -> io::Result<()> {
        let statistics = self.socket.statistics()?;
        let dropped = statistics.rx_dropped + statistics.rx_ring_full;
        let fresh = dropped - std::mem::replace(&mut self.dropped, dropped);
        counters.drops += fresh;
        counters.packets += std::mem::take(&mut self.lent) + fresh;
        Ok(())
    }

    fn take_error(&mut self) -> Option<io::Error> {
        self.socket.take_error()
    }

    fn batch_frames_max(&self) -> usize {
        self.ring.batch_frames_max()
    }

    #[inline]
    fn is_starved(&self) -> bool {
        self.ring.is_starved()
    }
}
