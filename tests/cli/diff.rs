//! `linerate diff`: exit codes, refusals, and the forms that other tools read.

use std::path::Path;

use serde_json::{Value, json};

use crate::program::{Ended, Scratch, alone, linerate, namespaces_allowed, run};

/// Rounds around `value`, up to 2 % off, which look random and differ by `run`.
fn rounds(value: f64, run: u64) -> Vec<f64> {
    let off = |round: u64| {
        let mixed = (round + 100 * run + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64
            / (1 << 24) as f64
    };
    (0..22).map(|round| value * (1.0 + 0.04 * (off(round) - 0.5))).collect()
}

/// What `compare` wrote on a quiet machine, with `ring` slowed down by `slower`.
fn compared(slower: f64, run: u64) -> Value {
    let metric = |value, run| json!({"state": {"state": "clear"}, "rounds": rounds(value, run)});
    let result = |contestant: &str, rate: f64, bytes: u64, at: u64| {
        let run = 100 * run + 2 * at;
        json!({
            "contestant": contestant,
            "frame_bytes": bytes,
            "loads": {"drain": {"generator_limited": false, "metrics": {
                "echoed_pps": metric(rate, run),
                "cpu_ns_per_echo": metric(1e9 / rate, run + 1),
            }}},
        })
    };
    json!({
        "schema": "linerate.compare/3",
        "a field of a later version": [1, {"two": 3}],
        "host": {"kernel": "6.18.1", "cpu": "A CPU @ 3 GHz", "cpus": 2},
        "lab": true,
        "baseline": "syscall",
        "results": [
            result("syscall", 250e3, 64, 0),
            result("ring", 900e3 / slower, 64, 1),
            result("v2+mmsg@adaptive=100us", 600e3, 64, 2),
            result("syscall", 240e3, 1518, 3),
            result("ring", 800e3 / slower, 1518, 4),
        ],
    })
}

/// What `load` wrote.
fn loaded(forwarded_pps: f64, cpu: &str) -> Value {
    json!({
        "schema": "linerate.load/1",
        "host": {"kernel": "6.18.1", "cpu": cpu, "cpus": 2},
        "to": "our own engine, ring-v2",
        "frame_bytes": "64",
        "asked_pps": 1e6,
        "forwarded_pps": forwarded_pps,
        "generator_limited": null,
        "response_ns": {"p50": 9000, "p99": 21_000},
    })
}

/// Compares two files with these contents.
fn diff(old: &str, new: &str, options: &[&str]) -> Ended {
    let scratch = Scratch::new();
    let [a, b] = [("old", old), ("new", new)].map(|(name, text)| {
        let path = scratch.file(name);
        std::fs::write(&path, text).expect("a file");
        path
    });
    let text = |path: &Path| path.to_str().expect("UTF-8").to_string();
    let [a, b] = [text(&a), text(&b)];
    run(&mut linerate(&[&["diff", a.as_str(), b.as_str()], options].concat()))
}

fn diff_of(old: &Value, new: &Value, options: &[&str]) -> Ended {
    diff(&old.to_string(), &new.to_string(), options)
}

#[test]
fn a_regression_is_an_exit_code() {
    let old = compared(1.0, 0);
    diff_of(&old, &compared(1.0, 6), &["--strict"]).expect(0);
    diff_of(&old, &compared(1.12, 6), &[]).expect(3);
    diff_of(&old, &compared(1.12, 6), &["--threshold", "20%", "--strict"]).expect(0);
    diff_of(&compared(1.12, 6), &old, &["--strict"]).expect(0);
    // Half of the interval is worse than the threshold.
    diff_of(&old, &compared(1.054, 6), &[]).expect(0);
    diff_of(&old, &compared(1.054, 6), &["--strict"]).expect(4);
}

#[test]
fn a_slower_machine_is_no_regression_and_is_named() {
    let mut new = compared(1.0, 6);
    new["host"]["cpu"] = "Another CPU".into();
    for result in new["results"].as_array_mut().expect("results") {
        for metric in ["echoed_pps", "cpu_ns_per_echo"] {
            let rounds = &mut result["loads"]["drain"]["metrics"][metric]["rounds"];
            let factor = if metric == "echoed_pps" { 0.5 } else { 2.0 };
            let slower = |value: &Value| Value::from(factor * value.as_f64().expect("a number"));
            *rounds = rounds.as_array().expect("rounds").iter().map(slower).collect();
        }
    }
    let ended = diff_of(&compared(1.0, 0), &new, &["--strict"]);
    ended.expect(0);
    assert!(ended.out.contains("Another CPU"), "{}", ended.out);
}

#[test]
fn what_the_document_doubts_is_doubted() {
    let old = compared(1.0, 0);
    let mut new = compared(1.3, 6);
    for reason in ["baseline_differs", "interval_too_wide", "modes_disagree"] {
        for result in new["results"].as_array_mut().expect("results") {
            for metric in ["echoed_pps", "cpu_ns_per_echo"] {
                result["loads"]["drain"]["metrics"][metric]["state"] =
                    json!({"state": "cannot_tell", "reason": reason});
            }
        }
        diff_of(&old, &new, &[]).expect(0);
        let ended = diff_of(&old, &new, &["--strict"]);
        assert!(ended.expect(4).out.contains(&reason.replace('_', " ")), "{}", ended.out);
    }
    // Nothing came back any more: there is no number, and that is not fine.
    let mut silent = compared(1.0, 6);
    for metric in ["echoed_pps", "cpu_ns_per_echo"] {
        let rounds = json!([null, 0, null, 0, 0, 0]);
        silent["results"][1]["loads"]["drain"]["metrics"][metric]["rounds"] = rounds;
    }
    diff_of(&old, &silent, &[]).expect(0);
    let ended = diff_of(&old, &silent, &["--strict"]);
    assert!(ended.expect(4).out.contains("only in the old file: drain, 64 B, ring"), "{ended:?}");
    let mut few = compared(1.3, 6);
    for result in few["results"].as_array_mut().expect("results") {
        for metric in ["echoed_pps", "cpu_ns_per_echo"] {
            result["loads"]["drain"]["metrics"][metric]["rounds"] = json!([1.0, null, 2.0, null]);
        }
    }
    diff_of(&old, &few, &[]).expect(0);
    diff_of(&old, &few, &["--strict"]).expect(4);
}

#[test]
fn files_that_cannot_be_compared_say_why() {
    let whole = compared(1.0, 0);
    let old = whole.to_string();
    let changed = |at: &str, value: Value| {
        let mut new = whole.clone();
        *new.pointer_mut(at).expect(at) = value;
        new.to_string()
    };
    let cases: Vec<(String, &[&str])> = vec![
        (old[..old.len() / 2].into(), &["new", "cut off"]),
        (String::new(), &["new", "empty"]),
        ("\u{1b}[2J not JSON".into(), &["new", "no JSON document", "line 1"]),
        ("[".repeat(100_000), &["new", "no JSON document"]),
        ("{}".into(), &["schema"]),
        ("[1, 2]".into(), &["schema"]),
        (changed("/schema", "linerate.compare/4".into()), &["linerate.compare/4", "compare/3"]),
        (changed("/schema", "linerate.echo/1".into()), &["linerate.echo/1"]),
        (loaded(1e6, "x").to_string(), &["schema", "linerate.load/1"]),
        (changed("/results", json!([])), &["no results"]),
        (changed("/results/4/frame_bytes", 512.into()), &["frame sizes", "512"]),
        (changed("/baseline", "mmsg".into()), &["baseline", "mmsg"]),
        (changed("/lab", false.into()), &["lab"]),
        (old.replace("\"drain\"", "\"flood\""), &["nothing in common"]),
        (format!("{old}\n{}", loaded(1e6, "x")), &["schema"]),
    ];
    for (new, words) in cases {
        let ended = diff(&old, &new, &[]);
        ended.expect(2).says(words);
        assert_eq!(ended.out, "");
    }
    let missing = run(&mut linerate(&["diff", "/no/such/file", "/dev/null"]));
    missing.expect(2).says(&["/no/such/file"]);
    run(&mut linerate(&["diff", "/", "/dev/null"])).expect(2).says(&["directory"]);
    diff(&old, &old, &["--alpha", "0"]).expect(2).says(&["--alpha"]);
    diff(&old, &old, &["--threshold", "-1%"]).expect(2).says(&["--threshold"]);
    diff(&old, &old, &["--format", "xml"]).expect(2).says(&["xml", "gobench"]);
}

#[test]
fn absolute_values_are_those_of_one_machine() {
    let many = |rate: f64, cpu: &str| -> String {
        let runs = (0..8).map(|run| loaded(rate * (1.0 + 0.001 * f64::from(run)), cpu).to_string());
        runs.collect::<Vec<_>>().join("\n")
    };
    diff(&many(1e6, "one"), &many(1e6, "one"), &["--strict"]).expect(0);
    diff(&many(1e6, "one"), &many(0.9e6, "one"), &[]).expect(3);
    // One run has no interval.
    let [old, new] = [1e6, 0.5e6].map(|rate| loaded(rate, "one").to_string());
    diff(&old, &new, &[]).expect(0);
    diff(&old, &new, &["--strict"]).expect(4);
    let other = many(0.9e6, "two");
    diff(&many(1e6, "one"), &other, &[]).expect(2).says(&["linerate.load/1", "one", "two"]);
    diff(&many(1e6, "one"), &other, &["--other-host"]).expect(3);
}

#[test]
fn a_robbed_round_is_named_and_spoils_no_other() {
    let mut runs: Vec<Value> = (0..6).map(|_| loaded(1e6, "one")).collect();
    let old = runs.iter().map(Value::to_string).collect::<String>();
    runs[3]["state"] = json!({"state": "disturbed", "share": 0.25});
    runs[4] = loaded(0.1e6, "one");
    runs[4]["state"] = json!({"state": "cannot_tell", "reason": "time_taken", "share": 0.9});
    let new = runs.iter().map(Value::to_string).collect::<String>();
    let ended = diff(&old, &new, &["--strict", "--format", "csv"]);
    ended.expect(0).says(&["DISTURBED", "25 %"]);
    for row in ended.out.lines().skip(1) {
        assert!(row.ends_with(",0,0.25"), "{row}");
    }
}

#[test]
fn what_the_program_writes_it_compares() {
    if !namespaces_allowed() {
        return;
    }
    let _turn = alone();
    for line in [
        "compare --rounds 2 --trial-duration 50ms --sizes 64 --paths ring,syscall --json -",
        "load --lab -r 1k -d 300ms --json -",
        "search --sizes 64 --paths ring --loss 50% --width 20% --trial-duration 50ms \
         --initial-duration 20ms --duration-sum 100ms --confirm 0s --max-duration 3s --json -",
    ] {
        let ended = run(&mut linerate(&line.split_whitespace().collect::<Vec<_>>()));
        let ended = diff(&ended.out, &ended.out, &["--format", "csv"]);
        // On a busy machine a search finds nothing, and all rounds of a comparison may be void.
        match ended.code {
            Some(2) => ended.says(&["nothing in common"]),
            _ => ended.expect(0),
        };
    }
}

#[test]
fn searches_are_compared_by_their_repetitions() {
    let searched = |pps: f64| {
        let result = |repetition: u32| {
            let found = pps + f64::from(repetition);
            json!({"path": "ring", "sizes": "64", "repetition": repetition, "goals": [
                {"goal": "NDR", "conditional_throughput_pps": found, "at_least": false},
                {"goal": "PDR 0.5 %", "conditional_throughput_pps": null, "at_least": true},
            ]})
        };
        let results: Vec<Value> = (1..=5).map(result).collect();
        json!({"schema": "linerate.search/1", "lab": true, "results": results})
    };
    diff_of(&searched(1e6), &searched(1e6), &["--strict"]).expect(0);
    diff_of(&searched(1e6), &searched(0.8e6), &[]).expect(3);
}

/// Configuration, and one name with its values and units for each result line.
type GoBenchmarks = (Vec<(String, String)>, Vec<(String, Vec<(f64, String)>)>);

/// Reads the Go benchmark data format by its published grammar, and fails on lines that it would ignore.
/// <https://go.googlesource.com/proposal/+/master/design/14313-benchmark-format.md>
fn read_gobench(text: &str) -> GoBenchmarks {
    let (mut configuration, mut results) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let Some(name) = fields[0].strip_prefix("Benchmark") {
            let capital = name.chars().next().is_none_or(char::is_uppercase);
            assert!(capital && fields.len() >= 4 && fields.len().is_multiple_of(2), "{line}");
            fields[1].parse::<u64>().unwrap_or_else(|_| panic!("iterations in {line}"));
            // What follows a last hyphen would be taken for GOMAXPROCS.
            let end = name.rsplit('-').next().expect("a part");
            assert!(!name.contains('-') || end.parse::<u64>().is_err(), "{line}");
            let pair = |pair: &[&str]| (pair[0].parse().expect("a number"), pair[1].to_string());
            results.push((name.to_string(), fields[2..].chunks(2).map(pair).collect()));
        } else if fields[0] == "Unit" {
            assert!(fields.len() >= 3, "{line}");
            let is_pair =
                |field: &&str| field.split_once('=').is_some_and(|(key, _)| !key.is_empty());
            assert!(fields[2..].iter().all(is_pair), "{line}");
        } else {
            let (key, value) = line.split_once(':').unwrap_or_else(|| panic!("ignored: {line}"));
            assert!(key.starts_with(char::is_lowercase), "{line}");
            assert!(!key.contains(|c: char| c.is_whitespace() || c.is_uppercase()), "{line}");
            assert!(value.is_empty() || value.starts_with([' ', '\t']), "{line}");
            configuration.push((key.to_string(), value.trim().to_string()));
        }
    }
    (configuration, results)
}

