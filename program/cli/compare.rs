//! Options of `linerate compare`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;

use super::testbed::TestbedArgs;
use super::values::{distinct, parse_between, parse_trial_duration};
use crate::bench::compare::observation::LoadKind;
use crate::bench::compare::plan::ComparePlan;
use crate::bench::compare::run;
use crate::bench::contestant::{Contestant, Contestants};
use crate::engine::turn::LatencyMode;
use crate::error::{Result, exit};
use crate::load::tx::TxChoice;
use crate::report::compare::CompareReport;
use crate::ring::budget::MemoryBudget;
use crate::sys::signal::Interrupt;
use crate::units::{FrameSize, parse_positive_duration};

const EXAMPLES: &str = "\
Paths, pairs of a receive half and a TX half:
  syscall      epoll_wait, one recvfrom and one sendto per frame, as in the
               tutorial. recvfrom shows no VLAN tag, no checksum state and no
               kernel stamp
  mmsg         recvmmsg and sendmmsg, a batch of frames per call
  ring         TPACKET_V3 receive ring (blocks of frames) and TX ring
  ring-v2      TPACKET_V2 receive ring (frame by frame) and TX ring
  ring-mmsg    TPACKET_V3 receive ring, sendmmsg out of its memory
  ring-xsk     TPACKET_V3 receive ring, AF_XDP for sending
  ring-v2-xsk  TPACKET_V2 receive ring, AF_XDP for sending
  xdp          AF_XDP both ways; needs privileges
  v2+mmsg      any other pair of v3, v2, recv, recvmsg, mmsg, xsk and
               ring, mmsg, send, xsk
  PATH@WAIT    sets the worker's wait: @epoll (default: sleeps when idle),
               @spin (never sleeps), @adaptive (polls for 50 us, then
               sleeps), @adaptive=100us
  PROFILE      throughput, latency or balanced: chooses path, receive ring,
               wait and batch; @WAIT may follow. PATH@PROFILE applies the
               profile to PATH
A contestant that cannot run here is named with the reason; the others run.

Loads, each measured in rounds of its own:
  flood   the generator sends as fast as it can: verified echoes/s
  drain   the engine's own ceiling: its ring or buffer is filled while it is
          paused, the generator stops, and the kernel's stamps time the echoes
  ping    one frame in flight: round trip p50 and p99, and CPU time per round
          trip. The client polls, so this is the latency of engine and kernel
  window  64 frames in flight: echoes/s
  light   1000 frames/s on a schedule: response time
  half    half of the path's own flood rate, on a schedule: response time
  scale   two workers drain, together and each alone, on the CPUs of generator
          and engine
CPU is CPU time of the engine's thread per echo, user and kernel. On a veth pair
the engine's send also pays for reception at the generator (included); its own
reception is paid by the generator (not included).

Examples:
  linerate compare                       no root needed: its own veth testbed
  linerate compare --paths all --max-time 5m --json result.json
  linerate compare --paths syscall,ring-v2,ring-v2@spin --loads ping,light,half
  linerate compare --paths syscall,throughput,latency,balanced
  linerate compare --paths syscall,ring,mmsg --loads scale -s 64
  sudo linerate compare -i eth1 --dut-interface eth2
                                         two ports of this machine, cabled

Contestants take short turns, round by round, in random order. Each ratio is to
syscall (or to the first path), formed within a round, with the interval that
holds the truth in 95 % of comparisons, over all contestants and looks at the
data. The baseline sits in each round twice: if it differs from itself, nothing
is claimed. A `?` marks a ratio that says nothing, `~` one that was measured
through a disturbance, `*` a path that jumps between two values (--details
shows both).

With one frame in flight V3 rings wait a retire timeout (1 ms; before Linux 6.18
up to 8 ms): use ring for throughput, ring-v2 or syscall for a lone frame.

Exit codes: 0 done, 1 could not run, output was lost, an echo was wrong, or all
rounds of a path were void, 2 usage, 77 missing privilege, 130 interrupted
(after the summary).";

