//! `linerate search`, `loss-curve` and `burst` from outside, so short that what they find means
//! nothing: the form of it must hold all the same.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::load::words;
use crate::load_schema::ladder;
use crate::program::{
    Scratch, Unprivileged, alone, linerate, namespaces_allowed, run, send, start, until_caught,
    wait,
};
use crate::schema::{
    count, document, field, host_and_link, list, number, state, taken, text, yes_or_no,
};

const SEARCH: &str = "search --sizes 64 --paths ring --loss 50%,90% --width 20% \
                      --trial-duration 50ms --initial-duration 20ms --duration-sum 100ms \
                      --confirm 0s --max-duration 3s --json -";

#[track_caller]
fn results<'a>(document: &'a Value, schema: &str) -> &'a [Value] {
    assert_eq!(text(document, "schema"), schema);
    assert_eq!(text(document, "version"), env!("CARGO_PKG_VERSION"));
    host_and_link(document);
    assert!(yes_or_no(document, "lab"));
    assert!(field(document, "line_rate_bits_per_second").is_null(), "a veth pair has none");
    let results = list(document, "results");
    for result in results {
        frames(result);
        text_or_null(result, "halted");
    }
    results
}

/// Path and sizes: one size has `frame_bytes`, a mix only a mean.
#[track_caller]
fn frames(result: &Value) {
    text(result, "path");
    let sizes = text(result, "sizes");
    assert!(number(result, "mean_frame_bytes") >= 64.0);
    match sizes.parse::<u64>() {
        Ok(bytes) => assert_eq!(count(result, "frame_bytes"), bytes),
        Err(_) => assert!(field(result, "frame_bytes").is_null(), "{result:#}"),
    }
}

#[track_caller]
fn text_or_null(object: &Value, name: &str) {
    if !field(object, name).is_null() {
        text(object, name);
    }
}

#[track_caller]
fn number_or_null(object: &Value, name: &str) -> Option<f64> {
    (!field(object, name).is_null()).then(|| number(object, name))
}

#[track_caller]
fn trial(outcome: &Value) {
    for name in ["intended_pps", "offered_pps", "forwarded_pps"] {
        number(outcome, name);
    }
    let (sent, lost) = (count(outcome, "sent"), count(outcome, "lost"));
    assert!(lost <= sent && number(outcome, "loss_ratio") <= 1.0, "{outcome:#}");
    text_or_null(outcome, "void");
    taken(outcome);
    assert_eq!(ladder(outcome, "response_ns").0, sent - lost, "{outcome:#}");
}

#[track_caller]
fn search(result: &Value) {
    assert!(count(result, "repetition") >= 1);
    assert!(number(result, "generator_into_sink_pps") > 0.0);
    number_or_null(result, "generator_ceiling_pps");
    assert!(number(result, "elapsed_s") > 0.0);
    list(result, "goals").iter().for_each(goal);
    for record in list(result, "trials") {
        let purpose = text(record, "purpose");
        assert!(["start", "narrow", "decide", "confirm"].contains(&purpose), "{purpose}");
        let goal = field(record, "goal");
        assert_eq!(goal.is_null(), purpose == "start", "{record:#}");
        assert!(number(record, "trial_duration_s") > 0.0);
        trial(field(record, "outcome"));
    }
    for latency in list(result, "latency") {
        assert!([10, 50, 90].contains(&count(latency, "percent")));
        number(latency, "load_pps");
        text_or_null(latency, "void");
        state(latency);
        ladder(latency, "response_ns");
    }
}

#[track_caller]
fn goal(goal: &Value) {
    text(goal, "goal");
    // The name belongs to the procedure.
    assert!(!text(goal, "name").contains("2544"), "{goal:#}");
    for name in ["loss_ratio", "exceed_ratio", "goal_width"] {
        assert!(number(goal, name) < 1.0, "{goal:#}");
    }
    for name in ["duration_sum_s", "trial_duration_s", "initial_trial_duration_s"] {
        assert!(number(goal, name) > 0.0, "{goal:#}");
    }
    let [lower, upper] =
        ["lower_bound_pps", "upper_bound_pps"].map(|name| number_or_null(goal, name));
    if let (Some(lower), Some(upper)) = (lower, upper) {
        assert!(lower <= upper, "{goal:#}");
    }
    for name in ["conditional_throughput_pps", "estimate_pps", "width"] {
        number_or_null(goal, name);
    }
    yes_or_no(goal, "at_least");
    state(goal);
    let confirmation = field(goal, "confirmation");
    let confirmed = field(goal, "confirmed");
    match confirmation.is_null() || yes_or_no(confirmation, "void") {
        true => assert!(confirmed.is_null(), "{goal:#}"),
        false => {
            assert!(number(confirmation, "duration_s") > 0.0);
            let lost = number(confirmation, "loss_ratio");
            assert_eq!(confirmed.as_bool(), Some(lost <= number(goal, "loss_ratio")), "{goal:#}");
        }
    }
    let disagreement = field(goal, "disagreement");
    if !disagreement.is_null() {
        number(disagreement, "load_pps");
        assert!(count(disagreement, "exceeded") < count(disagreement, "trials"), "{goal:#}");
    }
    count(goal, "trials_used");
    assert!(list(goal, "irregular").iter().all(Value::is_string), "{goal:#}");
}

