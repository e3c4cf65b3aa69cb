//! By which interface an address is reached, and the hardware address to write on the frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};

use super::Links;
use super::addresses::family;
use crate::error::{Error, Result};
use crate::sys::clock::sleep;

/// How packets to an address leave this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Number of the interface.
    pub interface: u32,
    /// The router on the way, or the address itself where it is on the link.
    pub neighbour: IpAddr,
    /// The source address that the kernel would choose.
    pub source: Option<IpAddr>,
}

/// The discard port (RFC 863): a datagram there makes the kernel look for the neighbour and asks
/// nobody for an answer.
const DISCARD_PORT: u16 = 9;
/// How long a neighbour may take to answer ARP or a neighbour solicitation.
const PATIENCE: Duration = Duration::from_secs(3);

impl Links {
    /// How packets to `address` leave this host (`RTM_GETROUTE`).
    pub fn next_hop(&self, address: IpAddr) -> Result<NextHop> {
        let mut request = RouteMessage::default();
        request.header.address_family = family(address);
        request.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
        request.attributes = vec![RouteAttribute::Destination(route_address(address))];
        let answer =
            self.socket().query(RouteNetlinkMessage::GetRoute(request)).map_err(|refusal| {
                let advice = match refusal.code() {
                    libc::ENETUNREACH | libc::EHOSTUNREACH => {
                        "no route leads there: give the interface an address in that network, say \
                         with --from where to send from, or name the target by its MAC"
                    }
                    _ => "",
                };
                refusal.into_error(format!("find the route to {address}"), advice)
            })?;
        let RouteNetlinkMessage::NewRoute(route) = answer else {
            return Err(Error::Run(format!("the kernel gave no route to {address}")));
        };
        let mut hop = NextHop { interface: 0, neighbour: address, source: None };
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => hop.interface = *index,
                RouteAttribute::Gateway(gateway) => {
                    hop.neighbour = plain_address(gateway).unwrap_or(address);
                }
                RouteAttribute::PrefSource(source) => hop.source = plain_address(source),
                _ => {}
            }
        }
        Ok(hop)
    }

    /// What the kernel knows of a neighbour's hardware address, if anything.
    pub fn neighbour(&self, index: u32, address: IpAddr) -> Result<Option<[u8; 6]>> {
        let mut request = NeighbourMessage::default();
        request.header.family = family(address);
        let answers = self
            .socket()
            .dump(&RouteNetlinkMessage::GetNeighbour(request))
            .map_err(|refusal| refusal.into_error("list the neighbours", ""))?;
        Ok(answers.iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewNeighbour(message) if message.header.ifindex == index => {
                hardware_address(message, address)
            }
            _ => None,
        }))
    }

    /// The hardware address of a neighbour on an interface; the kernel asks the link for it if it
    /// has to, by ARP or neighbour solicitation.
    pub fn resolve(&self, index: u32, address: IpAddr) -> Result<[u8; 6]> {
        let deadline = Instant::now() + PATIENCE;
        let mut asked = false;
        loop {
            if let Some(mac) = self.neighbour(index, address)? {
                return Ok(mac);
            }
            if Instant::now() > deadline {
                return Err(Error::Run(format!(
                    "{address} does not answer on the link: nobody there has this address, or the \
                     cable ends elsewhere. Name the target by its MAC to do without"
                )));
            }
            if !asked {
                asked = ask(address);
            }
            sleep(Duration::from_millis(10));
        }
    }
}

/// Sends an empty datagram, for which the kernel needs the neighbour.
fn ask(address: IpAddr) -> bool {
    let here: SocketAddr = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(here);
    socket.and_then(|socket| socket.send_to(&[], (address, DISCARD_PORT))).is_ok()
}

fn hardware_address(message: &NeighbourMessage, wanted: IpAddr) -> Option<[u8; 6]> {
    let mut mac = None;
    let mut matches = false;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                matches |= IpAddr::V4(*v4) == wanted;
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                matches |= IpAddr::V6(*v6) == wanted;
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    mac.filter(|mac| matches && *mac != [0; 6])
}

fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}

fn plain_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
