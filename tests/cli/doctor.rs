//! `linerate doctor`: on this machine, without privilege, on one CPU, and where a container hides things.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use serde_json::Value;

use crate::program::{Ended, Unprivileged, linerate, on_one_cpu, run};
use crate::schema::{count, document, field, list, text, yes_or_no};

/// As short as it may be for what its findings are checked for.
const LOOK: &str = "--look=200ms";

/// The findings of a strictly read document, by subject.
#[track_caller]
fn findings(ended: &Ended) -> BTreeMap<String, Value> {
    assert!(matches!(ended.code, Some(0 | 4)), "{ended:#?}");
    assert!(!ended.err.contains("panicked"), "{ended:#?}");
    let document = document(&ended.out);
    assert_eq!(text(&document, "schema"), "linerate.doctor/1");
    assert!(count(field(&document, "host"), "cpus") >= 1);
    field(&document, "facts").as_object().expect("facts");
    let mut spoiled = 0;
    let mut found = BTreeMap::new();
    for finding in list(&document, "findings") {
        let (subject, words) = (text(finding, "subject"), text(finding, "text"));
        let severity = text(finding, "severity");
        let verified = text(finding, "verified");
        assert!(["machine", "rights", "cpus", "interface"].contains(&text(finding, "section")));
        assert!(["fine", "note", "spoils"].contains(&severity), "{finding}");
        assert!(["read", "tried", "not_readable"].contains(&verified), "{finding}");
        assert_eq!(verified == "not_readable", words.starts_with("not readable: "), "{finding}");
        let fix = field(finding, "fix");
        assert!(fix.is_string() || fix.is_null() && severity != "spoils", "{finding}");
        spoiled += usize::from(severity == "spoils");
        // The text for people has the same lines.
        let line = ended.err.lines().find(|line| line.contains(&format!("  {subject:<14} ")));
        assert!(line.is_some(), "no '{subject}' in {}", ended.err);
        found.insert(subject.to_string(), finding.clone());
    }
    let fit = yes_or_no(&document, "fit");
    assert_eq!((fit, fit), (ended.code == Some(0), spoiled == 0), "{document:#}");
    assert_eq!(list(&document, "reasons").len(), spoiled);
    found
}

#[track_caller]
fn is(finding: Option<&Value>, severity: &str, verified: &str) {
    let finding = finding.expect("a finding");
    assert_eq!(
        (text(finding, "severity"), text(finding, "verified")),
        (severity, verified),
        "{finding}"
    );
}

#[test]
fn a_machine_is_looked_at_in_a_screen_of_text() {
    let ended = run(&mut linerate(&["doctor", "-i", "lo", LOOK]));
    assert!(matches!(ended.code, Some(0 | 4)), "{ended:#?}");
    assert!(ended.out.lines().count() <= 70, "{}", ended.out);
    assert!(ended.out.lines().all(|line| line.chars().count() <= 80), "{}", ended.out);
    let last = ended.out.lines().last().unwrap_or_default();
    assert_eq!(last.starts_with("FIT "), ended.code == Some(0), "{last}");
}

#[test]
fn an_interface_is_looked_at_with_the_machine() {
    let found = findings(&run(&mut linerate(&["doctor", "-i", "lo", "--json", "-", LOOK])));
    is(found.get("use"), "note", "read");
    is(found.get("device rings"), "fine", "read");
    is(found.get("others' frames").filter(|one| text(one, "severity") == "fine"), "fine", "tried");
    for subject in ["kernel", "clock", "testbed", "XDP", "memlock", "CPUs", "taken time", "link"] {
        assert!(found.contains_key(subject), "{subject}");
    }
}

#[test]
fn without_privilege_what_is_closed_is_tried_and_said() {
    let nobody = Unprivileged::new();
    let found = findings(&run(&mut nobody.linerate(&["doctor", "--json", "-", LOOK])));
    is(found.get("interfaces"), "note", "tried");
    is(found.get("XDP"), "note", "tried");
    assert_eq!(text(&found["testbed"], "verified"), "tried");
}

