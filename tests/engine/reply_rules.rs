//! What is answered and what is dropped under which name, one rule a test.

use linerate::engine::reply::{Reply, ReplyRules};
use linerate::ring::frame::{ChecksumState, FrameMeta, PacketType};
use linerate::stats::drops::DropReason;
use linerate::units::TAG_TYPES;
use linerate::wire::ethernet::{EtherType, VlanTag};

use crate::edit_law::apply;
use crate::frames::{Known, OURS, PORT, THEIRS, rules};

const BROADCAST: [u8; 6] = [0xff; 6];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];
const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn raw() -> Known {
    Known::raw(&[], b"text")
}

fn udp() -> Known {
    Known::udp_v4(&[], 0, b"text")
}

fn udp6() -> Known {
    Known::udp_v6(&[], 0, b"text")
}

fn dropped(rules: &ReplyRules, known: &Known) -> Option<DropReason> {
    match rules.decide(&known.meta, &known.bytes) {
        Reply::Drop(reason) => Some(reason),
        Reply::Echo { edit, .. } => {
            apply(&edit, &known.bytes);
            None
        }
    }
}

#[track_caller]
fn assert_dropped(known: &Known, reason: DropReason) {
    assert_eq!(dropped(&rules(), known), Some(reason));
}

#[track_caller]
fn assert_answered(rules: &ReplyRules, known: &Known) {
    assert_eq!(dropped(rules, known), None);
}

fn with_meta(mut known: Known, change: impl FnOnce(&mut FrameMeta)) -> Known {
    change(&mut known.meta);
    known
}

#[test]
fn own_frames_are_never_answered_whatever_the_rules() {
    let generous = ReplyRules { promiscuous: true, echo_group: true, ..rules() };
    let outgoing = with_meta(raw(), |meta| meta.packet_type = PacketType::Outgoing);
    assert_eq!(dropped(&generous, &outgoing), Some(DropReason::Outgoing));
    for destination in [OURS, BROADCAST, STRANGER] {
        let ours = raw().with(6, &OURS).with(0, &destination);
        assert_eq!(dropped(&generous, &ours), Some(DropReason::OwnSource));
    }
}

#[test]
fn nobody_answers_a_group_or_nobody() {
    for source in [BROADCAST, GROUP, [0; 6]] {
        assert_dropped(&raw().with(6, &source), DropReason::GroupSource);
    }
}

#[test]
fn foreign_unicast_is_answered_from_its_own_address_and_only_if_asked_for() {
    let foreign = raw().with(0, &STRANGER);
    assert_dropped(&foreign, DropReason::OtherHost);
    let promiscuous = ReplyRules { promiscuous: true, ..rules() };
    let Reply::Echo { edit, .. } = promiscuous.decide(&foreign.meta, &foreign.bytes) else {
        panic!("not answered")
    };
    assert_eq!(apply(&edit, &foreign.bytes)[..12], [THEIRS, STRANGER].concat());
}

#[test]
fn groups_are_answered_from_our_address_and_only_if_asked_for() {
    assert_dropped(&raw().with(0, &BROADCAST), DropReason::Broadcast);
    assert_dropped(&raw().with(0, &GROUP), DropReason::Multicast);
    let echo_group = ReplyRules { echo_group: true, ..rules() };
    for destination in [BROADCAST, GROUP] {
        let known = raw().with(0, &destination);
        let Reply::Echo { edit, .. } = echo_group.decide(&known.meta, &known.bytes) else {
            panic!("not answered")
        };
        assert_eq!(apply(&edit, &known.bytes)[..12], [THEIRS, OURS].concat());
    }
    // Promiscuous alone does not mean groups.
    let promiscuous = ReplyRules { promiscuous: true, ..rules() };
    assert_eq!(dropped(&promiscuous, &raw().with(0, &GROUP)), Some(DropReason::Multicast));
}

#[test]
fn the_address_decides_and_not_the_packet_type() {
    // The kernel calls a frame with the tag of a VLAN that it does not know "other host".
    let tagged = with_meta(raw(), |meta| {
        meta.packet_type = PacketType::OtherHost;
        meta.tag = Some(VlanTag::customer(100, 0));
    });
    assert_answered(&rules(), &tagged);
}

#[test]
fn only_wanted_ether_types_are_answered_behind_any_tags() {
    let only = ReplyRules { ether_types: vec![EtherType::LOCAL_EXPERIMENTAL], ..rules() };
    assert_answered(&only, &raw());
    assert_answered(&only, &Known::raw(&[VlanTag::customer(1, 0)], b"inner tag"));
    for other in [0x88b6, 0x0800, 0x86dd, 0x0806, 0x888e] {
        let known = Known::of_type(other, &[0; 46]);
        assert_eq!(dropped(&only, &known), Some(DropReason::EtherType));
    }
    let pae = ReplyRules { ether_types: vec![EtherType::PAE], ..rules() };
    assert_answered(&pae, &Known::of_type(0x888e, &[0; 46]));
}

