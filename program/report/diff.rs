//! What changed between two results: a table for people, Markdown and CSV.

use super::csv;
use super::diff_formats::{bmf, digits, github, gobench};
use super::text::{Text, lines_of, table, wrap};
use crate::bench::diff::change::{Change, Diff, Measured, Verdict};
use crate::bench::diff::document::{Key, Results};
use crate::stats::sign::SignInterval;
use crate::units::{nanoseconds, percent, rate};

/// How the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Table,
    /// Every round of both files, as Go benchmarks have them.
    GoBench,
    /// The new rates for github-action-benchmark's `customBiggerIsBetter`.
    GithubBigger,
    /// The new times and costs for its `customSmallerIsBetter`.
    GithubSmaller,
    /// The new values in Bencher's metric format.
    Bmf,
    /// A table for a pull request.
    Markdown,
    /// A row for each quantity.
    Csv,
}

/// Writes it to standard output. What people must know beside another form goes to standard error.
pub fn print(form: Form, diff: &Diff, old: (&str, &Results), new: (&str, &Results)) {
    let for_people = matches!(form, Form::Table | Form::Markdown);
    let (mut stdout, mut beside) = (Text::new(false), Text::new(!for_people));
    let mut say = |line: &str| match form {
        // Paragraphs, which are broken where they are shown.
        Form::Markdown => beside.say(format!("{line}\n")),
        _ => beside.say(wrap(line)),
    };
    notes(diff, old.0, new.0).iter().for_each(|note| say(note));
    match form {
        Form::Table => table_of(diff, &mut stdout),
        Form::GoBench => stdout.say(gobench(old.1, new.1).trim_end()),
        Form::GithubBigger => stdout.say(github(diff, new.1, false)),
        Form::GithubSmaller => stdout.say(github(diff, new.1, true)),
        Form::Bmf => stdout.say(bmf(diff, new.1)),
        Form::Markdown => stdout.say(markdown(diff)),
        Form::Csv => stdout.say(csv_of(diff).trim_end()),
    }
    say(&summary(diff));
}

/// What is compared, and what to bear in mind.
fn notes(diff: &Diff, old: &str, new: &str) -> Vec<String> {
    let unit = match &diff.baseline {
        Some(baseline) => format!("in units of {baseline}, each file's own"),
        None => "absolute values".into(),
    };
    let certainty = percent(1.0 - diff.limits.alpha);
    let mut notes = vec![format!("old: {old}, new: {new}; {unit}; {certainty} intervals")];
    if !diff.other_machine.is_empty() {
        let differences = diff.other_machine.join("; ");
        notes.push(format!("WARNING: the machines differ: {differences}"));
    }
    let measured: [fn(&Change) -> Measured; 2] = [|change| change.old, |change| change.new];
    for (which, measured) in ["old", "new"].into_iter().zip(measured) {
        let taken = diff.changes.iter().map(|change| measured(change).taken).fold(0.0, f64::max);
        if taken > 0.0 {
            let share = percent(taken);
            notes.push(format!("WARNING: {which}: DISTURBED: up to {share} of a CPU was taken"));
        }
    }
    for (which, keys) in [("old", &diff.only_old), ("new", &diff.only_new)] {
        let mut names: Vec<String> = keys.iter().map(Key::to_string).collect();
        names.dedup();
        if !names.is_empty() {
            notes.push(format!("only in the {which} file: {}", names.join(", ")));
        }
    }
    notes
}

fn summary(diff: &Diff) -> String {
    format!(
        "{} compared: {} worse by more than {}, {} better by more than that, {} within it, {} cannot be \
         told",
        diff.changes.len(),
        diff.regressions(),
        percent(diff.limits.threshold),
        diff.count(|verdict| *verdict == Verdict::Better),
        diff.count(|verdict| *verdict == Verdict::Fine),
        diff.undecided(),
    )
}

