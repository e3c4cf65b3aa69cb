//! Making veth pairs: two links in one kernel, each end's transmission the other's reception.

use std::os::fd::AsRawFd;

use libc::{NLM_F_CREATE, NLM_F_EXCL};

use super::{Link, Links, NAME_BYTES_MAX, header};
use crate::error::{Error, Result};
use crate::sys::namespace::Namespace;
use crate::sys::netlink::attribute;

const NAME_RULE: &str = "the name of an interface has 1 to 15 bytes, without '/', ':' and blanks";

/// The smallest MTU in bytes with which the kernel gives an interface IPv6 (`IPV6_MIN_MTU`).
pub const IPV6_MTU_MIN: u32 = 1280;

/// The other end, within `IFLA_INFO_DATA` (uapi/linux/veth.h).
const VETH_INFO_PEER: u32 = 1;
/// No IPv6 addresses of the kernel's own accord (`IN6_ADDR_GEN_MODE_NONE` of the attribute
/// `IFLA_INET6_ADDR_GEN_MODE` in uapi/linux/if_link.h).
const INET6_ADDR_GEN_MODE: u32 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;

/// What a veth pair shall be.
#[derive(Clone, Debug)]
pub struct VethPair {
    /// The name of the end in the namespace of the [`Links`] that makes it.
    pub name: String,
    /// The name of the other end.
    pub peer_name: String,
    /// Where the other end shall be.
    pub peer_namespace: Namespace,
    /// The hardware address of this end; `None` lets the kernel choose a random one.
    pub mac: Option<[u8; 6]>,
    /// The hardware address of the other end.
    pub peer_mac: Option<[u8; 6]>,
    /// The MTU of both ends in bytes.
    pub mtu: u32,
    /// Transmit queues of each end.
    pub transmit_queues: u32,
    /// Receive queues of each end.
    pub receive_queues: u32,
}

impl VethPair {
    fn end(&self, name: &str, mac: Option<[u8; 6]>) -> Vec<u8> {
        let mut end = header(0, 0, 0);
        end.extend(attribute(libc::IFLA_IFNAME, name.as_bytes()));
        end.extend(attribute(libc::IFLA_MTU, &self.mtu.to_ne_bytes()));
        end.extend(attribute(libc::IFLA_NUM_TX_QUEUES, &self.transmit_queues.to_ne_bytes()));
        end.extend(attribute(libc::IFLA_NUM_RX_QUEUES, &self.receive_queues.to_ne_bytes()));
        end.extend(mac.into_iter().flat_map(|mac| attribute(libc::IFLA_ADDRESS, &mac)));
        end
    }
}

/// Mirrors `dev_valid_name` in net/core/dev.c.
fn is_possible_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.contains(|c: char| matches!(c, '/' | ':' | '\0') || c.is_ascii_whitespace())
}

impl Links {
    /// Makes a veth pair, both ends down, with no IPv6 address of their own accord (no
    /// router solicitations, no multicast reports), and gives the end in this namespace.
    pub fn create_veth_pair(&self, pair: &VethPair) -> Result<Link> {
        let attempted = format!("make the veth pair {} and {}", pair.name, pair.peer_name);
        if !is_possible_name(&pair.name) || !is_possible_name(&pair.peer_name) {
            return Err(Error::Usage(format!("could not {attempted}: {NAME_RULE}")));
        }
        let mut peer = pair.end(&pair.peer_name, pair.peer_mac);
        let namespace = pair.peer_namespace.descriptor().as_raw_fd();
        peer.extend(attribute(libc::IFLA_NET_NS_FD, &namespace.to_ne_bytes()));
        let peer = attribute(VETH_INFO_PEER, &peer);
        let mut info = attribute(libc::IFLA_INFO_KIND, b"veth");
        info.extend(attribute(libc::IFLA_INFO_DATA, &peer));
        let mut request = pair.end(&pair.name, pair.mac);
        request.extend(attribute(libc::IFLA_LINKINFO, &info));
        self.change(libc::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &request, attempted, |errno| {
            match errno {
                libc::EEXIST => "one of the names is taken already",
                libc::EOPNOTSUPP | libc::ENODEV => {
                    "this kernel has no veth (CONFIG_VETH); try `modprobe veth`"
                }
                libc::ERANGE | libc::EINVAL => {
                    "the MTU of a veth is 68 to 65535 bytes, and it has 1 to 4096 queues"
                }
                _ => "",
            }
        })?;
        let link = self.by_name(&pair.name)?;
        let peers = Links::open_in(&pair.peer_namespace)?;
        // In the creating request the kernel refuses the mode with EAFNOSUPPORT (VERIFIED on 6.18:
        // the link has no IPv6 part yet), so each end is told separately, while still down.
        self.silence_ipv6(&link)?;
        peers.silence_ipv6(&peers.by_name(&pair.peer_name)?)?;
        Ok(link)
    }

    /// Stops the kernel from giving the interface IPv6 addresses of its own accord. Below an MTU
    /// of [`IPV6_MTU_MIN`] there is no IPv6 on it to be silenced.
    fn silence_ipv6(&self, link: &Link) -> Result<()> {
        let mode = attribute(INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]);
        let mode = attribute(libc::AF_INET6 as u32, &mode);
        let mut request = header(link.index, 0, 0);
        request.extend(attribute(libc::IFLA_AF_SPEC, &mode));
        match self.set(&request, format!("keep IPv6 silent on {}", link.name)) {
            // No IPv6 in this kernel, or not on this interface.
            Err(error) if error.errno() == Some(libc::EAFNOSUPPORT) => Ok(()),
            result => result,
        }
    }
}
