//! What a phase says about the device: which faults, and what is not the device's.

use std::fmt;

use super::events::{EventFinding, Expected};
use super::phases::Phase;
use crate::bench::snapshot::{CounterSnapshot, InterfaceSnapshot};
use crate::load::run::GeneratorLimit::{self, Refused};
use crate::load::run::LoadOutcome;
use crate::sys::settings::Change;
use crate::wire::probe::{Expectation, PayloadPattern};
use linerate_core::names;

/// The part of a phase's frames from which on nearly all are lost.
pub(super) const NEARLY_ALL: f64 = 0.9;

/// Where a frame has its outer VLAN tag: behind the addresses.
const TAG_OFFSET: usize = 12;

/// More than this part of random payloads is hardly ever without a lower-case letter.
const UNCHANGED_RANDOM_MAX: f64 = 0.001;

/// What is let pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// The part of a phase's frames that may be lost, from 0 to 1.
    pub loss_ratio: f64,
    /// Whether frames may overtake each other also within one flow.
    pub reordered: bool,
}

/// Something that a device must not do.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// No frame could be sent at all.
    NothingSent,
    /// Frames did not come back.
    Lost {
        /// How many, without those that the generator's own ring dropped.
        frames: u64,
        /// Their part of the sent frames.
        ratio: f64,
    },
    /// Frames came back with a wrong byte, tag or length.
    Corrupted {
        /// How many.
        frames: u64,
        /// The first one's number and its first wrong byte, counted from the destination address.
        first: Option<(u64, usize)>,
    },
    /// Frames came back without their VLAN tag, or with a wrong one.
    WrongTag {
        /// How many.
        frames: u64,
    },
    /// Frames came back as they were sent.
    NotTransformed {
        /// How many.
        frames: u64,
    },
    /// Frames came back with bytes missing at their end.
    Truncated {
        /// How many.
        frames: u64,
    },
    /// Frames came back more than once.
    Duplicated {
        /// How many too many.
        frames: u64,
    },
    /// Frames of one flow overtook each other (RFC 4737).
    Reordered {
        /// How many came behind a later one.
        frames: u64,
        /// The largest extent.
        extent_max: u64,
    },
    /// Frames came back later than the longest wait for them.
    Late {
        /// How many.
        frames: u64,
    },
    /// Frames came that were never sent.
    Foreign {
        /// How many.
        frames: u64,
    },
    /// After an event frames did not come back steadily.
    NotRecovered {
        /// After which step of it.
        after: &'static str,
    },
    /// What an event changed could not be put back.
    NotRestored {
        /// What.
        changes: Vec<Change>,
    },
    /// An interface counted errors.
    ErrorCounter(Moved),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NothingSent => f.write_str("no frame could be sent"),
            Fault::Lost { frames, ratio } => write!(f, "lost {frames} ({:.4} %)", 100.0 * ratio),
            Fault::Corrupted { frames, first: None } => write!(f, "corrupted {frames}"),
            Fault::Corrupted { frames, first: Some((number, offset)) } => {
                write!(f, "corrupted {frames}, first at offset {offset} of frame {number}")
            }
            Fault::WrongTag { frames } => {
                write!(f, "without their VLAN tag, or with a wrong one: {frames}")
            }
            Fault::Late { frames } => write!(f, "late {frames}"),
            Fault::Foreign { frames } => write!(f, "foreign {frames}"),
            Fault::NotRecovered { after } => write!(f, "not recovered after {after}"),
            Fault::NotRestored { changes } => {
                let changes: Vec<String> = changes.iter().map(Change::to_string).collect();
                write!(f, "could not be put back: {}", changes.join(", "))
            }
            Fault::NotTransformed { frames } => write!(f, "not transformed {frames}"),
            Fault::Truncated { frames } => write!(f, "truncated {frames}"),
            Fault::Duplicated { frames } => write!(f, "duplicated {frames}"),
            Fault::Reordered { frames, extent_max } => {
                write!(f, "reordered {frames} (extent {extent_max})")
            }
            Fault::ErrorCounter(moved) => moved.fmt(f),
        }
    }
}

/// A counter that moved during a phase.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Moved {
    /// The interface.
    pub interface: String,
    /// The counter, as the kernel or the driver names it.
    pub counter: String,
    /// By how much.
    pub by: u64,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} +{}", self.interface, self.counter, self.by)
    }
}

names! {
    "conclusion",
    /// How a phase ended.
    pub enum Conclusion {
        /// The device did right.
        Pass = "pass",
        /// The generator did not keep its rate, so losses say nothing of the device; it did no wrong.
        GeneratorLimited = "generator_limited",
        /// It was disturbed, also when it was repeated: it says nothing of the device.
        Void = "void",
        /// The device did wrong.
        Fail = "fail",
    }
}

/// What a phase says about the device.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// In a word.
    pub conclusion: Conclusion,
    /// What the device did wrong.
    pub faults: Vec<Fault>,
    /// Why the generator did not reach the rate.
    pub limit: Option<GeneratorLimit>,
    /// What is no fault of the device but has to be known, in sentences.
    pub notes: Vec<String>,
}