#[test]
fn control_frames_have_a_name_of_their_own_behind_any_tags_whatever_the_rules() {
    let generous = ReplyRules { promiscuous: true, echo_group: true, ..rules() };
    for ether_type in [0x8808u16, 0x8809, 0x888e, 0x88cc] {
        let known = Known::of_type(ether_type, &[0; 46]);
        assert_eq!(dropped(&generous, &known), Some(DropReason::Control), "{ether_type:#x}");
        for tpid in TAG_TYPES {
            let tag = VlanTag { tpid, tci: 100 };
            let known = Known::raw(&[tag], &[0; 46]).with(16, &ether_type.to_be_bytes());
            assert_eq!(dropped(&generous, &known), Some(DropReason::Control), "{tpid:#x}");
        }
    }
    for last in 0..16 {
        let known = raw().with(0, &[0x01, 0x80, 0xc2, 0, 0, last]);
        assert_eq!(dropped(&generous, &known), Some(DropReason::Control));
        assert_eq!(dropped(&rules(), &known), Some(DropReason::Control));
    }
}

#[test]
fn no_tag_is_payload() {
    for tpid in TAG_TYPES {
        // Its low byte is a small letter.
        let known = Known::raw(&[VlanTag { tpid, tci: 100 }], b"text");
        let Reply::Echo { edit, .. } = rules().decide(&known.meta, &known.bytes) else {
            panic!("{tpid:#x}: not answered")
        };
        assert_eq!(apply(&edit, &known.bytes), known.answer(OURS, rules().transform));
    }
}

#[test]
fn all_never_means_arp_nor_ip_that_is_no_datagram_to_us() {
    assert_dropped(&Known::of_type(0x0806, &[0; 46]), DropReason::EtherType);
    let link_layer_only = ReplyRules { udp_port: None, ..rules() };
    for known in [udp(), udp6()] {
        assert_answered(&rules(), &known);
        assert_eq!(dropped(&link_layer_only, &known), Some(DropReason::EtherType));
        // Named, it is payload like any other.
        let named = vec![EtherType::IPV4, EtherType::IPV6];
        assert_answered(&ReplyRules { ether_types: named, ..link_layer_only.clone() }, &known);
    }
    assert_answered(&link_layer_only, &raw());
}

#[test]
fn udp_only_rules_answer_nothing_else() {
    let udp_only = ReplyRules { link_layer: false, ..rules() };
    assert_answered(&udp_only, &udp());
    assert_eq!(dropped(&udp_only, &raw()), Some(DropReason::EtherType));
}

#[test]
fn a_frame_whose_tags_do_not_end_has_no_ether_type() {
    let tags = [VlanTag::customer(1, 0); 5];
    assert_dropped(&Known::raw(&tags, b"text"), DropReason::EtherType);
    assert_answered(&rules(), &Known::raw(&tags[..4], b"text"));
    let cut = Known::of_type(0x8100, &[0, 1]);
    assert_dropped(&cut, DropReason::EtherType);
}

#[test]
fn truncated_runt_and_merged_frames_are_never_answered() {
    assert_dropped(&with_meta(raw(), |meta| meta.wire_bytes += 1), DropReason::Truncated);
    for length in 0..14 {
        let mut runt = raw();
        runt.bytes.truncate(length);
        runt.meta.wire_bytes = length as u32;
        assert_dropped(&runt, DropReason::Runt);
    }
    assert_answered(&rules(), &Known::raw(&[], b""));
    assert_dropped(&Known::raw(&[], &[b'x'; 1505]), DropReason::Oversize);
    // A super-frame is that first, even where its end was cut off.
    let cut = with_meta(raw(), |meta| meta.wire_bytes = 65_549);
    assert_dropped(&cut, DropReason::Oversize);
}

#[test]
fn a_full_frame_may_grow_by_a_customer_tag_and_by_no_other() {
    let full = Known::raw(&[], &[b'x'; 1500]);
    assert_answered(&rules(), &full);
    assert_answered(&rules(), &full.clone().tagged(Some(VlanTag::customer(1, 0))));
    let service = Some(VlanTag::service(1, 0));
    assert_dropped(&full.tagged(service), DropReason::TagTooLong);
    // QinQ: the outer tag is off, the inner one is in the frame.
    let inner = [VlanTag::customer(2, 0)];
    assert_answered(&rules(), &Known::raw(&inner, &[b'x'; 1492]).tagged(service));
    assert_dropped(&Known::raw(&inner, &[b'x'; 1493]).tagged(service), DropReason::TagTooLong);
    assert_dropped(&Known::raw(&inner, &[b'x'; 1500]).tagged(service), DropReason::TooLong);
    assert_dropped(&Known::raw(&[], &[b'x'; 1501]), DropReason::TooLong);
}

