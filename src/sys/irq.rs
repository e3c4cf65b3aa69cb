//! The interrupts of a device: which there are, which queue each serves, where they go, and putting them on CPUs.
//!
//! `root` is where `/proc` and `/sys` are: empty, except in tests.

use std::collections::BTreeMap;
use std::fs::{File, read_dir};
use std::sync::Arc;
use std::time::Duration;

use super::failure::failed;
use super::privilege::is_root;
use super::reading::{Reading, Unreadable, setting, text_of};
use super::runner::{Restored, Runner, RunnerPlan};
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::units::parse_cpu_list;

/// An interrupt of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Interrupt {
    /// Its number, as in `/proc/interrupts`.
    pub number: u32,
    /// What the driver calls it, as in `eth1-TxRx-0`; empty where nobody says.
    pub name: String,
    /// The queue that it serves, as far as its name says; both directions have a count of their own.
    pub queue: Option<u32>,
    /// Whether it serves a queue that receives.
    pub receives: bool,
    /// The CPUs that may take it.
    pub allowed: Vec<usize>,
    /// Those that do, where the kernel tells.
    pub cpus: Vec<usize>,
}

/// The interrupts of the device at a place on the PCI bus, as in `0000:03:00.0`.
pub fn interrupts(root: &str, bus_place: &str) -> Reading<Vec<Interrupt>> {
    if bus_place.is_empty() {
        return Ok(Vec::new());
    }
    let device = format!("{root}/sys/bus/pci/devices/{bus_place}");
    let folder = format!("{device}/msi_irqs");
    let mut numbers: Vec<u32> = match read_dir(&folder) {
        Ok(files) => {
            files.flatten().filter_map(|one| one.file_name().to_str()?.parse().ok()).collect()
        }
        // Without messages it has one line, or none (0).
        Err(error) => {
            let line = setting(&device, "irq")?.ok_or_else(|| Unreadable::of(&folder, &error))?;
            line.parse().ok().filter(|number| *number != 0).into_iter().collect()
        }
    };
    numbers.sort_unstable();
    let names = names(&text_of(&format!("{root}/proc/interrupts")).unwrap_or_default());
    let interrupt = |number: &u32| {
        let folder = format!("{root}/proc/irq/{number}");
        let list = |text: &str| parse_cpu_list(text).unwrap_or_default();
        let allowed = list(&text_of(&format!("{folder}/smp_affinity_list"))?);
        let cpus = list(&setting(&folder, "effective_affinity_list")?.unwrap_or_default());
        let name = names.get(number).cloned().unwrap_or_default();
        let (queue, receives) = queue_of(&name);
        // One for all queues has no number.
        let queue = queue.or((numbers.len() == 1).then_some(0));
        let receives = receives || numbers.len() == 1;
        let cpus = if cpus.is_empty() { allowed.clone() } else { cpus };
        Ok(Interrupt { number: *number, name, queue, receives, allowed, cpus })
    };
    numbers.iter().map(interrupt).collect()
}

/// The last word of each line: ` 30:  0  512  PCI-MSIX-0000:03:00.0  1-edge  eth1-TxRx-0`.
fn names(table: &str) -> BTreeMap<u32, String> {
    let line = |line: &str| {
        let (number, rest) = line.trim().split_once(':')?;
        Some((number.parse().ok()?, rest.split_whitespace().last()?.to_owned()))
    };
    table.lines().filter_map(line).collect()
}

/// The queue that an interrupt serves, and whether it receives: `eth1-TxRx-0` (igb, ixgbe, ice), `eth1-rx-0`
/// (e1000e), `virtio0-input.0`, `mlx5_comp0@pci:0000:03:00.0`, `ena-Tx-Rx-0`.
fn queue_of(name: &str) -> (Option<u32>, bool) {
    let name = name.split('@').next().unwrap_or_default().to_lowercase();
    let words = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let has = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    let receives = has(&["rx", "input", "comp", "-fp-"]);
    let sends = has(&["tx", "output"]);
    (name[words.len()..].parse().ok().filter(|_| receives || sends), receives)
}

/// The CPU of each receive queue's interrupt.
pub fn cpus_of_queues(interrupts: &[Interrupt]) -> BTreeMap<u32, usize> {
    let of_queue =
        |one: &Interrupt| Some((one.queue.filter(|_| one.receives)?, *one.cpus.first()?));
    interrupts.iter().filter_map(of_queue).collect()
}

