//! The document `linerate.compare/3`.

use serde_json::{Map, Value, json};

use super::json;
use super::verdict;
use crate::bench::compare::observation::{LoadKind, Metric, Observation};
use crate::bench::compare::result::{Comparison, Round, Series};
use crate::sys::host::Host;
use crate::units::FrameSize;

/// The whole document.
pub fn document(cpu_clock: &str, lab: bool, comparison: &Comparison) -> Value {
    let of_size =
        |size| (0..comparison.contestants).map(move |seat| contestant(comparison, size, seat));
    let results: Vec<Value> = comparison.sizes().into_iter().flat_map(of_size).collect();
    let mut loads: Vec<LoadKind> = comparison.series.iter().map(|series| series.load).collect();
    loads.sort();
    loads.dedup();
    json!({
        "lab": lab,
        "interrupted": comparison.interrupted,
        "reason": json::interruption(comparison.interrupted, comparison.broken.as_ref()),
        "took_ns": comparison.took.as_nanos() as u64,
        "cpu_clock": cpu_clock,
        "baseline": (comparison.contestants > 0).then(|| comparison.baseline()),
        "loads": loads,
        "excluded": comparison.excluded,
        "results": results,
        "baseline_again": comparison.baseline_again().map(|seat| {
            let sizes = comparison.sizes().into_iter();
            sizes.map(|size| contestant(comparison, size, seat)).collect::<Vec<_>>()
        }),
        "disturbance": comparison.taken(),
        "answers": comparison.answers(),
        "verdict": verdict::sentences(comparison),
    })
}

/// What the engine's CPU time counts.
pub fn cpu_clock(host: &Host, veth: bool) -> &'static str {
    match (veth, host.irq_time_accounting) {
        (false, _) => "thread CPU time of the engine's worker",
        (true, Some(true)) => {
            "thread CPU time of the engine's worker; on veth, CONFIG_IRQ_TIME_ACCOUNTING keeps the \
             generator socket's receive work out of it"
        }
        (true, _) => {
            "thread CPU time of the engine's worker; on veth, without CONFIG_IRQ_TIME_ACCOUNTING, it \
             includes the generator socket's receive work"
        }
    }
}

/// A seat with one size. What the engine counted is of all sizes.
fn contestant(comparison: &Comparison, size: FrameSize, seat: usize) -> Value {
    let series = comparison.series.iter().filter(|series| series.size == size);
    let loads: Map<String, Value> = series
        .map(|series| (series.load.name().to_string(), load(comparison, series, seat)))
        .collect();
    let summary = &comparison.seats[seat];
    json!({
        "contestant": summary.contestant,
        "path": summary.path,
        "wait": summary.wait.name(),
        "frame_bytes": size.bytes(),
        "socket_bytes": size.socket_bytes(),
        "loads": loads,
        "engine_latency_ns": summary.latency.summary(),
        "engine_latency_definition": summary.path.latency_definition(),
        "drops": summary.counters.drops,
        "kernel": summary.counters.kernel,
        "verified": comparison.verified(seat),
        "wrong": comparison.wrong(seat),
    })
}

/// What one load found: each metric with its interval, ratio and state, and every round.
fn load(comparison: &Comparison, series: &Series, seat: usize) -> Value {
    let metrics: Map<String, Value> = Metric::ALL
        .into_iter()
        .filter_map(|metric| {
            let found = comparison.finding(series, seat, metric)?;
            Some((metric.name().to_string(), json!(found)))
        })
        .collect();
    json!({
        "metrics": metrics,
        "alpha": series.alpha,
        "loss_ratio": series.loss_ratio(seat),
        "generator_limited": series.load == LoadKind::Flood && series.is_generator_limited(seat),
        "rounds": series.rounds[seat].iter().map(round).collect::<Vec<_>>(),
    })
}

fn round(Round { observation, void, taken }: &Round) -> Value {
    let mut round = json!(observation);
    round["received"] = Observation::returned(observation).into();
    round["generator_limited"] = observation.is_generator_limited().into();
    round["cpus"] = json!(taken.cpus);
    round["void"] = void.as_ref().map(ToString::to_string).into();
    round
}
