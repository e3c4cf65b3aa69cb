//! linerate: a high-throughput ring-buffer packet engine for Linux.
//!
//! One library behind one program. An echo engine answers Ethernet frames over packet rings and AF_XDP, a
//! generator sends numbered frames and checks every byte that comes back, and a comparison lets
//! packet paths take turns on a testbed that it makes for itself.
//!
//! # An engine
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use linerate::engine::config::{EngineConfig, PathName};
//! use linerate::engine::pool::Engine;
//!
//! # fn main() -> linerate::error::Result<()> {
//! // Answers EtherType 0x88b5 on eth1 in upper case. Needs CAP_NET_RAW.
//! let config = EngineConfig { path: PathName::RING_V2, ..EngineConfig::new("eth1") };
//! let mut engine = Engine::start(&config)?;
//! for event in engine.poll(Duration::from_secs(1))? {
//!     println!("{event:?}");
//! }
//! let counters = engine.stop().counters;
//! assert_eq!(counters.received, counters.forwarded + counters.drops.total());
//! # Ok(())
//! # }
//! ```
//!
//! # Layers
//!
//! Imports go down only; `ARCHITECTURE.md` has the table and follows a frame through the files.
//!
//! | room | what it is |
//! |---|---|
//! | [`cli`], [`report`] | what was typed; what is said |
//! | [`mod@bench`] | experiments: the same verified work over several paths, in turn |
//! | [`engine`], [`load`], [`lab`] | the reflector; the generator and verifier; the testbed |
//! | [`ring`], [`wire`], [`stats`] | memory shared with the kernel; lenses over frames; counters |
//! | [`sys`] | every system call, typed |
//! | [`tutorial`] | the plain path, call by call, on `sys` alone |
//! | [`error`], [`mod@units`] | for all |
//!
//! A packet *path* is a receive half and a TX half ([`engine::half`]), chosen once
//! ([`engine::path`]). A worker waits, handles one batch ([`engine::turn`]), kicks and ticks. What
//! becomes of a frame is decided by a pure function
//! ([`ReplyRules::decide`](engine::reply::ReplyRules::decide)) and done by an edit that cannot fail
//! ([`Edit`](engine::edit::Edit)). What the kernel lends is a guard that borrows its ring, and
//! dropping it gives it back ([`ring::view`]).
//!
//! # Two laws that are checked while running
//!
//! * received = forwarded + every drop by its name + in flight
//!   ([`EngineCounters`](stats::counters::EngineCounters));
//! * sent = intact + corrupted + not transformed + truncated + lost
//!   ([`LoadOutcome`](load::run::LoadOutcome)).

// The lint fence. Unsafe code is for system calls (`sys`) and for memory that the kernel shares
// (`ring::view`), which allow it; everywhere else it does not compile. Cargo.toml adds: every unsafe
// block says why it is sound, every public item is documented, no `#[must_use]` value is dropped.
#![deny(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod engine;
pub mod error;
pub mod lab;
pub mod load;
pub mod report;
pub mod ring;
pub mod stats;
#[allow(unsafe_code)]
pub mod sys;
pub mod tutorial;
pub mod units;
pub mod wire;
