//! The engine without sockets: reply rules, edits, and the halves over fake kernels, the worker.

mod clock;
mod edit_law;
mod frames;
mod kernel;
mod leave_and_rejoin;
mod mixed_halves;
mod reply_rules;
mod storms;
mod total;
mod worker;
