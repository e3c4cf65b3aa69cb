//! Options of `compare` and the searches for the testbed.

use clap::Args;

use super::user::UserArgs;
use super::values::{CpuList, interface_name};
use crate::bench::testbed::Testbed;
use crate::error::Result;
use crate::lab::LabConfig;
use crate::sys::cpus::choose_cpus;
use crate::sys::privilege::ensure_namespaces_allowed;
use crate::units::FrameSize;

/// The two ends of an experiment and their CPUs.
#[derive(Args, Debug)]
pub struct TestbedArgs {
    /// CPUs of the generator and the engine [default: the first two allowed CPUs]
    #[arg(long, value_name = "LIST", value_parser = CpuList::parse)]
    cpus: Option<CpuList>,

    /// The generator's interface [default: a veth testbed made for this run]
    #[arg(short, long, alias = "dev", value_name = "NAME", requires = "dut_interface", value_parser = interface_name())]
    interface: Option<String>,

    /// The engine's interface, cabled to the generator's
    #[arg(long, value_name = "NAME", requires = "interface", value_parser = interface_name())]
    dut_interface: Option<String>,

    /// Allow lo and interfaces that are part of the way out of this host
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    user: UserArgs,
}

impl TestbedArgs {
    /// The CPUs of generator and engine; the same CPU twice if there is only one.
    pub fn cpus(&self) -> Result<(usize, usize)> {
        let asked = self.cpus.as_ref().map_or(&[][..], |list| &list.0);
        match choose_cpus(asked)?[..] {
            [generator, engine, ..] => Ok((generator, engine)),
            [only] => Ok((only, only)),
            [] => unreachable!("choose_cpus gives at least one"),
        }
    }

    /// The two interfaces, or a testbed of our own for frames of up to the largest of `sizes`.
    pub fn open(&self, sizes: &[FrameSize]) -> Result<Testbed> {
        Ok(self.open_several(sizes, (1, false), 1)?.remove(0))
    }

    /// The two interfaces, or `count` testbeds of our own, with `queues` queues in each direction.
    pub fn open_several(
        &self,
        sizes: &[FrameSize],
        (queues, polls): (u32, bool),
        count: usize,
    ) -> Result<Vec<Testbed>> {
        self.user.prepare(self.interface.is_none())?;
        self.make(sizes, (queues, polls), count)
    }

    /// [`TestbedArgs::open_several`] with one queue; `privileged` is done with the rights of who started
    /// the program, while it has one thread.
    pub fn open_and<T>(
        &self,
        sizes: &[FrameSize],
        count: usize,
        privileged: impl FnOnce(&[Testbed]) -> Result<T>,
    ) -> Result<(Vec<Testbed>, T)> {
        let is_lab = self.interface.is_none();
        if is_lab {
            ensure_namespaces_allowed()?;
        }
        let testbeds = self.make(sizes, (1, false), count)?;
        let done = privileged(&testbeds)?;
        self.user.prepare(is_lab)?;
        Ok((testbeds, done))
    }

    fn make(
        &self,
        sizes: &[FrameSize],
        (queues, polls): (u32, bool),
        count: usize,
    ) -> Result<Vec<Testbed>> {
        if let (Some(generator), Some(engine)) = (&self.interface, &self.dut_interface) {
            return Ok(vec![Testbed::interfaces(generator, engine, self.force)?]);
        }
        let largest = sizes.iter().copied().max().unwrap_or_else(FrameSize::smallest);
        let lab = LabConfig { queues, polls: [polls, false], ..LabConfig::default() };
        (0..count).map(|_| Testbed::lab_with(largest, lab.clone())).collect()
    }
}
