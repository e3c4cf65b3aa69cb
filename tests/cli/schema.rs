//! A strict reader of `linerate.compare/2` and `linerate.echo/1`: every field is there, is of the
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

/// What a number is worth.
#[track_caller]
pub fn state(object: &Value) {
    let state = field(object, "state");
    match text(state, "state") {
        "clear" => {}
        "disturbed" => assert!(number(state, "share") <= 1.0, "{state}"),
        "cannot_tell" => drop(text(state, "reason")),
        other => panic!("no state: {other}"),
    }
}

/// The account of what was taken of the CPUs: what is null is named as not readable.
#[track_caller]
pub fn taken(object: &Value) {
    let taken = field(object, "taken");
    assert!(count(taken, "span_ns") > 0);
    let hidden = field(taken, "not_readable");
    let count_of = |object: &Value, name: &str| match field(object, name).is_null() {
        true => drop(text(hidden, name)),
        false => drop(count(object, name)),
    };
    count_of(taken, "throttled_ns");
    count_of(taken, "pressure_ns");
    for cpu in list(taken, "cpus") {
        let is_generator = match text(cpu, "role") {
            "generator" => true,
            "engine" => false,
            other => panic!("no role: {other}"),
        };
        count(cpu, "cpu");
        // A worker that does not poll has none.
        assert!(field(cpu, "gap_ns").is_u64() || !is_generator, "{cpu:#}");
        for name in ["run_delay_ns", "involuntary_switches", "steal_ns", "irq_ns", "softirq_ns"] {
            count_of(cpu, name);
        }
        count_of(cpu, "frequency_khz");
        assert!(number(cpu, "disturbed_share") <= 1.0, "{cpu:#}");
        list(cpu, "evidence");
    }
}

/// The machine and the link, which every result names.
#[track_caller]
pub fn host_and_link(document: &Value) {
    let host = field(document, "host");
    text(host, "kernel");
    text(host, "cpu");
    text(host, "cpu_idle_driver");
    assert!(count(host, "cpus") >= 1);
    let not_readable = field(host, "not_readable");
    for key in FINGERPRINT {
        let known = !field(host, key).is_null();
        assert_ne!(known, not_readable.get(key).is_some(), "'{key}' in {host:#}");
    }
    let link = field(document, "link");
    text(link, "name");
    text(link, "kind");
    text(link, "mac");
    assert!(count(link, "mtu") >= 68);
    assert!(count(link, "tx_queues") >= 1 && count(link, "rx_queues") >= 1);
    let driver = field(link, "driver");
    assert!(driver.is_null() || !text(driver, "name").is_empty(), "{driver}");
}

/// What tells two machines apart; each is known, or named as not readable.
const FINGERPRINT: [&str; 8] = [
    "microcode",
    "hypervisor",
    "clock_source",
    "cpu_frequency_driver",
    "cpu_frequency_governor",
    "smt",
    "mitigations",
    "memory_bytes",
];

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

/// One worker of an echo, and how frames rolled over from its socket.
#[track_caller]
pub fn worker(worker: &Value) {
    engine_counts(worker);
    count(worker, "cpu");
    assert!(field(worker, "queues").is_null(), "none decides here: {worker:#}");
    let rollover = field(field(worker, "kernel"), "rollover");
    for name in ["all", "huge", "failed"] {
        count(rollover, name);
    }
}

/// What a whole `linerate.compare/2` document must be.
#[track_caller]
pub fn comparison(
    document: &Value,
    contestants: &[&str],
    loads: &[&str],
    sizes: &[u64],
    trials: usize,
) {
    comparison_so_far(document);
    assert!(!yes_or_no(document, "interrupted"));
    assert_eq!(list(document, "loads"), loads);
    let results = list(document, "results");
    assert_eq!(results.len(), contestants.len() * sizes.len());
    let wanted = sizes.iter().flat_map(|&size| contestants.iter().map(move |&one| (one, size)));
    for (result, (contestant, size)) in results.iter().zip(wanted) {
        assert_eq!((text(result, "contestant"), count(result, "frame_bytes")), (contestant, size));
        for name in loads {
            let load = field(field(result, "loads"), name);
            assert_eq!(list(load, "rounds").len(), trials);
        }
    }
    for size in sizes {
        let begin = format!("{size} B: ");
        let said =
            |sentence: &Value| sentence.as_str().is_some_and(|text| text.starts_with(&begin));
        assert!(list(document, "verdict").iter().any(said), "{size} B: no verdict");
    }
}

