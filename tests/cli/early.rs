//! Ctrl-C in the first moments: before the handler is there, during set-up, between set-up and run.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::load::words;
use crate::program::{Scratch, alone, linerate, namespaces_allowed, send, start, wait};
use crate::schema::{document, yes_or_no};

const LINES: [&str; 6] = [
    "load --lab -d 60s",
    "stress --lab -d 60s",
    "search --sizes 64 --paths ring",
    "loss-curve --sizes 64 --paths ring --trial-duration 10s",
    "burst --sizes 64 --paths ring --pause 2s",
    "compare --sizes 64 --paths ring,syscall --trials 500",
];

/// Each of them closer to the start than to the next one, since set-up takes some tens of milliseconds.
const MOMENTS_MS: [u64; 7] = [0, 2, 6, 14, 30, 70, 200];

/// The program either has the handler, ends with 130 and says what there is, or it has not begun and
/// leaves nothing.
#[test]
fn ctrl_c_ends_every_command_at_every_early_moment() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    for (number, line) in LINES.iter().enumerate() {
        for moment_ms in MOMENTS_MS {
            let delay = Duration::from_millis(moment_ms * (6 + number as u64) / 6);
            let scratch = Scratch::new();
            let file = scratch.file("result.json");
            let mut child =
                start(linerate(&words(line)).arg("--json").arg(&file)).expect("it starts");
            std::thread::sleep(delay);
            send(Signal::SIGINT, &child);
            let status = wait(&mut child);
            let names = scratch.names();
            match status.code() {
                Some(130) => {
                    assert_eq!(names, ["result.json"], "{line}, {delay:?}");
                    let text = std::fs::read_to_string(&file).expect("the document");
                    assert!(yes_or_no(&document(&text), "interrupted"), "{line}, {delay:?}");
                }
                code => {
                    assert_eq!(code, None, "{line}, {delay:?}");
                    assert_eq!(status.signal(), Some(Signal::SIGINT as i32), "{line}, {delay:?}");
                    assert!(names.is_empty(), "{line}, {delay:?}: {names:?}");
                }
            }
        }
    }
}
