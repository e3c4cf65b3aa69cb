//! The only room that prints: text for people, JSON for programs.

pub mod compare;
pub mod echo;
pub mod json;
pub mod text;
