//! `linerate echo` from outside, on the loopback interface of a namespace of its own: what arrives
//! there has our own address as its source and is dropped by that name, so that nothing can bounce.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::program::{
    Ended, Running, Scratch, alone, in_own_namespace, linerate, namespaces_allowed, run, send,
    wait, with_address_space,
};
use crate::schema;

/// `linerate echo -i lo --force` and `more`, in a namespace of its own.
fn echo(more: &[&str]) -> Command {
    let mut command = linerate(&[&["echo", "-i", "lo", "--force"], more].concat());
    in_own_namespace(&mut command);
    command
}

/// Starts the program and reads stdout until it serves.
#[track_caller]
fn serving(command: &mut Command) -> (Child, BufReader<ChildStdout>, String) {
    let mut child = command.spawn().expect("the program starts");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut said = String::new();
    while !said.contains("answers EtherType") {
        if out.read_line(&mut said).expect("text") == 0 {
            let err = child.stderr.take().map(std::io::read_to_string);
            panic!("it does not serve: {said} {err:?}");
        }
    }
    (child, out, said)
}

#[track_caller]
fn echo_document(document: &Value, path: &str, workers: usize) {
    assert_eq!(schema::text(document, "schema"), "linerate.echo/1");
    schema::host_and_link(document);
    assert_eq!(schema::text(document, "path"), path);
    let wait = schema::field(document, "wait");
    if schema::text(wait, "how") == "adaptive" {
        assert!(schema::count(wait, "spin_us") > 0);
    }
    schema::engine_counts(&document["total"]);
    assert_eq!(schema::list(document, "workers").len(), workers);
    schema::list(document, "workers").iter().for_each(schema::worker);
    assert_eq!(document["fanout"].is_null(), workers == 1);
    assert_eq!(schema::count(document, "link_downs"), 0);
    assert_eq!(document["interface_gone"], false);
    assert!(schema::list(document, "failures").is_empty());
    schema::state(document);
    schema::taken(document);
    assert!(document["duration_s"].as_f64().is_some_and(|seconds| seconds > 0.0));
}

#[test]
fn a_signal_ends_a_server_well_with_its_summary_and_its_document() {
    if !namespaces_allowed() {
        return;
    }
    for (signal, path, how) in
        [(Signal::SIGINT, "ring", "adaptive"), (Signal::SIGTERM, "syscall", "spin")]
    {
        let scratch = Scratch::new();
        let file = scratch.file("result.json");
        let json = file.to_str().expect("a path of plain letters");
        let (mut child, mut out, mut said) =
            serving(&mut echo(&["--path", path, "--wait", how, "--json", json]));
        send(signal, &child);
        out.read_to_string(&mut said).expect("text");
        assert_eq!(wait(&mut child).code(), Some(0), "{said}");
        for words in ["received 0", "forwarded 0"] {
            assert!(said.contains(words), "no '{words}' in {said}");
        }
        let written = std::fs::read_to_string(&file).expect("the document");
        let document = schema::document(&written);
        echo_document(&document, path, 1);
        assert_eq!(document["wait"]["how"], how);
        assert!(document["profile"].is_null(), "a path by name is left as it is");
        assert!(said.contains(&format!("wait {how}: ")), "{said}");
    }
}

/// A second program in the namespace sends; its frames are received, dropped by name, and counted
/// until the limit ends the run. With `--json -` stdout is the document alone.
/// A loopback has none; who may not change any is told so first.
#[test]
fn interrupts_that_are_not_there_cannot_be_pinned() {
    let ended = run(&mut linerate(&["echo", "-i", "lo", "--force", "--irq", "pin"]));
    match nix::unistd::geteuid().is_root() {
        true => ended.expect(2).says(&["--irq pin", "lo", "virtual"]),
        false => ended.expect(77).says(&["EPERM", "sudo"]),
    };
}

#[test]
fn frames_are_counted_by_name_until_the_limit() {
    if !namespaces_allowed() {
        return;
    }
    let mut command =
        echo(&["-n", "2", "--json", "-", "--interval", "10ms", "-w", "2", "--fanout", "roll"]);
    let server = Running::start(&mut command);
    let client = linerate(&["tutorial", "client", "-n", "500", "--interval", "5ms"]);
    let sender = Running::start(&mut in_namespace_of(client, server.id()));
    let ended = server.end();
    // Its code depends on how long the server was there to be heard.
    let _ = sender.end();
    ended.expect(0).says(&["linerate echo on lo", "2 workers", "rollover"]);
    let document = schema::document(&ended.out);
    // What the default profile chooses.
    echo_document(&document, "ring-v2", 2);
    assert_eq!(
        (&document["profile"], &document["wait"]["how"]),
        (&"balanced".into(), &"adaptive".into())
    );
    assert!(schema::count(&document["total"], "received") >= 2, "{document:#}");
    assert_eq!(schema::count(&document["total"], "forwarded"), 0, "{document:#}");
}

/// The command waits until it can be in the namespace of the process `of`.
fn in_namespace_of(mut command: Command, of: u32) -> Command {
    use std::os::unix::process::CommandExt;
    let user = (!nix::unistd::geteuid().is_root()).then(|| format!("/proc/{of}/ns/user\0"));
    let network = format!("/proc/{of}/ns/net\0");
    let enter = move || -> std::io::Result<()> {
        use nix::sched::{CloneFlags, setns};
        let join = |path: &str, kind: CloneFlags| -> std::io::Result<()> {
            let path = std::ffi::CStr::from_bytes_with_nul(path.as_bytes()).unwrap_or(c"");
            let file =
                nix::fcntl::open(path, nix::fcntl::OFlag::O_RDONLY, nix::sys::stat::Mode::empty())?;
            Ok(setns(&file, kind)?)
        };
        if let Some(user) = &user {
            join(user, CloneFlags::CLONE_NEWUSER)?;
        }
        join(&network, CloneFlags::CLONE_NEWNET)
    };
    // SAFETY: after the fork the child makes plain system calls only, over memory that was there
    // before it; nothing allocates or takes a lock.
    unsafe { command.pre_exec(enter) };
    command
}

