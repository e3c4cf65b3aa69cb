//! Interfaces that are not touched unless the user insists.

use crate::error::{Error, Result};
use crate::sys::link::{Link, Links};

/// Refuses what is not Ethernet and, unless `force`d, the loopback interface and all that is part of a
/// way out of this host.
pub fn refuse_unsafe_interface(links: &Links, link: &Link, force: bool) -> Result<()> {
    let name = &link.name;
    let refuse = |reason: &str| Err(Error::Usage(format!("{name} {reason}")));
    if !link.ethernet && !link.loopback {
        return refuse("is not an Ethernet interface");
    }
    if force {
        return Ok(());
    }
    if link.loopback {
        return refuse(
            "is the loopback interface: what is sent there comes back as received. Use --force if \
             you mean it, or `linerate compare` for a testbed of its own",
        );
    }
    match links.part_in_way_out(link.index)? {
        None => Ok(()),
        Some(part) => refuse(&format!(
            "{part}: traffic there may cut you off or reach strangers. Use --force if you mean it"
        )),
    }
}
