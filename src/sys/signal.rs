//! SIGINT, SIGTERM and SIGHUP as a flag that loops look at, so that nothing is lost on Ctrl-C.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::failure::failed;
use crate::error::Result;

/// Whether the user asked the program to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches SIGINT, SIGTERM and SIGHUP from now on. The first sets the flag; a second SIGINT or
    /// SIGTERM, for a program that does not come to its end, ends it at once with code 130. A SIGHUP
    /// that was ignored before (`nohup`) stays ignored.
    pub fn catch() -> Result<Interrupt> {
        Interrupt::catch_with(Arc::default())
    }

    /// [`Interrupt::catch`] with a flag that others look at too.
    pub fn catch_with(flag: Arc<AtomicBool>) -> Result<Interrupt> {
        Interrupt::install(flag).map_err(|error| failed("catch signals", &error, ""))
    }

    fn install(flag: Arc<AtomicBool>) -> io::Result<Interrupt> {
        let interrupt = Interrupt(flag);
        let asked = Arc::default();
        for signal in [SIGINT, SIGTERM] {
            // Order matters: from the first of these on the signal no longer kills, so it must set the
            // flag; and the shutdown looks at its own flag before this signal sets it.
            flag::register(signal, Arc::clone(&interrupt.0))?;
            flag::register_conditional_shutdown(signal, 130, Arc::clone(&asked))?;
            flag::register(signal, Arc::clone(&asked))?;
        }
        // A terminal that closes may send several of these, and none is meant to cut the summary off.
        if !is_ignored(SIGHUP)? {
            flag::register(SIGHUP, Arc::clone(&interrupt.0))?;
        }
        Ok(interrupt)
    }

    /// Whether a signal has come.
    pub fn caught(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the flag as a signal would.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn is_ignored(signal: libc::c_int) -> io::Result<bool> {
    // SAFETY: a sigaction is made of integers and a pointer, for which zeros are a value.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is set; the kernel writes one sigaction into a live local.
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut now) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(now.sa_sigaction == libc::SIG_IGN) }
}
