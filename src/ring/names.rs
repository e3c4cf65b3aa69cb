//! TX halves by name: the engine and loads have the same.

use std::fmt;
use std::str::FromStr;

/// A TX half by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TxName {
    /// TX ring of a packet socket: one copy, one system call a batch.
    #[default]
    Ring,
    /// `sendmmsg` out of the memory that the frames were received in, one call a batch.
    Mmsg,
    /// `sendto`, one frame a call.
    Send,
    /// AF_XDP: with the receive half `xsk` the received frame itself is sent, else one copy.
    Xsk,
}

impl TxName {
    /// All of them.
    pub const ALL: [TxName; 4] = [TxName::Ring, TxName::Mmsg, TxName::Send, TxName::Xsk];

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            TxName::Ring => "ring",
            TxName::Mmsg => "mmsg",
            TxName::Send => "send",
            TxName::Xsk => "xsk",
        }
    }
}

impl fmt::Display for TxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TxName {
    type Err = String;

    fn from_str(text: &str) -> Result<TxName, String> {
        let known = TxName::ALL.into_iter().find(|half| half.name() == text.trim());
        known.ok_or_else(|| {
            format!("unknown TX half '{text}': {}", TxName::ALL.map(TxName::name).join(", "))
        })
    }
}
