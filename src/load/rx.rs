//! The load's receive halves: whatever has arrived, a bounded batch at a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use super::choice::RxChoice;
use super::plan::LoadSpec;
use crate::error::Result;
use crate::ring::budget::MemoryBudget;
use crate::ring::frame::{ChecksumState, FrameMeta, PacketType};
use crate::ring::geometry::RUN_FRAMES;
use crate::ring::receive::{ReceiveRing, RxBatch};
use crate::ring::rx_v2::RxRingV2;
use crate::ring::rx_v3::RxRingV3;
use crate::ring::setup::{RxRing, RxRingSocket};
use crate::stats::counters::KernelCounters;
use crate::sys::failure::failed;
use crate::sys::filter::Wanted;
use crate::sys::interface::called;
use crate::sys::packet::{
    ALL_PROTOCOLS, PacketSocket, ReceiveBatch, RingVersion, SocketStatistics, SocketType,
};

/// Who looks at received frames.
pub trait Sink {
    /// A batch was just lent: the frames that follow are held from now on.
    fn begin(&mut self);

    /// A frame, from its destination address on.
    fn frame(&mut self, meta: &FrameMeta, bytes: &[u8]);

    /// So many frames that the ring's headers made unreadable.
    fn malformed(&mut self, frames: u32);
}

/// What a receive half asks of its socket beside frames. Tests put a fake kernel in its place.
pub trait RxSocket {
    /// Sleeps until a batch can be taken or `timeout` is over.
    fn wait(&self, timeout: Duration) -> io::Result<()>;

    /// What the kernel counted since the last call. `version` is the version of the ring's headers.
    fn take_statistics(&self, version: Option<RingVersion>) -> io::Result<SocketStatistics>;
}

impl RxSocket for PacketSocket {
    fn wait(&self, timeout: Duration) -> io::Result<()> {
        if self.wait_readable(timeout)? {
            return Ok(());
        }
        // A pending error (ENETDOWN after a flap) makes ppoll(2) return at once until it is read.
        if self.take_error().is_some() {
            crate::sys::clock::sleep(timeout.min(Duration::from_millis(1)));
        }
        Ok(())
    }

    fn take_statistics(&self, version: Option<RingVersion>) -> io::Result<SocketStatistics> {
        PacketSocket::take_statistics(self, version)
    }
}

impl<S: RxSocket> RxSocket for Arc<S> {
    fn wait(&self, timeout: Duration) -> io::Result<()> {
        S::wait(self, timeout)
    }

    fn take_statistics(&self, version: Option<RingVersion>) -> io::Result<SocketStatistics> {
        S::take_statistics(self, version)
    }
}

/// Takes what has arrived, a batch at a time.
pub trait RxHalf {
    /// Shows one batch of what has arrived to `sink`; false if nothing had.
    fn take(&mut self, sink: &mut impl Sink) -> io::Result<bool>;

    /// Its socket.
    fn socket(&self) -> &impl RxSocket;

    /// The layout of the ring's headers; `None` without a ring.
    fn version(&self) -> Option<RingVersion>;

    /// Adds the kernel's counts since the last call.
    fn accumulate(&mut self, counters: &mut KernelCounters) -> io::Result<()> {
        let counts = self.socket().take_statistics(self.version())?;
        counters.packets += u64::from(counts.packets);
        counters.drops += u64::from(counts.drops);
        counters.freezes += u64::from(counts.freezes);
        Ok(())
    }
}

/// Frames from a ring.
#[derive(Debug)]
pub struct RxRingHalf<R, S = Arc<PacketSocket>> {
    /// The socket.
    pub socket: S,
    /// Its ring.
    pub ring: R,
}

/// Frames from the socket's own queue.
#[derive(Debug)]
pub struct RxRecv {
    socket: PacketSocket,
    buffer: Box<[u8]>,
}

/// Frames from the socket's own queue, many a call, with what the kernel knows of them.
#[derive(Debug)]
pub struct RxMessages {
    socket: PacketSocket,
    buffers: ReceiveBatch,
}

/// A receive half that was opened and bound.
#[derive(Debug)]
pub enum AnyRx {
    /// `v3`
    V3(RxRingHalf<RxRingV3>),
    /// `v2`
    V2(RxRingHalf<RxRingV2>),
    /// `mmsg`
    Mmsg(RxMessages),
    /// `recv`
    Recv(RxRecv),
}

/// `$work` with the half that an [`AnyRx`] holds, compiled for each kind.
macro_rules! with_rx {
    ($any:expr, $half:ident => $work:expr) => {
        match $any {
            $crate::load::rx::AnyRx::V3($half) => $work,
            $crate::load::rx::AnyRx::V2($half) => $work,
            $crate::load::rx::AnyRx::Mmsg($half) => $work,
            $crate::load::rx::AnyRx::Recv($half) => $work,
        }
    };
}
pub(super) use with_rx;

impl AnyRx {
    /// Empties the ring and the counters of what came before.
    pub fn discard(&mut self) -> io::Result<()> {
        with_rx!(self, half => discard(half))
    }
}

fn discard(rx: &mut impl RxHalf) -> io::Result<()> {
    for _ in 0..BATCHES_DISCARDED_MAX {
        if !rx.take(&mut Discard)? {
            break;
        }
    }
    rx.accumulate(&mut KernelCounters::default())
}

/// More than a ring holds: whoever sends faster than they are discarded must not keep us here.
const BATCHES_DISCARDED_MAX: usize = 1 << 16;

struct Discard;

impl Sink for Discard {
    fn begin(&mut self) {}

    fn frame(&mut self, _: &FrameMeta, _: &[u8]) {}

    fn malformed(&mut self, _: u32) {}
}

