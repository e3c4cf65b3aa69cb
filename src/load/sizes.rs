//! Frame sizes of a run: one, a list, a sweep, the simple IMIX, or random ones.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use serde_json::json;

use crate::units::FrameSize;
use crate::wire::random::Random;

/// The simple IMIX: 7 frames of 64 bytes to 4 of 570 to 1 of 1518, FCS included.
///
/// There is no standard for it (RFC 6985 only defines how to name a mix). The ratio 7:4:1 of small,
/// middle and full frames is the one that generator makers have used since 2000; the sizes are those
/// of FD.io CSIT (`IMIX_v4_1`, docs/content/methodology). TRex has 590 in the middle, without FCS.
pub const IMIX: [(usize, usize); 3] = [(64, 7), (570, 4), (1518, 1)];

/// One round of the IMIX by index into [`IMIX`]: the middle frames as far apart as they go.
const IMIX_ROUND: [u16; 12] = [0, 1, 0, 0, 1, 0, 2, 1, 0, 0, 1, 0];

/// Frame sizes of a run, FCS and tags included, as RFC 2544 counts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// All frames are of one size.
    Fixed(FrameSize),
    /// These one after another, over and over; what is named twice is sent twice a round.
    List(Vec<FrameSize>),
    /// From the first to the second in steps, over and over.
    Sweep {
        /// The smallest.
        from: FrameSize,
        /// The largest; not sent itself where the steps pass over it.
        to: FrameSize,
        /// Bytes from one size to the next; 0 counts as 1.
        step: usize,
    },
    /// [The simple IMIX](IMIX).
    Imix,
    /// Any size between the two, all as likely, in an order that the seed decides.
    Random {
        /// The smallest.
        from: FrameSize,
        /// The largest.
        to: FrameSize,
    },
}

/// Bytes of a number of frames: their mean, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeanSize {
    bytes: u64,
    frames: u64,
}

impl MeanSize {
    /// `frames` frames (at least one) have `bytes` bytes together.
    #[cfg(test)]
    pub const fn of(bytes: u64, frames: u64) -> MeanSize {
        MeanSize { bytes, frames }
    }

    /// Bytes of [this number of frames](MeanSize::frames), FCS included.
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// The number of frames.
    pub fn frames(self) -> u64 {
        self.frames
    }

    /// The mean in bytes.
    pub fn as_f64(self) -> f64 {
        self.bytes as f64 / self.frames as f64
    }
}

impl Sizes {
    /// Every size that occurs, each once, in rising order; none where a range runs backwards.
    pub fn all(&self) -> impl Iterator<Item = FrameSize> + use<> {
        let mut sizes: Vec<FrameSize> = match self {
            Sizes::Fixed(size) => vec![*size],
            Sizes::List(sizes) => sizes.clone(),
            Sizes::Sweep { from, to, step } => stepped(*from, *to, *step).collect(),
            Sizes::Imix => IMIX.iter().map(|&(bytes, _)| known(bytes)).collect(),
            Sizes::Random { from, to } => stepped(*from, *to, 1).collect(),
        };
        sizes.sort();
        sizes.dedup();
        sizes.into_iter()
    }

    /// The mean size; `None` where there is no size at all.
    pub fn mean(&self) -> Option<MeanSize> {
        let sum = |sizes: &mut dyn Iterator<Item = FrameSize>| {
            sizes.fold((0, 0), |(bytes, frames), size| (bytes + size.bytes() as u64, frames + 1))
        };
        let (bytes, frames) = match self {
            Sizes::List(sizes) => sum(&mut sizes.iter().copied()),
            Sizes::Imix => IMIX.iter().fold((0, 0), |(bytes, frames), &(size, weight)| {
                (bytes + (size * weight) as u64, frames + weight as u64)
            }),
            _ => sum(&mut self.all()),
        };
        (frames > 0).then_some(MeanSize { bytes, frames })
    }

