//! Flows: frames that differ in what receivers spread them by.

use super::carriage::{Carriage, Content};
use super::rate::greatest_common_divisor;
use crate::error::{Error, Result};
use crate::units::ETHERNET_HEADER_BYTES;
use crate::wire::ethernet::{MacAddress, VLAN_TAG_BYTES};
use crate::wire::headers::UdpHeaders;
use crate::wire::udp::UDP_HEADER_BYTES;

/// The most flows that UDP ports and the source addresses made here can tell apart.
pub const FLOWS_MAX: u32 = 1 << 16;

/// Where a flow's number stands in a source address: bytes 1 to 3, behind the one that says
/// "locally administered" and that no two of the testbed's addresses differ in.
const MAC_MARK: u8 = 0xf1;

/// What tells the frames of a flow from those of others, and how many flows there are.
///
/// UDP datagrams of flow n have source port p + n, where p is the configured one: receive queues
/// (RSS) and hash fanout spread them. Frames of another EtherType have a source MAC address each,
/// locally administered from flow 1 on, which switches and aggregated links tell apart and which
/// neither RSS nor hash fanout does.
///
/// Frames belong to the flows in turn, so that every flow has as many; where sizes go round as well,
/// the turn shifts by one each time both rounds end together, so that each flow has every size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows {
    count: u64,
    /// Frames after which sizes and flows would both begin again; 1 where sizes do not go round.
    round: u64,
    mark: Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// First source port, and where the port stands in a frame with all its tags, source first.
    Port { first: u16, offset: usize },
    /// Source address of flow 0.
    Mac([u8; 6]),
}

