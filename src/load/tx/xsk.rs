//! TX half `xsk`: frames written into the memory that the kernel, or the driver, takes them from.

use std::io;
use std::sync::Arc;

use super::TxHalf;
use crate::error::Result;
use crate::load::plan::LoadConfig;
use crate::ring::budget::MemoryBudget;
use crate::ring::tx::Settled;
use crate::ring::xsk::setup::{XskChoice, XskTransmitSocket};

/// An AF_XDP socket that only sends, on one queue of the interface.
#[derive(Debug)]
pub struct TxXsk {
    socket: XskTransmitSocket,
}

impl TxXsk {
    /// Opens the socket on `queue` of the configured interface: each sender needs one of its own.
    ///
    /// Frames go straight to the driver: past the queueing discipline, and unseen by packet captures.
    pub fn open(config: &LoadConfig, queue: u32, budget: &Arc<MemoryBudget>) -> Result<TxXsk> {
        let choice = XskChoice::new(config.interface, queue, config.mtu).for_batches(config.batch);
        Ok(TxXsk { socket: XskTransmitSocket::open(&choice, budget)? })
    }
}

impl TxHalf for TxXsk {
    #[inline]
    fn put(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let Some(mut slot) = self.socket.ring.reserve() else { return false };
        let length = write(slot.bytes());
        // LoadConfig::check asked the same rule about every size.
        slot.commit(length).expect("a frame that the kernel takes");
        true
    }

    #[inline]
    fn kick(&mut self) -> io::Result<()> {
        self.socket.kick()
    }

    /// A frame that the driver dropped has left like the others: no kick sends it again. It counts as
    /// sent and will be missing among the echoes, and the interface's `tx_dropped` says where it
    /// stayed.
    #[inline]
    fn settle(&mut self) -> Settled {
        with_dropped(self.socket.ring.settle())
    }

    #[inline]
    fn in_flight(&self) -> u64 {
        self.socket.ring.in_flight()
    }

    fn withdraw(&mut self) -> (u64, Settled) {
        let (withdrawn, settled) = self.socket.ring.withdraw();
        (withdrawn, with_dropped(settled))
    }

    fn frame_bytes_max(&self) -> usize {
        self.socket.ring.slot_capacity()
    }
}

#[inline]
fn with_dropped(settled: Settled) -> Settled {
    Settled {
        frames: settled.frames + settled.dropped,
        bytes: settled.bytes + settled.dropped_bytes,
        ..Settled::default()
    }
}
