//! Halves and paths by name: what is typed, printed and chosen from.

use std::fmt;
use std::str::FromStr;

pub use crate::ring::names::TxName;
use crate::sys::packet::RingVersion;
use crate::{names, serialize_as_text};

names! {
    "receive half",
    /// A receive half by name.
    pub enum RxName {
        /// `TPACKET_V3` receive ring: blocks of frames.
        V3 = "v3",
        /// `TPACKET_V2` receive ring: a status word and a wake-up for each frame.
        V2 = "v2",
        /// `recvfrom`, one frame a wake-up, as the tutorial does.
        Recv = "recv",
        /// `recvmsg`, one frame a call, with what the kernel knows of it beside the bytes.
        Recvmsg = "recvmsg",
        /// `recvmmsg`, a batch of frames a call.
        Mmsg = "mmsg",
        /// AF_XDP: an XDP program hands the driver's frames over before the kernel's stack sees them.
        Xsk = "xsk",
    }
}

/// What a receive half knows of a frame's outer VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagView {
    /// The kernel took it off and tells it beside the frame: it can be put back.
    Aside,
    /// It stands in the frame, as on the wire.
    InFrame,
    /// It is gone, so tagged frames are kept out.
    Lost,
}

impl RxName {
    /// What it knows of VLAN tags.
    pub const fn tags(self) -> TagView {
        match self {
            RxName::V3 | RxName::V2 | RxName::Recvmsg | RxName::Mmsg => TagView::Aside,
            RxName::Xsk => TagView::InFrame,
            RxName::Recv => TagView::Lost,
        }
    }

    /// From when the engine's latency of a frame counts, in words.
    const fn latency_begins(self) -> &'static str {
        match self {
            RxName::V3 | RxName::V2 | RxName::Recvmsg | RxName::Mmsg => "kernel receive stamp",
            RxName::Recv => "return of recvfrom",
            RxName::Xsk => "finding of the frame's batch in the receive ring",
        }
    }

    /// Whether the frames that it receives carry the kernel's stamp.
    pub const fn sees_kernel_stamps(self) -> bool {
        match self {
            RxName::V3 | RxName::V2 | RxName::Recvmsg | RxName::Mmsg => true,
            RxName::Recv | RxName::Xsk => false,
        }
    }

    /// The packet ring that it receives by, if it does.
    pub const fn ring(self) -> Option<RingVersion> {
        match self {
            RxName::V3 => Some(RingVersion::V3),
            RxName::V2 => Some(RingVersion::V2),
            RxName::Recv | RxName::Recvmsg | RxName::Mmsg | RxName::Xsk => None,
        }
    }

    /// Whether an XDP program has to hand the frames over, to one socket for each receive queue. That
    /// needs privileges in the initial user namespace.
    pub const fn needs_xdp_program(self) -> bool {
        match self {
            RxName::Xsk => true,
            RxName::V3 | RxName::V2 | RxName::Recv | RxName::Recvmsg | RxName::Mmsg => false,
        }
    }
}

/// A packet path by name: a pair of a receive half and a TX half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathName {
    /// Where frames come from.
    pub rx: RxName,
    /// Where answers go.
    pub tx: TxName,
}

impl PathName {
    /// `recvfrom` and `sendto`, one frame each a wake-up: the tutorial's path.
    pub const SYSCALL: PathName = PathName { rx: RxName::Recv, tx: TxName::Send };
    /// Batches of system calls.
    pub const MMSG: PathName = PathName { rx: RxName::Mmsg, tx: TxName::Mmsg };
    /// `TPACKET_V3` receive ring and TX ring.
    pub const RING: PathName = PathName { rx: RxName::V3, tx: TxName::Ring };
    /// `TPACKET_V2` receive ring and TX ring.
    pub const RING_V2: PathName = PathName { rx: RxName::V2, tx: TxName::Ring };
    /// `TPACKET_V3` receive ring, answers sent from there.
    pub const RING_MMSG: PathName = PathName { rx: RxName::V3, tx: TxName::Mmsg };
    /// `TPACKET_V3` receive ring and AF_XDP for sending only.
    pub const RING_XSK: PathName = PathName { rx: RxName::V3, tx: TxName::Xsk };
    /// `TPACKET_V2` receive ring and AF_XDP for sending only.
    pub const RING_V2_XSK: PathName = PathName { rx: RxName::V2, tx: TxName::Xsk };
    /// AF_XDP both ways, the received frame itself sent back.
    pub const XDP: PathName = PathName { rx: RxName::Xsk, tx: TxName::Xsk };

