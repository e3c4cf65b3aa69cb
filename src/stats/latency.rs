//! Latency histograms with fixed memory and honest edges.

use hdrhistogram::Histogram;
use serde::ser::{Serialize, SerializeStruct, Serializer};

/// The longest latency that is recorded as what it is: 4 hours.
pub const LATENCY_NS_MAX: u64 = 4 * 3600 * 1_000_000_000;

/// Significant decimal digits: values are kept to 0.1 %.
const DIGITS: u8 = 3;

/// A histogram of nanoseconds from 1 to [`LATENCY_NS_MAX`], 280 KiB; it never grows.
///
/// It has cache lines to itself, so that those of two threads never meet on one.
#[derive(Clone, Debug)]
#[repr(align(128))]
pub struct Latency {
    histogram: Histogram<u64>,
    beyond: u64,
    backwards: u64,
}

/// What one latency report says, in nanoseconds. Of nothing recorded it says nothing: all but the counts
/// are 0 here and null in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencySummary {
    /// Values recorded.
    pub count: u64,
    /// Smallest.
    pub min: u64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// 99.99th percentile.
    pub p9999: u64,
    /// 99.999th percentile.
    pub p99999: u64,
    /// Largest.
    pub max: u64,
    /// Arithmetic mean, rounded.
    pub mean: u64,
    /// Standard deviation of the values (not of their mean), rounded.
    pub stdev: u64,
    /// Values longer than [`LATENCY_NS_MAX`], which count as that.
    pub beyond: u64,
}

impl Serialize for LatencySummary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let LatencySummary { count, min, p50, p90, p99, p999, .. } = *self;
        let LatencySummary { p9999, p99999, max, mean, stdev, beyond, .. } = *self;
        let known = |value: u64| (count > 0).then_some(value);
        let mut fields = serializer.serialize_struct("LatencySummary", 12)?;
        fields.serialize_field("count", &count)?;
        fields.serialize_field("min", &known(min))?;
        fields.serialize_field("p50", &known(p50))?;
        fields.serialize_field("p90", &known(p90))?;
        fields.serialize_field("p99", &known(p99))?;
        fields.serialize_field("p999", &known(p999))?;
        fields.serialize_field("p9999", &known(p9999))?;
        fields.serialize_field("p99999", &known(p99999))?;
        fields.serialize_field("max", &known(max))?;
        fields.serialize_field("mean", &known(mean))?;
        fields.serialize_field("stdev", &known(stdev))?;
        fields.serialize_field("beyond", &beyond)?;
        fields.end()
    }
}

impl LatencySummary {
    /// Itself, unless it says nothing.
    pub fn known(self) -> Option<LatencySummary> {
        (self.count > 0).then_some(self)
    }

    /// Packet delay variation (RFC 5481, section 4.2): how much longer than the smallest `value`
    /// is, as in `summary.delay_variation(summary.p99)`.
    pub fn delay_variation(&self, value: u64) -> u64 {
        value.saturating_sub(self.min)
    }
}

/// The percentiles of the ladder that summaries print.
pub const LADDER: [f64; 7] = [50.0, 75.0, 90.0, 99.0, 99.9, 99.99, 99.999];

impl Default for Latency {
    fn default() -> Latency {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS)
            .expect("constant bounds are valid");
        Latency { histogram, beyond: 0, backwards: 0 }
    }
}

impl Latency {
    /// Records the time from `start_ns` to `end_ns`. If the clock was set back in between, the value
    /// counts as 1 ns, and is counted in `backwards`.
    #[inline]
    pub fn record_between(&mut self, start_ns: u64, end_ns: u64) {
        match end_ns.checked_sub(start_ns) {
            Some(latency) => self.record(latency),
            None => {
                self.backwards += 1;
                self.record(1);
            }
        }
    }

    /// Records a latency. A longer one than [`LATENCY_NS_MAX`] counts as that, and is counted as
    /// beyond it.
    #[inline]
    pub fn record(&mut self, latency_ns: u64) {
        self.record_many(latency_ns, 1);
    }

    /// Records a latency `count` times.
    #[inline]
    pub fn record_many(&mut self, latency_ns: u64, count: u64) {
        self.beyond += u64::from(latency_ns > LATENCY_NS_MAX) * count;
        // The histogram's own limit is the end of its array, far beyond its bound.
        self.histogram.saturating_record_n(latency_ns.clamp(1, LATENCY_NS_MAX), count);
    }

    /// Adds what another one recorded.
    pub fn merge(&mut self, other: &Latency) {
        self.histogram.add(&other.histogram).expect("all latency histograms have the same bounds");
        self.beyond += other.beyond;
        self.backwards += other.backwards;
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.histogram.reset();
        (self.beyond, self.backwards) = (0, 0);
    }

    /// Values recorded.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Values beyond [`LATENCY_NS_MAX`].
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    /// Values that ran backwards.
    pub fn backwards(&self) -> u64 {
        self.backwards
    }

