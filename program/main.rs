//! The `linerate` program: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    linerate::cli::run()
}
