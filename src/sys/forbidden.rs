//! System calls that are forbidden here, as by a filter (seccomp) of a container, and that the program does
//! without: what follows from it is said.

use std::io;
use std::sync::{Mutex, PoisonError};

use super::failure::errno;

static FOUND: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What was forbidden so far, a sentence each.
pub fn forbidden() -> Vec<String> {
    FOUND.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Whether a system call failed because it may not be made at all, whatever its arguments. Some filters
/// say so by ENOSYS.
pub(super) fn is_ban(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSYS))
}

/// Goes on without `call`, if that is what may not be made; what that comes to is said once.
pub(super) fn tolerate(call: &str, so: &str, result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_ban(&error) => {
            let name = errno(error.raw_os_error().unwrap_or(0)).name;
            let sentence = format!("{call} is forbidden here ({name}): {so}");
            let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
            if !found.contains(&sentence) {
                found.push(sentence);
            }
            Ok(())
        }
        result => result,
    }
}
