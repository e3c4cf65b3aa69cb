//! What happens to an interface while frames are in flight: a table of events, and how one is carried out.

use std::any::Any;
use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::names::PhaseName;
use super::recovery::{Echo, Echoes, Recovery, STEADY_NS, Step};
use crate::bench::account::Taken;
use crate::bench::loading::{Finding, LoadObserver, LoadRequest};
use crate::bench::site::Site;
use crate::bench::testbed::End;
use crate::error::{Error, Result};
use crate::load::run::{LoadOutcome, Progress, Trace, TraceSpec};
use crate::sys::bpf::Redirect;
use crate::sys::bpf::select::Selection;
use crate::sys::clock::{monotonic_ns, sleep};
use crate::sys::failure::{EOPNOTSUPP, failed};
use crate::sys::filter::nothing;
use crate::sys::link::Links;
use crate::sys::offload::Ethtool;
use crate::sys::packet::{ALL_PROTOCOLS, FanoutMode, PacketSocket, SocketType};
use crate::sys::settings::{Change, Settings};

/// What may become of the frames while the change lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// None may be lost.
    NoLoss,
    /// Some may be lost until the driver has reconfigured the device; then they flow again.
    Interruption,
    /// None come back until the change is undone.
    Silence,
}

/// One kind of event. Whatever it changes is undone by putting the settings back as they were, and by
/// letting go of what it holds.
#[derive(Debug)]
pub struct Event {
    /// Its name.
    pub name: PhaseName,
    /// What happens, in words.
    pub what: &'static str,
    /// Whether it happens at the generator's end, and not at the device's.
    pub near: bool,
    /// What may become of the frames.
    pub expected: Expected,
    apply: fn(&Scene<'_>) -> Result<Held>,
}

/// What an event holds while it lasts: a socket, a program.
type Held = Option<Box<dyn Any + Send>>;

/// An interface, and what changes it.
struct Scene<'a> {
    end: &'a End,
    links: Links,
    ethtool: Ethtool,
}

/// All of them.
#[rustfmt::skip]
static EVENTS: [Event; 10] = {
    use Expected::{Interruption, NoLoss, Silence};
    use PhaseName as Name;
    [
        Event { name: Name::LinkDown, what: "the link goes down and comes up", near: false, expected: Silence, apply: switch_off },
        Event { name: Name::PeerGone, what: "the other end of the cable goes down and comes up", near: true, expected: Silence, apply: switch_off },
        Event { name: Name::Mtu, what: "the MTU changes and changes back", near: false, expected: Interruption, apply: change_mtu },
        Event { name: Name::Channels, what: "the number of queues changes and changes back", near: false, expected: Interruption, apply: change_queues },
        Event { name: Name::Rings, what: "the device's rings change and change back", near: false, expected: Interruption, apply: change_rings },
        Event { name: Name::Offloads, what: "offloads are toggled and toggled back", near: false, expected: Interruption, apply: toggle_offloads },
        Event { name: Name::Promiscuous, what: "promiscuous mode begins and ends", near: false, expected: NoLoss, apply: make_promiscuous },
        Event { name: Name::Address, what: "the hardware address changes and changes back", near: false, expected: Silence, apply: change_address },
        Event { name: Name::Fanout, what: "two sockets join a fanout group and leave it", near: false, expected: NoLoss, apply: join_fanout },
        Event { name: Name::Xdp, what: "an XDP program is attached and detached", near: false, expected: Interruption, apply: attach_program },
    ]
};

fn switch_off(scene: &Scene<'_>) -> Result<Held> {
    scene.links.set_up(scene.end.link.index, false).map(|()| None)
}

/// By a little, and not below what IPv6 needs, which would take the interface's addresses.
fn change_mtu(scene: &Scene<'_>) -> Result<Held> {
    let mtu = scene.end.link.mtu;
    let other = if mtu >= 1400 { mtu - 100 } else { mtu + 100 };
    scene.links.set_mtu(scene.end.link.index, other).map(|()| None)
}

fn change_queues(scene: &Scene<'_>) -> Result<Held> {
    let name = &scene.end.link.name;
    scene.ethtool.recount_queues(name).map(|()| None).map_err(refused("change the queues", name))
}

