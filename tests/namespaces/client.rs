//! The client double: sends frames into the link and collects whatever comes back, tags included.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use linerate::lab::{ENGINE, GENERATOR, Side};
use linerate::ring::budget::MemoryBudget;
use linerate::ring::frame::FrameMeta;
use linerate::ring::geometry::{GeometryChoice, RUN_FRAMES};
use linerate::ring::receive::{ReceiveRing, RxBatch};
use linerate::ring::rx_v3::RxRingV3;
use linerate::ring::setup::{RxRing, RxRingSocket};
use linerate::sys::filter::Wanted;
use linerate::sys::packet::{ALL_PROTOCOLS, PacketSocket, RingVersion, SocketType};
use linerate::wire::ethernet::VlanTag;

use crate::check::PATIENCE;

/// The EtherType that engines answer unless told otherwise.
pub const EXPERIMENTAL: u16 = 0x88b5;

/// How long nothing must come for a client to believe that nothing will: many times the retire
/// timeout of both rings on the way.
pub const QUIET: Duration = Duration::from_millis(60);

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The frame as it was on the wire: a tag that the kernel took off is put back.
    pub bytes: Vec<u8>,
    /// What the kernel says of it.
    pub meta: FrameMeta,
}

/// A client on one interface. It receives by a ring, which keeps tags, and sends by a plain socket,
/// because a socket that has a TX ring ignores what `send` is given.
pub struct Client {
    sender: PacketSocket,
    receiver: Arc<PacketSocket>,
    ring: RxRingV3,
    /// Frames that were collected since the client was opened.
    pub collected: u64,
}

/// Room for some 100,000 short frames, so that no test can lose answers here.
const RING: GeometryChoice = GeometryChoice {
    block_bytes: Some(256 << 10),
    blocks: Some(64),
    slots: None,
    frame_bytes: None,
    longest: None,
    retire_ms: Some(1),
};

impl Client {
    pub fn open(side: &Side) -> Result<Client, Failed> {
        side.namespace.run(|| Client::open_here(side.link.index))?
    }

    pub fn open_here(interface: u32) -> Result<Client, Failed> {
        let sender = PacketSocket::open(SocketType::Raw)?;
        sender.bind(interface, 0)?;
        // Everything but what this side sends itself.
        let filter = Wanted { ether_types: vec![], tagged: true }.program();
        let budget = MemoryBudget::new(64 << 20);
        let opened = RxRingSocket::open(RingVersion::V3, RING, 1500, &filter, &budget)?;
        opened.socket.bind(interface, ALL_PROTOCOLS)?;
        let RxRing::V3(ring) = opened.ring else { return Err("not a V3 ring".into()) };
        Ok(Client { sender, receiver: opened.socket, ring, collected: 0 })
    }

    pub fn send(&self, frame: &[u8]) -> Result<(), Failed> {
        let sent = self.sender.send(frame)?;
        assert_eq!(sent, frame.len());
        Ok(())
    }

    pub fn send_all<T: AsRef<[u8]>>(&self, frames: &[T]) -> Result<(), Failed> {
        frames.iter().try_for_each(|frame| self.send(frame.as_ref()))
    }

    /// Collects until `count` frames have come or [`PATIENCE`] has passed without one.
    pub fn collect(&mut self, count: usize) -> Result<Vec<Answer>, Failed> {
        self.collect_while(PATIENCE, |collected| collected < count)
    }

    /// Collects what is there.
    pub fn collect_now(&mut self) -> Result<Vec<Answer>, Failed> {
        self.collect_while(Duration::from_millis(1), |_| true)
    }

    /// Collects until nothing has come for a while: for what must not come.
    pub fn collect_all(&mut self) -> Result<Vec<Answer>, Failed> {
        self.collect_while(QUIET, |_| true)
    }

    pub fn collect_while(
        &mut self,
        quiet: Duration,
        more: impl Fn(usize) -> bool,
    ) -> Result<Vec<Answer>, Failed> {
        let mut answers = Vec::new();
        let mut last = Instant::now();
        while more(answers.len()) && last.elapsed() < quiet {
            let Some(mut block) = self.ring.lend(RUN_FRAMES) else {
                self.receiver.wait_readable(Duration::from_millis(5))?;
                continue;
            };
            for frame in block.frames() {
                let frame = frame.map_err(|_| "a malformed ring entry")?;
                assert!(!frame.is_truncated(), "{:?}", frame.meta);
                answers.push(Answer {
                    bytes: tagged(frame.bytes(), frame.meta.tag),
                    meta: frame.meta,
                });
            }
            last = Instant::now();
        }
        self.collected += answers.len() as u64;
        Ok(answers)
    }

    /// Sends `frames` and expects just `expected` to come back, in this order.
    pub fn exchange<T, U>(&mut self, frames: &[T], expected: &[U]) -> Result<(), Failed>
    where
        T: AsRef<[u8]>,
        U: AsRef<[u8]>,
    {
        self.send_all(frames)?;
        let mut answers = self.collect(expected.len())?;
        if expected.len() < frames.len() {
            answers.extend(self.collect_all()?);
        }
        for (number, (answer, expected)) in answers.iter().zip(expected).enumerate() {
            assert_eq!(hex(&answer.bytes), hex(expected.as_ref()), "answer {number}");
        }
        assert_eq!(answers.len(), expected.len(), "answers");
        Ok(())
    }
}

/// The frame with `tag` where it was before the kernel took it off.
fn tagged(frame: &[u8], tag: Option<VlanTag>) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    bytes.splice(12..12, tag.iter().flat_map(|tag| tag.bytes()));
    bytes
}

/// A frame from the generator's to the engine's address.
pub fn frame(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    frame_between(ENGINE.mac, GENERATOR.mac, ether_type, payload)
}

pub fn frame_between(to: [u8; 6], from: [u8; 6], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ether_type.to_be_bytes(), payload].concat()
}

/// A frame of `length` bytes at the socket, tags not counted, whose payload shows its `number` and
/// goes through all byte values, the first one a lower-case letter.
pub fn numbered(number: u32, length: usize) -> Vec<u8> {
    let letter = b'a' + (number % 26) as u8;
    let digits = format!("{number:08}");
    let pattern = (0..length).map(|at| (at * 7 + number as usize) as u8);
    let payload = std::iter::once(letter).chain(digits.into_bytes()).chain(pattern);
    frame(EXPERIMENTAL, &payload.take(length - 14).collect::<Vec<u8>>())
}

/// The number of a frame of [`numbered`], or of the answer to it.
pub fn number_of(frame: &[u8]) -> u32 {
    let digits = frame.get(15..23).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).expect("the frame shows its number")
}

/// What must come back for `frame`: the oracle, plain and slow. `payload` is where the upper-casing
/// begins; `from` is the address that answers.
pub fn answer_from(from: [u8; 6], frame: &[u8], payload: usize) -> Vec<u8> {
    let (head, rest) = frame.split_at(payload);
    [&head[6..12], &from, &head[12..], &rest.to_ascii_uppercase()].concat()
}

/// What must come back for an untagged frame to the engine.
pub fn answer(frame: &[u8]) -> Vec<u8> {
    answer_from(ENGINE.mac, frame, 14)
}

/// Readable when two frames differ.
pub fn hex(bytes: &[u8]) -> String {
    let words = bytes.chunks(2).map(|pair| pair.iter().map(|byte| format!("{byte:02x}")).collect());
    words.collect::<Vec<String>>().join(" ")
}
