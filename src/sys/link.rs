//! Network links by netlink (rtnetlink): what there is, its counters, and changing them.
//!
//! A [`Links`] sees the network namespace of the thread that opened it. sysfs is not used, because
//! `/sys/class/net` shows the namespace of the mount, not of the thread (NS-3).

use std::fmt;
use std::io;
use std::mem::offset_of;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::clock::sleep;
use super::interface::name_bytes;
use super::namespace::Namespace;
use super::netlink::{Message, Refusal, RequestSocket, attribute, attributes, find, text};
use crate::error::{Error, Result};

mod addresses;
mod attached;
mod counters;
mod queueing;
mod resolve;
mod veth;
mod watch;
mod way_out;

pub use attached::ForeignProgram;
pub use counters::LinkCounters;
pub use queueing::QueueingCounters;
pub use resolve::{Neighbour, NextHop};
pub use veth::{IPV6_MTU_MIN, VethPair};
pub use watch::{LinkEvent, LinkWatch};

/// Said wherever a change to a link is refused for lack of privilege.
pub(super) const NEEDS_NET_ADMIN: &str = "needs CAP_NET_ADMIN in the user namespace that owns \
     this network namespace: run it as root (sudo linerate …)";

/// The longest name of an interface in bytes (`IFNAMSIZ` in uapi/linux/if.h, less the final NUL).
pub const NAME_BYTES_MAX: usize = 15;

/// The longest alternative name in bytes (`ALTIFNAMSIZ` there, less the final NUL).
const ALTERNATIVE_NAME_BYTES_MAX: usize = 127;

/// How long a link that is to come is waited for. Autonegotiation takes seconds.
pub const CARRIER_PATIENCE: Duration = Duration::from_secs(10);
const CARRIER_INTERVAL: Duration = Duration::from_millis(2);

/// Where `struct ifinfomsg` has the flags (`IFF_*`).
const FLAGS: usize = offset_of!(libc::ifinfomsg, ifi_flags);

/// A network interface at the moment when it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The number of the interface in its namespace, from 1.
    pub index: u32,
    /// The name, as in `eth0`, by [`name_text`](super::interface::name_text).
    pub name: String,
    /// Other names that it is found by (`IFLA_ALT_IFNAME`), in the same way.
    pub alternative_names: Vec<String>,
    /// The hardware address; all zero where it is not six bytes long.
    pub mac: [u8; 6],
    /// The largest payload of a frame in bytes, without the Ethernet header.
    pub mtu: u32,
    /// What kind of virtual interface it is (`IFLA_INFO_KIND`), as in `veth`; `None` for hardware.
    pub kind: Option<String>,
    /// Somebody switched it on (`IFF_UP`).
    pub up: bool,
    /// Frames can pass: carrier, and the kernel is through with noticing it (`IFF_RUNNING` and
    /// `IFF_LOWER_UP`). Between carrier and this the queue discipline is still `noop`, which
    /// takes frames and drops them silently.
    pub running: bool,
    /// It is a loopback interface (`IFF_LOOPBACK`).
    pub loopback: bool,
    /// Its frames have an Ethernet header (`ARPHRD_ETHER`; loopback has one too, but is not meant).
    pub ethernet: bool,
    /// It is in promiscuous mode (`IFLA_PROMISCUITY`): somebody set the flag, or a packet socket is a
    /// member. The flag itself (`IFF_PROMISC`) does not show memberships here.
    pub promiscuous: bool,
    /// Transmit queues that the interface was made with.
    pub transmit_queues: u32,
    /// Receive queues that the interface was made with.
    pub receive_queues: u32,
    /// The VLAN that it stands for (`IFLA_VLAN_ID`), if it is a VLAN interface.
    pub vlan_id: Option<u16>,
    /// The number of the interface that it is joined to (`IFLA_LINK`): of a veth end the other end, in
    /// the namespace that that is in.
    pub joined_to: Option<u32>,
    /// The interface of this namespace that it is on top of, as a VLAN's or a macvlan's is.
    pub lower: Option<u32>,
    /// The bridge, bond, team or VRF that it is a port of (`IFLA_MASTER`).
    pub master: Option<u32>,
}

