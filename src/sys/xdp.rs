//! AF_XDP sockets by their raw options (`Documentation/networking/af_xdp.rst`): UMEM, rings, binding,
//! kicks and counts. What lies in the rings is for `ring::xsk`; the program that fills them is
//! made in [`super::bpf`].
//!
//! A socket that only sends needs no program and no more privilege than a packet socket, also within
//! a user namespace.

use std::io;
use std::mem::size_of;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use libc::{c_int, socklen_t};

use super::failure::{NEEDS_NET_RAW, failed};
use super::interface::called;
use super::mapping::Mapping;
use super::socket::{self, check};
use crate::error::Result;
use crate::units::memory;

/// Bytes that the kernel leaves free before a received frame, beside the UMEM's own headroom
/// (`XDP_PACKET_HEADROOM`).
pub const RECEIVE_HEADROOM_BYTES: usize = 256;

/// Most TX descriptors that one kick of a socket in copy mode handles (`TX_BATCH_SIZE` in
/// net/xdp/xsk.c).
pub const KICK_FRAMES_MAX: u32 = 32;

/// The flag that a ring's flag word has while its other side sleeps and wants a system call
/// (`XDP_RING_NEED_WAKEUP`).
pub const NEED_WAKEUP: u32 = libc::XDP_RING_NEED_WAKEUP;

/// One of the four rings of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpRing {
    /// Frames for the kernel to receive into; entries are addresses.
    Fill,
    /// Frames that the kernel has sent and gives back; entries are addresses.
    Completion,
    /// Received frames; entries are descriptors.
    Receive,
    /// Frames to be sent; entries are descriptors.
    Transmit,
}

impl XdpRing {
    /// Bytes of one entry.
    pub const fn entry_bytes(self) -> usize {
        match self {
            XdpRing::Fill | XdpRing::Completion => size_of::<u64>(),
            XdpRing::Receive | XdpRing::Transmit => size_of::<libc::xdp_desc>(),
        }
    }

    /// Its option, where its pages are mapped from, and its name.
    const fn facts(self) -> (c_int, i64, &'static str) {
        use libc::{XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING};
        match self {
            XdpRing::Fill => (libc::XDP_UMEM_FILL_RING, XDP_UMEM_PGOFF_FILL_RING as i64, "fill"),
            XdpRing::Completion => {
                let offset = XDP_UMEM_PGOFF_COMPLETION_RING as i64;
                (libc::XDP_UMEM_COMPLETION_RING, offset, "completion")
            }
            XdpRing::Receive => (libc::XDP_RX_RING, libc::XDP_PGOFF_RX_RING, "receive"),
            XdpRing::Transmit => (libc::XDP_TX_RING, libc::XDP_PGOFF_TX_RING, "TX"),
        }
    }
}

/// Where the parts of a ring lie in its mapping, in bytes (`struct xdp_ring_offset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingOffsets {
    /// The producer's index, a 32-bit word that only ever counts on.
    pub producer: usize,
    /// The consumer's index.
    pub consumer: usize,
    /// The flag word.
    pub flags: usize,
    /// The first entry.
    pub entries: usize,
}

/// How frames get between driver and UMEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMode {
    /// Zero-copy where the driver has it, else copies.
    Auto,
    /// The kernel copies: works with every driver.
    Copy,
}

/// Counts of a socket since it was opened (`struct xdp_statistics`); reading clears nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpStatistics {
    /// Frames dropped on reception for any reason but the next ones.
    pub rx_dropped: u64,
    /// Addresses in the fill ring that the kernel refused.
    pub rx_invalid_descs: u64,
    /// TX descriptors that the kernel refused.
    pub tx_invalid_descs: u64,
    /// Frames dropped because the receive ring was full.
    pub rx_ring_full: u64,
    /// Times that the kernel found the fill ring empty.
    pub rx_fill_ring_empty_descs: u64,
    /// Times that the kernel found the TX ring empty.
    pub tx_ring_empty_descs: u64,
}

/// An AF_XDP socket; closed on drop.
#[derive(Debug)]
pub struct XdpSocket {
    fd: OwnedFd,
}

impl AsFd for XdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl XdpSocket {
    /// Opens a socket (`xsk_create`), which takes CAP_NET_RAW.
    pub fn open() -> Result<XdpSocket> {
        let fd = socket::open(libc::AF_XDP, libc::SOCK_RAW, 0)
            .map_err(|error| failed("open an AF_XDP socket", &error, open_advice(&error)))?;
        Ok(XdpSocket { fd })
    }

