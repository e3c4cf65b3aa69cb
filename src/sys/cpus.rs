//! Which CPUs there are, and putting a thread on one.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::failure::{errno, failed};
use crate::error::{Error, Result};

const THIS_THREAD: Pid = Pid::from_raw(0);

/// The CPUs `asked` for; all that the calling thread may use if none is asked for.
///
/// Whether an asked one is to be had shows in [`pin`]: the calling thread may be pinned itself, and
/// a thread may leave the CPUs of the one that started it.
pub fn choose_cpus(asked: &[usize]) -> Result<Vec<usize>> {
    if !asked.is_empty() {
        return Ok(asked.to_vec());
    }
    let usable = sched_getaffinity(THIS_THREAD).map_err(|number| {
        failed("tell which CPUs this process may use", &number.into(), "name some (--cpus)")
    })?;
    Ok((0..CpuSet::count()).filter(|&cpu| usable.is_set(cpu) == Ok(true)).collect())
}

/// Pins the calling thread.
pub fn pin(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu).and_then(|()| sched_setaffinity(THIS_THREAD, &only)).map_err(|number| {
        Error::Usage(format!(
            "could not put a thread on CPU {cpu}: {}\n  it does not exist, or the process's CPU mask \
             excludes it (`taskset -cp $$` shows the mask)",
            errno(number as i32)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_on_the_cpu_that_it_was_put_on() {
        let cpu = *choose_cpus(&[]).unwrap().last().unwrap();
        let seen = std::thread::spawn(move || pin(cpu).and_then(|()| choose_cpus(&[])));
        assert_eq!(seen.join().unwrap().unwrap(), [cpu]);
        let most = CpuSet::count();
        for cpu in [most - 1, most, usize::MAX] {
            assert_eq!(pin(cpu).unwrap_err().exit_code(), 2, "CPU {cpu}");
        }
    }
}
