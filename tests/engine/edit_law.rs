//! The edit law: a copy and an edit in place give the same bytes, which are those of the plain
//! version, for every kind of reply.

use linerate::engine::edit::{Edit, Transform};
use linerate::engine::reply::{Reply, ReplyRules};
use linerate::ring::frame::{ChecksumState, FrameMeta};
use linerate::ring::send_rule;
use linerate::wire::ethernet::VlanTag;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::frames::{Known, OURS, PORT, rules};

/// Applies an edit in both ways and returns the answer, which is the same.
pub fn apply(edit: &Edit, bytes: &[u8]) -> Vec<u8> {
    let mut copied = vec![0xcc; bytes.len() + edit.growth() + 5];
    let length = edit.copy(bytes, &mut copied);
    assert_eq!(length, bytes.len() + edit.growth());
    assert_eq!(copied[length..], [0xcc; 5], "nothing is written behind the answer");
    copied.truncate(length);

    let before = 14;
    let mut room = [&vec![0xdd; before][..], bytes].concat();
    let start = edit.in_place(&mut room, before);
    assert_eq!(start, before - edit.growth());
    assert!(room[..start].iter().all(|&byte| byte == 0xdd), "nothing is written before it");
    assert_eq!(room[start..], copied, "in place and copied");
    copied
}

fn tag() -> impl Strategy<Value = VlanTag> {
    // Control information that looks like letters, and any.
    let tci = prop_oneof![Just(u16::from_be_bytes(*b"ab")), any::<u16>()];
    (prop_oneof![Just(0x8100u16), Just(0x88a8)], tci).prop_map(|(tpid, tci)| VlanTag { tpid, tci })
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..200),
        vec(b'a'..=b'z', 0..200),
        vec(b'A'..=b'Z', 0..40),
        vec(any::<u8>(), 1300..1390),
    ]
}

fn known() -> impl Strategy<Value = Known> {
    let plain = (vec(tag(), 0..3), payload(), 0usize..5, 0usize..3, any::<bool>()).prop_map(
        |(inner, payload, kind, extra, none)| match kind {
            0 | 1 => Known::raw(&inner, &payload),
            2 | 3 if none => Known::udp_v4(&inner, extra * 5, &payload)
                .with_checksum(0, ChecksumState::Unchecked),
            2 | 3 => Known::udp_v4(&inner, extra * 5, &payload),
            _ => Known::udp_v6(&inner, extra, &payload),
        },
    );
    let state = prop_oneof![
        Just(ChecksumState::Unseen),
        Just(ChecksumState::Unchecked),
        Just(ChecksumState::Verified),
        Just(ChecksumState::Partial),
    ];
    (plain, proptest::option::of(tag()), 0usize..30, state, any::<u16>()).prop_map(
        |(known, outer, padding, state, half_done)| {
            let known = known.tagged(outer).padded(padding);
            match (known.ip, state) {
                // A half-done field holds anything, and nobody may look at it.
                (Some(_), ChecksumState::Partial) => known.with_checksum(half_done.max(1), state),
                (Some(_), _) => {
                    Known { meta: FrameMeta { checksum: state, ..known.meta }, ..known }
                }
                _ => known,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn both_edits_are_the_plain_one_for_every_kind_of_reply(known in known(), change in any::<bool>()) {
        let transform = if change { Transform::Uppercase } else { Transform::None };
        let rules = ReplyRules { transform, ..rules() };
        let Reply::Echo { edit, changed } = rules.decide(&known.meta, &known.bytes) else {
            panic!("{:?}", rules.decide(&known.meta, &known.bytes));
        };
        let has_letters = known.bytes[known.payload.clone()].iter().any(u8::is_ascii_lowercase);
        prop_assert_eq!(changed, change && has_letters);
        let answer = apply(&edit, &known.bytes);
        prop_assert_eq!(&answer, &known.answer(OURS, transform));
        prop_assert!(known.checksum_of_answer_is_right(&answer));
        let ether_type = [answer[12], answer[13]];
        prop_assert_eq!(send_rule::check(answer.len(), ether_type, rules.mtu), Ok(()));
    }
}

/// Decides over a frame that must be answered, and gives the answer.
fn answer(known: &Known) -> Vec<u8> {
    match rules().decide(&known.meta, &known.bytes) {
        Reply::Echo { edit, .. } => apply(&edit, &known.bytes),
        Reply::Drop(reason) => panic!("dropped as {reason:?}"),
    }
}

#[test]
fn a_raw_answer_swaps_the_addresses_and_upper_cases_the_rest() {
    let known = Known::raw(&[], b"hello, {world}");
    assert_eq!(answer(&known), *b"bcdefg\x02\0\0\0\0\x01\x88\xb5HELLO, {WORLD}");
}

#[test]
fn a_stripped_tag_is_put_back_and_an_inner_one_is_not_payload() {
    let letters = VlanTag { tpid: 0x8100, tci: u16::from_be_bytes(*b"ab") };
    let outer = VlanTag { tpid: 0x88a8, tci: u16::from_be_bytes(*b"xy") };
    let known = Known::raw(&[letters], b"qinq").tagged(Some(outer));
    let expected = *b"bcdefg\x02\0\0\0\0\x01\x88\xa8xy\x81\x00ab\x88\xb5QINQ";
    assert_eq!(answer(&known), expected);
}

#[test]
fn padding_behind_a_datagram_is_kept_and_behind_a_raw_frame_it_is_payload() {
    let answered = answer(&Known::udp_v4(&[], 0, b"x").padded(17));
    assert!(answered.ends_with(b"Xppppppppppppppppp"));
    assert!(answer(&Known::raw(&[], b"x").padded(3)).ends_with(b"XPPP"));
}

#[test]
fn ports_and_addresses_of_a_datagram_are_swapped_and_options_kept() {
    let known = Known::udp_v4(&[], 2, b"text");
    let answered = answer(&known);
    assert_eq!(answered[14 + 12..14 + 20], [10, 97, 98, 2, 10, 97, 98, 1]);
    assert_eq!(answered[14 + 20..14 + 28], *b"abcdabcd");
    assert_eq!(answered[14 + 28..14 + 30], PORT.to_be_bytes());
    assert_eq!(answered[14 + 30..14 + 32], *b"ab");
}

#[test]
fn no_checksum_stays_none_and_a_computed_zero_is_sent_as_all_ones() {
    let none = Known::udp_v4(&[], 0, b"text").with_checksum(0, ChecksumState::Unchecked);
    assert_eq!(answer(&none)[14 + 26..14 + 28], [0, 0]);
    // A payload word that makes the answer's sum all ones, so that its checksum comes out as 0.
    let found = (0..=u16::MAX).map(u16::to_be_bytes).find(|word| {
        let known = Known::udp_v4(&[], 0, word);
        answer(&known)[14 + 26..14 + 28] == [0xff, 0xff]
    });
    let word = found.expect("one of all words does it");
    assert!(Known::udp_v4(&[], 0, &word).checksum_of_answer_is_right(&answer(&Known::udp_v4(
        &[],
        0,
        &word
    ))));
}

#[test]
fn a_half_done_checksum_is_finished_over_both_versions() {
    for known in [Known::udp_v4(&[], 0, b"half done"), Known::udp_v6(&[], 0, b"half done")] {
        let known = known.with_checksum(0x14ea, ChecksumState::Partial);
        assert!(known.checksum_of_answer_is_right(&answer(&known)));
    }
}
