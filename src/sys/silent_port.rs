//! A UDP port that is taken and says nothing.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};

use super::failure::failed;
use super::filter::nothing;
use super::interface::name_bytes;
use super::packet::attach_filter;
use crate::error::Result;

/// Holds a UDP port on one interface so that the kernel does not answer datagrams to it with ICMP
/// "port unreachable"; a filter drops everything before it is queued.
#[derive(Debug)]
pub struct SilentPort {
    _sockets: Vec<OwnedFd>,
}

impl SilentPort {
    /// Holds `port` on `interface`, over IPv4 and, where the kernel has it, over IPv6.
    pub fn hold(interface: &str, port: u16) -> Result<SilentPort> {
        let mut sockets = Vec::new();
        for address in [
            SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)),
            SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0)),
        ] {
            match hold_one(interface, address) {
                Ok(held) => sockets.push(held),
                Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
                Err(error) => {
                    let attempted = format!("hold UDP port {port} on {interface}");
                    return Err(failed(attempted, &error, advice(&error)));
                }
            }
        }
        Ok(SilentPort { _sockets: sockets })
    }
}

fn hold_one(interface: &str, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let held = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    if address.is_ipv6() {
        setsockopt(&held, sockopt::Ipv6V6Only, &true)?;
    }
    attach_filter(held.as_fd(), &nothing()).map_err(|_| io::Error::last_os_error())?;
    setsockopt(&held, sockopt::BindToDevice, &OsString::from_vec(name_bytes(interface)))?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&held), &SockaddrStorage::from(address))?;
    Ok(held)
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            "a program listens on that port and would answer as well: stop it or choose another \
             --port"
        }
        Some(libc::EACCES) => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: choose another --port or run as root"
        }
        _ => "",
    }
}
