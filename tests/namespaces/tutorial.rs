//! The tutorial's server and client on the running kernel, each trial on the `lo` of a network
//! namespace of its own.

use std::io::{self, Write};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use linerate::error::Result;
use linerate::sys::epoll_set::{EpollSet, Interest};
use linerate::sys::link::Links;
use linerate::sys::packet::{AF_PACKET, ALL_PROTOCOLS, OUTGOING, PacketSocket, SocketType};
use linerate::sys::signal::Interrupt;
use linerate::tutorial::calls::Kernel;
use linerate::tutorial::{
    ClientOptions, Domain, LinkOptions, Protocol, ServerOptions, client, server,
};
use nix::sched::{CloneFlags, unshare};

use crate::check::{PATIENCE, Test, test};
use crate::spoiled::unless_spoiled;

/// The tests of this file.
pub fn tests() -> Vec<Test> {
    use {Domain::*, Protocol::*, SocketType::*};
    let mut trials = vec![
        trial("an_unswapped_ipproto_udp_is_ethertype_0x1100_and_the_bind_decides", subscription),
        trial("a_socket_with_no_protocol_stays_silent_until_its_bind", silent_until_bound),
        trial("level_triggered_writability_never_rests", writability_spins),
        trial("other_protocols_are_printed_but_not_answered", other_protocols),
        trial("an_interface_that_is_down_is_said", interface_down),
        trial("a_message_longer_than_the_mtu_is_said", message_too_long),
        trial("a_client_without_a_server_is_told_so", no_server),
    ];
    for (name, domain, kind, protocol) in [
        ("datagram_all", AfPacket, Datagram, All),
        ("datagram_all_pf_packet", PfPacket, Datagram, All),
        ("datagram_pae", AfPacket, Datagram, Pae),
        ("datagram_udp_pf_packet", PfPacket, Datagram, Udp),
        ("raw_all", AfPacket, Raw, All),
        ("raw_pae", AfPacket, Raw, Pae),
        ("raw_udp", AfPacket, Raw, Udp),
    ] {
        trials.push(trial(&format!("each_message_is_answered_once_{name}"), move || {
            answered_once(LinkOptions { domain, kind, protocol, ..LinkOptions::default() });
        }));
    }
    trials.push(test("tutorial::without_cap_net_raw_it_says_so", without_capability));
    trials
}

/// A trial on a thread in a network namespace of its own, with `lo` up.
fn trial(name: &str, body: impl Fn() + Send + Sync + 'static) -> Test {
    test(format!("tutorial::{name}"), move || {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            let links = Links::open().expect("the links");
            let lo = links.by_name("lo").expect("lo").index;
            links.set_up(lo, true).expect("lo up");
            body();
        };
        unless_spoiled(|| {
            thread::scope(|scope| scope.spawn(run).join()).map_err(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                Failed::from(text.unwrap_or_else(|| "it panicked".to_string()))
            })
        })
    })
}

/// A writer whose text another thread can read.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn wait_for(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.text().contains(text) {
            assert!(Instant::now() < end, "waited for '{text}', read: {}", self.text());
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A server on a thread that shares the caller's network namespace.
struct Server {
    paper: Paper,
    interrupt: Interrupt,
    thread: JoinHandle<Result<server::Summary>>,
}

impl Server {
    /// Starts it and waits until it listens; it ends after a while and 1000 answers, whatever happens.
    fn start(link: LinkOptions) -> Server {
        let duration = Some(PATIENCE);
        let options = ServerOptions { link, count: Some(1000), duration };
        let (paper, interrupt) = (Paper::default(), Interrupt::default());
        let mut output = paper.clone();
        let flag = interrupt.clone();
        let thread = thread::spawn(move || server::run(&Kernel, &options, &flag, &mut output));
        paper.wait_for("UDP is listening");
        Server { paper, interrupt, thread }
    }

    /// Lets it settle, ends it as Ctrl-C would, and gives what it did and printed.
    fn stop(self) -> (server::Summary, String) {
        thread::sleep(Duration::from_millis(100));
        self.interrupt.raise();
        (self.thread.join().unwrap().unwrap(), self.paper.text())
    }
}

fn quick(link: LinkOptions, count: u64) -> ClientOptions {
    let interval = Duration::from_millis(50);
    ClientOptions { link, count: Some(count), interval, ..ClientOptions::default() }
}

fn answered_once(mut link: LinkOptions) {
    const MESSAGES: u64 = 3;
    link.timeout = Duration::from_millis(20);
    let sees_outgoing = link.protocol.at_bind() == ALL_PROTOCOLS;
    let server = Server::start(link.clone());
    let mut output = Vec::new();
    let told =
        client::run(&Kernel, &quick(link, MESSAGES), &Interrupt::default(), &mut output).unwrap();
    let (served, printed) = server.stop();

    assert_eq!((told.sent, told.answers), (MESSAGES, MESSAGES), "{told:?}");
    assert_eq!(served.answered, MESSAGES, "{printed}");
    assert!(served.interrupted && served.quiet_waits > 0, "{served:?}");
    // The message and the server's own answer come in; with ETH_P_ALL the client's outgoing copy
    // comes too. Nothing bounces: that would be thousands.
    let expected = MESSAGES * if sees_outgoing { 3 } else { 2 };
    assert_eq!(served.received, expected, "{printed}");
    assert!(told.received <= expected, "{told:?}");

    let lines = printed.lines().collect::<Vec<_>>();
    let count = |line: &str| lines.iter().filter(|other| **other == line).count() as u64;
    assert_eq!(lines[0], "UDP is listening");
    assert_eq!(count("Received: hello server!"), MESSAGES);
    assert_eq!(count("sending message = HELLO SERVER!"), MESSAGES);
    assert_eq!(lines.last(), Some(&"Caught sigINT!"));
    let output = String::from_utf8(output).unwrap();
    assert!(output.contains("Sentbuffer : hello server!\n"), "{output}");
    assert!(output.contains("Received : HELLO SERVER!\n"), "{output}");
}

