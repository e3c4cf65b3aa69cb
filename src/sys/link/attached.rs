//! The XDP program of an interface, whoever attached it.

use super::Links;
use crate::error::Result;
use crate::sys::netlink::{find, word};

/// Attributes within `IFLA_XDP` (uapi/linux/if_link.h), and the modes of the first.
const ATTACHED: u32 = 2;
const PROGRAM: u32 = 4;
const MODES: [&str; 5] = ["none", "native", "generic", "offloaded", "several"];

/// An XDP program at an interface.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ForeignProgram {
    /// Where it runs: `native`, `generic`, `offloaded` or `several`.
    pub mode: &'static str,
    /// Its number, as `bpftool prog` and `ip link show` have it; 0 if there are several.
    pub id: u32,
}

impl Links {
    /// The XDP program of an interface, if there is one. Needs no privilege.
    pub fn xdp_program(&self, index: u32) -> Result<Option<ForeignProgram>> {
        let message = self.message_by_index(index)?;
        let xdp = message.find(libc::IFLA_XDP).unwrap_or_default();
        let mode = find(xdp, ATTACHED).and_then(|mode| mode.first().copied()).unwrap_or(0);
        let id = find(xdp, PROGRAM).and_then(word).unwrap_or(0);
        let mode = MODES.get(usize::from(mode)).copied().unwrap_or("unknown");
        Ok((mode != "none").then_some(ForeignProgram { mode, id }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_has_no_program() {
        let links = Links::open().unwrap();
        let loopback = links.by_name("lo").unwrap().index;
        assert_eq!(links.xdp_program(loopback).unwrap(), None);
        assert!(links.xdp_program(u32::MAX >> 1).is_err());
    }
}
