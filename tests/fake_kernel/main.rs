//! The rings against a kernel in memory: no privilege, no socket, every status transition.

mod hostile;
mod parts;
mod receive_model;
mod receive_v2;
mod receive_v3;
mod transmit;
mod transmit_model;
mod xsk;
mod xsk_model;
