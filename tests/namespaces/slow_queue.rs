//! What `tc` and `ip` do to an interface by netlink: a slow queueing discipline (`tbf`), another namespace.

use std::io;
use std::os::fd::AsRawFd;

use libtest_mimic::Failed;
use linerate::bench::testbed::End;
use linerate::lab::Side;
use linerate::sys::namespace::Namespace;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send,
    socket,
};

const RTM_NEWQDISC: u16 = 36;
/// Request, acknowledge, create, replace.
const FLAGS: u16 = 0x1 | 0x4 | 0x400 | 0x100;
const RTM_NEWLINK: u16 = 16;
const REQUEST_ACK: u16 = 0x1 | 0x4;
const IFLA_NET_NS_FD: u16 = 28;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_BURST: u16 = 6;
const TC_H_ROOT: u32 = 0xffff_ffff;
const LINKLAYER_ETHERNET: u8 = 1;

/// Lets `bytes_per_second` pass and keeps `limit_bytes` waiting; what comes beyond is refused.
/// `false` where the kernel has no such queue.
pub fn slow_down(side: &Side, bytes_per_second: u32, limit_bytes: u32) -> Result<bool, Failed> {
    slow_down_at(&side.namespace, side.link.index, bytes_per_second, limit_bytes)
}

/// The same at the end of a testbed.
pub fn slow_down_end(end: &End, bytes_per_second: u32, limit_bytes: u32) -> Result<bool, Failed> {
    slow_down_at(&end.namespace, end.link.index, bytes_per_second, limit_bytes)
}

fn slow_down_at(
    namespace: &Namespace,
    interface: u32,
    bytes_per_second: u32,
    limit_bytes: u32,
) -> Result<bool, Failed> {
    const BURST_BYTES: u32 = 2000;
    // struct tc_tbf_qopt: two tc_ratespec, then limit, buffer and mtu; the burst overrides buffer.
    let mut parameters = Vec::new();
    parameters.extend([0, LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0]);
    parameters.extend(bytes_per_second.to_ne_bytes());
    parameters.extend([0; 12]);
    parameters.extend([limit_bytes, 0, 0].into_iter().flat_map(u32::to_ne_bytes));
    let mut options = attribute(TCA_TBF_PARMS, &parameters);
    options.extend(attribute(TCA_TBF_BURST, &BURST_BYTES.to_ne_bytes()));
    // struct tcmsg: family, interface, handle, parent, info.
    let words = [0, interface, 0x1_0000, TC_H_ROOT, 0];
    let mut body: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    body.extend(attribute(TCA_KIND, b"tbf\0"));
    body.extend(attribute(TCA_OPTIONS, &options));
    match ask(namespace, RTM_NEWQDISC, FLAGS, body)? {
        0 => Ok(true),
        libc::ENOENT | libc::EOPNOTSUPP => Ok(false),
        code => Err(io::Error::from_raw_os_error(code).into()),
    }
}

/// Moves the interface to another namespace.
pub fn move_to(side: &Side, namespace: &Namespace) -> Result<(), Failed> {
    // struct ifinfomsg: family and type, index, flags, change.
    let words = [0, side.link.index, 0, 0];
    let mut body: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    let descriptor = namespace.descriptor().as_raw_fd() as u32;
    body.extend(attribute(IFLA_NET_NS_FD, &descriptor.to_ne_bytes()));
    match ask(&side.namespace, RTM_NEWLINK, REQUEST_ACK, body)? {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code).into()),
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut bytes: Vec<u8> = [length as u16, kind]
        .into_iter()
        .flat_map(u16::to_ne_bytes)
        .chain(value.to_vec())
        .collect();
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

/// Sends a request in the namespace and gives the error number of the acknowledgement.
fn ask(namespace: &Namespace, kind: u16, flags: u16, body: Vec<u8>) -> Result<i32, Failed> {
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend([kind, flags].into_iter().flat_map(u16::to_ne_bytes));
    message.extend([1, 0].into_iter().flat_map(u32::to_ne_bytes));
    message.extend(body);
    Ok(namespace.run(|| exchange(&message))??)
}

fn exchange(message: &[u8]) -> io::Result<i32> {
    let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkRoute);
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    send(socket.as_raw_fd(), message, MsgFlags::empty())?;
    let mut answer = [0; 4096];
    recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let code = answer.get(16..20).and_then(|bytes| bytes.first_chunk().copied());
    Ok(-i32::from_ne_bytes(code.ok_or(io::ErrorKind::UnexpectedEof)?))
}
