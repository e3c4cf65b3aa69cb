//! Options of `load` and `stress` for the two ends of a load.

use std::net::IpAddr;
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::choices::choice;
use super::user::UserArgs;
use super::values::{CpuList, interface_name, queues};
use crate::bench::contestant::Contestant;
use crate::bench::loading::{LoadRequest, Reach, Target};
use crate::engine::config::PathName;
use crate::error::{Error, Result};
use crate::load::plan::{LoadSpec, SENDERS_MAX};
use crate::load::run::Threads;
use crate::load::rx::RxChoice;
use crate::load::tx::TxChoice;
use crate::units::parse_duration;
use crate::wire::ethernet::EtherType;
use crate::wire::probe::Expectation;

/// Both ends of a load.
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("where").required(true).multiple(true).args(["interface", "lab", "to"])),
    group(ArgGroup::new("device").multiple(true).args(["to", "dut_interface"])),
)]
pub struct TargetArgs {
    /// Interface to send from [default: the zone in --to]
    #[arg(short, long, alias = "dev", value_name = "NAME", requires = "device", conflicts_with = "lab", value_parser = interface_name())]
    interface: Option<String>,

    /// Use a veth testbed made for this run, with our engine at its other end: a path or a profile,
    /// such as ring-v2, ring-v2@spin or latency
    #[arg(long, value_name = "ENGINE", num_args = 0..=1, default_missing_value = "ring-v2")]
    lab: Option<Contestant>,

    /// The reflector: a MAC, or an IP address and UDP port (192.0.2.7:7777, [2001:db8::2]:7777,
    /// [fe80::2%eth1]:7777)
    #[arg(long, value_name = "MAC|IP:PORT", conflicts_with = "lab")]
    to: Option<Target>,

    /// Interface of this machine that receives the frames; its counters are shown too. Without --to
    /// our engine answers there
    #[arg(long, value_name = "NAME", conflicts_with = "lab", value_parser = interface_name())]
    dut_interface: Option<String>,

    /// Path or profile of our engine on --dut-interface, as for --lab [default: ring-v2]
    #[arg(long, value_name = "ENGINE", requires = "dut_interface", conflicts_with_all = ["to", "lab"])]
    path: Option<Contestant>,

    /// EtherType of plain frames; with 0x88f7 they are PTP Sync messages, and the probe follows
    /// [default: 0x88b5]
    #[arg(long, value_name = "TYPE")]
    ethertype: Option<EtherType>,

    /// Seed of random sizes, payloads and Poisson gaps
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Longest wait for the last echoes
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_duration)]
    pub(super) drain: Duration,

    /// CPUs of the senders, the receiver and our engine, in this order. A thread that sends and
    /// receives takes one CPU [default: the first allowed CPUs]
    #[arg(long, value_name = "LIST", value_parser = CpuList::parse)]
    cpus: Option<CpuList>,

    /// TX half: xsk, ring, mmsg, send, live [default: xsk for one sender over veth if it can be
    /// opened, else ring]
    #[arg(long, value_name = "HALF")]
    tx: Option<TxChoice>,

    /// Receive half: v3, v2, mmsg, or recv (without VLAN tags) [default: v3 for -r max, mmsg for
    /// load --stamps hardware, else v2]
    #[arg(long, value_name = "HALF")]
    rx: Option<RxChoice>,

    /// Bypass the queueing discipline; packet captures do not see such frames
    #[arg(long)]
    qdisc_bypass: bool,

    /// Expected payload of echoes; our engine follows it
    #[arg(long, value_parser = choice::<Expectation>(), default_value = "uppercase")]
    expect: Expectation,

    #[command(flatten)]
    pub(super) user: UserArgs,

    /// Allow lo and interfaces that are part of the way out of this host; have stress switch off one with
    /// routes
    #[arg(long, conflicts_with = "lab")]
    force: bool,
}

impl TargetArgs {
    /// The target: in the lab over `udp` (IPv6 if true), elsewhere from the address `from`.
    pub fn reach(&self, udp: Option<bool>, from: Option<IpAddr>) -> Result<Reach> {
        if let Some(engine) = self.lab {
            return Ok(Reach::Lab { engine, udp });
        }
        let zone = match &self.to {
            Some(Target::Port { zone, .. }) => zone.clone(),
            _ => None,
        };
        let interface =
            self.interface.clone().or(zone).ok_or_else(|| usage("name an --interface"))?;
        let target = match self.to.clone() {
            Some(Target::Port { address, zone, .. }) => Some(Target::Port { address, zone, from }),
            _ if from.is_some() => {
                return Err(usage(
                    "--from is for UDP: a station's MAC is reached from the interface's own",
                ));
            }
            station => station,
        };
        match (target, self.dut_interface.clone()) {
            (Some(target), device_interface) => {
                Ok(Reach::Device { interface, target, device_interface })
            }
            (None, Some(device_interface)) => {
                let engine = self.path.unwrap_or(Contestant::of(PathName::RING_V2));
                Ok(Reach::Cable { interface, device_interface, engine })
            }
            (None, None) => Err(usage("--interface needs --to or --dut-interface")),
        }
    }

    /// As many senders as the interface has transmit queues in use.
    pub fn transmit_queues(&self) -> Result<usize> {
        let interface = self.interface.as_deref().ok_or_else(|| {
            usage("--senders queues: a lab has as many queues as senders; give their number")
        })?;
        let queues = queues(interface, None)?;
        Ok((queues.transmit as usize).clamp(1, SENDERS_MAX))
    }

    /// The request for a load to `reach` by `threads`.
    pub fn request(&self, reach: Reach, threads: Threads) -> Result<LoadRequest> {
        if self.ethertype.is_some() && reach.is_udp() {
            return Err(usage(
                "--ethertype is for plain frames: the IP version sets the EtherType of UDP datagrams",
            ));
        }
        if let Some(tx @ (TxChoice::Xsk | TxChoice::Live)) = self.tx
            && self.qdisc_bypass
        {
            return Err(usage(format!(
                "--qdisc-bypass is for --tx ring, mmsg and send, while {tx} always sends past the \
                 queueing discipline",
            )));
        }
        let cpus = self.cpus.clone().map_or(Vec::new(), |list| list.0);
        let most = threads.count() + usize::from(reach.own_engine().is_some());
        if cpus.len() > most {
            return Err(usage(format!(
                "--cpus names {} CPUs, but the run has {most} threads: --senders N has N threads that \
                 send and one that receives",
                cpus.len(),
            )));
        }
        let base = LoadRequest::new(reach);
        let spec = LoadSpec {
            seed: self.seed,
            drain: self.drain,
            cpus,
            threads,
            tx: self.tx,
            rx: self.rx,
            qdisc_bypass: self.qdisc_bypass,
            expectation: self.expect,
            ..base.spec
        };
        Ok(LoadRequest {
            ether_type: self.ethertype.unwrap_or(EtherType::LOCAL_EXPERIMENTAL),
            spec,
            force: self.force,
            ..base
        })
    }
}

fn usage(text: impl Into<String>) -> Error {
    Error::Usage(text.into())
}
