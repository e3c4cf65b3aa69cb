//! An A/B test: two arms that differ in a setting, which a command (a *hook*) sets before each of their
//! turns, or in their engine's options or build.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::testbed::{End, Testbed};
use crate::engine::config::EngineConfig;
use crate::engine::names::RxName;
use crate::error::{Error, Result};
use crate::ring::geometry::GeometryChoice;
use crate::sys::namespace::Namespace;
use crate::sys::runner::{Restored, Runner};
use crate::sys::settings::{Change, LOOKED_AT, Settings};

/// Slots of an arm's V2 ring, unless its options say otherwise.
const SLOTS: usize = 2048;
/// Bytes of an arm's V3 ring whose options say the size of its blocks only.
const RING_BYTES: usize = 16 << 20;

/// What the two arms are called.
pub const ARMS: [&str; 2] = ["a", "b"];

/// One arm.
#[derive(Clone, Debug)]
pub struct Arm {
    /// The command before each of its turns, with placeholders ([`fill`]).
    pub hook: Option<String>,
    /// Its engine's options, as for `linerate echo`.
    pub options: Vec<String>,
    /// The engine that they ask for.
    pub engine: EngineConfig,
    /// Its engine, if that is a process of its own.
    pub program: Option<Program>,
}

/// An engine in a process of its own.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Program {
    /// Another build of linerate.
    Build(String),
    /// A command line of any other program that answers frames, with placeholders ([`fill`]) and `{cpu}`.
    Foreign(String),
}

impl Program {
    /// As typed: a command line has a placeholder.
    pub fn new(text: &str) -> Program {
        match text.contains("{if}") {
            true => Program::Foreign(text.into()),
            false => Program::Build(text.into()),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Program::Build(text) | Program::Foreign(text)) = self;
        f.write_str(text)
    }
}

/// Both arms, and what they are set by.
#[derive(Debug)]
pub struct Ab {
    /// The arms.
    pub arms: [Arm; 2],
    /// Frames that somebody else's program can hold.
    drain_frames: u64,
    runner: Arc<Mutex<Runner>>,
    /// The engines' namespaces, as the runner knows them.
    places: Vec<Namespace>,
    /// What the settings were after each arm's first hook, at which they must stay.
    known: Mutex<[Option<Vec<Settings>>; 2]>,
}

/// What the arms differ in.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Differences {
    /// What each arm's first hook changed.
    pub changes: [Vec<Change>; 2],
    /// The settings that differ between the arms: `a`'s before `b`'s.
    pub settings: Vec<Change>,
}

impl Ab {
    /// Arms whose hooks and programs `runner` runs; it was started for these testbeds. Somebody else's
    /// program holds `drain_frames`.
    pub fn new(arms: [Arm; 2], drain_frames: u64, runner: Runner, testbeds: &[Testbed]) -> Ab {
        let places = testbeds.iter().map(|testbed| testbed.engine.namespace.clone()).collect();
        Ab {
            arms,
            drain_frames,
            runner: Arc::new(Mutex::new(runner)),
            places,
            known: Mutex::default(),
        }
    }

    /// Sets each arm once, and says what that changed. Both have the first testbed if there is but one.
    /// An error if they come to the same.
    pub fn survey(&self, testbeds: &[Testbed]) -> Result<Differences> {
        let of = |arm: usize| testbeds.get(arm).unwrap_or(&testbeds[0]).clone();
        let before = [settings(&of(0))?, settings(&of(1))?];
        let mut now = Vec::new();
        for arm in 0..2 {
            self.set(arm, &mut of(arm))?;
            now.push(settings(&of(arm))?);
        }
        let since = |now: &[Settings], before: &[Settings]| {
            now.iter().zip(before).flat_map(|(now, before)| now.since(before)).collect()
        };
        let differences = Differences {
            changes: [since(&now[0], &before[0]), since(&now[1], &before[1])],
            settings: since(&now[1], &now[0]),
        };
        let [a, b] = &self.arms;
        let same_engine = (&a.options, &a.program) == (&b.options, &b.program);
        match same_engine && differences.settings.is_empty() {
            false => Ok(differences),
            true => Err(Error::Usage(format!(
                "the arms do not differ: after either hook the same settings hold, and their engines \
                 have the same options. On one pair of interfaces each hook must set what the other \
                 one changes. Looked at: {LOOKED_AT}"
            ))),
        }
    }

    /// Makes ready for a turn of an arm: runs its hook and looks at the links again.
    pub fn set(&self, arm: usize, testbed: &mut Testbed) -> Result<()> {
        if self.arms.iter().all(|arm| arm.hook.is_none()) {
            return Ok(());
        }
        let name = ARMS[arm];
        if let Some(hook) = &self.arms[arm].hook {
            let done = self.runner().run(self.place(testbed), &fill(hook, testbed));
            done.map_err(|error| Error::Run(format!("arm {name}: {error}")))?;
        }
        testbed.look_again()?;
        let now = settings(testbed)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known[arm].get_or_insert_with(|| now.clone());
        match now.iter().zip(known).find_map(|(now, known)| now.since(known).into_iter().next()) {
            None => Ok(()),
            Some(change) => Err(Error::Run(format!(
                "arm {name}: {change} since its first turn: its hook must set everything that the \
                 other arm's changes, and nobody else may"
            ))),
        }
    }

