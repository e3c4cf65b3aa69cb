//! The option for the user that the program runs as.

use clap::Args;

use crate::error::Result;
use crate::sys::privilege::become_plain_user;

/// The user that the program runs as.
#[derive(Args, Debug, Default)]
pub struct UserArgs {
    /// If started as root: run as user NAME once files are open; the header shows the user
    /// [default: the caller of sudo, else nobody]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

impl UserArgs {
    /// Becomes that user ([`become_plain_user`]).
    pub fn become_plain(&self) -> Result<()> {
        become_plain_user(self.user.as_deref())
    }
}
