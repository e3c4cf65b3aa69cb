//! Offloads and speed by ethtool.

use libtest_mimic::Failed;
use linerate::sys::link::Links;
use linerate::sys::offload::{Ethtool, Offloads};
use linerate::sys::queues::Queues;

use crate::check::{Test, test};
use crate::links::pair_with_mtu;

pub fn tests() -> Vec<Test> {
    vec![
        test("offloads: are read, switched off and on again", switching),
        test("offloads: without checksums there is no segmentation", dependence),
        test("offloads: an unknown interface is an error that says so", unknown),
        test("offloads: speed of veth is 10 Gb/s, of loopback nothing", speed),
        test("offloads: queues in use are told, or those that there are", queues),
    ]
}

const ALL: Offloads = Offloads {
    transmit_checksum: true,
    tcp_segmentation: true,
    generic_segmentation: true,
    generic_receive: true,
};

fn switching() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    pair.near_namespace.run(|| -> Result<(), Failed> {
        let ethtool = Ethtool::open()?;
        let fresh = ethtool.offloads("near0")?;
        assert!(fresh.transmit_checksum && fresh.tcp_segmentation, "{fresh:?}");
        assert_eq!(ethtool.set_offloads("near0", Offloads::default())?, Offloads::default());
        assert_eq!(ethtool.offloads("near0")?, Offloads::default());
        assert_eq!(ethtool.set_offloads("near0", ALL)?, ALL);
        Ok(())
    })??;
    Ok(())
}

fn dependence() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    pair.near_namespace.run(|| -> Result<(), Failed> {
        let ethtool = Ethtool::open()?;
        let wanted = Offloads { transmit_checksum: false, ..ALL };
        let reached = ethtool.set_offloads("near0", wanted)?;
        assert!(!reached.transmit_checksum && !reached.tcp_segmentation, "{reached:?}");
        Ok(())
    })??;
    Ok(())
}

fn unknown() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    pair.near_namespace.run(|| -> Result<(), Failed> {
        let ethtool = Ethtool::open()?;
        for name in ["far0", "", "a-name-that-is-longer-than-sixteen-bytes"] {
            let error = ethtool.offloads(name).err().ok_or("offloads of nothing")?;
            assert!(error.to_string().contains("ENODEV"), "{error}");
            assert!(ethtool.megabits_per_second(name).is_err());
        }
        Ok(())
    })??;
    Ok(())
}

fn speed() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    pair.near_namespace.run(|| -> Result<(), Failed> {
        let ethtool = Ethtool::open()?;
        assert_eq!(ethtool.megabits_per_second("near0")?, Some(10_000));
        assert_eq!(ethtool.megabits_per_second("lo")?, None);
        Ok(())
    })??;
    Ok(())
}

fn queues() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    pair.near_namespace.run(|| -> Result<(), Failed> {
        let ethtool = Ethtool::open()?;
        assert_eq!(ethtool.queues(&pair.near)?, Queues { receive: 3, transmit: 2 });
        // Loopback does not tell.
        let loopback = Links::open()?.by_name("lo")?;
        assert_eq!(ethtool.queues(&loopback)?, Queues { receive: 1, transmit: 1 });
        assert!(ethtool.queues(&pair.far).is_err(), "it is in another namespace");
        Ok(())
    })??;
    Ok(())
}
