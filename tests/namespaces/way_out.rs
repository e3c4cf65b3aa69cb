//! The interface that this host reaches the world by, and all that is part of that way, are refused; others
//! are not.

use std::fs;
use std::net::IpAddr;

use libtest_mimic::Failed;
use linerate::engine::guard::refuse_unsafe_interface;
use linerate::sys::link::{Link, Links};
use linerate::sys::namespace::Namespace;

use crate::check::{Test, eventually, test};
use crate::links::plain_pair;
use crate::rtnetlink::{
    NHA_GROUP, NHA_ID, NHA_OIF, RTA_NH_ID, attribute, make, nexthop, octets, route, set,
};

pub fn tests() -> Vec<Test> {
    let routes: [(&str, SetUp); 9] = [
        ("a default route", plain),
        ("a default route of IPv6", plain_ipv6),
        ("the halves of one", halves),
        ("the halves of one of IPv6", halves_ipv6),
        ("a default route of another table", other_table),
        ("a default route by two paths", multipath),
        ("a nexthop object", object),
        ("a group of nexthop objects", group),
        ("routes to most of the world", lookups),
    ];
    let mut tests: Vec<Test> = routes
        .into_iter()
        .map(|(what, set_up)| {
            test(format!("way out: {what} is refused, and nothing else"), move || by_route(set_up))
        })
        .collect();
    tests.push(test("way out: routes into a lab are none", into_a_lab));
    tests.push(test("way out: a bridge's ports are part of it", bridge));
    tests.push(test("way out: what is below and on top is part of it", layers));
    tests
}

const TEXT: &str = "default route";

/// A namespace with three interfaces that are up: one that routes lead by, and two others.
struct Host {
    namespace: Namespace,
    /// Where their other ends are.
    _far: Namespace,
    links: Links,
    out: Link,
    other: Link,
    third: Link,
}

impl Host {
    fn new() -> Result<Host, Failed> {
        let namespace = Namespace::create()?;
        let links = Links::open_in(&namespace)?;
        let far = Namespace::create()?;
        let there = Links::open_in(&far)?;
        let up = |name: &str, peer: &str| -> Result<Link, Failed> {
            let near = links.create_veth_pair(&plain_pair(name, peer, &far))?;
            links.set_up(near.index, true)?;
            there.set_up(there.by_name(peer)?.index, true)?;
            eventually("carrier", || Ok(links.by_index(near.index)?.running))?;
            Ok(links.by_index(near.index)?)
        };
        let (out, other, third) = (up("out", "a")?, up("other", "b")?, up("third", "c")?);
        links.add_address(out.index, "192.0.2.1".parse()?, 24)?;
        links.add_address(out.index, "2001:db8:7::1".parse()?, 64)?;
        links.add_address(other.index, "198.51.100.1".parse()?, 24)?;
        Ok(Host { namespace, _far: far, links, out, other, third })
    }

    /// A route by way of a router behind `out`.
    fn route(&self, table: u8, to: &str, bits: u8) -> Result<(), Failed> {
        let to: IpAddr = to.parse()?;
        let router = if to.is_ipv4() { "192.0.2.9" } else { "2001:db8:7::9" };
        let way = [oif(self.out.index), gateway(router)?].concat();
        route(&self.namespace, table, (to, bits), &way)
    }

    /// Why an interface is refused.
    fn refused(&self, link: &Link) -> Option<String> {
        refuse_unsafe_interface(&self.links, link, false).err().map(|error| {
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("--force"), "{error}");
            error.to_string()
        })
    }
}

fn oif(index: u32) -> Vec<u8> {
    attribute(libc::RTA_OIF, &index.to_ne_bytes())
}

fn gateway(address: &str) -> Result<Vec<u8>, Failed> {
    Ok(attribute(libc::RTA_GATEWAY, &octets(address.parse()?)))
}

type SetUp = fn(&Host) -> Result<(), Failed>;

fn by_route(set_up: SetUp) -> Result<(), Failed> {
    let host = Host::new()?;
    assert_eq!(host.refused(&host.out), None);
    set_up(&host)?;
    let text = host.refused(&host.out).ok_or("it is served")?;
    assert!(text.contains(TEXT) || text.contains("the way out"), "{text}");
    assert_eq!(host.refused(&host.third), None);
    refuse_unsafe_interface(&host.links, &host.out, true)?;
    Ok(())
}

fn plain(host: &Host) -> Result<(), Failed> {
    host.links.add_default_route(host.out.index, "192.0.2.9".parse()?)?;
    Ok(())
}

fn plain_ipv6(host: &Host) -> Result<(), Failed> {
    host.links.add_default_route(host.out.index, "2001:db8:7::9".parse()?)?;
    Ok(())
}

fn halves(host: &Host) -> Result<(), Failed> {
    host.route(libc::RT_TABLE_MAIN, "0.0.0.0", 1)?;
    host.route(libc::RT_TABLE_MAIN, "128.0.0.0", 1)
}

fn halves_ipv6(host: &Host) -> Result<(), Failed> {
    host.route(libc::RT_TABLE_MAIN, "::", 1)?;
    host.route(libc::RT_TABLE_MAIN, "8000::", 1)
}

fn other_table(host: &Host) -> Result<(), Failed> {
    host.route(77, "0.0.0.0", 0)
}

