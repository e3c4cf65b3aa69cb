//! A strict reader of `linerate.load/1`: the fields are these and no others, and the sums come out.

use serde_json::Value;

use crate::schema::{
    count, counts, field, host_and_link, list, number, state, taken, text, yes_or_no,
};

/// A rate or a time that was divided and multiplied again.
const ROUNDING: f64 = 1e-9;
/// Histograms keep values to 0.1 %.
const RESOLUTION: f64 = 1.002;

const FIELDS: &[&str] = &[
    "schema",
    "version",
    "host",
    "harness",
    "link",
    "shares_cpu",
    "frame_bytes",
    "flows",
    "seed",
    "tx",
    "rx",
    "to",
    "expect",
    "cpus",
    "pattern",
    "window_frames",
    "warm_up_s",
    "drain_max_s",
    "late_after_s",
    "device_driver_counters",
    "asked_pps",
    "achieved_pps",
    "rate_error",
    "achieved_l2_bits_per_second",
    "achieved_l1_bits_per_second",
    "forwarded_pps",
    "generator_limited",
    "span_ns",
    "drained_s",
    "stopped",
    "interrupted",
    "reason",
    "offered",
    "unsent_late",
    "unsent_refused",
    "sent",
    "frames",
    "loss_ratio",
    "reorder_extent_max",
    "hops",
    "warm_up",
    "departures",
    "response_ns",
    "service_ns",
    "until_kernel_stamp_ns",
    "in_our_ring_ns",
    "response_untouched_ns",
    "response_untouched_share",
    "until_nic_stamp_ns",
    "nic_to_kernel_stamp_ns",
    "since_nic_stamp_ns",
    "stamps",
    "untimed",
    "jitter",
    "clock_steps",
    "senders",
    "queues",
    "device_queues",
    "waterfall",
    "driver_counters",
    "engine_failure",
    "disturbances",
    "state",
    "taken",
    "intervals",
];

/// What a whole document of a load in the lab must be.
#[track_caller]
pub fn load(document: &Value) {
    assert_eq!(text(document, "schema"), "linerate.load/1");
    assert_eq!(text(document, "version"), env!("CARGO_PKG_VERSION"));
    host_and_link(document);
    let names = document.as_object().expect("an object").keys();
    let unknown: Vec<&String> =
        names.filter(|name| *name != "engine" && !FIELDS.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "fields that this reader does not know: {unknown:?}");
    for name in FIELDS {
        field(document, name);
    }
    let harness = field(document, "harness");
    assert!(number(harness, "clock_read_ns") > 0.0 && count(harness, "sleeps") > 0);
    count(harness, "cpu");
    text(harness, "clock_source");
    yes_or_no(harness, "clock_by_vdso");
    text(document, "frame_bytes");
    for name in ["tx", "rx", "to", "expect"] {
        text(document, name);
    }
    assert!(count(document, "flows") >= 1);
    for end in ["queues", "device_queues"] {
        let end = field(document, end);
        assert!(count(end, "receive") > 0 && count(end, "transmit") > 0, "{end:#}");
        assert!(field(end, "rss").is_null(), "a veth has none: {end:#}");
        for queue in list(end, "frames") {
            count(queue, "queue");
        }
    }
    for name in ["sent", "unsent_late", "unsent_refused"] {
        let of_senders = list(document, "senders").iter().map(|sender| count(sender, name));
        assert_eq!(of_senders.sum::<u64>(), count(document, name), "{name}: {document:#}");
    }
    for name in ["seed", "reorder_extent_max", "untimed", "clock_steps"] {
        count(document, name);
    }
    for name in ["drained_s", "warm_up_s", "drain_max_s", "late_after_s"] {
        number(document, name);
    }
    let (pattern, window) = (field(document, "pattern"), field(document, "window_frames"));
    assert!(pattern.is_null() != window.is_null(), "{document:#}");
    yes_or_no(document, "stopped");
    let interrupted = field(document, "interrupted") == &Value::Bool(true);
    assert_eq!(field(document, "reason").is_string(), interrupted, "{document:#}");
    rates(document);
    frames(document);
    times(document);
    waterfall(document);
    engine(field(document, "engine"));
    assert!(field(document, "engine_failure").is_null(), "{document:#}");
    for disturbance in list(document, "disturbances") {
        text(disturbance, "what");
    }
    state(document);
    taken(document);
    let intervals = list(document, "intervals");
    assert!(intervals.iter().map(|one| count(one, "sent")).is_sorted(), "{intervals:?}");
    for interval in intervals {
        number(interval, "elapsed_s");
        count(interval, "returned");
        state(interval);
    }
}

#[track_caller]
fn rates(document: &Value) {
    if count(document, "span_ns") == 0 {
        for name in ["achieved_pps", "forwarded_pps", "rate_error"] {
            assert!(field(document, name).is_null(), "nothing was measured: {document:#}");
        }
        return;
    }
    let achieved = number(document, "achieved_pps");
    let (sent, span_ns) = (count(document, "sent"), count(document, "span_ns"));
    assert!(close(achieved, sent as f64 * 1e9 / span_ns as f64), "{document:#}");
    let intact = count(field(document, "frames"), "intact");
    let forwarded = number(document, "forwarded_pps");
    assert!(close(forwarded, intact as f64 * 1e9 / span_ns as f64), "{document:#}");
    let [l2, l1] =
        ["l2", "l1"].map(|layer| number(document, &format!("achieved_{layer}_bits_per_second")));
    assert!(close(l1 - l2, achieved * 20.0 * 8.0), "20 bytes a frame: {l2} {l1}");
    if let Ok(bytes) = text(document, "frame_bytes").parse::<f64>() {
        assert!(close(l2, achieved * bytes * 8.0), "{bytes} bytes a frame: {l2}");
    }
    match field(document, "asked_pps").as_f64() {
        None => assert!(field(document, "rate_error").is_null(), "{document:#}"),
        Some(asked) => {
            let error = field(document, "rate_error").as_f64().expect("an error of the rate");
            assert!(close(error + 1.0, achieved / asked), "{document:#}");
        }
    }
    if !field(document, "generator_limited").is_null() {
        text(document, "generator_limited");
    }
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() <= ROUNDING * one.abs().max(other.abs()).max(1.0)
}

