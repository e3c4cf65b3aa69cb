//! What every report has: text for people, a document for programs, the machine, and progress.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::bar::Bar;
use super::json::{self, JsonFile};
use super::text::{self, Text, wrap};
use crate::bench::testbed::Testbed;
use crate::error::Result;
use crate::sys::forbidden::forbidden;
use crate::sys::host::Host;
use crate::sys::link::Link;
use crate::sys::runner::Restored;

/// The outputs of a command, and what is the same in all of them.
#[derive(Debug)]
pub struct Base {
    text: Text,
    json: JsonFile,
    /// The machine.
    pub host: Host,
    link: Option<Value>,
    shares_cpu: Option<bool>,
    bar: Option<Bar>,
    line_every: Duration,
    last_line: Option<Instant>,
}

/// A document: what all have, and the command's own fields beside it.
#[derive(Serialize)]
struct Document<'a, T> {
    schema: &'a str,
    version: &'static str,
    host: &'a Host,
    link: Option<&'a Value>,
    /// Whether generator and engine had one CPU between them; of measurements only.
    #[serde(skip_serializing_if = "Option::is_none")]
    shares_cpu: Option<bool>,
    /// System calls that the program did without.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    forbidden: Vec<String>,
    #[serde(flatten)]
    result: &'a T,
}

impl Base {
    /// Opens the outputs.
    pub fn open(json: Option<&Path>) -> Result<Base> {
        let json = JsonFile::open(json)?;
        Ok(Base {
            text: Text::new(json.takes_stdout()),
            json,
            host: Host::detect(),
            link: None,
            shares_cpu: None,
            bar: None,
            line_every: Duration::MAX,
            last_line: None,
        })
    }

    /// Says what of the settings could not be put back; whether there is any.
    pub fn restored(&mut self, (failure, left): &Restored) -> bool {
        let left = left.iter().map(ToString::to_string);
        let left: Vec<String> = failure.iter().cloned().chain(left).collect();
        left.iter().for_each(|one| self.say(format!("NOT PUT BACK: {one}")));
        !left.is_empty()
    }

    /// The interface that the document names.
    pub fn set_link(&mut self, link: &Link) {
        self.link = Some(json::link(link));
    }

    /// What an experiment begins with: what is done, on which machine, as whom. `shares_cpu` says that our own
    /// engine is on the generator's CPU.
    pub fn header(
        &mut self,
        headline: impl AsRef<str>,
        link: &Link,
        shares_cpu: bool,
        runs_as: impl AsRef<str>,
    ) {
        let Host { kernel, cpu, cpus, .. } = &self.host;
        let machine = format!("  Linux {kernel}, {cpu}, {cpus} CPUs");
        self.text.say(headline);
        self.text.say(machine);
        self.text.say(wrap(runs_as.as_ref()));
        self.shares_cpu = Some(shares_cpu);
        if shares_cpu {
            self.text
                .say("  WARNING: one CPU for both: rates are those of the pair, not of the engine");
        }
        self.say_forbidden();
        if link.is_veth() {
            self.text.say(
                "  a veth pair is no NIC: no line rate, and a sender pays for its peer's receive",
            );
        }
        self.set_link(link);
    }

    /// What the program does without.
    pub fn say_forbidden(&mut self) {
        for sentence in forbidden() {
            self.say(wrap(&format!("WARNING: {sentence}")));
        }
    }

    /// [`Base::header`] of an experiment over a testbed, whose generator and engine have a CPU each.
    pub fn testbed_header(&mut self, command: &str, testbed: &Testbed, cpus: (usize, usize)) {
        let (generator, engine) = (&testbed.generator.link, &testbed.engine.link);
        let headline = format!(
            "linerate {command}: generator on {} (CPU {}), engine on {} (CPU {})",
            generator.name, cpus.0, engine.name, cpus.1
        );
        self.header(headline, engine, cpus.0 == cpus.1, text::runs_as());
    }

    /// Says whole lines, above the bar if there is one.
    pub fn say(&mut self, lines: impl AsRef<str>) {
        self.bar.iter_mut().for_each(Bar::clear);
        self.text.say(lines);
    }

    /// Says a table.
    pub fn table<const N: usize>(
        &mut self,
        header: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) {
        let mut table = text::table(&header);
        table.add_rows(rows);
        self.say(text::lines_of(&mut table));
    }

    /// Whether nobody reads the text any more.
    pub fn reader_gone(&self) -> bool {
        self.text.reader_gone()
    }

    /// Something with `steps` steps begins. On a terminal a bar shows its progress, elsewhere a line at
    /// most every `line_every`.
    pub fn begin(&mut self, steps: u64, line_every: Duration) {
        self.bar = Bar::begin(steps);
        (self.line_every, self.last_line) = (line_every, None);
    }

    /// `step` steps are done.
    pub fn advance(&mut self, step: u64) {
        self.bar.iter_mut().for_each(|bar| bar.advance(step, None));
    }

    /// `step` steps are done; `line` says how it goes.
    pub fn progress(&mut self, step: u64, line: impl Into<String>) {
        let is_due = |last: Instant| last.elapsed() >= self.line_every;
        if let Some(bar) = &mut self.bar {
            bar.advance(step, Some(line.into()));
        } else if self.line_every < Duration::MAX && self.last_line.is_none_or(is_due) {
            self.text.say(format!("  {}", line.into()));
            self.last_line = Some(Instant::now());
        }
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        self.bar = None;
    }

    /// Writes the document.
    pub fn write(&mut self, schema: &str, result: &impl Serialize) -> Result<()> {
        let Base { json, host, link, shares_cpu, .. } = self;
        json.write(&Document::of(schema, host, link, *shares_cpu, result))
    }

    /// Keeps the document as it is by now.
    pub fn checkpoint(&mut self, schema: &str, result: &impl Serialize) -> Result<()> {
        let Base { json, host, link, shares_cpu, .. } = self;
        json.checkpoint(&Document::of(schema, host, link, *shares_cpu, result))
    }
}

impl<'a, T> Document<'a, T> {
    fn of(
        schema: &'a str,
        host: &'a Host,
        link: &'a Option<Value>,
        shares_cpu: Option<bool>,
        result: &'a T,
    ) -> Document<'a, T> {
        let version = env!("CARGO_PKG_VERSION");
        let (link, forbidden) = (link.as_ref(), forbidden());
        Document { schema, version, host, link, shares_cpu, forbidden, result }
    }
}
