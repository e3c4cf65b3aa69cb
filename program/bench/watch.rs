//! Whether something outside disturbed a trial: the clock was set, a link changed, other traffic was on
//! the interface, or its counters went backwards.

use std::time::Duration;

use super::disturbance::Disturbance;
use super::search::trial::VoidReason;
use super::testbed::End;
use crate::error::{Error, Result};
use crate::load::run::LoadOutcome;
use crate::sys::clock::{self, realtime_offset_ns};
use crate::sys::link::{Link, LinkCounters, LinkEvent, LinkWatch, Links};
use crate::wire::ethernet::MacAddress;

/// The clocks' offset is read to some microseconds on a busy machine; a smaller step than this moves no
/// rate of a trial.
const CLOCK_STEP_NS: u64 = 100_000;

/// Other frames disturb a trial if they are more than this part of its own.
const FOREIGN_SHARE_MAX: f64 = 0.01;

/// Fewer other frames than this never do: neighbour discovery and its like.
const FOREIGN_FRAMES_MIN: u64 = 100;

/// Late frames have ended when no more than this moves in [`SETTLED`]: others may still talk on the link.
const STILL_FRAMES: u64 = 1;
const SETTLED: Duration = Duration::from_millis(50);

/// What does not settle by then is not waited for: it is somebody else's traffic.
const SETTLE_MAX: Duration = Duration::from_secs(3);

/// The measurement's own frames at the first of the watched ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnTraffic {
    /// Frames that it transmitted there.
    pub transmitted: u64,
    /// Frames that its sockets received there, those dropped for want of room included.
    pub received: u64,
    /// Frames that may still arrive there, after its sockets were closed.
    pub under_way: u64,
}

impl OwnTraffic {
    /// What a load did, at its own end.
    pub fn of(outcome: &LoadOutcome) -> OwnTraffic {
        OwnTraffic {
            transmitted: outcome.sent + outcome.warm_up.sent,
            received: outcome.kernel.packets,
            under_way: outcome.lost + outcome.warm_up.lost,
        }
    }
}

/// Watches the ends of a testbed, trial by trial.
pub struct Watch {
    ends: Vec<WatchedEnd>,
    clock_offset_ns: i64,
    foreign: Foreign,
}

impl Watch {
    /// Begins to watch; other traffic is looked for at the first end. Needs no privilege beyond what
    /// entering the ends' namespaces takes.
    pub fn open<'a>(ends: impl IntoIterator<Item = &'a End>) -> Result<Watch> {
        let ends = ends.into_iter().map(WatchedEnd::open).collect::<Result<_>>()?;
        let mut watch =
            Watch { ends, clock_offset_ns: realtime_offset_ns(), foreign: Foreign::default() };
        watch.begin()?;
        Ok(watch)
    }

    /// A trial begins: what happened before it does not count.
    pub fn begin(&mut self) -> Result<()> {
        self.clock_offset_ns = realtime_offset_ns();
        for end in &mut self.ends {
            // A link that is down still counts; what it was like before does not.
            let events = end.events.drain()?;
            end.state.follow(&events);
            end.before = end.links.counters(end.state.link.index)?;
        }
        Ok(())
    }

    /// Waits until late frames of what ran before have passed: queues may hold frames of a load that was
    /// given up, and what they come to belongs to nobody.
    pub fn settle(&self) -> Result<()> {
        settled(|| self.moved(), clock::sleep)
    }

    /// Frames that the ends have moved so far.
    fn moved(&self) -> Result<u64> {
        let moved = |end: &WatchedEnd| {
            let now = end.links.counters(end.state.link.index)?;
            Ok(now.received_frames + now.transmitted_frames)
        };
        self.ends.iter().map(moved).sum()
    }

    /// What disturbed the trial since [`Watch::begin`], in which the measurement itself did `own`.
    pub fn verdict(&mut self, own: OwnTraffic) -> Result<Vec<Disturbance>> {
        let mut found = Vec::new();
        for (at, end) in self.ends.iter_mut().enumerate() {
            let events = end.events.drain()?;
            found.extend(end.state.follow(&events));
            if end.state.gone {
                continue;
            }
            let now = end.links.counters(end.state.link.index)?;
            let interface = end.state.link.name.clone();
            if went_backwards(&end.before, &now) {
                found.push(Disturbance::CountersBackwards { interface });
            } else if at == 0 {
                found.extend(self.foreign.judge(interface, &now.since(&end.before), own));
            }
            end.before = now;
        }
        found.extend(clock_set(self.clock_offset_ns, realtime_offset_ns()));
        Ok(found)
    }

    /// Why the trial since [`Watch::begin`] is void. An interface that has gone is an error: no trial
    /// can follow.
    pub fn void(&mut self, own: OwnTraffic) -> Result<Option<VoidReason>> {
        match self.verdict(own)?.into_iter().next() {
            Some(gone @ Disturbance::InterfaceGone { .. }) => Err(Error::Run(gone.to_string())),
            found => Ok(found.map(VoidReason::Disturbed)),
        }
    }
}

