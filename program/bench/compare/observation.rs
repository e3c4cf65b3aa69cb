//! What one load of a trial found: counts, rates, CPU time and round trips of verified frames.

use serde::Serialize;

use crate::load::run::LoadOutcome;
use crate::load::trace::Trace;
use crate::stats::counters::Tally;
use crate::stats::latency::LatencySummary;
use crate::stats::slices::{SLICE_AIM_NS, SLICES_MIN, Slices, frames_per_slice};
use crate::stats::spread::Spread;
use linerate_core::names;

names! {
    "load",
    /// How an engine is loaded, in the order of the series.
    #[derive(PartialOrd, Ord)]
    pub enum LoadKind {
        /// As fast as the generator can.
        Flood = "flood",
        /// What socket and rings held while the engine was paused, echoed with the generator silent.
        Drain = "drain",
        /// One frame in flight.
        Ping = "ping",
        /// [`WINDOW_FRAMES`] frames in flight.
        Window = "window",
        /// [`LIGHT_PPS`] on a schedule, the same for all.
        Light = "light",
        /// Half of the engine's own forwarding rate, on a schedule.
        Half = "half",
        /// A drain by two workers together, and by each of them alone.
        Scale = "scale",
    }
}

/// Frames in flight of the load `window`.
pub const WINDOW_FRAMES: u64 = 64;

/// Frames per second of the load `light`.
pub const LIGHT_PPS: u64 = 1000;

impl LoadKind {
    /// What it is measured for.
    pub const fn metrics(self) -> &'static [Metric] {
        match self {
            LoadKind::Flood | LoadKind::Drain => &[Metric::Rate, Metric::Cpu],
            LoadKind::Window => &[Metric::Rate],
            LoadKind::Ping | LoadKind::Light | LoadKind::Half => &[Metric::P50],
            LoadKind::Scale => &[Metric::Scaling],
        }
    }
}

names! {
    "metric",
    /// What can be compared of two observations of the same load; the unit is in its name.
    pub enum Metric {
        /// Verified echoes per second, by the kernel's stamps on them.
        Rate = "echoed_pps",
        /// CPU time of the engine for each echo, in nanoseconds.
        Cpu = "cpu_ns_per_echo",
        /// Median round trip, in nanoseconds.
        P50 = "rtt_p50_ns",
        /// 99th percentile of the round trips, in nanoseconds.
        P99 = "rtt_p99_ns",
        /// Two workers' rate in units of one's.
        Scaling = "scaling",
    }
}

impl Metric {
    /// Whether less is better.
    pub const fn is_cost(self) -> bool {
        matches!(self, Metric::Cpu | Metric::P50 | Metric::P99)
    }
}

/// What one load of a trial found.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Observation {
    /// Which load.
    #[serde(skip)]
    pub load: LoadKind,
    /// Frames that the kernel accepted from the generator.
    pub sent: u64,
    /// What came back.
    #[serde(flatten)]
    pub tally: Tally,
    /// What did not.
    pub lost: u64,
    /// Frames sent per second of the sending.
    pub offered_pps: f64,
    /// Verified echoes per second, by the kernel's stamps on them: of the median slice where the load has
    /// slices; the sum over the workers.
    pub echoed_pps: f64,
    /// The same over the whole span, with whatever disturbed it.
    pub span_echoed_pps: f64,
    /// The slices of a load that has the engine work all the time.
    pub slices: Option<Slices>,
    /// CPU time of the engine for each echo, of the median slice; `None` where it was not taken.
    pub cpu_ns_per_echo: Option<f64>,
    /// How long frames took, where the load says anything about that.
    #[serde(rename = "rtt_ns")]
    pub rtt: Option<LatencySummary>,
    /// Frames that the generator's socket received.
    #[serde(skip)]
    pub received: u64,
    /// Echoes for which the generator's own ring had no room.
    #[serde(rename = "generator_ring_drops")]
    pub generator_drops: u64,
    /// Whether the generator was behind a schedule that it had to keep.
    #[serde(rename = "generator_behind_schedule")]
    pub behind_schedule: bool,
    /// Of the load `scale`: the rate of each worker alone.
    pub alone_pps: Option<[f64; 2]>,
}

/// The engine kept up with a flood if it lost less than this and echoes came at more than
/// [`KEPT_UP_RATE`] of the sending rate. Loss alone does not tell: after a short flood the engine's
/// backlog may still be in its ring.
pub const KEPT_UP_LOSS: f64 = 0.01;
/// See [`KEPT_UP_LOSS`]: the rates are taken over two spans, which differ by some milliseconds.
pub const KEPT_UP_RATE: f64 = 0.95;

