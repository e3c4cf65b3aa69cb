//! A kernel of paper for tests: scripted messages, one scripted failure, everything written down.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::error::Result;
use crate::sys::epoll_set::Ready;
use crate::sys::packet::{LinkAddress, Received, SocketType};
use crate::sys::signal::Interrupt;
use crate::tutorial::calls::Calls;
use crate::tutorial::explain::Call;

/// Index of the interface that the fake has.
pub const INTERFACE: u32 = 7;

/// Hardware address that messages come from.
pub const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// What tests script and what they look at afterwards.
#[derive(Debug)]
pub struct Fake {
    /// Calls made so far, in order.
    pub made: RefCell<Vec<Call>>,
    /// Protocols of socket and bind, host byte order.
    pub subscribed: RefCell<Vec<u16>>,
    /// Frames sent and where to.
    pub sent: RefCell<Vec<(Vec<u8>, LinkAddress)>>,
    /// The interface's own address.
    pub mac: [u8; 6],
    /// Raised when the last message was taken.
    pub interrupt: Interrupt,
    /// Whether it is raised then.
    pub interrupt_when_quiet: bool,
    inbox: RefCell<VecDeque<(Vec<u8>, LinkAddress)>>,
    failure: Cell<Option<(Call, i32)>>,
    open: Cell<u32>,
}

impl Fake {
    /// A fake in which these messages to us are waiting.
    pub fn with_messages(messages: &[&[u8]]) -> Fake {
        let fake = Fake {
            made: RefCell::default(),
            subscribed: RefCell::default(),
            sent: RefCell::default(),
            mac: [0; 6],
            interrupt: Interrupt::default(),
            interrupt_when_quiet: true,
            inbox: RefCell::default(),
            failure: Cell::default(),
            open: Cell::default(),
        };
        for message in messages {
            fake.push(message, |_| {});
        }
        fake
    }

    /// One message more, whose origin `change` makes other than usual.
    pub fn push(&self, frame: &[u8], change: impl FnOnce(&mut LinkAddress)) {
        let mut from =
            LinkAddress { interface: INTERFACE, protocol: 0x88b5, packet_type: 0, mac: SENDER };
        change(&mut from);
        self.inbox.borrow_mut().push_back((frame.to_vec(), from));
    }

    /// Makes the next `call` fail with errno `code`.
    pub fn fail(&self, call: Call, code: i32) {
        self.failure.set(Some((call, code)));
    }

    /// Asserts that nothing is left open.
    pub fn assert_all_closed(&self) {
        assert_eq!(self.open.get(), 0, "descriptors left open");
    }

    fn make(&self, call: Call) -> io::Result<()> {
        self.made.borrow_mut().push(call);
        match self.failure.get() {
            Some((failing, code)) if failing == call => {
                self.failure.set(None);
                Err(io::Error::from_raw_os_error(code))
            }
            _ => Ok(()),
        }
    }

    fn close(&self) -> io::Result<()> {
        // As on Linux: the descriptor is gone even if close says otherwise.
        self.open.set(self.open.get() - 1);
        self.make(Call::Close)
    }
}

impl Calls for Fake {
    type Socket = ();
    type Epoll = ();

    fn interface(&self, _: &str) -> Result<u32> {
        Ok(INTERFACE)
    }

    fn socket(&self, domain: i32, _: SocketType, protocol: u16) -> io::Result<()> {
        assert_eq!(domain, 17);
        self.make(Call::Socket)?;
        self.subscribed.borrow_mut().push(protocol);
        self.open.set(self.open.get() + 1);
        Ok(())
    }

    fn bind(&self, (): &(), interface: u32, protocol: u16) -> io::Result<()> {
        assert_eq!(interface, INTERFACE);
        self.subscribed.borrow_mut().push(protocol);
        self.make(Call::Bind)
    }

    fn hardware_address(&self, (): &()) -> io::Result<[u8; 6]> {
        self.make(Call::HardwareAddress)?;
        Ok(self.mac)
    }

    fn epoll_create(&self) -> io::Result<()> {
        self.make(Call::EpollCreate)?;
        self.open.set(self.open.get() + 1);
        Ok(())
    }

    fn epoll_ctl_add(&self, (): &(), (): &()) -> io::Result<()> {
        self.make(Call::EpollControl)
    }

    fn epoll_wait(&self, (): &(), timeout: Duration) -> io::Result<Option<Ready>> {
        assert!(timeout < Duration::from_secs(60), "a finite wait");
        self.make(Call::EpollWait)?;
        if !self.inbox.borrow().is_empty() {
            return Ok(Some(Ready { readable: true, ..Ready::default() }));
        }
        if self.interrupt_when_quiet {
            self.interrupt.raise();
        }
        Ok(None)
    }

    fn recvfrom(&self, (): &(), buffer: &mut [u8]) -> io::Result<Received> {
        self.make(Call::Receive)?;
        let (frame, from) = self.inbox.borrow_mut().pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let copied = frame.len().min(buffer.len());
        buffer[..copied].copy_from_slice(&frame[..copied]);
        Ok(Received { wire_bytes: frame.len(), from })
    }

    fn sendto(&self, (): &(), frame: &[u8], to: &LinkAddress) -> io::Result<usize> {
        self.make(Call::Send)?;
        self.sent.borrow_mut().push((frame.to_vec(), *to));
        Ok(frame.len())
    }

    fn close_socket(&self, (): ()) -> io::Result<()> {
        self.close()
    }

    fn close_epoll(&self, (): ()) -> io::Result<()> {
        self.close()
    }
}
