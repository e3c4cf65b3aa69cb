//! Messages of rtnetlink as bytes: built from a header and attributes, and read without trust.
//!
//! A message is `struct nlmsghdr`, a header of its kind (`struct ifinfomsg` of a link, `struct
//! rtmsg` of a route, …) and attributes (`struct nlattr`, a value, padding to 4 bytes), which may be
//! made of attributes again. Numbers have the byte order of the host.

use std::iter::from_fn;
use std::net::IpAddr;

use crate::sys::interface::name_text;

/// Bytes of `struct nlmsghdr`.
pub const MESSAGE_HEADER_BYTES: usize = 16;

/// `RTM_NEWNEXTHOP`, with `struct nhmsg` (uapi/linux/nexthop.h).
const NEW_NEXTHOP: u16 = 104;

/// A message from the kernel; its header is as long as its kind says.
#[derive(Clone, Debug)]
pub struct Message {
    /// `RTM_*` or `NLMSG_*`.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// The number of the request that it answers.
    pub sequence: u32,
    body: Vec<u8>,
}

impl Message {
    /// Reads a whole message; the error says what is wrong with it.
    fn read(bytes: &[u8]) -> Result<Message, String> {
        let too_short = || format!("a message that has only {} bytes", bytes.len());
        let (header, body) = bytes.split_at_checked(MESSAGE_HEADER_BYTES).ok_or_else(too_short)?;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let flags = u16::from_ne_bytes([header[6], header[7]]);
        let sequence = word(&header[8..]).ok_or_else(too_short)?;
        if body.len() < header_bytes(kind) {
            return Err(too_short());
        }
        Ok(Message { kind, flags, sequence, body: body.to_vec() })
    }

    /// The byte at `offset` of the kind's header, which has at least 8.
    pub fn byte(&self, offset: usize) -> u8 {
        self.body.get(offset).copied().unwrap_or(0)
    }

    /// The number at `offset` of the kind's header.
    pub fn word(&self, offset: usize) -> u32 {
        self.body.get(offset..).and_then(word).unwrap_or(0)
    }

    /// The number of the interface that a link, an address, a neighbour or a queue discipline is about.
    pub fn interface(&self) -> u32 {
        self.word(4)
    }

    /// The value of the first attribute of that kind.
    pub fn find(&self, kind: impl Into<u32>) -> Option<&[u8]> {
        find(self.body.get(header_bytes(self.kind)..)?, kind)
    }

    /// As [`Message::find`], of an answer of a generic family, whose header has 4 bytes.
    pub fn generic(&self, kind: u16) -> Option<&[u8]> {
        find(self.body.get(4..)?, kind)
    }

    /// The number in an attribute.
    pub fn number(&self, kind: impl Into<u32>) -> Option<u32> {
        self.find(kind).and_then(word)
    }

    /// The IP address in an attribute.
    pub fn address(&self, kind: impl Into<u32>) -> Option<IpAddr> {
        self.find(kind).and_then(address)
    }
}

/// Bytes of the header that stands before the attributes: `ifinfomsg`, `ifaddrmsg`, `rtmsg`, `ndmsg`
/// and `tcmsg` in uapi/linux; the kinds of one group are four successive numbers. Of an
/// acknowledgement it is the errno and the header of our own request (with NETLINK_CAP_ACK).
fn header_bytes(kind: u16) -> usize {
    match kind & !3 {
        libc::RTM_NEWLINK => 16,
        libc::RTM_NEWADDR => 8,
        libc::RTM_NEWROUTE | libc::RTM_NEWNEIGH => 12,
        libc::RTM_NEWQDISC => 20,
        NEW_NEXTHOP => 8,
        _ if i32::from(kind) == libc::NLMSG_ERROR => 4 + MESSAGE_HEADER_BYTES,
        _ if i32::from(kind) == libc::NLMSG_DONE => 4,
        _ => 0,
    }
}

/// The messages of one datagram. A message that cannot be read is an error text in its place and
/// does not hide those that follow; a length that cannot be true ends the datagram.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Message, String>> {
    let mut rest = datagram;
    from_fn(move || {
        let length = word(rest)? as usize;
        let Some(message) = rest.get(..length).filter(|_| length >= MESSAGE_HEADER_BYTES) else {
            rest = &[];
            return Some(Err(format!("a message that claims to have {length} bytes")));
        };
        // Messages are aligned to 4 bytes (NLMSG_ALIGNTO); the last one may lack its padding.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Message::read(message))
    })
}

