//! Which CPUs there are, and putting a thread on one.

use core_affinity::{CoreId, get_core_ids, set_for_current};

use crate::error::{Error, Result};

/// The CPUs `asked` for; all that the calling thread may use if none is asked for.
///
/// Whether an asked one is to be had shows in [`pin`]: the calling thread may be pinned itself, and
/// a thread may leave the CPUs of the one that started it.
pub fn choose_cpus(asked: &[usize]) -> Result<Vec<usize>> {
    if !asked.is_empty() {
        return Ok(asked.to_vec());
    }
    let cpus: Vec<usize> = get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    if cpus.is_empty() {
        return Err(Error::Run("could not tell which CPUs this process may use".into()));
    }
    Ok(cpus)
}

/// Pins the calling thread.
pub fn pin(cpu: usize) -> Result<()> {
    // A CPU set holds so many (CPU_SETSIZE), and setting one beyond ends the process.
    if cpu < CPUS_MAX && set_for_current(CoreId { id: cpu }) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "CPU {cpu} cannot be used: there is none of that number, or the process is kept off it \
         (`taskset -cp $$` shows which there are)"
    )))
}

const CPUS_MAX: usize = 1024;
