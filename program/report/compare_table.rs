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
            let (series, metric) = comparison.answered_by(size, question)?;
            Some(Asked { comparison, series, metric })
        })
        .collect();
    let times = match comparison.contestants {
        ..2 => "median of the rounds".into(),
        _ => format!("x: times {}'s, with its 95 % interval", comparison.baseline()),
    };
    let mut lines = vec![format!("\n{size} B frames; {times}")];
    // One alone has no ratios.
    let first = usize::from(comparison.contestants == 1);
    let heads = questions.iter().flat_map(|asked| asked.heads().into_iter().skip(first));
    let heads: Vec<&str> = std::iter::once("path").chain(heads).collect();
    let mut rows = table(&heads);
    for column in rows.column_iter_mut() {
        column.set_padding((1, 0));
    }
    for seat in 0..comparison.seats.len() {
        let again = if seat < comparison.contestants { "" } else { " again" };
        let name = format!("{}{again}", comparison.seats[seat].contestant);
        let cells = questions.iter().flat_map(|asked| asked.cells(seat).into_iter().skip(first));
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
    metric: Metric,
}

impl Asked<'_> {
    fn heads(&self) -> [&'static str; 2] {
        match (self.metric, self.series.load) {
            (Metric::Rate, LoadKind::Drain) => ["drain x", "k/s"],
            (Metric::Rate, LoadKind::Flood) => ["flood x", "k/s"],
            (Metric::Rate, _) => ["window x", "k/s"],
            (Metric::Cpu, _) => ["CPU x", "CPU ns"],
            (_, LoadKind::Ping) => ["ping x", "µs"],
            (_, LoadKind::Light) => ["light x", "µs"],
            _ => ["half x", "µs"],
        }
    }

    fn cells(&self, seat: usize) -> [String; 2] {
        let Asked { comparison, series, metric, .. } = *self;
        let Some(found) = comparison.finding(series, seat, metric) else {
            return ["-".into(), "-".into()];
        };
        let limited = metric == Metric::Rate
            && self.series.load == LoadKind::Flood
            && series.is_generator_limited(seat);
        let mark = if limited { ">=" } else { "" };
        let is_base = seat == comparison.baseline;
        let times = if is_base { "1".into() } else { ratio(&found) };
        [times, format!("{mark}{}", value(metric, found.median))]
    }
}

/// `3.92 3.81-4.05`, the ratio and its interval; with `~` where it was measured through a disturbance, with `*`
/// where it jumps between two values, and `?` in its place where it says nothing.
pub fn ratio(found: &Finding) -> String {
    let Finding { ratio_to_baseline, state, modes, .. } = found;
    let Some(SignInterval { estimate, low, high, .. }) = *ratio_to_baseline else {
        return "?".into();
    };
    let (estimate, modes) = (times(estimate), if modes.is_some() { "*" } else { "" });
    let estimate = match state {
        State::Clear => format!("{estimate}{modes}"),
        State::Disturbed { .. } => format!("~{estimate}{modes}"),
        State::CannotTell { .. } => "?".into(),
    };
    format!("{estimate} {}-{}", times(low), times(high))
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
