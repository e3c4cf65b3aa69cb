//! One trial as the search sees it: what was asked, what came out, and whether it counts.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::json;

use crate::bench::account::Taken;
use crate::bench::disturbance::Disturbance;
use crate::error::Result;
use crate::stats::latency::LatencySummary;
use crate::units::{FrameSize, as_seconds};
use linerate_core::serialize_as_text;

/// Whoever runs trials (the Measurer of MLRsearch, RFC 9971).
pub trait Measurer {
    /// Offers `load_pps` frames per second for `duration`, waits for stragglers, and counts.
    fn measure(&mut self, load_pps: f64, duration: Duration) -> Result<TrialOutcome>;

    /// Whether no more trials are wanted. One that was running when this turned true is not
    /// counted: a trial cut short says nothing.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// What came out of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialOutcome {
    /// The load that was asked for, in frames per second (intended load of RFC 2285).
    pub intended_pps: f64,
    /// The load that was really offered (offered load of RFC 2285).
    pub achieved_pps: f64,
    /// Frames sent.
    pub sent: u64,
    /// Frames that did not come back as they should.
    pub lost: u64,
    /// What the trial took, warm-up and drain included; counts against the time of a search.
    pub duration: Duration,
    /// Why the trial says nothing about the device, if it does not.
    pub void: Option<VoidReason>,
    /// Latencies, where they were measured.
    pub latency: Option<LatencySummary>,
    /// What was taken of the CPUs meanwhile.
    pub taken: Taken,
}

/// How the tester spoiled a trial.
#[derive(Clone, Debug, PartialEq)]
pub enum VoidReason {
    /// The generator could not offer the load: [`TrialOutcome::achieved_pps`] is too far below.
    BehindSchedule,
    /// The generator's own receive ring dropped frames, which the device may have returned.
    OwnDrops {
        /// How many.
        frames: u64,
    },
    /// Another linerate load shared the link and the device.
    OtherLoad {
        /// Frames of it.
        frames: u64,
    },
    /// No frame came back.
    Silence {
        /// The load.
        load: &'static str,
        /// The size of the frames.
        size: FrameSize,
        /// Frames sent.
        frames: u64,
    },
    /// The kernel's stamps on the echoes give no rate.
    NoRate,
    /// Something outside disturbed it.
    Disturbed(Disturbance),
}

/// Theft comes and goes, so that a trial may be spoiled by it this many times as often as by anything
/// else before no more are tried.
const THEFT_PATIENCE: usize = 4;

impl VoidReason {
    /// How often a trial is repeated that this spoiled, where others are repeated `void_repeats` times.
    pub(super) fn repeats(&self, void_repeats: usize) -> usize {
        match self {
            VoidReason::Disturbed(Disturbance::TimeTaken { .. }) => THEFT_PATIENCE * void_repeats,
            _ => void_repeats,
        }
    }

    /// The part of the time that was taken, where that is the reason.
    pub(super) fn theft(&self) -> Option<f64> {
        match self {
            VoidReason::Disturbed(Disturbance::TimeTaken { share, .. }) => Some(*share),
            _ => None,
        }
    }
}

impl TrialOutcome {
    /// Part of the sent frames that was lost (Trial Loss Ratio), from 0 to 1.
    pub fn loss_ratio(&self) -> f64 {
        if self.sent == 0 { 1.0 } else { self.lost.min(self.sent) as f64 / self.sent as f64 }
    }

    /// Frames per second that came back (Trial Forwarding Rate).
    pub fn forwarding_pps(&self) -> f64 {
        self.achieved_pps * (1.0 - self.loss_ratio())
    }

    /// Why the trial does not count. One that sent nothing never does.
    pub fn spoiled(&self) -> Option<&VoidReason> {
        match &self.void {
            None if self.sent == 0 => Some(&VoidReason::BehindSchedule),
            reason => reason.as_ref(),
        }
    }
}

impl Serialize for TrialOutcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let outcome = json!({
            "intended_pps": self.intended_pps,
            "offered_pps": self.achieved_pps,
            "forwarded_pps": self.forwarding_pps(),
            "sent": self.sent,
            "lost": self.lost,
            "loss_ratio": self.loss_ratio(),
            "void": self.spoiled(),
            "response_ns": self.latency,
            "taken": self.taken,
        });
        outcome.serialize(serializer)
    }
}

serialize_as_text!(VoidReason);

impl fmt::Display for VoidReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VoidReason::BehindSchedule => f.write_str("the generator could not offer the load"),
            VoidReason::OwnDrops { frames } => {
                write!(f, "the generator's own ring dropped {frames} frames")
            }
            VoidReason::OtherLoad { frames } => {
                write!(f, "{frames} frames of another linerate load arrived")
            }
            VoidReason::Silence { load, size, frames } => {
                write!(f, "{load}: none of {frames} frames of {size} bytes came back")
            }
            VoidReason::NoRate => f.write_str("the kernel's stamps on the echoes give no rate"),
            VoidReason::Disturbed(what) => what.fmt(f),
        }
    }
}

/// What a trial of a search was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// The first look, at the highest load.
    Start,
    /// To find the region, one trial a load.
    Narrow,
    /// To decide a load for good.
    Decide,
    /// The long trial at the found lower bound.
    Confirm,
}

/// A trial of a search, in the order in which they were run.
#[derive(Clone, Debug, Serialize)]
pub struct TrialRecord {
    /// What it was for.
    pub purpose: Purpose,
    /// The goal that it was for, as its place in the result; `None` for the first look.
    pub goal: Option<usize>,
    /// The load asked for, in frames per second.
    #[serde(skip)]
    pub load_pps: f64,
    /// The duration asked for (Trial Duration).
    #[serde(rename = "trial_duration_s", serialize_with = "as_seconds")]
    pub duration: Duration,
    /// What came out.
    pub outcome: TrialOutcome,
}