#[test]
fn a_search_finds_bounds_for_every_goal() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let nobody = Unprivileged::new();
    let ended = run(&mut nobody.linerate(&words(SEARCH)));
    ended.expect(0).says(&["linerate search", "PDR 50 %", "PDR 90 %"]);
    // The name belongs to trials of sixty seconds.
    assert!(!ended.err.contains("RFC 2544") && !ended.out.contains("RFC 2544"), "{ended:?}");
    assert!(!ended.err.contains('\u{1b}'), "{ended:?}");
    let document = document(&ended.out);
    assert!(!yes_or_no(&document, "interrupted"));
    let results = results(&document, "linerate.search/1");
    assert_eq!(results.len(), 1, "one size and one path");
    results.iter().for_each(search);
    assert_eq!(list(&results[0], "goals").len(), 2);
    assert!(!list(&results[0], "trials").is_empty());
    assert!(list(&document, "agreement").is_empty(), "nothing was repeated");
}

#[test]
fn a_mix_and_a_size_are_searched_in_turn_and_the_repetitions_compared() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let line = "search --sizes 64,imix --paths ring-v2 --loss 50% --width 20% --exceed 0 \
                --trial-duration 60ms --initial-duration 30ms --duration-sum 60ms \
                --confirm 100ms --max-duration 2s --repeat 2 --json -";
    let ended = run(&mut linerate(&words(line)));
    ended.expect(0).says(&["imix", "1518 B", "10 %"]);
    let document = document(&ended.out);
    let results = results(&document, "linerate.search/1");
    results.iter().for_each(search);
    let order: Vec<(u64, &str)> =
        results.iter().map(|run| (count(run, "repetition"), text(run, "sizes"))).collect();
    assert_eq!(order, [(1, "64"), (1, "imix"), (2, "64"), (2, "imix")], "interleaved");
    let agreements = list(&document, "agreement");
    assert_eq!(agreements.len(), 2, "one goal of two mixes");
    for agreement in agreements {
        frames(agreement);
        assert_eq!(text(agreement, "goal"), "PDR 50 %");
        let found = list(agreement, "lower_bounds_pps").len();
        let spread = field(agreement, "spread_pps");
        assert_eq!(spread.is_null(), found == 0);
        if found > 0 {
            assert!(number(spread, "min") <= number(spread, "max"));
        }
        let difference = number_or_null(agreement, "difference");
        let agrees = found == 2 && difference.is_some_and(|difference| difference <= 0.1);
        assert_eq!(yes_or_no(agreement, "agrees"), agrees);
        assert_eq!(list(agreement, "reasons").is_empty(), agrees, "{agreement:#}");
        state(agreement);
        assert!(agrees || text(field(agreement, "state"), "state") == "cannot_tell");
    }
}

/// The ceiling of the generator is one for all paths of a size.
#[test]
fn the_sink_is_measured_once_a_size() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let line = "search --sizes 64 --paths ring-v2,syscall --loss 90% --width 50% \
                --trial-duration 50ms --initial-duration 20ms --duration-sum 50ms --confirm 0s \
                --max-duration 1s --json -";
    let ended = run(&mut linerate(&words(line)));
    let document = document(&ended.expect(0).out);
    let sinks: Vec<f64> = results(&document, "linerate.search/1")
        .iter()
        .map(|run| number(run, "generator_into_sink_pps"))
        .collect();
    assert_eq!(sinks.len(), 2);
    assert_eq!(sinks[0], sinks[1]);
}

