//! The generator and its verifier against a plain reflector, over the kernel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use libtest_mimic::Failed;
use linerate::lab::{ENGINE, GENERATOR, Lab, LabConfig, Side};
use linerate::load::plan::{Carriage, Content, Limits, LoadSpec, Sizes};
use linerate::load::rate::Rate;
use linerate::load::run::{Drive, Load, LoadOutcome};
use linerate::load::rx::RxChoice;
use linerate::ring::budget::MemoryBudget;
use linerate::sys::namespace::Namespace;
use linerate::sys::packet::{ALL_PROTOCOLS, PacketSocket, SocketType};
use linerate::units::FrameSize;
use linerate::wire::ethernet::{EtherType, MacAddress, VlanTag};
use linerate::wire::headers::{IpAddresses, UdpHeaders};
use linerate::wire::transform::uppercase;
use linerate::wire::udp::{parse_udp, write_udp_checksum};

use crate::check::{Test, test};

pub fn tests() -> Vec<Test> {
    let mut all = vec![
        test("load: the kernel's counters agree with the generator's", counters),
        test("load: a peer that never answers ends in losses, not in a hang", silent),
        test("load: what a reflector does wrong is told apart", faults),
        test("load: a burst waits in the ring until it is collected", burst),
        test("load: UDP over IPv4 and IPv6 comes back verified", udp),
        test("load: a flood offers a rate and counts its own drops", flood),
    ];
    for rx in [RxChoice::V2, RxChoice::V3] {
        let name = format!("load: every frame size in every mode, {rx}");
        all.push(test(name, move || sizes(rx)));
    }
    all
}

/// What the reflector does to the frames it answers, counted from 1.
pub type Fault = fn(u64, &mut Vec<u8>, &PacketSocket);

/// A thread that receives and sends one frame a call.
pub struct Reflector {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Reflector {
    pub fn start(end: &Side, fault: Fault) -> Result<Reflector, Failed> {
        Reflector::start_in(&end.namespace, end.link.index, fault)
    }

    pub fn start_in(namespace: &Namespace, index: u32, fault: Fault) -> Result<Reflector, Failed> {
        let socket = namespace.run(|| -> linerate::error::Result<PacketSocket> {
            let socket = PacketSocket::open(SocketType::Raw)?;
            socket.ignore_outgoing()?;
            Ok(socket)
        })??;
        socket.set_receive_buffer(8 << 20)?;
        // Bound to one EtherType the socket would not see which frames were tagged; untagged is
        // all that it answers.
        socket.bind(index, ALL_PROTOCOLS)?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || reflect(&socket, fault, &seen));
        Ok(Reflector { stop, thread })
    }

    /// Frames answered.
    pub fn stop(self) -> Result<u64, Failed> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Failed::from("the reflector panicked"))
    }
}

fn reflect(socket: &PacketSocket, fault: Fault, stop: &AtomicBool) -> u64 {
    let mut buffer = vec![0; 2048];
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(received) = socket.receive(&mut buffer) else {
            let _ = socket.wait_readable(Duration::from_millis(5));
            continue;
        };
        let mut frame = buffer[..received.wire_bytes].to_vec();
        answer(&mut frame);
        answered += 1;
        fault(answered, &mut frame, socket);
        while !frame.is_empty() && socket.send(&frame).is_err() {}
    }
    answered
}

pub fn answer(frame: &mut [u8]) {
    frame[..12].rotate_left(6);
    let ether_type = EtherType(u16::from_be_bytes([frame[12], frame[13]]));
    let packet = &mut frame[14..];
    let Ok(view) = parse_udp(packet, ether_type) else { return uppercase(packet) };
    let half = view.version.source_address().len();
    packet[view.version.addresses()].rotate_left(half);
    packet[view.udp_offset..view.udp_offset + 4].rotate_left(2);
    uppercase(&mut packet[view.payload()]);
    write_udp_checksum(packet, &view);
}