fn change_rings(scene: &Scene<'_>) -> Result<Held> {
    let name = &scene.end.link.name;
    scene.ethtool.resize_rings(name).map(|()| None).map_err(refused("change the rings", name))
}

/// Features of which every driver has some.
const OFFLOADS: [&str; 5] = [
    "rx-gro",
    "tx-generic-segmentation",
    "tx-checksum-ip-generic",
    "rx-checksum",
    "rx-vlan-hw-parse",
];

fn toggle_offloads(scene: &Scene<'_>) -> Result<Held> {
    let name = &scene.end.link.name;
    let refused = refused("toggle the offloads", name);
    let before = scene.ethtool.features(name).map_err(&refused)?;
    for feature in OFFLOADS {
        let set = scene.ethtool.set_feature(name, feature, !before.contains(feature));
        set.map_err(&refused)?;
    }
    Ok(None)
}

fn make_promiscuous(scene: &Scene<'_>) -> Result<Held> {
    let socket = PacketSocket::open(SocketType::Raw)?;
    socket.join_promiscuous(scene.end.link.index)?;
    Ok(Some(Box::new(socket)))
}

fn change_address(scene: &Scene<'_>) -> Result<Held> {
    let mut mac = scene.end.link.mac;
    mac[5] ^= 0x80;
    scene.links.set_mac(scene.end.link.index, mac).map(|()| None)
}

fn join_fanout(scene: &Scene<'_>) -> Result<Held> {
    let link = &scene.end.link;
    let refused = refused("join a fanout group", &link.name);
    let member = |group: Option<u16>| -> Result<PacketSocket> {
        let socket = PacketSocket::open(SocketType::Raw)?;
        socket.attach_filter(&nothing())?;
        socket.bind(link.index, ALL_PROTOCOLS).map_err(&refused)?;
        let mode = FanoutMode::LoadBalance.into();
        socket.join_fanout(group.unwrap_or(0), mode, group.is_none()).map_err(&refused)?;
        Ok(socket)
    };
    let first = member(None)?;
    let second = member(Some(first.fanout_id().map_err(&refused)?))?;
    Ok(Some(Box::new((first, second))))
}

/// One that passes every frame on.
fn attach_program(scene: &Scene<'_>) -> Result<Held> {
    let nothing = Selection { ether_types: Vec::new(), udp_port: None };
    Ok(Some(Box::new(Redirect::attach(scene.end.link.index, 1, &nothing)?)))
}

fn refused(attempted: &str, name: &str) -> impl Fn(io::Error) -> Error {
    move |error| failed(format!("{attempted} of {name}"), &error, "")
}

/// Frames flow for so long before the event.
const LEAD: Duration = Duration::from_millis(300);
/// A change lasts at least so long.
const HOLD: Duration = Duration::from_millis(400);
/// Frames flow for so long afterwards.
const TAIL: Duration = Duration::from_millis(500);
/// Frames that do not flow by then are not waited for any longer.
const LEAD_MAX: Duration = Duration::from_secs(5);
/// Time between two looks at how the load goes.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Time between two reports of the load.
const REPORT_EVERY: Duration = Duration::from_millis(20);
/// Frames come back steadily if so many of those do that were sent meanwhile.
const STEADY_SHARE: f64 = 0.9;
/// How many arrivals are kept at most, in 64 MiB: those of some minutes.
const ARRIVALS_MAX: usize = 4 << 20;

/// What happened.
#[derive(Debug)]
pub struct Happened {
    /// Whether at the generator's own end.
    pub near: bool,
    /// When the change was made.
    pub apply: Step,
    /// When it was undone.
    pub undo: Step,
    /// When the load was told to stop.
    pub end_ns: u64,
    /// Which settings were changed.
    pub changed: Vec<Change>,
    /// Which of them could not be put back.
    pub left: Vec<Change>,
}

