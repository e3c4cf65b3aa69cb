//! Receiving frames with what the kernel knows of them beside the bytes: `recvmsg(2)` for one,
//! `recvmmsg(2)` for many, with control messages.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::slice;

use libc::c_int;

use super::batch::{EMPTY_HEADER, EMPTY_VECTOR, MESSAGES_MAX};
use super::{ADDRESS_BYTES, EMPTY_ADDRESS, PacketSocket, check};
use crate::error::Result;
use crate::sys::failure::failed;

/// Buffers, headers and control messages for the frames of one call, made once.
pub struct ReceiveBatch {
    room: Box<[u8]>,
    /// Bytes of one frame's room, the headroom included.
    stride: usize,
    vectors: Box<[libc::iovec]>,
    addresses: Box<[libc::sockaddr_ll]>,
    controls: Box<[Control]>,
    headers: Box<[libc::mmsghdr]>,
    /// Headers that the last call wrote, and the next one must find as they were.
    used: usize,
}

// SAFETY: the pointers inside the headers and vectors lead to the boxes beside them, which move with
// them, and only recvmsg(2) and recvmmsg(2) follow them, under the exclusive borrow of `receive_*`.
unsafe impl Send for ReceiveBatch {}

impl std::fmt::Debug for ReceiveBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (frames, frame_bytes) = (self.headers.len(), self.stride - HEADROOM_BYTES);
        f.debug_struct("ReceiveBatch")
            .field("frames", &frames)
            .field("frame_bytes", &frame_bytes)
            .finish()
    }
}

/// Free bytes in front of each frame, where the tag that the kernel took off can be put back.
const HEADROOM_BYTES: usize = 4;
const CACHE_LINE_BYTES: usize = 64;

/// Room for the control messages of one frame, aligned as their headers are.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Auxiliary data (36 bytes), the kernel's stamp (32) and the device's (64), each padded to the alignment.
const CONTROL_BYTES: usize = 136;

/// `struct tpacket_auxdata`: what the header of a ring would have said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Auxiliary {
    /// `tp_status`: whether there was a tag, and the state of the checksum.
    pub status: u32,
    /// `tp_vlan_tci`.
    pub tag_control: u16,
    /// `tp_vlan_tpid`.
    pub tag_protocol: u16,
}

/// A frame as the kernel handed it over.
#[derive(Debug)]
pub struct Message<'a> {
    /// Bytes on the wire, without FCS and the tag that was taken off, also if the buffer was shorter.
    pub wire_bytes: usize,
    /// `sll_pkttype`.
    pub packet_type: u8,
    /// What `PACKET_AUXDATA` said; all zero if the socket does not ask for it.
    pub auxiliary: Auxiliary,
    /// The kernel's stamp, in nanoseconds on `CLOCK_REALTIME`; 0 if the socket does not ask for it.
    pub stamp_ns: u64,
    /// The device's own stamp, in nanoseconds on its clock; 0 without one.
    pub nic_ns: u64,
    /// Free bytes, and then the frame to the end.
    pub room: &'a mut [u8],
    /// Where the frame begins.
    pub start: usize,
}

impl ReceiveBatch {
    /// Buffers for `frames` frames a call, from 1 to [`MESSAGES_MAX`], of at most `frame_bytes`
    /// bytes each; longer ones are cut off.
    pub fn new(frames: usize, frame_bytes: usize) -> ReceiveBatch {
        let frames = frames.clamp(1, MESSAGES_MAX);
        let stride = (HEADROOM_BYTES + frame_bytes).next_multiple_of(CACHE_LINE_BYTES);
        ReceiveBatch {
            room: vec![0; stride * frames].into(),
            stride,
            vectors: vec![EMPTY_VECTOR; frames].into(),
            addresses: vec![EMPTY_ADDRESS; frames].into(),
            controls: vec![Control([0; CONTROL_BYTES]); frames].into(),
            headers: vec![EMPTY_HEADER; frames].into(),
            used: frames,
        }
    }

    /// Most frames of one call.
    pub fn frames_max(&self) -> usize {
        self.headers.len()
    }

