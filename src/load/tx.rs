//! The load's TX halves: frames are written one by one and handed to the kernel a batch at a time.

use std::io;
use std::sync::Arc;

pub use super::choice::TxChoice;
pub use super::half::TxHalf;
use super::live::TxLive;
use super::plan::LoadSpec;
use super::template::{NextFrame, Template};
use crate::error::{Error, Result};
use crate::ring::budget::MemoryBudget;
use crate::ring::outlet::Outlet;
use crate::ring::setup::TxRingSocket;
use crate::ring::slots::{Settled, Slots};
use crate::ring::tx::TxRing;
use crate::ring::xsk::XskTransmit;
use crate::ring::xsk::setup::{XskChoice, XskTransmitSocket};
use crate::sys::failure::failed;
use crate::sys::interface::called;
use crate::sys::kick::Kick;
use crate::sys::packet::{PacketSocket, SendBatch, SocketType};
use crate::sys::xdp::XdpSocket;
use crate::units::FrameSize;

/// Send buffer to ask for: a busy interface holds many frames, and the kernel charges each with
/// about a kilobyte. Best effort; the kernel caps it.
const SEND_BUFFER_BYTES: usize = 4 << 20;

/// TX slots of a ring or of an AF_XDP socket. A frame that the driver dropped has left like the others:
/// no kick sends it again. It counts as sent and will be missing among the echoes, and the interface's
/// `tx_dropped` says where it stayed.
impl<S: Slots, K: Kick> TxHalf for Outlet<S, K> {
    #[inline]
    fn put(&mut self, frame: NextFrame<'_>) -> bool {
        let has_room = self.has_room();
        if has_room {
            // LoadSpec::check asked the kernel's rule about every size.
            Outlet::put(self, |room| frame.write(room));
        }
        has_room
    }

    #[inline]
    fn kick(&mut self) -> io::Result<()> {
        Outlet::kick(self)
    }

    #[inline]
    fn settle(&mut self) -> Settled {
        let Settled { frames, bytes, dropped, dropped_bytes, .. } = Outlet::settle(self);
        Settled { frames: frames + dropped, bytes: bytes + dropped_bytes, ..Settled::default() }
    }

    #[inline]
    fn in_flight(&self) -> u64 {
        Outlet::in_flight(self)
    }

    fn withdraw(&mut self) {
        Outlet::withdraw(self);
    }

    fn frame_bytes_max(&self) -> usize {
        Outlet::frame_bytes_max(self)
    }
}

/// A TX half that was opened and bound.
#[derive(Debug)]
pub enum AnyTx {
    /// `xsk`
    Xsk(Outlet<XskTransmit, XdpSocket>),
    /// `ring`
    Ring(Outlet<TxRing, PacketSocket>),
    /// `mmsg` and `send`
    Copy(TxCopy),
    /// `live`
    Live(TxLive),
}

/// `$work` with the half that an [`AnyTx`] holds, compiled for each kind.
macro_rules! with_tx {
    ($any:expr, $half:ident => $work:expr) => {
        match $any {
            $crate::load::tx::AnyTx::Xsk($half) => $work,
            $crate::load::tx::AnyTx::Ring($half) => $work,
            $crate::load::tx::AnyTx::Copy($half) => $work,
            $crate::load::tx::AnyTx::Live($half) => $work,
        }
    };
}
pub(super) use with_tx;

/// Opens the half of `sender` on the configured interface. An AF_XDP socket takes the queue with the
/// sender's number; its frames go straight to the driver, unseen by packet captures.
pub fn open(
    choice: TxChoice,
    config: &LoadSpec,
    template: &Arc<Template>,
    sender: usize,
    budget: &Arc<MemoryBudget>,
    notes: &mut Vec<String>,
) -> Result<AnyTx> {
    let opened = match choice {
        TxChoice::Xsk => {
            let choice = XskChoice::new(config.interface, sender as u32, config.mtu);
            let opened = XskTransmitSocket::open(&choice.for_batches(config.batch), budget)?;
            AnyTx::Xsk(Outlet::new(opened.ring, opened.socket))
        }
        TxChoice::Ring => {
            let opened = TxRingSocket::open(config.tx_ring, config.mtu, budget)?;
            notes.extend(opened.notes);
            prepare(&opened.socket, config)?;
            AnyTx::Ring(Outlet::new(opened.ring, opened.socket))
        }
        TxChoice::Mmsg | TxChoice::Send => {
            AnyTx::Copy(TxCopy::open(config, choice == TxChoice::Mmsg)?)
        }
        TxChoice::Live => AnyTx::Live(TxLive::open(config, template)?),
    };
    let room = with_tx!(&opened, half => half.frame_bytes_max());
    let longest = config.sizes.all().max().map_or(0, FrameSize::socket_bytes);
    if room < longest {
        return Err(Error::Usage(format!(
            "frames of {longest} bytes do not fit the TX half's slots of {room}"
        )));
    }
    Ok(opened)
}