#[test]
fn one_cpu_is_unfit() {
    let ended = run(on_one_cpu(&mut linerate(&["doctor", "--json", "-", LOOK])));
    ended.expect(4);
    is(findings(&ended).get("CPUs"), "spoils", "read");
}

#[test]
fn what_a_container_hides_is_named_and_nothing_is_claimed_of_it() {
    let nobody = Unprivileged::new();
    let mut command = nobody.still_privileged(&["doctor", "-i", "lo", "--json", "-", LOOK]);
    let ended = run(in_container(&mut command));
    if ended.code == Some(HIDING_REFUSED) {
        eprintln!("*** SKIPPED: this process may not make mount namespaces ***");
        return;
    }
    let found = findings(&ended);
    for subject in ["idle CPUs", "cores", "isolation", "frequency", "RPS, NAPI"] {
        is(found.get(subject), "note", "not_readable");
    }
    assert!(text(&found["taken time"], "text").contains("steal not readable"));
    let document = document(&ended.out);
    let not_readable = field(field(&document, "host"), "not_readable");
    for field in ["microcode", "clock_source", "smt", "mitigations", "memory_bytes"] {
        assert!(not_readable.get(field).is_some(), "{field}: {not_readable}");
    }
}

/// What the child ends with if it cannot hide anything.
const HIDING_REFUSED: i32 = 99;

/// Hides `/sys` and some files of `/proc` from the child, and takes its privilege.
fn in_container(command: &mut Command) -> &mut Command {
    let root = geteuid().is_root();
    let hide = move || -> nix::Result<()> {
        let user = if root { CloneFlags::empty() } else { CloneFlags::CLONE_NEWUSER };
        unshare(user | CloneFlags::CLONE_NEWNS)?;
        mount(c"none", c"/", None, libc::MS_REC | libc::MS_PRIVATE)?;
        mount(c"none", c"/sys", Some(c"tmpfs"), 0)?;
        mount(c"none", c"/proc/irq", Some(c"tmpfs"), 0)?;
        for file in [c"/proc/cpuinfo", c"/proc/meminfo", c"/proc/stat"] {
            mount(c"/dev/null", file, None, libc::MS_BIND)?;
        }
        if root {
            let nobody = nix::unistd::Uid::from_raw(65_534);
            nix::unistd::setresuid(nobody, nobody, nobody)?;
        }
        Ok(())
    };
    let hide_or_end = move || {
        if hide().is_err() {
            // SAFETY: it ends the child, and takes a number.
            unsafe { libc::_exit(HIDING_REFUSED) }
        }
        Ok(())
    };
    // SAFETY: after the fork the child makes plain system calls only, over memory that was there before
    // it; nothing allocates or takes a lock.
    unsafe { command.pre_exec(hide_or_end) }
}

fn mount(what: &CStr, place: &CStr, kind: Option<&CStr>, flags: libc::c_ulong) -> nix::Result<()> {
    let kind = kind.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: the strings end with a NUL and outlive the call, which only reads them.
    let result =
        unsafe { libc::mount(what.as_ptr(), place.as_ptr(), kind, flags, std::ptr::null()) };
    nix::errno::Errno::result(result).map(drop)
}

#[test]
fn what_cannot_be_looked_at_is_a_usage_error() {
    let nosuch = run(&mut linerate(&["doctor", "-i", "nosuch"]));
    nosuch.expect(2).says(&["'nosuch'", "ENODEV", "this network namespace has:", "lo"]);
    for line in [
        &["doctor", "-i", ""][..],
        &["doctor", "-i", "a-name-of-more-than-fifteen-bytes"],
        &["doctor", "-i", "x/y"],
        &["doctor", "--cpus", "1000"],
        &["doctor", "--cpus", "0-"],
        &["doctor", "--look", "0s"],
        &["doctor", "extra"],
    ] {
        run(&mut linerate(line)).expect(2);
    }
}
