//! Back-to-back frames: the longest burst at the smallest gap that loses nothing (RFC 2544
//! section 26.4 as amended by RFC 9004), and the buffer that it implies.

use std::time::Duration;

use serde::Serialize;

use super::controller::search;
use super::device::{Device, Subject};
use super::goal::{SearchConfig, SearchGoal};
use super::line_rate::LineRate;
use super::result::{End, Halt, Progress, until_halted};
use super::throughput::MIN_LOAD_PPS;
use super::trial::{Measurer, VoidReason};
use crate::bench::testbed::{QUIET, Testbed};
use crate::error::{Error, Result};
use crate::load::run::Load;
use crate::stats::spread::Spread;
use crate::stats::state::{Doubt, State};
use crate::sys::clock;

/// Whoever sends bursts.
pub trait BurstMeasurer {
    /// Sends `frames` back to back, waits until the device has forwarded what it will, and lets
    /// its buffers drain (RFC 9004 section 6.2 wants at least 2 s for that).
    fn send_burst(&mut self, frames: u64) -> Result<BurstOutcome>;

    /// Whether no more bursts are wanted.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// What became of a burst.
#[derive(Clone, Debug, PartialEq)]
pub struct BurstOutcome {
    /// Frames sent.
    pub sent: u64,
    /// Frames that did not come back as they should.
    pub lost: u64,
    /// How fast they were sent, in frames per second; `None` where that was not measured.
    pub sent_pps: Option<f64>,
    /// The part of the CPUs' time that was taken meanwhile, from 0 to 1.
    pub disturbed_share: f64,
    /// Why the burst says nothing about the device: it was not back to back, or the generator's
    /// own ring dropped frames.
    pub void: Option<VoidReason>,
}

/// A search for the longest burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurstConfig {
    /// The longest burst to try, in frames.
    pub max_frames: u64,
    /// How often the whole search is repeated. RFC 2544 asks for 50; the default is 10, and a
    /// report must say how many there were.
    pub repetitions: usize,
    /// How often a burst that lost frames is sent again before the loss is believed (Binary
    /// Search with Loss Verification, which RFC 9004 refers to).
    pub loss_verifications: usize,
    /// How often a void burst is sent again.
    pub void_repeats: usize,
    /// Bursts at most, over all repetitions.
    pub max_bursts: usize,
}

impl BurstConfig {
    /// Ten repetitions up to `max_frames`; a loss must show twice.
    pub fn up_to(max_frames: u64) -> BurstConfig {
        BurstConfig {
            max_frames,
            repetitions: 10,
            loss_verifications: 1,
            void_repeats: 2,
            max_bursts: 1000,
        }
    }
}

/// The longest bursts without loss.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BurstResult {
    /// The longest burst of each repetition that was completed, in frames; 0 if even one frame
    /// was lost.
    pub longest_frames: Vec<u64>,
    /// Their mean, which is the benchmark; `None` without a repetition.
    pub mean_frames: Option<f64>,
    /// The shortest of them.
    pub min_frames: Option<u64>,
    /// The longest of them.
    pub max_frames: Option<u64>,
    /// Their sample standard deviation; `None` with less than two.
    pub stdev_frames: Option<f64>,
    /// How fast the bursts without loss were sent, all together, in frames per second.
    pub sent_pps: Option<f64>,
    /// Whether a repetition passed at the longest burst tried: the device may well take more.
    pub at_least: bool,
    /// Bursts sent, void ones included.
    pub bursts: usize,
    /// Why it ended before all repetitions were done, if it did.
    pub halted: Option<Halt>,
    /// What the numbers are worth.
    pub state: State,
}

