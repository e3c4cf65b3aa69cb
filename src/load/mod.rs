//! The other side of an engine: sends numbered frames, takes the echoes back and checks every byte.
//!
//! [`plan`] says what is sent: [`sizes`], [`flows`], and what carries the probe. [`template`] writes
//! a frame and knows how its echo has to look; [`ledger`] remembers in bounded memory which numbers
//! came back, [`reorder`] in which order; [`verify`] judges each returned frame; [`evidence`] keeps
//! the bad ones.
//!
//! A [`Load`](run::Load) sends to a schedule ([`pace`], [`rate`]) from one thread or several, over
//! halves that can be chosen ([`tx`], [`rx`]), and times every frame; or it sends a burst and
//! collects the echoes later. [`LoadOutcome`](run::LoadOutcome) is what it found.
//!
//! Every number that the kernel accepted for sending ends as exactly one of intact, corrupted, not
//! transformed, truncated or lost
//! ([`LoadOutcome::assert_conserved`](run::LoadOutcome::assert_conserved)).

pub mod carriage;
pub mod choice;
pub mod evidence;
pub mod flows;
pub mod half;
pub mod ledger;
pub mod live;
pub mod pace;
pub mod plan;
pub mod rate;
pub mod reorder;
pub mod run;
pub mod run_id;
pub mod rx;
pub mod sizes;
pub mod template;
pub mod trace;
pub mod tx;
pub mod verify;
