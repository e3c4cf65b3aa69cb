//! The program against [`Template::write`], frame by frame.

use super::*;
use crate::load::carriage::Carriage;
use crate::load::sizes::Sizes;
use crate::sys::bpf::tests::may_load;
use crate::sys::link::Links;
use crate::wire::ethernet::{EtherType, MacAddress, VlanTag};
use crate::wire::headers::{IpAddresses, UdpHeaders};
use crate::wire::probe::PayloadPattern;
use crate::wire::random::Random;

/// What `bpf_redirect` returns when the frame is to leave.
const REDIRECT: u32 = 4;

impl TxLive {
    /// Frame `number` as the program makes it, and what it returns.
    fn made(&mut self, id: RunId, number: u64) -> (u32, Vec<u8>) {
        let template = Arc::clone(&self.template);
        assert!(TxHalf::put(self, NextFrame { template: &template, id, number }));
        let probe = id.probe(number);
        let fields = u64::from(probe.run()) << SEQUENCE_BITS | probe.sequence();
        let begin = template.cycle_begins(id, number) as u32;
        let memory = self.program.memory();
        put(memory, FIELDS, &fields.to_ne_bytes());
        put(memory, BEGIN, &begin.to_ne_bytes());
        put(memory, PLACE, &0u32.to_ne_bytes());
        // What the page's last user left there.
        let page = vec![0x5a; self.blank.len()];
        let made = self.program.try_out(&page).unwrap();
        assert_eq!(word(self.program.memory(), PLACE), 1);
        self.withdraw();
        made
    }
}

fn carriages() -> Vec<Carriage> {
    let tags = [VlanTag::customer(5, 1), VlanTag::service(7, 0)];
    let v4 = IpAddresses::pair([192, 0, 2, 1], [192, 0, 2, 2]).unwrap();
    let v6 =
        IpAddresses::pair([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], [0x2001, 0xdb8, 0, 0, 0, 0, 0, 2]);
    let udp = |addresses| {
        let headers =
            UdpHeaders { addresses, source_port: 40_000, destination_port: 7777, hop_limit: 64 };
        Carriage::udp(headers)
    };
    let bare = [Carriage::raw(EtherType::LOCAL_EXPERIMENTAL), udp(v4), udp(v6.unwrap())];
    let tagged = |count: usize, one: &Carriage| {
        tags[..count].iter().fold(one.clone(), |carriage, tag| carriage.tagged(*tag))
    };
    (0..3).flat_map(|count| bare.iter().map(move |one| tagged(count, one))).collect()
}

/// A spec over the loopback, which nothing is sent to.
fn spec(adjust: impl FnOnce(&mut LoadSpec)) -> LoadSpec {
    let lo = Links::open().unwrap().by_name("lo").unwrap();
    let (here, there) = (MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2]));
    let mut spec = LoadSpec::new(lo.index, 3000, here, there);
    adjust(&mut spec);
    spec
}

#[test]
fn every_frame_is_the_one_that_the_template_writes() {
    if !may_load() {
        return;
    }
    for (at, carriage) in carriages().into_iter().enumerate() {
        let smallest = carriage.encapsulation().unwrap().smallest_frame_bytes();
        let sizes = [
            format!("{smallest}"),
            format!("{smallest}-{}", smallest + 40),
            "1518".into(),
            "imix".into(),
            "random:200-3000".into(),
        ];
        for (which, sizes) in sizes.into_iter().enumerate() {
            if sizes == "imix" && smallest > 64 {
                continue;
            }
            let pattern = PayloadPattern::ALL[(at + which) % PayloadPattern::ALL.len()];
            let spec = spec(|spec| {
                spec.carriage = carriage.clone();
                spec.sizes = sizes.parse::<Sizes>().unwrap();
                spec.flows = [1, 300][which % 2];
                spec.payload = if which == 0 { PayloadPattern::Filler } else { pattern };
            });
            let template = Arc::new(Template::new(&spec).unwrap());
            let mut live = TxLive::program(&spec, &template).unwrap();
            for number in 0..60 {
                let random = Random::at(at as u64, number);
                let (id, number) =
                    (RunId::new(random as u16, random >> 20), Random::at(7, number) >> 22);
                let mut wanted = vec![0; 3100];
                let bytes = template.write(&mut wanted, id, number);
                wanted.truncate(bytes);
                let (returned, frame) = live.made(id, number);
                assert_eq!(returned, REDIRECT);
                assert_eq!(frame, wanted, "{spec:?}");
            }
        }
    }
}
