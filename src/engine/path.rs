//! From a path's name to its two halves: the one place where the choice is made. Behind it
//! everything is monomorphised.

use std::io;
use std::sync::Arc;

use super::config::EngineConfig;
use super::control::Control;
use super::half::{RxHalf, TxHalf};
use super::names::{RxName, TxName};
use super::rx_messages::RxMessages;
use super::rx_receive::RxReceive;
use super::rx_ring::RxRingHalf;
use super::rx_xsk::RxXsk;
use super::turn::{LatencyMode, TurnState};
use super::tx_forward::TxForward;
use super::tx_mmsg::TxMmsg;
use super::tx_send::TxSend;
use super::wait::Waiting;
use super::worker::{self, Reporter, WorkerReport};
use crate::error::Result;
use crate::ring::bpf::BpfSlots;
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
use crate::sys::kick::NoKick;
use crate::sys::link::Link;
use crate::sys::packet::{ALL_PROTOCOLS, PacketSocket, ReceiveBatch, SocketType};
use crate::sys::xdp::XdpSocket;
use crate::units::{FrameSize, memory};

/// What one worker's path is made from.
#[derive(Clone, Debug)]
pub struct PathPlan {
    /// What its engine is asked for.
    pub config: EngineConfig,
    /// The interface.
    pub link: Link,
    /// The queue of the interface that AF_XDP halves bind to: one socket each.
    pub queue: u32,
}

impl PathPlan {
    fn mtu(&self) -> usize {
        self.link.mtu as usize
    }

    fn ring(&self, choice: GeometryChoice) -> GeometryChoice {
        let longest = choice.longest.or(self.config.max_frame.map(FrameSize::socket_bytes));
        GeometryChoice { longest, ..choice }
    }

    fn xsk(&self) -> XskChoice {
        let hardware = self.link.kind.is_none();
        XskChoice { hardware, ..XskChoice::new(self.link.index, self.queue, self.mtu()) }
    }

    /// Whether frames are stamped on reception, where the kernel does not do so unasked.
    fn stamped(&self) -> bool {
        self.config.latency != LatencyMode::Off
    }
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
    let EngineConfig { path, ref ether_types, batch, transmit_ring, .. } = plan.config;
    if path.tx == TxName::Ring {
        // Before any socket is opened: what cannot be is a usage error, also of who may not open one.
        TxRingSocket::plan(plan.ring(transmit_ring), plan.mtu())?;
    }
    if path.needs_xdp_program() {
        return prepare_xdp(plan);
    }
    let ether_types = ether_types.iter().map(|ether_type| ether_type.0).collect();
    let filter = Wanted { ether_types, tagged: path.sees_tags() }.program();
    let mut notes = Vec::new();
    let (socket, ring) = open_receive(plan, &filter, &mut notes)?;
    let outlet = open_tx(plan, Some(&socket), &mut notes)?;
    let shared = Arc::clone(&socket);
    let buffers = |frames| -> Result<ReceiveBatch> {
        socket.tell_auxiliary()?;
        if plan.stamped() {
            socket.tell_stamps()?;
        }
        Ok(ReceiveBatch::new(frames, plan.config.frame_bytes_max(plan.mtu())))
    };
    let run = match (ring, path.rx) {
        (Some((RxRing::V3(ring), geometry)), _) => {
            with_tx(RxRingHalf::new(ring, shared, geometry.frames_per_loan()), outlet)
        }
        (Some((RxRing::V2(ring), _)), _) => with_tx(RxRingHalf::new(ring, shared, batch), outlet),
        (None, RxName::Recv) => with_tx(RxReceive::new(shared, plan.stamped()), outlet),
        (None, RxName::Recvmsg) => with_tx(RxMessages::<false>::new(shared, buffers(1)?), outlet),
        (None, RxName::Mmsg) => with_tx(RxMessages::<true>::new(shared, buffers(batch)?), outlet),
        (None, RxName::V3 | RxName::V2 | RxName::Xsk) => unreachable!("opened with their rings"),
    };
    Ok(PreparedPath { inlet: Inlet::Packet { socket, filter }, run, notes })
}

/// What answers leave by.
enum OpenedTx {
    Ring(Outlet<TxRing, PacketSocket>),
    Mmsg(Arc<PacketSocket>),
    Send(Arc<PacketSocket>),
    Xsk(Outlet<XskTransmit, XdpSocket>),
    Bpf(Outlet<BpfSlots, NoKick>),
}

/// A loop from `rx` to a TX half.
fn with_tx<R>(rx: R, outlet: OpenedTx) -> Loop
where
    R: RxHalf + Send + 'static,
{
    let frames = rx.batch_frames_max();
    match outlet {
        OpenedTx::Ring(outlet) => loop_over(rx, outlet),
        OpenedTx::Mmsg(socket) => loop_over(rx, TxMmsg::new(socket, frames)),
        OpenedTx::Send(socket) => loop_over(rx, TxSend::new(socket)),
        OpenedTx::Xsk(outlet) => loop_over(rx, outlet),
        OpenedTx::Bpf(outlet) => loop_over(rx, outlet),
    }
}

