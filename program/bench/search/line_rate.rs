//! Line-rate arithmetic: how many frames of a size fit on a wire, and what part of it they fill.
//!
//! Sizes include the FCS, as everywhere. On the wire each frame also costs 7 bytes of preamble, 1
//! of start delimiter and 12 of gap (IEEE 802.3): L1 rates count those 20 bytes, L2 rates do not.

/// Bytes that a frame takes on the wire beside its own: preamble, start delimiter and gap.
pub const WIRE_OVERHEAD_BYTES: f64 = crate::load::rate::WIRE_OVERHEAD_BYTES as f64;

/// A link's speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LineRate {
    /// Bits per second, as the link names its speed (L1).
    pub bits_per_second: f64,
}

impl LineRate {
    /// The most frames of `frame_bytes` that the wire carries in a second (RFC 2544 appendix B).
    /// For a mix of sizes this takes their mean.
    pub fn frames_per_second(self, frame_bytes: f64) -> f64 {
        self.bits_per_second / l1_bits(frame_bytes)
    }

    /// What part of the wire `pps` frames of `frame_bytes` fill, in percent.
    pub fn percent(self, pps: f64, frame_bytes: f64) -> f64 {
        100.0 * pps / self.frames_per_second(frame_bytes)
    }
}

fn l1_bits(frame_bytes: f64) -> f64 {
    (frame_bytes + WIRE_OVERHEAD_BYTES) * 8.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2544 appendix B, Ethernet at 10 Mb/s.
    #[test]
    fn ten_megabit_ethernet_is_the_table_of_the_rfc() {
        let line = LineRate { bits_per_second: 10e6 };
        let table = [
            (64.0, 14_880.0),
            (128.0, 8_445.0),
            (256.0, 4_528.0),
            (512.0, 2_349.0),
            (768.0, 1_586.0),
            (1024.0, 1_197.0),
            (1280.0, 961.0),
            (1518.0, 812.0),
        ];
        for (bytes, pps) in table {
            assert_eq!(line.frames_per_second(bytes).floor(), pps, "{bytes} bytes");
        }
    }

    #[test]
    fn faster_links_carry_their_known_rates() {
        for (gigabits, pps) in [(1.0, 1_488_095.0), (10.0, 14_880_952.0), (25.0, 37_202_380.0)] {
            let line = LineRate { bits_per_second: gigabits * 1e9 };
            assert_eq!(line.frames_per_second(64.0).floor(), pps);
        }
        let line = LineRate { bits_per_second: 1e9 };
        assert_eq!(line.frames_per_second(1518.0).floor(), 81_274.0);
    }

    #[test]
    fn half_the_frames_fill_half_the_wire() {
        let line = LineRate { bits_per_second: 1e9 };
        assert!((line.percent(line.frames_per_second(64.0) / 2.0, 64.0) - 50.0).abs() < 1e-9);
    }
}
