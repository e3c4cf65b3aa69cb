//! The decision is total: no bytes make it panic, and what it answers can be edited and sent.

use linerate::engine::edit::Transform;
use linerate::engine::reply::{Reply, ReplyRules};
use linerate::ring::frame::{ChecksumState, FrameMeta, PacketType};
use linerate::ring::send_rule;
use linerate::wire::ethernet::{EtherType, VlanTag};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::edit_law::apply;
use crate::frames::{Known, OURS, PORT, rules};

fn any_rules() -> impl Strategy<Value = ReplyRules> {
    let ether_types = prop_oneof![
        2 => Just(Vec::new()),
        1 => Just(vec![EtherType::IPV4, EtherType::IPV6]),
        1 => Just(vec![EtherType::LOCAL_EXPERIMENTAL]),
    ];
    let flags = any::<[bool; 5]>();
    (ether_types, flags, select(vec![0usize, 46, 68, 1500, 9000])).prop_map(
        |(ether_types, [link_layer, udp, upper, promiscuous, echo_group], mtu)| ReplyRules {
            mac: OURS,
            mtu,
            ether_types,
            link_layer,
            udp_port: udp.then_some(PORT),
            transform: if upper { Transform::Uppercase } else { Transform::None },
            promiscuous,
            echo_group,
            echo_services: false,
        },
    )
}

fn any_meta() -> impl Strategy<Value = FrameMeta> {
    let states = vec![
        ChecksumState::Unseen,
        ChecksumState::Unchecked,
        ChecksumState::Partial,
        ChecksumState::Verified,
    ];
    let tpid = prop_oneof![Just(0x8100u16), Just(0x88a8), any::<u16>()];
    let tag = proptest::option::of((tpid, any::<u16>()))
        .prop_map(|tag| tag.map(|(tpid, tci)| VlanTag { tpid, tci }));
    (any::<u32>(), any::<u8>(), tag, select(states)).prop_map(
        |(wire_bytes, packet_type, tag, checksum)| FrameMeta {
            wire_bytes,
            stamp_ns: 0,
            nic_ns: 0,
            packet_type: PacketType::from_number(packet_type % 8),
            tag,
            checksum,
        },
    )
}

/// Noise, and whole frames with a few bytes wrong and the end cut off or grown.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let seeds = vec![
        Known::raw(&[], b"some payload here").bytes,
        Known::raw(&[VlanTag::customer(5, 0)], &[b'x'; 1500]).bytes,
        Known::udp_v4(&[], 0, b"payload").padded(11).bytes,
        Known::udp_v4(&[], 10, &[b'y'; 300]).bytes,
        Known::udp_v6(&[VlanTag::service(7, 1)], 2, b"payload").bytes,
    ];
    let damaged = (select(seeds), vec((any::<Index>(), any::<u8>()), 0..4), 0usize..1600).prop_map(
        |(mut bytes, damage, length)| {
            damage.into_iter().for_each(|(at, value)| *at.get_mut(&mut bytes) = value);
            if length < 800 {
                bytes.truncate(length);
            } else if length > 1500 {
                bytes.resize(length, b'e');
            }
            bytes
        },
    );
    prop_oneof![4 => damaged, 1 => vec(any::<u8>(), 0..100)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn nothing_makes_it_panic_and_every_answer_can_be_sent(
        rules in any_rules(),
        mut meta in any_meta(),
        bytes in any_bytes(),
        whole in 0u8..8,
    ) {
        if whole > 0 {
            meta.wire_bytes = bytes.len() as u32;
        }
        if let Reply::Echo { edit, changed } = rules.decide(&meta, &bytes) {
            let answer = apply(&edit, &bytes);
            let ether_type = [answer[12], answer[13]];
            prop_assert_eq!(send_rule::check(answer.len(), ether_type, rules.mtu), Ok(()));
            prop_assert_eq!(&answer[..6], &bytes[6..12]);
            prop_assert!(answer[6] & 1 == 0, "a group is never a source");
            if !changed && rules.transform == Transform::Uppercase {
                let payload = &bytes[edit.payload_start..edit.payload_end];
                prop_assert!(!payload.iter().any(u8::is_ascii_lowercase));
            }
        }
    }

    /// What is answered once is answered the same by a receiver that asks for the same: an answer
    /// to an answer is the question, in capitals.
    #[test]
    fn an_answer_to_an_answer_goes_back_to_the_first_sender(payload in vec(any::<u8>(), 1..100)) {
        let known = Known::raw(&[], &payload);
        let Reply::Echo { edit, .. } = rules().decide(&known.meta, &known.bytes) else { panic!() };
        let answer = apply(&edit, &known.bytes);
        let theirs = ReplyRules { mac: crate::frames::THEIRS, ..rules() };
        let Reply::Echo { edit, changed } = theirs.decide(&known.meta, &answer) else { panic!() };
        prop_assert!(!changed);
        let again = apply(&edit, &answer);
        prop_assert_eq!(&again[..12], &known.bytes[..12]);
    }
}
