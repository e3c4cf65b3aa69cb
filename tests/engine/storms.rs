//! Two engines that face each other: what one answers, the other receives.

use linerate::engine::edit::Transform;
use linerate::engine::reply::{Reply, ReplyRules};
use linerate::engine::token_bucket::{Allowance, TokenBucket};
use linerate::stats::drops::DropReason;

use crate::edit_law::apply;
use crate::frames::{Known, PORT, THEIRS, rules};

/// A second with a start far from zero.
const NOW_NS: u64 = 1 << 40;
const SECOND_NS: u64 = 1_000_000_000;

/// Lets a frame bounce until one side does not answer; how often it was answered, and why it ended.
fn bounce(
    known: &Known,
    sides: &mut [(ReplyRules, TokenBucket); 2],
    now_ns: u64,
) -> (usize, DropReason) {
    let (mut bytes, mut meta) = (known.bytes.clone(), known.meta);
    for answers in 0.. {
        let (rules, bucket) = &mut sides[answers % 2];
        let edit = match rules.decide(&meta, &bytes) {
            Reply::Drop(reason) => return (answers, reason),
            Reply::Echo { changed: false, .. } if !bucket.take(|| now_ns) => {
                return (answers, DropReason::Unchanged);
            }
            Reply::Echo { edit, .. } => edit,
        };
        bytes = apply(&edit, &bytes);
        meta.wire_bytes = bytes.len() as u32;
        assert!(answers < 1000, "a storm");
    }
    unreachable!("the loop ends by a drop or a panic")
}

fn sides(transform: Transform, allowance: Allowance) -> [(ReplyRules, TokenBucket); 2] {
    let ours = ReplyRules { transform, ..rules() };
    let theirs = ReplyRules { mac: THEIRS, ..ours.clone() };
    [ours, theirs].map(|rules| (rules, TokenBucket::new(allowance)))
}

#[test]
fn without_an_allowance_an_answer_is_not_answered() {
    let mut sides = sides(Transform::Uppercase, Allowance::PerSecond(0));
    let known = Known::raw(&[], b"text");
    assert_eq!(bounce(&known, &mut sides, NOW_NS), (1, DropReason::Unchanged));
    let unchanged = Known::raw(&[], b"TEXT 123");
    assert_eq!(bounce(&unchanged, &mut sides, NOW_NS), (0, DropReason::Unchanged));
}

#[test]
fn a_storm_ends_when_a_bucket_is_empty() {
    for transform in [Transform::Uppercase, Transform::None] {
        let mut sides = sides(transform, Allowance::PerSecond(10));
        let first = usize::from(transform == Transform::Uppercase);
        let (answers, reason) = bounce(&Known::raw(&[], b"text"), &mut sides, NOW_NS);
        assert_eq!((answers, reason), (20 + first, DropReason::Unchanged));
        // More frames at the same time add nothing but the answers to themselves, and one token
        // that the other side may have left.
        for _ in 0..50 {
            let (answers, _) = bounce(&Known::raw(&[], b"text"), &mut sides, NOW_NS);
            assert!(answers <= first + 1);
        }
        // Nor can they save up: a day later it is one second's worth again.
        let later = NOW_NS + 86_400 * SECOND_NS;
        let (answers, _) = bounce(&Known::raw(&[], b"text"), &mut sides, later);
        assert!((20..=21).contains(&answers), "{answers}");
    }
}

#[test]
fn two_engines_on_the_same_port_do_not_answer_each_other_at_all() {
    let mut sides = sides(Transform::Uppercase, Allowance::Unlimited);
    for known in [Known::udp_v4(&[], 0, b"text"), Known::udp_v6(&[], 0, b"text")] {
        // The answer goes to the port that the question came from, which the other does not serve.
        assert_eq!(bounce(&known, &mut sides, NOW_NS), (1, DropReason::OtherPort));
        let ports_at = known.ip.unwrap().udp - known.ip.unwrap().packet;
        let from_ours = known.with_ip(ports_at, &PORT.to_be_bytes());
        assert_eq!(bounce(&from_ours, &mut sides, NOW_NS), (0, DropReason::ReflectedPort));
    }
}