/// What a phase is judged by, beside the outcome.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The phase.
    pub phase: &'a Phase,
    /// How payloads were to come back.
    pub expectation: Expectation,
    /// Whether the device is our own engine, started for this.
    pub own_engine: bool,
    /// What is let pass.
    pub tolerance: Tolerance,
    /// What happened meanwhile.
    pub event: Option<&'a EventFinding>,
}

impl Verdict {
    /// Judges what a phase found.
    pub fn of(
        given: &Circumstances<'_>,
        outcome: &LoadOutcome,
        counters: &CounterSnapshot,
    ) -> Verdict {
        let tally = &outcome.tally;
        // What it could not send while its own link was down it is not to blame for.
        let excused = |limit: &GeneratorLimit| given.event.is_some() && *limit == Refused;
        let limit = outcome.generator_limit().filter(|limit| !excused(limit));
        let (faults, notes) = (Vec::new(), Vec::new());
        let mut verdict = Verdict { conclusion: Conclusion::Pass, faults, limit, notes };
        verdict.judge_losses(given, outcome);
        let first = outcome.damage.first().map(|first| (first.sequence, first.first_offset));
        verdict.fault_if(tally.corrupted, |frames| match first {
            Some((_, TAG_OFFSET)) => Fault::WrongTag { frames },
            _ => Fault::Corrupted { frames, first },
        });
        verdict.fault_if(tally.not_transformed, |frames| Fault::NotTransformed { frames });
        verdict.fault_if(tally.truncated, |frames| Fault::Truncated { frames });
        verdict.fault_if(tally.duplicated, |frames| Fault::Duplicated { frames });
        // Queues that come and go, and what waited for a link, may overtake.
        if given.phase.flows == 1 && !given.tolerance.reordered && given.event.is_none() {
            let extent_max = outcome.reorder_extent_max;
            verdict.fault_if(tally.reordered, |frames| Fault::Reordered { frames, extent_max });
        } else {
            verdict.note_if(tally.reordered, "reordered, which is allowed here");
        }
        verdict.fault_if(tally.foreign, |frames| Fault::Foreign { frames });
        match given.event {
            None => {
                verdict.fault_if(tally.late, |frames| Fault::Late { frames });
                let moved = moved_counters(counters, ERRORS).into_iter();
                verdict.faults.extend(moved.map(Fault::ErrorCounter));
            }
            Some(event) => {
                verdict.note_if(tally.late, "late");
                let moved = moved_counters(counters, ERRORS).into_iter();
                verdict.notes.extend(moved.map(|moved| moved.to_string()));
                for (after, _) in event.steps().filter(|(_, step)| !step.back) {
                    verdict.faults.push(Fault::NotRecovered { after });
                }
                if !event.left.is_empty() {
                    let changes = event.left.clone();
                    verdict.faults.push(Fault::NotRestored { changes });
                }
            }
        }
        for moved in moved_counters(counters, DROPS).into_iter().chain(driver_errors(counters)) {
            // After the packet sockets the kernel looks for the VLAN's interface, finds none, and
            // counts frames as dropped that have arrived (`__netif_receive_skb_core`).
            let behind_us = !given.phase.tags.is_empty() && moved.counter == "rx_dropped";
            let remark = if behind_us { " (no VLAN interface: behind our socket)" } else { "" };
            verdict.notes.push(format!("{moved}{remark}"));
        }
        verdict.note_if(tally.other_loads, "of another linerate load on this link");
        verdict.note_if(tally.malformed, "malformed in our own ring");
        verdict.note_if(tally.forgotten, "so late that nobody knows what became of them");
        verdict.notes.extend(outcome.notes.iter().cloned());
        verdict.note_coverage(given.phase, outcome);
        verdict.conclusion = match (verdict.faults.is_empty(), limit) {
            (false, _) => Conclusion::Fail,
            (true, Some(_)) => Conclusion::GeneratorLimited,
            (true, None) => Conclusion::Pass,
        };
        verdict
    }

    /// How many of the `lost` frames are held against the device.
    pub(super) fn blamed(&self, lost: u64) -> u64 {
        let frames = self.faults.iter().map(|fault| match fault {
            Fault::NotRecovered { .. } => lost,
            Fault::Lost { frames, .. } | Fault::Late { frames } => *frames,
            _ => 0,
        });
        frames.max().unwrap_or(0)
    }

    fn fault_if(&mut self, frames: u64, fault: impl FnOnce(u64) -> Fault) {
        if frames > 0 {
            self.faults.push(fault(frames));
        }
    }

    fn note_if(&mut self, frames: u64, what: &str) {
        if frames > 0 {
            self.notes.push(format!("{frames} frames {what}"));
        }
    }

