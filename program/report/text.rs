//! Text for people: where it goes, and how numbers look in it.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};

use crate::error::{Error, escaped, is_unsafe};
use crate::stats::drops::Drops;
use crate::stats::latency::LATENCY_NS_MAX;
use crate::sys::failure::{EBADF, failed};
use crate::sys::privilege;
use crate::sys::streams::stdout_was_closed;
use crate::sys::terminal::columns;
use crate::units;

/// Lines for people on stdout, or on stderr where stdout carries a document.
#[derive(Debug)]
pub struct Text {
    to_stderr: bool,
    reader_gone: bool,
}

impl Text {
    /// Lines on stdout, or on stderr.
    pub fn new(to_stderr: bool) -> Text {
        Text { to_stderr, reader_gone: false }
    }

    /// Writes one or more whole lines at once, so that no other writer's lines get in between. A
    /// reader who has gone is remembered and is no error; what cannot be written for another reason is
    /// said at the end of the program ([`lost`]).
    pub fn say(&mut self, lines: impl AsRef<str>) {
        let text = format!("{}\n", printable(lines.as_ref()));
        let written = match self.to_stderr {
            true => io::stderr().lock().write_all(text.as_bytes()),
            false => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
            }
        };
        self.reader_gone |= written.is_err_and(is_reader_gone);
    }

    /// Whether nobody reads any more.
    pub fn reader_gone(&self) -> bool {
        self.reader_gone
    }
}

/// Why text was lost first, if some was.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Whether text could not be written because its reader has gone. Why else it could not is remembered,
/// for the end of the program ([`lost`]).
pub fn is_reader_gone(error: io::Error) -> bool {
    let gone = error.kind() == io::ErrorKind::BrokenPipe;
    if !gone {
        let _ = LOST.set(error);
    }
    gone
}

/// The error for text that was lost (ENOSPC, EIO, EBADF), if some was.
pub fn lost() -> Option<Error> {
    let closed = stdout_was_closed().then(|| io::Error::from_raw_os_error(EBADF));
    let error = LOST.get().or(closed.as_ref())?;
    Some(failed("write to standard output", error, "some of the text is lost"))
}

/// Says on stderr why the program ends. Nobody may be reading it, and that is no reason to panic:
/// the exit code tells as well.
pub fn complain(error: &Error) {
    let _ = writeln!(io::stderr().lock(), "linerate: {}", printable(&error.to_string()));
}

/// Lines that command no terminal, whatever the names in them are.
fn printable(lines: &str) -> String {
    match lines.contains(|character| character != '\n' && is_unsafe(character)) {
        true => {
            lines.split('\n').map(|line| escaped(line).to_string()).collect::<Vec<_>>().join("\n")
        }
        false => lines.to_owned(),
    }
}

/// Columns that tables and sentences may take: those of the terminal, and 100 where there is none.
pub fn width() -> u16 {
    columns(io::stdout()).map_or(100, |columns| columns.clamp(40, 160))
}

/// A table without lines; numbers, which are all columns but the first, to the right.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width());
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The lines of a table. Where the terminal is too narrow, cells are broken between words and never
/// within one; a table that is still too wide stays so.
pub fn lines_of(table: &mut Table) -> String {
    let rows = table.header().into_iter().chain(table.row_iter());
    let mut widest = Vec::new();
    for (at, cell) in rows.flat_map(|row| row.cell_iter().enumerate()) {
        let words = cell.content();
        let longest = words.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0);
        widest.resize(widest.len().max(at + 1), 0);
        widest[at] = longest.max(widest[at]);
    }
    for (column, longest) in table.column_iter_mut().zip(widest) {
        // A blank on either side is part of a column's width.
        let least = Width::Fixed(longest as u16 + 2);
        column.set_constraint(ColumnConstraint::LowerBoundary(least));
    }
    table.to_string()
}

/// Where nobody says how wide a terminal is, sentences fit the narrowest that is common.
const SENTENCE_COLUMNS_MAX: usize = 80;

/// Columns of a line of a sentence.
pub fn sentence_columns() -> usize {
    usize::from(width()).min(SENTENCE_COLUMNS_MAX)
}