    /// Makes `memory`, cut into chunks of `chunk_bytes` (2048 or 4096), the socket's UMEM. The
    /// kernel pins its pages, so that they stay until the socket is gone whatever becomes of the
    /// mapping, and charges them to RLIMIT_MEMLOCK (`xdp_umem_create`).
    pub fn register_umem(&self, umem: &Mapping, chunk_bytes: u32) -> Result<()> {
        let request = libc::xdp_umem_reg {
            addr: umem.base().as_ptr().expose_provenance() as u64,
            len: umem.length() as u64,
            chunk_size: chunk_bytes,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        self.set_option(libc::XDP_UMEM_REG, &request).map_err(|error| {
            let size = memory(umem.length() as u64);
            let attempted = format!("register {size} in chunks of {chunk_bytes} bytes as a UMEM");
            failed(attempted, &error, umem_advice(&error))
        })
    }

    /// Creates one of the rings with `entries` entries, a power of two.
    pub fn create_ring(&self, ring: XdpRing, entries: u32) -> Result<()> {
        let (option, _, name) = ring.facts();
        self.set_option(option, &entries).map_err(|error| {
            let attempted = format!("create an AF_XDP {name} ring of {entries} entries");
            failed(attempted, &error, "take fewer frames, or free memory")
        })
    }

    /// Maps a ring that was created with `entries` entries.
    pub fn map_ring(&self, ring: XdpRing, entries: u32) -> Result<(Mapping, RingOffsets)> {
        let offsets = self.offsets(ring)?;
        let length = offsets.entries + entries as usize * ring.entry_bytes();
        let length = NonZeroUsize::new(length).expect("a ring has index words");
        let (_, page_offset, name) = ring.facts();
        let mapping = Mapping::of_socket(self.as_fd(), length, page_offset)
            .map_err(|error| failed(format!("map an AF_XDP {name} ring"), &error, ""))?;
        Ok((mapping, offsets))
    }

    fn offsets(&self, ring: XdpRing) -> Result<RingOffsets> {
        let none = libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
        let mut all = libc::xdp_mmap_offsets { rx: none, tx: none, fr: none, cr: none };
        socket::read_option(self.as_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, &mut all)
            .map_err(|error| failed("ask how AF_XDP rings lie in memory", &error, ""))?;
        let one = match ring {
            XdpRing::Fill => all.fr,
            XdpRing::Completion => all.cr,
            XdpRing::Receive => all.rx,
            XdpRing::Transmit => all.tx,
        };
        if one.flags == 0 {
            // struct xdp_ring_offset_v1, which knows no flags, leaves the last words as they were.
            return Err(failed(
                "ask how AF_XDP rings lie in memory",
                &io::Error::from_raw_os_error(libc::EOPNOTSUPP),
                "this kernel has no need-wakeup flags: AF_XDP needs Linux 5.4 or newer",
            ));
        }
        Ok(RingOffsets {
            producer: one.producer as usize,
            consumer: one.consumer as usize,
            flags: one.flags as usize,
            entries: one.desc as usize,
        })
    }

    /// Binds to a queue of an interface, with need-wakeup: from now on the socket sends there, and
    /// frames that a program redirects to it arrive.
    ///
    /// A queue whose last socket was closed just now is busy until the kernel has torn that down,
    /// so EBUSY is tried again for [`REBIND_PATIENCE`].
    pub fn bind(&self, interface: u32, queue: u32, mode: CopyMode) -> Result<()> {
        let deadline = Instant::now() + REBIND_PATIENCE;
        loop {
            let error = match self.try_bind(interface, queue, mode) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline {
                std::thread::sleep(REBIND_PAUSE);
                continue;
            }
            let attempted =
                format!("bind an AF_XDP socket to queue {queue} of {}", called(interface));
            return Err(failed(attempted, &error, bind_advice(&error, queue)));
        }
    }

    /// Binds as [`XdpSocket::bind`] does, once.
    pub fn try_bind(&self, interface: u32, queue: u32, mode: CopyMode) -> io::Result<()> {
        let mode = match mode {
            CopyMode::Auto => 0,
            CopyMode::Copy => libc::XDP_COPY,
        };
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: mode | libc::XDP_USE_NEED_WAKEUP,
            sxdp_ifindex: interface,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        let length = size_of::<libc::sockaddr_xdp>() as socklen_t;
        // SAFETY: the pointer and length describe a live sockaddr_xdp, which bind(2) only reads.
        let result =
            unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), length) };
        check(result as isize).map(drop)
    }

    /// Whether the driver uses the UMEM itself; known once bound.
    pub fn is_zero_copy(&self) -> io::Result<bool> {
        let mut options = libc::xdp_options { flags: 0 };
        socket::read_option(self.as_fd(), libc::SOL_XDP, libc::XDP_OPTIONS, &mut options)?;
        Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
    }

    /// Wakes a driver that sleeps on the fill ring; needed while that ring says [`NEED_WAKEUP`],
    /// which in copy mode it never does.
    pub fn wake_receiver(&self) -> io::Result<()> {
        let (fd, none) = (self.fd.as_raw_fd(), std::ptr::null_mut());
        // SAFETY: a null buffer of length 0 is touched by nobody (xsk_recvmsg).
        check(unsafe { libc::recv(fd, none, 0, libc::MSG_DONTWAIT) }).map(drop)
    }

    /// Counts since the socket was opened; a kernel before 5.9 knows the first three.
    pub fn statistics(&self) -> io::Result<XdpStatistics> {
        let mut words = [0u64; 6];
        socket::read_option(self.as_fd(), libc::SOL_XDP, libc::XDP_STATISTICS, &mut words)?;
        let [rx_dropped, rx_invalid_descs, tx_invalid_descs, full, fill_empty, tx_empty] = words;
        Ok(XdpStatistics {
            rx_dropped,
            rx_invalid_descs,
            tx_invalid_descs,
            rx_ring_full: full,
            rx_fill_ring_empty_descs: fill_empty,
            tx_ring_empty_descs: tx_empty,
        })
    }

    /// Asks for `bytes` of send buffer, which bounds the frames that a socket in copy mode has
    /// under way; the kernel doubles it and caps it at `wmem_max`.
    pub fn set_send_buffer(&self, bytes: usize) -> io::Result<()> {
        socket::set_buffer(self.as_fd(), libc::SO_SNDBUF, bytes).map(drop)
    }

    /// Collects and clears the socket's pending error (`SO_ERROR`).
    pub fn take_error(&self) -> Option<io::Error> {
        socket::take_error(self.as_fd())
    }

    fn set_option<T>(&self, name: c_int, value: &T) -> io::Result<()> {
        socket::set_option(self.as_fd(), libc::SOL_XDP, name, value)
    }
}

