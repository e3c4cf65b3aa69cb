//! What is compared of a result file. Only this file knows where it stands in a document; fields that it
//! does not know do not matter.

use std::fmt;

use serde_json::{Deserializer, Map, Value};

use crate::error::{Error, Result};

/// The documents that can be compared, by schema.
const SCHEMAS: [(&str, Reader); 4] = [
    ("linerate.compare/3", Reader { series: of_compare, settings: &["lab", "baseline"] }),
    ("linerate.ab/1", Reader { series: of_compare, settings: &["lab", "baseline"] }),
    (
        "linerate.load/1",
        Reader {
            series: of_load,
            settings: &["to", "expect", "flows", "asked_pps", "pattern", "window_frames"],
        },
    ),
    ("linerate.search/1", Reader { series: of_search, settings: &["lab"] }),
];

/// What of `host` changes numbers.
const MACHINE: [&str; 9] = [
    "kernel",
    "cpu",
    "cpus",
    "microcode",
    "hypervisor",
    "smt",
    "mitigations",
    "clock_source",
    "cpu_frequency_governor",
];

/// How a kind of document is read.
#[derive(Clone, Copy)]
struct Reader {
    series: fn(&Value) -> Vec<Series>,
    /// Fields that must be the same for two documents to be comparable.
    settings: &'static [&'static str],
}

/// What a file holds: one document, or several of the same kind one after the other, whose rounds are put
/// together.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// Kind and version.
    pub schema: String,
    /// The contestant that the others are measured against; `None` of documents without one.
    pub baseline: Option<String>,
    /// What must be the same in a file that is compared with it.
    pub settings: Vec<(&'static str, Value)>,
    /// The machine.
    pub machine: Vec<(&'static str, Value)>,
    /// What was measured.
    pub series: Vec<Series>,
}

/// One quantity, round by round.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What it is.
    pub key: Key,
    /// The values; `None` where a round does not count.
    pub rounds: Vec<Option<f64>>,
    /// The same in units of the baseline's; `None` of the baseline itself and of documents without one.
    pub ratios: Option<Vec<Option<f64>>>,
    /// Why the document itself says that this number tells nothing.
    pub doubt: Option<String>,
    /// The share of a CPU that the machine took meanwhile, from 0 to 1, where it disturbed.
    pub taken: f64,
}

/// What a quantity is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The load, or the goal of a search.
    pub load: String,
    /// Frame sizes in bytes.
    pub size: String,
    /// Contestant, path, or whom a load was sent to.
    pub path: String,
    /// Its field in the document, with the unit.
    pub metric: String,
}

impl Key {
    /// Whether less is better: of times and costs.
    pub fn is_cost(&self) -> bool {
        self.metric.contains("_ns")
    }
}

/// Load, size and path: `drain, 64 B, ring`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key { load, size, path, .. } = self;
        let is_one = size.chars().all(|character| character.is_ascii_digit());
        write!(f, "{load}, {size}{}, {path}", if is_one { " B" } else { "" })
    }
}

impl Results {
    /// What `text`, the contents of the file `name`, says.
    pub fn read(name: &str, text: &str) -> Result<Results> {
        let mut all: Option<Results> = None;
        for document in Deserializer::from_str(text).into_iter::<Value>() {
            let document = document.map_err(|error| unreadable(name, &error))?;
            let one = of_document(name, &document)?;
            match &mut all {
                None => all = Some(one),
                Some(all) => {
                    all.check_comparable(&one, name, name)?;
                    one.series.into_iter().for_each(|series| all.add(series));
                }
            }
        }
        all.ok_or_else(|| usage(format!("{name} is empty: give a file that --json wrote")))
    }

    /// Refuses what was not measured in the same way.
    pub fn check_comparable(&self, new: &Results, old_name: &str, new_name: &str) -> Result<()> {
        let sizes = |results: &Results| {
            let mut sizes: Vec<String> =
                results.series.iter().map(|series| series.key.size.clone()).collect();
            sizes.sort();
            sizes.dedup();
            Value::from(sizes)
        };
        let whole = |results: &Results| {
            let mut whole = vec![("schema", Value::from(results.schema.clone()))];
            whole.extend(results.settings.iter().cloned());
            whole.push(("frame sizes", sizes(results)));
            whole
        };
        match differences(&whole(self), &whole(new)).first() {
            None => Ok(()),
            Some(difference) => Err(usage(format!(
                "{old_name} and {new_name} cannot be compared: they differ in {difference}"
            ))),
        }
    }

