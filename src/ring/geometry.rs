//! Ring geometry: a pure mirror of the checks of `packet_set_ring` (`net/packet/af_packet.c`), so
//! that a bad size is refused with the rule it breaks instead of a bare EINVAL.

use std::fmt;

use super::layout::{HINT_BYTES, block, header_length, rx_mac_offset, tx_data_offset};
use crate::error::{Error, Result};
use crate::sys::packet::{Direction, RingRequest, RingVersion};
use crate::units::{ETHERNET_HEADER_BYTES, memory};
use crate::wire::ethernet::VLAN_TAG_BYTES;

/// Most frames lent in one run: enough to share the cost of a batch, few enough to give slots
/// back soon.
pub const RUN_FRAMES: usize = 64;

/// Frame slots are aligned to this (`TPACKET_ALIGNMENT`).
pub const FRAME_ALIGNMENT: usize = 16;
/// The largest block: what the page allocator can serve in one piece (order 10 of 4 KiB pages).
pub const BLOCK_BYTES_MAX: usize = 4 << 20;
/// What the user may choose of a ring; what is left open is chosen by the interface's MTU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GeometryChoice {
    /// Bytes of one block.
    pub block_bytes: Option<usize>,
    /// Number of blocks.
    pub blocks: Option<usize>,
    /// Number of frame slots, rounded up to what blocks hold; `blocks` has precedence.
    pub slots: Option<usize>,
    /// Bytes of one frame slot.
    pub frame_bytes: Option<usize>,
    /// The longest frame to make slots for, in bytes without FCS and outer tag; else the interface's
    /// MTU decides. `frame_bytes` has precedence.
    pub longest: Option<usize>,
    /// V3 receive: milliseconds after which a block with at least one frame is handed over.
    pub retire_ms: Option<u32>,
}

/// A ring that the kernel would accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    version: RingVersion,
    direction: Direction,
    block_bytes: usize,
    blocks: usize,
    frame_bytes: usize,
    retire_ms: u32,
}

/// Defaults: 4 MiB of receive ring in blocks that a few hundred short frames fill.
const RECEIVE_BLOCK_BYTES: usize = 128 << 10;
const RECEIVE_BYTES: usize = 4 << 20;
/// Defaults: 1 MiB of TX ring, which stays in a second-level cache with its frames.
const TRANSMIT_BLOCK_BYTES: usize = 64 << 10;
const TRANSMIT_BYTES: usize = 1 << 20;
/// Default retire timeout: the shortest that the kernel knows.
const RETIRE_MS: u32 = 1;

impl Geometry {
    /// The geometry for frames of an interface whose MTU is `mtu`, with the user's choices, on a
    /// machine with pages of `page_bytes`.
    pub fn plan(
        version: RingVersion,
        direction: Direction,
        mtu: usize,
        choice: GeometryChoice,
        page_bytes: usize,
    ) -> Result<Geometry> {
        let longest = match (choice.longest, direction) {
            (None, _) => mtu + ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES,
            // The kernel takes the outer tag off, and we put it back.
            (Some(longest), Direction::Receive) => longest,
            (Some(longest), Direction::Transmit) => longest + VLAN_TAG_BYTES,
        };
        let frame_bytes =
            choice.frame_bytes.unwrap_or_else(|| slot_for(version, direction, longest));
        let (block_default, ring_default) = match direction {
            Direction::Receive => (RECEIVE_BLOCK_BYTES, RECEIVE_BYTES),
            Direction::Transmit => (TRANSMIT_BLOCK_BYTES, TRANSMIT_BYTES),
        };
        let block_bytes = choice.block_bytes.unwrap_or_else(|| {
            let least = frame_bytes.next_multiple_of(page_bytes);
            let half = choice.slots.map(|slots| slots.div_ceil(2).saturating_mul(frame_bytes));
            let wanted = half.map_or(block_default, |half| half.min(block_default));
            wanted.next_multiple_of(page_bytes).max(least)
        });
        let blocks = choice.blocks.unwrap_or_else(|| {
            let slots_a_block = (block_bytes / frame_bytes.max(1)).max(1);
            let blocks = choice.slots.map(|slots| slots.div_ceil(slots_a_block));
            blocks.unwrap_or(ring_default / block_bytes.max(1)).max(2)
        });
        let v3_receive = version == RingVersion::V3 && direction == Direction::Receive;
        let retire_ms = if v3_receive { choice.retire_ms.unwrap_or(RETIRE_MS) } else { 0 };
        let geometry = Geometry { version, direction, block_bytes, blocks, frame_bytes, retire_ms };
        geometry.check(page_bytes)?;
        Ok(geometry)
    }

