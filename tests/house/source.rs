//! A Rust source as words and comments: enough to see what it names, without its strings and without
//! what only tests see.

/// One word or punctuation mark, and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    /// Counted from 0.
    pub line: usize,
}

/// A source file taken apart.
#[derive(Debug)]
pub struct Source {
    /// From the repository's root on.
    pub path: String,
    /// All words outside of comments and strings.
    pub tokens: Vec<Token>,
    /// The comments of each line.
    pub comments: Vec<String>,
    /// The code of each line, without comments, strings emptied.
    pub code: Vec<String>,
}

impl Source {
    pub fn read(path: &str, text: &str) -> Source {
        let (code, comments) = split(text);
        let tokens = code.iter().enumerate().flat_map(|(line, code)| tokens(code, line)).collect();
        Source { path: path.to_owned(), tokens, comments, code }
    }

    /// The words that are compiled into the program: without `#[cfg(test)] mod … { … }`.
    pub fn shipped(&self) -> Vec<&Token> {
        const MARK: [&str; 8] = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
        let mut shipped = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            if !self.follows(at, &MARK) {
                shipped.push(&self.tokens[at]);
                at += 1;
                continue;
            }
            // The module's name, then a block or a semicolon.
            at += MARK.len() + 1;
            let mut depth = 0;
            loop {
                match self.tokens.get(at).map(|token| token.text.as_str()) {
                    Some("{") => depth += 1,
                    Some("}") => depth -= 1,
                    None => break,
                    Some(_) => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
        }
        shipped
    }

    /// Whether the words from `at` on are these.
    pub fn follows(&self, at: usize, words: &[&str]) -> bool {
        let rest = self.tokens.get(at..).unwrap_or_default();
        rest.len() >= words.len() && rest.iter().zip(words).all(|(token, word)| token.text == *word)
    }

    /// The path below the package's folder; nothing for a file outside of both packages.
    fn below(&self) -> &str {
        let folder = ["src/", "program/"].into_iter().find(|folder| self.path.starts_with(folder));
        folder.map_or("", |folder| &self.path[folder.len()..])
    }

    /// The room: the first part of that path.
    pub fn room(&self) -> &str {
        let below = self.below();
        below.split('/').next().unwrap_or("").trim_end_matches(".rs")
    }

    /// How many `super` lead from this file's module to the crate's root.
    pub fn depth(&self) -> usize {
        self.below().trim_end_matches("/mod.rs").split('/').count()
    }

    /// Whether only tests see the whole file.
    pub fn is_for_tests(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

/// Code and comments line by line.
fn split(text: &str) -> (Vec<String>, Vec<String>) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (vec![String::new()], vec![String::new()]);
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_piece(&chars, at);
        let is_comment = chars[at] == '/' && matches!(chars.get(at + 1), Some('/' | '*'));
        let is_literal = end > at + 1 && !is_comment;
        for (offset, &char) in chars[at..end].iter().enumerate() {
            if char == '\n' {
                code.push(String::new());
                comments.push(String::new());
            } else if is_comment {
                comments.last_mut().unwrap().push(char);
            } else if !is_literal || offset == 0 || at + offset + 1 == end {
                // Of a literal only the marks at its ends are left.
                let left = if is_literal { '"' } else { char };
                code.last_mut().unwrap().push(left);
            }
        }
        at = end;
    }
    (code, comments)
}

/// Where the comment, literal or single character that begins at `at` ends.
fn end_of_piece(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied().unwrap_or(' ');
    let previous = at.checked_sub(1).map_or(' ', |before| chars[before]);
    let in_word = previous.is_alphanumeric() || previous == '_';
    match chars[at] {
        '/' if next == '/' => at + chars[at..].iter().take_while(|char| **char != '\n').count(),
        '/' if next == '*' => end_of_block_comment(chars, at),
        '"' => end_of_string(chars, at),
        'r' if !in_word || previous == 'b' => end_of_raw_string(chars, at).unwrap_or(at + 1),
        '\'' if next == '\\' => {
            let rest = chars[at + 3..].iter().position(|char| *char == '\'');
            rest.map_or(chars.len(), |offset| at + 3 + offset + 1)
        }
        '\'' if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at + 1,
    }
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn end_of_raw_string(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..].iter().take_while(|char| **char == '#').count();
    let first = start + 1 + hashes;
    if chars.get(first) != Some(&'"') {
        return None;
    }
    let closes = |at: &usize| {
        chars[*at] == '"'
            && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    Some((first + 1..chars.len()).find(closes).map_or(chars.len(), |at| at + 1 + hashes))
}

fn tokens(code: &str, line: usize) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut in_word = false;
    for char in code.chars() {
        let of_word = char.is_alphanumeric() || char == '_';
        match tokens.last_mut() {
            Some(last) if of_word && in_word => last.text.push(char),
            _ if char.is_whitespace() => {}
            _ => tokens.push(Token { text: char.into(), line }),
        }
        in_word = of_word;
    }
    tokens
}
