//! The ways out of this host, and which interfaces are part of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::addresses::{ROUTE_DESTINATION_BITS, ROUTE_TABLE, ROUTE_TYPE, route_header};
use super::{Link, Links};
use crate::error::Result;
use crate::sys::netlink::{Message, attributes, word};

/// A route to so few bits is meant for the world: 0.0.0.0/0, the halves of it that VPNs set beside it,
/// 2000::/3.
const WORLD_BITS_MAX: u8 = 3;

/// Name servers all over the world, to ask for the way that packets take by all rules and tables. What
/// is not among them may be routed into a lab.
const WORLD_IPV4: [[u8; 4]; 4] =
    [[9, 9, 9, 9], [64, 6, 64, 6], [193, 0, 14, 129], [202, 12, 27, 33]];
const WORLD_IPV6: [[u16; 8]; 4] = [
    [0x2001, 0x7fd, 0, 0, 0, 0, 0, 1],
    [0x2001, 0xdc3, 0, 0, 0, 0, 0, 0x35],
    [0x2620, 0xfe, 0, 0, 0, 0, 0, 0xfe],
    [0x2a02, 0x6b8, 0, 0, 0, 0, 0xfeed, 0xff],
];

/// The nexthop object of a route, and attributes of such objects (uapi/linux/nexthop.h).
const ROUTE_NEXTHOP: u16 = 30;
const NEXTHOP_ID: u16 = 1;
const NEXTHOP_GROUP: u16 = 2;
const NEXTHOP_INTERFACE: u16 = 5;
const GET_NEXTHOP: u16 = 106;
/// `struct nhmsg`, and `struct nexthop_grp`, which begins with the number of a member.
const NEXTHOP_HEADER: [u8; 8] = [0; 8];
const GROUP_ENTRY_BYTES: usize = 8;

/// The kind of a bridge of Open vSwitch, and of the interface that stands for all of them.
const OPEN_VSWITCH: &str = "openvswitch";

/// Interfaces of nexthop objects, by their numbers.
type Nexthops = BTreeMap<u32, Vec<u32>>;

/// Why packets leave the host by an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A route of `table` to so few bits.
    Route { destination: IpAddr, bits: u8, table: u32 },
    /// The kernel says so of a packet to that address.
    Lookup(IpAddr),
}

impl Links {
    /// What an interface has to do with a way out of this host, as in "carries the default route"; `None`
    /// where it has nothing to do with any.
    pub fn part_in_way_out(&self, index: u32) -> Result<Option<String>> {
        let links = self.list()?;
        let link = |index: u32| links.iter().find(|link| link.index == index);
        let called = |index: u32| link(index).map_or(index.to_string(), |link| link.name.clone());
        let ways = self.ways_out()?;
        if let Some((_, way)) = ways.iter().find(|(out, _)| *out == index) {
            return Ok(Some(way.to_string()));
        }
        let below = passes(&links, index);
        let part = ways.iter().find_map(|(out, way)| {
            let of_way = passes(&links, *out);
            let shared = below.intersection(&of_way).next()?;
            let name = called(*out);
            Some(match (of_way.contains(&index), below.contains(out)) {
                (true, _) if link(index)?.master == Some(*out) => {
                    format!("is a port of {name}, which {way}")
                }
                (true, _) => format!("is below {name}, which {way}"),
                (_, true) => format!("is on top of {name}, which {way}"),
                _ => format!("shares {} with {name}, which {way}", called(*shared)),
            })
        });
        Ok(part)
    }

