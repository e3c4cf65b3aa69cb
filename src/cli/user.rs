//! Whom the program runs as, as typed: the same option for every command.

use clap::Args;

use crate::error::Result;
use crate::sys::privilege::become_plain_user;

/// Whom the program runs as.
#[derive(Args, Debug, Default)]
pub struct UserArgs {
    /// Started by root: become user NAME once files are open; the header says who it is
    /// [default: who called sudo, else nobody]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

impl UserArgs {
    /// Becomes that user, as [`become_plain_user`] says.
    pub fn become_plain(&self) -> Result<()> {
        become_plain_user(self.user.as_deref())
    }
}