/// Kinds whose [`Link::joined_to`] is the other end of a pair.
const PAIRS: [&str; 3] = ["veth", "netkit", "vxcan"];

impl Link {
    /// Whether it is one end of a veth pair, which has no line rate and no hardware.
    pub fn is_veth(&self) -> bool {
        self.kind.as_deref() == Some("veth")
    }

    /// The VLAN that it stands for, if it is an interface for one of `below`.
    pub fn vlan_over(&self, below: &Link) -> Option<u16> {
        self.vlan_id.filter(|_| self.joined_to == Some(below.index))
    }

    /// Whether `other` is the other end of this veth pair, told by the numbers: in other namespaces
    /// another interface may have the same one.
    pub fn is_veth_peer_of(&self, other: &Link) -> bool {
        let joined = |one: &Link, two: &Link| one.is_veth() && one.joined_to == Some(two.index);
        joined(self, other) && joined(other, self)
    }

    fn from_message(message: &Message) -> Link {
        let flags = message.word(FLAGS);
        let flag = |flag: i32| flags & flag as u32 == flag as u32;
        let mac = message.find(libc::IFLA_ADDRESS);
        let info = message.find(libc::IFLA_LINKINFO);
        let number = |kind| message.number(kind);
        let kind = info.and_then(|info| find(info, libc::IFLA_INFO_KIND)).map(text);
        let is_pair = kind.as_deref().is_some_and(|kind| PAIRS.contains(&kind));
        let is_elsewhere = message.find(libc::IFLA_LINK_NETNSID).is_some();
        let properties = attributes(message.find(libc::IFLA_PROP_LIST).unwrap_or_default());
        let alternative = properties.filter(|(kind, _)| *kind == u32::from(libc::IFLA_ALT_IFNAME));
        Link {
            index: message.interface(),
            name: message.find(libc::IFLA_IFNAME).map(text).unwrap_or_default(),
            alternative_names: alternative.map(|(_, name)| text(name)).collect(),
            mac: mac.and_then(|mac| mac.try_into().ok()).unwrap_or([0; 6]),
            mtu: number(libc::IFLA_MTU).unwrap_or(0),
            kind,
            up: flag(libc::IFF_UP),
            running: flag(libc::IFF_RUNNING | libc::IFF_LOWER_UP),
            loopback: flag(libc::IFF_LOOPBACK),
            ethernet: message.word(0) >> 16 == u32::from(libc::ARPHRD_ETHER),
            promiscuous: number(libc::IFLA_PROMISCUITY)
                .map_or(flag(libc::IFF_PROMISC), |users| users > 0),
            transmit_queues: number(libc::IFLA_NUM_TX_QUEUES).unwrap_or(1),
            receive_queues: number(libc::IFLA_NUM_RX_QUEUES).unwrap_or(1),
            vlan_id: vlan_id(info),
            joined_to: number(libc::IFLA_LINK),
            lower: number(libc::IFLA_LINK).filter(|_| !is_pair && !is_elsewhere),
            master: number(libc::IFLA_MASTER),
        }
    }
}

/// `IFLA_VLAN_ID` in the data of the kind `vlan`; other kinds mean something else by the number.
fn vlan_id(info: Option<&[u8]>) -> Option<u16> {
    const VLAN_ID: u32 = 1;
    let info =
        info.filter(|info| find(info, libc::IFLA_INFO_KIND).map(text).as_deref() == Some("vlan"))?;
    let id = find(find(info, libc::IFLA_INFO_DATA)?, VLAN_ID)?;
    id.first_chunk().map(|id| u16::from_ne_bytes(*id))
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.mac;
        write!(
            f,
            "{} ({}, {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}, MTU {}, {})",
            self.name,
            self.kind.as_deref().unwrap_or(if self.loopback { "loopback" } else { "device" }),
            self.mtu,
            match (self.up, self.running) {
                (false, _) => "down",
                (true, false) => "up without carrier",
                (true, true) => "up",
            }
        )
    }
}