/// Run the same verified echo over several packet paths, side by side
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
pub struct CompareArgs {
    /// Packet paths or profiles, comma-separated, each with optional @WAIT or @PROFILE; `all` stands
    /// for every preset
    #[arg(
        long,
        value_name = "LIST",
        default_value = "syscall,mmsg,ring,ring-v2,ring-xsk,latency,balanced"
    )]
    paths: Contestants,

    /// Loads, comma-separated: flood, drain, ping, window, light, half, scale
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "drain,ping")]
    loads: Vec<LoadKind>,

    /// Rounds of each size and load [default: until more would add nothing, or the time is over]
    #[arg(long, alias = "trials", value_name = "N", value_parser = parse_between::<1, 1000>, allow_hyphen_values = true)]
    rounds: Option<usize>,

    #[command(flatten)]
    turns: TurnArgs,

    /// The generator's TX half: xsk, ring, mmsg or send [default: xsk over veth, else ring]
    #[arg(long, value_name = "HALF")]
    tx: Option<TxChoice>,

    #[command(flatten)]
    testbed: TestbedArgs,

    /// Write the result as JSON to FILE; `-` writes it to stdout, and the text to stderr
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

impl CompareArgs {
    /// Compares, reports, and says how it ended.
    pub fn run(self) -> Result<u8> {
        let cpus = self.testbed.cpus()?;
        let Contestants(contestants) = self.paths;
        let stop = Arc::new(AtomicBool::new(false));
        let interrupt = Interrupt::catch_with(Arc::clone(&stop))?;
        let mut report = CompareReport::open(self.json.as_deref(), self.turns.details)?;
        let max_time = self.turns.max_time(self.rounds);
        let plan = self.turns.plan(contestants, &self.loads, self.rounds, cpus, &stop);
        let plan = ComparePlan { tx: self.tx, ..plan };
        // An AF_XDP socket has a queue to itself, and `scale` runs two workers.
        let queues = if plan.loads.contains(&LoadKind::Scale) { 2 } else { 1 };
        let testbeds = self.testbed.open_several(&plan.sizes, queues, plan.seats())?;
        report.start(&testbeds[0], cpus, max_time);
        let comparison = run::run(&testbeds, &plan, &mut |step| report.step(step))?;
        report.finish(&comparison)?;
        let failed = comparison.has_failed();
        if let Some(error) = comparison.broken {
            return Err(error);
        }
        Ok(match (interrupt.caught(), failed) {
            (true, _) => exit::INTERRUPTED,
            (false, true) => exit::FAILED,
            (false, false) => exit::OK,
        })
    }
}

/// How long turns and rounds take, of all commands that compare.
#[derive(Args, Debug)]
pub struct TurnArgs {
    /// Frame sizes with FCS, comma-separated (RFC 2544; 64 is 60 bytes at the socket)
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', default_value = "64,1518", value_parser = parse_size, allow_hyphen_values = true)]
    sizes: Vec<FrameSize>,

    /// End after this time with what there is [default: 60s, or none with --rounds]
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration, allow_hyphen_values = true)]
    max_time: Option<Duration>,

    /// Duration of each load in a round (a drain ends by itself)
    #[arg(long, value_name = "TIME", default_value = "25ms", value_parser = parse_trial_duration, allow_hyphen_values = true)]
    trial_duration: Duration,

    /// Show a table for each load, with every metric
    #[arg(long)]
    pub details: bool,
}

impl TurnArgs {
    /// When `rounds` rounds end at the latest; `None` for no limit.
    pub fn max_time(&self, rounds: Option<usize>) -> Option<Duration> {
        self.max_time.or(rounds.is_none().then_some(MAX_TIME))
    }

    /// The plan of a comparison of `contestants` under `loads`.
    pub fn plan(
        &self,
        contestants: Vec<Contestant>,
        loads: &[LoadKind],
        rounds: Option<usize>,
        cpus: (usize, usize),
        stop: &Arc<AtomicBool>,
    ) -> ComparePlan {
        let mut loads = distinct(loads);
        loads.sort();
        ComparePlan {
            contestants,
            ab: None,
            sizes: distinct(&self.sizes),
            loads,
            rounds,
            max_time: self.max_time(rounds).unwrap_or(FOR_EVER),
            duration: self.trial_duration,
            tx: None,
            cpus,
            latency: LatencyMode::On,
            ring_memory: MemoryBudget::new(2 * MemoryBudget::DEFAULT_BYTES),
            stop: Arc::clone(stop),
        }
    }
}

/// Long enough for small differences, short enough to wait for.
const MAX_TIME: Duration = Duration::from_secs(60);

/// No limit.
const FOR_EVER: Duration = Duration::from_secs(1 << 32);

fn parse_size(text: &str) -> std::result::Result<FrameSize, String> {
    // Names the valid sizes if the text is not a number; a size that is too small says so itself.
    let whole = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if whole { text.parse() } else { Err("whole bytes from 64, FCS included".into()) }
}
