//! linerate: a high-throughput ring-buffer packet engine for Linux.

pub mod bench;
pub mod cli;
pub mod engine;
pub mod error;
pub mod lab;
pub mod load;
pub mod report;
pub mod ring;
pub mod stats;
pub mod sys;
pub mod tutorial;
pub mod units;
pub mod wire;
