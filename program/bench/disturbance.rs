//! What can disturb a trial.

use std::fmt;

use crate::units::percent;

/// What disturbed a trial.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Disturbance {
    /// The interface was deleted, or moved to another namespace.
    InterfaceGone {
        /// The interface.
        interface: String,
    },
    /// The link was down, at least for a while.
    LinkDown {
        /// The interface.
        interface: String,
    },
    /// The MTU changed.
    MtuChanged {
        /// The interface.
        interface: String,
        /// The new one, in bytes.
        mtu: u32,
    },
    /// The hardware address changed.
    AddressChanged {
        /// The interface.
        interface: String,
        /// The new one.
        mac: String,
    },
    /// Somebody set the clock that the kernel stamps frames with.
    ClockSet {
        /// By how much, in nanoseconds.
        by_ns: i64,
    },
    /// The interface's counters went backwards: its driver was restarted.
    CountersBackwards {
        /// The interface.
        interface: String,
    },
    /// The interface carried frames that were neither the measurement's nor answers to them.
    ForeignTraffic {
        /// The interface.
        interface: String,
        /// How many, both ways.
        frames: u64,
        /// Their number as a part of the measurement's own frames.
        share: f64,
    },
    /// So much time of the CPUs was taken that what went wrong may be owed to it.
    TimeTaken {
        /// The part of the time, from 0 to 1.
        share: f64,
        /// From which CPUs, and what shows it.
        account: String,
    },
}

impl Disturbance {
    /// Whether it is a change of the link: what an event of a stress test does on purpose.
    pub fn is_of_the_link(&self) -> bool {
        matches!(
            self,
            Disturbance::LinkDown { .. }
                | Disturbance::MtuChanged { .. }
                | Disturbance::AddressChanged { .. }
                | Disturbance::CountersBackwards { .. }
        )
    }
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disturbance::InterfaceGone { interface } => {
                write!(f, "{interface} is gone: it was deleted or moved to another namespace")
            }
            Disturbance::LinkDown { interface } => write!(f, "{interface}: the link was down"),
            Disturbance::MtuChanged { interface, mtu } => {
                write!(f, "{interface}: the MTU changed to {mtu}")
            }
            Disturbance::AddressChanged { interface, mac } => {
                write!(f, "{interface}: the hardware address changed to {mac}")
            }
            Disturbance::ClockSet { by_ns } => {
                write!(f, "the clock was set by {:+.6} s", *by_ns as f64 / 1e9)
            }
            Disturbance::CountersBackwards { interface } => {
                write!(f, "{interface}: the counters went backwards (driver restarted?)")
            }
            Disturbance::ForeignTraffic { interface, frames, share } => write!(
                f,
                "{interface}: {frames} frames of other traffic ({} of the measurement's)",
                percent(*share)
            ),
            Disturbance::TimeTaken { account, .. } => f.write_str(account),
        }
    }
}
