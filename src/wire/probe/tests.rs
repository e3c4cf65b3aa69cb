use super::*;
use crate::wire::transform::uppercase;
use proptest::prelude::*;

fn written(probe: Probe, bytes: usize) -> Vec<u8> {
    let mut payload = vec![0; bytes];
    probe.write(&mut payload).unwrap();
    payload
}

fn probes() -> impl Strategy<Value = Probe> {
    (any::<u16>(), any::<u64>()).prop_map(|(run, sequence)| Probe::new(run, sequence))
}

#[test]
fn too_short_a_payload_is_refused_and_untouched() {
    let mut payload = [7; PAYLOAD_BYTES_MIN - 1];
    assert_eq!(Probe::new(1, 1).write(&mut payload), Err(PayloadTooShort));
    assert_eq!(payload, [7; PAYLOAD_BYTES_MIN - 1]);
}

#[test]
fn the_smallest_and_largest_numbers_fit() {
    for (run, sequence) in [(0, 0), (RUN_MAX, SEQUENCE_MAX), (0, SEQUENCE_MAX), (RUN_MAX, 0)] {
        let read = Probe::read(&written(Probe::new(run, sequence), 14)).unwrap();
        assert_eq!((read.run(), read.sequence()), (run, sequence));
    }
    assert_eq!(Probe::new(0, SEQUENCE_MAX + 1).sequence(), 0);
    assert_eq!(Probe::new(RUN_MAX + 1, 0).run(), 0);
}

#[test]
fn the_four_fates_are_told_apart() {
    let probe = Probe::new(9, 123_456);
    let sent = written(probe, 46);
    let mut echoed = sent.clone();
    uppercase(&mut echoed);
    assert_eq!(probe.verify(&echoed, Expectation::Uppercased), Verdict::Intact);
    assert_eq!(probe.verify(&sent, Expectation::Uppercased), Verdict::NotTransformed);
    assert_eq!(probe.verify(&sent, Expectation::Same), Verdict::Intact);
    assert_eq!(probe.verify(&echoed, Expectation::Same), Verdict::Corrupted { first_offset: 10 });
    let mut half = echoed.clone();
    half[30..].copy_from_slice(&sent[30..]);
    assert_eq!(
        probe.verify(&half, Expectation::Uppercased),
        Verdict::Corrupted { first_offset: 30 }
    );
}

#[test]
fn a_neighbouring_frames_filler_does_not_pass() {
    let probe = Probe::new(1, 1000);
    let mut payload = written(probe, 14);
    for other in (0..2000).filter(|other| *other != 1000) {
        payload[10..].copy_from_slice(&written(Probe::new(1, other), 14)[10..]);
        let verdict = probe.verify(&payload, Expectation::Same);
        assert!(
            matches!(verdict, Verdict::Corrupted { first_offset: 10..=12 }),
            "{other}: {verdict:?}"
        );
    }
}

#[test]
fn short_payloads_are_corrupted_not_intact() {
    let probe = Probe::new(1, 1);
    let sent = written(probe, 14);
    for bytes in 0..14 {
        let verdict = probe.verify(&sent[..bytes], Expectation::Same);
        assert_eq!(verdict, Verdict::Corrupted { first_offset: bytes });
    }
}

proptest! {
    #[test]
    fn a_number_survives_upper_casing(probe in probes(), bytes in 14usize..1600) {
        let mut payload = written(probe, bytes);
        prop_assert_eq!(Probe::read(&payload), Some(probe));
        prop_assert!(payload[10..].iter().all(u8::is_ascii_lowercase));
        uppercase(&mut payload);
        prop_assert_eq!(Probe::read(&payload), Some(probe));
        prop_assert_eq!(probe.verify(&payload, Expectation::Uppercased), Verdict::Intact);
    }

    #[test]
    fn one_changed_byte_is_found_where_it_is(
        probe in probes(),
        bytes in 14usize..1600,
        at in any::<proptest::sample::Index>(),
        damage in 1u8..,
        uppercased: bool,
    ) {
        let mut payload = written(probe, bytes);
        let expectation = if uppercased {
            uppercase(&mut payload);
            Expectation::Uppercased
        } else {
            Expectation::Same
        };
        let first_offset = at.index(bytes);
        payload[first_offset] ^= damage;
        prop_assert_eq!(probe.verify(&payload, expectation), Verdict::Corrupted { first_offset });
        if first_offset < NUMBER_BYTES {
            prop_assert_eq!(Probe::read(&payload), None);
        } else {
            prop_assert_eq!(Probe::read(&payload), Some(probe));
        }
    }

    #[test]
    fn no_payload_makes_it_panic(probe in probes(), payload: Vec<u8>) {
        for expectation in [Expectation::Uppercased, Expectation::Same] {
            if let Verdict::Corrupted { first_offset } = probe.verify(&payload, expectation) {
                prop_assert!(first_offset <= payload.len());
            }
        }
        if let Some(found) = Probe::read(&payload) {
            prop_assert_eq!(&found.number()[..], &payload[..NUMBER_BYTES]);
        }
    }
}
