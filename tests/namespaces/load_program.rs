//! `linerate load`, the program, where somebody else answers: a reflector that does wrong, another
//! interface of the same machine, UDP ports whose station it has to find by itself.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use linerate::engine::config::PathName;
use linerate::engine::pool::Engine;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::sys::link::Links;
use linerate::sys::namespace::Namespace;
use linerate::wire::ethernet::{EtherType, MacAddress};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::check::{Test, eventually, test};
use crate::links::plain_pair;
use crate::load::{Fault, Reflector};
use crate::served::config;

pub fn tests() -> Vec<Test> {
    vec![
        test("load program: bad frames are kept, and a threshold is missed", bad_frames),
        test("load program: our engine on a second interface", own_engine),
        test("load program: a second interface that somebody else serves", observed),
        test("load program: the kernel finds the station of an IP address", by_the_kernel),
        test("load program: a station is asked for where the kernel has no way", by_ourselves),
        test("load program: Ctrl-C ends a drain", ends_a_drain),
        test("load program: nobody with that address is said", nobody),
        test("load program: what measured nothing says why and has no numbers", nothing),
        test("load program: a deleted interface ends it with what was counted", deleted),
        test("load program: and every other measurement with what was found", others_deleted),
    ]
}

/// 5,000 frames a second, fewer than any ring holds, with patience for a machine that has other work.
const SHORT: &str = "load -r 5k -n 500 --warmup 0 --drain 5s --json -";

pub struct Ended {
    pub code: Option<i32>,
    pub err: String,
    out: String,
}

impl Ended {
    #[track_caller]
    pub fn document(&self, code: i32) -> Value {
        assert_eq!(self.code, Some(code), "{}", self.err);
        serde_json::from_str(&self.out).expect("a document")
    }
}

pub fn run(namespace: &Namespace, words: &[&str]) -> Result<Ended, Failed> {
    run_line(namespace, &[&[SHORT], words].concat().join(" "))
}

fn run_line(namespace: &Namespace, line: &str) -> Result<Ended, Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linerate"));
    command.args(line.split(' '));
    let output = namespace.run(|| command.output())??;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ended { code: output.status.code(), err: text(&output.stderr), out: text(&output.stdout) })
}

/// Frames that ended so, in the document.
pub fn ended(document: &Value, how: &str) -> u64 {
    document["frames"][how].as_u64().expect("a count")
}

/// Frames that stayed at `layer`, under whatever name.
fn stayed(document: &Value, layer: &str) -> i64 {
    let stages = document["waterfall"]["stages"].as_array().expect("stages");
    let frames = stages.iter().filter(|stage| stage["layer"] == layer);
    frames.map(|stage| stage["frames"].as_i64().expect("a count")).sum()
}

fn bad_frames() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let fault: Fault = |number, frame, _| match number % 10 {
        0 => frame[50] ^= 1,
        1 => frame.clear(),
        _ => {}
    };
    let reflector = Reflector::start(&lab.engine, fault)?;
    let file = std::env::temp_dir().join(format!("linerate-bad-{}.pcap", std::process::id()));
    let kept = run_against(&lab, &file);
    let pcap = std::fs::read(&file);
    let _ = std::fs::remove_file(&file);
    reflector.stop()?;
    let (document, text) = kept?;
    assert_eq!((ended(&document, "corrupted"), ended(&document, "lost")), (50, 50));
    assert!(text.contains("MISSED: loss 20") && text.contains("10 %"), "{text}");
    // A header, and for each one of its own and the 60 bytes that the socket saw.
    assert_eq!(pcap?.len(), 24 + 50 * (16 + 60));
    Ok(())
}

