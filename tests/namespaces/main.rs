//! What needs network namespaces, and makes them itself: with root, or without in a user
//! namespace, which has to be entered while the process has one thread. Hence the own `main`.
//!
//! Where the system forbids user namespaces, every trial is ignored and says why; with `CI=true` in
//! the environment every trial fails instead, so that a pipeline cannot pass by testing nothing.

use std::process::ExitCode;
use std::sync::{PoisonError, RwLock};

use libtest_mimic::{Arguments, Trial};
use linerate::sys::privilege::ensure_namespaces_allowed;

mod accounting;
mod bridged;
mod cases;
mod chargen;
mod check;
mod client;
mod compare;
mod covering;
mod disturbed;
mod drain;
mod echo;
mod fanout;
mod faulty;
mod kernel_groups;
mod kernel_receives;
mod kernel_sends;
mod knobs;
mod lab;
mod links;
mod live;
mod load;
mod load_program;
mod many;
mod mtu;
mod names;
mod namespace;
mod no_memory;
mod observe;
mod offloads;
mod open_loop;
mod parts;
mod pressure;
mod privileges;
mod process;
mod profiles;
mod queues;
mod robbed;
mod routes;
mod rtnetlink;
mod running;
mod served;
mod silence;
mod slow_queue;
mod spoiled;
mod strangers;
mod stress;
mod super_frames;
mod tutorial;
mod two_loads;
mod udp;
mod vanish;
mod vlan;
mod waits;
mod watch;
mod way_out;
mod xsk;

use check::{Test, alone, impossible_here};

fn main() -> ExitCode {
    // Some trials run this binary again as a child process that has a part to play.
    if let Some(code) = parts::play() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    // Most trials mostly wait; those that may not be disturbed run alone, whatever this number.
    arguments.test_threads.get_or_insert(4);
    let forbidden = match arguments.list {
        true => None,
        false => ensure_namespaces_allowed().err().map(|error| error.to_string()),
    };
    if let Some(reason) = &forbidden {
        eprintln!("\n*** NO TRIAL OF THIS SUITE RUNS HERE, because this process ***\n{reason}\n");
    }
    let mut tests = all();
    tests.extend(covering::tests(&tests));
    // First those that run side by side, so that few wait for one that runs alone.
    tests.sort_by_key(|test| test.alone);
    let trials = tests.into_iter().map(|test| trial(test, forbidden.clone())).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Every test of the suite, topic by topic.
fn all() -> Vec<Test> {
    [
        namespace::tests(),
        links::tests(),
        names::tests(),
        watch::tests(),
        way_out::tests(),
        offloads::tests(),
        lab::tests(),
        vanish::tests(),
        alone(compare::tests()),
        alone(disturbed::tests()),
        alone(load::tests()),
        alone(load_program::tests()),
        routes::tests(),
        alone(open_loop::tests()),
        live::tests(),
        alone(faulty::tests()),
        alone(stress::tests()),
        tutorial::tests(),
        alone(two_loads::tests()),
        echo::tests(),
        vlan::tests(),
        udp::tests(),
        bridged::tests(),
        chargen::tests(),
        alone(accounting::tests()),
        alone(robbed::tests()),
        running::tests(),
        alone(waits::tests()),
        alone(cases::tests()),
        profiles::tests(),
        alone(queues::tests()),
        silence::tests(),
        alone(drain::tests()),
        fanout::tests(),
        alone(pressure::tests()),
        alone(process::tests()),
        privileges::tests(),
        super_frames::tests(),
        no_memory::tests(),
        kernel_sends::tests(),
        kernel_receives::tests(),
        kernel_groups::tests(),
        strangers::tests(),
        alone(many::tests()),
        mtu::tests(),
        knobs::tests(),
        alone(observe::tests()),
        xsk::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Held by all that run side by side, or by one that runs alone.
static MACHINE: RwLock<()> = RwLock::new(());

fn trial(test: Test, forbidden: Option<String>) -> Trial {
    Trial::ignorable_test(test.name, move || match forbidden {
        None if test.alone => {
            let _machine = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
            (test.run)()
        }
        None => {
            let _machine = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
            (test.run)()
        }
        // The first line is enough behind the name of each trial; all of it was said above.
        Some(reason) => impossible_here(reason.lines().next().unwrap_or_default()),
    })
}