    /// How the machines differ.
    pub fn other_machine(&self, new: &Results) -> Vec<String> {
        differences(&self.machine, &new.machine)
    }

    fn add(&mut self, more: Series) {
        match self.series.iter_mut().find(|series| series.key == more.key) {
            None => self.series.push(more),
            // What tells nothing does not spoil what does.
            Some(series) => match (&series.doubt, &more.doubt) {
                (None, Some(_)) => {}
                (Some(_), None) => *series = more,
                _ => {
                    series.rounds.extend(more.rounds);
                    if let (Some(ratios), Some(more)) = (&mut series.ratios, more.ratios) {
                        ratios.extend(more);
                    }
                    series.taken = series.taken.max(more.taken);
                }
            },
        }
    }
}

fn usage(text: String) -> Error {
    Error::Usage(text)
}

fn unreadable(name: &str, error: &serde_json::Error) -> Error {
    usage(match error.is_eof() {
        true => format!("{name} is cut off: it ends within its document ({error})"),
        false => format!("{name} is no JSON document: {error}"),
    })
}

fn of_document(name: &str, document: &Value) -> Result<Results> {
    let Some(schema) = document["schema"].as_str() else {
        return Err(usage(format!("{name} is no document of linerate: it has no `schema`")));
    };
    let Some((_, reader)) = SCHEMAS.iter().find(|(known, _)| *known == schema) else {
        let known = SCHEMAS.map(|(known, _)| known).join(", ");
        return Err(usage(format!("{name} is a {schema}, which diff does not read: {known}")));
    };
    let fields = |of: &Value, names: &[&'static str]| {
        names.iter().map(|&name| (name, of[name].clone())).collect::<Vec<_>>()
    };
    let mut results = Results {
        schema: schema.to_string(),
        baseline: document["baseline"].as_str().map(str::to_string),
        settings: fields(document, reader.settings),
        machine: fields(&document["host"], &MACHINE),
        series: Vec::new(),
    };
    // Repetitions of a search are rounds of one series.
    (reader.series)(document).into_iter().for_each(|series| results.add(series));
    match results.series.is_empty() {
        false => Ok(results),
        true => Err(usage(format!("{name} has no results to compare"))),
    }
}

/// `results[].loads.NAME.metrics.NAME`, each with its `rounds`; round n of all contestants is the same.
fn of_compare(document: &Value) -> Vec<Series> {
    let baseline = &document["baseline"];
    let mut all = Vec::new();
    for result in items(&document["results"]) {
        let is_base = result["contestant"] == *baseline;
        let base = items(&document["results"]).find(|other| {
            other["contestant"] == *baseline && other["frame_bytes"] == result["frame_bytes"]
        });
        for (load, found) in fields(&result["loads"]) {
            for (metric, finding) in fields(&found["metrics"]) {
                let rounds = numbers(&finding["rounds"]);
                let ratio = |base: &Value| {
                    let base = numbers(&base["loads"][load]["metrics"][metric]["rounds"]);
                    let pairs = rounds.iter().zip(base);
                    pairs.map(|(own, base)| Some((*own)? / base?)).collect()
                };
                let limited = found["generator_limited"] == true && metric.ends_with("_pps");
                let doubt = limited.then(|| "the generator was the limit".to_string());
                all.push(Series {
                    key: key(load, &result["frame_bytes"], &result["contestant"], metric),
                    ratios: (!is_base && !baseline.is_null())
                        .then(|| base.map_or(Vec::new(), ratio)),
                    doubt: doubt.or_else(|| stated_doubt(&finding["state"])),
                    taken: taken(&finding["state"]),
                    rounds,
                });
            }
        }
    }
    all
}

