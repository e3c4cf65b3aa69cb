//! The standard streams as the program was given them.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether standard output was closed when the program began (`>&-`). Before `main` the runtime opens
/// /dev/null in its place, so that no write tells.
pub fn stdout_was_closed() -> bool {
    STDOUT_CLOSED.load(Ordering::Relaxed)
}

static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

extern "C" fn look() {
    // SAFETY: fcntl(2) with F_GETFD takes numbers and touches no memory.
    let closed = unsafe { libc::fcntl(1, libc::F_GETFD) } < 0;
    STDOUT_CLOSED.store(closed, Ordering::Relaxed);
}

// SAFETY: the C library calls what .init_array points to once, before `main` (ELF, System V ABI), with
// arguments that `look` does not read; `look` needs nothing of the runtime, which is not there yet.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;
