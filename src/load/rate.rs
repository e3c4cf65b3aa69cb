//! Rates as people type them, and the exact number of frames per second that they come to.

use std::fmt;
use std::str::FromStr;

use super::sizes::MeanSize;

/// What a frame takes on the wire beside its own bytes: 7 bytes of preamble, 1 of start delimiter
/// and 12 of gap (IEEE 802.3 clauses 3.1 and 4.4.2).
pub const WIRE_OVERHEAD_BYTES: u64 = 20;

/// The highest rate that can be asked for, in frames per second: one a nanosecond.
pub const FRAMES_PER_SECOND_MAX: u64 = 1_000_000_000;

/// A number of frames in a number of seconds, in lowest terms: exact, whatever was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameRate {
    frames: u64,
    seconds: u64,
}

impl FrameRate {
    /// `frames` in `seconds`; `None` if either is 0, and beyond [`FRAMES_PER_SECOND_MAX`].
    pub fn new(frames: u64, seconds: u64) -> Option<FrameRate> {
        FrameRate::reduced(frames.into(), seconds.into())
    }

    fn reduced(frames: u128, seconds: u128) -> Option<FrameRate> {
        if frames == 0 || seconds == 0 || frames / seconds > FRAMES_PER_SECOND_MAX.into() {
            return None;
        }
        let common = greatest_common_divisor(frames, seconds);
        Some(FrameRate {
            frames: u64::try_from(frames / common).ok()?,
            seconds: u64::try_from(seconds / common).ok()?,
        })
    }

    /// Frames in [`FrameRate::seconds`].
    pub fn frames(self) -> u64 {
        self.frames
    }

    /// Seconds in which there are [`FrameRate::frames`].
    pub fn seconds(self) -> u64 {
        self.seconds
    }

    /// Frames per second, rounded as the type has it.
    pub fn as_f64(self) -> f64 {
        self.frames as f64 / self.seconds as f64
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::units::rate(self.as_f64()).fmt(f)
    }
}

pub(super) fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// A decimal number, kept exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    /// Numerator.
    digits: u64,
    /// Denominator: a power of ten.
    scale: u64,
}

impl Decimal {
    /// Digits, perhaps with a point among them: at most 18, at most 9 behind the point.
    fn parse(text: &str) -> Option<Decimal> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let lengths = whole.len() + fraction.len();
        let is_number = all_digits(whole) && all_digits(fraction);
        if !is_number || lengths == 0 || lengths > 18 || fraction.len() > 9 {
            return None;
        }
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Decimal { digits, scale: 10u64.pow(fraction.len() as u32) })
    }

    /// With the largest multiple that leaves a number of at least 1: `1.5M`.
    fn with_multiple(self) -> String {
        let value = self.digits as f64 / self.scale as f64;
        let multiples = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
        match multiples.into_iter().find(|(factor, _)| value >= *factor) {
            Some((factor, letter)) => format!("{}{letter}", value / factor),
            None => value.to_string(),
        }
    }

    fn times(self, factor: u64) -> Option<Decimal> {
        Some(Decimal { digits: self.digits.checked_mul(factor)?, ..self })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.digits as f64 / self.scale as f64).fmt(f)
    }
}

/// Which bytes of a frame a bit rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// The frame from its destination address to its FCS.
    L2,
    /// That, and the [20 bytes](WIRE_OVERHEAD_BYTES) that a frame costs on the wire.
    L1,
}

/// A rate as it was asked for.
///
/// | typed | means |
/// |---|---|
/// | `1000`, `1.5M`, `800kpps` | frames per second, decimal multiples |
/// | `2.5gbit`, `100Mbit` | bits per second of layer 2: frames with their FCS |
/// | `2.5gbit-l1` | bits per second of layer 1: preamble and gap counted as well |
/// | `10%` | that part of the link's line rate (layer 1) |
/// | `max` | as fast as the generator can |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    /// Frames per second.
    Frames(Decimal),
    /// Bits per second.
    Bits(Decimal, Layer),
    /// Hundredths of the line rate.
    Percent(Decimal),
    /// No schedule.
    Max,
}

impl Rate {
    /// Whole frames per second.
    pub fn frames(per_second: u64) -> Rate {
        Rate::Frames(Decimal { digits: per_second, scale: 1 })
    }

