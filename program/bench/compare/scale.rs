//! What a second worker adds: two workers drain together, and each of them alone.
//!
//! The workers share the frames by the CPU that received them ([`FanoutMode::Cpu`]), and on a veth pair
//! that is the CPU of the sender. So a generator on each worker's CPU fills that worker's ring and no
//! other. Workers that have a receive queue each (`xdp`) get what the generator sends by the queue of the
//! same number, which is that of its CPU, too. Each generator has an EtherType of its own, and therefore a socket that receives the echoes
//! of one worker alone: its kernel stamps give that worker's rate, and the workers share no lock
//! behind the link.

use super::observation::{LoadKind, Observation};
use super::plan::{ComparePlan, SETTLE, drain_frames};
use crate::bench::contestant::Contestant;
use crate::bench::testbed::{QUIET, Testbed};
use crate::engine::config::EngineConfig;
use crate::engine::pool::{Engine, EngineSummary};
use crate::error::{Error, Result};
use crate::load::plan::Carriage;
use crate::load::run::{Load, LoadOutcome};
use crate::load::tx::TxChoice;
use crate::sys::clock;
use crate::sys::packet::FanoutMode;
use crate::units::FrameSize;
use crate::wire::ethernet::EtherType;

/// The two EtherTypes that are set aside for local experiments, one for each worker.
const ETHER_TYPES: [EtherType; 2] = [EtherType::LOCAL_EXPERIMENTAL, EtherType(0x88b6)];

/// Checks that two workers can be filled apart from each other, and one worker at all: the testbed has a queue for
/// each of two.
pub fn check(testbed: &Testbed, plan: &ComparePlan) -> Result<()> {
    let cpus = plan.cpus;
    if !testbed.is_veth() {
        return Err(Error::Usage(
            "--loads scale needs a veth pair: on a NIC its queues decide which worker gets a frame"
                .into(),
        ));
    }
    // The kernel takes the CPU's number modulo the number of workers (fanout_demux_cpu).
    if cpus.0 % 2 == cpus.1 % 2 {
        return Err(Error::Usage(format!(
            "--loads scale needs an even and an odd CPU, not {} and {}: \
             see --cpus",
            cpus.0, cpus.1
        )));
    }
    // A drain goes by the first queue in any case.
    let own_queue = |load: &LoadKind| matches!(load, LoadKind::Scale | LoadKind::Drain);
    let Some(tx) = plan.tx.filter(|tx| *tx != TxChoice::Xsk) else { return Ok(()) };
    if plan.loads.iter().all(own_queue) {
        return Ok(());
    }
    for &contestant in &plan.contestants {
        if plan.engine(contestant, testbed, &[cpus.1])?.path.needs_xdp_program() {
            return Err(Error::Usage(format!(
                "--tx {tx} with --loads scale: what a packet socket sends leaves by either of two queues, as a hash                  has it, and the one worker of {contestant} has the first: leave out --tx, or compare scale in a                  run of its own"
            )));
        }
    }
    Ok(())
}

/// Two workers and what fills them.
struct Pair {
    engine: Engine,
    loads: [Load; 2],
    frames: u64,
}

/// One turn of `contestant` in the calling thread, with frames of `size`: two workers, one on the
/// generator's CPU and one on the engine's.
pub(super) fn run(
    plan: &ComparePlan,
    contestant: Contestant,
    testbed: &Testbed,
    size: FrameSize,
) -> Result<(Observation, EngineSummary)> {
    let cpus = [plan.cpus.0, plan.cpus.1];
    let config = EngineConfig {
        fanout: Some(FanoutMode::Cpu),
        ether_types: ETHER_TYPES.to_vec(),
        ..plan.engine(contestant, testbed, &cpus)?
    };
    let engine = Engine::start(&config)?;
    let frames = drain_frames(&config, size);
    let open = |number: usize| {
        let mut load = plan.frames(testbed, size).bursts(frames);
        load.cpus = vec![cpus[number]];
        load.carriage = Carriage::raw(ETHER_TYPES[number]);
        // Past the queueing discipline the kernel sends by the queue of the CPU's number
        // (`packet_pick_tx_queue`), and not by one that a hash picks, which is another at each boot.
        load.qdisc_bypass = true;
        Load::open(&load, &plan.ring_memory)
    };
    let loads = testbed.at_generator(|| Ok::<_, Error>([open(0)?, open(1)?]))??;
    let mut pair = Pair { engine, loads, frames };
    // The first one warms caches and page tables; its frames are checked like the others.
    let warm_up = pair.drain(&[0, 1])?;
    let alone = [pair.drain(&[0])?, pair.drain(&[1])?].map(|mut reports| reports.remove(0));
    let together = pair.drain(&[0, 1])?;
    Ok((observation(&warm_up, &alone, &together), pair.engine.stop()))
}

