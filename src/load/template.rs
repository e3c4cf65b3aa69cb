//! Frames as they are sent, and as their echoes have to look.

use crate::error::{Error, Result};
use crate::ring::frame::{ChecksumState, FrameMeta};
use crate::units::{ETHERNET_HEADER_BYTES, PADDED_BYTES};
use crate::wire::ethernet::{EtherType, VLAN_TAG_BYTES, VlanTag, write_header};

use crate::wire::checksum::Sum;
use crate::wire::headers::UdpHeaders;
use crate::wire::ip::{IPV4_HEADER_BYTES, IpVersion};
use crate::wire::probe::{Cycle, Expectation, PatternText, Probe, Verdict, filler};
use crate::wire::ptp::{PTP_SYNC, PTP_SYNC_BYTES};
use crate::wire::udp::{UdpView, udp_checksum_ok, udp_sum, write_udp_checksum};

use super::flows::Flows;
use super::plan::{Content, LoadSpec};
use super::run_id::RunId;
use super::sizes::SizeOrder;

/// The longest header in front of a probe: Ethernet, two tags, IPv6, UDP.
pub(super) const HEADER_BYTES_MAX: usize = ETHERNET_HEADER_BYTES + 2 * VLAN_TAG_BYTES + 48;
/// Bytes of the two MAC addresses, after which the tags and the EtherType stand.
const ADDRESSES_BYTES: usize = 12;

/// What a frame turned out to be that came back under its own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Every byte, the tag and the length are as expected.
    Intact,
    /// Right in all but that the payload is as it was sent.
    NotTransformed,
    /// Bytes are missing at its end.
    Truncated,
    /// Something else.
    Corrupted {
        /// The first byte that is not as expected, counted from the destination address on, the
        /// outer VLAN tag left out; 12 for a wrong outer tag, the UDP checksum field's place for a
        /// wrong checksum, the expected length for a frame that is too long.
        first_offset: usize,
    },
}

/// A frame that is to leave.
#[derive(Clone, Copy, Debug)]
pub struct NextFrame<'a> {
    /// What frames look like.
    pub template: &'a Template,
    /// The load that it belongs to.
    pub id: RunId,
    /// Its number there.
    pub number: u64,
}

impl NextFrame<'_> {
    /// Writes it to the front of `room`, which must hold the longest, and returns its length.
    #[inline]
    pub fn write(self, room: &mut [u8]) -> usize {
        self.template.write(room, self.id, self.number)
    }
}

/// The headers of the frames of one size.
#[derive(Clone, Debug)]
struct Shape {
    /// Bytes sent, without FCS.
    sent_bytes: usize,
    /// Headers as they are sent, tags included.
    sent: [u8; HEADER_BYTES_MAX],
    /// Headers of the echo as a ring shows it, the outer tag taken off.
    echo: [u8; HEADER_BYTES_MAX],
    /// The datagram in the packet behind the EtherType, where it is UDP.
    udp: Option<UdpView>,
}

/// All that does not change from frame to frame, written once.
#[derive(Clone, Debug)]
pub struct Template {
    /// One for each size, in rising order.
    shapes: Box<[Shape]>,
    order: SizeOrder,
    flows: Flows,
    /// What follows the number, where it is not the filler text.
    text: Option<PatternText>,
    /// Bytes in front of the probe, as sent.
    sent_header_bytes: usize,
    /// Bytes in front of the probe as a ring shows the echo.
    echo_header_bytes: usize,
    /// Bytes in front of the IP header, as sent.
    link_bytes: usize,
    /// The tag that the kernel takes off the echo.
    outer_tag: Option<VlanTag>,
    /// Routers are on the way of datagrams.
    is_routed: bool,
    expectation: Expectation,
}

impl Template {
    /// The frames of `config`, which is [checked](LoadSpec::check) on the way.
    pub fn new(config: &LoadSpec) -> Result<Template> {
        config.check_frames()?;
        let sent_header_bytes = config.carriage.encapsulation()?.overhead_bytes();
        let outer_tag = config.carriage.tags.first().copied();
        let taken_off = if outer_tag.is_some() { VLAN_TAG_BYTES } else { 0 };
        let link_bytes = ETHERNET_HEADER_BYTES + config.carriage.tags.len() * VLAN_TAG_BYTES;
        let shapes = config.sizes.all().map(|size| shape(config, size.socket_bytes()));
        let shapes = shapes.collect::<Result<Box<[Shape]>>>()?;
        let longest = shapes.last().map_or(0, |shape| shape.sent_bytes);
        Ok(Template {
            shapes,
            order: config.sizes.order(config.seed),
            flows: config.spread()?,
            text: PatternText::new(config.payload, longest, config.seed),
            sent_header_bytes,
            echo_header_bytes: sent_header_bytes - taken_off,
            link_bytes,
            outer_tag,
            is_routed: config.is_routed,
            expectation: config.expectation,
        })
    }

    /// The flows that the frames belong to.
    pub fn flows(&self) -> &Flows {
        &self.flows
    }