#[test]
fn ctrl_c_ends_a_search_with_what_there_is() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    // While the generator is still measured alone, and in the midst of trials.
    for (pause, signal) in [(100, Signal::SIGINT), (700, Signal::SIGTERM)] {
        let scratch = Scratch::new();
        let file = scratch.file("result.json");
        let mut command = linerate(&words("search --sizes 64,1518 --paths ring,syscall --json"));
        let mut child = start(command.arg(&file)).expect("the program starts");
        until_caught(signal, &child);
        std::thread::sleep(Duration::from_millis(500 + pause));
        send(signal, &child);
        assert_eq!(wait(&mut child).code(), Some(130));
        let out = std::io::read_to_string(child.stdout.take().expect("a pipe")).expect("text");
        assert!(out.contains("interrupted"), "{out}");
        let document = document(&std::fs::read_to_string(&file).expect("the document"));
        assert!(yes_or_no(&document, "interrupted"));
        results(&document, "linerate.search/1").iter().for_each(search);
    }
}

#[test]
fn a_curve_has_a_point_for_every_load() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let line = "loss-curve --sizes 64 --paths ring --step 50 --trial-duration 50ms --json -";
    let ended = run(&mut linerate(&words(line)));
    ended.expect(0).says(&["linerate loss-curve", "50 %", "100 %"]);
    // Piped, there is a plain line for each load before the table, and no bar.
    let progress = ended.err.lines().filter(|line| line.contains("/s: ")).count();
    assert_eq!(progress, 2, "{ended:?}");
    assert!(!ended.err.contains('\u{1b}'), "{ended:?}");
    let document = document(&ended.out);
    let results = results(&document, "linerate.loss-curve/1");
    assert_eq!(results.len(), 1);
    assert!(number(&results[0], "generator_into_sink_pps") > 0.0);
    let points = list(&results[0], "points");
    let percents: Vec<f64> = points.iter().map(|point| number(point, "percent")).collect();
    assert_eq!(percents, [50.0, 100.0]);
    for point in points {
        assert!(number(point, "load_pps") > 0.0);
        state(point);
        // All trials of a load may be void; then it says nothing.
        let is_void = field(point, "offered_pps").is_null();
        for name in ["forwarded_pps", "loss_ratio", "response_p50_ns", "response_p99_ns"] {
            assert_eq!(field(point, name).is_null(), is_void, "{name}: {point:#}");
        }
        assert!(!list(point, "trials").is_empty());
        list(point, "trials").iter().for_each(trial);
    }
}

#[test]
fn a_burst_is_found_within_what_was_tried() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    let line = "burst --sizes 64 --paths ring --repetitions 2 --max-frames 200 --pause 0s --json -";
    let ended = run(&mut linerate(&words(line)));
    ended.expect(0).says(&["linerate burst"]);
    assert!(!ended.err.contains('\u{1b}'), "{ended:?}");
    let document = document(&ended.out);
    let results = results(&document, "linerate.burst/1");
    assert_eq!(results.len(), 1);
    let result = &results[0];
    let longest = list(result, "longest_frames");
    assert!(longest.len() <= 2 && count(result, "bursts") >= longest.len() as u64);
    assert!(longest.iter().all(|frames| frames.as_u64().is_some_and(|frames| frames <= 200)));
    yes_or_no(result, "at_least");
    state(result);
    if longest.len() == 2 {
        let [min, max] = ["min_frames", "max_frames"].map(|name| count(result, name));
        let mean = number(result, "mean_frames");
        assert!(min as f64 <= mean && mean <= max as f64, "{result:#}");
        number(result, "stdev_frames");
        assert!(ended.err.contains("repetition 2 of 2"), "{ended:?}");
    }
    let [sent, burst] = ["sent_pps", "burst_pps"].map(|name| number_or_null(result, name));
    assert_eq!(sent, burst, "without a wire the bursts come as the generator sends them");
    let throughput = number_or_null(result, "throughput_pps");
    let [implied, corrected] =
        ["implied_buffer_s", "corrected_buffer_s"].map(|name| number_or_null(result, name));
    assert_eq!(implied.is_some(), corrected.is_some());
    if let (Some(implied), Some(corrected), Some(burst)) = (implied, corrected, burst) {
        let mean = number(result, "mean_frames");
        assert!((implied - mean / burst).abs() <= 1e-9 * (1.0 + implied), "{result:#}");
        let share = throughput.expect("a throughput corrects it") / burst;
        assert!((corrected - implied * (1.0 - share)).abs() <= 1e-9, "{result:#}");
    }
}

#[test]
fn ctrl_c_ends_a_curve_and_bursts_with_what_there_is() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    for (line, schema) in [
        ("loss-curve --paths ring,syscall", "linerate.loss-curve/1"),
        ("burst --paths ring,syscall", "linerate.burst/1"),
    ] {
        let scratch = Scratch::new();
        let file = scratch.file("result.json");
        let mut child = start(linerate(&words(line)).arg("--json").arg(&file)).expect("it starts");
        until_caught(Signal::SIGINT, &child);
        std::thread::sleep(Duration::from_millis(1000));
        send(Signal::SIGINT, &child);
        assert_eq!(wait(&mut child).code(), Some(130));
        let document = document(&std::fs::read_to_string(&file).expect("the document"));
        assert!(yes_or_no(&document, "interrupted"));
        results(&document, schema);
    }
}