    /// Points the headers that were used to their places again, whose lengths the kernel overwrote.
    #[inline]
    fn renew(&mut self) {
        let ReceiveBatch { room, stride, vectors, addresses, controls, headers, used } = self;
        let rooms = room.chunks_exact_mut(*stride);
        let places = rooms.zip(&mut **vectors).zip(&mut **addresses).zip(&mut **controls);
        for ((((room, vector), address), control), header) in places.zip(&mut headers[..*used]) {
            let frame = &mut room[HEADROOM_BYTES..];
            *vector = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
            let header = &mut header.msg_hdr;
            header.msg_iov = vector;
            header.msg_name = (&raw mut *address).cast();
            header.msg_namelen = ADDRESS_BYTES;
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES;
        }
        *used = 0;
    }

    /// Lends the first `count` messages, which the last call wrote.
    #[inline]
    fn lend(&mut self, count: usize) -> Messages<'_> {
        self.used = count;
        Messages { batch: self, count }
    }
}

/// The frames of one call, on loan until the next.
#[derive(Debug)]
pub struct Messages<'a> {
    batch: &'a mut ReceiveBatch,
    count: usize,
}

impl Messages<'_> {
    /// The frames, in the order of their arrival.
    #[inline]
    pub fn walk(&mut self) -> MessageWalk<'_> {
        let ReceiveBatch { room, stride, addresses, controls, headers, .. } = &mut *self.batch;
        MessageWalk {
            rooms: room.chunks_exact_mut(*stride),
            addresses: addresses.iter(),
            controls: controls.iter(),
            headers: headers[..self.count].iter(),
        }
    }
}

/// See [`Messages::walk`].
pub struct MessageWalk<'a> {
    rooms: slice::ChunksExactMut<'a, u8>,
    addresses: slice::Iter<'a, libc::sockaddr_ll>,
    controls: slice::Iter<'a, Control>,
    headers: slice::Iter<'a, libc::mmsghdr>,
}

impl std::fmt::Debug for MessageWalk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageWalk").field("left", &self.headers.len()).finish()
    }
}

impl<'a> Iterator for MessageWalk<'a> {
    type Item = Message<'a>;

    #[inline]
    fn next(&mut self) -> Option<Message<'a>> {
        let header = self.headers.next()?;
        let (room, address) = (self.rooms.next()?, self.addresses.next()?);
        let mut message = Message {
            wire_bytes: header.msg_len as usize,
            packet_type: address.sll_pkttype,
            auxiliary: Auxiliary::default(),
            stamp_ns: 0,
            nic_ns: 0,
            start: HEADROOM_BYTES,
            room: &mut [],
        };
        let control = &self.controls.next()?.0;
        let written = header.msg_hdr.msg_controllen.min(control.len());
        message.read_controls(&control[..written]);
        let end = HEADROOM_BYTES.saturating_add(message.wire_bytes).min(room.len());
        message.room = &mut room[..end];
        Some(message)
    }
}

/// `struct cmsghdr`: its own length with the data, level and type.
const CONTROL_HEADER_BYTES: usize = size_of::<libc::cmsghdr>();

impl Message<'_> {
    /// Reads what stands in the control messages `controls`; what is unknown or cut off is skipped.
    #[inline]
    fn read_controls(&mut self, mut controls: &[u8]) {
        const WORD: usize = size_of::<usize>();
        let number = |bytes: &[u8], at: usize| -> Option<c_int> {
            Some(c_int::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
        };
        while let Some(length) = controls.first_chunk().map(|word| usize::from_ne_bytes(*word)) {
            let Some(data) = controls.get(CONTROL_HEADER_BYTES..length) else { return };
            let kind = (number(controls, WORD), number(controls, WORD + size_of::<c_int>()));
            match kind {
                (Some(libc::SOL_PACKET), Some(libc::PACKET_AUXDATA)) => {
                    self.auxiliary = Auxiliary::read(data).unwrap_or_default();
                }
                (Some(libc::SOL_SOCKET), Some(libc::SCM_TIMESTAMPNS)) => {
                    self.stamp_ns = read_stamp(data).unwrap_or_default();
                }
                // `struct scm_timestamping`: two that are no more used, and the device's.
                (Some(libc::SOL_SOCKET), Some(libc::SCM_TIMESTAMPING)) => {
                    let device = data.get(2 * size_of::<libc::timespec>()..);
                    self.nic_ns = device.and_then(read_stamp).unwrap_or_default();
                }
                _ => {}
            }
            controls = controls.get(length.next_multiple_of(WORD)..).unwrap_or_default();
        }
    }
}