    /// Writes frame `number` of the load `id` to the front of `room`, which must hold the
    /// longest, and returns its length.
    #[inline]
    pub fn write(&self, room: &mut [u8], id: RunId, number: u64) -> usize {
        let shape = self.shape(number);
        let frame = &mut room[..shape.sent_bytes];
        let (header, payload) = frame.split_at_mut(self.sent_header_bytes);
        header.copy_from_slice(&shape.sent[..self.sent_header_bytes]);
        if self.flows.count() > 1 {
            self.flows.mark_sent(header, self.flows.of(number));
        }
        let probe = id.probe(number);
        match &self.text {
            Some(text) => probe.write_with(payload, text, number),
            None => {
                let written = probe.write(payload);
                debug_assert!(written.is_ok(), "LoadSpec::check saw to room for the probe");
            }
        }
        if let Some(view) = &shape.udp {
            write_udp_checksum(&mut frame[self.link_bytes..], view);
        }
        shape.sent_bytes
    }

    /// The bytes behind the numbers go round.
    pub(super) fn cycle(&self) -> Cycle<'_> {
        match &self.text {
            Some(text) => text.cycle(),
            None => filler(),
        }
    }

    /// Where the stretch behind the number of a frame begins.
    #[inline]
    pub(super) fn cycle_begins(&self, id: RunId, number: u64) -> usize {
        match &self.text {
            Some(text) => text.cycle().beginning(number),
            None => filler().beginning(id.probe(number).sequence()),
        }
    }

    /// Bytes in front of the probe.
    pub(super) fn header_bytes(&self) -> usize {
        self.sent_header_bytes
    }

    /// What is sent of each size, in rising order: all its bytes without FCS, the header, and of datagrams the
    /// sum of everything that the checksum covers in front of the probe, without the port that marks a flow.
    pub(super) fn forms(&self) -> impl ExactSizeIterator<Item = (usize, &[u8], Option<Sum>)> {
        self.shapes.iter().map(|shape| {
            let header = &shape.sent[..self.sent_header_bytes];
            let sum = |view: &UdpView| {
                // A word and its complement sum to nothing (RFC 1071).
                let marked = if self.flows.count() > 1 { !view.source_port } else { 0 };
                Some(udp_sum(&header[self.link_bytes..], view)? + Sum::word(marked))
            };
            (shape.sent_bytes, header, shape.udp.as_ref().and_then(sum))
        })
    }

    /// The place of frame `number`'s size among [`Template::forms`].
    #[inline]
    pub(super) fn form_of(&self, number: u64) -> usize {
        self.order.index(number)
    }

    /// The probe of a received frame, if it carries one where an echo has it.
    #[inline]
    pub fn probe_of(&self, frame: &[u8]) -> Option<Probe> {
        Probe::read(frame.get(self.echo_header_bytes..)?)
    }

    /// Compares a received frame with the expected echo of frame `number`, which carries `probe`.
    #[inline]
    pub fn judge(&self, meta: &FrameMeta, frame: &[u8], probe: Probe, number: u64) -> Judgement {
        let shape = self.shape(number);
        let taken_off = self.sent_header_bytes - self.echo_header_bytes;
        let expected_bytes = shape.sent_bytes - taken_off;
        if frame.len() < expected_bytes || frame.len() < meta.wire_bytes as usize {
            return Judgement::Truncated;
        }
        let corrupted = |first_offset| Judgement::Corrupted { first_offset };
        let (header, payload) = frame.split_at(self.echo_header_bytes);
        let checksum_bytes = if shape.udp.is_some() { 2 } else { 0 };
        let compared = self.echo_header_bytes - checksum_bytes;
        // Foreign reflectors may do as they like with everything but the payload.
        let is_ours = self.expectation != Expectation::Any;
        if is_ours {
            if meta.tag != self.outer_tag {
                return corrupted(ADDRESSES_BYTES);
            }
            let mut marked;
            let mut echo = &shape.echo;
            if self.flows.count() > 1 {
                marked = shape.echo;
                self.flows.mark_echo(&mut marked, self.flows.of(number), taken_off);
                echo = &marked;
            }
            if header[..compared] != echo[..compared] {
                let mut wanted = *echo;
                self.forgive_routers(header, &mut wanted, shape);
                let mut bytes = header[..compared].iter().zip(&wanted);
                if let Some(first) = bytes.position(|(found, wanted)| found != wanted) {
                    return corrupted(first);
                }
            }
        }
        let verdict = self.verdict(&payload[..expected_bytes - header.len()], probe, number);
        match (verdict, &shape.udp) {
            (Verdict::Corrupted { first_offset }, _) => corrupted(header.len() + first_offset),
            (_, Some(view)) if is_ours && !self.has_right_checksum(meta, frame, view) => {
                corrupted(compared)
            }
            _ if !is_padding(meta, frame, expected_bytes) => corrupted(expected_bytes),
            (Verdict::NotTransformed, _) => Judgement::NotTransformed,
            _ => Judgement::Intact,
        }
    }

    /// Where the IP header begins as a ring shows the echo.
    fn echo_link_bytes(&self) -> usize {
        self.link_bytes - (self.sent_header_bytes - self.echo_header_bytes)
    }

    /// How many hops a router counted off a right echo, there and back; `None` where no router is known of.
    #[inline]
    pub fn hops(&self, frame: &[u8], number: u64) -> Option<u8> {
        if !self.is_routed || self.expectation == Expectation::Any {
            return None;
        }
        let shape = self.shape(number);
        let at = self.echo_link_bytes() + shape.udp?.version.hop_limit();
        Some(shape.echo[at] - frame[at])
    }

    /// Takes over what a router may change in a header, and nothing else: it lowers the hop limit, and makes
    /// IPv4's header checksum anew (RFC 1812 section 5.3.1, RFC 8200 section 3).
    #[cold]
    fn forgive_routers(&self, header: &[u8], wanted: &mut [u8; HEADER_BYTES_MAX], shape: &Shape) {
        let Some(version) = shape.udp.map(|view| view.version).filter(|_| self.is_routed) else {
            return;
        };
        let ip = self.echo_link_bytes();
        let (hop_limit, checksum) = (ip + version.hop_limit(), ip + 10..ip + 12);
        if !(1..=wanted[hop_limit]).contains(&header[hop_limit]) {
            return;
        }
        wanted[hop_limit] = header[hop_limit];
        if version == IpVersion::V4
            && Sum::of(&header[ip..ip + IPV4_HEADER_BYTES]).folded() == 0xffff
        {
            wanted[checksum.clone()].copy_from_slice(&header[checksum]);
        }
    }

    /// Whether the UDP checksum is right, or left to hardware by a stack on this machine.
    fn has_right_checksum(&self, meta: &FrameMeta, frame: &[u8], view: &UdpView) -> bool {
        if meta.checksum == ChecksumState::Partial {
            return true;
        }
        let packet = &frame[self.echo_link_bytes()..];
        let field = &packet[view.checksum_field()];
        let checksum = u16::from_be_bytes([field[0], field[1]]);
        udp_checksum_ok(packet, &UdpView { checksum, ..*view })
    }

    #[inline]
    fn verdict(&self, payload: &[u8], probe: Probe, number: u64) -> Verdict {
        match &self.text {
            Some(text) => probe.verify_with(payload, text, number, self.expectation),
            None => probe.verify(payload, self.expectation),
        }
    }

    #[inline]
    fn shape(&self, number: u64) -> &Shape {
        &self.shapes[self.order.index(number)]
    }
}