    fn judge_losses(&mut self, given: &Circumstances<'_>, outcome: &LoadOutcome) {
        if outcome.sent == 0 && !outcome.stopped {
            self.faults.push(Fault::NothingSent);
        }
        let own_drops = outcome.kernel.drops;
        // A dropped echo may have been one too many, so this can only spare the device a fault.
        let lost = outcome.lost.saturating_sub(own_drops);
        // What an event may cost is told beside the verdict.
        let frames = match given.event {
            Some(event) if event.expected != Expected::NoLoss => lost.min(event.lost_otherwise),
            _ => lost,
        };
        let ratio = if outcome.sent == 0 { 0.0 } else { frames as f64 / outcome.sent as f64 };
        self.note_if(own_drops, "dropped by the generator's own ring, not by the device");
        if ratio <= given.tolerance.loss_ratio {
            self.note_if(frames, "lost, which is allowed");
        } else if let (Some(limit), true) = (self.limit, outcome.tally.returned() > 0) {
            // It sent the rest faster than asked to catch up: not the load that was asked for.
            self.notes
                .push(format!("{frames} frames lost, not counted: generator-limited ({limit})"));
        } else {
            self.faults.push(Fault::Lost { frames, ratio });
        }
        self.explain_unchanged(given, frames, ratio);
    }

    /// Echoes that limit unchanged frames lose those that upper-casing does not change.
    fn explain_unchanged(&mut self, given: &Circumstances<'_>, lost: u64, ratio: f64) {
        let payload = given.phase.payload;
        let nearly_all = !payload.shows_transform() && ratio >= NEARLY_ALL;
        let now_and_then =
            payload == PayloadPattern::Random && lost > 0 && ratio < UNCHANGED_RANDOM_MAX;
        let suspected = nearly_all || now_and_then;
        if suspected && !given.own_engine && given.expectation != Expectation::Same {
            let which = if nearly_all { "these payloads" } else { "some short random payloads" };
            self.notes.push(format!(
                "{which} have no lower-case letter, so upper-casing does not change them, and \
                 `linerate echo` lets few such frames pass: start it with --echo-unchanged unlimited"
            ));
        }
    }

    fn note_coverage(&mut self, phase: &Phase, outcome: &LoadOutcome) {
        let period = phase.sizes.order(0).period();
        if outcome.sent < period {
            self.notes.push(format!(
                "only {} of {period} sizes were sent: a longer --duration or a higher --rate \
                 reaches all",
                outcome.sent
            ));
        }
    }
}

/// A counter by the kernel's name.
type Counter = (&'static str, fn(&InterfaceSnapshot) -> u64);

/// What an interface counts only when something is broken.
const ERRORS: &[Counter] = &[
    ("rx_errors", |one| one.link.receive_errors),
    ("tx_errors", |one| one.link.transmit_errors),
    ("rx_length_errors", |one| one.link.receive_length_errors),
    ("rx_crc_errors", |one| one.link.receive_crc_errors),
    ("rx_frame_errors", |one| one.link.receive_frame_errors),
    ("tx_aborted_errors", |one| one.link.transmit_aborted),
    ("tx_carrier_errors", |one| one.link.transmit_carrier_errors),
    ("tx_fifo_errors", |one| one.link.transmit_fifo_errors),
    ("tx_heartbeat_errors", |one| one.link.transmit_heartbeat_errors),
    ("tx_window_errors", |one| one.link.transmit_window_errors),
    ("collisions", |one| one.link.collisions),
];

/// What it counts when a host was too slow, or for frames of others: it explains a loss and is none
/// of its own.
const DROPS: &[Counter] = &[
    ("rx_dropped", |one| one.link.receive_dropped),
    ("tx_dropped", |one| one.link.transmit_dropped),
    ("rx_over_errors", |one| one.link.receive_over_errors),
    ("rx_fifo_errors", |one| one.link.receive_fifo_errors),
    ("rx_missed_errors", |one| one.link.receive_missed),
    ("queue discipline drops", |one| one.losses().queue_dropped),
];

fn ends(counters: &CounterSnapshot) -> impl Iterator<Item = &InterfaceSnapshot> {
    std::iter::once(&counters.near).chain(&counters.far)
}

fn moved_counters(counters: &CounterSnapshot, which: &[Counter]) -> Vec<Moved> {
    let moved = ends(counters).flat_map(|end| {
        which.iter().map(|(name, value)| Moved {
            interface: end.name.clone(),
            counter: (*name).to_string(),
            by: value(end),
        })
    });
    moved.filter(|moved| moved.by > 0).collect()
}

/// Parts of the names that drivers give to counters of what went wrong.
const WRONG: [&str; 14] = [
    "err", "drop", "crc", "miss", "fail", "timeout", "discard", "bad", "abort", "no_buf", "nobuf",
    "overflow", "underrun", "reset",
];

/// Drivers' own counters whose names sound like trouble. What exactly they count is the driver's
/// business, so they are evidence and no fault.
fn driver_errors(counters: &CounterSnapshot) -> Vec<Moved> {
    let moved = ends(counters).flat_map(|end| {
        end.driver.nonzero().map(|(name, by)| Moved {
            interface: end.name.clone(),
            counter: format!("{name} (driver)"),
            by,
        })
    });
    let sounds_wrong = |moved: &Moved| {
        let name = moved.counter.to_ascii_lowercase();
        WRONG.iter().any(|part| name.contains(part))
    };
    moved.filter(sounds_wrong).collect()
}

#[cfg(test)]
mod tests;
