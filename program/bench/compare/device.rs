//! What answers in a seat: our own engine, or another build of it in a process of its own.

use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::pool::{Engine, EngineSummary, WorkerThread};
use crate::error::{Error, Result};
use crate::sys::clock::ThreadCpuClock;
use crate::sys::runner::Runner;

/// An engine that can be paused.
pub(super) enum Device {
    Own(Box<Engine>),
    Program { runner: Arc<Mutex<Runner>>, clock: ThreadCpuClock },
}

impl Device {
    /// A process that `runner` has started.
    pub fn program((process, runner): (i32, Arc<Mutex<Runner>>)) -> Result<Device> {
        let clock = ThreadCpuClock::of_process(process);
        let clock = clock.ok_or_else(|| Error::Run("the engine's process has gone".into()))?;
        Ok(Device::Program { runner, clock })
    }

    pub fn pause(&self) -> Result<()> {
        match self {
            Device::Own(engine) => {
                engine.pause();
                Ok(())
            }
            Device::Program { runner, .. } => of(runner, Runner::pause),
        }
    }

    pub fn resume(&self) -> Result<()> {
        match self {
            Device::Own(engine) => {
                engine.resume();
                Ok(())
            }
            Device::Program { runner, .. } => of(runner, Runner::resume),
        }
    }

    /// CPU time so far, user and kernel.
    pub fn cpu_ns(&self) -> u64 {
        self.cpu_clocks().into_iter().filter_map(ThreadCpuClock::read_ns).sum()
    }

    pub fn cpu_clocks(&self) -> Vec<ThreadCpuClock> {
        match self {
            Device::Own(engine) => engine.cpu_clocks(),
            Device::Program { clock, .. } => vec![*clock],
        }
    }

    /// The threads that work, where they are ours.
    pub fn threads(&self) -> Vec<WorkerThread> {
        match self {
            Device::Own(engine) => engine.threads(),
            Device::Program { .. } => Vec::new(),
        }
    }

    /// Whether it has ended by itself; [`Device::stop`] then says why.
    pub fn has_ended(&self) -> bool {
        match self {
            Device::Own(engine) => engine.has_ended(),
            // What has gone itself says why when it is asked for anything else.
            Device::Program { runner, .. } => of(runner, Runner::has_ended).unwrap_or(true),
        }
    }

    /// Ends it, and gives its account, where it has one that we can read.
    pub fn stop(self) -> Result<Option<EngineSummary>> {
        match self {
            Device::Own(engine) => Ok(Some(engine.stop())),
            Device::Program { runner, .. } => of(&runner, Runner::stop_program).map(|()| None),
        }
    }
}

fn of<T>(runner: &Mutex<Runner>, act: impl FnOnce(&mut Runner) -> Result<T>) -> Result<T> {
    act(&mut runner.lock().unwrap_or_else(PoisonError::into_inner))
}
