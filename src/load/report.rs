//! What a run found.

use crate::stats::counters::KernelCounters;
use crate::stats::latency::Latency;

/// Frames that came back, by what they turned out to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Numbers whose frame came back right in every byte.
    pub intact: u64,
    /// Numbers whose frame came back wrong in at least one byte, its tag or its length.
    pub corrupted: u64,
    /// Numbers whose frame came back as it was sent, but for the addresses.
    pub not_transformed: u64,
    /// Numbers whose frame came back with bytes missing at its end.
    pub truncated: u64,
    /// Beside the sums: frames whose number had come back before.
    pub duplicated: u64,
    /// Beside the sums: frames whose number was smaller than one that came before (RFC 4737,
    /// section 3.3: type-P-reordered); each also counts in one of the sums.
    pub reordered: u64,
    /// Beside the sums: first returns that took longer than the plan allows; each also counts in
    /// one of the sums.
    pub late: u64,
    /// Beside the sums: frames that carry no number, or a damaged one.
    pub foreign: u64,
    /// Beside the sums: frames of other linerate loads on this link, or of an earlier one here.
    pub other_loads: u64,
    /// Beside the sums: frames whose number the ledger had forgotten
    /// ([`NUMBERS_REMEMBERED`](super::ledger::NUMBERS_REMEMBERED)) and counted as lost or returned.
    pub forgotten: u64,
    /// Beside the sums: frames that the ring's own headers describe in an impossible way.
    pub malformed: u64,
}

impl Tally {
    /// Numbers that came back, whatever their frame looked like.
    pub fn returned(&self) -> u64 {
        self.intact + self.corrupted + self.not_transformed + self.truncated
    }
}

impl std::ops::AddAssign<&Tally> for Tally {
    fn add_assign(&mut self, other: &Tally) {
        self.intact += other.intact;
        self.corrupted += other.corrupted;
        self.not_transformed += other.not_transformed;
        self.truncated += other.truncated;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.late += other.late;
        self.foreign += other.foreign;
        self.other_loads += other.other_loads;
        self.forgotten += other.forgotten;
        self.malformed += other.malformed;
    }
}

/// One corrupted frame, kept as evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The frame's number.
    pub sequence: u64,
    /// Bytes that came back, without FCS and without the outer tag.
    pub received_bytes: usize,
    /// The first wrong byte, as in
    /// [`Judgement::Corrupted`](super::template::Judgement::Corrupted).
    pub first_offset: usize,
}

/// What one run sent and what came back.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// The run's number in the probes.
    pub run: u16,
    /// Frames that the kernel accepted for sending.
    pub sent: u64,
    /// From just before the first kick to just after the last, in nanoseconds.
    pub sending_ns: u64,
    /// What came back.
    pub tally: Tally,
    /// Numbers that did not come back. Some may have been dropped by the generator's own ring:
    /// see `kernel.drops`.
    pub lost: u64,
    /// Intact frames that the kernel received before the sending ended.
    pub intact_while_sending: u64,
    /// Kernel stamp of the first intact frame, nanoseconds on `CLOCK_REALTIME`; 0 without any.
    pub first_stamp_ns: u64,
    /// Kernel stamp of the last intact frame.
    pub last_stamp_ns: u64,
    /// What the kernel counted for the generator's socket. Its drops are echoes that the generator
    /// was too slow to take.
    pub kernel: KernelCounters,
    /// Kicks that the kernel refused for the moment (ENOBUFS, EAGAIN, ENETDOWN).
    pub refusals: u64,
    /// Frames prepared that the kernel had not accepted when the sending ended: never sent.
    pub unsent: u64,
    /// Round trips of intact frames; recorded by windows and ping-pong only.
    pub rtt: Latency,
    /// The first corrupted frames.
    pub damage: Vec<Damage>,
}

const NS_PER_SECOND: f64 = 1e9;

impl LoadReport {
    /// Frames sent per second of the sending.
    pub fn offered_pps(&self) -> f64 {
        per_second(self.sent, self.sending_ns)
    }

    /// Intact frames received per second of the sending: those that the kernel had stamped when the
    /// sending ended. What was still on its way then is not counted, so the rate of a run that is
    /// short against the rings it fills is too low; [`LoadReport::arrival_pps`] has no such edge.
    pub fn forwarded_pps(&self) -> f64 {
        per_second(self.intact_while_sending, self.sending_ns)
    }

    /// Intact frames per second between the first and the last of them, by their kernel stamps:
    /// (n - 1) / (t_last - t_first). On a veth pair the kernel stamps an echo while the engine sends
    /// it, so this is the engine's own rate, whatever the generator does meanwhile.
    pub fn arrival_pps(&self) -> f64 {
        let elapsed_ns = self.last_stamp_ns.saturating_sub(self.first_stamp_ns);
        per_second(self.tally.intact.saturating_sub(1), elapsed_ns)
    }

    /// The part of the sent frames that did not come back intact, from 0 to 1; 0 if none was sent.
    pub fn loss_ratio(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { 1.0 - self.tally.intact as f64 / self.sent as f64 }
    }

    /// Whether every number came back intact, once, and nothing else came.
    pub fn is_clean(&self) -> bool {
        self.tally
            == Tally { intact: self.sent, reordered: self.tally.reordered, ..Tally::default() }
    }

    /// Sent numbers without an end, or with two: zero, or the generator miscounts. The lost ones are
    /// counted in the [ledger](super::ledger::Ledger::missing), independently of the returned ones.
    pub fn unexplained(&self) -> i128 {
        i128::from(self.sent) - i128::from(self.tally.returned()) - i128::from(self.lost)
    }

    /// Checks the conservation law: sent = intact + corrupted + not transformed + truncated + lost.
    pub fn assert_conserved(&self) {
        assert_eq!(
            self.unexplained(),
            0,
            "sent {} = returned {} + lost {}: {:?}",
            self.sent,
            self.tally.returned(),
            self.lost,
            self.tally,
        );
    }
}

fn per_second(frames: u64, elapsed_ns: u64) -> f64 {
    if elapsed_ns == 0 { 0.0 } else { frames as f64 * NS_PER_SECOND / elapsed_ns as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_taken_over_their_own_interval() {
        let report = LoadReport {
            sent: 1000,
            sending_ns: 1_000_000,
            tally: Tally { intact: 501, ..Tally::default() },
            lost: 499,
            intact_while_sending: 400,
            first_stamp_ns: 7_000_000,
            last_stamp_ns: 8_000_000,
            ..LoadReport::default()
        };
        report.assert_conserved();
        assert_eq!(report.offered_pps(), 1e6);
        assert_eq!(report.forwarded_pps(), 4e5);
        assert_eq!(report.arrival_pps(), 5e5);
        assert!((report.loss_ratio() - 0.499).abs() < 1e-9);
        assert!(!report.is_clean());
        assert_eq!(LoadReport::default().arrival_pps(), 0.0);
    }
}