/// The largest frame that a packet socket can hand over: a super-frame of 64 KiB and its header.
const BUFFER_BYTES: usize = (64 << 10) + 64;

/// Beyond the MTU: an Ethernet header and tags; longer frames are not ours.
const MESSAGE_ROOM_BYTES: usize = 64;

/// Receive buffer to ask for without a ring. Best effort; the kernel caps it.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;

/// Opens a receive half on the configured interface and lets frames of the configured EtherType in,
/// of all addresses if `promiscuous`.
pub fn open(
    choice: RxChoice,
    config: &LoadSpec,
    promiscuous: bool,
    budget: &Arc<MemoryBudget>,
    notes: &mut Vec<String>,
) -> Result<AnyRx> {
    let ether_types = vec![config.carriage.ether_type().0];
    let wanted = Wanted { ether_types, tagged: choice != RxChoice::Recv }.program();
    let ring_less = || -> Result<PacketSocket> {
        let socket = PacketSocket::open(SocketType::Raw)?;
        socket.attach_filter(&wanted)?;
        let _ = socket.set_receive_buffer(RECEIVE_BUFFER_BYTES);
        Ok(socket)
    };
    let by_nic = config.stamps.nic_clock().is_some();
    let version = match choice {
        RxChoice::V3 => RingVersion::V3,
        RxChoice::V2 => RingVersion::V2,
        RxChoice::Mmsg => {
            let socket = ring_less()?;
            socket.tell_auxiliary()?;
            socket.tell_stamps()?;
            if by_nic {
                socket.tell_nic_stamps()?;
            }
            bind(&socket, config, promiscuous)?;
            let buffers = ReceiveBatch::new(RUN_FRAMES, config.mtu + MESSAGE_ROOM_BYTES);
            return Ok(AnyRx::Mmsg(RxMessages { socket, buffers }));
        }
        RxChoice::Recv => {
            let socket = ring_less()?;
            bind(&socket, config, promiscuous)?;
            let buffer = vec![0; BUFFER_BYTES].into();
            return Ok(AnyRx::Recv(RxRecv { socket, buffer }));
        }
    };
    let opened = RxRingSocket::open(version, config.rx_ring, config.mtu, &wanted, budget)?;
    notes.extend(opened.notes);
    if by_nic {
        opened.socket.prefer_nic_stamps()?;
    }
    bind(&opened.socket, config, promiscuous)?;
    let socket = opened.socket;
    Ok(match opened.ring {
        RxRing::V3(ring) => AnyRx::V3(RxRingHalf { socket, ring }),
        RxRing::V2(ring) => AnyRx::V2(RxRingHalf { socket, ring }),
    })
}

fn bind(socket: &PacketSocket, config: &LoadSpec, promiscuous: bool) -> Result<()> {
    socket.ignore_outgoing()?;
    let interface = config.interface;
    socket.bind(interface, ALL_PROTOCOLS).map_err(|error| {
        failed(format!("bind the generator's receive socket to {}", called(interface)), &error, "")
    })?;
    if promiscuous {
        socket.join_promiscuous(interface)?;
    }
    socket.lock_filter()
}

impl<R: ReceiveRing, S: RxSocket> RxHalf for RxRingHalf<R, S> {
    #[inline]
    fn take(&mut self, sink: &mut impl Sink) -> io::Result<bool> {
        let Some(mut batch) = self.ring.lend(RUN_FRAMES) else { return Ok(false) };
        sink.begin();
        for frame in batch.frames() {
            match frame {
                Ok(frame) => sink.frame(&frame.meta, frame.bytes()),
                Err(malformed) => sink.malformed(malformed.frames),
            }
        }
        Ok(true)
    }

    fn socket(&self) -> &impl RxSocket {
        &self.socket
    }

    fn version(&self) -> Option<RingVersion> {
        Some(R::VERSION)
    }
}

/// Nothing where nothing has arrived, or where the link went down: that is told once, and the frames come when it
/// is up again.
#[inline]
fn arrived<T>(received: io::Result<T>) -> io::Result<Option<T>> {
    match received {
        Ok(received) => Ok(Some(received)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NetworkDown => Ok(None),
        Err(error) => Err(error),
    }
}

impl RxHalf for RxMessages {
    #[inline]
    fn take(&mut self, sink: &mut impl Sink) -> io::Result<bool> {
        let RxMessages { socket, buffers } = self;
        let Some(mut messages) = arrived(socket.receive_messages(buffers))? else {
            return Ok(false);
        };
        sink.begin();
        for message in messages.walk() {
            sink.frame(&FrameMeta::of_message(&message), &message.room[message.start..]);
        }
        Ok(true)
    }

    fn socket(&self) -> &impl RxSocket {
        &self.socket
    }

    fn version(&self) -> Option<RingVersion> {
        None
    }
}

impl RxHalf for RxRecv {
    #[inline]
    fn take(&mut self, sink: &mut impl Sink) -> io::Result<bool> {
        let Some(received) = arrived(self.socket.receive(&mut self.buffer))? else {
            return Ok(false);
        };
        sink.begin();
        let captured = received.wire_bytes.min(self.buffer.len());
        let meta = FrameMeta {
            wire_bytes: received.wire_bytes as u32,
            stamp_ns: 0,
            nic_ns: 0,
            packet_type: PacketType::from_number(received.from.packet_type),
            tag: None,
            checksum: ChecksumState::Unseen,
        };
        sink.frame(&meta, &self.buffer[..captured]);
        Ok(true)
    }

    fn socket(&self) -> &impl RxSocket {
        &self.socket
    }

    fn version(&self) -> Option<RingVersion> {
        None
    }
}
