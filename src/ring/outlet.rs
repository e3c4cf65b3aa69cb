//! TX slots and the socket that they are kicked by: how copies of frames go out, for the engine and for
//! loads, over a TX ring or an AF_XDP socket.

use std::io;

use super::tx::{Settled, TxRing};
use super::xsk::XskTransmit;
use crate::sys::failure::past_old_outage;
use crate::sys::kick::Kick;

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

/// A method of both kinds of slots.
macro_rules! slots {
    ($slots:ty, $kick:expr) => {
        impl Slots for $slots {
            #[inline]
            fn has_room(&mut self) -> bool {
                <$slots>::has_room(self)
            }

            #[inline(always)]
            fn put(&mut self, write: impl FnOnce(&mut [u8]) -> usize) {
                let mut slot = self.reserve().expect("put only with room");
                let length = write(slot.bytes());
                slot.commit(length).expect("a frame that the kernel takes");
            }

            #[inline]
            fn kick(&mut self, wake: impl FnMut() -> io::Result<()>) -> io::Result<()> {
                $kick(self, wake)
            }

            #[inline]
            fn settle(&mut self) -> Settled {
                <$slots>::settle(self)
            }

            fn withdraw(&mut self) -> (u64, Settled) {
                <$slots>::withdraw(self)
            }

            #[inline]
            fn in_flight(&self) -> u64 {
                <$slots>::in_flight(self)
            }

            fn slot_capacity(&self) -> usize {
                <$slots>::slot_capacity(self)
            }

            fn set_mtu(&mut self, mtu: usize) {
                <$slots>::set_mtu(self, mtu);
            }
        }
    };
}

slots!(TxRing, |ring: &mut TxRing, wake| {
    if ring.in_flight() == 0 { Ok(()) } else { past_old_outage(wake) }
});
slots!(XskTransmit, XskTransmit::kick);

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
