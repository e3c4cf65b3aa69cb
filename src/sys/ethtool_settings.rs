//! How an interface is set up: ring sizes, interrupt coalescing, pause frames, its clock (`ethtool -g`, `-c`,
//! `-a`, `-T`). `None` stands for what the driver does not have. None of it needs privilege.

use std::io;

use super::offload::Ethtool;

/// Commands of uapi/linux/ethtool.h, each with the 32-bit words of its structure.
const COALESCING: (u32, usize) = (0x0e, 23);
const RINGS: (u32, usize) = (0x10, 9);
const PAUSE: (u32, usize) = (0x12, 4);
const TIME_STAMPING: (u32, usize) = (0x41, 11);

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
        Ok(self.settings(name, RINGS)?.map(|words| DeviceRings {
            receive_max: words[1],
            transmit_max: words[4],
            receive: words[5],
            transmit: words[8],
        }))
    }

    /// When the device interrupts.
    pub fn coalescing(&self, name: &str) -> io::Result<Option<Coalescing>> {
        Ok(self.settings(name, COALESCING)?.map(|words| Coalescing {
            receive_us: words[1],
            receive_frames: words[2],
            transmit_us: words[5],
            adaptive_receive: words[10] != 0,
        }))
    }

    /// Flow control.
    pub fn pause(&self, name: &str) -> io::Result<Option<Pause>> {
        Ok(self.settings(name, PAUSE)?.map(|words| Pause {
            negotiated: words[1] != 0,
            receive: words[2] != 0,
            transmit: words[3] != 0,
        }))
    }

    /// The number of the interface's clock, as in `/dev/ptp0`.
    pub fn hardware_clock(&self, name: &str) -> io::Result<Option<u32>> {
        let words = self.settings(name, TIME_STAMPING)?;
        // Without one the number is -1.
        Ok(words.and_then(|words| u32::try_from(words[2] as i32).ok()))
    }

    /// The words of a structure; `None` where the driver has no such thing.
    fn settings(&self, name: &str, (command, words): (u32, usize)) -> io::Result<Option<Vec<u32>>> {
        let mut answer = vec![0; words];
        answer[0] = command;
        match self.request(name, &mut answer) {
            Ok(()) => Ok(Some(answer)),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
            Err(error) => Err(error),
        }
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
