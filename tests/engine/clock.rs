//! A clock that stands still until it is slept by or read.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::Duration;

use linerate::sys::clock::Clock;

/// Far enough from zero.
pub const START_NS: u64 = 1 << 50;

#[derive(Default)]
pub struct FakeClock {
    slept_ns: Cell<u64>,
    /// How far each reading moves it.
    pub step_ns: Cell<u64>,
    read_ns: Cell<u64>,
    at_sleep: RefCell<Option<Box<dyn FnMut()>>>,
}

impl fmt::Debug for FakeClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeClock").field("now_ns", &self.now_ns()).finish_non_exhaustive()
    }
}

impl FakeClock {
    pub fn slept(&self) -> Duration {
        Duration::from_nanos(self.slept_ns.get())
    }

    /// Something that happens while the worker sleeps by this clock.
    pub fn at_sleep(&self, what: impl FnMut() + 'static) {
        *self.at_sleep.borrow_mut() = Some(Box::new(what));
    }

    /// Time passes elsewhere.
    pub fn pass(&self, duration: Duration) {
        self.read_ns.set(self.read_ns.get() + duration.as_nanos() as u64);
    }

    fn now_ns(&self) -> u64 {
        START_NS + self.slept_ns.get() + self.read_ns.get()
    }

    fn read(&self) -> u64 {
        self.read_ns.set(self.read_ns.get() + self.step_ns.get());
        self.now_ns()
    }
}

impl Clock for FakeClock {
    fn realtime_ns(&self) -> u64 {
        self.read()
    }

    fn monotonic_ns(&self) -> u64 {
        self.read()
    }

    fn sleep(&self, duration: Duration) {
        self.slept_ns.set(self.slept_ns.get() + duration.as_nanos() as u64);
        if let Some(what) = &mut *self.at_sleep.borrow_mut() {
            what();
        }
    }
}
