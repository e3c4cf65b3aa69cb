//! The one error type of the crate: what was attempted, on what, which errno, and what to do.

use std::fmt;

/// What went wrong, in the words that a user needs.
#[derive(Debug)]
pub enum Error {
    /// A system call failed.
    System(SystemError),
    /// The kernel would not make or map a packet ring; a path without rings may still work.
    Ring(SystemError),
    /// The request makes no sense or asks for what this program refuses; exit code 2.
    Usage(String),
    /// The run could not be carried out for a reason that no errno names.
    Run(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::System(error) | Error::Ring(error) => error.fmt(f),
            Error::Usage(text) | Error::Run(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<SystemError> for Error {
    fn from(error: SystemError) -> Error {
        Error::System(error)
    }
}

/// The result of whatever can fail outside the hot path.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed system call: what was attempted, the errno by name, and what to do about it.
#[derive(Debug)]
pub struct SystemError {
    /// What was attempted and on what, as in `bind a packet socket to veth0`.
    pub attempted: String,
    /// The errno.
    pub errno: Errno,
    /// What the user can do, as a sentence without a full stop; empty where nothing is known.
    pub advice: String,
}

impl fmt::Display for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: {}", self.attempted, self.errno)?;
        if !self.advice.is_empty() {
            write!(f, "\n  {}", self.advice)?;
        }
        Ok(())
    }
}

/// An errno with its symbolic name and its text, filled in by the `sys` layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno {
    /// The number, as in `errno(3)`.
    pub code: i32,
    /// The symbolic name, as in `ENODEV`.
    pub name: &'static str,
    /// The kernel's meaning in words.
    pub text: &'static str,
    /// Whether more privilege would have made the difference (`EPERM`, `EACCES`).
    pub privilege: bool,
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.text)
    }
}

/// Text from elsewhere (a name, a path, what the kernel says), with everything escaped that could
/// command a terminal or make text look like another: control characters, invisible ones, and those
/// that turn the direction of writing.
pub fn escaped<T: fmt::Display>(text: T) -> Escaped<T> {
    Escaped(text)
}

/// See [`escaped`].
#[derive(Debug)]
pub struct Escaped<T>(T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_string().chars().try_for_each(|character| match is_unsafe(character) {
            true => write!(f, "{}", character.escape_unicode()),
            false => write!(f, "{character}"),
        })
    }
}

/// Whether a character commands a terminal, or is neither seen nor a blank.
pub fn is_unsafe(character: char) -> bool {
    let invisible = ['\u{200b}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2060}'..='\u{206f}'];
    character.is_control() || invisible.iter().any(|range| range.contains(&character))
}

/// Exit codes of the program. Interruption (130) is not an error and is decided by the commands.
pub mod exit {
    /// It worked.
    pub const OK: u8 = 0;
    /// The run could not be carried out.
    pub const FAILED: u8 = 1;
    /// The command line makes no sense.
    pub const USAGE: u8 = 2;
    /// A threshold that was asked for was missed.
    pub const THRESHOLD: u8 = 3;
    /// What was asked cannot be told: from this machine, which is not fit for measuring (`doctor`), or
    /// from what was measured (`diff --strict`).
    pub const CANNOT_TELL: u8 = 4;
    /// A privilege is missing (`EX_NOPERM` of sysexits).
    pub const PRIVILEGE: u8 = 77;
    /// A measurement was interrupted; its summary was printed.
    pub const INTERRUPTED: u8 = 130;
}

impl Error {
    /// The same failure, marked as the ring's.
    pub fn of_ring(self) -> Error {
        match self {
            Error::System(error) => Error::Ring(error),
            other => other,
        }
    }

    /// The exit code that this error ends the program with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => exit::USAGE,
            Error::System(error) | Error::Ring(error) if error.errno.privilege => exit::PRIVILEGE,
            Error::System(_) | Error::Ring(_) | Error::Run(_) => exit::FAILED,
        }
    }

    /// The errno number, where a system call was the cause.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::System(error) | Error::Ring(error) => Some(error.errno.code),
            Error::Usage(_) | Error::Run(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_command_a_terminal_is_escaped() {
        assert_eq!(escaped("\x1b]0;x\x07").to_string(), r"\u{1b}]0;x\u{7}");
        assert_eq!(escaped("a\u{9b}b\u{202e}c\nd").to_string(), r"a\u{9b}b\u{202e}c\u{a}d");
        assert_eq!(escaped("eth0 – grün").to_string(), "eth0 – grün");
    }
}
