//! The `linerate` program: parse, run, exit code.
fn main() {}
