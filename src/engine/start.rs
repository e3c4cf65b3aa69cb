//! Starting a pool's workers: each sets its path up in its own thread, pinned, and serves.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, bounded};

use super::config::EngineConfig;
use super::control::Control;
use super::hidden_tags;
use super::names::TxName;
use super::path::{Inlet, PathPlan, PreparedPath, bind, prepare};
use super::reply::ReplyRules;
use super::storm::StormGuard;
use super::turn::{LatencyMode, TurnState};
use super::wait::{SharedGaps, Wait, Waiting};
use super::worker::{Reporter, Snapshot, WorkerReport};
use crate::error::{Error, Result};
use crate::stats::counters::EngineCounters;
use crate::stats::latency::Latency;
use crate::sys::bpf::Redirect;
use crate::sys::bpf::select::Selection;
use crate::sys::clock::{SystemClock, ThreadCpuClock, monotonic_ns};
use crate::sys::cpus::pin;
use crate::sys::epoll::{Epoll, Waker};
use crate::sys::failure::{EINVAL, ENOSPC, failed};
use crate::sys::filter::{Instruction, nothing};
use crate::sys::link::Link;
use crate::sys::packet::{Fanout, PacketSocket, SocketType};
use crate::sys::privilege::drop_capabilities;
use crate::sys::queues::{Queues, Steering};
use crate::sys::thread_stat::ThreadNumber;
use crate::wire::ethernet::EtherType;

/// A running worker, as the pool holds it.
#[derive(Debug)]
pub(super) struct Worker {
    pub thread: JoinHandle<WorkerReport>,
    pub number: ThreadNumber,
    /// Of a worker that polls before it sleeps, or never sleeps.
    pub gaps: Option<Arc<SharedGaps>>,
    pub cpu_clock: ThreadCpuClock,
    pub waker: Waker,
    /// Emptied histograms go back to the worker through it.
    pub empty: Sender<Box<Latency>>,
}

/// What a worker's thread reports once it is ready to serve.
struct Ready {
    number: ThreadNumber,
    gaps: Arc<SharedGaps>,
    cpu_clock: ThreadCpuClock,
    waker: Waker,
    fanout_group: Option<u16>,
    notes: Vec<String>,
}

/// Histograms that go round between a worker and the reader, beside the one in use.
const SPARE_HISTOGRAMS: usize = 2;

/// Starts workers one after the other (the first one makes the fanout group that the others join).
pub(super) struct Starter<'a> {
    pub config: &'a EngineConfig,
    pub link: &'a Link,
    pub control: Arc<Control>,
    pub snapshots: Sender<Snapshot>,
}

/// The XDP program of a path that begins at one, attached before its workers start (XDP-8).
fn redirect(config: &EngineConfig, link: &Link) -> Result<Option<Arc<Redirect>>> {
    if !config.path.needs_xdp_program() {
        return Ok(None);
    }
    let types = &config.ether_types;
    if types.is_empty() {
        return Err(Error::Usage(format!(
            "the path {} redirects frames before the kernel's stack, so EtherTypes must be named: not \
             --ethertype all",
            config.path
        )));
    }
    // Of IP only the datagrams to our port are ours; the rest is the kernel's.
    let is_ours = |ether_type: &&EtherType| !(ether_type.is_ip() && config.udp_port.is_some());
    let selection = Selection {
        ether_types: types.iter().filter(is_ours).map(|ether_type| ether_type.0).collect(),
        udp_port: config.udp_port.filter(|_| types.iter().any(|ether_type| ether_type.is_ip())),
    };
    let redirect = Redirect::attach(link.index, config.workers as u32, &selection)?;
    Ok(Some(Arc::new(redirect)))
}

/// An AF_XDP socket has a queue for itself (XDP-5), so that many workers need that many queues. Returns what
/// there is to say of queues that no worker has, of workers without one, and of flows that meet few.
fn check_queues(config: &EngineConfig, link: &Link, steering: &Steering) -> Result<Vec<String>> {
    let path = config.path;
    let (workers, name) = (config.workers, &link.name);
    let Queues { receive, transmit } = steering.queues;
    let channels = |queues: usize| match link.is_veth() {
        true => format!("ethtool -L {name} rx {queues} tx {queues}"),
        false => format!("ethtool -L {name} combined {queues}"),
    };
    let used = [(path.needs_xdp_program(), receive), (path.tx == TxName::Xsk, transmit)];
    for (_, queues) in used.into_iter().filter(|(is_used, _)| *is_used) {
        if workers > queues as usize {
            return Err(Error::Usage(format!(
                "{workers} workers on the path {path}: each needs its own queue of {name}, which \
                 uses {queues}: use fewer --workers, or `{}`",
                channels(workers),
            )));
        }
    }
    let mut notes = Vec::new();
    if path.needs_xdp_program() && receive as usize > workers {
        notes.push(format!(
            "WARNING: {name} has {receive} receive queues, but {workers} with a worker: frames of the \
             others go to the kernel unanswered; use `{}` or more --workers",
            channels(workers),
        ));
    }
    if config.is_by_queue() && workers > receive as usize {
        notes.push(format!(
            "WARNING: {name} has {receive} receive queues for {workers} workers: those from {receive} on get \
             no frames; use `{}` or fewer --workers",
            channels(workers),
        ));
    }
    if let Some((what, fix)) = steering.idle_queues(name).filter(|_| workers > 1) {
        notes.push(format!("WARNING: {what}: `{fix}`"));
    }
    Ok(notes)
}