    /// The kernel's rules (MEM-2), in the order in which it checks them, and ours.
    fn check(&self, page_bytes: usize) -> Result<()> {
        let Geometry { version, block_bytes, blocks, frame_bytes, retire_ms, .. } = *self;
        require(
            block_bytes != 0 && block_bytes.is_multiple_of(page_bytes),
            format!("block size {block_bytes} B"),
            format!("must be a multiple of the page size, {page_bytes} B"),
            format!("{} B", nearest_multiple(block_bytes, page_bytes)),
        )?;
        require(
            block_bytes <= BLOCK_BYTES_MAX,
            format!("block size {block_bytes} B"),
            format!("must be at most {BLOCK_BYTES_MAX} B, the largest piece of contiguous memory"),
            format!("{BLOCK_BYTES_MAX} B"),
        )?;
        let header_bytes = header_length(version);
        let least = header_bytes.next_multiple_of(FRAME_ALIGNMENT);
        require(
            frame_bytes >= header_bytes,
            format!("frame size {frame_bytes} B"),
            format!("must hold the ring header, {header_bytes} B"),
            format!("{least} B"),
        )?;
        require(
            frame_bytes.is_multiple_of(FRAME_ALIGNMENT),
            format!("frame size {frame_bytes} B"),
            format!("must be a multiple of {FRAME_ALIGNMENT} B"),
            format!("{} B", nearest_multiple(frame_bytes, FRAME_ALIGNMENT).max(least)),
        )?;
        require(
            frame_bytes <= block_bytes,
            format!("frame size {frame_bytes} B"),
            format!("must fit the block size, {block_bytes} B"),
            format!("{} B", block_bytes / FRAME_ALIGNMENT * FRAME_ALIGNMENT),
        )?;
        require(
            blocks >= 2,
            format!("{blocks} blocks"),
            "must be at least 2, one for the kernel and one for the engine".into(),
            "2".into(),
        )?;
        let block_limit = (u32::MAX as usize / self.frames_per_block()).min(BLOCKS_MAX);
        require(
            blocks <= block_limit,
            format!("{blocks} blocks"),
            format!(
                "must be at most {block_limit}, which the kernel's block table and counters hold"
            ),
            format!("{block_limit}"),
        )?;
        require(
            !self.is_v3_receive() || retire_ms != 0,
            "block timeout 0 ms".into(),
            "would mean 1 ms to 13 ms, by the interface's speed: give a value".into(),
            "1 ms".into(),
        )?;
        require(
            !self.is_v3_receive() || retire_ms <= RETIRE_MS_MAX,
            format!("block timeout {retire_ms} ms"),
            format!(
                "must be at most {RETIRE_MS_MAX} ms, which kernels before 6.18 keep in 16 bits"
            ),
            format!("{RETIRE_MS_MAX} ms"),
        )?;
        // Implied by the rules above as long as headers are short; the kernel checks it as well.
        debug_assert!(block_bytes >= block::HEADER_BYTES + header_bytes);
        Ok(())
    }

    /// The same ring in blocks of half the size, for a kernel that has no contiguous memory left;
    /// `None` if a frame would no longer fit a block.
    pub fn with_smaller_blocks(&self, page_bytes: usize) -> Option<Geometry> {
        let half = self.block_bytes / 2;
        let smaller = Geometry { block_bytes: half, blocks: self.blocks * 2, ..*self };
        (half >= self.least_block_bytes() && smaller.check(page_bytes).is_ok()).then_some(smaller)
    }

    fn least_block_bytes(&self) -> usize {
        if self.is_v3_receive() { block::HEADER_BYTES + self.frame_bytes } else { self.frame_bytes }
    }