/// What it must be also when it was cut short.
#[track_caller]
pub fn comparison_so_far(document: &Value) {
    assert_eq!(text(document, "schema"), "linerate.compare/3");
    assert_eq!(text(document, "version"), env!("CARGO_PKG_VERSION"));
    text(document, "baseline");
    count(document, "took_ns");
    host_and_link(document);
    text(field(document, "host"), "cpu_idle_governor");
    list(field(document, "host"), "cpu_idle_states");
    yes_or_no(document, "lab");
    assert!(text(document, "cpu_clock").contains("veth"));
    for excluded in list(document, "excluded") {
        text(excluded, "contestant");
        text(excluded, "reason");
    }
    list(document, "results").iter().for_each(result);
    for answer in list(document, "answers") {
        text(answer, "question");
        text(answer, "load");
        text(answer, "metric");
        count(answer, "frame_bytes");
        let standings = list(answer, "best").iter().chain(list(answer, "losers"));
        for standing in standings {
            text(standing, "contestant");
            assert!(number(standing, "value") > 0.0);
            state(standing);
        }
        assert!(!list(answer, "best").is_empty());
    }
}

#[track_caller]
fn result(result: &Value) {
    text(result, "contestant");
    text(result, "path");
    text(result, "wait");
    assert_eq!(count(result, "frame_bytes"), count(result, "socket_bytes") + 4, "the FCS");
    let loads = field(result, "loads").as_object().expect("loads by name");
    for (name, found) in loads {
        load(name, found);
    }
    text(result, "engine_latency_definition");
    counts(result, "drops");
    kernel(result);
    assert!(count(result, "verified") > 0);
    assert_eq!(count(result, "wrong"), 0, "{result:#}");
}

/// The metrics that a load must have.
fn metrics(load: &str) -> &'static [&'static str] {
    match load {
        "flood" | "drain" => &["echoed_pps", "cpu_ns_per_echo"],
        "scale" => &["echoed_pps", "scaling"],
        _ => &["echoed_pps", "cpu_ns_per_echo", "rtt_p50_ns", "rtt_p99_ns"],
    }
}

#[track_caller]
fn load(name: &str, found: &Value) {
    let rounds = list(found, "rounds");
    assert!(!rounds.is_empty());
    rounds.iter().for_each(round);
    assert!(number(found, "loss_ratio") <= 1.0);
    yes_or_no(found, "generator_limited");
    let known = field(found, "metrics").as_object().expect("metrics by name");
    for (metric, found) in known {
        assert!(metrics(name).contains(&metric.as_str()), "{name}: {metric}");
        assert!(number(found, "median") > 0.0);
        assert_eq!(list(found, "rounds").len(), rounds.len());
        for interval in ["value", "ratio_to_baseline"].map(|name| field(found, name)) {
            let ends = ["low", "estimate", "high"];
            assert!(interval.is_null() || ends.map(|end| number(interval, end)).is_sorted());
        }
        state(found);
    }
}

#[track_caller]
fn round(trial: &Value) {
    number(trial, "offered_pps");
    number(trial, "echoed_pps");
    yes_or_no(trial, "generator_limited");
    yes_or_no(trial, "generator_behind_schedule");
    let [sent, received, lost] = ["sent", "received", "lost"].map(|name| count(trial, name));
    assert!(received > 0);
    assert_eq!(sent, received + lost, "{trial:#}");
    for wrong in ["duplicated", "corrupted", "not_transformed", "truncated"] {
        assert_eq!(count(trial, wrong), 0, "{wrong}: {trial:#}");
    }
    // On a machine with other work to do, stragglers of the load before are foreign to this one.
    count(trial, "foreign");
    count(trial, "other_loads");
    count(trial, "reordered");
    count(trial, "generator_ring_drops");
    let rtt = field(trial, "rtt_ns");
    if !rtt.is_null() {
        assert!(count(rtt, "count") > 0);
        let ladder = ["min", "p50", "p90", "p99", "p999", "max"].map(|name| count(rtt, name));
        assert!(ladder[0] > 0 && ladder.is_sorted(), "{rtt}");
    }
}
