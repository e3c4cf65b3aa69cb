//! eBPF programs at a driver's door (`bpf(2)`, XDP): maps of AF_XDP sockets, loading, attaching.
//!
//! A program is attached by a *link*, whose descriptor [`Attached`] holds: the kernel detaches it when
//! that is closed, also when the process is killed. Programs are made in [`select`] with the assembler
//! in [`assembly`].

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::failure::{errno, failed};
use super::interface::called;
use super::link::Links;
use super::netdev::XdpAbilities;
use super::xdp::XdpSocket;
use crate::error::Result;

pub mod assembly;
pub mod live;
pub mod select;
mod test_run;
pub mod types;

use assembly::Instruction;
use select::{Selection, TAG_FUNCTION};

/// Said wherever the kernel refuses a program for want of privilege.
pub const NEEDS_BPF: &str = "XDP programs and their maps need CAP_NET_ADMIN and CAP_BPF (before Linux \
     5.8 CAP_SYS_ADMIN) in the initial user namespace: run it as root, not within a user \
     namespace of its own or of a container. A TX half `xsk` needs no program and works without";

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver, before there is an skb.
    Native,
    /// In the kernel's stack, with every driver, after an skb was made.
    Generic,
}

impl AttachMode {
    /// The name in notes for the user.
    pub const fn name(self) -> &'static str {
        self.name_and_flag().0
    }

    /// With the flag of the attach request (`XDP_FLAGS_DRV_MODE`, `XDP_FLAGS_SKB_MODE`).
    const fn name_and_flag(self) -> (&'static str, u32) {
        match self {
            AttachMode::Native => ("native", 1 << 2),
            AttachMode::Generic => ("generic", 1 << 1),
        }
    }
}

/// A map from receive queues to AF_XDP sockets (`BPF_MAP_TYPE_XSKMAP`).
#[derive(Debug)]
pub struct SocketMap {
    fd: OwnedFd,
}

impl AsFd for SocketMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl SocketMap {
    /// A map for queues 0 to `queues` - 1. EPERM without the privileges of [`NEEDS_BPF`].
    pub fn create(queues: u32) -> Result<SocketMap> {
        let request = MapCreate {
            map_type: MAP_TYPE_XSKMAP,
            key_bytes: size_of::<u32>() as u32,
            value_bytes: size_of::<u32>() as u32,
            entries: queues,
            flags: 0,
        };
        let fd = bpf_descriptor(MAP_CREATE, &request)
            .map_err(|error| failed("create a map of AF_XDP sockets", &error, advice(&error)))?;
        Ok(SocketMap { fd })
    }

    /// Frames of `queue` that the program wants go to `socket` from now on. The map forgets the socket
    /// when that is closed.
    pub fn insert(&self, queue: u32, socket: &XdpSocket) -> Result<()> {
        let value = socket.as_fd().as_raw_fd();
        let request = MapUpdate {
            map: self.fd.as_raw_fd() as u32,
            _padding: 0,
            key: (&raw const queue).expose_provenance() as u64,
            value: (&raw const value).expose_provenance() as u64,
            flags: 0,
        };
        bpf(MAP_UPDATE, &request).map(drop).map_err(|error| {
            failed(format!("enter an AF_XDP socket for queue {queue}"), &error, "")
        })
    }
}

/// A program that the verifier has let in.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
}

impl Program {
    /// Loads an XDP program. What the verifier has to say against it is part of the error.
    pub fn load(instructions: &[Instruction]) -> Result<Program> {
        let error = match load(instructions, None, &mut []) {
            Ok(fd) => return Ok(Program { fd }),
            Err(error) => error,
        };
        let mut words = vec![0; VERIFIER_LOG_BYTES];
        // The same again, with an ear for the reasons; nothing is gained if it passes now.
        let _ = load(instructions, None, &mut words);
        let words = String::from_utf8_lossy(&words);
        let words: Vec<&str> = words.trim_end_matches('\0').lines().collect();
        let last = &words[words.len().saturating_sub(3)..];
        // EACCES is also what the verifier answers to an access outside of the frame: its words go first.
        let advice = match last {
            [] => advice(&error).to_string(),
            last => format!("the kernel's verifier says: {}", last.join("; ")),
        };
        Err(failed("load an XDP program", &error, advice))
    }

    /// Loads an XDP program that may call what the driver of `interface` has for programs, and that only runs
    /// there, in the driver.
    fn load_bound(instructions: &[Instruction], interface: u32) -> io::Result<Program> {
        load(instructions, Some(interface), &mut []).map(|fd| Program { fd })
    }

