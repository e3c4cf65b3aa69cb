//! The shapes of a run: flood, window, ping-pong, burst.

use std::time::Duration;

use super::{Generator, STALL};
use crate::error::{Error, Result};
use crate::load::line::Line;
use crate::load::plan::{Limits, Mode};
use crate::load::report::LoadReport;
use crate::load::round_trips::STAMPS_REMEMBERED;
use crate::sys::clock;

/// The largest window: a quarter of the sending times that are remembered, so that frames of a lossy
/// window stay among them.
pub const WINDOW_MAX: usize = STAMPS_REMEMBERED / 4;

/// Pause before the next kick when the kernel took nothing and nothing came.
const REFUSED_PAUSE: Duration = Duration::from_micros(50);

/// Looks at the ring between two readings of the clock while spinning.
const LOOKS_PER_CLOCK: usize = 32;

/// When the sending of a run ends.
#[derive(Clone, Copy, Debug)]
struct Finish {
    end_ns: u64,
    count: u64,
    /// Without an end in time, the sending ends when the kernel takes nothing for [`STALL`].
    last_progress_ns: Option<u64>,
}

impl Finish {
    fn new(limits: Limits, now_ns: u64) -> Result<Finish> {
        let Limits { duration, count } = limits;
        if duration.is_none() && count.is_none() {
            return Err(Error::Usage("a run needs a duration or a count".into()));
        }
        let end_ns = duration.map_or(u64::MAX, |duration| now_ns.saturating_add(ns(duration)));
        let last_progress_ns = duration.is_none().then_some(now_ns);
        Ok(Finish { end_ns, count: count.unwrap_or(u64::MAX), last_progress_ns })
    }

    /// Whether it is over at `now_ns`, `taken` frames after the last time.
    #[inline]
    fn is_over(&mut self, now_ns: u64, taken: u64) -> bool {
        let Some(last_ns) = &mut self.last_progress_ns else { return now_ns >= self.end_ns };
        if taken > 0 {
            *last_ns = now_ns;
        }
        now_ns.saturating_sub(*last_ns) > ns(STALL)
    }
}

/// The pause before frame number `sequence`: multiples of the golden ratio, modulo 1, cover the time
/// from 0 to `longest` evenly however many there are.
fn pause(longest: Duration, sequence: u64) -> Duration {
    let part = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    Duration::from_nanos(((u128::from(ns(longest)) * u128::from(part)) >> 32) as u64)
}