    /// The interfaces that packets to the world leave by.
    fn ways_out(&self) -> Result<Vec<(u32, Way)>> {
        let mut ways = Vec::new();
        let nexthops = self.nexthops()?;
        for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            match self.socket().dump(libc::RTM_GETROUTE, &route_header(any, 0, 0)) {
                Ok(answers) => ways.extend(answers.iter().flat_map(|route| {
                    let way = Way::of_route(route, any);
                    way.map_or(Vec::new(), |way| {
                        let interfaces = interfaces(route, &nexthops).into_iter();
                        interfaces.map(|interface| (interface, way)).collect()
                    })
                })),
                // A kernel without IPv6.
                Err(refusal) if refusal.code() == libc::EOPNOTSUPP => {}
                Err(refusal) => return Err(refusal.into_error("list the routes", "")),
            }
        }
        let world = WORLD_IPV4.into_iter().map(IpAddr::from);
        for address in world.chain(WORLD_IPV6.into_iter().map(IpAddr::from)) {
            // Without a way there, there is none to keep clear.
            ways.extend(self.next_hop(address).map(|hop| (hop.interface, Way::Lookup(address))));
        }
        Ok(ways)
    }

    fn nexthops(&self) -> Result<Nexthops> {
        let answers = match self.socket().dump(GET_NEXTHOP, &NEXTHOP_HEADER) {
            // Kernels before 5.3 have no such objects.
            Err(refusal) if refusal.code() == libc::EOPNOTSUPP => Vec::new(),
            answers => answers.map_err(|refusal| refusal.into_error("list nexthop objects", ""))?,
        };
        let id = |object: &Message| object.number(NEXTHOP_ID);
        let plain = answers
            .iter()
            .filter_map(|object| Some((id(object)?, vec![object.number(NEXTHOP_INTERFACE)?])));
        let mut nexthops: Nexthops = plain.collect();
        for object in &answers {
            if let (Some(id), Some(group)) = (id(object), object.find(NEXTHOP_GROUP)) {
                let members = group.chunks_exact(GROUP_ENTRY_BYTES).filter_map(word);
                let interfaces = members.filter_map(|id| nexthops.get(&id)).flatten().copied();
                nexthops.insert(id, interfaces.collect());
            }
        }
        Ok(nexthops)
    }
}

impl Way {
    /// The way that a route is, if it is one for the world.
    fn of_route(route: &Message, any: IpAddr) -> Option<Way> {
        let bits = route.byte(ROUTE_DESTINATION_BITS);
        let is_way = route.kind == libc::RTM_NEWROUTE
            && route.byte(ROUTE_TYPE) == libc::RTN_UNICAST
            && bits <= WORLD_BITS_MAX;
        let table = route.number(libc::RTA_TABLE).unwrap_or(route.byte(ROUTE_TABLE).into());
        let destination = route.address(libc::RTA_DST).unwrap_or(any);
        is_way.then_some(Way::Route { destination, bits, table })
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Way::Route { bits: 0, .. } => f.write_str("carries the default route")?,
            Way::Route { destination, bits, .. } => {
                write!(f, "carries {destination}/{bits}, a part of the default route")?;
            }
            Way::Lookup(address) => write!(f, "is the way out of this host, as to {address}")?,
        }
        match *self {
            Way::Route { table, .. } if table != u32::from(libc::RT_TABLE_MAIN) => {
                write!(f, " of table {table}")
            }
            _ => Ok(()),
        }
    }
}

/// The interfaces that a route leads to: its own, those of its paths, those of its nexthop object.
fn interfaces(route: &Message, nexthops: &Nexthops) -> Vec<u32> {
    // struct rtnexthop begins as an attribute does, with its length, flags and weight; the interface
    // follows.
    let hops = route.find(libc::RTA_MULTIPATH).unwrap_or_default();
    let paths = attributes(hops).filter_map(|(_, hop)| word(hop));
    let object = route.number(ROUTE_NEXTHOP).and_then(|id| nexthops.get(&id)).into_iter().flatten();
    route.number(libc::RTA_OIF).into_iter().chain(paths).chain(object.copied()).collect()
}

