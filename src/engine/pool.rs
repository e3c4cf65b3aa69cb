//! A pool of pinned workers on one interface: started together, watched, merged, stopped.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::config::{EngineConfig, PathName};
use super::control::Control;
use super::guard::refuse_unsafe_interface;
use super::placement::{following, nearest_first};
use super::start::{Starter, Worker};
use super::turn::LatencyMode;
use super::wait::SharedGaps;
use super::worker::Snapshot;
use crate::error::Result;
use crate::stats::counters::EngineCounters;
use crate::stats::latency::Latency;
use crate::sys::clock::ThreadCpuClock;
use crate::sys::cpus::choose_cpus;
use crate::sys::ethtool_statistics::{DriverStatistics, QueueFrames};
use crate::sys::failure::errno;
use crate::sys::irq::{self, Interrupt, interrupts};
use crate::sys::link::{Link, LinkEvent, LinkWatch, Links};
use crate::sys::numa::NumaNode;
use crate::sys::offload::Ethtool;
use crate::sys::queues::Steering;
use crate::sys::reading::Unreadable;
use crate::sys::silent_port::SilentPort;
use crate::sys::thread_stat::ThreadNumber;

/// What happened while the engine ran.
#[derive(Debug)]
pub enum EngineEvent {
    /// A worker reported.
    Snapshot,
    /// The link went down.
    LinkDown,
    /// The link is up again.
    LinkUp {
        /// How long it was down, as far as the engine saw.
        after: Duration,
    },
    /// The interface's MTU changed.
    MtuChanged {
        /// The new one.
        mtu: u32,
    },
    /// The interface's own address changed.
    AddressChanged {
        /// The new one.
        mac: [u8; 6],
    },
    /// The interface was deleted or moved away; the workers end, since no socket follows it (LINK-4).
    InterfaceGone,
    /// Workers have ended: the frame limit was reached, or something failed.
    Ended,
}

/// What an engine did, when it is over.
#[derive(Debug, Default)]
pub struct EngineSummary {
    /// Sums over the workers.
    pub counters: EngineCounters,
    /// Each worker's own counts.
    pub workers: Vec<EngineCounters>,
    /// The CPU that each worker is pinned to.
    pub cpus: Vec<usize>,
    /// How frames came to the receive queues, as at the start.
    pub steering: Steering,
    /// The device's interrupts, as at the start.
    pub interrupts: Vec<Interrupt>,
    /// The receive queues of each worker, where these decide who gets a frame.
    pub queues: Option<Vec<Vec<u32>>>,
    /// What the interface's driver counted of each queue meanwhile, others' frames too.
    pub queue_frames: Vec<QueueFrames>,
    /// All latencies; `None` if they were not measured.
    pub latency: Option<Latency>,
    /// Times that the link went down.
    pub link_downs: u64,
    /// Whether the interface went away under the engine.
    pub interface_gone: bool,
    /// Why workers ended early, in sentences.
    pub failures: Vec<String>,
    /// From the start to the end of service.
    pub duration: Duration,
}

/// A worker's thread, for who looks at what was taken from it.
#[derive(Clone, Debug)]
pub struct WorkerThread {
    /// Its number in `/proc`.
    pub number: ThreadNumber,
    /// The CPU that it is pinned to.
    pub cpu: usize,
    /// The times at which it polled and its CPU was taken away; `None` if it only ever sleeps.
    pub gaps: Option<Arc<SharedGaps>>,
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    link: Link,
    path: PathName,
    notes: Vec<String>,
    control: Arc<Control>,
    workers: Vec<Worker>,
    /// What is known so far; a worker's counts are of its last snapshot.
    so_far: EngineSummary,
    /// Asks in the interface's namespace, for what the driver had counted at the start.
    driver: (Ethtool, DriverStatistics),
    snapshots: Receiver<Snapshot>,
    interval_latency: Option<Latency>,
    watch: LinkWatch,
    links: Links,
    down_since: Option<Instant>,
    started: Instant,
    _silent_port: Option<SilentPort>,
}

/// Snapshots that may wait for the reader: a few intervals of many workers.
const SNAPSHOTS_WAITING: usize = 64;
impl Engine {
    /// Starts the workers; when it returns they are bound and serve.
    ///
    /// With `--fallback` in mind: an error of the ring set-up leaves nothing behind, so that the
    /// caller may start again with another path.
    pub fn start(config: &EngineConfig) -> Result<Engine> {
        match &config.namespace {
            // Sockets belong to the namespace of the thread that opens them (NS-2).
            Some(namespace) => namespace.run(|| Engine::start_here(config))?,
            None => Engine::start_here(config),
        }
    }

