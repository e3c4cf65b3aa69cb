//! What the queue discipline of an interface counts, as `tc -s qdisc` shows it.

use super::Links;
use crate::error::Result;
use crate::sys::netlink::{Message, find, text, word};

/// Bytes of `struct tcmsg`.
const HEADER_BYTES: usize = 20;
/// Where `struct tcmsg` names the parent, and the root's (`TC_H_ROOT` in uapi/linux/pkt_sched.h).
const PARENT: usize = 12;
const ROOT: u32 = u32::MAX;
/// Attributes within `TCA_STATS2` (uapi/linux/gen_stats.h).
const STATS_BASIC: u32 = 1;
const STATS_QUEUE: u32 = 3;

/// The counters of an interface's root queue discipline since it was attached (`TCA_STATS2`,
/// `struct gnet_stats_basic` and `struct gnet_stats_queue` in uapi/linux/gen_stats.h).
///
/// The root counts for the disciplines below it as well (`qdisc_tree_reduce_backlog`,
/// `mq_dump` in net/sched), so adding them up would count drops twice. Frames that bypass the
/// queue (`PACKET_QDISC_BYPASS`) count nowhere here. The kernel keeps all but the bytes in 32 bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueingCounters {
    /// The kind, as in `fq_codel`.
    pub kind: String,
    /// Bytes handed to the interface, without FCS.
    pub sent_bytes: u64,
    /// Frames handed to the interface; super-frames count as the frames that they become.
    pub sent_frames: u32,
    /// Frames dropped, those included that were refused with an error to the sender, who may have
    /// sent them again.
    pub dropped_frames: u32,
    /// Times that a frame had to wait for its time or a limit was reached.
    pub overlimits: u32,
    /// Times that the driver was busy and a frame went back into the queue; no loss.
    pub requeues: u32,
    /// Frames waiting at the moment.
    pub waiting_frames: u32,
}

impl QueueingCounters {
    /// What was counted since `earlier`, by the kernel's own 32-bit arithmetic, which wraps; the
    /// waiting frames are those of now. Against a discipline of another kind nothing is taken off:
    /// a fresh one begins with zero.
    pub fn since(&self, earlier: &QueueingCounters) -> QueueingCounters {
        if self.kind != earlier.kind {
            return self.clone();
        }
        QueueingCounters {
            kind: self.kind.clone(),
            sent_bytes: self.sent_bytes.wrapping_sub(earlier.sent_bytes),
            sent_frames: self.sent_frames.wrapping_sub(earlier.sent_frames),
            dropped_frames: self.dropped_frames.wrapping_sub(earlier.dropped_frames),
            overlimits: self.overlimits.wrapping_sub(earlier.overlimits),
            requeues: self.requeues.wrapping_sub(earlier.requeues),
            waiting_frames: self.waiting_frames,
        }
    }

    /// The counters in the kernel's description; `None` for `noqueue`, which has no queue and
    /// counts nothing.
    fn from_message(message: &Message) -> Option<QueueingCounters> {
        let kind = message.find(libc::TCA_KIND).map(text).unwrap_or_default();
        let statistics = message.find(libc::TCA_STATS2).unwrap_or_default();
        let basic = find(statistics, STATS_BASIC).unwrap_or_default();
        let queue = find(statistics, STATS_QUEUE).unwrap_or_default();
        let number = |from: &[u8], at: usize| from.get(4 * at..).and_then(word).unwrap_or(0);
        let counters = QueueingCounters {
            sent_bytes: basic.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes)),
            sent_frames: number(basic, 2),
            waiting_frames: number(queue, 0),
            dropped_frames: number(queue, 2),
            requeues: number(queue, 3),
            overlimits: number(queue, 4),
            kind,
        };
        Some(counters).filter(|counters| counters.kind != "noqueue")
    }
}

impl Links {
    /// What the root queue discipline of the interface has counted; `None` where frames meet no
    /// queue (`noqueue`, the default of veth). Needs no privilege.
    pub fn queueing(&self, index: u32) -> Result<Option<QueueingCounters>> {
        // The kernel dumps the disciplines of all interfaces, whatever the request names
        // (tc_dump_qdisc in net/sched/sch_api.c).
        let attempted = format!("read the queue discipline of interface number {index}");
        let answers = self.dump(libc::RTM_GETQDISC, &[0; HEADER_BYTES], &attempted)?;
        let root = answers.iter().find(|one| one.interface() == index && one.word(PARENT) == ROOT);
        Ok(root.and_then(QueueingCounters::from_message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_has_no_queue() {
        let links = Links::open().unwrap();
        let loopback = links.by_name("lo").unwrap();
        assert_eq!(links.queueing(loopback.index).unwrap(), None);
        assert_eq!(links.queueing(u32::MAX).unwrap(), None);
    }

    #[test]
    fn a_difference_wraps_as_the_kernel_does() {
        let of = |dropped_frames, sent_bytes| QueueingCounters {
            kind: "tbf".into(),
            dropped_frames,
            sent_bytes,
            ..QueueingCounters::default()
        };
        let passed = of(5, 10).since(&of(u32::MAX, 4));
        assert_eq!((passed.dropped_frames, passed.sent_bytes), (6, 6));
        let replaced = QueueingCounters { kind: "fq".into(), ..of(3, 3) };
        assert_eq!(replaced.since(&of(2, 2)), replaced);
    }
}