/// `0: CPU 1, 1: CPU 0`, queue by queue; the number of interrupts where no name tells of one.
pub fn describe(interrupts: &[Interrupt]) -> String {
    let queues = cpus_of_queues(interrupts);
    let one = |(queue, cpu): (&u32, &usize)| format!("{queue} on CPU {cpu}");
    match queues.is_empty() {
        true => format!("{} interrupts, of no queue by name", interrupts.len()),
        false => {
            let all: Vec<String> = queues.iter().map(one).collect();
            format!("interrupts of receive queues: {}", all.join(", "))
        }
    }
}

/// Interrupts that stay where they are put as long as this lives, and go back then, however the program ends.
#[derive(Debug)]
pub struct IrqPin {
    root: String,
    interrupts: Vec<Interrupt>,
    runner: Runner,
}

impl IrqPin {
    /// Makes ready to put the interrupts of the device `name`, at `bus_place`, on CPUs: starts the process that
    /// does so and puts them back. Call it while there is one thread and the rights are there.
    pub fn begin(root: &str, name: &str, bus_place: &str) -> Result<IrqPin> {
        let denied = |what: String, error: &std::io::Error| {
            failed(what, error, "--irq pin changes /proc/irq: run it as root (sudo linerate …)")
        };
        if root.is_empty() && !is_root() {
            let error = std::io::Error::from_raw_os_error(libc::EPERM);
            return Err(denied(format!("put the interrupts of {name} on CPUs"), &error));
        }
        let interrupts = interrupts(root, bus_place)
            .map_err(|why| Error::Run(format!("--irq pin: interrupts of {name}: {why}")))?;
        let interrupts: Vec<_> = interrupts.into_iter().filter(|one| one.queue.is_some()).collect();
        if interrupts.is_empty() {
            return Err(Error::Usage(format!(
                "--irq pin: no interrupt of {name} serves a queue (a virtual interface has none)"
            )));
        }
        if let Some(process) = irqbalance(root) {
            return Err(Error::Run(format!(
                "--irq pin: irqbalance (process {process}) would move the interrupts again: stop it \
                 (sudo systemctl stop irqbalance), or leave them (--irq keep)"
            )));
        }
        let files: Vec<String> = interrupts.iter().map(|one| file(root, one.number)).collect();
        for file in &files {
            let opened = File::options().write(true).open(file);
            opened.map_err(|error| denied(format!("open {file}"), &error))?;
        }
        let runner = Runner::start(&RunnerPlan {
            places: Vec::new(),
            before: vec![Settings::of_files(&files)],
            restore: None,
            limit: Duration::ZERO,
            stop: Arc::default(),
        })?;
        Ok(IrqPin { root: root.into(), interrupts, runner })
    }

    /// Puts the interrupt of queue `q` on the CPU of the worker that serves it: the `q`-th of `cpus`, round and
    /// round. Says where they are.
    pub fn put(&mut self, cpus: &[usize]) -> Result<String> {
        for one in &mut self.interrupts {
            let cpu = cpus[one.queue.unwrap_or(0) as usize % cpus.len()];
            let file = file(&self.root, one.number);
            let done = self.runner.write(&file, &cpu.to_string());
            done.map_err(|error| {
                Error::Run(format!(
                    "interrupt {} ({}) stays where it is: {error}\n  the kernel manages some by itself: \
                     then use --irq follow",
                    one.number, one.name
                ))
            })?;
            (one.allowed, one.cpus) = (vec![cpu], vec![cpu]);
        }
        Ok(describe(&self.interrupts))
    }

    /// Puts them back, and says what could not be.
    pub fn end(&mut self) -> Restored {
        self.runner.finish()
    }
}

fn file(root: &str, number: u32) -> String {
    format!("{root}/proc/irq/{number}/smp_affinity_list")
}

