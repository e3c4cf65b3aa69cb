//! The one table of a size: for each question the ratio to the baseline with its interval, and the value.

use super::text::{lines_of, table};
use crate::bench::compare::observation::{LoadKind, Metric};
use crate::bench::compare::result::{Comparison, Finding, Series};
use crate::bench::compare::verdict::Question;
use crate::stats::sign::SignInterval;
use crate::stats::state::State;
use crate::units::FrameSize;

/// Title, table, and what its marks mean.
pub fn of_size(comparison: &Comparison, size: FrameSize) -> String {
    let questions: Vec<Asked<'_>> = Question::ALL
        .into_iter()
        .filter_map(|question| {
            let (series, load, metric) = comparison.answered_by(size, question)?;
            Some(Asked { comparison, series, load, metric })
        })
        .collect();
    let base = comparison.baseline();
    let times =
        if comparison.contestants > 1 { format!("; x: in units of {base}") } else { "".into() };
    let title = format!("\n{size} B frames: median (95 % interval){times}");
    let mut lines = vec![title];
    let heads: Vec<String> = questions.iter().flat_map(Asked::heads).collect();
    let heads: Vec<&str> =
        std::iter::once("path").chain(heads.iter().map(String::as_str)).collect();
    let mut rows = table(&heads);
    for column in rows.column_iter_mut() {
        column.set_padding((1, 0));
    }
    for seat in 0..comparison.seats.len() {
        let again = if seat < comparison.contestants { "" } else { " again" };
        let name = format!("{}{again}", comparison.seats[seat].contestant);
        let cells = questions.iter().flat_map(|asked| asked.cells(seat));
        rows.add_row(std::iter::once(name).chain(cells));
    }
    if !questions.is_empty() {
        lines.push(lines_of(&mut rows));
    }
    lines.join("\n")
}

/// A question, and the series that answers it.
struct Asked<'a> {
    comparison: &'a Comparison,
    series: &'a Series,
    load: LoadKind,
    metric: Metric,
}

impl Asked<'_> {
    fn heads(&self) -> [String; 2] {
        let head = match (self.metric, self.load) {
            (Metric::Rate, _) => "k/s",
            (Metric::Cpu, _) => "CPU ns",
            (_, LoadKind::Ping) => "ping µs",
            _ => "p50 µs",
        };
        let times = match (self.metric, self.load) {
            (Metric::Rate | Metric::Cpu, load) => format!("{load} x"),
            _ => "x".into(),
        };
        [times, head.into()]
    }

    fn cells(&self, seat: usize) -> [String; 2] {
        let Asked { comparison, series, metric, .. } = *self;
        let Some(found) = comparison.finding(series, seat, metric) else {
            return ["-".into(), "-".into()];
        };
        let limited = metric == Metric::Rate
            && self.load == LoadKind::Flood
            && series.is_generator_limited(seat);
        let mark = if limited { ">=" } else { "" };
        let is_base = seat == comparison.baseline;
        let times = if is_base { "1".into() } else { ratio(&found) };
        [times, format!("{mark}{}", value(metric, found.median))]
    }
}

/// `3.92 (3.81-4.05)`; `? (0.80-5.10)` where the number says nothing, and `~` before what was measured
/// through a disturbance.
pub fn ratio(found: &Finding) -> String {
    let Finding { ratio_to_baseline, state, modes, .. } = found;
    match (ratio_to_baseline, state) {
        (None, _) => "?".into(),
        (Some(SignInterval { low, high, .. }), State::CannotTell { .. }) => {
            format!("? ({}-{})", times(*low), times(*high))
        }
        (Some(SignInterval { estimate, low, high, .. }), state) => {
            let mark = if matches!(state, State::Disturbed { .. }) { "~" } else { "" };
            let modes = if modes.is_some() { "*" } else { "" };
            format!("{mark}{}{modes} ({}-{})", times(*estimate), times(*low), times(*high))
        }
    }
}

/// Three digits: `0.24`, `3.92`, `38.1`, `125`.
pub fn times(value: f64) -> String {
    match value {
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A value in the unit of its column.
pub fn value(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Rate => format!("{:.0}", value / 1e3),
        Metric::Cpu => format!("{value:.0}"),
        Metric::P50 | Metric::P99 if value >= 99_950.0 => format!("{:.0}", value / 1e3),
        Metric::P50 | Metric::P99 => format!("{:.1}", value / 1e3),
        Metric::Scaling => times(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_have_three_digits() {
        assert_eq!(
            [0.244, 3.919, 9.996, 38.12, 125.4].map(times),
            ["0.24", "3.92", "10.0", "38.1", "125"]
        );
    }
}
