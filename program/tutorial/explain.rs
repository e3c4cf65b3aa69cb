//! What the errors of each call mean and what to do about them.

use std::io;

use crate::error::{Errno, Error, SystemError};
use crate::sys::failure::{NEEDS_NET_RAW, errno};

/// The calls of the plain path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `socket(2)`.
    Socket,
    /// `bind(2)`.
    Bind,
    /// `getsockname(2)`.
    HardwareAddress,
    /// `epoll_create1(2)`.
    EpollCreate,
    /// `epoll_ctl(2)`.
    EpollControl,
    /// `epoll_wait(2)`.
    EpollWait,
    /// `recvfrom(2)`.
    Receive,
    /// `sendto(2)`.
    Send,
    /// `close(2)`.
    Close,
}

/// The error for a failed `call` on a socket for `interface`.
pub fn explain(call: Call, interface: &str, error: &io::Error) -> Error {
    let known = errno(error.raw_os_error().unwrap_or(0));
    // Of these calls only socket(2) asks for a capability; epoll_ctl(2), for one, says EPERM of a
    // kind of file that it cannot watch.
    let privilege = known.privilege && call == Call::Socket;
    SystemError {
        attempted: attempted(call, interface),
        errno: Errno { privilege, ..known },
        advice: advice(call, known.name),
    }
    .into()
}

fn attempted(call: Call, interface: &str) -> String {
    match call {
        Call::Socket => "open a packet socket (socket)".to_string(),
        Call::Bind => format!("bind a packet socket to {interface} (bind)"),
        Call::HardwareAddress => {
            format!("read the hardware address of {interface} (getsockname)")
        }
        Call::EpollCreate => "create an epoll instance (epoll_create1)".to_string(),
        Call::EpollControl => "watch the socket with epoll (epoll_ctl)".to_string(),
        Call::EpollWait => "wait for a message (epoll_wait)".to_string(),
        Call::Receive => format!("receive from {interface} (recvfrom)"),
        Call::Send => format!("send through {interface} (sendto)"),
        Call::Close => "close a descriptor (close)".to_string(),
    }
}

