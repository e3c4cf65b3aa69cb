//! What TX slots have in common, be they of a TX ring or of an AF_XDP socket: they are filled in order,
//! kicked and settled.

use std::io;
use std::ops::AddAssign;

/// What the kernel has taken since the last settling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Frames that the kernel accepted.
    pub frames: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
    /// Frames that it refused for good and that are not tried again; always 0 for a TX ring
    /// (kernel-contract TX-3).
    pub refused: u64,
    /// Frames that the driver dropped at the hand-over; only AF_XDP reports them.
    pub dropped: u64,
    /// Their bytes, without FCS.
    pub dropped_bytes: u64,
    /// The kernel stands before a frame that it refused: [`Slots::withdraw`] and fill again, which
    /// rewrites that very slot.
    pub stuck: bool,
}

impl AddAssign for Settled {
    #[inline]
    fn add_assign(&mut self, more: Settled) {
        let Settled { frames, bytes, refused, dropped, dropped_bytes, stuck } = more;
        self.frames += frames;
        self.bytes += bytes;
        self.refused += refused;
        self.dropped += dropped;
        self.dropped_bytes += dropped_bytes;
        self.stuck |= stuck;
    }
}

/// TX slots that are filled in order.
pub trait Slots {
    /// Whether [`Slots::put`] may be called.
    fn has_room(&mut self) -> bool;

    /// Has `write` fill the next slot and say how long the frame is. Only with room, and only a frame
    /// that [`send_rule`](super::send_rule) lets pass.
    fn put(&mut self, write: impl FnOnce(&mut [u8]) -> usize);

    /// Makes the kernel take what was put; `wake` is the system call. After an error some may have been
    /// taken.
    fn kick(&mut self, wake: impl FnMut() -> io::Result<()>) -> io::Result<()>;

    /// What the kernel has taken since the last call.
    fn settle(&mut self) -> Settled;

    /// Takes back what the kernel has not taken: how many frames, and what it had taken before.
    fn withdraw(&mut self) -> (u64, Settled);

    /// Frames put that were neither settled nor withdrawn.
    fn in_flight(&self) -> u64;

    /// The longest frame, in bytes without FCS.
    fn slot_capacity(&self) -> usize;

    /// Follows a change of the interface's MTU.
    fn set_mtu(&mut self, mtu: usize);
}
