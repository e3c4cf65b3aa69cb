//! What `linerate search`, `loss-curve` and `burst` say.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::base::Base;
use super::json;
use super::text::{self, grouped, lines_of, table};
use crate::bench::contestant::Contestant;
use crate::bench::search::burst::BurstRun;
use crate::bench::search::line_rate::LineRate;
use crate::bench::search::loss_curve::{CurveRun, LossPoint};
use crate::bench::search::repeats::{AGREEMENT, Agreed};
use crate::bench::search::result::{Confirmation, GoalResult};
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
    /// Why one of the searches could not be carried out.
    failure: Option<String>,
}

/// Where nobody watches a bar, how a search goes is said every so often.
const LINE_EVERY: Duration = Duration::from_secs(2);

impl SearchReport {
    /// Opens the outputs.
    pub fn open(json: Option<&Path>) -> Result<SearchReport> {
        let (base, began) = (Base::open(json)?, Instant::now());
        Ok(SearchReport { base, line_rate: None, began, failure: None })
    }

    /// What is about to be measured, and where.
    pub fn start(
        &mut self,
        what: &str,
        testbed: &Testbed,
        cpus: (usize, usize),
        line_rate: Option<LineRate>,
    ) {
        let (generator, engine) = (&testbed.generator.link, &testbed.engine.link);
        let headline = format!(
            "linerate {what}: generator on {} (CPU {}), engine on {} (CPU {})",
            generator.name, cpus.0, engine.name, cpus.1
        );
        self.base.header(headline, engine, cpus.0 == cpus.1, text::runs_as());
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

    /// What comes next.
    pub fn heading(&mut self, sizes: &Sizes, path: Contestant, repetition: Option<(usize, usize)>) {
        let what = match sizes {
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
        self.base.say(format!("\n{what}, path {path}{turn}"));
    }

    /// A search begins that ends within `time`.
    pub fn search_begins(&mut self, time: Duration) {
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
        let mut rows = table(&header);
        for goal in &run.result.goals {
            rows.add_row(self.goal_row(run, goal));
        }
        self.base.say(lines_of(&mut rows));
        for goal in &run.result.goals {
            self.say_state(&goal.goal.to_string(), goal.state);
            for why in &goal.irregular {
                self.base.say(format!("  {}: {why}", goal.goal));
            }
        }
        if let Some(halted) = &run.result.halted {
            self.base.say(format!("  ended early: {halted}"));
        }
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
            self.base.say(format!(
                "  response time at {percent} % ({}): p50 {}, p99 {}, max {}{void}",
                rate(*load_pps),
                nanoseconds(latency.p50),
                nanoseconds(latency.p99),
                nanoseconds(latency.max),
            ));
            if let Some(line) = text::beyond(latency.beyond) {
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

    fn goal_row(&self, run: &SearchRun, goal: &GoalResult) -> Vec<String> {
        let bounds = match (goal.lower_bound_pps, goal.upper_bound_pps) {
            (Some(lower), Some(upper)) => format!("{} to {}", rate(lower), rate(upper)),
            (Some(lower), None) => format!("from {}", rate(lower)),
            (None, Some(upper)) => format!("below {}", rate(upper)),
            (None, None) => "-".into(),
        };
        let mean_bytes = run.subject.sizes.mean().map_or(0.0, |mean| mean.as_f64());
        let found = goal.lower_bound_pps.map_or("-".into(), |lower| {
            let at_least = if goal.at_least { "at least " } else { "" };
            let of_line = self.line_rate.map_or(String::new(), |line| {
                format!(" ({:.2} % of line rate)", line.percent(lower, mean_bytes))
            });
            format!("{at_least}{}{of_line}", rate(lower))
        });
        let confirmed = match goal.confirmation {
            None => "-".into(),
            Some(Confirmation::Void) => "void".into(),
            Some(Confirmation::Run(_)) if goal.confirmed == Some(true) => "yes".into(),
            Some(Confirmation::Run(sample)) => format!("no, lost {}", percent(sample.loss_ratio)),
        };
        vec![
            goal.goal.to_string(),
            percent(goal.goal.loss_ratio),
            found,
            bounds,
            goal.width.map_or("-".into(), percent),
            confirmed,
        ]
    }

    /// How far repetitions agree.
    pub fn agreed(&mut self, agreed: &[Agreed]) {
        self.base.say("\nRepetitions: the lower bounds");
        let header = ["sizes", "path", "goal", "runs", "median", "from", "to", "difference"];
        let mut rows = table(&header);
        for Agreed { path, sizes, goal, agreement } in agreed {
            let cell = |part: fn(&Spread) -> f64| {
                agreement.spread_pps.map_or("-".into(), |spread| rate(part(&spread)))
            };
            rows.add_row([
                sizes.to_string(),
                path.to_string(),
                goal.clone(),
                agreement.lower_bounds_pps.len().to_string(),
                cell(|spread| spread.median),
                cell(|spread| spread.min),
                cell(|spread| spread.max),
                agreement.difference.map_or("-".into(), percent),
            ]);
        }
        self.base.say(lines_of(&mut rows));
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

    /// A curve of `loads` loads begins.
    pub fn curve_begins(&mut self, loads: usize) {
        self.base.begin(loads as u64, Duration::ZERO);
    }

    /// A load of a curve was measured; `done` counts the measured ones.
    pub fn point(&mut self, done: usize, point: &LossPoint) {
        let found = match (point.forwarded_pps, point.loss_ratio) {
            (Some(forwarded), Some(lost)) => {
                format!("forwarded {}, lost {}", rate(forwarded.median), percent(lost.median))
            }
            _ => "void".into(),
        };
        let line = format!("{:>5} %  {:>10}: {found}", tidy(point.percent), rate(point.load_pps));
        self.base.progress(done as u64, line);
    }

    /// A curve.
    pub fn curve(&mut self, run: &CurveRun) {
        self.base.end();
        let header = ["load", "offered", "forwarded", "loss", "p50", "p99", "state"];
        let mut rows = table(&header);
        let time = |spread: Option<Spread>| {
            spread.map_or("-".into(), |spread| nanoseconds(spread.median as u64))
        };
        for point in &run.curve.points {
            rows.add_row([
                format!("{} %", tidy(point.percent)),
                point.offered_pps.map_or("void".into(), |spread| rate(spread.median)),
                point.forwarded_pps.map_or("-".into(), |spread| rate(spread.median)),
                point.loss_ratio.map_or("-".into(), |spread| percent(spread.median)),
                time(point.response_p50_ns),
                time(point.response_p99_ns),
                point.state.brief(),
            ]);
        }
        self.base.say(lines_of(&mut rows));
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
        if let Some(halted) = &run.curve.halted {
            self.base.say(format!("  ended early: {halted}"));
        }
    }

    /// A search for bursts begins that is repeated so often.
    pub fn bursts_begin(&mut self, repetitions: usize) {
        self.base.begin(repetitions as u64, Duration::ZERO);
    }

    /// A repetition found its longest burst; `done` counts the finished ones.
    pub fn repetition(&mut self, done: usize, all: usize, frames: u64) {
        let line = format!("repetition {done} of {all}: {} frames", grouped(frames));
        self.base.progress(done as u64, line);
    }

    /// Bursts.
    pub fn burst(&mut self, run: &BurstRun) {
        self.base.end();
        let found = &run.result;
        let header =
            ["longest burst", "from", "to", "deviation", "sent at", "throughput", "buffer"];
        let mut rows = table(&header);
        let or_dash = |value: Option<String>| value.unwrap_or("-".into());
        let at_least = |is_so| if is_so { "at least " } else { "" };
        let frames = |value: Option<f64>| value.map(|frames| grouped(frames.round() as u64));
        let seconds = |value: f64| nanoseconds((1e9 * value) as u64);
        let burst = at_least(found.at_least);
        let throughput = at_least(run.throughput_at_least == Some(true));
        rows.add_row([
            or_dash(frames(found.mean_frames).map(|mean| format!("{burst}{mean} frames"))),
            or_dash(found.min_frames.map(grouped)),
            or_dash(found.max_frames.map(grouped)),
            or_dash(frames(found.stdev_frames)),
            or_dash(run.burst_pps.map(rate)),
            or_dash(run.throughput_pps.map(|pps| format!("{throughput}{}", rate(pps)))),
            or_dash(run.corrected_buffer_s.map(|time| format!("{burst}{}", seconds(time)))),
        ]);
        self.base.say(lines_of(&mut rows));
        self.say_state("longest burst", found.state);
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
        if let Some(halted) = &run.result.halted {
            self.base.say(format!("  ended early: {halted}"));
        }
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

/// A number without the digits that only binary fractions have.
fn tidy(number: f64) -> String {
    let digits = format!("{number:.3}");
    digits.trim_end_matches('0').trim_end_matches('.').into()
}
