//! The reflector: pinned workers that echo frames over a pair of halves.
//!
//! A *path* is a receive half and a TX half ([`half`]), chosen once at start-up ([`path`]). A
//! worker ([`worker`]) waits, handles one bounded batch ([`turn`]), kicks the TX half and ticks.
//! What becomes of a frame is decided by a pure function ([`reply`]) and done by an infallible one
//! ([`edit`]). How a worker waits is in [`wait`]; [`profile`] chooses what was left open. The [`pool`] starts the workers, watches the link and merges what they count.

pub mod config;
pub mod control;
pub mod edit;
pub mod guard;
pub mod half;
mod hidden_tags;
pub mod names;
mod padding;
pub mod path;
pub mod placement;
#[cfg(feature = "planted-slowdown")]
mod planted;
pub mod pool;
pub mod profile;
pub mod reply;
pub mod rx_messages;
pub mod rx_receive;
pub mod rx_ring;
pub mod rx_xsk;
mod start;
pub mod storm;
pub mod turn;
pub mod tx_copy;
pub mod tx_forward;
pub mod tx_mmsg;
pub mod tx_send;
pub mod wait;
pub mod worker;
