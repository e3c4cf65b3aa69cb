//! `linerate ab` from outside: hooks that set, fail and hang, arms that do not differ, and that nothing is
//! left changed however the program ends. What is measured means nothing here.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use linerate::sys::namespace::Namespace;
use linerate::sys::settings::Settings;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::program::{
    Ended, Scratch, Unprivileged, alone, in_own_namespace, joined, linerate, namespaces_allowed,
    run, send, start, wait,
};
use crate::schema;

const TINY: [&str; 9] =
    ["ab", "--rounds", "6", "--trial-duration", "20ms", "-s", "64", "--loads", "ping"];
const FORWARD: &str = "echo 1 >/proc/sys/net/ipv4/conf/{if}/forwarding";

/// As `TINY`, with the document on stdout.
fn tiny<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&TINY[..], &["--json", "-"], more].concat()
}

/// Whether hooks may set what these tests set: a container may have closed `/proc/sys`.
fn settings_can_be_set() -> bool {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "echo 1 >/proc/sys/net/ipv4/conf/lo/forwarding"]);
    let can = namespaces_allowed() && run(in_own_namespace(&mut shell)).code == Some(0);
    if !can {
        eprintln!("*** SKIPPED: /proc/sys cannot be written to in a namespace of one's own ***");
    }
    can
}

/// A document of `arms` rounds, whatever its numbers are worth.
#[track_caller]
fn is_whole(ended: &Ended, rounds: usize) -> Value {
    // A robbed machine may make all rounds void, which is exit code 1.
    assert!(matches!(ended.code, Some(0 | 1)), "{ended:#?}");
    assert!(!ended.err.contains("panicked"), "{ended:#?}");
    let document = schema::document(&ended.out);
    assert_eq!(schema::text(&document, "schema"), "linerate.ab/1");
    schema::host_and_link(&document);
    let results = schema::list(&document, "results");
    let names: Vec<&str> = results.iter().map(|one| schema::text(one, "contestant")).collect();
    assert_eq!(names, ["a", "b"]);
    for result in results {
        let ping = &schema::field(result, "loads")["ping"];
        assert_eq!(schema::list(ping, "rounds").len(), rounds, "{ping:#}");
    }
    assert_eq!(document["left_changed"], Value::Array(Vec::new()));
    assert!(document["not_restored"].is_null());
    let too_long = |line: &&str| line.chars().count() > 80;
    assert_eq!(ended.err.lines().find(too_long), None, "{}", ended.err);
    document
}

#[test]
fn hooks_need_no_privilege_in_the_lab_and_what_they_changed_is_told() {
    if !settings_can_be_set() {
        return;
    }
    let _alone = alone();
    let nobody = Unprivileged::new();
    let ended = run(&mut nobody.linerate(&tiny(&["--a", "true", "--b", FORWARD])));
    let document = is_whole(&ended, 6);
    let [a, b] = schema::list(&document, "arms") else { panic!("{document:#}") };
    assert_eq!(schema::list(a, "changed").len(), 0);
    let changed = schema::list(b, "changed");
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert_eq!(schema::text(&changed[0], "interface"), "engine0");
    assert!(schema::text(&changed[0], "setting").ends_with("/forwarding"));
    assert_eq!((&changed[0]["before"], &changed[0]["after"]), (&"0".into(), &"1".into()));
    assert_eq!(schema::list(&document, "differences").len(), 1);
}

#[test]
fn options_and_builds_can_be_arms() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let nobody = Unprivileged::new();
    let options = ["--path", "ring-v2", "--args-b", "--batch 1"];
    let document = is_whole(&run(&mut nobody.linerate(&tiny(&options))), 6);
    assert_eq!(document["arms"][1]["options"][3], "1");
    assert!(document["arms"][1]["engine"].is_null());
    let own = env!("CARGO_BIN_EXE_linerate");
    let document = is_whole(&run(&mut linerate(&tiny(&["--engine-b", own]))), 6);
    assert_eq!(document["arms"][0]["engine"], "/proc/self/exe");
    let verified: u64 = schema::list(&document, "results")
        .iter()
        .map(|result| schema::count(result, "verified"))
        .sum();
    assert!(verified > 0);
    assert!(document["results"][0]["kernel"].is_null(), "a process keeps its counts to itself");
}

