//! A service that answers whatever it is sent, and one forged datagram in its name: the loop ends.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use linerate::engine::config::{EngineConfig, PathName};
use linerate::engine::pool::Engine;
use linerate::engine::storm::Allowance;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig};
use linerate::stats::drops::DropReason;

use crate::check::{Test, eventually, test};
use crate::client::Client;
use crate::served::config;
use crate::udp::{PORT, addresses, datagram, serve_udp};

pub fn tests() -> Vec<Test> {
    vec![
        test("chargen: a datagram from port 19 is not answered", from_its_own_port),
        test("chargen: where port 19 is answered, the loop ends", || ends(19)),
        test("chargen: a loop with an unprivileged port ends", || ends(20_019)),
    ]
}

/// RFC 864 over UDP: 100 bytes for each datagram, others each time.
struct Chargen {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Chargen {
    fn start(lab: &Lab, port: u16) -> Result<Chargen, Failed> {
        let from = (IpAddr::V4(GENERATOR.ipv4), port);
        let socket = lab.generator.namespace.run(|| UdpSocket::bind(from))??;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (is_over, count) = (Arc::clone(&stop), Arc::clone(&asked));
        let thread = thread::spawn(move || {
            let mut room = [0; 2000];
            while !is_over.load(Ordering::Relaxed) {
                let Ok((_, peer)) = socket.recv_from(&mut room) else { continue };
                let number = count.fetch_add(1, Ordering::Relaxed) as usize;
                let text: Vec<u8> = (0..100).map(|at| b' ' + ((number + at) % 95) as u8).collect();
                let _ = socket.send_to(&text, peer);
            }
        });
        Ok(Chargen { stop, asked, thread })
    }

    fn stop(self) -> Result<u64, Failed> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the chargen service panicked")?;
        Ok(self.asked.load(Ordering::Relaxed))
    }
}

fn lab() -> Result<Lab, Failed> {
    Ok(Lab::create(&LabConfig { addresses: true, ..LabConfig::default() })?)
}

fn engine(lab: &Lab, adjust: impl FnOnce(&mut EngineConfig)) -> Result<Engine, Failed> {
    Ok(Engine::start(&config(lab, PathName::RING, |config| {
        serve_udp(config);
        adjust(config);
    }))?)
}

/// One datagram in the name of the service.
fn forge(lab: &Lab, port: u16) -> Result<(), Failed> {
    let pair = (IpAddr::V4(GENERATOR.ipv4), IpAddr::V4(ENGINE.ipv4));
    let forged = datagram(addresses(pair)?, (port, PORT), b"begin", b"", true)?;
    Client::open(&lab.generator)?.send(&forged)
}

fn from_its_own_port() -> Result<(), Failed> {
    let lab = lab()?;
    let chargen = Chargen::start(&lab, 19)?;
    let mut engine = engine(&lab, |_| {})?;
    forge(&lab, 19)?;
    eventually("the forged datagram has arrived", || {
        engine.poll(Duration::from_millis(10))?;
        Ok(engine.counters().received > 0)
    })?;
    let counters = engine.stop().counters;
    assert_eq!((counters.forwarded, counters.drops[DropReason::ServicePort]), (0, 1));
    assert_eq!(chargen.stop()?, 0);
    Ok(())
}

fn ends(port: u16) -> Result<(), Failed> {
    const PER_SECOND: u32 = 50;
    let lab = lab()?;
    let chargen = Chargen::start(&lab, port)?;
    let start = Instant::now();
    let mut engine = engine(&lab, |config| {
        config.echo_services = true;
        config.per_peer = Allowance::PerSecond(PER_SECOND);
    })?;
    forge(&lab, port)?;
    eventually("the loop has ended", || {
        engine.poll(Duration::from_millis(10))?;
        Ok(engine.counters().drops[DropReason::Storm] > 0)
    })?;
    let counters = engine.stop().counters;
    let windows = start.elapsed().as_secs() + 2;
    assert!(counters.forwarded >= u64::from(PER_SECOND), "it was a loop");
    assert!(counters.forwarded <= u64::from(PER_SECOND) * windows, "{}", counters.forwarded);
    assert_eq!(counters.drops[DropReason::Storm], 1, "one datagram went round");
    assert_eq!(chargen.stop()?, counters.forwarded);
    Ok(())
}
