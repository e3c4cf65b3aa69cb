//! The system calls of the plain path behind a trait, so that tests can make each of them fail.

use std::io;
use std::time::Duration;

use crate::error::Result;
use crate::sys::epoll_set::{EpollSet, Interest, Ready};
use crate::sys::link::Links;
use crate::sys::packet::{LinkAddress, PacketSocket, Received, SocketType};

/// The calls that the tutorial makes, named as the kernel names them.
pub trait Calls {
    /// An open packet socket.
    type Socket;
    /// An open epoll instance.
    type Epoll;

    /// The index of the interface of that name.
    fn interface(&self, name: &str) -> Result<u32>;

    /// `socket(domain, kind, protocol)`; `protocol` is an EtherType in host byte order.
    fn socket(&self, domain: i32, kind: SocketType, protocol: u16) -> io::Result<Self::Socket>;

    /// `bind` to an interface by index and an EtherType in host byte order.
    fn bind(&self, socket: &Self::Socket, interface: u32, protocol: u16) -> io::Result<()>;

    /// `getsockname`: the hardware address of the interface that the socket is bound to.
    fn hardware_address(&self, socket: &Self::Socket) -> io::Result<[u8; 6]>;

    /// `epoll_create1`.
    fn epoll_create(&self) -> io::Result<Self::Epoll>;

    /// `epoll_ctl(EPOLL_CTL_ADD)` for readability, level-triggered.
    fn epoll_ctl_add(&self, epoll: &Self::Epoll, socket: &Self::Socket) -> io::Result<()>;

    /// `epoll_wait`; `None` is its 0, the time-out.
    fn epoll_wait(&self, epoll: &Self::Epoll, timeout: Duration) -> io::Result<Option<Ready>>;

    /// `recvfrom`: one frame; EAGAIN where there is none after all.
    fn recvfrom(&self, socket: &Self::Socket, buffer: &mut [u8]) -> io::Result<Received>;

    /// `sendto`: one frame; returns its bytes.
    fn sendto(&self, socket: &Self::Socket, frame: &[u8], to: &LinkAddress) -> io::Result<usize>;

    /// `close` of the socket.
    fn close_socket(&self, socket: Self::Socket) -> io::Result<()>;

    /// `close` of the epoll instance.
    fn close_epoll(&self, epoll: Self::Epoll) -> io::Result<()>;
}

/// The running kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel;

impl Calls for Kernel {
    type Socket = PacketSocket;
    type Epoll = EpollSet;

    fn interface(&self, name: &str) -> Result<u32> {
        Ok(Links::open()?.by_name(name)?.index)
    }

    fn socket(&self, domain: i32, kind: SocketType, protocol: u16) -> io::Result<PacketSocket> {
        PacketSocket::open_with(domain, kind, protocol)
    }

    fn bind(&self, socket: &PacketSocket, interface: u32, protocol: u16) -> io::Result<()> {
        socket.bind(interface, protocol)
    }

    fn hardware_address(&self, socket: &PacketSocket) -> io::Result<[u8; 6]> {
        Ok(socket.bound_to()?.mac)
    }

    fn epoll_create(&self) -> io::Result<EpollSet> {
        EpollSet::create()
    }

    fn epoll_ctl_add(&self, epoll: &EpollSet, socket: &PacketSocket) -> io::Result<()> {
        epoll.add(socket, Interest { readable: true, writable: false })
    }

    fn epoll_wait(&self, epoll: &EpollSet, timeout: Duration) -> io::Result<Option<Ready>> {
        epoll.wait(timeout)
    }

    fn recvfrom(&self, socket: &PacketSocket, buffer: &mut [u8]) -> io::Result<Received> {
        socket.receive(buffer)
    }

    fn sendto(&self, socket: &PacketSocket, frame: &[u8], to: &LinkAddress) -> io::Result<usize> {
        socket.send_to(frame, to)
    }

    fn close_socket(&self, socket: PacketSocket) -> io::Result<()> {
        socket.close()
    }

    fn close_epoll(&self, epoll: EpollSet) -> io::Result<()> {
        epoll.close()
    }
}
