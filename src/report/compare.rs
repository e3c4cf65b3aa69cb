//! Placeholder until the comparison lands.