    fn is_v3_receive(&self) -> bool {
        self.version == RingVersion::V3 && self.direction == Direction::Receive
    }

    /// Header layout.
    pub fn version(&self) -> RingVersion {
        self.version
    }

    /// Receive or transmit.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Bytes of one block.
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Bytes of one frame slot.
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// Whole frame slots in one block.
    pub fn frames_per_block(&self) -> usize {
        self.block_bytes / self.frame_bytes
    }

    /// Frame slots in all.
    pub fn frames(&self) -> usize {
        self.frames_per_block() * self.blocks
    }

    /// Bytes of memory that the kernel spends on the ring: it rounds each block up to a power of
    /// two of pages (MEM-3).
    pub fn memory_bytes(&self) -> usize {
        self.block_bytes.next_power_of_two() * self.blocks
    }

    /// Bytes of the ring, as it is mapped.
    pub fn bytes(&self) -> usize {
        self.block_bytes * self.blocks
    }

    /// Most frames that one lent unit of a receive ring can hold: a V3 block of the shortest
    /// frames.
    pub fn frames_per_loan(&self) -> usize {
        if self.is_v3_receive() {
            (self.block_bytes - block::HEADER_BYTES) / header_length(self.version) + 1
        } else {
            RUN_FRAMES
        }
    }

    /// What the kernel is asked for.
    pub fn request(&self) -> RingRequest {
        RingRequest {
            block_bytes: self.block_bytes as u32,
            blocks: self.blocks as u32,
            frame_bytes: self.frame_bytes as u32,
            frames: self.frames() as u32,
            retire_ms: self.retire_ms,
        }
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Geometry { blocks, frame_bytes, .. } = self;
        write!(f, "{blocks} blocks of {}", memory(self.block_bytes as u64))?;
        if self.is_v3_receive() {
            write!(f, ", retired after {} ms", self.retire_ms)
        } else {
            write!(f, ", {} slots of {frame_bytes} B", self.frames())
        }
    }
}

/// The block table is one allocation of 8 bytes a block, at most 4 MiB (`alloc_pg_vec`).
const BLOCKS_MAX: usize = 524_288;
const RETIRE_MS_MAX: u32 = 65_535;

/// Bytes of the slot for frames of `longest` bytes, rounded up so that slots divide a page or pages.
pub fn slot_for(version: RingVersion, direction: Direction, longest: usize) -> usize {
    let before = match direction {
        Direction::Receive => rx_mac_offset(version),
        Direction::Transmit => tx_data_offset(version) + HINT_BYTES,
    };
    (before + longest).next_power_of_two()
}

fn nearest_multiple(value: usize, of: usize) -> usize {
    let below = value / of * of;
    let nearest = if value - below < of - (value - below) { below } else { below + of };
    nearest.max(of)
}

