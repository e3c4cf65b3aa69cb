//! The longest burst of synthetic buffers.

use linerate::bench::search::burst::{
    BurstConfig, BurstMeasurer, BurstOutcome, BurstResult, longest_burst,
};
use linerate::bench::search::result::Halt;
use linerate::error::Result;
use proptest::prelude::*;

use crate::devices::Dice;

/// Holds so many frames, give or take, and now and then loses one for no reason.
struct Buffer {
    frames: u64,
    spread: f64,
    hiccup: f64,
    dice: Dice,
    longest_sendable: u64,
    sent: Vec<u64>,
}

fn buffer(frames: u64) -> Buffer {
    Buffer {
        frames,
        spread: 0.0,
        hiccup: 0.0,
        dice: Dice(7),
        longest_sendable: u64::MAX,
        sent: Vec::new(),
    }
}

impl BurstMeasurer for Buffer {
    fn send_burst(&mut self, frames: u64) -> Result<BurstOutcome> {
        self.sent.push(frames);
        let room = self.frames as f64 * (1.0 - self.spread * self.dice.part());
        let hiccup = u64::from(self.dice.chance(self.hiccup));
        let lost = frames.saturating_sub(room as u64).max(hiccup);
        Ok(BurstOutcome {
            sent: frames.min(self.longest_sendable),
            lost,
            sent_pps: Some(1e6),
            disturbed_share: 0.0,
            void: None,
        })
    }
}

fn run(buffer: &mut Buffer, config: &BurstConfig) -> BurstResult {
    let result = longest_burst(buffer, config, &mut |_| {}).unwrap();
    assert_eq!(result.bursts, buffer.sent.len());
    assert!(result.bursts <= config.max_bursts);
    assert!(buffer.sent.iter().all(|&frames| (1..=config.max_frames).contains(&frames)));
    result
}

proptest! {
    #[test]
    fn a_buffer_is_measured_to_the_frame(frames in 0u64..200_000, max in 1u64..100_000) {
        let result = run(&mut buffer(frames), &BurstConfig::up_to(max));
        prop_assert_eq!(&result.longest_frames, &vec![frames.min(max); 10]);
        prop_assert_eq!(result.at_least, frames >= max);
        prop_assert_eq!(result.stdev_frames, Some(0.0));
        prop_assert_eq!(result.mean_frames, Some(frames.min(max) as f64));
        prop_assert_eq!(result.halted, None);
    }

    #[test]
    fn the_bursts_are_bounded(
        frames in 0u64..10_000,
        max_bursts in 0usize..300,
        hiccup in 0.0f64..1.0,
        spread in 0.0f64..1.0,
    ) {
        let config = BurstConfig { max_bursts, ..BurstConfig::up_to(5000) };
        let result = run(&mut Buffer { hiccup, spread, ..buffer(frames) }, &config);
        let complete = result.longest_frames.len() == config.repetitions;
        prop_assert!(complete || result.halted == Some(Halt::TrialsExhausted(max_bursts)));
    }
}

#[test]
fn repetitions_show_the_spread() {
    let result = run(&mut Buffer { spread: 0.1, ..buffer(10_000) }, &BurstConfig::up_to(1_000_000));
    let (min, max) = (result.min_frames.unwrap(), result.max_frames.unwrap());
    let mean = result.mean_frames.unwrap();
    assert!(min >= 9000 && max <= 10_000 && min < max, "{result:?}");
    assert!(min as f64 <= mean && mean <= max as f64 && result.stdev_frames.unwrap() > 0.0);
}

#[test]
fn a_loss_that_does_not_show_again_is_not_believed() {
    let result = run(&mut Buffer { hiccup: 0.05, ..buffer(10_000) }, &BurstConfig::up_to(50_000));
    let near = result.longest_frames.iter().filter(|&&longest| longest == 10_000).count();
    assert!(near >= 8, "{result:?}");
}

#[test]
fn a_burst_that_cannot_be_sent_says_nothing_about_the_device() {
    let mut short = Buffer { longest_sendable: 1000, ..buffer(5000) };
    let result = run(&mut short, &BurstConfig::up_to(50_000));
    assert!(matches!(result.halted, Some(Halt::SpoiledBurst { .. })), "{result:?}");
    assert!(longest_burst(&mut short, &BurstConfig::up_to(0), &mut |_| {}).is_err());
}