    /// Attaches the program to an interface in `mode`, until the value returned is dropped.
    pub fn attach_as(&self, interface: u32, mode: AttachMode) -> io::Result<Attached> {
        let request = LinkCreate {
            program: self.fd.as_raw_fd() as u32,
            interface,
            attach_type: ATTACH_TYPE_XDP,
            flags: mode.name_and_flag().1,
        };
        let link = bpf_descriptor(LINK_CREATE, &request)?;
        Ok(Attached { _link: link, mode, refusal: None })
    }

    /// Attaches the program to an interface: in the driver, or where that cannot be in the stack.
    pub fn attach(&self, interface: u32) -> Result<Attached> {
        let in_driver = match self.attach_as(interface, AttachMode::Native) {
            Ok(attached) => return Ok(attached),
            Err(error) => error,
        };
        // Neither of these would be better in the stack.
        let code = in_driver.raw_os_error();
        let error = if matches!(code, Some(libc::EPERM | libc::EBUSY | libc::ENODEV)) {
            in_driver
        } else {
            let refusal = self.refusal(interface, &in_driver);
            match self.attach_as(interface, AttachMode::Generic) {
                Ok(attached) => return Ok(Attached { refusal: Some(refusal), ..attached }),
                Err(error) => error,
            }
        };
        Err(failed(
            format!("attach an XDP program to {}", called(interface)),
            &error,
            attach_advice(&error),
        ))
    }

    /// Why the driver of an interface, which answered `error`, does not take the program: its own words, if it has
    /// any. A link's refusal has none, but that of a netlink request does.
    fn refusal(&self, interface: u32, error: &io::Error) -> String {
        let name = errno(error.raw_os_error().unwrap_or(0)).name;
        let words =
            Links::open().ok().and_then(|links| links.xdp_refusal(interface, self.fd.as_fd()));
        words.map_or(name.to_string(), |words| format!("{name}: {words}"))
    }
}

/// A program at work; dropping it detaches it.
#[derive(Debug)]
pub struct Attached {
    _link: OwnedFd,
    /// Where it runs.
    pub mode: AttachMode,
    /// Why it does not run in the driver.
    pub refusal: Option<String>,
}

/// What is selected goes to AF_XDP sockets, from now on until this is dropped; everything else goes to
/// the kernel, as do frames of queues that have no socket here.
#[derive(Debug)]
pub struct Redirect {
    sockets: SocketMap,
    attached: Attached,
    /// Whether tags that lie beside the frame are put back into it; else nobody here can see them.
    pub restores_tags: bool,
}

impl Redirect {
    /// Attaches the program for `selection` to an interface, for queues 0 to `queues` - 1. EPERM
    /// without the privileges of [`NEEDS_BPF`].
    pub fn attach(interface: u32, queues: u32, selection: &Selection) -> Result<Redirect> {
        let sockets = SocketMap::create(queues)?;
        if let Some(attached) = attach_restoring(interface, &sockets, selection) {
            return Ok(Redirect { sockets, attached, restores_tags: true });
        }
        let program = Program::load(&selection.program(sockets.as_fd(), None))?;
        Ok(Redirect { attached: program.attach(interface)?, sockets, restores_tags: false })
    }

    /// Why the program does not run in the driver, in the driver's own words.
    pub fn refusal(&self) -> Option<&str> {
        self.attached.refusal.as_deref()
    }

    /// Gives what is selected of `queue` to `socket`, which is bound to it.
    pub fn insert(&self, queue: u32, socket: &XdpSocket) -> Result<()> {
        self.sockets.insert(queue, socket)
    }

    /// Where the program runs.
    pub fn mode(&self) -> AttachMode {
        self.attached.mode
    }
}

/// Attaches the program that puts tags back, where driver and kernel tell them (XDP-14).
fn attach_restoring(
    interface: u32,
    sockets: &SocketMap,
    selection: &Selection,
) -> Option<Attached> {
    if !XdpAbilities::of(interface).is_ok_and(|abilities| abilities.tags) {
        return None;
    }
    let function = types::kernel_function(TAG_FUNCTION).ok()??;
    let instructions = selection.program(sockets.as_fd(), Some(function));
    let program = Program::load_bound(&instructions, interface).ok()?;
    program.attach_as(interface, AttachMode::Native).ok()
}

