//! Units that would otherwise be guessed: frame sizes with and without FCS, and durations and
//! counts as people type them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serializer;

/// Bytes of the frame check sequence that ends every Ethernet frame on the wire and that a packet
/// socket neither sends nor receives.
pub const FCS_BYTES: usize = 4;

/// Bytes of an Ethernet header: destination, source, EtherType (IEEE 802.3 clause 3).
pub const ETHERNET_HEADER_BYTES: usize = 14;

/// What announces a VLAN tag in the place of an EtherType, in host order: IEEE 802.1Q, IEEE 802.1ad, and the
/// numbers of double tagging before it (`ETH_P_QINQ1` to `ETH_P_QINQ3` in uapi/linux/if_ether.h).
pub const TAG_TYPES: [u16; 5] = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300];

/// In-band tags that are followed at most; a frame with more is not read.
pub const TAGS_MAX: usize = 4;

/// The shortest untagged Ethernet frame, FCS included (IEEE 802.3, RFC 2544 section 9.1).
pub const FRAME_BYTES_MIN: usize = 64;

/// Bytes at a socket of [`FRAME_BYTES_MIN`]: as long as drivers pad a received frame that a tag was taken off
/// (`eth_skb_pad` in include/linux/etherdevice.h).
pub const PADDED_BYTES: usize = FRAME_BYTES_MIN - FCS_BYTES;

/// A frame size as RFC 2544 counts it: FCS included, VLAN tags included.
///
/// 64 means 60 bytes at the socket ([`FrameSize::socket_bytes`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameSize(usize);

impl FrameSize {
    /// A size in bytes with FCS; at least [`FRAME_BYTES_MIN`].
    pub fn with_fcs(bytes: usize) -> Result<FrameSize, String> {
        if bytes < FRAME_BYTES_MIN {
            return Err(format!(
                "{bytes} bytes is no Ethernet frame: sizes include the 4-byte FCS and start at {FRAME_BYTES_MIN}"
            ));
        }
        Ok(FrameSize(bytes))
    }

    /// The smallest: [`FRAME_BYTES_MIN`].
    pub const fn smallest() -> FrameSize {
        FrameSize(FRAME_BYTES_MIN)
    }

    /// Bytes with FCS, as RFC 2544 names sizes.
    pub fn bytes(self) -> usize {
        self.0
    }

    /// Bytes that a packet socket sends and receives: without FCS.
    pub fn socket_bytes(self) -> usize {
        self.0 - FCS_BYTES
    }
}

impl fmt::Display for FrameSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for FrameSize {
    type Err = String;

    fn from_str(text: &str) -> Result<FrameSize, String> {
        let bytes = text
            .trim()
            .parse::<usize>()
            .map_err(|_| format!("'{text}' is not a frame size in bytes"))?;
        FrameSize::with_fcs(bytes)
    }
}

/// A duration as typed: `500us`, `20ms`, `1s`, `1.5s`, `2m`, `1h`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let scale = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("'{text}': unknown unit '{unit}' (ns, us, ms, s, m, h)")),
    };
    let value = parse_number(text, number)?;
    Duration::try_from_secs_f64(value * scale).map_err(|_| format!("'{text}' is out of range"))
}

/// A duration that must be longer than zero.
pub fn parse_positive_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if duration.is_zero() {
        return Err(format!("'{text}': must be longer than zero"));
    }
    Ok(duration)
}

/// A count as typed: `1000`, `10k`, `1.5M`, `2G` (decimal multiples).
pub fn parse_count(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    if number.is_empty() {
        return Err(format!("'{text}' is not a count (1000, 10k, 1.5M)"));
    }
    let scale = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        _ => return Err(format!("'{text}': unknown multiple '{unit}' (k, M, G)")),
    };
    let value = parse_number(text, number)? * scale;
    if value.fract() != 0.0 || value >= u64::MAX as f64 {
        return Err(format!("'{text}' is not a whole number"));
    }
    Ok(value as u64)
}

