//! Where system calls are forbidden, as in containers: what the program can do without it does without,
//! and says so; what it cannot do without is named.

use std::process::Command;

use crate::load::words;
use crate::program::{
    Ended, alone, forbidding, in_own_namespace, linerate, namespaces_allowed, run,
};
use crate::schema::{document, list};

const ERRNOS: [(i32, &str); 2] = [(libc::EPERM, "EPERM"), (libc::ENOSYS, "ENOSYS")];

/// With its name in messages. Not all are made by who is not root.
const DISPENSABLE: [(libc::c_long, &str, bool); 7] = [
    (libc::SYS_sched_setaffinity, "sched_setaffinity(2)", false),
    (libc::SYS_capset, "capset(2)", false),
    (libc::SYS_capget, "capget(2)", false),
    (libc::SYS_prctl, "prctl(PR_SET_NO_NEW_PRIVS)", false),
    (libc::SYS_setgroups, "setgroups(2)", true),
    (libc::SYS_setresgid, "setresgid(2)", true),
    (libc::SYS_setresuid, "setresuid(2)", true),
];

fn echo(more: &[&str]) -> Command {
    let mut command = linerate(&[&["echo", "-i", "lo", "--force", "-d", "100ms"], more].concat());
    in_own_namespace(&mut command);
    command
}

/// All of the text, whichever stream it is on.
fn said(ended: &Ended) -> String {
    format!("{}{}", ended.out, ended.err)
}

#[test]
fn a_server_does_without_what_it_can_and_says_so() {
    if !namespaces_allowed() {
        return;
    }
    let is_root = nix::unistd::geteuid().is_root();
    for (call, name, of_root) in DISPENSABLE {
        for (errno, errno_name) in ERRNOS {
            let ended = run(forbidding(&mut echo(&[]), &[call], errno));
            ended.expect(0);
            let said = said(&ended);
            let sentence = format!("{name} is forbidden here ({errno_name})");
            // In a user namespace there is nobody else to become, and nothing to say of that.
            assert!(said.contains(&sentence) || of_root && !is_root, "{name} {errno_name}: {said}");
        }
    }
    let well = run(&mut echo(&[]));
    well.expect(0);
    assert!(!said(&well).contains("forbidden"), "{well:?}");
}

#[test]
fn a_measurement_does_too_and_its_document_says_so() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let dispensable = DISPENSABLE.map(|(call, ..)| call);
    let line = words("load --lab -r 5k -n 100 --warmup 0 --drain 5s --json -");
    let ended = run(forbidding(&mut linerate(&line), &dispensable, libc::EPERM));
    ended.expect(0);
    let forbidden = document(&ended.out);
    let forbidden = list(&forbidden, "forbidden");
    assert!(forbidden.iter().any(|one| one.as_str().is_some_and(|one| one.contains("affinity"))));
    let line = words("compare --paths ring,syscall --loads ping --sizes 64 --rounds 1");
    let ended = run(forbidding(&mut linerate(&line), &dispensable, libc::ENOSYS));
    assert!(said(&ended).contains("sched_setaffinity(2) is forbidden here (ENOSYS)"), "{ended:?}");
    assert_ne!(ended.code, Some(77), "{ended:?}");
}

#[test]
fn cpus_that_are_asked_for_are_not_done_without() {
    for (errno, name) in ERRNOS {
        let calls = [libc::SYS_sched_setaffinity];
        for line in ["load --lab --cpus 0", "echo -i lo --cpus 0", "compare --cpus 0,0"] {
            let ended = run(forbidding(&mut linerate(&words(line)), &calls, errno));
            ended.expect(2).says(&["sched_setaffinity(2)", name, "leave out --cpus"]);
        }
    }
}

#[test]
fn a_user_who_is_asked_for_is_not_done_without() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    for (call, name) in [
        (libc::SYS_setgroups, "setgroups(2)"),
        (libc::SYS_setresuid, "setresuid(2)"),
        (libc::SYS_prctl, "prctl(PR_SET_KEEPCAPS)"),
    ] {
        let mut command = echo(&["--user", "nobody"]);
        run(forbidding(&mut command, &[call], libc::EPERM)).expect(77).says(&[name, "nobody"]);
    }
}

#[test]
fn without_unshare_there_is_no_lab_and_the_call_is_named() {
    for (errno, name) in ERRNOS {
        for line in ["load --lab", "compare", "search", "stress --lab"] {
            let ended = run(forbidding(&mut linerate(&words(line)), &[libc::SYS_unshare], errno));
            assert!(matches!(ended.code, Some(1 | 77)), "{ended:?}");
            ended.says(&[name, "seccomp"]);
        }
    }
}