    /// The frames per second that this comes to with frames of `mean` size on a link whose line
    /// rate is `line_bits_per_second`, `None` where it has none (a veth pair has not, whatever
    /// speed it claims). `Ok(None)` for [`Rate::Max`]; a usage error says what is missing or wrong.
    pub fn frame_rate(
        self,
        mean: MeanSize,
        line_bits_per_second: Option<u64>,
    ) -> Result<Option<FrameRate>, String> {
        let of_bits = |bits: Decimal, overhead_bytes: u64| {
            let bytes = mean.bytes() + mean.frames() * overhead_bytes;
            FrameRate::reduced(
                u128::from(bits.digits) * u128::from(mean.frames()),
                u128::from(bits.scale) * 8 * u128::from(bytes),
            )
        };
        let rate = match self {
            Rate::Max => return Ok(None),
            Rate::Frames(frames) => FrameRate::new(frames.digits, frames.scale),
            Rate::Bits(bits, Layer::L2) => of_bits(bits, 0),
            Rate::Bits(bits, Layer::L1) => of_bits(bits, WIRE_OVERHEAD_BYTES),
            Rate::Percent(percent) => {
                let line = line_bits_per_second.ok_or_else(|| {
                    format!(
                        "a rate of {self} needs a line rate, and this link has none (a veth pair \
                         is no wire): ask for frames or bits per second"
                    )
                })?;
                if percent.digits > 100 * percent.scale {
                    return Err(format!("a rate of {self} is more than the line carries"));
                }
                let hundredths = Decimal { scale: percent.scale * 100, ..percent };
                hundredths.times(line).and_then(|bits| of_bits(bits, WIRE_OVERHEAD_BYTES))
            }
        };
        let most = FRAMES_PER_SECOND_MAX;
        rate.map(Some).ok_or_else(|| {
            format!("a rate of {self} cannot be kept: more than 0 and up to {most} frames a second")
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::Frames(frames) => write!(f, "{}pps", frames.with_multiple()),
            Rate::Bits(bits, Layer::L2) => write!(f, "{}bit", bits.with_multiple()),
            Rate::Bits(bits, Layer::L1) => write!(f, "{}bit-l1", bits.with_multiple()),
            Rate::Percent(percent) => write!(f, "{percent}%"),
            Rate::Max => f.write_str("max"),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let word = text.trim().to_ascii_lowercase();
        if word == "max" {
            return Ok(Rate::Max);
        }
        let refusal = || {
            format!(
                "'{text}' is not a rate: frames per second (1000, 800kpps, 1.5M), bits per second \
                 (2.5gbit, 100mbit-l1), a part of the line rate (10%), or max"
            )
        };
        let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
        let (number, unit) = word.split_at(end);
        let number = Decimal::parse(number).ok_or_else(refusal)?;
        if number.digits == 0 {
            return Err(format!("'{text}': a rate must be above 0"));
        }
        let unit = unit.trim();
        if unit == "%" {
            return Ok(Rate::Percent(number));
        }
        let (factor, unit) = match unit.as_bytes().first() {
            Some(b'k') => (1_000, &unit[1..]),
            Some(b'm') => (1_000_000, &unit[1..]),
            Some(b'g') => (1_000_000_000, &unit[1..]),
            _ => (1, unit),
        };
        let number = number.times(factor).ok_or_else(refusal)?;
        match unit {
            "" | "pps" => Ok(Rate::Frames(number)),
            "bit" | "bit/s" | "bps" | "bit-l2" => Ok(Rate::Bits(number, Layer::L2)),
            "bit-l1" | "bit/s-l1" | "bps-l1" => Ok(Rate::Bits(number, Layer::L1)),
            _ => Err(refusal()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_64: MeanSize = MeanSize::of(64, 1);

    fn frames(text: &str, mean: MeanSize, line: Option<u64>) -> Result<f64, String> {
        let rate = text.parse::<Rate>()?.frame_rate(mean, line)?;
        Ok(rate.map_or(f64::INFINITY, FrameRate::as_f64))
    }

    #[test]
    fn rates_are_read_and_converted_exactly() {
        for (text, expected) in [
            ("1000", 1000.0),
            ("1.5M", 1.5e6),
            ("1.5Mpps", 1.5e6),
            ("800kpps", 8e5),
            ("0.5", 0.5),
            (" 2k ", 2000.0),
            ("512bit", 1.0),
            ("1gbit", 1e9 / 512.0),
            ("1Gbit-L1", 1e9 / 672.0),
            ("max", f64::INFINITY),
        ] {
            assert_eq!(frames(text, OF_64, None), Ok(expected), "{text}");
        }
        // 10 Gbit/s carries 14,880,952 frames of 64 bytes (RFC 2544 appendix B, scaled).
        assert_eq!(frames("100%", OF_64, Some(10_000_000_000)).unwrap() as u64, 14_880_952);
        assert_eq!(frames("10%", OF_64, Some(10_000_000_000)).unwrap() as u64, 1_488_095);
        let mean = MeanSize::of(4246, 12);
        let rate = "1gbit".parse::<Rate>().unwrap().frame_rate(mean, None).unwrap().unwrap();
        assert_eq!(rate, FrameRate::new(12_000_000_000, 8 * 4246).unwrap());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "k",
            "-1",
            "0",
            "0%",
            "0.0gbit",
            "1x",
            "1.5.2M",
            "1e6",
            "fast",
            "10 %%",
            "1gbyte",
            "99999999999999999999",
            "1tbit",
            "+5",
            "²",
            "1,5M",
            "NaN",
            "inf",
            "%",
            ".",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        for text in ["2g", "101%", "0.000000001bit"] {
            let line = Some(1_000_000_000);
            let read = frames(text, OF_64, line);
            assert_eq!(read.is_err(), text != "0.000000001bit", "{text}: {read:?}");
        }
        let message = frames("10%", OF_64, None).unwrap_err();
        assert!(message.contains("no") && message.contains("line rate"), "{message}");
        assert_eq!((FrameRate::new(1, 0), FrameRate::new(0, 1)), (None, None));
    }

    #[test]
    fn what_is_printed_can_be_typed() {
        for text in
            ["1.5Mpps", "2.5Gbit", "100Mbit-l1", "1kpps", "999pps", "0.5bit", "12.5%", "max"]
        {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
    }
}
