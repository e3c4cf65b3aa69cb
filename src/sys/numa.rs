//! Which NUMA node an interface is attached to.

use super::offload::Ethtool;
use super::reading::{Reading, setting};
use crate::units::parse_cpu_list;

/// A NUMA node and its CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumaNode {
    /// The number of the node, from 0.
    pub number: u32,
    /// The CPUs that are local to it.
    pub cpus: Vec<usize>,
}

impl NumaNode {
    /// The node of the interface `name`, which is looked for in the network namespace of the calling
    /// thread; `None` for virtual interfaces, and where the firmware names no node.
    ///
    /// The way goes by the device's place on the bus: `/sys/bus` is the same in every network
    /// namespace, while `/sys/class/net` shows the one of the mount.
    pub fn of_interface(name: &str) -> Option<NumaNode> {
        let place = Ethtool::open().ok()?.driver(name).ok()?.bus_place;
        NumaNode::of_device(&place).ok()?
    }

    /// The node of the device at a place on the PCI bus; `None` if it is on none, or the firmware names none.
    pub fn of_device(place: &str) -> Reading<Option<NumaNode>> {
        if place.is_empty() {
            return Ok(None);
        }
        let folder = format!("/sys/bus/pci/devices/{place}");
        let file = |file| Ok(setting(&folder, file)?.unwrap_or_default());
        Ok(NumaNode::from_files(&file("numa_node")?, &file("local_cpulist")?))
    }

    /// From what the kernel has in `numa_node` (-1 for none) and `local_cpulist`.
    fn from_files(number: &str, cpus: &str) -> Option<NumaNode> {
        let number = number.trim().parse().ok()?;
        let cpus = parse_cpu_list(cpus.trim()).ok()?;
        Some(NumaNode { number, cpus })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_number_and_cpus() {
        let node = NumaNode { number: 1, cpus: vec![8, 9, 24] };
        assert_eq!(NumaNode::from_files("1\n", "8-9,24\n"), Some(node));
        for (number, cpus) in [("-1\n", "0-7\n"), ("", "0"), ("0\n", "\n"), ("x", "0")] {
            assert_eq!(NumaNode::from_files(number, cpus), None, "{number:?} {cpus:?}");
        }
    }

    #[test]
    fn what_has_no_place_on_a_bus_has_no_node() {
        assert_eq!(NumaNode::of_interface("lo"), None);
        assert_eq!(NumaNode::of_device(""), Ok(None));
        assert!(NumaNode::of_device("ffff:ff:1f.7").is_err());
        assert_eq!(NumaNode::of_interface("no such one"), None);
    }
}
