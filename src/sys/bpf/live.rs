//! Frames that an XDP program makes in the kernel: `BPF_PROG_TEST_RUN` with `BPF_F_TEST_XDP_LIVE_FRAMES`
//! (since Linux 5.18; `bpf_test_run_xdp_live` in net/bpf/test_run.c).
//!
//! Loading takes the privileges of [`NEEDS_BPF`](super::NEEDS_BPF), running nothing but the descriptor.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::assembly::Instruction;
use super::test_run::{Context, TestRun, address};
use super::{AttachMode, Attached, MAP_CREATE, MapCreate, Program, advice, bpf_descriptor};
use crate::error::{Error, Result};
use crate::sys::failure::failed;
use crate::sys::interface::called;
use crate::sys::mapping::{Mapping, page_bytes};
use crate::sys::namespace::Namespace;
use crate::sys::netdev::XdpAbilities;

/// The longest frame that such a program can make, in bytes without FCS: with its description and its room at both
/// ends it lies in a page (`TEST_MAX_PKT_SIZE`), of which less than 400 bytes are taken at the front and the end.
pub const LIVE_BYTES_MAX: usize = 4096 - 256 - 400 - 320;

/// What a program returns to have its page taken back (`XDP_DROP`).
pub const DROP: i32 = 1;
/// `bpf_ktime_get_ns`: `CLOCK_MONOTONIC`.
pub const CLOCK: i32 = 5;
/// `bpf_redirect`: the frame leaves by an interface.
pub const REDIRECT: i32 = 23;
/// `bpf_xdp_adjust_tail`.
pub const ADJUST_TAIL: i32 = 65;
/// `bpf_xdp_store_bytes`, since Linux 5.18.
pub const STORE_BYTES: i32 = 190;

/// Frames of which the kernel makes one batch, before the driver has them; less than fill the ring of a veth
/// (256), and more the kernel does not take (`TEST_XDP_MAX_BATCH`).
const BATCH: u32 = 64;

/// Memory that a program and we share: an array with one value (`BPF_F_MMAPABLE`).
#[derive(Debug)]
pub struct ProgramMemory {
    map: OwnedFd,
    mapping: Mapping,
}

impl ProgramMemory {
    /// So many zero bytes at least. EPERM without the privileges of [`NEEDS_BPF`](super::NEEDS_BPF).
    pub fn create(bytes: usize) -> Result<ProgramMemory> {
        let bytes = bytes.next_multiple_of(page_bytes());
        let request = MapCreate {
            map_type: MAP_TYPE_ARRAY,
            key_bytes: 4,
            value_bytes: bytes as u32,
            entries: 1,
            flags: MAPPABLE,
        };
        let map = bpf_descriptor(MAP_CREATE, &request).map_err(|error| {
            failed("create the memory of a BPF program", &error, advice(&error))
        })?;
        let length = NonZeroUsize::new(bytes).unwrap_or(NonZeroUsize::MIN);
        let mapping = Mapping::of_socket(map.as_fd(), length, 0)
            .map_err(|error| failed("map the memory of a BPF program", &error, ""))?;
        Ok(ProgramMemory { map, mapping })
    }
}

impl AsFd for ProgramMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// Whether an interface takes frames that a program makes; a usage error for the TX half `half` where it does not.
/// A kernel before 6.3 does not say.
pub fn check_driver(half: &str, interface: u32) -> Result<()> {
    match XdpAbilities::of(interface) {
        Ok(XdpAbilities { transmits: false, .. }) => Err(Error::Usage(format!(
            "--tx {half}: {} takes no frames from a BPF program (ndo_xdp_xmit). Of a veth the other end must \
             poll: `ethtool -K PEER gro on`. Some NICs take them only while an XDP program is attached",
            called(interface),
        ))),
        _ => Ok(()),
    }
}

/// A program that makes frames, with its memory.
#[derive(Debug)]
pub struct LiveProgram {
    program: Program,
    memory: ProgramMemory,
    _kept: (Attached, Namespace),
}

impl LiveProgram {
    /// Loads a program that knows `memory`.
    ///
    /// Each run of a program that is attached nowhere waits twice for all CPUs (`synchronize_rcu` in
    /// `bpf_dispatcher_change_prog`), which makes 8 runs a second. So it is attached to the loopback of a network
    /// namespace of its own, which is down: nothing arrives there, and it is gone with the process.
    pub fn load(instructions: &[Instruction], memory: ProgramMemory) -> Result<LiveProgram> {
        let program = Program::load(instructions)?;
        let nowhere = Namespace::create()?;
        let attached = nowhere.run(|| program.attach_as(LOOPBACK, AttachMode::Generic))?;
        let attached = attached.map_err(|error| {
            failed("attach a BPF program to a loopback", &error, advice(&error))
        })?;
        Ok(LiveProgram { program, memory, _kept: (attached, nowhere) })
    }

    /// The memory, while the program does not run.
    #[inline]
    pub fn memory(&mut self) -> &mut [u8] {
        let (base, length) = (self.memory.mapping.base(), self.memory.mapping.length());
        // SAFETY: the mapping is of `length` bytes and lives as long as self. Beside us only the program writes
        // there, and it runs only within BPF_PROG_TEST_RUN of `run`, which borrows self exclusively: the interface
        // that it is attached to is down and receives nothing.
        unsafe { std::slice::from_raw_parts_mut(base.as_ptr(), length) }
    }

    /// Runs the program `times` times, each time over a page that begins with `frame` or with what the page's last
    /// user left there; where it redirects, the frame leaves. EINTR: a signal came, and it ran less often.
    /// EINVAL: the kernel is older than 5.18.
    #[inline]
    pub fn run(&mut self, frame: &[u8], times: u32) -> io::Result<()> {
        let context = Context { data_end: frame.len() as u32, ..Context::default() };
        let mut request = TestRun {
            frame: address(frame),
            frame_bytes: frame.len() as u32,
            times,
            context_bytes: size_of::<Context>() as u32,
            context: (&raw const context).expose_provenance() as u64,
            flags: LIVE_FRAMES,
            batch: BATCH,
            ..TestRun::of(&self.program)
        };
        request.run()
    }

    /// Runs it while it has nothing to make: whether the kernel can.
    pub fn check(&mut self, frame: &[u8]) -> Result<()> {
        self.run(frame, 1).map_err(|error| {
            let is_old = error.raw_os_error() == Some(libc::EINVAL);
            let advice = if is_old { "it takes Linux 5.18 or newer" } else { "" };
            failed("have a BPF program make frames", &error, advice)
        })
    }

    /// [`Program::try_out`].
    pub fn try_out(&mut self, frame: &[u8]) -> io::Result<(u32, Vec<u8>)> {
        self.program.try_out(frame)
    }
}

/// `LOOPBACK_IFINDEX`.
const LOOPBACK: u32 = 1;

// Numbers of uapi/linux/bpf.h.
const MAP_TYPE_ARRAY: u32 = 2;
const MAPPABLE: u32 = 1 << 10;
const LIVE_FRAMES: u32 = 1 << 1;
