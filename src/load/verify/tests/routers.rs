//! What a router may change in a datagram, and that nothing else is forgiven.

use super::*;
use crate::wire::ip::IpVersion;

fn bench(carriage: Carriage, is_routed: bool) -> Bench {
    let spec = LoadSpec::new(1, 1500, HERE, THERE);
    Bench::of(&LoadSpec { carriage, is_routed, sizes: Sizes::Fixed(size(90)), ..spec })
}

/// Lowers or raises the hop limit as a router would make the header anew.
fn forward(echo: &mut Received, hop_limit: u8) {
    let ip = payload(&echo.bytes).unwrap().offset;
    let packet = &mut echo.bytes[ip..];
    let version = if packet[0] >> 4 == 4 { IpVersion::V4 } else { IpVersion::V6 };
    packet[version.hop_limit()] = hop_limit;
    if version == IpVersion::V4 {
        packet[10..12].fill(0);
        let checksum = crate::wire::ip::ipv4_header_checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

fn all() -> [Carriage; 4] {
    let tag = VlanTag::customer(5, 0);
    [udp(4), udp(6), udp(4).tagged(tag), udp(6).tagged(tag)]
}

#[test]
fn a_lower_hop_limit_is_a_routers_and_the_hops_are_counted() {
    for carriage in all() {
        let mut bench = bench(carriage, true);
        for hop_limit in [64, 62, 1, 63] {
            let taken = bench.exchange(|echo| forward(echo, hop_limit));
            assert!(matches!(taken, Taken::Intact(_)), "{hop_limit}");
        }
        assert_eq!(bench.verifier.books.hops, Some(Hops { least: 0, most: 63 }));
        for hop_limit in [0, 65, 255] {
            let taken = bench.exchange(|echo| forward(echo, hop_limit));
            assert!(matches!(taken, Taken::Damaged(_)), "{hop_limit}");
        }
    }
}

#[test]
fn without_a_router_on_the_way_a_lower_hop_limit_is_corruption() {
    for carriage in all() {
        let mut bench = bench(carriage, false);
        assert!(matches!(bench.exchange(|echo| forward(echo, 63)), Taken::Damaged(_)));
        assert!(matches!(bench.exchange(|_| {}), Taken::Intact(_)));
        assert_eq!(bench.verifier.books.hops, None);
    }
}

#[test]
fn nothing_else_is_forgiven_a_router() {
    for carriage in all() {
        let mut bench = bench(carriage, true);
        let sent = bench.send();
        for at in 0..bench.receive(&sent, true).bytes.len() {
            let mut is_hop_limit_of_ipv6 = false;
            let taken = bench.exchange(|echo| {
                forward(echo, 62);
                let ip = payload(&echo.bytes).unwrap().offset;
                is_hop_limit_of_ipv6 =
                    echo.bytes[ip] >> 4 == 6 && at == ip + IpVersion::V6.hop_limit();
                echo.bytes[at] ^= 1;
            });
            // Of IPv4 a checksum tells; of IPv6 another hop limit is as good.
            assert_eq!(matches!(taken, Taken::Intact(_)), is_hop_limit_of_ipv6, "byte {at}");
        }
    }
}
