//! A strict reader of `linerate.compare/1` and `linerate.echo/1`: every field is there, is of the
//! right type, and the sums come out.

use serde_json::Value;

/// The one document that `text` is.
#[track_caller]
pub fn document(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(document) => document,
        Err(error) => panic!("not exactly one JSON document, {error}: {text}"),
    }
}

#[track_caller]
pub fn field<'a>(object: &'a Value, name: &str) -> &'a Value {
    object.get(name).unwrap_or_else(|| panic!("no field '{name}' in {object:#}"))
}

/// A count: a whole number from 0.
#[track_caller]
pub fn count(object: &Value, name: &str) -> u64 {
    let value = field(object, name);
    value.as_u64().unwrap_or_else(|| panic!("'{name}' is no count: {value}"))
}

#[track_caller]
pub fn number(object: &Value, name: &str) -> f64 {
    let value = field(object, name);
    let number = value.as_f64().unwrap_or_else(|| panic!("'{name}' is no number: {value}"));
    assert!(number.is_finite() && number >= 0.0, "'{name}' is {number}");
    number
}

#[track_caller]
pub fn yes_or_no(object: &Value, name: &str) -> bool {
    let value = field(object, name);
    value.as_bool().unwrap_or_else(|| panic!("'{name}' is neither true nor false: {value}"))
}

#[track_caller]
pub fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    let value = field(object, name);
    let text = value.as_str().unwrap_or_else(|| panic!("'{name}' is no text: {value}"));
    assert!(!text.is_empty(), "'{name}' is empty");
    text
}

#[track_caller]
pub fn list<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    let value = field(object, name);
    value.as_array().unwrap_or_else(|| panic!("'{name}' is no list: {value}"))
}

/// Counts by name, and their sum.
#[track_caller]
pub fn counts(object: &Value, name: &str) -> u64 {
    let value = field(object, name);
    let map = value.as_object().unwrap_or_else(|| panic!("'{name}' is no object: {value}"));
    map.values().map(|count| count.as_u64().expect("a count of drops")).sum()
}

#[track_caller]
fn spread(object: &Value, name: &str) -> (f64, f64, f64) {
    let value = field(object, name);
    let (min, median, max) = (number(value, "min"), number(value, "median"), number(value, "max"));
    assert!(min > 0.0 && min <= median && median <= max, "'{name}' is {value}");
    (min, median, max)
}

/// The machine and the link, which every result names.
#[track_caller]
pub fn host_and_link(document: &Value) {
    let host = field(document, "host");
    text(host, "kernel");
    text(host, "cpu");
    text(host, "cpu_idle_driver");
    assert!(count(host, "cpus") >= 1);
    let link = field(document, "link");
    text(link, "name");
    text(link, "kind");
    text(link, "mac");
    assert!(count(link, "mtu") >= 68);
    assert!(count(link, "tx_queues") >= 1 && count(link, "rx_queues") >= 1);
}

/// Counts of an engine or of one worker of it: received = forwarded + named drops.
#[track_caller]
pub fn engine_counts(counters: &Value) {
    let drops = counts(counters, "drops");
    let (received, forwarded) = (count(counters, "received"), count(counters, "forwarded"));
    assert_eq!(received, forwarded + drops, "{counters:#}");
    assert_eq!(field(counters, "unexplained").as_i64(), Some(0));
    for name in ["received_bytes", "forwarded_bytes", "batches", "wakeups", "rejoins"] {
        count(counters, name);
    }
    count(counters, "send_refusals");
    kernel(counters);
}

#[track_caller]
fn kernel(object: &Value) {
    let kernel = field(object, "kernel");
    for name in ["packets", "drops", "freezes"] {
        count(kernel, name);
    }
}

