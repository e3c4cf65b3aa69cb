//! Sending many frames with one system call (`sendmmsg(2)`), and waits finer than a millisecond.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::time::Duration;

use super::{PacketSocket, check};
use crate::sys::kick::SendFrames;

/// Room for the headers of the messages of one `sendmmsg(2)`, made once.
pub struct SendBatch {
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: the pointers inside are followed only during the sendmmsg(2) in Gather::send, which passes
// on only what its Gather wrote, from frames that outlive the Gather; else they are numbers that
// nobody follows, so the thread does not matter.
unsafe impl Send for SendBatch {}

impl std::fmt::Debug for SendBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendBatch").field("frames", &self.headers.len()).finish()
    }
}

/// Most messages of one `sendmmsg(2)` or `recvmmsg(2)` (`UIO_MAXIOV`).
pub const MESSAGES_MAX: usize = 1024;

impl SendBatch {
    /// Room for `frames` frames a call, from 1 to [`MESSAGES_MAX`].
    pub fn new(frames: usize) -> SendBatch {
        let frames = frames.clamp(1, MESSAGES_MAX);
        SendBatch {
            vectors: vec![EMPTY_VECTOR; frames].into(),
            headers: vec![EMPTY_HEADER; frames].into(),
        }
    }

    /// Begins to gather frames that live for `'frames`.
    #[inline]
    pub fn gather<'frames>(&mut self) -> Gather<'_, 'frames> {
        Gather { batch: self, head: 0, tail: 0, frames: PhantomData }
    }
}

/// Frames remembered where they are, to be sent from there.
///
/// They cannot change or go away while it holds them:
///
/// ```compile_fail,E0506
/// use linerate_core::sys::packet::{PacketSocket, SendBatch};
///
/// fn too_late(socket: &PacketSocket, batch: &mut SendBatch, mut frame: [u8; 60]) {
///     let mut gather = batch.gather();
///     gather.push(&frame);
///     frame[0] = 1;
///     gather.send(socket);
/// }
/// ```
#[derive(Debug)]
pub struct Gather<'batch, 'frames> {
    batch: &'batch mut SendBatch,
    /// The first frame that is not sent.
    head: usize,
    /// The end of the frames.
    tail: usize,
    frames: PhantomData<&'frames [u8]>,
}

/// What [`Gather::send`] brought about.
#[derive(Debug)]
pub struct Sent {
    /// Frames that the kernel took, from the oldest.
    pub frames: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Why it took no more; `None` if nothing is left.
    pub refused: Option<io::Error>,
}

impl<'frames> Gather<'_, 'frames> {
    /// Whether another frame can be remembered.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.tail < self.batch.headers.len()
    }

    /// Frames that are not sent yet.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.tail - self.head
    }

    /// Remembers a frame. Panics without [`Gather::has_room`].
    #[inline]
    pub fn push(&mut self, frame: &'frames [u8]) {
        self.batch.vectors[self.tail] = vector_of(frame);
        self.tail += 1;
    }

    /// Sends through the socket's bound interface without waiting, until nothing is left or a frame
    /// is refused, which then is the next one.
    #[inline]
    pub fn send(&mut self, socket: &impl SendFrames) -> Sent {
        let mut sent = Sent { frames: 0, bytes: 0, refused: None };
        while self.waiting() > 0 {
            match self.send_once(socket) {
                // It stops at the first one that it refuses; why shows only when that one is the
                // first of a call (kernel-contract TX-11).
                Ok(frames) => {
                    let taken = &self.batch.vectors[self.head..][..frames];
                    sent.frames += frames;
                    sent.bytes += taken.iter().map(|vector| vector.iov_len as u64).sum::<u64>();
                    self.head += frames;
                }
                Err(error) => {
                    sent.refused = Some(error);
                    return sent;
                }
            }
        }
        (self.head, self.tail) = (0, 0);
        sent
    }

    /// Gives the next frame up.
    pub fn skip(&mut self) {
        assert!(self.waiting() > 0, "there is a next frame");
        self.head += 1;
    }

    #[inline]
    fn send_once(&mut self, socket: &impl SendFrames) -> io::Result<usize> {
        let SendBatch { vectors, headers } = &mut *self.batch;
        let headers = &mut headers[self.head..self.tail];
        for (header, vector) in headers.iter_mut().zip(&mut vectors[self.head..self.tail]) {
            header.msg_hdr.msg_iov = vector;
        }
        socket.send_gathered(&mut Gathered { headers })
    }
}

/// The frames of one `sendmmsg(2)`. Each header points to a vector of its own, and that to a frame; both
/// live as long as this.
pub struct Gathered<'a> {
    headers: &'a mut [libc::mmsghdr],
}

impl std::fmt::Debug for Gathered<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gathered").field("frames", &self.headers.len()).finish()
    }
}

impl Gathered<'_> {
    /// The frames, from the first on.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().map(|header| {
            // SAFETY: as the type says; nobody writes a vector meanwhile.
            let vector = unsafe { &*header.msg_hdr.msg_iov };
            // SAFETY: push() made the vector from a slice that is borrowed for longer than this.
            unsafe { std::slice::from_raw_parts(vector.iov_base.cast(), vector.iov_len) }
        })
    }
}

/// No bytes.
pub(super) const EMPTY_VECTOR: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

/// A message of one vector, without address and control data.
pub(super) const EMPTY_HEADER: libc::mmsghdr = libc::mmsghdr {
    msg_hdr: libc::msghdr {
        msg_name: ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: ptr::null_mut(),
        msg_iovlen: 1,
        msg_control: ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    },
    msg_len: 0,
};

fn vector_of(frame: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() }
}

impl PacketSocket {
    /// Sends frames from the first on, in one call without waiting, and says how many the kernel took.
    #[inline]
    pub fn send_gathered(&self, frames: &mut Gathered<'_>) -> io::Result<usize> {
        let Gathered { headers } = frames;
        // SAFETY: the headers point to live vectors and frames, as their type says. sendmmsg(2) reads
        // vectors and frames, writes only msg_len of the headers, and keeps no pointer.
        let sent = unsafe {
            libc::sendmmsg(
                self.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as _,
                libc::MSG_DONTWAIT as _,
            )
        };
        check(sent as isize).map(|sent| sent as usize)
    }

    /// Sends `frames` through the bound interface without waiting, as many as `batch` has room for,
    /// and returns how many the kernel accepted; an error if that is none.
    #[inline]
    pub fn send_batch<'a>(
        &self,
        batch: &mut SendBatch,
        frames: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<usize> {
        let room = batch.headers.len();
        let mut gather = batch.gather();
        frames.take(room).for_each(|frame| gather.push(frame));
        if gather.waiting() == 0 { Ok(0) } else { gather.send_once(self) }
    }

    /// Sleeps until a frame can be received or `timeout`, which counts in nanoseconds, is over; true
    /// if one can. An interruption by a signal ends it early.
    pub fn wait_readable(&self, timeout: Duration) -> io::Result<bool> {
        let mut set =
            libc::pollfd { fd: self.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().min(i32::MAX as u64) as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: one pollfd and a timespec, both live locals; a null signal mask leaves the
        // thread's own in place. ppoll(2) writes only the pollfd.
        let ready = unsafe { libc::ppoll(&mut set, 1, &timeout, ptr::null()) };
        match check(ready as isize) {
            Ok(_) => Ok(set.revents & libc::POLLIN != 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }
}
