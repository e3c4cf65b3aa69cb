//! SIGINT and SIGTERM as a flag that loops look at, so that nothing is lost on Ctrl-C.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether the user asked the program to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches SIGINT and SIGTERM from now on. The first sets the flag; a second one, for a
    /// program that does not come to its end, ends it at once with code 130.
    pub fn catch() -> io::Result<Interrupt> {
        Interrupt::catch_with(Arc::default())
    }

    /// [`Interrupt::catch`] with a flag that others look at too.
    pub fn catch_with(flag: Arc<AtomicBool>) -> io::Result<Interrupt> {
        let interrupt = Interrupt(flag);
        for signal in [SIGINT, SIGTERM] {
            // Order matters: the shutdown looks at the flag before this signal sets it.
            flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupt.0))?;
            flag::register(signal, Arc::clone(&interrupt.0))?;
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