/// Searches for the longest burst without loss, to the frame, as often as `config` says;
/// `after_repetition` is told what each repetition found.
pub fn longest_burst(
    measurer: &mut dyn BurstMeasurer,
    config: &BurstConfig,
    after_repetition: &mut dyn FnMut(u64),
) -> Result<BurstResult> {
    if !(1..=FRAMES_MAX).contains(&config.max_frames) || config.repetitions == 0 {
        return Err(Error::Usage(format!(
            "burst: there must be repetitions, and 1 to {FRAMES_MAX} frames"
        )));
    }
    let mut search = BurstSearch {
        measurer,
        config,
        bursts: 0,
        lossless: (0, 0.0),
        shares: Vec::new(),
        theft: None,
    };
    let mut result = BurstResult::default();
    let mut start = FIRST_BURST_FRAMES.min(config.max_frames);
    let mut repeat = || {
        for _ in 0..config.repetitions {
            let longest = search.repetition(start)?;
            result.longest_frames.push(longest);
            after_repetition(longest);
            result.at_least |= longest == config.max_frames;
            // The next one begins where this one ended, which saves most of its steps.
            start = longest.max(1);
        }
        Ok(())
    };
    result.halted = until_halted(repeat())?;
    result.bursts = search.bursts;
    let (frames, seconds) = search.lossless;
    result.sent_pps = (seconds > 0.0).then(|| frames as f64 / seconds);
    result.summarize();
    let share = Spread::of(search.shares).map_or(0.0, |spread| spread.median);
    result.state = match search.theft {
        _ if result.at_least => State::CannotTell { reason: Doubt::GeneratorLimited },
        Some(share) if result.longest_frames.is_empty() => {
            State::CannotTell { reason: Doubt::TimeTaken { share } }
        }
        None if result.longest_frames.is_empty() => {
            State::CannotTell { reason: Doubt::BoundMissing }
        }
        _ => State::of_share(share),
    };
    Ok(result)
}

const FIRST_BURST_FRAMES: u64 = 64;

/// The longest burst that may be asked for; at 100 Gb/s it takes two hours.
const FRAMES_MAX: u64 = 1_000_000_000_000;

impl BurstResult {
    fn summarize(&mut self) {
        let longest = &self.longest_frames;
        let count = longest.len() as f64;
        self.min_frames = longest.iter().min().copied();
        self.max_frames = longest.iter().max().copied();
        self.mean_frames =
            (!longest.is_empty()).then(|| longest.iter().map(|&n| n as f64).sum::<f64>() / count);
        self.stdev_frames = self.mean_frames.filter(|_| longest.len() > 1).map(|mean| {
            let squares: f64 = longest.iter().map(|&n| (n as f64 - mean).powi(2)).sum();
            (squares / (count - 1.0)).sqrt()
        });
    }
}

struct BurstSearch<'a> {
    measurer: &'a mut dyn BurstMeasurer,
    config: &'a BurstConfig,
    bursts: usize,
    /// Frames and seconds of the bursts without loss whose rate is known.
    lossless: (u64, f64),
    /// The parts of the CPUs' time that were taken while each counting burst was sent.
    shares: Vec<f64>,
    /// As much of the last burst that was void for it.
    theft: Option<f64>,
}