impl Starter<'_> {
    /// Starts all workers on `cpus` in turn; on an error none is left running.
    pub fn start_all(
        &self,
        cpus: &[usize],
        steering: &Steering,
    ) -> Result<(Vec<Worker>, Vec<String>)> {
        let queues = check_queues(self.config, self.link, steering)?;
        let redirect = redirect(self.config, self.link)?;
        let mut workers = Vec::new();
        let mut notes = self.config.reasons.clone();
        if let Some(redirect) = &redirect {
            let refusal = redirect.refusal().map(|why| format!(" (the driver refused: {why})"));
            let mode = redirect.mode().name();
            notes.push(format!("XDP program attached, mode {mode}{}", refusal.unwrap_or_default()));
            notes.extend(hidden_tags::check(self.config, self.link, redirect)?);
        }
        notes.extend(queues);
        notes.push(self.config.wait.note());
        if self.config.wait == Wait::Spin && self.config.workers > cpus.len() {
            notes.push(format!(
                "WARNING: {} workers poll on {} CPU{} and starve each other: use more --cpus or --wait epoll",
                self.config.workers,
                cpus.len(),
                if cpus.len() == 1 { "" } else { "s" },
            ));
        }
        let mut group = None;
        let count = self.config.workers;
        // A NIC's driver has frames of queue q go to the member behind the q-th (FAN-5): the last worker joins
        // first.
        let ahead = usize::from(self.config.is_shared_by_queue() && !self.link.is_veth());
        for number in (0..count).map(|turn| (turn + count - ahead) % count) {
            let cpu = cpus[number % cpus.len()];
            match self.start_one(number, cpu, group, redirect.clone()) {
                Ok((worker, ready)) => {
                    workers.push(worker);
                    group = ready.fanout_group;
                    notes.extend(ready.notes.into_iter().filter(|_| number == 0));
                }
                Err(error) => {
                    self.control.set_wakers(workers.iter().map(|w| w.waker.clone()).collect());
                    self.control.stop();
                    workers.into_iter().for_each(|worker| drop(worker.thread.join()));
                    return Err(error);
                }
            }
        }
        workers.rotate_left(ahead);
        Ok((workers, notes))
    }

    fn start_one(
        &self,
        number: usize,
        cpu: usize,
        group: Option<u16>,
        redirect: Option<Arc<Redirect>>,
    ) -> Result<(Worker, Ready)> {
        let (ready_sender, ready) = bounded(1);
        let (empty, empty_receiver) = bounded(SPARE_HISTOGRAMS);
        if self.config.latency != LatencyMode::Off {
            (0..SPARE_HISTOGRAMS).for_each(|_| drop(empty.try_send(Box::default())));
        }
        let mut reporter = Reporter {
            worker: number,
            interval: self.config.interval,
            snapshots: self.snapshots.clone(),
            empty: empty_receiver,
            spare: None,
        };
        let (config, link) = (self.config.clone(), self.link.clone());
        let plan = PathPlan { config, link, queue: number as u32 };
        let state = self.state();
        let wait = self.config.wait;
        let control = Arc::clone(&self.control);
        let thread = thread::Builder::new()
            .name(format!("linerate-{number}"))
            .spawn(move || {
                let set_up = pin(cpu)
                    .and_then(|()| set_up(plan, group, redirect.as_deref()))
                    // The socket is all that a worker needs from here on (NS-5).
                    .and_then(|made| drop_capabilities().map(|()| made));
                let SetUp { prepared, epoll, fanout_group, _membership } = match set_up {
                    Ok(set_up) => set_up,
                    Err(error) => {
                        let _ = ready_sender.send(Err(error));
                        return WorkerReport::empty();
                    }
                };
                let PreparedPath { run, notes, .. } = prepared;
                let cpu_clock = ThreadCpuClock::current();
                let waker = epoll.waker();
                let number = ThreadNumber::current();
                let waiting = Waiting::new(epoll, SystemClock, wait);
                let gaps = Arc::clone(&waiting.gaps);
                let ready = Ready { number, gaps, cpu_clock, waker, fanout_group, notes };
                let _ = ready_sender.send(Ok(ready));
                let _retirement = Retirement(&control);
                run(state, waiting, &control, &mut reporter)
            })
            .map_err(|error| failed("start a worker thread", &error, ""))?;
        let ready = ready.recv().map_err(|_| Error::Run(format!("worker {number} panicked")))??;
        let (waker, cpu_clock, number) = (ready.waker.clone(), ready.cpu_clock, ready.number);
        let gaps = (wait != Wait::Epoll).then(|| Arc::clone(&ready.gaps));
        Ok((Worker { thread, number, gaps, cpu_clock, waker, empty }, ready))
    }

    fn state(&self) -> TurnState {
        let config = self.config;
        let rules = ReplyRules {
            mac: self.link.mac,
            mtu: self.link.mtu as usize,
            ether_types: config.ether_types.clone(),
            link_layer: config.link_layer,
            udp_port: config.udp_port,
            transform: config.transform,
            promiscuous: config.promiscuous,
            echo_group: config.echo_group,
            echo_services: config.echo_services,
        };
        let storm = StormGuard::new(config.unchanged, config.per_peer, monotonic_ns());
        TurnState::new(rules, config.when_full, storm, config.latency)
    }
}

