//! A testbed vanishes with its process, however that ends.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::Failed;
use linerate::lab::{Lab, LabConfig};
use linerate::sys::link::{LinkEvent, LinkWatch, Links};
use linerate::sys::namespace::Namespace;

use crate::check::{Test, eventually, test};
use crate::links::plain_pair;
use crate::parts::Part;

pub fn tests() -> Vec<Test> {
    vec![test("vanish: the testbed of a process killed by SIGKILL is gone", killed)]
}

const WITNESS: &str = "witness0";

/// The child ties a veth pair between its engine's namespace and ours. When the kernel takes that
/// namespace apart, and only then, our end goes as well.
fn killed() -> Result<(), Failed> {
    let ours = Namespace::create()?;
    let links = Links::open_in(&ours)?;
    let mut watch = ours.run(LinkWatch::open)??;
    // A child inherits the namespace of the thread that starts it.
    let mut child = ours.run(|| -> Result<_, Failed> {
        Ok(Part::HoldALab.command()?.stdout(Stdio::piped()).spawn()?)
    })??;
    let mut line = String::new();
    let stdout = child.stdout.take().ok_or("no pipe")?;
    BufReader::new(stdout).read_line(&mut line)?;
    let witness = links.by_name(WITNESS);
    child.kill()?;
    let status = child.wait()?;
    assert_eq!(line, "ready\n");
    assert_eq!(status.signal(), Some(9), "{status}");
    let index = witness?.index;
    eventually("the testbed is gone", || Ok(watch.drain()?.contains(&LinkEvent::Deleted { index })))
}

/// Part of a child.
pub fn hold_a_lab() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig { addresses: true, ..Default::default() })?;
    Links::open()?.create_veth_pair(&plain_pair(WITNESS, WITNESS, &lab.engine.namespace))?;
    println!("ready");
    std::io::stdout().flush()?;
    // Whoever forgets to kill this waits a minute at most.
    std::thread::sleep(Duration::from_secs(60));
    Err("nobody killed me".into())
}