/// A size in memory as typed: `4096`, `256KiB`, `64MiB`, `1GiB` (binary multiples; `K`, `M`, `G`
/// alone mean the same).
pub fn parse_memory(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let scale = match unit {
        "" | "B" => 1u64,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err(format!("'{text}': unknown unit '{unit}' (KiB, MiB, GiB)")),
    };
    let value = parse_number(text, number)? * scale as f64;
    if value.fract() != 0.0 || value >= u64::MAX as f64 {
        return Err(format!("'{text}' is not a whole number of bytes"));
    }
    Ok(value as u64)
}

/// Bytes of memory for people: `256 KiB`, `4 MiB`.
pub fn memory(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift {
            let value = bytes as f64 / (1u64 << shift) as f64;
            return if value.fract() == 0.0 {
                format!("{value:.0} {unit}")
            } else {
                format!("{value:.1} {unit}")
            };
        }
    }
    format!("{bytes} B")
}

/// A rate in frames per second for people: `812 k/s`, `1.24 M/s`.
pub fn rate(per_second: f64) -> String {
    if per_second >= 1e6 {
        format!("{:.2} M/s", per_second / 1e6)
    } else if per_second >= 1e3 {
        format!("{:.1} k/s", per_second / 1e3)
    } else if per_second > 0.0 && per_second < 1e3 {
        // Half a frame a second is not none, and a quarter is not 0.2: four digits.
        let decimals = (3.0 - per_second.log10().floor()) as usize;
        let digits = format!("{per_second:.decimals$}");
        format!("{} /s", digits.trim_end_matches('0').trim_end_matches('.'))
    } else {
        format!("{per_second:.0} /s")
    }
}

/// A part in percent for people, with four digits at most: `0.5 %`, `0.012 %`, `12.35 %`. What is not
/// nothing does not look like nothing: `<0.0001 %`.
pub fn percent(part: f64) -> String {
    let value = 100.0 * part;
    if value > 0.0 && value < 1e-4 {
        return "<0.0001 %".into();
    }
    let whole_digits = if value >= 1.0 { value.log10() as usize + 1 } else { 0 };
    let digits = format!("{value:.0$}", 4usize.saturating_sub(whole_digits));
    let digits = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => &digits,
    };
    format!("{digits} %")
}

/// Nanoseconds for people: `840 ns`, `21.4 µs`, `1.07 ms`.
pub fn nanoseconds(ns: u64) -> String {
    let value = ns as f64;
    if ns < 1_000 {
        format!("{ns} ns")
    } else if ns < 1_000_000 {
        format!("{:.1} µs", value / 1e3)
    } else if ns < 1_000_000_000 {
        format!("{:.2} ms", value / 1e6)
    } else {
        format!("{:.2} s", value / 1e9)
    }
}

/// A duration for people, as [`nanoseconds`].
pub fn duration(duration: Duration) -> String {
    nanoseconds(duration.as_nanos().try_into().unwrap_or(u64::MAX))
}