    /// The pairs that have a name of their own.
    pub const PRESETS: [(&'static str, PathName); 8] = [
        ("syscall", PathName::SYSCALL),
        ("mmsg", PathName::MMSG),
        ("ring", PathName::RING),
        ("ring-v2", PathName::RING_V2),
        ("ring-mmsg", PathName::RING_MMSG),
        ("ring-xsk", PathName::RING_XSK),
        ("ring-v2-xsk", PathName::RING_V2_XSK),
        ("xdp", PathName::XDP),
    ];

    /// Every pair: all halves fit together.
    pub fn all() -> impl Iterator<Item = PathName> {
        RxName::ALL
            .into_iter()
            .flat_map(|rx| TxName::ALL.into_iter().map(move |tx| PathName { rx, tx }))
    }

    /// The preset's name, if the pair is one.
    pub fn preset(self) -> Option<&'static str> {
        PathName::PRESETS.iter().find(|(_, path)| *path == self).map(|(name, _)| *name)
    }

    /// Whether the path can send tagged frames back.
    pub fn sees_tags(self) -> bool {
        self.rx.tags() != TagView::Lost
    }

    /// [`RxName::needs_xdp_program`].
    pub const fn needs_xdp_program(self) -> bool {
        self.rx.needs_xdp_program()
    }

    /// Whether a program takes privileges in the initial user namespace.
    pub const fn needs_program(self) -> bool {
        self.needs_xdp_program() || matches!(self.tx, TxName::Bpf)
    }

    /// From when to when the engine's latency counts, in words.
    pub fn latency_definition(self) -> String {
        let begin = self.rx.latency_begins();
        if self.rx.sees_kernel_stamps() {
            format!("{begin} to hand-over to TX")
        } else {
            format!("{begin} to hand-over to TX (this path sees no kernel stamp)")
        }
    }
}

impl fmt::Display for PathName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.preset() {
            Some(name) => f.pad(name),
            None => f.pad(&format!("{}+{}", self.rx, self.tx)),
        }
    }
}

serialize_as_text!(PathName);

impl FromStr for PathName {
    type Err = String;

    fn from_str(text: &str) -> Result<PathName, String> {
        let text = text.trim();
        if let Some((_, path)) = PathName::PRESETS.iter().find(|(name, _)| *name == text) {
            return Ok(*path);
        }
        if let Some((rx, tx)) = text.split_once('+') {
            return Ok(PathName { rx: rx.parse()?, tx: tx.parse()? });
        }
        let presets = PathName::PRESETS.map(|(name, _)| name).join(", ");
        Err(format!("unknown path '{text}': {presets}, or a pair of halves such as v2+mmsg"))
    }
}

names! {
    "profile",
    /// What an engine is optimised for.
    pub enum Profile {
        /// Highest frame rate; a lone frame may take a millisecond.
        Throughput = "throughput",
        /// Shortest latency of a lone frame, at any CPU cost.
        Latency = "latency",
        /// Close to both; sleeps when idle.
        Balanced = "balanced",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_read_back_from_its_name() {
        assert_eq!(PathName::all().count(), 30);
        for path in PathName::all() {
            assert_eq!(path.to_string().parse(), Ok(path));
            assert_eq!(format!("{}+{}", path.rx, path.tx).parse(), Ok(path));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "rings".parse::<PathName>().unwrap_err();
        assert!(error.contains("ring-v2-xsk") && error.contains("v2+mmsg"), "{error}");
        assert!("v4+ring".parse::<PathName>().unwrap_err().contains("recvmsg"));
        assert!("v3+fast".parse::<PathName>().unwrap_err().contains("xsk"));
    }
}
