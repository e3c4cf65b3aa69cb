//! How a probe is carried, and the smallest frame that can carry it.

use std::fmt;

use super::ethernet::VLAN_TAG_BYTES;
use super::ip::{IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, IpVersion};
use super::probe::PAYLOAD_BYTES_MIN;
use super::ptp::PTP_SYNC_BYTES;
use super::udp::UDP_HEADER_BYTES;
use crate::units::{ETHERNET_HEADER_BYTES, FCS_BYTES, FRAME_BYTES_MIN, FrameSize};

/// What lies between a frame's MAC addresses and the probe.
///
/// | tags | in UDP over, or behind | bytes before the probe | payload of a 64-byte frame | smallest frame, FCS included |
/// |---|---|---|---|---|
/// | 0 | | 14 | 46 | 64 |
/// | 1 | | 18 | 42 | 64 |
/// | 2 | | 22 | 38 | 64 |
/// | 0 | IPv4 | 42 | 18 | 64 |
/// | 1 | IPv4 | 46 | 14 | 64 |
/// | 2 | IPv4 | 50 | none (10 bytes left) | 68 |
/// | 0 | IPv6 | 62 | none | 80 |
/// | 1 | IPv6 | 66 | none | 84 |
/// | 2 | IPv6 | 70 | none | 88 |
/// | 0 | PTP | 58 | none | 76 |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Encapsulation {
    /// VLAN tags in each frame.
    pub tags: usize,
    /// The IP version where the probe is in UDP; `None` where it follows the Ethernet header.
    pub ip: Option<IpVersion>,
    /// Whether it follows a PTP message.
    pub ptp: bool,
}

impl Encapsulation {
    /// Bytes in front of the probe: Ethernet header, tags, IP and UDP headers; no FCS.
    pub const fn overhead_bytes(self) -> usize {
        let ip_and_udp = match self.ip {
            None => 0,
            Some(IpVersion::V4) => IPV4_HEADER_BYTES + UDP_HEADER_BYTES,
            Some(IpVersion::V6) => IPV6_HEADER_BYTES + UDP_HEADER_BYTES,
        };
        let ptp = if self.ptp { PTP_SYNC_BYTES } else { 0 };
        ETHERNET_HEADER_BYTES + self.tags * VLAN_TAG_BYTES + ip_and_udp + ptp
    }

    /// The smallest frame with room for a probe and [its shortest filler](PAYLOAD_BYTES_MIN), in
    /// bytes with FCS and tags.
    pub const fn smallest_frame_bytes(self) -> usize {
        let needed = self.overhead_bytes() + PAYLOAD_BYTES_MIN + FCS_BYTES;
        if needed < FRAME_BYTES_MIN { FRAME_BYTES_MIN } else { needed }
    }

    /// Bytes of probe and filler in a frame of `size`; an error that names the smallest size when
    /// the probe does not fit.
    pub fn payload_bytes(self, size: FrameSize) -> Result<usize, String> {
        if size.bytes() < self.smallest_frame_bytes() {
            return Err(format!(
                "{size}-byte frames are too small for {self}: {} bytes of headers, {PAYLOAD_BYTES_MIN} of probe \
                 and {FCS_BYTES} of FCS need at least {}",
                self.overhead_bytes(),
                self.smallest_frame_bytes()
            ));
        }
        Ok(size.socket_bytes() - self.overhead_bytes())
    }
}

/// As in `a probe over IPv6 with 1 VLAN tag`.
impl fmt::Display for Encapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.ip {
            None if self.ptp => "a probe behind a PTP message",
            None => "a probe",
            Some(IpVersion::V4) => "a probe over IPv4",
            Some(IpVersion::V6) => "a probe over IPv6",
        })?;
        match self.tags {
            0 => Ok(()),
            1 => f.write_str(" with 1 VLAN tag"),
            tags => write!(f, " with {tags} VLAN tags"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_true() {
        let rows = [
            (None, 0, 14, 64, Some(46)),
            (None, 1, 18, 64, Some(42)),
            (None, 2, 22, 64, Some(38)),
            (Some(IpVersion::V4), 0, 42, 64, Some(18)),
            (Some(IpVersion::V4), 1, 46, 64, Some(14)),
            (Some(IpVersion::V4), 2, 50, 68, None),
            (Some(IpVersion::V6), 0, 62, 80, None),
            (Some(IpVersion::V6), 1, 66, 84, None),
            (Some(IpVersion::V6), 2, 70, 88, None),
        ];
        let shortest = FrameSize::with_fcs(64).unwrap();
        for (ip, tags, overhead, smallest, payload) in rows {
            let one = Encapsulation { tags, ip, ptp: false };
            assert_eq!((one.overhead_bytes(), one.smallest_frame_bytes()), (overhead, smallest));
            assert_eq!(one.payload_bytes(shortest).ok(), payload, "{one}");
            let smallest = FrameSize::with_fcs(smallest).unwrap();
            assert!(one.payload_bytes(smallest).unwrap() >= PAYLOAD_BYTES_MIN);
        }
        let ptp = Encapsulation { ptp: true, ..Encapsulation::default() };
        assert_eq!((ptp.overhead_bytes(), ptp.smallest_frame_bytes()), (58, 76));
        let over_ipv6 = Encapsulation { tags: 1, ip: Some(IpVersion::V6), ptp: false };
        let message = over_ipv6.payload_bytes(shortest).unwrap_err();
        assert!(message.contains("IPv6") && message.contains("84"), "{message}");
    }
}
