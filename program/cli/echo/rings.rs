//! Options of `linerate echo` for the geometry of its rings.

use clap::Args;

use super::knobs::refuse_ignored;
use crate::engine::config::PathName;
use crate::engine::names::TxName;
use crate::error::Result;
use crate::ring::geometry::GeometryChoice;
use crate::sys::packet::RingVersion;
use crate::units::{parse_duration, parse_memory};

/// Ring geometry; the defaults follow the interface's MTU.
#[derive(Args, Debug)]
#[command(next_help_heading = "Ring geometry")]
pub struct RingArgs {
    /// Bytes per receive block (64KiB, 1MiB), a multiple of the page size [default: 128KiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_memory)]
    block_size: Option<u64>,

    /// Number of receive blocks [default: 4 MiB worth]
    #[arg(long, value_name = "N")]
    blocks: Option<usize>,

    /// v2: bytes per receive slot; longer frames are dropped as `truncated`
    /// [default: what --max-frame needs]
    #[arg(long, value_name = "BYTES", value_parser = parse_memory)]
    frame_size: Option<u64>,

    /// v3: retire timeout, after which a block with at least one frame is handed over, in whole
    /// milliseconds [default: 1ms]
    #[arg(long, value_name = "TIME", value_parser = parse_block_timeout)]
    block_timeout: Option<u32>,

    /// Number of TX blocks of 64 KiB [default: 16]
    #[arg(long, value_name = "N")]
    tx_blocks: Option<usize>,

    /// Number of TX slots; the block size follows
    #[arg(long, value_name = "N", conflicts_with = "tx_blocks")]
    tx_slots: Option<usize>,

    /// Memory limit of all rings together (no kernel limit covers them)
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = parse_memory)]
    ring_memory: u64,
}

impl RingArgs {
    /// The receive ring.
    pub fn receive(&self) -> GeometryChoice {
        GeometryChoice {
            block_bytes: self.block_size.map(|bytes| bytes as usize),
            blocks: self.blocks,
            frame_bytes: self.frame_size.map(|bytes| bytes as usize),
            retire_ms: self.block_timeout,
            ..GeometryChoice::default()
        }
    }

    /// The TX ring.
    pub fn transmit(&self) -> GeometryChoice {
        GeometryChoice { blocks: self.tx_blocks, slots: self.tx_slots, ..GeometryChoice::default() }
    }

    /// The cap on the memory of all rings together.
    pub fn memory_bytes(&self) -> usize {
        self.ring_memory as usize
    }

    /// Refuses options that `path` would ignore.
    pub fn check(&self, path: PathName) -> Result<()> {
        let ring = path.rx.ring();
        let receives = ring.is_some();
        let options = [
            ("--block-size", self.block_size.is_some(), receives, "--rx v3 and v2"),
            ("--blocks", self.blocks.is_some(), receives, "--rx v3 and v2"),
            ("--frame-size", self.frame_size.is_some(), receives, "--rx v3 and v2"),
            (
                "--block-timeout",
                self.block_timeout.is_some(),
                ring == Some(RingVersion::V3),
                "--rx v3",
            ),
            ("--tx-blocks", self.tx_blocks.is_some(), path.tx == TxName::Ring, "--tx ring"),
            ("--tx-slots", self.tx_slots.is_some(), path.tx == TxName::Ring, "--tx ring"),
        ];
        refuse_ignored(&options, path)
    }
}

fn parse_block_timeout(text: &str) -> std::result::Result<u32, String> {
    let timeout = parse_duration(text)?;
    if timeout.subsec_nanos() % 1_000_000 != 0 || timeout.as_millis() > u32::MAX.into() {
        return Err("the kernel takes whole milliseconds".into());
    }
    Ok(timeout.as_millis() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        ring: RingArgs,
    }

    #[test]
    fn a_timeout_is_whole_milliseconds() {
        assert_eq!(parse_block_timeout("2ms"), Ok(2));
        assert!(parse_block_timeout("1500us").is_err());
    }

    #[test]
    fn what_a_path_would_ignore_is_refused() {
        let check = |line: &str, path: &str| {
            let words = Words::try_parse_from(format!("x {line}").split_whitespace()).unwrap();
            words.ring.check(path.parse().unwrap())
        };
        assert!(check("--blocks 4 --block-size 64KiB --block-timeout 2ms", "ring-mmsg").is_ok());
        assert!(check("--frame-size 256 --tx-slots 8 --ring-memory 1GiB", "ring-v2").is_ok());
        for (line, path, of) in [
            ("--blocks 4", "syscall", "--rx v3 and v2"),
            ("--block-timeout 2ms", "ring-v2", "--rx v3"),
            ("--tx-blocks 4", "v2+mmsg", "--tx ring"),
        ] {
            let refusal = check(line, path).unwrap_err().to_string();
            assert!(refusal.contains(of) && refusal.contains(path), "{refusal}");
        }
    }
}
