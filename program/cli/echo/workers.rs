//! Options of `linerate echo` for the workers: number, CPUs and fanout.

use clap::{Args, ValueEnum};

use crate::cli::choices::choice;
use crate::cli::values::{Count, CpuList, queues};
use crate::engine::config::EngineConfig;
use crate::engine::names::PathName;
use crate::error::{Error, Result};
use crate::sys::irq::IrqPin;
use crate::sys::offload::Ethtool;
use crate::sys::packet::FanoutMode;
use crate::sys::queues::Queues;

/// The workers.
#[derive(Args, Debug)]
pub struct WorkerArgs {
    /// Number of workers; each is a pinned thread with its own sockets and rings. queues: one for
    /// each receive queue in use, which gets that queue's frames (--fanout qm)
    #[arg(short, long, value_name = "N|queues", default_value = "1", value_parser = Count::parse::<WORKERS_MAX>)]
    workers: Count,

    /// CPUs of the workers, in order: 0-3, 0,2,4-7 [default: all allowed CPUs]
    #[arg(long, value_name = "LIST", value_parser = CpuList::parse)]
    cpus: Option<CpuList>,

    /// auto: without --cpus, use the CPUs of the interface's NUMA node first
    #[arg(long, value_enum, value_name = "auto|off", default_value_t = NumaArg::Auto)]
    numa: NumaArg,

    /// keep: leave the NIC's interrupts. follow: worker i runs on the CPU of queue i's interrupt. pin: the
    /// interrupt of queue i goes to worker i's CPU, and back at the end, however that comes (root)
    #[arg(long, value_enum, value_name = "keep|follow|pin", default_value_t = IrqArg::Keep)]
    irq: IrqArg,

    /// How frames are distributed over workers [default: hash for IP; lb for other EtherTypes, which
    /// hash would send to one worker]
    #[arg(long, value_parser = choice::<FanoutMode>(), value_name = "MODE")]
    fanout: Option<FanoutMode>,

    /// rollover: if the chosen worker has no room, the frame goes to another worker
    #[arg(long, value_name = "rollover", value_parser = parse_flags)]
    fanout_flags: Option<FanoutFlags>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NumaArg {
    /// The interface's node first
    Auto,
    /// In numerical order
    Off,
}

/// The size of a fanout group.
const WORKERS_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum IrqArg {
    /// Interrupts and workers stay where they are
    Keep,
    /// Workers go to the interrupts
    Follow,
    /// Interrupts go to the workers
    Pin,
}

/// Only `rollover` so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FanoutFlags;

impl WorkerArgs {
    /// Writes the options into `config`.
    pub fn apply(&self, config: &mut EngineConfig) {
        if let Count::Number(number) = self.workers {
            config.workers = number;
        }
        config.cpus = self.cpus.clone().map_or(Vec::new(), |list| list.0);
        config.numa = self.numa == NumaArg::Auto;
        config.follow_interrupts = self.irq == IrqArg::Follow;
        config.fanout = self.fanout;
        config.rollover = self.fanout_flags.is_some();
    }

    /// Makes ready to pin interrupts, if that is asked for. Call it while there is one thread and the rights
    /// are there.
    pub fn pin_interrupts(&self, interface: &str) -> Result<Option<IrqPin>> {
        if self.irq != IrqArg::Pin {
            return Ok(None);
        }
        let driver = Ethtool::open()?.driver(interface).unwrap_or_default();
        IrqPin::begin("", interface, &driver.bus_place).map(Some)
    }

    /// Writes what follows from the interface into `config`.
    pub fn count_queues(&self, config: &mut EngineConfig) -> Result<()> {
        if self.workers != Count::Queues {
            return Ok(());
        }
        let Queues { receive, .. } = queues(&config.interface, config.namespace.as_ref())?;
        config.workers = (receive as usize).clamp(1, WORKERS_MAX);
        config.fanout.get_or_insert(FanoutMode::Queue);
        Ok(())
    }

    /// Refuses combinations that the named path cannot have. (An automatically chosen path never
    /// receives by AF_XDP.)
    pub fn check(&self, path: Option<PathName>) -> Result<()> {
        let rolls_over = self.fanout_flags.is_some();
        if self.irq == IrqArg::Follow && self.cpus.is_some() {
            return Err(Error::Usage(
                "--irq follow and --cpus both say where workers run: leave one out".into(),
            ));
        }
        if rolls_over && self.fanout == Some(FanoutMode::Rollover) {
            return Err(Error::Usage(
                "--fanout rollover does nothing but roll over: leave out --fanout-flags, or take it \
                 with another mode"
                    .into(),
            ));
        }
        if self.workers == Count::Number(1) && (rolls_over || self.fanout.is_some()) {
            return Err(Error::Usage(
                "--fanout is for several workers, and there is one: take more --workers, or leave it out"
                    .into(),
            ));
        }
        if let Some(path) = path
            && path.needs_xdp_program()
            && (rolls_over || self.fanout.is_some())
        {
            return Err(Error::Usage(format!(
                "--fanout is for packet sockets: on the path {path} each worker has a receive queue \
                 of the interface for itself"
            )));
        }
        Ok(())
    }
}

fn parse_flags(text: &str) -> std::result::Result<FanoutFlags, String> {
    match text {
        "rollover" | "roll" => Ok(FanoutFlags),
        // PACKET_FANOUT_FLAG_DEFRAG (ip_check_defrag).
        "defrag" => {
            Err("with it the kernel joins IP fragments before they are shared out: frames \
                         arrive other than they were sent, and longer than they could be sent back"
                .into())
        }
        _ => Err("the only flag is rollover".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        workers: WorkerArgs,
    }

    fn config(path: PathName, line: &str) -> Option<EngineConfig> {
        let words = Words::try_parse_from(format!("echo {line}").split_whitespace()).ok()?;
        let mut config = EngineConfig { path, ..EngineConfig::new("x") };
        words.workers.check(Some(path)).ok()?;
        words.workers.apply(&mut config);
        Some(config)
    }

    #[test]
    fn modes_and_flags_have_the_words_that_users_know() {
        for mode in ["hash", "lb", "cpu", "rnd", "rollover", "qm", "cbpf"] {
            let line = format!("-w 2 --fanout {mode}");
            let config = config(PathName::RING, &line).unwrap();
            assert_eq!(config.fanout().mode.name(), mode);
            assert!(!config.rollover && config.numa);
        }
        let flagged = config(PathName::RING, "-w 2 --fanout hash --fanout-flags roll").unwrap();
        assert!(flagged.fanout().rolls_over());
        assert!(!config(PathName::RING, "--numa off").unwrap().numa);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for bad in [
            "-w 0",
            "-w 257",
            "--cpus x",
            "--fanout ebpf",
            "--fanout-flags defrag",
            "--fanout rollover --fanout-flags rollover",
        ] {
            assert!(config(PathName::RING, bad).is_none(), "{bad}");
        }
        assert!(config(PathName::XDP, "-w 2 --fanout lb").is_none());
        assert!(config(PathName::XDP, "-w 2").is_some());
    }
}