impl BurstSearch<'_> {
    /// One search: outwards from `start` in doubling steps, then bisection to the frame.
    fn repetition(&mut self, start: u64) -> Progress<u64> {
        // `passes` is lossless and `fails` is not; both are beyond what is ever sent at first.
        let (mut passes, mut fails) = (0, self.config.max_frames.saturating_add(1));
        let (mut next, mut step) = (start, (start / 16).max(1));
        while fails - passes > 1 {
            match self.is_lossless(next)? {
                true => passes = next,
                false => fails = next,
            }
            let middle = passes + (fails - passes) / 2;
            next = if fails > self.config.max_frames {
                passes.saturating_add(step).min(self.config.max_frames)
            } else if passes == 0 {
                fails.saturating_sub(step).max(1)
            } else {
                middle
            };
            step = step.saturating_mul(2);
        }
        Ok(passes)
    }

    fn is_lossless(&mut self, frames: u64) -> Progress<bool> {
        let (mut lossy, mut void) = (0, 0);
        loop {
            if self.measurer.is_stopped() {
                return Err(End::Halt(Halt::Stopped));
            }
            if self.bursts >= self.config.max_bursts {
                return Err(End::Halt(Halt::TrialsExhausted(self.bursts)));
            }
            let outcome = self.measurer.send_burst(frames)?;
            if self.measurer.is_stopped() {
                return Err(End::Halt(Halt::Stopped));
            }
            self.bursts += 1;
            let short = (outcome.sent < frames).then_some(VoidReason::BehindSchedule);
            if let Some(reason) = outcome.void.or(short) {
                void += 1;
                self.theft = reason.theft().or(self.theft);
                if void > reason.repeats(self.config.void_repeats) {
                    let why = format!("a burst of {frames} frames: {reason}");
                    return Err(End::Halt(Halt::SpoiledBurst { why }));
                }
                continue;
            }
            self.shares.push(outcome.disturbed_share);
            if outcome.lost == 0 {
                if let Some(pps) = outcome.sent_pps.filter(|&pps| pps > 0.0) {
                    self.lossless.0 += frames;
                    self.lossless.1 += frames as f64 / pps;
                }
                return Ok(true);
            }
            lossy += 1;
            if lossy > self.config.loss_verifications {
                return Ok(false);
            }
        }
    }
}

/// The buffer that a burst implies, in seconds at the rate at which the burst came in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BufferTime {
    /// Implied DUT Buffer Time: as if the device forwarded nothing while the burst came in.
    pub implied_s: f64,
    /// Corrected DUT Buffer Time: without what it forwarded meanwhile.
    pub corrected_s: f64,
}

/// The buffer time that the mean longest burst implies (RFC 9004 section 6.4).
///
/// With M the rate of the burst (on a wire its frame rate) and T the throughput at the same frame size, both in frames per
/// second: implied = mean / M, corrected = implied - implied * T / M.
///
/// It needs the throughput measured before. `None` where the benchmark does not apply: a device
/// whose throughput is the burst's rate never fills its buffer (RFC 9004 section 6.1 leaves such
/// sizes out), and rates must be above zero. A burst search that ended with
/// [`BurstResult::at_least`] gives only a lower bound.
pub fn buffer_time(
    mean_burst_frames: f64,
    burst_pps: f64,
    throughput_pps: f64,
) -> Option<BufferTime> {
    let applies = mean_burst_frames >= 0.0
        && throughput_pps >= 0.0
        && burst_pps.is_finite()
        && throughput_pps < burst_pps;
    let implied_s = mean_burst_frames / burst_pps;
    let corrected_s = implied_s - implied_s * throughput_pps / burst_pps;
    applies.then_some(BufferTime { implied_s, corrected_s })
}

/// Finished bursts over one path with one size.
#[derive(Debug, Serialize)]
pub struct BurstRun {
    /// Over what.
    #[serde(flatten)]
    pub subject: Subject,
    /// What was found.
    #[serde(flatten)]
    pub result: BurstResult,
    /// The throughput that a short search found before, in frames per second, which the buffer time
    /// needs.
    pub throughput_pps: Option<f64>,
    /// Whether it may well be more.
    pub throughput_at_least: Option<bool>,
    /// What it is worth, and with it the buffer times.
    pub throughput_state: Option<State>,
    /// The rate of the bursts, in frames per second: the wire's where it is known, else that at
    /// which the generator sent them.
    pub burst_pps: Option<f64>,
    /// [`BufferTime::implied_s`] of the mean; `None` where the throughput is not below the bursts' rate.
    pub implied_buffer_s: Option<f64>,
    /// [`BufferTime::corrected_s`] of the mean.
    pub corrected_buffer_s: Option<f64>,
}

/// The longest burst, in frames: what the generator's ring holds unread.
pub const BURST_FRAMES_MAX: u64 = 20_000;

