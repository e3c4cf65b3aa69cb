//! Experiments: the same work over several paths, side by side, with frames verified.
//!
//! [`testbed`] is where it happens; [`contestant`] is who takes part; [`trial`] is one's turn, an
//! [`observation`] for each load; [`scale`] is the turn of two workers; [`compare`] lets all take turns
//! and adds up; [`verdict`] says in words what the numbers say. [`search`] finds the highest
//! load that a device stands, whoever runs its trials; [`searching`] runs them over real paths;
//! [`line_rate`] sets the result against the wire. [`loading`] is one load with all counters around
//! it ([`snapshot`]), from a [`site`] that may have to ask for its [`neighbour`]; [`stressing`] is many
//! of them; [`floor`] is what the harness itself costs. [`watch`] says what disturbed a trial, and
//! [`own_engine`] what went wrong with the engine under test.

pub mod compare;
pub mod contestant;
pub mod floor;
pub mod line_rate;
pub mod loading;
pub mod neighbour;
pub mod observation;
pub mod own_engine;
pub mod scale;
pub mod search;
pub mod searching;
pub mod site;
pub mod snapshot;
pub mod stressing;
pub mod testbed;
pub mod trial;
pub mod verdict;
pub mod watch;
