//! `linerate load --to IP:PORT`: by which interface and to which station datagrams go, and what comes back
//! over a router.

use std::fs;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Completion, Failed};
use linerate::engine::config::{EngineConfig, PathName};
use linerate::engine::pool::Engine;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::sys::link::{Link, Links};
use linerate::sys::namespace::Namespace;
use linerate::wire::ethernet::EtherType;

use crate::check::{Test, eventually, test, test_of};
use crate::links::plain_pair;
use crate::load_program::{ended, run, serving};
use crate::rtnetlink::{attribute, make, neighbour, octets, route};

pub fn tests() -> Vec<Test> {
    vec![
        test("routes: a router's hops are said, and frames are intact", by_router),
        test("routes: IPv4 by way of an IPv6 router", by_other_version),
        test("routes: a zone chooses among links with the same addresses", zones),
        test("routes: a neighbour that the kernel is not sure of is asked anew", doubtful),
        test("routes: a neighbour that the kernel is told to trust is trusted", trusted),
        test("routes: flows that a macvlan loses are explained", lone_flow),
        test("routes: a link that comes within ten seconds is waited for", carrier),
        test_of(PathName::XDP, "routes: an engine with a program leaves a link behind", || {
            leaves_a_link().map(|()| Completion::Completed)
        }),
    ]
}

/// A link that is up, with its addresses, in a namespace of its own.
struct Station {
    namespace: Namespace,
    links: Links,
}

impl Station {
    fn new() -> Result<Station, Failed> {
        let namespace = Namespace::create()?;
        let links = Links::open_in(&namespace)?;
        Ok(Station { namespace, links })
    }

    /// Joins two by a cable.
    fn join(&self, name: &str, other: &Station, peer: &str) -> Result<(), Failed> {
        let near = self.links.create_veth_pair(&plain_pair(name, peer, &other.namespace))?;
        other.links.set_up(other.links.by_name(peer)?.index, true)?;
        self.links.set_up(near.index, true)?;
        eventually("carrier", || Ok(self.links.by_index(near.index)?.running))
    }

    fn link(&self, name: &str) -> Result<Link, Failed> {
        Ok(self.links.by_name(name)?)
    }

    /// Serves from now on.
    fn address(&self, name: &str, address: &str, bits: u8) -> Result<(), Failed> {
        let address: IpAddr = address.parse()?;
        self.links.add_address(self.link(name)?.index, address, bits)?;
        eventually("the address is served", || Ok(self.links.is_local(address)?))
    }

    fn route(&self, to: &str, bits: u8, by: &str, name: &str) -> Result<(), Failed> {
        let (to, by): (IpAddr, IpAddr) = (to.parse()?, by.parse()?);
        let router = match to.is_ipv4() == by.is_ipv4() {
            true => attribute(libc::RTA_GATEWAY, &octets(by)),
            // RTA_VIA: the address family, and the address.
            false => {
                attribute(18, &[&(libc::AF_INET6 as u16).to_ne_bytes(), &octets(by)[..]].concat())
            }
        };
        let way =
            [attribute(libc::RTA_OIF, &self.link(name)?.index.to_ne_bytes()), router].concat();
        route(&self.namespace, libc::RT_TABLE_MAIN, (to, bits), &way)
    }

    /// An engine that answers UDP on port 7777.
    fn serve(&self, name: &str) -> Result<Engine, Failed> {
        let engine = EngineConfig {
            namespace: Some(self.namespace.clone()),
            path: PathName::RING_V2,
            ether_types: vec![EtherType::IPV4, EtherType::IPV6],
            link_layer: false,
            udp_port: Some(7777),
            ..EngineConfig::new(name)
        };
        Ok(Engine::start(&engine)?)
    }
}

/// Everybody's frames have arrived.
fn all_intact(station: &Namespace, words: &[&str]) -> Result<serde_json::Value, Failed> {
    let done = run(station, &[&["-s 90"], words].concat())?;
    let document = done.document(0);
    assert_eq!(ended(&document, "intact"), 500, "{words:?}: {}", done.err);
    Ok(document)
}

