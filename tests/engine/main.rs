//! The engine without sockets: reply rules, edits, and halves that mix.

mod edit_law;
mod frames;
mod halves;
mod leave_and_rejoin;
mod mixed_halves;
mod reply_rules;
mod storms;
mod total;
