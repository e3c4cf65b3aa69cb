//! How much transit times differ from one packet to the next.

/// The interarrival jitter of RFC 3550, section 6.4.1, over the packets of one stream in the order of
/// their arrival: J ← J + (|D| − J) / 16, where D is the difference between the transit times of two
/// packets that arrive one after the other. Sending and arrival must be on clocks that run alike;
/// a constant offset between them cancels out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Jitter {
    last_transit_ns: Option<u64>,
    smoothed_ns: f64,
    sum_ns: f64,
    max_ns: u64,
    differences: u64,
}

impl Jitter {
    /// The next packet took `transit_ns` from sending to arrival.
    #[inline]
    pub fn record(&mut self, transit_ns: u64) {
        if let Some(last_ns) = self.last_transit_ns.replace(transit_ns) {
            let difference_ns = transit_ns.abs_diff(last_ns);
            self.smoothed_ns += (difference_ns as f64 - self.smoothed_ns) / 16.0;
            self.sum_ns += difference_ns as f64;
            self.max_ns = self.max_ns.max(difference_ns);
            self.differences += 1;
        }
    }

    /// Itself, unless there were not two packets to compare.
    pub fn known(&self) -> Option<&Jitter> {
        (self.differences > 0).then_some(self)
    }

    /// RFC 3550's smoothed value after the last packet, in nanoseconds. It remembers the last few
    /// dozen packets only.
    pub fn smoothed_ns(&self) -> f64 {
        self.smoothed_ns
    }

    /// The mean of |D| over all packets, in nanoseconds; 0 for fewer than two.
    pub fn mean_ns(&self) -> f64 {
        if self.differences == 0 { 0.0 } else { self.sum_ns / self.differences as f64 }
    }

    /// The largest |D|, in nanoseconds.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// Adds another stream: means and largest values as over both, the smoothed value weighted by
    /// the number of packets.
    pub fn merge(&mut self, other: &Jitter) {
        let (own, others) = (self.differences as f64, other.differences as f64);
        if own + others > 0.0 {
            self.smoothed_ns =
                (self.smoothed_ns * own + other.smoothed_ns * others) / (own + others);
        }
        self.sum_ns += other.sum_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
        self.differences += other.differences;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_is_that_of_the_rfc() {
        let mut jitter = Jitter::default();
        [100, 260, 100, 100].into_iter().for_each(|transit_ns| jitter.record(transit_ns));
        // 160 / 16 = 10; 10 + 150 / 16 = 19.375; 19.375 × 15 / 16.
        assert_eq!(jitter.smoothed_ns(), 19.375 * 15.0 / 16.0);
        assert_eq!((jitter.mean_ns(), jitter.max_ns()), (320.0 / 3.0, 160));
        let mut both = Jitter::default();
        both.merge(&jitter);
        both.merge(&jitter);
        assert_eq!(both.mean_ns(), jitter.mean_ns());
        assert_eq!(both.smoothed_ns(), jitter.smoothed_ns());
    }
}
