//! A self-made testbed: two network namespaces joined by a veth pair, inside this process.
//!
//! ```text
//!  namespace of the generator                 namespace of the engine
//!  generator0  192.0.2.1  2001:db8::1  ═══ veth ═══  engine0  192.0.2.2  2001:db8::2
//! ```
//!
//! Nothing of it has a name on the machine or outlives the process: descriptors alone hold the
//! namespaces, so the kernel takes everything apart when the process ends, also by SIGKILL.
//! A veth pair is no NIC: it has no line rate and no hardware, and one end's transmission does the
//! other end's reception.

use std::io;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sys::failure::failed;
use crate::sys::link::{Links, VethPair};
use crate::sys::namespace::Namespace;
use crate::sys::offload::Ethtool;

mod plan;
mod side;

pub use plan::{Addresses, ENGINE, GENERATOR, PREFIX_LENGTH_IPV4, PREFIX_LENGTH_IPV6};
pub use side::Side;

/// How long a fresh veth pair may take to get its carrier. It takes milliseconds; a machine under
/// load may take longer.
const CARRIER_PATIENCE: Duration = Duration::from_secs(10);

/// What the testbed shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabConfig {
    /// The MTU of both ends in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Transmit and receive queues of each end.
    pub queues: u32,
    /// Whether the kernel's own sockets leave checksums to the "hardware", which a veth passes on
    /// undone: the engine then sees half-done checksums.
    pub checksum_offload: bool,
    /// Whether the kernel's own sockets send super-frames beyond the MTU. Needs `checksum_offload`.
    pub segmentation_offload: bool,
    /// Whether the ends have the addresses of [`GENERATOR`] and [`ENGINE`] and know each other's
    /// hardware address. Without, nothing but what is sent on purpose is ever on the link; with
    /// them each end's kernel sends two multicast listener reports (IPv6, 90 bytes) within the
    /// first second or so.
    pub addresses: bool,
    /// Whether the ends poll (NAPI), the generator's and the engine's: a veth does so with generic receive
    /// offload, and takes frames from BPF programs at its peer only then.
    pub polls: [bool; 2],
}

impl Default for LabConfig {
    /// Plain frames of up to 1514 bytes at the socket, one queue, no addresses.
    fn default() -> LabConfig {
        LabConfig {
            mtu: 1500,
            queues: 1,
            checksum_offload: false,
            segmentation_offload: false,
            addresses: false,
            polls: [false; 2],
        }
    }
}

/// Features that decide what a packet socket sees: with them a UDP frame over veth carries only half of its
/// checksum, and a TCP stream arrives as frames of up to 64 KiB. Segmentation needs checksums.
const CHECKSUMS: &[&str] = &["tx-checksum-ip-generic", "tx-checksum-sctp"];
const SEGMENTATION: &[&str] = &[
    "tx-tcp-segmentation",
    "tx-tcp-ecn-segmentation",
    "tx-tcp-mangleid-segmentation",
    "tx-tcp6-segmentation",
    "tx-generic-segmentation",
];
const RECEIVE: &[&str] = &["rx-gro"];

/// The testbed. It ends with the last descriptor in it: this value, clones of its namespaces and
/// sockets opened inside.
#[derive(Debug)]
pub struct Lab {
    /// Where frames are made, sent, received back and verified.
    pub generator: Side,
    /// Where the engine, the device under test, echoes them.
    pub engine: Side,
}

impl Lab {
    /// Makes the testbed, both ends up and with carrier. Needs the capabilities that
    /// [`crate::sys::privilege::ensure_namespaces_allowed`] provides when called first thing in
    /// `main`.
    pub fn create(config: &LabConfig) -> Result<Lab> {
        if config.segmentation_offload && !config.checksum_offload {
            return Err(Error::Usage(
                "segmentation offload needs checksum offload: the kernel allows it only so".into(),
            ));
        }
        let generator = Namespace::create()?;
        let engine = Namespace::create()?;
        let generator_links = Links::open_in(&generator)?;
        let engine_links = Links::open_in(&engine)?;
        let pair = VethPair {
            name: GENERATOR.interface.into(),
            peer_name: ENGINE.interface.into(),
            peer_namespace: engine.clone(),
            mac: Some(GENERATOR.mac),
            peer_mac: Some(ENGINE.mac),
            mtu: config.mtu,
            transmit_queues: config.queues,
            receive_queues: config.queues,
        };
        generator_links.create_veth_pair(&pair)?;
        let plans = config.addresses.then_some((&GENERATOR, &ENGINE));
        let mut lab = Lab {
            generator: Side::adopt(generator, generator_links, GENERATOR.interface, plans)?,
            engine: Side::adopt(
                engine,
                engine_links,
                ENGINE.interface,
                plans.map(|(generator, engine)| (engine, generator)),
            )?,
        };
        let sides = [&lab.generator, &lab.engine];
        for (side, polls) in sides.into_iter().zip(config.polls) {
            set_offloads(side, config, polls)?;
        }
        // An end that comes up says what it can do by what its peer is at that time.
        lab.generator.set_up(true)?;
        lab.engine.set_up(true)?;
        for side in [&mut lab.generator, &mut lab.engine] {
            side.wait_until_running(CARRIER_PATIENCE)?;
        }
        Ok(lab)
    }
}

fn set_offloads(side: &Side, config: &LabConfig, polls: bool) -> Result<()> {
    let name = side.link.name.as_str();
    let features = [
        (CHECKSUMS, config.checksum_offload),
        (SEGMENTATION, config.segmentation_offload),
        (RECEIVE, polls),
    ];
    let wanted =
        || features.into_iter().flat_map(|(all, on)| all.iter().map(move |one| (*one, on)));
    let refused = |error: io::Error| failed(format!("set the offloads of {name}"), &error, "");
    let reached = side.namespace.run(|| {
        let ethtool = Ethtool::open()?;
        let mut set = wanted().map(|(feature, on)| ethtool.set_feature(name, feature, on));
        set.try_for_each(|done| done).and_then(|()| ethtool.features(name)).map_err(refused)
    })??;
    match wanted().find(|(feature, on)| reached.contains(*feature) != *on) {
        None => Ok(()),
        Some((feature, on)) => Err(Error::Run(format!(
            "could not set the offloads of {name}: {feature} is not {}",
            if on { "on" } else { "off" }
        ))),
    }
}
