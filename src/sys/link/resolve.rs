//! By which interface an address is reached, and the hardware address to write on the frame.

use std::net::IpAddr;

use super::addresses::{ROUTE_FLAGS, neighbour_header, route_header};
use super::{Link, Links};
use crate::error::{Error, Result};
use crate::sys::netlink::{Message, address, attribute, octets};

/// How packets to an address leave this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Number of the interface.
    pub interface: u32,
    /// The router on the way, or the address itself where it is on the link. A router may have an
    /// address of the other IP version (RFC 8950).
    pub neighbour: IpAddr,
    /// The source address that the kernel would choose.
    pub source: Option<IpAddr>,
}

/// Answer with the entry of the table, and not with what was made of it (`RTM_F_FIB_MATCH` in
/// uapi/linux/rtnetlink.h).
const TABLE_ENTRY: u32 = 0x2000;

/// The state of a neighbour within `struct ndmsg`.
const NEIGHBOUR_STATE: usize = 8;
/// States of an address that somebody set for good, and that is never asked for.
const FIXED: u16 = libc::NUD_PERMANENT | libc::NUD_NOARP;

/// What the kernel has of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Whether somebody set it for good.
    pub is_fixed: bool,
}

/// A router of any address family, `struct rtvia` (`RTA_VIA` in uapi/linux/rtnetlink.h): the family in two
/// bytes, and the address.
const VIA: u16 = 18;

impl Links {
    /// How packets to `address` leave this host (`RTM_GETROUTE`).
    pub fn next_hop(&self, address: IpAddr) -> Result<NextHop> {
        self.look_up(address, None, 0)
    }

    /// How packets to `address` leave by `interface`. Where no route leads there, how they leave
    /// otherwise.
    pub fn next_hop_over(&self, interface: u32, address: IpAddr) -> Result<NextHop> {
        // Where no IPv4 route leads by the interface, the kernel takes the address for one on its link
        // (`ip_route_output_key_hash_rcu` in net/ipv4/route.c). Only the table tells.
        let is_routed = self.look_up(address, Some(interface), TABLE_ENTRY).is_ok();
        self.look_up(address, Some(interface).filter(|_| is_routed), 0)
    }

    fn look_up(&self, address: IpAddr, interface: Option<u32>, flags: u32) -> Result<NextHop> {
        let mut request = route_header(address, if address.is_ipv4() { 32 } else { 128 }, 0);
        request[ROUTE_FLAGS..].copy_from_slice(&flags.to_ne_bytes());
        request.extend(attribute(libc::RTA_DST, &octets(address)));
        let number = interface.map(|index| attribute(libc::RTA_OIF, &index.to_ne_bytes()));
        request.extend(number.unwrap_or_default());
        let route = self.socket().query(libc::RTM_GETROUTE, &request).map_err(|refusal| {
            let advice = match refusal.code() {
                libc::ENETUNREACH | libc::EHOSTUNREACH => {
                    "no route leads there: give the interface an address in that network, say \
                     with --from where to send from, or name the target by its MAC"
                }
                _ => "",
            };
            refusal.into_error(format!("find the route to {address}"), advice)
        })?;
        if route.kind != libc::RTM_NEWROUTE {
            return Err(Error::Run(format!("the kernel gave no route to {address}")));
        }
        let router = route.address(libc::RTA_GATEWAY).or_else(|| other_version(&route));
        Ok(NextHop {
            interface: route.number(libc::RTA_OIF).unwrap_or(0),
            neighbour: router.unwrap_or(address),
            source: route.address(libc::RTA_PREFSRC),
        })
    }

    /// What the kernel has of a neighbour, where it takes that to be right: an address that is stale, or
    /// that it asks for just now, is nothing.
    pub fn neighbour(&self, index: u32, address: IpAddr) -> Result<Option<Neighbour>> {
        let request = neighbour_header(address, 0);
        let answers = self.dump(libc::RTM_GETNEIGH, &request, "list the neighbours")?;
        Ok(answers.iter().find_map(|answer| Neighbour::of_message(answer, index, address)))
    }

    /// The interface that a zone of IPv6 addresses names, by name or number (RFC 4007, section 11).
    pub fn by_zone(&self, zone: &str) -> Result<Link> {
        let by_number = || self.by_index(zone.parse().ok()?).ok();
        self.by_name(zone).or_else(|error| by_number().ok_or(error))
    }
}

fn other_version(route: &Message) -> Option<IpAddr> {
    address(route.find(VIA)?.get(2..)?)
}

impl Neighbour {
    fn of_message(message: &Message, index: u32, wanted: IpAddr) -> Option<Neighbour> {
        let mac = message.find(libc::NDA_LLADDR)?.try_into().ok()?;
        let state = [message.byte(NEIGHBOUR_STATE), message.byte(NEIGHBOUR_STATE + 1)];
        let state = u16::from_ne_bytes(state);
        let matches = message.interface() == index
            && message.address(libc::NDA_DST) == Some(wanted)
            && state & (FIXED | libc::NUD_REACHABLE) != 0
            && mac != [0; 6];
        matches.then_some(Neighbour { mac, is_fixed: state & FIXED != 0 })
    }
}