#[track_caller]
fn frames(document: &Value) {
    let [offered, sent, late, refused] =
        ["offered", "sent", "unsent_late", "unsent_refused"].map(|name| count(document, name));
    assert_eq!(offered, sent + late + refused, "{document:#}");
    let intact = tally(sent, field(document, "frames"));
    match field(document, "loss_ratio").as_f64() {
        None => assert_eq!(sent, 0, "{document:#}"),
        Some(loss) => assert!(close(loss, 1.0 - intact as f64 / sent as f64), "{document:#}"),
    }
    let warm_up = field(document, "warm_up");
    tally(count(warm_up, "sent"), field(warm_up, "frames"));
}

/// Every frame sent is in exactly one class; the intact ones.
#[track_caller]
fn tally(sent: u64, frames: &Value) -> u64 {
    let classes = ["intact", "corrupted", "not_transformed", "truncated", "lost"];
    let sum: u64 = classes.iter().map(|name| count(frames, name)).sum();
    assert_eq!(sent, sum, "{frames:#}");
    for beside in
        ["duplicated", "reordered", "late", "foreign", "other_loads", "malformed", "forgotten"]
    {
        count(frames, beside);
    }
    count(frames, "intact")
}

#[track_caller]
fn times(document: &Value) {
    let intact = count(field(document, "frames"), "intact");
    let [response, service] = ["response_ns", "service_ns"].map(|name| ladder(document, name));
    assert_eq!(response.0, service.0);
    assert_eq!(response.0 + count(document, "untimed"), intact, "every intact frame is timed");
    // Nobody kicks before the frame is due.
    assert!(service.1 as f64 <= response.1 as f64 * RESOLUTION, "{document:#}");
    let departures = field(document, "departures");
    let late = count(departures, "late");
    assert!(late <= count(document, "sent") && count(departures, "late_after_ns") > 0);
    count(departures, "refusals");
    for name in ["lateness_ns", "gap_ns", "gap_error_ns"] {
        ladder(departures, name);
    }
    let jitter = field(document, "jitter");
    for name in ["rfc3550_ns", "mean_ns", "max_ns", "rfc5481_pdv_p99_ns"] {
        assert!(intact < 2 || field(jitter, name).is_number(), "{jitter:#}");
    }
}

/// A summary of latencies: its count and its largest value.
#[track_caller]
pub fn ladder(object: &Value, name: &str) -> (u64, u64) {
    let summary = field(object, name);
    assert_eq!(summary.as_object().map(|fields| fields.len()), Some(12), "{summary}");
    if count(summary, "count") == 0 {
        let nulls = summary.as_object().expect("fields").values().filter(|one| one.is_null());
        assert_eq!(nulls.count(), 10, "of nothing there is no percentile: {summary}");
        return (0, 0);
    }
    let steps = ["min", "p50", "p90", "p99", "p999", "p9999", "p99999", "max"]
        .map(|step| count(summary, step));
    assert!(steps.is_sorted(), "'{name}' is {summary}");
    let [mean, stdev, values] = ["mean", "stdev", "count"].map(|part| count(summary, part));
    let max = steps[7];
    assert!(mean <= max && stdev <= max, "'{name}' is {summary}");
    assert_eq!(count(summary, "beyond"), 0, "nothing takes hours here: {summary}");
    (values, max)
}

#[track_caller]
fn waterfall(document: &Value) {
    let waterfall = field(document, "waterfall");
    let warm_up = field(document, "warm_up");
    let offered = count(waterfall, "offered");
    assert_eq!(offered, count(document, "offered") + count(warm_up, "sent"), "{document:#}");
    let whole = |value: &Value, name: &str| field(value, name).as_i64().expect("a whole number");
    let mut left = offered as i64;
    let mut unexplained = 0;
    for stage in list(waterfall, "stages") {
        text(stage, "layer");
        left -= whole(stage, "frames");
        assert_eq!(whole(stage, "left"), left, "{stage:#}");
        match text(stage, "name") {
            "unexplained" => unexplained += whole(stage, "frames"),
            _ => assert!(whole(stage, "frames") >= 0, "{stage:#}"),
        }
        assert!(field(stage, "counted").is_null() || field(stage, "counted").is_u64());
    }
    assert_eq!(whole(waterfall, "unexplained"), unexplained, "{waterfall:#}");
    let returned = count(waterfall, "returned_intact");
    assert_eq!(left, returned as i64, "{waterfall:#}");
    let intact = |of: &Value| count(field(of, "frames"), "intact");
    assert_eq!(returned, intact(document) + intact(warm_up), "{document:#}");
    counts(document, "driver_counters");
}

/// Our own engine at the other end of the lab.
#[track_caller]
fn engine(engine: &Value) {
    let (received, forwarded) = (count(engine, "received"), count(engine, "forwarded"));
    assert_eq!(received, forwarded + counts(engine, "drops"), "{engine:#}");
    count(engine, "kernel_drops");
}
