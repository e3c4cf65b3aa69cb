//! How a comparison is run: round after round of short turns, until it knows enough.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::observation::LoadKind;
use super::order::Order;
use super::plan::ComparePlan;
use super::result::{Comparison, Excluded, Round, Series};
use super::scale;
use super::seat::{Seat, Task};
use crate::bench::contestant::Contestant;
use crate::bench::search::trial::VoidReason;
use crate::bench::testbed::Testbed;
use crate::error::{Error, Result};
use crate::stats::best_set::{LOOKS, alpha_for, best_set, is_enough};
use crate::stats::sign::SignInterval;
use crate::stats::state::DISTURBED_SHARE;
use crate::units::FrameSize;

/// What is about to happen, for a progress bar.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The part of the work that is done, from 0 to 1.
    pub done: f64,
    /// Rounds of this size and load so far.
    pub rounds: usize,
    /// The load.
    pub load: LoadKind,
    /// The size.
    pub size: FrameSize,
}

/// Runs a comparison; `progress` is called before each round. Each seat has a testbed to itself, or all
/// share the only one and take turns on it.
///
/// Those that cannot run here are left out, with the reason; if nobody can, the first one's error is
/// the result.
pub fn run(
    testbeds: &[Testbed],
    plan: &ComparePlan,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<Comparison> {
    if plan.loads.contains(&LoadKind::Scale) {
        scale::check(&testbeds[0], plan)?;
    }
    // A thread of its own, since it is pinned.
    std::thread::scope(|scope| scope.spawn(|| compare(testbeds, plan, progress)).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn compare(
    testbeds: &[Testbed],
    plan: &ComparePlan,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<Comparison> {
    let began = Instant::now();
    let (seats, contestants, excluded) = take_seats(testbeds, plan)?;
    let is_baseline = |seat: &Seat| seat.contestant == Contestant::BASELINE;
    let baseline = seats.iter().position(is_baseline).unwrap_or(0);
    let mut rounds = Rounds {
        plan,
        contestants,
        baseline,
        out: seats.iter().map(|_| None).collect(),
        seats,
        until: began + plan.max_time,
        is_first: true,
    };
    let mut tasks = Vec::new();
    for &size in &plan.sizes {
        tasks.extend(plan.loads.iter().map(|&load| Task { size, load }));
    }
    let (mut series, mut broken) = (Vec::new(), None);
    for (done, &task) in tasks.iter().enumerate() {
        let step = |part: f64, rounds: usize| {
            let done = (done as f64 + part) / tasks.len() as f64;
            progress(Step { done, rounds, load: task.load, size: task.size });
        };
        // Each gets an equal part of the time that is left.
        let left = rounds.until.saturating_duration_since(Instant::now());
        let (found, ended) = rounds.measure(task, left / (tasks.len() - done) as u32, step);
        if found.rounds.iter().any(|rounds| !rounds.is_empty()) {
            series.push(found);
        }
        match ended {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if series.is_empty() => return Err(error),
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    let interrupted = broken.is_some() || plan.stop.load(Ordering::Relaxed);
    let mut comparison = Comparison {
        seats: Vec::new(),
        contestants,
        baseline,
        series,
        excluded,
        shares_cpu: plan.cpus.0 == plan.cpus.1,
        interrupted,
        broken,
        took: began.elapsed(),
    };
    for (seat, out) in rounds.seats.into_iter().zip(rounds.out) {
        let contestant = seat.contestant;
        let (summary, ended) = seat.leave();
        comparison.seats.push(summary);
        if let Some(error) = out.or(ended.err()).filter(|_| comparison.broken.is_none()) {
            let reason = format!("it ended early: {error}");
            comparison.excluded.push(Excluded { contestant, reason });
        }
    }
    Ok(comparison)
}

/// Opens a seat for each contestant, and one more for the baseline.
fn take_seats(
    testbeds: &[Testbed],
    plan: &ComparePlan,
) -> Result<(Vec<Seat>, usize, Vec<Excluded>)> {
    let is_alone = testbeds.len() >= plan.seats();
    let mut free = testbeds.iter().cycle();
    let (mut seats, mut excluded, mut first) = (Vec::new(), Vec::new(), None);
    for &contestant in &plan.contestants {
        let Some(testbed) = free.next() else { break };
        match Seat::take(plan, contestant, testbed, is_alone) {
            Ok(seat) => seats.push(seat),
            // An arm is worth nothing without the other.
            Err(error) if plan.ab.is_some() => return Err(error),
            Err(error) => {
                excluded.push(Excluded { contestant, reason: error.to_string() });
                first.get_or_insert(error);
            }
        }
    }
    let contestants = seats.len();
    let baseline = seats.iter().find(|seat| seat.contestant == Contestant::BASELINE);
    let baseline = baseline.or(seats.first()).map(|seat| seat.contestant);
    match (baseline, first, free.next()) {
        (None, Some(error), _) => return Err(error),
        (Some(baseline), _, Some(testbed)) if contestants > 1 => {
            seats.push(Seat::take(plan, baseline, testbed, is_alone)?);
        }
        _ => {}
    }
    Ok((seats, contestants, excluded))
}

/// Everybody in a seat, and when the time is over.
struct Rounds<'a> {
    plan: &'a ComparePlan,
    seats: Vec<Seat>,
    /// Why a seat takes no more turns.
    out: Vec<Option<Error>>,
    contestants: usize,
    baseline: usize,
    until: Instant,
    is_first: bool,
}

impl Rounds<'_> {
    /// Rounds of `task` for up to `time`. What was measured, and whether to go on with the next.
    fn measure(
        &mut self,
        task: Task,
        time: Duration,
        mut step: impl FnMut(f64, usize),
    ) -> (Series, Result<bool>) {
        let (began, most) = (Instant::now(), self.plan.rounds.unwrap_or(LOOKS[LOOKS.len() - 1]));
        let looks = self.plan.rounds.map_or(LOOKS.len(), |_| 1);
        let mut series = Series {
            size: task.size,
            load: task.load,
            rounds: self.seats.iter().map(|_| Vec::new()).collect(),
            alpha: alpha_for(self.contestants, looks),
        };
        step(0.0, 0);
        for seat in 0..self.seats.len() {
            if let Err(error) = self.attempt(seat, |seat, plan| seat.prepare(plan, task)) {
                return (series, Err(error));
            }
        }
        let mut order = Order::new(self.seats.len());
        for round in 0..most {
            for seat in order.next_round() {
                match self.attempt(seat, |seat, plan| seat.turn(plan, task)) {
                    // A turn that was cut short says nothing, and nor does its round.
                    _ if self.plan.stop.load(Ordering::Relaxed) => {
                        series.rounds.iter_mut().for_each(|rounds| rounds.truncate(round));
                        return (series, Ok(false));
                    }
                    Err(error) => return (series, Err(error)),
                    Ok(None) => {}
                    Ok(Some(turn)) => match self.first(&turn) {
                        Some(error) => return (series, Err(error)),
                        None => series.rounds[seat].push(turn),
                    },
                }
            }
            let spent = began.elapsed();
            let is_late = self.plan.rounds.is_none() && spent >= time;
            let part = spent.as_secs_f64() / time.as_secs_f64().max(1e-9);
            step(part.max((round + 1) as f64 / most as f64).min(1.0), round + 1);
            let looks = self.plan.rounds.is_none() && LOOKS.contains(&(round + 1));
            if is_late || Instant::now() >= self.until || looks && self.knows_enough(&series) {
                break;
            }
        }
        (series, Ok(true))
    }

    /// Has a seat do something. One that fails takes no more turns; an error when none is left.
    fn attempt<T>(
        &mut self,
        seat: usize,
        work: impl FnOnce(&mut Seat, &ComparePlan) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.out[seat].is_some() {
            return Ok(None);
        }
        match work(&mut self.seats[seat], self.plan) {
            Ok(done) => Ok(Some(done)),
            Err(error) if self.is_first || self.plan.ab.is_some() => Err(error),
            Err(error) => {
                let mut others = self.out.iter().enumerate().filter(|(at, _)| *at != seat);
                if others.all(|(_, out)| out.is_some()) {
                    return Err(error);
                }
                self.out[seat] = Some(error);
                Ok(None)
            }
        }
    }

    /// If the very first turn sees no echo, none will, unless the machine was busy with something else.
    fn first(&mut self, turn: &Round) -> Option<Error> {
        let is_first = std::mem::take(&mut self.is_first);
        let is_told = is_first && turn.taken.share() <= DISTURBED_SHARE;
        let silence = turn.void.as_ref().filter(|_| is_told)?;
        matches!(silence, VoidReason::Silence { .. }).then(|| {
            Error::Run(format!(
                "{silence}. Are the two interfaces joined, and do they carry EtherType 0x88b5?"
            ))
        })
    }

    /// Whether more rounds would add nothing.
    fn knows_enough(&self, series: &Series) -> bool {
        let metrics = series.load.metrics();
        let contestants = 0..self.contestants;
        let others = contestants.clone().filter(|&seat| seat != self.baseline);
        let of_seat = |seat| metrics.iter().map(move |&metric| (seat, metric));
        let ratios: Vec<Option<SignInterval>> = others
            .flat_map(of_seat)
            .map(|(seat, metric)| series.ratio(seat, self.baseline, metric))
            .collect();
        let best_sets = metrics.iter().map(|&metric| {
            let values: Vec<_> =
                contestants.clone().map(|seat| series.values(seat, metric)).collect();
            best_set(&values, metric.is_cost(), series.alpha).len()
        });
        self.contestants > 1 && is_enough(&ratios, &best_sets.collect::<Vec<_>>())
    }
}
