//! Searching for the highest load that a device stands: RFC 2544 throughput, NDR, PDR.
//!
//! Pure logic over a [`trial::Measurer`]: no clock, socket or thread of its own. The words are
//! those of MLRsearch (RFC 9971), which refines the throughput search of RFC 2544 section 26.1;
//! the way through the loads is simpler than its authors' implementation.
//!
//! 1. A first look at the highest load; what comes through is the first guess.
//! 2. Narrowing: single short trials expand from the guess in doubling steps, then bisect.
//! 3. Deciding: both ends of the narrow interval are measured until the duration sum decides
//!    them. A trial that goes against an end re-opens the interval at once, and narrowing goes on,
//!    from then on with full-length trials. Each two such reversals double the width that the goal
//!    makes do with: bounds closer than the noise would never hold still.
//!    An upper bound that other trials contradict is measured twice as long.
//! 4. The next goal starts with all trials so far; the goals take turns until none wants more.
//! 5. Confirming: one long trial at each lower bound. One that loses more than the width explains
//!    re-opens the search.
//!
//! A load whose trials are mostly void bounds the search like one that the device does not stand,
//! and the result then says "at least".
//!
//! [`loss_curve`] and [`burst`] are the other searches of RFC 2544 section 26.

pub mod burst;
mod choice;
pub mod classify;
mod controller;
pub mod device;
mod evidence;
pub mod goal;
pub mod line_rate;
pub mod loss_curve;

pub mod repeats;
pub mod result;
pub mod throughput;
pub mod trial;

pub use controller::search;
