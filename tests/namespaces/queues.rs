//! Several queues: a worker for each that receives, a sender for each that transmits, and interrupts. Over a veth
//! pair a frame arrives in the receive queue with the number of the transmit queue that it left by.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::{Completion, Failed};
use linerate::engine::config::PathName;
use linerate::engine::names::RxName;
use linerate::engine::pool::{Engine, EngineSummary};
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::load::plan::{Limits, LoadSpec, Threads};
use linerate::load::rate::Rate;
use linerate::load::run::Load;
use linerate::load::tx::TxChoice;
use linerate::ring::budget::MemoryBudget;
use linerate::sys::irq::IrqPin;
use linerate::sys::packet::FanoutMode;
use linerate::wire::ethernet::MacAddress;
use serde_json::Value;

use crate::check::{PATHS, Test, eventually, over, test, test_of};
use crate::load_program::{ended, run};
use crate::parts::Part;
use crate::served::{check_summary, config, lab_for};

pub fn tests() -> Vec<Test> {
    let mut all = over(
        "queues",
        &PATHS,
        &[("each worker gets the frames of its receive queue", worker_per_queue)],
    );
    all.extend([
        test("queues: a worker for each, by the program", program_per_queue),
        test("queues: each sender leaves by its own, and all frames are in the books", senders),
        test_of(PathName::XDP, "queues: our engine serves all that senders use", own_engine),
        test("queues: without the bypass nobody says which", by_flow),
        test("queues: pinned interrupts go back, also after SIGKILL", killed),
    ]);
    all
}

const QUEUES: u32 = 4;

fn four_queues() -> LabConfig {
    LabConfig { queues: QUEUES, ..LabConfig::default() }
}

fn received(summary: &EngineSummary) -> Vec<u64> {
    summary.workers.iter().map(|worker| worker.received).collect()
}

/// Four senders, one for each transmit queue, and as many or fewer workers.
fn worker_per_queue(path: PathName) -> Result<(), Failed> {
    for (workers, shares) in [(4, &[251, 251, 250, 250][..]), (2, &[501, 501])] {
        if path.rx == RxName::Xsk && workers < 4 {
            continue;
        }
        let (lab, config) = lab_for(&four_queues(), path, |config| {
            config.workers = workers;
            config.fanout = Some(FanoutMode::Queue);
        })?;
        let engine = Engine::start(&config)?;
        let (here, there) = (MacAddress(GENERATOR.mac), MacAddress(ENGINE.mac));
        let load = LoadSpec {
            tx: Some(TxChoice::Xsk),
            threads: Threads::Apart { senders: QUEUES as usize },
            drain: Duration::from_secs(30),
            ..LoadSpec::new(lab.generator.link.index, 1500, here, there)
        };
        // Of 1002 frames the senders 0 and 1 send one more than the others.
        let load = load.paced(Rate::frames(20_000), Limits::frames(1002));
        let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
        let outcome = lab.generator.namespace.run(|| Load::run(&load, &budget, &mut |_| {}))??;
        let summary = engine.stop();
        check_summary(&summary);
        assert_eq!(outcome.tally.intact, 1002, "{:?}, lost {}", outcome.tally, outcome.lost);
        let sent: Vec<u64> = outcome.senders.iter().map(|sender| sender.sent).collect();
        assert_eq!(sent, [251, 251, 250, 250]);
        assert_eq!(received(&summary), shares);
        let expected: &[&[u32]] =
            if workers == 4 { &[&[0], &[1], &[2], &[3]] } else { &[&[0, 2], &[1, 3]] };
        assert_eq!(summary.queues.ok_or("queues decide")?, expected);
    }
    Ok(())
}

fn count(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}

/// What the documents say of queues and senders.
fn document_of(lab: &Lab, line: &str) -> Result<Value, Failed> {
    let mac = MacAddress(ENGINE.mac).to_string();
    let words = ["-i", GENERATOR.interface, "--to", &mac, line];
    let document = run(&lab.generator.namespace, &words)?.document(0);
    assert_eq!(document["queues"]["transmit"], QUEUES, "{document:#}");
    Ok(document)
}

/// AF_XDP sockets have a queue each; packet sockets leave by that of their CPU.
fn senders() -> Result<(), Failed> {
    for tx in ["xsk", "ring", "mmsg"] {
        let lab = Lab::create(&four_queues())?;
        let engine = Engine::start(&config(&lab, PathName::RING_V2, |config| {
            config.workers = QUEUES as usize;
            config.fanout = Some(FanoutMode::Queue);
        }))?;
        let document = document_of(&lab, &format!("--senders queues --tx {tx}"))?;
        let summary = engine.stop();
        let senders = document["senders"].as_array().expect("senders");
        assert_eq!(senders.len(), QUEUES as usize, "{document:#}");
        let mut by_queue = vec![0; QUEUES as usize];
        for sender in senders {
            by_queue[count(&sender["queue"]) as usize] += count(&sender["sent"]);
        }
        assert_eq!(by_queue.iter().sum::<u64>(), count(&document["sent"]), "{document:#}");
        assert_eq!(ended(&document, "intact"), 500, "{document:#}");
        assert_eq!(received(&summary), by_queue, "{tx}: {document:#}");
        if tx == "xsk" {
            assert_eq!(by_queue, [125; 4]);
        }
    }
    Ok(())
}

