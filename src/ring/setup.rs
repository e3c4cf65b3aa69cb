//! Opening a socket with a ring, in the order that lets no foreign frame in (kernel-contract
//! RX-1, MEM-6): protocol 0, options, filter, rings, mapping, and only then the interface.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::budget::{MemoryBudget, Reservation};
use super::geometry::{Geometry, GeometryChoice};
use super::rx_v2::RxRingV2;
use super::rx_v3::RxRingV3;
use super::tx::TxRing;
use super::view::Memory;
use crate::error::{Error, Result};
use crate::sys::failure::failed;
use crate::sys::filter::{Instruction, nothing};
use crate::sys::mapping::page_bytes;
use crate::sys::packet::{Direction, PacketSocket, RingVersion, SocketType};
use crate::units::memory;

/// A receive ring.
#[derive(Debug)]
pub enum RxRing {
    /// `TPACKET_V2`.
    V2(RxRingV2),
    /// `TPACKET_V3`.
    V3(RxRingV3),
}

/// A packet socket with a receive ring; not bound yet.
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
        let asked = Geometry::plan(version, Direction::Receive, mtu, receive, page_bytes())?;
        let opened = Opened::with_ring(asked, filter, budget, |_| Ok(()))?;
        let Opened { socket, memory, geometry, notes } = opened;
        let ring = match version {
            RingVersion::V2 => RxRing::V2(RxRingV2::new(memory, &geometry)),
            RingVersion::V3 => RxRing::V3(RxRingV3::new(memory, &geometry)),
        };
        Ok(RxRingSocket { socket: Arc::new(socket), ring, geometry, notes })
    }
}

/// A packet socket with a TX ring, which receives nothing; not bound yet.
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
    /// The ring that would be asked for; an error names what no kernel would accept.
    pub fn plan(transmit: GeometryChoice, mtu: usize) -> Result<Geometry> {
        Geometry::plan(RingVersion::V2, Direction::Transmit, mtu, transmit, page_bytes())
    }

    /// Opens a socket with a TX ring whose shorter frames the kernel copies (TX-12).
    pub fn open(
        transmit: GeometryChoice,
        mtu: usize,
        budget: &Arc<MemoryBudget>,
    ) -> Result<TxRingSocket> {
        let asked = TxRingSocket::plan(transmit, mtu)?;
        let opened = Opened::with_ring(asked, &nothing(), budget, PacketSocket::set_vnet_header)?;
        let Opened { socket, memory, geometry, notes } = opened;
        Ok(TxRingSocket { socket, ring: TxRing::new(memory, &geometry, mtu), geometry, notes })
    }
}

/// A socket with the memory of one ring: a mapping covers all rings of its socket (MEM-4).
struct Opened {
    socket: PacketSocket,
    memory: Arc<Memory>,
    geometry: Geometry,
    notes: Vec<String>,
}

impl Opened {
    fn with_ring(
        asked: Geometry,
        filter: &[Instruction],
        budget: &Arc<MemoryBudget>,
        set_options: impl FnOnce(&PacketSocket) -> Result<()>,
    ) -> Result<Opened> {
        let reservation = budget.reserve(asked.memory_bytes())?;
        let socket = PacketSocket::open(SocketType::Raw)?;
        socket.attach_filter(filter)?;
        socket.set_version(asked.version()).map_err(Error::of_ring)?;
        socket.set_discard_bad_frames()?;
        set_options(&socket)?;
        let mut notes = Vec::new();
        let geometry = create(&socket, asked, &mut notes)?;
        let memory = map(&socket, geometry.bytes(), reservation)?;
        Ok(Opened { socket, memory, geometry, notes })
    }
}

fn map(socket: &PacketSocket, bytes: usize, reservation: Reservation) -> Result<Arc<Memory>> {
    let length = NonZeroUsize::new(bytes).expect("a geometry has at least two blocks");
    let mapping = socket.map_rings(length).map_err(|error| {
        failed(format!("map {} of packet rings", memory(bytes as u64)), &error, "").of_ring()
    })?;
    Ok(Memory::of_mapping(mapping, reservation))
}

/// Creates a ring, in smaller blocks where the kernel finds no contiguous memory (MEM-3).
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