/// The process that spreads interrupts over CPUs, if it runs.
fn irqbalance(root: &str) -> Option<u32> {
    let processes = read_dir(format!("{root}/proc")).into_iter().flatten().flatten();
    let mut numbers =
        processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    numbers.find(|process| {
        text_of(&format!("{root}/proc/{process}/comm")).is_ok_and(|name| name == "irqbalance")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A device with an interrupt for each of two queues, and one of its own.
    fn tree(name: &str) -> String {
        let root = std::env::temp_dir().join(format!("linerate-irq-{name}-{}", std::process::id()));
        let root = root.to_str().unwrap().to_owned();
        let _ = fs::remove_dir_all(&root);
        let put = |file: &str, text: &str| {
            let file = std::path::Path::new(&root).join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        put("proc/7/comm", "bash\n");
        let table = "           CPU0       CPU1\n 30:   0   512  PCI-MSIX-0000:03:00.0  0-edge  eth1\n \
                     31:   4   0  PCI-MSIX-0000:03:00.0  1-edge  eth1-TxRx-0\n \
                     32:   0   9  PCI-MSIX-0000:03:00.0  2-edge  eth1-TxRx-1\nNMI:  1  1  Non-maskable interrupts\n";
        put("proc/interrupts", table);
        for (number, allowed, effective) in [(30, "0-3", "2"), (31, "0-3", "1"), (32, "0", "")] {
            put(&format!("sys/bus/pci/devices/0000:03:00.0/msi_irqs/{number}"), "msix\n");
            put(&format!("proc/irq/{number}/smp_affinity_list"), &format!("{allowed}\n"));
            put(&format!("proc/irq/{number}/effective_affinity_list"), &format!("{effective}\n"));
        }
        root
    }

    #[test]
    fn interrupts_have_names_queues_and_cpus() {
        let root = tree("read");
        let all = interrupts(&root, "0000:03:00.0").unwrap();
        let seen: Vec<_> = all.iter().map(|one| (one.number, one.queue, &one.cpus[..])).collect();
        assert_eq!(seen, [(30, None, &[2][..]), (31, Some(0), &[1]), (32, Some(1), &[0])]);
        assert_eq!((all[1].name.as_str(), &all[1].allowed[..]), ("eth1-TxRx-0", &[0, 1, 2, 3][..]));
        assert_eq!(cpus_of_queues(&all), BTreeMap::from([(0, 1), (1, 0)]));
        assert_eq!(describe(&all), "interrupts of receive queues: 0 on CPU 1, 1 on CPU 0");
        // A device without messages.
        fs::remove_dir_all(format!("{root}/sys/bus/pci/devices/0000:03:00.0/msi_irqs")).unwrap();
        fs::write(format!("{root}/sys/bus/pci/devices/0000:03:00.0/irq"), "30\n").unwrap();
        let line = interrupts(&root, "0000:03:00.0").unwrap();
        assert_eq!((line.len(), line[0].queue, line[0].receives), (1, Some(0), true));
        fs::write(format!("{root}/sys/bus/pci/devices/0000:03:00.0/irq"), "0\n").unwrap();
        assert_eq!(interrupts(&root, "0000:03:00.0"), Ok(Vec::new()));
        assert!(interrupts(&root, "0000:04:00.0").is_err());
        assert_eq!(interrupts("", ""), Ok(Vec::new()));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn drivers_name_queues_each_in_their_way() {
        for (name, queue, receives) in [
            ("eth1-TxRx-3", Some(3), true),
            ("iavf-eth1-TxRx-3", Some(3), true),
            ("eth1-rx-0", Some(0), true),
            ("eth1-tx-0", Some(0), false),
            ("eth1-rxtx-7", Some(7), true),
            ("ena-Tx-Rx-2", Some(2), true),
            ("virtio0-input.1", Some(1), true),
            ("virtio0-output.1", Some(1), false),
            ("virtio0-config", None, false),
            ("mlx5_comp12@pci:0000:03:00.0", Some(12), true),
            ("mlx5_async0@pci:0000:03:00.0", None, false),
            ("eth1", None, false),
            ("", None, false),
        ] {
            assert_eq!(queue_of(name), (queue, receives), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_pinned_is_refused() {
        let root = tree("refuse");
        let refuse = |root: &str, place| IrqPin::begin(root, "eth1", place).unwrap_err();
        assert_eq!(refuse(&root, "").exit_code(), 2);
        fs::create_dir(format!("{root}/proc/42")).unwrap();
        fs::write(format!("{root}/proc/42/comm"), "irqbalance\n").unwrap();
        let balanced = refuse(&root, "0000:03:00.0");
        assert!(balanced.to_string().contains("irqbalance (process 42)"), "{balanced}");
        if !is_root() {
            assert_eq!(refuse("", "0000:03:00.0").exit_code(), 77);
        }
        fs::remove_dir_all(root).unwrap();
    }
}
