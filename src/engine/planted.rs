//! A slowdown of known size, to find out whether a comparison sees it: `tools/planted.py`.

use crate::sys::clock::{Clock, SystemClock};

/// What each copied answer costs more, in nanoseconds: about 8 % of an echo of 64 bytes by `ring-xsk`.
const SLOWDOWN_NS: u64 = 90;

/// Spends that time.
pub(super) fn slow_down() {
    let begin_ns = SystemClock.monotonic_ns();
    while SystemClock.monotonic_ns() - begin_ns < SLOWDOWN_NS {}
}
