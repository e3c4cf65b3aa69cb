//! Names of interfaces: alternative ones, long ones, and bytes that are no text.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use libtest_mimic::Failed;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::sys::link::Links;
use linerate::sys::namespace::Namespace;
use linerate::sys::offload::Ethtool;

use crate::check::{Test, test};
use crate::rtnetlink::{name_also, set};

pub fn tests() -> Vec<Test> {
    vec![
        test("names: an interface is found by every name that it has", alternative),
        test("names: bytes that are no text are shown escaped and stop nothing", no_text),
        test("names: every command takes them", commands),
    ]
}

const LONG: &[u8] = b"enx0123456789ab-port1, the one on the left";
const NO_TEXT: &[u8] = b"port\xff\xc3-of-more-than-fifteen-bytes";

fn alternative() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let (links, index) = (lab.engine.links(), lab.engine.link.index);
    let longest = [b'x'; 127];
    for name in [b"short".as_slice(), LONG, NO_TEXT, &longest] {
        name_also(&lab.engine.namespace, index, name)?;
        let text = linerate::sys::interface::name_text(name);
        let found = links.by_name(&text)?;
        assert_eq!((found.index, &*found.name), (index, ENGINE.interface));
        assert!(found.alternative_names.contains(&text), "{found:?}");
        let error = links.by_name("eth77").err().ok_or("found")?.to_string();
        assert!(error.contains(&text), "{error}");
    }
    Ok(())
}

/// The interface itself, and others beside it.
fn no_text() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let (namespace, index) = (&lab.engine.namespace, lab.engine.link.index);
    let links = lab.engine.links();
    links.set_up(index, false)?;
    set(namespace, index, libc::IFLA_IFNAME, b"e\xff\\0\0")?;
    set(namespace, index, libc::IFLA_IFALIAS, b"\xfe\xff")?;
    links.set_up(index, true)?;
    let link = links.by_index(index)?;
    assert_eq!(link.name, r"e\xff\\0");
    assert_eq!(links.by_name(&link.name)?.index, index);
    // By ioctl, too.
    assert_eq!(namespace.run(Ethtool::open)??.driver(&link.name)?.name, "veth");
    assert!(links.list()?.iter().any(|other| other.name == "lo"));
    Ok(())
}

/// As a shell would pass it, and what the program says.
fn say(namespace: &Namespace, words: &str, name: &[u8]) -> Result<String, Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linerate"));
    command.args(words.split(' ')).arg(OsString::from_vec(name.to_vec()));
    let output = namespace.run(|| command.output())??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{words}: {said}");
    Ok(said)
}

fn commands() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let (here, there) = (&lab.generator, &lab.engine);
    let links = Links::open_in(&there.namespace)?;
    links.set_up(there.link.index, false)?;
    set(&there.namespace, there.link.index, libc::IFLA_IFNAME, b"e\xff\0")?;
    links.set_up(there.link.index, true)?;
    for side in [here, there] {
        name_also(&side.namespace, side.link.index, NO_TEXT)?;
    }
    for name in [b"e\xff".as_slice(), NO_TEXT] {
        for words in ["echo -d 10ms -i", "echo --reply udp --port 7777 -d 10ms -i"] {
            let said = say(&there.namespace, words, name)?;
            assert!(said.contains(r"echo on e\xff "), "{said}");
        }
    }
    say(&there.namespace, "tutorial server -d 10ms -i", NO_TEXT)?;
    let said = say(&here.namespace, "load -n 5 --to 02:00:00:00:00:99 --warmup 0 -i", NO_TEXT)?;
    assert!(said.contains(GENERATOR.interface) && said.contains("sent 5"), "{said}");
    Ok(())
}
