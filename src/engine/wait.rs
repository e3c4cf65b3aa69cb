//! How a worker waits for frames.

use std::time::Duration;

/// How a worker waits for frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Sleeps in epoll as soon as nothing is left.
    Epoll,
    /// Never sleeps: looks at the ring again and again, at the price of a whole CPU.
    Spin,
    /// Looks at the ring for so long after the last frame, and only then sleeps in epoll.
    Adaptive(Duration),
}

impl Wait {
    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Wait::Epoll => "epoll",
            Wait::Spin => "spin",
            Wait::Adaptive(_) => "adaptive",
        }
    }
}
