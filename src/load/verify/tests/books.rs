//! Flows, foreign reflectors, evidence, and analyzer for each sender and the warm-up.

use super::super::{Fault, Taken, Tally, Verifier};
use super::{Bench, HERE, ID, THERE, carriages, size, udp};
use crate::load::plan::{Carriage, LoadSpec, Sizes};
use crate::load::template::Template;
use crate::wire::ethernet::{EtherType, VlanTag};
use crate::wire::probe::Expectation;
use std::sync::Arc;

/// A bench with a configuration of its own.
fn bench(adjust: impl FnOnce(&mut LoadSpec)) -> Bench {
    let mut config = LoadSpec::new(1, 1500, HERE, THERE);
    adjust(&mut config);
    let template = Arc::new(Template::new(&config).unwrap());
    let verifier = Verifier::new(Arc::clone(&template), ID, 1, 256, 2);
    Bench { template, verifier, stamp_ns: 1000 }
}

#[test]
fn an_echo_belongs_to_its_own_flow() {
    for carriage in carriages() {
        let from = carriage.encapsulation().unwrap().smallest_frame_bytes();
        let mut bench = bench(|config| {
            config.flows = 5;
            config.carriage = carriage.clone();
            config.sizes = Sizes::Sweep { from: size(from), to: size(from + 3), step: 1 };
        });
        for sequence in 0..40 {
            assert_eq!(bench.exchange(|_| {}), Taken::Intact(sequence), "{carriage:?}");
        }
        // The same number with the addresses and ports of the next flow.
        let (sent, mut other) = (bench.send(), bench.send());
        (0..3).for_each(|_| other = bench.send());
        assert_eq!(sent.len(), other.len(), "four sizes go round");
        let payload = carriage.encapsulation().unwrap().overhead_bytes();
        other[payload..].copy_from_slice(&sent[payload..]);
        let echo = bench.receive(&other, true);
        assert!(matches!(bench.take(&echo), Taken::Damaged(40)), "{carriage:?}");
    }
}

#[test]
fn a_foreign_reflector_may_change_all_but_the_payload() {
    let mut bench = bench(|config| {
        config.expectation = Expectation::Any;
        config.carriage = udp(4);
        config.sizes = Sizes::Fixed(size(100));
    });
    for transform in [true, false] {
        let sent = bench.send();
        let mut echo = bench.receive(&sent, transform);
        echo.bytes[..12].fill(9);
        echo.bytes[22] -= 1;
        assert!(matches!(bench.take(&echo), Taken::Intact(_)));
    }
    assert!(matches!(bench.exchange(|echo| echo.bytes[60] ^= 1), Taken::Damaged(2)));
    assert!(matches!(bench.exchange(|echo| echo.bytes.push(0)), Taken::Damaged(3)));
    bench.exchange(|echo| echo.bytes.truncate(90));
    let (tally, _) = bench.concluded();
    assert_eq!((tally.corrupted, tally.truncated), (2, 1));
    let offsets: Vec<_> = bench.verifier.books.damage.iter().map(|one| one.first_offset).collect();
    assert_eq!(offsets, [60, 96]);
}

#[test]
fn evidence_is_the_frame_as_it_was_on_the_wire_and_bounded() {
    let tag = VlanTag::customer(100, 3);
    let mut bench = bench(|config| {
        config.carriage = Carriage::raw(EtherType::LOCAL_EXPERIMENTAL).tagged(tag);
    });
    bench.exchange(|echo| echo.bytes[40] ^= 1);
    bench.exchange(|echo| echo.bytes.truncate(50));
    bench.exchange(|echo| echo.bytes[40] ^= 1);
    let evidence = std::mem::take(&mut bench.verifier.books.evidence);
    assert_eq!(evidence.len(), 2);
    assert_eq!(evidence[0].bytes[12..16], tag.bytes());
    assert_eq!((evidence[0].bytes.len(), evidence[0].wire_bytes), (60, 60));
    assert_eq!(evidence[0].fault, Fault::Corrupted { first_offset: 40 });
    assert_eq!((evidence[1].bytes.len(), evidence[1].wire_bytes), (54, 60));
    assert_eq!((evidence[1].fault, evidence[1].number), (Fault::Truncated, Some(1)));
}

#[test]
fn senders_and_the_warm_up_have_books_of_their_own() {
    let config = LoadSpec::new(1, 1500, HERE, THERE);
    let template = Arc::new(Template::new(&config).unwrap());
    let mut verifier = Verifier::new(Arc::clone(&template), ID, 3, 768, 0);
    for sender in 0..3 {
        let ledger = verifier.ledger_of(sender);
        ledger.set_measured_from(10);
        ledger.hand_out_until(20);
    }
    let mut bench = Bench { template, verifier, stamp_ns: 0 };
    let mut frame = vec![0; 60];
    // Sender 0 in order, sender 1 backwards, sender 2 every other frame twice.
    let numbers = (0..20).map(|own| own * 3);
    let numbers = numbers.chain((0..20).rev().map(|own| own * 3 + 1));
    for number in numbers.chain((0..20).step_by(2).flat_map(|own| [own * 3 + 2; 2])) {
        bench.template.write(&mut frame, ID, number);
        let echo = bench.receive(&frame, true);
        bench.take(&echo);
    }
    bench.template.write(&mut frame, ID, 60);
    let echo = bench.receive(&frame, true);
    assert_eq!(bench.verifier.take_if_sent(&echo.meta, &echo.bytes), Taken::NeverSent);
    assert_eq!(bench.take(&echo), Taken::Beside);
    let (tally, warm_up) = (*bench.verifier.tally(), bench.verifier.books.warm_up);
    let half = Tally { intact: 25, duplicated: 5, ..Tally::default() };
    assert_eq!(tally, Tally { reordered: 9, other_loads: 1, ..half });
    assert_eq!(warm_up, Tally { reordered: 10, ..half });
    assert_eq!(bench.verifier.missing(), (5, 5));
    assert_eq!(bench.verifier.reorder_extent_max(), 19);
    assert_eq!(bench.verifier.returned(), 50);
}
