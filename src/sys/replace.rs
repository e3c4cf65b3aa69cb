//! Renaming a finished file by a process that keeps the right to, when the program gives it up.

use std::ffi::{CStr, CString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::wait::waitpid;
use nix::unistd::{Pid, close};

use super::privilege::{keep_for_files, set_no_new_privileges};

/// A process that waits for the end of the program: it can rename one file to one name, or remove it,
/// and nothing else. A program that becomes another user may not write in the directory any more.
#[derive(Debug)]
pub struct Replacer {
    socket: UnixStream,
    process: Pid,
}

const REPLACE: u8 = 1;
const REMOVE: u8 = 0;

impl Replacer {
    /// Starts the process. It removes `temporary` when this one ends without a word, however it does.
    pub fn start(temporary: &Path, target: &Path) -> io::Result<Replacer> {
        let (socket, theirs) = UnixStream::pair()?;
        let temporary = CString::new(temporary.as_os_str().as_bytes())?;
        let target = CString::new(target.as_os_str().as_bytes())?;
        // SAFETY: between fork(2) and _exit(2) the child only makes system calls over memory that was
        // there before: it takes no lock and allocates nothing, so other threads do not matter.
        match unsafe { libc::fork() } {
            0 => {
                drop(socket);
                serve(theirs, &temporary, &target)
            }
            -1 => Err(io::Error::last_os_error()),
            process => Ok(Replacer { socket, process: Pid::from_raw(process) }),
        }
    }

    /// Renames the file; after an error it has its temporary name still.
    pub fn replace(&mut self) -> io::Result<()> {
        self.socket.write_all(&[REPLACE])?;
        let mut code = [0; 4];
        self.socket.read_exact(&mut code)?;
        match i32::from_ne_bytes(code) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

impl Drop for Replacer {
    fn drop(&mut self) {
        // A process that has renamed has ended already.
        let _ = self.socket.write_all(&[REMOVE]);
        let _ = waitpid(self.process, None);
    }
}

/// The process's life, from fork to exit.
fn serve(mut program: UnixStream, temporary: &CStr, target: &CStr) -> ! {
    keep_for_files();
    set_no_new_privileges();
    // What a terminal sends to the whole group is for the program, whose end is this one's.
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT].into_iter().for_each(ignore);
    // Whoever reads the program's output waits for nobody else.
    for inherited in [0, 1, 2] {
        let _ = close(inherited);
    }
    let mut word = [REMOVE];
    // At the end of the program there is nothing to read, and the word stays as it is.
    let _ = program.read_exact(&mut word);
    if word == [REPLACE] {
        // SAFETY: both strings end with a NUL and outlive the call, which only reads them.
        let renamed = unsafe { libc::rename(temporary.as_ptr(), target.as_ptr()) };
        let code = if renamed < 0 { nix::errno::Errno::last_raw() } else { 0 };
        let _ = program.write_all(&code.to_ne_bytes());
    } else {
        // SAFETY: the string ends with a NUL and outlives the call, which only reads it.
        unsafe { libc::unlink(temporary.as_ptr()) };
    }
    // SAFETY: it ends the process, and takes a number.
    unsafe { libc::_exit(0) }
}

fn ignore(signal: libc::c_int) {
    // SAFETY: no handler is set that could run.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_renamed_when_told_and_removed_otherwise() {
        let folder = std::env::temp_dir().join(format!("linerate-replace-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let (part, whole) = (folder.join("x.part"), folder.join("x"));
        std::fs::write(&part, "1").unwrap();
        let mut replacer = Replacer::start(&part, &whole).unwrap();
        replacer.replace().unwrap();
        drop(replacer);
        assert!(whole.exists() && !part.exists());
        std::fs::write(&part, "2").unwrap();
        drop(Replacer::start(&part, &whole).unwrap());
        assert!(!part.exists());
        let mut nothing = Replacer::start(&part, &whole).unwrap();
        assert_eq!(nothing.replace().unwrap_err().kind(), io::ErrorKind::NotFound);
        drop(nothing);
        assert_eq!(std::fs::read(&whole).unwrap(), b"1");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
