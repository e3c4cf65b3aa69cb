//! The verifier: gives every returned frame, and every sent number, exactly one end.

use std::sync::Arc;

use super::evidence::{Damage, Evidence, Fault};
use super::ledger::{Ledger, Return};
use super::reorder::Reorder;
use super::run_id::RunId;
use super::template::{Judgement, Template};
use crate::ring::frame::FrameMeta;
use crate::stats::counters::Tally;

/// Corrupted frames that are kept.
pub const DAMAGE_KEPT: usize = 8;

/// A number that was handed out longer ago than this, counted in frames, is another load's: 72 minutes
/// at a million frames a second.
pub const AGE_MAX: u64 = 1 << 32;

/// What a received frame meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The first return of this number, right in every byte.
    Intact(u64),
    /// The first return of this number, damaged in some way.
    Damaged(u64),
    /// No first return: duplicated, forgotten or foreign.
    Beside,
    /// Its number was never handed out, as far as the ledger knows; nothing was counted.
    NeverSent,
}

/// The numbers of one sender: of n senders, sender i has i, i + n, i + 2n and so on.
#[derive(Debug)]
struct Stream {
    /// Which of its own numbers came back, counted 0, 1, 2 and so on.
    ledger: Ledger,
    reorder: Reorder,
}

/// Checks received frames against what was sent, in bounded memory.
///
/// A number settles with the first frame that returns under it. A frame belongs to the number that
/// it carries: if the number is right and its addresses are not, it is corrupted, not foreign.
#[derive(Debug)]
pub struct Verifier {
    template: Arc<Template>,
    streams: Box<[Stream]>,
    id: RunId,
    evidence_max: usize,
    /// What it found.
    pub books: Books,
}

/// What a verifier found.
#[derive(Debug, Default)]
pub struct Books {
    /// The measurement's frames.
    pub tally: Tally,
    /// Frames of the warm-up.
    pub warm_up: Tally,
    /// The first corrupted frames.
    pub damage: Vec<Damage>,
    /// The first bad frames, byte by byte.
    pub evidence: Vec<Evidence>,
    /// Kernel stamps of the first and the last intact frame; 0 without any.
    pub stamps_ns: (u64, u64),
    /// Routers that echoes came by; `None` where none is known of.
    pub hops: Option<Hops>,
    /// Numbers of all flows but the first that came back.
    pub returned_beside_first_flow: u64,
}

/// Routers between generator and device, counted there and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Hops {
    /// The fewest of any echo.
    pub least: u8,
    /// The most.
    pub most: u8,
}

impl Verifier {
    /// A verifier of echoes of `template`'s frames that the load `id` sends, by `senders` senders (at
    /// least one) that interleave their numbers. It remembers `numbers` of them all together, and
    /// keeps the first `evidence_max` bad frames, byte by byte.
    pub fn new(
        template: Arc<Template>,
        id: RunId,
        senders: usize,
        numbers: usize,
        evidence_max: usize,
    ) -> Verifier {
        let senders = senders.max(1);
        let stream = |_| Stream {
            ledger: Ledger::new((numbers / senders).max(1)),
            reorder: Reorder::default(),
        };
        Verifier {
            template,
            streams: (0..senders).map(stream).collect(),
            id,
            evidence_max,
            books: Books { damage: Vec::with_capacity(DAMAGE_KEPT), ..Books::default() },
        }
    }

    /// The numbers of one sender, counted 0, 1, 2 and so on.
    #[inline]
    pub fn ledger_of(&mut self, sender: usize) -> &mut Ledger {
        &mut self.streams[sender].ledger
    }

    /// Whose number this is, and which of his own.
    #[inline]
    pub fn place_of(&self, number: u64) -> (usize, u64) {
        match self.streams.len() as u64 {
            1 => (0, number),
            senders => ((number % senders) as usize, number / senders),
        }
    }

    /// Takes a received frame, given from its destination address on.
    #[inline]
    pub fn take(&mut self, meta: &FrameMeta, frame: &[u8]) -> Taken {
        match self.take_if_sent(meta, frame) {
            Taken::NeverSent => self.take_of_other_load(meta, frame),
            taken => taken,
        }
    }

