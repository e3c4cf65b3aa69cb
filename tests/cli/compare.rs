//! `linerate compare` from outside, with settings so small that its figures mean nothing.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::program::{
    Ended, Scratch, Unprivileged, alone, linerate, namespaces_allowed, on_one_cpu, run, send, wait,
};
use crate::schema;

const TINY: [&str; 9] = [
    "compare",
    "--rounds",
    "1",
    "--trial-duration",
    "50ms",
    "--sizes",
    "64",
    "--paths",
    "ring,syscall",
];

const DEFAULT_LOADS: [&str; 2] = ["drain", "ping"];

/// As `TINY`, with the document on stdout.
fn tiny() -> Vec<&'static str> {
    [&TINY[..], &["--json", "-"]].concat()
}

/// Runs a comparison, and again where a disturbed machine made all trials of a path void, which is exit
/// code 1 as well. One that stays spoiled fails.
#[track_caller]
fn compared(command: &mut Command) -> Ended {
    for _ in 0..5 {
        let ended = run(command);
        let text = ended.out.clone() + &ended.err;
        if ended.code != Some(1) || !(text.is_empty() || text.contains("VOID")) {
            return ended;
        }
    }
    panic!("spoiled: all trials of a path were void in each of five comparisons");
}

#[track_caller]
fn is_a_whole_comparison(ended: &Ended) {
    ended.expect(0).says(&["Verdict"]);
    let document = schema::document(&ended.out);
    schema::comparison(&document, &["ring", "syscall"], &DEFAULT_LOADS, &[64], 1);
}

/// With the generator on its CPU an engine's rate is that of the pair: the ring seemed to lose.
#[test]
fn on_one_cpu_rates_and_times_say_nothing() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let ended = compared(on_one_cpu(&mut linerate(&tiny())));
    ended.expect(0);
    let document = schema::document(&ended.out);
    assert!(schema::yes_or_no(&document, "shares_cpu"));
    for answer in schema::list(&document, "answers") {
        let of_cpu = schema::text(answer, "question") == "cpu";
        for standing in schema::list(answer, "best") {
            let state = schema::field(standing, "state");
            let doubted = state.get("reason").is_some_and(|reason| reason == "one_cpu");
            assert_eq!(doubted, !of_cpu, "{standing}");
        }
        assert_eq!(schema::list(answer, "losers").len(), 0, "{answer}");
    }
}

#[test]
fn a_comparison_is_one_document_on_stdout_and_text_on_stderr() {
    if namespaces_allowed() {
        let _alone = alone();
        is_a_whole_comparison(&compared(&mut linerate(&tiny())));
    }
}

#[test]
fn a_comparison_needs_no_privilege() {
    if namespaces_allowed() {
        let _alone = alone();
        let nobody = Unprivileged::new();
        is_a_whole_comparison(&compared(&mut nobody.linerate(&tiny())));
    }
}

#[test]
fn without_syscall_there_is_nothing_to_relate_to_and_the_text_is_on_stdout() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let scratch = Scratch::new();
    let file = scratch.file("result.json");
    let path = file.to_str().expect("a path of plain letters");
    let line = "compare --rounds 2 --trial-duration 80ms -s 65,1518 --paths ring-v2,ring-v2 --json";
    let words: Vec<&str> = line.split(' ').chain([path]).collect();
    let ended = compared(&mut linerate(&words));
    ended.expect(0);
    assert!(ended.out.contains("Verdict") && ended.out.contains("1518 B"), "{ended:?}");
    assert_eq!(ended.err, "");
    let written = std::fs::read_to_string(&file).expect("the document");
    let document = schema::document(&written);
    schema::comparison(&document, &["ring-v2"], &DEFAULT_LOADS, &[65, 1518], 2);
}

#[test]
fn every_load_is_verified_and_told_in_80_columns() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let words = [
        "compare --rounds 1 --trial-duration 80ms --sizes 64 --paths syscall,ring-v2",
        "--loads half,scale,light,window,ping,drain,flood --json -",
    ];
    let line = words.join(" ");
    let ended = compared(&mut linerate(&line.split(' ').collect::<Vec<_>>()));
    ended.expect(0);
    let loads = ["flood", "drain", "ping", "window", "light", "half", "scale"];
    let document = schema::document(&ended.out);
    schema::comparison(&document, &["syscall", "ring-v2"], &loads, &[64], 1);
    let too_long = |line: &&str| line.chars().count() > 80;
    assert_eq!(ended.err.lines().find(too_long), None, "{}", ended.err);
}

