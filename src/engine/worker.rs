//! A worker: wait, turn, kick, tick.

use std::hint::spin_loop;
use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::control::Control;
use super::half::{RxHalf, TxHalf};
use super::turn::{TurnState, settle, turn};
use super::wait::{SharedGaps, Step, WaitState, Waiting};
use crate::stats::counters::EngineCounters;
use crate::stats::drops::DropReason;
use crate::stats::latency::Latency;
use crate::sys::clock::Clock;
use crate::sys::epoll::Sleeper;

/// What a worker reports once an interval.
#[derive(Debug)]
pub struct Snapshot {
    /// Which worker.
    pub worker: usize,
    /// Counts since its start.
    pub counters: EngineCounters,
    /// Latencies since its last snapshot; to be returned empty through [`Reporter::empty`].
    pub latency: Option<Box<Latency>>,
}

/// How a worker reports without ever waiting for the reader: when the channel is full or no empty
/// histogram has come back, it keeps counting and reports the sum later.
#[derive(Debug)]
pub struct Reporter {
    /// Which worker.
    pub worker: usize,
    /// Time between snapshots.
    pub interval: Duration,
    /// Snapshots go out here.
    pub snapshots: Sender<Snapshot>,
    /// Emptied histograms come back here.
    pub empty: Receiver<Box<Latency>>,
    /// The empty histogram that takes over at the next snapshot.
    pub spare: Option<Box<Latency>>,
}

/// What a worker leaves behind.
#[derive(Debug)]
pub struct WorkerReport {
    /// Counts since its start.
    pub counters: EngineCounters,
    /// Latencies since its last snapshot.
    pub latency: Option<Box<Latency>>,
    /// The error that ended it early.
    pub error: Option<io::Error>,
}

/// How long a sleep lasts at most, so that housekeeping is never far.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// How long a sleep lasts at most while the TX half still holds answers; it doubles up to the other
/// limit while the kernel takes none of them, as when the link is down.
const SLEEP_WITH_QUEUE: Duration = Duration::from_millis(1);
const SLEEP_WITH_STUCK_QUEUE_MAX: Duration = Duration::from_millis(64);
/// How long a sleep lasts at most that no arrival can end.
const SLEEP_STARVED: Duration = Duration::from_millis(1);
/// How long the end of a run waits for the kernel to take the last answers.
const FLUSH_MAX: Duration = Duration::from_millis(100);

/// Runs a worker until `control` stops it or its socket fails.
pub fn run<R: RxHalf, T: TxHalf>(
    mut rx: R,
    mut tx: T,
    mut state: TurnState,
    mut waiting: Waiting<impl Sleeper, impl Clock>,
    control: &Control,
    reporter: &mut Reporter,
) -> WorkerReport {
    state.reserve(rx.batch_frames_max());
    let error = serve(&mut rx, &mut tx, &mut state, &mut waiting, control, reporter).err();
    flush(&mut tx, &mut state.counters, &waiting.clock);
    // The last read of the statistics; a socket whose interface is gone still answers it.
    let _ = rx.accumulate(&mut state.counters.kernel);
    state.counters.assert_conserved(0);
    WorkerReport { counters: state.counters, latency: state.latency, error }
}

fn serve<R: RxHalf, T: TxHalf>(
    rx: &mut R,
    tx: &mut T,
    state: &mut TurnState,
    Waiting { sleeper, clock, state: wait_state, gaps }: &mut Waiting<impl Sleeper, impl Clock>,
    control: &Control,
    reporter: &mut Reporter,
) -> io::Result<()> {
    let interval_ns = reporter.interval.as_nanos() as u64;
    let mut next_tick_ns = clock.realtime_ns() + interval_ns;
    let mut sleep_with_queue = SLEEP_WITH_QUEUE;
    let mut step = wait_state.begin();
    while !control.stopping() {
        let has_error = match step {
            Step::Sleep => {
                let longest = match tx.in_flight() {
                    _ if rx.is_starved() => SLEEP_STARVED,
                    0 => SLEEP_MAX,
                    _ => sleep_with_queue,
                };
                let woken = sleeper.wait(longest.min(reporter.interval))?;
                state.counters.wakeups += 1;
                woken.error
            }
            Step::Leave => {
                sleeper.leave()?;
                false
            }
            Step::Join => {
                sleeper.join()?;
                state.counters.rejoins += 1;
                false
            }
            // No epoll tells of errors meanwhile.
            Step::Poll => true,
        };
        if has_error {
            // The link went down (LINK-1). Reading the error clears it (EPOLL-1); until the link is back
            // there is nothing to wait for but the time-out, and then frames come again by themselves.
            state.counters.link_errors += u64::from(rx.take_error().is_some());
        }
        if control.pausing() {
            control.park();
        }
        state.rules.mac = control.mac();
        let mtu = control.mtu();
        if mtu != state.rules.mtu {
            state.rules.mtu = mtu;
            tx.set_mtu(mtu);
        }
        if tx.in_flight() > 0 {
            state.counters.send_refusals += u64::from(tx.kick().is_err());
            let forwarded = state.counters.forwarded;
            settle(tx, &mut state.counters);
            let moves = state.counters.forwarded > forwarded;
            let longer = (2 * sleep_with_queue).min(SLEEP_WITH_STUCK_QUEUE_MAX);
            sleep_with_queue = if moves { SLEEP_WITH_QUEUE } else { longer };
        }
        wait_state.housekeeping_done();
        let handed_over_ns;
        (step, handed_over_ns) = poll(rx, tx, state, wait_state, clock, gaps, control)?;
        let now_ns = handed_over_ns.unwrap_or_else(|| clock.realtime_ns());
        // A clock that was set back by more than an interval must not silence the reports.
        if now_ns >= next_tick_ns || now_ns + 2 * interval_ns < next_tick_ns {
            next_tick_ns = now_ns + interval_ns;
            rx.accumulate(&mut state.counters.kernel)?;
            tick(state, reporter);
        }
    }
    Ok(())
}