    /// Which of [`Sizes::all`] each frame has, reproducibly for a `seed`.
    pub fn order(&self, seed: u64) -> SizeOrder {
        let all: Vec<FrameSize> = self.all().collect();
        match self {
            Sizes::Random { .. } => SizeOrder::Random { seed, sizes: all.len() as u64 },
            Sizes::Imix => SizeOrder::Round(IMIX_ROUND.into()),
            Sizes::List(sizes) => {
                let place = |size| all.binary_search(size).unwrap_or(0) as u16;
                SizeOrder::Round(sizes.iter().map(place).collect())
            }
            _ => SizeOrder::InTurn(all.len() as u64),
        }
    }
}

/// The fields that name the frames of a result: one size has `frame_bytes`, a mix only a mean.
impl Serialize for Sizes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let frame_bytes = match self {
            Sizes::Fixed(size) => Some(size.bytes()),
            _ => None,
        };
        let sizes = json!({
            "sizes": self.to_string(),
            "frame_bytes": frame_bytes,
            "mean_frame_bytes": self.mean().map(MeanSize::as_f64),
        });
        sizes.serialize(serializer)
    }
}

/// Which size a frame has, by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SizeOrder {
    /// All sizes in turn.
    InTurn(u64),
    /// A round of indices, over and over.
    Round(Box<[u16]>),
    /// At random.
    Random {
        /// Where the random numbers begin.
        seed: u64,
        /// How many sizes there are.
        sizes: u64,
    },
}

impl SizeOrder {
    /// The index of frame `number`'s size.
    #[inline]
    pub fn index(&self, number: u64) -> usize {
        match self {
            SizeOrder::InTurn(1) => 0,
            SizeOrder::InTurn(sizes) => (number % sizes) as usize,
            SizeOrder::Round(round) => round[(number % round.len() as u64) as usize].into(),
            SizeOrder::Random { seed, sizes } => Random::below(*seed, number, *sizes) as usize,
        }
    }

    /// Frames after which the sizes repeat; 1 where they do not.
    pub fn period(&self) -> u64 {
        match self {
            SizeOrder::InTurn(sizes) => (*sizes).max(1),
            SizeOrder::Round(round) => round.len() as u64,
            SizeOrder::Random { .. } => 1,
        }
    }
}

fn stepped(from: FrameSize, to: FrameSize, step: usize) -> impl Iterator<Item = FrameSize> {
    (from.bytes()..=to.bytes()).step_by(step.max(1)).map(known)
}

