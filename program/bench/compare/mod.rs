//! The comparison: contestants take short turns, round by round ([`run`]), as the [`plan`] asks. A turn is
//! an [`observation`] under one load; the rounds are a [`result`], and the [`verdict`] says who is best.

mod device;
pub mod observation;
mod order;
pub mod plan;
pub mod result;
pub mod run;
mod scale;
mod seat;
pub mod verdict;