fn index_of_lo() -> u32 {
    Links::open().unwrap().by_name("lo").unwrap().index
}

/// Sends one raw frame of `ethertype` through `lo` from a socket that receives nothing.
fn send_raw(ethertype: u16, payload: &[u8]) {
    let socket = PacketSocket::open(SocketType::Raw).unwrap();
    socket.bind(index_of_lo(), 0).unwrap();
    let mut frame = vec![0; 12];
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
    socket.send(&frame).unwrap();
}

/// Everything that waits in `socket`: EtherType and payload. Outgoing copies are left out.
fn take_all(socket: &PacketSocket) -> Vec<(u16, Vec<u8>)> {
    let mut buffer = [0; 100];
    let mut taken = Vec::new();
    while socket.wait_readable(Duration::from_millis(50)).unwrap() {
        let received = socket.receive(&mut buffer).unwrap();
        if received.from.packet_type != OUTGOING {
            taken.push((received.from.protocol, buffer[..received.wire_bytes].to_vec()));
        }
        assert!(taken.len() < 100, "a storm");
    }
    taken
}

fn subscription() {
    let unswapped = Protocol::Udp.at_socket();
    assert_eq!(unswapped.to_be(), 17, "the third argument is IPPROTO_UDP as it is");
    let socket = PacketSocket::open_with(AF_PACKET, SocketType::Datagram, unswapped).unwrap();
    for ethertype in [0x0800, unswapped, 0x88b5] {
        send_raw(ethertype, b"before the bind");
    }
    assert_eq!(take_all(&socket), [(unswapped, b"before the bind".to_vec())]);

    let lo = index_of_lo();
    socket.bind(lo, 0).unwrap();
    assert_eq!(socket.bound_to().unwrap().protocol, unswapped, "a bind to 0 changes nothing");

    socket.bind(lo, ALL_PROTOCOLS).unwrap();
    for ethertype in [0x0800, unswapped, 0x88b5] {
        send_raw(ethertype, b"after it");
    }
    let ethertypes = take_all(&socket).into_iter().map(|(ethertype, _)| ethertype);
    assert_eq!(ethertypes.collect::<Vec<_>>(), [0x0800, unswapped, 0x88b5]);
}

fn silent_until_bound() {
    let silent = PacketSocket::open_with(AF_PACKET, SocketType::Datagram, 0).unwrap();
    let eager = PacketSocket::open_with(AF_PACKET, SocketType::Datagram, ALL_PROTOCOLS).unwrap();
    send_raw(0x88b5, b"early");
    assert_eq!(take_all(&silent), []);
    assert_eq!(take_all(&eager), [(0x88b5, b"early".to_vec())], "unbound, from any interface");
}

fn writability_spins() {
    let socket = PacketSocket::open_with(AF_PACKET, SocketType::Datagram, 0).unwrap();
    socket.bind(index_of_lo(), 0x88b5).unwrap();
    let epoll = EpollSet::create().unwrap();
    epoll.add(&socket, Interest { readable: true, writable: true }).unwrap();
    for _ in 0..1000 {
        let ready = epoll.wait(PATIENCE).unwrap().expect("ready at once");
        assert!(ready.writable && !ready.readable);
    }
    epoll.modify(&socket, Interest { readable: true, writable: false }).unwrap();
    assert_eq!(epoll.wait(Duration::from_millis(20)).unwrap(), None);
}

fn other_protocols() {
    let server = Server::start(LinkOptions::default());
    send_raw(0x0800, b"not the tutorial's \x1b[2J");
    server.paper.wait_for("EtherType 0x0800");
    let (served, printed) = server.stop();
    assert_eq!(served.answered, 0);
    let line = r"Received: not the tutorial's \u{1b}[2J   [not answered: EtherType 0x0800]";
    assert!(printed.contains(line), "{printed}");
}

fn interface_down() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a namespace whose lo is down");
    let options = ServerOptions { duration: Some(PATIENCE), ..Default::default() };
    let error = server::run(&Kernel, &options, &Interrupt::default(), &mut Vec::new()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("lo") && text.contains("ENETDOWN"), "{text}");
}

fn message_too_long() {
    let message = vec![b'x'; 70_000];
    let options = ClientOptions { message, ..quick(LinkOptions::default(), 1) };
    let error = client::run(&Kernel, &options, &Interrupt::default(), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("EMSGSIZE"), "{error}");
}

fn no_server() {
    let options = quick(LinkOptions::default(), 2);
    let error = client::run(&Kernel, &options, &Interrupt::default(), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains('2'), "{error}");
}

/// Needs a second user: where the process may not become one, there is nothing to see.
fn without_capability() -> std::result::Result<(), Failed> {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let program = std::env::temp_dir().join(format!("linerate-tutorial-{}", std::process::id()));
    std::fs::copy(env!("CARGO_BIN_EXE_linerate"), &program)?;
    let result = Command::new(&program)
        .args(["tutorial", "server", "-d", "1s"])
        .uid(NOBODY)
        .gid(NOBODY)
        .output();
    std::fs::remove_file(&program)?;
    let output = match result {
        Ok(output) => output,
        Err(error) => {
            eprintln!("no second user here ({error}): not tried");
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("EPERM") && text.contains("CAP_NET_RAW"), "{text}");
    assert_eq!(output.status.code(), Some(77));
    Ok(())
}
