//! Bad frames, kept as they came.

use crate::ring::frame::FrameMeta;
use crate::wire::ethernet::VlanTag;

/// Bytes of the two MAC addresses, behind which the outer tag stood.
const ADDRESSES_BYTES: usize = 12;

/// What was wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A byte, the tag or the length is wrong.
    Corrupted {
        /// As in [`Judgement::Corrupted`](super::template::Judgement::Corrupted).
        first_offset: usize,
    },
    /// The payload is as it was sent.
    NotTransformed,
    /// Bytes are missing at the end.
    Truncated,
    /// The number had come back before.
    Duplicated,
    /// The number is so old that nobody knows whether it had come back.
    Forgotten,
    /// It carries no number, or a damaged one.
    Foreign,
    /// It carries the number of another load.
    OtherLoad,
}

/// One bad frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What was wrong with it.
    pub fault: Fault,
    /// The number that it carries; `None` for a foreign frame.
    pub number: Option<u64>,
    /// When the kernel received it, in nanoseconds on `CLOCK_REALTIME`; 0 where the receive half has
    /// no stamps.
    pub stamp_ns: u64,
    /// Bytes that it had on the wire, its outer tag included, without FCS; more than `bytes` where
    /// the ring cut it.
    pub wire_bytes: usize,
    /// The frame as it was on the wire: the outer tag, which the kernel takes off, is in it again.
    pub bytes: Vec<u8>,
}

impl Evidence {
    /// Copies a frame.
    pub fn of(fault: Fault, number: Option<u64>, meta: &FrameMeta, frame: &[u8]) -> Evidence {
        let tag = meta.tag.map(VlanTag::bytes);
        let tag = tag.as_ref().map_or(&[][..], |bytes| bytes);
        let (addresses, rest) = frame.split_at(frame.len().min(ADDRESSES_BYTES));
        Evidence {
            fault,
            number,
            stamp_ns: meta.stamp_ns,
            wire_bytes: (meta.wire_bytes as usize).max(frame.len()) + tag.len(),
            bytes: [addresses, tag, rest].concat(),
        }
    }
}

/// One corrupted frame, kept as evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The frame's number.
    pub sequence: u64,
    /// Bytes that came back, without FCS and without the outer tag.
    pub received_bytes: usize,
    /// The first wrong byte, as in
    /// [`Judgement::Corrupted`](super::template::Judgement::Corrupted).
    pub first_offset: usize,
}