/// A size that is at least the smallest because another frame size says so.
fn known(bytes: usize) -> FrameSize {
    FrameSize::with_fcs(bytes).unwrap_or(FrameSize::smallest())
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sizes::Fixed(size) => size.fmt(f),
            Sizes::List(sizes) => {
                for (place, size) in sizes.iter().enumerate() {
                    write!(f, "{}{size}", if place == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Sizes::Sweep { from, to, step: 0 | 1 } => write!(f, "{from}-{to}"),
            Sizes::Sweep { from, to, step } => write!(f, "{from}-{to}:{step}"),
            Sizes::Imix => f.write_str("imix"),
            Sizes::Random { from, to } => write!(f, "random:{from}-{to}"),
        }
    }
}

impl FromStr for Sizes {
    type Err = String;

    /// `64`, `64,128,1518`, `64-1518`, `64-1518:64`, `imix`, `random:64-1518`.
    fn from_str(text: &str) -> Result<Sizes, String> {
        let word = text.trim().to_ascii_lowercase();
        if word == "imix" {
            return Ok(Sizes::Imix);
        }
        if let Some(range) = word.strip_prefix("random:") {
            let (from, to) = range_of(text, range)?;
            return Ok(Sizes::Random { from, to });
        }
        if word.contains('-') {
            let (range, step) = word.split_once(':').unwrap_or((&word, "1"));
            let (from, to) = range_of(text, range)?;
            let step = step.parse().ok().filter(|&step| step > 0);
            let step = step.ok_or_else(|| format!("'{text}': a sweep's step is 1 or more"))?;
            return Ok(Sizes::Sweep { from, to, step });
        }
        let sizes = word.split(',').map(str::parse).collect::<Result<Vec<FrameSize>, _>>()?;
        match sizes[..] {
            [only] => Ok(Sizes::Fixed(only)),
            _ if sizes.len() > LIST_MAX => Err(format!("a list has at most {LIST_MAX} sizes")),
            _ => Ok(Sizes::List(sizes)),
        }
    }
}

/// Enough for every size from 64 to 9018 to be written out, and few enough for a `u16`.
const LIST_MAX: usize = 10_000;

fn range_of(text: &str, range: &str) -> Result<(FrameSize, FrameSize), String> {
    let refusal = || format!("'{text}' is not a range of frame sizes such as 64-1518");
    let (from, to) = range.split_once('-').ok_or_else(refusal)?;
    let (from, to) = (from.parse::<FrameSize>()?, to.parse::<FrameSize>()?);
    if from > to {
        return Err(format!("'{text}': frame sizes run backwards"));
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(sizes: &Sizes, seed: u64, frames: u64) -> Vec<usize> {
        let all: Vec<_> = sizes.all().collect();
        let order = sizes.order(seed);
        (0..frames).map(|number| all[order.index(number)].bytes()).collect()
    }

    #[test]
    fn sizes_are_read_and_sent_in_order() {
        let read = |text: &str| text.parse::<Sizes>().unwrap();
        assert_eq!(bytes(&read("64"), 0, 3), [64, 64, 64]);
        assert_eq!(bytes(&read("128,64,128"), 0, 4), [128, 64, 128, 128]);
        assert_eq!(bytes(&read("64-66"), 0, 4), [64, 65, 66, 64]);
        assert_eq!(bytes(&read("64-300:100"), 0, 4), [64, 164, 264, 64]);
        for text in ["64", "128,64,128", "64-66", "64-300:100", "imix", "random:64-128"] {
            assert_eq!(read(text).to_string(), text);
        }
        for bad in ["", "63", "64-", "1518-64", "64-128:0", "64;128", "random:64", "imux", "64,"] {
            assert!(bad.parse::<Sizes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn imix_is_seven_to_four_to_one() {
        let round = bytes(&Sizes::Imix, 0, 12);
        for (size, weight) in IMIX {
            assert_eq!(round.iter().filter(|&&bytes| bytes == size).count(), weight);
        }
        let mean = Sizes::Imix.mean().unwrap();
        assert_eq!((mean.bytes(), mean.frames()), (4246, 12));
        assert_eq!(mean.bytes(), round.iter().sum::<usize>() as u64);
    }

    proptest! {
        #[test]
        fn the_mean_is_that_of_what_is_sent(from in 64usize..200, more in 0usize..300, step in 1usize..90, seed: u64) {
            let (from, to) = (known(from), known(from + more));
            for sizes in [
                Sizes::Fixed(from),
                Sizes::Sweep { from, to, step },
                Sizes::List(vec![to, from, from]),
            ] {
                let frames = sizes.order(seed).period();
                let sum: usize = bytes(&sizes, seed, frames).iter().sum();
                let mean = sizes.mean().unwrap();
                prop_assert_eq!(sum as u64 * mean.frames(), mean.bytes() * frames);
            }
            let random = Sizes::Random { from, to };
            let sent = bytes(&random, seed, 20_000);
            prop_assert!(sent.iter().all(|bytes| (from.bytes()..=to.bytes()).contains(bytes)));
            let mean = sent.iter().sum::<usize>() as f64 / sent.len() as f64;
            let tolerance = 0.03 * more as f64 + 1e-9;
            prop_assert!((mean - random.mean().unwrap().as_f64()).abs() <= tolerance);
        }
    }
}
