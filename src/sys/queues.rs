//! The queues of an interface, and how its device spreads flows over those that receive (`ethtool -l`, `-x`, `-n
//! rx-flow-hash`). None of it needs privilege.

use std::collections::BTreeSet;
use std::io;

use super::ethtool_settings::CHANNELS;
use super::failure::failed;
use super::interface_files::Reception;
use super::link::Link;
use super::offload::{Ethtool, advice};
use crate::error::Result;

/// Commands of uapi/linux/ethtool.h.
const GET_RSS: u32 = 0x46;
const GET_HASHED_FIELDS: u32 = 0x29;

/// 32-bit words of `struct ethtool_rxfh` before its table, which the key follows: command, context, entries of
/// the table, bytes of the key, hash function.
const RSS_WORDS: usize = 6;
/// 32-bit words of `struct ethtool_rxnfc`: command, kind of flow, what is hashed.
const HASHED_FIELDS_WORDS: usize = 48;
const UDP_V4_FLOW: u32 = 2;
/// Both ports (`RXH_L4_B_0_1`, `RXH_L4_B_2_3`).
const PORTS: u32 = 1 << 6 | 1 << 7;

/// More of either than any device has.
const RSS_SIZE_MAX: u32 = 1 << 16;

/// Queues of an interface that are in use; it may have been made with more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Queues {
    /// Those that receive.
    pub receive: u32,
    /// Those that transmit.
    pub transmit: u32,
}

/// Receive side scaling: a hash of each frame's flow chooses an entry of a table, and that names the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Rss {
    /// The hash function; `None` where the driver does not say.
    pub function: Option<&'static str>,
    /// Its key, in hexadecimal digits.
    pub key: String,
    /// The queue of each entry.
    pub table: Vec<u32>,
    /// Whether the ports of UDP over IPv4 are hashed; `None` where the driver does not say.
    pub hashes_udp_ports: Option<bool>,
}

impl Rss {
    /// The queues that flows can reach.
    pub fn queues(&self) -> BTreeSet<u32> {
        self.table.iter().copied().collect()
    }

    /// From an answer: the words behind the command, the table and the key.
    fn from_words(words: &[u32], hashes_udp_ports: Option<bool>) -> Rss {
        let (table, key) = words[RSS_WORDS..].split_at(words[2] as usize);
        let key = key.iter().flat_map(|word| word.to_ne_bytes()).take(words[3] as usize);
        let function = match words[4].to_ne_bytes()[0] {
            1 => Some("toeplitz"),
            2 => Some("xor"),
            4 => Some("crc32"),
            _ => None,
        };
        let key = key.map(|byte| format!("{byte:02x}")).collect();
        Rss { function, key, table: table.to_vec(), hashes_udp_ports }
    }
}

/// How frames come to an interface's receive queues.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Steering {
    /// The queues.
    #[serde(flatten)]
    pub queues: Queues,
    /// What chooses among those that receive; `None` where the driver has no such thing, or does not say.
    pub rss: Option<Rss>,
}

impl Steering {
    /// Of an interface in the network namespace of the calling thread.
    pub fn of(link: &Link) -> Result<Steering> {
        let ethtool = Ethtool::open()?;
        let rss = ethtool.rss(&link.name).ok().flatten();
        Ok(Steering { queues: ethtool.queues(link)?, rss })
    }

    /// `4 receive queues, RSS over 4 of them by toeplitz`, for people.
    pub fn words(&self) -> String {
        let Queues { receive, transmit } = self.queues;
        let rss = self.rss.as_ref().map_or(String::new(), |rss| {
            let function = rss.function.map_or(String::new(), |name| format!(" by {name}"));
            let (entries, queues) = (rss.table.len(), rss.queues().len());
            format!("; RSS spreads flows over {queues}{function}, {entries} entries")
        });
        format!("{receive} receive, {transmit} transmit{rss}")
    }

    /// Why frames of `name` stay away from some of its receive queues, and what to do, if they do.
    pub fn idle_queues(&self, name: &str) -> Option<(String, String)> {
        let reached = self.rss.as_ref()?.queues();
        let receive = self.queues.receive;
        let first = reached.first().filter(|_| reached.len() < receive as usize)?;
        let what = match reached.len() {
            1 => format!("the RSS table sends all flows to queue {first} of {receive}"),
            some => format!("the RSS table sends flows to {some} of {receive} queues"),
        };
        Some((what, format!("ethtool -X {name} equal {receive}")))
    }

    /// Why `flows` flows cannot keep all receive queues of `name` busy, if so.
    pub fn too_few_flows(&self, name: &str, flows: u32, udp: bool) -> Option<String> {
        let receive = self.queues.receive;
        let by_addresses = self.rss.as_ref().and_then(|rss| rss.hashes_udp_ports) == Some(false);
        if receive < 2 {
            return None;
        }
        if !udp {
            return Some(format!(
                "RSS hashes IP only: plain frames meet one of {receive} receive queues of {name}"
            ));
        }
        match (flows < receive, by_addresses && flows > 1) {
            (true, _) => Some(format!(
                "{flows} flow{} for {receive} receive queues of {name}: some stay idle; use more --flows",
                if flows == 1 { "" } else { "s" },
            )),
            (_, true) => Some(format!(
                "{name} hashes UDP by address only, so flows by port meet one of {receive} receive queues: \
                 `ethtool -N {name} rx-flow-hash udp4 sdfn`"
            )),
            _ => None,
        }
    }
}

