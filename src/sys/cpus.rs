//! Which CPUs there are, and putting a thread on one.

use std::io;

use core_affinity::CoreId;

use super::failure::{errno, failed};
use crate::error::{Error, Result};

/// The CPUs `asked` for; all that the calling thread may use if none is asked for.
///
/// Whether an asked one is to be had shows in [`pin`]: the calling thread may be pinned itself, and
/// a thread may leave the CPUs of the one that started it.
pub fn choose_cpus(asked: &[usize]) -> Result<Vec<usize>> {
    if !asked.is_empty() {
        return Ok(asked.to_vec());
    }
    let usable = core_affinity::get_core_ids().ok_or_else(|| {
        let error = io::Error::last_os_error();
        failed("tell which CPUs this process may use", &error, "name some (--cpus)")
    })?;
    Ok(usable.into_iter().map(|cpu| cpu.id).collect())
}

/// Pins the calling thread.
pub fn pin(cpu: usize) -> Result<()> {
    // The mask that core_affinity makes has no room for more.
    let exists = cpu < libc::CPU_SETSIZE as usize;
    if exists && core_affinity::set_for_current(CoreId { id: cpu }) {
        return Ok(());
    }
    let number = match exists {
        true => io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL),
        false => libc::EINVAL,
    };
    Err(Error::Usage(format!(
        "could not put a thread on CPU {cpu}: {}\n  it does not exist, or the process's CPU mask \
         excludes it (`taskset -cp $$` shows the mask)",
        errno(number)
    )))
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
