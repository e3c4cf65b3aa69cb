//! Which CPUs the workers take first.

use crate::error::{Error, Result};
use crate::sys::irq::{Interrupt, cpus_of_queues};
use crate::sys::numa::NumaNode;
use crate::sys::reading::Reading;

/// The CPUs of `node` first, each part in its order: a worker beyond them is better off alone on a
/// distant CPU than as the second on a near one. Also what there is to say of it to the user of
/// `interface`.
///
/// The rings follow: each worker makes its own once it is pinned, and the kernel takes their memory
/// from the node of the CPU that asks (`alloc_one_pg_vec_page`).
pub fn nearest_first(
    interface: &str,
    node: &NumaNode,
    cpus: Vec<usize>,
) -> (Vec<usize>, Option<String>) {
    let (mut near, far): (Vec<usize>, Vec<usize>) =
        cpus.into_iter().partition(|cpu| node.cpus.contains(cpu));
    let number = node.number;
    let note = match (near.len(), far.len()) {
        (_, 0) => None,
        (0, _) => Some(format!(
            "WARNING: {interface} is on NUMA node {number}, and this process may use none of its CPUs"
        )),
        (count, _) => Some(format!(
            "{interface} is on NUMA node {number}: workers take its CPUs first ({count} available)"
        )),
    };
    near.extend(far);
    (near, note)
}

/// The CPU of each worker where it is that of the interrupt of its receive queue.
pub fn following(
    interface: &str,
    interrupts: &Reading<Vec<Interrupt>>,
    workers: usize,
) -> Result<Vec<usize>> {
    let refuse = |why: String| {
        Err(Error::Usage(format!("--irq follow: {why}: leave it out, or name --cpus")))
    };
    let queues = match interrupts {
        Ok(all) => cpus_of_queues(all),
        Err(why) => return refuse(format!("interrupts of {interface}: {why}")),
    };
    match (0..workers as u32).map(|queue| queues.get(&queue).copied()).collect::<Option<Vec<_>>>() {
        Some(cpus) => Ok(cpus),
        None => refuse(format!(
            "{workers} workers, and {} receive queues of {interface} have an interrupt by name",
            queues.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_follow_the_interrupts_of_their_queues() {
        let of_queue = |queue: u32, cpu| Interrupt {
            queue: Some(queue),
            receives: true,
            cpus: vec![cpu],
            ..Interrupt::default()
        };
        let all = Ok(vec![of_queue(1, 5), of_queue(0, 3), Interrupt::default()]);
        assert_eq!(following("eth1", &all, 2).unwrap(), [3, 5]);
        assert_eq!(following("eth1", &all, 1).unwrap(), [3]);
        let error = following("eth1", &all, 3).unwrap_err();
        assert!(
            error.exit_code() == 2 && error.to_string().contains("2 receive queues"),
            "{error}"
        );
        assert!(following("veth0", &Ok(Vec::new()), 1).is_err());
    }

    #[test]
    fn near_cpus_come_first_and_far_ones_are_kept() {
        let node = NumaNode { number: 1, cpus: vec![2, 3, 6, 7] };
        let (cpus, note) = nearest_first("eth1", &node, (0..6).collect());
        assert_eq!(cpus, [2, 3, 0, 1, 4, 5]);
        let note = note.unwrap();
        assert!(note.contains("eth1") && note.contains("node 1") && note.contains("2 available"));
    }

    #[test]
    fn nothing_is_said_where_there_is_no_choice() {
        let node = NumaNode { number: 0, cpus: vec![0, 1, 2, 3] };
        assert_eq!(nearest_first("eth1", &node, vec![1, 3]), (vec![1, 3], None));
        let far = nearest_first("eth1", &node, vec![4, 5]);
        assert!(far.1.is_some_and(|note| note.starts_with("WARNING")));
        assert_eq!(far.0, [4, 5]);
    }
}
