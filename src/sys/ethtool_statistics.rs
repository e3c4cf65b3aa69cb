//! A driver's own statistics under its own names, as `ethtool -S` shows them, and its features.
//!
//! What is in the statistics is the driver's business: counters, but also gauges and identifiers (veth's
//! `peer_ifindex`), some for each queue, some doubling what the interface counts. They are evidence
//! for people and are never summed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{ProtFlags, mprotect};

use super::failure::failed;
use super::mapping::{Mapping, page_bytes};
use super::offload::Ethtool;
use crate::error::Result;

/// Commands of uapi/linux/ethtool.h.
const GET_STRING_SET_INFO: u32 = 0x37;
const GET_STRINGS: u32 = 0x1b;
const GET_STATISTICS: u32 = 0x1d;

/// The string set that names the statistics (`ETH_SS_STATS`).
const STATISTICS_SET: u32 = 1;

/// Bytes of one name (`ETH_GSTRING_LEN`), padded with NULs.
const NAME_BYTES: usize = 32;

/// Bytes of `struct ethtool_gstrings` and of `struct ethtool_stats` before their entries.
const STRINGS_HEADER_BYTES: usize = 12;
const STATISTICS_HEADER_BYTES: usize = 8;

/// More strings than any driver has.
const STRINGS_MAX: u32 = 1 << 16;

/// The command and string set of features (`ETH_SS_FEATURES`), and which of the four words of a block says
/// what is on.
const GET_FEATURES: u32 = 0x3a;
const SET_FEATURES: u32 = 0x3b;
const FEATURES_SET: u32 = 4;
const ACTIVE: usize = 2;

/// How often to ask again when the number of statistics changes between the questions.
const ATTEMPTS: usize = 4;

/// The statistics of one interface, in the driver's order; empty where the driver has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverStatistics(pub Vec<(String, u64)>);

impl DriverStatistics {
    /// What was counted since `earlier`. Values are told apart by their name and, because drivers
    /// use some names more than once, by how many of that name came before. One that has gone back
    /// (it was a gauge, or the driver was restarted) gives 0; one that is new counts in full.
    pub fn since(&self, earlier: &DriverStatistics) -> DriverStatistics {
        let mut left: Vec<Option<&(String, u64)>> = earlier.0.iter().map(Some).collect();
        let passed = self.0.iter().map(|(name, now)| {
            let is_this = |entry: &Option<&(String, u64)>| entry.is_some_and(|(n, _)| n == name);
            let found = left.iter().position(is_this);
            let before = found.and_then(|at| left[at].take()).map_or(0, |(_, before)| *before);
            (name.clone(), now.saturating_sub(before))
        });
        DriverStatistics(passed.collect())
    }

    /// Frames of each queue, where the driver counts them.
    pub fn by_queue(&self) -> Vec<QueueFrames> {
        let mut found = BTreeMap::new();
        // The later ones are parts of the first, and nothing in a part says nothing of the whole.
        for (parts, least) in QUEUE_COUNTS.into_iter().zip(0..) {
            for (name, count) in self.0.iter().filter(|(_, count)| *count >= least) {
                if let Some(key) = queue_count(name, parts) {
                    found.entry(key).or_insert(*count);
                }
            }
        }
        let queues: BTreeSet<u32> = found.keys().map(|(queue, _)| *queue).collect();
        let frames = |queue, receives| found.get(&(queue, receives)).copied();
        queues
            .into_iter()
            .map(|queue| QueueFrames {
                queue,
                received: frames(queue, true),
                sent: frames(queue, false),
            })
            .collect()
    }

    /// Those that are not zero.
    pub fn nonzero(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().filter(|(_, value)| *value != 0).map(|(name, value)| (name.as_str(), *value))
    }
}

/// What a driver counted of a queue; `None` where it does not count that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct QueueFrames {
    /// The queue's number.
    pub queue: u32,
    /// Frames that it received.
    pub received: Option<u64>,
    /// Frames that it sent.
    pub sent: Option<u64>,
}

