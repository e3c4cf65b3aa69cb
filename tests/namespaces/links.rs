//! Links by netlink.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use libtest_mimic::Failed;
use linerate::sys::link::{Link, Links, VethPair};
use linerate::sys::namespace::Namespace;
use linerate::sys::offload::Ethtool;

use crate::check::{Test, eventually, test};

pub fn tests() -> Vec<Test> {
    vec![
        test("links: a veth pair is as asked for, at both ends", pair),
        test("links: an unknown name is answered with those that there are", unknown_name),
        test("links: a name too long is an error, not a panic", long_name),
        test("links: a taken name says so", taken_name),
        test("links: carrier needs both ends", carrier),
        test("links: deleting one end deletes the other", deleting),
        test("links: MTU and hardware address can be set", setting),
        test("links: addresses are added and listed", addresses),
        test("links: an MTU below 1280 has no IPv6 and is no error", small_mtu),
        test("links: counters count what was sent, in the right namespace", counters),
    ]
}

/// Two namespaces joined by a veth pair that is down.
pub struct Pair {
    pub here: Links,
    pub there: Links,
    pub near: Link,
    pub far: Link,
    pub near_namespace: Namespace,
    pub far_namespace: Namespace,
}

pub fn pair_with_mtu(mtu: u32) -> Result<Pair, Failed> {
    let near_namespace = Namespace::create()?;
    let far_namespace = Namespace::create()?;
    let here = Links::open_in(&near_namespace)?;
    let there = Links::open_in(&far_namespace)?;
    let near = here.create_veth_pair(&request(&far_namespace, mtu))?;
    let far = there.by_name("far0")?;
    Ok(Pair { here, there, near, far, near_namespace, far_namespace })
}

/// A pair of the usual kind, one end of which is in `peer_namespace`.
pub fn plain_pair(name: &str, peer_name: &str, peer_namespace: &Namespace) -> VethPair {
    VethPair {
        name: name.into(),
        peer_name: peer_name.into(),
        peer_namespace: peer_namespace.clone(),
        mac: None,
        peer_mac: None,
        mtu: 1500,
        transmit_queues: 1,
        receive_queues: 1,
    }
}

fn request(far_namespace: &Namespace, mtu: u32) -> VethPair {
    VethPair {
        mac: Some([2, 0, 0, 0, 0, 0xaa]),
        mtu,
        transmit_queues: 2,
        receive_queues: 3,
        ..plain_pair("near0", "far0", far_namespace)
    }
}

fn pair() -> Result<(), Failed> {
    let pair = pair_with_mtu(1600)?;
    assert_eq!(pair.near.mac, [2, 0, 0, 0, 0, 0xaa]);
    assert_ne!(pair.far.mac, [0; 6]);
    for link in [&pair.near, &pair.far] {
        assert!(link.is_veth() && link.ethernet && !link.loopback, "{link:?}");
        assert!(!link.up && !link.running, "{link:?}");
        assert_eq!((link.mtu, link.transmit_queues, link.receive_queues), (1600, 2, 3));
    }
    // The driver is asked, not what the interface was made with.
    let ethtool = pair.near_namespace.run(Ethtool::open)??;
    let queues = ethtool.queues(&Link { transmit_queues: 9, ..pair.near.clone() })?;
    assert_eq!((queues.receive, queues.transmit), (3, 2));
    assert_eq!(pair.here.by_index(pair.near.index)?, pair.near);
    assert!(pair.here.list()?.contains(&pair.near));
    assert!(pair.here.by_name("far0").is_err());
    Ok(())
}

fn unknown_name() -> Result<(), Failed> {
    let links = Links::open_in(&Namespace::create()?)?;
    let error = links.by_name("eth77").err().ok_or("an interface that is not there was found")?;
    let text = error.to_string();
    assert!([" 'eth77'", "ENODEV", "lo"].iter().all(|word| text.contains(word)), "{text}");
    assert!(links.by_index(4_000).is_err());
    Ok(())
}

fn long_name() -> Result<(), Failed> {
    let links = Links::open_in(&Namespace::create()?)?;
    for name in ["", "sixteen-bytes-00", &"x".repeat(70_000), "a\0b", "lo\0"] {
        assert!(links.by_name(name).is_err(), "{name:?}");
    }
    assert_eq!(links.by_name("lo")?.name, "lo");
    Ok(())
}

fn taken_name() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    let error = pair
        .here
        .create_veth_pair(&request(&pair.far_namespace, 1500))
        .err()
        .ok_or("two interfaces of one name were made")?;
    assert!(error.to_string().contains("EEXIST"), "{error}");
    Ok(())
}

