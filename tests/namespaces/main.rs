//! Kernel behaviour in network namespaces that the tests make themselves, with or without root.

use std::fs;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

mod tutorial;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // While the process has one thread: a user namespace cannot be entered with more.
    if let Err(reason) = become_privileged() {
        eprintln!("skipped, no user namespace to be had: {reason}");
        return ExitCode::SUCCESS;
    }
    let trials: Vec<Trial> = tutorial::trials();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Enters a user namespace as its root, unless this is root already.
fn become_privileged() -> Result<(), String> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|code| format!("unshare: {code}"))?;
    for (file, text) in [
        ("setgroups", "deny".to_string()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), text).map_err(|e| format!("{file}: {e}"))?;
    }
    Ok(())
}
