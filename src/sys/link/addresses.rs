//! IP addresses, neighbours and routes of the links.

use std::net::IpAddr;

use libc::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

use super::{Links, described};
use crate::error::Result;
use crate::sys::netlink::{Message, attribute, octets};

/// Offsets within `struct rtmsg` (uapi/linux/rtnetlink.h).
pub(super) const ROUTE_DESTINATION_BITS: usize = 1;
pub(super) const ROUTE_TABLE: usize = 4;
const ROUTE_PROTOCOL: usize = 5;
pub(super) const ROUTE_TYPE: usize = 7;
pub(super) const ROUTE_FLAGS: usize = 8;

impl Links {
    /// Gives an interface an address, with a route to its subnet of `prefix_length` bits. An IPv6
    /// address is usable at once: duplicate address detection is off for it (`IFA_F_NODAD`).
    pub fn add_address(&self, index: u32, address: IpAddr, prefix_length: u8) -> Result<()> {
        let flags = if address.is_ipv6() { libc::IFA_F_NODAD as u8 } else { 0 };
        // struct ifaddrmsg: family, bits of the prefix, flags, scope, interface.
        let mut request = vec![family(address), prefix_length, flags, 0];
        request.extend(index.to_ne_bytes());
        request.extend(attribute(libc::IFA_LOCAL, &octets(address)));
        request.extend(attribute(libc::IFA_ADDRESS, &octets(address)));
        let what = described(address);
        let attempted = format!("add the {what}/{prefix_length} to interface number {index}");
        self.change(libc::RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &request, attempted, |errno| {
            match errno {
                libc::EEXIST => "the interface has this address already",
                libc::EINVAL | libc::ENOBUFS if address.is_ipv6() => {
                    "IPv6 needs an MTU of at least 1280 bytes, and a prefix of at most 128 bits"
                }
                libc::EINVAL => "the prefix has at most 32 bits",
                libc::EACCES => "IPv6 is disabled on this interface (disable_ipv6)",
                libc::EOPNOTSUPP | libc::EAFNOSUPPORT => "this kernel has no such protocol",
                _ => "",
            }
        })
    }

    /// The addresses of an interface, in the kernel's order, IPv4 first.
    pub fn addresses(&self, index: u32) -> Result<Vec<IpAddr>> {
        let attempted = format!("list the addresses of interface number {index}");
        let answers = self.dump(libc::RTM_GETADDR, &[0; 8], &attempted)?;
        let of_interface = answers.iter().filter(|answer| answer.interface() == index);
        let mut addresses: Vec<IpAddr> = of_interface.filter_map(own_address).collect();
        addresses.sort_by_key(IpAddr::is_ipv6);
        Ok(addresses)
    }

    /// Tells the interface which hardware address a neighbour has, for good: no ARP and no
    /// neighbour solicitation will ask for it. Switching the interface off forgets it.
    pub fn set_neighbour(&self, index: u32, address: IpAddr, mac: [u8; 6]) -> Result<()> {
        let mut request = neighbour_header(address, index);
        request.extend(attribute(libc::NDA_DST, &octets(address)));
        request.extend(attribute(libc::NDA_LLADDR, &mac));
        let what = described(address);
        let attempted = format!("set the neighbour {what} of interface number {index}");
        self.change(libc::RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &request, attempted, |_| "")
    }

    /// Adds a default route of the main table through an interface, by way of `gateway`, an
    /// address within a subnet of the interface.
    pub fn add_default_route(&self, index: u32, gateway: IpAddr) -> Result<()> {
        let mut request = route_header(gateway, 0, libc::RT_TABLE_MAIN);
        request.extend(attribute(libc::RTA_OIF, &index.to_ne_bytes()));
        request.extend(attribute(libc::RTA_GATEWAY, &octets(gateway)));
        let attempted = format!("route by default to {gateway} through interface number {index}");
        self.change(libc::RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &request, attempted, |errno| {
            match errno {
                libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL => {
                    "the gateway must be within a subnet of the interface"
                }
                _ => "",
            }
        })
    }

    /// Whether packets to `address` are taken for our own. An IPv6 address is listed before that: the
    /// kernel adds its route of kind "local" later, in a work queue (`addrconf_dad_work`), and until
    /// then drops what comes.
    pub fn is_local(&self, address: IpAddr) -> Result<bool> {
        let request = route_header(address, 0, 0);
        let answers = self.dump(libc::RTM_GETROUTE, &request, "list the local routes")?;
        Ok(answers.iter().any(|route| {
            route.byte(ROUTE_TYPE) == libc::RTN_LOCAL
                && route.address(libc::RTA_DST) == Some(address)
        }))
    }

    /// Whether an interface that is switched off loses what does not come back with it: routes that somebody
    /// added, and IPv6 addresses but those of the link (`addrconf_ifdown`, `fib_disable_ip`).
    pub fn forgets_when_down(&self, index: u32) -> Result<bool> {
        let is_lost = |address: &IpAddr| match address {
            IpAddr::V4(_) => false,
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        };
        if self.addresses(index)?.iter().any(is_lost) {
            return Ok(true);
        }
        // Those of all address families.
        let answers = self.dump(libc::RTM_GETROUTE, &[0; 12], "list the routes")?;
        Ok(answers.iter().any(|route| {
            route.number(libc::RTA_OIF) == Some(index)
                && route.byte(ROUTE_PROTOCOL) != libc::RTPROT_KERNEL
        }))
    }
}

fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

/// `struct ndmsg` for a permanent entry: family, padding, interface, state, flags, type.
pub(super) fn neighbour_header(address: IpAddr, index: u32) -> Vec<u8> {
    let mut header = vec![family(address), 0, 0, 0];
    header.extend(index.to_ne_bytes());
    header.extend(libc::NUD_PERMANENT.to_ne_bytes());
    header.extend([0, libc::RTN_UNICAST]);
    header
}

/// `struct rtmsg`: family, bits of destination and source, TOS, table, protocol, scope, type, flags.
pub(super) fn route_header(address: IpAddr, destination_bits: u8, table: u8) -> Vec<u8> {
    let (protocol, kind) = (libc::RTPROT_STATIC, libc::RTN_UNICAST);
    vec![family(address), destination_bits, 0, 0, table, protocol, 0, kind, 0, 0, 0, 0]
}

/// The interface's own address: on a point-to-point link IFA_ADDRESS is the other end's, and
/// IFA_LOCAL the own one; IPv6 without a peer has IFA_ADDRESS only (rtnetlink(7)).
fn own_address(message: &Message) -> Option<IpAddr> {
    message.address(libc::IFA_LOCAL).or_else(|| message.address(libc::IFA_ADDRESS))
}
