//! The comparison: for each size the contestants take turns, so that what disturbs the machine
//! disturbs them alike.
//!
//! [`run`] is how it is asked for and done, [`result`] what it finds, an [`observation`] for each load of
//! each trial, and [`verdict`] what that says about each question.

pub mod observation;
pub mod result;
pub mod run;
pub mod verdict;
