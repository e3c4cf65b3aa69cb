//! The house rules, held by a test: who may import whom, where unsafe and printing live, and what
//! has no place at all. `self_check` feeds the rules sources that break them.

mod circles;
mod rules;
mod self_check;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use source::Source;

/// All Rust files below a folder of the repository, with paths from its root on.
fn rust_files(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files
}

/// The sources of both packages.
fn rooms() -> Vec<Source> {
    let files = ["src", "program"].map(|folder| {
        let files = rust_files(folder);
        assert!(files.len() > 50, "the sources are where this test looks for them");
        files
    });
    files.concat().iter().map(|(path, text)| Source::read(path, text)).collect()
}

#[track_caller]
fn assert_none(violations: Vec<String>) {
    assert!(violations.is_empty(), "house rules broken:\n{}", violations.join("\n"));
}

#[test]
fn the_rooms_keep_to_the_house_rules() {
    assert_none(rooms().iter().flat_map(rules::of_rooms).collect());
}

#[test]
fn all_sources_keep_to_the_rules_for_everybody() {
    let folders = ["src", "program", "tests", "benches", "examples", "tools"];
    let files = folders.into_iter().flat_map(rust_files);
    let check = |(path, text): (String, String)| rules::of_everybody(&Source::read(&path, &text));
    assert_none(files.flat_map(check).collect());
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let circles = circles::between(&rooms()).into_iter();
    assert_none(circles.map(|circle| circle.join(" ")).collect());
}
