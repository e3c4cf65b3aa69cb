//! Which CPUs there are, and putting a thread on one.

use core_affinity::{CoreId, get_core_ids, set_for_current};

use crate::error::{Error, Result};

/// The CPUs that the calling thread may use. Ask before pinning: afterwards it is only one.
pub fn allowed_cpus() -> Result<Vec<usize>> {
    let cpus: Vec<usize> =
        get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    if cpus.is_empty() {
        return Err(Error::Run("could not tell which CPUs this process may use".into()));
    }
    Ok(cpus)
}

/// The CPUs `asked` for, each checked against those that the calling thread may use; all of
/// these if none is asked for.
pub fn choose_cpus(asked: &[usize]) -> Result<Vec<usize>> {
    let allowed = allowed_cpus()?;
    match asked.iter().find(|cpu| !allowed.contains(cpu)) {
        None if asked.is_empty() => Ok(allowed),
        None => Ok(asked.to_vec()),
        Some(cpu) => Err(Error::Usage(format!(
            "--cpus: CPU {cpu} is not one that this process may use ({allowed:?})"
        ))),
    }
}

/// Pins the calling thread.
pub fn pin(cpu: usize) -> Result<()> {
    if set_for_current(CoreId { id: cpu }) {
        return Ok(());
    }
    Err(Error::Run(format!("could not pin a thread to CPU {cpu}: the system refused it")))
}
