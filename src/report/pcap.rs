//! Frames as evidence: a pcap file with nanosecond stamps, which Wireshark and tcpdump open.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};

use crate::error::{Error, Result};
use crate::sys::failure::failed;

/// The longest frame that a file may hold, in bytes: what tcpdump uses, more than any MTU.
const SNAP_BYTES: u32 = 262_144;

/// A pcap file in the making: Ethernet frames without FCS, stamps in nanoseconds (magic number
/// 0xa1b23c4d, draft-ietf-opsawg-pcap section 4).
///
/// Nothing is buffered: after each frame the file is complete, however the program ends.
#[derive(Debug)]
pub struct PcapFile {
    writer: PcapWriter<File>,
    path: PathBuf,
    frames: u64,
}

impl PcapFile {
    /// Creates the file, or empties it, with its header. Call it before the run, so that a bad path
    /// fails early.
    pub fn create(path: &Path) -> Result<PcapFile> {
        let file = File::create(path).map_err(|error| {
            failed(format!("create {}", path.display()), &error, "nothing was run")
        })?;
        let header = PcapHeader {
            snaplen: SNAP_BYTES,
            datalink: DataLink::ETHERNET,
            ts_resolution: TsResolution::NanoSecond,
            endianness: Endianness::native(),
            ..PcapHeader::default()
        };
        let writer = PcapWriter::with_header(file, header);
        let writer = writer.map_err(|error| writing_failed(path, error))?;
        Ok(PcapFile { writer, path: path.to_owned(), frames: 0 })
    }

    /// Writes a frame that the kernel stamped at `stamp_realtime_ns` (nanoseconds since the Unix
    /// epoch; the format ends in 2106), of `wire_bytes` bytes on the wire (without FCS, as a
    /// capture has it), of which `bytes` are there. What is beyond 256 KiB is cut off.
    pub fn write(&mut self, stamp_realtime_ns: u64, wire_bytes: usize, bytes: &[u8]) -> Result<()> {
        let there = &bytes[..bytes.len().min(SNAP_BYTES as usize)];
        // A frame cannot be shorter than what there is of it; readers refuse more than SNAP_BYTES.
        let wire_bytes = wire_bytes.clamp(there.len(), SNAP_BYTES as usize) as u32;
        let packet = PcapPacket::new(Duration::from_nanos(stamp_realtime_ns), wire_bytes, there);
        self.writer.write_packet(&packet).map_err(|error| writing_failed(&self.path, error))?;
        self.frames += 1;
        Ok(())
    }

    /// Frames written.
    pub fn frames(&self) -> u64 {
        self.frames
    }
}

fn writing_failed(path: &Path, error: PcapError) -> Error {
    let attempted = format!("write to {}", path.display());
    match error {
        PcapError::IoError(error) => failed(attempted, &error, ""),
        error => Error::Run(format!("could not {attempted}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use pcap_file::pcap::PcapReader;

    use super::*;

    const STAMP_NS: u64 = 1_700_000_000_123_456_789;

    struct Temporary(PathBuf);

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn temporary(name: &str) -> Temporary {
        Temporary(std::env::temp_dir().join(format!("linerate-{}-{name}", std::process::id())))
    }

    fn written(path: &Path) -> PcapFile {
        let mut pcap = PcapFile::create(path).unwrap();
        pcap.write(STAMP_NS, 60, &[7; 60]).unwrap();
        pcap.write(STAMP_NS + 1, 1514, &[8; 100]).unwrap();
        // What is there is never longer than the frame.
        pcap.write(STAMP_NS + 2, 0, &[9; 65_553]).unwrap();
        pcap
    }

    #[test]
    fn what_is_written_is_there_at_once_to_the_nanosecond() {
        let file = temporary("read-back.pcap");
        let pcap = written(&file.0);
        assert_eq!(pcap.frames(), 3);
        let mut reader = PcapReader::new(File::open(&file.0).unwrap()).unwrap();
        assert_eq!(reader.header().datalink, DataLink::ETHERNET);
        let mut frames = Vec::new();
        while let Some(packet) = reader.next_packet() {
            let packet = packet.unwrap();
            frames.push((packet.timestamp.as_nanos() as u64, packet.orig_len, packet.data.len()));
        }
        let expected =
            [(STAMP_NS, 60, 60), (STAMP_NS + 1, 1514, 100), (STAMP_NS + 2, 65_553, 65_553)];
        assert_eq!(frames, expected);
    }

    #[test]
    fn the_header_is_the_formats() {
        let file = temporary("header.pcap");
        PcapFile::create(&file.0).unwrap();
        let bytes = std::fs::read(&file.0).unwrap();
        let words: Vec<u32> =
            bytes.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)).collect();
        let version = u32::from_ne_bytes({
            let [major, minor] = [2u16, 4].map(u16::to_ne_bytes);
            [major[0], major[1], minor[0], minor[1]]
        });
        assert_eq!(words, [0xa1b2_3c4d, version, 0, 0, SNAP_BYTES, 1]);
    }

    #[test]
    fn tcpdump_reads_it() {
        let file = temporary("tcpdump.pcap");
        written(&file.0);
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

    #[test]
    fn a_bad_path_or_stamp_is_an_error_with_words() {
        let error = PcapFile::create(Path::new("/no/such/folder/x.pcap")).unwrap_err();
        assert!(error.to_string().contains("ENOENT"), "{error}");
        let file = temporary("stamp.pcap");
        let mut pcap = PcapFile::create(&file.0).unwrap();
        assert!(pcap.write(u64::MAX, 60, &[0; 60]).is_err());
    }
}
