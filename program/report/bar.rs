//! A progress bar on the terminal at standard error; nothing where that is no terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::error::escaped;
use crate::sys::terminal::columns;

const CELLS: u64 = 30;
/// The bar is not drawn more often.
const DRAW_EVERY: Duration = Duration::from_millis(50);
/// Back to the first column, and away with the line.
const CLEAR: &str = "\r\x1b[2K";

/// Progress through a number of steps.
#[derive(Debug)]
pub struct Bar {
    steps: u64,
    step: u64,
    message: String,
    began: Instant,
    drawn: Option<Instant>,
}

impl Bar {
    /// Nothing is done yet of `steps` steps; `None` where standard error is no terminal.
    pub fn begin(steps: u64) -> Option<Bar> {
        let bar =
            Bar { steps, step: 0, message: String::new(), began: Instant::now(), drawn: None };
        io::stderr().is_terminal().then_some(bar)
    }

    /// `step` steps are done; `message` says how it goes, if there is news of that.
    pub fn advance(&mut self, step: u64, message: Option<String>) {
        self.step = step.min(self.steps);
        self.message = message.unwrap_or_else(|| std::mem::take(&mut self.message));
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW_EVERY) {
            self.drawn = Some(Instant::now());
            let columns = columns(io::stderr()).unwrap_or(80);
            put(&format!("{CLEAR}{}", self.line(columns.into())));
        }
    }

    /// Takes the bar away until it advances, as for lines above it.
    pub fn clear(&mut self) {
        if self.drawn.take().is_some() {
            put(CLEAR);
        }
    }

    /// The bar in fewer than `columns` columns, so that no line is wrapped.
    fn line(&self, columns: usize) -> String {
        let full = (CELLS * self.step / self.steps.max(1)) as usize;
        let cells = "█".repeat(full) + &"░".repeat(CELLS as usize - full);
        let line =
            format!("{cells} {}s {}", self.began.elapsed().as_secs(), escaped(&self.message));
        line.chars().take(columns.saturating_sub(1)).collect()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What cannot be drawn is no loss.
fn put(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fits_its_terminal_and_never_overflows() {
        let bar = |steps, step, message: &str| {
            let message = message.to_owned();
            Bar { steps, step, message, began: Instant::now(), drawn: None }
        };
        let quarter = bar(4, 1, &"x".repeat(99)).line(80);
        assert_eq!((quarter.chars().count(), quarter.matches('█').count()), (79, 7));
        assert_eq!(bar(4, 4, "").line(0), "");
        assert!(!bar(4, 4, "a\x1b[2Jb").line(200).contains('\x1b'));
        assert_eq!(bar(0, 0, "").line(80).matches('░').count(), 30);
    }
}
