//! What a program that runs may still do, as /proc tells of every thread; and names that would command
//! a terminal.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use libtest_mimic::Failed;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::sys::link::Links;
use linerate::sys::namespace::Namespace;
use linerate::wire::ethernet::MacAddress;

use crate::check::{Test, eventually, test};
use crate::links::plain_pair;

pub fn tests() -> Vec<Test> {
    vec![
        test("privileges: an echo runs as a plain user without capabilities", echo),
        test("privileges: so does a load, in a lab and on an interface", load),
        test(
            "privileges: a comparison keeps what opening sockets takes, its workers nothing",
            compare,
        ),
        test("privileges: names that would command a terminal are escaped", escapes),
        test("privileges: a name that is no UTF-8 is no panic", no_utf8),
    ]
}

/// What /proc says of a thread.
type Fields = BTreeMap<String, String>;

/// The program with `words`, in `namespace`, once it has said `sign`.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Running {
    fn start(namespace: &Namespace, words: &str, sign: &str) -> Result<Running, Failed> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linerate"));
        command.args(words.split(' ')).stdout(Stdio::piped()).env_remove("SUDO_UID");
        let mut child = namespace.run(|| command.spawn())??;
        let mut lines = BufReader::new(child.stdout.take().ok_or("a pipe")?).lines();
        let said = lines.by_ref().any(|line| line.is_ok_and(|line| line.contains(sign)));
        if !said {
            return Err(format!("{words}: it ended without '{sign}': {:?}", child.wait()?).into());
        }
        Ok(Running { child, lines })
    }

    /// The status of every thread, by its name.
    fn threads(&self) -> Result<Vec<(String, Fields)>, Failed> {
        let mut threads = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end meanwhile.
            let Ok(status) = std::fs::read_to_string(task?.path().join("status")) else { continue };
            let fields: Fields = status
                .lines()
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_string(), value.trim().to_string()))
                .collect();
            threads.push((fields["Name"].clone(), fields));
        }
        Ok(threads)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.lines.by_ref().count();
    }
}

fn set(fields: &Fields, name: &str) -> u64 {
    u64::from_str_radix(&fields[name], 16).expect("a set of capabilities")
}

/// Whoever the thread is, it is a plain user who can become nothing else.
fn check_user(name: &str, fields: &Fields) {
    assert_eq!(fields["NoNewPrivs"], "1", "{name}: {fields:?}");
    for none in ["CapInh", "CapBnd", "CapAmb"] {
        assert_eq!(set(fields, none), 0, "{name}, {none}: {fields:?}");
    }
    // In a user namespace of one user there is nobody else to become.
    let users = std::fs::read_to_string("/proc/self/uid_map").expect("a file");
    if users.split_whitespace().nth(2) != Some("1") {
        for id in ["Uid", "Gid"] {
            assert!(!fields[id].split_whitespace().any(|one| one == "0"), "{name}: {fields:?}");
        }
        assert_eq!(fields["Groups"], "", "{name}");
    }
}

fn check_all_plain(running: &Running) -> Result<(), Failed> {
    let threads = running.threads()?;
    assert!(threads.len() >= 2, "{threads:?}");
    for (name, fields) in &threads {
        check_user(name, fields);
        for none in ["CapPrm", "CapEff"] {
            assert_eq!(set(fields, none), 0, "{name}, {none}: {fields:?}");
        }
    }
    Ok(())
}

fn echo() -> Result<(), Failed> {
    for path in ["ring-v2", "ring-xsk -w 1", "v3+mmsg -w 2 --promisc", "syscall"] {
        let lab = Lab::create(&LabConfig::default())?;
        let words = format!("echo -i {} --path {path}", ENGINE.interface);
        check_all_plain(&Running::start(&lab.engine.namespace, &words, "runs as ")?)?;
    }
    Ok(())
}

