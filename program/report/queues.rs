//! Queues, for people and for documents.

use serde_json::{Value, json};

use super::base::Base;
use super::json::joined;
use super::text::grouped;
use crate::bench::loading::{Finding, QueuePlan};
use crate::sys::ethtool_statistics::QueueFrames;
use crate::sys::queues::Steering;

/// The queues of an interface, how flows come to them, and what its driver counted of each.
pub fn document(steering: &Steering, frames: &[QueueFrames]) -> Value {
    joined([json!(steering), json!({ "frames": frames })])
}

/// The same of both ends of a load, and what each sender did.
pub fn load_document(finding: &Finding) -> Value {
    let Finding { queues, counters, outcome, .. } = finding;
    let device = queues.there.as_ref().zip(counters.far.as_ref());
    let senders = queues.senders.iter().zip(&outcome.senders);
    let sender = |((cpu, queue), counts): (&(usize, Option<u32>), _)| {
        joined([json!({ "cpu": cpu, "queue": queue }), json!(counts)])
    };
    json!({
        "senders": senders.map(sender).collect::<Vec<_>>(),
        "queues": document(&queues.here, &counters.near.driver.by_queue()),
        "device_queues": device.map(|(there, far)| document(there, &far.driver.by_queue())),
    })
}

/// `0,4`; `none` where there is none.
pub fn numbers(all: impl IntoIterator<Item = u32>) -> String {
    let all: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    if all.is_empty() { "none".into() } else { all.join(",") }
}

impl Base {
    /// Says which queues a load is to use, where there is a choice.
    pub fn queue_plan(&mut self, name: &str, plan: &QueuePlan) {
        let (senders, transmit) = (plan.senders.len(), plan.here.queues.transmit);
        let known: Option<Vec<u32>> = plan.senders.iter().map(|one| one.1).collect();
        if senders > 1 || transmit > 1 {
            let many = if senders == 1 { "" } else { "s" };
            self.say(match known {
                Some(queues) => format!(
                    "  {senders} sender{many} on transmit queue{many} {} of {transmit}",
                    numbers(queues)
                ),
                None => format!(
                    "  {senders} sender{many}; by flow the kernel chooses among {transmit} transmit queues: \
                     --senders queues gives each a sender"
                ),
            });
        }
        if plan.here.queues.receive > 1 {
            self.say(format!("  queues of {name}: {}", plan.here.words()));
        }
        for warning in &plan.warnings {
            self.say(format!("  WARNING: {warning}"));
        }
    }

    /// Says what each of several senders did, and what the drivers counted of each queue.
    pub fn queue_counts(&mut self, finding: &Finding) {
        let Finding { queues, counters, outcome, .. } = finding;
        if outcome.senders.len() > 1 {
            let rows = queues.senders.iter().zip(&outcome.senders).enumerate();
            let rows = rows.map(|(number, ((cpu, queue), counts))| {
                [
                    number.to_string(),
                    cpu.to_string(),
                    queue.map_or("by flow".into(), |queue| queue.to_string()),
                    grouped(counts.sent),
                    grouped(counts.unsent_late),
                    grouped(counts.unsent_refused),
                ]
            });
            self.table(["sender", "CPU", "queue", "sent", "late", "refused"], rows);
        }
        for end in [Some(&counters.near), counters.far.as_ref()].into_iter().flatten() {
            self.queues(&end.name, &end.driver.by_queue());
        }
    }

    /// Says what the driver of `name` counted of each queue, where there are several.
    pub fn queues(&mut self, name: &str, queues: &[QueueFrames]) {
        if queues.len() > 1 {
            self.say(format!("frames of each queue, by the driver of {name}:"));
            let frames = |count: Option<u64>| count.map_or("-".into(), grouped);
            let row =
                |one: &QueueFrames| [one.queue.to_string(), frames(one.received), frames(one.sent)];
            self.table(["queue", "received", "sent"], queues.iter().map(row));
        }
    }
}
