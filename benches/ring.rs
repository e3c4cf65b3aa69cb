//! What it costs to walk received frames and to queue answers, over the fake kernel: no system
//! call, no real kernel, one CPU. Each round's result is asserted.

mod measure;

use std::hint::black_box;
use std::time::{Duration, Instant};

use linerate::ring::fake::{Arrival, FakeRxV2, FakeRxV3, FakeTx, Fate};
use linerate::ring::geometry::RUN_FRAMES;
use linerate::ring::geometry::{Geometry, GeometryChoice};
use linerate::ring::receive::{ReceiveRing, RxBatch};
use linerate::ring::rx_v2::RxRingV2;
use linerate::ring::rx_v3::RxRingV3;
use linerate::ring::slots::{Settled, Slots};
use linerate::ring::tx::TxRing;
use linerate::sys::packet::{Direction, RingVersion};

const MTU: usize = 1500;
/// RFC 2544 sizes, FCS included, of which the socket sees four bytes less.
const SIZES: [usize; 2] = [64, 1518];

fn geometry(version: RingVersion, direction: Direction) -> Geometry {
    let choice = GeometryChoice { blocks: Some(4), ..GeometryChoice::default() };
    Geometry::plan(version, direction, MTU, choice, 4096).expect("a valid geometry")
}

/// A ring whose first block is full of frames of `bytes`, and how many they are.
fn full_block(bytes: usize) -> (RxRingV3, u64) {
    let (ring, mut kernel) = FakeRxV3::pair(&geometry(RingVersion::V3, Direction::Receive));
    let frame = vec![b'a'; bytes];
    let mut delivered = 0;
    // The block is handed over by the first frame that does not fit, which goes into the next.
    let mut ring = ring;
    while ring.lend(RUN_FRAMES).map(std::mem::forget).is_none() {
        assert!(kernel.deliver(Arrival::of(&frame)));
        delivered += 1;
    }
    (ring, delivered - 1)
}

/// Frames and bytes of the lent block, each frame's first and last byte touched.
fn walk(ring: &mut RxRingV3) -> (u64, u64) {
    let mut block = ring.lend(RUN_FRAMES).expect("a full block");
    let (mut frames, mut bytes) = (0, 0);
    for frame in block.frames() {
        let frame = frame.expect("a sound frame");
        let (first, last) = (frame.bytes()[0], frame.bytes()[frame.bytes().len() - 1]);
        black_box((first, last, frame.meta.stamp_ns));
        frames += 1;
        bytes += frame.bytes().len() as u64;
    }
    // A forgotten block stays on loan and is lent again: the same block for every round.
    std::mem::forget(block);
    (frames, bytes)
}

fn v3_block_walk() {
    for size in SIZES {
        let (mut ring, held) = full_block(size - 4);
        assert!(held >= if size == 64 { 800 } else { 75 }, "{held} frames of {size} in a block");
        measure::calls(&format!("v3 block walk, {size} B"), held, || {
            let walked = walk(&mut ring);
            assert_eq!(walked, (held, held * (size as u64 - 4)));
        });
    }
}

/// A ring with one run of frames of `bytes`.
fn one_run(bytes: usize) -> (RxRingV2, FakeRxV2) {
    let (ring, mut kernel) = FakeRxV2::pair(&geometry(RingVersion::V2, Direction::Receive));
    let frame = vec![b'a'; bytes];
    (0..RUN_FRAMES).for_each(|_| assert!(kernel.deliver(Arrival::of(&frame))));
    (ring, kernel)
}

fn v2_run() {
    for size in SIZES {
        let lend_walk_return = |(ring, _kernel): &mut (RxRingV2, FakeRxV2)| {
            let mut run = ring.lend(RUN_FRAMES).expect("a run");
            let bytes: usize = run.frames().map(|frame| frame.expect("sound").bytes().len()).sum();
            assert_eq!(bytes, RUN_FRAMES * (size - 4));
            drop(run);
            assert!(ring.lend(RUN_FRAMES).is_none(), "all were returned");
        };
        measure::calls_on(
            &format!("v2 run, {size} B"),
            RUN_FRAMES as u64,
            || one_run(size - 4),
            lend_walk_return,
        );
    }
}

/// A batch of frames is copied into slots and committed; with the fake kernel's own work left out
/// of the time, it is settled.
fn tx_batch() {
    const BATCH: u64 = 64;
    for size in SIZES {
        let mut frame = vec![b'A'; size - 4];
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        let plan = geometry(RingVersion::V2, Direction::Transmit);
        let (mut ring, mut kernel) = FakeTx::pair(&plan, MTU);
        let fill = |ring: &mut TxRing| {
            for _ in 0..BATCH {
                let mut slot = ring.reserve().expect("room");
                slot.bytes()[..frame.len()].copy_from_slice(&frame);
                slot.commit(frame.len()).expect("a sendable frame");
            }
        };
        measure::calls(&format!("tx reserve and commit, {size} B"), BATCH, || {
            fill(&mut ring);
            // Taken back instead of sent: the same slots for every round.
            assert_eq!(ring.withdraw(), (BATCH, Settled::default()));
        });
        measure::timed(&format!("tx settle, {size} B"), BATCH, |rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                fill(&mut ring);
                let sent = kernel.send(|_| Fate::Complete);
                assert_eq!(sent.len() as u64, BATCH);
                assert!(sent.iter().all(|sent| *sent == frame));
                let began = Instant::now();
                let settled = black_box(ring.settle());
                spent += began.elapsed();
                let bytes = BATCH * frame.len() as u64;
                assert_eq!((settled.frames, settled.bytes), (BATCH, bytes));
            }
            spent
        });
    }
}

fn main() {
    v3_block_walk();
    v2_run();
    tx_batch();
}
