//! What a file or a call of the system says, or why it says nothing: never a guess.

use std::fmt;
use std::fs::read_to_string;
use std::io;
use std::path::Path;

use super::failure::errno;

/// What was read, or why it could not be.
pub type Reading<T> = Result<T, Unreadable>;

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unreadable {
    /// The reason, as in `/sys/x: ENOENT`.
    pub not_readable: String,
}

impl Unreadable {
    /// With a reason of our own.
    pub fn because(reason: impl Into<String>) -> Unreadable {
        Unreadable { not_readable: reason.into() }
    }

    /// `what` was asked for in vain.
    pub fn of(what: &str, error: &io::Error) -> Unreadable {
        Unreadable::because(match error.raw_os_error() {
            Some(code) => format!("{what}: {}", errno(code).name),
            None => format!("{what}: {error}"),
        })
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.not_readable)
    }
}

/// What a small file says, without the blanks around it.
pub fn text_of(path: &str) -> Reading<String> {
    let text = read_to_string(path).map_err(|error| Unreadable::of(path, &error))?;
    Ok(text.trim().to_owned())
}

/// What `parse` finds in a file.
pub(super) fn found_in<T>(path: &str, parse: impl FnOnce(&str) -> Option<T>) -> Reading<T> {
    parse(&text_of(path)?).ok_or_else(|| Unreadable::because(format!("{path}: it does not say")))
}

/// As [`text_of`]; `None` where `folder` is there and has no such file, which says that this kernel or this
/// device knows no such thing.
pub fn setting(folder: &str, file: &str) -> Reading<Option<String>> {
    match text_of(&format!("{folder}/{file}")) {
        Ok(text) => Ok(Some(text)),
        Err(_) if is_there(folder) && !is_there(&format!("{folder}/{file}")) => Ok(None),
        Err(why) => Err(why),
    }
}

/// Whether a file or a folder that is not empty has this name.
fn is_there(path: &str) -> bool {
    match Path::new(path).read_dir() {
        // An empty folder is what a container puts over one that it hides.
        Ok(mut files) => files.next().is_some(),
        Err(_) => Path::new(path).is_file(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_folder_lacks_is_not_there_and_a_missing_folder_says_nothing() {
        assert_eq!(setting("/proc/self", "no-such-thing"), Ok(None));
        assert!(setting("/proc/self", "comm").unwrap().is_some());
        let hidden = setting("/no-such-folder", "x").unwrap_err();
        assert!(hidden.not_readable.contains("ENOENT"), "{hidden}");
        let empty = std::env::temp_dir().join(format!("linerate-empty-{}", std::process::id()));
        std::fs::create_dir(&empty).unwrap();
        assert!(setting(empty.to_str().unwrap(), "x").is_err());
        std::fs::remove_dir(&empty).unwrap();
    }
}