/// The interfaces that frames of one pass through: itself, its ports, what it is on top of, and so on.
fn passes(links: &[Link], index: u32) -> BTreeSet<u32> {
    let link = |index: u32| links.iter().find(|link| link.index == index);
    let is =
        |index: u32, kind: &str| link(index).is_some_and(|it| it.kind.as_deref() == Some(kind));
    // A VRF is a routing table, and no frames of it pass through all its interfaces. The bridges of Open
    // vSwitch are beside one interface that is the master of all their ports.
    let is_switch = |index, master| is(index, OPEN_VSWITCH) && is(master, OPEN_VSWITCH);
    let is_port = |of: u32, link: &&Link| {
        link.master.is_some_and(|master| (master == of && !is(of, "vrf")) || is_switch(of, master))
    };
    let mut found = BTreeSet::new();
    let mut open = vec![index];
    while let Some(index) = open.pop() {
        if found.insert(index) {
            open.extend(link(index).and_then(|link| link.lower));
            open.extend(links.iter().filter(|link| is_port(index, link)).map(|link| link.index));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netlink::{attribute, messages, request};

    fn route(kind: u8, bits: u8, attributes: &[u8]) -> Message {
        let mut body = route_header(Ipv4Addr::UNSPECIFIED.into(), bits, libc::RT_TABLE_MAIN);
        body[ROUTE_TYPE] = kind;
        body.extend(attributes);
        messages(&request(libc::RTM_NEWROUTE, 0, 0, &body)).next().unwrap().unwrap()
    }

    #[test]
    fn each_hop_of_a_route_counts() {
        let hop = |interface: u32| [&[8, 0, 0, 0], &interface.to_ne_bytes()[..]].concat();
        let hops = [hop(3), hop(70_000)].concat();
        let found = |attributes: &[u8]| {
            let nexthops = Nexthops::from([(7, vec![4, 5])]);
            interfaces(&route(libc::RTN_UNICAST, 0, attributes), &nexthops)
        };
        assert_eq!(found(&attribute(libc::RTA_MULTIPATH, &hops)), [3, 70_000]);
        assert_eq!(found(&attribute(libc::RTA_MULTIPATH, &hops[..12])), [3]);
        assert_eq!(found(&attribute(libc::RTA_OIF, &9u32.to_ne_bytes())), [9]);
        assert_eq!(found(&attribute(ROUTE_NEXTHOP, &7u32.to_ne_bytes())), [4, 5]);
        assert_eq!(found(&attribute(ROUTE_NEXTHOP, &8u32.to_ne_bytes())), [0; 0]);
    }

    #[test]
    fn a_route_for_the_world_has_few_bits() {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let way = |kind, bits| Way::of_route(&route(kind, bits, &[]), any);
        for bits in 0..=3 {
            assert!(way(libc::RTN_UNICAST, bits).is_some(), "{bits}");
        }
        // Multicast; a test network.
        for bits in [4, 8, 24, 32] {
            assert_eq!(way(libc::RTN_UNICAST, bits), None);
        }
        assert_eq!(way(libc::RTN_UNREACHABLE, 0), None);
        assert_eq!(way(libc::RTN_UNICAST, 0).unwrap().to_string(), "carries the default route");
        let half = Way::Route { destination: [128, 0, 0, 0].into(), bits: 1, table: 77 };
        let text = "carries 128.0.0.0/1, a part of the default route of table 77";
        assert_eq!(half.to_string(), text);
    }

    #[test]
    fn frames_pass_through_ports_and_what_is_below() {
        let link = |index, master, lower| Link { index, master, lower, ..Link::default() };
        // A bridge (1) over a bond (2) of two ports (3, 4), a VLAN of the bridge (5), one of a port (6),
        // one that has nothing to do with it (7), and two that point to each other.
        let links = [
            link(1, None, None),
            link(2, Some(1), None),
            link(3, Some(2), None),
            link(4, Some(2), None),
            link(5, None, Some(1)),
            link(6, None, Some(3)),
            link(7, None, None),
            link(8, None, Some(9)),
            link(9, None, Some(8)),
        ];
        let through = |index| passes(&links, index).into_iter().collect::<Vec<_>>();
        assert_eq!(through(1), [1, 2, 3, 4]);
        assert_eq!(through(5), [1, 2, 3, 4, 5]);
        assert_eq!(through(6), [3, 6]);
        assert_eq!(through(7), [7]);
        assert_eq!(through(8), [8, 9]);
    }

    #[test]
    fn a_vrf_has_no_ports_and_open_vswitch_has_them_elsewhere() {
        let link = |index, kind: &str, master| Link {
            index,
            kind: Some(kind.into()),
            master,
            ..Link::default()
        };
        let links = [
            link(1, "vrf", None),
            link(2, "veth", Some(1)),
            link(3, OPEN_VSWITCH, None),
            link(4, "veth", Some(3)),
            link(5, OPEN_VSWITCH, None),
        ];
        let through = |index| passes(&links, index).into_iter().collect::<Vec<_>>();
        assert_eq!((through(1), through(2)), (vec![1], vec![2]));
        assert_eq!(through(5), [4, 5]);
    }
}
