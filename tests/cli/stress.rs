//! `linerate stress` from outside: records that survive a crash and are gone on with, and that nothing is
//! left changed however the program ends. What is measured means nothing here.

use std::path::Path;
use std::time::{Duration, Instant};

use linerate::sys::link::{Link, Links};
use linerate::sys::namespace::Namespace;
use linerate::sys::settings::Settings;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::program::{
    Scratch, alone, joined, linerate, namespaces_allowed, run, send, start, wait,
};
use crate::schema::{count, document, field, list, number, text, yes_or_no};

const PATIENCE: Duration = Duration::from_secs(120);

/// A short round, again and again, with a record of each.
const SOAK: [&str; 10] = [
    "stress",
    "--lab",
    "--phases",
    "one-flow,mtu",
    "-r",
    "2k",
    "-d",
    "200ms",
    "--record-every",
    "1ms",
];

fn read(file: &Path) -> Option<Value> {
    std::fs::read_to_string(file).ok().map(|text| document(&text))
}

/// The document's records, each of them whole.
fn records(result: &Value) -> &[Value] {
    assert_eq!(text(result, "schema"), "linerate.stress/1");
    let records = list(result, "records");
    for record in records {
        assert!(number(record, "lasted_s") > 0.0 && count(record, "began_s") > 1_700_000_000);
        let phases = field(record, "phases").as_object().expect("phases by their ends");
        assert!(phases.values().filter_map(Value::as_u64).sum::<u64>() > 0, "{record:#}");
        assert!(count(record, "sent") >= count(record, "intact"));
    }
    records
}

#[test]
fn records_survive_a_crash_and_are_gone_on_with() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let scratch = Scratch::new();
    let file = scratch.file("soak.json");
    let path = file.to_str().expect("plain letters");
    let mut child =
        start(linerate(&SOAK).args(["--for", "1h", "--json", path])).expect("it starts");
    let deadline = Instant::now() + PATIENCE;
    // Whenever it is read it is one whole document.
    while read(&file).is_none_or(|result| records(&result).len() < 3) {
        assert!(Instant::now() < deadline, "no records are written");
        std::thread::sleep(Duration::from_millis(5));
    }
    send(Signal::SIGKILL, &child);
    wait(&mut child);
    let crashed = read(&file).expect("the records");
    assert!(yes_or_no(&crashed, "interrupted"));
    assert_eq!(text(&crashed, "reason"), "under way");
    let before = records(&crashed).to_vec();
    let seconds: f64 = before.iter().map(|record| number(record, "lasted_s")).sum();

    let time = format!("{}ms", (seconds * 1000.0) as u64 + 500);
    let ended = run(linerate(&SOAK).args(["--for", &time, "--resume", path]));
    // A busy machine may leave phases void.
    assert!(matches!(ended.code, Some(0 | 1)), "{ended:#?}");
    let result = read(&file).expect("the result");
    assert!(!yes_or_no(&result, "interrupted"));
    let all = records(&result);
    assert!(all.len() > before.len() && all.starts_with(&before), "{all:#?}");
    let events = all.iter().filter_map(|record| field(record, "events").get("mtu"));
    assert!(events.map(|event| count(event, "recovered")).sum::<u64>() > 0, "{all:#?}");

    // Another test has other records.
    for other in [&["--phases", "one-flow"][..], &["-d", "3s"], &["--seed", "7"]] {
        let line = ["stress", "--lab", "--for", "1h", "--resume", path];
        run(linerate(&line).args(other)).expect(2).says(&["another test", path]);
    }
    run(&mut linerate(&["stress", "--lab", "--resume", path])).expect(2).says(&["--for"]);
    std::fs::write(&file, "{}").expect("a file");
    run(linerate(&SOAK).args(["--for", "1s", "--resume", path])).expect(2).says(&["no result"]);
}

fn settings(namespace: &Namespace) -> Vec<Settings> {
    let read = || ["near0", "far0"].map(|name| Settings::of(name).expect("settings")).into();
    namespace.run(read).expect("the namespace")
}

/// Begins an event, and ends the program by `signal` once `changed` says that it has begun.
fn end_during(namespace: &Namespace, event: &str, signal: Signal, changed: fn(&Link) -> bool) {
    let before = settings(namespace);
    let line =
        ["stress", "-i", "near0", "--dut-interface", "far0", "--phases", event, "--for", "1h"];
    let begun = namespace.run(|| start(&mut linerate(&line))).expect("the namespace");
    let mut child = begun.expect("it starts");
    let links = Links::open_in(namespace).expect("links");
    let deadline = Instant::now() + PATIENCE;
    while !changed(&links.by_name("far0").expect("it is there")) {
        assert!(Instant::now() < deadline, "{event} has not begun");
    }
    send(signal, &child);
    let code = wait(&mut child).code();
    assert_eq!(code, if signal == Signal::SIGKILL { None } else { Some(130) }, "{event}");
    // After SIGKILL somebody else puts it back.
    while settings(namespace) != before {
        let now = settings(namespace);
        let left: Vec<_> =
            now.iter().zip(&before).flat_map(|(now, before)| now.since(before)).collect();
        assert!(signal == Signal::SIGKILL && Instant::now() < deadline, "{event}: {left:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn however_it_ends_nothing_is_left_changed() {
    let Some(namespace) = joined() else { return };
    let _alone = alone();
    let address = |link: &Link| link.mac[5] & 0x80;
    let far = Links::open_in(&namespace).expect("links").by_name("far0").expect("it is there");
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        end_during(&namespace, "link-down", signal, |link| !link.up);
        end_during(&namespace, "mtu", signal, |link| link.mtu != 1500);
        let changed: fn(&Link) -> bool = match address(&far) {
            0 => |link| link.mac[5] & 0x80 != 0,
            _ => |link| link.mac[5] & 0x80 == 0,
        };
        end_during(&namespace, "address", signal, changed);
    }
}
