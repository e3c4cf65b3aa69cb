//! Sending many frames with one system call (`sendmmsg(2)`), and waits finer than a millisecond.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::time::Duration;

use super::{PacketSocket, check};

/// Room for the headers of the messages of one `sendmmsg(2)`, made once.
pub struct SendBatch {
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: the pointers inside are read only by the sendmmsg(2) in PacketSocket::send_batch, which
// writes all that it passes on anew before, from slices that outlive the call; between calls they
// are numbers that nobody follows, so the thread does not matter.
unsafe impl Send for SendBatch {}

impl std::fmt::Debug for SendBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendBatch").field("frames", &self.headers.len()).finish()
    }
}

impl SendBatch {
    /// Room for `frames` frames a call; the kernel takes at most 1024 (`UIO_MAXIOV`).
    pub fn new(frames: usize) -> SendBatch {
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let header = libc::mmsghdr {
            msg_hdr: libc::msghdr {
                msg_name: ptr::null_mut(),
                msg_namelen: 0,
                msg_iov: ptr::null_mut(),
                msg_iovlen: 0,
                msg_control: ptr::null_mut(),
                msg_controllen: 0,
                msg_flags: 0,
            },
            msg_len: 0,
        };
        let frames = frames.clamp(1, 1024);
        SendBatch { vectors: vec![vector; frames].into(), headers: vec![header; frames].into() }
    }
}

impl PacketSocket {
    /// Sends `frames` through the bound interface without waiting, as many as `batch` has room for,
    /// and returns how many the kernel accepted. It stops at the first one that it refuses; why
    /// shows only when that one is the first of a call (kernel-facts 4.8).
    #[inline]
    pub fn send_batch<'a>(
        &self,
        batch: &mut SendBatch,
        frames: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<usize> {
        let SendBatch { vectors, headers } = batch;
        let mut count = 0;
        for ((frame, vector), header) in frames.zip(vectors.iter_mut()).zip(headers.iter_mut()) {
            vector.iov_base = frame.as_ptr().cast_mut().cast();
            vector.iov_len = frame.len();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            count += 1;
        }
        // SAFETY: the first `count` headers were just written: each points to its own vector in
        // `vectors`, and that to a frame borrowed for longer than this call. sendmmsg(2) reads
        // vectors and frames, writes only msg_len of the headers, and keeps no pointer.
        let sent = unsafe {
            libc::sendmmsg(
                self.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
            )
        };
        check(sent as isize).map(|sent| sent as usize)
    }

    /// Sleeps until a frame can be received or `timeout`, which counts in nanoseconds, is over; true
    /// if one can. An interruption by a signal ends it early.
    pub fn wait_readable_ns(&self, timeout: Duration) -> io::Result<bool> {
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
