//! From a path's name to its two halves: the one place where the choice is made. Behind it
//! everything is monomorphised.

use std::io;
use std::sync::Arc;

use super::control::Control;
use super::half::{RxHalf, TxHalf};
use super::names::{PathName, RxName, TxName};
use super::rx_messages::RxMessages;
use super::rx_receive::RxReceive;
use super::rx_ring::RxRingHalf;
use super::rx_xsk::RxXsk;
use super::turn::TurnState;
use super::tx_forward::TxForward;
use super::tx_mmsg::TxMmsg;
use super::tx_send::TxSend;
use super::wait::Waiting;
use super::worker::{self, Reporter, WorkerReport};
use crate::error::Result;
use crate::ring::budget::MemoryBudget;
use crate::ring::geometry::{Geometry, GeometryChoice};
use crate::ring::outlet::Outlet;
use crate::ring::setup::{RxRing, RxRingSocket, TxRingSocket};
use crate::ring::tx::TxRing;
use crate::ring::xsk::XskTransmit;
use crate::ring::xsk::setup::{XskChoice, XskSocket, XskTransmitSocket};
use crate::sys::clock::SystemClock;
use crate::sys::epoll::Epoll;
use crate::sys::failure::failed;
use crate::sys::filter::{Instruction, Wanted};
use crate::sys::interface::called;
use crate::sys::packet::{ALL_PROTOCOLS, PacketSocket, ReceiveBatch, SocketType};
use crate::sys::xdp::XdpSocket;
use crate::units::memory;

/// What a path's sockets and rings are made from.
#[derive(Clone, Debug)]
pub struct PathPlan {
    /// Which path.
    pub path: PathName,
    /// The interface, by its index.
    pub interface: u32,
    /// The queue of the interface that AF_XDP halves bind to: one socket each.
    pub queue: u32,
    /// EtherTypes to let in; empty for all.
    pub ether_types: Vec<u16>,
    /// The receive ring.
    pub receive_ring: GeometryChoice,
    /// The TX ring.
    pub transmit_ring: GeometryChoice,
    /// The interface's MTU.
    pub mtu: usize,
    /// The cap on their memory.
    pub budget: Arc<MemoryBudget>,
    /// The longest frame that receive buffers of our own take, in bytes without FCS.
    pub frame_bytes_max: usize,
    /// Most frames that a receive half lends at once, where it has the choice.
    pub batch: usize,
    /// Whether frames are stamped on reception, where the kernel does not do so unasked.
    pub stamped: bool,
    /// Whether answers are sent past the queueing discipline.
    pub qdisc_bypass: bool,
    /// The send buffer to ask for, in bytes.
    pub send_buffer: Option<usize>,
}

/// A worker's loop over one path, ready to run.
pub type Loop = Box<
    dyn FnOnce(TurnState, Waiting<Epoll, SystemClock>, &Control, &mut Reporter) -> WorkerReport
        + Send,
>;

/// A path that is set up but receives nothing yet.
pub struct PreparedPath {
    /// Where frames will come in.
    pub inlet: Inlet,
    /// The loop to run.
    pub run: Loop,
    /// What it is made of, and what came out other than asked.
    pub notes: Vec<String>,
}

/// Where frames come into a path, once they are let in.
#[derive(Debug)]
pub enum Inlet {
    /// A packet socket, to be bound.
    Packet {
        /// The socket.
        socket: Arc<PacketSocket>,
        /// The filter that it has: what the path takes.
        filter: Vec<Instruction>,
    },
    /// An AF_XDP socket, bound to its queue, to which a program has to redirect.
    Xdp(Arc<XdpSocket>),
}

