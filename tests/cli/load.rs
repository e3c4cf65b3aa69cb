//! `linerate load` from outside, in the lab: short runs at a rate that a busy machine keeps up with.
//! What they count is checked to the frame; what they time is only checked for sense.

use serde_json::Value;

use crate::load_schema::{self, ladder};
use crate::program::{Ended, Unprivileged, alone, linerate, namespaces_allowed, on_one_cpu, run};
use crate::schema::{count, document, field, number, text};

const SHORT: &str = "load --lab -d 200ms --warmup 50ms --drain 5s --json -";
/// With this a run has 1000 frames and 250 of a warm-up: fewer than any ring holds, so that a stall
/// of the machine loses none.
const SLOW: &str = "-r 5k";

pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// The document of a run with these words more, after the checks that hold for all.
#[track_caller]
fn measured(more: &str) -> Value {
    let ended = run(&mut linerate(&[words(SHORT), words(more)].concat()));
    is_a_whole_load(&ended)
}

#[track_caller]
fn is_a_whole_load(ended: &Ended) -> Value {
    ended.expect(0).says(&["linerate load", "achieved"]);
    assert!(!ended.err.contains('\u{1b}'), "escape codes where nobody reads them: {ended:?}");
    let document = document(&ended.out);
    load_schema::load(&document);
    let frames = field(&document, "frames");
    assert!(count(frames, "intact") > 0, "{document:#}");
    // Not so foreign ones: the kernel has things to say over IPv6 at any time.
    for wrong in ["corrupted", "not_transformed", "truncated", "malformed"] {
        assert_eq!(count(frames, wrong), 0, "{wrong}: {document:#}");
    }
    document
}

/// What is timed then is the pair: each waits for the other.
#[test]
fn on_one_cpu_a_load_cannot_tell_of_the_engine() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let line = [words(SHORT), words(SLOW)].concat();
    let document = is_a_whole_load(&run(on_one_cpu(&mut linerate(&line))));
    assert_eq!(document["shares_cpu"], true);
    assert_eq!(document["state"]["reason"], "one_cpu", "{document:#}");
}

#[test]
fn a_load_is_one_document_on_stdout_and_text_on_stderr() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let document = measured(SLOW);
    assert_eq!(count(&document, "offered"), 1000);
    assert_eq!(document["asked_pps"], 5000.0);
    assert_eq!(document["stopped"], false);
    assert_eq!(count(field(&document, "frames"), "foreign"), 0, "{document:#}");
    assert_eq!((text(&document, "tx"), text(&document, "rx")), ("xsk", "v2"));
    assert!(field(&document, "until_kernel_stamp_ns").is_null());
}

#[test]
fn a_load_needs_no_privilege() {
    if namespaces_allowed() {
        let _alone = alone();
        let nobody = Unprivileged::new();
        let line = [words(SHORT), words(SLOW)].concat();
        is_a_whole_load(&run(&mut nobody.linerate(&line)));
    }
}

#[test]
fn every_encapsulation_comes_back() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    for more in [
        "--vlan-id 5 --vlan-pri 3",
        "--vlan-id 5 --qinq-id 100 --ethertype 0x1234 --flows 3",
        "--udp 4 --flows 8",
        "--udp 6 -s 128",
        // Tagged once: a second tag would need longer frames.
        "--udp 6 -s 84 --vlan-id 7",
    ] {
        let document = measured(&format!("{SLOW} {more}"));
        assert_eq!(count(&document, "offered"), 1000, "{more}");
    }
}

#[test]
fn every_kind_of_size_comes_back_and_is_named() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    for (sizes, mean) in [
        ("imix", (7.0 * 64.0 + 4.0 * 570.0 + 1518.0) / 12.0),
        ("64-1518:64", 768.0),
        ("random:64-1518", 791.0),
    ] {
        let document = measured(&format!("{SLOW} -s {sizes}"));
        assert_eq!(text(&document, "frame_bytes"), sizes);
        let l2 = document["achieved_l2_bits_per_second"].as_f64().expect("a number");
        let pps = document["achieved_pps"].as_f64().expect("a number");
        let ratio = l2 / 8.0 / pps / mean;
        assert!((0.9..1.1).contains(&ratio), "{sizes}: {ratio} of the mean size");
    }
}

#[test]
fn the_labs_engine_does_what_is_expected_of_it() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    for expected in ["uppercase", "same", "any"] {
        for more in ["", "--udp 6 -s 84"] {
            let document = measured(&format!("{SLOW} --expect {expected} {more}"));
            let sent = count(&document, "sent");
            assert_eq!(count(field(&document, "frames"), "intact"), sent, "{document:#}");
        }
    }
}

