//! What `linerate search`, `loss-curve` and `burst` say.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::base::Base;
use super::json;
use super::text::{self, grouped, or_dash};
use crate::bench::search::burst::BurstRun;
use crate::bench::search::device::Subject;
use crate::bench::search::line_rate::LineRate;
use crate::bench::search::loss_curve::{CurveRun, LossPoint};
use crate::bench::search::repeats::{AGREEMENT, Agreed};
use crate::bench::search::result::{Confirmation, GoalResult, Halt};
use crate::bench::search::throughput::{LatencyPoint, SearchRun};
use crate::bench::search::trial::TrialRecord;
use crate::bench::testbed::Testbed;
use crate::error::{Error, Result};
use crate::load::sizes::{IMIX, Sizes};
use crate::stats::spread::Spread;
use crate::stats::state::State;
use crate::units::{nanoseconds, percent, rate};

/// What the searches say.
#[derive(Debug)]
pub struct SearchReport {
    base: Base,
    line_rate: Option<LineRate>,
    began: Instant,
    /// Steps of what is under way, those done first.
    done: usize,
    steps: usize,
    /// Why one of the searches could not be carried out.
    failure: Option<String>,
}

/// Where nobody watches a bar, how a search goes is said every so often.
const LINE_EVERY: Duration = Duration::from_secs(2);

impl SearchReport {
    /// Opens the outputs.
    pub fn open(json: Option<&Path>) -> Result<SearchReport> {
        let (base, began) = (Base::open(json)?, Instant::now());
        Ok(SearchReport { base, line_rate: None, began, done: 0, steps: 0, failure: None })
    }

    /// What is about to be measured, and where.
    pub fn start(
        &mut self,
        what: &str,
        testbed: &Testbed,
        cpus: (usize, usize),
        line_rate: Option<LineRate>,
    ) {
        self.base.testbed_header(what, testbed, cpus);
        match line_rate {
            Some(LineRate { bits_per_second }) => {
                self.base.say(format!("  link speed {} Gb/s", bits_per_second / 1e9));
            }
            None if testbed.is_veth() => {}
            None => self.base.say("  the link does not tell its speed"),
        }
        self.line_rate = line_rate;
    }

    /// How long it will take at most.
    pub fn expect(&mut self, searches: usize, each: Duration) {
        let all = each * searches as u32;
        let time = match all.as_secs() {
            seconds @ 0..180 => format!("{seconds} s"),
            seconds => format!("{} min", seconds.div_ceil(60)),
        };
        let many = match searches {
            1 => format!("one search of at most {time}"),
            _ => format!("{searches} searches of at most {} s: {time} in all", each.as_secs_f64()),
        };
        self.base.say(format!("  {many}; Ctrl-C ends with what there is"));
    }

    /// The link's speed, where it has one.
    pub fn line_rate(&self) -> Option<LineRate> {
        self.line_rate
    }

    /// One of the searches could not be carried out.
    pub fn failed(&mut self, error: &Error) {
        self.base.end();
        self.base.say(format!("  ERROR: {error}"));
        self.failure.get_or_insert(error.to_string());
    }

    fn heading(&mut self, subject: &Subject, repetition: Option<(usize, usize)>) {
        let what = match &subject.sizes {
            Sizes::Fixed(size) => format!("{size} B"),
            Sizes::Imix => {
                let mix: Vec<String> =
                    IMIX.iter().map(|(bytes, weight)| format!("{weight} of {bytes} B")).collect();
                format!("imix ({})", mix.join(", "))
            }
            mix => format!("sizes {mix}"),
        };
        let turn = repetition
            .map_or(String::new(), |(number, all)| format!(", repetition {number} of {all}"));
        self.base.say(format!("\n{what}, path {}{turn}", subject.path));
    }

    /// A search begins that ends within `time`; of a repeated one it is the first of the second.
    pub fn search_begins(
        &mut self,
        subject: &Subject,
        repetition: Option<(usize, usize)>,
        time: Duration,
    ) {
        self.heading(subject, repetition);
        self.base.begin(time.as_millis() as u64, LINE_EVERY);
        self.began = Instant::now();
    }

    /// A trial of a search was run.
    pub fn trial(&mut self, record: &TrialRecord) {
        let TrialRecord { purpose, load_pps, duration, outcome, .. } = record;
        let what = match outcome.spoiled() {
            Some(reason) => format!("void: {reason}"),
            None => format!("lost {}", percent(outcome.loss_ratio())),
        };
        let purpose = format!("{purpose:?}").to_lowercase();
        let line = format!(
            "{purpose:<7} {:>10} for {:>4.1} s: {what}",
            rate(*load_pps),
            duration.as_secs_f64()
        );
        let elapsed_ms = self.began.elapsed().as_millis() as u64;
        self.base.progress(elapsed_ms, line);
    }

