//! AF_XDP over the kernel: what is sent, what is received past the stack, and how both are refused.

use std::os::fd::AsFd;
use std::time::Duration;

use libtest_mimic::Failed;
use linerate::engine::names::PathName;
use linerate::engine::pool::Engine;
use linerate::engine::profile::{Asked, Profile, tune};
use linerate::error::Error;
use linerate::lab::{Lab, LabConfig, Side};
use linerate::load::tx::TxChoice;
use linerate::ring::budget::MemoryBudget;
use linerate::ring::receive::RxBatch;
use linerate::ring::slots::{Settled, Slots};
use linerate::ring::xsk::setup::{XskChoice, XskSocket, XskTransmitSocket};
use linerate::sys::bpf::assembly::{Assembly, Instruction, Register};
use linerate::sys::bpf::select::Selection;
use linerate::sys::bpf::{AttachMode, Program, Redirect, SocketMap};
use linerate::sys::epoll::{Epoll, Sleeper};
use linerate::sys::kick::Kick;
use linerate::sys::namespace::enter_user_namespace;
use linerate::sys::xdp::XdpSocket;

use crate::check::{PATIENCE, Test, eventually, kernel_before, test};
use crate::client::{Client, EXPERIMENTAL, numbered};
use crate::parts::Part;
use crate::served::config;

pub fn tests() -> Vec<Test> {
    vec![
        test("xsk: frames arrive in order, each byte in its place", sends),
        test("xsk: a frame that the driver drops is counted, and as its interface does", drops),
        test("xsk: without a carrier every frame is dropped and counted", no_carrier),
        test("xsk: a link that is down refuses, and sending goes on when it is up", link),
        test("xsk: what was withdrawn is never sent", withdrawn),
        test("xsk: each queue serves one socket, and is soon free again", queues),
        test(
            "xsk: too many workers are refused, and queues without one are named",
            queues_and_workers,
        ),
        test("xsk: an ordinary user sends, and hears what is not for them", || {
            Part::OrdinaryXsk.run()
        }),
        test("xdp: the programs pass the kernel's verifier and attach both ways", programs),
        test("xdp: what is selected comes with its tags, all else goes to the stack", selected),
        test("xdp: a UDP port is selected over both IPs", udp_port),
        test("xdp: received frames go back from where they lie", forwards),
        test("xdp: without frames to fill the kernel drops and counts", starved),
        test("xdp: a driver that refuses says why", refused_by_the_driver),
        test("xdp: the program is gone with the last of its owner", detached),
    ]
}

fn choice(side: &Side, queue: u32) -> XskChoice {
    XskChoice::new(side.link.index, queue, side.link.mtu as usize)
}

fn open_as(side: &Side, choice: &XskChoice) -> Result<XskTransmitSocket, Error> {
    let budget = MemoryBudget::new(64 << 20);
    side.namespace.run(|| XskTransmitSocket::open(choice, &budget))?
}

fn open(side: &Side) -> Result<XskTransmitSocket, Failed> {
    Ok(open_as(side, &choice(side, 0))?)
}

fn kick(socket: &mut XskTransmitSocket) -> std::io::Result<()> {
    socket.ring.kick(|| socket.socket.kick())
}

/// Sends frames, and gives what was taken and what was dropped of them.
fn send(socket: &mut XskTransmitSocket, frames: &[Vec<u8>]) -> Result<Settled, Failed> {
    let mut taken = Settled::default();
    for frame in frames {
        while !socket.ring.has_room() {
            let _ = kick(socket);
            taken += socket.ring.settle();
        }
        let mut slot = socket.ring.reserve().ok_or("no room")?;
        slot.bytes()[..frame.len()].copy_from_slice(frame);
        slot.commit(frame.len()).map_err(|refusal| format!("{refusal:?}"))?;
    }
    eventually("all is taken", || {
        let _ = kick(socket);
        taken += socket.ring.settle();
        Ok(socket.ring.in_flight() == 0)
    })?;
    Ok(taken)
}

fn all_completed(socket: &mut XskTransmitSocket) -> Result<(), Failed> {
    eventually("all frames are given back", || {
        socket.ring.settle();
        Ok(socket.ring.uncompleted() == 0)
    })?;
    assert_eq!(socket.ring.strays(), 0);
    Ok(())
}

