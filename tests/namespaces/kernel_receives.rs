//! What packet sockets receive: the facts that the engine rests on, asked of this kernel.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use libtest_mimic::Failed;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig, Side};
use linerate::ring::budget::MemoryBudget;
use linerate::ring::frame::{FrameMeta, PacketType, stripped_tag};
use linerate::ring::geometry::{GeometryChoice, RUN_FRAMES};
use linerate::ring::receive::{ReceiveRing, RxBatch};
use linerate::ring::setup::{RxRing, RxRingSocket};
use linerate::sys::clock::realtime_ns;
use linerate::sys::filter::{Instruction, Wanted};
use linerate::sys::packet::{
    ALL_PROTOCOLS, Auxiliary, FanoutMode, PacketSocket, ReceiveBatch, RingVersion, SocketType,
};
use linerate::wire::ethernet::VlanTag;

use crate::check::{PATIENCE, Test, eventually, kernel_before, test};
use crate::client::{Client, EXPERIMENTAL, QUIET, frame_between, numbered};

pub fn tests() -> Vec<Test> {
    let mut tests = vec![
        test("kernel: a socket of protocol 0 receives nothing, bound or not", silent_protocol),
        test(
            "kernel: PACKET_IGNORE_OUTGOING holds for one socket, not in a group",
            ignore_outgoing,
        ),
        test("kernel: a plain receive call sees no tag, and the frame without it", plain_receive),
        test("kernel: a received message tells tag, type, length and stamp", || messages(false)),
        test("kernel: many messages of one call tell them each", || messages(true)),
    ];
    for (name, version) in [("V2", RingVersion::V2), ("V3", RingVersion::V3)] {
        let named =
            |what: &str| format!("kernel: {name} rings, bound to all with a filter, {what}");
        tests.push(test(named("keep tags"), move || keeps_tags(version)));
        tests.push(test(named("hear no outgoing frame"), move || hears_no_outgoing(version, 1)));
        tests.push(test(named("nor in a group of two"), move || hears_no_outgoing(version, 2)));
        tests.push(test(named("count drops among the packets"), move || statistics(version)));
    }
    tests
}

/// The binding of every path that keeps tags.
fn wanted() -> Vec<Instruction> {
    Wanted { ether_types: vec![EXPERIMENTAL], tagged: true }.program()
}

fn everything() -> Vec<Instruction> {
    Wanted { ether_types: vec![], tagged: true }.program().split_off(3)
}

fn open(side: &Side, version: RingVersion, filter: &[Instruction]) -> Result<RxRingSocket, Failed> {
    let receive =
        GeometryChoice { block_bytes: Some(4096), blocks: Some(8), ..GeometryChoice::default() };
    let budget = MemoryBudget::new(8 << 20);
    side.namespace.run(|| -> Result<RxRingSocket, Failed> {
        let rings = RxRingSocket::open(version, receive, 1500, filter, &budget)?;
        // A veth has no stamps of its own: frames carry the kernel's.
        rings.socket.prefer_nic_stamps()?;
        rings.socket.bind(side.link.index, ALL_PROTOCOLS)?;
        Ok(rings)
    })?
}

type Taken = Vec<(FrameMeta, Vec<u8>)>;

/// Takes what there is in some rings until these are `count` frames, and what comes a while later.
fn take(rings: &mut [RxRingSocket], count: usize) -> Result<Taken, Failed> {
    let mut taken = Vec::new();
    let mut take_all = |taken: &mut Taken| {
        rings.iter_mut().for_each(|rings| take_now(&mut rings.ring, taken));
        Ok(taken.len() >= count)
    };
    eventually("the frames are in the rings", || take_all(&mut taken))?;
    std::thread::sleep(QUIET);
    take_all(&mut taken)?;
    Ok(taken)
}

fn take_now(ring: &mut RxRing, taken: &mut Taken) {
    match ring {
        RxRing::V2(ring) => {
            while let Some(mut run) = ring.lend(RUN_FRAMES) {
                taken.extend(run.frames().flatten().map(|one| (one.meta, one.bytes().to_vec())));
            }
        }
        RxRing::V3(ring) => {
            while let Some(mut block) = ring.lend(RUN_FRAMES) {
                taken.extend(block.frames().flatten().map(|one| (one.meta, one.bytes().to_vec())));
            }
        }
    }
}

fn silent_protocol() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let client = Client::open(&lab.generator)?;
    let open = || PacketSocket::open(SocketType::Raw);
    let unbound = lab.engine.namespace.run(open)??;
    let bound = lab.engine.namespace.run(open)??;
    bound.bind(lab.engine.link.index, 0)?;
    client.send(&numbered(1, 60))?;
    assert!(!unbound.wait_readable(QUIET)? && !bound.wait_readable(QUIET)?);
    bound.bind(lab.engine.link.index, ALL_PROTOCOLS)?;
    client.send(&numbered(2, 60))?;
    assert!(bound.wait_readable(PATIENCE)?);
    Ok(())
}

