//! The command line from outside: the built binary with good and bad words, its exit codes, its
//! streams, its JSON, its signals.
//!
//! What needs a network namespace makes one for the child alone, with root or without. Where the
//! system forbids that, those tests say so and pass; with `CI=true` they fail instead.

mod ab;
mod compare;
mod diff;
mod doctor;
mod early;
mod echo;
mod forbidden;
mod help;
mod load;
mod load_files;
mod load_schema;
mod load_usage;
mod privilege;
mod program;
mod schema;
mod search;
mod slow_start;
mod stress;
mod usage;