    /// The engine of an arm at the testbed's far end, with a worker on each of `cpus`.
    pub(super) fn engine(&self, arm: usize, testbed: &Testbed, cpus: &[usize]) -> EngineConfig {
        let engine = &self.arms[arm].engine;
        let mut receive_ring = engine.receive_ring;
        match (engine.path.rx, &mut receive_ring) {
            // A drain takes enough frames for slices, whatever the MTU makes of their slots ...
            (RxName::V2, GeometryChoice { block_bytes: None, blocks: None, slots, .. }) => {
                *slots = Some(SLOTS);
            }
            // ... and however large the blocks are that it fills.
            (RxName::V3, GeometryChoice { block_bytes: Some(bytes), blocks, .. }) => {
                blocks.get_or_insert((RING_BYTES / *bytes).max(2));
            }
            _ => {}
        }
        EngineConfig {
            interface: testbed.engine.link.name.clone(),
            namespace: Some(testbed.engine.namespace.clone()),
            workers: cpus.len(),
            cpus: cpus.to_vec(),
            force: testbed.force,
            receive_ring,
            ..engine.clone()
        }
    }

    /// Whether engines may stay open between turns: nothing of their interfaces changes.
    pub(super) fn keeps_engines(&self) -> bool {
        self.arms.iter().all(|arm| arm.hook.is_none() && arm.program.is_none())
    }

    /// How many frames wait at an arm's engine in a drain, if that is somebody else's program.
    pub(super) fn foreign_drain(&self, arm: usize) -> Option<u64> {
        let is_foreign = matches!(self.arms[arm].program, Some(Program::Foreign(_)));
        is_foreign.then_some(self.drain_frames)
    }

    /// Starts the arm's own program as its engine, paused; `None` if it has none. Gives its process, and
    /// by what it is paused, resumed and stopped.
    pub(super) fn start_program(
        &self,
        arm: usize,
        testbed: &Testbed,
        cpu: usize,
    ) -> Result<Option<(i32, Arc<Mutex<Runner>>)>> {
        let Arm { program, options, .. } = &self.arms[arm];
        let (interface, cpu) = (&testbed.engine.link.name, cpu.to_string());
        let line;
        let words = match program {
            None => return Ok(None),
            Some(Program::Build(program)) => {
                let mut words = vec![program, "echo", "-q", "-i", interface, "--cpus", &cpu];
                words.extend(testbed.force.then_some("--force"));
                words.extend(options.iter().map(String::as_str));
                words
            }
            Some(Program::Foreign(program)) => {
                line = format!("exec {}", fill(program, testbed).replace("{cpu}", &cpu));
                vec!["/bin/sh", "-c", &line]
            }
        };
        let words = words.into_iter().map(str::to_owned).collect();
        let speaks = self.foreign_drain(arm).is_none();
        let process = self.runner().start_program(self.place(testbed), words, speaks);
        let process = process.map_err(|error| Error::Run(format!("arm {}: {error}", ARMS[arm])))?;
        Ok(Some((process, Arc::clone(&self.runner))))
    }

    /// Has everything put back.
    pub fn finish(&self) -> Restored {
        self.runner().finish()
    }

    fn place(&self, testbed: &Testbed) -> usize {
        let is_here = |place: &Namespace| *place == testbed.engine.namespace;
        self.places.iter().position(is_here).unwrap_or(0)
    }

    fn runner(&self) -> MutexGuard<'_, Runner> {
        self.runner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of both ends, and the machine's as the engine sees them.
fn settings(testbed: &Testbed) -> Result<Vec<Settings>> {
    let of = |end: &End| end.inside(|| Settings::of(&end.link.name));
    let machine = testbed.engine.inside(|| Ok(Settings::of_machine()))?;
    Ok(vec![of(&testbed.engine)?, of(&testbed.generator)?, machine])
}

const PLACEHOLDERS: [&str; 3] = ["{if}", "{peer}", "{netns}"];

/// A hook with its placeholders filled in: `{if}` is the engine's interface, `{peer}` the generator's, and
/// `{netns}` a path of the generator's network namespace.
pub fn fill(hook: &str, testbed: &Testbed) -> String {
    let Testbed { generator, engine, .. } = testbed;
    let values = [&engine.link.name, &generator.link.name, &generator.namespace.path()];
    PLACEHOLDERS
        .iter()
        .zip(values)
        .fold(hook.to_owned(), |hook, (name, value)| hook.replace(name, value))
}

/// A hook as typed, unless it has a placeholder that nobody knows. The shell's own braces may be in it.
pub fn parse_hook(text: &str) -> std::result::Result<String, String> {
    for (at, _) in text.match_indices('{') {
        let Some((word, _)) = text[at + 1..].split_once('}') else { break };
        let is_name = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
        let is_shells = text[..at].ends_with('$');
        let known = PLACEHOLDERS.iter().any(|name| name[1..name.len() - 1] == *word);
        if is_name && !is_shells && !known {
            return Err(format!(
                "unknown placeholder {{{word}}}: there are {}",
                PLACEHOLDERS.join(", ")
            ));
        }
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_known_and_braces_of_the_shell_are_not_placeholders() {
        for fine in ["true", "ip link set {if} mtu 9000", "for x in {1,2}; do echo ${x}; done", "{"]
        {
            assert_eq!(parse_hook(fine).as_deref(), Ok(fine));
        }
        let all = "nsenter --net={netns} ip link set {peer} up; { echo {if}; }";
        assert!(parse_hook(all).is_ok());
        for unknown in ["ip link set {interface} up", "echo {if} {ns}"] {
            assert!(parse_hook(unknown).unwrap_err().contains("{netns}"), "{unknown}");
        }
    }
}
