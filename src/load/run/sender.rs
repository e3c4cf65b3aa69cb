//! One sender: puts the frames that are due, kicks once a batch, and keeps book of what left when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::departures::Departures;
use super::outcome::SenderCounts;
use super::shared::{SenderState, SharedState};
use crate::error::Result;
use crate::load::pace::{Schedule, Share};
use crate::load::run_id::RunId;
use crate::load::template::{NextFrame, Template};
use crate::load::tx::TxHalf;
use crate::sys::clock::Clock;
use crate::sys::failure::{failed, is_refused_for_now};

/// Pause before the next kick when the kernel refused one.
const REFUSED_PAUSE_NS: u64 = 50_000;

/// How long after the end of a run frames may still leave that were due before it.
const CATCH_UP_NS: u64 = 10_000_000;

/// A run without a time limit is given up when the kernel takes nothing for this time.
const STALL_NS: u64 = 1_000_000_000;

/// What decides when this sender sends.
#[derive(Clone, Debug)]
pub(super) enum Trigger {
    /// Its share of a schedule.
    Schedule(Box<Schedule>),
    /// Always.
    Always,
    /// While fewer frames than this are unanswered; they are given up after a time-out.
    Window { frames: u64, give_up_ns: u64 },
}

/// What a sender is asked to do; times are nanoseconds on `CLOCK_MONOTONIC`.
#[derive(Clone, Debug)]
pub(super) struct SenderPlan {
    pub trigger: Trigger,
    /// Which frames of the run it sends.
    pub share: Share,
    pub id: RunId,
    /// Most frames of one kick.
    pub batch: usize,
    /// Start of the current schedule, first the warm-up's and then the measurement's. Unsent warm-up
    /// frames are dropped, so that the warm-up ends in time.
    pub start_ns: u64,
    /// When the measurement begins.
    pub measure_ns: u64,
    /// When it ends; `u64::MAX` if only the count says so.
    pub end_ns: u64,
    /// Frames of the measurement that this sender sends at most.
    pub count: u64,
    /// Frames that it sends at most, those of the warm-up included: then there are no more numbers.
    pub numbers: u64,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The kernel took frames.
    Sent,
    /// Nothing to do before this time, on `CLOCK_MONOTONIC`.
    IdleUntil(u64),
    /// Frames may be sent when others have come back.
    Awaiting,
    /// All is sent, or the time is over.
    Done,
}

/// What a sender did.
#[derive(Clone, Debug, Default)]
pub(super) struct SenderReport {
    pub departures: Departures,
    pub counts: SenderCounts,
    /// Bytes of all frames that the kernel took, those of the warm-up included, without FCS.
    pub all_bytes: u64,
    /// When the measurement was over: when the frame behind the last one would have left; of a schedule
    /// that was not kept to its end, or has no even gaps, when its time was over. Without a schedule
    /// when the last kick was done.
    pub span_end_ns: u64,
    pub stopped: bool,
}

pub(super) struct Sender<'t, T, C> {
    tx: &'t mut T,
    clock: C,
    shared: Arc<SharedState>,
    number: usize,
    template: Arc<Template>,
    stop: Arc<AtomicBool>,
    plan: SenderPlan,
    /// Numbers handed out, and frames that the kernel took.
    handed_out: u64,
    taken: u64,
    measured_from: u64,
    /// Frames below this number were refused once.
    refused_below: u64,
    retry_ns: u64,
    last_progress_ns: u64,
    /// Window: unanswered frames that nobody waits for any more, and when something last came.
    given_up: u64,
    returned: u64,
    last_answer_ns: u64,
    report: SenderReport,
}

