//! Files that results go to: opened before a run, put in their place at its end.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::error::{Result, escaped};
use crate::sys::failure::failed;
use crate::sys::privilege::is_root;
use crate::sys::replace::{Replacer, names, replace_by_copy};

/// A result file in the making.
///
/// A regular file is written under a temporary name beside its own and replaces what has that name
/// when it is published, so that a run which comes to nothing destroys nothing. A symbolic link of
/// that name is replaced and never written through: somebody else may have made it. Devices, FIFOs
/// and the program's own descriptors (`/dev/stdout`) are written straight.
#[derive(Debug)]
pub struct Output {
    file: File,
    path: PathBuf,
    /// The name until the file is published; `None` for what is written straight.
    temporary: Option<PathBuf>,
    /// Who renames it where root gives its rights up before the end.
    replacer: Option<Replacer>,
    /// Bytes of the pieces that were written whole.
    whole: u64,
}

impl Output {
    /// Opens the output. Call it before the run and before privileges are given up, so that a path
    /// which cannot be written fails early (ENOENT, EACCES, EROFS, EISDIR and so on).
    pub fn create(path: &Path) -> Result<Output> {
        open(path).map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "nothing was run; its directory must be writable, as a result replaces the file"
                }
                _ => "nothing was run",
            };
            failed(format!("create {}", escaped(path.display())), &error, advice)
        })
    }

    /// Writes a piece that makes sense by itself, such as a row. Of one that cannot be written whole
    /// (ENOSPC) nothing stays in the file.
    pub fn append(&mut self, piece: &[u8]) -> Result<()> {
        match self.file.write_all(piece) {
            Ok(()) => {
                self.whole += piece.len() as u64;
                Ok(())
            }
            // Nobody reads the FIFO any more, which is their decision.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => {
                if self.temporary.is_some() {
                    let _ = self.file.set_len(self.whole);
                }
                Err(failed(format!("write {}", escaped(self.path.display())), &error, ""))
            }
        }
    }

    /// Puts the whole of what there is by now in its place, beside the file that is still in the making:
    /// the next one replaces it. What is written straight is not there before the end.
    pub fn checkpoint(&mut self, whole: &[u8]) -> Result<()> {
        let Some(temporary) = &self.temporary else { return Ok(()) };
        let between = between(temporary);
        let paths = [temporary.as_path(), &between, &self.path];
        let mut kept = || {
            self.file.write_all(whole)?;
            match &mut self.replacer {
                Some(replacer) => replacer.replace_by_copy(),
                None => {
                    let [temporary, between, target] = names(paths)?;
                    replace_by_copy(&temporary, &between, &target)
                }
            }
        };
        let done = kept();
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        done.and(emptied)
            .map_err(|error| failed(format!("write {}", escaped(self.path.display())), &error, ""))
    }

    /// Puts the file in its place. What is never published is removed.
    pub fn publish(&mut self) -> Result<()> {
        let Some(temporary) = self.temporary.take() else { return Ok(()) };
        let replaced = match &mut self.replacer {
            Some(replacer) => replacer.replace(),
            None => fs::rename(&temporary, &self.path),
        };
        replaced.map_err(|error| {
            let temporary = escaped(temporary.display());
            failed(
                format!("replace {}", escaped(self.path.display())),
                &error,
                format!("the result is in {temporary}"),
            )
        })
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let (Some(temporary), None) = (&self.temporary, &self.replacer) {
            let _ = fs::remove_file(temporary);
        }
    }
}

fn open(path: &Path) -> io::Result<Output> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => Some(there),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let straight = match &there {
        Some(link) if link.is_symlink() => {
            names_a_descriptor(path) || fs::metadata(path).is_ok_and(|target| is_stream(&target))
        }
        Some(there) => !there.is_file(),
        None => path.as_os_str().as_bytes().ends_with(b"/"),
    };
    let (file, temporary) = match straight {
        true => (open_straight(path)?, None),
        false => {
            let (file, temporary) = create_beside(path)?;
            (file, Some(temporary))
        }
    };
    let path = path.to_owned();
    let mut output = Output { file, path, temporary, replacer: None, whole: 0 };
    if let (Some(temporary), true) = (&output.temporary, is_root()) {
        output.replacer = Some(Replacer::start(temporary, &between(temporary), &output.path)?);
    }
    if let Some(replaced) = there.filter(|there| there.is_file() && output.temporary.is_some()) {
        // Only root may give a file away; whoever else replaces it owns it.
        let _ = fchown(&output.file, Some(replaced.uid()), Some(replaced.gid()));
        let mode = fs::Permissions::from_mode(replaced.mode() & 0o777);
        output.file.set_permissions(mode)?;
    }
    Ok(output)
}