impl Auxiliary {
    #[inline]
    fn read(data: &[u8]) -> Option<Auxiliary> {
        let data: &[u8; size_of::<libc::tpacket_auxdata>()] = data.first_chunk()?;
        let half = |at: usize| Some(u16::from_ne_bytes(*data.get(at..)?.first_chunk()?));
        Some(Auxiliary {
            status: u32::from_ne_bytes(*data.first_chunk()?),
            tag_control: half(offset_of!(libc::tpacket_auxdata, tp_vlan_tci))?,
            tag_protocol: half(offset_of!(libc::tpacket_auxdata, tp_vlan_tpid))?,
        })
    }
}

/// A `struct timespec` as nanoseconds.
#[inline]
fn read_stamp(data: &[u8]) -> Option<u64> {
    const HALF: usize = size_of::<libc::c_long>();
    let part = |at: usize| -> Option<u64> {
        u64::try_from(libc::c_long::from_ne_bytes(*data.get(at..)?.first_chunk()?)).ok()
    };
    part(0)?.checked_mul(1_000_000_000)?.checked_add(part(HALF)?)
}

impl PacketSocket {
    /// Has tag and checksum state told with each frame that is received as a message.
    pub fn tell_auxiliary(&self) -> Result<()> {
        self.set_packet_option(libc::PACKET_AUXDATA, &1, "ask for auxiliary data (PACKET_AUXDATA)")
    }

    /// Has the kernel's stamp told with each frame that is received as a message. As long as any
    /// socket on the host asks for it, the kernel stamps every frame of every interface
    /// (kernel-contract RX-17).
    pub fn tell_stamps(&self) -> Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1)
            .map_err(|error| failed("ask for stamps (SO_TIMESTAMPNS)", &error, ""))
    }

    /// Has the device's own stamp told too, where it makes one (RX-19).
    pub fn tell_nic_stamps(&self) -> Result<()> {
        let kinds = libc::SOF_TIMESTAMPING_RAW_HARDWARE;
        self.set_option(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &kinds)
            .map_err(|error| failed("ask for hardware stamps (SO_TIMESTAMPING)", &error, ""))
    }

    /// Has the frames of the socket's ring carry the device's own stamp where it makes one, in place of the
    /// kernel's; the status word of each says which it is (RX-19).
    pub fn prefer_nic_stamps(&self) -> Result<()> {
        self.set_packet_option(
            libc::PACKET_TIMESTAMP,
            &libc::SOF_TIMESTAMPING_RAW_HARDWARE,
            "ask for hardware stamps (PACKET_TIMESTAMP)",
        )
    }

    /// Takes one frame without waiting (`recvmsg`); EAGAIN if there is none.
    #[inline]
    pub fn receive_message<'a>(&self, batch: &'a mut ReceiveBatch) -> io::Result<Messages<'a>> {
        batch.renew();
        let header = &mut batch.headers[0];
        // SAFETY: renew() points the header to a vector, an address and control room of the lengths
        // given, all of them in boxes of the batch, which is borrowed exclusively; the vector leads to
        // its frame's room alone. recvmsg(2) writes there and into the header, and keeps no pointer.
        let bytes = unsafe { libc::recvmsg(self.as_fd().as_raw_fd(), &mut header.msg_hdr, FLAGS) };
        header.msg_len = check(bytes)? as u32;
        Ok(batch.lend(1))
    }

    /// Takes what has arrived, as many frames as the batch has room for, without waiting
    /// (`recvmmsg`); EAGAIN if there is none.
    #[inline]
    pub fn receive_messages<'a>(&self, batch: &'a mut ReceiveBatch) -> io::Result<Messages<'a>> {
        batch.renew();
        // SAFETY: as in receive_message, for each of the headers; each has places of its own.
        let count = unsafe {
            libc::recvmmsg(
                self.as_fd().as_raw_fd(),
                batch.headers.as_mut_ptr(),
                batch.headers.len() as _,
                FLAGS as _,
                ptr::null_mut(),
            )
        };
        let count = check(count as isize)? as usize;
        Ok(batch.lend(count))
    }
}

