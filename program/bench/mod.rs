//! Experiments: the same work over several paths, side by side, with frames verified.
//!
//! [`compare`] lets contestants take short turns, round by round, [`search`] finds the highest load that a path stands,
//! [`loading`] is one load with all counters around it ([`snapshot`]), [`stress`] is many of them, and [`doctor`]
//! looks whether the machine is fit for any of it.
//!
//! They share [`testbed`], where it happens; [`contestant`], who takes part; [`watch`], which finds each
//! [`disturbance`] of a trial; [`own_engine`], the engine under test and what went wrong with it; [`site`], where loads start from, which may have to ask for its
//! [`neighbour`]; [`floor`], what the harness itself costs.

pub mod ab;
pub mod account;
pub mod compare;
pub mod contestant;
pub mod diff;
pub mod disturbance;
pub mod doctor;
pub mod floor;
pub mod loading;
pub mod neighbour;
pub mod own_engine;
pub mod search;
pub mod site;
pub mod snapshot;
pub mod stress;
pub mod testbed;
pub mod vlan_filter;
pub mod watch;
