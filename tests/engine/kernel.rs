//! Fake kernels under the shipped halves: they take the place of the sockets.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Range;
use std::rc::Rc;

use linerate::engine::half::{RxHalf, TxHalf};
use linerate::engine::rx_ring::{RxRingHalf, RxSocket};
use linerate::engine::rx_xsk::{RxXsk, XskSocket};
use linerate::engine::tx_forward::TxForward;
use linerate::engine::tx_mmsg::TxMmsg;
use linerate::engine::tx_send::TxSend;
use linerate::ring::fake::{Arrival, FakeRxV2, FakeRxV3, FakeTx, Fate};
use linerate::ring::geometry::{Geometry, GeometryChoice};
use linerate::ring::outlet::Outlet;
use linerate::ring::rx_v2::RxRingV2;
use linerate::ring::rx_v3::RxRingV3;
use linerate::ring::tx::TxRing;
use linerate::ring::xsk::XskTransmit;
use linerate::ring::xsk::fake::{FakeXsk, XskFate};
use linerate::stats::counters::KernelCounters;
use linerate::sys::kick::{Kick, SendFrames};
use linerate::sys::packet::{Direction, Gathered, RingVersion};
use linerate::sys::xdp::XdpStatistics;

pub const EINVAL: i32 = 22;
pub const EMSGSIZE: i32 = 90;
pub const ENETDOWN: i32 = 100;
pub const ENOBUFS: i32 = 105;

/// Answers that a TX half holds at once, unless it says otherwise.
pub const ROOM: usize = 8;
pub const FREELY: usize = usize::MAX;

/// What all TX halves send into: a queue that takes a number of frames, refuses one call, and is empty
/// again.
#[derive(Debug, Default)]
pub struct Wire {
    /// Frames taken between two refusals.
    pub frames_per_refusal: usize,
    left: usize,
    /// What was taken.
    pub sent: Vec<Vec<u8>>,
    /// Where it lay when it was taken.
    pub addresses: Vec<Range<usize>>,
    /// System calls so far.
    pub calls: usize,
    /// Calls that were refused.
    pub refusals: usize,
    /// Errors of the next calls, which take nothing.
    pub errors: Vec<i32>,
    /// Longer frames are refused for good (EMSGSIZE, where a socket tells).
    pub bytes_max: Option<usize>,
    /// The kernel stops at the next slot that it looks at.
    pub wrong_format_next: bool,
}

pub type SharedWire = Rc<RefCell<Wire>>;

pub fn wire(frames_per_refusal: usize) -> SharedWire {
    let wire = Wire { frames_per_refusal, left: frames_per_refusal, ..Wire::default() };
    Rc::new(RefCell::new(wire))
}

impl Wire {
    pub fn open(&mut self, frames_per_refusal: usize) {
        (self.frames_per_refusal, self.left) = (frames_per_refusal, frames_per_refusal);
    }

    fn begin_call(&mut self) -> io::Result<()> {
        self.calls += 1;
        match self.errors.pop() {
            Some(code) => Err(io::Error::from_raw_os_error(code)),
            None => Ok(()),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), i32> {
        if self.bytes_max.is_some_and(|most| bytes.len() > most) {
            return Err(EMSGSIZE);
        }
        if self.left == 0 {
            self.left = self.frames_per_refusal;
            self.refusals += 1;
            return Err(ENOBUFS);
        }
        self.left -= 1;
        let start = bytes.as_ptr().addr();
        self.addresses.push(start..start + bytes.len());
        self.sent.push(bytes.to_vec());
        Ok(())
    }
}

/// A socket that sends what it is given.
#[derive(Debug)]
pub struct PlainSocket(SharedWire);

impl SendFrames for PlainSocket {
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        let mut wire = self.0.borrow_mut();
        wire.begin_call()?;
        wire.take(frame).map_err(io::Error::from_raw_os_error)
    }

    fn send_gathered(&self, frames: &mut Gathered<'_>) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        wire.begin_call()?;
        let mut taken = 0;
        for frame in frames.iter() {
            match wire.take(frame) {
                Ok(()) => taken += 1,
                // The reason shows only when it is the first of a call.
                Err(code) if taken > 0 => {
                    wire.errors.push(code);
                    return Ok(taken);
                }
                Err(code) => return Err(io::Error::from_raw_os_error(code)),
            }
        }
        Ok(taken)
    }
}