/// Waits, by `sleep`, until what `moved` counts stands still.
fn settled(mut moved: impl FnMut() -> Result<u64>, sleep: impl Fn(Duration)) -> Result<()> {
    let mut before = moved()?;
    for _ in 0..SETTLE_MAX.div_duration_f64(SETTLED) as u32 {
        sleep(SETTLED);
        let now = moved()?;
        if now.saturating_sub(std::mem::replace(&mut before, now)) <= STILL_FRAMES {
            break;
        }
    }
    Ok(())
}

fn clock_set(before_ns: i64, now_ns: i64) -> Option<Disturbance> {
    let by_ns = now_ns - before_ns;
    (by_ns.unsigned_abs() > CLOCK_STEP_NS).then_some(Disturbance::ClockSet { by_ns })
}

fn went_backwards(before: &LinkCounters, now: &LinkCounters) -> bool {
    now.received_frames < before.received_frames
        || now.transmitted_frames < before.transmitted_frames
        || now.received_bytes < before.received_bytes
        || now.transmitted_bytes < before.transmitted_bytes
}

struct WatchedEnd {
    state: LinkState,
    events: LinkWatch,
    links: Links,
    before: LinkCounters,
}

impl WatchedEnd {
    fn open(end: &End) -> Result<WatchedEnd> {
        let (events, links) = end.inside(|| Ok((LinkWatch::open()?, Links::open()?)))?;
        let state = LinkState { link: links.by_index(end.link.index)?, gone: false };
        let before = links.counters(state.link.index)?;
        Ok(WatchedEnd { state, events, links, before })
    }
}

/// A link as it was last seen.
struct LinkState {
    link: Link,
    gone: bool,
}

impl LinkState {
    /// Takes over what happened, and says what of it disturbs a trial.
    fn follow(&mut self, events: &[LinkEvent]) -> Vec<Disturbance> {
        let mut found = Vec::new();
        let interface = self.link.name.clone();
        let mut down = !self.link.running;
        for event in events {
            match event {
                LinkEvent::Changed(link) if link.index == self.link.index => {
                    down |= !link.running;
                    if link.mtu != self.link.mtu {
                        let interface = interface.clone();
                        found.push(Disturbance::MtuChanged { interface, mtu: link.mtu });
                    }
                    if link.mac != self.link.mac {
                        let (interface, mac) = (interface.clone(), MacAddress(link.mac));
                        let mac = mac.to_string();
                        found.push(Disturbance::AddressChanged { interface, mac });
                    }
                    self.link = link.clone();
                }
                LinkEvent::Deleted { index } if *index == self.link.index => {
                    self.gone = true;
                }
                LinkEvent::Changed(_) | LinkEvent::Deleted { .. } => {}
            }
        }
        if self.gone {
            found.insert(0, Disturbance::InterfaceGone { interface });
        } else if down {
            found.insert(0, Disturbance::LinkDown { interface });
        }
        found
    }
}

/// Other traffic on an interface: what its counters have beyond the measurement's own frames.
///
/// Some drivers bring their counters up to date once a second, so frames of one trial are counted in
/// the next one. Hence the sums over all trials are compared, and only what rises above the highest
/// sum so far is new.
#[derive(Default)]
struct Foreign {
    received: Excess,
    transmitted: Excess,
    under_way: u64,
}

impl Foreign {
    fn judge(
        &mut self,
        interface: String,
        counted: &LinkCounters,
        own: OwnTraffic,
    ) -> Option<Disturbance> {
        // Late echoes come in this trial or in the next one.
        let late = own.under_way + std::mem::replace(&mut self.under_way, own.under_way);
        let received = self.received.rise(counted.received_frames, own.received);
        let transmitted = self.transmitted.rise(counted.transmitted_frames, own.transmitted);
        let frames = received.saturating_sub(late) + transmitted;
        let share = frames as f64 / (own.transmitted + own.received).max(1) as f64;
        let disturbs = frames > FOREIGN_FRAMES_MIN && share > FOREIGN_SHARE_MAX;
        disturbs.then_some(Disturbance::ForeignTraffic { interface, frames, share })
    }
}

#[derive(Default)]
struct Excess {
    counted: u64,
    own: u64,
    highest: u64,
}

