//! What the calling thread may do, how it comes to do what the lab needs, and how it gives it up.
//!
//! The program becomes a plain user as soon as its files are open ([`become_plain_user`]) and keeps only
//! the capabilities that sockets, rings and namespaces take; each thread gives those up, too, once it
//! has what it needs ([`drop_capabilities`]). Threads inherit all of it from the one that starts them.

use std::fs;
use std::io;

use nix::sys::prctl;
use nix::unistd::{Gid, Uid, User, geteuid, setgroups, setresgid, setresuid};

use super::failure::failed;
use super::forbidden::{forbidden, tolerate};
use super::namespace::enter_user_namespace;
use crate::error::{Error, Result};

/// Bit numbers of uapi/linux/capability.h.
const DAC_OVERRIDE: u32 = 1;
const FOWNER: u32 = 3;
const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const SYS_ADMIN: u32 = 21;
const BPF: u32 = 39;
/// What setting up takes, with the names: a UDP source port below 1024, links and XDP programs, packet
/// and AF_XDP sockets, UMEMs beyond RLIMIT_MEMLOCK, network namespaces, `bpf(2)`.
const SET_UP: [(u32, &str); 6] = [
    (10, "CAP_NET_BIND_SERVICE"),
    (NET_ADMIN, "CAP_NET_ADMIN"),
    (NET_RAW, "CAP_NET_RAW"),
    (14, "CAP_IPC_LOCK"),
    (SYS_ADMIN, "CAP_SYS_ADMIN"),
    (BPF, "CAP_BPF"),
];

/// Gives up all capabilities of the calling thread for good: what it opened stays open, and it can
/// open no more. A packet socket needs none once it is there (kernel-contract NS-5).
pub fn drop_capabilities() -> Result<()> {
    give_up("give up the capabilities of this thread", |_| false)
}

/// Gives up CAP_SYS_ADMIN, which only the namespaces of a lab take, where sockets and rings are opened
/// again and again. Kernels before 5.8 know no CAP_BPF; there XDP programs take it as well.
pub fn drop_namespaces() -> Result<()> {
    if !Capabilities::effective()?.has(BPF) {
        return Ok(());
    }
    give_up("give up CAP_SYS_ADMIN", |capability| capability != SYS_ADMIN)
}

/// As [`set_capabilities`]. Only a filter of system calls (seccomp) refuses this: then the work goes on with
/// what it has, and both [`describe`] and [`forbidden`](super::forbidden::forbidden) say so.
fn give_up(attempted: &str, kept: impl Fn(u32) -> bool) -> Result<()> {
    let given_up = match capability_words() {
        Err(error) => tolerate("capget(2)", KEPT, Err(error)),
        Ok(words) => tolerate("capset(2)", KEPT, set_capabilities(words, kept)),
    };
    given_up.map_err(|error| failed(attempted, &error, ""))
}

const KEPT: &str = "threads keep all capabilities that they began with";

/// Becomes the user `asked` for, else who called sudo, else `nobody`, and keeps only what setting up
/// takes; no set-user-id program can give more back. Somebody who is not root stays who they are. Call
/// it while there is one thread, once files are open and a user namespace, if any, is entered.
pub fn become_plain_user(asked: Option<&str>) -> Result<()> {
    // While CAP_SETPCAP is there; up to the first number that the kernel does not know.
    for capability in 0.. {
        // SAFETY: prctl(2) takes numbers here and touches no memory of ours.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } < 0 {
            break;
        }
    }
    if geteuid().is_root() {
        let (name, user, group) = plain_user(asked)?;
        for (call, so, error) in change_user(user, group) {
            if asked.is_some() {
                return Err(failed(format!("become user {name}, by {call}"), &error, ""));
            }
            // In a user namespace there may be nobody else to become.
            if !is_in_user_namespace() {
                let _ = tolerate(call, so, Err(error));
            }
        }
    } else if let Some(name) = asked {
        return Err(Error::Usage(format!("--user {name}: only root can become somebody else")));
    }
    let is_kept = |capability| SET_UP.iter().any(|(one, _)| *one == capability);
    let kept = give_up("give up capabilities", is_kept);
    let no_more = prctl::set_no_new_privs().map_err(io::Error::from);
    let so = "a set-user-id program that is started may have more rights";
    let _ = tolerate("prctl(PR_SET_NO_NEW_PRIVS)", so, no_more);
    kept
}

/// Name, user and group.
fn plain_user(asked: Option<&str>) -> Result<(String, Uid, Gid)> {
    let by_name = |name: &str| User::from_name(name).ok().flatten();
    if let Some(name) = asked {
        let user =
            by_name(name).ok_or_else(|| Error::Usage(format!("--user {name}: no such user")));
        return user.map(|user| (user.name, user.uid, user.gid));
    }
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok().filter(|n| *n != 0);
    Ok(match (number("SUDO_UID"), number("SUDO_GID"), by_name("nobody")) {
        (Some(user), Some(group), _) => {
            (user.to_string(), Uid::from_raw(user), Gid::from_raw(group))
        }
        (.., Some(nobody)) => (nobody.name, nobody.uid, nobody.gid),
        _ => ("65534".into(), Uid::from_raw(65_534), Gid::from_raw(65_534)),
    })
}

