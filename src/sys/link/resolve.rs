//! By which interface an address is reached, and the hardware address to write on the frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::Links;
use super::addresses::{neighbour_header, route_header};
use crate::error::{Error, Result};
use crate::sys::clock::sleep;
use crate::sys::netlink::{Message, attribute, octets};

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
        let mut request = route_header(address, if address.is_ipv4() { 32 } else { 128 }, 0);
        request.extend(attribute(libc::RTA_DST, &octets(address)));
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
        Ok(NextHop {
            interface: route.number(libc::RTA_OIF).unwrap_or(0),
            neighbour: route.address(libc::RTA_GATEWAY).unwrap_or(address),
            source: route.address(libc::RTA_PREFSRC),
        })
    }

    /// What the kernel knows of a neighbour's hardware address, if anything.
    pub fn neighbour(&self, index: u32, address: IpAddr) -> Result<Option<[u8; 6]>> {
        let request = neighbour_header(address, 0);
        let answers = self.dump(libc::RTM_GETNEIGH, &request, "list the neighbours")?;
        Ok(answers.iter().find_map(|answer| hardware_address(answer, index, address)))
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

fn hardware_address(message: &Message, index: u32, wanted: IpAddr) -> Option<[u8; 6]> {
    let mac = message.find(libc::NDA_LLADDR)?.try_into().ok()?;
    let matches = message.interface() == index && message.address(libc::NDA_DST) == Some(wanted);
    Some(mac).filter(|mac| matches && *mac != [0; 6])
}
