//! Where an experiment happens: the lab's veth pair, or two interfaces that a cable joins.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::engine::guard::refuse_unsafe_interface;
use crate::error::{Error, Result};
use crate::lab::{Lab, LabConfig};
use crate::load::plan::{LoadSpec, Sizes};
use crate::sys::link::{CARRIER_PATIENCE, Link, Links};
use crate::sys::namespace::Namespace;
use crate::units::{ETHERNET_HEADER_BYTES, FrameSize};
use crate::wire::ethernet::MacAddress;

/// One end of the testbed.
#[derive(Clone, Debug)]
pub struct End {
    /// The interface.
    pub link: Link,
    /// The network namespace that it is in.
    pub namespace: Namespace,
}

impl End {
    /// An interface of this namespace, to send from or to serve: an unsafe one is refused without
    /// `force`, and one without a link is.
    pub fn of(links: &Links, link: Link, force: bool) -> Result<End> {
        refuse_unsafe_interface(links, &link, force)?;
        let link = with_carrier(links, &link)?;
        Ok(End { link, namespace: Namespace::current()? })
    }

    /// Waits until frames can pass.
    pub fn wait_for_carrier(&self) -> Result<Link> {
        with_carrier(&self.inside(Links::open)?, &self.link)
    }

    /// Opens what sees the end's namespace for ever after, as sockets do. Entering the caller's own
    /// is not asked for, because that takes privilege.
    pub fn inside<T: Send>(&self, open: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match self.namespace == Namespace::current()? {
            true => open(),
            false => self.namespace.run(open)?,
        }
    }
}

fn with_carrier(links: &Links, link: &Link) -> Result<Link> {
    let link = links.wait_for_carrier(link.index)?;
    match link.running {
        true => Ok(link),
        false => Err(Error::Run(format!(
            "{0} has no link, for {CARRIER_PATIENCE:?} now: plug the cable in, or `ip link set {0} up`",
            link.name
        ))),
    }
}

/// Two ends between which frames go. Clones share a lab.
#[derive(Clone, Debug)]
pub struct Testbed {
    /// Where the generator sends from.
    pub generator: End,
    /// Where the engine serves.
    pub engine: End,
    /// Interfaces may be served although they look unsafe: the user said so, or nobody else sends in the lab.
    pub force: bool,
    lab: Option<Arc<Lab>>,
}

impl Testbed {
    /// A lab for frames of up to `largest`, with the rest as `config` says.
    pub fn lab_with(largest: FrameSize, config: LabConfig) -> Result<Testbed> {
        let mtu = (largest.socket_bytes() - ETHERNET_HEADER_BYTES).max(1500);
        let mtu = u32::try_from(mtu).ok().filter(|&mtu| mtu <= MTU_MAX).ok_or_else(|| {
            let most = MTU_MAX as usize + ETHERNET_HEADER_BYTES + crate::units::FCS_BYTES;
            Error::Usage(format!("{largest} bytes: a veth frame has at most {most}, FCS included"))
        })?;
        let lab = Lab::create(&LabConfig { mtu, ..config })?;
        let end = |side: &crate::lab::Side| End {
            link: side.link.clone(),
            namespace: side.namespace.clone(),
        };
        let (generator, engine) = (end(&lab.generator), end(&lab.engine));
        Ok(Testbed { generator, engine, force: true, lab: Some(Arc::new(lab)) })
    }

    /// Two interfaces of this machine that are cabled together.
    pub fn interfaces(generator: &str, engine: &str, force: bool) -> Result<Testbed> {
        let links = Links::open()?;
        let named = [links.by_name(generator), links.by_name(engine)];
        // An interface may have several names.
        if generator == engine || matches!(&named, [Ok(one), Ok(two)] if one.index == two.index) {
            return Err(Error::Usage(format!(
                "--interface and --dut-interface are both {generator}: two are needed, cabled \
                 together"
            )));
        }
        let [generator, engine] = named.map(|link| End::of(&links, link?, force));
        let (generator, engine) = (generator?, engine?);
        Ok(Testbed { generator, engine, force, lab: None })
    }

    /// Looks at both links again, after somebody changed what they are. Some drivers take theirs down
    /// meanwhile: waits until both are back.
    pub fn look_again(&mut self) -> Result<()> {
        for end in [&mut self.generator, &mut self.engine] {
            end.link = end.wait_for_carrier()?;
        }
        Ok(())
    }

    /// Waits until frames can pass at both ends: an engine's XDP program may have a NIC reset its link.
    pub fn wait_for_carrier(&self) -> Result<()> {
        [&self.generator, &self.engine]
            .into_iter()
            .try_for_each(|end| end.wait_for_carrier().map(drop))
    }

    /// Does `work` in the generator's network namespace.
    pub fn at_generator<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        // Entering the caller's own takes privilege, so it is not asked for.
        if self.is_lab() { self.generator.namespace.run(work) } else { Ok(work()) }
    }

    /// Frames of these sizes from the generator to the engine. The flag ends their sending.
    pub fn frames(&self, sizes: Sizes, stop: &Arc<AtomicBool>) -> LoadSpec {
        let here = &self.generator.link;
        let there = MacAddress(self.engine.link.mac);
        let mut load = LoadSpec::new(here.index, here.mtu as usize, MacAddress(here.mac), there);
        load.sizes = sizes;
        load.stop = Arc::clone(stop);
        load
    }

    /// Whether frames cross a veth pair, which is no network interface card.
    pub fn is_veth(&self) -> bool {
        self.lab.is_some() || self.engine.link.is_veth()
    }

    /// Whether the testbed was made by this process.
    pub fn is_lab(&self) -> bool {
        self.lab.is_some()
    }
}

/// After this time without an echo, what is not back from a burst is lost.
pub(super) const QUIET: Duration = Duration::from_millis(100);

/// The largest MTU of a veth pair (`ETH_MAX_MTU` less what a header takes).
const MTU_MAX: u32 = 65_535;