    /// [`Verifier::take`] for whoever may not have heard yet that the number was handed out: such a
    /// frame is to be given again.
    #[inline]
    pub fn take_if_sent(&mut self, meta: &FrameMeta, frame: &[u8]) -> Taken {
        let Some(probe) = self.template.probe_of(frame) else {
            self.books.tally.foreign += 1;
            return self.beside(Fault::Foreign, None, meta, frame);
        };
        let Some(number) = self.id.number_of(probe) else {
            return self.take_of_other_load(meta, frame);
        };
        let (sender, own) = self.place_of(number);
        let Stream { ledger, reorder } = &mut self.streams[sender];
        let books = &mut self.books;
        let tally = match own < ledger.measured_from() {
            true => &mut books.warm_up,
            false => &mut books.tally,
        };
        match ledger.mark_returned(own) {
            Return::First => {}
            Return::Again => {
                tally.duplicated += 1;
                return self.beside(Fault::Duplicated, Some(number), meta, frame);
            }
            Return::Forgotten if ledger.handed_out() - own > AGE_MAX => {
                return self.take_of_other_load(meta, frame);
            }
            Return::Forgotten => {
                tally.forgotten += 1;
                return self.beside(Fault::Forgotten, Some(number), meta, frame);
            }
            Return::NeverSent => return Taken::NeverSent,
        }
        tally.reordered += u64::from(reorder.take(own));
        books.returned_beside_first_flow += u64::from(self.template.flows().of(number) != 0);
        let fault = match self.template.judge(meta, frame, probe, number) {
            Judgement::Intact => {
                tally.intact += 1;
                let (first_ns, last_ns) = &mut books.stamps_ns;
                if *first_ns == 0 {
                    *first_ns = meta.stamp_ns;
                }
                *last_ns = meta.stamp_ns;
                if let Some(hops) = self.template.hops(frame, number) {
                    let Hops { least, most } =
                        books.hops.get_or_insert(Hops { least: hops, most: hops });
                    (*least, *most) = ((*least).min(hops), (*most).max(hops));
                }
                return Taken::Intact(number);
            }
            Judgement::NotTransformed => {
                tally.not_transformed += 1;
                Fault::NotTransformed
            }
            Judgement::Truncated => {
                tally.truncated += 1;
                Fault::Truncated
            }
            Judgement::Corrupted { first_offset } => {
                tally.corrupted += 1;
                if books.damage.len() < DAMAGE_KEPT {
                    let received_bytes = frame.len();
                    books.damage.push(Damage { sequence: number, received_bytes, first_offset });
                }
                Fault::Corrupted { first_offset }
            }
        };
        self.keep(fault, Some(number), meta, frame);
        Taken::Damaged(number)
    }

    /// A valid number of another load or of the load before.
    #[cold]
    fn take_of_other_load(&mut self, meta: &FrameMeta, frame: &[u8]) -> Taken {
        self.books.tally.other_loads += 1;
        self.beside(Fault::OtherLoad, None, meta, frame)
    }

    #[cold]
    fn beside(
        &mut self,
        fault: Fault,
        number: Option<u64>,
        meta: &FrameMeta,
        frame: &[u8],
    ) -> Taken {
        self.keep(fault, number, meta, frame);
        Taken::Beside
    }

    #[cold]
    fn keep(&mut self, fault: Fault, number: Option<u64>, meta: &FrameMeta, frame: &[u8]) {
        if self.books.evidence.len() < self.evidence_max {
            self.books.evidence.push(Evidence::of(fault, number, meta, frame));
        }
    }

    /// The first return of `number`, just taken, was late.
    #[cold]
    pub fn note_late(&mut self, number: u64) {
        let (sender, own) = self.place_of(number);
        match own < self.streams[sender].ledger.measured_from() {
            true => self.books.warm_up.late += 1,
            false => self.books.tally.late += 1,
        }
    }

    /// Counts `frames` that the ring's headers made unreadable.
    pub fn take_malformed(&mut self, frames: u32) {
        self.books.tally.malformed += u64::from(frames);
    }

    /// Counts so far, the warm-up left out.
    #[inline]
    pub fn tally(&self) -> &Tally {
        &self.books.tally
    }

    /// Numbers that came back so far, those of the warm-up included.
    #[inline]
    pub fn returned(&self) -> u64 {
        self.books.tally.returned() + self.books.warm_up.returned()
    }

    /// Numbers that are not back, measured and of the warm-up, counted in the ledgers.
    pub fn missing(&self) -> (u64, u64) {
        let sums = |sum: (u64, u64), stream: &Stream| {
            let warm_up = stream.ledger.missing_in_warm_up();
            (sum.0 + stream.ledger.missing() - warm_up, sum.1 + warm_up)
        };
        self.streams.iter().fold((0, 0), sums)
    }

    /// The largest reordering extent of any sender's frames ([`Reorder::extent_max`]).
    pub fn reorder_extent_max(&self) -> u64 {
        self.streams.iter().map(|stream| stream.reorder.extent_max()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