fn keeps_tags(version: RingVersion) -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let client = Client::open(&lab.generator)?;
    let mut rings = [open(&lab.engine, version, &wanted())?];
    let plain = numbered(1, 64);
    let outer = [VlanTag::customer(5, 3), VlanTag::customer(0, 0), VlanTag::service(9, 0)];
    let inner = VlanTag::customer(6, 1);
    for tag in outer {
        let mut tagged = plain.clone();
        tagged.splice(12..12, tag.bytes());
        client.send(&tagged)?;
    }
    let mut stacked = plain.clone();
    stacked.splice(12..12, [outer[2].bytes(), inner.bytes()].concat());
    client.send(&stacked)?;
    client.send(&frame_between(ENGINE.mac, GENERATOR.mac, 0x88b6, &[b'n'; 46]))?;
    let mut with_inner = plain.clone();
    with_inner.splice(12..12, inner.bytes());
    let taken = take(&mut rings, 4)?;
    let seen: Vec<_> = taken.into_iter().map(|(meta, bytes)| (meta.tag, bytes)).collect();
    let mut expected: Vec<_> = outer.map(|tag| (Some(tag), plain.clone())).to_vec();
    expected.push((Some(outer[2]), with_inner));
    assert_eq!(seen, expected);
    Ok(())
}

/// Neither what the sockets send themselves nor what another one does, without any option set.
fn hears_no_outgoing(version: RingVersion, members: usize) -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let client = Client::open(&lab.generator)?;
    let mut sockets = Vec::new();
    let mut group = None;
    for _ in 0..members {
        let rings = open(&lab.engine, version, &wanted())?;
        if members > 1 {
            rings.socket.join_fanout(
                group.unwrap_or(0),
                FanoutMode::LoadBalance.into(),
                group.is_none(),
            )?;
            group = Some(rings.socket.fanout_id()?);
        }
        sockets.push(rings);
    }
    let outgoing = frame_between(ENGINE.mac, GENERATOR.mac, EXPERIMENTAL, &[b'o'; 46]);
    let foreign = sender(&lab.engine)?;
    for _ in 0..10 {
        foreign.send(&outgoing)?;
        for rings in &mut sockets {
            rings.socket.send(&outgoing)?;
        }
        client.send(&numbered(1, 60))?;
    }
    let transmitted = lab.engine.counters()?.transmitted_frames;
    assert_eq!(transmitted, 10 * (1 + members as u64));
    let taken = take(&mut sockets, 10)?;
    assert_eq!(taken.len(), 10);
    assert!(taken.iter().all(|(meta, _)| meta.packet_type == PacketType::Host), "{taken:?}");
    Ok(())
}

fn sender(side: &Side) -> Result<PacketSocket, Failed> {
    side.namespace.run(|| -> Result<PacketSocket, Failed> {
        let socket = PacketSocket::open(SocketType::Raw)?;
        socket.bind(side.link.index, 0)?;
        Ok(socket)
    })?
}

/// Why there is a filter and a flag of the group beside the option of the socket.
fn ignore_outgoing() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let foreign = sender(&lab.engine)?;
    let outgoing = numbered(1, 60);
    let open = || open(&lab.engine, RingVersion::V2, &everything());

    let mut alone = [open()?];
    foreign.send(&outgoing)?;
    assert_eq!(take(&mut alone, 1)?.len(), 1, "outgoing frames are looped back");
    alone[0].socket.ignore_outgoing()?;
    foreign.send(&outgoing)?;
    assert_eq!(take(&mut alone, 0)?.len(), 0, "the option holds");

    let mut member = [open()?];
    member[0].socket.ignore_outgoing()?;
    join_without_flag(&member[0].socket)?;
    foreign.send(&outgoing)?;
    assert_eq!(take(&mut member, 1)?.len(), 1, "the option is lost in a group");

    let mut flagged = [open()?];
    flagged[0].socket.join_fanout(0, FanoutMode::LoadBalance.into(), true)?;
    foreign.send(&outgoing)?;
    // Kernels before 6.2 accept the flag and ignore it; there the filter alone helps.
    let seen = take(&mut flagged, 0)?.len();
    assert!(seen == 0 || kernel_before(6, 2)?, "the group's flag holds");
    Ok(())
}

/// Joins a round-robin group of its own as `join_fanout` does, less FANOUT_FLAG_IGNORE_OUTGOING.
fn join_without_flag(socket: &Arc<PacketSocket>) -> Result<(), Failed> {
    let mode = libc::PACKET_FANOUT_LB | libc::PACKET_FANOUT_FLAG_UNIQUEID;
    let argument: u32 = mode << 16;
    // SAFETY: the pointer and length describe a live integer, which setsockopt(2) only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_FANOUT,
            (&raw const argument).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}