/// Runs each line and looks for its words on stderr.
#[track_caller]
fn refused(lines: &[(&str, &[&str])]) {
    for (line, said) in lines {
        let ended = run(&mut linerate(&words(line)));
        ended.expect(2).says(said);
        assert_eq!(ended.out, "", "{line}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_measured() {
    for command in ["search", "loss-curve", "burst"] {
        refused(&[
            (&format!("{command} --sizes 63"), &["'63'", "64"]),
            (&format!("{command} --paths magic"), &["'magic'", "ring", "ring-v2", "ring-mmsg"]),
            (&format!("{command} -i lo"), &["--dut-interface"]),
            (&format!("{command} --dut-interface lo"), &["--interface"]),
            (&format!("{command} -i lo --dut-interface lo"), &["lo"]),
            (&format!("{command} --cpus 3-1"), &["'3-1'", "1-3"]),
        ]);
        let line = format!("{command} -i nowhere7 --dut-interface nowhere8");
        run(&mut linerate(&words(&line))).expect(1).says(&["nowhere7", "ENODEV"]);
        let line = format!("{command} --json /no/such/directory/x");
        let ended = run(&mut linerate(&words(&line)));
        ended.expect(1).says(&["/no/such/directory/x", "ENOENT"]);
        assert_eq!(ended.out, "");
    }
    let part: &[&str] = &["0.1%"];
    refused(&[
        ("search --loss 100%", part),
        ("search --loss 0,half", part),
        ("search --loss -1", part),
        ("search --exceed 100%", part),
        ("search --width 200%", part),
        ("search --width 0", &["0.001", "50"]),
        ("search --trial-duration 1ms", &["'1ms'", "20ms", "10m"]),
        ("search --initial-duration 11m", &["'11m'", "20ms", "10m"]),
        ("search --duration-sum 100ms", &["duration"]),
        ("search --confirm 50ms", &["confirm"]),
        ("search --confirm soon", &["'soon'"]),
        ("search --repeat 0", &["'0'", "100"]),
        ("search --sizes 64,imux", &["'imux'"]),
        ("loss-curve --step 0", &["'0'", "0.1", "100"]),
        ("loss-curve --step -5", &["'-5'", "0.1", "100"]),
        ("loss-curve --step nan", &["'nan'", "0.1", "100"]),
        ("loss-curve --step 101", &["'101'", "0.1", "100"]),
        ("loss-curve --trials 0", &["'0'", "1000"]),
        ("loss-curve --trial-duration 0s", &["'0s'"]),
        ("burst --max-frames 0", &["1..=20000"]),
        ("burst --max-frames 1000001", &["1000001", "1..=20000"]),
        ("burst --repetitions 0", &["'0'", "1000"]),
        ("burst --pause -1s", &["'-1s'", "ns", "us", "ms"]),
    ]);
}

/// That mode has its own parameters: none of the search's may bend it.
#[test]
fn rfc_2544_takes_no_parameters_of_the_search() {
    for option in [
        "--loss 0",
        "--trial-duration 1s",
        "--initial-duration 1s",
        "--duration-sum 5s",
        "--exceed 10%",
        "--width 5%",
        "--confirm 5s",
        "--max-duration 5m",
    ] {
        let name = option.split(' ').next().expect("a word");
        refused(&[(&format!("search --rfc2544 {option}"), &["--rfc2544", name])]);
    }
}

#[test]
fn help_says_who_may_bear_which_name_and_the_exit_codes() {
    let help = |command: &str| {
        let ended = run(&mut linerate(&[command, "--help"]));
        ended.expect(0);
        ended.out.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let search = help("search");
    for words in [
        "--rfc2544",
        "RFC 2544",
        "60 s",
        "64,128,256,512,1024,1280,1518",
        "imix",
        "[default: 10s]",
        "MLRsearch",
    ] {
        assert!(search.contains(words), "no '{words}' in {search}");
    }
    assert!(help("loss-curve").contains("26.3") && help("burst").contains("RFC 2544"));
    for command in ["search", "loss-curve", "burst"] {
        let text = help(command);
        for words in ["2", "77", "130", "FCS"] {
            assert!(text.contains(words), "{command}: no '{words}' in {text}");
        }
    }
}