fn config(lab: &Lab) -> LoadSpec {
    let (here, there) = (MacAddress(GENERATOR.mac), MacAddress(ENGINE.mac));
    LoadSpec::new(lab.generator.link.index, 1500, here, there)
}

const FLOOD: Drive =
    Drive::Paced { rate: Rate::Max, pattern: linerate::load::pace::Pattern::Constant };

/// `config` as `drive` says, for `limits`; the machine may have other work for a while.
fn plan(config: &LoadSpec, drive: Drive, limits: Limits) -> LoadSpec {
    LoadSpec {
        drain: Duration::from_secs(5),
        quiet: Some(Duration::from_millis(200)),
        late_after: Duration::from_secs(10),
        ..config.clone().driven(drive, limits)
    }
}

/// Runs a load, in the generator's namespace.
fn run(lab: &Lab, plan: &LoadSpec) -> Result<LoadOutcome, Failed> {
    let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
    Ok(lab.generator.namespace.run(|| Load::run(plan, &budget, &mut |_| {}))??)
}

fn window(lab: &Lab, config: &LoadSpec, width: u64, count: u64) -> Result<LoadOutcome, Failed> {
    run(lab, &plan(config, Drive::Window(width), Limits::frames(count)))
}

fn sweep(from: usize, to: usize) -> Result<Sizes, Failed> {
    Ok(Sizes::Sweep { from: FrameSize::with_fcs(from)?, to: FrameSize::with_fcs(to)?, step: 1 })
}

fn assert_clean(report: &LoadOutcome, sent: u64) {
    report.assert_conserved();
    assert_eq!(report.sent, sent);
    let LoadOutcome { tally, lost, kernel, damage, .. } = report;
    assert!(report.is_clean(), "{tally:?}, lost {lost}, {kernel:?}, {damage:?}");
}

fn sizes(rx: RxChoice) -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let reflector = Reflector::start(&lab.engine, |_, _, _| {})?;
    let mut config = config(&lab);
    config.sizes = sweep(64, 1518)?;
    config.answer_timeout = Duration::from_secs(2);
    // A flood of every size fits the reflector's socket buffer only in windows.
    for (width, count) in [(32, 3 * 1455), (1, 200)] {
        let plan = plan(&config, Drive::Window(width), Limits::frames(count));
        let report = run(&lab, &LoadSpec { rx: Some(rx), ..plan })?;
        assert_clean(&report, count);
        assert_eq!(report.latencies.service.count(), count);
    }
    assert_eq!(reflector.stop()?, 3 * 1455 + 200);
    Ok(())
}

fn counters() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let reflector = Reflector::start(&lab.engine, |_, _, _| {})?;
    let report = window(&lab, &config(&lab), 64, 20_000)?;
    assert_clean(&report, 20_000);
    assert_eq!(reflector.stop()?, 20_000);
    assert_eq!((report.kernel.packets, report.kernel.drops), (20_000, 0));
    let (generator, engine) = (lab.generator.counters()?, lab.engine.counters()?);
    assert_eq!((generator.transmitted_frames, generator.received_frames), (20_000, 20_000));
    assert_eq!((engine.transmitted_frames, engine.received_frames), (20_000, 20_000));
    Ok(())
}

fn silent() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let mut config = config(&lab);
    config.answer_timeout = Duration::from_millis(5);
    for drive in [FLOOD, Drive::Window(8), Drive::Window(1)] {
        let quiet = Some(Duration::from_millis(5));
        let plan = LoadSpec { quiet, ..plan(&config, drive, Limits::frames(20)) };
        let report = run(&lab, &plan)?;
        assert_eq!((report.sent, report.lost, report.tally.foreign), (20, 20, 0), "{drive:?}");
        assert_eq!(report.loss_ratio(), Some(1.0));
    }
    Ok(())
}

