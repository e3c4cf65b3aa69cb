//! The XDP program of an interface, whoever attached it.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Links, header};
use crate::error::Result;
use crate::sys::netlink::{Refusal, attribute, find, word};

/// Attributes within `IFLA_XDP` (uapi/linux/if_link.h), and the modes of the first.
const DESCRIPTOR: u32 = 1;
const ATTACHED: u32 = 2;
const FLAGS: u32 = 3;
const PROGRAM: u32 = 4;
const MODES: [&str; 5] = ["none", "native", "generic", "offloaded", "several"];

/// `XDP_FLAGS_UPDATE_IF_NOEXIST` and `XDP_FLAGS_DRV_MODE`.
const IN_DRIVER: u32 = 1 | 4;

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

impl Links {
    /// What the driver of an interface has to say against running `program`, which it refused already.
    pub(in crate::sys) fn xdp_refusal(
        &self,
        index: u32,
        program: BorrowedFd<'_>,
    ) -> Option<String> {
        let attach = |descriptor: i32| {
            let mut request = header(index, 0, 0);
            let xdp = [(DESCRIPTOR, descriptor as u32), (FLAGS, IN_DRIVER)];
            let xdp: Vec<u8> =
                xdp.iter().flat_map(|(kind, word)| attribute(*kind, &word.to_ne_bytes())).collect();
            request.extend(attribute(libc::IFLA_XDP, &xdp));
            self.socket().change(libc::RTM_SETLINK, &request, 0)
        };
        match attach(program.as_raw_fd()) {
            Err(Refusal::Errno(_, words)) if !words.is_empty() => Some(words),
            Err(_) => None,
            Ok(()) => {
                // It takes it after all, and may not keep it.
                let _ = attach(-1);
                None
            }
        }
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
