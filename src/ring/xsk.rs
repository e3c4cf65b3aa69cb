//! AF_XDP sockets: frames of a UMEM go to the kernel and come back over four rings.
//!
//! ```text
//!             fill ──────► kernel ──────► receive ring
//!           ▲                                  │ lend
//!     free ─┤                                  ▼
//!           ▲                             received: dropped, it is free again;
//!           │                             taken, it goes out as it is
//!           │                                  │
//!     completion ring ◄── kernel ◄── TX ring ◄─┘ ◄── reserved and filled
//! ```
//!
//! [`XskTransmit`] only sends: frames are reserved, filled and committed. [`XskReceive`] receives, and
//! [`XskForward`] sends what it received, from the very frame. [`setup`] opens sockets with them.
//!
//! A frame counts as *taken* when the kernel has consumed its TX descriptor: in copy mode it has then
//! been copied and given to the driver, in zero-copy mode the driver has it. One that the driver
//! dropped while the kernel was at it (EBUSY) was consumed and not taken: [`Settled::dropped`](super::slots::Settled) counts it.

#[cfg(feature = "fake-kernel")]
#[path = "tests/fake_xsk.rs"]
pub mod fake;
mod receive;
pub mod setup;
mod transmit;
mod tx_queue;

pub use receive::{XskBatch, XskForward, XskReceive};
pub use transmit::{XskSlot, XskTransmit};

use super::view::queue::{Consumer, Descriptor, Producer};
use super::view::umem::{Stray, Umem};

/// The rings that frames are sent by.
#[derive(Debug)]
pub(in crate::ring) struct QueuePair {
    pub transmit: Producer<Descriptor>,
    pub completions: Consumer<u64>,
}

/// Addresses that the kernel named and could not have named: counted, never followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Strays {
    count: u64,
    /// The first address behind the UMEM, which void descriptors have: newer kernels complete those, too.
    nowhere: u64,
}

impl Strays {
    fn of(umem: &Umem) -> Strays {
        Strays { count: 0, nowhere: (umem.frames() * umem.chunk_bytes()) as u64 }
    }

    #[cold]
    fn note(&mut self, Stray { address }: Stray) {
        self.count += u64::from(address != self.nowhere);
    }
}