/// The socket of a TX ring.
#[derive(Debug)]
pub struct TxRingSocket {
    kernel: RefCell<FakeTx>,
    wire: SharedWire,
}

impl Kick for TxRingSocket {
    fn kick(&self) -> io::Result<()> {
        let mut wire = self.wire.borrow_mut();
        wire.begin_call()?;
        let mut result = Ok(());
        self.kernel.borrow_mut().send(|bytes| {
            if std::mem::take(&mut wire.wrong_format_next) {
                result = Err(io::Error::from_raw_os_error(EINVAL));
                return Fate::WrongFormat;
            }
            match wire.take(bytes) {
                Ok(()) => Fate::Complete,
                Err(code) => {
                    result = Err(io::Error::from_raw_os_error(code));
                    Fate::Busy
                }
            }
        });
        result
    }
}

/// An AF_XDP socket.
#[derive(Clone, Debug)]
pub struct UmemSocket {
    kernel: Rc<RefCell<FakeXsk>>,
    wire: SharedWire,
}

impl Kick for UmemSocket {
    fn kick(&self) -> io::Result<()> {
        let mut wire = self.wire.borrow_mut();
        wire.begin_call()?;
        let fate = |bytes: &[u8]| match wire.take(bytes) {
            Ok(()) => XskFate::Complete,
            Err(_) => XskFate::Full,
        };
        self.kernel.borrow_mut().kick(&mut Vec::new(), fate)
    }
}

impl XskSocket for UmemSocket {
    fn wake_receiver(&self) -> io::Result<()> {
        Ok(())
    }

    fn statistics(&self) -> io::Result<XdpStatistics> {
        let rx_dropped = self.kernel.borrow().rx_dropped;
        Ok(XdpStatistics { rx_dropped, ..XdpStatistics::default() })
    }

    fn take_error(&self) -> Option<io::Error> {
        None
    }
}

/// A TX half with its kernel.
pub trait MakeTx: TxHalf + Sized {
    /// Answers that it holds while the kernel takes none.
    const ROOM: usize = ROOM;

    fn make(wire: &SharedWire) -> Self;
}

impl MakeTx for Outlet<TxRing, TxRingSocket> {
    fn make(wire: &SharedWire) -> Self {
        let (ring, kernel) = FakeTx::pair(&geometry(RingVersion::V2, Direction::Transmit), 1500);
        let kernel = RefCell::new(kernel);
        Outlet::new(ring, TxRingSocket { kernel, wire: Rc::clone(wire) })
    }
}

impl MakeTx for Outlet<XskTransmit, UmemSocket> {
    fn make(wire: &SharedWire) -> Self {
        let (ring, kernel) = FakeXsk::sending(ROOM, 2048, 1500);
        let kernel = Rc::new(RefCell::new(kernel));
        Outlet::new(ring, UmemSocket { kernel, wire: Rc::clone(wire) })
    }
}

impl MakeTx for TxMmsg<PlainSocket> {
    fn make(wire: &SharedWire) -> Self {
        TxMmsg::new(PlainSocket(Rc::clone(wire)), ROOM)
    }
}

impl MakeTx for TxSend<PlainSocket> {
    const ROOM: usize = 1;

    fn make(wire: &SharedWire) -> Self {
        TxSend::new(PlainSocket(Rc::clone(wire)))
    }
}

/// The socket of a receive ring.
#[derive(Clone, Debug, Default)]
pub struct RxRingSocket {
    /// The error that is pending.
    pub error: Rc<Cell<Option<i32>>>,
    /// Times that the statistics were read.
    pub reads: Rc<Cell<u32>>,
    /// The error of the next read.
    pub next_read: Rc<Cell<Option<i32>>>,
}

impl RxSocket for RxRingSocket {
    fn accumulate(
        &self,
        version: Option<RingVersion>,
        _counters: &mut KernelCounters,
    ) -> io::Result<()> {
        assert!(version.is_some());
        self.reads.set(self.reads.get() + 1);
        self.next_read.take().map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
    }

