//! Datagrams, answered to ordinary sockets and to hand-made frames.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use libtest_mimic::Failed;
use linerate::engine::config::{EngineConfig, PathName};
use linerate::engine::pool::Engine;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::stats::drops::DropReason;
use linerate::sys::namespace::Namespace;
use linerate::wire::ethernet::EtherType;
use linerate::wire::headers::{IpAddresses, UdpHeaders};
use linerate::wire::ip::ipv4_header_checksum;
use linerate::wire::udp::write_udp_checksum;

use crate::check::{
    PATIENCE, Test, over_every_pair, over_every_path, over_every_path_behind_the_stack,
};
use crate::client::frame;
use crate::served::{config, serve};

pub fn tests() -> Vec<Test> {
    let mut tests = over_every_pair(
        "udp",
        &[
            ("the same where the client's kernel leaves checksums half done", half_done_checksums),
            ("a datagram without checksum is answered without one", no_checksum),
        ],
    );
    tests.extend(over_every_path(
        "udp",
        &[
            ("ordinary sockets get answers whose checksums are right", ordinary_sockets),
            ("only the payload is upper-cased, padding is left alone", padding),
        ],
    ));
    tests.extend(over_every_path_behind_the_stack(
        "udp",
        &[
            ("fragments are dropped by name", fragments),
            ("what is no question to our port is dropped by name", no_question),
        ],
    ));
    tests
}

pub const PORT: u16 = 7007;

pub fn serve_udp(config: &mut EngineConfig) {
    config.ether_types = vec![EtherType::IPV4, EtherType::IPV6];
    config.link_layer = false;
    config.udp_port = Some(PORT);
}

const PAIRS: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(GENERATOR.ipv4), IpAddr::V4(ENGINE.ipv4)),
    (IpAddr::V6(GENERATOR.ipv6), IpAddr::V6(ENGINE.ipv6)),
];

/// A socket of the generator's that talks to the engine's port only, and so hears of ICMP.
fn connected(lab: &Lab, from: IpAddr, to: IpAddr) -> Result<UdpSocket, Failed> {
    let socket = lab.generator.namespace.run(|| UdpSocket::bind((from, 0)))??;
    socket.connect(SocketAddr::new(to, PORT))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn ordinary_sockets(path: PathName) -> Result<(), Failed> {
    exchange(path, false)
}

fn half_done_checksums(path: PathName) -> Result<(), Failed> {
    exchange(path, true)
}

fn exchange(path: PathName, checksum_offload: bool) -> Result<(), Failed> {
    let lab = LabConfig { addresses: true, checksum_offload, ..LabConfig::default() };
    let lab = Lab::create(&lab)?;
    let engine = Engine::start(&config(&lab, path, serve_udp))?;
    let before = Errors::of(&lab.generator.namespace)?;
    let mut asked = 0;
    for (from, to) in PAIRS {
        let socket = connected(&lab, from, to)?;
        // The MTU, less the IP and the UDP header.
        let longest = if to.is_ipv4() { 1472 } else { 1452 };
        for length in [1, 2, 3, 0, 17, 18, 19, 21, 0, 100, 101, 999, longest - 1, longest] {
            let question: Vec<u8> = (0..length).map(|at| b'a' + (at % 26) as u8).collect();
            socket.send(&question)?;
            let mut answer = [0; 2000];
            let received = socket.recv(&mut answer)?;
            assert_eq!(answer[..received], question.to_ascii_uppercase(), "{length} bytes to {to}");
            asked += 1;
        }
        // Bytes beyond ASCII, and a question that is an answer already.
        for question in [&[0xe4, 0xf6, 0xfc, b'x', 0x00, 0xff][..], b"HELLO SERVER!"] {
            socket.send(question)?;
            let mut answer = [0; 100];
            let received = socket.recv(&mut answer)?;
            assert_eq!(answer[..received], question.to_ascii_uppercase());
            asked += 1;
        }
    }
    assert_eq!(Errors::of(&lab.generator.namespace)?, before);
    let summary = engine.stop();
    assert_eq!(summary.failures, Vec::<String>::new());
    assert_eq!(summary.counters.forwarded, asked);
    Ok(())
}

/// What the kernel of a namespace found wrong with what it received.
#[derive(Debug, PartialEq, Eq)]
struct Errors(Vec<(String, u64)>);

impl Errors {
    fn of(namespace: &Namespace) -> Result<Errors, Failed> {
        // The file of the reading thread's namespace, whatever /proc was mounted in.
        let read = || -> std::io::Result<(String, String)> {
            let snmp = fs::read_to_string("/proc/thread-self/net/snmp")?;
            Ok((snmp, fs::read_to_string("/proc/thread-self/net/snmp6")?))
        };
        let (snmp, snmp6) = namespace.run(read)??;
        let mut lines = snmp.lines();
        let mut errors = Vec::new();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let mut pairs = names.split_whitespace().zip(values.split_whitespace());
            let kind = pairs.next().map_or("", |(kind, _)| kind);
            if ["Udp:", "Icmp:"].contains(&kind) {
                errors.extend(
                    pairs.filter_map(|(name, value)| error(&format!("{kind}{name}"), value)),
                );
            }
        }
        let pairs = snmp6.lines().filter_map(|line| line.split_once(char::is_whitespace));
        errors.extend(pairs.filter_map(|(name, value)| error(name, value.trim())));
        assert!(errors.len() >= 6, "{errors:?}");
        Ok(Errors(errors))
    }
}

