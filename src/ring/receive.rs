//! What receive rings have in common, for whoever takes frames from either.

use super::block::Malformed;
use super::frame::RxFrame;
use crate::sys::packet::RingVersion;

/// Frames on loan.
pub trait RxBatch {
    /// The frames, in the order of their arrival; what cannot be read comes as [`Malformed`].
    fn frames(&mut self) -> impl Iterator<Item = Result<RxFrame<'_>, Malformed>>;
}

/// A receive ring of a packet socket.
pub trait ReceiveRing {
    /// The version of its headers.
    const VERSION: RingVersion;

    /// Lends what has arrived, at most `limit` frames where the ring leaves the choice; `None` if
    /// nothing has. Dropping the batch returns it to the kernel.
    fn lend(&mut self, limit: usize) -> Option<impl RxBatch>;
}
