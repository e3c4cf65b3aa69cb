//! Memory shared with the kernel: packet rings as `PACKET_RX_RING` and `PACKET_TX_RING` lay them
//! out, lent and returned by status words.
//!
//! [`geometry`] mirrors the checks of `packet_set_ring`; [`layout`] names every offset; [`view`]
//! holds the only unsafe code of the room; [`block`] walks a retired V3 block as plain bytes;
//! [`rx_v3`], [`rx_v2`] and [`tx`] are the rings; [`setup`] opens a socket with both of them;
//! [`xsk`] has the rings of AF_XDP sockets, whose frames are tokens. `tests/fake.rs` is the kernel's side
//! in memory, for tests and benchmarks.

pub mod block;
pub mod bpf;
pub mod budget;
#[cfg(feature = "fake-kernel")]
#[path = "tests/fake.rs"]
pub mod fake;
pub mod frame;
pub mod geometry;
pub mod layout;
pub mod names;
pub mod outlet;
pub mod receive;
pub mod rx_v2;
pub mod rx_v3;
pub mod send_rule;
pub mod setup;
pub mod slots;
pub mod tx;
#[allow(unsafe_code)]
pub mod view;
pub mod xsk;
