//! A request to the kernel and its answer by netlink: one synchronous socket, of NETLINK_ROUTE (links,
//! addresses, routes) or NETLINK_GENERIC.
//!
//! The socket belongs to the network namespace of the thread that opens it, for ever, whichever
//! thread uses it later (the kernel stores the namespace in `struct sock`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use libc::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, connect, recv,
    send, socket,
};

use super::failure::failed;
use super::socket::set_option;
use crate::error::{Error, Result};

mod message;

#[cfg(test)]
pub(super) use message::request;
pub(super) use message::{
    Message, address, attribute, attributes, find, messages, octets, text, word,
};

/// Bytes of the receive buffer. A part of a dump is at most 32 KiB (`netlink_dump` in
/// net/netlink/af_netlink.c); a single link with many virtual functions may be longer.
const RECEIVE_BYTES: usize = 256 * 1024;

/// How often a dump is asked for again that the kernel marked as torn by a change meanwhile.
const DUMP_ATTEMPTS: usize = 8;

/// The attribute of an extended acknowledgement that holds the kernel's own words
/// (`NLMSGERR_ATTR_MSG` in uapi/linux/netlink.h), a string.
const ACKNOWLEDGEMENT_TEXT: u16 = 1;

/// Why a request was not fulfilled.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The kernel said no: its errno and, often, why in its own words (empty otherwise).
    Errno(io::Error, String),
    /// The kernel's answer could not be understood.
    Unreadable(String),
}

impl Refusal {
    /// The errno number; 0 for an answer that could not be understood.
    pub fn code(&self) -> i32 {
        match self {
            Refusal::Errno(error, _) => error.raw_os_error().unwrap_or(0),
            Refusal::Unreadable(_) => 0,
        }
    }

    /// The error for a failed `attempted` (a verb phrase), with the kernel's own words after the
    /// advice.
    pub fn into_error(self, attempted: impl Into<String>, advice: impl Into<String>) -> Error {
        let attempted = attempted.into();
        match self {
            Refusal::Errno(error, words) => {
                let mut advice = advice.into();
                if !words.is_empty() {
                    if !advice.is_empty() {
                        advice.push_str("; ");
                    }
                    advice.push_str(&format!("the kernel says: {words}"));
                }
                failed(attempted, &error, advice)
            }
            Refusal::Unreadable(why) => Error::Run(format!(
                "could not {attempted}: the kernel's answer is unreadable: {why}"
            )),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Errno(error, String::new())
    }
}

/// A netlink socket for one request at a time. A request is its kind (`RTM_*`, or the number of a generic
/// family) and its body, the header of that kind with attributes.
#[derive(Debug)]
pub(super) struct RequestSocket {
    socket: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

impl RequestSocket {
    /// Opens the socket in the network namespace of the calling thread; needs no privilege.
    pub fn open() -> Result<RequestSocket> {
        RequestSocket::open_for(SockProtocol::NetlinkRoute).map_err(|error| {
            failed(
                "open a NETLINK_ROUTE socket",
                &error,
                "links are listed and made through it; a sandbox may forbid AF_NETLINK",
            )
        })
    }

    /// One for generic families; as [`RequestSocket::open`].
    pub fn open_generic() -> io::Result<RequestSocket> {
        RequestSocket::open_for(SockProtocol::NetlinkGeneric)
    }

    fn open_for(protocol: SockProtocol) -> io::Result<RequestSocket> {
        let socket = open_socket(protocol, 0)?;
        // Options that add the kernel's own words to an error; without them we only say less.
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            let _ = set_option(socket.as_fd(), libc::SOL_NETLINK, option, &1i32);
        }
        Ok(RequestSocket { socket, buffer: vec![0; RECEIVE_BYTES], sequence: 0 })
    }

