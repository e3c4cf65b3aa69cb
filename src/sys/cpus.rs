//! Which CPUs there are, and putting a thread on one.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::failure::{errno, failed};
use super::forbidden::{is_ban, tolerate};
use crate::error::{Error, Result};

const SET: &str = "sched_setaffinity(2)";
const UNPINNED: &str = "threads run on whatever CPU the kernel chooses";

/// The calling thread.
const HERE: Pid = Pid::from_raw(0);

/// The CPUs `asked` for; all that the calling thread may use if none is asked for.
///
/// Whether an asked one is to be had shows in [`pin`]: the calling thread may be pinned itself, and
/// a thread may leave the CPUs of the one that started it.
pub fn choose_cpus(asked: &[usize]) -> Result<Vec<usize>> {
    let usable = sched_getaffinity(HERE);
    // Said before the work begins, not only once a thread tries.
    if let Ok(usable) = &usable {
        let _ = tolerate(SET, UNPINNED, set(usable));
    }
    if !asked.is_empty() {
        return Ok(asked.to_vec());
    }
    match usable {
        Ok(usable) => {
            Ok((0..CpuSet::count()).filter(|cpu| usable.is_set(*cpu) == Ok(true)).collect())
        }
        Err(error) => {
            let all = "all CPUs are taken to be usable";
            tolerate("sched_getaffinity(2)", all, Err(error.into())).map_err(|error| {
                failed("tell which CPUs this process may use", &error, "name some (--cpus)")
            })?;
            Ok((0..online()).collect())
        }
    }
}

/// Whether threads can be put on CPUs at all; else an error, for who asked for certain ones.
pub fn check_pinning() -> Result<()> {
    match sched_getaffinity(HERE).map_err(io::Error::from).and_then(|now| set(&now)) {
        Err(error) if is_ban(&error) => Err(failed(
            "put a thread on a CPU, by sched_setaffinity(2)",
            &error,
            "it is forbidden here, as by the seccomp filter of a container: leave out --cpus, and \
             threads run on whatever CPU the kernel chooses",
        )),
        _ => Ok(()),
    }
}

/// Pins the calling thread; where that is forbidden it runs anywhere, which is said.
pub fn pin(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    let pinned = only.set(cpu).map_err(io::Error::from).and_then(|()| set(&only));
    tolerate(SET, UNPINNED, pinned).map_err(|error| {
        Error::Usage(format!(
            "could not put a thread on CPU {cpu}: {}\n  it does not exist, or the process's CPU mask \
             excludes it (`taskset -cp $$` shows the mask)",
            errno(error.raw_os_error().unwrap_or(libc::EINVAL))
        ))
    })
}

fn set(cpus: &CpuSet) -> io::Result<()> {
    Ok(sched_setaffinity(HERE, cpus)?)
}

fn online() -> usize {
    // SAFETY: sysconf(3) takes a number and touches no memory of ours.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(online).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_on_the_cpu_that_it_was_put_on() {
        let cpu = *choose_cpus(&[]).unwrap().last().unwrap();
        let seen = std::thread::spawn(move || pin(cpu).and_then(|()| choose_cpus(&[])));
        assert_eq!(seen.join().unwrap().unwrap(), [cpu]);
        let most = libc::CPU_SETSIZE as usize;
        for cpu in [most - 1, most, usize::MAX] {
            assert_eq!(pin(cpu).unwrap_err().exit_code(), 2, "CPU {cpu}");
        }
    }
}