/// Capabilities that are permitted stay so; none is effective afterwards. What could not be done, and what
/// follows from it: one step that is forbidden does not stop the others.
fn change_user(user: Uid, group: Gid) -> Vec<(&'static str, &'static str, io::Error)> {
    const ROOT: &str = "it runs on as root";
    // The capabilities go with the user unless they are kept and taken up again, and then set-up fails.
    let (call, allowed) = match capability_words() {
        Err(error) => ("capget(2)", Err(error)),
        Ok(words) => ("capset(2)", set_capabilities(words, |_| true)),
    };
    if let Err(error) = allowed {
        return vec![(call, ROOT, error)];
    }
    if let Err(errno) = prctl::set_keepcaps(true) {
        return vec![("prctl(PR_SET_KEEPCAPS)", ROOT, errno.into())];
    }
    let steps = [
        ("setgroups(2)", "it keeps root's supplementary groups", setgroups(&[])),
        ("setresgid(2)", "it keeps root's group", setresgid(group, group, group)),
        ("setresuid(2)", ROOT, setresuid(user, user, user)),
    ];
    steps.into_iter().filter_map(|(call, so, done)| Some((call, so, done.err()?.into()))).collect()
}

/// No program that this thread starts has more rights than it has itself. Allocates nothing.
pub(super) fn set_no_new_privileges() {
    let _ = prctl::set_no_new_privs();
}

/// Keeps what renaming and removing a file takes, wherever it is. Allocates nothing.
pub(super) fn keep_for_files() {
    let kept = |capability| [DAC_OVERRIDE, FOWNER].contains(&capability);
    let _ = capability_words().and_then(|words| set_capabilities(words, kept));
}

/// Whether this is user 0, who becomes somebody else before the work begins.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Who this is, for people.
pub fn user_name() -> String {
    let user = geteuid();
    let name = User::from_uid(user).ok().flatten().map_or(format!("user {user}"), |user| user.name);
    let here = if is_in_user_namespace() { " of a user namespace" } else { "" };
    format!("{name}{here}")
}

/// Whether threads give their capabilities up, as far as was tried.
pub fn can_drop() -> bool {
    !forbidden().iter().any(|sentence| sentence.contains(KEPT))
}

/// How many capabilities the calling thread has.
pub fn capabilities() -> usize {
    Capabilities::effective().map_or(0, |held| held.names().len())
}

/// [`user_name`] and what the calling thread may do: `nobody without capabilities`.
pub fn describe() -> String {
    let kept = Capabilities::effective().map_or(Vec::new(), Capabilities::names);
    match kept.is_empty() {
        true => format!("{} without capabilities", user_name()),
        false => format!("{} with {}", user_name(), kept.join(", ")),
    }
}

/// Whether users here are not those of the machine.
fn is_in_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| !map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// `_LINUX_CAPABILITY_VERSION_3`: 64 capability bits, in two words of each kind.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Three words of the lower capabilities, then of the upper ones: effective, permitted, inheritable.
fn capability_words() -> io::Result<[u32; 6]> {
    let header = [CAPABILITY_VERSION, 0];
    let mut words = [0u32; 6];
    // SAFETY: capget(2) reads a header of two 32-bit words and writes data of six for this version; pid
    // 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), words.as_mut_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(words) }
}

/// Makes the permitted capabilities that are to be kept effective, and gives up all others; none is
/// inheritable, and so none ambient.
fn set_capabilities(now: [u32; 6], kept: impl Fn(u32) -> bool) -> io::Result<()> {
    let mut words = [0u32; 6];
    for half in [0, 1] {
        let kept = (0..32).filter(|bit| kept(32 * half + bit)).fold(0, |bits, bit| bits | 1 << bit);
        let at = 3 * half as usize;
        words[at] = now[at + 1] & kept;
        words[at + 1] = words[at];
    }
    let header = [CAPABILITY_VERSION, 0];
    // SAFETY: capset(2) reads a header of two and data of six 32-bit words for this version, and
    // both arrays are just that; pid 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), words.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The effective capabilities of a thread, within its user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    bits: u64,
}

impl Capabilities {
    /// Those of the calling thread.
    ///
    /// Where they may not be read, root is taken to have all of them, and others none.
    pub fn effective() -> Result<Capabilities> {
        let words = match capability_words() {
            Ok(words) => words,
            Err(error) => {
                tolerate("capget(2)", "root is taken to have all capabilities", Err(error))
                    .map_err(|error| failed("read the capabilities of this thread", &error, ""))?;
                [if is_root() { u32::MAX } else { 0 }; 6]
            }
        };
        Ok(Capabilities { bits: u64::from(words[0]) | u64::from(words[3]) << 32 })
    }

    /// The names of what the lab needs and this lacks: CAP_SYS_ADMIN for namespaces, CAP_NET_ADMIN
    /// for links, CAP_NET_RAW for packet sockets.
    pub fn missing_for_lab(self) -> Vec<&'static str> {
        let needed = |capability| [NET_ADMIN, NET_RAW, SYS_ADMIN].contains(&capability);
        let missing = SET_UP.iter().filter(|(one, _)| needed(*one) && !self.has(*one));
        missing.map(|(_, name)| *name).collect()
    }

    /// The names of those that setting up takes and this has.
    pub fn names(self) -> Vec<&'static str> {
        SET_UP.iter().filter(|(one, _)| self.has(*one)).map(|(_, name)| *name).collect()
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
    fn what_the_lab_lacks_is_named() {
        let two = Capabilities { bits: 1 << NET_ADMIN | 1 << NET_RAW };
        assert_eq!(two.missing_for_lab(), ["CAP_SYS_ADMIN"]);
        assert_eq!(two.names(), ["CAP_NET_ADMIN", "CAP_NET_RAW"]);
    }

    #[test]
    fn the_own_capabilities_can_be_read() {
        Capabilities::effective().unwrap();
    }
}
