//! Fanout groups (`PACKET_FANOUT`): several sockets that share the frames of one interface.

use std::io;

use super::PacketSocket;
use crate::sys::filter::{by_source_mac, handed_over};

/// How a fanout group spreads frames over its members (`PACKET_FANOUT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FanoutMode {
    /// By flow hash; frames that are not IP all go to one member.
    Hash,
    /// Round robin.
    LoadBalance,
    /// By the CPU that received the frame.
    Cpu,
    /// At random.
    Random,
    /// To the first member; to the next when it is full.
    Rollover,
    /// By the receive queue of the interface.
    Queue,
    /// By a classic BPF program of ours ([`by_source_mac`]): by source MAC address, whatever the
    /// frame carries (`PACKET_FANOUT_CBPF`, since 4.3).
    SourceMac,
}

impl FanoutMode {
    /// The name on the command line and in reports: the kernel's own, in short.
    pub const fn name(self) -> &'static str {
        self.name_and_number().0
    }

    const fn name_and_number(self) -> (&'static str, u32) {
        match self {
            FanoutMode::Hash => ("hash", libc::PACKET_FANOUT_HASH),
            FanoutMode::LoadBalance => ("lb", libc::PACKET_FANOUT_LB),
            FanoutMode::Cpu => ("cpu", libc::PACKET_FANOUT_CPU),
            FanoutMode::Random => ("rnd", libc::PACKET_FANOUT_RND),
            FanoutMode::Rollover => ("rollover", libc::PACKET_FANOUT_ROLLOVER),
            FanoutMode::Queue => ("qm", libc::PACKET_FANOUT_QM),
            FanoutMode::SourceMac => ("cbpf", libc::PACKET_FANOUT_CBPF),
        }
    }
}

/// A mode and its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fanout {
    /// Which member gets a frame.
    pub mode: FanoutMode,
    /// What has no room with that member goes to another that has
    /// (`PACKET_FANOUT_FLAG_ROLLOVER`, since 3.10). EINVAL with [`FanoutMode::Rollover`].
    pub rollover: bool,
}

/// Without flags.
impl From<FanoutMode> for Fanout {
    fn from(mode: FanoutMode) -> Fanout {
        Fanout { mode, rollover: false }
    }
}

impl Fanout {
    /// Whether the kernel keeps [`RolloverStatistics`] for the members.
    pub fn rolls_over(self) -> bool {
        self.rollover || self.mode == FanoutMode::Rollover
    }
}

/// What `PACKET_ROLLOVER_STATS` gave (`struct tpacket_rollover_stats`, since 4.2): counts since the
/// socket joined, never cleared. The kernel counts with the member that was chosen first, and before
/// its filter: frames count that the filter then rejects (`fanout_demux_rollover`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RolloverStatistics {
    /// Frames for which a member with room was looked for and found (`tp_all`). In the mode
    /// [`FanoutMode::Rollover`] that is every frame that found one, the first member included.
    pub all: u64,
    /// Those that left a member that was filling up because of one large flow (`tp_huge`).
    pub huge: u64,
    /// Frames for which no member had room; they stay with the first choice (`tp_failed`).
    pub failed: u64,
}

impl PacketSocket {
    /// Joins fanout group `id`, whose members share the frames of one interface and protocol.
    /// With `unique`, the kernel allots a fresh id; [`PacketSocket::fanout_id`] tells which.
    ///
    /// The first member of a group by program brings the program along: until the kernel has it, all
    /// frames go to the first member.
    pub fn join_fanout(&self, id: u16, fanout: Fanout, unique: bool) -> io::Result<()> {
        let (_, mode) = fanout.mode.name_and_number();
        let mut flags = FANOUT_IGNORE_OUTGOING;
        if unique {
            flags |= libc::PACKET_FANOUT_FLAG_UNIQUEID;
        }
        if fanout.rollover {
            flags |= libc::PACKET_FANOUT_FLAG_ROLLOVER;
        }
        let argument: u32 = u32::from(id) | (mode | flags) << 16;
        self.set_option(libc::SOL_PACKET, libc::PACKET_FANOUT, &argument)?;
        if unique && fanout.mode == FanoutMode::SourceMac {
            let program = by_source_mac();
            let program = handed_over(&program);
            self.set_option(libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, &program)?;
        }
        Ok(())
    }

    /// The id of the fanout group that this socket is in.
    pub fn fanout_id(&self) -> io::Result<u16> {
        let mut argument: u32 = 0;
        self.option(libc::SOL_PACKET, libc::PACKET_FANOUT, &mut argument)?;
        Ok(argument as u16)
    }

    /// How frames rolled over since the socket joined; `None` where it is in no group that does.
    pub fn rollover_statistics(&self) -> io::Result<Option<RolloverStatistics>> {
        let mut words = [0u64; 3];
        match self.option(libc::SOL_PACKET, libc::PACKET_ROLLOVER_STATS, &mut words) {
            Ok(()) => {
                let [all, huge, failed] = words;
                Ok(Some(RolloverStatistics { all, huge, failed }))
            }
            // Without a rollover group (packet_getsockopt), or before 4.2.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOPROTOOPT)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Members of the group do not see outgoing frames (since 6.2; older kernels ignore the bit).
const FANOUT_IGNORE_OUTGOING: u32 = 0x4000;