/// Whether nothing follows the first `bytes` bytes but the zeros that a driver pads a short frame with whose tag
/// was taken off (RX-18).
#[inline]
fn is_padding(meta: &FrameMeta, frame: &[u8], bytes: usize) -> bool {
    let behind = &frame[bytes..];
    let is_padded = meta.tag.is_some() && frame.len() == PADDED_BYTES;
    behind.is_empty() || is_padded && behind.iter().all(|&byte| byte == 0)
}

fn shape(config: &LoadSpec, sent_bytes: usize) -> Result<Shape> {
    let (tags, ether_type) = (&config.carriage.tags[..], config.carriage.ether_type());
    let impossible = || Error::Usage("the headers do not fit the frame".into());
    let mut frame = vec![0; sent_bytes];
    let (destination, source) = (config.destination, config.source);
    let link =
        write_header(&mut frame, destination, source, tags, ether_type).ok_or_else(impossible)?;
    let mut echo = vec![0; sent_bytes];
    let inner = tags.get(1..).unwrap_or_default();
    let echo_link =
        write_header(&mut echo, source, destination, inner, ether_type).ok_or_else(impossible)?;
    if config.carriage.content == Content::Raw(EtherType::PTP) {
        for (frame, link) in [(&mut frame, link), (&mut echo, echo_link)] {
            frame[link..link + PTP_SYNC_BYTES].copy_from_slice(&PTP_SYNC);
        }
    }
    let mut view = None;
    if let Content::Udp(headers) = config.carriage.content {
        let payload_bytes = (sent_bytes - link).saturating_sub(headers.header_bytes());
        let written = headers.write(&mut frame[link..], payload_bytes).map_err(Error::Usage)?;
        reversed(headers).write(&mut echo[echo_link..], payload_bytes).map_err(Error::Usage)?;
        view = Some(written);
    }
    Ok(Shape { sent_bytes, sent: front(&frame), echo: front(&echo), udp: view })
}

/// The headers of the answer.
fn reversed(headers: UdpHeaders) -> UdpHeaders {
    UdpHeaders {
        addresses: headers.addresses.reversed(),
        source_port: headers.destination_port,
        destination_port: headers.source_port,
        hop_limit: headers.hop_limit,
    }
}

fn front(frame: &[u8]) -> [u8; HEADER_BYTES_MAX] {
    let mut front = [0; HEADER_BYTES_MAX];
    let bytes = frame.len().min(HEADER_BYTES_MAX);
    front[..bytes].copy_from_slice(&frame[..bytes]);
    front
}