/// Frames in memory of our own, which the kernel copies when it is given them.
#[derive(Debug)]
pub struct TxCopy {
    socket: PacketSocket,
    room: Box<[u8]>,
    /// Room of one frame.
    stride: usize,
    /// Lengths of the frames put; emptied when all are taken.
    lengths: Vec<u32>,
    /// Frames of these that are taken.
    head: usize,
    settled: Settled,
    /// `sendmmsg`, or `send` where there is none.
    batch: Option<SendBatch>,
}

impl TxCopy {
    /// Opens a socket on the configured interface; `mmsg` chooses `sendmmsg` over `send`, `bypass`
    /// sends past the queueing discipline.
    pub fn open(config: &LoadSpec, mmsg: bool) -> Result<TxCopy> {
        let socket = PacketSocket::open(SocketType::Raw)?;
        prepare(&socket, config)?;
        let longest = config.sizes.all().last().map_or(0, |size| size.socket_bytes());
        // A cache line each at least, and none shared.
        let stride = longest.next_multiple_of(64);
        let frames = config.batch.min(1024);
        Ok(TxCopy {
            socket,
            room: vec![0; stride * frames].into(),
            stride,
            lengths: Vec::with_capacity(frames),
            head: 0,
            settled: Settled::default(),
            batch: mmsg.then(|| SendBatch::new(frames)),
        })
    }

    fn take(&mut self, frames: usize) {
        let taken = &self.lengths[self.head..self.head + frames];
        self.settled.frames += frames as u64;
        self.settled.bytes += taken.iter().map(|&length| u64::from(length)).sum::<u64>();
        self.head += frames;
        if self.head == self.lengths.len() {
            self.lengths.clear();
            self.head = 0;
        }
    }
}

impl TxHalf for TxCopy {
    #[inline]
    fn put(&mut self, frame: NextFrame<'_>) -> bool {
        let begin = self.lengths.len() * self.stride;
        let Some(room) = self.room.get_mut(begin..begin + self.stride) else { return false };
        self.lengths.push(frame.write(room) as u32);
        true
    }

    #[inline]
    fn kick(&mut self) -> io::Result<()> {
        while self.in_flight() > 0 {
            let TxCopy { socket, room, stride, lengths, head, batch, .. } = self;
            let frame = |place: usize| &room[place * *stride..][..lengths[place] as usize];
            let taken = match batch {
                Some(batch) => socket.send_batch(batch, (*head..lengths.len()).map(frame))?,
                None => socket.send(frame(*head)).map(|_| 1)?,
            };
            if taken == 0 {
                return Ok(());
            }
            self.take(taken);
        }
        Ok(())
    }

    #[inline]
    fn settle(&mut self) -> Settled {
        std::mem::take(&mut self.settled)
    }

    #[inline]
    fn in_flight(&self) -> u64 {
        (self.lengths.len() - self.head) as u64
    }

    fn withdraw(&mut self) {
        self.lengths.clear();
        self.head = 0;
    }

    fn frame_bytes_max(&self) -> usize {
        self.stride
    }
}

/// Options and binding of a socket that only sends. Bound to protocol 0, no frame is ever delivered
/// to it, and with bypass no driver sees a frame without its MAC header.
fn prepare(socket: &PacketSocket, config: &LoadSpec) -> Result<()> {
    if config.qdisc_bypass {
        socket.set_qdisc_bypass()?;
    }
    // The default holds fewer frames than a ring; less than was asked for is no error.
    let _ = socket.set_send_buffer(SEND_BUFFER_BYTES);
    let interface = config.interface;
    socket.bind(interface, 0).map_err(|error| {
        failed(format!("bind the generator's TX socket to {}", called(interface)), &error, "")
    })
}
