//! Packet sockets (`packet(7)`): opening, options, rings, binding, fanout, plain send and receive.

use std::io;
use std::mem::size_of;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libc::{c_int, socklen_t};

use super::failure::{NEEDS_NET_RAW, failed};
use super::filter::{Instruction, handed_over};
use super::mapping::Mapping;
use super::socket::{self, check};
use crate::error::Result;

mod batch;
mod fanout;
mod messages;

pub use batch::{Gather, Gathered, MESSAGES_MAX, SendBatch, Sent};
pub use fanout::{Fanout, FanoutMode, RolloverStatistics};
pub use messages::{Auxiliary, Message, MessageWalk, Messages, ReceiveBatch};

/// All protocols, host byte order (`ETH_P_ALL`).
pub const ALL_PROTOCOLS: u16 = libc::ETH_P_ALL as u16;

/// The address family of packet sockets.
pub const AF_PACKET: i32 = libc::AF_PACKET;

/// The protocol family of packet sockets: the same number (`include/linux/socket.h`).
pub const PF_PACKET: i32 = libc::PF_PACKET;

/// [`LinkAddress::packet_type`] of a frame for another host (`PACKET_OTHERHOST`).
pub const TO_OTHER_HOST: u8 = libc::PACKET_OTHERHOST;

/// [`LinkAddress::packet_type`] of the copy of a frame that this host sends (`PACKET_OUTGOING`).
pub const OUTGOING: u8 = libc::PACKET_OUTGOING;

/// Whether frames carry their link-layer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketType {
    /// `SOCK_RAW`: frames begin with the Ethernet header.
    Raw,
    /// `SOCK_DGRAM`: the kernel strips and builds the Ethernet header.
    Datagram,
}

/// The ring header layout of a socket; one for both of its rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingVersion {
    /// `TPACKET_V2`: a status word for each frame.
    V2,
    /// `TPACKET_V3`: a status word for each block of frames.
    V3,
}

/// Which of a socket's two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `PACKET_RX_RING`.
    Receive,
    /// `PACKET_TX_RING`.
    Transmit,
}

/// `struct tpacket_req3` in plain numbers; `ring::geometry` makes only ones that the kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingRequest {
    /// Bytes of one block.
    pub block_bytes: u32,
    /// Number of blocks.
    pub blocks: u32,
    /// Bytes of one frame slot (V3 receive: only checked, not used).
    pub frame_bytes: u32,
    /// Number of frame slots in all blocks together.
    pub frames: u32,
    /// V3 receive: retire timeout in milliseconds; 0 everywhere else.
    pub retire_ms: u32,
}

/// A link-layer peer address (`struct sockaddr_ll`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkAddress {
    /// Interface index.
    pub interface: u32,
    /// EtherType in host byte order; 802.3 length-type frames show 0x0004.
    pub protocol: u16,
    /// Packet type (`PACKET_HOST` and so on); meaningful on reception only.
    pub packet_type: u8,
    /// Hardware address.
    pub mac: [u8; 6],
}

/// One frame taken by [`PacketSocket::receive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of the frame on the wire without FCS, also when the buffer was shorter.
    pub wire_bytes: usize,
    /// Where it came from.
    pub from: LinkAddress,
}

/// What `PACKET_STATISTICS` gave: counts since the last read, which clears them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketStatistics {
    /// Frames that passed the filter, dropped ones included.
    pub packets: u32,
    /// Frames dropped for want of room in ring or buffer.
    pub drops: u32,
    /// Times that a V3 ring froze because its next block was not given back.
    pub freezes: u32,
}

