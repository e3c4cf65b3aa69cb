//! What only files tell of an interface: RPS, XPS, and how its NAPI polls.

use std::fs::read_dir;

use super::link::Link;
use super::reading::{Reading, Unreadable, setting, text_of};

/// How the kernel receives from an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reception {
    /// Receive queues whose frames the kernel spreads over CPUs by itself (RPS), with the mask of these.
    pub rps: Vec<(String, String)>,
    /// Transmit queues that the kernel chooses by the sending CPU (XPS), with the mask of these.
    pub xps: Vec<(String, String)>,
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
        let (mut rps, mut xps) = (Vec::new(), Vec::new());
        for queue in names {
            let receives = queue.starts_with("rx-");
            let file = if receives { "rps_cpus" } else { "xps_cpus" };
            // Of an interface with one queue, the kernel does not tell.
            let mask = setting(&format!("{queues}/{queue}"), file);
            let mask = if receives { mask? } else { mask.unwrap_or_default() };
            let mask = mask.unwrap_or_default();
            if mask.chars().any(|digit| !['0', ','].contains(&digit)) {
                if receives { &mut rps } else { &mut xps }.push((queue, mask));
            }
        }
        rps.sort();
        Ok(Reception {
            rps,
            xps,
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
}
