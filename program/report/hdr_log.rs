//! Latency histograms, interval by interval, in the log format of the HdrHistogram tools: the V2
//! histogram encoding, compressed (zlib) and in base 64.
//!
//! Each interval is one write of one line, so the file is complete whenever the program ends.
//! Values are nanoseconds; only the column `Interval_Max`, which is for people and which readers
//! ignore, is in milliseconds, as in the logs of the Java original.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::hdr_encoding::encode;
use super::output::Output;
use crate::error::{Error, Result};
use crate::stats::latency::Latency;

/// What `Interval_Max` is divided by: nanoseconds in a millisecond.
const MAX_DIVISOR: f64 = 1e6;

/// The columns, as the log format names them.
const LEGEND: &str =
    "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"";

/// A histogram log in the making.
#[derive(Debug)]
pub struct HdrLog {
    output: Output,
}

impl HdrLog {
    /// Opens the file, as [`Output::create`] says, and writes its header. The log's clock starts now.
    pub fn create(path: &Path) -> Result<HdrLog> {
        let mut log = HdrLog { output: Output::create(path)? };
        let now = SystemTime::now();
        let epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let version = env!("CARGO_PKG_VERSION");
        log.append(&format!(
            "#[Logged with linerate {version}]\n\
             #[Histogram log format version 1.3]\n\
             #[StartTime: {epoch:.3} (seconds since epoch)]\n\
             #[BaseTime: {epoch:.3} (seconds since epoch)]\n\
             #[MaxValueDivisor: {MAX_DIVISOR:.3}]\n\
             {LEGEND}\n"
        ))?;
        Ok(log)
    }

    /// Writes one interval of `duration` that began `start` after the log's clock started
    /// (both to the millisecond). The tag tells several histograms of one time apart, as in
    /// `response` and `service`; it must not contain a comma, a blank or a line break. Empty
    /// histograms are written, too.
    pub fn write_interval(
        &mut self,
        tag: Option<&str>,
        start: Duration,
        duration: Duration,
        latency: &Latency,
    ) -> Result<()> {
        let tag = match tag {
            Some(tag) if tag.is_empty() || tag.contains([',', ' ', '\r', '\n']) => {
                return Err(Error::Usage(format!("'{tag}' cannot be a tag of a histogram log")));
            }
            Some(tag) => format!("Tag={tag},"),
            None => String::new(),
        };
        let histogram = latency.histogram();
        let (start, duration) = (start.as_secs_f64(), duration.as_secs_f64());
        let max = histogram.max() as f64 / MAX_DIVISOR;
        self.append(&format!("{tag}{start:.3},{duration:.3},{max:.3},{}\n", encode(histogram)))
    }

    /// Writes a comment, which readers pass over.
    pub fn write_comment(&mut self, text: &str) -> Result<()> {
        self.append(&format!("#[{text}]\n"))
    }

    /// Puts the file in its place.
    pub fn publish(&mut self) -> Result<()> {
        self.output.publish()
    }

    fn append(&mut self, lines: &str) -> Result<()> {
        self.output.append(lines.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    fn recorded(latencies_ns: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::default();
        latencies_ns.into_iter().for_each(|ns| latency.record(ns));
        latency
    }

    #[test]
    fn intervals_come_back_as_they_were() {
        let path = std::env::temp_dir().join(format!("linerate-{}.hlog", std::process::id()));
        let mut log = HdrLog::create(&path).unwrap();
        let (first, second) = (recorded(1..10_000), recorded([]));
        let second_long = Duration::from_secs(1);
        log.write_interval(Some("response"), Duration::ZERO, second_long, &first).unwrap();
        log.write_interval(None, second_long, second_long / 2, &second).unwrap();
        let bad = log.write_interval(Some("a b"), second_long, second_long, &second);
        assert!(matches!(bad, Err(Error::Usage(_))));
        log.publish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(text.contains("#[Histogram log format version 1.3]\n#[StartTime: "), "{text}");
        let entries: Vec<LogEntry> = IntervalLogIterator::new(text.as_bytes())
            .map(|entry| entry.unwrap())
            .filter(|entry| matches!(entry, LogEntry::Interval(_)))
            .collect();
        let LogEntry::Interval(interval) = &entries[0] else { panic!("no interval") };
        assert_eq!(interval.tag().map(|tag| tag.as_str()), Some("response"));
        assert_eq!(
            (interval.start_timestamp(), interval.duration()),
            (Duration::ZERO, second_long)
        );
        let back = decoded(interval.encoded_histogram());
        assert_eq!(back, *first.histogram());
        let LogEntry::Interval(interval) = &entries[1] else { panic!("no interval") };
        assert_eq!((interval.tag(), interval.duration()), (None, second_long / 2));
        assert_eq!(decoded(interval.encoded_histogram()).len(), 0);
        assert_eq!(entries.len(), 2);
    }

    fn decoded(base64: &str) -> Histogram<u64> {
        let bytes = from_base64(base64);
        Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap()
    }

    /// RFC 4648, section 4, for valid text.
    fn from_base64(text: &str) -> Vec<u8> {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut bytes = Vec::new();
        let (mut bits, mut held) = (0u32, 0);
        for character in text.bytes().filter(|byte| *byte != b'=') {
            let six = ALPHABET.iter().position(|byte| *byte == character).unwrap() as u32;
            (bits, held) = (bits << 6 | six, held + 6);
            if held >= 8 {
                held -= 8;
                bytes.push((bits >> held) as u8);
            }
        }
        bytes
    }
}