/// A packet socket; closed on drop.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl PacketSocket {
    /// Opens a socket that receives nothing until it is bound: protocol 0 (`packet_create`).
    pub fn open(kind: SocketType) -> Result<PacketSocket> {
        PacketSocket::open_with(libc::AF_PACKET, kind, 0)
            .map_err(|error| failed("open a packet socket", &error, open_advice(&error)))
    }

    /// Opens a socket of address `family` (`AF_PACKET` or `PF_PACKET`, both 17) that receives
    /// `protocol` (host byte order, 0 for nothing) from every interface until it is bound.
    pub fn open_with(family: i32, kind: SocketType, protocol: u16) -> io::Result<PacketSocket> {
        let kind = match kind {
            SocketType::Raw => libc::SOCK_RAW,
            SocketType::Datagram => libc::SOCK_DGRAM,
        };
        let fd = socket::open(family, kind, protocol.to_be().into())?;
        Ok(PacketSocket { fd })
    }

    /// Chooses the ring layout. EBUSY once a ring exists.
    pub fn set_version(&self, version: RingVersion) -> Result<()> {
        let value: c_int = match version {
            RingVersion::V2 => libc::tpacket_versions::TPACKET_V2 as c_int,
            RingVersion::V3 => libc::tpacket_versions::TPACKET_V3 as c_int,
        };
        self.set_packet_option(libc::PACKET_VERSION, &value, "choose the packet ring version")
    }

    /// Lets the kernel discard a bad frame in the TX ring instead of stopping at it for ever.
    /// EBUSY once a ring exists.
    pub fn set_discard_bad_frames(&self) -> Result<()> {
        self.set_packet_option(libc::PACKET_LOSS, &1, "set PACKET_LOSS")
    }

    /// Suppresses the looped-back copies of frames that others send (since 4.20). Lost on joining
    /// a fanout group, so a filter must reject them as well.
    pub fn ignore_outgoing(&self) -> Result<()> {
        self.set_packet_option(libc::PACKET_IGNORE_OUTGOING, &1, "set PACKET_IGNORE_OUTGOING")
    }

    /// Sends straight to the driver, past the queueing discipline.
    pub fn set_qdisc_bypass(&self) -> Result<()> {
        self.set_packet_option(libc::PACKET_QDISC_BYPASS, &1, "set PACKET_QDISC_BYPASS")
    }

    /// Has every frame on this socket preceded by a `struct virtio_net_hdr` of 10 bytes, whose
    /// `hdr_len` says how much of it the kernel copies on sending. EBUSY once a ring exists.
    pub fn set_vnet_header(&self) -> Result<()> {
        self.set_packet_option(libc::PACKET_VNET_HDR, &1, "set PACKET_VNET_HDR")
    }

    /// Asks the interface for every frame on the wire, until the socket is closed.
    pub fn join_promiscuous(&self, interface: u32) -> Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: interface as c_int,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set_packet_option(
            libc::PACKET_ADD_MEMBERSHIP,
            &request,
            "put the interface into promiscuous mode",
        )
    }

    /// Attaches `program`; do it before binding so that no unwanted frame is ever queued.
    pub fn attach_filter(&self, program: &[Instruction]) -> Result<()> {
        attach_filter(self.as_fd(), program)
    }

    /// Keeps the receive filter as it is for ever (`SO_LOCK_FILTER`), whoever gets hold of the socket.
    /// A fanout program is set before.
    pub fn lock_filter(&self) -> Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_LOCK_FILTER, &1)
            .map_err(|error| failed("lock a receive filter", &error, ""))
    }

    /// Creates a ring. EINVAL and ENOMEM are the caller's to explain: it knows the geometry.
    pub fn create_ring(
        &self,
        version: RingVersion,
        direction: Direction,
        request: &RingRequest,
    ) -> io::Result<()> {
        let option = match direction {
            Direction::Receive => libc::PACKET_RX_RING,
            Direction::Transmit => libc::PACKET_TX_RING,
        };
        let RingRequest { block_bytes, blocks, frame_bytes, frames, retire_ms } = *request;
        // struct tpacket_req is the first four words of struct tpacket_req3.
        let four = [block_bytes, blocks, frame_bytes, frames];
        match version {
            RingVersion::V2 => self.set_option(libc::SOL_PACKET, option, &four),
            RingVersion::V3 => {
                let [a, b, c, d] = four;
                self.set_option(libc::SOL_PACKET, option, &[a, b, c, d, retire_ms, 0, 0])
            }
        }
    }

    /// Maps all rings of the socket, receive ring first; `length` must be their exact sum.
    pub fn map_rings(&self, length: NonZeroUsize) -> io::Result<Mapping> {
        Mapping::of_socket(self.as_fd(), length, 0)
    }

    /// Binds to an interface: from now on frames of `protocol` (host byte order) arrive.
    /// Protocol 0 binds for sending only.
    pub fn bind(&self, interface: u32, protocol: u16) -> io::Result<()> {
        let address = raw_address(&LinkAddress { interface, protocol, ..LinkAddress::default() });
        // SAFETY: the pointer and length describe a live sockaddr_ll, which bind(2) only reads.
        let result =
            unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), ADDRESS_BYTES) };
        check(result as isize).map(drop)
    }

    /// Counts since the last call; reading clears them, so one reader only.
    pub fn take_statistics(&self, version: Option<RingVersion>) -> io::Result<SocketStatistics> {
        // struct tpacket_stats_v3 is struct tpacket_stats and one word more.
        let mut words = [0u32; 3];
        if version == Some(RingVersion::V3) {
            self.option(libc::SOL_PACKET, libc::PACKET_STATISTICS, &mut words)?;
        } else {
            let mut two = [0u32; 2];
            self.option(libc::SOL_PACKET, libc::PACKET_STATISTICS, &mut two)?;
            words[..2].copy_from_slice(&two);
        }
        Ok(SocketStatistics { packets: words[0], drops: words[1], freezes: words[2] })
    }

    /// Collects and clears the socket's pending error (`SO_ERROR`), which EPOLLERR announces.
    pub fn take_error(&self) -> Option<io::Error> {
        socket::take_error(self.as_fd())
    }

    /// Asks for `bytes` of send buffer; the kernel doubles it and caps it at `wmem_max`.
    /// Returns what the kernel granted.
    pub fn set_send_buffer(&self, bytes: usize) -> io::Result<usize> {
        socket::set_buffer(self.as_fd(), libc::SO_SNDBUF, bytes)
    }

    /// Asks for `bytes` of receive buffer; the kernel doubles it and caps it at `rmem_max`.
    /// Returns what the kernel granted.
    pub fn set_receive_buffer(&self, bytes: usize) -> io::Result<usize> {
        socket::set_buffer(self.as_fd(), libc::SO_RCVBUF, bytes)
    }

    /// Takes one frame without waiting (`recvfrom` with `MSG_DONTWAIT | MSG_TRUNC`).
    #[inline]
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut address = EMPTY_ADDRESS;
        let mut address_bytes = ADDRESS_BYTES;
        // SAFETY: buffer and address are live, exclusively borrowed locals of the lengths given;
        // recvfrom(2) writes no more.
        let count = unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                (&raw mut address).cast(),
                &mut address_bytes,
            )
        };
        let wire_bytes = check(count)? as usize;
        Ok(Received { wire_bytes, from: plain_address(&address) })
    }

    /// Sends one frame through the bound interface without waiting.
    #[inline]
    pub fn send(&self, frame: &[u8]) -> io::Result<usize> {
        // SAFETY: the slice is live and send(2) only reads it.
        let count = unsafe {
            libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), libc::MSG_DONTWAIT)
        };
        check(count).map(|count| count as usize)
    }

    /// Sends one frame to `address` without waiting (`sendto`).
    pub fn send_to(&self, frame: &[u8], address: &LinkAddress) -> io::Result<usize> {
        let address = raw_address(address);
        // SAFETY: the slice and the address are live and sendto(2) only reads them.
        let count = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
                (&raw const address).cast(),
                ADDRESS_BYTES,
            )
        };
        check(count).map(|count| count as usize)
    }

    /// The interface that the socket is bound to and the packet sockets' protocol, as the kernel
    /// has them (`getsockname`).
    pub fn bound_to(&self) -> io::Result<LinkAddress> {
        let mut address = EMPTY_ADDRESS;
        let mut length = ADDRESS_BYTES;
        // SAFETY: the pointers are to locals of the length given, which getsockname(2) fills.
        let result = unsafe {
            libc::getsockname(self.fd.as_raw_fd(), (&raw mut address).cast(), &mut length)
        };
        check(result as isize)?;
        Ok(plain_address(&address))
    }

    /// Closes the socket and reports what `close(2)` says, which dropping it would not.
    pub fn close(self) -> io::Result<()> {
        nix::unistd::close(self.fd).map_err(io::Error::from)
    }

    fn set_packet_option<T>(&self, name: c_int, value: &T, attempted: &str) -> Result<()> {
        self.set_option(libc::SOL_PACKET, name, value)
            .map_err(|error| failed(attempted, &error, option_advice(&error)))
    }

    fn set_option<T>(&self, level: c_int, name: c_int, value: &T) -> io::Result<()> {
        socket::set_option(self.as_fd(), level, name, value)
    }

    fn option<T>(&self, level: c_int, name: c_int, value: &mut T) -> io::Result<()> {
        socket::read_option(self.as_fd(), level, name, value)
    }
}