/// Nobody answers, so that there is nothing but the drain for a minute.
fn ends_a_drain() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let mac = MacAddress(ENGINE.mac).to_string();
    let line = "load -r 5k -n 50 --warmup 0 --drain 60s --interval 20ms --json - -i";
    let mut command = Command::new(env!("CARGO_BIN_EXE_linerate"));
    command.args(line.split(' ').chain([GENERATOR.interface, "--to", &mac]));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = lab.generator.namespace.run(|| command.spawn())??;
    let lines = BufReader::new(child.stderr.take().ok_or("a pipe")?).lines();
    let began = Instant::now();
    let mut told = false;
    for line in lines {
        // All are sent when so many are open.
        if line?.contains("open 50") && !told {
            told = true;
            kill(Pid::from_raw(child.id().try_into()?), Signal::SIGINT)?;
        }
    }
    let out = std::io::read_to_string(child.stdout.take().ok_or("a pipe")?)?;
    let ended_run = Ended { code: child.wait()?.code(), err: String::new(), out };
    let document = ended_run.document(130);
    assert_eq!((ended(&document, "lost"), &document["stopped"]), (50, &Value::Bool(false)));
    assert!(began.elapsed() < Duration::from_secs(30), "{document:#}");
    Ok(())
}

fn run_against(lab: &Lab, file: &Path) -> Result<(Value, String), Failed> {
    let mac = MacAddress(ENGINE.mac).to_string();
    let file = file.to_str().ok_or("a path of plain letters")?;
    let to = ["-i", GENERATOR.interface, "--to", &mac, "--max-loss 10% --pcap", file];
    let ended = run(&lab.generator.namespace, &to)?;
    Ok((ended.document(3), ended.err))
}

/// Two interfaces of one namespace, joined by a cable, as far as anybody can see.
fn cabled() -> Result<(Namespace, Links, MacAddress), Failed> {
    let namespace = Namespace::create()?;
    let links = Links::open_in(&namespace)?;
    links.create_veth_pair(&plain_pair("near0", "far0", &namespace))?;
    for name in ["near0", "far0"] {
        links.set_up(links.by_name(name)?.index, true)?;
    }
    eventually("both have carrier", || {
        Ok(links.by_name("near0")?.running && links.by_name("far0")?.running)
    })?;
    let mac = MacAddress(links.by_name("far0")?.mac);
    Ok((namespace, links, mac))
}

fn own_engine() -> Result<(), Failed> {
    let (namespace, ..) = cabled()?;
    for path in [PathName::RING, PathName::RING_V2, PathName::SYSCALL] {
        let name = path.to_string();
        let line = ["-i near0 --dut-interface far0 --path", &name, "--expect same"];
        let ended_run = run(&namespace, &line)?;
        let document = ended_run.document(0);
        assert_eq!(ended(&document, "intact"), 500, "{path}: {document:#}");
        assert_eq!(document["engine"]["forwarded"], 500, "{path}: {document:#}");
        assert!(ended_run.err.contains("our own engine on far0"), "{}", ended_run.err);
    }
    Ok(())
}

/// What the far interface refuses is its loss, and what the device keeps is beyond its counters.
fn observed() -> Result<(), Failed> {
    let (namespace, links, mac) = cabled()?;
    let far = links.by_name("far0")?.index;
    let fault: Fault = |number, frame, _| {
        if number.is_multiple_of(10) {
            frame.clear();
        }
    };
    let reflector = Reflector::start_in(&namespace, far, fault)?;
    let mac = mac.to_string();
    let line = ["-i near0 --dut-interface far0 --to", &mac];
    let document = run(&namespace, &line)?.document(0);
    assert_eq!(stayed(&document, "beyond_sight"), 50, "{document:#}");
    // Too long for the far end from now on, which the sender cannot know.
    links.set_mtu(far, 1000)?;
    // Of an AF_XDP socket such frames would leave, and be dropped by the driver.
    let long = ["-i near0 --dut-interface far0 -s 1518 --tx ring --to", &mac];
    let ended_run = run(&namespace, &long)?;
    reflector.stop()?;
    let document: Value = serde_json::from_str(&ended_run.out)?;
    // Where none was even sent, nothing was measured.
    assert_eq!(ended_run.code, Some(i32::from(document["sent"] == 0)), "{}", ended_run.err);
    assert_eq!(document["unsent_refused"].as_u64().map(|refused| refused > 0), Some(true));
    assert_eq!(ended(&document, "intact"), 0, "{document:#}");
    Ok(())
}

/// An engine that answers UDP, and where the program asks for it.
pub fn serving(lab: &Lab) -> Result<Engine, Failed> {
    Ok(Engine::start(&config(lab, PathName::RING_V2, |engine| {
        engine.ether_types = vec![EtherType::IPV4, EtherType::IPV6];
        engine.link_layer = false;
        engine.udp_port = Some(7777);
    }))?)
}