#[test]
fn a_duration_ends_the_run_and_quiet_leaves_live_lines_out() {
    if !namespaces_allowed() {
        return;
    }
    let live = run(&mut echo(&["-d", "300ms", "--interval", "50ms"]));
    live.expect(0);
    let quiet = run(&mut echo(&["-d", "300ms", "--interval", "50ms", "--quiet"]));
    quiet.expect(0);
    let is_live = |line: &&str| line.starts_with("in ");
    assert!(live.out.lines().filter(is_live).count() > 0, "{live:?}");
    assert_eq!(quiet.out.lines().filter(is_live).count(), 0, "{quiet:?}");
}

#[test]
fn a_reader_who_goes_ends_the_server_quietly() {
    if !namespaces_allowed() {
        return;
    }
    let began = Instant::now();
    let (mut child, out, _) = serving(&mut echo(&["-d", "50s", "--interval", "10ms"]));
    drop(out);
    let err = child.stderr.take().map(std::io::read_to_string);
    assert_eq!(wait(&mut child).code(), Some(0));
    assert_eq!(err.and_then(Result::ok).as_deref(), Some(""));
    assert!(began.elapsed() < Duration::from_secs(40), "it went on with nobody reading");
}

/// 192 MiB of rings, which the kernel makes but which do not fit the address space.
const LARGE: [&str; 6] = ["--path", "ring", "--blocks", "1536", "-d", "200ms"];
const ADDRESS_SPACE_BYTES: u64 = 160 << 20;

#[track_caller]
fn run_cramped(more: &[&str]) -> Ended {
    let mut command = echo(&[&LARGE[..], more].concat());
    run(with_address_space(&mut command, ADDRESS_SPACE_BYTES))
}

#[test]
fn a_ring_that_cannot_be_made_is_an_error_that_names_the_cause() {
    if namespaces_allowed() {
        let _alone = alone();
        let ended = run_cramped(&[]);
        ended.expect(1).says(&["ENOMEM", "192 MiB"]);
    }
}

#[test]
fn with_fallback_the_plain_path_takes_over_and_says_so() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let ended = run_cramped(&["--fallback", "--quiet", "--json", "-"]);
    ended.expect(0).says(&["WARNING", "--path ring ", "--path syscall", "ENOMEM"]);
    let document = schema::document(&ended.out);
    echo_document(&document, "syscall", 1);
    assert_eq!(schema::text(&document, "fallback_from"), "ring");
    // Where nothing stands in the way there is nothing to warn of.
    let well = run(&mut echo(&["--fallback", "-d", "100ms", "--json", "-"]));
    well.expect(0);
    assert!(!well.err.contains("WARNING"), "{well:?}");
    assert!(schema::document(&well.out)["fallback_from"].is_null());
}

/// A mistake on the command line is no failure of the ring.
#[test]
fn fallback_does_not_hide_a_bad_geometry() {
    let words = ["echo", "-i", "lo", "--force", "--fallback", "--blocks", "1"];
    let mut command = linerate(&words);
    let ended = run(command.stdin(Stdio::null()));
    ended.expect(2).says(&["2"]);
}

/// Of these the tutorial's server is served on, with nobody to keep its text either.
#[test]
fn lost_output_of_every_kind_is_said_or_told_by_the_exit_code() {
    use std::os::unix::process::CommandExt;
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    for words in [&["--version"][..], &["--help"], &["echo", "--help"]] {
        run(linerate(words).stdout(full())).expect(1).says(&["standard output", "ENOSPC"]);
        let mut closed = linerate(words);
        // SAFETY: close(2) takes a number.
        unsafe { closed.pre_exec(|| Ok(nix::unistd::close(1)?)) };
        run(&mut closed).expect(1).says(&["standard output", "EBADF"]);
    }
    if !namespaces_allowed() {
        return;
    }
    let began = Instant::now();
    let line = ["tutorial", "server", "-i", "lo", "-d", "1s"];
    let ended = run(in_own_namespace(&mut linerate(&line)).stdout(full()));
    ended.expect(1).says(&["standard output", "ENOSPC"]);
    assert!(began.elapsed() >= Duration::from_secs(1), "it did not serve on");
    let mut command = echo(&["-d", "1s", "--interval", "10ms", "--json", "-"]);
    let ended = run(command.stderr(full()));
    ended.expect(1);
    let document: Value = serde_json::from_str(&ended.out).expect("a document");
    assert!(document["duration_s"].as_f64() >= Some(1.0), "{document:#}");
}

/// Text that nobody can keep is no reason to stop serving.
#[test]
fn a_full_disk_below_stdout_is_said_at_the_end_and_stops_nothing() {
    if !namespaces_allowed() {
        return;
    }
    let scratch = Scratch::new();
    let json = scratch.file("a.json");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let line = ["-d", "1s", "--json", json.to_str().expect("plain letters")];
    run(echo(&line).stdout(full)).expect(1).says(&["standard output", "ENOSPC"]);
    let text = std::fs::read_to_string(&json).expect("a file");
    let document: Value = serde_json::from_str(&text).expect("a document");
    assert!(document["duration_s"].as_f64() >= Some(1.0), "{document:#}");
}
