//! What `linerate echo` says: what it serves, a line an interval, and the summary.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::base::Base;
use super::queues;
use super::text::{self, grouped};
use crate::bench::account::Taken;
use crate::engine::config::{EngineConfig, PathName};
use crate::engine::edit::Transform;
use crate::engine::names::RxName;
use crate::engine::pool::{Engine, EngineEvent, EngineSummary};
use crate::engine::profile::Profile;
use crate::engine::turn::LatencyMode;
use crate::engine::wait::Wait;
use crate::error::{Error, Result};
use crate::stats::counters::EngineCounters;
use crate::stats::latency::{LADDER, Latency};
use crate::stats::state::State;
use crate::sys::packet::Fanout;
use crate::sys::privilege;
use crate::sys::runner::Restored;
use crate::units::{nanoseconds, rate};
use crate::wire::ethernet::MacAddress;

/// What `linerate echo` says.
#[derive(Debug)]
pub struct EchoReport {
    base: Base,
    quiet: bool,
    /// Counters at the last live line.
    shown: EngineCounters,
    shown_at: Instant,
    /// Workers that have reported since the last live line.
    reported: usize,
    /// Where interrupts were put.
    pinned: Option<String>,
    /// The path that was asked for, where another one serves in its place.
    instead_of: Option<PathName>,
}

impl EchoReport {
    /// Opens the outputs.
    pub fn open(json: Option<&Path>, quiet: bool) -> Result<EchoReport> {
        Ok(EchoReport {
            base: Base::open(json)?,
            quiet,
            shown: EngineCounters::default(),
            shown_at: Instant::now(),
            reported: 0,
            pinned: None,
            instead_of: None,
        })
    }

    /// Whether nobody reads the text any more.
    pub fn reader_gone(&self) -> bool {
        self.base.reader_gone()
    }

    /// The ring failed and the plain path takes over.
    pub fn fallback(&mut self, path: PathName, error: &Error) {
        self.instead_of = Some(path);
        self.base.say(format!(
            "WARNING: --path {path} is not possible here; using --path syscall: {error}"
        ));
    }

    /// The engine serves.
    pub fn start(&mut self, engine: &Engine, config: &EngineConfig) {
        let link = engine.link();
        let kind = link.kind.as_deref().map_or(String::new(), |kind| format!(" ({kind})"));
        self.base.say(format!(
            "linerate echo on {}{kind}, {}, MTU {}: path {}, {} worker{}",
            link.name,
            MacAddress(link.mac),
            link.mtu,
            engine.path(),
            config.workers,
            if config.workers == 1 { "" } else { "s" },
        ));
        self.base.say(format!("  runs as {}", privilege::describe()));
        self.base.say_forbidden();
        self.base.say(format!("  {}", what_is_echoed(config)));
        if let Some(Fanout { mode, rollover }) = config.shared_by() {
            let flag = if rollover { ", rollover where one has no room" } else { "" };
            self.base.say(format!("  workers share the frames by fanout {}{flag}", mode.name()));
        }
        if engine.steering().queues.receive > 1 || config.workers > 1 {
            self.base.say(format!("  queues: {}", engine.steering().words()));
        }
        for note in engine.notes() {
            self.base.say(format!("  {note}"));
        }
        if config.path.rx == RxName::Recv {
            self.base.say(
                "  recvfrom shows no tag, checksum state or kernel stamp: tagged frames are not \
                 answered, UDP checksums are always made anew",
            );
        }
        if config.latency != LatencyMode::Off {
            self.base.say(format!("  latency: {}", config.path.latency_definition()));
        }
        if config.transform == Transform::None {
            self.base
                .say("  --transform none changes no frame: all of them pass --echo-unchanged only");
        }
        if !link.running {
            self.base.say("  the link is down; service begins when it is up");
        }
        self.base.set_link(link);
        self.shown_at = Instant::now();
    }

    /// Interrupts were put on the workers' CPUs.
    pub fn pinned(&mut self, where_to: String) {
        self.base.say(format!("  --irq pin: {where_to}"));
        self.pinned = Some(where_to);
    }

    /// They were put back; whether some were not.
    pub fn restored(&mut self, restored: &Restored) -> bool {
        self.base.restored(restored)
    }

