//! How options name the values of other rooms' types, and what the help says of each.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::engine::edit::Transform;
use crate::engine::profile::Profile;
use crate::engine::turn::LatencyMode;
use crate::engine::wait::{SPIN, Wait};
use crate::report::diff::Form;
use crate::sys::packet::{FanoutMode, SocketType};
use crate::tutorial::{Domain, Protocol};
use crate::wire::probe::Expectation;

/// A type whose values have names on the command line.
pub trait Choices: Copy + Send + Sync + 'static {
    /// Each value as the help shows it.
    fn choices() -> Vec<(Self, PossibleValue)>;
}

/// Reads the name of a value.
pub fn choice<T: Choices>() -> impl TypedValueParser<Value = T> {
    let names = T::choices().into_iter().map(|(_, name)| name);
    PossibleValuesParser::new(names).map(|typed| {
        let mut choices = T::choices().into_iter();
        choices.find(|(_, name)| name.matches(&typed, false)).expect("one of the names").0
    })
}

macro_rules! choices {
    ($type:ty { $($value:expr => $name:literal $(or $alias:literal)? $help:literal,)+ }) => {
        impl Choices for $type {
            fn choices() -> Vec<(Self, PossibleValue)> {
                vec![$(($value, PossibleValue::new($name)$(.alias($alias))?.help($help))),+]
            }
        }
    };
}

choices!(Transform {
    Transform::Uppercase => "uppercase" "a..z become A..Z",
    Transform::None => "none" "Leave the payload as it is; see --echo-unchanged",
});

choices!(LatencyMode {
    LatencyMode::On => "on" "Every frame",
    LatencyMode::Sampled => "sampled" "Every 61st frame",
    LatencyMode::Off => "off" "None",
});

choices!(Profile {
    Profile::Throughput => "throughput" "Highest frame rate; a lone frame may take a millisecond",
    Profile::Latency => "latency" "Shortest latency of a lone frame; takes one CPU per worker",
    Profile::Balanced => "balanced" "Close to both; sleeps when idle",
});

choices!(Wait {
    Wait::Epoll => "epoll" "Sleep in epoll when no frame is left",
    Wait::Spin => "spin" "Never sleep: one CPU per worker",
    Wait::Adaptive(SPIN) => "adaptive" "Poll for a while after the last frame, then sleep in epoll",
});

choices!(FanoutMode {
    FanoutMode::Hash => "hash" "By flow hash",
    FanoutMode::LoadBalance => "lb" "Round robin",
    FanoutMode::Cpu => "cpu" "By receiving CPU",
    FanoutMode::Random => "rnd" "At random",
    FanoutMode::Rollover => "rollover" or "roll" "To the next worker when one is full",
    FanoutMode::Queue => "qm" "By receive queue",
    FanoutMode::SourceMac => "cbpf" "By source MAC address, for any EtherType",
});

choices!(Expectation {
    Expectation::Uppercased => "uppercase" "In upper case, addresses swapped",
    Expectation::Same => "same" "Unchanged, addresses swapped",
    Expectation::Any => "any" "Upper case or unchanged, any addresses: for foreign reflectors",
});

choices!(Domain {
    Domain::AfPacket => "af-packet" "AF_PACKET, the address family",
    Domain::PfPacket => "pf-packet"
        "PF_PACKET, the protocol family: the same number, so nothing changes",
});

choices!(SocketType {
    SocketType::Datagram => "dgram"
        "SOCK_DGRAM: the kernel removes it from received frames and writes it on sent ones",
    SocketType::Raw => "raw" "SOCK_RAW: the program does both",
});

choices!(Protocol {
    Protocol::All => "all"
        "htons(ETH_P_ALL): every frame of the interface and outgoing copies, without the frames \
         that the NIC filters out. Messages are sent as EtherType 0x88b5",
    Protocol::Pae => "pae" "htons(ETH_P_PAE): only EtherType 0x888e (802.1X), and no outgoing copies",
    Protocol::Udp => "udp"
        "IPPROTO_UDP (17), unswapped. It does not mean UDP: in network byte order it is EtherType \
         0x1100. The bind says htons(ETH_P_ALL) and decides, so this works like `all`",
});

choices!(Form {
    Form::Table => "table" "For people",
    Form::Markdown => "markdown" "A table for a pull request",
    Form::Csv => "csv" "A row for each quantity",
    Form::GoBench => "gobench" "Every round of both files, in the Go benchmark data format",
    Form::GithubBigger => "github-bigger" or "github" "New rates, for github-action-benchmark",
    Form::GithubSmaller => "github-smaller" "New times and costs, for the same",
    Form::Bmf => "bmf" "New values in Bencher's metric format",
});
