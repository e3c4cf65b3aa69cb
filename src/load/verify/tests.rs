use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;
use crate::load::plan::{Carriage, LoadSpec, Sizes};
use crate::ring::frame::{ChecksumState, PacketType};
use crate::units::FrameSize;
use crate::wire::ethernet::{EtherType, MacAddress, VlanTag, payload};
use crate::wire::headers::{IpAddresses, UdpHeaders};
use crate::wire::probe::SEQUENCE_MAX;
use crate::wire::transform::uppercase;
use crate::wire::udp::{parse_udp, write_udp_checksum};

mod books;
mod routers;

/// Its numbers go over the end of the field.
const ID: RunId = RunId::new(7, SEQUENCE_MAX - 5);
const OTHER: RunId = RunId::new(8, SEQUENCE_MAX - 5);
const HERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const THERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

/// A frame as a ring shows it.
#[derive(Clone)]
struct Received {
    meta: FrameMeta,
    bytes: Vec<u8>,
}

/// A generator's verifier and an engine, both in one place and without a ring.
struct Bench {
    template: Arc<Template>,
    verifier: Verifier,
    stamp_ns: u64,
}

impl Bench {
    fn new(carriage: Carriage, sizes: Sizes) -> Bench {
        let mut config = LoadSpec::new(1, 1500, HERE, THERE);
        (config.carriage, config.sizes) = (carriage, sizes);
        Bench::of(&config)
    }

    fn of(config: &LoadSpec) -> Bench {
        let template = Arc::new(Template::new(config).unwrap());
        let verifier = Verifier::new(Arc::clone(&template), ID, 1, 256, 0);
        Bench { template, verifier, stamp_ns: 1000 }
    }

    fn plain() -> Bench {
        Bench::new(Carriage::raw(EtherType::LOCAL_EXPERIMENTAL), Sizes::Fixed(size(64)))
    }

    fn send(&mut self) -> Vec<u8> {
        let mut frame = vec![0; 1 << 14];
        let sequence = self.verifier.ledger_of(0).hand_out();
        let length = self.template.write(&mut frame, ID, sequence);
        frame.truncate(length);
        frame
    }

    /// Sends a frame and takes its echo after `fault` was at it.
    fn exchange(&mut self, fault: impl FnOnce(&mut Received)) -> Taken {
        let sent = self.send();
        let mut echo = self.receive(&sent, true);
        fault(&mut echo);
        self.take(&echo)
    }

    fn take(&mut self, frame: &Received) -> Taken {
        self.verifier.take(&frame.meta, &frame.bytes)
    }

    /// The echo of `sent`, upper-cased or not, as the generator's ring would show it.
    fn receive(&mut self, sent: &[u8], transform: bool) -> Received {
        self.stamp_ns += 10;
        let mut bytes = sent.to_vec();
        bytes[..12].rotate_left(6);
        let inside = payload(&bytes).unwrap();
        match parse_udp(&sent[inside.offset..], inside.ether_type) {
            Ok(view) => {
                let packet = &mut bytes[inside.offset..];
                let half = view.version.source_address().len();
                packet[view.version.addresses()].rotate_left(half);
                packet[view.udp_offset..view.udp_offset + 4].rotate_left(2);
                if transform {
                    uppercase(&mut packet[view.payload()]);
                }
                write_udp_checksum(packet, &view);
            }
            Err(_) if transform => uppercase(&mut bytes[inside.offset..]),
            Err(_) => {}
        }
        let mut tag = None;
        if inside.tags > 0 {
            let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            tag = Some(VlanTag { tpid: word(12), tci: word(14) });
            bytes.drain(12..16);
        }
        let meta = FrameMeta {
            wire_bytes: bytes.len() as u32,
            stamp_ns: self.stamp_ns,
            nic_ns: 0,
            packet_type: PacketType::Host,
            tag,
            checksum: ChecksumState::Unchecked,
        };
        Received { meta, bytes }
    }