fn by_router() -> Result<(), Failed> {
    let (here, router, there) = (Station::new()?, Station::new()?, Station::new()?);
    here.join("near0", &router, "left0")?;
    router.join("right0", &there, "far0")?;
    for (here_is, left, right, there_is, bits) in [
        ("192.0.2.1", "192.0.2.254", "198.51.100.254", "198.51.100.1", 24),
        ("2001:db8:1::1", "2001:db8:1::ff", "2001:db8:2::ff", "2001:db8:2::1", 64),
    ] {
        here.address("near0", here_is, bits)?;
        router.address("left0", left, bits)?;
        router.address("right0", right, bits)?;
        there.address("far0", there_is, bits)?;
        let network = if bits == 24 { "198.51.100.0" } else { "2001:db8:2::" };
        here.route(network, bits, left, "near0")?;
    }
    // A router asks for IPv6 neighbours from such an address only.
    for name in ["left0", "right0"] {
        router.links.add_address(router.link(name)?.index, "fe80::1".parse()?, 64)?;
    }
    router.namespace.run(|| {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
    })??;
    let engine = there.serve("far0")?;
    for port in ["198.51.100.1:7777", "[2001:db8:2::1]:7777"] {
        let done = run(&here.namespace, &["-s 90 -i near0 --to", port])?;
        let document = done.document(0);
        assert_eq!(ended(&document, "intact"), 500, "{port}: {}", done.err);
        assert_eq!((&document["hops"]["least"], &document["hops"]["most"]), (&2.into(), &2.into()));
        assert!(done.err.contains("routed: 2 hops, there and back"), "{}", done.err);
    }
    engine.stop();
    Ok(())
}

fn by_other_version() -> Result<(), Failed> {
    let (here, there) = (Station::new()?, Station::new()?);
    here.join("near0", &there, "far0")?;
    here.address("near0", "192.0.2.1", 32)?;
    here.address("near0", "fe80::a", 64)?;
    there.address("far0", "fe80::b", 64)?;
    here.route("198.51.100.0", 24, "fe80::b", "near0")?;
    let engine = there.serve("far0")?;
    // Nobody there answers ARP.
    all_intact(&here.namespace, &["-i near0 --to 198.51.100.1:7777"])?;
    engine.stop();
    Ok(())
}

fn zones() -> Result<(), Failed> {
    let (here, first, second) = (Station::new()?, Station::new()?, Station::new()?);
    here.join("one0", &first, "far0")?;
    here.join("two0", &second, "far0")?;
    for name in ["one0", "two0"] {
        here.links.add_address(here.link(name)?.index, "fe80::a".parse()?, 64)?;
    }
    for station in [&first, &second] {
        station.address("far0", "fe80::b", 64)?;
    }
    let engines = [first.serve("far0")?, second.serve("far0")?];
    for name in ["one0", "two0"] {
        let number = here.link(name)?.index.to_string();
        for zone in [name, &number] {
            let port = format!("[fe80::b%{zone}]:7777");
            all_intact(&here.namespace, &["-i", name, "--to", &port])?;
            all_intact(&here.namespace, &["--to", &port])?;
        }
        all_intact(&here.namespace, &["-i", name, "--to [fe80::b]:7777"])?;
    }
    let refused = run(&here.namespace, &["-s 90 -i one0 --to [fe80::b%two0]:7777"])?;
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(
        refused.err.contains("one0") && refused.err.contains("is behind two0"),
        "{}",
        refused.err
    );
    let refused = run(&here.namespace, &["-s 90 --to [fe80::b%three0]:7777"])?;
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    assert!(refused.err.contains("three0") && refused.err.contains("one0"), "{}", refused.err);
    let forwarded = engines.map(|engine| engine.stop().counters.forwarded);
    assert_eq!(forwarded, [5 * 500, 5 * 500]);
    Ok(())
}

/// Addresses at both ends, and no entries of the lab's own.
fn two_stations() -> Result<(Station, Station), Failed> {
    let (here, there) = (Station::new()?, Station::new()?);
    here.join("near0", &there, "far0")?;
    for (near, far, bits) in [("192.0.2.1", "192.0.2.2", 24), ("2001:db8::1", "2001:db8::2", 64)] {
        here.address("near0", near, bits)?;
        there.address("far0", far, bits)?;
    }
    Ok((here, there))
}

const PORTS: [(&str, &str); 2] =
    [("192.0.2.2", "192.0.2.2:7777"), ("2001:db8::2", "[2001:db8::2]:7777")];
