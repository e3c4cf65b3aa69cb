//! What the kernel takes for sending: the rules that the engine keeps, asked of this kernel.

use std::os::fd::{AsFd, AsRawFd};

use libtest_mimic::{Completion, Failed};
use linerate::lab::{Lab, LabConfig, Side};
use linerate::ring::budget::MemoryBudget;
use linerate::ring::geometry::GeometryChoice;
use linerate::ring::send_rule::{self, SendRefusal};
use linerate::ring::setup::TxRingSocket;
use linerate::ring::slots::Slots;
use linerate::sys::kick::Kick;
use linerate::sys::packet::{MESSAGES_MAX, PacketSocket, SendBatch, SocketType};

use crate::check::{PATIENCE, Test, eventually, impossible_here, possible_test, test};
use crate::client::{Client, EXPERIMENTAL, numbered};
use crate::slow_queue::slow_down;

pub fn tests() -> Vec<Test> {
    vec![
        test("kernel: plain sends keep the rule of lengths and EtherTypes", plain_rule),
        test("kernel: TX slots go round with each byte in its place", slots),
        test(
            "kernel: with copy hints each byte is in its place, and the MTU is ours to keep",
            copy_hints,
        ),
        test(
            "kernel: PACKET_LOSS stays on with a ring, so that no slot is WRONG_FORMAT",
            loss_stays,
        ),
        possible_test("kernel: no TX slot is written while the kernel has it", slots_in_a_queue),
        test("kernel: the first send after a flap reports the old outage", stale_outage),
        test(
            "kernel: a socket with a TX ring ignores the buffer given to send",
            ring_ignores_buffer,
        ),
        test("kernel: sendmmsg stops at the first frame that it refuses", batch_stops),
    ]
}

const MTU: usize = 1500;
const LENGTHS: [usize; 10] = [13, 14, 15, 60, 1513, 1514, 1515, 1517, 1518, 1519];
const ETHER_TYPES: [u16; 6] = [EXPERIMENTAL, 0x0800, 0x8100, 0x88a8, 0x9100, 0x0100];

/// A frame whose bytes 12 and 13 are `ether_type`, as far as it goes.
fn frame(length: usize, ether_type: u16) -> Vec<u8> {
    let mut frame = numbered(7, 1600);
    frame[12..14].copy_from_slice(&ether_type.to_be_bytes());
    frame.truncate(length);
    frame
}

fn rule(frame: &[u8]) -> Result<(), SendRefusal> {
    let ether_type = frame.get(12..14).map_or([0; 2], |field| [field[0], field[1]]);
    send_rule::check(frame.len(), ether_type, MTU)
}

fn plain_rule() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let socket = plain_socket(&lab.engine)?;
    for ether_type in ETHER_TYPES {
        for length in LENGTHS {
            let frame = frame(length, ether_type);
            let before = lab.engine.counters()?.transmitted_frames;
            let sent = socket.send(&frame);
            let transmitted = lab.engine.counters()?.transmitted_frames - before;
            let taken = rule(&frame).is_ok();
            assert_eq!(sent.is_ok(), taken, "{length} bytes of {ether_type:#06x}: {sent:?}");
            assert_eq!(transmitted, u64::from(taken), "{length} bytes of {ether_type:#06x}");
        }
    }
    Ok(())
}

fn plain_socket(side: &Side) -> Result<PacketSocket, Failed> {
    side.namespace.run(|| -> Result<PacketSocket, Failed> {
        let socket = PacketSocket::open(SocketType::Raw)?;
        socket.bind(side.link.index, 0)?;
        Ok(socket)
    })?
}

fn tx_ring(side: &Side, mtu: usize, block_bytes: usize) -> Result<TxRingSocket, Failed> {
    let small = GeometryChoice {
        block_bytes: Some(block_bytes),
        blocks: Some(4),
        ..GeometryChoice::default()
    };
    let budget = MemoryBudget::new(1 << 20);
    side.namespace.run(|| -> Result<TxRingSocket, Failed> {
        let opened = TxRingSocket::open(small, mtu, &budget)?;
        opened.socket.bind(side.link.index, 0)?;
        Ok(opened)
    })?
}

fn slots() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let mut client = Client::open(&lab.generator)?;
    let mut opened = tx_ring(&lab.engine, MTU, 4096)?;
    assert_eq!(opened.geometry.frames(), 8);
    // Three times round, in batches that do not divide it.
    let frames: Vec<_> = (0..24).map(|n| numbered(n, 60 + 61 * n as usize)).collect();
    for batch in frames.chunks(5) {
        for frame in batch {
            let mut slot = opened.ring.reserve().ok_or("no slot")?;
            slot.bytes()[..frame.len()].copy_from_slice(frame);
            slot.commit(frame.len()).map_err(|refusal| format!("{refusal:?}"))?;
        }
        opened.socket.kick()?;
        let settled = opened.ring.settle();
        assert_eq!(settled.frames, batch.len() as u64);
        assert_eq!(settled.bytes, batch.iter().map(|frame| frame.len() as u64).sum::<u64>());
    }
    client.exchange::<Vec<u8>, _>(&[], &frames)
}

