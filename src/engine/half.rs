//! A path is a receive half and a TX half, and any two fit together.
//!
//! A receive half lends batches of frames. A TX half takes frames of a batch while the batch is on
//! loan: it may copy them at once, as a TX ring does, or only remember where they are and send them
//! from there at the kick, as `sendmmsg` out of the receive ring does. Hence the lifetimes: a
//! [`TxBatch`] cannot outlive the frames it was given, and [`TxBatch::finish`] ends it before the
//! batch goes back to the kernel.

use std::io;

use super::edit::Edit;
use crate::ring::frame::RxFrame;
pub use crate::ring::receive::RxBatch;
pub use crate::ring::slots::Settled;
use crate::stats::counters::KernelCounters;

/// Where frames come from.
pub trait RxHalf {
    /// Whether the worker goes back to sleep after each batch, as the tutorial does, instead of
    /// draining until nothing is left.
    const ONE_BATCH_A_WAKE_UP: bool;

    /// Lends what has arrived; `None` if nothing has. Dropping the batch returns it.
    fn lend(&mut self) -> io::Result<Option<impl RxBatch>>;

    /// Adds what the kernel counted for the socket since the last call.
    fn accumulate(&mut self, counters: &mut KernelCounters) -> io::Result<()>;

    /// Collects the socket's pending error, which epoll announced.
    fn take_error(&mut self) -> Option<io::Error>;

    /// Most frames of one batch.
    fn batch_frames_max(&self) -> usize;

    /// Whether nothing can arrive before the half was looked at again, so that no arrival ends a sleep.
    #[inline]
    fn is_starved(&self) -> bool {
        false
    }
}

/// Where answers go.
///
/// What is not said here of a half is as it is where answers are sent with their batch, from where their
/// frames were received: nothing stays queued between batches, and no room of our own limits them.
pub trait TxHalf {
    /// Begins a batch of answers to frames that live for `'rx`.
    fn begin<'rx>(&mut self) -> impl TxBatch<'rx>;

    /// Kicks once more what earlier batches left queued.
    fn kick(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What the kernel has taken since the last call.
    fn settle(&mut self) -> Settled;

    /// Takes back what the kernel has not taken, and says how many frames that were.
    fn withdraw(&mut self) -> u64 {
        0
    }

    /// Frames handed in and neither settled nor withdrawn.
    fn in_flight(&self) -> u64;

    /// The longest answer that [`TxBatch::put`] may be given, in bytes without FCS. Room was
    /// chosen by the MTU of the beginning, and the MTU may be raised at run time.
    fn answer_bytes_max(&self) -> usize {
        usize::MAX
    }

    /// Follows a change of the interface's MTU.
    fn set_mtu(&mut self, _mtu: usize) {}
}

/// Answers on their way out.
///
/// They may live in the frames that they answer, so the received batch cannot be returned to the
/// kernel before they are finished:
///
/// ```compile_fail,E0505
/// use linerate_core::engine::edit::Edit;
/// use linerate_core::engine::half::{RxBatch, TxBatch, TxHalf};
///
/// fn too_late(tx: &mut impl TxHalf, mut batch: impl RxBatch, edit: &Edit) {
///     let mut out = tx.begin();
///     if let Some(Ok(frame)) = batch.frames().next() {
///         out.put(frame, edit);
///     }
///     drop(batch);
///     out.finish();
/// }
/// ```
pub trait TxBatch<'rx> {
    /// Whether [`TxBatch::put`] may be called.
    fn has_room(&mut self) -> bool;

    /// Takes `frame` as `edit` makes it. Only after [`TxBatch::has_room`] said yes; the answer is
    /// no longer than [`TxHalf::answer_bytes_max`], and the reply rules have seen to it that the
    /// kernel will take it.
    fn put(&mut self, frame: RxFrame<'rx>, edit: &Edit);

    /// Makes the kernel take what was put. An error says that it took less, and why.
    fn kick(&mut self) -> io::Result<()>;

    /// Ends the batch: nothing refers to the received frames any more. Returns how many answers,
    /// the newest ones, had to be given up because they lived in them and could not be sent.
    fn finish(self) -> u64
    where
        Self: Sized,
    {
        0
    }
}