    fn start_here(config: &EngineConfig) -> Result<Engine> {
        // Sockets do not tell that a link comes up (LINK-2). The watch first, so that no change between
        // reading the link and watching it is missed.
        let watch = LinkWatch::open()?;
        let links = Links::open()?;
        let link = links.by_name(&config.interface)?;
        refuse_unsafe_interface(&links, &link, config.force)?;
        let cpus = choose_cpus(&config.cpus)?;
        let node = (config.numa && config.cpus.is_empty())
            .then(|| NumaNode::of_interface(&link.name))
            .flatten();
        let interrupts = Ethtool::open()?
            .driver(&link.name)
            .map_err(|error| Unreadable::of("driver", &error))
            .and_then(|driver| interrupts("", &driver.bus_place));
        let (cpus, placement) = match node {
            _ if config.follow_interrupts => {
                (following(&link.name, &interrupts, config.workers)?, None)
            }
            Some(node) => nearest_first(&link.name, &node, cpus),
            None => (cpus, None),
        };
        // A stack with an address would answer datagrams with "port unreachable" (UDP-1).
        let silent_port = match config.udp_port {
            Some(port) if !links.addresses(link.index)?.is_empty() => {
                Some(SilentPort::hold(&link.name, port)?)
            }
            _ => None,
        };
        let control = Arc::new(Control::new(link.mtu as usize, link.mac, config.frame_limit));
        let (snapshot_sender, snapshots) = bounded(SNAPSHOTS_WAITING);
        let starter = Starter {
            config,
            link: &link,
            control: Arc::clone(&control),
            snapshots: snapshot_sender,
        };
        let steering = Steering::of(&link)?;
        let ethtool = Ethtool::open()?;
        let counted = ethtool.statistics(&link.name).unwrap_or_default();
        let driver = (ethtool, counted);
        let (workers, mut notes) = starter.start_all(&cpus, &steering)?;
        notes.extend(placement);
        let interrupts = interrupts.unwrap_or_default();
        notes.extend(interrupts.first().map(|_| irq::describe(&interrupts)));
        control.set_wakers(workers.iter().map(|worker| worker.waker.clone()).collect());
        let count = workers.len();
        let queues_of = |worker| config.queues_of(worker, steering.queues.receive);
        let so_far = EngineSummary {
            workers: vec![EngineCounters::default(); count],
            cpus: cpus.into_iter().cycle().take(count).collect(),
            queues: config.is_by_queue().then(|| (0..count).map(queues_of).collect()),
            steering,
            interrupts,
            latency: (config.latency != LatencyMode::Off).then(Latency::default),
            ..EngineSummary::default()
        };
        let mut engine = Engine {
            interval_latency: so_far.latency.is_some().then(Latency::default),
            so_far,
            driver,
            path: config.path,
            notes,
            control,
            workers,
            snapshots,
            watch,
            down_since: (!link.running).then(Instant::now),
            started: Instant::now(),
            _silent_port: silent_port,
            links,
            link,
        };
        engine.outlast_reset()?;
        Ok(engine)
    }

    /// Attaching or detaching an XDP program has some NICs reset their link (XDP-13). Waits for it, unless
    /// it was down before, and takes the outage for no event.
    fn outlast_reset(&mut self) -> Result<()> {
        if self.path.needs_xdp_program() && self.down_since.is_none() && !self.so_far.interface_gone
        {
            // An interface that has gone is for the watch to tell.
            let _ = self.links.wait_for_carrier(self.link.index);
            self.watch_link(&mut Vec::new())?;
            self.so_far.link_downs = 0;
        }
        Ok(())
    }

    /// The interface served, as it was at the start.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// How frames come to its receive queues, as at the start.
    pub fn steering(&self) -> &Steering {
        &self.so_far.steering
    }

    /// The path served.
    pub fn path(&self) -> PathName {
        self.path
    }

    /// What the engine is made of, in sentences for the user.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Counts of all workers as of their last snapshots.
    pub fn counters(&self) -> EngineCounters {
        total(&self.so_far.workers)
    }

    /// The latencies that came in since the last call; `None` if they are not measured.
    pub fn take_interval_latency(&mut self) -> Option<Latency> {
        let fresh = self.interval_latency.is_some().then(Latency::default);
        std::mem::replace(&mut self.interval_latency, fresh)
    }

    /// CPU time of all workers so far, user and kernel, in nanoseconds; see
    /// [`ThreadCpuClock`] for what the kernel counts as theirs.
    pub fn cpu_ns(&self) -> u64 {
        self.cpu_clocks().into_iter().filter_map(ThreadCpuClock::read_ns).sum()
    }

    /// The CPU clock of each worker.
    pub fn cpu_clocks(&self) -> Vec<ThreadCpuClock> {
        self.workers.iter().map(|worker| worker.cpu_clock).collect()
    }

    /// Whether a worker has ended by itself; [`Engine::stop`] says why.
    pub fn has_ended(&self) -> bool {
        self.workers.iter().any(|worker| worker.thread.is_finished())
    }

    /// The workers' threads.
    pub fn threads(&self) -> Vec<WorkerThread> {
        let thread = |(worker, &cpu): (&Worker, _)| WorkerThread {
            number: worker.number,
            cpu,
            gaps: worker.gaps.clone(),
        };
        self.workers.iter().zip(&self.so_far.cpus).map(thread).collect()
    }