    /// The value at a percentile (0 to 100), in nanoseconds; 0 if nothing was recorded.
    pub fn percentile(&self, percentile: f64) -> u64 {
        self.histogram.value_at_percentile(percentile)
    }

    /// The largest value, in nanoseconds.
    pub fn max(&self) -> u64 {
        self.histogram.max()
    }

    /// The histogram of nanoseconds itself, for those who write it to a file.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// Mean in nanoseconds.
    pub fn mean(&self) -> f64 {
        self.histogram.mean()
    }

    /// Standard deviation in nanoseconds.
    pub fn stdev(&self) -> f64 {
        self.histogram.stdev()
    }

    /// The numbers that a report shows.
    pub fn summary(&self) -> LatencySummary {
        if self.count() == 0 {
            return LatencySummary::default();
        }
        LatencySummary {
            count: self.count(),
            min: self.histogram.min(),
            p50: self.percentile(50.0),
            p90: self.percentile(90.0),
            p99: self.percentile(99.0),
            p999: self.percentile(99.9),
            p9999: self.percentile(99.99),
            p99999: self.percentile(99.999),
            max: self.max(),
            mean: self.mean().round() as u64,
            stdev: self.stdev().round() as u64,
            beyond: self.beyond,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_counted_and_never_lost() {
        let mut latency = Latency::default();
        latency.record_between(10, 5);
        latency.record_between(0, LATENCY_NS_MAX + 1);
        latency.record_between(100, 100);
        latency.record(1000);
        assert_eq!((latency.count(), latency.beyond(), latency.backwards()), (4, 1, 1));
        let mut sum = Latency::default();
        sum.merge(&latency);
        sum.merge(&latency);
        assert_eq!((sum.count(), sum.beyond(), sum.backwards()), (8, 2, 2));
        sum.reset();
        assert_eq!(sum.summary(), LatencySummary::default());
    }

    #[test]
    fn seconds_and_hours_are_what_they_are_and_more_is_said() {
        const SECOND: u64 = 1_000_000_000;
        let within = |found: u64, given: u64| found.abs_diff(given) <= given / 1000;
        for seconds in [1, 10, 17, 18, 40, 3600, 4 * 3600] {
            let mut latency = Latency::default();
            latency.record(seconds * SECOND);
            latency.record_many(seconds * SECOND, 2);
            let LatencySummary { p50, max, mean, beyond, .. } = latency.summary();
            for found in [p50, max, mean] {
                assert!(within(found, seconds * SECOND), "{seconds} s as {found} ns");
            }
            assert_eq!(beyond, 0, "{seconds} s");
        }
        // More than the bound, and more than the histogram's array has room for.
        for seconds in [4 * 3600 + 20, 6 * 3600, 1 << 33] {
            let mut latency = Latency::default();
            latency.record(seconds * SECOND);
            latency.record_many(seconds * SECOND, 2);
            let LatencySummary { count, p50, max, beyond, .. } = latency.summary();
            assert!(within(p50, LATENCY_NS_MAX) && within(max, LATENCY_NS_MAX), "{seconds} s");
            assert_eq!((count, beyond), (3, 3));
        }
    }

    #[test]
    fn of_nothing_recorded_only_the_counts_are_numbers() {
        let mut latency = Latency::default();
        let nothing = serde_json::json!(latency.summary());
        assert_eq!((&nothing["count"], &nothing["beyond"]), (&0.into(), &0.into()));
        let fields = nothing.as_object().unwrap();
        assert_eq!(fields.values().filter(|value| value.is_null()).count(), fields.len() - 2);
        latency.record(7);
        let seven = serde_json::json!(latency.summary());
        assert!(["min", "p50", "p99999", "max", "mean"].iter().all(|name| seven[name] == 7));
        assert_eq!(seven["stdev"], 0);
    }

    #[test]
    fn a_histogram_takes_less_than_300_kib() {
        let cells = Latency::default().histogram.distinct_values();
        assert!(cells * size_of::<u64>() < 300 << 10, "{cells}");
    }

    #[test]
    fn percentiles_are_within_a_thousandth() {
        let mut latency = Latency::default();
        (1..=100_000).for_each(|ns| latency.record(ns));
        let p99 = latency.summary().p99 as f64;
        assert!((p99 - 99_000.0).abs() <= 99.0, "{p99}");
        let summary = latency.summary();
        assert!(summary.p99999.abs_diff(100_000) <= 100 && summary.p9999.abs_diff(99_990) <= 100);
        // An even spread over 1 to n: mean n / 2, standard deviation n / √12.
        assert!(summary.mean.abs_diff(50_000) <= 50 && summary.stdev.abs_diff(28_868) <= 60);
        assert_eq!(summary.delay_variation(summary.p50), summary.p50 - 1);
    }
}