/// The transmit queue that frames leave by which bypass the queueing discipline, `transmit` being in use, sent on
/// `cpu` (`packet_pick_tx_queue`): the one that XPS gives the CPU, if the driver does not choose itself.
pub fn transmit_queue(link: &Link, cpu: usize, transmit: u32) -> u32 {
    let xps = Reception::of(link).map_or(Vec::new(), |reception| reception.xps);
    let of_cpu = xps.iter().find(|(_, mask)| is_in_mask(cpu, mask));
    let by_xps = of_cpu.and_then(|(queue, _)| queue.strip_prefix("tx-")?.parse().ok());
    by_xps.unwrap_or(cpu as u32 % transmit.max(1))
}

/// Whether a mask as the kernel writes it, `3,00000000`, has the CPU.
fn is_in_mask(cpu: usize, mask: &str) -> bool {
    let digit = mask.chars().rev().filter(|digit| *digit != ',').nth(cpu / 4);
    digit.and_then(|digit| digit.to_digit(16)).is_some_and(|bits| bits & 1 << (cpu % 4) != 0)
}

impl Ethtool {
    /// The queues of `link` that are in use, which `ethtool -L` changes. Where the driver does not tell
    /// (veth before Linux 5.13), those that it was made with.
    pub fn queues(&self, link: &Link) -> Result<Queues> {
        match self.settings(&link.name, &CHANNELS) {
            Ok(Some(words)) => {
                let combined = words[8];
                Ok(Queues { receive: words[5] + combined, transmit: words[6] + combined })
            }
            Ok(None) => Ok(Queues { receive: link.receive_queues, transmit: link.transmit_queues }),
            Err(error) => {
                let attempted = format!("read how many queues {} uses", link.name);
                Err(failed(attempted, &error, advice(&error)))
            }
        }
    }

    /// How the device spreads flows; `None` where it does not.
    pub fn rss(&self, name: &str) -> io::Result<Option<Rss>> {
        let mut sizes = [0u32; RSS_WORDS];
        sizes[0] = GET_RSS;
        match self.request(name, &mut sizes) {
            Ok(()) if sizes[2] == 0 => return Ok(None),
            Ok(()) if sizes[2].max(sizes[3]) > RSS_SIZE_MAX => {
                return Err(io::Error::from_raw_os_error(libc::EOVERFLOW));
            }
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error),
        }
        let [_, _, entries, key_bytes, ..] = sizes;
        let mut words = vec![0; RSS_WORDS + entries as usize + key_bytes.div_ceil(4) as usize];
        (words[0], words[2], words[3]) = (GET_RSS, entries, key_bytes);
        // EINVAL if the sizes are others by now.
        self.request(name, &mut words)?;
        Ok(Some(Rss::from_words(&words, self.hashes_udp_ports(name))))
    }

    fn hashes_udp_ports(&self, name: &str) -> Option<bool> {
        let mut words = [0u32; HASHED_FIELDS_WORDS];
        (words[0], words[1]) = (GET_HASHED_FIELDS, UDP_V4_FLOW);
        self.request(name, &mut words).ok()?;
        // The lower half of 64 bits.
        let fields = if cfg!(target_endian = "big") { words[3] } else { words[2] };
        (fields != 0).then_some(fields & PORTS == PORTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table over `used` of `receive` queues.
    fn steering(receive: u32, used: u32, hashes_udp_ports: Option<bool>) -> Steering {
        let mut words = vec![GET_RSS, 0, 8, 5, 1, 0];
        words.extend((0..8).map(|entry| entry % used));
        words.extend([u32::from_ne_bytes([1, 2, 3, 0xfe]), u32::from_ne_bytes([5, 9, 9, 9])]);
        let rss = Some(Rss::from_words(&words, hashes_udp_ports));
        Steering { queues: Queues { receive, transmit: receive }, rss }
    }

    #[test]
    fn an_answer_has_function_table_and_key() {
        let all = steering(4, 4, Some(true));
        let rss = all.rss.as_ref().unwrap();
        assert_eq!((rss.function, rss.key.as_str()), (Some("toeplitz"), "010203fe05"));
        assert_eq!(rss.table, [0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(all.idle_queues("eth1"), None);
        let words = all.words();
        assert!(words.contains("4 receive") && words.contains("over 4 by toeplitz"), "{words}");
    }

    #[test]
    fn queues_that_get_nothing_are_said() {
        let (what, fix) = steering(4, 1, None).idle_queues("eth1").unwrap();
        assert!(what.contains("all flows to queue 0 of 4"), "{what}");
        assert_eq!(fix, "ethtool -X eth1 equal 4");
        let (what, _) = steering(4, 2, None).idle_queues("eth1").unwrap();
        assert!(what.contains("2 of 4"), "{what}");
        let few = |receive, ports, flows, udp| {
            steering(receive, receive, ports).too_few_flows("eth1", flows, udp)
        };
        assert!(few(4, None, 1, true).is_some_and(|text| text.starts_with("1 flow for 4")));
        assert!(few(4, None, 9, false).is_some_and(|text| text.contains("plain frames")));
        assert!(few(4, Some(false), 9, true).is_some_and(|text| text.contains("udp4 sdfn")));
        assert_eq!(few(4, Some(true), 4, true), None);
        assert_eq!(few(1, None, 1, false), None);
    }

    #[test]
    fn masks_have_bits_from_the_right() {
        assert!(is_in_mask(0, "1") && is_in_mask(5, "20") && is_in_mask(33, "2,00000000"));
        assert!(!is_in_mask(1, "1") && !is_in_mask(40, "ff") && !is_in_mask(0, ""));
    }

    #[test]
    fn a_loopback_spreads_nothing() {
        let links = super::super::link::Links::open().unwrap();
        let loopback = links.by_name("lo").unwrap();
        let steering = Steering::of(&loopback).unwrap();
        assert_eq!(steering, Steering { queues: Queues { receive: 1, transmit: 1 }, rss: None });
        assert!(Ethtool::open().unwrap().rss("no-such-link").is_err());
    }
}
