//! The testbed.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use libtest_mimic::Failed;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::sys::namespace::Namespace;
use linerate::sys::offload::Ethtool;

use crate::check::{PATIENCE, Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test("lab: both ends are up, plain and in namespaces of their own", plain),
        test("lab: nobody sends anything by themselves", quiet),
        test("lab: addresses work for ordinary sockets, IPv4 and IPv6", addresses),
        test("lab: addresses and neighbours survive a link that was switched off", flap),
        test("lab: offloads are as asked for", offloads),
        test("lab: queues and MTU are as asked for", geometry),
        test("lab: a deleted link is gone on both sides", deleted),
    ]
}

fn plain() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    assert_ne!(lab.generator.namespace, lab.engine.namespace);
    assert_ne!(lab.engine.namespace, Namespace::current()?);
    for (side, plan) in [(&lab.generator, GENERATOR), (&lab.engine, ENGINE)] {
        assert_eq!((side.link.name.as_str(), side.link.mac), (plan.interface, plan.mac));
        assert!(side.link.up && side.link.running && side.link.is_veth(), "{:?}", side.link);
        assert_eq!(side.link.mtu, 1500);
        let features = features_of(&side.namespace, plan.interface)?;
        for off in
            ["tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-generic-segmentation", "rx-gro"]
        {
            assert!(!features.contains(off), "{off}");
        }
    }
    Ok(())
}

fn quiet() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    // Router solicitations and multicast reports would come within the first seconds.
    std::thread::sleep(Duration::from_secs(3));
    for side in [&lab.generator, &lab.engine] {
        let counters = side.counters()?;
        assert_eq!(counters, Default::default(), "{}", side.link);
    }
    Ok(())
}

fn addresses() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig { addresses: true, ..Default::default() })?;
    exchange(&lab)
}

fn flap() -> Result<(), Failed> {
    let mut lab = Lab::create(&LabConfig { addresses: true, ..Default::default() })?;
    lab.engine.set_up(false)?;
    assert!(!lab.engine.link.up);
    lab.engine.set_up(true)?;
    lab.generator.set_up(false)?;
    assert!(!lab.engine.refresh()?.running);
    lab.generator.set_up(true)?;
    lab.generator.wait_until_running(PATIENCE)?;
    lab.engine.wait_until_running(PATIENCE)?;
    exchange(&lab)
}

/// A datagram there and one back, over both protocols, with ordinary sockets.
fn exchange(lab: &Lab) -> Result<(), Failed> {
    for (client, server) in [
        (format!("{}:0", GENERATOR.ipv4), format!("{}:7000", ENGINE.ipv4)),
        (format!("[{}]:0", GENERATOR.ipv6), format!("[{}]:7000", ENGINE.ipv6)),
    ] {
        let open = |address: &str| -> std::io::Result<UdpSocket> {
            let socket = UdpSocket::bind(address)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let client = lab.generator.namespace.run(|| open(&client))??;
        let engine = lab.engine.namespace.run(|| open(&server))??;
        client.send_to(b"there", &server)?;
        let mut buffer = [0; 16];
        let (length, from) = engine.recv_from(&mut buffer)?;
        assert_eq!(&buffer[..length], b"there");
        engine.send_to(b"back", from)?;
        let (length, from) = client.recv_from(&mut buffer)?;
        assert_eq!((&buffer[..length], from), (&b"back"[..], server.parse()?));
    }
    Ok(())
}

fn offloads() -> Result<(), Failed> {
    let config =
        LabConfig { checksum_offload: true, segmentation_offload: true, ..Default::default() };
    let lab = Lab::create(&config)?;
    let features = features_of(&lab.engine.namespace, ENGINE.interface)?;
    for on in ["tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-generic-segmentation"] {
        assert!(features.contains(on), "{on}");
    }
    assert!(!features.contains("rx-gro"));
    let impossible = LabConfig { checksum_offload: false, ..config };
    assert_eq!(Lab::create(&impossible).err().ok_or("made the impossible")?.exit_code(), 2);
    Ok(())
}

fn features_of(namespace: &Namespace, name: &str) -> Result<BTreeSet<String>, Failed> {
    let features = || Ethtool::open().map(|ethtool| ethtool.features(name));
    Ok(namespace.run(features)???)
}

fn geometry() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig { mtu: 9000, queues: 2, ..Default::default() })?;
    for side in [&lab.generator, &lab.engine] {
        let link = &side.link;
        assert_eq!((link.mtu, link.transmit_queues, link.receive_queues), (9000, 2, 2));
    }
    Ok(())
}

fn deleted() -> Result<(), Failed> {
    let mut lab = Lab::create(&LabConfig::default())?;
    lab.generator.delete()?;
    assert!(lab.engine.refresh().is_err());
    assert!(lab.engine.counters().is_err());
    Ok(())
}