/// What may be in the name of a queue's count of frames beside the number and the direction, as in
/// `rx_queue_0_packets` (igb, ixgbe, ice), `rx0_packets` (mlx5, virtio), `rx-0.packets` (i40e), `queue_0_rx_cnt`
/// (ena), `q0_rx_pkt_n` (stmmac); then what counts a part of them: `rx_queue_0_xdp_packets` (veth, with NAPI),
/// `[0]: rx_ucast_packets` (bnxt).
const QUEUE_COUNTS: [&[&str]; 2] = [
    &["queue", "q", "packets", "pkts", "pkt", "n", "cnt", "frames"],
    &["queue", "xdp", "ucast", "packets"],
];

/// The queue and whether it receives, if the name is a count of its frames.
fn queue_count(name: &str, parts: &[&str]) -> Option<(u32, bool)> {
    let (mut queue, mut receives, mut counts) = (None, None, false);
    let name = name.to_lowercase();
    let kinds = |a: &u8, b: &u8| a.is_ascii_digit() == b.is_ascii_digit();
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    for word in words.flat_map(|word| word.as_bytes().chunk_by(kinds)) {
        let word = std::str::from_utf8(word).ok()?;
        match (word.parse(), word) {
            (Ok(number), _) if queue.is_none() => queue = Some(number),
            (Err(_), "rx" | "tx") if receives.is_none() => receives = Some(word == "rx"),
            (Err(_), _) if parts.contains(&word) => {
                counts |= !["queue", "q", "n", "xdp", "ucast"].contains(&word);
            }
            _ => return None,
        }
    }
    queue.zip(receives).filter(|_| counts)
}