/// Never waits, and tells the length on the wire also of a frame that was cut off.
const FLAGS: c_int = libc::MSG_DONTWAIT | libc::MSG_TRUNC;

#[cfg(test)]
mod tests {
    use super::*;

    fn control(level: c_int, kind: c_int, data: &[u8]) -> Vec<u8> {
        let mut bytes = (CONTROL_HEADER_BYTES + data.len()).to_ne_bytes().to_vec();
        bytes.extend([level, kind].into_iter().flat_map(c_int::to_ne_bytes));
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(size_of::<usize>()), 0);
        bytes
    }

    fn message(controls: &[u8]) -> Message<'_> {
        let mut message = Message {
            wire_bytes: 0,
            packet_type: 0,
            auxiliary: Auxiliary::default(),
            stamp_ns: 0,
            nic_ns: 0,
            room: &mut [],
            start: 0,
        };
        message.read_controls(controls);
        message
    }

    fn read(controls: &[u8]) -> (Auxiliary, u64) {
        let Message { auxiliary, stamp_ns, .. } = message(controls);
        (auxiliary, stamp_ns)
    }

    #[test]
    fn the_stamps_of_kernel_and_device_are_told_apart() {
        let times = |parts: &[libc::c_long]| -> Vec<u8> {
            parts.iter().flat_map(|part| part.to_ne_bytes()).collect()
        };
        let kernel = control(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &times(&[3, 7]));
        let device = |parts| control(libc::SOL_SOCKET, libc::SCM_TIMESTAMPING, &times(parts));
        let both = |controls: &[u8]| {
            let Message { stamp_ns, nic_ns, .. } = message(controls);
            (stamp_ns, nic_ns)
        };
        let each = [kernel.clone(), device(&[9, 9, 9, 9, 2, 5])].concat();
        assert_eq!(both(&each), (3_000_000_007, 2_000_000_005));
        assert_eq!(both(&kernel), (3_000_000_007, 0));
        assert_eq!(both(&device(&[9, 9, 9, 9, 2])), (0, 0), "cut off");
        let auxiliary = control(libc::SOL_PACKET, libc::PACKET_AUXDATA, &[0; 20]);
        assert!(each.len() + auxiliary.len() <= CONTROL_BYTES);
    }

    #[test]
    fn control_messages_are_read_in_any_order_and_the_unknown_is_skipped() {
        let mut data = [0u8; 20];
        data[..4].copy_from_slice(&0x51u32.to_ne_bytes());
        data[16..18].copy_from_slice(&5u16.to_ne_bytes());
        data[18..].copy_from_slice(&0x88a8u16.to_ne_bytes());
        let auxiliary = control(libc::SOL_PACKET, libc::PACKET_AUXDATA, &data);
        let stamp = [3 as libc::c_long, 7].map(libc::c_long::to_ne_bytes).concat();
        let stamp = control(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &stamp);
        let unknown = control(libc::SOL_SOCKET, 77, &[1; 5]);
        let told = Auxiliary { status: 0x51, tag_control: 5, tag_protocol: 0x88a8 };
        let (first, second) =
            ([&auxiliary[..], &unknown, &stamp], [&stamp[..], &unknown, &auxiliary]);
        assert_eq!(read(&first.concat()), (told, 3_000_000_007));
        assert_eq!(read(&second.concat()), (told, 3_000_000_007));
        assert!(stamp.len() + auxiliary.len() <= CONTROL_BYTES);
    }

    #[test]
    fn no_bytes_end_the_reading_late() {
        assert_eq!(read(&[]), (Auxiliary::default(), 0));
        // Lengths of 0, of less than a header, of more than there is, and of all there ever was.
        for length in [0, 1, CONTROL_HEADER_BYTES - 1, 1000, usize::MAX] {
            let mut bytes = control(libc::SOL_PACKET, libc::PACKET_AUXDATA, &[1; 20]);
            bytes[..size_of::<usize>()].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(read(&bytes), (Auxiliary::default(), 0));
        }
        assert_eq!(read(&control(libc::SOL_PACKET, libc::PACKET_AUXDATA, &[1; 19])).1, 0);
    }
}
