//! Loops: two engines that face each other, and peers that answer whatever they are sent.

use linerate::engine::edit::Transform;
use linerate::engine::reply::{Reply, ReplyRules};
use linerate::engine::storm::{Allowance, CLIENT_PORT_MIN, PER_PEER, StormGuard};
use linerate::stats::drops::DropReason;
use linerate::wire::probe::Probe;

use crate::edit_law::apply;
use crate::frames::{Known, PORT, THEIRS, rules};

/// A second with a start far from zero.
const NOW_NS: u64 = 1 << 40;
const SECOND_NS: u64 = 1_000_000_000;

/// Lets a frame bounce until one side does not answer; how often it was answered, and why it ended.
fn bounce(
    known: &Known,
    sides: &mut [(ReplyRules, StormGuard); 2],
    now_ns: u64,
) -> (usize, DropReason) {
    let (mut bytes, mut meta) = (known.bytes.clone(), known.meta);
    for answers in 0.. {
        let (rules, storm) = &mut sides[answers % 2];
        storm.begin_batch();
        let (edit, changed) = match rules.decide(&meta, &bytes) {
            Reply::Drop(reason) => return (answers, reason),
            Reply::Echo { edit, changed } => (edit, changed),
        };
        if let Err(reason) = storm.check(&bytes, &edit, changed, || now_ns) {
            return (answers, reason);
        }
        bytes = apply(&edit, &bytes);
        meta.wire_bytes = bytes.len() as u32;
        assert!(answers < 1000, "a storm");
    }
    unreachable!("the loop ends by a drop or a panic")
}

fn sides(transform: Transform, allowance: Allowance) -> [(ReplyRules, StormGuard); 2] {
    let ours = ReplyRules { transform, ..rules() };
    let theirs = ReplyRules { mac: THEIRS, ..ours.clone() };
    [ours, theirs].map(|rules| (rules, StormGuard::new(allowance, PER_PEER, NOW_NS)))
}

#[test]
fn without_an_allowance_an_answer_is_not_answered() {
    let mut sides = sides(Transform::Uppercase, Allowance::PerSecond(0));
    let known = Known::raw(&[], b"text");
    for now_ns in [NOW_NS, NOW_NS + 5 * SECOND_NS] {
        assert_eq!(bounce(&known, &mut sides, now_ns), (1, DropReason::Unchanged));
        let unchanged = Known::raw(&[], b"TEXT 123");
        assert_eq!(bounce(&unchanged, &mut sides, now_ns), (0, DropReason::Unchanged));
    }
}

#[test]
fn a_storm_ends_when_the_allowance_is_used_up() {
    for transform in [Transform::Uppercase, Transform::None] {
        let mut sides = sides(transform, Allowance::PerSecond(10));
        let first = usize::from(transform == Transform::Uppercase);
        let (answers, reason) = bounce(&Known::raw(&[], b"text"), &mut sides, NOW_NS);
        assert_eq!((answers, reason), (20 + first, DropReason::Unchanged));
        // More frames in the same second add nothing but the answers to themselves, and the one answer
        // that the other side may have left.
        for _ in 0..50 {
            let now_ns = NOW_NS + SECOND_NS - 1;
            let (answers, _) = bounce(&Known::raw(&[], b"text"), &mut sides, now_ns);
            assert!(answers <= first + 1);
        }
        // Nor can they save up: a day later it is one second's worth again.
        let later = NOW_NS + 86_400 * SECOND_NS;
        let (answers, _) = bounce(&Known::raw(&[], b"text"), &mut sides, later);
        assert!((20..=21).contains(&answers), "{answers}");
    }
}

/// How many of `frames` are answered, each in a batch of its own at the time that `now_ns` gives.
fn answered(
    storm: &mut StormGuard,
    frames: impl Iterator<Item = Known>,
    mut now_ns: impl FnMut() -> u64,
) -> usize {
    let passes = |known: &Known| {
        let Reply::Echo { edit, changed } = rules().decide(&known.meta, &known.bytes) else {
            panic!("it is a question")
        };
        let now_ns = now_ns();
        storm.begin_batch();
        storm.check(&known.bytes, &edit, changed, || now_ns).is_ok()
    };
    frames.filter(passes).count()
}