impl Pair {
    /// Fills the rings of `workers` while they are parked, then has them echo what they hold.
    fn drain(&mut self, workers: &[usize]) -> Result<Vec<LoadOutcome>> {
        self.engine.pause();
        let mut filled = Vec::new();
        for (worker, load) in self.loads.iter_mut().enumerate() {
            if workers.contains(&worker) {
                filled.push(load.fill(self.frames)?);
            }
        }
        clock::sleep(SETTLE);
        self.engine.resume();
        // One of the workers is on this thread's CPU: the echoes wait in rings that hold them all.
        clock::sleep(QUIET);
        filled.into_iter().map(|filled| filled.collect(QUIET)).collect()
    }
}

/// Whether both drains lasted at the same time for at least half of the shorter one: rates add up only
/// while both do.
fn overlap(together: &[LoadOutcome]) -> bool {
    let first = together.iter().map(|outcome| outcome.stamps_ns.0).max().unwrap_or(0);
    let last = together.iter().map(|outcome| outcome.stamps_ns.1).min().unwrap_or(0);
    let shorter = together.iter().map(LoadOutcome::arrival_ns).min().unwrap_or(0);
    2 * last.saturating_sub(first) >= shorter
}

fn observation(
    warm_up: &[LoadOutcome],
    alone: &[LoadOutcome; 2],
    together: &[LoadOutcome],
) -> Observation {
    let mut sum = Observation::of_outcome(LoadKind::Scale, &LoadOutcome::default(), 0, 1);
    for outcome in warm_up.iter().chain(alone).chain(together) {
        sum.sent += outcome.sent;
        sum.lost += outcome.lost;
        sum.tally += &outcome.tally;
        sum.generator_drops += outcome.kernel.drops;
        sum.received += outcome.kernel.packets;
    }
    if overlap(together) {
        sum.echoed_pps = together.iter().map(LoadOutcome::arrival_pps).sum();
    }
    sum.alone_pps = Some([alone[0].arrival_pps(), alone[1].arrival_pps()]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::compare::observation::Metric;
    use crate::stats::counters::Tally;

    /// 1001 echoes from `first_ns` to `last_ns`.
    fn drained(first_ns: u64, last_ns: u64) -> LoadOutcome {
        LoadOutcome {
            sent: 1001,
            tally: Tally { intact: 1001, ..Tally::default() },
            stamps_ns: (first_ns, last_ns),
            ..LoadOutcome::default()
        }
    }

    #[test]
    fn rates_of_two_workers_add_up_while_both_drain() {
        let alone = [drained(0, 1_000_000), drained(0, 1_000_000)];
        let together = [drained(5_000, 1_005_000), drained(105_000, 1_355_000)];
        let found = observation(&alone, &alone, &together);
        assert_eq!(found.value(Metric::Scaling), Some(1.8));
        assert_eq!(
            (found.sent, found.tally.intact, found.lost),
            (6006, 6006, 0),
            "the warm-up, too"
        );
    }

    #[test]
    fn one_after_the_other_is_not_together() {
        let alone = [drained(0, 1_000_000), drained(0, 1_000_000)];
        let together = [drained(0, 1_000_000), drained(900_000, 1_900_000)];
        assert_eq!(observation(&[], &alone, &together).value(Metric::Scaling), None);
    }
}