impl Event {
    /// What the phase `name` is, if it is an event.
    pub fn of(name: PhaseName) -> Option<&'static Event> {
        EVENTS.iter().find(|event| event.name == name)
    }

    /// Whether an interface is switched off meanwhile.
    pub fn switches_off(&self) -> bool {
        matches!(self.name, PhaseName::LinkDown | PhaseName::PeerGone)
    }

    /// The end that it happens at: on this machine the device's, where it is there.
    pub fn end<'a>(&self, site: &'a Site) -> &'a End {
        site.there().filter(|_| !self.near).unwrap_or(site.here())
    }

    /// Has it happen under a load at a constant rate, which `lasting` gives for a time, and waits for up to
    /// `max_recovery` for frames to come back. What the interface cannot do is the inner error.
    pub fn run(
        &self,
        stop: &AtomicBool,
        lasting: impl FnOnce(Duration) -> LoadRequest,
        site: &Site,
        max_recovery: Duration,
        observer: &mut dyn LoadObserver,
    ) -> Result<(Finding, Result<Happened>)> {
        let live = Live::new(stop);
        let mut load = lasting(LEAD_MAX + HOLD + TAIL + 2 * max_recovery);
        let numbers =
            TraceSpec { arrivals_max: ARRIVALS_MAX, numbers: true, ..TraceSpec::default() };
        (load.spec.stop, load.spec.interval) = (Arc::clone(&live.ends), REPORT_EVERY);
        load.spec.trace = numbers;
        thread::scope(|scope| {
            let actor = scope.spawn(|| {
                let end = self.end(site);
                let happened = self.happen(end, &live, max_recovery);
                let near = std::ptr::eq(end, site.here());
                let happened = happened.map(|happened| Happened { near, ..happened });
                live.ends.store(true, Ordering::Relaxed);
                happened
            });
            let loaded = site.load(&load, &mut Watched { observer, live: &live });
            live.ends.store(true, Ordering::Relaxed);
            let happened = actor.join().unwrap_or_else(|panic| resume_unwind(panic));
            Ok((loaded?, happened))
        })
    }

    fn happen(&self, end: &End, live: &Live<'_>, longest: Duration) -> Result<Happened> {
        let name = &end.link.name;
        let (links, ethtool) = end.inside(|| Ok((Links::open()?, Ethtool::open()?)))?;
        let scene = Scene { end, links, ethtool };
        let settings = || end.inside(|| Settings::of(name));
        let before = settings()?;
        live.flow(LEAD, LEAD_MAX);
        let (applied, apply) = end.inside(|| Ok(timed(|| (self.apply)(&scene))))?;
        let changed = settings()?;
        let (held, refusal) = match applied {
            Ok(None) if changed == before => (None, Some(unchanged(name))),
            Ok(held) => (held, None),
            Err(error) => (None, Some(error)),
        };
        match (&refusal, self.expected) {
            (Some(_), _) => {}
            (None, Expected::Silence) => live.wait(HOLD),
            (None, Expected::NoLoss | Expected::Interruption) => live.flow(HOLD, longest),
        }
        // What a refused event did all the same is undone as well.
        let put_back = || {
            drop(held);
            before.put_back_from(&changed);
        };
        let ((), undo) = end.inside(|| Ok(timed(put_back)))?;
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        live.flow(TAIL, longest);
        let end_ns = monotonic_ns();
        let changed = changed.since(&before);
        // What the kernel made of its own accord of a link that came up is not the event's: it works out anew
        // which features the link can have, beside an XDP program at the other end for example.
        let toggles_features = self.name == PhaseName::Offloads;
        let left = || -> Result<Vec<Change>> {
            let now = settings()?;
            let is_ours = |left: &Change| {
                let is_feature = [&before, &now].iter().any(|one| one.has_feature(&left.setting));
                let is_changed = changed.iter().any(|change| change.setting == left.setting);
                is_changed && (toggles_features || !is_feature)
            };
            Ok(now.since(&before).into_iter().filter(is_ours).collect())
        };
        if !left()?.is_empty() {
            end.inside(|| {
                before.put_back();
                Ok(())
            })?;
        }
        let left = left()?;
        Ok(Happened { near: false, apply, undo, end_ns, changed, left })
    }
}