const PORTS: [(&str, &str); 2] =
    [("192.0.2.2:7777", "192.0.2.1"), ("[2001:db8::2]:7777", "2001:db8::1")];

fn by_the_kernel() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig { addresses: true, ..LabConfig::default() })?;
    let engine = serving(&lab)?;
    for (port, _) in PORTS {
        let line = ["-s 84 -i", GENERATOR.interface, "--to", port];
        let document = run(&lab.generator.namespace, &line)?.document(0);
        assert_eq!(ended(&document, "intact"), 500, "{port}: {document:#}");
    }
    engine.stop();
    Ok(())
}

/// The target has addresses, and the generator's interface has none.
fn half_addressed() -> Result<Lab, Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let links = lab.engine.links();
    for (address, bits) in [(ENGINE.ipv4.into(), 24), (ENGINE.ipv6.into(), 64)] {
        links.add_address(lab.engine.link.index, address, bits)?;
    }
    eventually("the addresses are served", || {
        Ok(links.is_local(ENGINE.ipv4.into())? && links.is_local(ENGINE.ipv6.into())?)
    })?;
    Ok(lab)
}

fn by_ourselves() -> Result<(), Failed> {
    let lab = half_addressed()?;
    let engine = serving(&lab)?;
    for (port, from) in PORTS {
        let line = ["-s 84 -i", GENERATOR.interface, "--to", port];
        let refused = run(&lab.generator.namespace, &line)?;
        assert_eq!(refused.code, Some(1), "{}", refused.err);
        assert!(refused.err.contains("ENETUNREACH"), "{}", refused.err);
        let line = [&line[..], &["--from", from]].concat();
        let document = run(&lab.generator.namespace, &line)?.document(0);
        assert_eq!(ended(&document, "intact"), 500, "{port}: {document:#}");
    }
    engine.stop();
    Ok(())
}

fn nobody() -> Result<(), Failed> {
    let lab = half_addressed()?;
    for (port, from) in [("192.0.2.9:7", "192.0.2.1"), ("[2001:db8::9]:7", "2001:db8::1")] {
        let began = Instant::now();
        let line = ["-s 84 -i", GENERATOR.interface, "--to", port, "--from", from];
        let refused = run(&lab.generator.namespace, &line)?;
        assert_eq!(refused.code, Some(1), "{}", refused.err);
        for words in [GENERATOR.interface, from, "MAC"] {
            assert!(refused.err.contains(words), "no '{words}' in {}", refused.err);
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{port}");
    }
    Ok(())
}

/// Nobody answers, and then nothing can even be sent.
fn nothing() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let mac = MacAddress(ENGINE.mac).to_string();
    let line = "load -r 5k -n 500 --warmup 0 --drain 50ms --json -";
    let line = format!("{line} -i {} --to {mac}", GENERATOR.interface);
    let run = |more: &str| run_line(&lab.generator.namespace, &(line.clone() + more));
    let silent = run("")?;
    // Who sends into a sink gets what was asked for.
    let document = silent.document(0);
    assert!(silent.err.contains("NOTHING CAME BACK"), "{}", silent.err);
    let response = &document["response_ns"];
    assert_eq!((&response["count"], &response["p99"]), (&0.into(), &Value::Null), "{document:#}");
    assert_eq!(document["jitter"]["mean_ns"], Value::Null, "{document:#}");
    assert_eq!(document["loss_ratio"], 1.0, "{document:#}");
    let ping = run_line(&lab.generator.namespace, &line.replace("-r 5k", "--ping"))?;
    let document = ping.document(1);
    assert!(ping.err.contains("frames came back. Does an echo run"), "{}", ping.err);
    assert_eq!(document["state"]["reason"], "nothing_measured", "{document:#}");
    // A loss that was asked for is a threshold that was missed.
    assert_eq!(run(" --max-loss 1%")?.code, Some(3));
    lab.engine.links().set_up(lab.engine.link.index, false)?;
    let near = || lab.generator.links().by_name(GENERATOR.interface);
    eventually("the carrier has gone", || Ok(!near()?.running))?;
    for half in [" --tx xsk", " --tx ring", " --tx send"] {
        let down = run(half)?;
        assert!(!down.err.contains("not back intact: 0.0000 %"), "{half}: {}", down.err);
        // What a driver drops was sent, and is lost.
        let document: Value = serde_json::from_str(&down.out).unwrap_or_default();
        let has_sent = document["sent"].as_u64() > Some(0);
        assert_eq!(down.code, Some(i32::from(!has_sent)), "{half}: {}", down.err);
        assert!(document["loss_ratio"].as_f64().is_none_or(|loss| loss == 1.0), "{document:#}");
    }
    Ok(())
}