/// Sets a path up that begins at an XDP program.
fn prepare_xdp(plan: &PathPlan) -> Result<PreparedPath> {
    let EngineConfig { path, batch, ref ring_memory, .. } = plan.config;
    let XskSocket { socket, receive, forward, zero_copy } =
        XskSocket::open(&plan.xsk(), batch, ring_memory)?;
    let forwards = path.tx == TxName::Xsk;
    let does = if forwards { "receives and sends" } else { "receives" };
    let mut notes = vec![xsk_note(does, plan.queue, zero_copy)];
    let rx = RxXsk::new(Arc::clone(&socket), receive, plan.stamped());
    let run = if forwards {
        loop_over(rx, TxForward::new(Arc::clone(&socket), forward))
    } else {
        with_tx(rx, open_tx(plan, None, &mut notes)?)
    };
    Ok(PreparedPath { inlet: Inlet::Xdp(socket), run, notes })
}

/// Opens what answers leave by. Plain frames leave by the packet socket `receiver`, if there is one: a
/// receive ring does not keep its socket from sending.
fn open_tx(
    plan: &PathPlan,
    receiver: Option<&Arc<PacketSocket>>,
    notes: &mut Vec<String>,
) -> Result<OpenedTx> {
    let config = &plan.config;
    let mut plain = || match receiver {
        Some(socket) => {
            set_send_options(config, socket, notes)?;
            Ok(Arc::clone(socket))
        }
        None => open_sender(plan, PacketSocket::open(SocketType::Raw)?, notes).map(Arc::new),
    };
    Ok(match config.path.tx {
        TxName::Mmsg => OpenedTx::Mmsg(plain()?),
        TxName::Send => OpenedTx::Send(plain()?),
        TxName::Ring => {
            let ring = plan.ring(config.transmit_ring);
            let opened = TxRingSocket::open(ring, plan.mtu(), &config.ring_memory)?;
            notes.extend(opened.notes);
            notes.push(ring_note("TX", &opened.geometry));
            OpenedTx::Ring(Outlet::new(opened.ring, open_sender(plan, opened.socket, notes)?))
        }
        TxName::Xsk => {
            let choice = plan.xsk().for_batches(config.batch);
            let opened = XskTransmitSocket::open(&choice, &config.ring_memory)?;
            notes.push(xsk_note("sends", plan.queue, opened.zero_copy));
            OpenedTx::Xsk(Outlet::new(opened.ring, opened.socket))
        }
        TxName::Bpf => {
            let slots = BpfSlots::open(plan.link.index, plan.mtu())?;
            notes.push("a BPF program sends, past the queueing discipline".into());
            OpenedTx::Bpf(Outlet::new(slots, NoKick))
        }
    })
}

/// Makes `socket` one that only sends: bound to protocol 0 it receives nothing (RX-1).
fn open_sender(
    plan: &PathPlan,
    socket: PacketSocket,
    notes: &mut Vec<String>,
) -> Result<PacketSocket> {
    set_send_options(&plan.config, &socket, notes)?;
    let Link { index, ref name, .. } = plan.link;
    socket.bind(index, 0).map_err(|error| {
        failed(format!("bind a packet socket that sends to {name}"), &error, "")
    })?;
    Ok(socket)
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
    let config = &plan.config;
    let Some(version) = config.path.rx.ring() else {
        let socket = PacketSocket::open(SocketType::Raw)?;
        socket.attach_filter(filter)?;
        notes.push(grow_receive_buffer(&socket)?);
        return Ok((Arc::new(socket), None));
    };
    let ring = plan.ring(config.receive_ring);
    let opened = RxRingSocket::open(version, ring, plan.mtu(), filter, &config.ring_memory)?;
    notes.extend(opened.notes);
    notes.push(ring_note("receive", &opened.geometry));
    Ok((opened.socket, Some((opened.ring, opened.geometry))))
}

fn ring_note(which: &str, geometry: &Geometry) -> String {
    format!("{which} ring {}: {geometry}", memory(geometry.bytes() as u64))
}

/// Binds a prepared socket to its interface: frames arrive from here on.
pub fn bind(socket: &PacketSocket, plan: &PathPlan) -> Result<()> {
    let Link { index, ref name, .. } = plan.link;
    // A copy less for the kernel to make (RX-8); the filter keeps outgoing frames out in any case.
    let _ = socket.ignore_outgoing();
    socket
        .bind(index, ALL_PROTOCOLS)
        .map_err(|error| failed(format!("bind a packet socket to {name}"), &error, ""))?;
    if plan.config.promiscuous {
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

/// Makes the socket send as asked, and notes what came out.
fn set_send_options(
    config: &EngineConfig,
    socket: &PacketSocket,
    notes: &mut Vec<String>,
) -> Result<()> {
    if config.qdisc_bypass {
        socket.set_qdisc_bypass()?;
        notes.push("answers are sent past the queueing discipline".into());
    }
    if let Some(bytes) = config.send_buffer {
        let granted = socket
            .set_send_buffer(bytes)
            .map_err(|error| failed("set the socket's send buffer", &error, ""))?;
        notes.push(buffer_note("send", bytes, granted, "wmem_max"));
    }
    Ok(())
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
