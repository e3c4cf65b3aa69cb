//! Values as typed that several commands take.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::sys::cpus::check_pinning;
use crate::sys::interface::name_text;
use crate::sys::link::Links;
use crate::sys::namespace::Namespace;
use crate::sys::offload::Ethtool;
use crate::sys::queues::Queues;
use crate::units::{parse_cpu_list, parse_positive_duration};

/// CPUs as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

impl CpuList {
    /// From `0-3`, `0,2,4-7`; an error where no thread may be put on any of them.
    pub fn parse(text: &str) -> Result<CpuList, String> {
        let cpus = parse_cpu_list(text)?;
        check_pinning().map_err(|error| error.to_string())?;
        Ok(CpuList(cpus))
    }
}

/// A number of threads as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// So many.
    Number(usize),
    /// One for each queue of the interface that is in use.
    Queues,
}

impl Count {
    /// From `queues`, or a number up to `MOST`.
    pub fn parse<const MOST: usize>(text: &str) -> Result<Count, String> {
        match text {
            "queues" => Ok(Count::Queues),
            _ => parse_between::<1, MOST>(text)
                .map(Count::Number)
                .map_err(|valid| format!("{valid}, or queues")),
        }
    }
}

/// The queues of an interface in `namespace`, or in that of the calling thread.
pub fn queues(interface: &str, namespace: Option<&Namespace>) -> crate::error::Result<Queues> {
    let read = || Ethtool::open()?.queues(&Links::open()?.by_name(interface)?);
    match namespace {
        Some(namespace) => namespace.run(read)?,
        None => read(),
    }
}

/// An interface's name as typed, whatever its bytes.
pub fn interface_name() -> impl TypedValueParser<Value = String> {
    let text =
        |name: OsString| name.into_string().unwrap_or_else(|name| name_text(name.as_bytes()));
    OsStringValueParser::new().map(text)
}

/// A whole number from `LEAST` to `MOST`.
pub fn parse_between<const LEAST: usize, const MOST: usize>(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (LEAST..=MOST).contains(number));
    number.ok_or_else(|| format!("from {LEAST} to {MOST}"))
}

/// A part as typed: `0`, `0.001`, `0.1%`.
pub fn parse_ratio(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim(), 100.0),
        None => (text.trim(), 1.0),
    };
    match number.parse::<f64>() {
        Ok(value) if (0.0..1.0).contains(&(value / scale)) => Ok(value / scale),
        _ => Err("a part, from 0 to less than 1: 0, 0.001, 0.1%".into()),
    }
}

/// The duration of a trial.
pub fn parse_trial_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_positive_duration(text)?;
    if duration < Duration::from_millis(20) || duration > Duration::from_secs(600) {
        return Err("from 20ms to 10m".into());
    }
    Ok(duration)
}

/// Each value once, in the order typed.
pub fn distinct<T: Clone + PartialEq>(values: &[T]) -> Vec<T> {
    let mut kept = Vec::new();
    for value in values {
        if !kept.contains(value) {
            kept.push(value.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_parts_or_percents() {
        assert_eq!(parse_ratio("0").unwrap(), 0.0);
        assert_eq!(parse_ratio("0.5%").unwrap(), 0.005);
        assert!(parse_ratio("100%").is_err() && parse_ratio("-1").is_err());
    }
}
