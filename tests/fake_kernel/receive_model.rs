//! Random lives of both receive rings against a queue of what arrived.

use std::collections::VecDeque;
use std::mem::forget;

use linerate::ring::fake::{FakeRxV2, FakeRxV3};
use linerate::ring::geometry::RUN_FRAMES;
use linerate::ring::layout::rx_mac_offset;
use linerate::ring::receive::{ReceiveRing, RxBatch};
use linerate::sys::packet::RingVersion;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::parts::{BLOCK_BYTES, Sent, receive};

#[derive(Clone, Debug)]
enum Step {
    /// A frame of this length arrives.
    Deliver(usize),
    /// The block timer fires.
    Retire,
    /// An empty block is handed over.
    RetireEmpty,
    /// Frames are lent, so many of them looked at, and the guard is dropped or forgotten.
    Lend { look_at: usize, forgotten: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..1600).prop_map(Step::Deliver),
        1 => (3000usize..9000).prop_map(Step::Deliver),
        2 => Just(Step::Retire),
        1 => Just(Step::RetireEmpty),
        4 => (0usize..20, any::<bool>())
            .prop_map(|(look_at, forgotten)| Step::Lend { look_at, forgotten }),
    ]
}

/// What arrived and was not dropped, in order; and how many frames there were.
#[derive(Default)]
struct Arrivals {
    waiting: VecDeque<Sent>,
    sent: usize,
    dropped: u64,
}

impl Arrivals {
    fn next(&mut self, length: usize) -> Sent {
        self.sent += 1;
        Sent::numbered(self.sent, length)
    }

    fn record(&mut self, sent: Sent, taken: bool) {
        if taken {
            self.waiting.push_back(sent);
        } else {
            self.dropped += 1;
        }
    }
}

proptest! {
    #[test]
    fn a_v3_ring_gives_what_arrived_in_order_whatever_happens(
        steps in vec(step(), 1..150),
        blocks in 2usize..6,
    ) {
        let (mut ring, mut kernel) = FakeRxV3::pair(&receive(RingVersion::V3, blocks, 2048));
        let room = BLOCK_BYTES - 48 - rx_mac_offset(RingVersion::V3);
        let mut arrivals = Arrivals::default();
        for step in steps {
            match step {
                Step::Deliver(length) => {
                    let sent = arrivals.next(length);
                    let taken = kernel.deliver(sent.arrival());
                    arrivals.record(sent, taken);
                }
                Step::Retire => kernel.retire(),
                Step::RetireEmpty => {
                    kernel.retire();
                    kernel.retire_empty();
                }
                Step::Lend { look_at, forgotten } => {
                    let Some(mut block) = ring.lend(RUN_FRAMES) else { continue };
                    let mut count = 0;
                    for item in block.frames() {
                        arrivals.waiting[count].assert_is(&item.unwrap(), room);
                        count += 1;
                    }
                    prop_assert_eq!(block.frames().take(look_at).count(), look_at.min(count));
                    if forgotten {
                        forget(block);
                    } else {
                        block.frames().take(look_at).for_each(|item| item.unwrap().into_room().0.fill(0));
                        arrivals.waiting.drain(..count);
                    }
                }
            }
        }
        prop_assert_eq!(kernel.drops, arrivals.dropped);
        kernel.retire();
        while let Some(mut block) = ring.lend(RUN_FRAMES) {
            for item in block.frames() {
                arrivals.waiting.pop_front().unwrap().assert_is(&item.unwrap(), room);
            }
        }
        prop_assert!(arrivals.waiting.is_empty());
    }

    #[test]
    fn a_v2_ring_gives_what_arrived_in_order_whatever_happens(
        steps in vec(step(), 1..150),
        blocks in 2usize..6,
        slot_bytes in prop_oneof![Just(64), Just(256), Just(1024), Just(1792), Just(4096)],
    ) {
        let geometry = receive(RingVersion::V2, blocks, slot_bytes);
        let (mut ring, mut kernel) = FakeRxV2::pair(&geometry);
        let room = slot_bytes.saturating_sub(rx_mac_offset(RingVersion::V2));
        let mut arrivals = Arrivals::default();
        for step in steps {
            match step {
                Step::Deliver(length) => {
                    let sent = arrivals.next(length);
                    let taken = kernel.deliver(sent.arrival());
                    prop_assert_eq!(taken, arrivals.waiting.len() < geometry.frames());
                    arrivals.record(sent, taken);
                }
                Step::Retire | Step::RetireEmpty => {}
                Step::Lend { look_at, forgotten } => {
                    let Some(mut run) = ring.lend(RUN_FRAMES) else {
                        prop_assert!(arrivals.waiting.is_empty());
                        continue;
                    };
                    let mut seen = 0;
                    for item in run.frames().take(look_at) {
                        let received = item.unwrap();
                        arrivals.waiting[seen].assert_is(&received, room);
                        if !forgotten {
                            received.into_room().0.fill(0);
                        }
                        seen += 1;
                    }
                    prop_assert_eq!(seen, look_at.min(RUN_FRAMES).min(arrivals.waiting.len()));
                    if forgotten {
                        forget(run);
                    } else {
                        arrivals.waiting.drain(..seen);
                    }
                }
            }
        }
        prop_assert_eq!(kernel.drops, arrivals.dropped);
        while let Some(mut run) = ring.lend(RUN_FRAMES) {
            for item in run.frames() {
                arrivals.waiting.pop_front().unwrap().assert_is(&item.unwrap(), room);
            }
        }
        prop_assert!(arrivals.waiting.is_empty());
    }
}
