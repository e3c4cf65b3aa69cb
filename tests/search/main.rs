//! The search without a network: synthetic devices whose truth is known.

mod budget;
mod bursts;
mod curve;
mod devices;
mod hostile;
mod invariants;
mod truth;