fn multipath(host: &Host) -> Result<(), Failed> {
    let path = |link: &Link, router: &str| -> Result<Vec<u8>, Failed> {
        let router = gateway(router)?;
        let mut path = ((8 + router.len()) as u16).to_ne_bytes().to_vec();
        path.extend([0, 0]);
        path.extend(link.index.to_ne_bytes());
        path.extend(router);
        Ok(path)
    };
    let paths = [path(&host.other, "198.51.100.9")?, path(&host.out, "192.0.2.9")?].concat();
    let way = attribute(libc::RTA_MULTIPATH, &paths);
    route(&host.namespace, libc::RT_TABLE_MAIN, ("0.0.0.0".parse()?, 0), &way)?;
    assert!(host.refused(&host.other).is_some());
    Ok(())
}

/// Nexthop object 7, by `out`; without the kernel's courtesy to show its interface in the route, too.
fn add_object(host: &Host) -> Result<(), Failed> {
    let compatible = "/proc/sys/net/ipv4/nexthop_compat_mode";
    host.namespace.run(|| fs::write(compatible, "0"))??;
    let number = |kind, number: u32| attribute(kind, &number.to_ne_bytes());
    // NHA_GATEWAY has the number that RTA_GATEWAY has less one.
    let router = attribute(6, &[192, 0, 2, 9]);
    let object = [number(NHA_ID, 7), number(NHA_OIF, host.out.index), router].concat();
    nexthop(&host.namespace, &object)
}

fn by_object(host: &Host, number: u32) -> Result<(), Failed> {
    let way = attribute(RTA_NH_ID, &number.to_ne_bytes());
    route(&host.namespace, 77, ("0.0.0.0".parse()?, 0), &way)
}

fn object(host: &Host) -> Result<(), Failed> {
    add_object(host)?;
    by_object(host, 7)
}

fn group(host: &Host) -> Result<(), Failed> {
    add_object(host)?;
    let group =
        [attribute(NHA_ID, &8u32.to_ne_bytes()), attribute(NHA_GROUP, &[7, 0, 0, 0, 0, 0, 0, 0])];
    nexthop(&host.namespace, &group.concat())?;
    by_object(host, 8)
}

fn lookups(host: &Host) -> Result<(), Failed> {
    host.route(libc::RT_TABLE_MAIN, "192.0.0.0", 5)?;
    host.route(libc::RT_TABLE_MAIN, "2600::", 7)
}

fn into_a_lab() -> Result<(), Failed> {
    let host = Host::new()?;
    let routes = [
        ("198.18.0.0", 15),
        ("16.0.0.0", 8),
        ("224.0.0.0", 4),
        ("10.0.0.0", 8),
        ("fd00::", 8),
        ("ff00::", 8),
    ];
    for (to, bits) in routes {
        host.route(libc::RT_TABLE_MAIN, to, bits)?;
    }
    assert_eq!(host.refused(&host.out), None);
    Ok(())
}

fn link(host: &Host, name: &str) -> Result<Link, Failed> {
    let link = host.links.by_name(name)?;
    host.links.set_up(link.index, true)?;
    Ok(host.links.by_index(link.index)?)
}

fn bridge() -> Result<(), Failed> {
    let host = Host::new()?;
    make(&host.namespace, "bridge", "br0", None)?;
    let bridge = link(&host, "br0")?;
    set(&host.namespace, host.other.index, libc::IFLA_MASTER, &bridge.index.to_ne_bytes())?;
    host.links.add_address(bridge.index, "203.0.113.1".parse()?, 24)?;
    assert_eq!(host.refused(&host.other), None);
    host.links.add_default_route(bridge.index, "203.0.113.9".parse()?)?;
    let text = host.refused(&host.other).ok_or("a port is served")?;
    assert!(text.contains("is a port of br0") && text.contains(TEXT), "{text}");
    assert!(host.refused(&bridge).is_some());
    assert_eq!((host.refused(&host.out), host.refused(&host.third)), (None, None));
    Ok(())
}

fn layers() -> Result<(), Failed> {
    let host = Host::new()?;
    for name in ["mac0", "mac1"] {
        make(&host.namespace, "macvlan", name, Some(host.out.index))?;
    }
    make(&host.namespace, "macvlan", "mac2", Some(host.other.index))?;
    let (child, sibling, stranger) =
        (link(&host, "mac0")?, link(&host, "mac1")?, link(&host, "mac2")?);
    host.links.add_default_route(host.out.index, "192.0.2.9".parse()?)?;
    let text = host.refused(&child).ok_or("a child is served")?;
    assert!(text.contains("is on top of out, which") && text.contains(TEXT), "{text}");
    // By the child instead.
    host.links.set_up(host.out.index, false)?;
    host.links.set_up(host.out.index, true)?;
    host.links.set_up(child.index, true)?;
    host.links.add_address(child.index, "203.0.113.1".parse()?, 24)?;
    host.links.add_default_route(child.index, "203.0.113.9".parse()?)?;
    let text = host.refused(&host.out).ok_or("a parent is served")?;
    assert!(text.contains("is below mac0, which") && text.contains(TEXT), "{text}");
    let text = host.refused(&sibling).ok_or("a sibling is served")?;
    assert!(text.contains("shares out with mac0, which") && text.contains(TEXT), "{text}");
    assert_eq!((host.refused(&stranger), host.refused(&host.other)), (None, None));
    Ok(())
}
