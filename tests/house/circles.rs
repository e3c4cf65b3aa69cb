//! No import circles between files: whoever reads a file has read what it builds on before.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, Token};

/// A module's path below `crate`.
type Module = Vec<String>;

/// Files that import each other, directly or by way of others; each circle with its files in order.
/// That a file declares its children (`mod`) and offers what they have (`pub use`) is no import.
pub fn between(sources: &[Source]) -> Vec<Vec<String>> {
    let shipped = sources.iter().filter(|source| !source.is_for_tests());
    let files: BTreeMap<Module, &Source> =
        shipped.map(|source| (module(&source.path), source)).collect();
    let imports: BTreeMap<&Module, BTreeSet<&Module>> =
        files.iter().map(|(module, source)| (module, imports(module, source, &files))).collect();
    let reach = |from| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            next.extend(imports[module].iter().copied().filter(|other| reached.insert(*other)));
        }
        reached
    };
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        files.keys().map(|module| (module, reach(module))).collect();
    let mut circles: Vec<Vec<String>> = Vec::new();
    for (module, others) in &reached {
        let circle: Vec<String> = others
            .iter()
            .filter(|other| reached[*other].contains(*module))
            .map(|other| files[*other].path.clone())
            .collect();
        if !circle.is_empty() && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}

fn module(path: &str) -> Module {
    let path = path
        .trim_start_matches("src/")
        .trim_start_matches("program/")
        .trim_end_matches(".rs")
        .trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// The files of the modules that a file's paths lead into.
fn imports<'a>(
    own: &Module,
    source: &Source,
    files: &'a BTreeMap<Module, &Source>,
) -> BTreeSet<&'a Module> {
    let leads_to = |path: Vec<&str>| {
        let up = path.iter().take_while(|word| **word == "super").count();
        let (base, below) = match path[0] {
            "crate" => (&own[..0], &path[1..]),
            "super" => (own.get(..own.len().checked_sub(up)?)?, &path[up..]),
            "self" => (&own[..], &path[1..]),
            _ => (&own[..], &path[..]),
        };
        let full: Module =
            base.iter().cloned().chain(below.iter().map(|&word| word.into())).collect();
        let mut prefixes = (1..=full.len()).rev().map(|length| full[..length].to_vec());
        prefixes.find_map(|prefix| files.get_key_value(&prefix)).map(|(module, _)| module)
    };
    paths(&source.shipped())
        .into_iter()
        .filter_map(leads_to)
        .filter(|other| *other != own)
        .collect()
}

/// All paths of more than one word, those of `use` with their braces resolved.
fn paths<'a>(tokens: &[&'a Token]) -> Vec<Vec<&'a str>> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_use = tokens[at].text == "use";
        let (found, end) = if is_use { of_use(tokens, at + 1) } else { of_path(tokens, at) };
        let is_offered = is_use && at > 0 && ["pub", ")"].contains(&tokens[at - 1].text.as_str());
        let climbs = |path: &Vec<&str>| ["crate", "super"].contains(&path[0]);
        paths.extend(
            found.into_iter().filter(|path| path.len() > 1 && (!is_offered || climbs(path))),
        );
        at = end;
    }
    paths
}

fn of_use<'a>(tokens: &[&'a Token], begin: usize) -> (Vec<Vec<&'a str>>, usize) {
    let (mut found, mut outer, mut path) = (Vec::new(), Vec::new(), Vec::new());
    let mut at = begin;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.text.as_str() {
            ";" => break,
            "{" => outer.push(path.clone()),
            "," => {
                found.push(std::mem::replace(&mut path, outer.last().cloned().unwrap_or_default()))
            }
            "}" => {
                found.push(path);
                path = outer.pop().unwrap_or_default();
            }
            ":" => {}
            word => path.push(word),
        }
    }
    found.push(path);
    (found, at)
}

fn of_path<'a>(tokens: &[&'a Token], begin: usize) -> (Vec<Vec<&'a str>>, usize) {
    let mut path = vec![tokens[begin].text.as_str()];
    let mut at = begin + 1;
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    while is(at, ":") && is(at + 1, ":") {
        path.extend(tokens.get(at + 2).map(|token| token.text.as_str()));
        at += 3;
    }
    (vec![path], at)
}