    /// The result of one search.
    pub fn found(&mut self, run: &SearchRun) {
        self.base.end();
        let header = ["goal", "at most lost", "throughput", "bounds", "width", "confirmed"];
        let rows: Vec<_> = run.result.goals.iter().map(|goal| self.goal_row(run, goal)).collect();
        self.base.table(header, rows);
        for goal in &run.result.goals {
            self.say_state(&goal.goal.to_string(), goal.state);
            for why in &goal.irregular {
                self.base.say(format!("  {}: {why}", goal.goal));
            }
        }
        self.halted(run.result.halted.as_ref());
        let void = run.result.trials.iter().filter(|trial| trial.outcome.spoiled().is_some());
        self.base.say(format!(
            "  the generator alone, into a sink: {}; {} trials, {} of them void, {:.0} s",
            rate(run.subject.sink_pps),
            run.result.trials.len(),
            void.count(),
            run.elapsed.as_secs_f64(),
        ));
        for LatencyPoint { percent, load_pps, latency, void, state } in &run.latencies {
            let void = match (void, state) {
                (Some(why), _) => format!(" ({why})"),
                (None, State::Clear) => String::new(),
                (None, state) => format!(" ({state})"),
            };
            let latency = latency.known();
            self.base.say(format!(
                "  response time at {percent} % ({}): p50 {}, p99 {}, max {}{void}",
                rate(*load_pps),
                or_dash(latency, |latency| nanoseconds(latency.p50)),
                or_dash(latency, |latency| nanoseconds(latency.p99)),
                or_dash(latency, |latency| nanoseconds(latency.max)),
            ));
            if let Some(line) = latency.and_then(|latency| text::beyond(latency.beyond)) {
                self.base.say(line);
            }
        }
    }

    /// What numbers are worth, unless nothing disturbed them.
    fn say_state(&mut self, what: &str, state: State) {
        if state != State::Clear {
            self.base.say(format!("  {what}: {state}"));
        }
    }

    fn halted(&mut self, halted: Option<&Halt>) {
        if let Some(halted) = halted {
            self.base.say(format!("  ended early: {halted}"));
        }
    }

    fn goal_row(&self, run: &SearchRun, goal: &GoalResult) -> [String; 6] {
        let bounds = match (goal.lower_bound_pps, goal.upper_bound_pps) {
            (Some(lower), Some(upper)) => format!("{} to {}", rate(lower), rate(upper)),
            (Some(lower), None) => format!("from {}", rate(lower)),
            (None, Some(upper)) => format!("below {}", rate(upper)),
            (None, None) => "-".into(),
        };
        let mean_bytes = run.subject.sizes.mean().map_or(0.0, |mean| mean.as_f64());
        let found = or_dash(goal.lower_bound_pps, |lower| {
            let of_line = self.line_rate.map_or(String::new(), |line| {
                format!(" ({:.2} % of line rate)", line.percent(lower, mean_bytes))
            });
            format!("{}{}{of_line}", at_least(goal.at_least), rate(lower))
        });
        let confirmed = match goal.confirmation {
            None => "-".into(),
            Some(Confirmation::Void) => "void".into(),
            Some(Confirmation::Run(_)) if goal.confirmed == Some(true) => "yes".into(),
            Some(Confirmation::Run(sample)) => format!("no, lost {}", percent(sample.loss_ratio)),
        };
        let width = or_dash(goal.width, percent);
        [goal.goal.to_string(), percent(goal.goal.loss_ratio), found, bounds, width, confirmed]
    }

    /// How far repetitions agree.
    pub fn agreed(&mut self, agreed: &[Agreed]) {
        self.base.say("\nRepetitions: the lower bounds");
        let header = ["sizes", "path", "goal", "runs", "median", "from", "to", "difference"];
        let rows = agreed.iter().map(|Agreed { path, sizes, goal, agreement }| {
            let spread = agreement.spread_pps;
            [
                sizes.to_string(),
                path.to_string(),
                goal.clone(),
                agreement.lower_bounds_pps.len().to_string(),
                or_dash(spread, |spread| rate(spread.median)),
                or_dash(spread, |spread| rate(spread.min)),
                or_dash(spread, |spread| rate(spread.max)),
                or_dash(agreement.difference, percent),
            ]
        });
        self.base.table(header, rows);
        let most = percent(AGREEMENT);
        for Agreed { path, sizes, goal, agreement } in agreed {
            self.say_state(&format!("{sizes} {path} {goal}"), agreement.state);
            let what = format!("  {sizes} {path} {goal}");
            match agreement.agrees {
                true => self.base.say(format!("{what}: agree within {most}")),
                false => self.base.say(format!(
                    "{what}: do NOT agree within {most}: {}",
                    agreement.reasons.join("; ")
                )),
            }
        }
    }

    /// A curve begins that has `steps` loads, or a search for bursts that has as many repetitions.
    pub fn steps_begin(&mut self, subject: &Subject, steps: usize) {
        self.heading(subject, None);
        self.base.begin(steps as u64, Duration::ZERO);
        (self.done, self.steps) = (0, steps);
    }

    fn step(&mut self, line: String) {
        self.done += 1;
        self.base.progress(self.done as u64, line);
    }

