//! No wake-up is lost between a worker that leaves and rejoins its epoll set and the kernel that
//! delivers frames: every interleaving of the two, walked through.
//!
//! The worker is [`WaitState`] itself and what `engine/worker.rs` does at each of its steps. The kernel
//! is one or two CPUs, each of which delivers frames in three steps, as `tpacket_rcv` and
//! `sock_def_readable` do: it writes the status word, looks whether anybody is in the set, and wakes
//! who is. The set is edge-triggered and does not look at the socket when it is joined: less than
//! the real one does.

use std::collections::HashSet;
use std::time::Duration;

use linerate::engine::wait::{Step, Wait, WaitState};

const SLOTS: usize = 4;
const SPIN_NS: u64 = 20_000;

/// What may be wrong with a worker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// It sleeps at once when it has joined.
    NoPollAfterJoining,
    /// It forgets to join.
    NoJoin,
}

/// The next of a CPU's three steps for one frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Delivery {
    Write,
    CheckSet,
    Wake { seen: bool },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Cpu {
    /// The slots that it fills, the next one first.
    slots: Vec<usize>,
    next: Delivery,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Worker {
    /// About to do this step.
    Before(Step),
    Asleep,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    cpus: Vec<Cpu>,
    filled: [bool; SLOTS],
    /// The slot that the worker polls next.
    head: usize,
    in_set: bool,
    /// The set has an event for the next sleep.
    event: bool,
    worker: Worker,
    wait_state: WaitState,
    slept: bool,
    left: bool,
}

impl State {
    fn beginning(wait: Wait, cpus: &[&[usize]]) -> State {
        let mut wait_state = WaitState::new(wait);
        let first = wait_state.begin();
        State {
            cpus: cpus
                .iter()
                .map(|slots| Cpu { slots: slots.to_vec(), next: Delivery::Write })
                .collect(),
            filled: [false; SLOTS],
            head: 0,
            in_set: true,
            event: false,
            worker: Worker::Before(first),
            wait_state,
            slept: false,
            left: false,
        }
    }

    /// A frame is there, all CPUs are done, and the worker sleeps all the same.
    fn has_lost_a_wake_up(&self) -> bool {
        let unseen = self.filled.get(self.head) == Some(&true);
        let delivered = self.cpus.iter().all(|cpu| cpu.slots.is_empty());
        self.worker == Worker::Asleep && unseen && delivered
    }

    fn after_delivery(&self, cpu: usize) -> Option<State> {
        let mut after = self.clone();
        let State { cpus, filled, in_set, event, worker, .. } = &mut after;
        let Cpu { slots, next } = &mut cpus[cpu];
        let slot = *slots.first()?;
        *next = match *next {
            Delivery::Write => {
                filled[slot] = true;
                Delivery::CheckSet
            }
            Delivery::CheckSet => Delivery::Wake { seen: *in_set },
            Delivery::Wake { seen } => {
                slots.remove(0);
                // Under the lock of the wait queue, which whoever has left is no longer in.
                if seen && *in_set {
                    *event = true;
                    if *worker == Worker::Asleep {
                        *event = false;
                        *worker = Worker::Before(Step::Poll);
                    }
                }
                Delivery::Write
            }
        };
        Some(after)
    }

    /// What the worker may do: one state, or two where it depends on how much time has passed.
    fn after_worker(&self, fault: Fault) -> Vec<State> {
        let Worker::Before(step) = self.worker else { return Vec::new() };
        let mut after = self.clone();
        match step {
            Step::Sleep => {
                after.slept = true;
                let event = std::mem::replace(&mut after.event, false);
                after.worker = if event { Worker::Before(Step::Poll) } else { Worker::Asleep };
                vec![after]
            }
            Step::Leave => {
                after.in_set = false;
                after.event = false;
                after.left = true;
                after.worker = Worker::Before(Step::Poll);
                vec![after]
            }
            Step::Join => {
                after.in_set = fault != Fault::NoJoin;
                let next =
                    if fault == Fault::NoPollAfterJoining { Step::Sleep } else { Step::Poll };
                after.worker = Worker::Before(next);
                vec![after]
            }
            Step::Poll if self.filled.get(self.head) == Some(&true) => {
                // A frame that is ready behind one that is not waits for it.
                while self.filled.get(after.head) == Some(&true) {
                    after.head += 1;
                }
                after.worker = Worker::Before(after.wait_state.batch_was_handled(0, false));
                vec![after]
            }
            Step::Poll => [0, SPIN_NS]
                .map(|now_ns| {
                    let mut after = self.clone();
                    after.worker =
                        Worker::Before(after.wait_state.poll_was_empty(|| now_ns, |_| ()));
                    after
                })
                .into(),
        }
    }
}

/// What an exhaustive walk saw.
struct Walk {
    states: usize,
    lost: Option<State>,
    slept: bool,
    left: bool,
}

fn walk(wait: Wait, cpus: &[&[usize]], fault: Fault) -> Walk {
    let mut seen = HashSet::new();
    let mut open = vec![State::beginning(wait, cpus)];
    let mut walk = Walk { states: 0, lost: None, slept: false, left: false };
    while let Some(state) = open.pop() {
        if !seen.insert(state.clone()) {
            continue;
        }
        walk.slept |= state.slept;
        walk.left |= state.left;
        if state.has_lost_a_wake_up() {
            walk.lost = Some(state);
            break;
        }
        open.extend((0..cpus.len()).filter_map(|cpu| state.after_delivery(cpu)));
        open.extend(state.after_worker(fault));
    }
    walk.states = seen.len();
    walk
}

const ADAPTIVE: Wait = Wait::Adaptive(Duration::from_nanos(SPIN_NS));
/// One CPU delivers all frames, or two take turns at the slots.
const DELIVERIES: [&[&[usize]]; 2] = [&[&[0, 1, 2, 3]], &[&[0, 2], &[1, 3]]];

#[test]
fn no_interleaving_loses_a_wake_up() {
    for cpus in DELIVERIES {
        for wait in [Wait::Epoll, ADAPTIVE, Wait::Spin] {
            let walk = walk(wait, cpus, Fault::None);
            assert!(walk.lost.is_none(), "{wait:?}: {:?}", walk.lost);
            println!("{wait:?}, {} CPUs: {} states", cpus.len(), walk.states);
            assert_eq!(walk.slept, wait != Wait::Spin);
            assert_eq!(walk.left, wait != Wait::Epoll);
        }
    }
}

#[test]
fn the_walk_sees_what_a_worker_without_its_last_poll_would_lose() {
    for fault in [Fault::NoPollAfterJoining, Fault::NoJoin] {
        for cpus in DELIVERIES {
            assert!(walk(ADAPTIVE, cpus, fault).lost.is_some());
        }
    }
}
