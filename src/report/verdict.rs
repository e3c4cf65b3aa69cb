//! What a comparison says about each question, in sentences.

use super::compare_details::scaling;
use super::compare_table::times;
use crate::bench::compare::result::Comparison;
use crate::bench::compare::verdict::{Answer, Question, Standing};
use crate::bench::contestant::Contestant;
use crate::stats::sign::SignInterval;
use crate::stats::state::State;
use crate::units::{nanoseconds, rate};

/// Size by size, the best for each question, those that lose to the baseline, and what a second worker
/// adds.
pub fn sentences(comparison: &Comparison) -> Vec<String> {
    let mut sentences = Vec::new();
    let base = comparison.baseline();
    let answers = comparison.answers();
    for size in comparison.sizes() {
        let of_size = answers.iter().filter(|answer| answer.size == size);
        for answer in of_size {
            sentences.extend(best(answer, base).map(|sentence| format!("{size} B: {sentence}.")));
            sentences.extend(losers(answer, base).map(|sentence| format!("{size} B: {sentence}.")));
        }
        let two = scaling(comparison, size);
        if !two.is_empty() {
            sentences.push(format!("{size} B: two workers drain: {}.", two.join(", ")));
        }
    }
    sentences
}

fn best(answer: &Answer, base: Contestant) -> Option<String> {
    let (leader, others) = answer.best.split_first()?;
    let Standing { contestant, value, state, ratio_to_baseline, .. } = *leader;
    let (value, verb, what) = match answer.question {
        Question::Throughput => (rate(value), "forwards", format!("as many frames as {base}")),
        Question::Cpu => {
            (nanoseconds(value as u64), "uses", format!("the CPU time of {base} for each echo"))
        }
        Question::Latency => {
            let what = format!("the time of {base}");
            (nanoseconds(value as u64), "answers a lone frame in", what)
        }
    };
    let praise = match ratio_to_baseline {
        None => format!("{contestant} {verb} {value}"),
        Some(SignInterval { low, high, .. }) if !state.tells() => {
            format!("{contestant} {verb} {} to {} times {what}", times(low), times(high))
        }
        Some(SignInterval { estimate, low, high, .. }) => {
            let (estimate, low, high) = (times(estimate), times(low), times(high));
            format!("{contestant} {verb} {estimate} times {what} (95 %: {low} to {high}), {value}")
        }
    };
    let doubt = match state {
        State::Clear => String::new(),
        state => format!("; {state}"),
    };
    let others: Vec<String> = others.iter().map(|one| one.contestant.to_string()).collect();
    Some(match others.len() {
        0 => format!("{praise}{doubt}"),
        _ => format!("{praise}{doubt}; not clearly behind it: {}", others.join(", ")),
    })
}

fn losers(answer: &Answer, base: Contestant) -> Option<String> {
    let amounts = answer.losers.iter().filter_map(|one| {
        Some(format!("{} {}", one.contestant, times(one.ratio_to_baseline?.estimate)))
    });
    let amounts: Vec<String> = amounts.collect();
    let verb = if amounts.len() == 1 { "LOSES" } else { "LOSE" };
    let what = match answer.question {
        Question::Throughput => "in throughput",
        Question::Cpu => "in CPU time per echo",
        Question::Latency => "in the time to answer a lone frame",
    };
    let amounts_text = amounts.join(", ");
    (!amounts.is_empty()).then(|| format!("{amounts_text} times: {verb} to {base} {what}"))
}