fn load(
    instructions: &[Instruction],
    bound_to: Option<u32>,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    let request = ProgramLoad {
        program_type: PROGRAM_TYPE_XDP,
        instructions: instructions.len() as u32,
        code: instructions.as_ptr().expose_provenance() as u64,
        license: LICENSE.as_ptr().expose_provenance() as u64,
        log_level: u32::from(!log.is_empty()),
        log_bytes: log.len() as u32,
        log: if log.is_empty() { 0 } else { log.as_mut_ptr().expose_provenance() as u64 },
        kernel_version: 0,
        flags: if bound_to.is_some() { BOUND_ONLY } else { 0 },
        name: *b"linerate\0\0\0\0\0\0\0\0",
        interface: bound_to.unwrap_or(0),
        attach_type: ATTACH_TYPE_XDP,
    };
    bpf_descriptor(PROGRAM_LOAD, &request)
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => NEEDS_BPF,
        Some(libc::ENOSYS) => "this kernel was built without bpf(2) (CONFIG_BPF_SYSCALL)",
        _ => "",
    }
}

fn attach_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => NEEDS_BPF,
        Some(libc::EBUSY | libc::EEXIST) => {
            "the interface has an XDP program already: `ip link show` names it, and whoever attached \
             it must take it off"
        }
        Some(libc::ERANGE) => "the MTU is too large for XDP on this driver: lower it",
        Some(libc::EINVAL) => "bpf links for XDP need Linux 5.9 or newer",
        _ => "",
    }
}

// Numbers of uapi/linux/bpf.h.
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const PROGRAM_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const MAP_TYPE_XSKMAP: u32 = 17;
const PROGRAM_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;
/// `BPF_F_XDP_DEV_BOUND_ONLY`.
const BOUND_ONLY: u32 = 1 << 6;

/// The helpers that are called here are open to programs of any licence; this is the crate's, in the
/// form that the kernel counts as compatible with its own.
const LICENSE: &std::ffi::CStr = c"Dual MIT/GPL";

/// Room for what the verifier says.
const VERIFIER_LOG_BYTES: usize = 64 << 10;

/// As much of `union bpf_attr` as each command needs; the kernel takes the rest for zeros. None has
/// padding bytes.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    flags: u32,
}

#[repr(C)]
struct MapUpdate {
    map: u32,
    _padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

fn bpf<T>(command: libc::c_int, request: &T) -> io::Result<libc::c_long> {
    // SAFETY: the pointer and length describe a live request, which bpf(2) copies before it does
    // anything; the addresses in it are of values that live in the calling function, with the lengths
    // that the request names (key and value of 4 bytes, instructions, log), and a C string.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            (request as *const T).cast::<libc::c_void>(),
            size_of::<T>() as libc::c_uint,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// [`bpf`] of a request that the kernel answers in itself.
fn bpf_answered<T>(command: libc::c_int, request: &mut T) -> io::Result<()> {
    // SAFETY: as in bpf(); the kernel writes into the request, which nobody else looks at meanwhile, and the
    // frame that it makes to where the request says, at most the length that stands there.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            (request as *mut T).cast::<libc::c_void>(),
            size_of::<T>() as libc::c_uint,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn bpf_descriptor<T>(command: libc::c_int, request: &T) -> io::Result<OwnedFd> {
    let fd = bpf(command, request)? as libc::c_int;
    // SAFETY: these commands return a fresh descriptor (close-on-exec), which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Whether programs can be loaded here, which tests of programs ask first: without the privilege they try
    /// nothing. Under `CI=true` they fail then, so that no pipeline passes by testing nothing.
    pub fn may_load() -> bool {
        match SocketMap::create(1) {
            Ok(_) => true,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "{error}");
                false
            }
        }
    }

    #[test]
    fn what_the_verifier_refuses_is_told_in_its_own_words() {
        if !may_load() {
            return;
        }
        let mut a = assembly::Assembly::new();
        a.load(assembly::Width::Double, assembly::Register::R0, assembly::Register::R10, 8).exit();
        let error = Program::load(&a.finish()).unwrap_err().to_string();
        assert!(error.contains("verifier says: ") && error.contains("R10 off=8"), "{error}");
    }

    #[test]
    fn requests_have_the_sizes_of_the_kernels_union() {
        assert_eq!(size_of::<MapCreate>(), 20);
        assert_eq!(size_of::<MapUpdate>(), 32);
        // expected_attach_type ends at byte 72 of its command.
        assert_eq!(size_of::<ProgramLoad>(), 72);
        assert_eq!(size_of::<LinkCreate>(), 16);
        assert_eq!(size_of::<Instruction>(), 8);
    }

    #[test]
    fn a_refusal_for_want_of_privilege_says_which_and_what_works_without() {
        let error = io::Error::from_raw_os_error(libc::EPERM);
        let error = failed("load an XDP program", &error, advice(&error));
        assert_eq!(error.exit_code(), 77);
        let text = error.to_string();
        for part in ["CAP_BPF", "CAP_NET_ADMIN", "initial user namespace", "needs no program"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
