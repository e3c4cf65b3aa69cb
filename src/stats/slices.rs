//! Rates by slices of work, which hold on a machine that takes its CPUs away.
//!
//! Theft falls into few of many short slices, however much time it takes: the median slice does not see
//! it. No slice of whole batches is dropped for being slow, since timers and wake-ups belong to a path.

/// Fewer slices than this do not count.
pub const SLICES_MIN: usize = 8;
/// A larger share of slow slices does not count.
pub const SLOW_SHARE_MAX: f64 = 0.35;
/// A slice is slow if it took more than this many times the median.
pub const SLOW: f64 = 2.0;
/// What a slice should last, in nanoseconds: long against one batch, short against the time between
/// thefts.
pub const SLICE_AIM_NS: u64 = 75_000;

/// Frames by which the time of one is estimated.
const PART: usize = 32;

/// A drain cut into slices of equally many frames.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Slices {
    /// How many slices.
    pub count: usize,
    /// Frames of each.
    pub frames: usize,
    /// The time of one, in nanoseconds: the median, or the mean of those that are not slow
    /// ([`Slices::of_work`]).
    pub time_ns: f64,
    /// The share of slices that took more than [`SLOW`] times the median, from 0 to 1.
    pub slow_share: f64,
}

impl Slices {
    /// Cuts `stamps_ns`, the kernel's stamps of successive echoes in nanoseconds, into slices of `frames`;
    /// what remains at the end is left out. `None` if there are not two slices or they took no time.
    pub fn cut(stamps_ns: &[u64], frames: usize) -> Option<Slices> {
        let mut times = slice_times(stamps_ns, frames.max(1));
        let count = times.len();
        let time_ns = median(&mut times).filter(|median| count >= 2 && *median > 0.0)?;
        let slow = times.iter().filter(|&&time| time as f64 > SLOW * time_ns).count();
        let slow_share = slow as f64 / count as f64;
        Some(Slices { count, frames: frames.max(1), time_ns, slow_share })
    }

    /// Cuts the stamps of an engine that works on full batches, `frames` being some whole ones
    /// ([`frames_per_slice`]).
    ///
    /// A slice has whole batches, so that the pauses between them count. Where a batch takes so long that most
    /// slices would see a theft (a block of a V3 ring), slices are parts of batches: their time is the mean of
    /// those that took no more than [`SLOW`] times the median, which leaves out thefts and not such a pause.
    pub fn of_work(stamps_ns: &[u64], frames: usize) -> Option<Slices> {
        let whole = Slices::cut(stamps_ns, frames)?;
        let aim_ns = SLICE_AIM_NS as f64 * SLOW;
        if whole.time_ns <= aim_ns {
            return Some(whole);
        }
        // By the frames that nothing disturbed: a batch that was robbed says nothing of their time.
        let frame_ns = median(&mut slice_times(stamps_ns, PART)).unwrap_or(0.0) / PART as f64;
        let parts = Slices::cut(stamps_ns, (aim_ns / frame_ns.max(1.0)) as usize)?;
        let times = slice_times(stamps_ns, parts.frames);
        let usual =
            times.into_iter().map(|time| time as f64).filter(|time| *time <= SLOW * parts.time_ns);
        let (sum, count) = usual.fold((0.0, 0), |(sum, count), time| (sum + time, count + 1));
        Some(Slices { time_ns: sum / f64::from(count.max(1)), ..parts })
    }

    /// Frames per second of a slice.
    pub fn rate_pps(&self) -> f64 {
        self.frames as f64 * 1e9 / self.time_ns
    }

    /// Whether the rate can be believed; a trial for which it cannot is void.
    pub fn counts(&self) -> bool {
        self.count >= SLICES_MIN && self.slow_share <= SLOW_SHARE_MAX
    }
}

/// How many frames make a slice of about `aim_ns`, going by the median time of a batch: a multiple of
/// `batch`, and few enough to leave [`SLICES_MIN`] slices, if even one batch is.
pub fn frames_per_slice(batch: usize, stamps_ns: &[u64], aim_ns: u64) -> usize {
    let batch = batch.max(1);
    let batch_ns = median(&mut slice_times(stamps_ns, batch)).unwrap_or(0.0).max(1.0);
    let aimed = (aim_ns as f64 / batch_ns).round() as usize;
    let most = stamps_ns.len().saturating_sub(1) / SLICES_MIN / batch;
    batch * aimed.min(most).max(1)
}

/// The time of each slice. A stamp that is a little out of order makes one slice shorter and its
/// neighbour longer.
fn slice_times(stamps_ns: &[u64], frames: usize) -> Vec<u64> {
    let starts: Vec<u64> = stamps_ns.iter().step_by(frames).copied().collect();
    starts.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect()
}

