//! TX slots and the socket that they are kicked by: how copies of frames go out, for the engine and for
//! loads, over a TX ring or an AF_XDP socket.

use std::io;

use super::slots::{Settled, Slots};
use crate::sys::kick::Kick;

/// TX slots with their socket.
#[derive(Debug)]
pub struct Outlet<S, K> {
    slots: S,
    socket: K,
    /// Settled while room was made, and not told yet.
    settled: Settled,
}

impl<S: Slots, K: Kick> Outlet<S, K> {
    /// The slots of a bound socket.
    pub fn new(slots: S, socket: K) -> Outlet<S, K> {
        Outlet { slots, socket, settled: Settled::default() }
    }

    /// Whether [`Outlet::put`] may be called.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        if self.slots.has_room() {
            return true;
        }
        self.settled += self.slots.settle();
        self.slots.has_room()
    }

    /// As [`Slots::put`].
    #[inline(always)]
    pub fn put(&mut self, write: impl FnOnce(&mut [u8]) -> usize) {
        self.slots.put(write);
    }

    /// Makes the kernel take what was put. After an error some may have been taken.
    #[inline]
    pub fn kick(&mut self) -> io::Result<()> {
        let Outlet { slots, socket, .. } = self;
        slots.kick(|| socket.kick())
    }

    /// What the kernel has taken since the last call.
    #[inline]
    pub fn settle(&mut self) -> Settled {
        self.settled += self.slots.settle();
        std::mem::take(&mut self.settled)
    }

    /// Takes back what the kernel has not taken, and says how many frames that were.
    pub fn withdraw(&mut self) -> u64 {
        let (withdrawn, settled) = self.slots.withdraw();
        self.settled += settled;
        withdrawn
    }

    /// Frames put that were neither settled nor withdrawn.
    #[inline]
    pub fn in_flight(&self) -> u64 {
        self.slots.in_flight() + self.settled.frames + self.settled.dropped
    }

    /// The longest frame, in bytes without FCS.
    pub fn frame_bytes_max(&self) -> usize {
        self.slots.slot_capacity()
    }

    /// Follows a change of the interface's MTU.
    pub fn set_mtu(&mut self, mtu: usize) {
        self.slots.set_mtu(mtu);
    }
}
