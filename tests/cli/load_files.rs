//! The files of `linerate load`, and how it ends before its time.

use std::path::PathBuf;
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use nix::sys::signal::Signal;

use crate::load::words;
use crate::load_schema;
use crate::program::{Scratch, alone, linerate, namespaces_allowed, run, send, start, wait};
use crate::schema::{count, document, field};

const CSV_HEADER: &str = "elapsed_s,sent,returned,unanswered,wrong,response_p50_ns,\
                          response_p99_ns,response_max_ns,service_p99_ns,generator_limited";

/// The files that a load can write, in a directory of their own.
struct Files {
    _scratch: Scratch,
    json: PathBuf,
    csv: PathBuf,
    hdr: PathBuf,
    pcap: PathBuf,
}

impl Files {
    fn new() -> Files {
        let scratch = Scratch::new();
        let [json, csv, hdr, pcap] =
            ["a.json", "a.csv", "a.hlog", "a.pcap"].map(|name| scratch.file(name));
        Files { _scratch: scratch, json, csv, hdr, pcap }
    }

    fn command(&self, line: &str) -> std::process::Command {
        let mut command = linerate(&words(line));
        command.arg("--json").arg(&self.json).arg("--csv").arg(&self.csv);
        command.arg("--hdr-log").arg(&self.hdr).arg("--pcap").arg(&self.pcap);
        command
    }

    /// All of them are whole and agree.
    #[track_caller]
    fn agree(&self) -> serde_json::Value {
        let read = |path: &PathBuf| std::fs::read_to_string(path).expect("a file of text");
        let document = document(&read(&self.json));
        load_schema::load(&document);
        self.rows_lead_to(&read(&self.csv), &document);
        for tag in ["response", "service"] {
            let counted = count(field(&document, &format!("{tag}_ns")), "count");
            let logged = logged(&read(&self.hdr), tag);
            assert_eq!(logged.len(), counted, "{tag}: the intervals make the whole run");
            let max = count(field(&document, &format!("{tag}_ns")), "max");
            assert!(logged.equivalent(logged.max(), max), "{tag}: {} {max}", logged.max());
        }
        let limited = !field(&document, "generator_limited").is_null();
        assert_eq!(read(&self.hdr).contains("#[generator-limited: "), limited);
        document
    }

    #[track_caller]
    fn rows_lead_to(&self, csv: &str, document: &serde_json::Value) {
        assert!(csv.ends_with('\n'), "the last row is whole: {csv}");
        let mut lines = csv.lines();
        assert_eq!(lines.next(), Some(CSV_HEADER));
        let rows: Vec<Vec<f64>> = lines
            .map(|row| row.split(',').map(|cell| cell.parse().expect("a number")).collect())
            .collect();
        assert!(rows.iter().all(|row| row.len() == 10), "{csv}");
        for column in 0..3 {
            assert!(rows.is_sorted_by(|a, b| a[column] <= b[column]), "column {column}: {csv}");
        }
        for row in &rows {
            assert_eq!(row[3], row[1] - row[2], "unanswered: {csv}");
            assert!(row[5] <= row[6] && row[6] <= row[7], "percentiles: {csv}");
        }
        let last = rows.last().expect("a row");
        let sent = count(document, "sent") + count(field(document, "warm_up"), "sent");
        assert_eq!(last[1] as u64, sent, "the last row has everything: {csv}");
        let limited = !field(document, "generator_limited").is_null();
        assert_eq!(last[9] == 1.0, limited, "{csv}");
    }
}

/// What a log holds under a tag, read with the format's own reader.
#[track_caller]
fn logged(log: &str, tag: &str) -> Histogram<u64> {
    assert!(log.contains("#[Histogram log format version 1.3]"), "{log}");
    for stamp in ["#[StartTime: ", "#[BaseTime: ", "\"StartTimestamp\",\"Interval_Length\""] {
        assert!(log.contains(stamp), "no {stamp} in {log}");
    }
    let mut sum = Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("valid bounds");
    for entry in IntervalLogIterator::new(log.as_bytes()) {
        let LogEntry::Interval(line) = entry.expect("a line of the format") else { continue };
        let named = line.tag().map(|tag| tag.as_str().to_string());
        let bytes = base64(line.encoded_histogram());
        let interval: Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram");
        if named.as_deref() == Some(tag) {
            sum.add(interval).expect("the same bounds");
        }
    }
    sum
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut have) = (Vec::new(), 0u32, 0);
    for digit in text.bytes().filter(|&byte| byte != b'=') {
        let value = DIGITS.iter().position(|&known| known == digit).expect("a digit");
        bits = bits << 6 | value as u32;
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
        }
    }
    bytes
}

#[test]
fn the_files_hold_the_whole_run_whatever_the_interval() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    // With intervals longer than the run there is only what comes after the last one.
    for interval in ["100ms", "10s"] {
        let files = Files::new();
        let line = "load --lab -r 5k -d 300ms --warmup 50ms --drain 5s --interval";
        let ended = run(&mut files.command(&format!("{line} {interval}")));
        ended.expect(0);
        assert_eq!(ended.err, "");
        assert!(ended.out.contains("achieved") && !ended.out.contains('\u{1b}'), "{ended:?}");
        let live = ended.out.lines().filter(|line| line.contains(" s  sent ")).count();
        assert_eq!(live > 0, interval == "100ms", "a line an interval: {ended:?}");
        files.agree();
        // No frame was bad, so there is the header alone: nanosecond stamps, Ethernet.
        let pcap = std::fs::read(&files.pcap).expect("a file");
        assert_eq!(pcap.len(), 24);
        assert_eq!(pcap[..4], 0xa1b2_3c4d_u32.to_le_bytes());
        assert_eq!(pcap[20..], 1u32.to_le_bytes());
    }
}

#[test]
fn ctrl_c_ends_a_load_with_its_summary_and_whole_files() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let files = Files::new();
        let line = "load --lab -r 5k -d 50s --warmup 50ms --drain 5s --interval 100ms";
        let mut child = start(&mut files.command(line)).expect("the program starts");
        // It is under way when the second interval is in the file.
        for _ in 0..1000 {
            let csv = std::fs::read_to_string(&files.csv).unwrap_or_default();
            if csv.lines().count() > 2 {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        send(signal, &child);
        assert_eq!(wait(&mut child).code(), Some(130));
        let out = std::io::read_to_string(child.stdout.take().expect("a pipe")).expect("text");
        assert!(out.contains("achieved"), "{out}");
        assert_eq!(files.agree()["stopped"], true);
    }
}

#[test]
fn a_limited_generator_is_marked_in_every_file() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let files = Files::new();
    let line = "load --lab -r 100M -d 300ms --warmup 50ms --drain 5s --interval 100ms";
    let ended = run(&mut files.command(line));
    ended.expect(0);
    assert!(ended.out.contains("GENERATOR-LIMITED"));
    assert!(field(&files.agree(), "generator_limited").is_string());
}

#[test]
fn files_that_cannot_be_made_are_said_before_anything_runs() {
    let scratch = Scratch::new();
    let path = scratch.file("no/such/directory/file");
    let path = path.to_str().expect("a path of plain letters");
    for option in ["--json", "--csv", "--hdr-log", "--pcap"] {
        let ended = run(&mut linerate(&["load", "--lab", option, path]));
        ended.expect(1).says(&[path, "ENOENT"]);
        assert_eq!(ended.out, "", "{option}: nothing was begun");
    }
}
