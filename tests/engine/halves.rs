//! Two receive halves and three TX halves, the latter made as different as the real ones are: a copy into
//! ring slots, slices of the receive block itself, and frames that change hands by tokens.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;

use linerate::engine::edit::Edit;
use linerate::engine::half::{RxHalf, Settled, TxBatch, TxHalf};
use linerate::ring::fake::{Arrival, FakeRxV2, FakeRxV3, FakeTx, Fate};
use linerate::ring::frame::RxFrame;
use linerate::ring::geometry::Geometry;
use linerate::ring::rx_v2::{RUN_FRAMES, RxRingV2, RxRun};
use linerate::ring::rx_v3::{RxBlock, RxRingV3};
use linerate::ring::tx::TxRing;
use linerate::stats::counters::KernelCounters;
use linerate::sys::packet::RingVersion;

/// What all three send into.
#[derive(Debug, Default)]
pub struct Wire {
    /// Frames taken at each kick; the rest has to wait (ENOBUFS).
    pub frames_per_kick: usize,
    /// What was taken.
    pub sent: Vec<Vec<u8>>,
    /// Where it lay when it was taken.
    pub addresses: Vec<Range<usize>>,
    /// Kicks so far.
    pub kicks: usize,
}

pub type SharedWire = Rc<RefCell<Wire>>;

impl Wire {
    fn take(&mut self, left: &mut usize, bytes: &[u8]) -> bool {
        if *left == 0 {
            return false;
        }
        *left -= 1;
        let start = bytes.as_ptr().addr();
        self.addresses.push(start..start + bytes.len());
        self.sent.push(bytes.to_vec());
        true
    }

    fn begin_kick(&mut self) -> usize {
        self.kicks += 1;
        self.frames_per_kick
    }
}

fn no_buffers() -> io::Error {
    io::Error::from_raw_os_error(105)
}

fn count(settled: &mut Settled, bytes: usize) {
    settled.frames += 1;
    settled.bytes += bytes as u64;
}

/// A receive half without a socket behind it; its kernel is a fake one.
pub trait FakeHalf: RxHalf + Sized {
    type Kernel;

    /// What the kernel and the half share.
    const VERSION: RingVersion;

    fn pair(geometry: &Geometry) -> (Self, Self::Kernel);

    /// A frame arrives; false if there is no room.
    fn deliver(kernel: &mut Self::Kernel, arrival: Arrival<'_>) -> bool;

    /// All that arrived is handed over.
    fn retire(kernel: &mut Self::Kernel);
}

/// Receive half 1: the V3 ring as the engine uses it.
#[derive(Debug)]
pub struct FakeV3 {
    pub ring: RxRingV3,
}

impl FakeHalf for FakeV3 {
    type Kernel = FakeRxV3;
    const VERSION: RingVersion = RingVersion::V3;

    fn pair(geometry: &Geometry) -> (FakeV3, FakeRxV3) {
        let (ring, kernel) = FakeRxV3::pair(geometry);
        (FakeV3 { ring }, kernel)
    }

    fn deliver(kernel: &mut FakeRxV3, arrival: Arrival<'_>) -> bool {
        kernel.deliver(arrival)
    }

    fn retire(kernel: &mut FakeRxV3) {
        kernel.retire();
    }
}

/// Receive half 2: the V2 ring, which hands each frame over by itself.
#[derive(Debug)]
pub struct FakeV2 {
    pub ring: RxRingV2,
}

impl FakeHalf for FakeV2 {
    type Kernel = FakeRxV2;
    const VERSION: RingVersion = RingVersion::V2;

    fn pair(geometry: &Geometry) -> (FakeV2, FakeRxV2) {
        let (ring, kernel) = FakeRxV2::pair(geometry);
        (FakeV2 { ring }, kernel)
    }

    fn deliver(kernel: &mut FakeRxV2, arrival: Arrival<'_>) -> bool {
        kernel.deliver(arrival)
    }

    fn retire(_kernel: &mut FakeRxV2) {}
}

impl RxHalf for FakeV2 {
    type Batch<'a> = RxRun<'a>;
    const ONE_BATCH_A_WAKE_UP: bool = false;

    fn lend(&mut self) -> io::Result<Option<RxRun<'_>>> {
        Ok(self.ring.lend())
    }

    fn accumulate(&mut self, _counters: &mut KernelCounters) -> io::Result<()> {
        Ok(())
    }

    fn take_error(&mut self) -> Option<io::Error> {
        None
    }

    fn batch_frames_max(&self) -> usize {
        RUN_FRAMES
    }
}

impl RxHalf for FakeV3 {
    type Batch<'a> = RxBlock<'a>;
    const ONE_BATCH_A_WAKE_UP: bool = false;

    fn lend(&mut self) -> io::Result<Option<RxBlock<'_>>> {
        Ok(self.ring.lend())
    }

    fn accumulate(&mut self, _counters: &mut KernelCounters) -> io::Result<()> {
        Ok(())
    }

    fn take_error(&mut self) -> Option<io::Error> {
        None
    }

    fn batch_frames_max(&self) -> usize {
        64
    }
}

