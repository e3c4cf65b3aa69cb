//! Notices when links come, change and go.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{MsgFlags, SockProtocol};

use super::{Link, Links};
use crate::error::Result;
use crate::sys::failure::failed;
use crate::sys::netlink::{Message, messages, open_socket, receive};

/// The bit of the multicast group RTNLGRP_LINK (group 1) in the mask of a netlink address.
const GROUP_LINK: u32 = 1 << 0;

/// Bytes of one notification at most: one link, without virtual functions.
const RECEIVE_BYTES: usize = 64 * 1024;

/// What happened to a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// It is new, or something about it changed; this is how it is now. The kernel also reports
    /// changes that [`Link`] does not show, so two equal ones may follow each other.
    Changed(Link),
    /// It was deleted, or moved to another namespace.
    Deleted {
        /// The number that the interface had.
        index: u32,
    },
}

/// Watches the links of the network namespace that it was opened in. Needs no privilege.
///
/// The descriptor ([`AsFd`]) is readable when there may be events, for use with epoll.
#[derive(Debug)]
pub struct LinkWatch {
    socket: OwnedFd,
    links: Links,
    known: BTreeSet<u32>,
    buffer: Vec<u8>,
}

impl LinkWatch {
    /// Starts to watch the links of the calling thread's network namespace.
    pub fn open() -> Result<LinkWatch> {
        // Subscribe first and list afterwards, so that no change falls between the two.
        let socket = open_socket(SockProtocol::NetlinkRoute, GROUP_LINK)
            .map_err(|error| failed("subscribe to changes of links", &error, ""))?;
        let links = Links::open()?;
        let known = links.list()?.iter().map(|link| link.index).collect();
        Ok(LinkWatch { socket, links, known, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// What happened since the last call, oldest first; empty when nothing did. Never blocks.
    ///
    /// When so much happened that the kernel had to drop notifications (ENOBUFS), every link is
    /// asked for: each that exists is reported as changed, each that has gone as deleted.
    pub fn drain(&mut self) -> Result<Vec<LinkEvent>> {
        let mut events = Vec::new();
        let mut lost = false;
        loop {
            match receive(&self.socket, &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                // What waits there after an overrun is older than what was lost, and the kernel goes on
                // dropping until the socket is empty (`netlink_overrun` and `netlink_rcv_wake` in
                // net/netlink/af_netlink.c): only after that a list of all links misses nothing.
                Ok(_) if lost => {}
                Ok(length) => self.read(length, &mut events),
                Err(error) if lost_some(&error) => lost = true,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Err(failed("read changes of links", &error, ""));
                }
                Err(_) if !std::mem::take(&mut lost) => return Ok(events),
                Err(_) => self.resynchronise(&mut events)?,
            }
        }
    }

    /// Reports every link anew, as after an overrun.
    fn resynchronise(&mut self, events: &mut Vec<LinkEvent>) -> Result<()> {
        let links = self.links.list()?;
        let current: BTreeSet<u32> = links.iter().map(|link| link.index).collect();
        let gone = self.known.difference(&current);
        events.extend(gone.map(|&index| LinkEvent::Deleted { index }));
        events.extend(links.into_iter().map(LinkEvent::Changed));
        self.known = current;
        Ok(())
    }

    fn read(&mut self, length: usize, events: &mut Vec<LinkEvent>) {
        // A message that cannot be read is about a link too exotic to be one of ours.
        let read = messages(&self.buffer[..length]).filter_map(std::result::Result::ok);
        for message in read.filter(about_the_link_itself) {
            let index = message.interface();
            match message.kind {
                libc::RTM_NEWLINK => {
                    self.known.insert(index);
                    events.push(LinkEvent::Changed(Link::from_message(&message)));
                }
                libc::RTM_DELLINK => {
                    self.known.remove(&index);
                    events.push(LinkEvent::Deleted { index });
                }
                _ => {}
            }
        }
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// ENOBUFS: the socket's buffer overran. EMSGSIZE: a notification longer than ours.
fn lost_some(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EMSGSIZE))
}

/// A bridge port that leaves its bridge is reported by RTM_DELLINK of family AF_BRIDGE, although
/// the link stays; only messages of family AF_UNSPEC are about the link itself. Wireless events
/// are such messages, too, but without the link's description.
fn about_the_link_itself(message: &Message) -> bool {
    i32::from(message.byte(0)) == libc::AF_UNSPEC && message.find(libc::IFLA_WIRELESS).is_none()
}
