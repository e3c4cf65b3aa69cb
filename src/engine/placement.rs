//! Which CPUs the workers take first.

use crate::sys::numa::NumaNode;

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

#[cfg(test)]
mod tests {
    use super::*;

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