/// Sets a path up. Nothing is received until frames are let in.
pub fn prepare(plan: &PathPlan) -> Result<PreparedPath> {
    let PathName { rx, tx } = plan.path;
    if rx.needs_xdp_program() {
        return prepare_xdp(plan);
    }
    let wanted = Wanted { ether_types: plan.ether_types.clone(), tagged: plan.path.sees_tags() };
    let filter = wanted.program();
    let mut notes = Vec::new();
    let (socket, ring) = open_receive(plan, &filter, &mut notes)?;
    let shared = Arc::clone(&socket);
    let outlet = match tx {
        TxName::Xsk => open_transmit(plan, &mut notes)?,
        TxName::Ring => open_packet_outlet(plan, &mut notes)?,
        // A receive ring does not keep its socket from sending.
        TxName::Mmsg | TxName::Send => {
            notes.extend(set_send_options(plan, &socket)?);
            OpenedTx::Plain(Arc::clone(&socket))
        }
    };
    let buffers = |frames| -> Result<ReceiveBatch> {
        socket.tell_auxiliary()?;
        if plan.stamped {
            socket.tell_stamps()?;
        }
        Ok(ReceiveBatch::new(frames, plan.frame_bytes_max))
    };
    let run = match (ring, rx) {
        (Some((RxRing::V3(ring), geometry)), _) => {
            let frames = geometry.frames_per_loan();
            with_tx(RxRingHalf::new(ring, shared, frames), tx, outlet)
        }
        (Some((RxRing::V2(ring), _)), _) => {
            with_tx(RxRingHalf::new(ring, shared, plan.batch), tx, outlet)
        }
        (None, RxName::Recv) => with_tx(RxReceive::new(shared, plan.stamped), tx, outlet),
        (None, RxName::Recvmsg) => {
            with_tx(RxMessages::<false>::new(shared, buffers(1)?), tx, outlet)
        }
        (None, RxName::Mmsg) => {
            with_tx(RxMessages::<true>::new(shared, buffers(plan.batch)?), tx, outlet)
        }
        (None, RxName::V3 | RxName::V2 | RxName::Xsk) => unreachable!("opened with their rings"),
    };
    Ok(PreparedPath { inlet: Inlet::Packet { socket, filter }, run, notes })
}

/// What answers leave by.
enum OpenedTx {
    /// The TX ring of a packet socket.
    Ring(Outlet<TxRing, PacketSocket>),
    /// A packet socket without one.
    Plain(Arc<PacketSocket>),
    /// An AF_XDP socket.
    Xdp(Outlet<XskTransmit, XdpSocket>),
}

/// A loop from `rx` to the TX half of that name.
fn with_tx<R>(rx: R, tx: TxName, outlet: OpenedTx) -> Loop
where
    R: RxHalf + Send + 'static,
{
    let frames = rx.batch_frames_max();
    match outlet {
        OpenedTx::Ring(outlet) => loop_over(rx, outlet),
        OpenedTx::Plain(socket) => match tx {
            TxName::Mmsg => loop_over(rx, TxMmsg::new(socket, frames)),
            TxName::Send => loop_over(rx, TxSend::new(socket)),
            TxName::Ring | TxName::Xsk => unreachable!("opened as what they are"),
        },
        OpenedTx::Xdp(outlet) => loop_over(rx, outlet),
    }
}

/// Sets a path up that begins at an XDP program.
fn prepare_xdp(plan: &PathPlan) -> Result<PreparedPath> {
    let choice = XskChoice::new(plan.interface, plan.queue, plan.mtu);
    let opened = XskSocket::open(&choice, plan.batch, &plan.budget)?;
    let XskSocket { socket, receive, forward, zero_copy } = opened;
    let does = if plan.path.tx == TxName::Xsk { "receives and sends" } else { "receives" };
    let mut notes = vec![xsk_note(does, plan.queue, zero_copy)];
    let rx = RxXsk::new(Arc::clone(&socket), receive, plan.stamped);
    let run = if plan.path.tx == TxName::Xsk {
        loop_over(rx, TxForward::new(Arc::clone(&socket), forward))
    } else {
        let outlet = open_packet_outlet(plan, &mut notes)?;
        with_tx(rx, plan.path.tx, outlet)
    };
    Ok(PreparedPath { inlet: Inlet::Xdp(socket), run, notes })
}

