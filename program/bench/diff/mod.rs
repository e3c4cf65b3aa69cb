//! Two results of the same measurement: what is worse in the newer one.
//!
//! [`document`] reads the results, [`change`] compares them.

pub mod change;
pub mod document;