/// An error with what was `asked`, the `rule` that it breaks and the `nearest` valid value, unless the rule
/// `holds`.
fn require(holds: bool, asked: String, rule: String, nearest: String) -> Result<()> {
    if holds {
        return Ok(());
    }
    let text = format!("ring geometry: {asked} {rule}; the nearest valid value is {nearest}");
    Err(Error::Usage(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: usize = 4096;

    fn plan(choice: GeometryChoice) -> Result<Geometry> {
        Geometry::plan(RingVersion::V3, Direction::Receive, 1500, choice, PAGE)
    }

    #[test]
    fn defaults_follow_the_mtu() {
        let v2 = |mtu| {
            let choice = GeometryChoice::default();
            Geometry::plan(RingVersion::V2, Direction::Receive, mtu, choice, PAGE).unwrap()
        };
        assert_eq!(v2(1500).frame_bytes(), 2048);
        assert_eq!(v2(9000).frame_bytes(), 16384);
        assert_eq!(v2(65_535).block_bytes(), 131_072);
        assert_eq!(plan(GeometryChoice::default()).unwrap().bytes(), 4 << 20);
    }

    #[test]
    fn slots_follow_the_longest_frame_and_their_number_what_was_asked() {
        let plan = |direction, choice| {
            Geometry::plan(RingVersion::V2, direction, 1500, choice, PAGE).unwrap()
        };
        let slot = |direction, longest| {
            let choice = GeometryChoice { longest: Some(longest), ..Default::default() };
            plan(direction, choice).frame_bytes()
        };
        assert_eq!(slot(Direction::Receive, 60), 128);
        assert_eq!(slot(Direction::Receive, 63), 256);
        assert_eq!(slot(Direction::Transmit, 82), 128);
        assert_eq!(slot(Direction::Transmit, 83), 256);
        assert_eq!(slot(Direction::Receive, 1514), 2048);
        for (slots, came_out) in [(1, 4), (4, 4), (8, 8), (64, 64), (65, 96), (1000, 1024)] {
            let choice = GeometryChoice { slots: Some(slots), ..Default::default() };
            assert_eq!(plan(Direction::Transmit, choice).frames(), came_out, "{slots}");
        }
        for slots in [usize::MAX, 1 << 40] {
            let choice = GeometryChoice { slots: Some(slots), ..Default::default() };
            let error = Geometry::plan(RingVersion::V2, Direction::Transmit, 1500, choice, PAGE);
            assert!(error.unwrap_err().to_string().contains("at most 524288"));
        }
    }

    #[test]
    fn a_broken_rule_is_named_with_both_numbers_and_the_nearest_value() {
        let choice = GeometryChoice { block_bytes: Some(5000), ..Default::default() };
        let text = plan(choice).unwrap_err().to_string();
        assert!(text.contains("5000 B") && text.contains("4096 B"), "{text}");
        let choice = GeometryChoice { frame_bytes: Some(100), ..Default::default() };
        assert!(plan(choice).unwrap_err().to_string().ends_with(" 96 B"));
        let choice = GeometryChoice { blocks: Some(1), ..Default::default() };
        assert!(plan(choice).unwrap_err().to_string().ends_with(" 2"));
        let choice = GeometryChoice { retire_ms: Some(0), ..Default::default() };
        assert!(plan(choice).unwrap_err().to_string().contains("timeout"));
        let choice = GeometryChoice { blocks: Some(600_000), ..Default::default() };
        assert!(plan(choice).unwrap_err().to_string().ends_with(" 524288"));
    }

    #[test]
    fn smaller_blocks_keep_the_ring_as_large() {
        let mut geometry = plan(GeometryChoice::default()).unwrap();
        while let Some(smaller) = geometry.with_smaller_blocks(PAGE) {
            assert_eq!(smaller.bytes(), geometry.bytes());
            geometry = smaller;
        }
        assert!(geometry.block_bytes() >= 2048 + 48);
    }

    proptest! {
        /// What the kernel checks, once more and in its own words.
        #[test]
        fn every_accepted_geometry_passes_the_kernels_checks(
            block in 0usize..40_000, blocks in 0usize..70, frame in 0usize..9000,
            pages in any::<bool>(), aligned in any::<bool>(), v3 in any::<bool>(),
        ) {
            let block_bytes = if pages { block * PAGE } else { block };
            let frame_bytes = if aligned { frame / 16 * 16 } else { frame };
            let version = if v3 { RingVersion::V3 } else { RingVersion::V2 };
            let choice = GeometryChoice {
                block_bytes: Some(block_bytes), blocks: Some(blocks),
                frame_bytes: Some(frame_bytes), ..Default::default()
            };
            let planned = Geometry::plan(version, Direction::Receive, 1500, choice, PAGE);
            let kernel_takes = block_bytes > 0
                && block_bytes % PAGE == 0
                && (!v3 || block_bytes >= 48 + 68)
                && frame_bytes >= header_length(version)
                && frame_bytes % 16 == 0
                && block_bytes / frame_bytes.max(1) > 0;
            let we_take = block_bytes <= BLOCK_BYTES_MAX && blocks >= 2;
            prop_assert_eq!(planned.is_ok(), kernel_takes && we_take);
            if let Ok(geometry) = planned {
                let request = geometry.request();
                prop_assert_eq!(request.block_bytes / request.frame_bytes * request.blocks, request.frames);
            }
        }
    }
}
