//! Numbers that add: counters, drops by name, latency histograms, spreads of repeated trials, and
//! the waterfall of losses.
//! Pure arithmetic that knows nothing of sockets, rings or threads.

pub mod counters;
pub mod drops;
pub mod jitter;
pub mod latency;
pub mod spread;
pub mod waterfall;