    /// What came back, and how many did not.
    fn concluded(&mut self) -> (Tally, u64) {
        let tally = *self.verifier.tally();
        let lost = self.verifier.missing().0;
        assert_eq!(self.verifier.ledger_of(0).handed_out(), tally.returned() + lost);
        (tally, lost)
    }
}

fn size(bytes: usize) -> FrameSize {
    FrameSize::with_fcs(bytes).unwrap()
}

fn udp(version: u8) -> Carriage {
    let addresses = if version == 4 {
        IpAddresses::pair([192, 0, 2, 1], [192, 0, 2, 2])
    } else {
        let address = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        IpAddresses::pair(address(1), address(2))
    };
    let addresses = addresses.unwrap();
    Carriage::udp(UdpHeaders {
        addresses,
        source_port: 5000,
        destination_port: 7000,
        hop_limit: 64,
    })
}

fn carriages() -> Vec<Carriage> {
    let raw = Carriage::raw(EtherType::LOCAL_EXPERIMENTAL);
    let (customer, service) = (VlanTag::customer(100, 3), VlanTag::service(200, 0));
    let mut all = vec![raw.clone(), udp(4), udp(6)];
    all.extend(all.clone().into_iter().map(|one| one.tagged(customer)));
    all.extend([raw, udp(4), udp(6)].map(|one| one.tagged(customer).tagged(service)));
    all
}

#[test]
fn every_carriage_and_size_comes_back_intact_or_not_transformed() {
    for carriage in carriages() {
        let from = carriage.encapsulation().unwrap().smallest_frame_bytes();
        let sizes = Sizes::Sweep { from: size(from), to: size(1518), step: 1 };
        let mut bench = Bench::new(carriage.clone(), sizes.clone());
        let frames = sizes.all().count() as u64;
        for sequence in 0..frames {
            assert_eq!(bench.exchange(|_| {}), Taken::Intact(sequence), "{carriage:?}");
        }
        for _ in 0..frames {
            let sent = bench.send();
            let unchanged = bench.receive(&sent, false);
            assert!(matches!(bench.take(&unchanged), Taken::Damaged(_)));
        }
        let (tally, lost) = bench.concluded();
        assert_eq!((tally.intact, tally.not_transformed), (frames, frames));
        assert_eq!((lost, tally.returned()), (0, 2 * frames));
    }
}

/// As drivers pad a received frame (igb) after the device took its tag off.
fn pad(received: &mut Received) {
    received.bytes.resize(received.bytes.len().max(60), 0);
    received.meta.wire_bytes = received.bytes.len() as u32;
}

#[test]
fn padding_behind_a_stripped_tag_is_no_damage_and_damage_before_it_is() {
    for carriage in carriages() {
        let from = carriage.encapsulation().unwrap().smallest_frame_bytes();
        if from > 67 {
            continue;
        }
        let tagged = !carriage.tags.is_empty();
        for bytes in from..=67 {
            let bench = || Bench::new(carriage.clone(), Sizes::Fixed(size(bytes)));
            let mut intact = bench();
            let taken = intact.exchange(pad);
            let is_padded = !tagged && bytes < 64;
            assert_eq!(taken == Taken::Intact(0), !is_padded, "{carriage:?} {bytes}");
            let mut faulty = bench();
            let last = bytes - 5 - if tagged { 4 } else { 0 };
            let damages: [&dyn Fn(&mut Received); 4] = [
                // The last byte of the probe, one of the padding, one too many, a tag that is gone.
                &|echo| echo.bytes[last] = 0,
                &|echo| *echo.bytes.last_mut().unwrap() ^= 1,
                &|echo| echo.bytes.push(0),
                &|echo| echo.meta.tag = echo.meta.tag.xor(Some(VlanTag::customer(100, 3))),
            ];
            for damage in damages {
                let taken = faulty.exchange(|echo| {
                    pad(echo);
                    damage(echo);
                });
                assert!(matches!(taken, Taken::Damaged(_)), "{carriage:?} {bytes}");
            }
        }
    }
}