/// Searches the longest burst without loss, in the generator's namespace; `after_repetition` is told
/// of each. A short search for the throughput comes before.
pub fn run_burst(
    testbed: &Testbed,
    subject: &Subject,
    config: &BurstConfig,
    pause: Duration,
    line_rate: Option<LineRate>,
    after_repetition: &mut dyn FnMut(u64),
) -> Result<BurstRun> {
    let mut brief = brief_search();
    subject.limit(&mut brief);
    let plan = subject.load(testbed).bursts(config.max_frames.min(BURST_FRAMES_MAX));
    let (found, result) = Device::serve(testbed, subject, |device| {
        let found = search(device, &brief, &mut |_| {})?;
        let load = Load::open(&plan, &subject.ring_memory)?;
        let mut bursts = Bursts { load, device, pause };
        Ok((found, longest_burst(&mut bursts, config, after_repetition)?))
    })?;
    let throughput = found.goals.first();
    let throughput_pps = throughput.and_then(|goal| goal.lower_bound_pps);
    let mean_bytes = subject.sizes.mean().map_or(0.0, |mean| mean.as_f64());
    let wire_pps = line_rate.map(|line| line.frames_per_second(mean_bytes));
    let burst_pps = wire_pps.or(result.sent_pps);
    let buffer = match (result.mean_frames, burst_pps, throughput_pps) {
        (Some(mean), Some(burst), Some(throughput)) => buffer_time(mean, burst, throughput),
        _ => None,
    };
    Ok(BurstRun {
        subject: subject.clone(),
        result,
        throughput_pps,
        throughput_at_least: throughput.map(|goal| goal.at_least),
        throughput_state: throughput.map(|goal| goal.state),
        burst_pps,
        implied_buffer_s: buffer.map(|buffer| buffer.implied_s),
        corrected_buffer_s: buffer.map(|buffer| buffer.corrected_s),
    })
}

/// A throughput without loss, to two percent, in some seconds: enough to correct a buffer time.
fn brief_search() -> SearchConfig {
    let trial = Duration::from_millis(200);
    SearchConfig {
        goals: vec![SearchGoal {
            initial_trial_duration: trial,
            final_trial_duration: trial,
            duration_sum: 5 * trial,
            width: 0.02,
            ..SearchGoal::default()
        }],
        confirmation: None,
        max_duration: Duration::from_secs(8),
        ..SearchConfig::between(MIN_LOAD_PPS, f64::from(u32::MAX))
    }
}

/// A path under test that gets bursts.
struct Bursts<'a, 'b> {
    load: Load,
    device: &'b mut Device<'a>,
    /// After each burst, for the device's buffers to drain.
    pause: Duration,
}

impl BurstMeasurer for Bursts<'_, '_> {
    fn send_burst(&mut self, frames: u64) -> Result<BurstOutcome> {
        self.device.begin()?;
        let outcome = self.load.fill(frames)?.collect(QUIET)?;
        let (sent, sent_pps) = (outcome.sent, outcome.achieved_pps());
        let (taken, void) = self.device.judge(&outcome, sent < frames)?;
        clock::sleep(self.pause);
        let lost = sent - outcome.tally.intact;
        Ok(BurstOutcome { sent, lost, sent_pps, disturbed_share: taken.share(), void })
    }

    fn is_stopped(&self) -> bool {
        self.device.is_stopped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_correction_takes_out_what_was_forwarded_meanwhile() {
        // 10 GbE, 64 bytes: a burst of 26 000 frames, throughput of three quarters of the wire.
        let wire = 14_880_952.0;
        let time = buffer_time(26_000.0, wire, 0.75 * wire).unwrap();
        assert!((time.implied_s - 1.747e-3).abs() < 1e-6);
        assert!((time.corrected_s - time.implied_s / 4.0).abs() < 1e-12);
        assert_eq!(buffer_time(26_000.0, wire, wire), None);
        assert_eq!(buffer_time(26_000.0, f64::NAN, 1.0), None);
        assert_eq!(buffer_time(26_000.0, 0.0, 0.0), None);
    }
}