#[test]
fn gobench_is_the_go_benchmark_data_format() {
    let mut old = compared(1.0, 0);
    old["results"][1]["loads"]["drain"]["metrics"]["echoed_pps"]["rounds"][3] = Value::Null;
    let mut new = compared(1.12, 6);
    new["host"]["kernel"] = "6.19".into();
    let ended = diff_of(&old, &new, &["--format", "gobench"]);
    let (configuration, results) = read_gobench(&ended.expect(3).out);
    let has = |key: &str, value: &str| configuration.contains(&(key.into(), value.into()));
    assert!(has("run", "old") && has("run", "new") && has("cpu", "A CPU @ 3 GHz"));
    assert!(has("baseline", "syscall"));
    let differs = configuration.iter().any(|(key, _)| key == "kernel");
    assert!(!differs, "the runs would not be compared");
    assert_eq!(results.len(), 2 * 5 * 22, "a line for each round of each contestant");
    let named = |name: &str| results.iter().filter(|result| result.0 == name).collect::<Vec<_>>();
    let ring = named("Drain/size=64/path=ring");
    let units: Vec<&str> = ring[0].1.iter().map(|(_, unit)| unit.as_str()).collect();
    let both = ["echoed_pps", "echoed_pps-ratio", "cpu_ns_per_echo", "cpu_ns_per_echo-ratio"];
    assert_eq!((ring.len(), units.as_slice()), (44, both.as_slice()));
    assert_eq!(ring[3].1.len(), 2, "one round of the rate does not count");
    assert_eq!(named("Drain/size=64/path=syscall")[0].1.len(), 2, "no ratio to itself");
    assert_eq!(named("Drain/size=64/path=v2+mmsg@adaptive=100us").len(), 44);

    let load = loaded(1e6, "x").to_string();
    let ended = diff(&load, &load, &["--format", "gobench"]);
    let (_, results) = read_gobench(&ended.expect(0).out);
    assert_eq!(results[0].0, "Load/size=64/path=our_own_engine,_ring-v2");
}

