//! How the tests run the binary: as who, in which namespace, for how long.

use std::ffi::CStr;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use linerate::sys::link::{Links, VethPair};
use linerate::sys::namespace::Namespace;
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::slow_start::descriptor_of;

/// Nobody of the tests takes longer, also on a busy machine with a debug build.
const PATIENCE: Duration = Duration::from_secs(600);
/// Somebody without any privilege (`nobody`).
const NOBODY: u32 = 65_534;

/// What a finished program left.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Fails unless the program ended with `code`, and in any case if it panicked.
    #[track_caller]
    pub fn expect(&self, code: i32) -> &Ended {
        assert!(!self.err.contains("panicked"), "a panic: {self:?}");
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Fails unless stderr holds every one of `words`.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> &Ended {
        words.iter().for_each(|word| assert!(self.err.contains(word), "no '{word}' in {self:#?}"));
        self
    }
}

/// The binary, with an empty stdin and both outputs caught.
pub fn linerate(arguments: &[&str]) -> Command {
    at(Path::new(env!("CARGO_BIN_EXE_linerate")), arguments)
}

/// Somebody without privilege, with a binary of their own: the target directory may be closed to
/// others, and a copy elsewhere is open to all.
pub struct Unprivileged(Scratch);

impl Unprivileged {
    pub fn new() -> Unprivileged {
        let scratch = Scratch::new();
        let copy = scratch.file("linerate");
        std::fs::copy(env!("CARGO_BIN_EXE_linerate"), copy).expect("a copy of the binary");
        Unprivileged(scratch)
    }

    /// As [`linerate`], with the binary that others may run, too.
    pub fn still_privileged(&self, arguments: &[&str]) -> Command {
        at(&self.0.file("linerate"), arguments)
    }

    /// As [`linerate`]; as ourselves if we have no privilege.
    pub fn linerate(&self, arguments: &[&str]) -> Command {
        let mut command = self.still_privileged(arguments);
        if geteuid().is_root() {
            // Leaving user 0 for another drops all capabilities (capabilities(7)).
            command.uid(NOBODY).gid(NOBODY).current_dir("/");
        }
        command
    }
}

fn at(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A directory for the files of one test, gone with it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("linerate-cli-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).expect("a directory for files of the test");
        Scratch(directory)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What is in there, by name.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("the directory of the test");
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Gives the child a network namespace of its own, in which there is only `lo`, and `lo` is up.
pub fn in_own_namespace(command: &mut Command) -> &mut Command {
    let user = (!geteuid().is_root()).then(|| {
        let line = |id: u32| format!("0 {id} 1");
        (line(nix::unistd::geteuid().as_raw()), line(nix::unistd::getegid().as_raw()))
    });
    let enter = move || -> io::Result<()> {
        match &user {
            None => unshare(CloneFlags::CLONE_NEWNET)?,
            Some((uid_map, gid_map)) => {
                unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
                write_to(c"/proc/self/setgroups", b"deny")?;
                write_to(c"/proc/self/uid_map", uid_map.as_bytes())?;
                write_to(c"/proc/self/gid_map", gid_map.as_bytes())?;
            }
        }
        raise_loopback()
    };
    // SAFETY: after the fork the child makes plain system calls only, over memory that was there
    // before it; nothing allocates or takes a lock.
    unsafe { command.pre_exec(enter) }
}

/// Lets the child have one CPU.
pub fn on_one_cpu(command: &mut Command) -> &mut Command {
    let now = sched_getaffinity(Pid::from_raw(0)).expect("a CPU mask");
    let first = (0..CpuSet::count()).find(|cpu| now.is_set(*cpu).unwrap_or(false));
    let mut only = CpuSet::new();
    only.set(first.expect("a CPU")).expect("a CPU of the mask");
    // SAFETY: one system call over memory that was there before the fork.
    unsafe { command.pre_exec(move || Ok(sched_setaffinity(Pid::from_raw(0), &only)?)) }
}

/// Lets the child have only so much address space, which a large ring does not fit into.
pub fn with_address_space(command: &mut Command, bytes: u64) -> &mut Command {
    let limit = move || {
        use nix::sys::resource::{Resource, setrlimit};
        Ok(setrlimit(Resource::RLIMIT_AS, bytes, bytes)?)
    };
    // SAFETY: one system call on plain numbers.
    unsafe { command.pre_exec(limit) }
}

fn write_to(path: &CStr, bytes: &[u8]) -> io::Result<()> {
    use nix::fcntl::{OFlag, open};
    let file = open(path, OFlag::O_WRONLY, nix::sys::stat::Mode::empty())?;
    nix::unistd::write(&file, bytes)?;
    Ok(())
}

fn raise_loopback() -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    use std::os::fd::AsRawFd;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::empty(), None)?;
    let flags = libc::IFF_UP as libc::c_short;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags },
    };
    request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether namespaces can be made here. If not, says so aloud, and fails where `CI=true`.
pub fn namespaces_allowed() -> bool {
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    let allowed = *ALLOWED.get_or_init(|| {
        let mut command = linerate(&["--version"]);
        match start(in_own_namespace(&mut command)) {
            Ok(child) => child.wait_with_output().is_ok_and(|output| output.status.success()),
            Err(_) => false,
        }
    });
    let forced = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(allowed || !forced, "with CI=true the tests must be able to make network namespaces");
    if !allowed {
        eprintln!("*** SKIPPED: this process may not make network namespaces ***");
    }
    allowed
}