/// The links of one network namespace.
#[derive(Debug)]
pub struct Links {
    socket: Mutex<RequestSocket>,
}

impl Links {
    /// The links of the calling thread's network namespace; stays there when the thread moves on.
    pub fn open() -> Result<Links> {
        Ok(Links { socket: Mutex::new(RequestSocket::open()?) })
    }

    /// The links of another network namespace (needs CAP_SYS_ADMIN to go there).
    pub fn open_in(namespace: &Namespace) -> Result<Links> {
        namespace.run(Links::open)?
    }

    /// The interface of that name, which may be an alternative one. Where there is none, the error names
    /// those that there are.
    pub fn by_name(&self, name: &str) -> Result<Link> {
        let answer = match self.query_name(&name_bytes(name)) {
            // What looks like an escape may have been typed as it is.
            Err(refusal) if refusal.code() == libc::ENODEV => self.query_name(name.as_bytes()),
            answer => answer,
        };
        answer.map(|message| Link::from_message(&message)).map_err(|refusal| {
            let advice = self.names_as_advice();
            refusal.into_error(format!("find the interface '{name}'"), advice)
        })
    }

    /// The interface of that number.
    pub fn by_index(&self, index: u32) -> Result<Link> {
        self.message_by_index(index).map(|message| Link::from_message(&message))
    }

    /// Waits until frames can pass on an interface, for up to [`CARRIER_PATIENCE`], and gives it as it then
    /// is. Drivers take a link down for a while when an XDP program, a ring or a channel changes.
    pub fn wait_for_carrier(&self, index: u32) -> Result<Link> {
        let deadline = Instant::now() + CARRIER_PATIENCE;
        loop {
            let link = self.by_index(index)?;
            if link.running || Instant::now() >= deadline {
                return Ok(link);
            }
            sleep(CARRIER_INTERVAL);
        }
    }

