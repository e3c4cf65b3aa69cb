//! TX halves `ring`, and `xsk` behind a receive half of another kind: slots of a TX ring or of an AF_XDP
//! socket that only sends, filled by one copy that the edit is fused into.

use std::io;
use std::marker::PhantomData;

use super::edit::Edit;
use super::half::{Settled, TxBatch, TxHalf};
use crate::ring::frame::RxFrame;
use crate::ring::outlet::Outlet;
use crate::ring::slots::Slots;
use crate::sys::kick::Kick;

impl<S: Slots, K: Kick> TxHalf for Outlet<S, K> {
    #[inline]
    fn begin<'rx>(&mut self) -> impl TxBatch<'rx> {
        CopyBatch { outlet: self, frames: PhantomData }
    }

    fn kick(&mut self) -> io::Result<()> {
        Outlet::kick(self)
    }

    #[inline]
    fn settle(&mut self) -> Settled {
        Outlet::settle(self)
    }

    fn withdraw(&mut self) -> u64 {
        Outlet::withdraw(self)
    }

    fn in_flight(&self) -> u64 {
        Outlet::in_flight(self)
    }

    fn answer_bytes_max(&self) -> usize {
        self.frame_bytes_max()
    }

    fn set_mtu(&mut self, mtu: usize) {
        Outlet::set_mtu(self, mtu);
    }
}

/// A batch of copies; nothing of the received frames is kept.
#[derive(Debug)]
pub struct CopyBatch<'t, 'rx, S, K> {
    outlet: &'t mut Outlet<S, K>,
    frames: PhantomData<&'rx ()>,
}

impl<'rx, S: Slots, K: Kick> TxBatch<'rx> for CopyBatch<'_, 'rx, S, K> {
    #[inline]
    fn has_room(&mut self) -> bool {
        self.outlet.has_room()
    }

    #[inline]
    fn put(&mut self, frame: RxFrame<'rx>, edit: &Edit) {
        #[cfg(feature = "planted-slowdown")]
        super::planted::slow_down();
        self.outlet.put(|slot| edit.copy(frame.bytes(), slot));
    }

    #[inline]
    fn kick(&mut self) -> io::Result<()> {
        self.outlet.kick()
    }
}