#[test]
fn github_and_bencher_read_their_forms() {
    let (old, new) = (compared(1.0, 0), compared(1.12, 6));
    let form = |format| -> Value {
        let ended = diff_of(&old, &new, &["--format", format]);
        serde_json::from_str(&ended.expect(3).out).expect("JSON")
    };
    let names = |form: &Value| -> Vec<String> {
        let entries = form.as_array().expect("an array");
        for entry in entries {
            assert!(entry["name"].is_string() && entry["unit"].is_string(), "{entry}");
            assert!(entry["value"].is_number() && entry["range"].is_string(), "{entry}");
            assert!(entry["extra"].is_string(), "{entry}");
        }
        entries.iter().map(|entry| entry["name"].as_str().unwrap().to_string()).collect()
    };
    let [larger, smaller] = [form("github-bigger"), form("github-smaller")];
    assert_eq!(larger, form("github"));
    assert!(names(&larger).iter().all(|name| name.ends_with("echoed_pps")));
    assert!(names(&smaller).iter().all(|name| name.ends_with("cpu_ns_per_echo")));
    assert_eq!((names(&larger).len(), names(&smaller).len()), (3, 3), "ratios, so no baseline");
    assert_eq!(larger[0]["unit"], "x syscall");
    assert!((larger[0]["value"].as_f64().unwrap() * 1.12 / 3.6 - 1.0).abs() < 0.02);

    let bmf = form("bmf");
    let benchmarks = bmf.as_object().expect("an object");
    assert_eq!(benchmarks.len(), 5);
    for (name, measures) in benchmarks {
        let measures = measures.as_object().expect("measures");
        let ratios = measures.keys().filter(|measure| measure.ends_with("-ratio")).count();
        assert_eq!(ratios, if name.ends_with("syscall") { 0 } else { 2 }, "{name}");
        for (measure, metric) in measures {
            assert!(measure.len() <= 64, "{measure}");
            let [low, value, high] = ["lower_value", "value", "upper_value"]
                .map(|field| metric[field].as_f64().expect(field));
            assert!(low <= value && value <= high, "{metric}");
        }
    }
}

