//! Frames that passed a bridge: it takes the tag off and sends the frame on with the tag beside it, where a packet
//! socket is told of it and an XDP program has to ask.

use std::time::Duration;

use libtest_mimic::Failed;
use linerate::engine::config::PathName;
use linerate::engine::names::RxName;
use linerate::engine::pool::Engine;
use linerate::lab::{ENGINE, Side};
use linerate::sys::link::Links;
use linerate::wire::ethernet::VlanTag;

use crate::check::{Test, eventually, over, pairs};
use crate::client::{Client, EXPERIMENTAL, answer_from, frame_between};
use crate::links::plain_pair;
use crate::served::{Served, config, serve};

pub fn tests() -> Vec<Test> {
    let (programs, sockets): (Vec<_>, Vec<_>) = pairs()
        .into_iter()
        .filter(|path| path.sees_tags())
        .partition(|path| path.rx == RxName::Xsk);
    let in_its_vlan = ("a frame is answered in its VLAN", in_its_vlan as fn(_) -> _);
    let mut tests = over("bridged", &programs, &[in_its_vlan]);
    tests.extend(over("bridged", &sockets, &[in_its_vlan]));
    tests.extend(over(
        "bridged",
        &programs,
        &[("a bridge itself is refused by name", on_a_bridge)],
    ));
    tests
}

const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn in_its_vlan(path: PathName) -> Result<(), Failed> {
    let served = serve(path, |_| {})?;
    let mut far = behind_a_bridge(&served.lab.generator)?;
    let customer = VlanTag::customer(100, 3);
    let stacks = [
        vec![],
        vec![customer],
        vec![VlanTag::customer(0, 5)],
        vec![VlanTag::service(100, 0)],
        vec![customer, VlanTag::customer(5, 0)],
        vec![VlanTag::service(9, 0), customer],
    ];
    for (tags, length) in stacks.iter().flat_map(|tags| [60, 64, 1514].map(|length| (tags, length)))
    {
        let payload = vec![b'v'; length - 14 - 4 * tags.len()];
        let mut frame = frame_between(ENGINE.mac, STRANGER, EXPERIMENTAL, &payload);
        frame.splice(12..12, tags.iter().flat_map(|tag| tag.bytes()));
        let expected = answer_from(ENGINE.mac, &frame, 14 + 4 * tags.len());
        // Until the bridge forwards.
        eventually("the frame is answered", || {
            far.send(&frame)?;
            let mut answers =
                far.collect_while(Duration::from_millis(100), |collected| collected < 1)?;
            // The bridge speaks for itself as well.
            answers.retain(|answer| answer.bytes[6..12] == ENGINE.mac);
            let right = answers.iter().all(|answer| answer.bytes == expected);
            assert!(right, "{tags:?}: {answers:x?}");
            Ok(!answers.is_empty())
        })?;
        // Those to what was sent again.
        far.collect_all()?;
    }
    let Served { engine, .. } = served;
    assert_eq!(engine.stop().counters.unexplained(0), 0);
    Ok(())
}

/// The kernel runs the program on what a bridge receives after a port took the tag off, and tells nobody of it.
fn on_a_bridge(path: PathName) -> Result<(), Failed> {
    let served = serve(path, |_| {})?;
    behind_a_bridge(&served.lab.generator)?;
    let mut config = config(&served.lab, path, |config| config.interface = BRIDGE.into());
    config.namespace = Some(served.lab.generator.namespace.clone());
    let error = Engine::start(&config).err().ok_or("it answers in which VLAN?")?.to_string();
    assert!(error.contains("VLAN") && error.contains("ring-v2-xsk"), "{error}");
    Ok(())
}

const BRIDGE: &str = "bridge0";

/// A client behind a bridge that has `side` for its other port.
fn behind_a_bridge(side: &Side) -> Result<Client, Failed> {
    side.namespace.run(|| {
        let links = Links::open()?;
        let far = links.create_veth_pair(&plain_pair("far0", "port0", &side.namespace))?;
        let port = links.by_name("port0")?;
        make_bridge(&[side.link.index, port.index])?;
        let bridge = links.by_name(BRIDGE)?;
        for index in [far.index, port.index, bridge.index] {
            links.set_up(index, true)?;
        }
        Client::open_here(far.index)
    })?
}

/// `SIOCBRADDBR` and `SIOCBRADDIF`; netlink in this crate makes no bridges.
fn make_bridge(ports: &[u32]) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    const MAKE: libc::c_ulong = 0x89a0;
    const ADD_PORT: libc::c_ulong = 0x89a2;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let mut name = [0 as libc::c_char; libc::IFNAMSIZ];
    name.iter_mut().zip(BRIDGE.bytes()).for_each(|(to, from)| *to = from as libc::c_char);
    let check = |result| match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: SIOCBRADDBR reads a name of IFNAMSIZ bytes, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), MAKE as _, name.as_ptr()) })?;
    for &port in ports {
        let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_ifindex: port as i32 };
        let request = libc::ifreq { ifr_name: name, ifr_ifru };
        // SAFETY: SIOCBRADDIF reads one ifreq, which outlives the call.
        check(unsafe { libc::ioctl(socket.as_raw_fd(), ADD_PORT as _, &raw const request) })?;
    }
    Ok(())
}