impl Excess {
    fn rise(&mut self, counted: u64, own: u64) -> u64 {
        self.counted += counted;
        self.own += own;
        let excess = self.counted.saturating_sub(self.own);
        let rise = excess.saturating_sub(self.highest);
        self.highest += rise;
        rise
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn late_frames_are_waited_for_and_others_traffic_is_not() {
        let waited = |frames_ms: &dyn Fn(u64) -> u64| {
            let now_ms = Cell::new(0);
            let sleep = |time: Duration| now_ms.set(now_ms.get() + time.as_millis() as u64);
            settled(|| Ok(frames_ms(now_ms.get())), sleep).unwrap();
            now_ms.get()
        };
        assert_eq!(waited(&|_| 7), 50);
        // A queue empties until 500 ms; neighbours talk now and then, and others all the time.
        assert_eq!(waited(&|ms| ms.min(500)), 550);
        assert_eq!(waited(&|ms| ms / 1000), 50);
        assert_eq!(waited(&|ms| ms), SETTLE_MAX.as_millis() as u64);
    }

    fn link() -> Link {
        Link { index: 7, name: "eth7".into(), mtu: 1500, running: true, ..Link::default() }
    }

    fn follow(events: &[LinkEvent]) -> Vec<Disturbance> {
        LinkState { link: link(), gone: false }.follow(events)
    }

    #[test]
    fn a_link_that_was_down_for_a_moment_disturbs_and_another_link_does_not() {
        let down = Link { running: false, ..link() };
        let flap = [LinkEvent::Changed(down.clone()), LinkEvent::Changed(link())];
        assert_eq!(follow(&flap), [Disturbance::LinkDown { interface: "eth7".into() }]);
        let other = Link { index: 8, ..down.clone() };
        let others = [LinkEvent::Changed(other), LinkEvent::Deleted { index: 8 }];
        assert_eq!(follow(&others), []);
        // As a packet socket makes it promiscuous, say.
        let same = Link { promiscuous: true, ..link() };
        assert_eq!(follow(&[LinkEvent::Changed(same)]), []);
        let mut state = LinkState { link: link(), gone: false };
        state.follow(&[LinkEvent::Changed(down)]);
        assert_eq!(state.follow(&[]).len(), 1, "it is still down");
    }

    #[test]
    fn mtu_and_address_disturb_once_and_a_deleted_interface_ends_it() {
        let changed = Link { mtu: 1400, mac: [2, 0, 0, 0, 0, 9], ..link() };
        let mut state = LinkState { link: link(), gone: false };
        let found = state.follow(&[LinkEvent::Changed(changed.clone())]);
        let interface = String::from("eth7");
        let mac = String::from("02:00:00:00:00:09");
        assert_eq!(
            found,
            [
                Disturbance::MtuChanged { interface: interface.clone(), mtu: 1400 },
                Disturbance::AddressChanged { interface, mac }
            ]
        );
        assert_eq!(state.follow(&[LinkEvent::Changed(changed)]), []);
        let gone = state.follow(&[LinkEvent::Deleted { index: 7 }]);
        assert_eq!(gone, [Disturbance::InterfaceGone { interface: "eth7".into() }]);
    }

    #[test]
    fn a_clock_that_is_set_disturbs_and_one_that_is_read_inexactly_does_not() {
        assert_eq!(clock_set(1_000, 60_000), None);
        assert_eq!(
            clock_set(5, 1_000_000_005),
            Some(Disturbance::ClockSet { by_ns: 1_000_000_000 })
        );
        assert_eq!(clock_set(0, -200_000), Some(Disturbance::ClockSet { by_ns: -200_000 }));
    }

    #[test]
    fn counters_that_go_backwards_are_noticed() {
        let before = LinkCounters { received_frames: 5, ..LinkCounters::default() };
        assert!(went_backwards(&before, &LinkCounters::default()));
        assert!(!went_backwards(&before, &before));
    }

    fn counted(received_frames: u64, transmitted_frames: u64) -> LinkCounters {
        LinkCounters { received_frames, transmitted_frames, ..LinkCounters::default() }
    }

    fn frames(found: Option<Disturbance>) -> u64 {
        match found {
            None => 0,
            Some(Disturbance::ForeignTraffic { frames, .. }) => frames,
            Some(other) => panic!("{other}"),
        }
    }

    fn own(frames: u64, under_way: u64) -> OwnTraffic {
        OwnTraffic { transmitted: frames, received: frames - under_way, under_way }
    }

    #[test]
    fn other_traffic_disturbs_from_a_share_on() {
        let judge = |received, transmitted, own| {
            frames(Foreign::default().judge("x".into(), &counted(received, transmitted), own))
        };
        assert_eq!(judge(10_000, 10_000, own(10_000, 0)), 0);
        assert_eq!(judge(10_150, 10_000, own(10_000, 0)), 0, "less than a hundredth");
        assert_eq!(judge(10_500, 10_000, own(10_000, 0)), 500);
        assert_eq!(judge(10_000, 10_500, own(10_000, 0)), 500);
        assert_eq!(judge(90, 0, own(0, 0)), 0, "too few");
        assert_eq!(judge(9_900, 10_000, own(10_000, 3_000)), 0, "echoes that came late");
    }

    #[test]
    fn echoes_of_the_trial_before_and_counters_that_lag_are_no_other_traffic() {
        let mut foreign = Foreign::default();
        let mut judge = |received, transmitted, own| {
            frames(foreign.judge("x".into(), &counted(received, transmitted), own))
        };
        // The driver has counted nothing yet, and then counts both trials at once.
        assert_eq!(judge(0, 0, own(10_000, 2_000)), 0);
        assert_eq!(judge(20_000, 20_000, own(10_000, 0)), 0);
        assert_eq!(judge(10_000, 10_000, own(10_000, 0)), 0);
        assert_eq!(judge(10_600, 10_000, own(10_000, 0)), 600);
        assert_eq!(judge(10_000, 10_000, own(10_000, 0)), 0, "what was, was");
    }
}
