//! The document `linerate.load/1`.

use serde_json::{Map, Value, json};

use super::{json, queues};
use crate::bench::floor::HarnessFloor;
use crate::bench::loading::{Finding, LoadRequest};
use crate::bench::snapshot::InterfaceSnapshot;
use crate::load::plan::Stamps;
use crate::load::run::{Drive, LATE_DEPARTURE, LoadOutcome, NicTimes};
use crate::stats::jitter::Jitter;

/// The whole document.
pub fn document(
    request: &LoadRequest,
    finding: &Finding,
    floor: Option<&HarnessFloor>,
    intervals: &[Value],
) -> Value {
    let Finding { outcome, waterfall, counters, engine, .. } = finding;
    let asked = json!({
        "harness": floor,
        "to": request.reach.to_string(),
        "expect": request.spec.expectation.to_string(),
        "frame_bytes": request.spec.sizes.to_string(),
        "flows": request.spec.flows,
        "seed": request.spec.seed,
        "tx": outcome.halves.0.name(),
        "rx": outcome.halves.1.name(),
        "cpus": request.spec.cpus,
        "pattern": match request.spec.drive {
            Drive::Paced { pattern, .. } => Some(pattern.to_string()),
            Drive::Window(_) => None,
        },
        "window_frames": match request.spec.drive {
            Drive::Paced { .. } => None,
            Drive::Window(frames) => Some(frames),
        },
        "warm_up_s": request.spec.warm_up.as_secs_f64(),
        "drain_max_s": request.spec.drain.as_secs_f64(),
        "late_after_s": request.spec.late_after.as_secs_f64(),
    });
    let engine = engine.as_ref().map(|summary| json::engine(&summary.counters));
    let driver = |end: &InterfaceSnapshot| -> Map<String, Value> {
        end.driver.nonzero().map(|(name, count)| (name.to_string(), count.into())).collect()
    };
    let around = json!({
        "waterfall": waterfall,
        "driver_counters": driver(&counters.near),
        "device_driver_counters": counters.far.as_ref().map(driver),
        "engine": engine,
        "engine_failure": finding.engine_failure.as_ref().map(ToString::to_string),
        "disturbances": finding.disturbances,
        "state": finding.state(),
        "taken": finding.taken,
        "intervals": intervals,
    });
    let (rates, frames) = (rates_json(outcome), frames_json(outcome));
    let queues = queues::load_document(finding);
    json::joined([asked, rates, frames, times_json(request, outcome), queues, around])
}

fn rates_json(outcome: &LoadOutcome) -> Value {
    let (l2, l1) = outcome.achieved_bits_per_second().unzip();
    json!({
        "asked_pps": outcome.asked.map(|asked| asked.as_f64()),
        "achieved_pps": outcome.achieved_pps(),
        "rate_error": outcome.rate_error(),
        "achieved_l2_bits_per_second": l2,
        "achieved_l1_bits_per_second": l1,
        "forwarded_pps": outcome.forwarded_pps(),
        "generator_limited": outcome.generator_limit().map(|limit| limit.to_string()),
        "span_ns": outcome.span_ns,
        "drained_s": outcome.drained.as_secs_f64(),
        "stopped": outcome.stopped,
        "interrupted": outcome.stopped,
        "reason": json::interruption(outcome.stopped, outcome.broken.as_ref()),
    })
}

fn frames_json(outcome: &LoadOutcome) -> Value {
    json!({
        "offered": outcome.offered,
        "unsent_late": outcome.unsent_late,
        "unsent_refused": outcome.unsent_refused,
        "sent": outcome.sent,
        "frames": json::frames(&outcome.tally, outcome.lost),
        "loss_ratio": outcome.loss_ratio(),
        "reorder_extent_max": outcome.reorder_extent_max,
        "hops": outcome.hops,
        "warm_up": {
            "sent": outcome.warm_up.sent,
            "frames": json::frames(&outcome.warm_up.tally, outcome.warm_up.lost),
        },
    })
}

fn times_json(request: &LoadRequest, outcome: &LoadOutcome) -> Value {
    let (latencies, nic) = (&outcome.latencies, outcome.nic.as_deref());
    let response = latencies.response.summary();
    let jitter = outcome.jitter.known();
    json!({
        "departures": {
            "late": outcome.departures.late,
            "late_after_ns": LATE_DEPARTURE.as_nanos() as u64,
            "lateness_ns": outcome.departures.lateness.summary(),
            "gap_ns": outcome.departures.gaps.summary(),
            "gap_error_ns": outcome.departures.gap_errors.summary(),
            "refusals": outcome.departures.refusals,
        },
        "response_ns": response,
        "service_ns": latencies.service.summary(),
        "until_kernel_stamp_ns": request.spec.breakdown.then(|| latencies.until_kernel.summary()),
        "in_our_ring_ns": request.spec.breakdown.then(|| latencies.in_ring.summary()),
        "response_untouched_ns": request.spec.breakdown.then(|| latencies.untouched.summary()),
        "response_untouched_share": outcome.untouched_share().filter(|_| request.spec.breakdown),
        "until_nic_stamp_ns": nic.map(|nic| nic.until_nic.summary()),
        "nic_to_kernel_stamp_ns": nic.map(|nic| nic.nic_to_kernel.summary()),
        "since_nic_stamp_ns": nic.map(|nic| nic.since_nic.summary()),
        "stamps": stamps_json(&request.spec.stamps, nic),
        "untimed": outcome.untimed,
        "jitter": {
            "rfc3550_ns": jitter.map(Jitter::smoothed_ns),
            "mean_ns": jitter.map(Jitter::mean_ns),
            "max_ns": jitter.map(Jitter::max_ns),
            "rfc5481_pdv_p99_ns": response.known().map(|it| it.delay_variation(it.p99)),
        },
        "clock_steps": outcome.clock_steps,
    })
}

/// Whose stamps there are: `by` names the kernel or the device, `missing` says why not the device's.
fn stamps_json(asked: &Stamps, nic: Option<&NicTimes>) -> Value {
    match (asked, nic) {
        (Stamps::Nic { clock, filter, filter_before }, Some(nic)) => json!({
            "by": "hardware",
            "missing": null,
            "clock": clock.path(),
            "filter": filter,
            "filter_before": filter_before,
            "stamped": nic.stamped(),
            "unstamped": nic.unstamped,
            "clock_offset_ns": nic.offset_ns,
            "uncertainty_ns": nic.failure.is_none().then_some(nic.uncertainty_ns),
            "compared_by": clock.means(),
            "after_kernel_max_ns": nic.after_kernel_max_ns,
            "ordered": nic.is_ordered(),
        }),
        (Stamps::NicMissing(reason), _) => json!({ "by": "kernel", "missing": reason }),
        _ => json!({ "by": "kernel", "missing": null }),
    }
}