fn ns(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

impl<L: Line> Generator<L> {
    /// One run in the given mode.
    pub fn run(&mut self, mode: Mode, limits: Limits) -> Result<LoadReport> {
        match mode {
            Mode::Flood => self.flood(limits),
            Mode::Window(frames) => self.window(frames, limits),
            Mode::PingPong => self.ping_pong(limits),
        }
    }

    /// Sends as fast as it can and takes what comes back in between; then drains.
    ///
    /// One clock reading, one kick and one look at the receive ring a batch. While the kernel takes
    /// nothing it only receives; a count without a duration is given up when that lasts 1 s.
    pub fn flood(&mut self, limits: Limits) -> Result<LoadReport> {
        self.begin(false)?;
        self.send_until(limits, true)?;
        self.drain(self.quiet)?;
        self.conclude()
    }

    /// Sends `count` frames as fast as it can without receiving, and returns how many the kernel
    /// accepted: fewer where it took none for 1 s or the stop flag was set. At most as many as the
    /// ledger remembers. [`Generator::collect`] finishes the run.
    pub fn send_burst(&mut self, count: u64) -> Result<u64> {
        let most = self.verifier.ledger().remembered();
        if count > most {
            return Err(Error::Usage(format!("a burst has at most {most} frames")));
        }
        self.begin(false)?;
        self.send_until(Limits::frames(count), false)?;
        Ok(self.verifier.ledger().handed_out())
    }

    /// Takes the echoes of a burst until all are back or none has come for `quiet`.
    ///
    /// The receive ring must hold those that come before this is called
    /// ([`hold_unread`](crate::load::plan::LoadConfig::hold_unread)).
    pub fn collect(&mut self, quiet: Duration) -> Result<LoadReport> {
        self.drain(quiet)?;
        self.conclude()
    }

    fn send_until(&mut self, limits: Limits, receiving: bool) -> Result<()> {
        let mut now_ns = clock::monotonic_ns();
        let mut finish = Finish::new(limits, now_ns)?;
        (self.first_kick_ns, self.last_kick_ns) = (now_ns, now_ns);
        loop {
            let left = finish.count - self.verifier.ledger().handed_out();
            self.fill(self.batch.min(left.try_into().unwrap_or(usize::MAX)));
            let taken = if self.transmit.in_flight() > 0 { self.kick()? } else { 0 };
            now_ns = clock::monotonic_ns();
            if taken > 0 {
                self.last_kick_ns = now_ns;
            }
            let all_taken = self.transmit.in_flight() == 0;
            let count_reached = all_taken && self.verifier.ledger().handed_out() >= finish.count;
            if count_reached || finish.is_over(now_ns, taken) || self.is_stopped() {
                break;
            }
            let settled = if receiving { self.receive() } else { 0 };
            if taken == 0 && settled == 0 {
                clock::sleep(REFUSED_PAUSE);
            }
        }
        self.end_sending();
        Ok(())
    }

    /// One frame at a time: [a window](Generator::window) of one.
    pub fn ping_pong(&mut self, limits: Limits) -> Result<LoadReport> {
        self.window(1, limits)
    }

    /// Keeps `frames` unanswered frames on the way (at most [`WINDOW_MAX`]) and times the answers;
    /// then drains.
    ///
    /// While nothing comes it looks at the ring for [`spin`](crate::load::plan::LoadConfig::spin),
    /// which costs its CPU and leaves the generator's own wake-up out of the round trip, and then
    /// sleeps. A lost frame makes the window narrower until four windows more are sent, or until
    /// nothing has come for the answer time-out.
    pub fn window(&mut self, frames: usize, limits: Limits) -> Result<LoadReport> {
        if !(1..=WINDOW_MAX).contains(&frames) {
            return Err(Error::Usage(format!("a window has 1 to {WINDOW_MAX} frames")));
        }
        self.begin(true)?;
        let mut now_ns = clock::monotonic_ns();
        let mut finish = Finish::new(limits, now_ns)?;
        (self.first_kick_ns, self.last_kick_ns) = (now_ns, now_ns);
        loop {
            let left = finish.count - self.verifier.ledger().handed_out();
            let room = frames.saturating_sub(self.verifier.ledger().awaited() as usize);
            if frames == 1 && room > 0 && !self.pause_max.is_zero() {
                clock::sleep(pause(self.pause_max, self.verifier.ledger().handed_out()));
            }
            let numbers =
                self.fill(room.min(self.batch).min(left.try_into().unwrap_or(usize::MAX)));
            let mut taken = 0;
            if self.transmit.in_flight() > 0 {
                now_ns = clock::monotonic_ns();
                self.round_trips.note_sent(numbers.clone(), now_ns);
                taken = self.kick()?;
                self.last_kick_ns = now_ns;
            }
            let sent = numbers.end;
            self.verifier.ledger().stop_awaiting_below(sent.saturating_sub(4 * frames as u64));
            let count_reached = sent >= finish.count && self.transmit.in_flight() == 0;
            if count_reached || finish.is_over(now_ns, taken) || self.is_stopped() {
                break;
            }
            if self.receive() > 0 {
                continue;
            }
            let is_full = self.verifier.ledger().awaited() >= frames as u64;
            if is_full && self.transmit.in_flight() == 0 {
                now_ns = self.await_answer(now_ns)?;
            } else if taken == 0 {
                clock::sleep(REFUSED_PAUSE);
                now_ns = clock::monotonic_ns();
            }
        }
        self.end_sending();
        self.drain(self.quiet)?;
        self.conclude()
    }

    /// Waits for an answer, spinning first; after the answer time-out gives all waiting ones up.
    /// Returns the time.
    fn await_answer(&mut self, since_ns: u64) -> Result<u64> {
        loop {
            for _ in 0..LOOKS_PER_CLOCK {
                if self.receive() > 0 {
                    return Ok(clock::monotonic_ns());
                }
                std::hint::spin_loop();
            }
            let now_ns = clock::monotonic_ns();
            let waited_ns = now_ns.saturating_sub(since_ns);
            if waited_ns >= ns(self.answer_timeout) || self.is_stopped() {
                let sent = self.verifier.ledger().handed_out();
                self.verifier.ledger().stop_awaiting_below(sent);
                return Ok(now_ns);
            }
            if waited_ns >= ns(self.spin) {
                self.wait(self.answer_timeout - Duration::from_nanos(waited_ns))?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_evenly() {
        let longest = Duration::from_micros(1000);
        let mut tenths = [0; 10];
        for sequence in 0..1000 {
            tenths[(pause(longest, sequence).as_micros() / 100) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (95..=105).contains(count)), "{tenths:?}");
    }
}
