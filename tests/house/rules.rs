//! The rules themselves: each turns a source into sentences about what is wrong with it.

use crate::source::{Source, Token};

/// Who may import whom. A room may always name itself; `units` and `error` may be named by all.
const ROOMS: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("error", &[]),
    ("sys", &[]),
    ("wire", &[]),
    ("stats", &[]),
    ("ring", &["sys", "wire"]),
    ("lab", LOWER),
    ("engine", LOWER),
    ("load", LOWER),
    ("tutorial", LOWER),
    ("bench", &["load", "engine", "lab", "stats", "wire", "ring", "sys"]),
    ("report", &["bench", "load", "engine", "lab", "stats", "wire", "ring", "sys"]),
    (
        "cli",
        &["report", "bench", "tutorial", "load", "engine", "lab", "stats", "wire", "ring", "sys"],
    ),
    ("main", &["cli"]),
    // The crate page names its rooms and uses none.
    ("lib", &[]),
];
const LOWER: &[&str] = &["stats", "wire", "ring", "sys"];
const FOR_ALL: [&str; 2] = ["units", "error"];

/// Crates, and the only rooms that may name them.
const CRATES: &[(&str, &[&str])] = &[
    ("libc", &["sys"]),
    ("nix", &["sys"]),
    ("signal_hook", &["sys"]),
    ("clap", &["cli", "main"]),
    ("crossbeam_channel", &["engine", "load"]),
    ("comfy_table", &["report"]),
    ("hdrhistogram", &["stats", "report"]),
];

const PRINTING: [&str; 5] = ["println", "eprintln", "print", "eprint", "dbg"];
const ROOMS_THAT_PRINT: [&str; 3] = ["report", "cli", "main"];
/// Rooms that are pure arithmetic.
const PURE: [&str; 2] = ["wire", "stats"];
const LINES_MAX: usize = 600;

/// Rules for the rooms below `src`.
pub fn of_rooms(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let allowed = ROOMS.iter().find(|(room, _)| *room == source.room());
    let Some((room, allowed)) = allowed else {
        return vec![format!("{}: a room that the table does not know", source.path)];
    };
    if source.is_for_tests() {
        return found;
    }
    let tokens = source.shipped();
    let mut report = |token: &Token, what: String| {
        found.push(format!("{}:{}: {what}", source.path, token.line + 1));
    };
    for at in 0..tokens.len() {
        let word = tokens[at].text.as_str();
        for named in rooms_named(&tokens, at, source.depth()) {
            let known = ROOMS.iter().any(|(other, _)| *other == named);
            let fine = named == *room || FOR_ALL.contains(&named) || allowed.contains(&named);
            if known && !fine {
                report(tokens[at], format!("{room} may not know {named}"));
            }
        }
        let crates = CRATES.iter().find(|(name, _)| *name == word);
        if let Some((name, rooms)) = crates
            && begins_a_path(&tokens, at)
            && !rooms.contains(room)
        {
            report(tokens[at], format!("{name} is only for {}", rooms.join(", ")));
        }
        let is_macro = text(&tokens, at + 1) == "!";
        let prints = PRINTING.contains(&word) && is_macro
            // A method of that name says where a child's output goes.
            || ["stdout", "stderr"].contains(&word)
                && text(&tokens, at + 1) == "("
                && (at == 0 || text(&tokens, at - 1) != ".");
        if prints && (word == "dbg" || !ROOMS_THAT_PRINT.contains(room)) {
            report(tokens[at], format!("{word} prints, and only report and cli may"));
        }
        let of_std = at >= 3 && tokens[at - 3].text == "std";
        if PURE.contains(room) && of_std && ["thread", "sync"].contains(&word) {
            report(tokens[at], format!("{room} knows nothing of threads"));
        }
        let fenced = *room == "sys"
            || source.path == "src/ring/view.rs"
            || source.path.starts_with("src/ring/view/");
        if word == "unsafe" && !fenced {
            report(tokens[at], "unsafe is only for src/sys and src/ring/view".into());
        }
    }
    found
}