/// Why `syscall` keeps tagged frames out: it could not tell them from untagged ones.
fn plain_receive() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let client = Client::open(&lab.generator)?;
    let socket = sender(&lab.engine)?;
    socket.bind(lab.engine.link.index, ALL_PROTOCOLS)?;
    let plain = numbered(1, 60);
    let mut tagged = plain.clone();
    tagged.splice(12..12, VlanTag::customer(5, 0).bytes());
    client.send(&tagged)?;
    assert!(socket.wait_readable(PATIENCE)?);
    let mut buffer = [0; 100];
    let received = socket.receive(&mut buffer)?;
    assert_eq!(buffer[..received.wire_bytes], plain);
    Ok(())
}

fn messages(many: bool) -> Result<(), Failed> {
    const FRAME_BYTES: usize = 100;
    let lab = Lab::create(&LabConfig::default())?;
    let client = Client::open(&lab.generator)?;
    let socket = sender(&lab.engine)?;
    socket.tell_auxiliary()?;
    socket.tell_stamps()?;
    socket.tell_nic_stamps()?;
    socket.bind(lab.engine.link.index, ALL_PROTOCOLS)?;
    let mut batch = ReceiveBatch::new(if many { 4 } else { 1 }, FRAME_BYTES);
    let empty = |batch: &mut ReceiveBatch| match many {
        true => socket.receive_messages(batch).map(drop),
        false => socket.receive_message(batch).map(drop),
    };
    let tags = [None, Some(VlanTag::customer(5, 0)), Some(VlanTag::service(0, 0))];
    // Twice, since the kernel overwrites lengths that it reads.
    for round in 0..2 {
        let before_ns = realtime_ns();
        // One of them does not fit.
        for (number, length) in [60, 61, FRAME_BYTES + 50, 62, 63, 64].into_iter().enumerate() {
            let mut frame = numbered(number as u32, length);
            if number == 5 {
                frame[..6].copy_from_slice(&[0xff; 6]);
            }
            let tag = tags[number % 3];
            frame.splice(12..12, tag.into_iter().flat_map(|tag| tag.bytes()));
            client.send(&frame)?;
        }
        assert!(socket.wait_readable(PATIENCE)?);
        let mut seen = Vec::new();
        while seen.len() < 6 {
            let mut received = match many {
                true => socket.receive_messages(&mut batch)?,
                false => socket.receive_message(&mut batch)?,
            };
            for message in received.walk() {
                let Auxiliary { status, tag_control, tag_protocol } = message.auxiliary;
                let tag = stripped_tag(status, tag_control, tag_protocol);
                let bytes = message.room[message.start..].to_vec();
                assert!(message.start >= 4, "no room for a tag");
                assert!(message.stamp_ns >= before_ns && message.stamp_ns <= realtime_ns());
                assert_eq!(message.nic_ns, 0, "a veth has no stamps of its own");
                seen.push((bytes, message.wire_bytes, message.packet_type, tag));
            }
            let calls = if many { 4 } else { 1 };
            assert_eq!(seen.len(), (seen.len().div_ceil(calls) * calls).min(6), "a call's worth");
        }
        assert_eq!(empty(&mut batch).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        for (number, (bytes, wire_bytes, packet_type, tag)) in seen.into_iter().enumerate() {
            let length = [60, 61, FRAME_BYTES + 50, 62, 63, 64][number];
            let mut frame = numbered(number as u32, length);
            frame.truncate(bytes.len());
            assert_eq!((wire_bytes, tag), (length, tags[number % 3]), "{round}");
            assert_eq!(bytes[12..], frame[12..], "{round}");
            assert!(bytes.len() >= length.min(FRAME_BYTES) && bytes.len() <= length);
            let expected = if number == 5 { PacketType::Broadcast } else { PacketType::Host };
            assert_eq!(PacketType::from_number(packet_type), expected, "frame {number}");
        }
    }
    Ok(())
}

fn statistics(version: RingVersion) -> Result<(), Failed> {
    const SENT: u32 = 1000;
    let lab = Lab::create(&LabConfig::default())?;
    let client = Client::open(&lab.generator)?;
    let mut rings = [open(&lab.engine, version, &wanted())?];
    for _ in 0..2 {
        client.send_all(&(0..SENT).map(|number| numbered(number, 60)).collect::<Vec<_>>())?;
        let taken = take(&mut rings, 1)?.len() as u32;
        let statistics = rings[0].socket.take_statistics(Some(version))?;
        assert_eq!(statistics.packets, SENT, "dropped ones are among them: {statistics:?}");
        assert_eq!(statistics.drops, SENT - taken, "{statistics:?}");
        assert!(taken > 0 && taken < SENT, "{taken}");
        let again = rings[0].socket.take_statistics(Some(version))?;
        assert_eq!((again.packets, again.drops), (0, 0), "reading clears");
    }
    Ok(())
}
