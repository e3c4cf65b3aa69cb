//! What one worker, or all of them together, did.

use super::drops::Drops;

/// Makes a type of counts that are added and subtracted field by field.
macro_rules! counters {
    ($(#[$about:meta])* pub struct $Name:ident {
        $($(#[$of_field:meta])* pub $field:ident: $type:ty,)+
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct $Name {
            $($(#[$of_field])* pub $field: $type,)+
        }

        impl std::ops::AddAssign<&$Name> for $Name {
            fn add_assign(&mut self, other: &$Name) {
                $(self.$field += &other.$field;)+
            }
        }

        impl std::ops::Sub<&$Name> for $Name {
            type Output = $Name;

            fn sub(self, earlier: &$Name) -> $Name {
                $Name { $($field: self.$field - &earlier.$field),+ }
            }
        }
    };
}

counters! {
    /// Counts of the kernel for one socket, accumulated over its read-and-clear reads.
    pub struct KernelCounters {
        /// Frames that passed the socket's filter, those dropped included.
        pub packets: u64,
        /// Frames dropped for want of room in ring or buffer.
        pub drops: u64,
        /// Times that a V3 ring froze.
        pub freezes: u64,
        /// How frames rolled over from this socket to another of its fanout group.
        pub rollover: RolloverCounters,
    }
}

counters! {
    /// What the kernel counted where a fanout group rolls over, with the socket that it chose first and
    /// before the socket's filter (`PACKET_ROLLOVER_STATS`).
    pub struct RolloverCounters {
        /// Frames that another socket with room got.
        pub all: u64,
        /// Those that left a socket that was filling up because of one large flow.
        pub huge: u64,
        /// Frames for which no socket had room.
        pub failed: u64,
    }
}

counters! {
    /// What an engine did with the frames it received.
    ///
    /// The law that [`EngineCounters::assert_conserved`] checks: received = forwarded + every named
    /// drop + in flight.
    pub struct EngineCounters {
        /// Frames taken from the ring or the socket.
        pub received: u64,
        /// Their bytes, without FCS and stripped tags.
        pub received_bytes: u64,
        /// Frames that the kernel accepted for sending.
        pub forwarded: u64,
        /// Their bytes, without FCS, tags included.
        pub forwarded_bytes: u64,
        /// Frames not answered, by reason.
        pub drops: Drops,
        /// Batches handled.
        pub batches: u64,
        /// Returns from the wait, time-outs included.
        pub wakeups: u64,
        /// Times that a worker that had spun rejoined its epoll set before it slept.
        pub rejoins: u64,
        /// Kicks and sends that the kernel refused for the moment (ENOBUFS, EAGAIN, ENETDOWN); the
        /// frames stay queued or are dropped by name.
        pub send_refusals: u64,
        /// Times that the socket reported its interface down.
        pub link_errors: u64,
        /// What the kernel counted for the socket.
        pub kernel: KernelCounters,
    }
}

impl EngineCounters {
    /// Frames received that are neither forwarded nor dropped, given how many the TX half still
    /// holds: zero, or a frame was lost without a name.
    pub fn unexplained(&self, in_flight: u64) -> i128 {
        let explained = self.forwarded + self.drops.total() + in_flight;
        i128::from(self.received) - i128::from(explained)
    }

    /// Checks the conservation law in debug builds.
    #[inline]
    pub fn assert_conserved(&self, in_flight: u64) {
        debug_assert_eq!(
            self.unexplained(in_flight),
            0,
            "received {} = forwarded {} + drops {} + in flight {in_flight}",
            self.received,
            self.forwarded,
            self.drops.total(),
        );
    }
}

counters! {
    /// Frames that came back, by what they turned out to be.
    pub struct Tally {
        /// Numbers whose frame came back right in every byte.
        pub intact: u64,
        /// Numbers whose frame came back wrong in at least one byte, its tag or its length.
        pub corrupted: u64,
        /// Numbers whose frame came back as it was sent, but for the addresses.
        pub not_transformed: u64,
        /// Numbers whose frame came back with bytes missing at its end.
        pub truncated: u64,
        /// Beside the sums: frames whose number had come back before.
        pub duplicated: u64,
        /// Beside the sums: frames whose number was smaller than one that came before (RFC 4737,
        /// section 3.3: type-P-reordered); each also counts in one of the sums.
        pub reordered: u64,
        /// Beside the sums: first returns that took longer than the plan allows; each also counts in
        /// one of the sums.
        pub late: u64,
        /// Beside the sums: frames that carry no number, or a damaged one.
        pub foreign: u64,
        /// Beside the sums: frames of other linerate loads on this link, or of an earlier one here.
        pub other_loads: u64,
        /// Beside the sums: frames whose number the ledger had forgotten
        /// ([`NUMBERS_REMEMBERED`](crate::load::ledger::NUMBERS_REMEMBERED)) and counted as lost or returned.
        pub forgotten: u64,
        /// Beside the sums: frames that the ring's own headers describe in an impossible way.
        pub malformed: u64,
    }
}

impl Tally {
    /// Numbers that came back, whatever their frame looked like.
    pub fn returned(&self) -> u64 {
        self.intact + self.corrupted + self.not_transformed + self.truncated
    }
}

#[cfg(test)]
mod tests {
    use super::super::drops::DropReason;
    use super::*;

    #[test]
    fn counters_add_subtract_and_conserve() {
        let mut sum = EngineCounters { received: 5, forwarded: 3, ..Default::default() };
        sum.drops.add(DropReason::Runt, 1);
        sum.assert_conserved(1);
        assert_eq!(sum.unexplained(0), 1);
        let once = sum;
        sum += &once;
        assert_eq!(sum.drops[DropReason::Runt], 2);
        assert_eq!(sum - &once, once);
        let names: Vec<_> = sum.drops.named().map(|(reason, n)| (reason.name(), n)).collect();
        assert_eq!(names, [("runt", 2)]);
    }
}
