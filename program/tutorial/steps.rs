//! The steps that server and client share: socket, bind, epoll_create1, epoll_ctl, epoll_wait,
//! recvfrom, sendto, close.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::LinkOptions;
use super::calls::Calls;
use super::explain::{Call, explain};
use super::message::Message;
use crate::error::{Error, Result};
use crate::sys::packet::{LinkAddress, SocketType};
use crate::sys::privilege::drop_capabilities;
use crate::units::ETHERNET_HEADER_BYTES;

/// Bytes of the receive buffer; longer frames are cut off, and printed as far as they go.
pub const BUFFER_BYTES: usize = 2048;

/// A bound socket and the epoll instance that watches it.
pub struct Link<'run, C: Calls> {
    calls: &'run C,
    options: &'run LinkOptions,
    socket: &'run C::Socket,
    epoll: &'run C::Epoll,
    /// Index of the interface that the socket is bound to.
    pub interface: u32,
    /// EtherType of the messages, host byte order.
    pub ethertype: u16,
    mac: [u8; 6],
}

/// What an `epoll_wait` ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The socket has a frame or an error: `recvfrom` tells.
    Ready,
    /// The time-out: `epoll_wait` gave 0.
    Quiet,
    /// A signal came first.
    Interrupted,
}

/// Opens a link, lends it to `talk` and closes everything again,
/// whatever happened. The first error is the one that is returned.
pub fn with_link<C: Calls, T>(
    calls: &C,
    options: &LinkOptions,
    talk: impl FnOnce(&Link<'_, C>) -> Result<T>,
) -> Result<T> {
    let explain = |call, error| explain(call, &options.interface, &error);
    let protocol = options.protocol;
    let interface = calls.interface(&options.interface)?;

    let socket = calls
        .socket(options.domain.number(), options.kind, protocol.at_socket())
        .map_err(|error| explain(Call::Socket, error))?;
    let outcome = (|| {
        calls
            .bind(&socket, interface, protocol.at_bind())
            .map_err(|error| explain(Call::Bind, error))?;
        let mac = match options.kind {
            SocketType::Raw => calls
                .hardware_address(&socket)
                .map_err(|error| explain(Call::HardwareAddress, error))?,
            // The kernel writes the header, and knows the address.
            SocketType::Datagram => [0; 6],
        };
        let epoll = calls.epoll_create().map_err(|error| explain(Call::EpollCreate, error))?;
        let outcome = calls
            .epoll_ctl_add(&epoll, &socket)
            .map_err(|error| explain(Call::EpollControl, error))
            .and_then(|()| {
                // Not one of the calls to learn from: the socket needs no privilege once it is bound.
                drop_capabilities()?;
                let ethertype = protocol.of_messages();
                let (socket, epoll) = (&socket, &epoll);
                talk(&Link { calls, options, socket, epoll, interface, ethertype, mac })
            });
        let closed = calls.close_epoll(epoll).map_err(|error| explain(Call::Close, error));
        first_error(outcome, closed)
    })();
    let closed = calls.close_socket(socket).map_err(|error| explain(Call::Close, error));
    first_error(outcome, closed)
}

fn first_error<T>(outcome: Result<T>, closed: Result<()>) -> Result<T> {
    let value = outcome?;
    closed?;
    Ok(value)
}

impl<C: Calls> Link<'_, C> {
    /// Waits for a frame, at most as long as the options say and not past `end`.
    pub fn wait(&self, end: Option<Instant>) -> Result<Waited> {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let timeout = left.unwrap_or(Duration::MAX).min(self.options.timeout);
        match self.calls.epoll_wait(self.epoll, timeout) {
            Ok(Some(_)) => Ok(Waited::Ready),
            Ok(None) => Ok(Waited::Quiet),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Waited::Interrupted),
            Err(error) => Err(self.failed(Call::EpollWait, &error)),
        }
    }

    /// Takes one message into `buffer`; `None` if there was none after all.
    pub fn receive<'buffer>(&self, buffer: &'buffer mut [u8]) -> Result<Option<Message<'buffer>>> {
        match self.calls.recvfrom(self.socket, buffer) {
            Ok(received) => Ok(Some(Message::of(self.options.kind, buffer, &received))),
            Err(error) if is_transient(&error) => Ok(None),
            Err(error) => Err(self.failed(Call::Receive, &error)),
        }
    }

    /// Sends `payload` to hardware address `to`.
    pub fn send(&self, payload: &[u8], to: [u8; 6]) -> Result<()> {
        self.sendto(payload, to).map_err(|error| self.failed(Call::Send, &error))
    }

    /// Sends `payload` to hardware address `to`; false if the socket's send buffer is full.
    pub fn try_send(&self, payload: &[u8], to: [u8; 6]) -> Result<bool> {
        match self.sendto(payload, to) {
            Ok(()) => Ok(true),
            Err(error) if is_transient(&error) => Ok(false),
            Err(error) => Err(self.failed(Call::Send, &error)),
        }
    }

    fn sendto(&self, payload: &[u8], to: [u8; 6]) -> io::Result<()> {
        let address = LinkAddress {
            interface: self.interface,
            protocol: self.ethertype,
            mac: to,
            ..LinkAddress::default()
        };
        match self.options.kind {
            SocketType::Datagram => self.calls.sendto(self.socket, payload, &address)?,
            SocketType::Raw => {
                let frame = framed(to, self.mac, self.ethertype, payload);
                self.calls.sendto(self.socket, &frame, &address)?
            }
        };
        Ok(())
    }

    fn failed(&self, call: Call, error: &io::Error) -> Error {
        explain(call, &self.options.interface, error)
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// `payload` behind an Ethernet header: destination, source, EtherType (host byte order).
fn framed(to: [u8; 6], from: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET_HEADER_BYTES + payload.len());
    frame.extend_from_slice(&to);
    frame.extend_from_slice(&from);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// When something ends that begins now and lasts `duration`; `None` if no clock reaches so far.
pub fn end_after(duration: Duration) -> Option<Instant> {
    Instant::now().checked_add(duration)
}

/// Writes one line, whole, so that a server and a client on one terminal do not mix theirs, and
/// hands it on at once, so that a reader at the other end of a pipe sees it.
pub fn say(output: &mut dyn Write, line: fmt::Arguments<'_>) -> Result<()> {
    output
        .write_all(format!("{line}\n").as_bytes())
        .and_then(|()| output.flush())
        .map_err(|error| Error::Run(format!("could not write the output: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ethernet_header_is_destination_source_ethertype() {
        let frame = framed([1; 6], [2; 6], 0x88b5, b"hi");
        assert_eq!(frame, b"\x01\x01\x01\x01\x01\x01\x02\x02\x02\x02\x02\x02\x88\xb5hi");
    }
}
