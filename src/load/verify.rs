//! The verifier: gives every returned frame, and every sent number, exactly one end.

use std::sync::Arc;

use super::ledger::{Ledger, Return};
use super::report::{Damage, Tally};
use super::template::{Judgement, Template};
use crate::ring::frame::FrameMeta;
use crate::wire::probe::RUN_MAX;

/// Corrupted frames that are kept as evidence.
pub const DAMAGE_KEPT: usize = 8;

/// What a received frame meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The first return of this number, right in every byte.
    Intact(u64),
    /// The first return of a number, damaged in some way.
    Damaged,
    /// No first return: duplicated, forgotten or foreign.
    Beside,
}

/// Checks received frames against what was sent, in bounded memory.
///
/// A number settles with the first frame that returns under it. A frame belongs to the number that
/// it carries: if the number is right and its addresses are not, it is corrupted, not foreign.
#[derive(Debug)]
pub struct Verifier {
    template: Arc<Template>,
    /// The numbers of this run.
    pub ledger: Ledger,
    run: u16,
    /// The number after the largest that came back.
    next_expected: u64,
    tally: Tally,
    damage: Vec<Damage>,
    first_stamp_ns: u64,
    last_stamp_ns: u64,
    /// Stamps up to this are of frames received while sending.
    sending_until_ns: u64,
    intact_while_sending: u64,
}

impl Verifier {
    /// A verifier of echoes of `template`'s frames, which remembers `numbers` numbers.
    pub fn new(template: Arc<Template>, numbers: usize) -> Verifier {
        Verifier {
            template,
            ledger: Ledger::new(numbers),
            run: 0,
            next_expected: 0,
            tally: Tally::default(),
            damage: Vec::with_capacity(DAMAGE_KEPT),
            first_stamp_ns: 0,
            last_stamp_ns: 0,
            sending_until_ns: u64::MAX,
            intact_while_sending: 0,
        }
    }

    /// Forgets everything and begins run number `run` (modulo 4096).
    pub fn begin(&mut self, run: u16) {
        self.ledger.reset();
        self.run = run & RUN_MAX;
        self.next_expected = 0;
        self.tally = Tally::default();
        self.damage.clear();
        (self.first_stamp_ns, self.last_stamp_ns) = (0, 0);
        (self.sending_until_ns, self.intact_while_sending) = (u64::MAX, 0);
    }

    /// The run's number.
    #[inline]
    pub fn run(&self) -> u16 {
        self.run
    }

    /// The sending ended at `realtime_ns`, on the clock of the kernel's stamps.
    pub fn end_sending(&mut self, realtime_ns: u64) {
        self.sending_until_ns = realtime_ns;
    }

    /// Takes a received frame, given from its destination address on.
    #[inline]
    pub fn take(&mut self, meta: &FrameMeta, frame: &[u8]) -> Taken {
        let probe = match self.template.probe_of(frame) {
            Some(probe) if probe.run() == self.run => probe,
            _ => {
                self.tally.foreign += 1;
                return Taken::Beside;
            }
        };
        let sequence = probe.sequence();
        match self.ledger.mark_returned(sequence) {
            Return::First => {}
            Return::Again => {
                self.tally.duplicated += 1;
                return Taken::Beside;
            }
            Return::Forgotten => {
                self.tally.forgotten += 1;
                return Taken::Beside;
            }
            Return::NeverSent => {
                self.tally.foreign += 1;
                return Taken::Beside;
            }
        }
        if sequence < self.next_expected {
            self.tally.reordered += 1;
        } else {
            self.next_expected = sequence + 1;
        }
        match self.template.judge(meta, frame, probe) {
            Judgement::Intact => {
                self.tally.intact += 1;
                self.note_stamp(meta.stamp_ns);
                return Taken::Intact(sequence);
            }
            Judgement::NotTransformed => self.tally.not_transformed += 1,
            Judgement::Truncated => self.tally.truncated += 1,
            Judgement::Corrupted { first_offset } => {
                self.tally.corrupted += 1;
                if self.damage.len() < DAMAGE_KEPT {
                    let received_bytes = frame.len();
                    self.damage.push(Damage { sequence, received_bytes, first_offset });
                }
            }
        }
        Taken::Damaged
    }

    /// Counts `frames` that the ring's headers made unreadable.
    pub fn take_malformed(&mut self, frames: u32) {
        self.tally.malformed += u64::from(frames);
    }

    #[inline]
    fn note_stamp(&mut self, stamp_ns: u64) {
        if self.tally.intact == 1 {
            self.first_stamp_ns = stamp_ns;
        }
        self.last_stamp_ns = stamp_ns;
        self.intact_while_sending += u64::from(stamp_ns <= self.sending_until_ns);
    }

    /// Counts so far.
    #[inline]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Puts what is known into `report`; numbers that are not back count as lost.
    pub fn conclude(&self, report: &mut super::report::LoadReport) {
        report.run = self.run;
        report.sent = self.ledger.handed_out();
        report.lost = self.ledger.missing();
        report.tally = self.tally;
        report.intact_while_sending = self.intact_while_sending;
        report.first_stamp_ns = self.first_stamp_ns;
        report.last_stamp_ns = self.last_stamp_ns;
        report.damage = self.damage.clone();
    }
}

#[cfg(test)]
mod tests;
