//! Everything else that was measured, and what should not have been.

use super::compare_table::{ratio, times, value};
use super::text::{self, grouped, lines_of, table, wrap};
use crate::bench::compare::observation::{LIGHT_PPS, LoadKind, Metric, Observation, WINDOW_FRAMES};
use crate::bench::compare::result::{Comparison, Finding, Series};
use crate::bench::search::trial::VoidReason;
use crate::stats::spread::Spread;
use crate::sys::ethtool_settings::DeviceRings;
use crate::units::{FrameSize, percent};

/// A table for each load.
pub fn of_size(comparison: &Comparison, size: FrameSize) -> String {
    let series = comparison.series.iter().filter(|series| series.size == size);
    let tables = series.map(|series| {
        let rounds = series.rounds.iter().map(Vec::len).max().unwrap_or(0);
        let title = wrap(&format!("{} ({rounds} rounds)", title(series.load)));
        format!("\n{title}\n{}", of_load(comparison, series))
    });
    tables.collect::<Vec<_>>().join("\n")
}

/// What a load is, above its table.
fn title(load: LoadKind) -> String {
    match load {
        LoadKind::Flood => "flood: the generator sends as fast as it can".into(),
        LoadKind::Drain => "drain: a full ring or buffer is emptied, the generator silent".into(),
        LoadKind::Ping => "ping: one frame in flight".into(),
        LoadKind::Window => format!("window: {WINDOW_FRAMES} frames in flight"),
        LoadKind::Light => format!("light: {LIGHT_PPS} frames/s on a schedule, response time"),
        LoadKind::Half => {
            "half: half of what each forwards at flood, on a schedule, response time".into()
        }
        LoadKind::Scale => "scale: two workers drain, together and each alone".into(),
    }
}

fn of_load(comparison: &Comparison, series: &Series) -> String {
    use Metric::{Cpu, P50, P99, Rate, Scaling};
    let metrics: &[Metric] = match series.load {
        LoadKind::Flood | LoadKind::Drain => &[Rate, Cpu],
        LoadKind::Ping => &[P50, P99, Cpu],
        LoadKind::Window => &[Rate, P50, Cpu],
        LoadKind::Light | LoadKind::Half => &[P50, P99],
        LoadKind::Scale => &[Rate, Scaling],
    };
    let mut heads = vec!["path"];
    for metric in metrics {
        let head = match metric {
            Rate => "k/s",
            Cpu => "CPU ns",
            P50 => "p50 µs",
            P99 => "p99 µs",
            Scaling => "x one worker",
        };
        heads.extend([head, "x"]);
    }
    heads.push("loss");
    let mut rows = table(&heads);
    for column in rows.column_iter_mut() {
        column.set_padding((1, 0));
    }
    for (seat, summary) in comparison.contestants().iter().enumerate() {
        let mut row = vec![summary.contestant.to_string()];
        for &metric in metrics {
            let found = comparison.finding(series, seat, metric);
            let cell = |text: &dyn Fn(&Finding) -> String| found.as_ref().map_or("-".into(), text);
            let is_base = seat == comparison.baseline;
            row.push(cell(&|found| with_modes(metric, found)));
            row.push(cell(&|found| if is_base { "1".into() } else { ratio(found) }));
        }
        row.push(percent(series.loss_ratio(seat)));
        rows.add_row(row);
    }
    lines_of(&mut rows)
}

/// `8.1`, or `7.2 or 26.1` of two modes.
fn with_modes(metric: Metric, found: &Finding) -> String {
    match found.modes {
        Some([low, high]) => {
            format!("{} or {}", value(metric, low.value), value(metric, high.value))
        }
        None => value(metric, found.median),
    }
}

/// What should not have been, seat by seat: frames lost where nothing was to overflow, a generator that was the
/// limit without being asked to, rounds that do not count, frames that the engine dropped by name. A few of them are
/// told with `details` only.
pub fn oddities(comparison: &Comparison, details: bool) -> Vec<String> {
    let of_seat = |seat: usize| {
        let parts = of_seat(comparison, seat, details);
        let contestant = comparison.seats[seat].contestant;
        (!parts.is_empty()).then(|| format!("{contestant}: {}", parts.join(", ")))
    };
    (0..comparison.contestants).filter_map(of_seat).collect()
}

/// One in this many rounds that do not count is nothing to speak of.
const FEW: usize = 10;
/// One in this many frames lost is nothing to speak of.
const FEW_FRAMES: u64 = 1000;

