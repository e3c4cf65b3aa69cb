//! Network interfaces by name: their index.

use std::io;

use nix::net::if_::{if_indextoname, if_nameindex, if_nametoindex};

use super::failure::failed;
use crate::error::Result;

/// The index of interface `name` in the calling thread's network namespace (`SIOCGIFINDEX`).
/// ENODEV where there is none of that name; the error lists those that exist.
pub fn index_of(name: &str) -> Result<u32> {
    if_nametoindex(name).map_err(|code| {
        let advice = match names() {
            Ok(names) if !names.is_empty() => format!("interfaces here: {}", names.join(", ")),
            _ => "this network namespace shows no interfaces".to_string(),
        };
        failed(format!("find the interface '{}'", name.escape_debug()), &code.into(), advice)
    })
}

/// What a message calls the interface with `index`: its name in the calling thread's network
/// namespace (`SIOCGIFNAME`), or the number where nothing has it any more.
pub fn called(index: u32) -> String {
    match if_indextoname(index) {
        Ok(name) if !name.is_empty() => name.to_string_lossy().into_owned(),
        _ => format!("interface {index}"),
    }
}

/// The names of all interfaces of the calling thread's network namespace, in index order.
fn names() -> io::Result<Vec<String>> {
    let mut interfaces: Vec<(u32, String)> = if_nameindex()?
        .iter()
        .map(|interface| (interface.index(), interface.name().to_string_lossy().into_owned()))
        .collect();
    interfaces.sort();
    Ok(interfaces.into_iter().map(|(_, name)| name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_interface_is_answered_with_those_that_exist() {
        let text = index_of("no-such-link").unwrap_err().to_string();
        assert!(text.contains("'no-such-link': ENODEV"), "{text}");
        assert!(text.contains("interfaces here: lo"), "{text}");
    }

    #[test]
    fn every_network_namespace_has_a_loopback() {
        assert!(index_of("lo").unwrap() > 0);
    }

    #[test]
    fn messages_name_interfaces_and_give_the_number_of_one_that_is_gone() {
        assert_eq!(called(index_of("lo").unwrap()), "lo");
        assert_eq!(called(u32::MAX >> 1), "interface 2147483647");
    }

    #[test]
    fn a_name_that_cannot_be_one_is_refused() {
        assert!(index_of("").is_err());
        assert!(index_of("a\0b").is_err());
        assert!(index_of("a-name-of-more-than-fifteen-bytes").is_err());
    }
}