    /// The next load of a curve was measured.
    pub fn point(&mut self, point: &LossPoint) {
        let found = match (point.forwarded_pps, point.loss_ratio) {
            (Some(forwarded), Some(lost)) => {
                format!("forwarded {}, lost {}", rate(forwarded.median), percent(lost.median))
            }
            _ => "void".into(),
        };
        let line = format!("{:>5} %  {:>10}: {found}", tidy(point.percent), rate(point.load_pps));
        self.step(line);
    }

    /// A curve.
    pub fn curve(&mut self, run: &CurveRun) {
        self.base.end();
        let header = ["load", "offered", "forwarded", "loss", "p50", "p99", "state"];
        let time = |spread: Spread| nanoseconds(spread.median as u64);
        let rows = run.curve.points.iter().map(|point| {
            [
                format!("{} %", tidy(point.percent)),
                point.offered_pps.map_or("void".into(), |spread| rate(spread.median)),
                or_dash(point.forwarded_pps, |spread| rate(spread.median)),
                or_dash(point.loss_ratio, |spread| percent(spread.median)),
                or_dash(point.response_p50_ns, time),
                or_dash(point.response_p99_ns, time),
                point.state.brief(),
            ]
        });
        self.base.table(header, rows);
        self.base.say(format!(
            "  100 %, the generator alone, into a sink: {}",
            rate(run.subject.sink_pps)
        ));
        if run.curve.points.iter().any(LossPoint::is_void) {
            self.base.say(
                "  void: the generator could not offer the load or lost echoes itself, or CPU time was \
                 taken",
            );
        }
        self.halted(run.curve.halted.as_ref());
    }

    /// The next repetition found its longest burst.
    pub fn repetition(&mut self, frames: u64) {
        let (number, all) = (self.done + 1, self.steps);
        self.step(format!("repetition {number} of {all}: {} frames", grouped(frames)));
    }

    /// Bursts.
    pub fn burst(&mut self, run: &BurstRun) {
        self.base.end();
        let found = &run.result;
        let header =
            ["longest burst", "from", "to", "deviation", "sent at", "throughput", "buffer"];
        let frames = |frames: f64| grouped(frames.round() as u64);
        let seconds = |value: f64| nanoseconds((1e9 * value) as u64);
        let burst = at_least(found.at_least);
        let throughput = at_least(run.throughput_at_least == Some(true));
        let row = [
            or_dash(found.mean_frames, |mean| format!("{burst}{} frames", frames(mean))),
            or_dash(found.min_frames, grouped),
            or_dash(found.max_frames, grouped),
            or_dash(found.stdev_frames, frames),
            or_dash(run.burst_pps, rate),
            or_dash(run.throughput_pps, |pps| format!("{throughput}{}", rate(pps))),
            or_dash(run.corrected_buffer_s, |time| format!("{burst}{}", seconds(time))),
        ];
        self.base.table(header, [row]);
        self.say_state("longest burst", found.state);
        self.say_state("throughput", run.throughput_state.unwrap_or_default());
        self.base.say(format!(
            "  longest burst without loss: mean of {} repetitions, {} bursts",
            found.longest_frames.len(),
            found.bursts,
        ));
        self.base.say(match (run.corrected_buffer_s, run.implied_buffer_s) {
            (Some(corrected), Some(implied)) => format!(
                "  buffer (RFC 9004, corrected by what was forwarded meanwhile): {} of implied {}",
                seconds(corrected),
                seconds(implied),
            ),
            _ if found.longest_frames.is_empty() => {
                "  no buffer time: no repetition was finished".into()
            }
            _ if run.burst_pps.is_none() => "  no buffer time: no burst without loss".into(),
            _ if run.throughput_pps.is_some() => {
                "  no buffer time: the path forwards as fast as bursts come in".into()
            }
            _ => "  no buffer time: the short search before found no throughput".into(),
        });
        self.halted(run.result.halted.as_ref());
    }

    /// Writes the document of what was found over each path with each size, and how far repetitions
    /// agree, where some may be.
    pub fn write(
        &mut self,
        schema: &str,
        testbed: &Testbed,
        interrupted: bool,
        results: &[impl Serialize],
        agreement: Option<&[Agreed]>,
    ) -> Result<()> {
        self.base.end();
        if interrupted {
            self.base.say("\ninterrupted: this is what was found until then");
        }
        let document = Document {
            lab: testbed.is_lab(),
            interrupted: interrupted || self.failure.is_some(),
            reason: json::interruption(interrupted, self.failure.as_ref()),
            line_rate_bits_per_second: self.line_rate.map(|line| line.bits_per_second),
            results,
            agreement,
        };
        self.base.write(schema, &document)
    }
}

/// What all searches' documents have.
#[derive(Serialize)]
struct Document<'a, T> {
    lab: bool,
    interrupted: bool,
    reason: Option<String>,
    line_rate_bits_per_second: Option<f64>,
    results: &'a [T],
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement: Option<&'a [Agreed]>,
}

fn at_least(is_so: bool) -> &'static str {
    if is_so { "at least " } else { "" }
}

/// A number without the digits that only binary fractions have.
fn tidy(number: f64) -> String {
    let digits = format!("{number:.3}");
    digits.trim_end_matches('0').trim_end_matches('.').into()
}