/// `scale` needs two queues. An ordinary user is told that `xdp` is left out.
#[test]
fn who_has_a_queue_for_each_worker_gets_all_that_is_sent_to_it() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let line = "compare --rounds 2 --sizes 64 --paths syscall,xdp --loads drain,scale --json -";
    let ended = compared(&mut linerate(&line.split(' ').collect::<Vec<_>>()));
    ended.expect(0).says(&["xdp"]);
}

/// A hash picks the queue of what a packet socket sends: with two, one worker may get nothing at all.
#[test]
fn scale_and_one_worker_with_a_queue_are_not_sent_to_by_a_hash() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let line = "compare --rounds 1 --sizes 64 --paths syscall,xdp --loads ping,scale --tx ring";
    let ended = compared(&mut linerate(&line.split(' ').collect::<Vec<_>>()));
    ended.expect(2).says(&["--tx ring", "scale", "xdp", "leave out --tx"]);
}

/// The last one needs more than an ordinary user has, whatever the kernel.
#[test]
fn who_cannot_run_here_is_named_and_stops_nobody() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let nobody = Unprivileged::new();
    let line = "compare --rounds 1 --trial-duration 80ms --sizes 64 --paths syscall,xdp --loads ping \
                --json -";
    let words: Vec<&str> = line.split(' ').collect();
    let ended = compared(&mut nobody.linerate(&words));
    ended.expect(0).says(&["xdp", "CAP_BPF"]);
    let document = schema::document(&ended.out);
    schema::comparison(&document, &["syscall"], &["ping"], &[64], 1);
    assert_eq!(schema::text(&schema::list(&document, "excluded")[0], "contestant"), "xdp");
}

#[test]
fn waits_and_profiles_are_part_of_a_contestant_and_the_generators_half_can_be_chosen() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let words = [
        "compare --rounds 1 --trial-duration 80ms --sizes 64 --tx mmsg --loads flood,ping",
        "--paths syscall,ring-v2@spin,v2+ring@adaptive=20us,v2+ring,balanced --json -",
    ];
    let line = words.join(" ");
    let ended = compared(&mut linerate(&line.split(' ').collect::<Vec<_>>()));
    ended.expect(0).says(&["balanced"]);
    let contestants = ["syscall", "ring-v2@spin", "ring-v2@adaptive=20us", "ring-v2", "balanced"];
    schema::comparison(&schema::document(&ended.out), &contestants, &["flood", "ping"], &[64], 1);
}

/// Runs `command` until it says that Ctrl-C ends it, and a while longer; then sends `signal`.
#[track_caller]
fn interrupted_after(command: &mut Command, pause: Duration, signal: Signal) -> Ended {
    let mut child = command.spawn().expect("the program starts");
    let mut err = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut said = String::new();
    while !said.contains("Ctrl-C") {
        assert!(err.read_line(&mut said).expect("text") > 0, "it ended early: {said}");
    }
    let out = child.stdout.take().expect("a pipe");
    let out = std::thread::spawn(move || std::io::read_to_string(out).expect("text"));
    let rest = std::thread::spawn(move || std::io::read_to_string(err).expect("text"));
    std::thread::sleep(pause);
    send(signal, &child);
    let status = wait(&mut child);
    let err = said + &rest.join().expect("a reader");
    Ended { code: status.code(), out: out.join().expect("a reader"), err }
}

#[test]
fn ctrl_c_ends_a_comparison_with_what_there_is() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let line =
        "compare --rounds 500 --trial-duration 50ms --sizes 64 --paths ring,syscall --json -";
    let words: Vec<&str> = line.split(' ').collect();
    // In the first trial, and after several.
    for (pause, signal) in [(50, Signal::SIGINT), (1500, Signal::SIGTERM)] {
        let pause = Duration::from_millis(pause);
        let ended = interrupted_after(&mut linerate(&words), pause, signal);
        ended.expect(130);
        let document = schema::document(&ended.out);
        schema::comparison_so_far(&document);
        assert_eq!(document["interrupted"], true);
        let finished = !schema::list(&document, "results").is_empty();
        assert_eq!(ended.err.contains("Verdict"), finished, "{}", ended.err);
    }
}

/// What is asked for cannot be had: that is an error, and never a silent change of path.
#[test]
fn a_cpu_that_is_not_there_is_refused() {
    if !namespaces_allowed() {
        return;
    }
    let ended = run(&mut linerate(&[&TINY[..], &["--cpus", "1023"]].concat()));
    ended.expect(2).says(&["1023"]);
}

#[test]
fn nobody_reading_is_no_reason_to_panic() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    for json in [&[][..], &["--json", "-"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = linerate(&[&TINY[..], json].concat());
        command.stdout(Stdio::from(writer));
        compared(&mut command).expect(0);
    }
}