fn unchanged(name: &str) -> Error {
    let error = io::Error::from_raw_os_error(EOPNOTSUPP);
    failed(format!("change {name}"), &error, "the driver leaves everything as it is")
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Step) {
    let begin_ns = monotonic_ns();
    let done = work();
    (done, Step { begin_ns, end_ns: monotonic_ns() })
}

/// How the load goes.
struct Live<'a> {
    /// The test shall stop.
    stop: &'a AtomicBool,
    /// The load shall stop, or has.
    ends: Arc<AtomicBool>,
    sent: AtomicU64,
    intact: AtomicU64,
}

impl Live<'_> {
    fn new(stop: &AtomicBool) -> Live<'_> {
        Live { stop, ends: Arc::default(), sent: AtomicU64::new(0), intact: AtomicU64::new(0) }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.ends.load(Ordering::Relaxed)
    }

    fn wait(&self, time: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < time && !self.is_over() {
            sleep(LOOK_EVERY);
        }
    }

    /// Waits until frames come back steadily and `least` is over, at most for `longest`.
    fn flow(&self, least: Duration, longest: Duration) {
        let counts = || [&self.sent, &self.intact].map(|count| count.load(Ordering::Relaxed));
        let begin = Instant::now();
        while begin.elapsed() < longest && !self.is_over() {
            let before = counts();
            self.wait(Duration::from_nanos(STEADY_NS));
            let now = counts();
            let (sent, intact) = (now[0] - before[0], now[1] - before[1]);
            if sent > 0 && intact as f64 >= STEADY_SHARE * sent as f64 && begin.elapsed() >= least {
                return;
            }
        }
    }
}

/// Tells an event how its load goes.
struct Watched<'a, 'b> {
    observer: &'a mut dyn LoadObserver,
    live: &'a Live<'b>,
}

impl LoadObserver for Watched<'_, '_> {
    fn progress(&mut self, progress: &Progress, taken: &Taken) {
        self.live.sent.store(progress.sent, Ordering::Relaxed);
        self.live.intact.store(progress.tally.intact, Ordering::Relaxed);
        self.observer.progress(progress, taken);
    }
}

/// What an event did to the frames.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct EventFinding {
    /// What may become of them.
    pub expected: Expected,
    /// Which settings were changed.
    pub changed: Vec<Change>,
    /// Which of them could not be put back.
    pub left: Vec<Change>,
    /// What the change did; `None` where no frames are expected until it is undone.
    pub apply: Option<Recovery>,
    /// What undoing it did; with all that the change did where that is `None`.
    pub undo: Recovery,
    /// Frames that did not come back intact at other times.
    pub lost_otherwise: u64,
}

impl EventFinding {
    /// What `happened` did to the frames of a load.
    pub fn of(event: &Event, happened: Happened, outcome: &LoadOutcome) -> EventFinding {
        let Happened { near, apply, undo, end_ns, changed, left } = happened;
        let Trace { numbers, arrivals_ns, .. } = &outcome.trace;
        let pps = outcome.asked.map_or(1.0, |asked| asked.as_f64());
        let all = numbers.iter().zip(arrivals_ns).map(|(&(number, sent_ns), &came_ns)| Echo {
            number,
            sent_ns: if near { 0 } else { sent_ns },
            came_ns,
        });
        let echoes = Echoes::new(all.collect(), outcome.sent, pps, end_ns);
        let (apply, undo) = match event.expected {
            Expected::Silence => (None, echoes.recovery(&[apply, undo], end_ns)),
            _ => {
                let apply = echoes.recovery(&[apply], undo.begin_ns);
                (Some(apply), echoes.recovery(&[undo], end_ns))
            }
        };
        let lost = undo.lost + apply.map_or(0, |apply| apply.lost);
        let lost_otherwise = echoes.missing().saturating_sub(lost);
        let expected = event.expected;
        EventFinding { expected, changed, left, apply, undo, lost_otherwise }
    }

    /// Both steps, as far as frames were to flow after them.
    pub fn steps(&self) -> impl Iterator<Item = (&'static str, &Recovery)> {
        self.apply.iter().map(|apply| ("the change", apply)).chain([("its end", &self.undo)])
    }
}
