//! The cap on the ring memory of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::units::memory;

/// A cap on the ring memory of the process. Neither the memory controller nor RLIMIT_MEMLOCK counts it
/// (MEM-1).
#[derive(Debug)]
pub struct MemoryBudget {
    limit: usize,
    used: AtomicUsize,
}

impl MemoryBudget {
    /// The default cap: 256 MiB.
    pub const DEFAULT_BYTES: usize = 256 << 20;

    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget { limit, used: AtomicUsize::new(0) })
    }

    /// Reserves `bytes`, or says what is left.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Result<Reservation> {
        let reserve = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve) {
            Ok(_) => Ok(Reservation { budget: Arc::clone(self), bytes }),
            Err(used) => Err(Error::Usage(format!(
                "rings of {} would exceed the cap on ring memory: {} of {} are taken, {} is left. \
                 Raise it with --ring-memory, or take fewer workers or blocks",
                memory(bytes as u64),
                memory(used as u64),
                memory(self.limit as u64),
                memory((self.limit - used) as u64),
            ))),
        }
    }
}

/// Reserved ring memory; given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_beyond_the_cap_is_refused_with_what_is_left_and_comes_back() {
        let budget = MemoryBudget::new(10 << 20);
        let first = budget.reserve(8 << 20).unwrap();
        let text = budget.reserve(4 << 20).unwrap_err().to_string();
        assert!(text.contains("8 MiB of 10 MiB") && text.contains("2 MiB is left"), "{text}");
        drop(first);
        assert!(budget.reserve(4 << 20).is_ok());
    }
}