#[test]
fn fragments_are_dropped_first_and_later_ones() {
    for flags in [[0x20, 0], [0x20, 5], [0, 5]] {
        assert_dropped(&udp().with_ip(6, &flags), DropReason::Fragment);
    }
    assert_answered(&rules(), &udp().with_ip(6, &[0x40, 0]));
    assert_dropped(&udp6().with_ip(6, &[44]), DropReason::Fragment);
}

#[test]
fn damaged_ip_headers_and_other_protocols_have_their_names() {
    assert_dropped(&udp().with(14 + 8, &[63]), DropReason::BadIpHeader);
    assert_dropped(&udp().with_ip(0, &[0x44]), DropReason::BadIpHeader);
    assert_dropped(&udp().with_ip(2, &[0xff, 0xff]), DropReason::BadIpHeader);
    assert_dropped(&udp6().with(14, &[0x50]), DropReason::BadIpHeader);
    assert_dropped(&udp().with_ip(9, &[6]), DropReason::NotUdp);
    assert_dropped(&udp6().with_ip(6, &[58]), DropReason::NotUdp);
}

#[test]
fn datagrams_to_another_port_or_from_ours_are_no_questions() {
    let port_at = 20;
    assert_dropped(&udp().with_ip(port_at + 2, &[0, 9]), DropReason::OtherPort);
    assert_dropped(&udp().with_ip(port_at, &PORT.to_be_bytes()), DropReason::ReflectedPort);
    assert_dropped(&udp().with_ip(port_at, &[0, 0]), DropReason::ReflectedPort);
    assert_dropped(&udp6().with_ip(40, &PORT.to_be_bytes()), DropReason::ReflectedPort);
}

#[test]
fn datagrams_from_service_ports_are_answered_only_if_asked_for() {
    let generous = ReplyRules { echo_services: true, ..rules() };
    for (port, refused) in [
        (1, true),
        (19, true),
        (53, true),
        (123, true),
        (1023, true),
        (1900, true),
        (11211, true),
        (1024, false),
        (11212, false),
        (u16::MAX, false),
    ] {
        for known in [
            udp().with_ip(20, &u16::to_be_bytes(port)),
            udp6().with_ip(40, &u16::to_be_bytes(port)),
        ] {
            let expected = refused.then_some(DropReason::ServicePort);
            assert_eq!(dropped(&rules(), &known), expected, "{port}");
            assert_eq!(dropped(&generous, &known), None, "{port}");
        }
    }
}

#[test]
fn datagrams_from_addresses_that_name_no_single_host_are_dropped() {
    let target = [10, 97, 98, 2];
    for source in [[224, 0, 0, 1], [255; 4], [0; 4], [127, 0, 0, 1], target] {
        assert_dropped(&udp().with_ip(12, &source), DropReason::BadIpSource);
    }
    let (mut loopback, mut multicast) = ([0; 16], [0; 16]);
    (loopback[15], multicast[0]) = (1, 0xff);
    for source in [[0; 16], loopback, multicast] {
        assert_dropped(&udp6().with_ip(8, &source), DropReason::BadIpSource);
    }
}

#[test]
fn an_answer_never_comes_from_an_address_that_names_no_single_host() {
    // Its source would be the question's destination, and every receiver drops such a packet.
    let echo_group = ReplyRules { echo_group: true, ..rules() };
    for target in [[224, 0, 0, 1], [255; 4], [0; 4]] {
        let known = udp().with(0, &BROADCAST).with_ip(16, &target);
        assert_eq!(dropped(&echo_group, &known), Some(DropReason::BadIpSource));
    }
    let known = udp6().with(0, &GROUP).with_ip(24, &[0xff, 2]);
    assert_eq!(dropped(&echo_group, &known), Some(DropReason::BadIpSource));
}

#[test]
fn udp_lengths_that_lie_are_dropped() {
    for length in [0u16, 7, 13, u16::MAX] {
        let lying = udp().with(14 + 24, &length.to_be_bytes());
        assert_dropped(&lying, DropReason::BadUdpLength);
    }
}

#[test]
fn a_wrong_checksum_is_dropped_where_it_can_be_known_to_be_wrong() {
    use ChecksumState::{Partial, Unchecked, Unseen, Verified};
    for known in [udp(), udp6()] {
        let wrong = known.clone().with_checksum(0x1234, Unchecked);
        assert_dropped(&wrong, DropReason::BadChecksum);
        for state in [Unseen, Partial, Verified] {
            assert_answered(&rules(), &known.clone().with_checksum(0x1234, state));
        }
    }
    assert_answered(&rules(), &udp().with_checksum(0, Unchecked));
    for state in [Unseen, Unchecked, Verified] {
        assert_dropped(&udp6().with_checksum(0, state), DropReason::BadChecksum);
    }
}

#[test]
fn addresses_are_judged_before_what_is_inside() {
    let arp_to_all = Known::of_type(0x0806, &[0; 46]).with(0, &BROADCAST);
    assert_dropped(&arp_to_all, DropReason::Broadcast);
}
