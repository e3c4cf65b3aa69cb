//! Network namespaces: held by a descriptor, so that they end with the process.

use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use super::failure::failed;
use super::forbidden::is_ban;
use crate::error::Result;

mod user;

pub(super) use user::thread_count;
pub use user::{enter_user_namespace, forbidding_settings, try_user_namespace};

/// The calling thread's network namespace (proc(5)); `/proc/self` would be the first thread's.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// Said wherever making or entering a namespace is refused for lack of privilege.
const NEEDS_SYS_ADMIN: &str = "needs CAP_SYS_ADMIN: run it as root (sudo linerate …), or enter a \
     user namespace before the process has a second thread. Where it has that, the seccomp filter of a \
     container forbids the call: measure given interfaces (-i, --dut-interface)";

/// Said where the call is refused whatever the privilege.
const FORBIDDEN: &str = "this call is forbidden here, as by the seccomp filter of a container: allow it, or \
     measure given interfaces (-i, --dut-interface)";

/// A network namespace. It lives as long as a descriptor, a thread or a socket holds it: when the
/// process ends, however it ends, the kernel takes it apart with everything in it.
#[derive(Clone)]
pub struct Namespace {
    file: Arc<File>,
    identity: (u64, u64),
}

impl Namespace {
    /// The network namespace that the calling thread is in.
    pub fn current() -> Result<Namespace> {
        let reading = |error: std::io::Error| {
            failed(
                "open the network namespace of this thread",
                &error,
                format!("{OWN_NAMESPACE} must be readable: is /proc mounted?"),
            )
        };
        let file = File::open(OWN_NAMESPACE).or_else(|error| {
            of_a_socket().map_err(|other| if is_ban(&other) { error } else { other })
        });
        file.and_then(Namespace::held_by).map_err(reading)
    }

    fn held_by(file: File) -> std::io::Result<Namespace> {
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Namespace { file: Arc::new(file), identity })
    }

    /// A fresh network namespace with nothing in it but a loopback interface that is down. The
    /// calling thread stays where it is.
    pub fn create() -> Result<Namespace> {
        in_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| {
                let advice = match errno {
                    Errno::EPERM => NEEDS_SYS_ADMIN,
                    Errno::ENOSYS => FORBIDDEN,
                    Errno::ENOSPC => {
                        "the limit on network namespaces is reached: see \
                         /proc/sys/user/max_net_namespaces"
                    }
                    Errno::EINVAL => "this kernel has no network namespaces (CONFIG_NET_NS)",
                    _ => "",
                };
                failed("make a network namespace, by unshare(2)", &errno.into(), advice)
            })?;
            Namespace::current()
        })
    }

    /// Moves the calling thread into this namespace, for good; other threads stay. Sockets that are
    /// open already stay where they were opened.
    pub fn enter(&self) -> Result<()> {
        // Where it is already, entering takes privilege all the same.
        if *self == Namespace::current()? {
            return Ok(());
        }
        setns(&*self.file, CloneFlags::CLONE_NEWNET).map_err(|errno| {
            let advice = match errno {
                Errno::EPERM => NEEDS_SYS_ADMIN,
                Errno::ENOSYS => FORBIDDEN,
                _ => "",
            };
            failed("enter a network namespace, by setns(2)", &errno.into(), advice)
        })
    }

    /// Runs `work` inside the namespace, in a thread of its own, and gives what it gives. A panic
    /// of `work` continues in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        in_a_thread(|| {
            self.enter()?;
            Ok(work())
        })
    }

    /// The descriptor of the namespace, as netlink wants it in IFLA_NET_NS_FD.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// How a process that inherits the descriptor reaches it, as by `nsenter --net=`.
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }

    /// The inode number, by which `lsns` and `ls -l /proc/PID/ns/net` name the namespace.
    pub fn inode(&self) -> u64 {
        self.identity.1
    }
}

/// Two are equal when they are the same namespace, told by device and inode number
/// (namespaces(7)); an inode number is not used again while somebody holds the namespace.
impl PartialEq for Namespace {
    fn eq(&self, other: &Namespace) -> bool {
        self.identity == other.identity
    }
}

impl Eq for Namespace {}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace(net:[{}])", self.inode())
    }
}

/// A descriptor of a network namespace from elsewhere, as from `/run/netns/NAME`.
impl TryFrom<OwnedFd> for Namespace {
    type Error = crate::error::Error;

    fn try_from(descriptor: OwnedFd) -> Result<Namespace> {
        Namespace::held_by(File::from(descriptor))
            .map_err(|error| failed("look at a network namespace", &error, ""))
    }
}

/// The calling thread's namespace without /proc, which takes CAP_NET_ADMIN there (`sock_ioctl` in
/// net/socket.c): every socket knows where it was opened.
fn of_a_socket() -> std::io::Result<File> {
    let socket = UnixDatagram::unbound()?;
    // SAFETY: SIOCGSKNS reads no memory of ours, and gives a new descriptor.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGSKNS) } {
        // SAFETY: the kernel has just made this descriptor, and nobody else has it.
        file @ 0.. => Ok(unsafe { File::from_raw_fd(file) }),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn in_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("namespace".into())
            .spawn_scoped(scope, work)
            .map_err(|error| failed("start a thread", &error, ""))?
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))
    })
}