/// Kinds and values of attributes, up to the first length that cannot be true.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = bytes;
    from_fn(move || {
        let [short, long, kind @ ..]: [u8; 4] = *rest.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([short, long]));
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        // The upper two bits are flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
        Some((u32::from(u16::from_ne_bytes(kind) & 0x3fff), value))
    })
}

/// The value of the first attribute of that kind.
pub fn find(bytes: &[u8], kind: impl Into<u32>) -> Option<&[u8]> {
    let kind = kind.into();
    attributes(bytes).find(|(other, _)| *other == kind).map(|(_, value)| value)
}

/// The number that a value begins with.
pub fn word(value: &[u8]) -> Option<u32> {
    value.first_chunk().copied().map(u32::from_ne_bytes)
}

/// The text of a value, up to its NUL, as [`name_text`] has it.
pub fn text(value: &[u8]) -> String {
    name_text(value.split(|byte| *byte == 0).next().unwrap_or_default())
}

/// The IP address that a value is.
pub fn address(value: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(value)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from))
        .ok()
}

/// The bytes of an address.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An attribute with its padding; the value has at most 65,531 bytes.
pub fn attribute(kind: impl Into<u32>, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut bytes = Vec::with_capacity(length.next_multiple_of(4));
    bytes.extend((length as u16).to_ne_bytes());
    bytes.extend((kind.into() as u16).to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

/// A message to the kernel; `body` is the header of its kind with the attributes.
pub fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((MESSAGE_HEADER_BYTES + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_datagram_with_impossible_lengths_ends() {
        for datagram in [&[0u8; 32][..], &[255; 32], &[16, 0, 0], &[200, 0, 0, 0, 0, 0]] {
            assert!(messages(datagram).count() <= 1);
            assert!(messages(datagram).all(|message| message.is_err()));
        }
    }

    #[test]
    fn a_message_shorter_than_its_header_is_an_error_and_does_not_hide_the_next() {
        let short = request(libc::RTM_NEWLINK, 0, 1, &[0; 12]);
        let whole = request(libc::RTM_NEWLINK, 3, 2, &[[0; 16], [7; 16]].concat());
        let read: Vec<_> = messages(&[short, whole].concat()).collect();
        assert_eq!(read.len(), 2);
        assert!(read[0].is_err());
        let link = read[1].as_ref().unwrap();
        assert_eq!((link.kind, link.flags, link.sequence), (libc::RTM_NEWLINK, 3, 2));
        assert_eq!(link.find(7u16), None, "the attribute claims 0x0707 bytes");
    }

    #[test]
    fn what_is_built_is_read_again() {
        let inner = attribute(1u16, b"veth");
        let body = [&[9; 16][..], &attribute(3u16, b"lo\0"), &attribute(18u16, &inner)].concat();
        let bytes = request(libc::RTM_NEWLINK, 0, 5, &body);
        let message = Message::read(&bytes).unwrap();
        assert_eq!(message.interface(), 0x0909_0909);
        assert_eq!(message.find(3u16).map(text).as_deref(), Some("lo"));
        assert_eq!(message.find(18u16).and_then(|inner| find(inner, 1u16)), Some(&b"veth"[..]));
        assert_eq!((message.number(18u16), message.number(4u16)), (word(&inner), None));
        for address in ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap()) {
            assert_eq!(super::address(&octets(address)), Some(address));
        }
        assert_eq!(super::address(&[1; 5]), None);
        assert_eq!(text(b"\xff\x1b[0m\0x"), "\\xff\x1b[0m");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(0..40u8, 0..200)) {
            for message in messages(&bytes).flatten() {
                let _ = (message.byte(7), message.interface(), message.word(16));
                let _ = (message.find(1u16), message.number(3u16), message.address(2u16));
            }
            let held: usize = attributes(&bytes).map(|(_, value)| 4 + value.len()).sum();
            prop_assert!(held <= bytes.len());
        }
    }
}
