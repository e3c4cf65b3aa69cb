//! A received frame as a message, and whether it is one that concerns us: pure decisions.

use std::fmt;

use crate::sys::packet::{LinkAddress, OUTGOING, Received, SocketType, TO_OTHER_HOST};
use crate::units::ETHERNET_HEADER_BYTES;

/// A message: the bytes after the Ethernet header, and where they came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'frame> {
    /// The payload as far as it was received, Ethernet's padding included.
    pub payload: &'frame [u8],
    /// The frame was longer than the buffer.
    pub truncated: bool,
    /// Interface, EtherType, packet type and hardware address of the sender (`sockaddr_ll`).
    pub from: LinkAddress,
}

/// Why a received message is left without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The copy of a frame that this host sends itself.
    OutgoingCopy,
    /// It came by another interface, before the bind.
    OtherInterface,
    /// It is another protocol's: this EtherType.
    OtherProtocol(u16),
    /// It is addressed to another host.
    OtherHost,
    /// Its sender's address is a group address, which no station has.
    GroupSender,
    /// It was longer than the buffer.
    Truncated,
    /// Nothing in it could be upper-cased, so it may be an answer itself.
    UpperCase,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Silence::OutgoingCopy => write!(f, "an outgoing copy"),
            Silence::OtherInterface => write!(f, "from another interface, before the bind"),
            Silence::OtherProtocol(ethertype) => write!(f, "EtherType {ethertype:#06x}"),
            Silence::OtherHost => write!(f, "addressed to another host"),
            Silence::GroupSender => write!(f, "the sender's address is a group's"),
            Silence::Truncated => write!(f, "longer than the buffer"),
            Silence::UpperCase => write!(f, "upper-case already"),
        }
    }
}

impl<'frame> Message<'frame> {
    /// The message in what `recvfrom` gave: `buffer` and what it said of it. Raw sockets give the
    /// Ethernet header too, datagram sockets do not; a frame shorter than it has no payload.
    pub fn of(kind: SocketType, buffer: &'frame [u8], received: &Received) -> Message<'frame> {
        let frame = &buffer[..received.wire_bytes.min(buffer.len())];
        let payload = match kind {
            SocketType::Raw => frame.get(ETHERNET_HEADER_BYTES..).unwrap_or(&[]),
            SocketType::Datagram => frame,
        };
        let truncated = received.wire_bytes > buffer.len();
        Message { payload, truncated, from: received.from }
    }

    /// Why this is no message to a program on `interface` that speaks `ethertype`; `None` if it
    /// is one.
    pub fn foreign(&self, interface: u32, ethertype: u16) -> Option<Silence> {
        if self.from.packet_type == OUTGOING {
            Some(Silence::OutgoingCopy)
        } else if self.from.interface != interface {
            Some(Silence::OtherInterface)
        } else if self.from.protocol != ethertype {
            Some(Silence::OtherProtocol(self.from.protocol))
        } else if self.from.packet_type == TO_OTHER_HOST {
            Some(Silence::OtherHost)
        } else if is_group(self.from.mac) {
            Some(Silence::GroupSender)
        } else if self.truncated {
            Some(Silence::Truncated)
        } else {
            None
        }
    }

    /// The payload in upper case, or why there is no answer to it.
    pub fn answer(&self) -> Result<Vec<u8>, Silence> {
        let answer = self.payload.to_ascii_uppercase();
        if answer == self.payload { Err(Silence::UpperCase) } else { Ok(answer) }
    }

    /// Whether the payload is `text`, with or without Ethernet's padding after it.
    pub fn says(&self, text: &[u8]) -> bool {
        self.payload.strip_prefix(text).is_some_and(|padding| padding.iter().all(|&byte| byte == 0))
    }
}

/// Whether `mac` is a multicast or the broadcast address (IEEE 802.3 clause 3.2.3).
fn is_group(mac: [u8; 6]) -> bool {
    mac[0] & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETHERTYPE: u16 = 0x88b5;
    const FROM: LinkAddress =
        LinkAddress { interface: 1, protocol: ETHERTYPE, packet_type: 0, mac: [2, 0, 0, 0, 0, 1] };

    fn message(payload: &[u8]) -> Message<'_> {
        Message { payload, truncated: false, from: FROM }
    }

    #[test]
    fn a_raw_frame_loses_its_header_and_a_runt_has_no_payload() {
        let buffer = *b"DDDDDDSSSSSSTTtext....";
        let of =
            |kind, wire_bytes| Message::of(kind, &buffer, &Received { wire_bytes, from: FROM });
        assert_eq!(of(SocketType::Raw, 18).payload, b"text");
        assert_eq!(of(SocketType::Raw, 14).payload, b"");
        assert_eq!(of(SocketType::Raw, 3).payload, b"");
        assert_eq!(of(SocketType::Datagram, 3).payload, b"DDD");
        let long = of(SocketType::Datagram, 1000);
        assert_eq!((long.payload, long.truncated), (&buffer[..], true));
    }

    #[test]
    fn only_messages_to_us_concern_us() {
        let silence = |from| Message { from, ..message(b"hi") }.foreign(1, ETHERTYPE);
        assert_eq!(silence(FROM), None);
        let outgoing = LinkAddress { packet_type: OUTGOING, ..FROM };
        assert_eq!(silence(outgoing), Some(Silence::OutgoingCopy));
        let other_host = LinkAddress { packet_type: TO_OTHER_HOST, ..FROM };
        assert_eq!(silence(other_host), Some(Silence::OtherHost));
        assert_eq!(silence(LinkAddress { interface: 2, ..FROM }), Some(Silence::OtherInterface));
        let ip = LinkAddress { protocol: 0x0800, ..FROM };
        assert_eq!(silence(ip), Some(Silence::OtherProtocol(0x0800)));
        assert_eq!(silence(LinkAddress { mac: [0xff; 6], ..FROM }), Some(Silence::GroupSender));
        let truncated = Message { truncated: true, ..message(b"hi") };
        assert_eq!(truncated.foreign(1, ETHERTYPE), Some(Silence::Truncated));
    }

    #[test]
    fn the_answer_is_upper_case_and_has_no_answer_itself() {
        let answer = message(b"hello server!").answer().unwrap();
        assert_eq!(answer, b"HELLO SERVER!");
        assert_eq!(message(&answer).answer(), Err(Silence::UpperCase));
        assert_eq!(message(b"").answer(), Err(Silence::UpperCase));
        assert_eq!(message(b"\xc3\xa4b\0").answer().unwrap(), b"\xc3\xa4B\0");
    }

    #[test]
    fn padding_is_no_part_of_what_is_said() {
        assert!(message(b"HI\0\0").says(b"HI"));
        assert!(message(b"HI").says(b"HI"));
        assert!(!message(b"HI!").says(b"HI"));
        assert!(!message(b"H").says(b"HI"));
    }
}