/// Serializes a duration in seconds, for fields whose names end in `_s`.
pub fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// Serializes types as the text that they are shown as.
#[macro_export]
macro_rules! serialize_as_text {
    ($($shown:ty),+) => {$(
        impl serde::Serialize for $shown {
            fn serialize<S: serde::Serializer>(
                &self,
                serializer: S,
            ) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+};
}

/// Makes an enum whose variants have names, which are what is typed, printed and written to JSON. The text
/// before it says what it is, for the error that an unknown name is answered with.
#[macro_export]
macro_rules! names {
    ($what:literal, $(#[$about:meta])* pub enum $Name:ident {
        $($(#[$of_variant:meta])* $Variant:ident = $name:literal,)+
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $Name {
            $($(#[$of_variant])* $Variant,)+
        }

        impl $Name {
            /// All of them, in the order of reports.
            pub const ALL: [$Name; [$($name),+].len()] = [$($Name::$Variant),+];

            /// The name on the command line, in reports and in JSON.
            pub const fn name(self) -> &'static str {
                match self {
                    $($Name::$Variant => $name,)+
                }
            }
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $Name {
            type Err = String;

            fn from_str(text: &str) -> std::result::Result<$Name, String> {
                let known = $Name::ALL.into_iter().find(|one| one.name() == text.trim());
                known.ok_or_else(|| {
                    let names = $Name::ALL.map($Name::name).join(", ");
                    format!(concat!("unknown ", $what, " '{}': {}"), text, names)
                })
            }
        }

        $crate::serialize_as_text!($Name);
    };
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

fn parse_number(text: &str, number: &str) -> Result<f64, String> {
    number.parse::<f64>().map_err(|_| format!("'{text}' is not a number"))
}

/// What a `cpu_set_t` holds (sched_setaffinity(2)).
const CPUS_MAX: usize = 1024;

/// CPUs as people type them and the kernel writes them: `0-3`, `0,2,4-7`.
pub fn parse_cpu_list(text: &str) -> Result<Vec<usize>, String> {
    let number = |text: &str| {
        let cpu = text.trim().parse::<usize>().ok().filter(|&cpu| cpu < CPUS_MAX);
        cpu.ok_or_else(|| {
            format!("'{text}' is not a CPU number: from 0 to 1023, in lists such as 0-3 or 0,2,4-7")
        })
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None => cpus.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(format!("'{part}' runs backwards; '{last}-{first}' does not"));
                }
                cpus.extend(first..=last);
            }
        }
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_sizes_include_the_fcs() {
        assert_eq!("64".parse::<FrameSize>().unwrap().socket_bytes(), 60);
        assert!("63".parse::<FrameSize>().is_err());
        assert!("-1".parse::<FrameSize>().is_err());
    }

    #[test]
    fn durations_take_a_unit_and_refuse_nonsense() {
        assert_eq!(parse_duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(parse_duration("20ms").unwrap(), Duration::from_millis(20));
        assert_eq!(parse_duration("2").unwrap(), Duration::from_secs(2));
        for bad in ["", "s", "-1s", "1x", "1e400s", "."] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert!(parse_positive_duration("0s").is_err());
    }

    #[test]
    fn lists_of_cpus_are_numbers_and_ranges() {
        assert_eq!(parse_cpu_list("0,2-4").unwrap(), [0, 2, 3, 4]);
        for bad in ["", "a", "3-1", "1-", "1024", "99999"] {
            assert!(parse_cpu_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn counts_and_memory_are_whole() {
        assert_eq!(parse_count("10k").unwrap(), 10_000);
        assert_eq!(parse_count("1.5M").unwrap(), 1_500_000);
        assert!(parse_count("0.5").is_err());
        assert_eq!(parse_memory("256KiB").unwrap(), 262_144);
        assert!(parse_memory("1TB").is_err());
    }

    #[test]
    fn people_read_units() {
        assert_eq!(memory(262_144), "256 KiB");
        assert_eq!(rate(1_240_000.0), "1.24 M/s");
        assert_eq!(
            [0.9999, 0.0, 37.0, 0.5, 0.25, 0.001, 12.5, 150.5, 1e-9].map(rate),
            [
                "0.9999 /s",
                "0 /s",
                "37 /s",
                "0.5 /s",
                "0.25 /s",
                "0.001 /s",
                "12.5 /s",
                "150.5 /s",
                "0.000000001 /s"
            ]
        );
        assert_eq!(
            [0.0, 0.005, 0.5, 0.123456, 1.0, 0.00012].map(percent),
            ["0 %", "0.5 %", "50 %", "12.35 %", "100 %", "0.012 %"]
        );
        assert_eq!(nanoseconds(21_400), "21.4 µs");
    }
}