#[test]
fn each_fault_is_counted_as_what_it_is() {
    let mut bench = Bench::plain();
    // Intact, the first twice.
    let sent = bench.send();
    let echo = bench.receive(&sent, true);
    bench.take(&echo);
    assert_eq!(bench.take(&echo), Taken::Beside);
    // Lost.
    bench.send();
    // Reordered: 3 before 2.
    let (second, third) = (bench.send(), bench.send());
    let (second, third) = (bench.receive(&second, true), bench.receive(&third, true));
    bench.take(&third);
    bench.take(&second);
    // Truncated on the wire, and by the ring.
    bench.exchange(|echo| {
        echo.bytes.truncate(50);
        echo.meta.wire_bytes = 50;
    });
    bench.exchange(|echo| echo.bytes.truncate(59));
    // Corrupted: a payload byte, an address, a length, a tag from nowhere.
    bench.exchange(|echo| echo.bytes[40] ^= 1);
    bench.exchange(|echo| echo.bytes[6] ^= 1);
    bench.exchange(|echo| echo.bytes.push(b'A'));
    bench.exchange(|echo| echo.meta.tag = Some(VlanTag::customer(1, 0)));
    // Neither swapped nor transformed.
    let sent = bench.send();
    let mut echo = bench.receive(&sent, false);
    echo.bytes[..12].rotate_left(6);
    bench.take(&echo);
    // Lost: a damaged number and a frame too short for one are foreign; another load's is that.
    bench.exchange(|echo| echo.bytes[17] ^= 1);
    bench.exchange(|echo| echo.bytes.truncate(20));
    let mut other = bench.send();
    bench.template.write(&mut other, OTHER, 1);
    let other = bench.receive(&other, true);
    bench.take(&other);
    // A number that was never sent is another load's, too.
    let mut unsent = vec![0; 60];
    bench.template.write(&mut unsent, ID, 1000);
    let unsent = bench.receive(&unsent, true);
    bench.take(&unsent);

    let expected = Tally {
        intact: 3,
        corrupted: 5,
        truncated: 2,
        duplicated: 1,
        reordered: 1,
        foreign: 2,
        other_loads: 2,
        ..Tally::default()
    };
    assert_eq!(bench.concluded(), (expected, 4));
    assert_eq!(bench.verifier.ledger_of(0).handed_out(), 14);
    let offsets: Vec<_> = bench.verifier.books.damage.iter().map(|one| one.first_offset).collect();
    assert_eq!(offsets, [40, 6, 60, 12, 5]);
}

#[test]
fn a_wrong_udp_checksum_is_corruption_and_a_half_done_one_is_not() {
    for carriage in [udp(4), udp(6)] {
        let encapsulation = carriage.encapsulation().unwrap();
        let field = encapsulation.overhead_bytes() - 2;
        let mut bench = Bench::new(carriage, Sizes::Fixed(size(128)));
        assert_eq!(bench.exchange(|echo| echo.bytes[field] ^= 1), Taken::Damaged(0));
        let partial = bench.exchange(|echo| {
            echo.bytes[field] ^= 1;
            echo.meta.checksum = ChecksumState::Partial;
        });
        assert_eq!(partial, Taken::Intact(1));
        let none = bench.exchange(|echo| echo.bytes[field..field + 2].fill(0));
        assert_eq!(none == Taken::Intact(2), field < 50, "IPv4 may go without, IPv6 may not");
        assert_eq!(bench.verifier.books.damage[0].first_offset, field);
    }
}