fn error(name: &str, value: &str) -> Option<(String, u64)> {
    let wanted = [
        "Udp:InErrors",
        "Udp:InCsumErrors",
        "Icmp:InMsgs",
        "Udp6InErrors",
        "Udp6InCsumErrors",
        "Icmp6InErrors",
        "Icmp6InDestUnreachs",
    ];
    wanted.contains(&name).then(|| Some((name.to_owned(), value.parse().ok()?)))?
}

fn fragments(path: PathName) -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig { addresses: true, ..LabConfig::default() })?;
    let engine = Engine::start(&config(&lab, path, serve_udp))?;
    for (from, to) in PAIRS {
        let socket = connected(&lab, from, to)?;
        socket.send(&[b'f'; 4000])?;
        // A datagram behind the fragments, answered alone.
        socket.send(b"whole")?;
        let mut answer = [0; 5000];
        let received = socket.recv(&mut answer)?;
        assert_eq!(&answer[..received], b"WHOLE");
    }
    let summary = engine.stop();
    assert_eq!(summary.counters.drops[DropReason::Fragment], 2 * 3);
    assert_eq!(summary.counters.forwarded, 2);
    Ok(())
}

pub fn addresses((source, destination): (IpAddr, IpAddr)) -> Result<IpAddresses, Failed> {
    Ok(IpAddresses::pair(source, destination).ok_or("of two versions")?)
}

/// A frame with a datagram and `padding` bytes behind it.
pub fn datagram(
    addresses: IpAddresses,
    (source_port, destination_port): (u16, u16),
    payload: &[u8],
    padding: &[u8],
    checksum: bool,
) -> Result<Vec<u8>, Failed> {
    let headers = UdpHeaders { addresses, source_port, destination_port, hop_limit: 64 };
    let header_bytes = headers.header_bytes();
    let mut packet = vec![0; header_bytes];
    packet.extend_from_slice(payload);
    packet.extend_from_slice(padding);
    let view = headers.write(&mut packet, payload.len())?;
    if checksum {
        write_udp_checksum(&mut packet, &view);
    }
    let ether_type = if header_bytes == 28 { EtherType::IPV4 } else { EtherType::IPV6 };
    Ok(frame(ether_type.0, &packet))
}

