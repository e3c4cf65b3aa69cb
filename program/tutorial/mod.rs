//! The plain path, call by call: a server that answers text in upper case and its client, over
//! packet sockets and epoll, one system call at a time. `docs/tutorial.md` walks through it.
//!
//! [`steps`] holds the calls in their order, [`calls`] what they are, [`explain`] what each of
//! their errors means; [`server`] and [`client`] are the two loops. Nothing here prints except to
//! the writer that it is given.

use std::time::Duration;

use crate::sys::packet::{AF_PACKET, ALL_PROTOCOLS, PF_PACKET, SocketType};

pub mod calls;
pub mod client;
pub mod explain;
pub mod message;
pub mod server;
pub mod steps;
pub mod text;

/// The broadcast hardware address: where the client sends unless told otherwise.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// What the client says unless told otherwise.
pub const MESSAGE: &str = "hello server!";

/// IEEE 802 local experimental EtherType 1, assigned to no protocol.
const LOCAL_EXPERIMENTAL: u16 = 0x88b5;

/// EtherType of port authentication, IEEE 802.1X (`ETH_P_PAE`).
const PORT_AUTHENTICATION: u16 = 0x888e;

/// `IPPROTO_UDP`: a number for IP's protocol field, which is not what a packet socket takes.
const IPPROTO_UDP: u16 = 17;

/// The first argument of `socket(2)`: two names of one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Domain {
    /// `AF_PACKET`.
    #[default]
    AfPacket,
    /// `PF_PACKET`.
    PfPacket,
}

impl Domain {
    /// The number that `socket(2)` takes: 17 for both.
    pub fn number(self) -> i32 {
        match self {
            Domain::AfPacket => AF_PACKET,
            Domain::PfPacket => PF_PACKET,
        }
    }
}

/// What the sockets subscribe to, as the third argument of `socket(2)` and in the bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// `htons(ETH_P_ALL)` for both: every frame of the interface, outgoing copies included.
    #[default]
    All,
    /// `htons(ETH_P_PAE)` for both.
    Pae,
    /// `IPPROTO_UDP` as it is, without `htons`, for the socket; `htons(ETH_P_ALL)` for the bind.
    Udp,
}

impl Protocol {
    /// The EtherType (host byte order) that `socket(2)` subscribes to until the bind.
    ///
    /// The kernel reads the argument in network byte order, so that 17 passed as it is becomes
    /// 0x1100 on a little-endian machine: not UDP, and not even IP.
    pub fn at_socket(self) -> u16 {
        match self {
            Protocol::All => ALL_PROTOCOLS,
            Protocol::Pae => PORT_AUTHENTICATION,
            Protocol::Udp => u16::from_be(IPPROTO_UDP),
        }
    }

    /// The EtherType (host byte order) that `bind(2)` subscribes to from then on.
    pub fn at_bind(self) -> u16 {
        match self {
            Protocol::All | Protocol::Udp => ALL_PROTOCOLS,
            Protocol::Pae => PORT_AUTHENTICATION,
        }
    }

    /// The EtherType (host byte order) of the messages; a frame cannot be sent as `ETH_P_ALL`.
    pub fn of_messages(self) -> u16 {
        match self {
            Protocol::All | Protocol::Udp => LOCAL_EXPERIMENTAL,
            Protocol::Pae => PORT_AUTHENTICATION,
        }
    }
}

/// What server and client have in common: the socket, where it is bound, how long epoll waits.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// Name of the interface to bind to.
    pub interface: String,
    /// First argument of `socket(2)`.
    pub domain: Domain,
    /// Second argument: whether the kernel or the program handles the Ethernet header.
    pub kind: SocketType,
    /// Third argument, and what the bind says.
    pub protocol: Protocol,
    /// Longest single `epoll_wait(2)`; after it the loop looks around and waits again.
    pub timeout: Duration,
}

impl Default for LinkOptions {
    fn default() -> LinkOptions {
        LinkOptions {
            interface: "lo".to_string(),
            domain: Domain::AfPacket,
            kind: SocketType::Datagram,
            protocol: Protocol::All,
            timeout: Duration::from_millis(500),
        }
    }
}

/// What `linerate tutorial server` was asked for.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// The socket.
    pub link: LinkOptions,
    /// End after this number of answers.
    pub count: Option<u64>,
    /// End after this time.
    pub duration: Option<Duration>,
}

/// What `linerate tutorial client` was asked for.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The socket.
    pub link: LinkOptions,
    /// Hardware address to send to.
    pub to: [u8; 6],
    /// Text of each message.
    pub message: Vec<u8>,
    /// Interval of messages; frames received meanwhile are printed.
    pub interval: Duration,
    /// End after this number of messages.
    pub count: Option<u64>,
    /// End after this time.
    pub duration: Option<Duration>,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            link: LinkOptions::default(),
            to: BROADCAST,
            message: MESSAGE.into(),
            interval: Duration::from_secs(1),
            count: Some(8),
            duration: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) mod fake;

    #[test]
    fn both_domains_are_one_number() {
        assert_eq!(Domain::AfPacket.number(), 17);
        assert_eq!(Domain::PfPacket.number(), 17);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn ipproto_udp_without_htons_is_another_ethertype() {
        assert_eq!(Protocol::Udp.at_socket(), 0x1100);
        assert_eq!(Protocol::Udp.at_socket().to_be(), 17, "what socket(2) is passed");
    }
}
