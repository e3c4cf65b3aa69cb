//! Network interfaces by name: their index, and switching one on.

use std::io;
use std::os::fd::AsRawFd;

use nix::net::if_::{if_indextoname, if_nameindex, if_nametoindex};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

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
pub fn names() -> io::Result<Vec<String>> {
    let mut interfaces: Vec<(u32, String)> = if_nameindex()?
        .iter()
        .map(|interface| (interface.index(), interface.name().to_string_lossy().into_owned()))
        .collect();
    interfaces.sort();
    Ok(interfaces.into_iter().map(|(_, name)| name).collect())
}

/// Switches interface `name` on (`IFF_UP`), as `ip link set NAME up` does. Needs CAP_NET_ADMIN.
pub fn bring_up(name: &str) -> Result<()> {
    set_up_flag(name).map_err(|error| {
        failed(format!("switch on the interface '{name}'"), &error, "needs CAP_NET_ADMIN")
    })
}

fn set_up_flag(name: &str) -> io::Result<()> {
    // Any socket serves: it only tells the kernel which network namespace is meant.
    let any = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: an ifreq is made of integers and byte arrays, for which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: the request is a live local whose name ends with a NUL; SIOCGIFFLAGS reads the name
    // and writes ifru_flags.
    let result = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) };
    check(result)?;
    // SAFETY: SIOCGIFFLAGS has just written this member of the union.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    // SAFETY: as above; SIOCSIFFLAGS only reads the request.
    let result = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(result)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
        assert!(bring_up("a-name-of-more-than-fifteen-bytes").is_err());
    }
}
