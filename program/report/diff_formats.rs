//! Results in the formats that other tools read.

use serde_json::{Map, Value, json};

use crate::bench::diff::change::{Change, Diff, Measured, Verdict};
use crate::bench::diff::document::{Key, Results, Series};
use crate::units::percent;

/// Both files in the Go benchmark data format, a line for each round, so that benchstat reads it:
/// `benchstat -col run FILE`. Metrics that end in `-ratio` are in units of the baseline's, in the same round.
/// <https://go.googlesource.com/proposal/+/master/design/14313-benchmark-format.md>
pub fn gobench(old: &Results, new: &Results) -> String {
    let mut text = String::new();
    let mut metrics: Vec<&Key> = Vec::new();
    for series in old.series.iter().chain(&new.series) {
        if !metrics.iter().any(|known| known.metric == series.key.metric) {
            metrics.push(&series.key);
        }
    }
    for key in metrics {
        let better = if key.is_cost() { "lower" } else { "higher" };
        for end in ["", "-ratio"] {
            text += &format!("Unit {}{end} better={better}\n", unbroken(&key.metric));
        }
    }
    // What differs would make benchstat put the runs into tables of their own.
    let baseline = old.baseline.clone().map(|baseline| ("baseline", Value::from(baseline)));
    let machine = old.machine.iter().filter(|field| new.machine.contains(field)).cloned();
    for (field, value) in machine.chain(baseline) {
        if let Some(value) = value.as_str().filter(|value| !value.contains('\n')) {
            text += &format!("{}: {value}\n", field.replace('_', "-"));
        }
    }
    for (run, results) in [("old", old), ("new", new)] {
        text += &format!("\nrun: {run}\n");
        for (at, first) in results.series.iter().enumerate() {
            let same = |series: &&Series| is_beside(&series.key, &first.key);
            if !results.series[..at].iter().any(|series| same(&series)) {
                text += &lines(&first.key, &results.series.iter().filter(same).collect::<Vec<_>>());
            }
        }
    }
    text
}

/// The rounds of one contestant under one load: all metrics of a round on a line.
fn lines(key: &Key, metrics: &[&Series]) -> String {
    let [load, size, path] = [&key.load, &key.size, &key.path].map(|part| unbroken(part));
    let mut first = load.chars();
    let load: String = first.next().map_or('X', |letter| letter.to_ascii_uppercase()).into();
    let load = load + first.as_str();
    let rounds = metrics.iter().map(|series| series.rounds.len()).max().unwrap_or(0);
    let mut text = String::new();
    for round in 0..rounds {
        let mut pairs = String::new();
        for series in metrics {
            let ratios = series.ratios.as_deref().unwrap_or_default();
            for (values, end) in [(series.rounds.as_slice(), ""), (ratios, "-ratio")] {
                if let Some(Some(value)) = values.get(round) {
                    pairs += &format!(" {value} {}{end}", unbroken(&series.key.metric));
                }
            }
        }
        if !pairs.is_empty() {
            text += &format!("Benchmark{load}/size={size}/path={path} 1{pairs}\n");
        }
    }
    text
}

/// What github-action-benchmark reads of the new file, which has a tool for what should be small and
/// another one for what should be large: the ratio to the baseline, where there is one.
/// <https://github.com/benchmark-action/github-action-benchmark>
pub fn github(diff: &Diff, new: &Results, costs: bool) -> String {
    let mut all: Vec<Value> = Vec::new();
    for series in new.series.iter().filter(|series| series.key.is_cost() == costs) {
        let Some((measured, unit)) = of_new(diff, series) else { continue };
        let mut entry = json!({
            "name": format!("{}: {}", series.key, series.key.metric),
            "unit": unit,
            "value": measured.median,
        });
        if let Some(interval) = measured.interval {
            entry["range"] =
                format!("{} to {}", digits(interval.low), digits(interval.high)).into();
        }
        entry["extra"] = format!("{}{}", verdict_of(diff, &series.key), disturbed(measured)).into();
        all.push(entry);
    }
    format!("{:#}", Value::from(all))
}

/// The new file in Bencher's metric format: the value of each metric, and its ratio to the baseline.
/// <https://bencher.dev/docs/reference/bencher-metric-format/>
pub fn bmf(diff: &Diff, new: &Results) -> String {
    let mut all: Map<String, Value> = Map::new();
    for series in &new.series {
        let absolute = Some((series.rounds.as_slice(), ""));
        let ratio = series.ratios.as_deref().map(|ratios| (ratios, "-ratio"));
        for (values, end) in absolute.into_iter().chain(ratio) {
            let Some(measured) = Measured::of(series, values, diff.limits.alpha) else { continue };
            let mut metric = json!({"value": measured.median});
            if let Some(interval) = measured.interval {
                metric["lower_value"] = interval.low.into();
                metric["upper_value"] = interval.high.into();
            }
            let of = all.entry(series.key.to_string()).or_insert_with(|| json!({}));
            of[format!("{}{end}", series.key.metric.replace('_', "-"))] = metric;
        }
    }
    format!("{:#}", Value::Object(all))
}

/// A value of the new file, in units of the baseline if there is one, and its unit. The baseline itself has
/// none then.
fn of_new(diff: &Diff, series: &Series) -> Option<(Measured, String)> {
    let measured = Measured::of(series, series.compared(), diff.limits.alpha)?;
    match &diff.baseline {
        Some(baseline) => series.ratios.is_some().then(|| (measured, format!("x {baseline}"))),
        None => Some((measured, series.key.metric.clone())),
    }
}

/// What became of it since the old file, in words.
fn verdict_of(diff: &Diff, key: &Key) -> String {
    let change = diff.changes.iter().find(|change| change.key == *key);
    match change {
        None => "not in the old file".into(),
        Some(Change { verdict: Verdict::CannotTell(reason), .. }) => {
            format!("cannot tell: {reason}")
        }
        Some(Change { verdict: Verdict::Worse, .. }) => "worse than in the old file".into(),
        Some(Change { verdict: Verdict::Better, .. }) => "better than in the old file".into(),
        Some(Change { verdict: Verdict::Fine, .. }) => "no worse than in the old file".into(),
    }
}

fn disturbed(measured: Measured) -> String {
    match measured.taken > 0.0 {
        true => format!(", disturbed: {} of a CPU was taken", percent(measured.taken)),
        false => String::new(),
    }
}

fn is_beside(one: &Key, other: &Key) -> bool {
    (&one.load, &one.size, &one.path) == (&other.load, &other.size, &other.path)
}

/// A field of the format: without blanks.
fn unbroken(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join("_")
}

/// A number with three digits.
pub(super) fn digits(value: f64) -> String {
    let places = (2 - value.abs().log10().floor().clamp(-3.0, 2.0) as i32) as usize;
    format!("{value:.places$}")
}
