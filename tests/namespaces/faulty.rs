//! A reflector that does wrong to chosen frames: each wrong is reported as what it is, to the frame.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::load::choice::RxChoice;
use linerate::load::evidence::Fault;
use linerate::load::plan::{Carriage, Limits, LoadSpec, Sizes};
use linerate::load::rate::Rate;
use linerate::load::run::{Load, LoadOutcome, Threads};
use linerate::ring::budget::MemoryBudget;
use linerate::stats::counters::Tally;
use linerate::sys::packet::{ALL_PROTOCOLS, PacketSocket, SocketType};
use linerate::units::FrameSize;
use linerate::wire::ethernet::{EtherType, MacAddress, VlanTag};

use crate::check::{Test, test};
use crate::load::answer;
use crate::spoiled::unless_spoiled;

pub fn tests() -> Vec<Test> {
    vec![
        test("faulty: every fault is counted to the frame", || {
            unless_spoiled(|| faults(Threads::Together))
        }),
        test("faulty: also when another thread sends", || {
            unless_spoiled(|| faults(Threads::Apart { senders: 1 }))
        }),
        test("faulty: padding behind a stripped tag is no fault", || unless_spoiled(padded)),
        test("faulty: several senders, lost frames and doubled ones", || unless_spoiled(shared)),
    ]
}

/// Frames of each run.
const FRAMES: u64 = 10_000;
/// Longer than this is late.
const LATE_AFTER: Duration = Duration::from_millis(700);
/// How long delayed frames are held.
const HELD: Duration = Duration::from_millis(1000);

/// What the double did.
#[derive(Default)]
struct Done {
    /// Numbers in the order in which they first went back under their own number.
    order: Vec<u64>,
    lost: u64,
    expected: Tally,
}

/// Answers frames in the order of their coming, which is that of their numbers, until told to stop;
/// does wrong to some of every hundred.
fn reflect(socket: &PacketSocket, stop: &AtomicBool) -> Done {
    let mut done = Done::default();
    let mut buffer = vec![0; 2048];
    let mut swapped = None;
    let mut held: VecDeque<(Instant, u64, Vec<u8>)> = VecDeque::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        if held.front().is_some_and(|(since, ..)| since.elapsed() > HELD)
            && let Some((_, late, frame)) = held.pop_front()
        {
            send(socket, &frame);
            done.order.push(late);
            done.expected.intact += 1;
            done.expected.late += 1;
        }
        let Ok(received) = socket.receive(&mut buffer) else {
            let _ = socket.wait_readable(Duration::from_millis(5));
            continue;
        };
        let mut frame = buffer[..received.wire_bytes].to_vec();
        answer(&mut frame);
        let tally = &mut done.expected;
        let mut own = true;
        match (number % 1000, number % 100) {
            (520, _) => {
                held.push_back((Instant::now(), number, frame));
                number += 1;
                continue;
            }
            (_, 1) => {
                done.lost += 1;
                number += 1;
                continue;
            }
            (_, 2) => {
                send(socket, &frame);
                tally.intact += 1;
                tally.duplicated += 1;
            }
            (_, 3) => {
                frame[50] ^= 0x40;
                tally.corrupted += 1;
            }
            (_, 4) => {
                frame.truncate(40);
                tally.truncated += 1;
            }
            (_, 5) => {
                frame[15] ^= 1;
                tally.foreign += 1;
                done.lost += 1;
                own = false;
            }
            (_, 6) => {
                frame[14..].make_ascii_lowercase();
                tally.not_transformed += 1;
            }
            (_, 10) => {
                swapped = Some((number, frame));
                number += 1;
                continue;
            }
            _ => tally.intact += 1,
        }
        send(socket, &frame);
        if own {
            done.order.push(number);
        }
        if number % 100 == 14
            && let Some((earlier, frame)) = swapped.take()
        {
            send(socket, &frame);
            done.order.push(earlier);
            done.expected.intact += 1;
        }
        number += 1;
    }
    // RFC 4737 as it is written, over what went back.
    let mut largest = 0;
    for &number in &done.order {
        done.expected.reordered += u64::from(number < largest);
        largest = largest.max(number);
    }
    done
}

fn send(socket: &PacketSocket, frame: &[u8]) {
    while socket.send(frame).is_err() {
        std::thread::yield_now();
    }
}

/// The largest extent by the definition: for each reordered i, the earliest j with a larger number.
fn extent_max(order: &[u64]) -> u64 {
    let mut records: Vec<(u64, usize)> = Vec::new();
    let mut extent = 0;
    for (i, &number) in order.iter().enumerate() {
        match records.last() {
            Some(&(largest, _)) if number < largest => {
                let earliest = records.partition_point(|&(record, _)| record < number);
                extent = extent.max(i - records[earliest].1);
            }
            _ => records.push((number, i)),
        }
    }
    extent as u64
}

fn open(lab: &Lab) -> Result<PacketSocket, Failed> {
    let socket = lab.engine.namespace.run(|| -> linerate::error::Result<PacketSocket> {
        let socket = PacketSocket::open(SocketType::Raw)?;
        socket.ignore_outgoing()?;
        Ok(socket)
    })??;
    socket.set_receive_buffer(16 << 20)?;
    socket.bind(lab.engine.link.index, ALL_PROTOCOLS)?;
    Ok(socket)
}