/// TX half 1: the TX ring; its kernel is the fake one.
#[derive(Debug)]
pub struct RingHalf {
    pub ring: TxRing,
    pub kernel: FakeTx,
    pub wire: SharedWire,
    /// The kernel refuses the next frame that it looks at.
    pub refuse_next: bool,
    settled: Settled,
}

impl RingHalf {
    pub fn new((ring, kernel): (TxRing, FakeTx), wire: SharedWire) -> RingHalf {
        RingHalf { ring, kernel, wire, refuse_next: false, settled: Settled::default() }
    }

    fn add(&mut self, settled: Settled) {
        self.settled.frames += settled.frames;
        self.settled.bytes += settled.bytes;
        self.settled.stuck |= settled.stuck;
    }
}

impl TxHalf for RingHalf {
    type Batch<'t, 'rx> = RingBatch<'t, 'rx>;

    fn begin<'rx>(&mut self) -> RingBatch<'_, 'rx> {
        RingBatch { half: self, frames: PhantomData }
    }

    fn kick(&mut self) -> io::Result<()> {
        let mut wire = self.wire.borrow_mut();
        let mut left = wire.begin_kick();
        let mut result = Ok(());
        self.kernel.send(|bytes| {
            if std::mem::take(&mut self.refuse_next) {
                result = Err(io::Error::from_raw_os_error(22));
                return Fate::WrongFormat;
            }
            if wire.take(&mut left, bytes) {
                return Fate::Complete;
            }
            result = Err(no_buffers());
            Fate::Busy
        });
        result
    }

    fn settle(&mut self) -> Settled {
        let settled = self.ring.settle();
        self.add(settled);
        std::mem::take(&mut self.settled)
    }

    fn withdraw(&mut self) -> u64 {
        let (withdrawn, settled) = self.ring.withdraw();
        self.add(settled);
        withdrawn
    }

    fn in_flight(&self) -> u64 {
        self.ring.in_flight() + self.settled.frames
    }

    fn answer_bytes_max(&self) -> usize {
        self.ring.slot_capacity()
    }

    fn set_mtu(&mut self, mtu: usize) {
        self.ring.set_mtu(mtu);
    }
}

#[derive(Debug)]
pub struct RingBatch<'t, 'rx> {
    half: &'t mut RingHalf,
    frames: PhantomData<&'rx ()>,
}

impl<'rx> TxBatch<'rx> for RingBatch<'_, 'rx> {
    fn has_room(&mut self) -> bool {
        let settled = self.half.ring.settle();
        self.half.add(settled);
        self.half.ring.has_room()
    }

    fn put(&mut self, frame: RxFrame<'rx>, edit: &Edit) {
        let mut slot = self.half.ring.reserve().unwrap();
        let length = edit.copy(frame.bytes(), slot.bytes());
        slot.commit(length).unwrap();
    }

    fn kick(&mut self) -> io::Result<()> {
        self.half.kick()
    }

    fn finish(self) -> u64 {
        0
    }
}

/// TX half 2: `sendmmsg` out of the receive ring. It copies nothing: it keeps slices of the block,
/// edited in place, and the block cannot go back before [`TxBatch::finish`] has given them up.
#[derive(Debug)]
pub struct GatherHalf {
    pub wire: SharedWire,
    messages_max: usize,
    settled: Settled,
    /// The message table between batches, empty: no batch allocates one.
    spare: Vec<&'static [u8]>,
}

impl GatherHalf {
    pub fn new(messages_max: usize, wire: SharedWire) -> GatherHalf {
        let spare = Vec::with_capacity(messages_max);
        GatherHalf { wire, messages_max, settled: Settled::default(), spare }
    }
}

