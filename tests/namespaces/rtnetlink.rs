//! Requests to rtnetlink that only tests make: other kinds of links, names, routes and neighbours.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use libtest_mimic::Failed;
use linerate::sys::namespace::Namespace;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// uapi/linux/rtnetlink.h, nexthop.h.
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_NEWLINKPROP: u16 = 108;
pub const RTA_NH_ID: u16 = 30;
pub const NHA_ID: u16 = 1;
pub const NHA_GROUP: u16 = 2;
pub const NHA_OIF: u16 = 5;

/// An attribute with its padding.
pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Another name of an interface, of any bytes.
pub fn name_also(namespace: &Namespace, index: u32, name: &[u8]) -> Result<(), Failed> {
    let names = attribute(libc::IFLA_ALT_IFNAME, name);
    let body = [link(index), attribute(libc::IFLA_PROP_LIST | 0x8000, &names)].concat();
    create(namespace, RTM_NEWLINKPROP, &body)
}

/// Changes an attribute of an interface.
pub fn set(namespace: &Namespace, index: u32, kind: u16, value: &[u8]) -> Result<(), Failed> {
    let body = [link(index), attribute(kind, value)].concat();
    change(namespace, libc::RTM_SETLINK, 0, &body)
}

/// A link of that kind, on top of `below`.
pub fn make(
    namespace: &Namespace,
    kind: &str,
    name: &str,
    below: Option<u32>,
) -> Result<(), Failed> {
    let info = attribute(libc::IFLA_INFO_KIND, kind.as_bytes());
    let mut body = link(0);
    body.extend(attribute(libc::IFLA_IFNAME, name.as_bytes()));
    body.extend(below.map_or(Vec::new(), |index| attribute(libc::IFLA_LINK, &index.to_ne_bytes())));
    body.extend(attribute(libc::IFLA_LINKINFO, &info));
    create(namespace, libc::RTM_NEWLINK, &body)
}

/// What a neighbour's state is said to be.
pub fn neighbour(
    namespace: &Namespace,
    index: u32,
    address: IpAddr,
    mac: [u8; 6],
    state: u16,
) -> Result<(), Failed> {
    let mut body = vec![family(address), 0, 0, 0];
    body.extend(index.to_ne_bytes());
    body.extend(state.to_ne_bytes());
    body.extend([0, libc::RTN_UNICAST]);
    body.extend(attribute(libc::NDA_DST, &octets(address)));
    body.extend(attribute(libc::NDA_LLADDR, &mac));
    change(namespace, libc::RTM_NEWNEIGH, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &body)
}

/// A route of `table` to `destination` of so many bits, with its way in `attributes`.
pub fn route(
    namespace: &Namespace,
    table: u8,
    (destination, bits): (IpAddr, u8),
    attributes: &[u8],
) -> Result<(), Failed> {
    let (protocol, scope, kind) = (libc::RTPROT_STATIC, 0, libc::RTN_UNICAST);
    let mut body = vec![family(destination), bits, 0, 0, table, protocol, scope, kind, 0, 0, 0, 0];
    body.extend(attribute(libc::RTA_DST, &octets(destination)));
    body.extend(attributes);
    create(namespace, libc::RTM_NEWROUTE, &body)
}

/// A nexthop object of IPv4.
pub fn nexthop(namespace: &Namespace, attributes: &[u8]) -> Result<(), Failed> {
    let is_group = attributes.get(8 + 2..8 + 4) == Some(&NHA_GROUP.to_ne_bytes());
    let family = if is_group { libc::AF_UNSPEC } else { libc::AF_INET } as u8;
    let body = [&[family, 0, libc::RTPROT_STATIC, 0, 0, 0, 0, 0][..], attributes].concat();
    create(namespace, RTM_NEWNEXTHOP, &body)
}

/// `struct ifinfomsg`.
fn link(index: u32) -> Vec<u8> {
    [0, index, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}

fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn create(namespace: &Namespace, kind: u16, body: &[u8]) -> Result<(), Failed> {
    change(namespace, kind, libc::NLM_F_CREATE | libc::NLM_F_EXCL, body)
}

fn change(namespace: &Namespace, kind: u16, flags: i32, body: &[u8]) -> Result<(), Failed> {
    let done = namespace.run(|| request(kind, flags, body))?;
    done.map_err(|error| format!("rtnetlink request {kind}: {error}").into())
}

fn request(kind: u16, flags: i32, body: &[u8]) -> io::Result<()> {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
    let mut message = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkRoute);
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    sendto(socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0u8; 4096];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    if length < 20 {
        return Err(io::Error::other("an answer cut short"));
    }
    // `struct nlmsgerr` begins with the errno, negated.
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(-code)),
    }
}