fn carrier() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    pair.here.set_up(pair.near.index, true)?;
    let near = pair.here.by_index(pair.near.index)?;
    assert!(near.up && !near.running, "{near:?}");
    pair.there.set_up(pair.far.index, true)?;
    eventually("both ends are running", || {
        let near = pair.here.by_index(pair.near.index)?;
        let far = pair.there.by_index(pair.far.index)?;
        Ok(near.running && far.running)
    })?;
    pair.there.set_up(pair.far.index, false)?;
    eventually("the carrier is gone", || Ok(!pair.here.by_index(pair.near.index)?.running))
}

fn deleting() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    pair.here.delete(pair.near.index)?;
    let error = pair.there.by_index(pair.far.index).err().ok_or("the other end is still there")?;
    assert!(error.to_string().contains("ENODEV"), "{error}");
    let again = pair.here.delete(pair.near.index).err().ok_or("it was deleted twice")?;
    assert!(again.to_string().contains("ENODEV"), "{again}");
    Ok(())
}

fn setting() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    pair.there.set_mtu(pair.far.index, 9000)?;
    pair.there.set_mac(pair.far.index, [2, 1, 2, 3, 4, 5])?;
    let far = pair.there.by_index(pair.far.index)?;
    assert_eq!((far.mtu, far.mac), (9000, [2, 1, 2, 3, 4, 5]));
    let error = pair.there.set_mtu(pair.far.index, 1_000_000).err().ok_or("an MTU of a million")?;
    assert!(error.to_string().contains("the kernel says: "), "{error}");
    Ok(())
}

fn addresses() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    let ipv4: IpAddr = "198.51.100.7".parse()?;
    let ipv6: IpAddr = "2001:db8:7::7".parse()?;
    pair.here.set_up(pair.near.index, true)?;
    assert_eq!(pair.here.addresses(pair.near.index)?, Vec::<IpAddr>::new());
    pair.here.add_address(pair.near.index, ipv6, 64)?;
    pair.here.add_address(pair.near.index, ipv4, 24)?;
    assert_eq!(pair.here.addresses(pair.near.index)?, [ipv4, ipv6]);
    let twice = pair.here.add_address(pair.near.index, ipv4, 24).err().ok_or("added twice")?;
    assert!(twice.to_string().contains("EEXIST"), "{twice}");
    // Other interfaces of the namespace are not concerned.
    let loopback = pair.here.by_name("lo")?;
    assert_eq!(pair.here.addresses(loopback.index)?, Vec::<IpAddr>::new());
    Ok(())
}

fn small_mtu() -> Result<(), Failed> {
    let pair = pair_with_mtu(576)?;
    assert_eq!(pair.near.mtu, 576);
    pair.here.add_address(pair.near.index, "198.51.100.7".parse()?, 24)?;
    let error = pair
        .here
        .add_address(pair.near.index, "2001:db8:7::7".parse()?, 64)
        .err()
        .ok_or("IPv6 below its smallest MTU")?;
    assert!(error.to_string().contains("1280"), "{error}");
    Ok(())
}

fn counters() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    let target = Ipv4Addr::new(198, 51, 100, 2);
    pair.here.add_address(pair.near.index, "198.51.100.1".parse()?, 24)?;
    pair.there.add_address(pair.far.index, target.into(), 24)?;
    pair.here.set_up(pair.near.index, true)?;
    pair.there.set_up(pair.far.index, true)?;
    eventually("both ends are running", || {
        Ok(pair.here.by_index(pair.near.index)?.running
            && pair.there.by_index(pair.far.index)?.running)
    })?;
    pair.here.set_neighbour(pair.near.index, target.into(), pair.far.mac)?;
    let before = pair.there.counters(pair.far.index)?;
    assert_eq!((before.received_frames, before.transmitted_frames), (0, 0), "{before:?}");
    // Somebody takes the datagrams, or else the kernel would answer them with ICMP.
    let _taker = pair.far_namespace.run(|| UdpSocket::bind((target, 9)))??;
    pair.near_namespace.run(|| -> std::io::Result<()> {
        let socket = UdpSocket::bind("198.51.100.1:0")?;
        for _ in 0..5 {
            socket.send_to(&[b'x'; 100], (target, 9))?;
        }
        Ok(())
    })??;
    let sent = pair.here.counters(pair.near.index)?;
    let received = pair.there.counters(pair.far.index)?.since(&before);
    // 14 bytes Ethernet, 20 IPv4, 8 UDP, 100 payload.
    assert_eq!((sent.transmitted_frames, sent.transmitted_bytes), (5, 5 * 142), "{sent:?}");
    assert_eq!((received.received_frames, received.received_bytes), (5, 5 * 142), "{received:?}");
    Ok(())
}
