//! The packet rings, echo engine and load generator of linerate: what runs for each frame, and what that stands
//! on. The commands are in the package `linerate`.
//!
//! # An engine
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use linerate_core::engine::config::{EngineConfig, PathName};
//! use linerate_core::engine::pool::Engine;
//!
//! # fn main() -> linerate_core::error::Result<()> {
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
//! Imports go down only.
//!
//! | room | what it is |
//! |---|---|
//! | [`engine`], [`load`], [`lab`] | the reflector; the generator and verifier; two network namespaces |
//! | [`ring`], [`wire`], [`stats`] | memory shared with the kernel; lenses over frames; counters |
//! | [`sys`] | every system call, typed |
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

pub mod engine;
pub mod error;
pub mod lab;
pub mod load;
pub mod ring;
pub mod stats;
#[allow(unsafe_code)]
pub mod sys;
pub mod units;
pub mod wire;