/// The same allocation for slices of another lifetime: an empty vector holds none.
fn renewed<'to>(mut table: Vec<&[u8]>) -> Vec<&'to [u8]> {
    table.clear();
    table.into_iter().map(|_| -> &'to [u8] { unreachable!("it is empty") }).collect()
}

impl TxHalf for GatherHalf {
    type Batch<'t, 'rx> = GatherBatch<'t, 'rx>;

    fn begin<'rx>(&mut self) -> GatherBatch<'_, 'rx> {
        let messages = renewed(std::mem::take(&mut self.spare));
        assert_eq!(messages.capacity(), self.messages_max, "the table is the same all the time");
        GatherBatch { half: self, messages }
    }

    fn kick(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn settle(&mut self) -> Settled {
        std::mem::take(&mut self.settled)
    }

    fn withdraw(&mut self) -> u64 {
        0
    }

    fn in_flight(&self) -> u64 {
        self.settled.frames
    }

    fn answer_bytes_max(&self) -> usize {
        usize::MAX
    }

    fn set_mtu(&mut self, _mtu: usize) {}
}

#[derive(Debug)]
pub struct GatherBatch<'t, 'rx> {
    half: &'t mut GatherHalf,
    messages: Vec<&'rx [u8]>,
}

impl<'rx> TxBatch<'rx> for GatherBatch<'_, 'rx> {
    fn has_room(&mut self) -> bool {
        self.messages.len() < self.half.messages_max
    }

    fn put(&mut self, frame: RxFrame<'rx>, edit: &Edit) {
        let (room, start) = frame.into_room();
        let start = edit.in_place(room, start);
        self.messages.push(&room[start..]);
    }

    fn kick(&mut self) -> io::Result<()> {
        let mut wire = self.half.wire.borrow_mut();
        let mut left = wire.begin_kick();
        let taken = self.messages.iter().take_while(|bytes| wire.take(&mut left, bytes)).count();
        for bytes in self.messages.drain(..taken) {
            count(&mut self.half.settled, bytes.len());
        }
        if self.messages.is_empty() { Ok(()) } else { Err(no_buffers()) }
    }

    fn finish(self) -> u64 {
        let unsent = self.messages.len() as u64;
        self.half.spare = renewed(self.messages);
        unsent
    }
}

/// The right to one frame of the packet memory; there is one for each, and none can be copied.
#[derive(Debug)]
struct Token(usize);

/// TX half 3: an AF_XDP socket used for sending only. Frames of its own memory go from Free to Tx
/// to Completion and back.
#[derive(Debug)]
pub struct TokenHalf {
    pub wire: SharedWire,
    memory: Vec<u8>,
    frame_bytes: usize,
    free: Vec<Token>,
    /// Descriptors that the kernel has not taken.
    tx: VecDeque<(Token, usize)>,
    /// Frames that the kernel is done with.
    completion: VecDeque<Token>,
    settled: Settled,
}

impl TokenHalf {
    pub fn new(frames: usize, frame_bytes: usize, wire: SharedWire) -> TokenHalf {
        TokenHalf {
            wire,
            memory: vec![0; frames * frame_bytes],
            frame_bytes,
            free: (0..frames).map(Token).collect(),
            tx: VecDeque::new(),
            completion: VecDeque::new(),
            settled: Settled::default(),
        }
    }

    /// Every token is in just one place.
    pub fn assert_none_is_lost(&self) {
        let held = self.free.len() + self.tx.len() + self.completion.len();
        assert_eq!(held, self.memory.len() / self.frame_bytes);
    }
}

impl TxHalf for TokenHalf {
    type Batch<'t, 'rx> = TokenBatch<'t, 'rx>;

    fn begin<'rx>(&mut self) -> TokenBatch<'_, 'rx> {
        TokenBatch { half: self, frames: PhantomData }
    }

    fn kick(&mut self) -> io::Result<()> {
        let mut wire = self.wire.borrow_mut();
        let mut left = wire.begin_kick();
        while let Some((Token(index), length)) = self.tx.front() {
            if !wire.take(&mut left, &self.memory[index * self.frame_bytes..][..*length]) {
                return Err(no_buffers());
            }
            let (token, length) = self.tx.pop_front().expect("it was there");
            self.completion.push_back(token);
            count(&mut self.settled, length);
        }
        Ok(())
    }

    fn settle(&mut self) -> Settled {
        std::mem::take(&mut self.settled)
    }

    /// In copy mode the kernel reads descriptors only inside a kick, so the producer may step back.
    fn withdraw(&mut self) -> u64 {
        let withdrawn = self.tx.len() as u64;
        self.free.extend(self.tx.drain(..).map(|(token, _)| token));
        withdrawn
    }

    fn in_flight(&self) -> u64 {
        self.tx.len() as u64 + self.settled.frames
    }

    fn answer_bytes_max(&self) -> usize {
        self.frame_bytes
    }

    fn set_mtu(&mut self, _mtu: usize) {}
}

#[derive(Debug)]
pub struct TokenBatch<'t, 'rx> {
    half: &'t mut TokenHalf,
    frames: PhantomData<&'rx ()>,
}

impl<'rx> TxBatch<'rx> for TokenBatch<'_, 'rx> {
    fn has_room(&mut self) -> bool {
        if self.half.free.is_empty() {
            let TokenHalf { free, completion, .. } = &mut *self.half;
            free.extend(completion.drain(..));
        }
        !self.half.free.is_empty()
    }

    fn put(&mut self, frame: RxFrame<'rx>, edit: &Edit) {
        let TokenHalf { memory, frame_bytes, free, tx, .. } = &mut *self.half;
        let token = free.pop().expect("put only after has_room");
        let chunk = &mut memory[token.0 * *frame_bytes..][..*frame_bytes];
        let length = edit.copy(frame.bytes(), chunk);
        tx.push_back((token, length));
    }

    fn kick(&mut self) -> io::Result<()> {
        self.half.kick()
    }

    fn finish(self) -> u64 {
        self.half.assert_none_is_lost();
        0
    }
}
