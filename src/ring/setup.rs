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
use crate::sys::filter::{Instruction, nothing};
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
    /// Whether the kernel is told to copy short frames out of the TX ring whole (kernel-contract
    /// TX-12). What the socket receives then begins with 10 bytes more, too.
    pub copy_hints: bool,
}

/// The receive ring of a socket.
#[derive(Debug)]
pub enum RxRing {
    /// `TPACKET_V2`.
    V2(RxRingV2),
    /// `TPACKET_V3`.
    V3(RxRingV3),
}

/// A packet socket with the rings that were asked for, in one mapping; not bound yet.
#[derive(Debug)]
pub struct Rings {
    /// The socket. Bound to protocol 0 it never receives.
    pub socket: PacketSocket,
    /// Its receive ring, and the geometry as it came out.
    pub receive: Option<(RxRing, Geometry)>,
    /// Its TX ring, and the geometry as it came out.
    pub transmit: Option<(TxRing, Geometry)>,
    /// Sentences for the user where something other than the asked came out.
    pub notes: Vec<String>,
}

impl Rings {
    /// Opens a socket with a ring for each of `directions`, each named once at most, and `filter`.
    /// Without a receive ring it receives as a plain socket does, without a TX ring it sends so.
    pub fn open(
        version: RingVersion,
        directions: &[Direction],
        choice: &RingChoice,
        filter: &[Instruction],
        budget: &Arc<MemoryBudget>,
    ) -> Result<Rings> {
        let plan = |direction, wish: GeometryChoice| -> Result<Option<Geometry>> {
            let wanted = directions.contains(&direction);
            let hint = if choice.copy_hints { HINT_BYTES } else { 0 };
            let longest = wish.longest.map(|longest| longest + hint);
            let wish = GeometryChoice { longest, ..wish };
            let plan = || Geometry::plan(version, direction, choice.mtu + hint, wish, page_bytes());
            Ok(wanted.then(plan).transpose()?)
        };
        let receive = plan(Direction::Receive, choice.receive)?;
        let transmit = plan(Direction::Transmit, choice.transmit)?;
        let planned = || receive.iter().chain(&transmit);
        let reservation = budget.reserve(planned().map(Geometry::memory_bytes).sum())?;
        let socket = PacketSocket::open(SocketType::Raw)?;
        socket.attach_filter(filter)?;
        let mut rings = Rings { socket, receive: None, transmit: None, notes: Vec::new() };
        if planned().next().is_none() {
            return Ok(rings);
        }
        let Rings { socket, notes, .. } = &mut rings;
        socket.set_version(version).map_err(Error::of_ring)?;
        socket.set_discard_bad_frames()?;
        if choice.copy_hints {
            socket.set_vnet_header()?;
        }
        let receive = receive.map(|ring| create(socket, ring, notes)).transpose()?;
        let transmit = transmit.map(|ring| create(socket, ring, notes)).transpose()?;
        let created = || receive.iter().chain(&transmit);
        let memory = map(socket, created().map(Geometry::bytes).sum(), reservation)?;
        // The receive ring comes first in the mapping.
        let transmit_start = receive.map_or(0, |receive| receive.bytes());
        rings.receive = receive.map(|geometry| {
            let memory = Arc::clone(&memory);
            let ring = match version {
                RingVersion::V2 => RxRing::V2(RxRingV2::new(memory, 0, &geometry)),
                RingVersion::V3 => RxRing::V3(RxRingV3::new(memory, 0, &geometry)),
            };
            (ring, geometry)
        });
        rings.transmit = transmit.map(|geometry| {
            let ring = TxRing::new(memory, transmit_start, &geometry, choice.mtu);
            (if choice.copy_hints { ring.with_copy_hints() } else { ring }, geometry)
        });
        Ok(rings)
    }
}

/// A packet socket with a receive ring and a TX ring; not bound yet.
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
        let both = [Direction::Receive, Direction::Transmit];
        let rings = Rings::open(version, &both, choice, filter, budget)?;
        let (receive, receive_geometry) = rings.receive.expect(ASKED_FOR);
        let (transmit, transmit_geometry) = rings.transmit.expect(ASKED_FOR);
        let socket = Arc::new(rings.socket);
        let notes = rings.notes;
        Ok(RingSocket { socket, receive, transmit, receive_geometry, transmit_geometry, notes })
    }
}

const ASKED_FOR: &str = "a ring that was asked for";

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
        receive: GeometryChoice,
        mtu: usize,
        filter: &[Instruction],
        budget: &Arc<MemoryBudget>,
    ) -> Result<RxRingSocket> {
        let choice = RingChoice { receive, mtu, ..RingChoice::default() };
        let rings = Rings::open(version, &[Direction::Receive], &choice, filter, budget)?;
        let (ring, geometry) = rings.receive.expect(ASKED_FOR);
        Ok(RxRingSocket { socket: Arc::new(rings.socket), ring, geometry, notes: rings.notes })
    }
}

/// A packet socket with a TX ring alone, which receives nothing; not bound yet.
#[derive(Debug)]
pub struct TxRingSocket {
    /// The socket.
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
    /// TX-12).
    pub fn open(
        version: RingVersion,
        transmit: GeometryChoice,
        mtu: usize,
        budget: &Arc<MemoryBudget>,
    ) -> Result<TxRingSocket> {
        let choice = RingChoice { transmit, mtu, copy_hints: true, ..RingChoice::default() };
        let rings = Rings::open(version, &[Direction::Transmit], &choice, &nothing(), budget)?;
        let (ring, geometry) = rings.transmit.expect(ASKED_FOR);
        Ok(TxRingSocket { socket: rings.socket, ring, geometry, notes: rings.notes })
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
