//! User namespaces, in which an unprivileged user gets network namespaces.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid};

use crate::error::{Error, Result};
use crate::sys::failure::failed;
use crate::sys::packet::{PacketSocket, SocketType};

/// Moves the whole process into a fresh user namespace, in which the current user is root, and
/// into a fresh network namespace owned by it. There is no way back.
///
/// Must be called while the process has one thread, that is, at the very start of `main`: with a
/// second one the kernel gives EINVAL (user_namespaces(7), VERIFIED), which is checked beforehand.
/// After an error the process may be in a user namespace without a user: end it.
pub fn enter_user_namespace() -> Result<()> {
    let threads = thread_count()?;
    if threads > 1 {
        return Err(Error::Run(format!(
            "could not enter a user namespace: the process has {threads} threads already, and the \
             kernel allows this to a process of one thread only; do it first thing in main"
        )));
    }
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .map_err(|errno| forbidden("enter a user namespace", errno, user.is_root()))?;
    // Somebody unprivileged may map groups only after giving up setgroups(2) (user_namespaces(7)).
    for (path, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {user} 1")),
        ("/proc/self/gid_map", format!("0 {group} 1")),
    ] {
        fs::write(path, &text).map_err(|error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
            forbidden(&format!("write '{text}' to {path}"), errno, user.is_root())
        })?;
    }
    Ok(())
}

/// Enters a user namespace in a child process and opens a packet socket there: the first may succeed
/// without the second, where a security module takes the capabilities away.
pub fn try_user_namespace() -> Result<()> {
    let threads = thread_count()?;
    if threads > 1 {
        return Err(Error::Run(format!("not tried: the process has {threads} threads already")));
    }
    // SAFETY: the process has this thread only, so that no lock is held that the child could wait for.
    match unsafe { libc::fork() } {
        0 => {
            let socket = || PacketSocket::open(SocketType::Raw).map(drop);
            let refused = enter_user_namespace().and_then(|()| socket()).err();
            // The numbers of errnos are below 200.
            let code = refused.map_or(0, |error| error.errno().unwrap_or(UNNAMED));
            // SAFETY: it ends the child without what the program does at its end, and takes a number.
            unsafe { libc::_exit(code) }
        }
        -1 => Err(failed("start a process", &io::Error::last_os_error(), "")),
        child => match waitpid(Pid::from_raw(child), None) {
            Ok(WaitStatus::Exited(_, 0)) => Ok(()),
            Ok(WaitStatus::Exited(_, code)) if code != UNNAMED => {
                let errno = Errno::from_raw(code);
                Err(forbidden("enter a user namespace", errno, geteuid().is_root()))
            }
            _ => Err(Error::Run("the process that tried it found no answer".into())),
        },
    }
}

/// What a child ends with that failed for want of no errno.
const UNNAMED: i32 = 255;

/// The settings that forbid user namespaces, each as `name is value`.
pub fn forbidding_settings() -> Vec<String> {
    Settings::read(geteuid().is_root()).culprits()
}

/// Threads of this process.
pub fn thread_count() -> Result<usize> {
    let tasks = fs::read_dir("/proc/self/task").map_err(|error| {
        failed("count the threads of this process", &error, "is /proc mounted?")
    })?;
    Ok(tasks.count())
}

/// The error for what the system forbids here. With root's rights it would not have been needed, so
/// privilege is the matter whatever the errno is (ENOSPC where the limit is 0).
fn forbidden(attempted: &str, errno: Errno, root: bool) -> Error {
    let mut error = failed(attempted, &errno.into(), explain(errno, &Settings::read(root)));
    if let Error::System(system) = &mut error {
        system.errno.privilege = true;
    }
    error
}

/// What the system says about user namespaces; `None` where it has no such setting.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Settings {
    /// `kernel.apparmor_restrict_unprivileged_userns` (Ubuntu since 23.10): 1 forbids.
    apparmor: Option<String>,
    /// `kernel.unprivileged_userns_clone` (Debian, older): 0 forbids.
    clone: Option<String>,
    /// `user.max_user_namespaces`: 0 forbids, a small number may be used up.
    most: Option<String>,
    /// The seccomp mode of this process: 2 is a filter, as containers have.
    seccomp: Option<String>,
    /// Whether this is user 0 without its capabilities. Since 5.12 the kernel maps user 0 only for
    /// who has CAP_SETFCAP (`verify_root_map` in kernel/user_namespace.c), with EPERM (VERIFIED).
    root: bool,
}

