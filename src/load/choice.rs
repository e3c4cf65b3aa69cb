//! The halves of a load by name.

use std::fmt;
use std::str::FromStr;

pub use crate::ring::names::TxName as TxChoice;
use crate::ring::names::TxName;
use crate::ring::xsk::setup::{XskChoice, XskTransmitSocket};
use crate::sys::link::Link;

/// Frames sent with one kick, if nothing else is asked for.
pub const BATCH_FRAMES: usize = 64;

impl TxName {
    /// The one that every interface takes.
    pub const ANYWHERE: TxName = TxName::Ring;

    /// The fastest one for `senders` on an interface, of those that were measured there. Over a veth pair
    /// an AF_XDP socket sends 1.2 times what a TX ring does (docs/performance.md); it takes a queue for
    /// itself, so it is chosen for one sender only, where the frames of the MTU fit its UMEM and the
    /// process may lock the memory for it. On a NIC nothing was measured.
    pub fn best_on(link: &Link, senders: usize) -> TxName {
        let is_measured = link.is_veth() && senders == 1;
        let choice = XskChoice::new(link.index, 0, link.mtu as usize).for_batches(BATCH_FRAMES);
        let may_be_had = || XskTransmitSocket::try_out(&choice).is_ok();
        if is_measured && may_be_had() { TxName::Xsk } else { TxName::ANYWHERE }
    }
}

/// A receive half by name, as the engine's paths have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RxChoice {
    /// `TPACKET_V3`: blocks of frames. The cheapest, and each frame may wait a retire timeout.
    V3,
    /// `TPACKET_V2`: each frame as it comes.
    #[default]
    V2,
    /// `recvfrom`, one frame a call: no VLAN tag, checksum state or kernel stamp is seen.
    Recv,
}

impl RxChoice {
    /// All of them.
    pub const ALL: [RxChoice; 3] = [RxChoice::V3, RxChoice::V2, RxChoice::Recv];

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            RxChoice::V3 => "v3",
            RxChoice::V2 => "v2",
            RxChoice::Recv => "recv",
        }
    }
}

impl fmt::Display for RxChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for RxChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<RxChoice, String> {
        let known = RxChoice::ALL.into_iter().find(|one| one.name() == text.trim());
        known.ok_or_else(|| format!("unknown receive half '{text}': v3, v2, recv"))
    }
}
