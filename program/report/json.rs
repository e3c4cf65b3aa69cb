//! JSON documents.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::output::Output;
use crate::error::Result;
use crate::stats::counters::EngineCounters;
use crate::stats::counters::Tally;
use crate::sys::failure::failed;
use crate::sys::link::Link;
use crate::sys::offload::Ethtool;
use crate::wire::ethernet::MacAddress;

/// Where a JSON document goes.
#[derive(Debug)]
pub enum JsonFile {
    /// Nowhere.
    None,
    /// Standard output.
    Stdout,
    /// A file.
    File(Output),
}

impl JsonFile {
    /// Opens the file, as [`Output::create`] says; `-` is standard output.
    pub fn open(path: Option<&Path>) -> Result<JsonFile> {
        match path {
            None => Ok(JsonFile::None),
            Some(path) if path == Path::new("-") => Ok(JsonFile::Stdout),
            Some(path) => Output::create(path).map(JsonFile::File),
        }
    }

    /// Whether text for people must keep off standard output.
    pub fn takes_stdout(&self) -> bool {
        matches!(self, JsonFile::Stdout)
    }

    /// Keeps the document as it is by now, in a file; standard output gets the last one only.
    pub fn checkpoint(&mut self, document: &impl Serialize) -> Result<()> {
        match self {
            JsonFile::File(output) => {
                output.checkpoint(format!("{}\n", text(document)?).as_bytes())
            }
            JsonFile::None | JsonFile::Stdout => Ok(()),
        }
    }

    /// Writes the whole document and puts the file in its place.
    pub fn write(&mut self, document: &impl Serialize) -> Result<()> {
        let text = text(document)?;
        match self {
            JsonFile::None => Ok(()),
            JsonFile::File(output) => {
                output.append(format!("{text}\n").as_bytes())?;
                output.publish()
            }
            JsonFile::Stdout => {
                let mut stdout = io::stdout().lock();
                let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
                match written {
                    // Nobody reads it any more, which is their decision.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                    written => written.map_err(|error| {
                        failed("write the JSON result to standard output", &error, "")
                    }),
                }
            }
        }
    }
}

fn text(document: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(document)
        .map_err(|error| failed("compose the JSON result", &error.into(), ""))
}

/// Why a run ended before all was done that was asked for; null if it did not.
pub fn interruption(interrupted: bool, broken: Option<impl Display>) -> Option<String> {
    let broken = broken.map(|error| error.to_string());
    broken.or_else(|| interrupted.then(|| "signal".into()))
}

/// Objects that are one in the document.
pub fn joined<const N: usize>(parts: [Value; N]) -> Value {
    let fields = parts.into_iter().filter_map(|part| match part {
        Value::Object(fields) => Some(fields),
        _ => None,
    });
    Value::Object(fields.flatten().collect())
}

/// What our own engine did beside a load.
pub fn engine(counters: &EngineCounters) -> Value {
    json!({
        "received": counters.received,
        "forwarded": counters.forwarded,
        "drops": counters.drops,
        "kernel_drops": counters.kernel.drops,
    })
}

/// Frames that came back, by what they turned out to be, and those that did not.
pub fn frames(tally: &Tally, lost: u64) -> Value {
    let mut frames = json!(tally);
    frames["lost"] = lost.into();
    frames
}

/// A link as results name it, with driver and firmware where they can be asked for: a lab's interface is
/// in a namespace of its own, and has none but its kind.
pub fn link(link: &Link) -> Value {
    let driver = match link.is_veth() {
        true => None,
        false => Ethtool::open().ok().and_then(|ethtool| ethtool.driver(&link.name).ok()),
    };
    json!({
        "name": link.name,
        "kind": link.kind.as_deref().unwrap_or("hardware"),
        "mac": MacAddress(link.mac).to_string(),
        "mtu": link.mtu,
        "tx_queues": link.transmit_queues,
        "rx_queues": link.receive_queues,
        "driver": driver,
    })
}