/// Opens a packet socket that only sends: bound to protocol 0 it receives nothing.
fn open_packet_outlet(plan: &PathPlan, notes: &mut Vec<String>) -> Result<OpenedTx> {
    let (ring, socket) = if plan.path.tx == TxName::Ring {
        let opened = TxRingSocket::open(plan.transmit_ring, plan.mtu, &plan.budget)?;
        notes.extend(opened.notes);
        notes.push(ring_note("TX", &opened.geometry));
        (Some(opened.ring), opened.socket)
    } else {
        (None, PacketSocket::open(SocketType::Raw)?)
    };
    notes.extend(set_send_options(plan, &socket)?);
    let interface = plan.interface;
    socket.bind(interface, 0).map_err(|error| {
        failed(format!("bind a packet socket that sends to {}", called(interface)), &error, "")
    })?;
    Ok(match ring {
        Some(ring) => OpenedTx::Ring(Outlet::new(ring, socket)),
        None => OpenedTx::Plain(Arc::new(socket)),
    })
}

/// Opens an AF_XDP socket that only sends.
fn open_transmit(plan: &PathPlan, notes: &mut Vec<String>) -> Result<OpenedTx> {
    let choice = XskChoice::new(plan.interface, plan.queue, plan.mtu).for_batches(plan.batch);
    let opened = XskTransmitSocket::open(&choice, &plan.budget)?;
    notes.push(xsk_note("sends", plan.queue, opened.zero_copy));
    Ok(OpenedTx::Xdp(Outlet::new(opened.ring, opened.socket)))
}

fn xsk_note(does: &str, queue: u32, zero_copy: bool) -> String {
    let how = if zero_copy { "zero-copy" } else { "the kernel copies" };
    let past = if does == "receives" { "" } else { ", past the queueing discipline" };
    format!("an AF_XDP socket {does} on queue {queue}: {how}{past}")
}

/// A socket that receives, with its ring if it has one.
type RxOpened = (Arc<PacketSocket>, Option<(RxRing, Geometry)>);

/// Opens the socket that frames are received by, with its ring if it has one.
fn open_receive(
    plan: &PathPlan,
    filter: &[Instruction],
    notes: &mut Vec<String>,
) -> Result<RxOpened> {
    let Some(version) = plan.path.rx.ring() else {
        let socket = PacketSocket::open(SocketType::Raw)?;
        socket.attach_filter(filter)?;
        notes.push(grow_receive_buffer(&socket)?);
        return Ok((Arc::new(socket), None));
    };
    let opened = RxRingSocket::open(version, plan.receive_ring, plan.mtu, filter, &plan.budget)?;
    notes.extend(opened.notes);
    notes.push(ring_note("receive", &opened.geometry));
    Ok((opened.socket, Some((opened.ring, opened.geometry))))
}

fn ring_note(which: &str, geometry: &Geometry) -> String {
    format!("{which} ring {}: {geometry}", memory(geometry.bytes() as u64))
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
    Box::new(move |state, waiting, control, reporter| {
        worker::run(rx, tx, state, waiting, control, reporter)
    })
}

/// Makes the socket send as asked, and says what came out.
fn set_send_options(plan: &PathPlan, socket: &PacketSocket) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    if plan.qdisc_bypass {
        socket.set_qdisc_bypass()?;
        notes.push("answers are sent past the queueing discipline".into());
    }
    if let Some(bytes) = plan.send_buffer {
        let granted = socket
            .set_send_buffer(bytes)
            .map_err(|error| failed("set the socket's send buffer", &error, ""))?;
        notes.push(buffer_note("send", bytes, granted, "wmem_max"));
    }
    Ok(notes)
}

/// As much buffer as the rings have by default, so that the comparison is between paths and not
/// between buffer sizes.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

fn grow_receive_buffer(socket: &PacketSocket) -> Result<String> {
    let granted = socket
        .set_receive_buffer(RECEIVE_BUFFER_BYTES)
        .map_err(|error: io::Error| failed("raise the socket's receive buffer", &error, ""))?;
    Ok(buffer_note("receive", RECEIVE_BUFFER_BYTES, granted, "rmem_max"))
}

fn buffer_note(which: &str, asked: usize, granted: usize, limit: &str) -> String {
    let (asked, granted) = (memory(asked as u64), memory(granted as u64));
    format!(
        "{which} buffer {granted} as the kernel counts it (asked for {asked}, limit net.core.{limit})"
    )
}