/// Frames wait in a slow queue, where they still lie in their slots: one that is written too early is sent
/// with the bytes of another.
fn slots_in_a_queue() -> Result<Completion, Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let mut client = Client::open(&lab.generator)?;
    let mut opened = tx_ring(&lab.engine, MTU, 4096)?;
    if !slow_down(&lab.engine, 150_000, 64 << 10)? {
        return impossible_here("this kernel has no tbf queue (CONFIG_NET_SCH_TBF)");
    }
    let frames: Vec<_> = (0..80).map(|number| numbered(number, 1000)).collect();
    let (mut times_full, mut received) = (0, Vec::new());
    for frame in &frames {
        eventually("a slot is free", || {
            received.extend(client.collect_now()?);
            opened.ring.settle();
            let Some(mut slot) = opened.ring.reserve() else {
                times_full += 1;
                return Ok(false);
            };
            slot.bytes()[..frame.len()].copy_from_slice(frame);
            slot.commit(frame.len()).map_err(|refusal| format!("{refusal:?}"))?;
            Ok(true)
        })?;
        opened.socket.kick()?;
    }
    assert!(times_full > 0, "the queue was never full");
    received.extend(client.collect(frames.len() - received.len())?);
    assert!(received.iter().map(|one| &one.bytes).eq(&frames), "a slot was written too early");
    Ok(Completion::Completed)
}

/// Without it the kernel would keep a refused frame in its slot as TP_STATUS_WRONG_FORMAT and go no further.
fn loss_stays() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let opened = tx_ring(&lab.engine, MTU, 4096)?;
    let off: libc::c_int = 0;
    // SAFETY: the pointer and length describe a live integer, which setsockopt(2) only reads.
    let result = unsafe {
        libc::setsockopt(
            opened.socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_LOSS,
            (&raw const off).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    let errno = std::io::Error::last_os_error().raw_os_error();
    assert_eq!((result, errno), (-1, Some(libc::EBUSY)));
    Ok(())
}

/// Frames that are copied whole, and longer ones that are not.
fn copy_hints() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig { mtu: 9000, ..LabConfig::default() })?;
    let mut client = Client::open(&lab.generator)?;
    let mut sender = tx_ring(&lab.engine, 9000, 16384)?;
    assert!(sender.ring.slot_capacity() >= 9018);
    // Three times round.
    let lengths = [60, 61, 1514, 2047, 2048, 2049, 4096, 4097, 9013, 9014, 14, 100];
    let frames: Vec<_> = (0u32..).zip(lengths).map(|(n, bytes)| numbered(n, bytes)).collect();
    for frame in &frames {
        let mut slot = sender.ring.reserve().ok_or("no slot")?;
        slot.bytes()[..frame.len()].copy_from_slice(frame);
        slot.commit(frame.len()).map_err(|refusal| format!("{refusal:?}"))?;
        sender.socket.kick()?;
        let settled = sender.ring.settle();
        assert_eq!((settled.frames, settled.bytes), (1, frame.len() as u64));
    }
    client.exchange::<Vec<u8>, _>(&[], &frames)?;
    // What our own rule lets pass by mistake, the kernel does as well.
    sender.ring.set_mtu(10_000);
    let before = lab.engine.counters()?.transmit_dropped;
    let mut slot = sender.ring.reserve().ok_or("no slot")?;
    slot.bytes()[12..14].copy_from_slice(&EXPERIMENTAL.to_be_bytes());
    slot.commit(9100).map_err(|refusal| format!("{refusal:?}"))?;
    assert!(sender.socket.kick().is_err(), "the other end refuses it, and not the socket");
    assert!(lab.engine.counters()?.transmit_dropped > before);
    Ok(())
}

fn stale_outage() -> Result<(), Failed> {
    let mut lab = Lab::create(&LabConfig::default())?;
    let socket = plain_socket(&lab.engine)?;
    // Only a socket that hears of its interface hears of the outage.
    socket.bind(lab.engine.link.index, linerate::sys::packet::ALL_PROTOCOLS)?;
    lab.engine.set_up(false)?;
    lab.engine.set_up(true)?;
    lab.engine.wait_until_running(PATIENCE)?;
    let frame = numbered(1, 60);
    let first = socket.send(&frame).err().and_then(|error| error.raw_os_error());
    assert_eq!(first, Some(libc::ENETDOWN));
    assert_eq!(socket.send(&frame)?, 60);
    Ok(())
}

fn batch_stops() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let mut client = Client::open(&lab.generator)?;
    let socket = plain_socket(&lab.engine)?;
    // More than one call takes, and two that it refuses, each for a reason of its own.
    let mut frames: Vec<_> = (0..1500).map(|number| numbered(number, 60)).collect();
    frames.insert(700, numbered(0, 1515));
    frames.insert(30, vec![0; 13]);
    let mut batch = SendBatch::new(2000);
    let mut gather = batch.gather();
    let (first, rest) = frames.split_at(MESSAGES_MAX);
    let mut stops = Vec::new();
    for part in [first, rest] {
        part.iter().for_each(|frame| gather.push(frame));
        assert_eq!(gather.has_room(), part.len() < MESSAGES_MAX);
        loop {
            let sent = gather.send(&socket);
            let Some(error) = sent.refused else { break };
            stops.push((sent.frames, sent.bytes, error.raw_os_error()));
            gather.skip();
        }
        assert_eq!(gather.waiting(), 0);
    }
    let [too_short, too_long] = [Some(libc::EINVAL), Some(libc::EMSGSIZE)];
    assert_eq!(stops, [(30, 30 * 60, too_short), (670, 670 * 60, too_long)]);
    frames.retain(|frame| frame.len() == 60);
    client.exchange::<Vec<u8>, _>(&[], &frames)
}

fn ring_ignores_buffer() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let opened = tx_ring(&lab.engine, MTU, 4096)?;
    assert_eq!(opened.socket.send(&numbered(1, 60))?, 0);
    assert_eq!(lab.engine.counters()?.transmitted_frames, 0);
    Ok(())
}
