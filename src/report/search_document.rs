//! The JSON documents of `linerate search`, `loss-curve` and `burst`. Their fields stand in
//! docs/measuring.md; tests/cli/search.rs reads every one of them.

use serde_json::{Value, json};

use super::search_goal::{Agreed, goal_name, notes};
use crate::bench::search::paths::{BurstRun, CurveRun, SearchRun};
use crate::bench::search::result::{Confirmation, Disagreement, GoalResult};
use crate::bench::search::trial::{TrialOutcome, TrialRecord};
use crate::load::sizes::Sizes;

/// Names the frames of a result: one size has `frame_bytes`, a mix only a mean.
fn with_sizes(mut result: Value, sizes: &Sizes) -> Value {
    result["sizes"] = json!(sizes.to_string());
    result["frame_bytes"] = match sizes {
        Sizes::Fixed(size) => json!(size.bytes()),
        _ => Value::Null,
    };
    result["mean_frame_bytes"] = json!(sizes.mean().map(|mean| mean.as_f64()));
    result
}

/// One search.
pub(super) fn search(run: &SearchRun) -> Value {
    let latencies: Vec<Value> = run
        .latencies
        .iter()
        .map(|point| {
            json!({
                "percent": point.percent,
                "load_pps": point.load_pps,
                "void": point.void.as_ref().map(ToString::to_string),
                "response_ns": point.latency,
            })
        })
        .collect();
    let result = json!({
        "path": run.path,
        "repetition": run.repetition,
        "generator_into_sink_pps": run.sink_pps,
        "generator_ceiling_pps": run.result.generator_ceiling_pps,
        "elapsed_s": run.elapsed.as_secs_f64(),
        "halted": run.result.halted.as_ref().map(ToString::to_string),
        "goals": run.result.goals.iter().map(goal).collect::<Vec<_>>(),
        "latency": latencies,
        "trials": run.result.trials.iter().map(trial).collect::<Vec<_>>(),
    });
    with_sizes(result, &run.sizes)
}

fn goal(goal: &GoalResult) -> Value {
    let confirmation = goal.confirmation.map(|confirmation| match confirmation {
        Confirmation::Void => json!({"void": true, "duration_s": null, "loss_ratio": null}),
        Confirmation::Run { duration_s, loss_ratio } => {
            json!({"void": false, "duration_s": duration_s, "loss_ratio": loss_ratio})
        }
    });
    let disagreement = goal.disagreement.map(|Disagreement { load_pps, exceeded, trials }| {
        json!({"load_pps": load_pps, "exceeded": exceeded, "trials": trials})
    });
    json!({
        "goal": goal_name(goal),
        "name": goal.name(),
        "loss_ratio": goal.goal.loss_ratio,
        "exceed_ratio": goal.goal.exceed_ratio,
        "duration_sum_s": goal.goal.duration_sum.as_secs_f64(),
        "trial_duration_s": goal.goal.final_trial_duration.as_secs_f64(),
        "initial_trial_duration_s": goal.goal.initial_trial_duration.as_secs_f64(),
        "goal_width": goal.goal.width,
        "lower_bound_pps": goal.lower_bound_pps,
        "upper_bound_pps": goal.upper_bound_pps,
        "conditional_throughput_pps": goal.conditional_throughput_pps,
        "estimate_pps": goal.estimate_pps,
        "width": goal.width,
        "at_least": goal.at_least,
        "confirmed": goal.confirmed,
        "confirmation": confirmation,
        "disagreement": disagreement,
        "trials_used": goal.trials_used,
        "irregular": notes(goal),
    })
}

fn trial(record: &TrialRecord) -> Value {
    json!({
        "purpose": format!("{:?}", record.purpose).to_lowercase(),
        "goal": record.goal,
        "trial_duration_s": record.duration.as_secs_f64(),
        "outcome": outcome(&record.outcome),
    })
}

fn outcome(outcome: &TrialOutcome) -> Value {
    json!({
        "intended_pps": outcome.intended_pps,
        "offered_pps": outcome.achieved_pps,
        "forwarded_pps": outcome.forwarding_pps(),
        "sent": outcome.sent,
        "lost": outcome.lost,
        "loss_ratio": outcome.loss_ratio(),
        "void": outcome.spoiled().map(ToString::to_string),
        "response_ns": outcome.latency,
    })
}

/// How far repeated searches agree for one size, path and goal.
pub(super) fn agreed(agreed: &Agreed) -> Value {
    let agreement = &agreed.agreement;
    let result = json!({
        "path": agreed.path,
        "goal": agreed.goal,
        "lower_bounds_pps": agreement.lower_bounds_pps,
        "spread_pps": agreement.spread,
        "difference": agreement.difference,
        "agrees": agreement.agrees,
        "reasons": agreement.reasons,
    });
    with_sizes(result, &agreed.sizes)
}

/// One curve.
pub(super) fn curve(run: &CurveRun) -> Value {
    let points: Vec<Value> = run
        .curve
        .points
        .iter()
        .map(|point| {
            json!({
                "percent": point.percent,
                "load_pps": point.load_pps,
                "offered_pps": point.offered_pps,
                "forwarded_pps": point.forwarding_pps,
                "loss_ratio": point.loss_ratio,
                "response_p50_ns": point.p50_ns,
                "response_p99_ns": point.p99_ns,
                "trials": point.trials.iter().map(outcome).collect::<Vec<_>>(),
            })
        })
        .collect();
    let result = json!({
        "path": run.path,
        "generator_into_sink_pps": run.sink_pps,
        "points": points,
        "halted": run.curve.halted.as_ref().map(ToString::to_string),
    });
    with_sizes(result, &run.sizes)
}

/// The bursts of one path and size.
pub(super) fn burst(run: &BurstRun) -> Value {
    let found = &run.result;
    let throughput = run.throughput.as_ref();
    let result = json!({
        "path": run.path,
        "longest_frames": found.longest_frames,
        "mean_frames": found.mean_frames,
        "min_frames": found.min_frames,
        "max_frames": found.max_frames,
        "stdev_frames": found.stdev_frames,
        "at_least": found.at_least,
        "bursts": found.bursts,
        "burst_pps": run.burst_pps,
        "sent_pps": found.sent_pps,
        "throughput_pps": throughput.and_then(|goal| goal.lower_bound_pps),
        "throughput_at_least": throughput.map(|goal| goal.at_least),
        "implied_buffer_s": run.buffer.map(|buffer| buffer.implied_s),
        "corrected_buffer_s": run.buffer.map(|buffer| buffer.corrected_s),
        "halted": found.halted.as_ref().map(ToString::to_string),
    });
    with_sizes(result, &run.sizes)
}
