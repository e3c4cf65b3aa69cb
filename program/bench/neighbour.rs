//! The station that leads to an IP address: our own question to the link, so that a target can be reached
//! without an address on the interface, and is who it is now. What somebody told the kernel for good is not
//! asked.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::testbed::End;
use crate::error::{Error, Result};
use crate::sys::failure::failed;
use crate::sys::filter::Wanted;
use crate::sys::link::Links;
use crate::sys::packet::{ALL_PROTOCOLS, PacketSocket, SocketType};
use crate::wire::ethernet::{EtherType, MacAddress};
use crate::wire::neighbour;

/// How often the link is asked, and how long each time it may take to answer.
const QUESTIONS: u32 = 3;
const PATIENCE: Duration = Duration::from_millis(400);

/// How frames reach an IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The station that they are sent to.
    pub mac: MacAddress,
    /// The IP address that they come from.
    pub source: IpAddr,
    /// Whether that station is a router on the way.
    pub is_routed: bool,
}

/// Finds the way from `here` to `target`. With `from` this link is meant even if no route leads over
/// it; `target` then has to be on the link.
pub fn find_way(links: &Links, here: &End, target: IpAddr, from: Option<IpAddr>) -> Result<Way> {
    let End { link, .. } = here;
    if from.is_some_and(|from| from.is_ipv4() != target.is_ipv4()) {
        return Err(Error::Usage(format!("--from is not of the IP version of {target}")));
    }
    let (neighbour, source) = match (links.next_hop_over(link.index, target), from) {
        (Ok(hop), _) if hop.interface == link.index => (hop.neighbour, from.or(hop.source)),
        (_, Some(_)) => (target, from),
        (Ok(_), None) => {
            return Err(Error::Usage(format!(
                "{target} is not reached through {}: the route leads elsewhere. With --from it is \
                 looked for on this link all the same",
                link.name
            )));
        }
        (Err(error), None) => return Err(error),
    };
    let source = source.ok_or_else(|| {
        Error::Usage(format!("{} has no address to send from: give --from", link.name))
    })?;
    let mac = match links.neighbour(link.index, neighbour)? {
        Some(known) if known.is_fixed => MacAddress(known.mac),
        known => {
            let own = links.addresses(link.index)?;
            let of_version = |address: &IpAddr| address.is_ipv4() == neighbour.is_ipv4();
            let asker = Some(source).filter(of_version).or(own.into_iter().find(of_version));
            let silent = |error| known.map(|known| MacAddress(known.mac)).ok_or(error);
            ask(here, asker, neighbour).or_else(silent)?
        }
    };
    Ok(Way { mac, source, is_routed: neighbour != target })
}

/// Asks the link of `here` who has `wanted`, by ARP or neighbour solicitation of our own.
fn ask(here: &End, from: Option<IpAddr>, wanted: IpAddr) -> Result<MacAddress> {
    let interface = &here.link.name;
    let attempted = || format!("ask for {wanted} on {interface}");
    let ether_type = if wanted.is_ipv4() { EtherType::ARP } else { EtherType::IPV6 };
    let socket = PacketSocket::open(SocketType::Raw)?;
    let filter = Wanted { ether_types: vec![ether_type.0], tagged: false };
    socket.attach_filter(&filter.program())?;
    let index = here.link.index;
    socket.bind(index, ALL_PROTOCOLS).map_err(|error| failed(attempted(), &error, ""))?;
    let question = neighbour::question(MacAddress(here.link.mac), from, wanted);
    let mut buffer = [0; 2048];
    for _ in 0..QUESTIONS {
        socket.send(&question).map_err(|error| failed(attempted(), &error, ""))?;
        let end = Instant::now() + PATIENCE;
        loop {
            while let Ok(received) = socket.receive(&mut buffer) {
                let frame = &buffer[..received.wire_bytes.min(buffer.len())];
                if let Some(mac) = neighbour::answer(frame, wanted) {
                    return Ok(mac);
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = socket.wait_readable(left.max(Duration::from_millis(1)));
            waited.map_err(|error| failed(attempted(), &error, ""))?;
        }
    }
    let asker = from.map_or(String::new(), |from| format!(" from {from}"));
    Err(Error::Run(format!(
        "{wanted} does not answer on the link of {interface}, asked {QUESTIONS} times{asker}: nobody there \
         has this address, or the cable ends elsewhere. Name the target by its MAC to do without"
    )))
}
