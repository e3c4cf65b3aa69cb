//! Options of `linerate echo` for the path's halves, batches and buffers.

use std::str::FromStr;

use clap::{Args, ValueEnum};

use crate::engine::config::PathName;
use crate::engine::names::{RxName, TxName};
use crate::engine::profile::Asked;
use crate::error::Error;
use crate::sys::packet::MESSAGES_MAX;
use crate::units::{FrameSize, parse_memory};

/// Which path: a preset or a pair, and either half by itself.
#[derive(Args, Debug)]
pub struct PathArgs {
    /// Packet path: auto, syscall, mmsg, ring, ring-v2, ring-mmsg, ring-xsk, ring-v2-xsk, xdp, or a
    /// pair such as v2+mmsg (see below). auto chooses by the profile and prints why
    #[arg(long, value_name = "PATH", default_value = "auto")]
    path: PathArg,

    /// Replace the path's receive half: v3, v2, recv, recvmsg, mmsg or xsk
    #[arg(long, value_name = "HALF")]
    rx: Option<RxName>,

    /// Replace the path's TX half: ring, mmsg, send, xsk or bpf
    #[arg(long, value_name = "HALF")]
    tx: Option<TxName>,
}

impl PathArgs {
    /// The halves that are asked for.
    pub fn asked(&self) -> Asked {
        let Asked { rx, tx } = self.path.0;
        Asked { rx: self.rx.or(rx), tx: self.tx.or(tx) }
    }
}

/// A path, or none for `auto`.
#[derive(Clone, Debug)]
struct PathArg(Asked);

impl FromStr for PathArg {
    type Err = String;

    fn from_str(text: &str) -> Result<PathArg, String> {
        if text.trim() == "auto" {
            return Ok(PathArg(Asked::default()));
        }
        match text.parse::<PathName>() {
            Ok(path) => Ok(PathArg(path.into())),
            Err(reason) => Err(format!("{reason}, or auto")),
        }
    }
}

/// Batches, buffers and sending.
#[derive(Args, Debug)]
#[command(next_help_heading = "Batches, buffers and sending")]
pub struct BatchArgs {
    /// Largest batch in frames, for the receive halves v2, xsk and mmsg (v3 takes a block; recv and
    /// recvmsg take one frame) [default: 64; with --profile latency: 16]
    #[arg(long, value_name = "N", value_parser = parse_batch)]
    pub batch: Option<usize>,

    /// Longest expected frame, with FCS, without an outer tag. Slots and buffers are sized for it;
    /// longer frames are dropped as `truncated` or `too_long` [default: what the MTU allows]
    #[arg(long, value_name = "BYTES", value_parser = parse_max_frame)]
    pub max_frame: Option<FrameSize>,

    /// Bypass the queueing discipline; packet captures then do not see sent frames. The TX half xsk
    /// always bypasses it [default: off]
    #[arg(long, value_enum, value_name = "on|off")]
    qdisc_bypass: Option<Switch>,

    /// Socket send buffer; the kernel doubles and caps it. Not for the TX half xsk, which sizes its
    /// own [default: the system's]
    #[arg(long, value_name = "BYTES", value_parser = parse_memory)]
    sndbuf: Option<u64>,
}

impl BatchArgs {
    /// Whether to bypass the queueing discipline.
    pub fn qdisc_bypass(&self) -> bool {
        self.qdisc_bypass == Some(Switch::On)
    }

    /// Send buffer to request, in bytes.
    pub fn send_buffer(&self) -> Option<usize> {
        self.sndbuf.map(|bytes| bytes as usize)
    }

