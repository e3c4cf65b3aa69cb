//! Options of `linerate doctor`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::user::UserArgs;
use super::values::{CpuList, interface_name};
use crate::bench::doctor::facts::Facts;
use crate::bench::doctor::{findings, reasons};
use crate::error::{Error, Result, exit};
use crate::report::doctor::DoctorReport;
use crate::sys::failure::ENODEV;
use crate::sys::link::Links;
use crate::sys::signal::Interrupt;
use crate::units::parse_positive_duration;

/// Tell what this machine can do and what spoils measurements on it
#[derive(Args, Debug)]
#[command(after_help = include_str!("help/doctor.txt"))]
pub struct DoctorArgs {
    /// Look at this interface, too
    #[arg(short, long, alias = "dev", value_name = "NAME", value_parser = interface_name())]
    interface: Option<String>,

    /// CPUs of the generator and the engine [default: the first two allowed CPUs]
    #[arg(long, value_name = "LIST", value_parser = CpuList::parse)]
    cpus: Option<CpuList>,

    /// How long the CPUs and the interface are looked at
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_positive_duration, allow_hyphen_values = true)]
    look: Duration,

    /// Write the findings as JSON to FILE; `-` writes it to stdout, and the text to stderr
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,

    #[command(flatten)]
    user: UserArgs,
}

impl DoctorArgs {
    /// Looks, reports, and says whether the machine is fit.
    pub fn run(self) -> Result<u8> {
        let links = self.interface.as_ref().map(|_| Links::open()).transpose()?;
        let named = links.as_ref().zip(self.interface.as_deref());
        let link = named.map(|(links, name)| match links.by_name(name)? {
            // Another command may just have had the NIC reset its link.
            link if link.up => links.wait_for_carrier(link.index),
            link => Ok(link),
        });
        let link = link.transpose().map_err(|error| match error.errno() {
            Some(ENODEV) => Error::Usage(error.to_string()),
            _ => error,
        })?;
        let interrupt = Interrupt::catch()?;
        let mut report = DoctorReport::open(self.json.as_deref())?;
        report.start(link.as_ref());
        let cpus = self.cpus.as_ref().map_or(&[][..], |list| &list.0);
        let named = links.as_ref().zip(link.as_ref());
        let host = report.host().clone();
        let facts = Facts::gather(host, named, cpus, self.look, || self.user.become_plain())?;
        if interrupt.caught() {
            return Ok(exit::INTERRUPTED);
        }
        let findings = findings(&facts);
        report.finish(&facts, &findings)?;
        Ok(if reasons(&findings).is_empty() { exit::OK } else { exit::CANNOT_TELL })
    }
}
