//! The load's TX halves: frames are written one by one and handed to the kernel a batch at a time.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use super::plan::{BATCH_FRAMES, LoadConfig};
use crate::error::Result;
use crate::ring::budget::MemoryBudget;
use crate::ring::setup::TxRingSocket;
use crate::ring::tx::{Settled, TxRing};
use crate::ring::xsk::setup::{XskChoice, XskTransmitSocket};
use crate::sys::failure::failed;
use crate::sys::interface::called;
use crate::sys::kick::Kick;
use crate::sys::link::Link;
use crate::sys::packet::{PacketSocket, SendBatch, SocketType};

mod xsk;

pub use xsk::TxXsk;

/// A TX half by name, as the engine's paths have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TxChoice {
    /// AF_XDP: one system call for 32 frames, which go straight to the driver.
    Xsk,
    /// A TX ring: one system call a batch, the frames are written where the kernel takes them.
    #[default]
    Ring,
    /// `sendmmsg`: one system call a batch, the kernel copies.
    Mmsg,
    /// `send`: one system call a frame.
    Send,
}

impl TxChoice {
    /// All of them.
    pub const ALL: [TxChoice; 4] = [TxChoice::Xsk, TxChoice::Ring, TxChoice::Mmsg, TxChoice::Send];

    /// The one that every interface takes.
    pub const ANYWHERE: TxChoice = TxChoice::Ring;

    /// The fastest one for `senders` on an interface, of those that were measured there. Over a veth pair
    /// an AF_XDP socket sends 1.2 times what a TX ring does (docs/performance.md); it takes a queue for
    /// itself, so it is chosen for one sender only, where the frames of the MTU fit its UMEM and the
    /// process may lock the memory for it. On a NIC nothing was measured.
    pub fn best_on(link: &Link, senders: usize) -> TxChoice {
        let is_measured = link.is_veth() && senders == 1;
        let choice = XskChoice::new(link.index, 0, link.mtu as usize).for_batches(BATCH_FRAMES);
        let may_be_had = || XskTransmitSocket::try_out(&choice).is_ok();
        if is_measured && may_be_had() { TxChoice::Xsk } else { TxChoice::ANYWHERE }
    }

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            TxChoice::Xsk => "xsk",
            TxChoice::Ring => "ring",
            TxChoice::Mmsg => "mmsg",
            TxChoice::Send => "send",
        }
    }
}

impl fmt::Display for TxChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TxChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<TxChoice, String> {
        let known = TxChoice::ALL.into_iter().find(|one| one.name() == text.trim());
        known.ok_or_else(|| format!("unknown TX half '{text}': xsk, ring, mmsg, send"))
    }
}

/// Takes frames and makes the kernel send them, strictly in the order in which they were put.
pub trait TxHalf {
    /// Has `write` fill the next frame's room and say how long it is; false, and nothing called,
    /// when there is no room.
    fn put(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool;

    /// Makes the kernel take what was put; never waits. After an error some may have been taken.
    fn kick(&mut self) -> io::Result<()>;

    /// What the kernel has taken since the last call.
    fn settle(&mut self) -> Settled;

    /// Frames put that the kernel is not known to have taken.
    fn in_flight(&self) -> u64;

    /// Takes back what the kernel has not taken: how many frames, and what it had taken before.
    fn withdraw(&mut self) -> (u64, Settled);

    /// The longest frame, in bytes without FCS.
    fn frame_bytes_max(&self) -> usize;
}

/// A half that is lent for one burst.
impl<T: TxHalf> TxHalf for &mut T {
    fn put(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        (**self).put(write)
    }

    fn kick(&mut self) -> io::Result<()> {
        (**self).kick()
    }

    fn settle(&mut self) -> Settled {
        (**self).settle()
    }

    fn in_flight(&self) -> u64 {
        (**self).in_flight()
    }

    fn withdraw(&mut self) -> (u64, Settled) {
        (**self).withdraw()
    }

    fn frame_bytes_max(&self) -> usize {
        (**self).frame_bytes_max()
    }
}

/// Send buffer to ask for: a busy interface holds many frames, and the kernel charges each with
/// about a kilobyte. Best effort; the kernel caps it.
const SEND_BUFFER_BYTES: usize = 4 << 20;

/// A TX ring on a socket of its own, which never receives.
#[derive(Debug)]
pub struct TxRingHalf<K = PacketSocket> {
    socket: K,
    ring: TxRing,
}

impl TxRingHalf {
    /// Opens the ring on the configured interface; `bypass` sends past the queueing discipline.
    pub fn open(
        config: &LoadConfig,
        bypass: bool,
        budget: &Arc<MemoryBudget>,
        notes: &mut Vec<String>,
    ) -> Result<TxRingHalf> {
        let opened = TxRingSocket::open(config.tx_ring, config.mtu, budget)?;
        notes.extend(opened.notes);
        prepare(&opened.socket, config, bypass)?;
        Ok(TxRingHalf::new(opened.ring, opened.socket))
    }
}

impl<K: Kick> TxHalf for TxRingHalf<K> {
    #[inline]
    fn put(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let Some(mut slot) = self.ring.reserve() else { return false };
        let length = write(slot.bytes());
        // LoadConfig::check asked the same rule about every size.
        slot.commit(length).expect("a frame that the kernel takes");
        true
    }

    #[inline]
    fn kick(&mut self) -> io::Result<()> {
        self.socket.kick()
    }

    #[inline]
    fn settle(&mut self) -> Settled {
        self.ring.settle()
    }

    #[inline]
    fn in_flight(&self) -> u64 {
        self.ring.in_flight()
    }

    fn withdraw(&mut self) -> (u64, Settled) {
        self.ring.withdraw()
    }

    fn frame_bytes_max(&self) -> usize {
        self.ring.slot_capacity()
    }
}

impl<K> TxRingHalf<K> {
    /// The half of a ring and its socket.
    pub fn new(ring: TxRing, socket: K) -> TxRingHalf<K> {
        TxRingHalf { socket, ring }
    }
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
    pub fn open(config: &LoadConfig, mmsg: bool, bypass: bool) -> Result<TxCopy> {
        let socket = PacketSocket::open(SocketType::Raw)?;
        prepare(&socket, config, bypass)?;
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
    fn put(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let begin = self.lengths.len() * self.stride;
        let Some(room) = self.room.get_mut(begin..begin + self.stride) else { return false };
        self.lengths.push(write(room) as u32);
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

    fn withdraw(&mut self) -> (u64, Settled) {
        let withdrawn = self.in_flight();
        self.lengths.clear();
        self.head = 0;
        (withdrawn, self.settle())
    }

    fn frame_bytes_max(&self) -> usize {
        self.stride
    }
}

/// Options and binding of a socket that only sends. Bound to protocol 0, no frame is ever delivered
/// to it, and with bypass no driver sees a frame without its MAC header.
fn prepare(socket: &PacketSocket, config: &LoadConfig, bypass: bool) -> Result<()> {
    if bypass {
        socket.set_qdisc_bypass()?;
    }
    // The default holds fewer frames than a ring; less than was asked for is no error.
    let _ = socket.set_send_buffer(SEND_BUFFER_BYTES);
    let interface = config.interface;
    socket.bind(interface, 0).map_err(|error| {
        failed(format!("bind the generator's TX socket to {}", called(interface)), &error, "")
    })
}