/// Polls the receive half and handles what is there until there is something else to do: the
/// step, and when the last batch was handed over, if there was one.
fn poll<R: RxHalf, T: TxHalf>(
    rx: &mut R,
    tx: &mut T,
    state: &mut TurnState,
    wait_state: &mut WaitState,
    clock: &impl Clock,
    gaps: &SharedGaps,
    control: &Control,
) -> io::Result<(Step, Option<u64>)> {
    let mut last_ns = None;
    loop {
        let found = limited_turn(rx, tx, state, clock, control)?;
        let step = match found {
            Some(handed_over_ns) => {
                wait_state.batch_was_handled(handed_over_ns, R::ONE_BATCH_A_WAKE_UP)
            }
            None => wait_state.poll_was_empty(|| clock.realtime_ns(), |gap_ns| gaps.note(gap_ns)),
        };
        last_ns = found.or(last_ns);
        let has_other_work =
            control.stopping() || control.pausing() || wait_state.housekeeping_due();
        if step != Step::Poll || has_other_work {
            return Ok((step, last_ns));
        }
        if found.is_none() {
            spin_loop();
        }
    }
}

/// A turn that counts against the run's limit and takes an interface that is down for a pause.
#[inline]
fn limited_turn<R: RxHalf, T: TxHalf>(
    rx: &mut R,
    tx: &mut T,
    state: &mut TurnState,
    clock: &impl Clock,
    control: &Control,
) -> io::Result<Option<u64>> {
    let before = state.counters.received;
    match turn(rx, tx, state, clock) {
        Ok(handed_over_ns) => {
            control.count_received(state.counters.received - before);
            Ok(handed_over_ns)
        }
        Err(error) if error.kind() == io::ErrorKind::NetworkDown => {
            state.counters.link_errors += 1;
            Ok(None)
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}

/// Offers a snapshot; what cannot be offered now goes with the next one.
fn tick(state: &mut TurnState, reporter: &mut Reporter) {
    let Reporter { worker, snapshots, empty, spare, .. } = reporter;
    if spare.is_none() {
        *spare = empty.try_recv().ok();
    }
    let latency = match (&mut state.latency, spare.take()) {
        (Some(current), Some(fresh)) => Some(std::mem::replace(current, fresh)),
        _ => None,
    };
    let snapshot = Snapshot { worker: *worker, counters: state.counters, latency };
    if let Err(refused) = snapshots.try_send(snapshot)
        && let Some(unsent) = refused.into_inner().latency
    {
        *spare = state.latency.replace(unsent);
    }
}

/// Gives the kernel a last chance to take what is queued, then takes it back.
fn flush<T: TxHalf>(tx: &mut T, counters: &mut EngineCounters, clock: &impl Clock) {
    let mut waited = Duration::ZERO;
    while tx.in_flight() > 0 && waited < FLUSH_MAX {
        // A refusal shows in what is left in flight.
        let _ = tx.kick();
        settle(tx, counters);
        if tx.in_flight() > 0 {
            clock.sleep(SLEEP_WITH_QUEUE);
            waited += SLEEP_WITH_QUEUE;
        }
    }
    let withdrawn = tx.withdraw();
    settle(tx, counters);
    counters.drops.add(DropReason::Unsent, withdrawn);
}
