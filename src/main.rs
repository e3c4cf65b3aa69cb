//! The `linerate` program: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use linerate::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
