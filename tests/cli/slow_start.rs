//! A load whose threads take long to get ready: its time begins when they are.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::load::words;
use crate::program::{Running, alone, delayable, linerate, namespaces_allowed};
use crate::schema::{count, document, field};

/// Each thread of the program is put on its CPU so late.
const DELAY: Duration = Duration::from_millis(200);

/// A slow machine delays departures as well, though not in every run.
const ATTEMPTS: usize = 20;

#[test]
fn a_schedule_begins_when_the_threads_are_ready() {
    if !namespaces_allowed() {
        return;
    }
    let _alone = alone();
    for threads in ["", " --senders 1"] {
        let line = format!("load --lab -r 1k -n 20 --warmup 0 --drain 10s --json -{threads}");
        let mut worst_ns = u64::MAX;
        for _ in 0..ATTEMPTS {
            worst_ns = worst_ns.min(worst_departure_ns(linerate(&words(&line))));
            if worst_ns < DELAY.as_nanos() as u64 / 2 {
                break;
            }
        }
        // One that began with its threads' preparation would be late by all of it in every run.
        assert!(worst_ns < DELAY.as_nanos() as u64 / 2, "{threads}: {worst_ns} ns late");
    }
}

fn worst_departure_ns(mut command: Command) -> u64 {
    let listener = delayable(&mut command, libc::SYS_sched_setaffinity);
    let running = Running::start(&mut command);
    let held = listener(running.id()).expect("the filter's descriptor");
    // Ends when the filter goes, with the program.
    let delaying = thread::spawn(move || while let Ok(()) = let_one_pass(&held) {});
    let ended = running.end();
    delaying.join().expect("the thread that delays");
    ended.expect(0);
    let lateness = field(field(&document(&ended.out), "departures"), "lateness_ns").clone();
    count(&lateness, "max")
}

/// Waits for a call and lets it go on after [`DELAY`].
fn let_one_pass(listener: &OwnedFd) -> std::io::Result<()> {
    let done = |result: libc::c_int| match result {
        0.. => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: it is made of integers, for which zeros are a value; the kernel wants them so.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    let fd = listener.as_raw_fd();
    let mut ready = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: poll(2) reads and writes one pollfd, a live local.
    done(unsafe { libc::poll(&raw mut ready, 1, -1) })?;
    if ready.revents & libc::POLLIN == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    // SAFETY: the kernel writes one seccomp_notif into a live local.
    done(unsafe { libc::ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) })?;
    thread::sleep(DELAY);
    let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
    let mut answer = libc::seccomp_notif_resp { id: call.id, val: 0, error: 0, flags };
    // SAFETY: the kernel reads one seccomp_notif_resp from a live local. A call that a signal ended has
    // gone by now, which is no matter.
    let _ = unsafe { libc::ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    Ok(())
}

/// `SECCOMP_IOWR(0, struct seccomp_notif)` and `SECCOMP_IOWR(1, struct seccomp_notif_resp)`.
const SECCOMP_IOCTL_NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const SECCOMP_IOCTL_NOTIF_SEND: libc::c_ulong = 0xc018_2101;

/// A descriptor of another process, as one of ours.
pub fn descriptor_of(process: u32, number: libc::c_int) -> std::io::Result<OwnedFd> {
    let own = |fd: libc::c_long| match fd {
        // SAFETY: the kernel has just made this descriptor, and nobody else has it.
        0.. => Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) }),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: pidfd_open(2) takes numbers.
    let process = own(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?;
    // SAFETY: pidfd_getfd(2) takes numbers.
    own(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}