fn settled(frames: &[Vec<u8>]) -> Settled {
    let bytes = frames.iter().map(|one| one.len() as u64).sum();
    Settled { frames: frames.len() as u64, bytes, ..Settled::default() }
}

/// What was taken when the driver dropped `lost`.
fn settled_without(frames: &[Vec<u8>], lost: &[Vec<u8>]) -> Settled {
    let Settled { frames: dropped, bytes: dropped_bytes, .. } = settled(lost);
    Settled { dropped, dropped_bytes, ..settled(frames) }
}

fn collected(client: &mut Client, count: usize) -> Result<Vec<Vec<u8>>, Failed> {
    Ok(client.collect(count)?.into_iter().map(|one| one.bytes).collect())
}

/// Lengths from the shortest to the longest.
fn frames(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    numbers.map(|number| numbered(number, 60 + number as usize * 31 % 1455)).collect()
}

fn sends() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let mut client = Client::open(&lab.engine)?;
    let mut socket = open(&lab.generator)?;
    assert!(!socket.zero_copy);
    let before = lab.generator.counters()?;
    let expected = frames(0..1000);
    assert_eq!(send(&mut socket, &expected)?, settled(&expected));
    assert_eq!(collected(&mut client, expected.len())?, expected);
    let counted = lab.generator.counters()?.since(&before);
    assert_eq!((counted.transmitted_frames, counted.transmit_dropped), (1000, 0));
    all_completed(&mut socket)?;
    let tagged = [0x8100, 0x88a8].map(|tpid| tagged(&numbered(7, 60), &[tpid]));
    send(&mut socket, &tagged)?;
    assert_eq!(collected(&mut client, 2)?, tagged);
    Ok(())
}

/// The same frame with tags of VLAN 5, the outermost first.
fn tagged(frame: &[u8], tpids: &[u16]) -> Vec<u8> {
    let tags = tpids.iter().flat_map(|tpid| [tpid.to_be_bytes(), [0x20, 5]]).flatten();
    [frame[..12].to_vec(), tags.collect(), frame[12..].to_vec()].concat()
}

/// veth refuses what is longer than its MTU and a tag: the kick says EBUSY, and the frame is gone.
fn drops() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    for doomed in [vec![0], vec![39], vec![31, 32], vec![0, 1, 17, 38, 39], (0..40).collect()] {
        let mut client = Client::open(&lab.engine)?;
        let many = XskChoice { frames: Some(64), ..choice(&lab.generator, 0) };
        let mut socket = open_as(&lab.generator, &many)?;
        socket.ring.set_mtu(1990);
        let before = lab.generator.counters()?;
        let length = |number| if doomed.contains(&number) { 1900 + number } else { 60 + number };
        let sent: Vec<_> =
            (0..40u32).map(|number| numbered(number, length(number) as usize)).collect();
        let (long, short): (Vec<_>, Vec<_>) =
            sent.iter().cloned().partition(|frame| frame.len() >= 1900);
        let mut outcome = send(&mut socket, &sent)?;
        let mut expected = settled_without(&short, &long);
        if kernel_before(6, 17)? {
            // It does not tell which frame of a kick was dropped (XDP-3), so the length is of another.
            for fate in [&mut outcome, &mut expected] {
                fate.bytes += std::mem::take(&mut fate.dropped_bytes);
            }
        }
        assert_eq!(outcome, expected, "{doomed:?}");
        assert_eq!(collected(&mut client, short.len())?, short);
        let counted = lab.generator.counters()?.since(&before);
        assert_eq!(counted.transmitted_frames, short.len() as u64);
        assert_eq!(counted.transmit_dropped, long.len() as u64);
        all_completed(&mut socket)?;
        let statistics = socket.socket.statistics()?;
        assert_eq!(statistics.tx_invalid_descs, 0);
    }
    Ok(())
}

fn no_carrier() -> Result<(), Failed> {
    let mut lab = Lab::create(&LabConfig::default())?;
    let mut socket = open(&lab.generator)?;
    lab.engine.set_up(false)?;
    eventually("no carrier", || Ok(!lab.generator.refresh()?.running))?;
    let before = lab.generator.counters()?;
    let sent = frames(0..50);
    assert_eq!(send(&mut socket, &sent)?, settled_without(&[], &sent));
    let counted = lab.generator.counters()?.since(&before);
    assert_eq!((counted.transmitted_frames, counted.transmit_dropped), (0, 50));
    all_completed(&mut socket)
}