const NOBODY: [u8; 6] = [2, 0, 0, 0, 0, 0x99];

fn doubtful() -> Result<(), Failed> {
    let (here, there) = two_stations()?;
    let engine = there.serve("far0")?;
    let near = here.link("near0")?.index;
    for (address, port) in PORTS {
        for state in [libc::NUD_STALE, libc::NUD_DELAY, libc::NUD_PROBE, libc::NUD_FAILED] {
            neighbour(&here.namespace, near, address.parse()?, NOBODY, state)?;
            all_intact(&here.namespace, &["-i near0 --to", port])?;
        }
    }
    // Somebody was there once.
    for (address, port) in [("192.0.2.9", "192.0.2.9:7"), ("2001:db8::9", "[2001:db8::9]:7")] {
        neighbour(&here.namespace, near, address.parse()?, NOBODY, libc::NUD_STALE)?;
        let refused = run(&here.namespace, &["-s 90 -i near0 --to", port])?;
        assert_eq!(refused.code, Some(1), "{}", refused.err);
        assert!(refused.err.contains("does not answer on the link of near0"), "{}", refused.err);
    }
    engine.stop();
    Ok(())
}

fn trusted() -> Result<(), Failed> {
    let (here, there) = two_stations()?;
    let near = here.link("near0")?.index;
    for (address, port) in PORTS {
        for state in [libc::NUD_PERMANENT, libc::NUD_NOARP] {
            neighbour(&here.namespace, near, address.parse()?, NOBODY, state)?;
            let done = run(&here.namespace, &["-s 90 -i near0 --to", port])?;
            assert!(done.err.contains("02:00:00:00:00:99"), "{}", done.err);
        }
    }
    drop(there);
    Ok(())
}

/// It takes only its own MAC.
fn lone_flow() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let here = &lab.generator;
    make(&here.namespace, "macvlan", "mac0", Some(here.link.index))?;
    let mac = here.links().by_name("mac0")?;
    here.links().set_up(mac.index, true)?;
    let engine = Engine::start(&crate::served::config(&lab, PathName::RING_V2, |_| {}))?;
    let to = linerate::wire::ethernet::MacAddress(ENGINE.mac).to_string();
    let done = run(&here.namespace, &["-i mac0 --to", &to, "--flows 4"])?;
    let document = done.document(0);
    assert_eq!(ended(&document, "intact"), 125, "{}", done.err);
    let expected = "mac0 is a macvlan, which takes only frames to its own MAC. Use UDP ports";
    assert!(done.err.contains(expected), "{}", done.err);
    // With one flow there is nothing to explain.
    let done = run(&here.namespace, &["-i mac0 --to", &to])?;
    assert!(!done.err.contains("macvlan,"), "{}", done.err);
    engine.stop();
    Ok(())
}

fn carrier() -> Result<(), Failed> {
    let mut lab = Lab::create(&LabConfig { addresses: true, ..LabConfig::default() })?;
    let engine = serving(&lab)?;
    lab.engine.set_up(false)?;
    eventually("no carrier", || Ok(!lab.generator.refresh()?.running))?;
    let done = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let line = ["-s 90 -i", GENERATOR.interface, "--to 192.0.2.2:7777"];
            run(&lab.generator.namespace, &line)
        });
        // It may begin later than this, and then waits for nothing.
        thread::sleep(Duration::from_millis(1500));
        lab.engine.set_up(true)?;
        load.join().expect("no panic")
    })?;
    assert_eq!(ended(&done.document(0), "intact"), 500, "{}", done.err);
    engine.stop();
    Ok(())
}

/// As where detaching the program has the NIC reset its link.
fn leaves_a_link() -> Result<(), Failed> {
    let mut lab = Lab::create(&LabConfig::default())?;
    let engine = Engine::start(&crate::served::config(&lab, PathName::XDP, |_| {}))?;
    lab.generator.set_up(false)?;
    eventually("no carrier", || Ok(!lab.engine.refresh()?.running))?;
    thread::scope(|scope| {
        let stop = scope.spawn(|| engine.stop());
        thread::sleep(Duration::from_millis(500));
        lab.generator.set_up(true)?;
        stop.join().expect("no panic");
        assert!(lab.engine.refresh()?.running);
        Ok(())
    })
}
