//! What the generator does for a frame beside the rings: writing it, and verifying its echo. What
//! was written and what was verified is checked before anything is timed.

mod measure;

use std::hint::black_box;
use std::sync::Arc;

use linerate::load::plan::{Carriage, LoadSpec, Sizes};
use linerate::load::run_id::RunId;
use linerate::load::template::{Judgement, Template};
use linerate::load::verify::{Taken, Verifier};
use linerate::ring::frame::{ChecksumState, FrameMeta, PacketType};
use linerate::units::FrameSize;
use linerate::wire::ethernet::MacAddress;
use linerate::wire::headers::{IpAddresses, UdpHeaders};
use linerate::wire::probe::Probe;
use linerate::wire::transform::uppercase;

const HERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const THERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

/// Frames that are written and verified over and over: more than one beginning of the filler.
const FRAMES: u64 = 64;

const ID: RunId = RunId::new(1, 0);

struct Case {
    name: &'static str,
    template: Arc<Template>,
    frames: Vec<Vec<u8>>,
    /// The echoes of these frames.
    echoes: Vec<Vec<u8>>,
}

impl Case {
    fn new(name: &'static str, carriage: Carriage, bytes: usize) -> Case {
        let config = LoadSpec {
            carriage,
            sizes: Sizes::Fixed(FrameSize::with_fcs(bytes).expect("a size")),
            ..LoadSpec::new(1, 1500, HERE, THERE)
        };
        let template = Arc::new(Template::new(&config).expect("a template"));
        let frames: Vec<Vec<u8>> = (0..FRAMES)
            .map(|number| {
                let mut frame = vec![0; bytes - 4];
                assert_eq!(template.write(&mut frame, ID, number), bytes - 4);
                frame
            })
            .collect();
        let header = frames[0].len() - payload_bytes(&template, &frames[0]);
        let echoes = frames.iter().map(|frame| echo(frame, header)).collect();
        Case { name, template, frames, echoes }
    }
}

/// Bytes of the probe and its filler, which end the frame.
fn payload_bytes(template: &Template, frame: &[u8]) -> usize {
    let begin = (14..frame.len()).find(|&at| Probe::read(&frame[at..]).is_some());
    let begin = begin.expect("a probe");
    assert!(template.probe_of(frame).is_some());
    frame.len() - begin
}

fn echo(frame: &[u8], header: usize) -> Vec<u8> {
    let mut echo = frame.to_vec();
    echo[..12].rotate_left(6);
    if header > 14 {
        // IPv4: addresses and ports; no checksum is looked at that the kernel has still to make.
        echo[26..34].rotate_left(4);
        echo[34..38].rotate_left(2);
    }
    uppercase(&mut echo[header..]);
    echo
}

fn meta(frame: &[u8]) -> FrameMeta {
    FrameMeta {
        wire_bytes: frame.len() as u32,
        stamp_ns: 1,
        nic_ns: 0,
        packet_type: PacketType::Host,
        tag: None,
        checksum: ChecksumState::Partial,
    }
}

fn datagram() -> Carriage {
    let addresses = IpAddresses::pair(
        std::net::Ipv4Addr::new(192, 0, 2, 1),
        std::net::Ipv4Addr::new(192, 0, 2, 2),
    )
    .unwrap();
    Carriage::udp(UdpHeaders {
        addresses,
        source_port: 40_000,
        destination_port: 7777,
        hop_limit: 64,
    })
}

fn main() {
    let plain = || Carriage::raw(linerate::wire::ethernet::EtherType::LOCAL_EXPERIMENTAL);
    for case in [
        Case::new("64 B", plain(), 64),
        Case::new("1518 B", plain(), 1518),
        Case::new("64 B in UDP over IPv4", datagram(), 64),
    ] {
        one(&case);
    }
}

fn one(case: &Case) {
    for (number, echo) in case.echoes.iter().enumerate() {
        let number = number as u64;
        let found = case.template.judge(&meta(echo), echo, ID.probe(number), number);
        assert_eq!(found, Judgement::Intact);
    }
    let mut room = vec![0; case.frames[0].len()];
    measure::calls(&format!("write a frame, {}", case.name), FRAMES, || {
        for number in 0..FRAMES {
            black_box(case.template.write(black_box(&mut room), ID, number));
        }
    });
    let metas: Vec<FrameMeta> = case.echoes.iter().map(|echo| meta(echo)).collect();
    let verifier = || Verifier::new(Arc::clone(&case.template), ID, 1, 1 << 12, 0);
    let mut once = verifier();
    verify(&mut once, &metas, &case.echoes);
    assert_eq!(once.tally().intact, FRAMES, "{:?}", once.tally());
    let again = once.take(&metas[0], &case.echoes[0]);
    assert_eq!((again, once.tally().duplicated), (Taken::Beside, 1));
    measure::calls_on(&format!("verify an echo, {}", case.name), FRAMES, verifier, |verifier| {
        verify(verifier, black_box(&metas), black_box(&case.echoes));
    });
}

/// All echoes of a run that sent just their frames.
fn verify(verifier: &mut Verifier, metas: &[FrameMeta], echoes: &[Vec<u8>]) {
    verifier.ledger_of(0).hand_out_until(FRAMES);
    for (meta, echo) in metas.iter().zip(echoes) {
        black_box(verifier.take(meta, echo));
    }
}
