//! From an errno to an [`Error`] that helps.

use std::io;

pub use libc::{EAGAIN, EBADF, EBUSY, EINVAL, ENETDOWN, ENODEV, ENOSPC, EOPNOTSUPP};
use nix::errno::Errno as Code;

use crate::error::{Errno, Error, SystemError};

/// Where to find what a missing `CAP_NET_RAW` needs; said wherever a packet socket is refused.
pub const NEEDS_NET_RAW: &str = "needs CAP_NET_RAW: run it as root, or give the binary the capability \
     (sudo setcap cap_net_raw,cap_net_admin+ep linerate), or try it without root in a sandbox: \
     `linerate compare` makes its own network namespace";

/// The errno by number, with its name, its text and whether privilege is the matter.
pub fn errno(code: i32) -> Errno {
    let known = Code::from_raw(code);
    Errno {
        code,
        name: name(known),
        text: known.desc(),
        privilege: matches!(known, Code::EPERM | Code::EACCES),
    }
}

/// The error for a failed `attempted` (a verb phrase: `bind a packet socket to veth0`).
pub fn failed(attempted: impl Into<String>, error: &io::Error, advice: impl Into<String>) -> Error {
    let code = error.raw_os_error().unwrap_or(0);
    // Whatever was attempted.
    let advice = match code {
        libc::EMFILE => "too many open files: raise `ulimit -n`".into(),
        _ => advice.into(),
    };
    SystemError { attempted: attempted.into(), errno: errno(code), advice }.into()
}

/// Whether a send was refused only for the moment, so that the frame stays queued and trying again
/// may help: no memory or a full queue (ENOBUFS, ENOMEM, EAGAIN), a link that is down or was
/// (ENETDOWN), an interrupting signal.
pub fn is_refused_for_now(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Code::from_raw);
    matches!(code, Some(Code::ENOBUFS | Code::ENOMEM | Code::EAGAIN | Code::ENETDOWN | Code::EINTR))
}

/// Whether a send was refused because a queue or a buffer is full (ENOBUFS, EAGAIN), which passes by
/// itself.
pub fn is_queue_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN))
}

/// Whether a send was refused for what the frame is (EMSGSIZE, EINVAL), so that trying it again would
/// only hold up those behind it.
pub fn is_refused_for_good(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::EINVAL))
}

/// Makes a call on a packet socket, and once more if it says that the link is down: the first call
/// after a flap reports the old outage although the link is up again, and the report is cleared by
/// being made (kernel-contract LINK-3).
#[inline]
pub fn past_old_outage<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match call() {
        Err(error) if error.kind() == io::ErrorKind::NetworkDown => call(),
        result => result,
    }
}

fn name(code: Code) -> &'static str {
    // The errnos that packet sockets, rings, epoll, netlink and namespaces are known to give.
    macro_rules! names {
        ($($code:ident)*) => { match code { $(Code::$code => stringify!($code),)* _ => "an unnamed errno" } };
    }
    names!(EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG EBADF EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST
        EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY EFBIG ENOSPC EPIPE ERANGE ENOSYS ENOTEMPTY
        ELOOP ENODATA EPROTO EOVERFLOW EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT
        EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE
        EADDRNOTAVAIL ENETDOWN ENETUNREACH ECONNRESET ENOBUFS EISCONN ENOTCONN ETIMEDOUT
        ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EDQUOT ECANCELED EROFS
        ENAMETOOLONG ETXTBSY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_where_which_and_what_to_do() {
        let error = failed(
            "open a packet socket",
            &io::Error::from_raw_os_error(libc::EPERM),
            NEEDS_NET_RAW,
        );
        let text = error.to_string();
        assert!(text.contains("could not open a packet socket: EPERM"), "{text}");
        assert!(text.contains("CAP_NET_RAW"), "{text}");
        assert_eq!(error.exit_code(), 77);
    }
}