    /// Parks the workers: nothing is taken from the rings until [`Engine::resume`].
    pub fn pause(&self) {
        self.control.pause(self.workers.len());
    }

    /// Lets parked workers go on.
    pub fn resume(&self) {
        self.control.resume();
    }

    /// Waits until something happens, at most `timeout`, and says what; looks after the link.
    pub fn poll(&mut self, timeout: Duration) -> Result<Vec<EngineEvent>> {
        let mut events = Vec::new();
        match self.snapshots.recv_timeout(timeout) {
            Ok(snapshot) => {
                self.absorb(snapshot);
                events.push(EngineEvent::Snapshot);
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Every worker has dropped its sender.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(timeout.min(POLL_MIN)),
        }
        self.watch_link(&mut events)?;
        // One worker that fails ends them all: its share of the frames would be lost unseen.
        if self.has_ended() {
            self.control.stop();
            events.push(EngineEvent::Ended);
        }
        Ok(events)
    }

    /// Ends the service and adds everything up.
    pub fn stop(mut self) -> EngineSummary {
        self.control.stop();
        let summary = &mut self.so_far;
        summary.duration = self.started.elapsed();
        for worker in std::mem::take(&mut self.workers).into_iter().enumerate() {
            let (number, Worker { thread, .. }) = worker;
            match thread.join() {
                Ok(report) => {
                    summary.workers[number] = report.counters;
                    if let (Some(sum), Some(last)) = (&mut summary.latency, &report.latency) {
                        sum.merge(last);
                    }
                    summary.failures.extend(report.error.map(|error| {
                        let cause = errno(error.raw_os_error().unwrap_or(0));
                        format!("worker {number} ended early: {cause}")
                    }));
                }
                Err(_) => {
                    let panic = format!("worker {number} panicked: please report it");
                    summary.failures.push(panic);
                }
            }
        }
        while let Ok(snapshot) = self.snapshots.try_recv() {
            if let (Some(sum), Some(latency)) = (&mut summary.latency, &snapshot.latency) {
                sum.merge(latency);
            }
        }
        let (ethtool, before) = &self.driver;
        let counted = ethtool.statistics(&self.link.name).unwrap_or_default().since(before);
        summary.queue_frames = counted.by_queue();
        summary.counters = total(&summary.workers);
        if summary.failures.is_empty() {
            summary.counters.assert_conserved(0);
        }
        let link_downs = summary.link_downs;
        // Whoever uses the interface next finds it as it was; what the watch cannot tell matters no more.
        let _ = self.outlast_reset();
        EngineSummary { link_downs, ..std::mem::take(&mut self.so_far) }
    }

    fn absorb(&mut self, snapshot: Snapshot) {
        let Snapshot { worker, counters, latency } = snapshot;
        self.so_far.workers[worker] = counters;
        if let Some(mut full) = latency {
            self.so_far.latency.iter_mut().for_each(|sum| sum.merge(&full));
            self.interval_latency.iter_mut().for_each(|sum| sum.merge(&full));
            full.reset();
            // Refused only when the worker has ended.
            let _ = self.workers[worker].empty.try_send(full);
        }
    }

    fn watch_link(&mut self, events: &mut Vec<EngineEvent>) -> Result<()> {
        for event in self.watch.drain()? {
            match event {
                LinkEvent::Changed(link) if link.index == self.link.index => {
                    self.follow(&link, events);
                }
                LinkEvent::Deleted { index } if index == self.link.index => {
                    self.so_far.interface_gone = true;
                    self.control.stop();
                    events.push(EngineEvent::InterfaceGone);
                }
                LinkEvent::Changed(_) | LinkEvent::Deleted { .. } => {}
            }
        }
        Ok(())
    }

    fn follow(&mut self, link: &Link, events: &mut Vec<EngineEvent>) {
        if link.mtu as usize != self.control.mtu() {
            self.control.set_mtu(link.mtu as usize);
            events.push(EngineEvent::MtuChanged { mtu: link.mtu });
        }
        if link.mac != self.control.mac() {
            self.control.set_mac(link.mac);
            events.push(EngineEvent::AddressChanged { mac: link.mac });
        }
        match (self.down_since, link.running) {
            (None, false) => {
                self.down_since = Some(Instant::now());
                self.so_far.link_downs += 1;
                events.push(EngineEvent::LinkDown);
            }
            (Some(since), true) => {
                self.down_since = None;
                events.push(EngineEvent::LinkUp { after: since.elapsed() });
            }
            (None, true) | (Some(_), false) => {}
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.control.stop();
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so on its own.
            let _ = worker.thread.join();
        }
    }
}

const POLL_MIN: Duration = Duration::from_millis(10);

fn total(workers: &[EngineCounters]) -> EngineCounters {
    workers.iter().fold(EngineCounters::default(), |mut sum, counters| {
        sum += counters;
        sum
    })
}
