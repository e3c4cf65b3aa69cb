//! Offloads and speed by ethtool.

use std::io;

use libtest_mimic::Failed;
use linerate::sys::link::Links;
use linerate::sys::offload::Ethtool;
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

const CHECKSUMS: &str = "tx-checksum-ip-generic";
const SEGMENTATION: &str = "tx-tcp-segmentation";

fn switching() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    pair.near_namespace.run(|| -> Result<(), Failed> {
        let ethtool = Ethtool::open()?;
        let has = |feature: &str| -> io::Result<bool> {
            Ok(ethtool.features("near0")?.contains(feature))
        };
        for feature in [CHECKSUMS, SEGMENTATION, "tx-generic-segmentation"] {
            assert!(has(feature)?, "{feature}");
        }
        for feature in [SEGMENTATION, "tx-generic-segmentation", CHECKSUMS, "rx-gro"] {
            for on in [false, true, false] {
                ethtool.set_feature("near0", feature, on)?;
                assert_eq!(has(feature)?, on, "{feature}");
            }
        }
        Ok(())
    })??;
    Ok(())
}

fn dependence() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    pair.near_namespace.run(|| -> Result<(), Failed> {
        let ethtool = Ethtool::open()?;
        ethtool.set_feature("near0", CHECKSUMS, false)?;
        let reached = ethtool.features("near0")?;
        assert!(!reached.contains(CHECKSUMS) && !reached.contains(SEGMENTATION), "{reached:?}");
        Ok(())
    })??;
    Ok(())
}

fn unknown() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    pair.near_namespace.run(|| -> Result<(), Failed> {
        let ethtool = Ethtool::open()?;
        for name in ["far0", "", "a-name-that-is-longer-than-sixteen-bytes"] {
            let error = ethtool.features(name).err().ok_or("features of nothing")?;
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{error}");
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
