//! How an interface is set up: ring sizes, interrupt coalescing, pause frames, its clock (`ethtool -g`, `-c`,
//! `-a`, `-T`). `None` stands for what the driver does not have. None of it needs privilege.

use std::io;

use super::offload::Ethtool;

/// A structure of settings in uapi/linux/ethtool.h: a command, then 32-bit words.
pub(super) struct Structure {
    ask: u32,
    set: u32,
    /// How many words it has, the command included.
    pub words: usize,
    /// What the words behind the command are called; empty where they are no settings.
    pub names: &'static [&'static str],
}

impl Structure {
    /// The words that are settings, and their names.
    pub fn named(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let numbered = self.names.iter().enumerate().map(|(at, name)| (at + 1, *name));
        numbered.filter(|(_, name)| !name.is_empty())
    }
}

const COALESCING: Structure = Structure {
    ask: 0x0e,
    set: 0x0f,
    words: 23,
    #[rustfmt::skip]
    names: &[
        "rx-usecs", "rx-frames", "rx-usecs-irq", "rx-frames-irq",
        "tx-usecs", "tx-frames", "tx-usecs-irq", "tx-frames-irq",
        "stats-block-usecs", "adaptive-rx", "adaptive-tx", "pkt-rate-low",
        "rx-usecs-low", "rx-frames-low", "tx-usecs-low", "tx-frames-low", "pkt-rate-high",
        "rx-usecs-high", "rx-frames-high", "tx-usecs-high", "tx-frames-high", "sample-interval",
    ],
};
const RINGS: Structure = Structure {
    ask: 0x10,
    set: 0x11,
    words: 9,
    names: &["", "", "", "", "rx ring", "rx-mini ring", "rx-jumbo ring", "tx ring"],
};
const PAUSE: Structure = Structure {
    ask: 0x12,
    set: 0x13,
    words: 4,
    names: &["pause autonegotiation", "rx pause", "tx pause"],
};
pub(super) const CHANNELS: Structure = Structure {
    ask: 0x3c,
    set: 0x3d,
    words: 9,
    names: &["", "", "", "", "rx channels", "tx channels", "other channels", "combined channels"],
};
pub(super) const TIME_STAMPING: Structure = Structure { ask: 0x41, set: 0, words: 11, names: &[] };

/// Fewer entries of a ring some drivers refuse.
const RING_ENTRIES_MIN: u32 = 64;

/// Those that can be changed.
pub(super) const STRUCTURES: [Structure; 4] = [RINGS, CHANNELS, COALESCING, PAUSE];

/// Descriptors of the device's rings (`struct ethtool_ringparam`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DeviceRings {
    /// Of a receive ring.
    pub receive: u32,
    /// The most that it can have.
    pub receive_max: u32,
    /// Of a transmit ring.
    pub transmit: u32,
    /// The most that it can have.
    pub transmit_max: u32,
}

/// How long the device waits before it interrupts (`struct ethtool_coalesce`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Coalescing {
    /// Microseconds after a frame was received.
    pub receive_us: u32,
    /// Or this many received frames.
    pub receive_frames: u32,
    /// Microseconds after a frame was sent.
    pub transmit_us: u32,
    /// The driver changes the receive times with the load.
    pub adaptive_receive: bool,
}

/// Flow control by pause frames of IEEE 802.3 (`struct ethtool_pauseparam`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pause {
    /// The two ends of the cable settle it between them.
    pub negotiated: bool,
    /// The interface stops sending when it is asked to.
    pub receive: bool,
    /// It asks the other end to stop when its ring is full.
    pub transmit: bool,
}

impl Ethtool {
    /// The device's rings.
    pub fn rings(&self, name: &str) -> io::Result<Option<DeviceRings>> {
        Ok(self.settings(name, &RINGS)?.map(|words| DeviceRings {
            receive_max: words[1],
            transmit_max: words[4],
            receive: words[5],
            transmit: words[8],
        }))
    }

    /// When the device interrupts.
    pub fn coalescing(&self, name: &str) -> io::Result<Option<Coalescing>> {
        Ok(self.settings(name, &COALESCING)?.map(|words| Coalescing {
            receive_us: words[1],
            receive_frames: words[2],
            transmit_us: words[5],
            adaptive_receive: words[10] != 0,
        }))
    }

    /// Flow control.
    pub fn pause(&self, name: &str) -> io::Result<Option<Pause>> {
        Ok(self.settings(name, &PAUSE)?.map(|words| Pause {
            negotiated: words[1] != 0,
            receive: words[2] != 0,
            transmit: words[3] != 0,
        }))
    }

    /// The words of a structure; `None` where the driver has no such thing.
    pub(super) fn settings(&self, name: &str, of: &Structure) -> io::Result<Option<Vec<u32>>> {
        let mut answer = vec![0; of.words];
        answer[0] = of.ask;
        match self.request(name, &mut answer) {
            Ok(()) => Ok(Some(answer)),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the device's rings another size: half of what they have, or twice as much.
    pub fn resize_rings(&self, name: &str) -> io::Result<()> {
        self.vary(name, &RINGS, |entries, max| match entries / 2 >= RING_ENTRIES_MIN {
            true => entries / 2,
            false => (entries * 2).min(max),
        })
    }

    /// Gives the device one queue less in each direction, or one more where it has one.
    pub fn recount_queues(&self, name: &str) -> io::Result<()> {
        self.vary(name, &CHANNELS, |count, max| if count > 1 { count - 1 } else { 2.min(max) })
    }

    /// Gives each count of a structure of four maxima and four counts another value. EOPNOTSUPP where the
    /// driver has no such structure, or no choice.
    fn vary(&self, name: &str, of: &Structure, other: impl Fn(u32, u32) -> u32) -> io::Result<()> {
        let none = || io::Error::from_raw_os_error(libc::EOPNOTSUPP);
        let before = self.settings(name, of)?.ok_or_else(none)?;
        let mut words = before.clone();
        for (word, _) in of.named().filter(|(word, _)| before[*word] > 0) {
            words[word] = other(before[word], before[word - 4]);
        }
        if words == before {
            return Err(none());
        }
        words[0] = of.set;
        self.request(name, &mut words)
    }

    /// Sets one word of a structure; the others stay as they are.
    pub(super) fn set_word(
        &self,
        name: &str,
        of: &Structure,
        word: usize,
        value: u32,
    ) -> io::Result<()> {
        let Some(mut words) = self.settings(name, of)? else { return Ok(()) };
        (words[0], words[word]) = (of.set, value);
        self.request(name, &mut words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_has_no_device() {
        let ethtool = Ethtool::open().unwrap();
        assert_eq!(ethtool.rings("lo").unwrap(), None);
        assert_eq!(ethtool.coalescing("lo").unwrap(), None);
        assert_eq!(ethtool.pause("lo").unwrap(), None);
        assert_eq!(ethtool.hardware_clock("lo").unwrap(), None);
        assert!(ethtool.rings("no-such-link").is_err());
    }
}
