//! The document `linerate.compare/2`.

use serde_json::{Map, Value, json};

use super::json;
use super::verdict;
use crate::bench::compare::observation::{LoadKind, Metric, Observation};
use crate::bench::compare::result::{Comparison, ContestantResult};
use crate::bench::compare::verdict::answers;
use crate::bench::contestant::Contestant;
use crate::bench::testbed::Testbed;
use crate::stats::spread::Spread;
use crate::sys::host::Host;

/// The whole document.
pub fn document(cpu_clock: &str, testbed: &Testbed, comparison: &Comparison) -> Value {
    let results: Vec<Value> =
        comparison.results.iter().map(|result| contestant(comparison, result)).collect();
    json!({
        "lab": testbed.is_lab(),
        "interrupted": comparison.interrupted,
        "reason": json::interruption(comparison.interrupted, comparison.broken.as_ref()),
        "cpu_clock": cpu_clock,
        "baseline": Contestant::BASELINE,
        "loads": comparison.loads,
        "excluded": comparison.excluded,
        "results": results,
        "answers": answers(comparison),
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

fn contestant(comparison: &Comparison, result: &ContestantResult) -> Value {
    let loads = comparison
        .loads
        .iter()
        .map(|&kind| (kind.name().to_string(), load(comparison, result, kind)));
    let loads: Map<String, Value> = loads.collect();
    let engine = result.engine();
    let ContestantResult { path, wait, .. } = result;
    json!({
        "contestant": result.contestant,
        "path": path,
        "wait": wait.name(),
        "frame_bytes": result.size.bytes(),
        "socket_bytes": result.size.socket_bytes(),
        "generator_limited": result.is_generator_limited(),
        "loads": loads,
        "engine_latency_ns": result.engine_latency().summary(),
        "engine_latency_definition": path.latency_definition(),
        "drops": engine.drops,
        "kernel": engine.kernel,
        "void_rounds": result.void_rounds(),
        "void": result.void().map(ToString::to_string).collect::<Vec<_>>(),
        "verified": result.verified(),
        "wrong": result.wrong(),
    })
}

/// What one load found: the spread of each metric that it has, the same in units of the baseline's, and
/// every trial.
fn load(comparison: &Comparison, result: &ContestantResult, load: LoadKind) -> Value {
    let by_name = |value: &dyn Fn(Metric) -> Option<Spread>| {
        let known = Metric::ALL
            .into_iter()
            .filter_map(|metric| Some((metric.name().to_string(), json!(value(metric)?))));
        known.collect::<Map<String, Value>>()
    };
    let mut found = by_name(&|metric| result.spread(load, metric));
    let ratios = by_name(&|metric| comparison.ratio(result, load, metric));
    let ratios = if ratios.is_empty() { Value::Null } else { Value::Object(ratios) };
    found.insert("loss_ratio".into(), result.loss_ratio(load).into());
    found.insert("ratio_to_baseline".into(), ratios);
    found.insert("trials".into(), result.of(load).map(trial).collect());
    Value::Object(found)
}

fn trial(found: &Observation) -> Value {
    let mut trial = json!(found);
    trial["received"] = found.tally.returned().into();
    trial["generator_limited"] = found.is_generator_limited().into();
    trial
}
