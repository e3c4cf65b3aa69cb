//! linerate: a high-throughput ring-buffer packet engine for Linux.

pub mod cli;
pub mod error;
pub mod sys;
pub mod tutorial;
pub mod units;
pub mod wire;