fn median(values: &mut [u64]) -> Option<f64> {
    values.sort_unstable();
    let half = values.len() / 2;
    match values.len() % 2 {
        1 => Some(values[half] as f64),
        _ => Some((*values.get(half)? as f64 + values[half - 1] as f64) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Stamps of frames that take 500 ns each, with a pause of `pause_ns` after each frame of `after`.
    fn stamps(frames: usize, after: &[usize], pause_ns: u64) -> Vec<u64> {
        let mut now = 1_000_000_000;
        let next = |frame| {
            now += 500 + if after.contains(&frame) { pause_ns } else { 0 };
            now
        };
        (0..frames).map(next).collect()
    }

    #[test]
    fn a_pause_takes_one_slice_and_not_the_rate() {
        let robbed = stamps(1601, &[10, 11, 700], 40_000_000);
        let slices = Slices::cut(&robbed, 100).unwrap();
        assert_eq!((slices.count, slices.frames, slices.time_ns), (16, 100, 50_000.0));
        assert_eq!((slices.slow_share, slices.rate_pps()), (2.0 / 16.0, 2e6));
        assert!(slices.counts());
        let often: Vec<usize> = (0..6).map(|slice| slice * 100 + 50).collect();
        let slices = Slices::cut(&stamps(1601, &often, 4_000_000), 100).unwrap();
        assert_eq!(slices.rate_pps(), 2e6, "still right");
        assert!(!slices.counts(), "and yet not to be relied on");
    }

    /// Blocks of 800 frames, 40 us of which pass before the first one is sent, on a CPU that is away after each 730 us.
    #[test]
    fn batches_longer_than_the_time_between_thefts_have_a_rate_with_their_pauses() {
        let work_ns = |frame: u64| frame * 700 + frame / 800 * 40_000;
        let stamps = |stolen: u64| -> Vec<u64> {
            let at = |ns: u64| ns + ns / 730_000 * stolen;
            (1..8000).map(work_ns).map(at).collect()
        };
        let truth = 1e9 / (700.0 + 40_000.0 / 800.0);
        let of_work = |stamps: &[u64], batch| {
            Slices::of_work(stamps, frames_per_slice(batch, stamps, SLICE_AIM_NS))
        };
        for stolen in [0, 730_000, 2_200_000] {
            let slices = of_work(&stamps(stolen), 800).unwrap();
            assert!(slices.counts(), "{slices:?}");
            let off = slices.rate_pps() / truth - 1.0;
            assert!(off.abs() < 0.03, "{stolen}: {off} {slices:?}");
        }
        let whole = Slices::cut(&stamps(2_200_000), 800).unwrap();
        assert!(whole.rate_pps() < 0.5 * truth, "whole batches see the thefts: {whole:?}");
        // Where a batch is short, its slices are as ever.
        let short = of_work(&stamps(0), 64).unwrap();
        assert!(short.frames.is_multiple_of(64) && short.counts());
    }

    #[test]
    fn too_little_to_cut_is_no_slices() {
        assert_eq!(Slices::cut(&[], 10), None);
        assert_eq!(Slices::cut(&stamps(20, &[], 0), 10), None, "one slice and nine frames");
        assert!(!Slices::cut(&stamps(21, &[], 0), 10).unwrap().counts());
        assert!(Slices::cut(&stamps(81, &[], 0), 10).unwrap().counts());
        assert_eq!(Slices::cut(&[7; 500], 10), None, "no time passed");
        assert_eq!(Slices::cut(&stamps(4, &[], 0), 0).unwrap().frames, 1);
    }

    #[test]
    fn a_slice_is_a_multiple_of_the_batch_and_leaves_enough() {
        let of = |batch, frames| frames_per_slice(batch, &stamps(frames, &[], 0), SLICE_AIM_NS);
        assert_eq!(of(1, 10_000), 150, "75 µs at 500 ns a frame");
        assert_eq!(of(64, 10_000), 128);
        assert_eq!(of(400, 10_000), 400, "a batch takes longer than the aim");
        assert_eq!(of(64, 641), 64, "eight slices at least");
        assert_eq!(of(64, 100), 64, "not to be had");
        assert_eq!((of(0, 0), of(64, 1)), (1, 64));
        assert_eq!(frames_per_slice(1, &[5; 100], SLICE_AIM_NS), 12);
    }

    proptest! {
        #[test]
        fn no_stamps_break_it(
            stamps in prop::collection::vec(0u64..1_000_000, 0..300),
            batch in 0usize..70,
        ) {
            let frames = frames_per_slice(batch, &stamps, SLICE_AIM_NS);
            prop_assert!(frames > 0 && frames.is_multiple_of(batch.max(1)));
            if let Some(slices) = Slices::cut(&stamps, frames) {
                prop_assert!(slices.rate_pps().is_finite() && slices.rate_pps() > 0.0);
                prop_assert!((0.0..=0.5).contains(&slices.slow_share));
            }
        }

        #[test]
        fn pauses_in_few_slices_change_nothing(
            after in prop::collection::vec(0usize..7600, 0..3),
            pause_ns in 0u64..50_000_000,
        ) {
            let robbed = stamps(1601, &after, pause_ns);
            let frames = frames_per_slice(1, &robbed, SLICE_AIM_NS);
            let slices = Slices::cut(&robbed, frames).unwrap();
            prop_assert!(slices.counts() && (slices.rate_pps() / 2e6 - 1.0).abs() < 1e-9);
        }
    }
}