    /// What happened since the last look.
    pub fn events(&mut self, engine: &mut Engine, events: Vec<EngineEvent>, interval: Duration) {
        for event in events {
            match event {
                EngineEvent::Snapshot => self.reported += 1,
                EngineEvent::LinkDown => self.base.say("link down"),
                EngineEvent::LinkUp { after } => {
                    self.base.say(format!("link up again after {:.1} s", after.as_secs_f64()));
                }
                EngineEvent::MtuChanged { mtu } => self.base.say(format!("MTU is now {mtu}")),
                EngineEvent::AddressChanged { mac } => {
                    self.base.say(format!("hardware address is now {}", MacAddress(mac)));
                }
                EngineEvent::InterfaceGone => {
                    let name = &engine.link().name;
                    self.base.say(format!("{name} is gone (deleted or moved away): ending"));
                }
                EngineEvent::Ended => {}
            }
        }
        if !self.quiet && self.shown_at.elapsed() >= interval && self.reported > 0 {
            self.live_line(engine);
        }
    }

    fn live_line(&mut self, engine: &mut Engine) {
        let now = engine.counters();
        let seconds = self.shown_at.elapsed().as_secs_f64();
        let step = now - &self.shown;
        let mut line = format!(
            "in {:>11}  out {:>11}",
            rate(step.received as f64 / seconds),
            rate(step.forwarded as f64 / seconds),
        );
        if let Some(latency) = engine.take_interval_latency().filter(|l| l.count() > 0) {
            line += &format!(
                "  latency p50 {} p99 {} max {}",
                nanoseconds(latency.percentile(50.0)),
                nanoseconds(latency.percentile(99.0)),
                nanoseconds(latency.max()),
            );
        }
        let ring = Some(step.kernel.drops).filter(|drops| *drops > 0);
        let ring = ring.map(|drops| format!("no room in the receive ring {drops}"));
        let losses: Vec<String> = text::drops(&step.drops).into_iter().chain(ring).collect();
        if !losses.is_empty() {
            line += &format!("  dropped: {}", losses.join(", "));
        }
        self.base.say(line);
        self.shown = now;
        self.shown_at = Instant::now();
        self.reported = 0;
    }

    /// The end of the run.
    pub fn summary(
        &mut self,
        config: &EngineConfig,
        summary: &EngineSummary,
        taken: &Taken,
    ) -> Result<()> {
        let EngineSummary { counters, latency, duration, .. } = summary;
        let seconds = duration.as_secs_f64().max(f64::MIN_POSITIVE);
        self.base.say(format!(
            "\n{:.1} s: received {} ({}), forwarded {} ({}), dropped {}",
            seconds,
            grouped(counters.received),
            rate(counters.received as f64 / seconds),
            grouped(counters.forwarded),
            rate(counters.forwarded as f64 / seconds),
            grouped(counters.drops.total()),
        ));
        for (reason, count) in counters.drops.named() {
            self.base.say(format!("  {:<22} {:>14}", reason.name(), grouped(count)));
        }
        let kernel = &counters.kernel;
        let unread = kernel.packets.saturating_sub(kernel.drops + counters.received);
        let mut parts = vec![
            format!("kernel: {} for this socket", grouped(kernel.packets)),
            format!("{} dropped for want of room", grouped(kernel.drops)),
        ];
        if kernel.freezes > 0 {
            parts.push(format!("ring frozen {} times", kernel.freezes));
        }
        if unread > 0 {
            parts.push(format!("{} unread at the end", grouped(unread)));
        }
        self.base.say(parts.join(", "));
        if counters.send_refusals > 0 {
            self.base.say(format!("TX refused for the moment {} times", counters.send_refusals));
        }
        if summary.link_downs > 0 {
            self.base.say(format!("link down {} times", summary.link_downs));
        }
        if rolls_over(config) {
            let rollover = &kernel.rollover;
            self.base.say(format!(
                "rollover: {} found a worker with room ({} of them past a large flow), {} found none",
                grouped(rollover.all),
                grouped(rollover.huge),
                grouped(rollover.failed),
            ));
        }
        if summary.workers.len() > 1 {
            let header =
                ["worker", "CPU", "queues", "received", "forwarded", "dropped", "kernel drops"];
            let workers = summary.cpus.iter().zip(&summary.workers).enumerate();
            let rows = workers.map(|(number, (cpu, worker))| {
                [
                    number.to_string(),
                    cpu.to_string(),
                    summary
                        .queues
                        .as_ref()
                        .map_or("all".into(), |of| queues::numbers(of[number].iter().copied())),
                    grouped(worker.received),
                    grouped(worker.forwarded),
                    grouped(worker.drops.total()),
                    grouped(worker.kernel.drops),
                ]
            });
            self.base.table(header, rows);
        }
        self.base.queues(&config.interface, &summary.queue_frames);
        if let Some(latency) = latency.as_ref().filter(|latency| latency.count() > 0) {
            self.base.say(format!("latency, {}:", config.path.latency_definition()));
            self.base.say(ladder(latency));
        }
        if taken.state() != State::Clear {
            self.base.say(format!("DISTURBED: {taken}"));
        }
        for failure in &summary.failures {
            self.base.say(format!("ERROR: {failure}"));
        }
        let unexplained = counters.unexplained(0);
        if unexplained != 0 {
            self.base
                .say(format!("ERROR: {unexplained} frames are unaccounted for: please report it"));
        }
        self.write_json(config, summary, taken)
    }