/// A table for each metric, as benchstat has them, and below it why something cannot be told.
fn table_of(diff: &Diff, text: &mut Text) {
    let mut metrics: Vec<&str> = Vec::new();
    for change in &diff.changes {
        if !metrics.contains(&change.key.metric.as_str()) {
            metrics.push(&change.key.metric);
        }
    }
    for metric in metrics {
        let mut rows = table(&[metric, "old", "new", "change", ""]);
        let of_metric = || diff.changes.iter().filter(|change| change.key.metric == metric);
        for change in of_metric() {
            let cell = |measured| measured_cell(diff, &change.key, measured);
            rows.add_row([
                change.key.to_string(),
                cell(change.old),
                cell(change.new),
                change_cell(change.ratio),
                word(&change.verdict).to_uppercase(),
            ]);
        }
        text.say(format!("\n{}", lines_of(&mut rows)));
        let mut reasons: Vec<(&str, usize)> = Vec::new();
        for change in of_metric() {
            let Verdict::CannotTell(reason) = &change.verdict else { continue };
            match reasons.iter_mut().find(|(known, _)| known == reason) {
                Some((_, count)) => *count += 1,
                None => reasons.push((reason, 1)),
            }
        }
        for (reason, count) in reasons {
            text.say(wrap(&format!("? in {count}: {reason}")));
        }
    }
    text.say("");
}

fn markdown(diff: &Diff) -> String {
    let unit = diff.baseline.as_ref().map_or(String::new(), |baseline| format!(", × {baseline}"));
    let mut text = format!("| | metric | old{unit} | new{unit} | change | |\n|-|-|-:|-:|-:|-|\n");
    for change in &diff.changes {
        let Change { key, old, new, ratio, verdict } = change;
        let mark = match verdict {
            Verdict::Worse => "**worse**".to_string(),
            Verdict::CannotTell(reason) => format!("cannot tell: {reason}"),
            other => word(other).to_string(),
        };
        let cells = [
            key.to_string(),
            key.metric.clone(),
            measured_cell(diff, key, *old),
            measured_cell(diff, key, *new),
            change_cell(*ratio),
            mark,
        ];
        text += &format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    text
}

fn csv_of(diff: &Diff) -> String {
    let header = "load,frame_bytes,path,metric,baseline,old,old_low,old_high,new,new_low,new_high,ratio,\
                  ratio_low,ratio_high,verdict,reason,old_taken,new_taken\n";
    let ends = |interval: Option<SignInterval>| match interval {
        Some(SignInterval { low, high, .. }) => [low.to_string(), high.to_string()],
        None => [String::new(), String::new()],
    };
    let row = |change: &Change| {
        let Change { key, old, new, ratio, verdict } = change;
        let reason = match verdict {
            Verdict::CannotTell(reason) => reason.as_str(),
            _ => "",
        };
        let fields: Vec<String> = [&key.load, &key.size, &key.path, &key.metric]
            .into_iter()
            .cloned()
            .chain([diff.baseline.clone().unwrap_or_default()])
            .chain([old, new].into_iter().flat_map(|measured| {
                std::iter::once(measured.median.to_string()).chain(ends(measured.interval))
            }))
            .chain([ratio.map_or(new.median / old.median, |ratio| ratio.estimate).to_string()])
            .chain(ends(*ratio))
            .chain([verdict_name(verdict).to_string(), reason.to_string()])
            .chain([old, new].map(|measured| measured.taken.to_string()))
            .collect();
        csv::row(&fields.iter().map(|field| field as _).collect::<Vec<_>>())
    };
    header.to_string() + &diff.changes.iter().map(row).collect::<String>()
}

/// `3.58 ±3 %`; `3.58 ±?` where an interval says nothing.
fn measured_cell(diff: &Diff, key: &Key, measured: Measured) -> String {
    let value = match (&diff.baseline, key.metric.contains("_ns")) {
        (Some(_), _) => digits(measured.median),
        (None, true) => nanoseconds(measured.median.round() as u64),
        (None, false) => rate(measured.median),
    };
    match measured.interval.filter(|interval| interval.resolution() < 1.0) {
        Some(interval) => format!("{value} ±{:.0} %", 100.0 * interval.resolution()),
        None => format!("{value} ±?"),
    }
}

/// `-8.1 % (-11.2 to -5.0)`; `~` in front where it may be nothing.
fn change_cell(ratio: Option<SignInterval>) -> String {
    let Some(ratio) = ratio else { return "~".into() };
    let change = |ratio: f64| 100.0 * (ratio - 1.0);
    let [low, high] = [ratio.low, ratio.high].map(|end| format!("{:+.1}", change(end)));
    match ratio.excludes(1.0) {
        true => format!("{:+.1} % ({low} to {high})", change(ratio.estimate)),
        false => format!("~ ({low} to {high})"),
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Fine => "",
        Verdict::CannotTell(_) => "?",
        other => verdict_name(other),
    }
}

fn verdict_name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Worse => "worse",
        Verdict::Better => "better",
        Verdict::Fine => "fine",
        Verdict::CannotTell(_) => "cannot_tell",
    }
}
