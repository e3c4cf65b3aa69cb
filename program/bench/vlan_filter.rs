//! Frames with a VLAN tag that an interface filters out before anybody counts them.

use std::collections::BTreeSet;

use super::testbed::End;
use crate::sys::link::{Link, Links};
use crate::sys::namespace::Namespace;
use crate::sys::offload::Ethtool;
use crate::wire::ethernet::{EtherType, VlanTag};

/// Why frames with these tags, outermost first, are lost at `end`, and what helps; `None` where they are not, or
/// nobody can tell.
pub fn hint(end: &End, tags: &[VlanTag]) -> Option<String> {
    let outer = *tags.first()?;
    let look = || {
        let links = Links::open().ok()?;
        // As it is now: somebody may have made it promiscuous.
        let link = links.by_index(end.link.index).ok()?;
        let features = Ethtool::open().ok()?.features(&link.name).ok()?;
        filtered(&link, &features, &links.list().ok()?, outer)
    };
    // To enter another namespace takes a privilege that this process may have given up.
    match Namespace::current() {
        Ok(here) if here == end.namespace => look(),
        _ => end.namespace.run(look).ok().flatten(),
    }
}

fn filtered(
    link: &Link,
    features: &BTreeSet<String>,
    all: &[Link],
    tag: VlanTag,
) -> Option<String> {
    let feature = match EtherType(tag.tpid) {
        EtherType::VLAN => "rx-vlan-filter",
        EtherType::QINQ => "rx-vlan-stag-filter",
        _ => return None,
    };
    let has_its_own = |one: &Link| one.vlan_over(link) == Some(tag.id());
    // A priority tag is of no VLAN, and passes.
    if tag.id() == 0
        || link.promiscuous
        || !features.contains(feature)
        || all.iter().any(has_its_own)
    {
        return None;
    }
    let (name, id) = (&link.name, tag.id());
    Some(format!(
        "{name} filters out frames of VLAN {id} ({feature} is on), because it has no VLAN interface of that id and \
         is not promiscuous: `ip link add link {name} name {name}.{id} type vlan id {id}` and `ip link set {name}.{id} \
         up`, or `ip link set {name} promisc on`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_named_unless_something_opens_it() {
        let nic = Link { index: 2, name: "eth1".into(), ..Link::default() };
        let on =
            |names: &[&str]| names.iter().map(|&name| name.into()).collect::<BTreeSet<String>>();
        let (customer, service) = (VlanTag::customer(100, 0), VlanTag::service(100, 0));
        let filter = on(&["rx-vlan-filter", "rx-vlan-hw-parse"]);
        let over = |index, id| Link {
            index: 7,
            joined_to: Some(index),
            vlan_id: Some(id),
            ..Link::default()
        };
        let others = [over(3, 100), over(2, 101)];
        let said = filtered(&nic, &filter, &others, customer).unwrap();
        for part in ["eth1", "VLAN 100", "rx-vlan-filter", "type vlan id 100", "promisc on"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(filtered(&nic, &filter, &[over(2, 100)], customer), None);
        assert_eq!(filtered(&nic, &filter, &others, VlanTag::customer(0, 7)), None);
        assert_eq!(filtered(&nic, &filter, &others, service), None);
        assert!(filtered(&nic, &on(&["rx-vlan-stag-filter"]), &others, service).is_some());
        assert_eq!(filtered(&nic, &on(&[]), &others, customer), None);
        let promiscuous = Link { promiscuous: true, ..nic };
        assert_eq!(filtered(&promiscuous, &filter, &others, customer), None);
    }
}
