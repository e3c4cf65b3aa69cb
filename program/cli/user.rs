//! The option for the user that the program runs as.

use clap::Args;

use crate::bench::loading::LoadRequest;
use crate::error::Result;
use crate::load::tx::TxChoice;
use crate::sys::privilege::{become_plain_user, drop_namespaces, ensure_namespaces_allowed};

/// The user that the program runs as.
#[derive(Args, Debug, Default)]
pub struct UserArgs {
    /// If started as root: run as user NAME once files are open; the header shows the user
    /// [default: the caller of sudo, else nobody]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

impl UserArgs {
    /// Prepares for an experiment: in a lab, or on the interfaces of this namespace, for which no other
    /// is ever entered. Call it before any thread exists: a user namespace is entered by the whole
    /// process.
    pub fn prepare(&self, is_lab: bool) -> Result<()> {
        if is_lab {
            ensure_namespaces_allowed()?;
            return self.become_plain();
        }
        self.become_plain()?;
        drop_namespaces()
    }

    /// Prepares for loads. A program that makes frames takes a network namespace, also outside of a lab.
    pub fn prepare_for(&self, request: &LoadRequest) -> Result<()> {
        match (request.reach.is_lab(), request.spec.tx) {
            (false, Some(TxChoice::Live)) => self.become_plain(),
            (is_lab, _) => self.prepare(is_lab),
        }
    }

    /// Becomes that user ([`become_plain_user`]).
    pub fn become_plain(&self) -> Result<()> {
        become_plain_user(self.user.as_deref())
    }
}