    fn write_json(
        &mut self,
        config: &EngineConfig,
        summary: &EngineSummary,
        taken: &Taken,
    ) -> Result<()> {
        let counters = &summary.counters;
        let latency = summary.latency.as_ref().map(|latency| {
            json!({
                "definition": config.path.latency_definition(),
                "summary": latency.summary(),
                "mean": latency.summary().known().map(|_| latency.mean()),
                "saturated": latency.beyond(),
                "clock_ran_backwards": latency.backwards(),
            })
        });
        let workers: Vec<_> = summary
            .cpus
            .iter()
            .zip(&summary.workers)
            .enumerate()
            .map(|(number, (cpu, counters))| {
                let mut worker = counts(counters);
                worker["cpu"] = json!(cpu);
                worker["queues"] = json!(summary.queues.as_ref().map(|of| &of[number]));
                worker
            })
            .collect();
        let document = json!({
            "path": config.path,
            "fallback_from": self.instead_of,
            "profile": config.profile.map(Profile::name),
            "wait": wait(config.wait),
            "fanout": fanout(config),
            "duration_s": summary.duration.as_secs_f64(),
            "total": counts(counters),
            "workers": workers,
            "latency_ns": latency,
            "queues": queues::document(&summary.steering, &summary.queue_frames),
            "interrupts": summary.interrupts,
            "interrupts_pinned": self.pinned,
            "link_downs": summary.link_downs,
            "interface_gone": summary.interface_gone,
            "failures": summary.failures,
            "state": taken.state(),
            "taken": taken,
        });
        self.base.write("linerate.echo/1", &document)
    }
}

fn counts(counters: &EngineCounters) -> serde_json::Value {
    let mut counts = json!(counters);
    counts["unexplained"] = json!(counters.unexplained(0) as i64);
    counts
}

/// How several workers share the frames; null for one, and where receive queues do it.
fn fanout(config: &EngineConfig) -> Option<serde_json::Value> {
    let Fanout { mode, rollover } = config.shared_by()?;
    Some(json!({ "mode": mode.name(), "rollover": rollover }))
}

fn rolls_over(config: &EngineConfig) -> bool {
    config.shared_by().is_some_and(Fanout::rolls_over)
}

fn wait(wait: Wait) -> serde_json::Value {
    match wait {
        Wait::Epoll | Wait::Spin => json!({ "how": wait.name() }),
        Wait::Adaptive(spin) => json!({ "how": wait.name(), "spin_us": spin.as_micros() as u64 }),
    }
}

fn what_is_echoed(config: &EngineConfig) -> String {
    let types = if config.ether_types.is_empty() {
        "every EtherType".to_string()
    } else {
        let names: Vec<String> = config.ether_types.iter().map(ToString::to_string).collect();
        format!("EtherType {}", names.join(", "))
    };
    let behind = "payload behind the Ethernet header";
    let reply = match (config.udp_port, config.link_layer) {
        (Some(port), false) => format!("UDP port {port}"),
        (Some(port), true) => format!("UDP port {port} over IP, else {behind}"),
        (None, _) => behind.into(),
    };
    let transform = match config.transform {
        Transform::Uppercase => "in upper case",
        Transform::None => "unchanged",
    };
    format!("answers {types}: {reply}, {transform}")
}

/// The percentile ladder, a line each.
fn ladder(latency: &Latency) -> String {
    let mut lines: Vec<String> = LADDER
        .iter()
        .map(|&percentile| {
            format!("  p{percentile:<7} {:>10}", nanoseconds(latency.percentile(percentile)))
        })
        .collect();
    lines.push(format!("  {:<8} {:>10}", "max", nanoseconds(latency.max())));
    lines.extend(text::beyond(latency.beyond()));
    if latency.backwards() > 0 {
        let count = grouped(latency.backwards());
        lines.push(format!("  {count} ran backwards because the clock was set, counted as 1 ns"));
    }
    lines.join("\n")
}
