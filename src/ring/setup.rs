//! Opening a socket with its rings, in the order that lets no foreign frame in (kernel-contract
//! RX-1): protocol 0, options, filter, rings, mapping, and only then the interface.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::budget::{MemoryBudget, Reservation};
use super::geometry::{Geometry, GeometryChoice};
use super::rx_v2::RxRingV2;
use super::rx_v3::RxRingV3;
use super::tx::{HINT_BYTES, TxRing};
use super::view::Memory;
use crate::error::{Error, Result};
use crate::sys::failure::failed;
use crate::sys::filter::Instruction;
use crate::sys::mapping::page_bytes;
use crate::sys::packet::{Direction, PacketSocket, RingVersion, SocketType};
use crate::units::memory;

/// What both rings of a socket look like.
#[derive(Clone, Copy, Debug, Default)]
pub struct RingChoice {
    /// The receive ring.
    pub receive: GeometryChoice,
    /// The TX ring.
    pub transmit: GeometryChoice,
    /// Longest frames to expect are those of this MTU.
    pub mtu: usize,
}

/// The receive ring of a socket.
#[derive(Debug)]
pub enum RxRing {
    /// `TPACKET_V2`.
    V2(RxRingV2),
    /// `TPACKET_V3`.
    V3(RxRingV3),
}

/// A packet socket with a receive ring and a TX ring in one mapping; not bound yet.
#[derive(Debug)]
pub struct RingSocket {
    /// The socket.
    pub socket: Arc<PacketSocket>,
    /// Its receive ring.
    pub receive: RxRing,
    /// Its TX ring.
    pub transmit: TxRing,
    /// The receive ring's geometry as it came out.
    pub receive_geometry: Geometry,
    /// The TX ring's geometry as it came out.
    pub transmit_geometry: Geometry,
    /// Sentences for the user where something other than the asked came out.
    pub notes: Vec<String>,
}

impl RingSocket {
    /// Opens a socket with both rings and `filter`. Bind it to let frames in.
    pub fn open(
        version: RingVersion,
        choice: &RingChoice,
        filter: &[Instruction],
        budget: &Arc<MemoryBudget>,
    ) -> Result<RingSocket> {
        let page_bytes = page_bytes();
        let plan =
            |direction, wish| Geometry::plan(version, direction, choice.mtu, wish, page_bytes);
        let receive = plan(Direction::Receive, choice.receive)?;
        let transmit = plan(Direction::Transmit, choice.transmit)?;
        let reservation = budget.reserve(receive.memory_bytes() + transmit.memory_bytes())?;
        let socket = PacketSocket::open(SocketType::Raw)?;
        socket.set_version(version).map_err(Error::of_ring)?;
        socket.set_discard_bad_frames()?;
        socket.attach_filter(filter)?;
        let mut notes = Vec::new();
        let receive = create(&socket, receive, &mut notes)?;
        let transmit = create(&socket, transmit, &mut notes)?;
        let mapped = map(&socket, receive.bytes() + transmit.bytes(), reservation)?;
        let receive_ring = match version {
            RingVersion::V2 => RxRing::V2(RxRingV2::new(Arc::clone(&mapped), 0, &receive)),
            RingVersion::V3 => RxRing::V3(RxRingV3::new(Arc::clone(&mapped), 0, &receive)),
        };
        Ok(RingSocket {
            socket: Arc::new(socket),
            receive: receive_ring,
            transmit: TxRing::new(mapped, receive.bytes(), &transmit, choice.mtu),
            receive_geometry: receive,
            transmit_geometry: transmit,
            notes,
        })
    }
}

/// A packet socket with a receive ring alone; not bound yet.
#[derive(Debug)]
pub struct RxRingSocket {
    /// The socket.
    pub socket: Arc<PacketSocket>,
    /// Its ring.
    pub ring: RxRing,
    /// The ring's geometry as it came out.
    pub geometry: Geometry,
    /// Sentences for the user where something other than the asked came out.
    pub notes: Vec<String>,
}