#[test]
fn tables_have_a_row_for_each_quantity() {
    let (old, mut new) = (compared(1.0, 0), compared(1.12, 6));
    new["results"][2]["contestant"] = "ring-v2|x".into();
    let csv = diff_of(&old, &new, &["--format", "csv"]);
    let rows: Vec<&str> = csv.expect(3).out.lines().collect();
    assert_eq!(rows.len(), 1 + 4);
    let columns = rows[0].split(',').count();
    assert!(rows.iter().all(|row| row.split(',').count() == columns), "{rows:?}");
    assert!(rows[0].starts_with("load,frame_bytes,path,metric,baseline,old,"));
    assert!(rows[1].starts_with("drain,64,ring,echoed_pps,syscall,3."), "{}", rows[1]);
    assert!(rows.iter().skip(1).all(|row| row.contains(",worse,")), "{rows:?}");
    csv.says(&["only in the old file", "v2+mmsg", "only in the new file", "ring-v2|x"]);

    let markdown = diff_of(&old, &new, &["--format", "markdown"]);
    let rows: Vec<&str> = markdown.expect(3).out.lines().collect();
    let rows: Vec<&&str> = rows.iter().filter(|row| row.starts_with('|')).collect();
    assert_eq!(rows.len(), 2 + 4);
    assert!(rows.iter().all(|row| row.matches('|').count() == 7), "{rows:?}");
    assert!(markdown.out.contains("only in the new file"), "what to bear in mind is said");
    let table = diff_of(&old, &new, &[]);
    assert!(table.expect(3).out.lines().all(|line| line.chars().count() <= 100), "{}", table.out);
    assert_eq!(table.err, "");
}