#[test]
fn a_warm_up_that_cannot_be_kept_ends_in_time() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let line = "load --lab -r 500M -d 200ms --warmup 100ms --json -";
    let ended = run(&mut linerate(&words(line)));
    ended.expect(0).says(&["GENERATOR-LIMITED"]);
    let document = document(&ended.out);
    load_schema::load(&document);
    assert_eq!(count(&document, "offered"), 100_000_000);
    assert!(count(&document, "sent") > 0, "{document:#}");
    assert!(count(field(&document, "warm_up"), "sent") < 50_000_000, "{document:#}");
}

#[test]
fn a_closed_loop_has_no_rate_to_miss() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    for more in ["--ping", "--window 16"] {
        let document = measured(more);
        assert!(field(&document, "asked_pps").is_null(), "{document:#}");
        assert!(field(&document, "generator_limited").is_null(), "{document:#}");
    }
    let counted = run(&mut linerate(&words("load --lab --ping -n 50 --drain 5s --json -")));
    assert_eq!(count(&is_a_whole_load(&counted), "offered"), 50);
}

#[test]
fn the_labs_engine_waits_as_named_or_follows_a_profile() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    for engine in ["ring-v2@spin", "mmsg@adaptive=20us", "throughput", "latency", "ring@latency"] {
        let line = format!("load --lab {engine} --ping -n 50 --drain 5s --json -");
        let ended = run(&mut linerate(&words(&line)));
        assert_eq!(count(&is_a_whole_load(&ended), "offered"), 50);
        ended.says(&[&format!("our own engine, {engine}")]);
    }
}

#[test]
fn every_half_is_taken_as_named() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    for (tx, rx) in [("mmsg", "v3"), ("send", "recv"), ("xsk", "v2")] {
        let document = measured(&format!("{SLOW} --tx {tx} --rx {rx}"));
        assert_eq!((text(&document, "tx"), text(&document, "rx")), (tx, rx));
    }
}

#[test]
fn patterns_and_threads_of_their_own_keep_the_books_as_well() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let bursts = measured(&format!("{SLOW} --pattern burst --burst 50"));
    let gaps = ladder(field(&bursts, "departures"), "gap_ns");
    assert!(gaps.1 >= 5_000_000, "bursts are 10 ms apart: {bursts:#}");
    let poisson = measured(&format!("{SLOW} --pattern poisson --seed 7"));
    assert_eq!(count(&poisson, "seed"), 7);
    // Two threads may share a CPU.
    assert_eq!(count(&measured(&format!("{SLOW} --burst 10 --senders 1")), "offered"), 1000);
    let two = std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() >= 2);
    if two {
        assert_eq!(count(&measured(&format!("{SLOW} --senders 2 --cpus 0,1")), "offered"), 1000);
    }
}

#[test]
fn a_breakdown_splits_every_round_trip() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let document = measured("--ping --breakdown");
    let (whole, _) = ladder(&document, "service_ns");
    for part in ["until_kernel_stamp_ns", "in_our_ring_ns"] {
        assert_eq!(ladder(&document, part).0, whole, "{document:#}");
    }
    let untouched = ladder(&document, "response_untouched_ns").0;
    let share = number(&document, "response_untouched_share");
    assert!((share - untouched as f64 / whole as f64).abs() < 1e-9, "{document:#}");
    assert!(untouched > 0 && share <= 1.0, "{document:#}");
}

#[test]
fn hardware_stamps_that_are_not_to_be_had_are_named() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let document = measured("--ping --breakdown --rx mmsg --stamps hardware");
    let stamps = field(&document, "stamps");
    assert_eq!(text(stamps, "by"), "kernel");
    assert!(text(stamps, "missing").contains("veth"), "{stamps:#}");
    assert!(field(&document, "until_nic_stamp_ns").is_null());
    let (whole, _) = ladder(&document, "service_ns");
    assert_eq!(ladder(&document, "until_kernel_stamp_ns").0, whole, "{document:#}");
}

#[test]
fn frames_can_be_ptp_messages() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let document = measured("--ping --ethertype 0x88f7 -s 76,1518");
    assert_eq!(count(field(&document, "frames"), "intact"), count(&document, "sent"));
    run(&mut linerate(&words("load --lab --ethertype 0x88f7 -s 64")))
        .expect(2)
        .says(&["PTP", "76"]);
}

#[test]
fn a_threshold_that_is_missed_is_named_and_ends_with_3() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let line = |more| [words(SHORT), words(SLOW), words(more)].concat();
    let slow = run(&mut linerate(&line("--max-p99 1ns --max-loss 99%")));
    slow.expect(3).says(&["MISSED: response p99", "1 ns"]);
    assert!(!slow.err.contains("MISSED: loss"), "{slow:?}");
    load_schema::load(&document(&slow.out));
    run(&mut linerate(&line("--max-loss 99% --max-p99 1m"))).expect(0);
}