    /// Asks for a change and waits for the kernel's acknowledgement. `flags` are further `NLM_F_*`.
    pub fn change(
        &mut self,
        kind: u16,
        body: &[u8],
        flags: i32,
    ) -> std::result::Result<(), Refusal> {
        self.send(kind, body, NLM_F_ACK | flags)?;
        self.collect().map(|_| ())
    }

    /// Asks for one thing and gives the one answer.
    pub fn query(&mut self, kind: u16, body: &[u8]) -> std::result::Result<Message, Refusal> {
        self.send(kind, body, NLM_F_ACK)?;
        let answers = self.collect()?;
        answers.messages.into_iter().next().ok_or_else(|| {
            Refusal::Unreadable("an acknowledgement without the answer before it".into())
        })
    }

    /// Asks for everything of a kind. A dump that was torn by a change meanwhile is repeated; after
    /// a few attempts the last one is given, which then may lack or repeat an entry.
    pub fn dump(&mut self, kind: u16, body: &[u8]) -> std::result::Result<Vec<Message>, Refusal> {
        let mut attempt = 1;
        loop {
            self.send(kind, body, NLM_F_DUMP)?;
            let answers = self.collect()?;
            if !answers.torn || attempt == DUMP_ATTEMPTS {
                return Ok(answers.messages);
            }
            attempt += 1;
        }
    }

    fn send(&mut self, kind: u16, body: &[u8], flags: i32) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let flags = (NLM_F_REQUEST | flags) as u16;
        let bytes = message::request(kind, flags, self.sequence, body);
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        Ok(())
    }

    /// Receives until the acknowledgement, the error or the end of the dump.
    fn collect(&mut self) -> std::result::Result<Answers, Refusal> {
        let mut answers = Answers { messages: Vec::new(), torn: false };
        loop {
            let length = receive(&self.socket, &mut self.buffer, MsgFlags::empty())?;
            let (read, unreadable): (Vec<_>, Vec<_>) =
                messages(&self.buffer[..length]).partition(std::result::Result::is_ok);
            // One that cannot be read hides no other; by itself it may be the end that we wait for.
            if let ([], Some(Err(why))) = (&read[..], unreadable.into_iter().next()) {
                return Err(Refusal::Unreadable(why));
            }
            for message in read.into_iter().flatten() {
                if message.sequence != self.sequence {
                    continue; // The rest of an earlier request that ended in an error.
                }
                answers.torn |= i32::from(message.flags) & NLM_F_DUMP_INTR != 0;
                match i32::from(message.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => match message.word(0) as i32 {
                        0.. => return Ok(answers),
                        code => {
                            let error = io::Error::from_raw_os_error(code.saturating_neg());
                            let words = message.find(ACKNOWLEDGEMENT_TEXT).map(text);
                            return Err(Refusal::Errno(error, words.unwrap_or_default()));
                        }
                    },
                    libc::NLMSG_NOOP | libc::NLMSG_OVERRUN => {}
                    _ => answers.messages.push(message),
                }
            }
        }
    }
}

struct Answers {
    messages: Vec<Message>,
    torn: bool,
}

/// A netlink socket of the calling thread's namespace, subscribed to the multicast `groups`
/// (a bit mask, group 1 is bit 0) and connected to the kernel, so that no other process can put
/// messages into it (`netlink_getsockbyportid` refuses them with ECONNREFUSED).
pub(super) fn open_socket(protocol: SockProtocol, groups: u32) -> io::Result<OwnedFd> {
    let family = AddressFamily::Netlink;
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

/// Receives one datagram into `buffer` and gives its length in bytes. A datagram that is longer
/// than the buffer is EMSGSIZE. Interruptions by a signal are taken as not having happened.
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8], flags: MsgFlags) -> io::Result<usize> {
    loop {
        // With MSG_TRUNC the kernel gives the whole length, also of what did not fit.
        match recv(socket.as_raw_fd(), buffer, flags | MsgFlags::MSG_TRUNC) {
            Ok(length) if length > buffer.len() => {
                return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
            }
            Err(nix::errno::Errno::EINTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}
