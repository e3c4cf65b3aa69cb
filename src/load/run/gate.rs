//! Where the threads of a run wait for one another: its time begins when all of them can work.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::sys::clock::monotonic_ns;

/// From the moment in which the last thread is ready to the first departure: the others wake up meanwhile.
const LEAD_NS: u64 = 2_000_000;

/// Opens when every thread has been at it.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    opens: Condvar,
}

#[derive(Debug)]
struct State {
    missing: usize,
    start_ns: u64,
}

impl Gate {
    /// A gate for so many threads.
    pub fn of(threads: usize) -> Gate {
        Gate { state: Mutex::new(State { missing: threads, start_ns: 0 }), opens: Condvar::new() }
    }

    /// A thread begins to get ready.
    pub fn place(&self) -> Place<'_> {
        Place(self)
    }

    /// When the run began, once the gate is open.
    pub fn start_ns(&self) -> u64 {
        self.locked().start_ns
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that others wait for; not for ever, however it ends.
pub(super) struct Place<'a>(&'a Gate);

impl Place<'_> {
    /// Waits for the others, and gives the time of the start.
    pub fn ready(self) -> u64 {
        let gate = self.0;
        drop(self);
        let open = gate.opens.wait_while(gate.locked(), |state| state.missing > 0);
        open.unwrap_or_else(PoisonError::into_inner).start_ns
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.0.locked();
        state.missing -= 1;
        if state.missing == 0 {
            state.start_ns = monotonic_ns() + LEAD_NS;
            self.0.opens.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_slowest_thread_decides_when_a_run_begins() {
        let gate = &Gate::of(4);
        let ready = |place: Place<'_>, after_ms| {
            thread::sleep(Duration::from_millis(after_ms));
            let ready_ns = monotonic_ns();
            (ready_ns, place.ready())
        };
        // One that fails keeps nobody waiting.
        drop(gate.place());
        let all = thread::scope(|scope| {
            let threads = [0, 50, 5].map(|ms| scope.spawn(move || ready(gate.place(), ms)));
            threads.map(|thread| thread.join().unwrap())
        });
        for (ready_ns, start_ns) in all {
            assert!(start_ns >= ready_ns + LEAD_NS, "{ready_ns} {start_ns}");
            assert_eq!(start_ns, gate.start_ns());
        }
    }
}