impl Ethtool {
    /// The driver's statistics of the interface `name`; empty where it has none. Needs no
    /// privilege.
    pub fn statistics(&self, name: &str) -> Result<DriverStatistics> {
        let mut last = io::Error::from_raw_os_error(libc::EFAULT);
        for _ in 0..ATTEMPTS {
            match self.statistics_once(name) {
                Ok(statistics) => return Ok(statistics),
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    return Ok(DriverStatistics::default());
                }
                // The kernel had more to say than it had announced: they changed meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::EFAULT) => last = error,
                Err(error) => {
                    last = error;
                    break;
                }
            }
        }
        Err(failed(format!("read the driver statistics of {name}"), &last, ""))
    }

    fn statistics_once(&self, name: &str) -> io::Result<DriverStatistics> {
        let names = self.names(name, STATISTICS_SET)?;
        if names.is_empty() {
            return Ok(DriverStatistics::default());
        }
        let count = names.len() as u32;
        let bytes = STATISTICS_HEADER_BYTES + names.len() * size_of::<u64>();
        let values = self.request_fenced(name, bytes, &[GET_STATISTICS, count])?;
        if word(&values, 4) != count {
            return Err(io::Error::from_raw_os_error(libc::EFAULT));
        }
        let values = values[STATISTICS_HEADER_BYTES..].as_chunks::<8>().0.iter();
        let values = values.map(|bytes| u64::from_ne_bytes(*bytes));
        Ok(DriverStatistics(names.into_iter().zip(values).collect()))
    }

    /// The features of the interface `name` that are switched on, by the names of `ethtool -k` (`rx-gro`, `tx-udp-segmentation`), as kernel and
    /// driver have them. Needs no privilege.
    pub fn features(&self, name: &str) -> io::Result<BTreeSet<String>> {
        let names = self.names(name, FEATURES_SET)?;
        let blocks = names.len().div_ceil(32);
        // `struct ethtool_gfeatures`: command, blocks, and for each block of 32 features four words.
        let request = [GET_FEATURES, blocks as u32];
        let answer = self.request_fenced(name, 4 * (2 + 4 * blocks), &request)?;
        let is_on =
            |at: usize| word(&answer, 4 * (2 + 4 * (at / 32) + ACTIVE)) & 1 << (at % 32) != 0;
        Ok(names
            .into_iter()
            .enumerate()
            .filter(|(at, _)| is_on(*at))
            .map(|(_, name)| name)
            .collect())
    }

    /// Switches a feature on or off. What the kernel cannot do it leaves as it is.
    pub fn set_feature(&self, name: &str, feature: &str, on: bool) -> io::Result<()> {
        let names = self.names(name, FEATURES_SET)?;
        let Some(at) = names.iter().position(|known| known == feature) else { return Ok(()) };
        // `struct ethtool_sfeatures`: command, blocks, and for each block which features are meant and
        // which of them shall be on.
        let blocks = names.len().div_ceil(32);
        let mut words = vec![0; 2 + 2 * blocks];
        (words[0], words[1]) = (SET_FEATURES, blocks as u32);
        let (block, bit) = (2 + 2 * (at / 32), 1 << (at % 32));
        (words[block], words[block + 1]) = (bit, if on { bit } else { 0 });
        self.request(name, &mut words)
    }

    /// The names of a set of strings, in the driver's order.
    fn names(&self, name: &str, set: u32) -> io::Result<Vec<String>> {
        let count = self.string_count(name, set)?;
        if count == 0 {
            return Ok(Vec::new());
        }
        if count > STRINGS_MAX {
            return Err(io::Error::from_raw_os_error(libc::EOVERFLOW));
        }
        let bytes = STRINGS_HEADER_BYTES + count as usize * NAME_BYTES;
        let strings = self.request_fenced(name, bytes, &[GET_STRINGS, set, count])?;
        if word(&strings, 8) != count {
            return Err(io::Error::from_raw_os_error(libc::EFAULT));
        }
        Ok(strings[STRINGS_HEADER_BYTES..].chunks_exact(NAME_BYTES).map(name_of).collect())
    }

    /// `struct ethtool_sset_info`: command, reserved, a 64-bit mask of sets, and the length of each
    /// set that the mask of the answer names.
    fn string_count(&self, name: &str, set: u32) -> io::Result<u32> {
        let mask = (1u64 << set).to_ne_bytes();
        let request = [GET_STRING_SET_INFO, 0, word(&mask, 0), word(&mask, 4), 0];
        let answer = self.request_fenced(name, size_of_val(&request), &request)?;
        let unanswered = word(&answer, 8) == 0 && word(&answer, 12) == 0;
        Ok(if unanswered { 0 } else { word(&answer, 16) })
    }

    /// The answer of `length` bytes to a request that begins with `words`.
    fn request_fenced(&self, name: &str, length: usize, words: &[u32]) -> io::Result<Vec<u8>> {
        let buffer = FencedBuffer::new(length)?;
        buffer.write_words(words);
        // SAFETY: the buffer begins with a command of this file and holds that command's structure.
        // How much the kernel writes for it is decided by the driver at that moment, not by us; what
        // goes beyond the buffer meets its fence and is EFAULT.
        unsafe { self.request_at(name, buffer.start.cast()) }?;
        Ok(buffer.bytes())
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn name_of(bytes: &[u8]) -> String {
    let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
}

/// Memory for an answer whose length the kernel decides: it ends at a page that nobody may touch,
/// so that a longer answer than expected is an error (EFAULT) and overwrites nothing.
#[derive(Debug)]
struct FencedBuffer {
    /// It and the fence.
    _mapping: Mapping,
    /// Where the buffer begins, aligned to 4 bytes, so that it ends at the fence.
    start: NonNull<u8>,
    length: usize,
}

impl FencedBuffer {
    /// A buffer of zeros, of `length` bytes, rounded up to 4.
    fn new(length: usize) -> io::Result<FencedBuffer> {
        let page = page_bytes();
        let length = length.next_multiple_of(4);
        let usable_bytes = length.next_multiple_of(page);
        let size = NonZeroUsize::new(usable_bytes + page).expect("at least the fence");
        let mapping = Mapping::anonymous(size)?;
        // SAFETY: the usable bytes are a part of the mapping, so the fence begins inside it.
        let fence = unsafe { mapping.base().byte_add(usable_bytes) };
        // SAFETY: as above; the buffer ends where the fence begins.
        let start = unsafe { fence.byte_sub(length) };
        // SAFETY: the fence is the last page of the mapping just made, and nothing refers to it.
        unsafe { mprotect(fence.cast(), page, ProtFlags::PROT_NONE) }?;
        Ok(FencedBuffer { _mapping: mapping, start, length })
    }

    /// Writes the first words.
    fn write_words(&self, words: &[u32]) {
        assert!(size_of_val(words) <= self.length);
        for (at, &value) in words.iter().enumerate() {
            // SAFETY: inside the buffer, by the assertion; no slice of it exists outside `bytes`.
            let to = unsafe { self.start.cast::<u32>().add(at) };
            // SAFETY: aligned to 4 bytes, because the fence is and the length is a multiple of 4.
            unsafe { to.write(value) };
        }
    }

    /// A copy of the whole buffer.
    fn bytes(&self) -> Vec<u8> {
        // SAFETY: the buffer is mapped, was zeroed by the kernel, and nobody writes it meanwhile: no
        // request is under way while `self` is not in one.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(entries: &[(&str, u64)]) -> DriverStatistics {
        DriverStatistics(entries.iter().map(|&(name, value)| (name.to_owned(), value)).collect())
    }

    #[test]
    fn a_driver_without_statistics_has_none() {
        let ethtool = Ethtool::open().unwrap();
        assert_eq!(ethtool.statistics("lo").unwrap(), DriverStatistics::default());
        assert!(ethtool.statistics("no-such-link").is_err());
    }

    #[test]
    fn features_that_are_on_have_their_names() {
        let ethtool = Ethtool::open().unwrap();
        let features = ethtool.features("lo").unwrap();
        // A loopback has these for good (`gen_lo_setup` in drivers/net/loopback.c).
        assert!(
            features.contains("loopback") && features.contains("vlan-challenged"),
            "{features:?}"
        );
        assert!(!features.contains("rx-lro"), "{features:?}");
        assert!(ethtool.features("no-such-link").is_err());
    }

    #[test]
    fn differences_are_by_name() {
        let earlier = statistics(&[("a", 1), ("twice", 5), ("twice", 7), ("back", 9)]);
        let later = statistics(&[("new", 3), ("a", 4), ("twice", 6), ("twice", 10), ("back", 2)]);
        let passed = later.since(&earlier);
        let expected = [("new", 3), ("a", 3), ("twice", 1), ("twice", 3), ("back", 0)];
        assert_eq!(passed, statistics(&expected));
        assert_eq!(passed.nonzero().count(), 4);
    }

    #[test]
    fn queues_are_told_apart_by_name() {
        let of = |names: &[(&str, u64)]| {
            let all = statistics(names).by_queue();
            all.iter().map(|one| (one.queue, one.received, one.sent)).collect::<Vec<_>>()
        };
        let two = [(0, Some(5), Some(7)), (1, Some(6), None)];
        for [r0, r1, t0] in [
            ["rx_queue_0_packets", "rx_queue_1_packets", "tx_queue_0_packets"],
            ["rx0_packets", "rx1_packets", "tx0_packets"],
            ["rx-0.packets", "rx-1.packets", "tx-0.packets"],
            ["queue_0_rx_cnt", "queue_1_rx_cnt", "queue_0_tx_cnt"],
            ["q0_rx_pkt_n", "q1_rx_pkt_n", "q0_tx_pkt_n"],
            ["[0]: rx_ucast_packets", "[1]: rx_ucast_packets", "[0]: tx_ucast_packets"],
        ] {
            assert_eq!(of(&[("rx_packets", 11), (r0, 5), (r1, 6), (t0, 7)]), two, "{r0}");
        }
        // A part of another count stands in for it only where that is not there.
        let virtio = [("rx_queue_0_xdp_packets", 1), ("rx_queue_0_packets", 5)];
        assert_eq!(of(&virtio), [(0, Some(5), None)]);
        assert_eq!(of(&virtio[..1]), [(0, Some(1), None)]);
        assert_eq!(of(&[("rx_queue_0_xdp_packets", 0)]), [], "a veth without NAPI");
        for other in ["rx_queue_0_bytes", "rx_queue_0", "rx0_csum_packets", "tx_64_byte_packets"] {
            assert_eq!(of(&[(other, 9)]), [], "{other}");
        }
    }

    #[test]
    fn a_buffer_ends_at_its_fence() {
        for length in [1, 4096, 5000] {
            let buffer = FencedBuffer::new(length).unwrap();
            buffer.write_words(&[7]);
            assert_eq!(word(&buffer.bytes(), 0), 7);
            let end = buffer.start.as_ptr() as usize + buffer.length;
            assert_eq!(end % page_bytes(), 0);
        }
    }
}