impl Observation {
    /// What `outcome` says of an engine that takes `batch` frames at once and used `cpu_ns` meanwhile.
    pub fn of_outcome(
        load: LoadKind,
        outcome: &LoadOutcome,
        cpu_ns: u64,
        batch: usize,
    ) -> Observation {
        let is_busy = matches!(load, LoadKind::Flood | LoadKind::Drain | LoadKind::Window);
        let has_rtt = !matches!(load, LoadKind::Flood | LoadKind::Drain | LoadKind::Scale);
        let arrivals = &outcome.trace.arrivals_ns;
        let frames = frames_per_slice(batch, arrivals, SLICE_AIM_NS);
        let slices = is_busy.then(|| Slices::of_work(arrivals, frames)).flatten();
        let echoes = outcome.tally.returned() + outcome.kernel.drops;
        let whole_ns = cpu_per_echo(cpu_ns, outcome.arrival_ns(), echoes);
        Observation {
            load,
            sent: outcome.sent,
            tally: outcome.tally,
            lost: outcome.lost,
            offered_pps: outcome.achieved_pps().unwrap_or(0.0),
            echoed_pps: slices.map_or(outcome.arrival_pps(), |slices| slices.rate_pps()),
            span_echoed_pps: outcome.arrival_pps(),
            slices,
            cpu_ns_per_echo: median_cpu(&outcome.trace, frames).or(whole_ns),
            rtt: has_rtt.then(|| outcome.latencies.response.summary()),
            received: outcome.kernel.packets,
            generator_drops: outcome.kernel.drops,
            behind_schedule: outcome.generator_limit().is_some(),
            alone_pps: None,
        }
    }

    /// The value of `metric`; `None` where this load does not have it.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        let value = match metric {
            // Slices that do not count say that the machine took too much of the time.
            Metric::Rate if self.slices.is_some_and(|slices| !slices.counts()) => None,
            Metric::Rate => Some(self.echoed_pps),
            Metric::Cpu => self.cpu_ns_per_echo,
            Metric::P50 => self.round_trips().map(|rtt| rtt.p50 as f64),
            Metric::P99 => self.round_trips().map(|rtt| rtt.p99 as f64),
            Metric::Scaling => self.alone_pps.map(|[a, b]| 2.0 * self.echoed_pps / (a + b)),
        };
        value.filter(|value| value.is_finite() && *value > 0.0)
    }

    /// Round trips, unless they are so few that the machine can have made most of them long.
    fn round_trips(&self) -> Option<LatencySummary> {
        self.rtt.filter(|rtt| rtt.count >= SLICES_MIN as u64)
    }

    /// Whether echoes came back and yet have no rate by their stamps, as when the clock was set. (Two
    /// workers of `scale` have none together if they did not drain at the same time.)
    pub fn lacks_rate(&self) -> bool {
        self.load != LoadKind::Scale && self.tally.intact > 1 && self.value(Metric::Rate).is_none()
    }

    /// The part of the sent frames that did not come back intact, from 0 to 1.
    pub fn loss_ratio(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { 1.0 - self.tally.intact as f64 / self.sent as f64 }
    }

    /// Whether the engine kept up with a flood, so that its rate is the generator's.
    pub fn is_generator_limited(&self) -> bool {
        self.load == LoadKind::Flood
            && self.loss_ratio() < KEPT_UP_LOSS
            && self.span_echoed_pps > self.offered_pps * KEPT_UP_RATE
    }

    /// Frames that came back.
    pub fn returned(&self) -> u64 {
        self.tally.returned()
    }

    /// Frames that came back wrong in any way.
    pub fn wrong(&self) -> u64 {
        let Tally { corrupted, not_transformed, truncated, duplicated, .. } = self.tally;
        corrupted + not_transformed + truncated + duplicated
    }
}

/// CPU time for each echo over the whole load. The clock is read before the load's sockets are opened and after they
/// have run dry, when a worker that sleeps uses nothing; of one that spins all the time only what lies
/// between the first and the last echo belongs to the load.
fn cpu_per_echo(cpu_ns: u64, span_ns: u64, echoes: u64) -> Option<f64> {
    (echoes > 0).then(|| cpu_ns.min(span_ns) as f64 / echoes as f64)
}

/// CPU time for each echo of the median slice of at least `frames` echoes; `None` if there are too few.
/// What the clock counts while the machine takes the CPU away is in few slices only.
fn median_cpu(trace: &Trace, frames: usize) -> Option<f64> {
    let mut arrivals = trace.arrivals_ns.iter().peekable();
    let mut slices = Vec::new();
    let (mut echoes, mut since_ns) = (0, None);
    for &(now_ns, cpu_ns) in &trace.cpu {
        while arrivals.next_if(|&&arrival_ns| arrival_ns <= now_ns).is_some() {
            echoes += 1;
        }
        match since_ns {
            // What came before the first reading belongs to no slice.
            None => (echoes, since_ns) = (0, Some(cpu_ns)),
            Some(before_ns) if echoes >= frames.max(CPU_ECHOES_MIN) => {
                slices.push(cpu_ns.saturating_sub(before_ns) as f64 / echoes as f64);
                (echoes, since_ns) = (0, Some(cpu_ns));
            }
            Some(_) => {}
        }
    }
    let enough = slices.len() >= SLICES_MIN;
    Spread::of(slices).filter(|_| enough).map(|slices| slices.median)
}