impl<'t, T: TxHalf, C: Clock> Sender<'t, T, C> {
    /// A sender that sets out on `plan`.
    pub fn new(
        tx: &'t mut T,
        number: usize,
        plan: SenderPlan,
        template: &Arc<Template>,
        shared: &Arc<SharedState>,
        stop: &Arc<AtomicBool>,
        clock: C,
    ) -> Sender<'t, T, C> {
        let (start_ns, measure_ns) = (plan.start_ns, plan.measure_ns);
        let mut sender = Sender {
            tx,
            clock,
            shared: Arc::clone(shared),
            number,
            template: Arc::clone(template),
            stop: Arc::clone(stop),
            plan,
            handed_out: 0,
            taken: 0,
            measured_from: u64::MAX,
            refused_below: 0,
            retry_ns: 0,
            last_progress_ns: start_ns,
            given_up: 0,
            returned: 0,
            last_answer_ns: start_ns,
            report: SenderReport::default(),
        };
        if measure_ns <= start_ns {
            sender.measure_from_here();
        }
        sender
    }

    fn shared(&self) -> &SenderState {
        &self.shared.senders[self.number]
    }

    /// Whether nothing is prepared that the kernel has not taken: no kick was made in vain.
    pub fn is_empty(&self) -> bool {
        self.tx.in_flight() == 0
    }

    /// When the kernel last took a frame; the start before that.
    pub fn last_sent_ns(&self) -> u64 {
        self.last_progress_ns
    }

    /// Ends the run at `now_ns`, before its time.
    pub fn stop(&mut self, now_ns: u64) {
        self.report.stopped = true;
        self.plan.end_ns = self.plan.end_ns.min(now_ns);
    }

    /// Sends what is due at `now_ns`, at most a batch, with one kick.
    #[inline]
    pub fn step(&mut self, now_ns: u64) -> Result<Step> {
        if self.stop.load(Ordering::Relaxed) && !self.report.stopped {
            self.stop(now_ns);
        }
        if self.is_warming_up() && now_ns >= self.plan.measure_ns {
            self.measure_from_here();
        }
        if self.is_over(now_ns) {
            return Ok(Step::Done);
        }
        if now_ns < self.plan.start_ns {
            return Ok(Step::IdleUntil(self.plan.start_ns));
        }
        if self.tx.in_flight() > 0 && now_ns < self.retry_ns {
            return Ok(Step::IdleUntil(self.retry_ns));
        }
        let idle = self.fill(now_ns);
        if self.tx.in_flight() == 0 {
            return Ok(idle);
        }
        self.kick()
    }

    /// Puts the frames that are due; returns what to do if there is none.
    #[inline]
    fn fill(&mut self, now_ns: u64) -> Step {
        let mut idle = Step::IdleUntil(now_ns);
        let end_ns = if self.is_warming_up() { self.plan.measure_ns } else { self.plan.end_ns };
        let room = self.window_room(now_ns);
        if room == 0 {
            return Step::Awaiting;
        }
        for _ in 0..self.plan.batch.min(room.try_into().unwrap_or(usize::MAX)) {
            if self.count_reached() {
                break;
            }
            let intended_ns = match &mut self.plan.trigger {
                Trigger::Schedule(schedule) => {
                    let next_ns = self.plan.start_ns.saturating_add(schedule.next_ns());
                    if next_ns > now_ns || next_ns >= end_ns {
                        idle = Step::IdleUntil(next_ns.min(end_ns));
                        break;
                    }
                    next_ns
                }
                _ => now_ns,
            };
            if !self.put(intended_ns) {
                break;
            }
        }
        idle
    }

    /// Writes the next frame; false if there is no room.
    #[inline]
    fn put(&mut self, intended_ns: u64) -> bool {
        let own = self.handed_out;
        let Share { first, every } = self.plan.share;
        let number = own * every + first;
        let Sender { tx, template, plan, .. } = self;
        if !tx.put(NextFrame { template, id: plan.id, number }) {
            return false;
        }
        // Before the departure, which displaces an older one: see SenderState::departure_of.
        self.shared().handed_out.set(own + 1);
        self.shared().note_intended(own, intended_ns);
        if let Trigger::Schedule(schedule) = &mut self.plan.trigger {
            schedule.advance();
        }
        self.handed_out += 1;
        true
    }

    #[inline]
    fn kick(&mut self) -> Result<Step> {
        let sent_ns = self.clock.monotonic_ns();
        let shared = &self.shared.senders[self.number];
        (self.taken..self.handed_out).for_each(|own| shared.note_sent(own, sent_ns));
        self.report.departures.kicks += 1;
        if let Err(error) = self.tx.kick() {
            if !is_refused_for_now(&error) {
                let advice = "is the interface still there, and in this namespace?";
                return Err(failed("send the generator's frames", &error, advice));
            }
            self.report.departures.refusals += 1;
        }
        let settled = self.tx.settle();
        self.note_taken(settled.frames, settled.bytes, sent_ns);
        if self.tx.in_flight() > 0 {
            self.refused_below = self.handed_out;
            self.retry_ns = sent_ns + REFUSED_PAUSE_NS;
        }
        if settled.frames > 0 {
            self.last_progress_ns = sent_ns;
            return Ok(Step::Sent);
        }
        Ok(Step::IdleUntil(self.retry_ns))
    }

    #[inline]
    fn note_taken(&mut self, frames: u64, bytes: u64, sent_ns: u64) {
        let first = self.taken;
        let measured = first.max(self.measured_from)..first + frames;
        self.taken += frames;
        self.report.all_bytes += bytes;
        let shared = &self.shared.senders[self.number];
        shared.taken.set(self.taken);
        for nth in 0..frames {
            // What the half does not know stands there already.
            let Some(left_ns) = self.tx.left_ns(nth) else { break };
            shared.note_sent(first + nth, left_ns);
        }
        if measured.is_empty() {
            return;
        }
        let departures = &mut self.report.departures;
        match self.plan.trigger {
            Trigger::Schedule(_) => {
                for own in measured {
                    let refused = own < self.refused_below;
                    let left_ns = self.tx.left_ns(own - first).unwrap_or(sent_ns);
                    departures.record_scheduled(shared.intended_ns(own), left_ns, refused);
                }
            }
            _ => departures.record_unscheduled(measured.end - measured.start, sent_ns),
        }
    }

    /// Frames that the window has room for; without a window there is always room.
    #[inline]
    fn window_room(&mut self, now_ns: u64) -> u64 {
        let Trigger::Window { frames, give_up_ns } = self.plan.trigger else { return u64::MAX };
        let returned = self.shared.receiver.returned.get();
        if returned > self.returned {
            self.returned = returned;
            self.last_answer_ns = now_ns;
        }
        let mut unanswered = self.handed_out.saturating_sub(returned + self.given_up);
        if unanswered >= frames {
            let since_ns = self.last_answer_ns.max(self.last_progress_ns);
            if now_ns.saturating_sub(since_ns) > give_up_ns {
                self.given_up = self.handed_out - returned.min(self.handed_out);
                unanswered = 0;
            }
        }
        frames.saturating_sub(unanswered)
    }

    fn is_warming_up(&self) -> bool {
        self.measured_from == u64::MAX
    }

    fn measure_from_here(&mut self) {
        if let Trigger::Schedule(schedule) = &mut self.plan.trigger {
            schedule.restart();
            self.plan.start_ns = self.plan.measure_ns;
        }
        self.measured_from = self.handed_out;
        self.shared().measured_from.set(self.handed_out);
    }

    fn count_reached(&self) -> bool {
        self.handed_out.saturating_sub(self.measured_from) >= self.plan.count
            || self.handed_out >= self.plan.numbers
    }

    /// Whether the sending is over at `now_ns`.
    #[inline]
    fn is_over(&mut self, now_ns: u64) -> bool {
        let nothing_left = self.tx.in_flight() == 0;
        // The last frame of a window takes its time as well: until another one might leave.
        if self.count_reached() && nothing_left && self.window_room(now_ns) > 0 {
            return true;
        }
        let stalled_ns = now_ns.saturating_sub(self.last_progress_ns);
        if self.plan.end_ns == u64::MAX {
            return !nothing_left && stalled_ns > STALL_NS;
        }
        if now_ns < self.plan.end_ns {
            return false;
        }
        let is_late = now_ns >= self.plan.end_ns.saturating_add(CATCH_UP_NS);
        match &self.plan.trigger {
            Trigger::Schedule(schedule) if !is_late && !self.report.stopped => {
                let next_ns = self.plan.start_ns.saturating_add(schedule.next_ns());
                nothing_left && next_ns >= self.plan.end_ns
            }
            _ => is_late || nothing_left || self.report.stopped,
        }
    }

    /// Ends the sending: what the kernel has not taken by now is taken back.
    pub fn finish(mut self) -> SenderReport {
        self.tx.withdraw();
        let settled = self.tx.settle();
        let now_ns = self.clock.monotonic_ns();
        self.note_taken(settled.frames, settled.bytes, now_ns);
        let measured_from = self.measured_from;
        let prepared = self.handed_out.saturating_sub(measured_from);
        self.report.counts.sent = self.taken.saturating_sub(measured_from);
        self.report.counts.warm_up_sent = self.taken - self.report.counts.sent;
        self.report.counts.unsent_refused = prepared - self.report.counts.sent;
        self.report.span_end_ns = now_ns;
        let left = self.plan.count.saturating_sub(prepared);
        let SenderPlan { trigger, start_ns, end_ns, .. } = &mut self.plan;
        if let Trigger::Schedule(schedule) = trigger
            && measured_from != u64::MAX
        {
            let next_ns = start_ns.saturating_add(schedule.next_ns());
            let even_ns = schedule.passed_ns().map(|ns| start_ns.saturating_add(ns));
            self.report.counts.unsent_late = match *end_ns {
                // Only the count ends it: whatever is left of that was not sent.
                u64::MAX => left,
                end_ns => schedule.remaining_before(end_ns.saturating_sub(*start_ns)).min(left),
            };
            let was_kept = self.report.counts.unsent_late == 0 && !self.report.stopped;
            self.report.span_end_ns = match even_ns.filter(|_| was_kept) {
                Some(even_ns) => even_ns,
                None if left == 0 => next_ns.min(*end_ns),
                None if *end_ns == u64::MAX => now_ns,
                None => *end_ns,
            };
        }
        self.shared().finish();
        self.report
    }
}

/// The time until `next_ns`.
pub(super) fn until(next_ns: u64, now_ns: u64) -> Duration {
    Duration::from_nanos(next_ns.saturating_sub(now_ns))
}
