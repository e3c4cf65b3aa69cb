//! How far something long has come: a bar on a terminal, now and then a plain line elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::text::Text;

/// Progress of one of several long things.
#[derive(Debug)]
pub struct Advance {
    bar: ProgressBar,
    every: Duration,
    last_line: Option<Instant>,
}

impl Advance {
    /// Nothing is under way.
    pub fn none() -> Advance {
        Advance { bar: ProgressBar::hidden(), every: Duration::ZERO, last_line: None }
    }

    /// Something begins that has `steps` steps. Where there is no terminal, a line is written at
    /// most every `every`.
    pub fn begin(steps: u64, every: Duration) -> Advance {
        let style = ProgressStyle::with_template("{bar:30} {elapsed} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Advance { bar: ProgressBar::new(steps).with_style(style), every, last_line: None }
    }

    /// So many steps are done, and this is how it goes.
    pub fn tell(&mut self, text: &mut Text, step: u64, line: impl Into<String>) {
        if !self.bar.is_hidden() {
            self.bar.set_message(line.into());
            self.bar.set_position(step);
        } else if self.last_line.is_none_or(|last| last.elapsed() >= self.every) {
            text.say(format!("  {}", line.into()));
            self.last_line = Some(Instant::now());
        }
    }

    /// It is over: takes the bar away.
    pub fn end(&mut self) {
        self.bar.finish_and_clear();
        *self = Advance::none();
    }
}