fn link() -> Result<(), Failed> {
    let mut lab = Lab::create(&LabConfig::default())?;
    let mut client = Client::open(&lab.engine)?;
    let mut socket = open(&lab.generator)?;
    let sent = frames(0..32);
    lab.generator.set_up(false)?;
    for frame in &sent {
        let mut slot = socket.ring.reserve().ok_or("no room")?;
        slot.bytes()[..frame.len()].copy_from_slice(frame);
        slot.commit(frame.len()).map_err(|refusal| format!("{refusal:?}"))?;
    }
    for _ in 0..3 {
        let refused = kick(&mut socket).err().ok_or("a link that is down took frames")?;
        assert_eq!(refused.kind(), std::io::ErrorKind::NetworkDown, "{refused}");
    }
    assert_eq!((socket.ring.settle(), socket.ring.in_flight()), (Settled::default(), 32));
    lab.generator.set_up(true)?;
    lab.generator.wait_until_running(PATIENCE)?;
    // No stale report of the outage, as packet sockets have one.
    kick(&mut socket)?;
    assert_eq!(socket.ring.settle(), settled(&sent));
    assert_eq!(collected(&mut client, 32)?, sent);
    all_completed(&mut socket)
}

fn withdrawn() -> Result<(), Failed> {
    let mut lab = Lab::create(&LabConfig::default())?;
    let mut client = Client::open(&lab.engine)?;
    let many = XskChoice { frames: Some(64), ..choice(&lab.generator, 0) };
    let mut socket = open_as(&lab.generator, &many)?;
    lab.generator.set_up(false)?;
    for frame in frames(0..50) {
        let mut slot = socket.ring.reserve().ok_or("no room")?;
        slot.bytes()[..frame.len()].copy_from_slice(&frame);
        slot.commit(frame.len()).map_err(|refusal| format!("{refusal:?}"))?;
    }
    assert!(kick(&mut socket).is_err());
    assert_eq!(socket.ring.withdraw(), (50, Settled::default()));
    assert_eq!(socket.ring.in_flight(), 0);
    lab.generator.set_up(true)?;
    lab.generator.wait_until_running(PATIENCE)?;
    let sent = frames(100..150);
    assert_eq!(send(&mut socket, &sent)?, settled(&sent));
    assert_eq!(collected(&mut client, 50)?, sent);
    assert!(client.collect_all()?.is_empty());
    // Of the 50 the kernel had seen one helping; it refuses the void descriptors of those.
    assert_eq!(socket.socket.statistics()?.tx_invalid_descs, 32);
    all_completed(&mut socket)
}

/// The program that has everything pass (`XDP_PASS`).
fn pass_all() -> Vec<Instruction> {
    let mut program = Assembly::new();
    program.set(Register::R0, 2).exit();
    program.finish()
}

fn queues() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig { queues: 2, ..LabConfig::default() })?;
    let side = &lab.generator;
    for _ in 0..10 {
        drop(open(side)?);
    }
    let mut first = open(side)?;
    let mut second = open_as(side, &choice(side, 1))?;
    let taken = open(side).err().ok_or("two sockets on one queue")?;
    let text = taken.message().unwrap_or_default();
    assert!(text.contains("EBUSY") && text.contains("queue 0"), "{text}");
    let none = open_as(side, &choice(side, 2)).err().ok_or("a queue that is not there")?;
    let text = none.to_string();
    assert!(text.contains("EINVAL") && text.contains("queue 2"), "{text}");
    let mut client = Client::open(&lab.engine)?;
    send(&mut first, &frames(0..40))?;
    send(&mut second, &frames(40..80))?;
    assert_eq!(collected(&mut client, 80)?, frames(0..80));
    Ok(())
}