#[test]
fn any_program_that_answers_can_be_an_arm() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let scratch = Scratch::new();
    let echo = scratch.file("echo.py");
    fs::write(&echo, ECHO).unwrap();
    let engine = format!("python3 {} {{if}}", echo.display());
    let ended = run(&mut linerate(&tiny(&["--engine-a", &engine, "--drain-frames", "64"])));
    let document = is_whole(&ended, 6);
    assert_eq!(document["arms"][0]["engine"], engine.as_str());
    let results = schema::list(&document, "results");
    assert!(results.iter().all(|result| schema::count(result, "verified") > 0), "{results:#?}");
    let ends = ["--engine-a", "true {if}"];
    run(&mut linerate(&tiny(&ends))).expect(1).says(&["arm a", "ended before it answered"]);
}

/// Somebody else's echo: it swaps the addresses and leaves the rest as it is.
const ECHO: &str = "
import socket, sys
echo = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88b5))
echo.bind((sys.argv[1], 0x88b5))
while True:
    frame, address = echo.recvfrom(2048)
    if address[2] != socket.PACKET_OUTGOING:
        echo.send(frame[6:12] + frame[:6] + frame[12:])
";

#[test]
fn a_hook_that_fails_or_hangs_is_named_with_its_words() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let failing = ["--a", "true", "--b", "echo out of order >&2; exit 3"];
    run(&mut linerate(&tiny(&failing))).expect(1).says(&["arm b", "out of order", "3"]);
    let hanging = ["--hook-timeout", "100ms", "--a", "sleep 3600 & sleep 3600", "--b", "true"];
    run(&mut linerate(&tiny(&hanging))).expect(1).says(&["arm a", "100ms"]);
    for (engine, says) in [("/bin/false", "exit code 1"), ("/no/such/engine", "could not start")] {
        run(&mut linerate(&tiny(&["--engine-a", engine]))).expect(1).says(&["arm a", says]);
    }
    let impossible = ["--path", "ring", "--args-a", "--block-size 1", "--args-b", "--blocks 2"];
    assert_ne!(run(&mut linerate(&tiny(&impossible))).code, Some(0));
}

#[test]
fn what_was_measured_before_a_hook_failed_is_kept() {
    if !settings_can_be_set() {
        return;
    }
    let _alone = alone();
    let scratch = Scratch::new();
    let turns = scratch.file("turns");
    let turns = turns.display();
    // The survey is its first turn, and round after round follows.
    let hook = format!("{FORWARD}; echo turn >>{turns}; test $(wc -l <{turns}) -lt 4");
    let ended = run(&mut linerate(&tiny(&["--a", "true", "--b", &hook])));
    ended.expect(1).says(&["arm b", "exit code 1"]);
    let document = schema::document(&ended.out);
    assert_eq!(document["interrupted"], true);
    assert!(schema::text(&document, "reason").contains("arm b"));
    let rounds = |result: &Value| schema::list(&result["loads"]["ping"], "rounds").len();
    let results = schema::list(&document, "results");
    assert_eq!(rounds(&results[1]), 2, "turns of b that its hook allowed");
    assert!((2..=3).contains(&rounds(&results[0])));
}

#[test]
fn arms_that_do_not_differ_and_nonsense_are_refused() {
    if !namespaces_allowed() {
        return;
    }
    run(&mut linerate(&tiny(&["--a", "true", "--b", "true"]))).expect(2).says(&["MTU"]);
    for (words, says) in [
        (&[][..], "--a"),
        (&["--args-a", "-w 1", "--args-b", "-w 1"], "--a"),
        (&["--a", "echo {interface}"], "{netns}"),
        (&["--args-a", "--no-such-option"], "--no-such-option"),
        (&["--a", "true", "--loads", "scale"], "scale"),
        (&["--a", "true", "--rounds", "1"], "6"),
    ] {
        let base = ["ab", "-s", "64"];
        run(&mut linerate(&[&base, words].concat())).expect(2).says(&[says]);
    }
}