fn by_flow() -> Result<(), Failed> {
    let lab = Lab::create(&four_queues())?;
    let engine = Engine::start(&config(&lab, PathName::RING_V2, |_| {}))?;
    let document = document_of(&lab, "--senders 2 --tx ring")?;
    engine.stop();
    let queues = document["senders"].as_array().expect("senders").iter();
    assert!(queues.map(|sender| &sender["queue"]).eq([&Value::Null; 2]), "{document:#}");
    Ok(())
}

/// Frames of a queue that no worker serves would be lost, and blamed on the path.
fn own_engine() -> Result<Completion, Failed> {
    let here = linerate::sys::namespace::Namespace::current()?;
    let document = run(&here, &["--lab xdp --tx xsk --senders 3"])?.document(0);
    assert_eq!(ended(&document, "intact"), 500, "{document:#}");
    assert_eq!(document["engine"]["forwarded"], 500, "{document:#}");
    assert_eq!(document["device_queues"]["receive"], 3, "{document:#}");
    Ok(Completion::Completed)
}

fn program_per_queue() -> Result<(), Failed> {
    let lab = Lab::create(&four_queues())?;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_linerate"));
    let line = "echo -q --path ring-v2 -w queues -n 1 -d 60s --json - -i";
    command.args(line.split(' ').chain([ENGINE.interface]));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = lab.engine.namespace.run(|| command.spawn())??;
    let mut said = BufReader::new(child.stderr.take().ok_or("a pipe")?).lines();
    let mut text = String::new();
    for line in said.by_ref() {
        text += &(line? + "\n");
        if text.contains("latency:") {
            break;
        }
    }
    for words in ["4 workers", "fanout qm", "queues: 4 receive, 4 transmit"] {
        assert!(text.contains(words), "no '{words}' in {text}");
    }
    let client = crate::client::Client::open(&lab.generator)?;
    client.send(&crate::client::numbered(0, 60))?;
    said.for_each(drop);
    let out = std::io::read_to_string(child.stdout.take().ok_or("a pipe")?)?;
    assert!(child.wait()?.success(), "{out}");
    let document: Value = serde_json::from_str(&out)?;
    assert_eq!(
        (&document["queues"]["receive"], &document["queues"]["rss"]),
        (&4.into(), &Value::Null)
    );
    let workers = document["workers"].as_array().expect("workers");
    assert!(workers.iter().map(|worker| &worker["queues"][0]).eq(&[0, 1, 2, 3].map(Value::from)));
    Ok(())
}

const TREE: &str = "LINERATE_TEST_TREE";
const PLACE: &str = "0000:03:00.0";

/// A device with an interrupt for each of two queues, as `/proc` and `/sys` show it.
fn tree() -> Result<PathBuf, Failed> {
    let root = std::env::temp_dir().join(format!("linerate-pinned-{}", std::process::id()));
    let put = |file: String, text: &str| -> Result<(), Failed> {
        let file = root.join(file);
        fs::create_dir_all(file.parent().ok_or("a folder")?)?;
        Ok(fs::write(file, text)?)
    };
    put(
        "proc/interrupts".into(),
        " 31: 4 MSI 1-edge eth1-TxRx-0\n 32: 4 MSI 2-edge eth1-TxRx-1\n",
    )?;
    for number in [31, 32] {
        put(format!("sys/bus/pci/devices/{PLACE}/msi_irqs/{number}"), "msix\n")?;
        put(format!("proc/irq/{number}/smp_affinity_list"), "0-3\n")?;
    }
    Ok(root)
}

fn affinities(root: &Path) -> Result<String, Failed> {
    let read =
        |number| fs::read_to_string(root.join(format!("proc/irq/{number}/smp_affinity_list")));
    Ok([read(31)?, read(32)?].map(|list| list.trim().to_owned()).join(" "))
}

/// Part of a child.
pub fn pin_interrupts() -> Result<(), Failed> {
    let root = std::env::var(TREE)?;
    let mut pin = IrqPin::begin(&root, "eth1", PLACE)?;
    let said = pin.put(&[3, 1])?;
    assert!(said.contains("0 on CPU 3, 1 on CPU 1"), "{said}");
    println!("pinned");
    std::io::stdout().flush()?;
    match std::io::stdin().lines().next() {
        // Told to end well.
        Some(_) => assert_eq!(pin.end(), (None, Vec::new())),
        None => std::thread::sleep(Duration::from_secs(600)),
    }
    Ok(())
}

fn killed() -> Result<(), Failed> {
    let root = tree()?;
    for by_force in [true, false] {
        let mut command = Part::PinInterrupts.command()?;
        command.env(TREE, &root).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut said = BufReader::new(child.stdout.take().ok_or("a pipe")?).lines();
        assert_eq!(said.next().ok_or("a word")??, "pinned");
        assert_eq!(affinities(&root)?, "3 1");
        match by_force {
            true => child.kill()?,
            false => child.stdin.take().ok_or("a pipe")?.write_all(b"end\n")?,
        }
        assert_eq!(child.wait()?.success(), !by_force);
        eventually("the interrupts are where they were", || Ok(affinities(&root)? == "0-3 0-3"))?;
    }
    fs::remove_dir_all(&root)?;
    Ok(())
}
