//! What was typed and what it means: the only room that names clap.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, Parser};

use crate::error::{Result, exit};
use crate::report::text::{Text, complain, help, lost};

mod ab;
mod choices;
mod compare;
mod diff;
mod doctor;
mod echo;
mod load;
mod search;
mod stress;
mod target;
mod testbed;
mod tutorial;
mod user;
mod values;
mod waiting;

/// Measure what a NIC, a kernel and a packet path can do, with verified frames.
#[derive(Debug, Parser)]
#[command(version)]
enum Cli {
    /// Compare packet paths: the same verified echo over each of them, in turn
    Compare(compare::CompareArgs),
    /// Compare two settings, engine options or builds, with proof of what was changed
    Ab(Box<ab::AbArgs>),
    /// Send frames at a rate, verify every echoed byte, account for every frame
    Load(Box<load::LoadArgs>),
    /// Find the highest load within a loss ratio: NDR and PDR, or RFC 2544 throughput
    Search(search::SearchArgs),
    /// Measure loss, rate and latency at rising loads
    LossCurve(search::LossCurveArgs),
    /// Find the longest burst without loss (back-to-back frames)
    Burst(search::BurstArgs),
    /// Test a link with sizes, bursts, patterns, VLANs and flows; a verdict per phase
    Stress(Box<stress::StressArgs>),
    /// Compare two results and find regressions, as a gate for CI
    Diff(diff::DiffArgs),
    /// Echo frames back to their senders, payload in upper case
    Echo(Box<echo::EchoArgs>),
    /// Tell what this machine can do and what spoils measurements on it
    Doctor(doctor::DoctorArgs),
    /// Packet sockets, one system call at a time: a server and a client to learn from
    #[command(subcommand)]
    Tutorial(tutorial::TutorialArgs),
}

/// All that may be typed.
pub fn command() -> Command {
    Cli::command()
}

/// Does what was typed, or explains it: help and mistakes.
pub fn run() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            Text::new(false).say(help(&error.to_string()));
            exit_code(Ok(exit::OK))
        }
        Err(error) if error.kind() == ErrorKind::DisplayVersion => {
            Text::new(false).say(error.to_string().trim_end());
            exit_code(Ok(exit::OK))
        }
        Err(error) => error.exit(),
    }
}

impl Cli {
    /// Does what was asked for and says how it ended, on stderr where it went wrong.
    fn run(self) -> ExitCode {
        let result = match self {
            Cli::Compare(arguments) => arguments.run(),
            Cli::Ab(arguments) => arguments.run(),
            Cli::Diff(arguments) => arguments.run(),
            Cli::Echo(arguments) => arguments.run(),
            Cli::Load(arguments) => arguments.run(),
            Cli::Search(arguments) => arguments.run(),
            Cli::LossCurve(arguments) => arguments.run(),
            Cli::Burst(arguments) => arguments.run(),
            Cli::Stress(arguments) => arguments.run(),
            Cli::Doctor(arguments) => arguments.run(),
            Cli::Tutorial(arguments) => arguments.run(),
        };
        exit_code(result)
    }
}

fn exit_code(result: Result<u8>) -> ExitCode {
    // A run whose text was lost did not do what was asked, whatever else it did.
    let result = result.and_then(|code| lost().map_or(Ok(code), Err));
    match result {
        Ok(code) => code.into(),
        Err(error) => {
            complain(&error);
            error.exit_code().into()
        }
    }
}
