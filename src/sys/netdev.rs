//! What a driver can do with XDP, as it says itself: the generic netlink family `netdev`, since Linux 6.3
//! (`NETDEV_CMD_DEV_GET` in Documentation/netlink/specs/netdev.yaml).

use super::netlink::{Message, Refusal, RequestSocket, attribute, word};
use super::reading::{Reading, Unreadable};

/// The family that knows the numbers of the others (uapi/linux/genetlink.h), and its question.
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// The question and attributes of the family (uapi/linux/netdev.h).
const GET_DEVICE: u8 = 1;
const INTERFACE: u16 = 1;
const FEATURES: u16 = 3;
const ZERO_COPY_SEGMENTS_MAX: u16 = 4;
const METADATA: u16 = 5;
/// Bit of the last one: `NETDEV_XDP_RX_METADATA_VLAN_TAG`.
const TAGS: u64 = 4;

/// What a driver can do with XDP; more than one does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct XdpAbilities {
    /// Programs run in the driver, before there is an skb.
    pub native: bool,
    /// They can hand frames to AF_XDP sockets and other interfaces.
    pub redirect: bool,
    /// The driver sends frames that programs of other interfaces hand it; a veth while its peer polls.
    pub transmits: bool,
    /// AF_XDP sockets can do without copies.
    pub zero_copy: bool,
    /// Frames may be longer than a page.
    pub multi_buffer: bool,
    /// Programs can ask for the VLAN tag that was taken off a frame (since Linux 6.8).
    pub tags: bool,
    /// The most buffers of one frame without copies.
    pub zero_copy_segments_max: Option<u32>,
}

impl XdpAbilities {
    /// What the driver of an interface in the namespace of the calling thread says. Needs no privilege.
    pub fn of(interface: u32) -> Reading<XdpAbilities> {
        let mut socket = RequestSocket::open_generic()
            .map_err(|error| Unreadable::of("a NETLINK_GENERIC socket", &error))?;
        ask(&mut socket, interface).map_err(|refusal| match refusal {
            Refusal::Errno(error, _) => Unreadable::of("netdev family (since Linux 6.3)", &error),
            Refusal::Unreadable(why) => Unreadable::because(format!("netdev family: {why}")),
        })
    }

    fn from_bits(bits: u64, metadata: u64, zero_copy_segments_max: Option<u32>) -> XdpAbilities {
        let has = |bit: u64| bits & bit != 0;
        XdpAbilities {
            native: has(1),
            redirect: has(2),
            transmits: has(4),
            zero_copy: has(8),
            multi_buffer: has(32),
            tags: metadata & TAGS != 0,
            zero_copy_segments_max,
        }
    }
}

fn ask(socket: &mut RequestSocket, interface: u32) -> Result<XdpAbilities, Refusal> {
    let name = attribute(FAMILY_NAME, b"netdev\0");
    let family = socket.query(CONTROLLER, &request(GET_FAMILY, &name))?;
    let number = family.generic(FAMILY_ID).and_then(|id| id.first_chunk().copied());
    let number = number.map(u16::from_ne_bytes).ok_or_else(|| incomplete("number"))?;
    let device = attribute(INTERFACE, &interface.to_ne_bytes());
    let device = socket.query(number, &request(GET_DEVICE, &device))?;
    let number = |kind| device.generic(kind).and_then(|bits| bits.first_chunk().copied());
    let bits = number(FEATURES).map(u64::from_ne_bytes).ok_or_else(|| incomplete("features"))?;
    let metadata = number(METADATA).map_or(0, u64::from_ne_bytes);
    let segments = |device: &Message| device.generic(ZERO_COPY_SEGMENTS_MAX).and_then(word);
    Ok(XdpAbilities::from_bits(bits, metadata, segments(&device)))
}

/// `struct genlmsghdr` (command, version, two bytes reserved) and the attributes.
fn request(command: u8, attributes: &[u8]) -> Vec<u8> {
    [&[command, 1, 0, 0], attributes].concat()
}

fn incomplete(what: &str) -> Refusal {
    Refusal::Unreadable(format!("an answer without {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_has_no_xdp_in_its_driver() {
        let links = crate::sys::link::Links::open().unwrap();
        let index = links.by_name("lo").unwrap().index;
        match XdpAbilities::of(index) {
            Ok(abilities) => assert_eq!(abilities, XdpAbilities::default()),
            Err(why) => assert!(why.not_readable.contains("6.3"), "{why}"),
        }
        assert!(XdpAbilities::of(u32::MAX >> 1).is_err());
        let bits = XdpAbilities::from_bits(0b10_1011, 4, Some(8));
        assert!(bits.native && bits.redirect && bits.zero_copy && bits.multi_buffer && bits.tags);
        assert!(!bits.transmits);
    }
}
