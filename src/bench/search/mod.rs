//! Searching for the highest load that a device stands: RFC 2544 throughput, NDR, PDR.
//!
//! Pure logic over a [`trial::Measurer`]: no clock, socket or thread of its own. The words are
//! those of MLRsearch (RFC 9971), which refines the throughput search of RFC 2544 section 26.1;
//! the way through the loads is simpler than its authors' implementation.
//!
//! 1. A first trial at the highest load; what comes through is the first guess.
//! 2. Narrowing: single trials expand from the guess in doubling steps, then bisect.
//! 3. Deciding: both ends of the narrow interval are measured until the duration sum decides
//!    them. An end that proves wrong re-opens the interval, and narrowing goes on.
//!    An upper bound that other trials contradict is measured twice as long.
//! 4. Confirming: one long trial at the lower bound, which counts as evidence like any other.
//! 5. The next goal starts with all trials so far; the goals take turns until none wants more.
//!
//! [`loss_curve`] and [`burst`] are the other searches of RFC 2544 section 26.

pub mod burst;
mod choice;
pub mod classify;
mod evidence;
pub mod goal;
pub mod loss_curve;
pub mod result;
mod run;
pub mod trial;

pub use run::search;
