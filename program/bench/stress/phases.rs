//! What a stress test consists of: its phases, as data.

use std::time::Duration;

use super::events::Event;
pub use super::names::{PhaseName, Profile};
use crate::bench::loading::LoadRequest;
use crate::load::pace::Pattern;
use crate::load::plan::{Limits, LoadSpec};
use crate::load::rate::{FrameRate, Rate, WIRE_OVERHEAD_BYTES};
use crate::load::run::Drive;
use crate::load::sizes::Sizes;
use crate::units::{ETHERNET_HEADER_BYTES, FCS_BYTES, FrameSize};
use crate::wire::encapsulation::Encapsulation;
use crate::wire::ethernet::{VLAN_TAG_BYTES, VlanTag};
use crate::wire::probe::PayloadPattern;

/// Frames that leave back to back in a burst: more than one kick, fewer than any NIC's ring that is
/// worth the name, and fewer than `net.core.netdev_max_backlog` (1000), which a veth pair has.
pub const BURST_FRAMES: u32 = 256;

/// Frames a second where nothing else is asked for: a healthy device loses none of them.
pub const MODERATE_PPS: u64 = 50_000;

/// Frames a second around an event, unless fewer are asked for: recovery is known to 0.1 ms, and a ring holds some seconds of them.
const EVENT_PPS: u64 = 10_000;

/// The part of the line rate that the moderate rate never exceeds.
const MODERATE_LINE_SHARE: f64 = 0.5;

impl PhaseName {
    /// What follows the number in each payload.
    const fn payload(self) -> PayloadPattern {
        match self {
            PhaseName::Zeros => PayloadPattern::Zeros,
            PhaseName::Ones => PayloadPattern::Ones,
            PhaseName::Alternating => PayloadPattern::Alternating,
            PhaseName::WalkingBit => PayloadPattern::WalkingBit,
            PhaseName::Random => PayloadPattern::Random,
            _ => PayloadPattern::Filler,
        }
    }
}

/// What the phases are made of.
#[derive(Clone, Debug)]
pub struct PhaseSettings {
    /// The link's MTU in bytes.
    pub mtu: usize,
    /// The link's line rate in bits per second, where it has one.
    pub line_bits_per_second: Option<u64>,
    /// The rate of all phases; `None` for a moderate one.
    pub rate: Option<Rate>,
    /// The tag of the phase with tags.
    pub tag: VlanTag,
    /// Why events cannot be measured, where they cannot.
    pub eventless: Option<String>,
    /// Whether the device's interface is on this machine.
    pub far: bool,
    /// Why no tags can be verified, where they cannot.
    pub tagless: Option<String>,
    /// Flows of the phase with many.
    pub flows: u32,
}

/// One phase.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Its name.
    pub name: PhaseName,
    /// Frame sizes.
    pub sizes: Sizes,
    /// What follows the number in each payload.
    pub payload: PayloadPattern,
    /// VLAN tags, outermost first.
    pub tags: Vec<VlanTag>,
    /// Flows.
    pub flows: u32,
    /// When frames are sent.
    pub drive: Drive,
    /// Why it cannot be run.
    pub impossible: Option<String>,
}

impl Phase {
    /// The phase `name` on a link as `settings` describe it.
    pub fn new(name: PhaseName, settings: &PhaseSettings) -> Phase {
        let event = Event::of(name);
        let tags = match name {
            PhaseName::VlanOn => vec![settings.tag],
            _ => Vec::new(),
        };
        let encapsulation = Encapsulation { tags: tags.len(), ..Encapsulation::default() };
        let smallest = size(encapsulation.smallest_frame_bytes());
        // The kernel lets a customer tag exceed the MTU, and every NIC has to stand that.
        let tag_bytes = tags.len() * VLAN_TAG_BYTES;
        let largest = size(settings.mtu + ETHERNET_HEADER_BYTES + tag_bytes + FCS_BYTES);
        let every = Sizes::Sweep { from: smallest, to: largest, step: 1 };
        let random = Sizes::Random { from: smallest, to: largest };
        let imix_fits = Sizes::Imix.all().all(|bytes| bytes <= largest);
        let sizes = match name {
            PhaseName::Sweep | PhaseName::VlanOn | PhaseName::VlanOff => every,
            PhaseName::Imix => Sizes::Imix,
            _ if event.is_some() => Sizes::Fixed(smallest),
            PhaseName::SmallBursts => Sizes::Fixed(smallest),
            PhaseName::LargeBursts => Sizes::Fixed(largest),
            PhaseName::OneFlow | PhaseName::ManyFlows if imix_fits => Sizes::Imix,
            _ => random,
        };
        let impossible = match name {
            _ if event.is_some() && settings.eventless.is_some() => settings.eventless.clone(),
            PhaseName::PeerGone if !settings.far => {
                Some("the device's interface is not on this machine: see link-down".into())
            }
            PhaseName::VlanOn => settings.tagless.clone(),
            PhaseName::Imix if !imix_fits => {
                Some(format!("IMIX frames are longer than an MTU of {} allows", settings.mtu))
            }
            _ => None,
        };
        let bursts = matches!(name, PhaseName::SmallBursts | PhaseName::LargeBursts);
        let pattern = match bursts {
            true => Pattern::Burst { frames: BURST_FRAMES },
            false => Pattern::Constant,
        };
        let line = settings.line_bits_per_second;
        let asked = || settings.rate?.frame_rate(sizes.mean()?, line).ok()?.map(FrameRate::as_f64);
        let most = match event {
            Some(_) => EVENT_PPS.min(asked().map_or(EVENT_PPS, |pps| pps as u64)),
            None => MODERATE_PPS,
        };
        let rate = match settings.rate {
            // Without a schedule there are no gaps, and so no bursts.
            Some(rate) if event.is_none() && !(bursts && rate == Rate::Max) => rate,
            _ => moderate(&sizes, most, line),
        };
        let flows = if name == PhaseName::ManyFlows { settings.flows } else { 1 };
        let drive = Drive::Paced { rate, pattern };
        Phase { name, sizes, payload: name.payload(), tags, flows, drive, impossible }
    }