/// Whether a line of progress tells of frames.
pub fn is_sending(line: &str) -> bool {
    line.split_once(" s  sent ").is_some_and(|(_, sent)| !sent.trim_start().starts_with("0 "))
}

/// Every TX half and both divisions into threads, as each meets the end of the interface in its own way.
fn deleted() -> Result<(), Failed> {
    for how in ["--tx xsk", "--tx ring", "--tx mmsg --rx recv", "--tx send --senders 1"] {
        let lab = Lab::create(&LabConfig::default())?;
        let mac = MacAddress(ENGINE.mac).to_string();
        let line = "load -r 5k -d 600s --warmup 0 --drain 100ms --interval 20ms --json - -i";
        let mut command = Command::new(env!("CARGO_BIN_EXE_linerate"));
        command.args(line.split(' ').chain([GENERATOR.interface, "--to", &mac]));
        command.args(how.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = lab.generator.namespace.run(|| command.spawn())??;
        let mut lines = BufReader::new(child.stderr.take().ok_or("a pipe")?).lines();
        lines.by_ref().find(|line| line.as_ref().is_ok_and(|line| is_sending(line)));
        lab.generator.delete()?;
        lines.for_each(drop);
        let out = std::io::read_to_string(child.stdout.take().ok_or("a pipe")?)?;
        let ended_run = Ended { code: child.wait()?.code(), err: how.into(), out };
        let document = ended_run.document(1);
        assert_eq!(document["interrupted"], true, "{how}: {document:#}");
        let reason = document["reason"].as_str().expect("a reason");
        assert!(reason.contains("ENXIO") || reason.contains("ENETDOWN"), "{how}: {reason}");
        assert!(reason.contains(GENERATOR.interface), "{how}: {reason}");
        assert!(document["sent"].as_u64() > Some(0), "{how}: {document:#}");
    }
    Ok(())
}

/// An interface that goes before anything was found leaves an error and no document: then it is given
/// more time.
fn others_deleted() -> Result<(), Failed> {
    for line in [
        "compare --paths ring-v2 --loads window -s 64 --trials 1000 --trial-duration 50ms",
        "stress --phases imix,zeros -d 600s",
        "search --paths ring-v2 --sizes 64",
    ] {
        let pauses = (0..7).map(|doubled| Duration::from_millis(500 << doubled));
        let mut ended_run = Ended { code: None, err: String::new(), out: String::new() };
        for pause in pauses {
            ended_run = deleted_after(line, pause)?;
            if !ended_run.out.is_empty() {
                break;
            }
        }
        let document = ended_run.document(1);
        assert_eq!(document["interrupted"], true, "{line}: {document:#}");
        assert!(document["reason"].is_string(), "{line}: {document:#}");
    }
    Ok(())
}

fn deleted_after(line: &str, pause: Duration) -> Result<Ended, Failed> {
    let (here, links, _) = cabled()?;
    let near = links.by_name("near0")?.index;
    let mut command = Command::new(env!("CARGO_BIN_EXE_linerate"));
    let ports = "--json - -i near0 --dut-interface far0";
    command.args(line.split(' ').chain(ports.split(' ')));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = here.run(|| command.spawn())??;
    let mut said = BufReader::new(child.stderr.take().ok_or("a pipe")?).lines();
    said.by_ref().find(|line| line.as_ref().is_ok_and(|line| line.contains("runs as ")));
    std::thread::sleep(pause);
    links.delete(near)?;
    let text: Vec<String> = said.map_while(Result::ok).collect();
    let out = std::io::read_to_string(child.stdout.take().ok_or("a pipe")?)?;
    Ok(Ended { code: child.wait()?.code(), err: text.join("\n"), out })
}
