//! Without privilege: what is missing, and exit code 77.

use crate::program::{Unprivileged, run};

#[test]
fn a_missing_capability_is_named_with_what_to_do() {
    let nobody = Unprivileged::new();
    for line in [
        &["echo", "-i", "lo", "--force"][..],
        &["echo", "-i", "lo", "--force", "--path", "ring-v2"],
        &["echo", "-i", "lo", "--force", "--path", "syscall"],
        &["tutorial", "server"],
        &["tutorial", "client", "-n", "1"],
    ] {
        let ended = run(&mut nobody.linerate(line));
        ended.expect(77).says(&["CAP_NET_RAW", "EPERM", "sudo", "setcap", "linerate compare"]);
    }
}

/// Privilege is not what the plain path could do without.
#[test]
fn fallback_does_not_hide_a_missing_privilege() {
    let nobody = Unprivileged::new();
    let ended = run(&mut nobody.linerate(&["echo", "-i", "lo", "--force", "--fallback"]));
    ended.expect(77).says(&["CAP_NET_RAW"]);
    assert!(!ended.out.contains("WARNING"), "{ended:?}");
}