/// Part of a child, which enters a user namespace whoever runs it.
pub fn as_an_ordinary_user() -> Result<(), Failed> {
    enter_user_namespace()?;
    sends()?;
    let lab = Lab::create(&LabConfig::default())?;
    // Twice the usual limit of 8 MiB, and four times what is usual elsewhere.
    rlimit_memlock(8 << 20)?;
    let large = XskChoice { frames: Some(1 << 14), ..choice(&lab.generator, 0) };
    let refused = open_as(&lab.generator, &large).err().ok_or("32 MiB of locked memory")?;
    let text = refused.to_string();
    for words in ["32 MiB", "ENOBUFS", "ulimit -l", "CAP_IPC_LOCK"] {
        assert!(text.contains(words), "no '{words}' in {text}");
    }
    open(&lab.generator)?;
    refused_as_unprivileged(SocketMap::create(1).err().ok_or("a map without privilege")?);
    refused_as_unprivileged(Program::load(&pass_all()).err().ok_or("a program without it")?);
    let chosen = || -> Result<_, Failed> {
        let mut config = config(&lab, PathName::RING, |_| {});
        tune(&mut config, Profile::Balanced, Asked::default(), None)?;
        Ok((TxChoice::best_on(&lab.generator.link, 1), config.path, config.reasons.join("\n")))
    };
    let (half, path, said) = chosen()?;
    assert_eq!((half, path), (TxChoice::Xsk, PathName::RING_V2_XSK), "{said}");
    // What was usual before Linux 5.16: too little for a batch in flight and one being filled.
    rlimit_memlock(64 << 10)?;
    let (half, path, said) = chosen()?;
    assert_eq!((half, path), (TxChoice::Ring, PathName::RING_V2), "{said}");
    assert!(said.contains("ring-v2-xsk") && said.contains("RLIMIT_MEMLOCK"), "{said}");
    Ok(())
}

fn queues_and_workers() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig { queues: 2, ..LabConfig::default() })?;
    for path in [PathName::RING_XSK, PathName::XDP] {
        let crowd = config(&lab, path, |config| config.workers = 3);
        let refused = Engine::start(&crowd).err().ok_or("three sockets on two queues")?;
        assert_eq!(refused.exit_code(), 2);
        assert!(
            refused.to_string().contains('3') && refused.to_string().contains('2'),
            "{refused}"
        );
    }
    let few = |path| Engine::start(&config(&lab, path, |_| {}));
    let warned = |engine: &Engine| engine.notes().iter().any(|note| note.contains("WARNING"));
    assert!(!warned(&few(PathName::RING_XSK)?), "it receives from all queues");
    if let Some(engine) = privileged(few(PathName::XDP))? {
        let notes = engine.notes().join("\n");
        assert!(notes.contains("WARNING") && notes.contains("2 receive queues"), "{notes}");
    }
    Ok(())
}

fn rlimit_memlock(bytes: u64) -> Result<(), Failed> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    Ok(setrlimit(Resource::RLIMIT_MEMLOCK, bytes.min(hard), hard)?)
}

fn refused_as_unprivileged(error: Error) {
    assert_eq!(error.exit_code(), 77, "{error}");
    let text = error.to_string();
    for words in ["CAP_BPF", "CAP_NET_ADMIN", "user namespace"] {
        assert!(text.contains(words), "no '{words}' in {text}");
    }
}

/// The value; `None`, and a look at the words, where this kernel lets only the initial user namespace
/// load programs and the suite runs in another one.
fn privileged<T>(result: Result<T, Error>) -> Result<Option<T>, Failed> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.exit_code() == 77 && !in_initial_user_namespace()? => {
            refused_as_unprivileged(error);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The initial one maps all ids to themselves (`user_namespaces(7)`).
fn in_initial_user_namespace() -> Result<bool, Failed> {
    let map = std::fs::read_to_string("/proc/self/uid_map")?;
    Ok(map.split_whitespace().eq(["0", "0", "4294967295"]))
}

fn programs() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let Some(map) = privileged(SocketMap::create(4))? else { return Ok(()) };
    let wishes = [
        Selection::default(),
        Selection { ether_types: vec![EXPERIMENTAL], udp_port: None },
        Selection { ether_types: vec![], udp_port: Some(7777) },
        Selection { ether_types: (0x8800..0x8820).collect(), udp_port: Some(7) },
    ];
    for wish in &wishes {
        let program = Program::load(&wish.program(map.as_fd(), None))?;
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let side = &lab.engine;
            drop(side.namespace.run(|| program.attach_as(side.link.index, mode))??);
        }
    }
    let pass = Program::load(&pass_all())?;
    let side = &lab.engine;
    let attached = side.namespace.run(|| pass.attach(side.link.index))??;
    assert_eq!(attached.mode, AttachMode::Native);
    let error = Program::load(&pass_all()[..1]).err().ok_or("a program without an end")?;
    let text = error.to_string();
    assert!(text.contains("EINVAL") && text.contains("verifier"), "{text}");
    Ok(())
}