fn advice(call: Call, name: &str) -> String {
    let advice = match (call, name) {
        (Call::Socket, "EPERM") => {
            return format!(
                "{NEEDS_NET_RAW}, and `linerate tutorial server --help` shows how to make one for \
                 the tutorial"
            );
        }
        (Call::Socket, "EACCES") => {
            "a security policy refuses it (seccomp, SELinux, AppArmor); a missing CAP_NET_RAW \
             would have been EPERM"
        }
        (Call::Socket, "EINVAL" | "EPROTONOSUPPORT" | "ESOCKTNOSUPPORT") => {
            "the kernel does not know this combination of domain, socket type and protocol"
        }
        (Call::Socket, "EAFNOSUPPORT") => {
            "this kernel was built without packet sockets (CONFIG_PACKET)"
        }
        (Call::Bind, "EINVAL") => {
            "the kernel does not take the address: too short, or of another family than AF_PACKET"
        }
        (Call::EpollCreate, "EINVAL") => {
            "epoll_create1 takes flags (0 or EPOLL_CLOEXEC), and got one that it does not know"
        }
        (Call::EpollControl, "EBADF") => {
            "the socket or the epoll instance is no open descriptor: it was closed too early"
        }
        (Call::EpollControl, "EEXIST") => "the socket is watched already",
        (Call::EpollControl, "EPERM") => {
            "this kind of file cannot be watched, as regular files and directories cannot"
        }
        (Call::EpollControl, "ENOSPC") => {
            "this user watches too many files: raise /proc/sys/fs/epoll/max_user_watches"
        }
        (Call::EpollWait, "EBADF") => {
            "the epoll instance is no open descriptor: it was closed too early"
        }
        (Call::EpollWait, "EINVAL") => {
            "the descriptor is no epoll instance, or room for no event at all was offered"
        }
        (Call::Receive | Call::Send, "EBADF" | "ENOTSOCK") => {
            "the socket is no open descriptor: it was closed too early"
        }
        (Call::Send, "EMSGSIZE") => {
            "the message is longer than the interface's MTU allows: shorten it"
        }
        (Call::Send, "EINVAL") => {
            "the frame is shorter than the interface's link header, or the address too short"
        }
        (Call::Send, "EAGAIN") => "the socket's send buffer is full: send more slowly",
        (Call::Close, "EIO" | "EINTR" | "EBADF") => {
            "on Linux the descriptor is gone whatever close says: never close it again, for its \
             number may be another file's by then"
        }
        (_, "ENETDOWN") => "the interface is down or gone: switch it on (ip link set NAME up)",
        (_, "ENODEV" | "ENXIO") => "the interface was removed",
        (_, "ENOMEM" | "ENOBUFS") => {
            "the kernel has no memory for it: end other programs, raise the memory limit of this \
             control group, or send more slowly"
        }
        (_, "EMFILE" | "ENFILE") => "too many open files: raise `ulimit -n`",
        _ => "",
    };
    advice.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::packet::SocketType;
    use crate::tutorial::ServerOptions;
    use crate::tutorial::tests::fake::Fake;
    use crate::tutorial::{LinkOptions, server};

    /// The server's error if `call` fails with errno `code`; nothing is left open.
    fn injected(call: Call, code: i32) -> Error {
        let fake = Fake::with_messages(&[b"DDDDDDSSSSSS\x88\xb5hi"]);
        fake.fail(call, code);
        let link = LinkOptions { kind: SocketType::Raw, ..LinkOptions::default() };
        let options = ServerOptions { link, ..ServerOptions::default() };
        let mut output = Vec::new();
        let result = server::run(&fake, &options, &fake.interrupt, &mut output);
        fake.assert_all_closed();
        result.unwrap_err()
    }

    // Errno numbers below 35 are the same on every architecture.
    const EPERM: i32 = 1;
    const EIO: i32 = 5;
    const EBADF: i32 = 9;
    const ENOMEM: i32 = 12;
    const EACCES: i32 = 13;
    const EEXIST: i32 = 17;
    const ENODEV: i32 = 19;
    const EINVAL: i32 = 22;
    const EMFILE: i32 = 24;
    const ENOSPC: i32 = 28;

    #[test]
    fn every_error_says_which_call_which_errno_and_what_to_do() {
        let cases = [
            (Call::Socket, EPERM, "packet socket (socket): EPERM", "needs CAP_NET_RAW"),
            (Call::Socket, EACCES, "(socket): EACCES", "a security policy refuses it"),
            (Call::Socket, ENOMEM, "(socket): ENOMEM", "no memory"),
            (Call::Socket, EINVAL, "(socket): EINVAL", "combination of domain, socket type"),
            (Call::Socket, EMFILE, "(socket): EMFILE", "ulimit -n"),
            (Call::Bind, EINVAL, "to lo (bind): EINVAL", "of another family than AF_PACKET"),
            (Call::Bind, ENODEV, "to lo (bind): ENODEV", "the interface was removed"),
            (Call::Bind, ENOMEM, "to lo (bind): ENOMEM", "no memory"),
            (Call::HardwareAddress, EBADF, "of lo (getsockname): EBADF", ""),
            (Call::EpollCreate, EINVAL, "(epoll_create1): EINVAL", "takes flags"),
            (Call::EpollCreate, EMFILE, "(epoll_create1): EMFILE", "ulimit -n"),
            (Call::EpollCreate, ENOMEM, "(epoll_create1): ENOMEM", "no memory"),
            (Call::EpollControl, EBADF, "(epoll_ctl): EBADF", "closed too early"),
            (Call::EpollControl, EEXIST, "(epoll_ctl): EEXIST", "watched already"),
            (Call::EpollControl, EPERM, "(epoll_ctl): EPERM", "regular files"),
            (Call::EpollControl, ENOSPC, "(epoll_ctl): ENOSPC", "max_user_watches"),
            (Call::EpollControl, ENOMEM, "(epoll_ctl): ENOMEM", "no memory"),
            (Call::EpollWait, EBADF, "(epoll_wait): EBADF", "closed too early"),
            (Call::EpollWait, EINVAL, "(epoll_wait): EINVAL", "no epoll instance"),
            (Call::Receive, EBADF, "from lo (recvfrom): EBADF", "closed too early"),
            (Call::Receive, ENOMEM, "from lo (recvfrom): ENOMEM", "no memory"),
            (Call::Send, EINVAL, "through lo (sendto): EINVAL", "link header"),
            (Call::Send, ENOMEM, "through lo (sendto): ENOMEM", "no memory"),
            (Call::Close, EIO, "(close): EIO", "never close it again"),
            (Call::Close, EBADF, "(close): EBADF", "never close it again"),
        ];
        for (call, code, what, advice) in cases {
            let error = injected(call, code);
            let text = error.to_string();
            assert!(text.starts_with("could not "), "{text}");
            assert!(text.contains(what) && text.contains(advice), "{call:?} {code}: {text}");
            assert_eq!(error.errno(), Some(code));
        }
    }

    #[test]
    fn only_a_refused_socket_is_a_matter_of_privilege() {
        assert_eq!(injected(Call::Socket, EPERM).exit_code(), 77);
        assert_eq!(injected(Call::Socket, EACCES).exit_code(), 77);
        assert_eq!(injected(Call::EpollControl, EPERM).exit_code(), 1);
        assert_eq!(injected(Call::Close, EIO).exit_code(), 1);
    }

    #[test]
    fn an_interface_that_goes_down_is_said() {
        // ENETDOWN has another number on MIPS and SPARC, so the text is asked for by its name.
        assert!(advice(Call::Receive, "ENETDOWN").contains("down"));
        assert!(advice(Call::Send, "ENETDOWN").contains("down"));
    }
}
