//! Running a program once, over a frame in memory (`BPF_PROG_TEST_RUN`, `bpf_prog_test_run_xdp` in
//! net/bpf/test_run.c): how every program here is tested against plain Rust.

use std::io;
use std::os::fd::AsRawFd;

use super::{Program, bpf_answered};

impl Program {
    /// Runs the program once over a copy of `frame`, as on queue 0 of the loopback: what it returns, and the frame
    /// afterwards. EINVAL: the frame is shorter than an Ethernet header.
    pub fn try_out(&self, frame: &[u8]) -> io::Result<(u32, Vec<u8>)> {
        let mut made = vec![0; frame.len()];
        let mut request = TestRun {
            frame: address(frame),
            frame_bytes: frame.len() as u32,
            made: made.as_mut_ptr().expose_provenance() as u64,
            made_bytes: made.len() as u32,
            times: 1,
            ..TestRun::of(self)
        };
        request.run()?;
        made.truncate(request.made_bytes as usize);
        Ok((request.returned, made))
    }
}

pub(super) fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

// Numbers of uapi/linux/bpf.h.
const PROGRAM_TEST_RUN: libc::c_int = 10;

/// `struct xdp_md`, as it is handed in.
#[derive(Default)]
#[repr(C)]
pub(super) struct Context {
    pub data: u32,
    pub data_end: u32,
    pub data_meta: u32,
    pub interface: u32,
    pub queue: u32,
    pub leaves_by: u32,
}

/// `test` of `union bpf_attr`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct TestRun {
    pub program: u32,
    pub returned: u32,
    pub frame_bytes: u32,
    pub made_bytes: u32,
    pub frame: u64,
    pub made: u64,
    pub times: u32,
    pub duration_ns: u32,
    pub context_bytes: u32,
    pub context_out_bytes: u32,
    pub context: u64,
    pub context_out: u64,
    pub flags: u32,
    pub cpu: u32,
    pub batch: u32,
    pub _padding: u32,
}

impl TestRun {
    pub fn of(program: &Program) -> TestRun {
        TestRun { program: program.fd.as_raw_fd() as u32, ..TestRun::default() }
    }

    /// Has the kernel do it, and answer in the request.
    pub fn run(&mut self) -> io::Result<()> {
        bpf_answered(PROGRAM_TEST_RUN, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_sizes_of_the_kernels_union() {
        assert_eq!(size_of::<Context>(), 24);
        assert_eq!(std::mem::offset_of!(TestRun, batch), 72);
    }
}
