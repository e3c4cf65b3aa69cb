//! What the calling thread may do, and how it comes to do what the lab needs.

use std::fs;

use super::failure::failed;
use super::namespace::enter_user_namespace;
use crate::error::{Error, Result};

/// Bit numbers of uapi/linux/capability.h.
const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const SYS_ADMIN: u32 = 21;

/// Gives up all capabilities of the calling thread for good: what it opened stays open, and it can
/// open no more. A packet socket needs none once it is there (kernel-contract NS-5).
pub fn drop_capabilities() -> Result<()> {
    // struct __user_cap_header_struct and two of struct __user_cap_data_struct.
    let header = [CAPABILITY_VERSION, 0];
    let none = [0u32; 6];
    // SAFETY: capset(2) reads a header of two and data of six 32-bit words for this version, and
    // both arrays are just that; pid 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    if result < 0 {
        let error = std::io::Error::last_os_error();
        return Err(failed("give up the capabilities of this thread", &error, ""));
    }
    Ok(())
}

/// `_LINUX_CAPABILITY_VERSION_3`: 64 capability bits, in two words of each kind.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// The effective capabilities of a thread, within its user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    bits: u64,
}

impl Capabilities {
    /// Those of the calling thread.
    pub fn effective() -> Result<Capabilities> {
        const STATUS: &str = "/proc/thread-self/status";
        let status = fs::read_to_string(STATUS).map_err(|error| {
            failed("read the capabilities of this thread", &error, "is /proc mounted?")
        })?;
        parse(&status).ok_or_else(|| {
            Error::Run(format!("could not read the capabilities of this thread from {STATUS}"))
        })
    }

    /// May open packet sockets.
    pub fn net_raw(self) -> bool {
        self.has(NET_RAW)
    }

    /// May make and change links.
    pub fn net_admin(self) -> bool {
        self.has(NET_ADMIN)
    }

    /// May make and enter network namespaces.
    pub fn sys_admin(self) -> bool {
        self.has(SYS_ADMIN)
    }

    /// The names of what the lab needs and this lacks: CAP_SYS_ADMIN for namespaces, CAP_NET_ADMIN
    /// for links, CAP_NET_RAW for packet sockets.
    pub fn missing_for_lab(self) -> Vec<&'static str> {
        [
            (self.sys_admin(), "CAP_SYS_ADMIN"),
            (self.net_admin(), "CAP_NET_ADMIN"),
            (self.net_raw(), "CAP_NET_RAW"),
        ]
        .into_iter()
        .filter(|(present, _)| !present)
        .map(|(_, name)| name)
        .collect()
    }

    fn has(self, capability: u32) -> bool {
        self.bits & (1 << capability) != 0
    }
}

/// How the process comes to make network namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It had the capabilities.
    Privileged,
    /// It is now in a user and a network namespace of its own.
    InUserNamespace,
}

/// Makes sure that this process can make network namespaces, veth pairs and packet sockets: enters
/// a user namespace when it lacks the capabilities. Call it before there is a second thread.
pub fn ensure_namespaces_allowed() -> Result<Standing> {
    if Capabilities::effective()?.missing_for_lab().is_empty() {
        return Ok(Standing::Privileged);
    }
    enter_user_namespace()?;
    let missing = Capabilities::effective()?.missing_for_lab();
    if missing.is_empty() {
        Ok(Standing::InUserNamespace)
    } else {
        Err(Error::Run(format!(
            "could not become root in a user namespace: {} missing; a security module may have \
             taken it\n  run it as root instead (sudo linerate …)",
            missing.join(" and ")
        )))
    }
}

fn parse(status: &str) -> Option<Capabilities> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    Some(Capabilities { bits: u64::from_str_radix(line.trim(), 16).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_gave_its_capabilities_up_has_none() {
        let dropped = std::thread::spawn(|| {
            drop_capabilities().unwrap();
            Capabilities::effective().unwrap()
        });
        assert_eq!(dropped.join().unwrap(), Capabilities { bits: 0 });
    }

    #[test]
    fn capabilities_are_read_by_name() {
        let two = parse("Name:\tx\nCapPrm:\tffff\nCapEff:\t0000000000003000\n").unwrap();
        assert!(two.net_admin() && two.net_raw() && !two.sys_admin());
        assert_eq!(two.missing_for_lab(), ["CAP_SYS_ADMIN"]);
        assert_eq!(parse("Name:\tx\n"), None);
        assert_eq!(parse("CapEff:\tzz\n"), None);
    }

    #[test]
    fn the_own_capabilities_can_be_read() {
        Capabilities::effective().unwrap();
    }
}
