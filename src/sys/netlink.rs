//! A request to the kernel's routing room and its answer: one synchronous NETLINK_ROUTE socket.
//!
//! The socket belongs to the network namespace of the thread that opens it, for ever, whichever
//! thread uses it later (the kernel stores the namespace in `struct sock`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::failure::failed;
use crate::error::{Error, Result};

/// Bytes of the receive buffer. A part of a dump is at most 32 KiB (`netlink_dump` in
/// net/netlink/af_netlink.c); a single link with many virtual functions may be longer.
const RECEIVE_BYTES: usize = 256 * 1024;

/// How often a dump is asked for again that the kernel marked as torn by a change meanwhile.
const DUMP_ATTEMPTS: usize = 8;

/// Bytes of `struct nlmsghdr`.
const MESSAGE_HEADER_BYTES: usize = 16;

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

/// A NETLINK_ROUTE socket for one request at a time.
#[derive(Debug)]
pub(super) struct RouteSocket {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl RouteSocket {
    /// Opens the socket in the network namespace of the calling thread; needs no privilege.
    pub fn open() -> Result<RouteSocket> {
        let socket = open_socket(0).map_err(|error| {
            failed(
                "open a NETLINK_ROUTE socket",
                &error,
                "links are listed and made through it; a sandbox may forbid AF_NETLINK",
            )
        })?;
        // Options that add the kernel's own words to an error; without them we only say less.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        Ok(RouteSocket { socket, buffer: vec![0; RECEIVE_BYTES], sequence: 0 })
    }

    /// Asks for a change and waits for the kernel's acknowledgement. `flags` are further `NLM_F_*`.
    pub fn change(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> std::result::Result<(), Refusal> {
        self.send(message, NLM_F_ACK | flags)?;
        self.collect().map(|_| ())
    }

    /// Asks for one thing and gives the one answer.
    pub fn query(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> std::result::Result<RouteNetlinkMessage, Refusal> {
        self.send(message, NLM_F_ACK)?;
        let answers = self.collect()?;
        answers.messages.into_iter().next().ok_or_else(|| {
            Refusal::Unreadable("an acknowledgement without the answer before it".into())
        })
    }

    /// Asks for everything of a kind. A dump that was torn by a change meanwhile is repeated; after
    /// a few attempts the last one is given, which then may lack or repeat an entry.
    pub fn dump(
        &mut self,
        message: &RouteNetlinkMessage,
    ) -> std::result::Result<Vec<RouteNetlinkMessage>, Refusal> {
        let mut attempt = 1;
        loop {
            self.send(message.clone(), NLM_F_DUMP)?;
            let answers = self.collect()?;
            if !answers.torn || attempt == DUMP_ATTEMPTS {
                return Ok(answers.messages);
            }
            attempt += 1;
        }
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(|_| ())
    }

    /// Receives until the acknowledgement, the error or the end of the dump.
    fn collect(&mut self) -> std::result::Result<Answers, Refusal> {
        let mut answers = Answers { messages: Vec::new(), torn: false };
        loop {
            let length = receive(&self.socket, &mut self.buffer, 0)?;
            for part in parts(&self.buffer[..length]) {
                let packet = part.map_err(Refusal::Unreadable)?;
                if packet.header.sequence_number != self.sequence {
                    continue; // The rest of an earlier request that ended in an error.
                }
                answers.torn |= packet.header.flags & NLM_F_DUMP_INTR != 0;
                match packet.payload {
                    NetlinkPayload::InnerMessage(message) => answers.messages.push(message),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answers),
                    NetlinkPayload::Error(error) => {
                        let words = kernel_words(&error.header);
                        return Err(Refusal::Errno(error.to_io(), words));
                    }
                    NetlinkPayload::Done(done) if done.code >= 0 => return Ok(answers),
                    NetlinkPayload::Done(done) => {
                        return Err(io::Error::from_raw_os_error(-done.code).into());
                    }
                    _ => {}
                }
            }
        }
    }
}

struct Answers {
    messages: Vec<RouteNetlinkMessage>,
    torn: bool,
}

/// A NETLINK_ROUTE socket of the calling thread's namespace, subscribed to the multicast `groups`
/// (a bit mask, group 1 is bit 0) and connected to the kernel, so that no other process can put
/// messages into it (`netlink_getsockbyportid` refuses them with ECONNREFUSED).
pub(super) fn open_socket(groups: u32) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, groups))?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// Receives one datagram into `buffer` and gives its length in bytes. A datagram that is longer
/// than the buffer is EMSGSIZE. Interruptions by a signal are taken as not having happened.
pub(super) fn receive(socket: &Socket, buffer: &mut [u8], flags: i32) -> io::Result<usize> {
    loop {
        // With MSG_TRUNC the kernel gives the whole length, also of what did not fit.
        match socket.recv(&mut &mut *buffer, flags | libc::MSG_TRUNC) {
            Ok(length) if length > buffer.len() => {
                return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The messages of one datagram. A message that cannot be parsed is an error text in its place and
/// does not hide those that follow; a length that cannot be true ends the datagram.
pub(super) fn parts(
    datagram: &[u8],
) -> impl Iterator<Item = std::result::Result<NetlinkMessage<RouteNetlinkMessage>, String>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        if length < MESSAGE_HEADER_BYTES || length > rest.len() {
            rest = &[];
            return Some(Err(format!("a message that claims to have {length} bytes")));
        }
        let message = &rest[..length];
        // Messages are aligned to 4 bytes (NLMSG_ALIGNTO); the last one may lack its padding.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(NetlinkMessage::deserialize(message).map_err(|error| error.to_string()))
    })
}

/// The descriptor to wait on.
pub(super) fn descriptor(socket: &Socket) -> BorrowedFd<'_> {
    socket.as_fd()
}

/// The kernel's words in the rest of an error message: with NETLINK_CAP_ACK the header of our
/// request, then attributes.
fn kernel_words(rest: &[u8]) -> String {
    let attributes = rest.get(MESSAGE_HEADER_BYTES..).unwrap_or(&[]);
    NlasIterator::new(attributes)
        .map_while(std::result::Result::ok)
        .find(|attribute| attribute.kind() == ACKNOWLEDGEMENT_TEXT)
        .map(|attribute| {
            let bytes = attribute.value();
            let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
            String::from_utf8_lossy(bytes).into_owned()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_with_impossible_lengths_ends() {
        for datagram in [&[0u8; 32][..], &[255; 32], &[16, 0, 0], &[200, 0, 0, 0, 0, 0]] {
            assert!(parts(datagram).count() <= 1);
            assert!(parts(datagram).all(|part| part.is_err()));
        }
    }

    #[test]
    fn the_kernels_words_are_found_after_our_own_header() {
        let mut rest = vec![0u8; MESSAGE_HEADER_BYTES];
        rest.extend_from_slice(&[7, 0, 1, 0, b'n', b'o', 0, 0]);
        assert_eq!(kernel_words(&rest), "no");
        assert_eq!(kernel_words(&[]), "");
    }
}