impl Flows {
    /// `count` flows of frames with this carriage between these addresses, whose sizes repeat after
    /// `period` frames. A usage error where there are too many, or where a flow's source would be its
    /// destination, which engines do not answer.
    pub fn new(
        count: u32,
        carriage: &Carriage,
        period: u64,
        (source, destination): (MacAddress, MacAddress),
    ) -> Result<Flows> {
        if !(1..=FLOWS_MAX).contains(&count) {
            return Err(Error::Usage(format!("{count} flows: 1 to {FLOWS_MAX} can be sent")));
        }
        let mark = match &carriage.content {
            Content::Udp(headers) => udp_mark(headers, carriage.tags.len(), count)?,
            Content::Raw(_) => Mark::Mac(source.0),
        };
        let common = greatest_common_divisor(period.into(), count.into()) as u64;
        let round = period / common * u64::from(count);
        let flows = Flows { count: count.into(), round, mark };
        if let Mark::Mac(_) = mark {
            let clash = (1..u64::from(count)).find(|&flow| flows.mac(flow) == destination.0);
            if clash.is_some() {
                return Err(Error::Usage(format!(
                    "{count} flows: the source address of one is the destination {}",
                    destination
                )));
            }
        }
        Ok(flows)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether echoes come back to other MAC addresses than the interface's own, so that a network
    /// card passes them on only in promiscuous mode.
    pub fn need_promiscuous(&self) -> bool {
        self.count > 1 && matches!(self.mark, Mark::Mac(_))
    }

    /// The flow of frame `number`.
    #[inline]
    pub fn of(&self, number: u64) -> u64 {
        if self.count == 1 { 0 } else { (number + number / self.round) % self.count }
    }

    /// Marks a frame, tags included, as one of `flow`.
    #[inline]
    pub fn mark_sent(&self, header: &mut [u8], flow: u64) {
        match self.mark {
            Mark::Port { first, offset } => {
                header[offset..offset + 2].copy_from_slice(&port(first, flow));
            }
            Mark::Mac(_) => header[6..12].copy_from_slice(&self.mac(flow)),
        }
    }

    /// Where the marks of two flows differ in a frame with all its tags: the first byte, and how many.
    pub fn mark_place(&self) -> (usize, usize) {
        match self.mark {
            Mark::Port { offset, .. } => (offset, 2),
            Mark::Mac(_) => (6, 4),
        }
    }

    /// Marks the expected echo of a frame of `flow`; `taken_off` is the length of the removed tag.
    #[inline]
    pub fn mark_echo(&self, header: &mut [u8], flow: u64, taken_off: usize) {
        match self.mark {
            Mark::Port { first, offset } => {
                let at = offset - taken_off + 2;
                header[at..at + 2].copy_from_slice(&port(first, flow));
            }
            Mark::Mac(_) => header[..6].copy_from_slice(&self.mac(flow)),
        }
    }

    fn mac(&self, flow: u64) -> [u8; 6] {
        let Mark::Mac(own) = self.mark else { return [0; 6] };
        if flow == 0 {
            return own;
        }
        let [high, low] = (flow as u16).to_be_bytes();
        [0x02, MAC_MARK, high, low, own[4], own[5]]
    }
}

fn port(first: u16, flow: u64) -> [u8; 2] {
    first.wrapping_add(flow as u16).to_be_bytes()
}

fn udp_mark(headers: &UdpHeaders, tags: usize, count: u32) -> Result<Mark> {
    let first = headers.source_port;
    let last = u32::from(first) + count - 1;
    let served = u32::from(headers.destination_port);
    if last > u16::MAX.into() || (count > 1 && (u32::from(first)..=last).contains(&served)) {
        return Err(Error::Usage(format!(
            "{count} flows from UDP port {first}: ports {first} to {last} must end at 65535 and \
             leave out the destination port, {served}"
        )));
    }
    let ip = ETHERNET_HEADER_BYTES + tags * VLAN_TAG_BYTES;
    Ok(Mark::Port { first, offset: ip + headers.header_bytes() - UDP_HEADER_BYTES })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::load::plan::LoadSpec;
    use crate::load::sizes::Sizes;
    use crate::wire::headers::IpAddresses;

    const HERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const THERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

    fn config(flows: u32) -> LoadSpec {
        LoadSpec { flows, ..LoadSpec::new(1, 1500, HERE, THERE) }
    }

    #[test]
    fn every_flow_has_as_many_frames_and_every_size() {
        for (flows, sizes) in [(4, "imix"), (3, "imix"), (7, "64-70"), (5, "64"), (4, "64,128")] {
            let config = LoadSpec { sizes: sizes.parse().unwrap(), ..config(flows) };
            let spread = config.spread().unwrap();
            let order = config.sizes.order(0);
            let count = spread.round * u64::from(flows);
            let mut pairs = BTreeSet::new();
            let mut frames = vec![0u64; flows as usize];
            for number in 0..count {
                pairs.insert((spread.of(number), order.index(number)));
                frames[spread.of(number) as usize] += 1;
            }
            assert_eq!(pairs.len(), flows as usize * config.sizes.all().count(), "{flows} {sizes}");
            assert!(frames.iter().all(|each| *each == frames[0]), "{frames:?}");
        }
        assert_eq!(config(1).spread().unwrap().of(12_345), 0);
    }

    #[test]
    fn marks_differ_and_impossible_numbers_are_usage_errors() {
        let flows = config(FLOWS_MAX).spread().unwrap();
        let marks: BTreeSet<_> = (0..flows.count()).map(|flow| flows.mac(flow)).collect();
        assert_eq!(marks.len() as u32, FLOWS_MAX);
        assert!(flows.need_promiscuous());
        assert_eq!(config(0).spread().unwrap_err().exit_code(), 2);
        assert_eq!(config(FLOWS_MAX + 1).spread().unwrap_err().exit_code(), 2);
        let udp = |source_port, flows| {
            let addresses = IpAddresses::pair([192, 0, 2, 1], [192, 0, 2, 2]).unwrap();
            let headers =
                UdpHeaders { addresses, source_port, destination_port: 7000, hop_limit: 64 };
            let carriage = Carriage::udp(headers);
            let sizes = Sizes::Fixed(crate::units::FrameSize::smallest());
            LoadSpec { carriage, sizes, ..config(flows) }.spread()
        };
        assert!(udp(4000, 3000).is_ok());
        for (port, flows) in [(4000, 3001), (65_000, 537)] {
            assert_eq!(udp(port, flows).unwrap_err().exit_code(), 2, "{port} {flows}");
        }
    }
}