fn guard() -> StormGuard {
    StormGuard::new(Allowance::PerSecond(10), Allowance::PerSecond(100), NOW_NS)
}

/// Datagrams of a service, over IPv4 and IPv6.
fn fresh_text(number: usize) -> [Known; 2] {
    let text = format!("fresh text {number}");
    let text = text.as_bytes();
    [Known::udp_v4(&[], 0, text), Known::udp_v6(&[], 0, text)]
        .map(|known| known.sent_from_port(2049))
}

#[test]
fn a_service_that_always_sends_something_new_is_answered_as_often_as_allowed_and_others_beside_it()
{
    for kind in 0..2 {
        let mut storm = guard();
        let frames = |count| (0..count).map(|number| fresh_text(number)[kind].clone());
        assert_eq!(answered(&mut storm, frames(5000), || NOW_NS), 100);
        // Another second, another hundred.
        assert_eq!(answered(&mut storm, frames(5000), || NOW_NS + SECOND_NS), 100);
        // Other peers are not held up, except the few that share an allowance.
        let others = (0..100u8).map(|host| match kind {
            0 => fresh_text(0)[0].clone().with_ip(15, &[100 + host]),
            _ => fresh_text(0)[1].clone().with_ip(40, &[0x70, host]),
        });
        assert!(answered(&mut storm, others, || NOW_NS + SECOND_NS) > 95);
    }
}

#[test]
fn clients_and_plain_ethernet_frames_are_answered_without_limit() {
    let client = fresh_text(0)[0].clone().sent_from_port(CLIENT_PORT_MIN);
    for known in [client, Known::raw(&[], b"fresh text")] {
        let frames = std::iter::repeat_n(known, 5000);
        assert_eq!(answered(&mut guard(), frames, || NOW_NS), 5000);
    }
}

#[test]
fn a_load_that_does_not_wait_for_answers_is_answered_without_limit() {
    let mut storm = guard();
    let known = &fresh_text(0)[0];
    let Reply::Echo { edit, changed } = rules().decide(&known.meta, &known.bytes) else {
        panic!("it is a question")
    };
    for batch in 0..100 {
        storm.begin_batch();
        for datagram in 0..50 {
            let passes = storm.check(&known.bytes, &edit, changed, || NOW_NS);
            assert!(passes.is_ok(), "datagram {datagram} of batch {batch}");
        }
    }
}

#[test]
fn a_slow_peer_is_always_answered() {
    let mut storm = guard();
    let mut now_ns = NOW_NS;
    let frames = (0..1000).map(|number| fresh_text(number)[0].clone());
    let every_11_ms = || {
        now_ns += 11_000_000;
        now_ns
    };
    assert_eq!(answered(&mut storm, frames, every_11_ms), 1000);
}

#[test]
fn a_load_of_probes_is_answered_without_limit() {
    let mut storm = guard();
    let probes = (0..5000u64).map(|number| {
        let mut payload = [0; 40];
        Probe::new(1, number).write(&mut payload).unwrap();
        Known::udp_v4(&[], 0, &payload).sent_from_port(2049)
    });
    assert_eq!(answered(&mut storm, probes, || NOW_NS), 5000);
}

#[test]
fn two_engines_on_the_same_port_do_not_answer_each_other_at_all() {
    let mut sides = sides(Transform::Uppercase, Allowance::Unlimited);
    for known in [Known::udp_v4(&[], 0, b"text"), Known::udp_v6(&[], 0, b"text")] {
        // The answer goes to the port that the question came from, which the other does not serve.
        assert_eq!(bounce(&known, &mut sides, NOW_NS), (1, DropReason::OtherPort));
        let from_ours = known.sent_from_port(PORT);
        assert_eq!(bounce(&from_ours, &mut sides, NOW_NS), (0, DropReason::ReflectedPort));
    }
}