fn plan(lab: &Lab) -> LoadSpec {
    let (here, there) = (MacAddress(GENERATOR.mac), MacAddress(ENGINE.mac));
    let config = LoadSpec::new(lab.generator.link.index, 1500, here, there);
    let mut plan = config.paced(Rate::frames(10_000), Limits::frames(FRAMES));
    plan.drain = Duration::from_secs(2);
    plan.late_after = LATE_AFTER;
    plan
}

/// What a load finds, and what the reflector that it runs against says at its end.
fn against<T: Send + 'static>(
    lab: &Lab,
    plan: &LoadSpec,
    reflector: impl FnOnce(&PacketSocket, &AtomicBool) -> T + Send + 'static,
) -> Result<(LoadOutcome, T), Failed> {
    let socket = open(lab)?;
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let reflector = std::thread::spawn(move || reflector(&socket, &seen));
    let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
    let outcome = lab.generator.namespace.run(|| Load::run(plan, &budget, &mut |_| {}))??;
    stop.store(true, Ordering::Relaxed);
    let said = reflector.join().map_err(|_| Failed::from("the reflector panicked"))?;
    Ok((outcome, said))
}

/// Has each frame that comes, answered, sent by `send` until told to stop.
fn answer_each(socket: &PacketSocket, stop: &AtomicBool, mut send: impl FnMut(Vec<u8>)) {
    let mut buffer = vec![0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok(received) = socket.receive(&mut buffer) else {
            let _ = socket.wait_readable(Duration::from_millis(5));
            continue;
        };
        let mut frame = buffer[..received.wire_bytes].to_vec();
        answer(&mut frame);
        send(frame);
    }
}

fn faults(threads: Threads) -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let mut plan = plan(&lab);
    plan.threads = threads;
    plan.evidence_max = 2000;
    let (outcome, done) = against(&lab, &plan, reflect)?;

    outcome.assert_conserved();
    assert_eq!(outcome.kernel.drops, 0);
    assert_eq!((outcome.sent, outcome.lost), (FRAMES, done.lost));
    assert_eq!(outcome.tally, done.expected);
    assert_eq!(done.expected.late, 10);
    assert_eq!(done.expected.reordered, 110);
    assert_eq!(outcome.reorder_extent_max, extent_max(&done.order));
    assert!(outcome.reorder_extent_max >= 4);
    // Every intact frame was timed, the delayed ones as such.
    assert_eq!(outcome.untimed, 0);
    assert_eq!(outcome.latencies.service.count(), outcome.tally.intact);
    assert!(outcome.latencies.service.max() > LATE_AFTER.as_nanos() as u64);

    let kept = |wanted: fn(&Fault) -> bool| {
        outcome.evidence.iter().filter(|one| wanted(&one.fault)).count()
    };
    assert_eq!(kept(|fault| *fault == Fault::Corrupted { first_offset: 50 }), 100);
    assert_eq!(kept(|fault| *fault == Fault::Truncated), 100);
    assert_eq!(kept(|fault| *fault == Fault::NotTransformed), 100);
    assert_eq!(kept(|fault| *fault == Fault::Duplicated), 100);
    assert_eq!(kept(|fault| *fault == Fault::Foreign), 100);
    assert_eq!(outcome.evidence.len(), 500);
    for one in &outcome.evidence {
        let bytes = if one.fault == Fault::Truncated { 40 } else { 60 };
        assert_eq!((one.bytes.len(), one.wire_bytes), (bytes, bytes));
        assert!(one.stamp_ns > 1_000_000_000_000_000_000);
        assert_eq!(one.number.is_none(), one.fault == Fault::Foreign);
    }
    Ok(())
}

/// A driver pads a short frame after its device took the tag off; here the reflector does, so that the kernel's
/// stripping leaves the same frame.
fn padded() -> Result<(), Failed> {
    let tag = VlanTag::customer(100, 0);
    for (rx, bytes) in [RxChoice::V3, RxChoice::V2].into_iter().zip([64, 66]) {
        let lab = Lab::create(&LabConfig::default())?;
        let mut plan = plan(&lab);
        plan.rx = Some(rx);
        plan.carriage = Carriage::raw(EtherType::LOCAL_EXPERIMENTAL).tagged(tag);
        plan.sizes = Sizes::Fixed(FrameSize::with_fcs(bytes)?);
        let (outcome, ()) = against(&lab, &plan, move |socket, stop| {
            answer_each(socket, stop, |mut frame| {
                frame.resize(60, 0);
                frame.splice(12..12, tag.bytes());
                send(socket, &frame);
            });
        })?;
        assert_eq!(outcome.tally, Tally { intact: FRAMES, ..Tally::default() });
    }
    Ok(())
}

/// With three senders frames come in any order; what is lost or doubled is still exact.
fn shared() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let mut plan = plan(&lab);
    plan.threads = Threads::Apart { senders: 3 };
    plan.flows = 11;
    let (outcome, seen) = against(&lab, &plan, |socket, stop| {
        let mut number = 0u64;
        answer_each(socket, stop, |frame| {
            let times = match number % 10 {
                3 => 0,
                7 => 2,
                _ => 1,
            };
            (0..times).for_each(|_| send(socket, &frame));
            number += 1;
        });
        number
    })?;
    outcome.assert_conserved();
    assert_eq!((seen, outcome.sent, outcome.lost), (FRAMES, FRAMES, FRAMES / 10));
    let tally = Tally { intact: FRAMES - FRAMES / 10, duplicated: FRAMES / 10, ..Tally::default() };
    assert_eq!(outcome.tally, tally);
    Ok(())
}
