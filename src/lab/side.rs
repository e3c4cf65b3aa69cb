//! One end of the testbed.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use super::Addresses;
use crate::error::{Error, Result};
use crate::sys::link::{Link, LinkCounters, Links};
use crate::sys::namespace::Namespace;

/// How often the carrier is looked for.
const CARRIER_INTERVAL: Duration = Duration::from_millis(2);

/// One end of the testbed: a namespace with one end of the veth pair in it.
pub struct Side {
    /// The network namespace. Threads and sockets that use the link are made inside it.
    pub namespace: Namespace,
    /// The link as it was when last looked at ([`Side::refresh`]).
    pub link: Link,
    links: Links,
    /// The own addresses and the other end's, which is this one's neighbour.
    addresses: Option<(&'static Addresses, &'static Addresses)>,
}

impl Side {
    /// A side whose interface exists already and is down.
    pub(super) fn adopt(
        namespace: Namespace,
        links: Links,
        interface: &str,
        addresses: Option<(&'static Addresses, &'static Addresses)>,
    ) -> Result<Side> {
        let link = links.by_name(interface)?;
        Ok(Side { namespace, link, links, addresses })
    }

    /// What the link has counted since it was made, in its own namespace.
    pub fn counters(&self) -> Result<LinkCounters> {
        self.links.counters(self.link.index)
    }

    /// Looks at the link again.
    pub fn refresh(&mut self) -> Result<&Link> {
        self.link = self.links.by_index(self.link.index)?;
        Ok(&self.link)
    }

    /// Switches the link on or off; off takes the carrier from the other side, too. Switched on
    /// again it has its addresses and its neighbour again, which the kernel forgets meanwhile.
    pub fn set_up(&mut self, up: bool) -> Result<()> {
        self.links.set_up(self.link.index, up)?;
        if up {
            self.settle()?;
        }
        self.refresh().map(|_| ())
    }

    /// Waits until frames can pass ([`Link::running`]) and the own addresses are served, at most for
    /// `patience`.
    pub fn wait_until_running(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !self.refresh()?.running {
            if Instant::now() >= deadline {
                return Err(Error::Run(format!(
                    "{} has no carrier after {} ms; the other end must be up as well",
                    self.link.name,
                    patience.as_millis()
                )));
            }
            thread::sleep(CARRIER_INTERVAL);
        }
        while !self.serves_addresses()? {
            if Instant::now() >= deadline {
                return Err(Error::Run(format!(
                    "the kernel does not take the addresses of {} for its own after {} ms",
                    self.link.name,
                    patience.as_millis()
                )));
            }
            thread::sleep(CARRIER_INTERVAL);
        }
        Ok(())
    }

    fn serves_addresses(&self) -> Result<bool> {
        let Some((own, _)) = self.addresses else { return Ok(true) };
        for (address, _) in own.with_prefix_lengths() {
            if !self.links.is_local(address)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Deletes the link, and with it the other end's.
    pub fn delete(&self) -> Result<()> {
        self.links.delete(self.link.index)
    }

    /// The links of the namespace, for what else a test may want to change.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Adds the addresses that are missing, and the neighbour.
    fn settle(&self) -> Result<()> {
        let Some((own, neighbour)) = self.addresses else { return Ok(()) };
        let present = self.links.addresses(self.link.index)?;
        for (address, prefix_length) in own.with_prefix_lengths() {
            if !present.contains(&address) {
                self.links.add_address(self.link.index, address, prefix_length)?;
            }
        }
        for (address, _) in neighbour.with_prefix_lengths() {
            self.links.set_neighbour(self.link.index, address, neighbour.mac)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Side")
            .field("namespace", &self.namespace)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}
