//! What only files tell of an interface: its interrupts, RPS, and how its NAPI polls.

use std::fs::read_dir;

use super::link::Link;
use super::reading::{Reading, Unreadable, setting, text_of};
use crate::units::parse_cpu_list;

/// An interrupt of a device.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Interrupt {
    /// Its number, as in `/proc/interrupts`.
    pub number: u32,
    /// The CPUs that may take it.
    pub cpus: Vec<usize>,
}

/// The interrupts of the device at a place on the PCI bus, as in `0000:03:00.0`.
pub fn interrupts(bus_place: &str) -> Reading<Vec<Interrupt>> {
    if bus_place.is_empty() {
        return Ok(Vec::new());
    }
    let folder = format!("/sys/bus/pci/devices/{bus_place}/msi_irqs");
    let files = read_dir(&folder).map_err(|error| Unreadable::of(&folder, &error))?;
    let names = files.flatten().map(|file| file.file_name().to_string_lossy().into_owned());
    let mut numbers: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    let interrupt = |number| {
        let folder = format!("/proc/irq/{number}");
        // Where it goes now, which kernels tell that know; else where it may go.
        let list = match setting(&folder, "effective_affinity_list")? {
            Some(list) if !list.is_empty() => list,
            _ => text_of(&format!("{folder}/smp_affinity_list"))?,
        };
        Ok(Interrupt { number, cpus: parse_cpu_list(&list).unwrap_or_default() })
    };
    numbers.into_iter().map(interrupt).collect()
}

/// How the kernel receives from an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reception {
    /// Receive queues whose frames the kernel spreads over CPUs by itself (RPS), with the mask of these.
    pub rps: Vec<(String, String)>,
    /// For how many polls in a row without a frame interrupts stay off (`napi_defer_hard_irqs`).
    pub deferred_interrupts: Option<String>,
    /// How long frames may wait meanwhile, in nanoseconds (`gro_flush_timeout`).
    pub flush_timeout_ns: Option<String>,
    /// Whether a kernel thread polls (`threaded`).
    pub threaded: Option<String>,
}

impl Reception {
    /// Of an interface in the network namespace that `/sys` shows.
    pub fn of(link: &Link) -> Reading<Reception> {
        let folder = format!("/sys/class/net/{}", link.name);
        // The mount may be another namespace's (NS-3), with another interface of the same name.
        let mac = link.mac.map(|byte| format!("{byte:02x}")).join(":");
        let there =
            (text_of(&format!("{folder}/ifindex"))?, text_of(&format!("{folder}/address"))?);
        if there != (link.index.to_string(), mac) {
            return Err(Unreadable::because("/sys/class/net shows another network namespace"));
        }
        let queues = format!("{folder}/queues");
        let files = read_dir(&queues).map_err(|error| Unreadable::of(&queues, &error))?;
        let names = files.flatten().map(|file| file.file_name().to_string_lossy().into_owned());
        let mut rps = Vec::new();
        for queue in names.filter(|name| name.starts_with("rx-")) {
            let mask = setting(&format!("{queues}/{queue}"), "rps_cpus")?.unwrap_or_default();
            if mask.chars().any(|digit| !['0', ','].contains(&digit)) {
                rps.push((queue, mask));
            }
        }
        rps.sort();
        Ok(Reception {
            rps,
            deferred_interrupts: setting(&folder, "napi_defer_hard_irqs")?,
            flush_timeout_ns: setting(&folder, "gro_flush_timeout")?,
            threaded: setting(&folder, "threaded")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_namespaces_interface_is_not_taken_for_this_one() {
        let links = crate::sys::link::Links::open().unwrap();
        let loopback = links.by_name("lo").unwrap();
        assert!(Reception::of(&Link { index: 99_999, ..loopback.clone() }).is_err());
        assert!(Reception::of(&Link { mac: [2; 6], ..loopback }).is_err());
    }

    #[test]
    fn what_is_on_no_bus_has_no_interrupts() {
        assert_eq!(interrupts(""), Ok(Vec::new()));
        assert!(interrupts("ffff:ff:1f.7").is_err());
    }
}