/// Retires a worker however it ends, also by a panic.
struct Retirement<'a>(&'a Control);

impl Drop for Retirement<'_> {
    fn drop(&mut self) {
        self.0.retire();
    }
}

/// A path that frames come into, and where its worker waits for them.
struct SetUp {
    prepared: PreparedPath,
    epoll: Epoll,
    fanout_group: Option<u16>,
    /// Keeps the interface promiscuous where the path has no packet socket that does.
    _membership: Option<PacketSocket>,
}

fn set_up(plan: PathPlan, group: Option<u16>, redirect: Option<&Redirect>) -> Result<SetUp> {
    let prepared = prepare(&plan)?;
    let watch = |socket: BorrowedFd<'_>| {
        Epoll::new(socket)
            .map_err(|error| failed("make an epoll instance", &error, "raise `ulimit -n`"))
    };
    match &prepared.inlet {
        Inlet::Packet { socket, filter } => {
            let epoll = watch(socket.as_fd())?;
            let fanout_group = let_in(socket, filter, &plan, group)?;
            Ok(SetUp { prepared, epoll, fanout_group, _membership: None })
        }
        Inlet::Xdp(socket) => {
            let epoll = watch(socket.as_fd())?;
            let _membership =
                plan.config.promiscuous.then(|| promiscuous(&plan.link)).transpose()?;
            redirect.expect("made before the workers").insert(plan.queue, socket)?;
            Ok(SetUp { prepared, epoll, fanout_group: None, _membership })
        }
    }
}

/// A packet socket that only has the interface take every frame on the wire.
fn promiscuous(link: &Link) -> Result<PacketSocket> {
    let socket = PacketSocket::open(SocketType::Raw)?;
    socket.join_promiscuous(link.index)?;
    Ok(socket)
}

/// Binds a packet socket: frames arrive from here on, shared by a fanout group if there is to be one.
fn let_in(
    socket: &PacketSocket,
    filter: &[Instruction],
    plan: &PathPlan,
    group: Option<u16>,
) -> Result<Option<u16>> {
    let Some(fanout) = plan.config.shared_by() else {
        bind(socket, plan)?;
        return socket.lock_filter().map(|()| None);
    };
    // Only a bound socket can join, and until it has joined it gets every frame, as the group
    // does (FAN-1): it takes none before.
    socket.attach_filter(&nothing())?;
    bind(socket, plan)?;
    let group = join_fanout(socket, fanout, group, &plan.link)?;
    socket.attach_filter(filter)?;
    socket.lock_filter()?;
    Ok(Some(group))
}

fn join_fanout(
    socket: &PacketSocket,
    fanout: Fanout,
    group: Option<u16>,
    link: &Link,
) -> Result<u16> {
    // The first member has the kernel allot an id, so that no other program's group is met.
    let joined = socket.join_fanout(group.unwrap_or(0), fanout, group.is_none());
    joined.and_then(|()| socket.fanout_id()).map_err(|error| {
        let advice = match error.raw_os_error() {
            Some(EINVAL) if !link.up => {
                "kernels before 6.13 let nobody join while the interface is down: set it up first"
            }
            Some(ENOSPC) => "a fanout group has at most 256 members: take fewer --workers",
            _ => "",
        };
        failed(
            format!("join a {} fanout group on {}", fanout.mode.name(), link.name),
            &error,
            advice,
        )
    })
}

impl WorkerReport {
    fn empty() -> WorkerReport {
        WorkerReport { counters: EngineCounters::default(), latency: None, error: None }
    }
}
