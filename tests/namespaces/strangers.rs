//! Clients that share no code with the engine.

use std::path::Path;
use std::process::{Command, Output};

use libtest_mimic::{Completion, Failed};
use linerate::engine::config::PathName;
use linerate::lab::GENERATOR;

use crate::check::{PATHS, Test, impossible_here, test_of};
use crate::covering::chosen;
use crate::served::serve;

pub fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for path in chosen(&PATHS, 0) {
        let name = format!("strangers, {path}: tools/echo_client.py gets every answer right");
        tests.push(test_of(path, name, move || python_client(path)));
    }
    tests
}

fn python_client(path: PathName) -> Result<Completion, Failed> {
    let Some(python) = find_python() else {
        return impossible_here("there is no python3 here that this user may run");
    };
    let served = serve(path, |_| {})?;
    let mac = served.lab.engine.link.mac.map(|byte| format!("{byte:02x}")).join(":");
    // A child inherits the namespace of the thread that starts it.
    let run = |mac: &str, size: &str, count: &str| -> std::io::Result<Output> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/echo_client.py");
        let arguments =
            ["--interface", GENERATOR.interface, "--mac", mac, "--size", size, "--count", count];
        Command::new(python).arg(script).args(arguments).args(["--timeout", "0.5"]).output()
    };
    for size in ["60", "61", "1514"] {
        let output = served.lab.generator.namespace.run(|| run(&mac, size, "100"))??;
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, "sent 100, right 100, wrong 0, lost 0\n", "{output:?}");
        assert!(output.status.success());
    }
    // It can tell: nobody answers for this address.
    let output = served.lab.generator.namespace.run(|| run("02:77:77:77:77:77", "60", "1"))??;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "sent 1, right 0, wrong 0, lost 1\n");
    let (summary, _) = served.finish()?;
    assert_eq!(summary.counters.forwarded, 300);
    Ok(Completion::Completed)
}

/// The system's, or the one in the path, which may belong to another user.
fn find_python() -> Option<&'static str> {
    let runs = |program: &&str| {
        let output = Command::new(program).arg("--version").output();
        output.is_ok_and(|output| output.status.success())
    };
    ["/usr/bin/python3", "python3"].into_iter().find(runs)
}