/// Breaks a sentence into lines that fit, each but the first indented further.
pub fn wrap(sentence: &str) -> String {
    fill("  ", 5, sentence.split_whitespace(), sentence_columns())
}

/// `head` and the words behind it, in lines of at most `most` columns. Lines but the first begin at column `indent`,
/// each with a word, however long.
pub fn fill(
    head: &str,
    indent: usize,
    words: impl Iterator<Item = impl AsRef<str>>,
    most: usize,
) -> String {
    let (mut lines, mut column) = (head.to_owned(), head.chars().count());
    for (at, word) in words.enumerate() {
        let columns = word.as_ref().chars().count();
        if at > 0 && column + 1 + columns > most {
            lines += &format!("\n{:indent$}", "");
            column = indent;
        } else if at > 0 {
            lines.push(' ');
            column += 1;
        }
        lines += word.as_ref();
        column += columns;
    }
    lines
}

/// Help is not wider, however wide the terminal.
const HELP_COLUMNS_MAX: u16 = 100;

/// The help of a command with its long lines broken. A line goes on below where its text begins, behind the option
/// that it explains.
pub fn help(text: &str) -> String {
    let width = usize::from(width().min(HELP_COLUMNS_MAX));
    let broken = |line: &str| {
        let text_from = |at: usize| line.len() - line[at..].trim_start().len();
        let begin = text_from(0);
        let begin = line[begin..].find("  ").map_or(begin, |gap| text_from(begin + gap));
        let (head, words) = line.split_at(begin);
        fill(head, head.chars().count(), words.split(' '), width)
    };
    text.lines().map(broken).collect::<Vec<_>>().join("\n").trim_end().into()
}

/// Dropped frames by name: `unchanged 3`, `runt 1`.
pub fn drops(drops: &Drops) -> Vec<String> {
    drops.named().map(|(reason, count)| format!("{} {count}", reason.name())).collect()
}

/// Says how many latencies were longer than a histogram records; `None` if none was.
pub fn beyond(count: u64) -> Option<String> {
    let most = units::duration(Duration::from_nanos(LATENCY_NS_MAX));
    let count = Some(count).filter(|count| *count > 0).map(grouped)?;
    Some(format!("  {count} latencies were longer than {most}: they count as that"))
}

/// Whom a command runs as that opens sockets again and again.
pub fn runs_as() -> String {
    let (user, count) = (privilege::user_name(), privilege::capabilities());
    match privilege::can_drop() {
        true => format!(
            "runs as {user}, {count} capabilities for set-up, none in the threads that work"
        ),
        false => format!("runs as {user}, {count} capabilities in all threads"),
    }
}

/// What is not known is a dash in a table.
pub fn or_dash<T>(value: Option<T>, shown: impl Fn(T) -> String) -> String {
    value.map_or("-".into(), shown)
}

/// Digits in groups of three: `1 234 567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_of_help_goes_on_below_its_text() {
        let words = ["x".repeat(35), "y".repeat(35), "z".repeat(35)].join(" ");
        for (begin, indent) in [("  -a, --all  ", 13), ("    ", 4), ("", 0)] {
            let broken = help(&format!("{begin}{words}"));
            let lines: Vec<&str> = broken.lines().collect();
            assert_eq!(lines.len(), 2, "{broken}");
            assert!(lines.iter().all(|line| line.len() <= 100), "{broken}");
            assert_eq!(lines[1].len() - lines[1].trim_start().len(), indent, "{broken}");
            assert_eq!(
                lines.join(" ").split_whitespace().count(),
                words.split(' ').count() + begin.split_whitespace().count()
            );
        }
    }

    #[test]
    fn a_narrow_table_is_broken_between_words_only() {
        let mut rows = table(&["path", "p50 µs", "verdict"]);
        rows.set_width(16);
        rows.add_row(["ring-v2-xsk", "21.7 (21.7-21.8)", "PASS"]);
        let lines = lines_of(&mut rows);
        for word in ["ring-v2-xsk", "21.7 ", "(21.7-21.8)", "verdict", "PASS"] {
            assert!(lines.contains(word), "no '{word}' in {lines}");
        }
        assert!(lines.lines().count() >= 3, "{lines}");
    }

    #[test]
    fn digits_come_in_threes() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1 234 567");
    }
}
