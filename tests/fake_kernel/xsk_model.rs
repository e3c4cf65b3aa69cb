//! Random lives of AF_XDP rings: frames are conserved, whatever the kernel does with them.

use linerate::ring::receive::RxBatch;
use linerate::ring::slots::Slots;
use linerate::ring::xsk::fake::{FakeXsk, XskFate};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::xsk::frame;

#[derive(Clone, Debug)]
enum Step {
    /// So many frames are committed, as far as there is room.
    Commit(usize),
    /// A slot is reserved, scribbled over and dropped.
    Abandon,
    /// A kick, during which the kernel decides so over the frames, one after the other.
    Kick(Vec<XskFate>),
    /// The driver is done with so many frames, the newest first or the oldest.
    Complete(usize, bool),
    /// The link goes up or down.
    Link(bool),
    Settle,
    Withdraw,
}

fn fates() -> impl Strategy<Value = Vec<XskFate>> {
    let fate = prop_oneof![
        5 => Just(XskFate::Complete),
        5 => Just(XskFate::InDriver),
        1 => Just(XskFate::Full),
        1 => Just(XskFate::Dropped),
    ];
    vec(fate, 1..50)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1usize..50).prop_map(Step::Commit),
        1 => Just(Step::Abandon),
        5 => fates().prop_map(Step::Kick),
        3 => (0usize..40, any::<bool>()).prop_map(|(frames, newest)| Step::Complete(frames, newest)),
        1 => any::<bool>().prop_map(Step::Link),
        2 => Just(Step::Settle),
        1 => Just(Step::Withdraw),
    ]
}

proptest! {
    #[test]
    fn every_committed_frame_is_sent_dropped_withdrawn_or_in_flight(
        frames in prop_oneof![Just(4usize), Just(32), Just(64)],
        steps in vec(step(), 1..60),
    ) {
        let (mut ring, mut kernel) = FakeXsk::sending(frames, 2048, 1500);
        let (mut committed, mut withdrawn, mut taken, mut taken_bytes) = (0u64, 0, 0, 0);
        let (mut dropped, mut drops) = (0u64, 0u64);
        let mut sent = Vec::new();
        for step in steps {
            match step {
                Step::Commit(count) => {
                    for _ in 0..count {
                        let Some(mut slot) = ring.reserve() else { break };
                        let bytes = frame(committed as usize);
                        slot.bytes()[..bytes.len()].copy_from_slice(&bytes);
                        slot.commit(bytes.len()).unwrap();
                        committed += 1;
                    }
                }
                Step::Abandon => {
                    if let Some(mut slot) = ring.reserve() {
                        slot.bytes().fill(0xaa);
                    }
                }
                Step::Kick(fates) => {
                    let mut next = fates.iter().cycle();
                    let result = ring.kick(|| kernel.kick(&mut sent, |_| {
                        let fate = *next.next().unwrap();
                        drops += u64::from(fate == XskFate::Dropped);
                        fate
                    }));
                    if result.is_ok() {
                        let settled = ring.settle();
                        taken += settled.frames;
                        taken_bytes += settled.bytes;
                        dropped += settled.dropped;
                        prop_assert_eq!(ring.in_flight(), 0, "Ok means that all is taken");
                    }
                }
                Step::Complete(frames, newest) => kernel.complete(frames, newest),
                Step::Link(up) => kernel.up = up,
                Step::Settle => {
                    let settled = ring.settle();
                    taken += settled.frames;
                    taken_bytes += settled.bytes;
                    dropped += settled.dropped;
                }
                Step::Withdraw => {
                    let (frames, settled) = ring.withdraw();
                    withdrawn += frames;
                    taken += settled.frames;
                    taken_bytes += settled.bytes;
                    dropped += settled.dropped;
                    prop_assert_eq!(ring.in_flight(), 0);
                }
            }
            prop_assert!(taken <= sent.len() as u64);
            prop_assert_eq!(committed, taken + dropped + withdrawn + ring.in_flight());
        }
        // The end: all is sent and completed, and every frame is there again.
        kernel.up = true;
        ring.kick(|| kernel.kick(&mut sent, |_| XskFate::Complete)).unwrap();
        kernel.complete(frames, false);
        let settled = ring.settle();
        taken += settled.frames;
        taken_bytes += settled.bytes;
        dropped += settled.dropped;
        prop_assert_eq!(taken, sent.len() as u64);
        prop_assert_eq!(taken_bytes, sent.iter().map(|one| one.len() as u64).sum::<u64>());
        prop_assert_eq!(dropped, drops);
        prop_assert_eq!(committed, taken + dropped + withdrawn);
        prop_assert_eq!((ring.uncompleted(), ring.strays()), (0, 0));
        // In order, each once, and whole.
        let mut last = None;
        for bytes in &sent {
            let number = usize::from_be_bytes(*bytes.first_chunk().unwrap());
            prop_assert_eq!(bytes, &frame(number));
            prop_assert!(Some(number) > last);
            last = Some(number);
        }
    }

    #[test]
    fn frames_go_round_between_fill_receive_tx_and_completion(
        frames in prop_oneof![Just(4usize), Just(16)],
        batch in 1usize..9,
        rounds in vec((0usize..20, any::<u16>(), fates(), 0usize..20, any::<bool>()), 1..40),
    ) {
        let (mut receive, mut forward, mut kernel) = FakeXsk::receiving(frames, 2048, batch);
        let (mut arrived, mut seen, mut posted) = (0usize, 0usize, 0u64);
        let (mut taken, mut dropped, mut withdrawn) = (0, 0, 0);
        let mut sent = Vec::new();
        for (arrivals, forwarded, fates, completed, withdraws) in rounds {
            for _ in 0..arrivals {
                arrived += usize::from(kernel.deliver(&frame(arrived)));
            }
            if let Some(mut lent) = receive.lend() {
                for (place, mut one) in lent.frames().map(Result::unwrap).enumerate() {
                    prop_assert_eq!(one.bytes(), frame(seen));
                    seen += 1;
                    if forwarded & 1 << (place % 16) != 0 && forward.has_room() {
                        let (start, length) = (one.room().1, one.bytes().len());
                        forward.post(one.into_umem().unwrap(), start, length);
                        posted += 1;
                    }
                }
                let mut next = fates.iter().cycle();
                let _ = forward.kick(|| kernel.kick(&mut sent, |_| *next.next().unwrap()));
            }
            kernel.complete(completed, withdraws);
            if withdraws {
                let (frames, settled) = forward.withdraw();
                withdrawn += frames;
                taken += settled.frames;
                dropped += settled.dropped;
            }
            let settled = forward.settle();
            taken += settled.frames;
            dropped += settled.dropped;
            prop_assert_eq!(posted, taken + dropped + withdrawn + forward.in_flight());
            prop_assert_eq!(receive.strays(), 0);
        }
        // When all is sent and completed, as many frames can arrive as there are.
        forward.kick(|| kernel.kick(&mut sent, |_| XskFate::Complete)).unwrap();
        kernel.complete(frames, false);
        while receive.lend().is_some() {}
        let room = (0..frames + 1).filter(|&number| kernel.deliver(&frame(number))).count();
        prop_assert_eq!(room, frames);
    }
}
