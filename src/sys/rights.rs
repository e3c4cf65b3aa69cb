//! What this process may do, tried out rather than concluded from settings.

use std::os::fd::AsFd;

use super::bpf::{Program, SocketMap, select::Selection};
use super::namespace::{forbidding_settings, try_user_namespace};
use super::packet::{PacketSocket, SocketType};
use super::privilege::{Capabilities, user_name};
use super::reading::{Reading, Unreadable, setting};
use crate::error::{Error, Result};

/// What this process may do.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Rights {
    /// Who it is.
    pub user: String,
    /// The capabilities that linerate can use and this has.
    pub capabilities: Vec<&'static str>,
    /// Those that a lab takes and this lacks.
    pub missing_for_lab: Vec<&'static str>,
    /// Why no packet socket can be opened here; `None` if one was.
    pub packet_socket_refused: Option<String>,
    /// Why none can be opened in a user namespace, tried in a child process; `None` if one was.
    pub user_namespace_refused: Option<String>,
    /// Settings that forbid user namespaces, each as `name is value`.
    pub namespace_settings: Vec<String>,
    /// Why no XDP program and no map of sockets can be loaded; `None` if they were.
    pub xdp_program_refused: Option<String>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Reading<Option<String>>,
    /// RLIMIT_MEMLOCK in bytes; `None` is no limit.
    pub memlock_bytes: Reading<Option<u64>>,
}

impl Rights {
    /// Tries everything. Nothing of it lasts. Call it while there is one thread, because a child process
    /// enters a user namespace.
    pub fn try_out() -> Rights {
        let capabilities = Capabilities::effective().ok();
        let program = || {
            let sockets = SocketMap::create(1)?;
            Program::load(&Selection::default().program(sockets.as_fd(), None)).map(drop)
        };
        Rights {
            user: user_name(),
            capabilities: capabilities.map(Capabilities::names).unwrap_or_default(),
            missing_for_lab: capabilities.map(Capabilities::missing_for_lab).unwrap_or_default(),
            packet_socket_refused: refusal(PacketSocket::open(SocketType::Raw).map(drop)),
            user_namespace_refused: refusal(try_user_namespace()),
            namespace_settings: forbidding_settings(),
            xdp_program_refused: refusal(program()),
            unprivileged_bpf_disabled: setting("/proc/sys/kernel", "unprivileged_bpf_disabled"),
            memlock_bytes: memlock_bytes(),
        }
    }
}

/// What failed with which errno, or the reason that we have ourselves.
fn refusal(result: Result<()>) -> Option<String> {
    result.err().map(|error| match error {
        Error::System(error) | Error::Ring(error) => {
            format!("could not {}: {}", error.attempted, error.errno.name)
        }
        Error::Usage(why) | Error::Run(why) => why,
    })
}

fn memlock_bytes() -> Reading<Option<u64>> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit(2) writes one rlimit, to a live local.
    match unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } {
        0 => Ok(Some(limit.rlim_cur).filter(|bytes| *bytes != libc::RLIM_INFINITY)),
        _ => Err(Unreadable::of("RLIMIT_MEMLOCK", &std::io::Error::last_os_error())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_made_also_by_a_process_of_many_threads() {
        let rights = Rights::try_out();
        assert!(!rights.user.is_empty());
        // The test harness has threads, and says so instead of trying.
        assert!(rights.user_namespace_refused.unwrap().contains("threads"));
        assert!(rights.memlock_bytes.is_ok());
        let able = rights.capabilities.contains(&"CAP_NET_RAW");
        assert_eq!(
            rights.packet_socket_refused.is_none(),
            able,
            "{:?}",
            rights.packet_socket_refused
        );
    }
}