/// Rules for every source of the package.
pub fn of_everybody(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut report = |line: usize, what: &str| {
        found.push(format!("{}:{}: {what}", source.path, line + 1));
    };
    if source.code.len() > LINES_MAX {
        report(LINES_MAX, &format!("more than {LINES_MAX} lines"));
    }
    for (line, comment) in source.comments.iter().enumerate() {
        if comment.contains("FIXME") {
            report(line, "a note of something broken");
        }
    }
    for (at, token) in source.tokens.iter().enumerate() {
        let next = source.tokens.get(at + 1).map_or("", |token| token.text.as_str());
        match token.text.as_str() {
            "todo" | "unimplemented" if next == "!" => report(token.line, "unfinished"),
            "#" if source.follows(at, &["#", "[", "ignore"]) => {
                report(token.line, "a test that nobody runs");
            }
            "unsafe"
                if ["{", "impl", "fn"].contains(&next)
                    && !has_safety_comment(source, token.line) =>
            {
                report(token.line, "unsafe without a SAFETY comment before it");
            }
            "fn" | "struct" | "enum" | "trait" | "mod" if is_unloved(next) => {
                report(token.line, &format!("{next} is a name that says nothing"));
            }
            _ => {}
        }
    }
    found
}

/// Names that the house does without.
fn is_unloved(name: &str) -> bool {
    let ends = ["Manager", "Handler", "Helper"];
    name.starts_with("get_") || name == "utils" || ends.iter().any(|end| name.ends_with(end))
}

/// The rooms that a path beginning at `at` names: `crate::room`, `linerate::room`, each of
/// `crate::{one, two}`, and as many `super` as lead to the root.
fn rooms_named<'a>(tokens: &[&'a Token], at: usize, depth: usize) -> Vec<&'a str> {
    let mut next = match tokens[at].text.as_str() {
        "crate" | "linerate" if begins_a_path(tokens, at) => at + 3,
        "super" if begins_a_path(tokens, at) => {
            let mut next = at;
            while text(tokens, next) == "super" {
                next += 3;
            }
            if (next - at) / 3 != depth {
                return Vec::new();
            }
            next
        }
        _ => return Vec::new(),
    };
    if text(tokens, next) != "{" {
        return tokens.get(next).map(|token| token.text.as_str()).into_iter().collect();
    }
    let mut rooms = Vec::new();
    let mut braces = 0;
    while let Some(token) = tokens.get(next) {
        match token.text.as_str() {
            "{" => braces += 1,
            "}" if braces == 1 => break,
            "}" => braces -= 1,
            word if braces == 1 && ["{", ","].contains(&text(tokens, next - 1)) => rooms.push(word),
            _ => {}
        }
        next += 1;
    }
    rooms
}

/// Whether the word at `at` is the first of a path, or all that a `use` names.
fn begins_a_path(tokens: &[&Token], at: usize) -> bool {
    let before = at.checked_sub(1).map_or("", |before| text(tokens, before));
    let leads_on = text(tokens, at + 1) == ":" && text(tokens, at + 2) == ":";
    // `::libc::x` begins with the crate too; `a::libc::x` does not.
    let inside = before == ":"
        && at.checked_sub(3).is_some_and(|root| {
            text(tokens, at - 2) == ":"
                && text(tokens, root).chars().all(|c| c.is_alphanumeric() || c == '_')
        });
    (leads_on || before == "use") && !inside
}

fn text<'a>(tokens: &[&'a Token], at: usize) -> &'a str {
    tokens.get(at).map_or("", |token| token.text.as_str())
}

/// Whether the comment above the statement that `line` belongs to says why it is sound.
fn has_safety_comment(source: &Source, line: usize) -> bool {
    let says = |line: usize| {
        source.comments[line].contains("SAFETY:") || source.comments[line].contains("# Safety")
    };
    let mut above = line;
    loop {
        if says(above) {
            return true;
        }
        let Some(next) = above.checked_sub(1) else { return false };
        above = next;
        let code = source.code[above].trim();
        let ends_something = [';', '{', '}'].iter().any(|end| code.ends_with(*end));
        let is_attribute = code.starts_with("#[");
        let is_blank = code.is_empty() && source.comments[above].is_empty();
        if (ends_something && !is_attribute) || is_blank {
            return false;
        }
    }
}
