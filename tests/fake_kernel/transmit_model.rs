//! Random lives of a TX ring: every committed frame is exactly once sent, withdrawn or in flight.

use std::collections::VecDeque;

use linerate::ring::fake::{FakeTx, Fate};
use linerate::ring::slots::{Settled, Slots};
use linerate::ring::tx::TxRing;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::parts::{frame, transmit};

#[derive(Clone, Debug)]
enum Step {
    /// A frame of this length is committed; some are too short or too long.
    Commit(usize),
    /// A slot is reserved, scribbled over and dropped.
    Abandon,
    /// A kick, during which the kernel decides so over the frames; the rest completes.
    Kick(Vec<Fate>),
    /// The driver is done with so many frames.
    Complete(usize),
    Settle,
    Withdraw,
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        4 => Just(Fate::Complete),
        4 => Just(Fate::InDriver),
        1 => Just(Fate::Busy),
        1 => Just(Fate::WrongFormat),
    ];
    prop_oneof![
        8 => (14usize..1515).prop_map(Step::Commit),
        1 => prop_oneof![Just(Step::Commit(13)), Just(Step::Commit(1515))],
        1 => Just(Step::Abandon),
        4 => vec(fate, 0..8).prop_map(Step::Kick),
        3 => (0usize..6).prop_map(Step::Complete),
        2 => Just(Step::Settle),
        1 => Just(Step::Withdraw),
    ]
}

/// What a TX ring should do, in plain queues. Positions count slots from the beginning of time.
#[derive(Default)]
struct Model {
    slots: usize,
    commits: usize,
    /// Position of the next frame to commit.
    tail: usize,
    /// Committed frames that the kernel has not taken.
    queued: VecDeque<Vec<u8>>,
    /// Lengths of frames that the kernel has taken since the last settling.
    unsettled: Vec<usize>,
    /// Positions that the driver reads.
    in_driver: VecDeque<usize>,
    /// Whether the kernel stands before a refused frame.
    refused: bool,
    sent: usize,
    withdrawn: usize,
}

impl Model {
    fn has_room(&self) -> bool {
        let reused = self.tail.checked_sub(self.slots);
        self.queued.len() + self.unsettled.len() < self.slots
            && reused.is_none_or(|position| !self.in_driver.contains(&position))
    }

    fn commit(&mut self, ring: &mut TxRing, length: usize) {
        let Some(mut slot) = ring.reserve() else { return assert!(!self.has_room()) };
        assert!(self.has_room());
        let mut bytes = frame(self.commits, length);
        if let Some(field) = bytes.get_mut(12..14) {
            field.copy_from_slice(&[0x88, 0xb5]);
        }
        slot.bytes()[..length].copy_from_slice(&bytes);
        let committed = slot.commit(length).is_ok();
        assert_eq!(committed, (14..=1514).contains(&length));
        if committed {
            self.commits += 1;
            self.tail += 1;
            self.queued.push_back(bytes);
        }
    }

    fn kick(&mut self, kernel: &mut FakeTx, fates: Vec<Fate>) {
        let mut fates = fates.into_iter();
        let mut head = self.tail - self.queued.len();
        let mut refused = self.refused;
        let in_driver = &mut self.in_driver;
        let taken = kernel.send(|_| {
            let fate = fates.next().unwrap_or(Fate::Complete);
            match fate {
                Fate::InDriver => in_driver.push_back(head),
                Fate::WrongFormat => refused = true,
                Fate::Complete | Fate::Busy => {}
            }
            head += 1;
            fate
        });
        assert!(!self.refused || taken.is_empty(), "nothing passes a refused frame");
        self.refused = refused;
        for bytes in taken {
            assert_eq!(Some(&bytes), self.queued.front(), "in order and unchanged");
            self.queued.pop_front();
            self.unsettled.push(bytes.len());
            self.sent += 1;
        }
    }

    fn settle(&mut self) -> Settled {
        let lengths = std::mem::take(&mut self.unsettled);
        Settled {
            frames: lengths.len() as u64,
            bytes: lengths.iter().sum::<usize>() as u64,
            stuck: self.refused,
            ..Settled::default()
        }
    }

    fn withdraw(&mut self) -> (u64, Settled) {
        self.refused = false;
        let withdrawn = self.queued.len();
        self.queued.clear();
        self.tail -= withdrawn;
        self.withdrawn += withdrawn;
        (withdrawn as u64, self.settle())
    }

    fn check(&self, ring: &mut TxRing, kernel: &FakeTx) {
        assert_eq!(self.commits, self.sent + self.withdrawn + self.queued.len());
        assert_eq!(ring.in_flight(), (self.queued.len() + self.unsettled.len()) as u64);
        assert_eq!(ring.has_room(), self.has_room());
        assert_eq!(kernel.in_driver(), self.in_driver.len());
    }
}

proptest! {
    #[test]
    fn every_frame_is_once_sent_withdrawn_or_in_flight(
        steps in vec(step(), 1..150),
        two_slots in any::<bool>(),
    ) {
        let geometry = transmit(2, if two_slots { 4096 } else { 1792 });
        let (mut ring, mut kernel) = FakeTx::pair(&geometry, 1500);
        let mut model = Model { slots: geometry.frames(), ..Model::default() };
        for step in steps {
            match step {
                Step::Commit(length) => model.commit(&mut ring, length),
                Step::Abandon => {
                    if let Some(mut slot) = ring.reserve() {
                        slot.bytes().fill(0xee);
                    }
                }
                Step::Kick(fates) => model.kick(&mut kernel, fates),
                Step::Complete(frames) => {
                    kernel.complete(frames);
                    model.in_driver.drain(..frames.min(model.in_driver.len()));
                }
                Step::Settle => prop_assert_eq!(ring.settle(), model.settle()),
                Step::Withdraw => prop_assert_eq!(ring.withdraw(), model.withdraw()),
            }
            model.check(&mut ring, &kernel);
        }
        // Whatever happened, the ring recovers.
        prop_assert_eq!(ring.withdraw(), model.withdraw());
        kernel.complete(usize::MAX);
        model.in_driver.clear();
        for _ in 0..2 * geometry.frames() {
            model.commit(&mut ring, 60);
            model.kick(&mut kernel, Vec::new());
            prop_assert_eq!(ring.settle(), model.settle());
            model.check(&mut ring, &kernel);
        }
        prop_assert_eq!(model.commits, model.sent + model.withdrawn);
    }
}
