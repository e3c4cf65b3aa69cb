//! IP addresses, neighbours and default routes of the links.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Links, NEEDS_NET_ADMIN, described};
use crate::error::Result;

impl Links {
    /// Gives an interface an address, with a route to its subnet of `prefix_length` bits. An IPv6
    /// address is usable at once: duplicate address detection is off for it (`IFA_F_NODAD`).
    pub fn add_address(&self, index: u32, address: IpAddr, prefix_length: u8) -> Result<()> {
        let mut request = AddressMessage::default();
        request.header.family = family(address);
        request.header.prefix_len = prefix_length;
        request.header.index = index;
        if address.is_ipv6() {
            request.header.flags = AddressHeaderFlags::Nodad;
        }
        request.attributes =
            vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
        self.socket()
            .change(RouteNetlinkMessage::NewAddress(request), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|refusal| {
                let advice = match refusal.code() {
                    libc::EPERM => NEEDS_NET_ADMIN,
                    libc::EEXIST => "the interface has this address already",
                    libc::ENODEV => "the interface is gone",
                    libc::EINVAL | libc::ENOBUFS if address.is_ipv6() => {
                        "IPv6 needs an MTU of at least 1280 bytes, and a prefix of at most 128 bits"
                    }
                    libc::EINVAL => "the prefix has at most 32 bits",
                    libc::EACCES => "IPv6 is disabled on this interface (disable_ipv6)",
                    libc::EOPNOTSUPP | libc::EAFNOSUPPORT => "this kernel has no such protocol",
                    _ => "",
                };
                let what = described(address);
                refusal.into_error(
                    format!("add the {what}/{prefix_length} to interface number {index}"),
                    advice,
                )
            })
    }

    /// The addresses of an interface, in the kernel's order, IPv4 first.
    pub fn addresses(&self, index: u32) -> Result<Vec<IpAddr>> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.socket().dump(&request).map_err(|refusal| {
            refusal.into_error(format!("list the addresses of interface number {index}"), "")
        })?;
        let mut addresses: Vec<IpAddr> = answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(message) if message.header.index == index => {
                    own_address(message)
                }
                _ => None,
            })
            .collect();
        addresses.sort_by_key(IpAddr::is_ipv6);
        Ok(addresses)
    }

    /// Tells the interface which hardware address a neighbour has, for good: no ARP and no
    /// neighbour solicitation will ask for it. Switching the interface off forgets it.
    pub fn set_neighbour(&self, index: u32, address: IpAddr, mac: [u8; 6]) -> Result<()> {
        let mut request = NeighbourMessage::default();
        request.header.family = family(address);
        request.header.ifindex = index;
        request.header.state = NeighbourState::Permanent;
        request.header.kind = RouteType::Unicast;
        let destination = match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        };
        request.attributes = vec![
            NeighbourAttribute::Destination(destination),
            NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
        ];
        self.socket()
            .change(RouteNetlinkMessage::NewNeighbour(request), NLM_F_CREATE | NLM_F_REPLACE)
            .map_err(|refusal| {
                let advice = match refusal.code() {
                    libc::EPERM => NEEDS_NET_ADMIN,
                    libc::ENETDOWN => "switch the interface on first",
                    _ => "",
                };
                let what = described(address);
                refusal.into_error(
                    format!("set the neighbour {what} of interface number {index}"),
                    advice,
                )
            })
    }

    /// Adds a default route of the main table through an interface, by way of `gateway`, an
    /// address within a subnet of the interface.
    pub fn add_default_route(&self, index: u32, gateway: IpAddr) -> Result<()> {
        let mut request = RouteMessage::default();
        request.header.address_family = family(gateway);
        request.header.table = RouteHeader::RT_TABLE_MAIN;
        request.header.protocol = RouteProtocol::Static;
        request.header.kind = RouteType::Unicast;
        let address = match gateway {
            IpAddr::V4(address) => RouteAddress::Inet(address),
            IpAddr::V6(address) => RouteAddress::Inet6(address),
        };
        request.attributes = vec![RouteAttribute::Oif(index), RouteAttribute::Gateway(address)];
        self.socket()
            .change(RouteNetlinkMessage::NewRoute(request), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|refusal| {
                let advice = match refusal.code() {
                    libc::EPERM => NEEDS_NET_ADMIN,
                    libc::EEXIST => "there is a default route already",
                    libc::ENETDOWN => "switch the interface on first",
                    libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL => {
                        "the gateway must be within a subnet of the interface"
                    }
                    _ => "",
                };
                refusal.into_error(
                    format!("route by default to {gateway} through interface number {index}"),
                    advice,
                )
            })
    }

    /// Whether packets to `address` are taken for our own. An IPv6 address is listed before that: the
    /// kernel adds its route of kind "local" later, in a work queue (`addrconf_dad_work`), and until
    /// then drops what comes.
    pub fn is_local(&self, address: IpAddr) -> Result<bool> {
        let mut request = RouteMessage::default();
        request.header.address_family = family(address);
        let answers = self
            .socket()
            .dump(&RouteNetlinkMessage::GetRoute(request))
            .map_err(|refusal| refusal.into_error("list the local routes", ""))?;
        let destination = RouteAttribute::Destination(match address {
            IpAddr::V4(address) => RouteAddress::Inet(address),
            IpAddr::V6(address) => RouteAddress::Inet6(address),
        });
        Ok(answers.iter().any(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => {
                route.header.kind == RouteType::Local && route.attributes.contains(&destination)
            }
            _ => false,
        }))
    }

    /// The numbers of the interfaces that carry a default route (IPv4 or IPv6) of the main
    /// table, each once, ascending; the paths of a multipath route count each.
    pub fn default_route_interfaces(&self) -> Result<Vec<u32>> {
        let mut interfaces = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            let answers = match self.socket().dump(&RouteNetlinkMessage::GetRoute(request)) {
                Ok(answers) => answers,
                // A kernel without IPv6.
                Err(refusal) if refusal.code() == libc::EOPNOTSUPP => continue,
                Err(refusal) => return Err(refusal.into_error("list the default routes", "")),
            };
            for answer in &answers {
                if let RouteNetlinkMessage::NewRoute(route) = answer {
                    collect_interfaces(route, &mut interfaces);
                }
            }
        }
        interfaces.sort_unstable();
        interfaces.dedup();
        Ok(interfaces)
    }
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// The interface's own address: on a point-to-point link IFA_ADDRESS is the other end's, and
/// IFA_LOCAL the own one; IPv6 without a peer has IFA_ADDRESS only (rtnetlink(7)).
fn own_address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn collect_interfaces(route: &RouteMessage, interfaces: &mut Vec<u32>) {
    let table = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        })
        .unwrap_or(u32::from(route.header.table));
    if route.header.destination_prefix_length != 0
        || route.header.kind != RouteType::Unicast
        || table != u32::from(RouteHeader::RT_TABLE_MAIN)
    {
        return;
    }
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interfaces.push(*index),
            RouteAttribute::MultiPath(hops) => {
                interfaces.extend(hops.iter().map(|hop| hop.interface_index));
            }
            _ => {}
        }
    }
}