/// One load: what came back, and how long it took.
fn of_load(document: &Value) -> Vec<Series> {
    let response = &document["response_ns"];
    let limit = document["generator_limited"]
        .as_str()
        .map(|limit| format!("the generator was the limit: {limit}"));
    let values = [
        ("forwarded_pps", &document["forwarded_pps"]),
        ("response_p50_ns", &response["p50"]),
        ("response_p99_ns", &response["p99"]),
    ];
    let series = |(metric, value): (&str, &Value)| Series {
        key: key("load", &document["frame_bytes"], &document["to"], metric),
        rounds: vec![number(value)],
        ratios: None,
        doubt: limit.clone().or_else(|| stated_doubt(&document["state"])),
        taken: taken(&document["state"]),
    };
    values.into_iter().map(series).collect()
}

/// `results[].goals[]`, a result for each repetition.
fn of_search(document: &Value) -> Vec<Series> {
    let metric = "conditional_throughput_pps";
    let mut all = Vec::new();
    for result in items(&document["results"]) {
        for goal in items(&result["goals"]) {
            let limit = "the generator was the limit: more may pass";
            let limited = (goal["at_least"] == true).then(|| limit.to_string());
            all.push(Series {
                key: key(&text(&goal["goal"]), &result["sizes"], &result["path"], metric),
                rounds: vec![number(&goal[metric])],
                ratios: None,
                doubt: limited.or_else(|| stated_doubt(&goal["state"])),
                taken: taken(&goal["state"]),
            });
        }
    }
    all
}

/// Why a number tells nothing, by its own state. How many rounds there are, diff sees for itself.
fn stated_doubt(state: &Value) -> Option<String> {
    let reason = state["reason"].as_str().filter(|_| state["state"] == "cannot_tell")?;
    (reason != "too_few_rounds").then(|| reason.replace('_', " "))
}

fn taken(state: &Value) -> f64 {
    state["share"].as_f64().unwrap_or(0.0)
}

fn key(load: &str, size: &Value, path: &Value, metric: &str) -> Key {
    Key { load: load.into(), size: text(size), path: text(path), metric: metric.into() }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn numbers(value: &Value) -> Vec<Option<f64>> {
    items(value).map(number).collect()
}

/// A rate or a time that can be compared. Nothing is a multiple of 0.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| *number > 0.0)
}

/// A value as people read it: text without quotes.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// What differs, with both values. A value that one of them does not have is no difference.
fn differences(old: &[(&'static str, Value)], new: &[(&'static str, Value)]) -> Vec<String> {
    let differ = old
        .iter()
        .zip(new)
        .filter(|((_, old), (_, new))| old != new && !(old.is_null() || new.is_null()));
    differ
        .map(|((name, old), (_, new))| format!("{name}: {} and {}", text(old), text(new)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::bench::compare::observation::Metric;
    use crate::bench::diff::change::{Diff, Limits};

    #[test]
    fn names_say_what_is_better() {
        for metric in Metric::ALL {
            let key = key("drain", &json!(64), &json!("ring"), metric.name());
            assert_eq!(key.is_cost(), metric.is_cost(), "{metric:?}");
        }
    }

    fn text() -> String {
        let metrics =
            json!({"echoed_pps": {"state": {"state": "clear"}, "rounds": [1.5, null, 2e6]}});
        let result = |contestant: &str| {
            let loads = json!({"drain": {"metrics": metrics}});
            json!({"contestant": contestant, "frame_bytes": 64, "loads": loads})
        };
        let results = [result("syscall"), result("ring")];
        json!({"schema": "linerate.compare/3", "baseline": "syscall", "results": results})
            .to_string()
    }

    proptest! {
        #[test]
        fn damage_is_refused_or_compared_and_never_panics(
            at in 0usize..1000,
            byte in 32u8..127,
            end in 0usize..1000,
        ) {
            let whole = Results::read("old", &text()).unwrap();
            let mut bytes = text().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len() - end % 3 / 2);
            let limits = Limits { alpha: 0.05, threshold: 0.05 };
            if let Ok(results) = Results::read("new", std::str::from_utf8(&bytes).unwrap()) {
                let _ = Diff::of(("old", &whole), ("new", &results), limits, false);
            }
        }
    }
}