    /// All interfaces of the namespace, by number.
    pub fn list(&self) -> Result<Vec<Link>> {
        let answers =
            self.dump(libc::RTM_GETLINK, &header(0, 0, 0), "list the network interfaces")?;
        let mut links: Vec<Link> = answers.iter().map(Link::from_message).collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// What the interface has counted since it was made (`IFLA_STATS64`).
    pub fn counters(&self, index: u32) -> Result<LinkCounters> {
        let message = self.message_by_index(index)?;
        LinkCounters::from_message(&message).ok_or_else(|| {
            Error::Run(format!("the kernel tells no counters of interface number {index}"))
        })
    }

    /// Switches an interface on or off. With `true` the carrier follows a moment later, on veth
    /// only once the other end is on, too.
    pub fn set_up(&self, index: u32, up: bool) -> Result<()> {
        let flags = if up { libc::IFF_UP as u32 } else { 0 };
        let switch = if up { "on" } else { "off" };
        let attempted = format!("switch {switch} interface number {index}");
        self.set(&header(index, flags, libc::IFF_UP as u32), attempted)
    }

    /// Sets the MTU in bytes (the largest payload of a frame, without the Ethernet header).
    pub fn set_mtu(&self, index: u32, mtu: u32) -> Result<()> {
        let mut request = header(index, 0, 0);
        request.extend(attribute(libc::IFLA_MTU, &mtu.to_ne_bytes()));
        self.set(&request, format!("set the MTU of interface number {index} to {mtu}"))
    }

    /// Sets the hardware address.
    pub fn set_mac(&self, index: u32, mac: [u8; 6]) -> Result<()> {
        let mut request = header(index, 0, 0);
        request.extend(attribute(libc::IFLA_ADDRESS, &mac));
        self.set(&request, format!("set the hardware address of interface number {index}"))
    }

    /// Deletes an interface; with one end of a veth pair the other goes as well.
    pub fn delete(&self, index: u32) -> Result<()> {
        let attempted = format!("delete interface number {index}");
        self.change(libc::RTM_DELLINK, 0, &header(index, 0, 0), attempted, |_| "")
    }

    fn set(&self, request: &[u8], attempted: String) -> Result<()> {
        self.change(libc::RTM_SETLINK, 0, request, attempted, |_| "")
    }

    /// Asks for a change. `advice` says what an errno means here, and is empty where it means what it
    /// means for all changes.
    fn change(
        &self,
        kind: u16,
        flags: i32,
        request: &[u8],
        attempted: String,
        advice: impl FnOnce(i32) -> &'static str,
    ) -> Result<()> {
        self.socket().change(kind, request, flags).map_err(|refusal| {
            let advice = match (advice(refusal.code()), refusal.code()) {
                ("", libc::EPERM | libc::EACCES) => NEEDS_NET_ADMIN,
                ("", libc::ENODEV) => "it has been deleted, or lives in another network namespace",
                ("", libc::ENETDOWN) => "switch the interface on first",
                ("", libc::EEXIST) => "it exists already",
                ("", libc::EOPNOTSUPP) => "this kind of interface cannot do that",
                (advice, _) => advice,
            };
            refusal.into_error(attempted, advice)
        })
    }

    /// What there is of a kind: the answers to a request for all.
    fn dump(&self, kind: u16, request: &[u8], attempted: &str) -> Result<Vec<Message>> {
        let answers = self.socket().dump(kind, request);
        let mut answers = answers.map_err(|refusal| refusal.into_error(attempted, ""))?;
        // Of the four kinds of a group the third asks and the first answers (rtnetlink(7)).
        answers.retain(|answer| answer.kind == kind - 2);
        Ok(answers)
    }

    fn message_by_index(&self, index: u32) -> Result<Message> {
        self.query_link(&header(index, 0, 0)).map_err(|refusal| {
            let advice = match refusal.code() {
                libc::ENODEV => "it has been deleted, or lives in another network namespace",
                _ => "",
            };
            refusal.into_error(format!("read interface number {index}"), advice)
        })
    }

    fn query_name(&self, name: &[u8]) -> std::result::Result<Message, Refusal> {
        if name.contains(&0) || !(1..=ALTERNATIVE_NAME_BYTES_MAX).contains(&name.len()) {
            return Err(io::Error::from_raw_os_error(libc::ENODEV).into());
        }
        let kind = match name.len() {
            ..=NAME_BYTES_MAX => libc::IFLA_IFNAME,
            _ => libc::IFLA_ALT_IFNAME,
        };
        self.query_link(&[header(0, 0, 0), attribute(kind, name)].concat())
    }

    fn query_link(&self, request: &[u8]) -> std::result::Result<Message, Refusal> {
        let answer = self.socket().query(libc::RTM_GETLINK, request)?;
        match answer.kind {
            libc::RTM_NEWLINK => Ok(answer),
            _ => Err(Refusal::Unreadable("something other than a link".into())),
        }
    }

    fn names_as_advice(&self) -> String {
        let name = |link: Link| match &link.alternative_names[..] {
            [] => link.name,
            others => format!("{} ({})", link.name, others.join(", ")),
        };
        let names: Vec<String> = self.list().unwrap_or_default().into_iter().map(name).collect();
        if names.is_empty() {
            return "this network namespace has no interfaces that could be listed".into();
        }
        format!("this network namespace has: {}", names.join(", "))
    }

    /// One request at a time. A panic elsewhere cannot leave the socket in a bad state: answers
    /// to an earlier request are recognised by their sequence number.
    fn socket(&self) -> MutexGuard<'_, RequestSocket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `struct ifinfomsg`: family and type (none), the interface, its flags, and which of them to change.
fn header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [0, index, flags, change].into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// The family and the address in words, as in `IPv4 address 192.0.2.1`.
fn described(address: IpAddr) -> String {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    format!("{family} address {address}")
}
