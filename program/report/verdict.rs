//! What a comparison says about each question, in sentences.

use super::compare_details::scaling;
use super::compare_table::times;
use crate::bench::compare::result::Comparison;
use crate::bench::compare::verdict::{Answer, Question, Standing};
use crate::bench::contestant::Contestant;
use crate::stats::sign::SignInterval;
use crate::stats::state::State;
use crate::units::{nanoseconds, percent, rate};

/// Size by size, who is the best and who loses to the baseline, and what a second worker adds.
pub fn sentences(comparison: &Comparison) -> Vec<String> {
    let mut sentences = Vec::new();
    let base = comparison.baseline();
    let answers = comparison.answers();
    for size in comparison.sizes() {
        let mut say = |sentence: String| sentences.push(format!("{size} B: {sentence}."));
        let of_size: Vec<&Answer> = answers.iter().filter(|answer| answer.size == size).collect();
        let cost = of_size.iter().find(|answer| answer.question == Question::Cpu);
        let forwards = of_size.iter().any(|answer| answer.question == Question::Throughput);
        for answer in &of_size {
            match answer.question {
                // What the best one costs is part of its praise.
                Question::Cpu if forwards => {}
                question => {
                    let cost = cost.filter(|_| question == Question::Throughput);
                    say(best(answer, cost.copied(), base));
                }
            }
        }
        for answer in of_size {
            losers(answer, base).into_iter().for_each(&mut say);
        }
        let two = scaling(comparison, size);
        if !two.is_empty() {
            say(format!("two workers drain: {}", two.join(", ")));
        }
    }
    sentences
}

fn best(answer: &Answer, cost: Option<&Answer>, base: Contestant) -> String {
    let (question, verb, what) = words(answer.question, base);
    let Some((leader, rivals)) = answer.best.split_first() else {
        return "nothing is known".into();
    };
    let Standing { contestant, state, ratio_to_baseline, .. } = *leader;
    let praise = match (ratio_to_baseline, state) {
        (_, State::CannotTell { reason }) if contestant != base || !rivals.is_empty() => {
            return format!("{question} cannot be told: {reason}");
        }
        (None, _) => format!("{contestant} {verb} {}", amount(answer, leader)),
        (Some(SignInterval { estimate, low, high, .. }), _) => {
            let (estimate, low, high) = (times(estimate), times(low), times(high));
            format!("{contestant} {verb} {estimate} times {what} (95 %: {low} to {high})")
        }
    };
    let of_leader = |one: &&Standing| one.contestant == contestant && one.state.tells();
    let cost = cost.and_then(|cost| cost.all.iter().find(of_leader)?.ratio_to_baseline);
    let cost = cost.map(|cost| format!(" for {} times the CPU", times(cost.estimate)));
    let disturbed = match state {
        State::Disturbed { share } => format!(", though {:.0} % of a CPU was taken", 100.0 * share),
        _ => String::new(),
    };
    let rivals: Vec<String> = rivals.iter().map(|one| one.contestant.to_string()).collect();
    let rivals = match rivals.is_empty() {
        true => String::new(),
        false => format!("; not clearly behind: {}", rivals.join(", ")),
    };
    format!("{praise}{}{disturbed}{rivals}", cost.unwrap_or_default())
}

/// What is asked, the verb of an answer, and what it is compared with.
fn words(question: Question, base: Contestant) -> (&'static str, &'static str, String) {
    match question {
        Question::Throughput => {
            ("who forwards the most", "forwards", format!("as many frames as {base}"))
        }
        Question::Cpu => ("who uses the least CPU", "uses", format!("the CPU of {base} per echo")),
        Question::Latency => {
            ("who answers first", "answers a lone frame in", format!("the time of {base}"))
        }
    }
}

/// What an A/B test says about its second arm, size by size and question by question.
pub fn of_arms(comparison: &Comparison) -> Vec<String> {
    let base = comparison.baseline();
    let of_answer = |answer: &Answer| {
        let Answer { size, question, .. } = answer;
        let other = answer.all.iter().find(|one| one.contestant != base)?;
        let (question, verb, what) = words(*question, base);
        let name = other.contestant;
        let SignInterval { estimate, low, high, .. } = match (other.ratio_to_baseline, other.state)
        {
            (_, State::CannotTell { reason }) => {
                return Some(format!("{size} B: {question} cannot be told: {reason}."));
            }
            (ratio, _) => ratio?,
        };
        let (estimate, between) = (times(estimate), format!("{} to {}", times(low), times(high)));
        let disturbed = match other.state {
            State::Disturbed { share } => format!(", though {} of a CPU was taken", percent(share)),
            _ => String::new(),
        };
        Some(match low > 1.0 || high < 1.0 {
            true => {
                format!(
                    "{size} B: {name} {verb} {estimate} times {what} (95 %: {between}){disturbed}."
                )
            }
            false => format!(
                "{size} B: no difference was found: {name} {verb} {between} times {what} (95 \
                 %){disturbed}."
            ),
        })
    };
    comparison.answers().iter().filter_map(of_answer).collect()
}

/// The median, with its unit.
fn amount(answer: &Answer, standing: &Standing) -> String {
    match answer.question {
        Question::Throughput => rate(standing.value),
        _ => nanoseconds(standing.value as u64),
    }
}

fn losers(answer: &Answer, base: Contestant) -> Option<String> {
    let amounts = answer.losers.iter().filter_map(|one| {
        let ratio = one.ratio_to_baseline.filter(|_| one.state.tells())?;
        Some(format!("{} ({} times)", one.contestant, times(ratio.estimate)))
    });
    let amounts: Vec<String> = amounts.collect();
    let verb = if amounts.len() == 1 { "LOSES" } else { "LOSE" };
    let what = match answer.question {
        Question::Throughput => "in throughput",
        Question::Cpu => "in CPU per echo",
        Question::Latency => "in the time to answer a lone frame",
    };
    (!amounts.is_empty()).then(|| format!("{} {verb} to {base} {what}", amounts.join(", ")))
}

#[cfg(test)]
mod tests;
