//! Making veth pairs: two links in one kernel, each end's transmission the other's reception.

use std::os::fd::AsRawFd;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkInfo, LinkMessage,
};

use super::{Link, Links, NEEDS_NET_ADMIN, advice_for_change, by_index, is_possible_name};
use crate::error::{Error, Result};
use crate::sys::namespace::Namespace;

const NAME_RULE: &str = "the name of an interface has 1 to 15 bytes, without '/', ':' and blanks";

/// The smallest MTU in bytes with which the kernel gives an interface IPv6 (`IPV6_MIN_MTU`).
pub const IPV6_MTU_MIN: u32 = 1280;

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
    fn end(&self, name: &str, mac: Option<[u8; 6]>) -> LinkMessage {
        let mut end = LinkMessage::default();
        end.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Mtu(self.mtu),
            LinkAttribute::NumTxQueues(self.transmit_queues),
            LinkAttribute::NumRxQueues(self.receive_queues),
        ];
        end.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        end
    }
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
        peer.attributes.push(LinkAttribute::NetNsFd(pair.peer_namespace.descriptor().as_raw_fd()));
        let mut request = pair.end(&pair.name, pair.mac);
        request.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.socket()
            .change(RouteNetlinkMessage::NewLink(request), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|refusal| {
                let advice = match refusal.code() {
                    libc::EPERM => NEEDS_NET_ADMIN,
                    libc::EEXIST => "one of the names is taken already",
                    libc::EOPNOTSUPP | libc::ENODEV => {
                        "this kernel has no veth (CONFIG_VETH); try `modprobe veth`"
                    }
                    libc::ERANGE | libc::EINVAL => {
                        "the MTU of a veth is 68 to 65535 bytes, and it has 1 to 4096 queues"
                    }
                    _ => "",
                };
                refusal.into_error(attempted, advice)
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
        let mut request = by_index(link.index);
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        request.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]));
        match self.socket().change(RouteNetlinkMessage::SetLink(request), 0) {
            Ok(()) => Ok(()),
            // No IPv6 in this kernel, or not on this interface.
            Err(refusal) if refusal.code() == libc::EAFNOSUPPORT => Ok(()),
            Err(refusal) => {
                let advice = advice_for_change(&refusal);
                Err(refusal.into_error(format!("keep IPv6 silent on {}", link.name), advice))
            }
        }
    }
}