/// [`joined`], if hooks can be tried at all.
fn pair() -> Option<Namespace> {
    if settings_can_be_set() { joined() } else { None }
}

fn settings(namespace: &Namespace) -> Vec<Settings> {
    let read = || {
        let of = |name| Settings::of(name).expect("settings");
        vec![of("near0"), of("far0"), Settings::of_machine()]
    };
    namespace.run(read).expect("the namespace")
}

/// Fails unless all is as it was; that may take a moment after a program was killed.
#[track_caller]
fn nothing_is_left_changed(namespace: &Namespace, before: &[Settings]) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let now = settings(namespace);
        let left: Vec<_> = now.iter().zip(before).flat_map(|(now, was)| now.since(was)).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left changed: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `linerate ab` over the pair; its hooks change one setting of each end and say so in `turns`.
fn over(namespace: &Namespace, turns: &Path, more: &[&str]) -> Command {
    // Either arm leaves something changed, so that a test for it cannot pass by luck.
    let set = |peers| {
        let set = |at, value| format!("echo {value} >/proc/sys/net/ipv4/conf/{at}/forwarding");
        format!("{} && {} && echo turn >>{}", set("{if}", 1), set("{peer}", peers), turns.display())
    };
    let (a, b) = (set(0), set(1));
    let words = ["ab", "-i", "near0", "--dut-interface", "far0", "-s", "64", "--loads", "ping"];
    let mut command =
        linerate(&[&words[..], &["--rounds", "900", "--a", &a, "--b", &b], more].concat());
    let descriptor = namespace.descriptor().try_clone_to_owned().expect("a descriptor");
    // SAFETY: one system call on a descriptor that lives until then.
    unsafe {
        command.pre_exec(move || {
            assert!(descriptor.as_raw_fd() >= 0);
            Ok(setns(&descriptor, CloneFlags::CLONE_NEWNET)?)
        })
    };
    command
}

fn until_there(turns: &Path) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !turns.exists() {
        assert!(Instant::now() < deadline, "no hook has run");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn ctrl_c_at_any_moment_leaves_nothing_changed() {
    let Some(namespace) = pair() else { return };
    let _alone = alone();
    let scratch = Scratch::new();
    let before = settings(&namespace);
    let times = if std::env::var_os("LINERATE_LONG").is_some() { 50 } else { 10 };
    for time in 0..times {
        let turns = scratch.file(&format!("turns-{time}"));
        let mut child = start(&mut over(&namespace, &turns, &[])).expect("it starts");
        until_there(&turns);
        let random = RandomState::new().hash_one(time);
        // A round of both arms takes less.
        std::thread::sleep(Duration::from_micros(random % 800_000));
        send([Signal::SIGINT, Signal::SIGTERM][time % 2], &child);
        assert_eq!(wait(&mut child).code(), Some(130));
        // It has waited for that.
        let now = settings(&namespace);
        let left: Vec<_> = now.iter().zip(&before).flat_map(|(now, was)| now.since(was)).collect();
        assert_eq!(left, [], "time {time}");
    }
}

#[test]
fn a_program_that_is_killed_is_tidied_up_after() {
    let Some(namespace) = pair() else { return };
    let _alone = alone();
    let scratch = Scratch::new();
    let before = settings(&namespace);
    for restore in [false, true] {
        let turns = scratch.file(&format!("turns-{restore}"));
        let restored = scratch.file(&format!("restored-{restore}"));
        let command = format!(
            "echo 0 >/proc/sys/net/ipv4/conf/{{if}}/forwarding && \
             echo 0 >/proc/sys/net/ipv4/conf/{{peer}}/forwarding && echo done >{}",
            restored.display()
        );
        let words = ["--restore", command.as_str()];
        let mut command = over(&namespace, &turns, if restore { &words } else { &[] });
        let mut child = start(&mut command).expect("it starts");
        until_there(&turns);
        std::thread::sleep(Duration::from_millis(300));
        send(Signal::SIGKILL, &child);
        wait(&mut child);
        nothing_is_left_changed(&namespace, &before);
        if restore {
            until_there(&restored);
        }
    }
}
