//! Numbers that add: counters, drops by name, latency histograms, the waterfall of losses. And what
//! numbers of a disturbed machine say: slices of a drain, intervals of a ratio, the best of several.
//! Pure arithmetic that knows nothing of sockets, rings or threads.

pub mod best_set;
pub mod counters;
pub mod drops;
pub mod gaps;
pub mod jitter;
pub mod latency;
pub mod modes;
pub mod shift;
pub mod sign;
pub mod slices;
pub mod spread;
pub mod state;
pub mod waterfall;
