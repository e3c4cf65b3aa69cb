//! What there is to know of a machine and an interface before anything is measured.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use super::look::{CpuLook, look};
use crate::engine::guard::refuse_unsafe_interface;
use crate::error::{Error, Result};
use crate::sys::clock::ClockSource;
use crate::sys::cpus::choose_cpus;
use crate::sys::ethtool_settings::{Coalescing, DeviceRings, Pause};
use crate::sys::host::Host;
use crate::sys::interface_files::Reception;
use crate::sys::irq::{Interrupt, interrupts};
use crate::sys::link::{ForeignProgram, Link, Links};
use crate::sys::netdev::XdpAbilities;
use crate::sys::numa::NumaNode;
use crate::sys::offload::{Driver, Ethtool};
use crate::sys::packet_sockets::ListedSocket;
use crate::sys::queues::Steering;
use crate::sys::reading::{Reading, Unreadable, text_of};
use crate::sys::rights::Rights;
use crate::sys::topology;

/// Everything that findings are made of.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Facts {
    /// The machine; results have it for themselves.
    #[serde(skip)]
    pub host: Host,
    /// How long the CPUs and the interface were looked at.
    #[serde(skip)]
    pub look: Duration,
    /// How it tells the time, measured.
    pub clock: ClockSource,
    /// What this process may do, tried.
    pub rights: Rights,
    /// The CPUs that it may use.
    pub allowed_cpus: Vec<usize>,
    /// Those that a measurement would use.
    pub cpus: Vec<CpuFacts>,
    /// CPUs that the scheduler leaves alone.
    pub isolated: Reading<Vec<usize>>,
    /// CPUs without a tick.
    pub tickless: Reading<Vec<usize>>,
    /// `net.core.busy_poll` and `net.core.busy_read`, in microseconds. They are the machine's, and not shown
    /// in other network namespaces.
    pub busy_poll_us: [Reading<String>; 2],
    /// The interface that was named.
    pub interface: Option<InterfaceFacts>,
}

/// A CPU that a measurement would use.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CpuFacts {
    /// Its number.
    pub cpu: usize,
    /// The threads of its core, itself included.
    pub siblings: Reading<Vec<usize>>,
    /// Who chooses its frequency; `None` where the kernel does not.
    pub governor: Reading<Option<String>>,
    /// What was taken from it.
    pub look: Reading<CpuLook>,
}

/// An interface.
#[derive(Clone, Debug, serde::Serialize)]
pub struct InterfaceFacts {
    /// As netlink has it; results have it for themselves.
    #[serde(skip)]
    pub link: Link,
    /// Why linerate does not use it without `--force`, if it does not.
    pub refused: Option<String>,
    /// Its driver.
    pub driver: Reading<Driver>,
    /// Its speed; `None` if it has none.
    pub megabits_per_second: Reading<Option<u32>>,
    /// Queues in use, and how flows come to those that receive.
    pub queues: Reading<Steering>,
    /// The device's rings.
    pub rings: Reading<Option<DeviceRings>>,
    /// When the device interrupts.
    pub coalescing: Reading<Option<Coalescing>>,
    /// Flow control.
    pub pause: Reading<Option<Pause>>,
    /// Features that are on.
    pub features: Reading<BTreeSet<String>>,
    /// The number of its clock.
    pub hardware_clock: Reading<Option<u32>>,
    /// What its driver can do with XDP.
    pub xdp: Reading<XdpAbilities>,
    /// The program that it has.
    pub program: Reading<Option<ForeignProgram>>,
    /// Its interrupts.
    pub interrupts: Reading<Vec<Interrupt>>,
    /// How the kernel receives from it.
    pub reception: Reading<Reception>,
    /// The CPUs that are near it; `None` where it is near none.
    pub near_cpus: Reading<Option<Vec<usize>>>,
    /// Packet sockets that see its frames.
    pub sockets: Reading<Vec<ListedSocket>>,
    /// Frames that it received and sent during the look.
    pub frames: Reading<[u64; 2]>,
}

impl Facts {
    /// Reads and tries everything; takes as long as the CPUs are looked at. `cpus` are those of generator and engine if the user
    /// chose them. `become_plain` gives up what only the trying takes. Call it while there is one thread.
    pub fn gather(
        host: Host,
        named: Option<(&Links, &Link)>,
        cpus: &[usize],
        lasting: Duration,
        become_plain: impl FnOnce() -> Result<()>,
    ) -> Result<Facts> {
        let rights = Rights::try_out();
        become_plain()?;
        let allowed_cpus = choose_cpus(&[])?;
        let chosen = if cpus.is_empty() { &allowed_cpus } else { cpus };
        let chosen: Vec<usize> = chosen.iter().copied().take(2).collect();
        let (looks, frames) = look(&chosen, named, lasting);
        if let Some(Err(why)) = looks.iter().find(|look| look.is_err() && !cpus.is_empty()) {
            return Err(Error::Usage(format!("--cpus: {why}")));
        }
        let cpu = |(cpu, look)| CpuFacts {
            cpu,
            siblings: topology::siblings(cpu),
            governor: topology::governor(cpu),
            look,
        };
        let poll = |name| text_of(&format!("/proc/sys/net/core/{name}"));
        let interface = match (named, frames) {
            (Some((links, link)), Some(frames)) => {
                Some(InterfaceFacts::gather(links, link, frames)?)
            }
            _ => None,
        };
        Ok(Facts {
            host,
            look: lasting,
            clock: ClockSource::measure(),
            rights,
            cpus: chosen.into_iter().zip(looks).map(cpu).collect(),
            allowed_cpus,
            isolated: topology::isolated(),
            tickless: topology::tickless(),
            busy_poll_us: [poll("busy_poll"), poll("busy_read")],
            interface,
        })
    }
}

impl InterfaceFacts {
    fn gather(links: &Links, link: &Link, frames: Reading<[u64; 2]>) -> Result<InterfaceFacts> {
        let ethtool = Ethtool::open()?;
        let name = &link.name;
        let driver = asked("driver", ethtool.driver(name));
        let sees =
            |all: Vec<ListedSocket>| all.into_iter().filter(|one| one.sees(link.index)).collect();
        let place = driver.as_ref().map(|driver| driver.bus_place.as_str()).map_err(Clone::clone);
        Ok(InterfaceFacts {
            link: link.clone(),
            refused: refuse_unsafe_interface(links, link, false).err().map(|why| why.to_string()),
            megabits_per_second: told(ethtool.megabits_per_second(name)),
            queues: told(Steering::of(link)),
            rings: asked("ring sizes", ethtool.rings(name)),
            coalescing: asked("coalescing", ethtool.coalescing(name)),
            pause: asked("pause frames", ethtool.pause(name)),
            features: asked("features", ethtool.features(name)),
            hardware_clock: asked("hardware clock", ethtool.hardware_clock(name)),
            xdp: XdpAbilities::of(link.index),
            program: told(links.xdp_program(link.index)),
            interrupts: place.clone().and_then(|place| interrupts("", place)),
            reception: Reception::of(link),
            near_cpus: place
                .and_then(|place| Ok(NumaNode::of_device(place)?.map(|node| node.cpus))),
            sockets: ListedSocket::list().map(sees),
            frames,
            driver: driver.clone(),
        })
    }
}

/// What the interface was asked for.
fn asked<T>(what: &str, answer: io::Result<T>) -> Reading<T> {
    answer.map_err(|error| Unreadable::of(what, &error))
}

fn told<T>(answer: Result<T>) -> Reading<T> {
    answer.map_err(|error| Unreadable::because(error.to_string()))
}