/// A reading of the CPU clock is late by as much as an echo takes: a slice has more.
const CPU_ECHOES_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_read_back_from_their_names() {
        for load in LoadKind::ALL {
            assert_eq!(load.to_string().parse(), Ok(load));
        }
        assert!("deluge".parse::<LoadKind>().unwrap_err().contains("flood, drain, ping"));
        assert!(LoadKind::ALL.is_sorted(), "a flood tells what half of it is");
    }

    #[test]
    fn an_engine_that_leaves_its_ring_full_did_not_keep_up() {
        let tally = Tally { intact: 100_000, ..Tally::default() };
        let flood = |span_ns| {
            let outcome = LoadOutcome {
                sent: 100_000,
                span_ns: 100_000_000,
                tally,
                stamps_ns: (1, span_ns),
                ..LoadOutcome::default()
            };
            Observation::of_outcome(LoadKind::Flood, &outcome, 0, 1)
        };
        assert!(flood(101_000_000).is_generator_limited());
        assert!(!flood(130_000_000).is_generator_limited(), "30 ms of frames were still there");
    }

    #[test]
    fn a_worker_that_spins_is_charged_for_the_load_alone() {
        assert_eq!(cpu_per_echo(600_000, 1_000_000, 1000), Some(600.0), "asleep in between");
        assert_eq!(cpu_per_echo(9_000_000, 1_000_000, 1000), Some(1000.0), "never asleep");
        assert_eq!(cpu_per_echo(5, 5, 0), None);
    }

    #[test]
    fn a_burst_has_a_rate_and_no_round_trips() {
        let tally = Tally { intact: 1001, ..Tally::default() };
        let stamps_ns = (5, 1_000_005);
        let outcome =
            LoadOutcome { sent: 1100, lost: 99, tally, stamps_ns, ..LoadOutcome::default() };
        let burst = Observation::of_outcome(LoadKind::Drain, &outcome, 500_500, 1);
        assert_eq!(burst.value(Metric::Rate), Some(1e6));
        assert_eq!(burst.value(Metric::Cpu), Some(500.0));
        assert_eq!(burst.value(Metric::P50), None);
        assert_eq!((burst.wrong(), burst.is_generator_limited()), (0, false));
        let scale = Observation { alone_pps: Some([0.5e6, 0.6e6]), ..burst };
        assert!((scale.value(Metric::Scaling).unwrap() - 1.818).abs() < 0.001);
    }

    /// Echoes every 10 us for 40 ms, for each of which the engine uses 4 us; from 10 to 25 ms the machine is away,
    /// and the clock counts that as if the engine had worked.
    #[test]
    fn time_that_was_taken_away_changes_neither_rate_nor_cost() {
        let away = |ns: u64| if ns < 10_000_000 { 0 } else { 15_000_000 };
        let arrivals_ns = (1..4000).map(|n| n * 10_000).map(|ns| ns + away(ns)).collect();
        let cpu = (0..160).map(|n| n * 250_000).map(|ns| (ns + away(ns), ns * 4 / 10 + away(ns)));
        let mut outcome = LoadOutcome {
            sent: 3999,
            tally: Tally { intact: 3999, ..Tally::default() },
            stamps_ns: (10_000, 54_990_000),
            ..LoadOutcome::default()
        };
        outcome.trace.arrivals_ns = arrivals_ns;
        outcome.trace.cpu = cpu.collect();
        let found = Observation::of_outcome(LoadKind::Drain, &outcome, 31_000_000, 1);
        assert!((found.value(Metric::Rate).unwrap() - 1e5).abs() < 1.0, "{found:?}");
        assert!((found.value(Metric::Cpu).unwrap() - 4000.0).abs() < 40.0, "{found:?}");
        assert!(found.span_echoed_pps < 0.75e5);
    }

    #[test]
    fn a_few_long_round_trips_are_no_percentile() {
        let rtt =
            |count| Some(LatencySummary { count, p50: 9_000_000, ..LatencySummary::default() });
        let of = |count| {
            let found = Observation::of_outcome(LoadKind::Ping, &LoadOutcome::default(), 0, 1);
            Observation { rtt: rtt(count), ..found }.value(Metric::P50)
        };
        assert_eq!((of(3), of(8)), (None, Some(9e6)));
    }
}