fn of_seat(comparison: &Comparison, seat: usize, details: bool) -> Vec<String> {
    let sum = |loads: &[LoadKind], count: fn(&Observation) -> u64| {
        let observations = comparison.observations(seat);
        observations.filter(|found| loads.contains(&found.load)).map(count).sum::<u64>()
    };
    let of = |load: LoadKind| comparison.observations(seat).filter(move |found| found.load == load);
    let mut parts = Vec::new();
    let rounds: usize = comparison.series.iter().map(|series| series.rounds[seat].len()).sum();
    let reasons: Vec<&VoidReason> =
        comparison.series.iter().flat_map(|series| series.void(seat)).collect();
    let few = |count: usize| !details && count * FEW < rounds;
    if let Some(first) = reasons.first().filter(|_| !few(reasons.len())) {
        parts.push(format!("VOID in {} of {rounds} rounds ({first})", reasons.len()));
    }
    let limited = of(LoadKind::Flood).filter(|found| found.is_generator_limited()).count();
    if limited > 0 {
        let of = of(LoadKind::Flood).count();
        parts.push(format!("the generator was the limit of the flood in {limited} of {of} rounds"));
    }
    let apart = of(LoadKind::Scale).filter(|found| found.value(Metric::Rate).is_none()).count();
    if apart > 0 {
        parts.push(format!("the two workers did not drain at the same time in {apart} rounds"));
    }
    let behind = of(LoadKind::Light).chain(of(LoadKind::Half));
    let behind = behind.filter(|found| found.behind_schedule).count();
    if behind > 0 {
        parts.push(format!("the generator was behind its schedule in {behind} rounds"));
    }
    let quiet =
        [LoadKind::Drain, LoadKind::Ping, LoadKind::Window, LoadKind::Light, LoadKind::Scale];
    let lost = sum(&quiet, |found| found.lost);
    if lost > 0 && (details || lost * FEW_FRAMES > sum(&quiet, |found| found.sent)) {
        parts.push(format!("{} frames lost where none should be", grouped(lost)));
    }
    let own_drops = sum(&LoadKind::ALL, |found| found.generator_drops);
    if own_drops > 0 && details {
        parts.push(format!("{} lost for want of room in the generator's ring", grouped(own_drops)));
    }
    let foreign = sum(&LoadKind::ALL, |found| found.tally.foreign);
    if foreign > 0 {
        parts.push(format!("{} foreign", grouped(foreign)));
    }
    let drops = comparison.seats[seat].counters.drops;
    if drops.total() > 0 {
        parts.push(format!("engine dropped {}", text::drops(&drops).join(", ")));
    }
    parts
}

/// What held too few of a drain's frames, where a drain lost some: the NICs' receive descriptors, until the drivers
/// come round. `rings` are those of both interfaces.
pub fn short_rings(comparison: &Comparison, rings: &[(String, DeviceRings)]) -> Vec<String> {
    let seats = 0..comparison.seats.len();
    let drains = seats.flat_map(|seat| comparison.observations(seat));
    let drains = drains.filter(|found| found.load == LoadKind::Drain);
    let (lost, most) =
        drains.fold((0, 0), |(lost, most), found| (lost + found.lost, found.sent.max(most)));
    let few = |rings: &DeviceRings| lost > 0 && u64::from(rings.receive) < most;
    let can_grow = |rings: &DeviceRings| rings.receive < rings.receive_max;
    let short = rings.iter().filter(|(_, rings)| few(rings) && can_grow(rings));
    let named = short.map(|(name, DeviceRings { receive, receive_max, .. })| {
        format!(
            "{name} has {receive} receive descriptors, and drains of up to {most} frames came faster than its driver \
             took them: `ethtool -G {name} rx {receive_max}`"
        )
    });
    named.collect()
}

/// `ring 1.85 times one (1.80 to 1.90)`, of each that was asked.
pub fn scaling(comparison: &Comparison, size: FrameSize) -> Vec<String> {
    let Some(series) = comparison.series(size, LoadKind::Scale) else { return Vec::new() };
    let of_seat = |seat: usize| {
        let values = series.values(seat, Metric::Scaling).into_iter().flatten();
        let Spread { median, min, max, .. } = Spread::of(values)?;
        let contestant = comparison.seats[seat].contestant;
        let (median, min, max) = (times(median), times(min), times(max));
        Some(format!("{contestant} {median} times one ({min} to {max})"))
    };
    (0..comparison.contestants).filter_map(of_seat).collect()
}
