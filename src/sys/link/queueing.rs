//! What the queue discipline of an interface counts, as `tc -s qdisc` shows it.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcStats2};

use super::Links;
use crate::error::Result;

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
    fn from_message(message: &TcMessage) -> Option<QueueingCounters> {
        let mut counters = QueueingCounters::default();
        for attribute in &message.attributes {
            match attribute {
                TcAttribute::Kind(kind) => counters.kind.clone_from(kind),
                TcAttribute::Stats2(parts) => parts.iter().for_each(|part| counters.take(part)),
                _ => {}
            }
        }
        Some(counters).filter(|counters| counters.kind != "noqueue")
    }

    fn take(&mut self, part: &TcStats2) {
        match part {
            TcStats2::Basic(basic) => {
                (self.sent_bytes, self.sent_frames) = (basic.bytes, basic.packets);
            }
            TcStats2::Queue(queue) => {
                self.dropped_frames = queue.drops;
                self.overlimits = queue.overlimits;
                self.requeues = queue.requeues;
                self.waiting_frames = queue.qlen;
            }
            _ => {}
        }
    }
}

impl Links {
    /// What the root queue discipline of the interface has counted; `None` where frames meet no
    /// queue (`noqueue`, the default of veth). Needs no privilege.
    pub fn queueing(&self, index: u32) -> Result<Option<QueueingCounters>> {
        // The kernel dumps the disciplines of all interfaces, whatever the request names
        // (tc_dump_qdisc in net/sched/sch_api.c).
        let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        let answers = self.socket().dump(&request).map_err(|refusal| {
            refusal.into_error(format!("read the queue discipline of interface number {index}"), "")
        })?;
        let root = answers.iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewQueueDiscipline(message)
                if u32::try_from(message.header.index) == Ok(index)
                    && message.header.parent == TcHandle::ROOT =>
            {
                Some(message)
            }
            _ => None,
        });
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