#[test]
fn the_stamps_are_those_of_the_first_and_the_last_intact_frame() {
    let mut bench = Bench::plain();
    (0..4).for_each(|_| _ = bench.exchange(|_| {}));
    bench.exchange(|echo| echo.bytes[40] ^= 1);
    let (first_ns, last_ns) = bench.verifier.books.stamps_ns;
    assert_eq!((first_ns, last_ns - first_ns), (1010, 30));
}

/// What a faulty reflector does to one frame.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Echo,
    Drop,
    Twice,
    Later(usize),
    Damage(usize, u8),
    DamagedNumber(usize, u8),
    Unchanged,
    Cut(usize),
    Lengthen,
    Foreign,
}

fn faults() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::Echo),
        1 => Just(Fault::Drop),
        1 => Just(Fault::Twice),
        1 => (1usize..400).prop_map(Fault::Later),
        1 => (24usize..60, 1u8..).prop_map(|(at, bits)| Fault::Damage(at, bits)),
        1 => (14usize..24, 1u8..).prop_map(|(at, bits)| Fault::DamagedNumber(at, bits)),
        1 => Just(Fault::Unchanged),
        1 => (24usize..60).prop_map(Fault::Cut),
        1 => Just(Fault::Lengthen),
        1 => Just(Fault::Foreign),
    ]
}

proptest! {
    #[test]
    fn any_faults_conserve_the_sums(script in proptest::collection::vec(faults(), 0..500)) {
        let mut bench = Bench::plain();
        let mut late: Vec<(usize, u64, Received)> = Vec::new();
        let mut expected = Tally::default();
        let (mut lost, mut largest) = (0, None);
        for (now, &fault) in script.iter().enumerate() {
            let sent = bench.send();
            let mut echo = bench.receive(&sent, !matches!(fault, Fault::Unchanged));
            match fault {
                Fault::Drop => lost += 1,
                Fault::Later(after) => {
                    late.push((now + after, now as u64, echo));
                    lost += 1;
                }
                Fault::Foreign => {
                    echo.bytes[12..].fill(b'Z');
                    bench.take(&echo);
                    expected.foreign += 1;
                    lost += 1;
                }
                Fault::DamagedNumber(at, bits) => {
                    echo.bytes[at] ^= bits;
                    bench.take(&echo);
                    expected.foreign += 1;
                    lost += 1;
                }
                Fault::Damage(at, bits) => {
                    echo.bytes[at] ^= bits;
                    bench.take(&echo);
                    expected.corrupted += 1;
                }
                Fault::Cut(at) => {
                    echo.bytes.truncate(at);
                    bench.take(&echo);
                    expected.truncated += 1;
                }
                Fault::Lengthen => {
                    echo.bytes.push(0);
                    bench.take(&echo);
                    expected.corrupted += 1;
                }
                Fault::Unchanged => {
                    bench.take(&echo);
                    expected.not_transformed += 1;
                }
                Fault::Echo => {
                    bench.take(&echo);
                    expected.intact += 1;
                }
                Fault::Twice => {
                    bench.take(&echo);
                    bench.take(&echo);
                    expected.intact += 1;
                    expected.duplicated += 1;
                }
            }
            let returned = !matches!(fault, Fault::Drop | Fault::Later(_) | Fault::Foreign
                | Fault::DamagedNumber(..));
            if returned {
                largest = Some(now as u64);
            }
            let (due, waiting): (Vec<_>, _) = late.into_iter().partition(|one| one.0 <= now);
            late = waiting;
            for (_, number, echo) in due {
                bench.take(&echo);
                // The ledger of these tests remembers 256 numbers.
                if now as u64 + 1 - number > 256 {
                    expected.forgotten += 1;
                    continue;
                }
                expected.intact += 1;
                lost -= 1;
                expected.reordered += u64::from(largest.is_some_and(|largest| number < largest));
                largest = largest.max(Some(number));
            }
        }
        prop_assert_eq!(bench.concluded(), (expected, lost));
        prop_assert_eq!(bench.verifier.ledger_of(0).handed_out(), script.len() as u64);
    }
}