fn is_stream(target: &Metadata) -> bool {
    !target.is_file() && !target.is_dir()
}

/// Whether the path leads to an open descriptor of this process, by links that the kernel makes.
fn names_a_descriptor(path: &Path) -> bool {
    let parent = path.parent().unwrap_or(Path::new(""));
    [Path::new("/dev/stdout"), Path::new("/dev/stderr")].contains(&path)
        || [Path::new("/dev/fd"), Path::new("/proc/self/fd")].contains(&parent)
}

/// Nothing is created or emptied here, so that whoever puts a link in the way meanwhile gains nothing.
fn open_straight(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).open(path)?;
    let kind = file.metadata()?.file_type();
    match kind.is_file() && !names_a_descriptor(path) || kind.is_block_device() {
        true => Err(io::ErrorKind::PermissionDenied.into()),
        false => Ok(file),
    }
}

/// The name of a copy that is being made of a temporary file.
fn between(temporary: &Path) -> PathBuf {
    temporary.with_extension("copy")
}

fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let mut number = 0;
    loop {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}-{number}.part", std::process::id()));
        let temporary = path.with_file_name(name);
        // O_EXCL: what is there already, be it a link, is never opened.
        match OpenOptions::new().write(true).create_new(true).mode(0o666).open(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 100 => {
                number += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("linerate-{}-{name}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Folder(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<String> =
                entries.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_old_file_is_there_until_the_new_one_is_published() {
        let folder = Folder::new("publish");
        let path = folder.0.join("x.json");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let mut output = Output::create(&path).unwrap();
        output.append(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        output.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(output);
        assert_eq!(folder.names(), ["x.json"]);
    }

    #[test]
    fn what_there_is_by_now_is_kept_again_and_again() {
        let folder = Folder::new("checkpoint");
        let path = folder.0.join("x.json");
        let mut output = Output::create(&path).unwrap();
        for text in ["first and long", "second"] {
            output.checkpoint(text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        output.append(b"last").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        output.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"last");
        drop(output);
        assert_eq!(folder.names(), ["x.json"]);
    }

    #[test]
    fn what_is_not_published_leaves_no_trace() {
        let folder = Folder::new("unpublished");
        let mut output = Output::create(&folder.0.join("x.json")).unwrap();
        output.append(b"new").unwrap();
        assert_eq!(folder.names().len(), 1);
        drop(output);
        assert!(folder.names().is_empty());
    }

    #[test]
    fn links_are_replaced_and_never_written_through() {
        let folder = Folder::new("links");
        let (target, dangling) = (folder.0.join("target"), folder.0.join("none"));
        fs::write(&target, "precious").unwrap();
        for (name, to) in [("a", &target), ("b", &dangling)] {
            let link = folder.0.join(name);
            symlink(to, &link).unwrap();
            let mut output = Output::create(&link).unwrap();
            output.append(b"new").unwrap();
            output.publish().unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_file());
        }
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert_eq!(folder.names(), ["a", "b", "target"]);
    }

    #[test]
    fn devices_and_links_to_them_are_written_straight() {
        let folder = Folder::new("devices");
        let link = folder.0.join("null");
        symlink("/dev/null", &link).unwrap();
        for path in [Path::new("/dev/null"), &link] {
            let mut output = Output::create(path).unwrap();
            output.append(b"x").unwrap();
            output.publish().unwrap();
        }
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let mut full = Output::create(Path::new("/dev/full")).unwrap();
        let error = full.append(b"x").unwrap_err().to_string();
        assert!(error.contains("/dev/full") && error.contains("ENOSPC"), "{error}");
    }

    #[test]
    fn a_bad_path_is_named_with_its_errno() {
        for (path, errno) in [("/no/such/x.json", "ENOENT"), ("/", "EISDIR"), ("/tmp/x/", "ENOENT")]
        {
            let error = Output::create(Path::new(path)).unwrap_err().to_string();
            assert!(error.contains(path) && error.contains(errno), "{error}");
        }
    }
}
