//! From a path's name to its two halves: the one place where the choice is made. Behind it
//! everything is monomorphised.

use std::io;
use std::sync::Arc;

use super::config::PathName;
use super::control::Control;
use super::half::{RxHalf, TxHalf};
use super::rx_receive::RxReceive;
use super::rx_v2::RxV2;
use super::rx_v3::RxV3;
use super::turn::TurnState;
use super::tx_ring::TxRingHalf;
use super::tx_send::TxSend;
use super::wait::Rest;
use super::worker::{self, Reporter, WorkerReport};
use crate::error::{Error, Result};
use crate::ring::budget::MemoryBudget;
use crate::ring::setup::{RingChoice, RingSocket, RxRing};
use crate::sys::failure::failed;
use crate::sys::filter::{Instruction, Wanted};
use crate::sys::packet::{ALL_PROTOCOLS, PacketSocket, RingVersion, SocketType};
use crate::units::memory;

/// What a path's sockets and rings are made from.
#[derive(Clone, Debug)]
pub struct PathPlan {
    /// Which path.
    pub path: PathName,
    /// EtherTypes to let in; empty for all.
    pub ether_types: Vec<u16>,
    /// The rings.
    pub rings: RingChoice,
    /// The cap on their memory.
    pub budget: Arc<MemoryBudget>,
    /// Whether frames are stamped on reception, where the kernel does not do so unasked.
    pub stamped: bool,
}

/// A worker's loop over one path, ready to run.
pub type Loop = Box<dyn FnOnce(TurnState, Rest, &Control, &mut Reporter) -> WorkerReport + Send>;

/// A path that is set up but receives nothing yet.
pub struct PreparedPath {
    /// The socket to bind.
    pub socket: Arc<PacketSocket>,
    /// The filter that it has: what the path takes.
    pub filter: Vec<Instruction>,
    /// The loop to run.
    pub run: Loop,
    /// What it is made of, and what came out other than asked.
    pub notes: Vec<String>,
}

/// Sets a path up. Nothing is received until the socket is bound.
pub fn prepare(plan: &PathPlan) -> Result<PreparedPath> {
    let wanted = Wanted { ether_types: plan.ether_types.clone(), tagged: plan.path.sees_tags() };
    let filter = wanted.program();
    let version = match plan.path {
        PathName::SYSCALL => {
            let socket = PacketSocket::open(SocketType::Raw)?;
            socket.attach_filter(&filter)?;
            let notes = vec![grow_receive_buffer(&socket)?];
            let socket = Arc::new(socket);
            let rx = RxReceive::new(Arc::clone(&socket), plan.stamped);
            let tx = TxSend::new(Arc::clone(&socket));
            return Ok(PreparedPath { socket, filter, run: loop_over(rx, tx), notes });
        }
        PathName::RING => RingVersion::V3,
        PathName::RING_V2 => RingVersion::V2,
        other => return Err(Error::Usage(format!("the path {other} is not built yet"))),
    };
    let rings = RingSocket::open(version, &plan.rings, &filter, &plan.budget)?;
    let RingSocket { socket, receive, transmit, receive_geometry, transmit_geometry, mut notes } =
        rings;
    notes.push(format!(
        "receive ring {}: {receive_geometry}; TX ring {}: {transmit_geometry}",
        memory(receive_geometry.bytes() as u64),
        memory(transmit_geometry.bytes() as u64),
    ));
    let tx = TxRingHalf::new(transmit, Arc::clone(&socket));
    let run = match receive {
        RxRing::V3(ring) => {
            let frames = receive_geometry.frames_per_loan();
            loop_over(RxV3::new(ring, Arc::clone(&socket), frames), tx)
        }
        RxRing::V2(ring) => loop_over(RxV2::new(ring, Arc::clone(&socket)), tx),
    };
    Ok(PreparedPath { socket, filter, run, notes })
}

/// Binds a prepared socket to its interface: frames arrive from here on.
pub fn bind(socket: &PacketSocket, index: u32, name: &str, promiscuous: bool) -> Result<()> {
    // A copy less for the kernel to make; the filter keeps outgoing frames out in any case.
    let _ = socket.ignore_outgoing();
    socket
        .bind(index, ALL_PROTOCOLS)
        .map_err(|error| failed(format!("bind a packet socket to {name}"), &error, ""))?;
    if promiscuous {
        socket.join_promiscuous(index)?;
    }
    Ok(())
}

fn loop_over<R, T>(rx: R, tx: T) -> Loop
where
    R: RxHalf + Send + 'static,
    T: TxHalf + Send + 'static,
{
    Box::new(move |state, rest, control, reporter| {
        worker::run(rx, tx, state, rest, control, reporter)
    })
}

/// As much buffer as the rings have by default, so that the comparison is between paths and not
/// between buffer sizes.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

fn grow_receive_buffer(socket: &PacketSocket) -> Result<String> {
    let granted = socket
        .set_receive_buffer(RECEIVE_BUFFER_BYTES)
        .map_err(|error: io::Error| failed("raise the socket's receive buffer", &error, ""))?;
    let asked = memory(RECEIVE_BUFFER_BYTES as u64);
    let granted = memory(granted as u64);
    Ok(format!(
        "receive buffer {granted} as the kernel counts it (asked for {asked}, limit net.core.rmem_max)"
    ))
}
