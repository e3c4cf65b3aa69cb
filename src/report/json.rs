//! JSON documents.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::output::Output;
use crate::error::Result;
use crate::stats::drops::Drops;
use crate::sys::failure::failed;
use crate::sys::host::Host;
use crate::sys::link::Link;
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

    /// Writes the whole document and puts the file in its place.
    pub fn write(&mut self, document: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(document)
            .map_err(|error| failed("compose the JSON result", &error.into(), ""))?;
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

/// Why a run ended before all was done that was asked for; null if it did not.
pub fn interruption(interrupted: bool, broken: Option<impl Display>) -> Option<String> {
    let broken = broken.map(|error| error.to_string());
    broken.or_else(|| interrupted.then(|| "signal".into()))
}

/// Dropped frames by name.
pub fn drops(drops: &Drops) -> Value {
    let named = drops.named().map(|(reason, count)| (reason.name().to_string(), count.into()));
    Value::Object(named.collect::<Map<_, _>>())
}

/// A link as results name it.
pub fn link(link: &Link) -> Value {
    json!({
        "name": link.name,
        "kind": link.kind.as_deref().unwrap_or("hardware"),
        "mac": MacAddress(link.mac).to_string(),
        "mtu": link.mtu,
        "tx_queues": link.transmit_queues,
        "rx_queues": link.receive_queues,
    })
}

/// The machine.
pub fn host(host: &Host) -> Value {
    json!({
        "kernel": host.kernel,
        "cpu": host.cpu,
        "cpus": host.cpus,
        "cpu_idle_driver": host.cpu_idle_driver,
        "cpu_idle_governor": host.cpu_idle_governor,
        "cpu_idle_states": host.cpu_idle_states,
        "halt_poll_ns": host.halt_poll_ns,
        "irq_time_accounting": host.irq_time_accounting,
    })
}