/// What a whole `linerate.compare/1` document must be.
#[track_caller]
pub fn comparison(document: &Value, paths: &[&str], sizes: &[u64], trials: usize) {
    comparison_so_far(document);
    assert!(!yes_or_no(document, "interrupted"));
    let results = list(document, "results");
    assert_eq!(results.len(), paths.len() * sizes.len());
    let wanted = sizes.iter().flat_map(|&size| paths.iter().map(move |&path| (path, size)));
    for (result, (path, size)) in results.iter().zip(wanted) {
        assert_eq!((text(result, "path"), count(result, "frame_bytes")), (path, size));
        assert_eq!(list(result, "trials").len(), trials);
        let ratios = field(result, "ratio_to_syscall");
        assert_eq!(ratios.is_object(), paths.contains(&"syscall"), "{ratios}");
    }
    // A sentence a path, or one that relates it to syscall, and one about lone frames.
    for size in sizes {
        let of_size = |sentence: &&Value| {
            sentence.as_str().is_some_and(|text| text.starts_with(&format!("{size} B: ")))
        };
        let sentences = list(document, "verdict").iter().filter(of_size).count();
        assert!(sentences >= 2, "{size} B: {sentences} sentences");
    }
}

/// What it must be also when it was cut short.
#[track_caller]
pub fn comparison_so_far(document: &Value) {
    assert_eq!(text(document, "schema"), "linerate.compare/1");
    assert_eq!(text(document, "version"), env!("CARGO_PKG_VERSION"));
    host_and_link(document);
    yes_or_no(document, "lab");
    assert!(text(document, "cpu_clock").contains("veth"));
    list(document, "results").iter().for_each(result);
}

#[track_caller]
fn result(result: &Value) {
    text(result, "path");
    assert_eq!(count(result, "frame_bytes"), count(result, "socket_bytes") + 4, "the FCS");
    yes_or_no(result, "generator_limited");
    let trials = list(result, "trials");
    assert!(!trials.is_empty());
    trials.iter().for_each(trial);
    for name in ["forwarded_pps", "drain_pps", "cpu_ns_per_frame"] {
        let (min, _, max) = spread(result, name);
        let values: Vec<f64> = trials.iter().map(|trial| number(trial, name)).collect();
        assert!(values.contains(&min) && values.contains(&max), "{name}: {values:?}");
    }
    assert!(number(result, "loss_ratio") <= 1.0);
    let ratios = field(result, "ratio_to_syscall");
    if !ratios.is_null() {
        for name in ["forwarded", "drain", "cpu", "rtt_p50"] {
            let (_, median, _) = spread(ratios, name);
            assert!(text(result, "path") != "syscall" || median == 1.0);
        }
    }
    let rtt = field(result, "rtt_ns");
    assert!(count(rtt, "count") > 0);
    let ladder = ["min", "p50", "p90", "p99", "p999", "max"].map(|name| count(rtt, name));
    assert!(ladder[0] > 0 && ladder.is_sorted(), "{rtt}");
    text(result, "engine_latency_definition");
    counts(result, "drops");
    kernel(result);
    assert!(count(result, "verified") > 0);
    assert_eq!(count(result, "wrong"), 0, "{result:#}");
}

#[track_caller]
fn trial(trial: &Value) {
    for name in ["offered_pps", "forwarded_pps", "drain_pps", "cpu_ns_per_frame"] {
        assert!(number(trial, name) > 0.0, "{name}: {trial:#}");
    }
    yes_or_no(trial, "generator_limited");
    let [sent, received, lost] = ["sent", "received", "lost"].map(|name| count(trial, name));
    assert!(received > 0);
    assert_eq!(sent, received + lost, "{trial:#}");
    for wrong in ["duplicated", "corrupted", "not_transformed", "truncated", "foreign"] {
        assert_eq!(count(trial, wrong), 0, "{wrong}: {trial:#}");
    }
    count(trial, "reordered");
    count(trial, "generator_ring_drops");
    let (sent, received) = (count(trial, "drain_sent"), count(trial, "drain_received"));
    assert!(received > 0 && received <= sent, "{trial:#}");
    assert!(count(trial, "rtt_p50_ns") > 0);
}
