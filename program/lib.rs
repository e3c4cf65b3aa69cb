//! linerate: a high-throughput ring-buffer packet engine for Linux.
//!
//! An echo engine answers Ethernet frames over packet rings and AF_XDP, a generator sends numbered frames and
//! checks every byte that comes back, and a comparison lets packet paths take turns on a testbed that it
//! makes for itself. Engine and generator are `linerate-core`, whose rooms are offered here too; this package has
//! what a command does with them.
//!
//! # Layers
//!
//! Imports go down only; `ARCHITECTURE.md` has the table and follows a frame through the files.
//!
//! | room | what it is |
//! |---|---|
//! | [`cli`], [`report`] | what was typed; what is said |
//! | [`mod@bench`] | experiments: the same verified work over several paths, in turn |
//! | [`tutorial`] | the plain path, call by call, on `sys` alone |
//! | [`engine`], [`load`], [`lab`] | the reflector; the generator and verifier; two network namespaces |
//! | [`ring`], [`wire`], [`stats`] | memory shared with the kernel; lenses over frames; counters |
//! | [`sys`] | every system call, typed |
//! | [`error`], [`mod@units`] | for all |

// Unsafe code is in linerate-core only.
#![forbid(unsafe_code)]

pub use linerate_core::{engine, error, lab, load, ring, stats, sys, units, wire};

pub mod bench;
pub mod cli;
pub mod report;
pub mod tutorial;