    /// Refuses options that `path` would ignore.
    pub fn check(&self, path: PathName) -> crate::error::Result<()> {
        let is_packet_socket = !matches!(path.tx, TxName::Xsk | TxName::Bpf);
        let bypass = "--tx ring, mmsg and send, while xsk and bpf always send past the queueing \
                      discipline";
        let buffer = "--tx ring, mmsg and send, while xsk and bpf ask for what their frames need";
        let options = [
            ("--qdisc-bypass", self.qdisc_bypass.is_some(), is_packet_socket, bypass),
            ("--sndbuf", self.sndbuf.is_some(), is_packet_socket, buffer),
        ];
        refuse_ignored(&options, path)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    /// Do
    On,
    /// Do not
    Off,
}

fn parse_batch(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(frames @ 1..=MESSAGES_MAX) => Ok(frames),
        _ => Err(format!("from 1 to {MESSAGES_MAX}, what one sendmmsg takes")),
    }
}

/// The largest MTU that Linux knows, with header, inner tag and FCS.
const FRAME_BYTES_MAX: usize = 65_535 + 14 + 4 + 4;

fn parse_max_frame(text: &str) -> Result<FrameSize, String> {
    let size: FrameSize = text.parse()?;
    if size.bytes() > FRAME_BYTES_MAX {
        return Err(format!("at most {FRAME_BYTES_MAX}, for the largest MTU there is"));
    }
    Ok(size)
}

/// An option: its name, whether it was given, whether the path uses it, and which halves do.
pub(super) type Use = (&'static str, bool, bool, &'static str);

/// Refuses options that `path` would ignore, whether a name or a profile chose it.
pub(super) fn refuse_ignored(options: &[Use], path: PathName) -> Result<(), Error> {
    match options.iter().find(|(_, given, used, _)| *given && !used) {
        None => Ok(()),
        Some((option, _, _, of)) => {
            Err(Error::Usage(format!("{option} is for {of}, and the path is {path}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        path: PathArgs,
        #[command(flatten)]
        batching: BatchArgs,
    }

    fn parse(line: &str) -> Result<Words, clap::Error> {
        Words::try_parse_from(format!("echo {line}").split_whitespace())
    }

    #[test]
    fn each_half_can_be_named_by_itself() {
        let asked = |line| parse(line).unwrap().path.asked();
        let path = |line| asked(line).path().unwrap().to_string();
        assert_eq!(asked(""), Asked::default());
        assert_eq!(asked("--path auto"), Asked::default());
        assert_eq!(asked("--rx v2"), Asked { rx: Some(RxName::V2), tx: None });
        assert_eq!(path("--path ring-v2 --tx mmsg"), "v2+mmsg");
        assert_eq!(path("--rx mmsg --tx mmsg"), "mmsg");
        assert_eq!(path("--path recvmsg+send --rx v3"), "v3+send");
        assert!(parse("--rx ring").is_err());
    }

    #[test]
    fn what_a_path_would_ignore_is_refused() {
        let check = |line, path: PathName| parse(line).unwrap().batching.check(path);
        for knob in ["--qdisc-bypass on", "--qdisc-bypass off", "--sndbuf 4MiB"] {
            for path in [PathName::RING_XSK, PathName::XDP] {
                let refusal = check(knob, path).unwrap_err();
                assert_eq!(refusal.exit_code(), 2);
                let text = refusal.to_string();
                assert!(text.contains("--tx ring, mmsg and send, while xsk and bpf"), "{text}");
                assert!(text.contains(&path.to_string()), "{text}");
            }
            assert!(check(knob, "xsk+ring".parse().unwrap()).is_ok());
            assert!(check(knob, PathName::RING_MMSG).is_ok());
        }
        assert!(check("--batch 8 --max-frame 512", PathName::XDP).is_ok());
    }

    #[test]
    fn knobs_have_bounds() {
        let knobs = parse("--batch 1024 --max-frame 64 --qdisc-bypass on --sndbuf 4MiB").unwrap();
        assert_eq!(
            (knobs.batching.batch, knobs.batching.send_buffer()),
            (Some(1024), Some(4 << 20))
        );
        assert!(knobs.batching.qdisc_bypass() && knobs.batching.max_frame.is_some());
        for bad in ["--batch 0", "--batch 1025", "--max-frame 63", "--max-frame 65558"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
