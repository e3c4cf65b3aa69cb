//! Options for a worker's wait, wherever an engine is started.

use std::time::Duration;

use clap::Args;

use super::choices::choice;
use crate::engine::wait::Wait;
use crate::error::{Error, Result};

/// The wait of an engine's workers.
#[derive(Args, Debug, Default)]
pub struct WaitArgs {
    /// How a worker waits for frames [default: epoll, or what the profile chooses]
    #[arg(long, value_parser = choice::<Wait>(), value_name = "HOW")]
    wait: Option<Wait>,

    /// With --wait adaptive: microseconds of polling after the last frame, before the worker sleeps
    /// [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    spin_us: Option<u32>,
}

impl WaitArgs {
    /// The wait that was typed, or else `otherwise`.
    pub fn wait(&self, otherwise: Wait) -> Result<Wait> {
        match (self.spin_us, self.wait.unwrap_or(otherwise)) {
            (None, wait) => Ok(wait),
            (Some(spin_us), Wait::Adaptive(_)) => {
                Ok(Wait::Adaptive(Duration::from_micros(spin_us.into())))
            }
            (Some(_), wait) => Err(Error::Usage(format!(
                "--spin-us is for --wait adaptive, and this is --wait {}",
                wait.name()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::wait::SPIN;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: WaitArgs,
    }

    fn wait(line: &str, otherwise: Wait) -> Result<Wait> {
        Line::try_parse_from(format!("x {line}").split_whitespace()).unwrap().args.wait(otherwise)
    }

    #[test]
    fn what_is_typed_goes_before_what_would_be_otherwise() {
        let adaptive = |micros| Wait::Adaptive(Duration::from_micros(micros));
        assert_eq!(wait("", Wait::Spin).unwrap(), Wait::Spin);
        assert_eq!(wait("--wait epoll", Wait::Spin).unwrap(), Wait::Epoll);
        assert_eq!(wait("--wait adaptive", Wait::Epoll).unwrap(), Wait::Adaptive(SPIN));
        assert_eq!(wait("--wait adaptive --spin-us 7", Wait::Epoll).unwrap(), adaptive(7));
        assert_eq!(wait("--spin-us 7", adaptive(20)).unwrap(), adaptive(7));
    }

    #[test]
    fn a_time_to_spin_needs_a_wait_that_ends_spinning() {
        for line in ["--spin-us 7", "--wait spin --spin-us 7", "--wait epoll --spin-us 7"] {
            let error = wait(line, Wait::Epoll).unwrap_err().to_string();
            assert!(error.contains("--wait adaptive"), "{line}: {error}");
        }
        for refused in ["0", "1000001", "-1", "x"] {
            let words = ["x", "--wait", "adaptive", "--spin-us", refused];
            assert!(Line::try_parse_from(words).is_err(), "{refused}");
        }
    }
}
