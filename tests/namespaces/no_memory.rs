//! A kernel that has no memory for large blocks. Nothing on a healthy machine brings it about: the kernel
//! charges ring memory to no control group and no limit, and takes a block from `vzalloc` where it finds no
//! contiguous pages (`alloc_one_pg_vec_page` in net/packet/af_packet.c). So a filter of system calls
//! (`seccomp_unotify(2)`) stands before the kernel in one thread, and refuses what is larger than allowed as the
//! kernel would.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc::channel;
use std::thread;

use libtest_mimic::{Completion, Failed};
use linerate::error::Result as LibraryResult;
use linerate::lab::{Lab, LabConfig};
use linerate::ring::budget::MemoryBudget;
use linerate::ring::geometry::{Geometry, GeometryChoice};
use linerate::ring::receive::ReceiveRing;
use linerate::ring::setup::{RxRing, RxRingSocket, TxRingSocket};
use linerate::sys::filter::{Instruction, Wanted};
use linerate::sys::packet::{ALL_PROTOCOLS, RingVersion};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::check::{PATIENCE, Test, eventually, impossible_here, possible_test};
use crate::client::{Client, numbered};

pub fn tests() -> Vec<Test> {
    vec![
        possible_test("no memory: a V3 ring comes in smaller blocks, and serves", || {
            smaller(RingVersion::V3)
        }),
        possible_test("no memory: so does a V2 ring", || smaller(RingVersion::V2)),
        possible_test("no memory: and a TX ring", transmit),
        possible_test("no memory: where no block is small enough, it is said", none_at_all),
    ]
}

const CHOICE: GeometryChoice = GeometryChoice {
    block_bytes: Some(128 << 10),
    blocks: Some(8),
    retire_ms: None,
    slots: None,
    frame_bytes: None,
    longest: None,
};
const LARGEST: u32 = 16 << 10;

/// 128, 64 and 32 KiB are refused, 16 are not; and all of the ring is there.
fn check(refused: usize, geometry: &Geometry, notes: &[String]) {
    assert_eq!((refused, geometry.block_bytes(), geometry.blocks()), (3, 16 << 10, 64));
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("128") && notes[0].contains("16"), "{notes:?}");
}

fn smaller(version: RingVersion) -> Result<Completion, Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let budget = MemoryBudget::new(1 << 20);
    let open = || -> LibraryResult<RxRingSocket> {
        lab.engine.namespace.enter()?;
        RxRingSocket::open(version, CHOICE, 1500, &everything(), &budget)
    };
    let Some((opened, refused)) = refusing(LARGEST, open)? else { return no_filter() };
    let RxRingSocket { socket, mut ring, geometry, notes } = opened?;
    check(refused, &geometry, &notes);
    socket.bind(lab.engine.link.index, ALL_PROTOCOLS)?;
    Client::open(&lab.generator)?.send(&numbered(7, 60))?;
    eventually("a frame is received", || {
        Ok(match &mut ring {
            RxRing::V3(ring) => ring.lend(1).is_some(),
            RxRing::V2(ring) => ring.lend(1).is_some(),
        })
    })?;
    Ok(Completion::Completed)
}

fn transmit() -> Result<Completion, Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let budget = MemoryBudget::new(1 << 20);
    let open = || -> LibraryResult<TxRingSocket> {
        lab.engine.namespace.enter()?;
        TxRingSocket::open(CHOICE, 1500, &budget)
    };
    let Some((opened, refused)) = refusing(LARGEST, open)? else { return no_filter() };
    let opened = opened?;
    check(refused, &opened.geometry, &opened.notes);
    Ok(Completion::Completed)
}

fn none_at_all() -> Result<Completion, Failed> {
    let budget = MemoryBudget::new(1 << 20);
    let open = || RxRingSocket::open(RingVersion::V3, CHOICE, 1500, &everything(), &budget);
    let Some((opened, refused)) = refusing(0, open)? else { return no_filter() };
    let error = opened.err().ok_or("a ring without memory")?;
    assert_eq!((error.errno(), refused), (Some(libc::ENOMEM), 6), "{error}");
    assert!(error.to_string().contains("--blocks"), "{error}");
    Ok(Completion::Completed)
}

fn everything() -> Vec<Instruction> {
    Wanted { ether_types: vec![], tagged: true }.program()
}

fn no_filter() -> Result<Completion, Failed> {
    impossible_here("no filter of system calls can be set here (CONFIG_SECCOMP_FILTER)")
}

/// What `open` gives in a thread of its own, to which rings are refused whose blocks have more than `largest`
/// bytes, and how many were; `None` where no such filter is to be had.
fn refusing<T: Send>(
    largest: u32,
    open: impl FnOnce() -> T + Send,
) -> Result<Option<(T, usize)>, Failed> {
    let (hand_over, listener) = channel();
    thread::scope(|scope| {
        let opening = scope.spawn(move || {
            let _ = hand_over.send(listen());
            // Nobody waits for the thread after this.
            drop(hand_over);
            open()
        });
        let listener = match listener.recv()? {
            Ok(listener) => listener,
            Err(_) => return Ok(None),
        };
        let refused = answer_calls(listener, largest)?;
        let opened = opening.join().map_err(|_| "opening a ring panicked")?;
        Ok(Some((opened, refused)))
    })
}

/// From now on the calling thread asks whoever holds the descriptor before each setsockopt(2).
fn listen() -> io::Result<OwnedFd> {
    let step = |code, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut code = [
        // The first word of `struct seccomp_data` is the number of the call.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_setsockopt as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: code.len() as u16, filter: code.as_mut_ptr() };
    let how = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    nix::sys::prctl::set_no_new_privs()?;
    // SAFETY: seccomp(2) reads the program, which lives until it returns, and the code that it points to.
    let descriptor = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, how, &raw const program)
    };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: seccomp(2) just made this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
}

/// Answers until the thread that asks has ended: how many rings were refused.
fn answer_calls(listener: OwnedFd, largest: u32) -> Result<usize, Failed> {
    let mut refused = 0;
    loop {
        let mut set = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut set, PollTimeout::try_from(PATIENCE)?)? == 0 {
            return Err("the thread neither asks nor ends".into());
        }
        if !set[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN)) {
            return Ok(refused);
        }
        // SAFETY: it is made of integers, for which zeros are a value.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        let descriptor = listener.as_raw_fd();
        // SAFETY: the ioctl writes one `struct seccomp_notif`, to a live local of zeros.
        check_call(unsafe {
            libc::ioctl(descriptor, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call)
        })?;
        let [_, level, name, value, ..] = call.data.args;
        let is_ring = level == libc::SOL_PACKET as u64
            && [libc::PACKET_RX_RING, libc::PACKET_TX_RING].contains(&(name as i32));
        // SAFETY: the caller, a thread of this process, waits in the call with `struct tpacket_req` there,
        // whose first word is the size of a block.
        let is_refused = is_ring && unsafe { *(value as usize as *const u32) } > largest;
        refused += usize::from(is_refused);
        let (error, flags) = match is_refused {
            true => (-libc::ENOMEM, 0),
            false => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        };
        let mut answer = libc::seccomp_notif_resp { id: call.id, val: 0, error, flags };
        // SAFETY: the ioctl reads one `struct seccomp_notif_resp`, a live local.
        check_call(unsafe {
            libc::ioctl(descriptor, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer)
        })?;
    }
}

fn check_call(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
