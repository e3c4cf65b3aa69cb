//! The other side of an engine: sends numbered frames, takes the echoes back and checks every byte.
//!
//! A [`Generator`](generator::Generator) sends and receives in one thread on one CPU, over a packet
//! socket with rings of its own. [`plan`] says what it sends; [`template`] writes a frame and knows
//! how its echo has to look; [`ledger`] remembers in bounded memory which numbers came back;
//! [`verify`] judges each returned frame; [`round_trips`] times answers; [`report`] is what a run
//! found.
//!
//! Every number that the kernel accepted for sending ends as exactly one of intact, corrupted, not
//! transformed, truncated or lost ([`LoadReport::assert_conserved`](report::LoadReport)).

pub mod evidence;
pub mod flows;
pub mod generator;
pub mod intake;
pub mod ledger;
pub mod line;
pub mod pace;
pub mod plan;
pub mod rate;
pub mod reorder;
pub mod report;
pub mod round_trips;
pub mod run;
pub mod sizes;
pub mod template;
pub mod transmit;
pub mod verify;
