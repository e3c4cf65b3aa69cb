//! Renaming a finished file by a process that keeps the right to, when the program gives it up.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, fchown};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::wait::waitpid;
use nix::unistd::{Pid, close};

use super::privilege::{keep_for_files, set_no_new_privileges};

/// A process that waits for the end of the program: it can rename one file to one name, also a copy of it
/// and again and again, or remove it, and nothing else. A program that becomes another user may not write in the directory any more.
#[derive(Debug)]
pub struct Replacer {
    socket: UnixStream,
    process: Pid,
}

const COPY: u8 = 2;
const REPLACE: u8 = 1;
const REMOVE: u8 = 0;

/// Puts a copy of a file in the place of another, all at once, and on the disk before that: who reads the
/// other sees one of the two, whole, also after a crash. The copy is made under the name `between`, which
/// nobody has. Allocates nothing.
pub fn replace_by_copy(from: &CStr, between: &CStr, target: &CStr) -> io::Result<()> {
    let file = open_as(from, libc::O_RDONLY)?;
    let copy = open_as(between, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL)?;
    let done = copy_file(&file, &copy).and_then(|()| rename(between, target));
    if done.is_err() {
        // SAFETY: the string ends with a NUL and outlives the call, which only reads it.
        unsafe { libc::unlink(between.as_ptr()) };
    }
    done
}

fn open_as(path: &CStr, flags: libc::c_int) -> io::Result<File> {
    let flags = flags | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    // SAFETY: the string ends with a NUL and outlives the call, which only reads it.
    match unsafe { libc::open(path.as_ptr(), flags, 0o600) } {
        ..0 => Err(io::Error::last_os_error()),
        // SAFETY: open(2) just returned this descriptor, so nothing else owns it.
        number => Ok(unsafe { File::from_raw_fd(number) }),
    }
}

fn copy_file(mut from: &File, mut to: &File) -> io::Result<()> {
    let metadata = from.metadata()?;
    let mut piece = [0; 16 << 10];
    loop {
        match from.read(&mut piece)? {
            0 => break,
            length => to.write_all(&piece[..length])?,
        }
    }
    // Only root may give a file away; whoever else copies it owns it.
    let _ = fchown(to, Some(metadata.uid()), Some(metadata.gid()));
    to.set_permissions(metadata.permissions())?;
    to.sync_all()
}

fn rename(from: &CStr, to: &CStr) -> io::Result<()> {
    // SAFETY: both strings end with a NUL and outlive the call, which only reads them.
    match unsafe { libc::rename(from.as_ptr(), to.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Replacer {
    /// Starts the process. It removes `temporary` when this one ends without a word, however it does.
    pub fn start(temporary: &Path, between: &Path, target: &Path) -> io::Result<Replacer> {
        let (socket, theirs) = UnixStream::pair()?;
        let [temporary, between, target] = names([temporary, between, target])?;
        // SAFETY: between fork(2) and _exit(2) the child only makes system calls over memory that was
        // there before: it takes no lock and allocates nothing, so other threads do not matter.
        match unsafe { libc::fork() } {
            0 => {
                drop(socket);
                serve(theirs, &temporary, &between, &target)
            }
            -1 => Err(io::Error::last_os_error()),
            process => Ok(Replacer { socket, process: Pid::from_raw(process) }),
        }
    }

    /// Renames the file; after an error it has its temporary name still.
    pub fn replace(&mut self) -> io::Result<()> {
        self.ask(REPLACE)
    }

    /// [`replace_by_copy`], as often as wanted.
    pub fn replace_by_copy(&mut self) -> io::Result<()> {
        self.ask(COPY)
    }

    fn ask(&mut self, word: u8) -> io::Result<()> {
        self.socket.write_all(&[word])?;
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
fn serve(mut program: UnixStream, temporary: &CStr, between: &CStr, target: &CStr) -> ! {
    keep_for_files();
    set_no_new_privileges();
    // What a terminal sends to the whole group is for the program, whose end is this one's.
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT].into_iter().for_each(ignore);
    // Whoever reads the program's output waits for nobody else.
    for inherited in [0, 1, 2] {
        let _ = close(inherited);
    }
    loop {
        let mut word = [REMOVE];
        // At the end of the program there is nothing to read, and the word stays as it is.
        let _ = program.read_exact(&mut word);
        let done = match word {
            [COPY] => replace_by_copy(temporary, between, target),
            [REPLACE] => rename(temporary, target),
            _ => break,
        };
        let code = done.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
        let _ = program.write_all(&code.to_ne_bytes());
        if word == [REPLACE] {
            // SAFETY: it ends the process, and takes a number.
            unsafe { libc::_exit(0) }
        }
    }
    // SAFETY: the string ends with a NUL and outlives the call, which only reads it.
    unsafe { libc::unlink(temporary.as_ptr()) };
    // SAFETY: it ends the process, and takes a number.
    unsafe { libc::_exit(0) }
}

/// The paths as the kernel takes them.
pub fn names<const N: usize>(paths: [&Path; N]) -> io::Result<[CString; N]> {
    let mut names: [CString; N] = std::array::from_fn(|_| CString::default());
    for (name, path) in names.iter_mut().zip(paths) {
        *name = CString::new(path.as_os_str().as_bytes())?;
    }
    Ok(names)
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
        let start = || Replacer::start(&part, &folder.join("x.copy"), &whole).unwrap();
        std::fs::write(&part, "1").unwrap();
        let mut replacer = start();
        replacer.replace().unwrap();
        drop(replacer);
        assert!(whole.exists() && !part.exists());
        std::fs::write(&part, "2").unwrap();
        let mut again = start();
        for text in ["3", "4"] {
            std::fs::write(&part, text).unwrap();
            again.replace_by_copy().unwrap();
            assert_eq!(std::fs::read_to_string(&whole).unwrap(), text);
        }
        drop(again);
        std::fs::write(&whole, "1").unwrap();
        std::fs::write(&part, "2").unwrap();
        drop(start());
        assert!(!part.exists());
        let mut nothing = start();
        assert_eq!(nothing.replace().unwrap_err().kind(), io::ErrorKind::NotFound);
        drop(nothing);
        assert_eq!(std::fs::read(&whole).unwrap(), b"1");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
