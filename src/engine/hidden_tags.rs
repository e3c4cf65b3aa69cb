//! VLAN tags that an XDP program cannot see, because they lie beside the frame and nobody tells them (XDP-14). An
//! answer without the tag would go to another network than the question came from.

use super::config::EngineConfig;
use crate::error::{Error, Result};
use crate::sys::bpf::{AttachMode, Redirect};
use crate::sys::link::{Link, Links};
use crate::sys::offload::Ethtool;

/// Kinds of interfaces that get frames from those below them, after the kernel took the tags off.
const UPPER: [&str; 8] =
    ["bridge", "bond", "team", "macvlan", "macvtap", "ipvlan", "ipvtap", "hsr"];

/// Refuses an interface of which frames may come with a tag that the program cannot see. A veth, where that takes
/// somebody at the other end, is served if it is forced; returns what there is to say then.
pub(super) fn check(
    config: &EngineConfig,
    link: &Link,
    redirect: &Redirect,
) -> Result<Option<String>> {
    if redirect.restores_tags {
        return Ok(None);
    }
    let name = &link.name;
    let hidden = format!(
        "VLAN tags lie beside the frames of {name}, where an XDP program does not see them: an answer would go \
         to another VLAN"
    );
    let kind = link.kind.as_deref().unwrap_or_default();
    if redirect.mode() == AttachMode::Generic && UPPER.contains(&kind) {
        return Err(Error::Run(format!(
            "{hidden}. Take another path, such as ring-v2-xsk, or a port of {name}"
        )));
    }
    // The sender's end decides, in whichever namespace it is.
    if link.is_veth() {
        let text = format!(
            "{hidden}, if a VLAN interface or a bridge sends at the other end. Take another path, such as \
             ring-v2-xsk; or there `ethtool -K PEER txvlan off tx-vlan-stag-hw-insert off`, and here --force"
        );
        return if config.force {
            Ok(Some(format!("WARNING: {text}")))
        } else {
            Err(Error::Run(text))
        };
    }
    let features = Ethtool::open()?.features(name).unwrap_or_default();
    let on = |feature: &str| features.contains(feature);
    if !on("rx-vlan-hw-parse") && !on("rx-vlan-stag-hw-parse") {
        return Ok(None);
    }
    // The filter of the device lets no tag through for which there is no VLAN interface.
    let all = config.promiscuous || link.promiscuous || !on("rx-vlan-filter");
    if !all && !Links::open()?.list()?.iter().any(|one| one.vlan_over(link).is_some()) {
        return Ok(None);
    }
    Err(Error::Run(format!(
        "{hidden}: `ethtool -K {name} rxvlan off`, or take another path, such as ring-v2-xsk"
    )))
}