/// A socket that receives what is selected, with its program.
struct Receiving {
    xsk: XskSocket,
    redirect: Redirect,
}

fn receive(side: &Side, selection: &Selection, frames: usize) -> Result<Option<Receiving>, Failed> {
    let budget = MemoryBudget::new(64 << 20);
    let choice = XskChoice { frames: Some(frames), ..choice(side, 0) };
    side.namespace.run(|| -> Result<Option<Receiving>, Failed> {
        let attached = Redirect::attach(side.link.index, 1, selection);
        let Some(redirect) = privileged(attached)? else { return Ok(None) };
        let xsk = XskSocket::open(&choice, 64, &budget)?;
        redirect.insert(0, &xsk.socket)?;
        Ok(Some(Receiving { xsk, redirect }))
    })?
}

fn experimental() -> Selection {
    Selection { ether_types: vec![EXPERIMENTAL], udp_port: None }
}

impl Receiving {
    /// Waits for `count` frames, and copies them.
    fn collect(&mut self, count: usize) -> Result<Vec<Vec<u8>>, Failed> {
        let epoll = Epoll::new(&*self.xsk.socket)?;
        let mut frames = Vec::new();
        eventually("all frames have arrived", || {
            epoll.wait(Duration::from_millis(10))?;
            while let Some(mut batch) = self.xsk.receive.lend() {
                frames.extend(batch.frames().map(Result::unwrap).map(|one| one.bytes().to_vec()));
            }
            Ok(frames.len() >= count)
        })?;
        Ok(frames)
    }
}

fn selected() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let Some(mut receiving) = receive(&lab.engine, &experimental(), 64)? else { return Ok(()) };
    assert_eq!(receiving.redirect.mode(), AttachMode::Native);
    let mut stack = Client::open(&lab.engine)?;
    let client = Client::open(&lab.generator)?;
    let plain = numbered(1, 60);
    let wanted = [
        plain.clone(),
        tagged(&plain, &[0x8100]),
        tagged(&plain, &[0x88a8, 0x8100]),
        numbered(2, 1514),
    ];
    let mut other = plain.clone();
    other[12..14].copy_from_slice(&0x88b6u16.to_be_bytes());
    let others = [other.clone(), tagged(&other, &[0x8100])];
    for (one, another) in wanted.iter().zip(others.iter().cycle()) {
        client.send(one)?;
        client.send(another)?;
    }
    assert_eq!(receiving.collect(4)?, wanted);
    let seen = collected(&mut stack, 4)?;
    assert_eq!(seen, [&others[..], &others[..]].concat());
    assert!(stack.collect_all()?.is_empty(), "the stack sees nothing of what was selected");
    Ok(())
}

fn udp_port() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let selection = Selection { ether_types: vec![], udp_port: Some(7777) };
    let Some(mut receiving) = receive(&lab.engine, &selection, 64)? else { return Ok(()) };
    let mut stack = Client::open(&lab.engine)?;
    let client = Client::open(&lab.generator)?;
    let datagram = |ipv6: bool, port: u16| {
        let mut frame = vec![0; 80];
        let header = if ipv6 { 40 } else { 20 };
        frame[12..14].copy_from_slice(&if ipv6 { [0x86, 0xdd] } else { [8, 0] });
        frame[14] = if ipv6 { 0x60 } else { 0x45 };
        frame[if ipv6 { 20 } else { 23 }] = 17;
        frame[14 + header + 2..14 + header + 4].copy_from_slice(&port.to_be_bytes());
        frame
    };
    let wanted = [datagram(false, 7777), datagram(true, 7777)];
    let others = [datagram(false, 7778), datagram(true, 7778)];
    client.send_all(&wanted)?;
    client.send_all(&others)?;
    assert_eq!(receiving.collect(2)?, wanted);
    assert_eq!(collected(&mut stack, 2)?, others);
    Ok(())
}

