//! Options of `linerate diff`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::choices::choice;
use super::values::parse_ratio;
use crate::bench::diff::change::{Diff, Limits};
use crate::bench::diff::document::Results;
use crate::error::{Error, Result, escaped, exit};
use crate::report::diff::{Form, print};

/// Compare two results and find regressions, as a gate for CI
#[derive(Args, Debug)]
#[command(after_help = include_str!("help/diff.txt"), allow_negative_numbers = true)]
pub struct DiffArgs {
    /// What --json wrote before
    old: PathBuf,

    /// What --json wrote now
    new: PathBuf,

    /// A change for the worse that is accepted
    #[arg(long, value_name = "PART", default_value = "5%", value_parser = parse_ratio, allow_hyphen_values = true)]
    threshold: f64,

    /// How often a change may lie outside of its interval
    #[arg(long, value_name = "PART", default_value = "5%", value_parser = parse_alpha, allow_hyphen_values = true)]
    alpha: f64,

    /// End with code 4 if something cannot be told, or is only in OLD
    #[arg(long)]
    strict: bool,

    /// Compare absolute values of different machines
    #[arg(long)]
    other_host: bool,

    /// The form of the result
    #[arg(long, value_parser = choice::<Form>(), value_name = "FORM", default_value = "table")]
    format: Form,
}

impl DiffArgs {
    /// Compares, reports, and says how it ended.
    pub fn run(self) -> Result<u8> {
        let [(old_name, old), (new_name, new)] = [read(&self.old)?, read(&self.new)?];
        let (old, new) = ((old_name.as_str(), &old), (new_name.as_str(), &new));
        let limits = Limits { alpha: self.alpha, threshold: self.threshold };
        let diff = Diff::of(old, new, limits, self.other_host)?;
        print(self.format, &diff, old, new);
        Ok(match diff.regressions() {
            1.. => exit::THRESHOLD,
            0 if self.strict && !diff.is_complete() => exit::CANNOT_TELL,
            0 => exit::OK,
        })
    }
}

/// A file, with its name for people.
fn read(path: &Path) -> Result<(String, Results)> {
    let name = escaped(path.display()).to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::Usage(format!("could not read {name}: {error}")))?;
    let results = Results::read(&name, &text)?;
    Ok((name, results))
}

fn parse_alpha(text: &str) -> std::result::Result<f64, String> {
    let alpha = parse_ratio(text)?;
    if alpha > 0.0 { Ok(alpha) } else { Err("more than 0 and less than 1: 0.05, 1%".into()) }
}