/// How long a queue may stay busy after its last socket was closed.
pub const REBIND_PATIENCE: Duration = Duration::from_secs(2);

const REBIND_PAUSE: Duration = Duration::from_millis(5);

fn open_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => NEEDS_NET_RAW,
        Some(libc::EAFNOSUPPORT) => {
            "this kernel was built without AF_XDP (CONFIG_XDP_SOCKETS); the other halves do not \
             need it"
        }
        Some(libc::EMFILE | libc::ENFILE) => "too many open files: raise `ulimit -n`",
        _ => "",
    }
}

fn umem_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOBUFS) => {
            "a UMEM is locked memory, and RLIMIT_MEMLOCK bounds what all AF_XDP sockets of a user \
             have together: take fewer frames, raise the limit (`ulimit -l`), or give the \
             process CAP_IPC_LOCK"
        }
        Some(libc::ENOMEM) => "the kernel has no memory to pin",
        Some(libc::EINVAL) => "chunks have 2048 or 4096 bytes, and never more than a memory page",
        _ => "",
    }
}

fn bind_advice(error: &io::Error, queue: u32) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY) => format!(
            "another AF_XDP socket has queue {queue}, and each queue serves one: stop the other \
             program, or do without AF_XDP here (echo --path ring-v2, load --tx ring)"
        ),
        Some(libc::EINVAL) => format!(
            "the interface has no queue {queue} in use: `ethtool -l` shows how many it has, \
             `ethtool -L` changes it (a veth pair is made with `numtxqueues N numrxqueues N`)"
        ),
        Some(libc::EOPNOTSUPP) => {
            "the driver of this interface has no zero-copy mode: let the kernel copy".into()
        }
        Some(libc::ENODEV) => "the interface is gone, or in another network namespace".into(),
        Some(libc::ENETDOWN) => "switch the interface on first".into(),
        _ => String::new(),
    }
}
