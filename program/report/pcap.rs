//! Frames as evidence: a pcap file with nanosecond stamps, which Wireshark and tcpdump open.

use std::path::Path;

use super::output::Output;
use crate::error::{Error, Result};

/// The longest frame that a file may hold, in bytes: what tcpdump uses, more than any MTU.
const SNAP_BYTES: u32 = 262_144;
/// `LINKTYPE_ETHERNET`.
const LINK_ETHERNET: u32 = 1;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const NS_PER_S: u64 = 1_000_000_000;

/// A pcap file in the making: Ethernet frames without FCS, stamps in nanoseconds, in the byte order of
/// this machine (draft-ietf-opsawg-pcap section 4).
#[derive(Debug)]
pub struct PcapFile {
    output: Output,
}

impl PcapFile {
    /// Opens the file, as [`Output::create`] says, and writes its header.
    pub fn create(path: &Path) -> Result<PcapFile> {
        let mut output = Output::create(path)?;
        let [major, minor] = [2u16, 4].map(u16::to_ne_bytes);
        let version = u32::from_ne_bytes([major[0], major[1], minor[0], minor[1]]);
        output.append(&words([MAGIC_NANOSECONDS, version, 0, 0, SNAP_BYTES, LINK_ETHERNET]))?;
        Ok(PcapFile { output })
    }

    /// Writes a frame: its kernel stamp `stamp_realtime_ns` (nanoseconds since the Unix epoch; the
    /// format ends in 2106), its length on the wire `wire_bytes` (without FCS, as in any capture), and
    /// the captured `bytes`, cut to 256 KiB.
    pub fn write(&mut self, stamp_realtime_ns: u64, wire_bytes: usize, bytes: &[u8]) -> Result<()> {
        let there = &bytes[..bytes.len().min(SNAP_BYTES as usize)];
        // A frame cannot be shorter than what there is of it; readers refuse more than SNAP_BYTES.
        let wire_bytes = wire_bytes.clamp(there.len(), SNAP_BYTES as usize) as u32;
        let seconds = u32::try_from(stamp_realtime_ns / NS_PER_S).map_err(|_| {
            Error::Run(format!("no pcap file can hold a frame of {stamp_realtime_ns} ns"))
        })?;
        let nanoseconds = (stamp_realtime_ns % NS_PER_S) as u32;
        let mut record = words([seconds, nanoseconds, there.len() as u32, wire_bytes]);
        record.extend_from_slice(there);
        self.output.append(&record)
    }

    /// Puts the file in its place.
    pub fn publish(&mut self) -> Result<()> {
        self.output.publish()
    }
}

fn words<const N: usize>(words: [u32; N]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    const STAMP_NS: u64 = 1_700_000_000_123_456_789;

    struct Temporary(PathBuf);

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn written(name: &str) -> Temporary {
        let path = std::env::temp_dir().join(format!("linerate-{}-{name}", std::process::id()));
        let mut pcap = PcapFile::create(&path).unwrap();
        pcap.write(STAMP_NS, 60, &[7; 60]).unwrap();
        pcap.write(STAMP_NS + 1, 1514, &[8; 100]).unwrap();
        // What is there is never longer than the frame.
        pcap.write(STAMP_NS + 2, 0, &[9; 65_553]).unwrap();
        assert!(pcap.write(u64::MAX, 60, &[0; 60]).is_err());
        pcap.publish().unwrap();
        Temporary(path)
    }

    #[test]
    fn the_bytes_are_the_formats() {
        let file = written("bytes.pcap");
        let bytes = std::fs::read(&file.0).unwrap();
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(word(0), 0xa1b2_3c4d);
        assert_eq!(
            (&bytes[4..6], &bytes[6..8]),
            (&2u16.to_ne_bytes()[..], &4u16.to_ne_bytes()[..])
        );
        assert_eq!([8, 12, 16, 20].map(word), [0, 0, SNAP_BYTES, 1]);
        let mut at = 24;
        for (nanoseconds, there, wire, fill) in
            [(789, 60, 60, 7), (790, 100, 1514, 8), (791, 65_553, 65_553, 9)]
        {
            let record = [at, at + 4, at + 8, at + 12].map(word);
            assert_eq!(record, [1_700_000_000, 123_456_000 + nanoseconds, there, wire]);
            at += 16;
            assert!(bytes[at..at + there as usize].iter().all(|byte| *byte == fill));
            at += there as usize;
        }
        assert_eq!(at, bytes.len());
    }

    #[test]
    fn tcpdump_reads_it() {
        let file = written("tcpdump.pcap");
        let mut tcpdump = Command::new("tcpdump");
        tcpdump.args(["--nano", "-tt", "-n", "-r"]).arg(&file.0);
        let Ok(output) = tcpdump.output() else {
            eprintln!("*** no tcpdump here: only our own reader has read the file ***");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("1700000000.123456789"), "{text}");
        assert!(text.contains("1700000000.123456791"), "{text}");
    }
}