/// The datagram that must come back: everything swapped, made from scratch.
fn reply(
    pair: (IpAddr, IpAddr),
    payload: &[u8],
    padding: &[u8],
    checksum: bool,
) -> Result<Vec<u8>, Failed> {
    let (client, server) = pair;
    let payload = payload.to_ascii_uppercase();
    let back = addresses((server, client))?;
    let mut frame = datagram(back, (PORT, 4000), &payload, padding, checksum)?;
    frame[..6].copy_from_slice(&GENERATOR.mac);
    frame[6..12].copy_from_slice(&ENGINE.mac);
    Ok(frame)
}

fn padding(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, serve_udp)?;
    for pair in PAIRS {
        for (payload, padding) in [(&b"five5"[..], &b"padding left alone"[..]), (b"a", b"b")] {
            let question = datagram(addresses(pair)?, (4000, PORT), payload, padding, true)?;
            served.client.exchange(&[question], &[reply(pair, payload, padding, true)?])?;
        }
    }
    served.finish().map(drop)
}

fn no_checksum(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, serve_udp)?;
    let question = datagram(addresses(PAIRS[0])?, (4000, PORT), b"no sum", b"", false)?;
    served.client.exchange(&[question], &[reply(PAIRS[0], b"no sum", b"", false)?])?;
    // Over IPv6 there must be one (RFC 8200 section 8.1).
    let question = datagram(addresses(PAIRS[1])?, (4000, PORT), b"no sum", b"", false)?;
    served.client.exchange::<_, Vec<u8>>(&[question], &[])?;
    let (summary, _) = served.finish()?;
    assert_eq!(summary.counters.drops[DropReason::BadChecksum], 1);
    Ok(())
}

fn no_question(path: PathName) -> Result<(), Failed> {
    let mut served = serve(path, serve_udp)?;
    let right = addresses(PAIRS[0])?;
    let made = |addresses, ports| datagram(addresses, ports, b"question", b"", true);
    let IpAddr::V4(group) = "224.0.0.9".parse()? else { return Err("not IPv4".into()) };
    let from_group = IpAddresses::pair(group, ENGINE.ipv4).unwrap();
    let from_itself = IpAddresses::pair(ENGINE.ipv4, ENGINE.ipv4).unwrap();
    let mut not_udp = made(right, (4000, PORT))?;
    not_udp[14 + 9] = 6;
    let checksum = ipv4_header_checksum(&not_udp[14..34]);
    not_udp[24..26].copy_from_slice(&checksum.to_be_bytes());
    let mut bad_header = made(right, (4000, PORT))?;
    bad_header[24] ^= 0x55;
    let mut bad_length = made(right, (4000, PORT))?;
    bad_length[14 + 24..14 + 26].copy_from_slice(&4000u16.to_be_bytes());
    let mut bad_checksum = made(right, (4000, PORT))?;
    bad_checksum[14 + 26] ^= 0x55;
    let mut cases = vec![
        (made(right, (4000, PORT + 1))?, DropReason::OtherPort),
        (made(right, (PORT, PORT))?, DropReason::ReflectedPort),
        (made(right, (0, PORT))?, DropReason::ReflectedPort),
        (made(from_group, (4000, PORT))?, DropReason::BadIpSource),
        (made(from_itself, (4000, PORT))?, DropReason::BadIpSource),
        (not_udp, DropReason::NotUdp),
        (bad_header, DropReason::BadIpHeader),
        (bad_length, DropReason::BadUdpLength),
    ];
    // A path that cannot tell a wrong checksum from a half-done one has to take it for the latter.
    if path.rx.tags() == linerate::engine::names::TagView::Aside {
        cases.push((bad_checksum, DropReason::BadChecksum));
    }
    let frames: Vec<_> = cases.iter().map(|(frame, _)| frame).collect();
    served.client.exchange::<_, Vec<u8>>(&frames, &[])?;
    let (summary, _) = served.finish()?;
    for (_, reason) in &cases {
        let expected = cases.iter().filter(|case| case.1 == *reason).count() as u64;
        assert_eq!(summary.counters.drops[*reason], expected, "{reason:?}");
    }
    Ok(())
}