    /// The load of this phase: whom it reaches and how it is verified is as `base` says.
    pub fn request(&self, base: &LoadRequest, duration: Duration) -> LoadRequest {
        let spec = LoadSpec {
            sizes: self.sizes.clone(),
            payload: self.payload,
            flows: self.flows,
            drive: self.drive,
            limits: Limits::lasting(duration),
            // All frames count, the first ones above all: a driver may stumble over them.
            warm_up: Duration::ZERO,
            ..base.spec.clone()
        };
        LoadRequest { tags: self.tags.clone(), spec, ..base.clone() }
    }

    /// What it sends, in a few words.
    pub fn what(&self) -> String {
        let event = Event::of(self.name).map(|event| event.what.to_string());
        let mut words = vec![event.unwrap_or_else(|| format!("sizes {}", self.sizes))];
        if self.payload != PayloadPattern::Filler {
            words.push(format!("payload {}", self.payload));
        }
        words.extend(self.tags.iter().map(|tag| format!("VLAN {}", tag.id())));
        if self.flows > 1 {
            words.push(format!("{} flows", self.flows));
        }
        if let Drive::Paced { rate, pattern } = self.drive {
            words.push(match pattern {
                Pattern::Burst { frames } => format!("{rate} in bursts of {frames}"),
                _ => rate.to_string(),
            });
        }
        words.join(", ")
    }
}

/// The rate that a healthy device stands with frames of these sizes.
fn moderate(sizes: &Sizes, most: u64, line_bits_per_second: Option<u64>) -> Rate {
    let mean = sizes.mean().map_or(0.0, |mean| mean.as_f64());
    let bits = (mean + WIRE_OVERHEAD_BYTES as f64) * 8.0;
    let line_pps = line_bits_per_second.map(|line| line as f64 * MODERATE_LINE_SHARE / bits);
    let pps = line_pps.map_or(most, |pps| most.min(pps as u64));
    Rate::frames(pps.max(1))
}

fn size(bytes: usize) -> FrameSize {
    FrameSize::with_fcs(bytes).unwrap_or(FrameSize::smallest())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> PhaseSettings {
        PhaseSettings {
            mtu: 1500,
            line_bits_per_second: None,
            rate: None,
            tag: VlanTag::customer(100, 0),
            tagless: None,
            eventless: None,
            far: true,
            flows: 64,
        }
    }

    fn pps(phase: &Phase) -> String {
        match phase.drive {
            Drive::Paced { rate, .. } => rate.to_string(),
            Drive::Window(_) => "window".into(),
        }
    }

    #[test]
    fn every_size_up_to_the_mtu_is_swept_with_a_tag_and_without() {
        let sizes = |name| Phase::new(name, &settings()).sizes.to_string();
        assert_eq!(sizes(PhaseName::Sweep), "64-1518");
        assert_eq!(sizes(PhaseName::VlanOn), "64-1522");
        assert_eq!(sizes(PhaseName::VlanOff), "64-1518");
        assert_eq!(sizes(PhaseName::SmallBursts), "64");
        assert_eq!(sizes(PhaseName::LargeBursts), "1518");
        let jumbo = PhaseSettings { mtu: 9000, ..settings() };
        assert_eq!(Phase::new(PhaseName::Zeros, &jumbo).sizes.to_string(), "random:64-9018");
    }

    #[test]
    fn what_cannot_be_run_says_why() {
        let small = PhaseSettings { mtu: 576, tagless: Some("no tags".into()), ..settings() };
        let impossible: Vec<PhaseName> = PhaseName::ALL
            .into_iter()
            .filter(|&name| Phase::new(name, &small).impossible.is_some())
            .collect();
        assert_eq!(impossible, [PhaseName::Imix, PhaseName::VlanOn]);
        assert!(
            Phase::new(PhaseName::ManyFlows, &small).sizes.all().all(|size| size.bytes() < 600)
        );
    }

    #[test]
    fn the_moderate_rate_leaves_half_of_a_slow_line_free() {
        let slow = PhaseSettings { line_bits_per_second: Some(100_000_000), ..settings() };
        assert_eq!(pps(&Phase::new(PhaseName::LargeBursts, &slow)), "4.063kpps");
        assert_eq!(pps(&Phase::new(PhaseName::LargeBursts, &settings())), "50kpps");
        let most = PhaseSettings { rate: Some(Rate::Max), ..settings() };
        assert_eq!(pps(&Phase::new(PhaseName::Sweep, &most)), "max");
        assert_eq!(pps(&Phase::new(PhaseName::SmallBursts, &most)), "50kpps");
        let pps_of_an_event =
            |rate| pps(&Phase::new(PhaseName::Mtu, &PhaseSettings { rate, ..settings() }));
        assert_eq!(pps_of_an_event(None), "10kpps");
        assert_eq!(pps_of_an_event(Some(Rate::Max)), "10kpps");
        assert_eq!(pps_of_an_event(Some(Rate::frames(500))), "500pps");
        assert_eq!(pps_of_an_event(Some(Rate::frames(70_000))), "10kpps");
    }

    #[test]
    fn names_are_read_and_all_patterns_are_there() {
        for name in PhaseName::ALL {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        assert!("sleep".parse::<PhaseName>().unwrap_err().contains("many-flows"));
        for pattern in PayloadPattern::ALL {
            assert!(PhaseName::ALL.into_iter().any(|name| name.payload() == pattern));
        }
    }
}