    fn take_error(&self) -> Option<io::Error> {
        self.error.take().map(io::Error::from_raw_os_error)
    }
}

/// The kernel's end of a receive half.
pub trait RxKernel: Sized {
    type Half: RxHalf;

    /// Whether a frame's tag is taken off before it is handed over.
    const TAKES_TAGS_OFF: bool = true;

    fn make(wire: &SharedWire) -> (Self::Half, Self);

    /// A frame arrives; false if there is no room.
    fn deliver(&mut self, arrival: Arrival<'_>) -> bool;

    /// All that arrived is handed over.
    fn retire(&mut self) {}
}

/// Most frames of a batch that is lent.
pub const BATCH: usize = 64;

impl RxKernel for FakeRxV3 {
    type Half = RxRingHalf<RxRingV3, RxRingSocket>;

    fn make(_: &SharedWire) -> (Self::Half, FakeRxV3) {
        let (ring, kernel) = FakeRxV3::pair(&geometry(RingVersion::V3, Direction::Receive));
        (RxRingHalf::new(ring, RxRingSocket::default(), BATCH), kernel)
    }

    fn deliver(&mut self, arrival: Arrival<'_>) -> bool {
        FakeRxV3::deliver(self, arrival)
    }

    fn retire(&mut self) {
        FakeRxV3::retire(self);
    }
}

/// A V2 receive half that lends at most `batch` frames, its socket and its kernel.
pub fn v2(batch: usize) -> (<FakeRxV2 as RxKernel>::Half, RxRingSocket, FakeRxV2) {
    let (ring, kernel) = FakeRxV2::pair(&geometry(RingVersion::V2, Direction::Receive));
    let socket = RxRingSocket::default();
    (RxRingHalf::new(ring, socket.clone(), batch), socket, kernel)
}

impl RxKernel for FakeRxV2 {
    type Half = RxRingHalf<RxRingV2, RxRingSocket>;

    fn make(_: &SharedWire) -> (Self::Half, FakeRxV2) {
        let (half, _, kernel) = v2(BATCH);
        (half, kernel)
    }

    fn deliver(&mut self, arrival: Arrival<'_>) -> bool {
        FakeRxV2::deliver(self, arrival)
    }
}

/// The kernel's end of an AF_XDP socket that receives, and its sending side until somebody wants it.
#[derive(Debug)]
pub struct XskKernel {
    kernel: Rc<RefCell<FakeXsk>>,
    forward: Option<TxForward<UmemSocket>>,
}

impl XskKernel {
    /// The half that sends from the frames that arrived.
    pub fn take_forward(&mut self) -> TxForward<UmemSocket> {
        self.forward.take().unwrap()
    }
}

impl RxKernel for XskKernel {
    type Half = RxXsk<UmemSocket>;

    const TAKES_TAGS_OFF: bool = false;

    fn make(wire: &SharedWire) -> (Self::Half, XskKernel) {
        let (receive, forward, kernel) = FakeXsk::receiving(BATCH, 2048, BATCH);
        let kernel = Rc::new(RefCell::new(kernel));
        let socket = UmemSocket { kernel: Rc::clone(&kernel), wire: Rc::clone(wire) };
        let forward = Some(TxForward::new(socket.clone(), forward));
        (RxXsk::new(socket, receive, true), XskKernel { kernel, forward })
    }

    fn deliver(&mut self, arrival: Arrival<'_>) -> bool {
        // Nobody takes tags off here.
        let (addresses, rest) = arrival.frame.split_at(12);
        let tag = arrival.tag.map(|tag| tag.bytes());
        let tag = tag.as_ref().map_or(&[][..], |tag| &tag[..]);
        self.kernel.borrow_mut().deliver(&[addresses, tag, rest].concat())
    }
}

/// 16 blocks or 32 slots to receive into; [`ROOM`] slots to send from.
fn geometry(version: RingVersion, direction: Direction) -> Geometry {
    let blocks = if direction == Direction::Receive { 16 } else { ROOM / 2 };
    let choice = GeometryChoice {
        block_bytes: Some(4096),
        blocks: Some(blocks),
        frame_bytes: Some(2048),
        ..GeometryChoice::default()
    };
    Geometry::plan(version, direction, 1500, choice, 4096).unwrap()
}