impl Settings {
    /// `root` is whether the user was 0 before: a user not mapped yet is seen as 65534.
    fn read(root: bool) -> Settings {
        let setting = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let seccomp = fs::read_to_string("/proc/self/status").ok().and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("Seccomp:"))?;
            Some(line.trim_start_matches("Seccomp:").trim().to_owned())
        });
        Settings {
            apparmor: setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            clone: setting("/proc/sys/kernel/unprivileged_userns_clone"),
            most: setting("/proc/sys/user/max_user_namespaces"),
            seccomp,
            root,
        }
    }

    /// The settings that forbid it, each as a clause; empty when none is known to.
    fn culprits(&self) -> Vec<String> {
        const FILTER: &str = "the process runs under a seccomp filter, as in most containers, which may \
             forbid it";
        let forbidding = [
            (&self.apparmor, "1", "kernel.apparmor_restrict_unprivileged_userns is 1"),
            (&self.clone, "0", "kernel.unprivileged_userns_clone is 0"),
            (&self.most, "0", "user.max_user_namespaces is 0"),
            (&self.seccomp, "2", FILTER),
        ];
        let found = forbidding.into_iter().filter(|(now, bad, _)| now.as_deref() == Some(*bad));
        found.map(|(.., clause)| clause.to_owned()).collect()
    }
}

/// What forbids a user namespace here, and what to run instead.
fn explain(errno: Errno, settings: &Settings) -> String {
    const INSTEAD: &str = "run it as root instead (sudo linerate …; in a container with the \
         capabilities NET_RAW, NET_ADMIN and SYS_ADMIN)";
    let culprits = settings.culprits();
    let cause =
        if !culprits.is_empty() {
            format!("this system forbids user namespaces: {}", culprits.join(", "))
        } else {
            match errno {
            Errno::ENOSPC | Errno::EUSERS => format!(
                "the limit on user namespaces (user.max_user_namespaces = {}) or on their nesting \
                 is reached",
                settings.most.as_deref().unwrap_or("unknown")
            ),
            Errno::EINVAL => "this kernel has no user namespaces (CONFIG_USER_NS)".to_owned(),
            Errno::EPERM if settings.root => {
                "this is root without its capabilities, which may not \
                  become root of a user namespace (it needs CAP_SETFCAP); an ordinary user may"
                    .to_owned()
            }
            _ => "a security module, a container or a chroot forbids user namespaces (the settings \
                  kernel.apparmor_restrict_unprivileged_userns, kernel.unprivileged_userns_clone \
                  and user.max_user_namespaces allow them)"
                .to_owned(),
        }
        };
    format!("{cause}; {INSTEAD}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_forbids_is_named() {
        let ubuntu = Settings { apparmor: Some("1".into()), ..Default::default() };
        let text = explain(Errno::EPERM, &ubuntu);
        assert!(text.contains("kernel.apparmor_restrict_unprivileged_userns is 1"), "{text}");
        assert!(text.contains("sudo linerate"), "{text}");

        let none = Settings { most: Some("0".into()), ..Default::default() };
        assert!(explain(Errno::ENOSPC, &none).contains("user.max_user_namespaces is 0"));

        let nested = Settings { most: Some("9".into()), ..Default::default() };
        assert!(explain(Errno::ENOSPC, &nested).contains("nesting"));

        let root = Settings { root: true, ..Default::default() };
        assert!(explain(Errno::EPERM, &root).contains("CAP_SETFCAP"));

        let unknown = explain(Errno::EPERM, &Settings::default());
        assert!(unknown.contains("security module"), "{unknown}");
    }

    #[test]
    fn a_process_with_threads_is_told_so() {
        // The test harness runs this in a second thread.
        let error = enter_user_namespace().unwrap_err();
        assert!(error.to_string().contains("first thing in main"), "{error}");
    }
}
