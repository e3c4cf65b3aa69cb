//! Experiments: the same work over several paths, side by side, with frames verified.
//!
//! [`testbed`] is where it happens; [`trial`] is one path's turn; [`compare`] lets the paths take
//! turns and adds up; [`verdict`] says in words what the numbers say. [`search`] finds the highest
//! load that a device stands, whoever runs its trials; [`searching`] runs them over real paths;
//! [`line_rate`] sets the result against the wire. [`loading`] is one load with all counters around
//! it ([`snapshot`]); [`floor`] is what the harness itself costs.

pub mod compare;
pub mod floor;
pub mod line_rate;
pub mod loading;
pub mod neighbour;
pub mod search;
pub mod searching;
pub mod site;
pub mod snapshot;
pub mod stressing;
pub mod testbed;
pub mod trial;
pub mod verdict;
