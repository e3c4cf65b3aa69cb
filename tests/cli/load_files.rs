//! The files of `linerate load`, and how it ends before its time.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use nix::sys::signal::Signal;

use crate::load::words;
use crate::load_schema;
use crate::program::{Scratch, alone, linerate, namespaces_allowed, run, send, start, wait};
use crate::schema::{count, document, field};

const CSV_HEADER: &str = "elapsed_s,sent,returned,unanswered,wrong,response_p50_ns,\
                          response_p99_ns,response_max_ns,service_p99_ns,generator_limited,\
                          disturbed_share";

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

    /// Nothing is beside them.
    #[track_caller]
    fn are_alone(&self) {
        let entries = std::fs::read_dir(self.json.parent().expect("a directory"));
        assert_eq!(entries.expect("a directory").count(), 4);
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
            let max = field(field(&document, &format!("{tag}_ns")), "max").as_u64().unwrap_or(0);
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
        let rows: Vec<Vec<f64>> =
            lines.map(|row| row.split(',').map(number_or_none).collect()).collect();
        assert!(rows.iter().all(|row| row.len() == 11), "{csv}");
        for column in 0..3 {
            assert!(rows.is_sorted_by(|a, b| a[column] <= b[column]), "column {column}: {csv}");
        }
        for row in &rows {
            assert_eq!(row[3], row[1] - row[2], "unanswered: {csv}");
            // Where nothing came back there are none.
            let is_empty = row[5..9].iter().all(|cell| cell.is_nan());
            assert!(is_empty || row[5] <= row[6] && row[6] <= row[7], "percentiles: {csv}");
        }
        let last = rows.last().expect("a row");
        let sent = count(document, "sent") + count(field(document, "warm_up"), "sent");
        assert_eq!(last[1] as u64, sent, "the last row has everything: {csv}");
        let limited = !field(document, "generator_limited").is_null();
        assert_eq!(last[9] == 1.0, limited, "{csv}");
    }
}

/// An empty cell is no number.
#[track_caller]
fn number_or_none(cell: &str) -> f64 {
    if cell.is_empty() { f64::NAN } else { cell.parse().expect("a number") }
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
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let files = Files::new();
        let line = "load --lab -r 5k -d 50s --warmup 50ms --drain 5s --interval 100ms";
        std::fs::write(&files.json, "old").expect("a file");
        let mut child = start(&mut files.command(line)).expect("the program starts");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        // It is under way when there are lines of two intervals.
        let mut said = String::new();
        while said.matches(" s  sent ").count() < 2 {
            assert!(out.read_line(&mut said).expect("text") > 0, "it ended by itself: {said}");
        }
        assert_eq!(std::fs::read_to_string(&files.json).expect("a file"), "old");
        assert!(!files.csv.exists());
        send(signal, &child);
        assert_eq!(wait(&mut child).code(), Some(130));
        let rest = std::io::read_to_string(out).expect("text");
        assert!(rest.contains("achieved"), "{rest}");
        assert_eq!(files.agree()["stopped"], true);
        files.are_alone();
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

/// Results of before are destroyed by nothing but other results.
#[test]
fn a_run_that_cannot_begin_leaves_old_results_alone() {
    let scratch = Scratch::new();
    let (old, link) = (scratch.file("old.json"), scratch.file("link.json"));
    std::fs::write(&old, "old").expect("a file");
    std::os::unix::fs::symlink(&old, &link).expect("a link");
    let to = ["--to", "02:00:00:00:00:02"];
    for path in [&old, &link] {
        let path = path.to_str().expect("plain letters");
        for line in [
            &["load", "-i", "nosuch", to[0], to[1], "--json", path][..],
            &["load", "-i", "nosuch", to[0], to[1], "--csv", path],
            &["stress", "-i", "nosuch", to[0], to[1], "--json", path],
            &["echo", "-i", "nosuch", "--json", path],
            &["compare", "-i", "nosuch", "--dut-interface", "nosuch2", "--json", path],
            &["search", "-i", "nosuch", "--dut-interface", "nosuch2", "--json", path],
        ] {
            run(&mut linerate(line)).expect(1);
            assert_eq!(std::fs::read_to_string(&old).expect("a file"), "old", "{line:?}");
        }
    }
    assert!(link.is_symlink());
    assert_eq!(std::fs::read_dir(old.parent().expect("a directory")).expect("one").count(), 2);
}

/// One file that cannot be written does not stop the others, and is named.
#[test]
fn a_full_disk_takes_nothing_but_its_own_file() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let files = Files::new();
    let line = words("load --lab -r 5k -d 200ms --warmup 50ms --json /dev/full --csv");
    let ended = run(linerate(&line).arg(&files.csv));
    ended.expect(1).says(&["/dev/full", "ENOSPC"]);
    assert!(std::fs::read_to_string(&files.csv).expect("a file").lines().count() > 1);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let line = words("load --lab -r 5k -d 200ms --warmup 50ms --json");
    let ended = run(linerate(&line).arg(&files.json).stdout(full));
    ended.expect(1).says(&["standard output", "ENOSPC"]);
    load_schema::load(&document(&std::fs::read_to_string(&files.json).expect("a file")));
}