/// Only one at a time of those that load both CPUs.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Starts the program. Another thread of this process may just be forking while it has the copied
/// binary open for writing; then the kernel says "text file busy" for a moment.
pub fn start(command: &mut Command) -> io::Result<Child> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy
                    && Instant::now() < deadline =>
            {
                thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

/// Runs the program to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Ended {
    Running::start(command).end()
}

/// A program that runs, its outputs being read meanwhile.
pub struct Running {
    child: Child,
    out: Option<JoinHandle<String>>,
    err: Option<JoinHandle<String>>,
}

impl Running {
    #[track_caller]
    pub fn start(command: &mut Command) -> Running {
        let mut child = start(command).expect("the program starts");
        let out = child.stdout.take().map(read_all);
        let err = child.stderr.take().map(read_all);
        Running { child, out, err }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end; a program that does not come to one fails the test.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let status = wait(&mut self.child);
        let text = |reader: Option<JoinHandle<String>>| {
            reader.map_or(String::new(), |reader| reader.join().expect("a reader"))
        };
        Ended { code: status.code(), out: text(self.out), err: text(self.err) }
    }
}

/// Sends `signal` to `child`.
#[track_caller]
pub fn send(signal: Signal, child: &Child) {
    kill(Pid::from_raw(child.id() as i32), signal).expect("it is still there");
}

/// Waits until `child` catches `signal`, which would kill it before.
#[track_caller]
pub fn until_caught(signal: Signal, child: &Child) {
    let deadline = Instant::now() + PATIENCE;
    let status = format!("/proc/{}/status", child.id());
    let caught = || {
        let text = std::fs::read_to_string(&status).expect("the status of a child");
        let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let mask = u64::from_str_radix(mask.unwrap_or("0").trim(), 16).expect("a mask");
        mask & 1 << (signal as i32 - 1) != 0
    };
    while !caught() {
        assert!(Instant::now() < deadline, "no handler of {signal} after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the end of `child`, which must come in time.
#[track_caller]
pub fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("still running after {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn read_all(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Two interfaces in a namespace of the test's own, joined; `None` without the privilege to make them.
pub fn joined() -> Option<Namespace> {
    if !geteuid().is_root() || !namespaces_allowed() {
        eprintln!("*** SKIPPED: only root makes interfaces that outlive a program ***");
        return None;
    }
    let namespace = Namespace::create().expect("a namespace");
    let links = Links::open_in(&namespace).expect("links");
    let ends = VethPair {
        name: "near0".into(),
        peer_name: "far0".into(),
        peer_namespace: namespace.clone(),
        mac: None,
        peer_mac: None,
        mtu: 1500,
        transmit_queues: 1,
        receive_queues: 1,
    };
    links.create_veth_pair(&ends).expect("a veth pair");
    for name in ["near0", "far0"] {
        let index = links.by_name(name).expect("it is there").index;
        links.set_up(index, true).expect("it goes up");
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while !links.by_name("far0").expect("it is there").running {
        assert!(Instant::now() < deadline, "no carrier");
        std::thread::sleep(Duration::from_millis(5));
    }
    Some(namespace)
}

/// Has every one of `calls` fail with `errno` in the child, as the seccomp filter of a container does.
pub fn forbidding<'a>(
    command: &'a mut Command,
    calls: &[libc::c_long],
    errno: i32,
) -> &'a mut Command {
    let filter = filter(calls, libc::SECCOMP_RET_ERRNO | errno as u32);
    // SAFETY: system calls over memory that was there before the fork.
    unsafe { command.pre_exec(move || install(&filter, 0).map(drop)) }
}

/// Has `call` wait in the child until somebody lets it pass who has the descriptor that the returned
/// function gives, asked with the process's number.
pub fn delayable(
    command: &mut Command,
    call: libc::c_long,
) -> impl FnOnce(u32) -> io::Result<OwnedFd> + use<> {
    /// Out of the way of all others.
    const LISTENER: libc::c_int = 200;
    let filter = filter(&[call], libc::SECCOMP_RET_USER_NOTIF);
    let listen = move || {
        let listener = install(&filter, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
        // SAFETY: dup2(2) takes numbers.
        match unsafe { libc::dup2(listener, LISTENER) } {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: system calls over memory that was there before the fork.
    unsafe { command.pre_exec(listen) };
    |process| descriptor_of(process, LISTENER)
}

/// A filter that says `verdict` of `calls` and allows all others.
fn filter(calls: &[libc::c_long], verdict: u32) -> Vec<libc::sock_filter> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    // The number of the call is the first word of what a filter sees (seccomp_data).
    let of_call = |call: &libc::c_long| [step(EQUAL, 1, *call as u32), step(RETURN, 0, verdict)];
    let first = step(LOAD, 0, 0);
    let last = step(RETURN, 0, libc::SECCOMP_RET_ALLOW);
    [first].into_iter().chain(calls.iter().flat_map(of_call)).chain([last]).collect()
}

/// Installs a filter in the calling process.
fn install(filter: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<libc::c_int> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    nix::sys::prctl::set_no_new_privs()?;
    let (call, mode) = (libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER);
    // SAFETY: seccomp(2) reads the program and its instructions, which outlive the call.
    let done = unsafe { libc::syscall(call, mode, flags, &raw const program) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done as libc::c_int) }
}