fn forwards() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let Some(mut receiving) = receive(&lab.engine, &experimental(), 64)? else { return Ok(()) };
    let XskSocket { socket, receive, forward, .. } = &mut receiving.xsk;
    let mut client = Client::open(&lab.generator)?;
    let epoll = Epoll::new(&**socket)?;
    let (mut forwarded, mut back) = (0, Vec::new());
    // More rounds than there are frames: each goes round several times.
    for round in 0..20 {
        let sent = frames(16 * round..16 * (round + 1));
        client.send_all(&sent)?;
        let before = forwarded;
        eventually("the frames were sent back", || {
            epoll.wait(Duration::from_millis(10))?;
            while let Some(mut batch) = receive.lend() {
                for mut one in batch.frames().map(Result::unwrap) {
                    let length = one.bytes().len();
                    let (room, start) = one.room();
                    room[start] = 0x42;
                    forward.post(one.into_umem().unwrap(), start, length);
                }
                forward.kick(|| socket.kick())?;
            }
            let settled = forward.settle();
            forwarded += settled.frames;
            assert_eq!(settled.dropped, 0);
            Ok(forwarded - before >= 16)
        })?;
        back.extend(collected(&mut client, 16)?);
    }
    let mut expected = frames(0..320);
    expected.iter_mut().for_each(|frame| frame[0] = 0x42);
    assert_eq!(back, expected);
    assert_eq!((forwarded, receive.strays()), (320, 0));
    let statistics = socket.statistics()?;
    assert_eq!((statistics.rx_dropped, statistics.rx_fill_ring_empty_descs), (0, 0));
    Ok(())
}

fn starved() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let Some(mut receiving) = receive(&lab.engine, &experimental(), 16)? else { return Ok(()) };
    let client = Client::open(&lab.generator)?;
    client.send_all(&frames(0..50))?;
    eventually("the kernel has counted its drops", || {
        let statistics = receiving.xsk.socket.statistics()?;
        Ok(statistics.rx_dropped + statistics.rx_ring_full == 34)
    })?;
    let statistics = receiving.xsk.socket.statistics()?;
    assert_eq!(statistics.rx_fill_ring_empty_descs, 34, "{statistics:?}");
    assert_eq!(receiving.collect(16)?, frames(0..16));
    client.send_all(&frames(50..60))?;
    assert_eq!(receiving.collect(10)?, frames(50..60));
    Ok(())
}

/// A veth does not run programs in the driver while the other end may send frames longer than a page.
fn refused_by_the_driver() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let (near, side) = (&lab.generator, &lab.engine);
    near.links().set_mtu(near.link.index, 9000)?;
    let attached = side.namespace.run(|| Redirect::attach(side.link.index, 1, &experimental()))?;
    let Some(redirect) = privileged(attached)? else { return Ok(()) };
    assert_eq!((redirect.mode(), redirect.restores_tags), (AttachMode::Generic, false));
    let refusal = redirect.refusal().ok_or("no reason")?;
    assert!(refusal.contains("ERANGE") && refusal.contains("MTU"), "{refusal}");
    assert!(side.links().xdp_program(side.link.index)?.is_some_and(|one| one.mode == "generic"));
    drop(redirect);
    // Nobody tells this program of a tag beside a frame, as a VLAN interface at the other end sends it.
    let start = |force| Engine::start(&config(&lab, PathName::XDP, |config| config.force = force));
    let error = start(false).err().ok_or("it answers in which VLAN?")?.to_string();
    assert!(["VLAN", "ring-v2-xsk", "--force"].iter().all(|word| error.contains(word)), "{error}");
    assert!(start(true)?.notes().iter().any(|note| note.contains("WARNING: VLAN tags")));
    Ok(())
}

fn detached() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let Some(receiving) = receive(&lab.engine, &experimental(), 64)? else { return Ok(()) };
    let side = &lab.engine;
    let again = side.namespace.run(|| Redirect::attach(side.link.index, 1, &experimental()))?;
    let text = again.err().ok_or("two programs on one interface")?.to_string();
    assert!(text.contains("EBUSY"), "{text}");
    let mut stack = Client::open(&lab.engine)?;
    let client = Client::open(&lab.generator)?;
    client.send(&numbered(1, 60))?;
    assert!(stack.collect_all()?.is_empty());
    drop(receiving);
    client.send(&numbered(2, 60))?;
    assert_eq!(collected(&mut stack, 1)?, [numbered(2, 60)]);
    receive(&lab.engine, &experimental(), 64)?.ok_or("it was allowed before")?;
    // A socket that nobody redirects to can be had without a program.
    side.namespace.run(XdpSocket::open)??;
    Ok(())
}