impl RxRingSocket {
    /// Opens a socket with a receive ring and `filter`. Bind it to let frames in.
    pub fn open(
        version: RingVersion,
        choice: GeometryChoice,
        mtu: usize,
        filter: &[Instruction],
        budget: &Arc<MemoryBudget>,
    ) -> Result<RxRingSocket> {
        let plan = Geometry::plan(version, Direction::Receive, mtu, choice, page_bytes())?;
        let reservation = budget.reserve(plan.memory_bytes())?;
        let socket = PacketSocket::open(SocketType::Raw)?;
        socket.set_version(version)?;
        socket.attach_filter(filter)?;
        let mut notes = Vec::new();
        let geometry = create(&socket, plan, &mut notes)?;
        let memory = map(&socket, geometry.bytes(), reservation)?;
        let ring = match version {
            RingVersion::V2 => RxRing::V2(RxRingV2::new(memory, 0, &geometry)),
            RingVersion::V3 => RxRing::V3(RxRingV3::new(memory, 0, &geometry)),
        };
        Ok(RxRingSocket { socket: Arc::new(socket), ring, geometry, notes })
    }
}

/// A packet socket with a TX ring alone; not bound yet.
#[derive(Debug)]
pub struct TxRingSocket {
    /// The socket. Bound to protocol 0 it never receives.
    pub socket: PacketSocket,
    /// Its ring.
    pub ring: TxRing,
    /// The ring's geometry as it came out.
    pub geometry: Geometry,
    /// Sentences for the user where something other than the asked came out.
    pub notes: Vec<String>,
}

impl TxRingSocket {
    /// Opens a socket with a TX ring, of whose shorter frames the kernel makes copies (kernel-contract
    /// TX-11).
    pub fn open(
        version: RingVersion,
        choice: GeometryChoice,
        mtu: usize,
        budget: &Arc<MemoryBudget>,
    ) -> Result<TxRingSocket> {
        let longest = mtu + HINT_BYTES;
        let plan = Geometry::plan(version, Direction::Transmit, longest, choice, page_bytes())?;
        let reservation = budget.reserve(plan.memory_bytes())?;
        let socket = PacketSocket::open(SocketType::Raw)?;
        socket.set_version(version)?;
        socket.set_discard_bad_frames()?;
        socket.set_vnet_header()?;
        let mut notes = Vec::new();
        let geometry = create(&socket, plan, &mut notes)?;
        let memory = map(&socket, geometry.bytes(), reservation)?;
        let ring = TxRing::new(memory, 0, &geometry, mtu).with_copy_hints();
        Ok(TxRingSocket { socket, ring, geometry, notes })
    }
}

fn map(socket: &PacketSocket, bytes: usize, reservation: Reservation) -> Result<Arc<Memory>> {
    let length = NonZeroUsize::new(bytes).expect("a geometry has at least two blocks");
    let mapping = socket.map_rings(length).map_err(|error| {
        failed(format!("map {} of packet rings", memory(bytes as u64)), &error, "").of_ring()
    })?;
    Ok(Memory::of_mapping(mapping, reservation))
}

/// Creates a ring, in smaller blocks where the kernel finds no contiguous memory.
fn create(socket: &PacketSocket, asked: Geometry, notes: &mut Vec<String>) -> Result<Geometry> {
    let mut geometry = asked;
    loop {
        let (version, direction) = (geometry.version(), geometry.direction());
        let error = match socket.create_ring(version, direction, &geometry.request()) {
            Ok(()) => break,
            Err(error) => error,
        };
        let smaller = geometry.with_smaller_blocks(page_bytes());
        match smaller.filter(|_| error.kind() == io::ErrorKind::OutOfMemory) {
            Some(smaller) => geometry = smaller,
            None => {
                let what = match direction {
                    Direction::Receive => "receive",
                    Direction::Transmit => "TX",
                };
                let attempted = format!("create a {version:?} {what} ring of {geometry}");
                return Err(failed(attempted, &error, ring_advice(&error)).of_ring());
            }
        }
    }
    if geometry != asked {
        notes.push(format!(
            "no contiguous memory for blocks of {}: the ring has blocks of {} instead",
            memory(asked.block_bytes() as u64),
            memory(geometry.block_bytes() as u64),
        ));
    }
    Ok(geometry)
}

fn ring_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::OutOfMemory => {
            "take fewer blocks (--blocks) or free memory; ring memory cannot be swapped"
        }
        io::ErrorKind::InvalidInput => {
            "this kernel refuses a geometry that linerate takes for valid: please report it"
        }
        _ => "",
    }
}