fn faults() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let reflector = Reflector::start(&lab.engine, |number, frame, socket| match number % 10 {
        1 => frame.clear(),
        2 => drop(socket.send(frame)),
        3 => frame[50] ^= 0x40,
        4 => frame.truncate(40),
        5 => frame[15] ^= 1,
        6 => frame[14..].make_ascii_lowercase(),
        _ => {}
    })?;
    let report = window(&lab, &config(&lab), 20, 1000)?;
    reflector.stop()?;
    report.assert_conserved();
    let tally = report.tally;
    assert_eq!((tally.intact, tally.duplicated, report.lost), (500, 100, 200), "{tally:?}");
    assert_eq!((tally.corrupted, tally.truncated, tally.foreign), (100, 100, 100), "{tally:?}");
    assert_eq!((tally.not_transformed, tally.reordered), (100, 0), "{tally:?}");
    assert!(report.damage.iter().all(|damage| damage.first_offset == 50), "{:?}", report.damage);
    Ok(())
}

fn burst() -> Result<(), Failed> {
    const FRAMES: u64 = 5000;
    let lab = Lab::create(&LabConfig::default())?;
    let reflector = Reflector::start(&lab.engine, |_, _, _| {})?;
    let plan = config(&lab).bursts(FRAMES);
    let budget = MemoryBudget::new(MemoryBudget::DEFAULT_BYTES);
    let report = lab.generator.namespace.run(|| {
        let mut load = Load::open(&plan, &budget)?;
        // Twice over the same sockets.
        load.fill(FRAMES)?.collect(Duration::from_secs(2))?;
        let filled = load.fill(FRAMES)?;
        assert_eq!(filled.sent(), FRAMES);
        // Long enough for all echoes to lie in the ring, retired by its timer where need be.
        std::thread::sleep(Duration::from_millis(300));
        filled.collect(Duration::from_secs(2))
    })??;
    reflector.stop()?;
    assert_clean(&report, FRAMES);
    assert!(report.arrival_pps() > 1000.0, "{}", report.arrival_pps());
    Ok(())
}

fn udp() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let reflector = Reflector::start(&lab.engine, |_, _, _| {})?;
    let versions = [
        IpAddresses::pair(GENERATOR.ipv4, ENGINE.ipv4).unwrap(),
        IpAddresses::pair(GENERATOR.ipv6, ENGINE.ipv6).unwrap(),
    ];
    for addresses in versions {
        let headers =
            UdpHeaders { addresses, source_port: 4000, destination_port: 7000, hop_limit: 64 };
        let mut config = config(&lab);
        config.carriage.content = Content::Udp(headers);
        config.sizes = sweep(80, 1518)?;
        let report = window(&lab, &config, 32, 2 * 1439)?;
        assert_clean(&report, 2 * 1439);
    }
    reflector.stop()?;
    Ok(())
}

fn flood() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let reflector = Reflector::start(&lab.engine, |_, _, _| {})?;
    let mut config = config(&lab);
    // The reflector does not put tags back: what was sent tagged comes back without.
    config.carriage = Carriage::raw(EtherType::LOCAL_EXPERIMENTAL);
    let tagged = LoadSpec {
        carriage: config.carriage.clone().tagged(VlanTag::customer(7, 0)),
        ..config.clone()
    };
    let lasting = Limits::lasting(Duration::from_millis(100));
    let report = run(&lab, &plan(&config, FLOOD, lasting))?;
    report.assert_conserved();
    let tally = report.tally;
    assert_eq!(tally.returned(), tally.intact, "{tally:?} {:?}", report.damage);
    assert_eq!((tally.foreign, tally.duplicated, tally.reordered), (0, 0, 0), "{tally:?}");
    // No more can come back than was sent, also where a slow generator gets everything back.
    assert!(report.sent > 1000 && report.achieved_pps() >= report.forwarded_pps());
    let report = window(&lab, &tagged, 1, 10)?;
    reflector.stop()?;
    assert_eq!((report.tally.corrupted, report.lost), (10, 0), "{:?}", report.tally);
    assert!(report.damage.iter().all(|damage| damage.first_offset == 12));
    Ok(())
}