/// Attaches a classic BPF program to any socket (`SO_ATTACH_FILTER`).
pub fn attach_filter(socket: BorrowedFd<'_>, program: &[Instruction]) -> Result<()> {
    let program = handed_over(program);
    socket::set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
        .map_err(|error| failed("attach a receive filter", &error, ""))
}

const ADDRESS_BYTES: socklen_t = size_of::<libc::sockaddr_ll>() as socklen_t;
const EMPTY_ADDRESS: libc::sockaddr_ll = libc::sockaddr_ll {
    sll_family: 0,
    sll_protocol: 0,
    sll_ifindex: 0,
    sll_hatype: 0,
    sll_pkttype: 0,
    sll_halen: 0,
    sll_addr: [0; 8],
};

fn raw_address(address: &LinkAddress) -> libc::sockaddr_ll {
    let mut raw = EMPTY_ADDRESS;
    raw.sll_family = libc::AF_PACKET as u16;
    raw.sll_protocol = address.protocol.to_be();
    raw.sll_ifindex = address.interface as c_int;
    raw.sll_halen = 6;
    raw.sll_addr[..6].copy_from_slice(&address.mac);
    raw
}

fn plain_address(raw: &libc::sockaddr_ll) -> LinkAddress {
    let mut mac = [0; 6];
    mac.copy_from_slice(&raw.sll_addr[..6]);
    LinkAddress {
        interface: raw.sll_ifindex as u32,
        protocol: u16::from_be(raw.sll_protocol),
        packet_type: raw.sll_pkttype,
        mac,
    }
}

fn open_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => NEEDS_NET_RAW,
        Some(libc::EAFNOSUPPORT) => "this kernel was built without packet sockets (CONFIG_PACKET)",
        Some(libc::EMFILE | libc::ENFILE) => "too many open files: raise `ulimit -n`",
        Some(libc::ENOMEM | libc::ENOBUFS) => "the kernel has no memory for a socket",
        _ => "",
    }
}

fn option_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => "this kernel is too old for it",
        Some(libc::EBUSY) => "it must be set before the socket has a ring",
        Some(libc::EPERM) => NEEDS_NET_RAW,
        _ => "",
    }
}
