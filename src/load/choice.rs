//! The halves of a load by name.

use crate::names;
use crate::ring::xsk::setup::{XskChoice, XskTransmitSocket};
use crate::sys::link::Link;
use crate::sys::offload::Ethtool;

/// Frames sent with one kick, if nothing else is asked for.
pub const BATCH_FRAMES: usize = 64;

/// The same of `live`, where as many are due: fewer share the 5 µs of a call, and more leave later than the clock
/// was read.
pub const LIVE_FRAMES: usize = 512;

names! {
    "TX half",
    /// A TX half by name: those of the engine's paths, and one that needs no frame.
    #[derive(Default)]
    pub enum TxChoice {
        /// TX ring of a packet socket: one copy, one system call a batch.
        #[default]
        Ring = "ring",
        /// `sendmmsg`, one call a batch.
        Mmsg = "mmsg",
        /// `sendto`, one frame a call.
        Send = "send",
        /// AF_XDP.
        Xsk = "xsk",
        /// A BPF program writes the frames in the kernel, straight for the driver.
        Live = "live",
    }
}

impl TxChoice {
    /// The one that every interface takes.
    pub const ANYWHERE: TxChoice = TxChoice::Ring;

    /// The fastest one for `senders` on an interface, of those that were measured there. Over a veth pair
    /// an AF_XDP socket sends 1.2 times what a TX ring does (docs/performance.md); it takes a queue for
    /// itself, so it is chosen where there are as many queues as senders, the frames of the MTU fit its UMEM
    /// and the process may lock the memory for it. On a NIC nothing was measured.
    pub fn best_on(link: &Link, senders: usize) -> TxChoice {
        let queues = || Ethtool::open().and_then(|ethtool| ethtool.queues(link));
        let have_queues =
            || senders == 1 || queues().is_ok_and(|queues| senders <= queues.transmit as usize);
        let is_measured = link.is_veth() && have_queues();
        let choice = XskChoice::new(link.index, 0, link.mtu as usize).for_batches(BATCH_FRAMES);
        let may_be_had = || XskTransmitSocket::try_out(&choice).is_ok();
        if is_measured && may_be_had() { TxChoice::Xsk } else { TxChoice::ANYWHERE }
    }
}

names! {
    "receive half",
    /// A receive half by name, as the engine's paths have them.
    #[derive(Default)]
    pub enum RxChoice {
        /// `TPACKET_V3`: blocks of frames. The cheapest, and each frame may wait a retire timeout.
        V3 = "v3",
        /// `TPACKET_V2`: each frame as it comes.
        #[default]
        V2 = "v2",
        /// `recvmmsg`: many frames a call, copied. The only one that sees the device's stamp and the
        /// kernel's on one frame.
        Mmsg = "mmsg",
        /// `recvfrom`, one frame a call: no VLAN tag, checksum state or kernel stamp is seen.
        Recv = "recv",
    }
}