fn load() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let to = format!("-i {} --to {}", GENERATOR.interface, MacAddress(ENGINE.mac));
    for reach in ["--lab", &to, "--lab xdp", "--lab --udp 4"] {
        for how in ["", " --senders 1"] {
            let words = format!("load {reach}{how} -r 1k -d 100s --interval 20ms");
            let running = Running::start(&lab.generator.namespace, &words, " s  sent ");
            // Without privilege there is no XDP program.
            match running {
                Err(_) if reach.contains("xdp") => {}
                running => check_all_plain(&running?)?,
            }
        }
    }
    Ok(())
}

/// CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_SYS_ADMIN, CAP_BPF.
const SET_UP: u64 = 1 << 10 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 21 | 1 << 39;

fn compare() -> Result<(), Failed> {
    let words = "compare --paths ring-v2 --loads window --trials 1000 --trial-duration 200ms -s 64";
    let running = Running::start(&Namespace::current()?, words, "runs as ")?;
    eventually("a worker without capabilities", || {
        let threads = running.threads()?;
        for (name, fields) in &threads {
            check_user(name, fields);
            assert_eq!(set(fields, "CapPrm") & !SET_UP, 0, "{name}: {fields:?}");
        }
        // Threads inherit what those have that start them, and give it up when they are set up.
        Ok(threads.iter().any(|(name, fields)| name == "linerate-0" && set(fields, "CapPrm") == 0))
    })
}

/// A namespace with a veth pair, one end of which is called `name`.
fn named(name: &str) -> Result<Namespace, Failed> {
    let namespace = Namespace::create()?;
    let links = Links::open_in(&namespace)?;
    links.create_veth_pair(&plain_pair(name, "peer0", &namespace))?;
    Ok(namespace)
}

fn escapes() -> Result<(), Failed> {
    let name = "\x1b]0;hi\x07";
    let namespace = named(name)?;
    for interface in [name, "nosuch"] {
        for words in [
            &["echo", "-d", "100ms", "-i", interface][..],
            &["load", "-i", interface, "--to", "02:00:00:00:00:02"],
            &["compare", "-i", interface, "--dut-interface", "peer0"],
            &["tutorial", "server", "-d", "100ms", "-i", interface],
        ] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_linerate"));
            let output = namespace.run(|| command.args(words).output())??;
            let said = [output.stdout, output.stderr].concat();
            let raw = said.iter().any(|byte| *byte < b' ' && *byte != b'\n' || *byte == 0x7f);
            let text = String::from_utf8_lossy(&said);
            assert!(!raw, "{text:?}");
            // The tutorial names its interface in errors only.
            assert!(words[0] == "tutorial" || text.contains("u{1b}]0;hi"), "{text:?}");
        }
    }
    Ok(())
}

fn no_utf8() -> Result<(), Failed> {
    let namespace = named("plain0")?;
    namespace.run(|| rename(b"plain0\0", b"a\xff\xfe\0"))??;
    for words in [
        &["echo", "-d", "100ms", "-i", "peer0"][..],
        &["echo", "-d", "100ms", "-i", "nosuch"],
        &["load", "-i", "nosuch", "--to", "02:00:00:00:00:02"],
        &["tutorial", "server", "-d", "100ms", "-i", "nosuch"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linerate"));
        let output = namespace.run(|| command.args(words).output())??;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let orderly = output.status.code().is_some_and(|code| code <= 1);
        assert!(orderly && !said.contains("panicked"), "{words:?}: {said}");
    }
    Ok(())
}

/// `SIOCSIFNAME`; netlink in this crate has names of text only.
fn rename(from: &[u8], to: &[u8]) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")
        .or_else(|_| std::net::UdpSocket::bind("0.0.0.0:0"))?;
    let name = |bytes: &[u8]| {
        let mut name = [0 as libc::c_char; libc::IFNAMSIZ];
        name.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from as libc::c_char);
        name
    };
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_newname: name(to) };
    let mut request = libc::ifreq { ifr_name: name(from), ifr_ifru };
    // SAFETY: SIOCSIFNAME reads one ifreq, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFNAME, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
